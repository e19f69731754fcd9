//! [`StreamError`]: why a stream could not go on, or a backfill beside it.

use lakeshift_core::table::{CommitNumber, TableError};
use lakeshift_journal::{Epoch, JournalError, LeaseError};

use crate::ledger::Refusal;
use crate::offsets::{OffsetSet, SourcePartition};

/// Why a step was not done. What was done before it stays, and doing it again goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The stream's journal cannot be read or written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A lease cannot be read or written.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The table cannot be read or written.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The journal does not take the event.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Another process has taken over.
    #[error("another process has taken over (epoch {current}); this one has stopped, and nothing of it is lost")]
    Fenced {
        /// Its epoch.
        current: Epoch,
    },
    /// Somebody else changed what a commit builds on.
    #[error("the table has changed under the commit: {reason}; nothing was committed, run again")]
    Conflict {
        /// What was found.
        reason: String,
    },
    /// A commit of the stream that began before the lock has no end, and nobody ingests.
    #[error("the stream's commit {number} has no end yet; run `lakeshift ingest --once`, then run this again")]
    NotDrained {
        /// Its number.
        number: CommitNumber,
    },
    /// A backfill would take out a file that is not its own to replace.
    #[error("{path} was written after the range was locked; the backfill may not replace it, and nothing was committed")]
    NotCovered {
        /// The file.
        path: String,
    },
    /// The rows of an abandoned backfill are in the table.
    #[error("the rows of the backfill {name} are in the table; it cannot be abandoned: validate and release it")]
    Landed {
        /// The backfill.
        name: String,
    },
    /// The table carries commits that the journal does not have.
    #[error(
        "the table has the stream's commit {table} and the journal ends at {journal}: the journal was set back; nothing \
         was done: restore its later entries"
    )]
    JournalBehind {
        /// By the table.
        table: CommitNumber,
        /// By the journal.
        journal: CommitNumber,
    },
    /// Parked events are no longer in the topic.
    #[error(
        "{partition}: the parked offsets {offsets} are not in the topic any more; nothing was changed: restore them, or raise \
         the topic's retention before the next backfill"
    )]
    ParkedGone {
        /// Where.
        partition: SourcePartition,
        /// Which.
        offsets: OffsetSet,
    },
    /// The source does not answer, or answers what cannot be.
    #[error("could not read {object}: {reason}")]
    Source {
        /// The topic or partition.
        object: String,
        /// What happened, without a record's content.
        reason: String,
    },
    /// Rows could not be written as files.
    #[error("could not write the rows of a commit; nothing was committed")]
    Sink(#[source] Box<dyn std::error::Error + Send + Sync>),
}
