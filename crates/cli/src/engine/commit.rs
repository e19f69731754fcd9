//! Commits to the target: intended in the journal, made in the table, settled in the journal.
//!
//! The commit's number is its idempotency key in the table. A runner that finds an intent without an end asks the table by
//! giving the same number to an empty commit of its own, higher epoch: either the number is in the table already, and the
//! work is done; or the empty commit takes it, and the lost one can no longer come.

use std::collections::BTreeMap;

use lakeshift_core::migration::{Event, Settled, Work};
use lakeshift_core::table::{CommitNumber, CommitOutcome, CommitRequest, DeletedRows, NewFile, TableVersion};

use super::reconcile;
use super::tables::Tables;
use crate::error::Error;
use crate::session::Session;

/// Files to add and to remove in one commit.
#[derive(Debug, Clone, Default)]
pub struct Delta {
    /// To add.
    pub add: Vec<NewFile>,
    /// Paths to remove.
    pub remove: Vec<String>,
    /// Rows to delete, by the path of their file.
    pub deletes: BTreeMap<String, DeletedRows>,
    /// Bytes that were written for it.
    pub bytes_written: u64,
}

/// Makes one commit.
///
/// # Errors
/// [`Error::Fenced`], [`Error::Conflict`]; a table that cannot be read or written.
pub async fn commit(session: &mut Session, tables: &Tables, work: Work, delta: Delta) -> Result<TableVersion, Error> {
    reconcile::note_foreign(session, tables).await?;
    let number = session.state.next_commit();
    let (files, bytes) = (delta.add.len() as u64, delta.bytes_written);
    session.record(Event::CommitIntended { number, work }).await?;
    let request = request(session, number, delta);
    let outcome = session.while_renewing(tables.target.commit(&request)).await??;
    match outcome {
        CommitOutcome::Committed(version) | CommitOutcome::AlreadyCommitted(version) => {
            let result = Settled::Done { version: version.clone(), files, bytes };
            session.record(Event::CommitSettled { number, result }).await?;
            Ok(version)
        }
        CommitOutcome::Conflict { reason } => {
            session.record(Event::CommitSettled { number, result: Settled::Void }).await?;
            Err(Error::Conflict { reason })
        }
        CommitOutcome::Fenced { current } => Err(Error::Fenced { current }),
    }
}

/// Settles the commit that an earlier runner left without an end.
///
/// # Errors
/// As [`commit`].
pub async fn settle_pending(session: &mut Session, tables: &Tables) -> Result<(), Error> {
    let Some(number) = session.state.pending_commit.as_ref().map(|pending| pending.number) else { return Ok(()) };
    reconcile::note_foreign(session, tables).await?;
    let result = match tables.target.commit(&request(session, number, Delta::default())).await? {
        CommitOutcome::Committed(_) => Settled::Void,
        CommitOutcome::AlreadyCommitted(version) => Settled::Done { version, files: 0, bytes: 0 },
        CommitOutcome::Conflict { reason } => return Err(Error::Conflict { reason }),
        CommitOutcome::Fenced { current } => return Err(Error::Fenced { current }),
    };
    tracing::info!(%number, done = result.is_done(), "settled a commit that an earlier runner left open");
    session.record(Event::CommitSettled { number, result }).await
}

fn request(session: &Session, number: CommitNumber, delta: Delta) -> CommitRequest {
    let Delta { add, remove, deletes, bytes_written: _ } = delta;
    CommitRequest { migration: session.id().clone(), number, epoch: session.epoch(), add, remove, deletes }
}
