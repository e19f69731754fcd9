//! `rollback`: readers move back to the old table, by one pointer write for each group and without validation. What others
//! have written to the new table is carried to the old one first, and once more when readers are there.

use std::path::Path;

use lakeshift_core::migration::{Command, Evidence};

use super::opened::Opened;
use crate::context::Context;
use crate::engine::fence::Unheld;
use crate::engine::tables::Tables;
use crate::engine::{evidence, fence, reverse, switch};
use crate::error::Error;
use crate::output::Answer;
use crate::session::Session;

pub async fn run(context: &Context, path: &Path, accept_loss: bool) -> Result<Answer, Error> {
    let mut opened = Opened::existing(context, path).await?;
    let asked = move |evidence: Evidence| Evidence { accept_loss, ..evidence };
    let switched = opened.act(Command::Rollback, asked, async |opened| back(opened, accept_loss).await).await?;
    let headline = match switched {
        Some(0) => "readers are back on the old table".to_owned(),
        Some(files) => {
            format!("readers are back on the old table, with {files} file(s) that others had changed in the new one")
        }
        None => "readers are on the old table".to_owned(),
    };
    super::status::answer(&opened, &headline).await
}

/// Takes every group back; the result is how many changed files were carried back for it.
async fn back(opened: &mut Opened, accept_loss: bool) -> Result<u64, Error> {
    let Opened { session, tables, .. } = opened;
    let work = async |session: &mut Session| back_held(session, tables, accept_loss).await;
    fence::held(session, tables, ("rollback", Unheld::GoOn), work).await
}

async fn back_held(session: &mut Session, tables: &Tables, accept_loss: bool) -> Result<u64, Error> {
    let evidence = evidence::gather(session, tables, Command::Rollback).await?;
    if session.state.reverse.is_none() || !evidence.carries_back || accept_loss {
        let loses_writes = !evidence.foreign.is_empty() || session.state.carried_late;
        switch::back(session, tables, loses_writes).await?;
        return Ok(0);
    }
    reverse::roll_back(session, tables).await
}
