//! `sunset`: the old table's end, one stage a call; `--undo` until the first file is deleted.

use std::path::Path;

use lakeshift_core::migration::{Command, RECORD_NAME};

use super::opened::Opened;
use crate::args::Asked;
use crate::context::Context;
use crate::engine::sunset::{self, Stage};
use crate::error::Error;
use crate::output::{Answer, bytes};

pub async fn run(context: &Context, path: &Path) -> Result<Answer, Error> {
    let mut opened = Opened::existing(context, path).await?;
    let stage = opened
        .act(
            Command::Sunset,
            |evidence| evidence,
            async |opened| sunset::run(&mut opened.session, &opened.tables, &opened.rows).await,
        )
        .await?;
    let record = opened.session.folder.url_of(RECORD_NAME);
    let headline = match stage {
        Some(Stage::Quarantined { files, bytes: size, kept }) => format!(
            "listed {files} file(s), {}, for deletion; {kept} kept, because another table refers to them or rows of them are outside \
             of the scope",
            bytes(size)
        ),
        Some(Stage::Completed { files: 0, .. }) => format!("completed; no file was deleted; {record} says what was done"),
        Some(Stage::Completed { files, bytes: size }) => {
            format!("completed; {files} file(s), {}, deleted; {record} says what was done", bytes(size))
        }
        None => "completed before".to_owned(),
    };
    super::status::answer(&opened, &headline).await
}

pub async fn undo(context: &Context, path: &Path, asked: &Asked) -> Result<Answer, Error> {
    let mut opened = Opened::existing(context, path).await?;
    let (reason, by) = (asked.reason.clone(), asked.by.clone().unwrap_or_else(|| context.holder.clone()));
    let work = async |opened: &mut Opened| sunset::undo(&mut opened.session, reason, by).await;
    let undone = opened.act(Command::UndoSunset, |evidence| evidence, work).await?;
    let headline = match undone {
        Some(()) => "the old table is out of quarantine and stays; nothing of it had been deleted",
        None => "the old table is not in quarantine",
    };
    super::status::answer(&opened, headline).await
}
