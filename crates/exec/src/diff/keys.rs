//! The first pass: every key's rows on both sides, as two counts and one sum.

use std::collections::HashMap;

use lakeshift_core::migration::Side;

use super::scan::Row;

#[derive(Debug, Clone, Copy, Default)]
struct KeyCount {
    old: u64,
    new: u64,
    /// Hashes of the old rows less those of the new ones: zero when the key's rows are the same bag on both sides.
    sum: u128,
}

/// How the rows of a key differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum KeyKind {
    /// More of it on the old side; with a key, none on the new.
    Missing,
    /// More of it on the new side; with a key, none on the old.
    Extra,
    /// One row on either side, not the same.
    Changed,
    /// On both sides, more than once on one: to be compared as a bag.
    Duplicate,
}

impl KeyKind {
    pub(super) const ALL: [Self; 4] = [Self::Missing, Self::Extra, Self::Changed, Self::Duplicate];
}

/// All keys of a part.
#[derive(Debug, Default)]
pub(super) struct Keys(HashMap<u128, KeyCount>);

impl Keys {
    pub(super) fn count(&mut self, side: Side, row: &Row<'_>) {
        let count = self.0.entry(row.key).or_default();
        match side {
            Side::Old => {
                count.old += 1;
                count.sum = count.sum.wrapping_add(row.hash);
            }
            Side::New => {
                count.new += 1;
                count.sum = count.sum.wrapping_sub(row.hash);
            }
        }
    }

    /// Keys that stand in more than one row of a side.
    pub(super) fn duplicates(&self) -> u64 {
        self.0.values().filter(|count| count.old > 1 || count.new > 1).count() as u64
    }

    /// The keys whose rows differ.
    pub(super) fn into_differing(mut self, keyed: bool) -> Differing {
        self.0.retain(|_, count| count.old != count.new || count.sum != 0);
        self.0.shrink_to_fit();
        Differing { keys: self.0, keyed }
    }
}

/// The keys of a part that differ.
pub(super) struct Differing {
    keys: HashMap<u128, KeyCount>,
    keyed: bool,
}

/// Rows that a part adds to the totals, those of duplicate keys left out.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) missing: u64,
    pub(super) extra: u64,
    pub(super) changed: u64,
}

impl Differing {
    /// Every differing key's hash and kind, in no order.
    pub(super) fn kinds(&self) -> impl Iterator<Item = (u128, KeyKind)> + '_ {
        self.keys.iter().map(|(key, count)| (*key, self.kind(count)))
    }

    fn kind(&self, count: &KeyCount) -> KeyKind {
        match (count.old, count.new) {
            (old, new) if !self.keyed => {
                if old > new {
                    KeyKind::Missing
                } else {
                    KeyKind::Extra
                }
            }
            (_, 0) => KeyKind::Missing,
            (0, _) => KeyKind::Extra,
            (1, 1) => KeyKind::Changed,
            _ => KeyKind::Duplicate,
        }
    }

    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for count in self.keys.values() {
            match self.kind(count) {
                KeyKind::Missing => counts.missing += count.old - count.new,
                KeyKind::Extra => counts.extra += count.new - count.old,
                KeyKind::Changed => counts.changed += 1,
                KeyKind::Duplicate => {}
            }
        }
        counts
    }
}
