//! `sunset`: the old table's end, one stage a call.

use std::path::Path;

use lakeshift_core::migration::Command;

use super::opened::Opened;
use crate::context::Context;
use crate::engine::sunset::{self, Stage};
use crate::error::Error;
use crate::output::{Answer, bytes};

pub async fn run(context: &Context, path: &Path) -> Result<Answer, Error> {
    let mut opened = Opened::existing(context, path).await?;
    let stage = opened
        .act(Command::Sunset, |evidence| evidence, async |opened| sunset::run(&mut opened.session, &opened.tables).await)
        .await?;
    let headline = match stage {
        Some(Stage::Quarantined { files, bytes: size, kept }) => format!(
            "listed {files} file(s), {}, for deletion; {kept} kept, because another table refers to them",
            bytes(size)
        ),
        Some(Stage::Completed { files: 0, .. }) => "completed; no file was deleted".to_owned(),
        Some(Stage::Completed { files, bytes: size }) => format!("completed; {files} file(s), {}, deleted", bytes(size)),
        None => "completed before".to_owned(),
    };
    super::status::answer(&opened, &headline).await
}
