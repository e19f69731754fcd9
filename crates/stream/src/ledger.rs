//! [`Ledger`]: the fold over a stream's journal. It knows of every offset what became of it, and refuses what would lose or
//! double one before it is written.

mod account;
mod apply;
mod check;

use std::collections::BTreeMap;

use lakeshift_core::table::{CommitNumber, MigrationId};
use lakeshift_journal::{Entry, Epoch};

use crate::event::{Intent, StreamEvent};
use crate::lock::{EpochMap, Lock, Stage};
use crate::offsets::{OffsetSet, Positions, SourcePartition};

pub use account::{Account, Doubled};
pub use check::Refusal;

/// What a stream has done so far.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    accounts: BTreeMap<SourcePartition, Account>,
    locks: BTreeMap<Epoch, Lock>,
    locks_seen: u64,
    last_number: CommitNumber,
    last_done: CommitNumber,
    last_done_here: Option<CommitNumber>,
    migration: Option<MigrationId>,
    has_moved: bool,
    pending: Option<Intent>,
    rows: u64,
}

impl Ledger {
    /// Folds a journal.
    pub fn fold(entries: &[Entry<StreamEvent>]) -> Self {
        let mut ledger = Self::default();
        entries.iter().for_each(|entry| ledger.apply(&entry.event));
        ledger
    }

    /// What became of each partition's offsets.
    pub fn accounts(&self) -> &BTreeMap<SourcePartition, Account> {
        &self.accounts
    }

    /// Where reading goes on; before it every offset is applied, parked or otherwise accounted for.
    pub fn positions(&self) -> Positions {
        self.accounts.iter().map(|(partition, account)| (partition.clone(), account.next)).collect()
    }

    /// The other watermark: before it nothing is parked either.
    pub fn applied(&self) -> Positions {
        self.accounts.iter().map(|(partition, account)| (partition.clone(), account.final_before())).collect()
    }

    /// All locks by their ids, also those that have been released.
    pub fn locks(&self) -> &BTreeMap<Epoch, Lock> {
        &self.locks
    }

    /// The lock that the backfill `name` holds.
    pub fn held_by(&self, name: &str) -> Option<&Lock> {
        self.locks.values().find(|lock| lock.is_held() && lock.taken.name == name)
    }

    /// The number of the last commit that was begun; 0 when there was none.
    pub fn last_number(&self) -> CommitNumber {
        self.last_number
    }

    /// The number of the last commit that is in the table; 0 when there was none.
    pub fn last_done(&self) -> CommitNumber {
        self.last_done
    }

    /// As [`Ledger::last_done`], of the commits since the stream has gone where it goes now; `None` when there was none.
    pub fn last_done_here(&self) -> Option<CommitNumber> {
        self.last_done_here
    }

    /// The migration whose two tables the stream writes; `None` where it writes one table.
    pub fn migration(&self) -> Option<&MigrationId> {
        self.migration.as_ref()
    }

    /// Whether the stream's commits have ever gone elsewhere than now.
    pub fn has_moved(&self) -> bool {
        self.has_moved
    }

    /// A commit whose end is not on record.
    pub fn pending(&self) -> Option<&Intent> {
        self.pending.as_ref()
    }

    /// Rows of all commits of the stream that are in the table.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// How many events of locks there were.
    pub fn locks_seen(&self) -> u64 {
        self.locks_seen
    }

    /// The highest epoch that any lock had.
    pub fn last_lock_epoch(&self) -> Epoch {
        self.locks.values().map(|lock| lock.epoch).max().unwrap_or_default()
    }

    /// What is parked under a lock, by partition.
    pub fn parked(&self, lock: Epoch) -> BTreeMap<SourcePartition, OffsetSet> {
        let parked = |account: &Account| account.parked.get(&lock).filter(|set| !set.is_empty()).cloned();
        self.accounts.iter().filter_map(|(partition, account)| Some((partition.clone(), parked(account)?))).collect()
    }

    fn has_backlog(&self, lock: Epoch) -> bool {
        self.accounts.values().any(|account| account.parked.get(&lock).is_some_and(|set| !set.is_empty()))
    }

    /// Whether the commit under way sets events aside under a lock.
    fn is_parking(&self, lock: Epoch) -> bool {
        let parts = self.pending.iter().flat_map(|intent| &intent.reading.parts);
        parts.flat_map(|part| &part.parked).any(|(parked, set)| *parked == lock && !set.is_empty())
    }

    /// Whether the stream has still to replay or to leave out events because of a lock that was released.
    fn is_unfinished(&self, lock: &Lock) -> bool {
        let is_before = |(partition, cut_off): (&SourcePartition, &i64)| {
            self.accounts.get(partition).is_none_or(|account| account.next < *cut_off)
        };
        let covers_more = lock.stage == Stage::Released && lock.cut_off.iter().any(is_before);
        covers_more || self.has_backlog(lock.id()) || self.is_parking(lock.id())
    }

    /// The first lock that was released and whose parked events have not all been replayed.
    pub fn draining(&self) -> Option<&Lock> {
        self.locks.values().find(|lock| !lock.is_held() && self.has_backlog(lock.id()))
    }

    /// The locks that still decide over events.
    pub fn map(&self) -> EpochMap {
        let locks = self.locks.values().filter(|lock| lock.is_held() || self.is_unfinished(lock));
        EpochMap::new(locks.map(|lock| (lock, self.has_backlog(lock.id()))), self.locks_seen)
    }
}
