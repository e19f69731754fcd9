//! `approve`: a person has read the plan.

use std::path::Path;

use lakeshift_core::migration::{Command, Event};

use super::opened::Opened;
use crate::context::Context;
use crate::error::Error;
use crate::output::Answer;

pub async fn run(context: &Context, path: &Path, plan: Option<String>, by: String) -> Result<Answer, Error> {
    let mut opened = Opened::existing(context, path).await?;
    let digest = plan.clone();
    let evidence = move |mut evidence: lakeshift_core::migration::Evidence| {
        evidence.digest_to_approve = digest.clone();
        evidence
    };
    let approved = opened
        .act(Command::Approve, evidence, async |opened| {
            let session = &mut opened.session;
            let plan_digest = session.state.plan.as_ref().map(|plan| plan.digest.clone()).unwrap_or_default();
            session.record(Event::Approved { plan_digest, by }).await
        })
        .await?;
    super::status::answer(&opened, if approved.is_some() { "approved" } else { "approved before" }).await
}
