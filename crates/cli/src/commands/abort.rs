//! `abort`: give up before cutover.

use std::path::Path;

use lakeshift_core::migration::Command;

use super::opened::Opened;
use crate::context::Context;
use crate::engine::abort;
use crate::error::Error;
use crate::output::Answer;

pub async fn run(context: &Context, path: &Path, reason: &str) -> Result<Answer, Error> {
    let mut opened = Opened::existing(context, path).await?;
    let dropped = opened
        .act(
            Command::Abort,
            |evidence| evidence,
            async |opened| abort::run(&mut opened.session, &opened.tables, reason).await,
        )
        .await?;
    let headline = match dropped {
        Some(dropped) => format!("aborted; {} object(s) of this migration dropped", dropped.objects),
        None => "aborted before".to_owned(),
    };
    super::status::answer(&opened, &headline).await
}
