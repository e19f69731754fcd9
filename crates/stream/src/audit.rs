//! [`Audit`]: every offset of every partition is accounted for exactly once, or named.

use std::collections::BTreeMap;

use lakeshift_journal::Entry;
use serde::Serialize;

use crate::event::{LockName, StreamEvent};
use crate::ledger::{Account, Ledger};
use crate::offsets::{OffsetSet, Positions, SourcePartition};

/// What a stream's journal accounts for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Audit {
    /// By partition.
    pub partitions: Vec<PartitionAudit>,
    /// Whether a commit has no end yet: its offsets are in no count.
    pub unsettled: bool,
}

/// Counts of one partition. All offsets from `first` to before `next` are in one of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartitionAudit {
    /// The partition.
    pub partition: SourcePartition,
    /// Where reading began.
    pub first: i64,
    /// Where it goes on.
    pub next: i64,
    /// Applied by the stream.
    pub applied: u64,
    /// Covered by each backfill.
    pub superseded: BTreeMap<LockName, u64>,
    /// Left out by each backfill.
    pub skipped: BTreeMap<LockName, u64>,
    /// Waiting for each backfill.
    pub parked: BTreeMap<LockName, u64>,
    /// In objects of dead letters.
    pub dead_lettered: u64,
    /// In no record: holes of the topic.
    pub absent: u64,
    /// Accounted for nowhere.
    pub gaps: OffsetSet,
    /// Accounted for twice.
    pub doubles: OffsetSet,
}

impl Audit {
    /// Audits a journal. `beginnings` are the first offsets that the source had to give, where known.
    pub fn new(entries: &[Entry<StreamEvent>], beginnings: &Positions) -> Self {
        let ledger = Ledger::fold(entries);
        let partitions = ledger.accounts().iter().map(|(partition, account)| {
            let beginning = beginnings.get(partition).copied().unwrap_or(account.first);
            one(&ledger, partition, account, beginning)
        });
        Self { partitions: partitions.collect(), unsettled: ledger.pending().is_some() }
    }

    /// Whether nothing is missing and nothing there twice. What is parked is accounted for.
    pub fn is_clean(&self) -> bool {
        !self.unsettled && self.partitions.iter().all(|one| one.gaps.is_empty() && one.doubles.is_empty())
    }
}

fn one(ledger: &Ledger, partition: &SourcePartition, account: &Account, beginning: i64) -> PartitionAudit {
    let named = |sets: &BTreeMap<lakeshift_journal::Epoch, OffsetSet>| {
        let mut counts = BTreeMap::new();
        for (id, set) in sets.iter().filter(|(_, set)| !set.is_empty()) {
            let name = ledger.locks().get(id).map_or_else(|| format!("lock {id}"), |lock| lock.taken.name.clone());
            *counts.entry(name).or_insert(0) += set.len();
        }
        counts
    };
    let doubles = account.doubled.iter().fold(OffsetSet::default(), |all, double| all.union(&double.offsets));
    PartitionAudit {
        partition: partition.clone(),
        first: account.first,
        next: account.next,
        applied: account.applied.len(),
        superseded: named(&account.superseded),
        skipped: named(&account.skipped),
        parked: named(&account.parked),
        dead_lettered: account.dead.len(),
        absent: account.absent.len(),
        gaps: account.gaps().union(&OffsetSet::range(beginning, account.first)),
        doubles,
    }
}
