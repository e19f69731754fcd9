//! [`Account`]: every offset of one partition, in exactly one set.

use std::collections::BTreeMap;

use lakeshift_journal::Epoch;

use crate::offsets::OffsetSet;

/// What became of the offsets of one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// Where the first reading began.
    pub first: i64,
    /// Where the next one begins.
    pub next: i64,
    /// In the table by the stream's commits.
    pub applied: OffsetSet,
    /// In no record.
    pub absent: OffsetSet,
    /// In an object of dead letters.
    pub dead: OffsetSet,
    /// Left out by a backfill in skip mode.
    pub skipped: BTreeMap<Epoch, OffsetSet>,
    /// Covered by a backfill's rows.
    pub superseded: BTreeMap<Epoch, OffsetSet>,
    /// Set aside, to be read again or to be superseded or skipped.
    pub parked: BTreeMap<Epoch, OffsetSet>,
    /// Offsets that were accounted for a second time. Always empty, unless the journal was written by something else.
    pub doubled: Vec<Doubled>,
}

/// Offsets that were accounted for twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubled {
    /// Which.
    pub offsets: OffsetSet,
    /// As what the second time.
    pub again: &'static str,
}

impl Account {
    /// Everything that is accounted for.
    pub fn all(&self) -> OffsetSet {
        let by_lock = self.skipped.values().chain(self.superseded.values()).chain(self.parked.values());
        [&self.applied, &self.absent, &self.dead]
            .into_iter()
            .chain(by_lock)
            .fold(OffsetSet::default(), |all, set| all.union(set))
    }

    /// Everything that is parked.
    pub fn all_parked(&self) -> OffsetSet {
        self.parked.values().fold(OffsetSet::default(), |all, set| all.union(set))
    }

    /// Before it every offset has found its end.
    pub fn final_before(&self) -> i64 {
        self.all_parked().first().unwrap_or(self.next)
    }

    /// Offsets before the next reading that are accounted for nowhere.
    pub fn gaps(&self) -> OffsetSet {
        OffsetSet::range(self.first, self.next).difference(&self.all())
    }

    /// Notes what of `offsets` has its place already.
    pub(super) fn note_doubles(&mut self, offsets: &OffsetSet, again: &'static str) {
        // Almost always everything new lies behind everything old.
        if offsets.first().is_none_or(|first| first >= self.next) {
            return;
        }
        let offsets = self.all().intersection(offsets);
        if !offsets.is_empty() {
            self.doubled.push(Doubled { offsets, again });
        }
    }
}
