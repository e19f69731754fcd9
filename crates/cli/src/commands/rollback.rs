//! `rollback`: readers move back to the old table, by one pointer write and without validation.

use std::path::Path;

use lakeshift_core::migration::Command;

use super::opened::Opened;
use crate::context::Context;
use crate::engine::switch;
use crate::error::Error;
use crate::output::Answer;

pub async fn run(context: &Context, path: &Path, accept_loss: bool) -> Result<Answer, Error> {
    let mut opened = Opened::existing(context, path).await?;
    let evidence = move |mut evidence: lakeshift_core::migration::Evidence| {
        evidence.accept_loss = accept_loss;
        evidence
    };
    let switched = opened
        .act(Command::Rollback, evidence, async |opened| {
            let foreign = opened.evidence(Command::Rollback).await?.foreign;
            let loses_writes = !foreign.is_empty() || opened.session.state.carried_late;
            switch::back(&mut opened.session, &opened.tables, loses_writes).await
        })
        .await?;
    let headline = if switched.is_some() { "readers are back on the old table" } else { "readers are on the old table" };
    super::status::answer(&opened, headline).await
}
