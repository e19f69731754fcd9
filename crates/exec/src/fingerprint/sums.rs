//! The sums of the cells that a stream has met.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use lakeshift_core::equivalence::{CellKey, CellPrint, CellSum, ColumnSums, Fingerprint};

use super::FingerprintError;
use super::columns::Sink;
use super::universal::Mixers;

/// Values whose cell is found without a look into the map; a power of two.
const RECENT: usize = 4096;

/// Where [`Sums::recent`] has a hash. The high half of a universal hash is the more uniform one.
#[inline(always)]
fn place(hash: u128) -> usize {
    (hash >> 64) as usize % RECENT
}

/// Takes the low half of a hash as it is: it is keyed and uniform already.
#[derive(Default)]
struct Low64(u64);

impl Hasher for Low64 {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u128(&mut self, value: u128) {
        self.0 = value as u64;
    }
}

/// Cells by position, and the positions of the cells by the universal hash of the values that decide them.
#[derive(Debug)]
pub(super) struct Sums {
    columns: usize,
    /// Of cell-deciding values, which are finer than cells: the cell's position.
    known: HashMap<u128, usize, BuildHasherDefault<Low64>>,
    /// Some of them, each at the place that its hash says.
    recent: Box<[Option<(u128, usize)>]>,
    positions: HashMap<Vec<u8>, usize>,
    cells: Vec<CellKey>,
    rows: Vec<CellSum>,
    /// For each column, the sums of all cells.
    column_sums: Vec<Vec<u64>>,
}

impl Sums {
    pub(super) fn new(columns: usize) -> Self {
        Self {
            columns,
            known: HashMap::default(),
            recent: vec![None; RECENT].into(),
            positions: HashMap::new(),
            cells: Vec::new(),
            rows: Vec::new(),
            column_sums: vec![Vec::new(); columns],
        }
    }

    /// Entries that are remembered.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// The position of the cell of values with this hash, if they were met not long ago.
    #[inline(always)]
    pub(super) fn recent(&self, hash: u128) -> Option<usize> {
        self.recent[place(hash)].filter(|(known, _)| *known == hash).map(|(_, position)| position)
    }

    /// As [`recent`](Self::recent), of all values; `cell` tells which cell it is, the first time.
    pub(super) fn position(
        &mut self,
        hash: u128,
        cell: impl FnOnce() -> Result<CellKey, FingerprintError>,
    ) -> Result<usize, FingerprintError> {
        let position = match self.known.get(&hash) {
            Some(position) => *position,
            None => {
                let position = self.cell_position(cell()?);
                self.known.insert(hash, position);
                position
            }
        };
        self.recent[place(hash)] = Some((hash, position));
        Ok(position)
    }

    fn cell_position(&mut self, cell: CellKey) -> usize {
        // Cells are ordered, not hashed; their text stands for them.
        let text = format!("{:?}", cell.values()).into_bytes();
        let next = self.cells.len();
        let position = *self.positions.entry(text).or_insert(next);
        if position == next {
            self.cells.push(cell);
            self.rows.push(CellSum::default());
            self.column_sums.iter_mut().for_each(|sums| sums.push(0));
        }
        position
    }

    /// Counts rows by the images of their hashes.
    pub(super) fn add_rows(&mut self, positions: &[usize], images: &[u128]) {
        for (position, image) in positions.iter().zip(images) {
            let cell = &mut self.rows[*position];
            cell.rows += 1;
            cell.sum = cell.sum.wrapping_add(*image);
        }
    }

    /// A column's sums, by position.
    pub(super) fn column(&mut self, column: usize) -> &mut [u64] {
        &mut self.column_sums[column]
    }

    /// Moves all sums into `total` and forgets what was remembered.
    pub(super) fn fold_into(&mut self, total: &mut Fingerprint) {
        for (position, cell) in self.cells.iter().enumerate() {
            let columns = ColumnSums(self.column_sums.iter().map(|sums| sums[position]).collect());
            total.add_cell(cell, &CellPrint { sum: self.rows[position], columns });
        }
        *self = Self::new(self.columns);
    }
}

/// Adds the hashes of one column to the rows' hashes and to the sum of the only cell that the rows lie in.
pub(super) struct InOneCell<'a> {
    pub(super) mixers: Mixers,
    pub(super) rows: &'a mut [u128],
    pub(super) sum: &'a mut u64,
}

impl Sink for InOneCell<'_> {
    #[inline(always)]
    fn take(&mut self, hashes: impl Iterator<Item = u128>) {
        let (mixers, mut sum) = (self.mixers, *self.sum);
        for (row, hash) in self.rows.iter_mut().zip(hashes) {
            *row = row.wrapping_add(hash);
            sum = sum.wrapping_add(mixers.mixed(hash));
        }
        *self.sum = sum;
    }
}

/// As [`InOneCell`], for rows of several cells.
pub(super) struct InCells<'a> {
    pub(super) mixers: Mixers,
    pub(super) rows: &'a mut [u128],
    pub(super) positions: &'a [usize],
    pub(super) sums: &'a mut [u64],
}

impl Sink for InCells<'_> {
    #[inline(always)]
    fn take(&mut self, hashes: impl Iterator<Item = u128>) {
        let mixers = self.mixers;
        for ((row, position), hash) in self.rows.iter_mut().zip(self.positions).zip(hashes) {
            *row = row.wrapping_add(hash);
            self.sums[*position] = self.sums[*position].wrapping_add(mixers.mixed(hash));
        }
    }
}
