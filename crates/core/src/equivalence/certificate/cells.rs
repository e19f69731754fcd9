//! The cells of a certificate: both sides' sums, written once where they agree.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::equivalence::cell::{CellKey, CellSum};
use crate::equivalence::fingerprint::Fingerprint;

/// The sums of one cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Written", from = "Written")]
pub struct CertifiedCell {
    /// The cell.
    pub cell: CellKey,
    /// The old side; no rows where it has no such cell.
    pub old: CellSum,
    /// The new side; no rows where it has no such cell.
    pub new: CellSum,
}

/// `both`, or `old` and `new` of which a side without rows is left out.
#[derive(Serialize, Deserialize)]
struct Written {
    cell: CellKey,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    both: Option<CellSum>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    old: Option<CellSum>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    new: Option<CellSum>,
}

impl From<CertifiedCell> for Written {
    fn from(cell: CertifiedCell) -> Self {
        let CertifiedCell { cell, old, new } = cell;
        let side = |sum: CellSum| (sum != CellSum::default()).then_some(sum);
        if old == new {
            return Self { cell, both: Some(old), old: None, new: None };
        }
        Self { cell, both: None, old: side(old), new: side(new) }
    }
}

impl From<Written> for CertifiedCell {
    fn from(written: Written) -> Self {
        let side = |sum: Option<CellSum>| sum.or(written.both).unwrap_or_default();
        Self { old: side(written.old), new: side(written.new), cell: written.cell }
    }
}

/// Every cell of the first `depth` fields that has rows on either side, in order.
pub(super) fn both(old: &Fingerprint, new: &Fingerprint, depth: usize) -> Vec<CertifiedCell> {
    let sides = [old, new].map(|side| {
        let mut side = side.clone();
        side.coarsen(depth);
        side
    });
    let keys: BTreeSet<&CellKey> = sides.iter().flat_map(|side| side.cells().keys()).collect();
    let sum = |side: &Fingerprint, key: &CellKey| side.cells().get(key).map(|print| print.sum).unwrap_or_default();
    keys.into_iter()
        .map(|key| CertifiedCell { cell: key.clone(), old: sum(&sides[0], key), new: sum(&sides[1], key) })
        .collect()
}

/// The cells that are not the same in both lists.
pub(super) fn differing(a: &[CertifiedCell], b: &[CertifiedCell]) -> Vec<CellKey> {
    let by_key = |cells: &[CertifiedCell]| -> BTreeMap<CellKey, (CellSum, CellSum)> {
        cells.iter().map(|cell| (cell.cell.clone(), (cell.old, cell.new))).collect()
    };
    let (a, b) = (by_key(a), by_key(b));
    let keys: BTreeSet<&CellKey> = a.keys().chain(b.keys()).collect();
    keys.into_iter().filter(|key| a.get(*key) != b.get(*key)).cloned().collect()
}
