//! The dual writer's journal: `<control>/migrations/<name>/writes/00000000000000000001.json …`, a journal of its own with a
//! lease of its own, so that producers write while a runner moves the history.
//!
//! A write is first intended, with its rows safe under the control root, and then committed to the table that is written now;
//! the mirror carries it to the other one. Whoever comes next finishes a write whose producer was killed between the two, and
//! withdraws a replacement of files, whose rows are not kept, unless it is in the table.
//! A cutover takes the same lease: by that it fences producers, and drains what they had begun.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use lakeshift_journal::{Entry, Epoch};
use serde::{Deserialize, Serialize};

use crate::migration::{Phase, Side, State};
use crate::table::{CommitNumber, MigrationId, TableVersion};

/// Characters of a producer's own name for a write, at most.
pub const BATCH_CHARS_MAX: usize = 200;

/// One entry's event. Variants and fields are a persisted format: add, never rename.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WriteEvent {
    /// A producer, or a runner that holds producers off, has taken the lease; its epoch fences all before it.
    Taken {
        /// What it is about to do.
        purpose: String,
    },
    /// Rows are safe under the control root and are about to be committed.
    Intended(Intent),
    /// They are in a table.
    Committed {
        /// The write's number.
        number: u64,
        /// The table.
        side: Side,
        /// Its version in which the write was seen.
        version: TableVersion,
    },
    /// A replacement that is in no table and never will be: its commit was refused, or fenced by whoever came next.
    Withdrawn {
        /// The write's number.
        number: u64,
    },
}

/// A write that is about to be made, complete, so that anybody can finish it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// 1 for the first write; in the tables it is the commit's number.
    pub number: u64,
    /// The producer's own name for it: a second write of the same name is the same write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
    /// The commit of a stream that it is: there is one write of each, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamCommit>,
    /// The backfill of a stream that it is: it replaces files, and nobody else can finish it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<StreamBackfill>,
    /// The table that is written at this moment.
    pub side: Side,
    /// The folder of its Parquet files, relative to the migration's; none for a replacement.
    pub staged: String,
    /// How many files.
    pub files: u64,
    /// How many rows.
    pub rows: u64,
}

/// A commit of a stream that writes both tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamCommit {
    /// The name under which the stream commits.
    pub stream: MigrationId,
    /// The commit's number, in the stream's journal and here. They rise.
    pub number: CommitNumber,
    /// Where each of its sources is read on from; written into the table's commit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub positions: BTreeMap<String, u64>,
}

/// A backfill beside a stream that writes both tables.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StreamBackfill {
    /// The name under which the stream commits.
    pub stream: MigrationId,
    /// The lock in the stream's journal under which it is made.
    pub lock: Epoch,
}

/// What a write is known by, so that it is made once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteId {
    /// The producer's own name.
    Batch(String),
    /// A commit of a stream.
    Stream(StreamCommit),
}

/// The last write of a stream that is in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamWrite {
    /// The stream's commit that it was.
    pub commit: CommitNumber,
    /// The write's number.
    pub number: u64,
    /// The table.
    pub side: Side,
}

/// The fold over a dual writer's journal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Writes {
    /// The last write's number; 0 when there was none.
    pub last: u64,
    /// A write whose end nobody has seen.
    pub pending: Option<Intent>,
    /// Numbers of the writes that their producers have named.
    pub batches: BTreeMap<String, u64>,
    /// Of each stream the last write.
    pub streams: BTreeMap<MigrationId, StreamWrite>,
    /// Numbers of the writes that were backfills of a stream, and the tables that they rewrote.
    pub backfills: BTreeMap<StreamBackfill, (u64, Side)>,
    /// Rows of all writes that are in a table, without replacements.
    pub rows: u64,
    /// When the last one was seen there.
    pub at: Option<DateTime<Utc>>,
}

impl Writes {
    /// Folds a journal.
    pub fn fold(entries: &[Entry<WriteEvent>]) -> Self {
        let mut writes = Self::default();
        for entry in entries {
            writes.apply(&entry.event, entry.at);
        }
        writes
    }

    /// Adds one event.
    pub fn apply(&mut self, event: &WriteEvent, at: DateTime<Utc>) {
        match event {
            WriteEvent::Taken { .. } => {}
            WriteEvent::Intended(intent) => {
                self.last = intent.number;
                self.pending = Some(intent.clone());
            }
            WriteEvent::Committed { number, side, .. } => {
                let Some(intent) = self.pending.take_if(|intent| intent.number == *number) else { return };
                self.at = Some(at);
                if let Some(backfill) = intent.replaces {
                    self.backfills.insert(backfill, (intent.number, *side));
                    return;
                }
                self.rows += intent.rows;
                if let Some(batch) = intent.batch {
                    self.batches.insert(batch, intent.number);
                }
                if let Some(StreamCommit { stream, number: commit, .. }) = intent.stream {
                    self.streams.insert(stream, StreamWrite { commit, number: intent.number, side: *side });
                }
            }
            WriteEvent::Withdrawn { number } => drop(self.pending.take_if(|intent| intent.number == *number)),
        }
    }

