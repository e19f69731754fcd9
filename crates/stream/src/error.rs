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
    /// This program was built without the lock service that the stream's file names.
    #[error(
        "the stream's locks are in {service}, and this program was built without it; nothing was done: use one that was built \
         with `--features {service}`, or, when no backfill is alive, take `locks` out of the stream's file"
    )]
    NotBuilt {
        /// The service, which is the feature's name.
        service: &'static str,
    },
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
    /// Others were first at the stream's journal, again and again.
    #[error(
        "others wrote to the stream's journal {times} times before this process could; what it has committed stays, and is found when it \
         is run again"
    )]
    Contended {
        /// How often.
        times: usize,
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
    /// The journal has commits that the table does not carry.
    #[error(
        "the journal has the stream's commit {journal} and the table has {table}: the table was set back or made anew, and its \
         later rows are gone; nothing was done: bring the table's later versions back, or start a stream of another name"
    )]
    TableBehind {
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
    /// Events are gone that were not read yet.
    #[error(
        "{partition}: the stream has read up to offset {position}, and the topic begins at {first} by now: retention has \
         deleted events that are in no table; nothing was changed: restore them from where they come, raise the topic's \
         retention, and start a stream of another name for what is there"
    )]
    UnreadGone {
        /// Where.
        partition: SourcePartition,
        /// Where reading would have gone on.
        position: i64,
        /// What there is.
        first: i64,
    },
    /// The topic is another one.
    #[error(
        "{partition}: the stream has read {}, and the topic ends at offset {end}: it was deleted and created anew; nothing was \
         changed: bring the old topic back, or start a stream of another name for the new one",
        position.map_or_else(|| "more partitions".to_owned(), |position| format!("up to offset {position}"))
    )]
    TopicReplaced {
        /// Where.
        partition: SourcePartition,
        /// Where reading would have gone on; `None` where the partition is not there.
        position: Option<i64>,
        /// Its end.
        end: i64,
    },
    /// The source does not answer, or answers what cannot be.
    #[error("could not read {object}: {reason}")]
    Source {
        /// The topic or partition.
        object: String,
        /// What happened, without a record's content.
        reason: String,
    },
    /// Events that cannot be read could not be put aside, so nothing goes on without them.
    #[error("could not keep dead letters in {to}: {reason}; their offsets are not accounted for, and they are read again")]
    Letters {
        /// The object or topic.
        to: String,
        /// What happened.
        reason: String,
    },
    /// What a destination of several tables has come to, as it tells it itself.
    #[error(transparent)]
    Destination(Box<dyn std::error::Error + Send + Sync>),
    /// Rows could not be written as files.
    #[error("could not write the rows of a commit; nothing was committed")]
    Sink(#[source] Box<dyn std::error::Error + Send + Sync>),
}
