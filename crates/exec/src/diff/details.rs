//! The second pass: of keys that differ, the columns that changed, the bags of duplicates, and the rows to show.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lakeshift_core::migration::Side;

use super::DiffError;
use super::keys::{Differing, KeyKind};
use super::scan::{Row, Scanner, split};

/// Distinct rows of one key that are kept to be shown: those with the least hashes.
const ROWS_KEPT_MAX: usize = 8;

/// What the second pass learns of the keys that need it.
pub(super) struct Details(HashMap<u128, Detail>);

struct Detail {
    kind: KeyKind,
    /// Of a changed key, for every column the old value's hash less the new one's.
    columns: Vec<u64>,
    /// Of a duplicate key, how many more rows of each hash the old side has.
    bag: HashMap<u128, i64>,
    /// The rows to show, where the key was chosen.
    kept: Option<BTreeMap<u128, KeptRow>>,
}

/// A row to show.
pub(super) struct KeptRow {
    /// Its encoding.
    pub(super) bytes: Vec<u8>,
    /// How often the old side has it.
    pub(super) old: u64,
    /// How often the new side has it.
    pub(super) new: u64,
}

/// A chosen key with its rows.
pub(super) struct KeptKey {
    pub(super) kind: KeyKind,
    pub(super) key: u128,
    pub(super) rows: BTreeMap<u128, KeptRow>,
}

impl Details {
    pub(super) fn new(differing: &Differing, chosen: &BTreeSet<u128>, columns: usize) -> Self {
        let detail = |(key, kind): (u128, KeyKind)| {
            let kept = chosen.contains(&key).then(BTreeMap::new);
            let columns = if kind == KeyKind::Changed { vec![0; columns] } else { Vec::new() };
            let wanted = kept.is_some() || matches!(kind, KeyKind::Changed | KeyKind::Duplicate);
            wanted.then(|| (key, Detail { kind, columns, bag: HashMap::new(), kept }))
        };
        Self(differing.kinds().filter_map(detail).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn see(&mut self, side: Side, row: &Row<'_>, scanner: &Scanner<'_>) -> Result<(), DiffError> {
        let Some(detail) = self.0.get_mut(&row.key) else { return Ok(()) };
        match detail.kind {
            KeyKind::Changed => {
                let cells = split(row.bytes, scanner.columns())?;
                for (difference, cell) in detail.columns.iter_mut().zip(cells) {
                    let hash = scanner.hash_value(cell);
                    *difference = match side {
                        Side::Old => difference.wrapping_add(hash),
                        Side::New => difference.wrapping_sub(hash),
                    };
                }
            }
            KeyKind::Duplicate => *detail.bag.entry(row.hash).or_default() += if side == Side::Old { 1 } else { -1 },
            KeyKind::Missing | KeyKind::Extra => {}
        }
        if let Some(kept) = &mut detail.kept {
            keep(kept, side, row);
        }
        Ok(())
    }

    /// Missing and extra rows of duplicate keys.
    pub(super) fn bag_counts(&self) -> (u64, u64) {
        let differences = self.0.values().flat_map(|detail| detail.bag.values());
        differences.fold((0, 0), |(missing, extra), difference| match difference {
            1.. => (missing + difference.unsigned_abs(), extra),
            _ => (missing, extra + difference.unsigned_abs()),
        })
    }

    /// Adds one to every column of every changed key in which it differs.
    pub(super) fn add_unequal(&self, unequal: &mut [u64]) {
        for detail in self.0.values() {
            for (count, difference) in unequal.iter_mut().zip(&detail.columns) {
                *count += u64::from(*difference != 0);
            }
        }
    }

    pub(super) fn into_kept(self) -> Vec<KeptKey> {
        let kept = |(key, detail): (u128, Detail)| detail.kept.map(|rows| KeptKey { kind: detail.kind, key, rows });
        self.0.into_iter().filter_map(kept).collect()
    }
}

/// Keeps the rows of least hash, whatever their order: a row that was dropped for a smaller one is never taken again.
fn keep(kept: &mut BTreeMap<u128, KeptRow>, side: Side, row: &Row<'_>) {
    let entry = kept.entry(row.hash).or_insert_with(|| KeptRow { bytes: row.bytes.to_vec(), old: 0, new: 0 });
    match side {
        Side::Old => entry.old += 1,
        Side::New => entry.new += 1,
    }
    if kept.len() > ROWS_KEPT_MAX {
        kept.pop_last();
    }
}