    /// The number of the write that is known by `id`; `None` where it was not made. Of a stream one is kept: what has a lower
    /// number than the last was made, or never will be.
    pub fn made(&self, id: &WriteId) -> Option<u64> {
        match id {
            WriteId::Batch(batch) => self.batches.get(batch).copied(),
            WriteId::Stream(StreamCommit { stream, number, .. }) => {
                self.streams.get(stream).filter(|last| last.commit >= *number).map(|last| last.number)
            }
        }
    }
}

/// Under which name the dual writer of a migration commits: its writes are to the migration what any producer's are. The sign
/// in it is in no migration's own name.
pub fn writer_of(migration: &MigrationId) -> MigrationId {
    MigrationId(format!("{migration}+writes"))
}

/// The table that producers write: the old one until every group of readers has moved, then the new one.
pub fn written_side(state: &State) -> Side {
    match state.phase {
        Phase::Grace | Phase::Sunset | Phase::Completed => Side::New,
        _ => Side::Old,
    }
}

/// Whether what is written to that table is carried to the other one now.
pub fn is_carried(state: &State) -> bool {
    matches!(state.phase, Phase::Backfill | Phase::Validation | Phase::Cutover | Phase::Grace)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intent(number: u64, batch: Option<&str>) -> Intent {
        let batch = batch.map(str::to_owned);
        let staged = format!("written/{number}");
        Intent { number, batch, stream: None, replaces: None, side: Side::Old, staged, files: 1, rows: 10 }
    }

    #[test]
    fn a_write_is_counted_and_known_by_its_name_once_it_is_in_a_table() {
        let mut writes = Writes::default();
        let at = DateTime::<Utc>::UNIX_EPOCH;
        writes.apply(&WriteEvent::Intended(intent(1, Some("monday"))), at);
        assert_eq!((writes.last, writes.rows, writes.batches.len()), (1, 0, 0));
        assert_eq!(writes.pending.as_ref().map(|intent| intent.number), Some(1));
        let committed = |number| WriteEvent::Committed { number, side: Side::Old, version: TableVersion("v".to_owned()) };
        writes.apply(&committed(7), at);
        assert!(writes.pending.is_some(), "another write's end is not this one's");
        writes.apply(&committed(1), at);
        assert_eq!((writes.pending.clone(), writes.rows, writes.batches.get("monday")), (None, 10, Some(&1)));
    }

    #[test]
    fn a_commit_of_a_stream_is_known_by_its_number_once_it_is_in_a_table() {
        let (mut writes, at) = (Writes::default(), DateTime::<Utc>::UNIX_EPOCH);
        let commit = |number| {
            let (stream, number) = (MigrationId("stream-live".to_owned()), CommitNumber(number));
            StreamCommit { stream, number, positions: BTreeMap::from([("flights/0".to_owned(), 7)]) }
        };
        let known = |writes: &Writes, number| writes.made(&WriteId::Stream(commit(number)));
        writes.apply(&WriteEvent::Intended(Intent { stream: Some(commit(5)), ..intent(1, None) }), at);
        assert_eq!(known(&writes, 5), None);
        writes.apply(&WriteEvent::Committed { number: 1, side: Side::New, version: TableVersion("v".to_owned()) }, at);
        assert_eq!([4, 5, 6].map(|number| known(&writes, number)), [Some(1), Some(1), None]);
        let other = StreamCommit { stream: MigrationId("stream-other".to_owned()), ..commit(5) };
        assert_eq!(writes.made(&WriteId::Stream(other)), None);
    }

    #[test]
    fn a_replacement_is_known_once_it_is_in_a_table_and_one_that_was_withdrawn_never_is() {
        let (mut writes, at) = (Writes::default(), DateTime::<Utc>::UNIX_EPOCH);
        let backfill = StreamBackfill { stream: MigrationId("stream-live".to_owned()), lock: Epoch(3) };
        let intended = |number| WriteEvent::Intended(Intent { replaces: Some(backfill.clone()), ..intent(number, None) });
        for event in [intended(1), WriteEvent::Withdrawn { number: 1 }] {
            writes.apply(&event, at);
        }
        assert_eq!((writes.backfills.get(&backfill), writes.pending.clone(), writes.last), (None, None, 1));
        writes.apply(&intended(2), at);
        assert_eq!(writes.backfills.get(&backfill), None);
        writes.apply(&WriteEvent::Committed { number: 2, side: Side::Old, version: TableVersion("v".to_owned()) }, at);
        let found = writes.backfills.get(&backfill).copied();
        assert_eq!((found, writes.pending.clone(), writes.rows), (Some((2, Side::Old)), None, 0), "no row has come in");
    }

    #[test]
    fn producers_write_the_old_table_until_every_group_of_readers_has_moved() {
        let in_phase = |phase| State { phase, ..State::default() };
        let side = |phase| written_side(&in_phase(phase));
        assert_eq!((side(Phase::Backfill), side(Phase::Cutover), side(Phase::Aborted)), (Side::Old, Side::Old, Side::Old));
        assert_eq!((side(Phase::Grace), side(Phase::Completed)), (Side::New, Side::New));
        let carried = [Phase::Planned, Phase::DualWrite, Phase::Backfill, Phase::Grace, Phase::Completed]
            .map(|phase| is_carried(&in_phase(phase)));
        assert_eq!(carried, [false, false, true, true, false]);
    }
}
