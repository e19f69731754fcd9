//! [`Fingerprint`]: a table told by the sums of its cells; [`compare`]: where two tables differ.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::cell::{CellKey, CellSum, ColumnSums};
use super::key::{Encoding, ValidationKey};
use crate::partition::PartitionField;

/// What a fingerprint was taken over and how; equal shapes make two fingerprints comparable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FingerprintShape {
    /// How values became bytes.
    pub encoding: Encoding,
    /// The key of the row hashes.
    pub key: ValidationKey,
    /// The compared columns, named as in the new table, in the order in which they were encoded.
    pub columns: Vec<String>,
    /// The refinement's fields.
    pub fields: Vec<PartitionField>,
}

/// The rows of one cell, told by their number and their sums.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CellPrint {
    /// Rows and the sum of their hashes.
    pub sum: CellSum,
    /// For every compared column, the sum of its values' hashes.
    pub columns: ColumnSums,
}

impl CellPrint {
    /// Adds the rows of `other`.
    pub fn add(&mut self, other: &Self) {
        self.sum = self.sum.plus(other.sum);
        self.columns.add(&other.columns);
    }
}

/// One table at one version, or one file of it: a [`CellPrint`] for every cell that has rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    shape: FingerprintShape,
    /// How many of the shape's fields divide the cells.
    depth: usize,
    #[serde(with = "cell_list")]
    cells: BTreeMap<CellKey, CellPrint>,
}

/// Why two fingerprints say nothing of each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotComparable {
    /// Another key, encoding, list of columns or refinement.
    #[error("the two fingerprints were not taken alike: {part} differs; take both again in one validation")]
    Shape {
        /// What differs.
        part: &'static str,
    },
    /// More rows are to be subtracted than there are, or hashes are left where no row is.
    #[error("the sums to subtract are not part of cell {cell}; take the fingerprint again from the files")]
    NotPart {
        /// The cell.
        cell: String,
    },
}

impl Fingerprint {
    /// A table without rows.
    pub fn empty(shape: FingerprintShape) -> Self {
        let depth = shape.fields.len();
        Self { shape, depth, cells: BTreeMap::new() }
    }

    /// What it was taken over and how.
    pub fn shape(&self) -> &FingerprintShape {
        &self.shape
    }

    /// The fields that divide the cells: all of the refinement, or its first ones after [`coarsen`](Self::coarsen).
    pub fn fields(&self) -> &[PartitionField] {
        &self.shape.fields[..self.depth.min(self.shape.fields.len())]
    }

    /// The refinement's last fields, given up to bound the number of cells.
    pub fn given_up(&self) -> &[PartitionField] {
        &self.shape.fields[self.depth.min(self.shape.fields.len())..]
    }

    /// The cells that have rows.
    pub fn cells(&self) -> &BTreeMap<CellKey, CellPrint> {
        &self.cells
    }

    /// Adds rows to the cell of `key`, which has a value for every field of the refinement.
    pub fn add_cell(&mut self, key: &CellKey, print: &CellPrint) {
        if print.sum.rows > 0 {
            self.cells.entry(key.prefix(self.depth)).or_default().add(print);
        }
    }

    /// All cells together.
    pub fn total(&self) -> CellSum {
        self.cells.values().fold(CellSum::default(), |total, cell| total.plus(cell.sum))
    }

    /// Rolls the cells up to the first `depth` fields; finer cells stay as they are when `depth` is not less than now.
    pub fn coarsen(&mut self, depth: usize) {
        if depth >= self.depth {
            return;
        }
        self.depth = depth;
        for (key, print) in std::mem::take(&mut self.cells) {
            self.add_cell(&key, &print);
        }
    }

    /// Gives up the refinement's last fields until there are at most `cells_max` cells (at least one).
    pub fn bound(&mut self, cells_max: usize) {
        while self.cells.len() > cells_max.max(1) {
            self.coarsen(self.depth.saturating_sub(1));
        }
    }

    /// Adds the rows of another part of the same table.
    ///
    /// # Errors
    /// [`NotComparable::Shape`]; nothing is changed then.
    pub fn add(&mut self, other: &Self) -> Result<(), NotComparable> {
        self.same_shape(other)?;
        self.coarsen(other.depth);
        for (key, print) in &other.cells {
            self.add_cell(key, print);
        }
        Ok(())
    }

