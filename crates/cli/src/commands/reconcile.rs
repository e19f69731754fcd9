//! `reconcile`: an operator decides about writes to the side that should not be written.

use std::path::Path;

use lakeshift_core::migration::{Command, Evidence, Phase, Reconcile};

use super::opened::Opened;
use crate::args::Asked;
use crate::context::Context;
use crate::engine::reconcile::{self, Decided};
use crate::error::Error;
use crate::output::Answer;

pub async fn run(context: &Context, path: &Path, decision: Reconcile, asked: &Asked) -> Result<Answer, Error> {
    let mut opened = Opened::existing(context, path).await?;
    let by = asked.by.clone().unwrap_or_else(|| context.holder.clone());
    let decided = Decided { decision, reason: asked.reason.clone(), by };
    let evidence = |evidence: Evidence| Evidence { reconcile: Some(decision), ..evidence };
    let done = opened
        .act(Command::Reconcile, evidence, async |opened| {
            let foreign = opened.evidence(Command::Reconcile).await?.foreign;
            let Opened { session, tables, rows } = opened;
            session.refuse_while_paused()?;
            reconcile::run(session, tables, rows, foreign, &decided).await
        })
        .await?;
    let headline = match (done, decision) {
        (None, _) => "nobody has written to the side that should not be written",
        (Some(()), Reconcile::Adopt) => "adopted",
        (Some(()), Reconcile::Reject) if opened.session.state.phase == Phase::Grace => {
            "rejected: the rows stay in the old table, and go when it goes"
        }
        (Some(()), Reconcile::Reject) => "rejected: the files that others added are no more in the new table",
    };
    super::status::answer(&opened, headline).await
}
