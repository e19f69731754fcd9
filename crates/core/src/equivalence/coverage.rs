//! What of each side was read in this validation, what was taken from an earlier reading, and what was proven without
//! reading.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::cell::CellKey;
use super::fingerprint::{Comparison, Fingerprint};

/// Files with their rows and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Amount {
    /// Data files.
    pub files: u64,
    /// Rows, where the table's metadata or the reading told them.
    pub rows: u64,
    /// Bytes of the files.
    pub bytes: u64,
}

/// One side's files by how their rows were told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SideCoverage {
    /// Read in this validation.
    pub now: Amount,
    /// Sums taken from an earlier reading of the same files under the same key.
    pub earlier: Amount,
    /// The same immutable files on both sides, with the same deletes, columns and partition values: not read.
    pub metadata: Amount,
}

/// Files that both tables register, proven to hold the same rows without being read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvenFiles {
    /// The old table's partition, as people read it.
    pub partition: String,
    /// What lies in it.
    pub amount: Amount,
}

/// A cell's rows on one side by how they were told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RowOrigins {
    /// Read in this validation.
    pub now: u64,
    /// Taken from an earlier reading.
    pub earlier: u64,
}

/// One cell of the comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellCoverage {
    /// The cell.
    pub cell: CellKey,
    /// Whether its sums differ.
    pub differs: bool,
    /// The old side's rows.
    pub old: RowOrigins,
    /// The new side's rows.
    pub new: RowOrigins,
}

/// One side's sums by how they were told; together they are the side's fingerprint.
#[derive(Debug, Clone)]
pub struct Readings {
    /// Of files read in this validation.
    pub now: Fingerprint,
    /// Of files read earlier.
    pub earlier: Fingerprint,
}

/// Every cell of `comparison` with the origin of its rows, in order.
pub fn coverage(comparison: &Comparison, old: &Readings, new: &Readings) -> Vec<CellCoverage> {
    let depth = comparison.fields.len();
    let sides = [&old.now, &old.earlier, &new.now, &new.earlier].map(|print| {
        let mut print = print.clone();
        print.coarsen(depth);
        print
    });
    let rows = |side: &Fingerprint, cell: &CellKey| side.cells().get(cell).map_or(0, |print| print.sum.rows);
    let differing: BTreeSet<&CellKey> = comparison.differences.iter().map(|difference| &difference.cell).collect();
    let cells: BTreeSet<&CellKey> = sides.iter().flat_map(|side| side.cells().keys()).collect();
    let one = |cell: &CellKey| CellCoverage {
        cell: cell.clone(),
        differs: differing.contains(cell),
        old: RowOrigins { now: rows(&sides[0], cell), earlier: rows(&sides[1], cell) },
        new: RowOrigins { now: rows(&sides[2], cell), earlier: rows(&sides[3], cell) },
    };
    cells.into_iter().map(one).collect()
}
