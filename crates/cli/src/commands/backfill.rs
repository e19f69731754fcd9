//! `backfill`: the rows of S0 reach the target.

use std::path::Path;

use lakeshift_core::migration::Command;

use super::opened::Opened;
use crate::context::Context;
use crate::engine::backfill;
use crate::error::Error;
use crate::output::Answer;

pub async fn run(context: &Context, path: &Path) -> Result<Answer, Error> {
    let mut opened = Opened::existing(context, path).await?;
    let ran = opened
        .act(
            Command::Backfill,
            |evidence| evidence,
            async |opened| backfill::run(&mut opened.session, &opened.tables, &opened.rows).await,
        )
        .await?;
    super::status::answer(&opened, if ran.is_some() { "the backfill is complete" } else { "it was complete before" }).await
}
