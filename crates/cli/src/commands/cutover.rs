//! `cutover`: readers move to the new table.

use std::path::Path;

use lakeshift_core::migration::{Command, Side};

use super::opened::Opened;
use crate::context::Context;
use crate::engine::switch;
use crate::error::Error;
use crate::output::Answer;

pub async fn run(context: &Context, path: &Path) -> Result<Answer, Error> {
    let mut opened = Opened::existing(context, path).await?;
    let switched = opened
        .act(
            Command::Cutover,
            |evidence| evidence,
            async |opened| switch::switch(&mut opened.session, &opened.tables, Side::New, false).await,
        )
        .await?;
    let headline = if switched.is_some() { "readers are on the new table" } else { "readers were on the new table before" };
    super::status::answer(&opened, headline).await
}
