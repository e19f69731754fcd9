//! `dual-write`: the boundary is drawn, and changes of the source reach the target from now on.

use std::path::Path;

use lakeshift_core::migration::Command;

use super::opened::Opened;
use crate::context::Context;
use crate::engine::dual_write;
use crate::error::Error;
use crate::output::Answer;

pub async fn run(context: &Context, path: &Path) -> Result<Answer, Error> {
    let mut opened = Opened::existing(context, path).await?;
    let begun = opened
        .act(
            Command::DualWrite,
            |evidence| evidence,
            async |opened| {
                opened.session.refuse_while_paused()?;
                dual_write::run(&mut opened.session, &opened.tables, &opened.rows).await
            },
        )
        .await?;
    super::status::answer(&opened, if begun.is_some() { "dual write has begun" } else { "dual write had begun" }).await
}
