//! `pause`, `resume`, `throttle`, `postpone`: requests to whoever runs a migration, now or next, written under the control
//! root without its lease.

use std::path::Path;

use lakeshift_core::control::{ControlLog, ControlRequest};
use lakeshift_core::migration::{Phase, Refusal};
use lakeshift_journal::RngExt;

use super::opened::Opened;
use crate::args::{Asked, ThrottleArgs};
use crate::context::Context;
use crate::error::Error;
use crate::output::Answer;

/// Writes a request, and tells who will honour it.
pub async fn run(context: &Context, path: &Path, request: ControlRequest, asked: &Asked) -> Result<Answer, Error> {
    let opened = Opened::existing(context, path).await?;
    let session = &opened.session;
    if matches!(session.state.phase, Phase::Completed | Phase::Aborted) {
        let reasons = vec![format!("the migration is {}: nobody runs it any more", session.state.phase)];
        let refusal = Refusal { reasons, next_steps: Vec::new() };
        return Err(Error::Refused { command: "control", migration: session.id().clone(), refusal });
    }
    let by = asked.by.as_deref().unwrap_or(&context.holder);
    let nonce = format!("{:016x}", context.rng.nonce());
    let log = ControlLog::new(&session.folder, context.clock.clone());
    let entry = log.ask(request, [by, &asked.reason], context.clock.now(), &nonce).await?;
    let runner = session.runner().await?.filter(lakeshift_journal::LeaseStatus::is_held);
    let who = match runner {
        Some(runner) => format!("{} honours it within seconds", runner.holder),
        None => "nobody is at work; the next runner honours it".to_owned(),
    };
    super::status::answer(&opened, &format!("asked to {} (request {}); {who}", entry.request, entry.number)).await
}

/// What `throttle`'s flags ask for.
pub fn throttle(args: &ThrottleArgs) -> Result<ControlRequest, Error> {
    match (args.reset, args.limits().is_empty()) {
        (true, _) => Ok(ControlRequest::Unthrottle),
        (false, false) => Ok(ControlRequest::Throttle(args.limits())),
        (false, true) => Err(Error::Argument {
            text: "throttle".to_owned(),
            reason: "say which limit: --bytes-per-second, --requests-per-second, --concurrency, or --reset".to_owned(),
        }),
    }
}
