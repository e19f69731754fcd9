//! Commits to the target: intended in the journal, made in the table, settled in the journal.
//!
//! The commit's number is its idempotency key in the table. A runner that finds an intent without an end first commits a
//! fence, an empty commit of its own, higher epoch, after which the lost one can no longer come; then it looks whether the
//! number is in the table. The fence takes no number itself: a second runner that finds the same intent, because the first one's
//! answer was lost too, must not take the fence for the work.

use std::collections::BTreeMap;

use lakeshift_core::migration::{Event, PendingCommit, RoundCost, Settled, Work};
use lakeshift_core::partition::PartitionSpec;
use lakeshift_core::schema::Field;
use lakeshift_core::table::{CommitNumber, CommitOutcome, CommitRequest, DeletedRows, NewFile, TableVersion};

use super::reconcile;
use super::tables::Tables;
use crate::error::Error;
use crate::meter::Used;
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
    /// The partitioning of the table's other writers from now on.
    pub repartition: Option<PartitionSpec>,
    /// Columns that the table gets.
    pub evolve: Vec<Field>,
    /// Bytes that were written for it.
    pub bytes_written: u64,
    /// Of a round of a mirror: what had been used before it, and what came to the table that is followed.
    pub begun: Option<Begun>,
}

/// A round of a mirror, as it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Begun {
    /// What the runner had used until then.
    pub used: Used,
    /// Bytes of the files that came to the table that is followed.
    pub source_bytes: u64,
    /// Their rows, as far as they are known.
    pub rows: u64,
}

fn cost(session: &Session, begun: Option<Begun>) -> Option<RoundCost> {
    let Begun { used, source_bytes, rows } = begun?;
    Some(RoundCost { source_bytes, rows, ..session.live().used().since(used) })
}

/// Makes one commit to the target of `tables`, which for work on the old table are turned.
///
/// # Errors
/// [`Error::Fenced`], [`Error::Conflict`]; a table that cannot be read or written.
pub async fn commit(session: &mut Session, tables: &Tables, work: Work, delta: Delta) -> Result<TableVersion, Error> {
    if !work.is_on_old() {
        reconcile::note_foreign(session, tables).await?;
    }
    let number = session.state.next_commit();
    let (files, bytes, begun) = (delta.add.len() as u64, delta.bytes_written, delta.begun);
    session.record(Event::CommitIntended { number, work }).await?;
    let request = request(session, number, delta);
    let outcome = session.while_renewing(tables.target.commit(&request)).await??;
    match outcome {
        CommitOutcome::Committed(version) | CommitOutcome::AlreadyCommitted(version) => {
            let result = Settled::Done { version: version.clone(), files, bytes, cost: cost(session, begun) };
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

/// Settles the commit that an earlier runner left without an end. `tables` as they were opened.
///
/// # Errors
/// As [`commit`].
pub async fn settle_pending(session: &mut Session, tables: &Tables) -> Result<(), Error> {
    let Some(PendingCommit { number, work }) = session.state.pending_commit.clone() else { return Ok(()) };
    let table = if work.is_on_old() { &tables.source } else { &tables.target };
    if !work.is_on_old() {
        reconcile::note_foreign(session, tables).await?;
    }
    let version = match table.commit(&request(session, number, Delta::default())).await? {
        CommitOutcome::Committed(version) | CommitOutcome::AlreadyCommitted(version) => version,
        CommitOutcome::Conflict { reason } => return Err(Error::Conflict { reason }),
        CommitOutcome::Fenced { current } => return Err(Error::Fenced { current }),
    };
    let there = table.marks(session.id()).await?.number;
    let result = match there.is_some_and(|highest| highest >= number) {
        true => Settled::Done { version, files: 0, bytes: 0, cost: None },
        false => Settled::Void,
    };
    tracing::info!(%number, done = result.is_done(), "settled a commit that an earlier runner left open");
    session.record(Event::CommitSettled { number, result }).await
}

fn request(session: &Session, number: CommitNumber, delta: Delta) -> CommitRequest {
    let Delta { add, remove, deletes, repartition, evolve, bytes_written: _, begun: _ } = delta;
    let (migration, epoch, positions) = (session.id().clone(), session.epoch(), Default::default());
    let notes = Default::default();
    CommitRequest { migration, number, epoch, add, remove, deletes, repartition, evolve, positions, notes }
}