    /// Takes away the rows of a part of the table that is gone.
    ///
    /// # Errors
    /// [`NotComparable::Shape`], or [`NotComparable::NotPart`] when `other` was never added; nothing is changed then.
    pub fn subtract(&mut self, other: &Self) -> Result<(), NotComparable> {
        self.same_shape(other)?;
        let (mut rest, mut other) = (self.clone(), other.clone());
        rest.coarsen(other.depth);
        other.coarsen(rest.depth);
        for (key, print) in &other.cells {
            let not_part = || NotComparable::NotPart { cell: key.label(rest.fields()) };
            let left = rest.cells.get(key).and_then(|cell| cell.sum.minus(print.sum)).ok_or_else(not_part)?;
            if left.rows == 0 && left.sum != 0 {
                return Err(not_part());
            }
            if left.rows == 0 {
                rest.cells.remove(key);
            } else if let Some(cell) = rest.cells.get_mut(key) {
                cell.sum = left;
                cell.columns.subtract(&print.columns);
            }
        }
        *self = rest;
        Ok(())
    }

    /// SHA-256 (hex) over the shape and every cell.
    pub fn digest(&self) -> Result<String, serde_json::Error> {
        Ok(Sha256::digest(serde_json::to_vec(self)?).iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn same_shape(&self, other: &Self) -> Result<(), NotComparable> {
        let (a, b) = (&self.shape, &other.shape);
        let parts = [
            ("the key", a.key == b.key),
            ("the encoding", a.encoding == b.encoding),
            ("the list of columns", a.columns == b.columns),
            ("the refinement", a.fields == b.fields),
        ];
        match parts.into_iter().find(|(_, same)| !same) {
            Some((part, _)) => Err(NotComparable::Shape { part }),
            None => Ok(()),
        }
    }
}

/// A cell whose rows are not the same on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellDifference {
    /// The cell.
    pub cell: CellKey,
    /// The old side; no rows where it has no such cell.
    pub old: CellSum,
    /// The new side; no rows where it has no such cell.
    pub new: CellSum,
    /// The columns whose sums differ, named as in the new table.
    pub columns: Vec<String>,
}

/// Two fingerprints side by side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// The fields that divide the cells.
    pub fields: Vec<PartitionField>,
    /// Fields of the refinement that were given up to bound the number of cells.
    pub given_up: Vec<PartitionField>,
    /// Cells with rows on either side.
    pub cells: u64,
    /// All rows of the old side.
    pub old: CellSum,
    /// All rows of the new side.
    pub new: CellSum,
    /// The cells that differ, in order.
    pub differences: Vec<CellDifference>,
}

impl Comparison {
    /// A bound, as a base-2 logarithm, on the probability that tables of these sizes that differ have the same sums: with
    /// *n* rows on both sides together *n*·2^-96 (the universal hash) and *n*·2^-127 (the block cipher), here as
    /// 2^(⌈log2 *n*⌉ − 95); see `docs/equivalence.md`.
    pub fn collision_bound_log2(&self) -> i32 {
        let rows = (u128::from(self.old.rows) + u128::from(self.new.rows)).max(1);
        let log2_up = u128::BITS - (rows - 1).leading_zeros();
        log2_up.cast_signed() - 95
    }
}

/// Compares cell by cell, in the finer cells that both have.
///
/// # Errors
/// [`NotComparable::Shape`] when they were not taken alike.
pub fn compare(old: &Fingerprint, new: &Fingerprint) -> Result<Comparison, NotComparable> {
    old.same_shape(new)?;
    let (mut old, mut new) = (old.clone(), new.clone());
    old.coarsen(new.depth);
    new.coarsen(old.depth);
    let cells: std::collections::BTreeSet<&CellKey> = old.cells.keys().chain(new.cells.keys()).collect();
    let none = CellPrint::default();
    let difference = |cell: &&CellKey| {
        let (a, b) = (old.cells.get(*cell).unwrap_or(&none), new.cells.get(*cell).unwrap_or(&none));
        let names = || a.columns.differing(&b.columns).into_iter().filter_map(|at| old.shape.columns.get(at).cloned());
        (a.sum != b.sum).then(|| CellDifference {
            cell: (*cell).clone(),
            old: a.sum,
            new: b.sum,
            columns: names().collect(),
        })
    };
    Ok(Comparison {
        fields: old.fields().to_vec(),
        given_up: old.given_up().to_vec(),
        cells: cells.len() as u64,
        old: old.total(),
        new: new.total(),
        differences: cells.iter().filter_map(difference).collect(),
    })
}

/// JSON has no maps by compound keys: a list of cells, in order.
mod cell_list {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{CellKey, CellPrint};

    #[derive(Serialize)]
    struct CellRef<'a> {
        cell: &'a CellKey,
        #[serde(flatten)]
        print: &'a CellPrint,
    }

    #[derive(Deserialize)]
    struct Cell {
        cell: CellKey,
        #[serde(flatten)]
        print: CellPrint,
    }

    pub(super) fn serialize<S: Serializer>(cells: &BTreeMap<CellKey, CellPrint>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(cells.iter().map(|(cell, print)| CellRef { cell, print }))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<CellKey, CellPrint>, D::Error> {
        let cells = Vec::<Cell>::deserialize(deserializer)?;
        Ok(cells.into_iter().map(|cell| (cell.cell, cell.print)).collect())
    }
}
