//! What a stream's journal holds: [`StreamEvent`]s of whoever ingests and of whoever backfills, in one order.
//!
//! Because both write to one journal of create-only entries, a commit of the stream is either before a lock or after it, and
//! never unaware of it.

use lakeshift_core::table::{CommitNumber, MigrationId, TableVersion};
use lakeshift_journal::Epoch;
use serde::{Deserialize, Serialize};

use crate::offsets::{OffsetSet, Positions, SourcePartition};
use crate::range::Range;
use crate::source::Span;

/// Names one backfill beside a stream, and its lease.
pub type LockName = String;

/// How stream and backfill keep apart in a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The stream pauses in the range. The backfill says up to which offset it has read the source; from there it resumes.
    Pause,
    /// The backfill's rows supersede events before a cut-off, which is known from the start; newer events apply meanwhile.
    Priority,
    /// The stream sets events of the range aside, and applies them in order after the release.
    Park,
    /// As [`Mode::Park`], but what came meanwhile is not applied afterwards.
    Skip,
}

/// One entry's event. Variants and fields are a persisted format: add, never rename.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum StreamEvent {
    /// Somebody has begun to ingest; its epoch fences all who did before.
    Taken,
    /// Rows are about to be committed to the table, under a number that the table will carry.
    Intended(Intent),
    /// They were, or they were not and will not be.
    Settled {
        /// The intent's.
        number: CommitNumber,
        /// Whether the table has them.
        done: bool,
    },
    /// Commits go elsewhere from here on. Their numbers go on; the table or tables know none of them yet, or those of an earlier time.
    Moved {
        /// The migration whose two tables are written; `None` for the table that the stream's file names.
        migration: Option<MigrationId>,
    },
    /// Offsets are accounted for that bring no row.
    Noted(Reading),
    /// A backfill has locked a range.
    Locked(Locking),
    /// It has died or stalled, and another process goes on in its place.
    TakenOver {
        /// The lock.
        lock: Epoch,
        /// The epoch from here on.
        epoch: Epoch,
    },
    /// In [`Mode::Pause`]: up to here the backfill has read the source.
    Bounded {
        /// The lock.
        lock: Epoch,
        /// The holder's epoch.
        epoch: Epoch,
        /// Where the stream resumes.
        resume: Positions,
    },
    /// The backfill's rows are in the table.
    BatchCommitted {
        /// The lock.
        lock: Epoch,
        /// The holder's epoch.
        epoch: Epoch,
        /// The table's version with them, or a later one.
        version: TableVersion,
    },
    /// They were looked at and are right.
    Validated {
        /// The lock.
        lock: Epoch,
        /// The holder's epoch.
        epoch: Epoch,
        /// By what.
        evidence: String,
    },
    /// The range is free.
    Released {
        /// The lock.
        lock: Epoch,
        /// The holder's epoch.
        epoch: Epoch,
        /// Without a backfill's rows: then nothing is superseded or skipped.
        abandoned: bool,
    },
}

/// A lock as it is taken. Its epoch is its name from then on, also when another process takes over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Locking {
    /// The epoch of the lease.
    pub epoch: Epoch,
    /// The backfill.
    pub name: LockName,
    /// What it covers.
    pub range: Range,
    /// How the stream behaves in it.
    pub mode: Mode,
    /// In [`Mode::Priority`]: events before these are superseded. Where it says less than the stream has read, what the stream
    /// has read counts.
    #[serde(default, skip_serializing_if = "Positions::is_empty")]
    pub cut_off: Positions,
    /// The migration one of whose two tables is rewritten; nothing where the stream writes one table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration: Option<MigrationId>,
}

/// A reading of the source, every offset of it accounted for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// The lock whose parked events were read again; `None` where it goes forward.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<Epoch>,
    /// How many events of locks the journal held when places were judged. Another count, another judgement.
    pub locks_seen: u64,
    /// By partition.
    pub parts: Vec<Part>,
    /// Where the records are that could not be read: the name of an object, or `topic:` and that of a topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letters: Option<String>,
}

/// A reading's share of one partition: every offset from `from` to before `to` is in one set, when it goes forward.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The partition.
    pub partition: SourcePartition,
    /// Where the reading began.
    pub from: i64,
    /// Where the next one begins.
    pub to: i64,
    /// Rows of this commit.
    #[serde(default, skip_serializing_if = "OffsetSet::is_empty")]
    pub applied: OffsetSet,
    /// No record has these.
    #[serde(default, skip_serializing_if = "OffsetSet::is_empty")]
    pub absent: OffsetSet,
    /// Records that could not be read; see [`Reading::dead_letters`].
    #[serde(default, skip_serializing_if = "OffsetSet::is_empty")]
    pub dead: OffsetSet,
    /// Set aside under a lock.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parked: Vec<(Epoch, OffsetSet)>,
    /// Covered by a backfill that has ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub superseded: Vec<(Epoch, OffsetSet)>,
}

impl Part {
    /// A span of which nothing is accounted for yet.
    pub fn of(span: &Span) -> Self {
        Self {
            partition: span.partition.clone(),
            from: span.from,
            to: span.to,
            applied: OffsetSet::default(),
            absent: OffsetSet::default(),
            dead: OffsetSet::default(),
            parked: Vec::new(),
            superseded: Vec::new(),
        }
    }
}

/// A commit that is about to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Its number; the table's idempotency key.
    pub number: CommitNumber,
    /// Rows that it adds.
    pub rows: u64,
    /// Where they come from.
    pub reading: Reading,
}

impl Reading {
    /// How many rows it brings.
    pub fn rows(&self) -> u64 {
        self.parts.iter().map(|part| part.applied.len()).sum()
    }
}
