//! `grace check`: for schedulers, until the old table may go.

use std::path::Path;

use lakeshift_core::migration::{Command, Decision, decide};
use serde_json::json;

use super::opened::Opened;
use crate::context::Context;
use crate::error::Error;
use crate::output::{Answer, seconds};

pub async fn run(context: &Context, path: &Path) -> Result<Answer, Error> {
    let opened = Opened::existing(context, path).await?;
    let evidence = opened.evidence(Command::Sunset).await?;
    let (text, due_at, blockers, exit_code) = match decide(&opened.session.state, Command::Sunset, &evidence) {
        Decision::Proceed => ("the sunset is due".to_owned(), None, Vec::new(), 0),
        Decision::AlreadyDone => ("the migration is completed".to_owned(), None, Vec::new(), 0),
        Decision::NotDue { until } => {
            let left = (until - evidence.now).num_seconds().max(0).cast_unsigned();
            (format!("not due for {}", seconds(left)), Some(until), Vec::new(), 5)
        }
        Decision::Refused(refusal) => {
            let blockers: Vec<_> = refusal.reasons.iter().map(|reason| format!("\n  - {reason}")).collect();
            (format!("blocked:{}", blockers.concat()), None, refusal.reasons, 4)
        }
    };
    let name = opened.session.id();
    let json = json!({
        "migration": name, "phase": opened.session.state.phase, "due_at": due_at, "blockers": blockers,
        "exit_code": exit_code, "next_steps": opened.next_steps(),
    });
    Ok(Answer::done(format!("{name}: {text}"), json).with_exit_code(exit_code))
}
