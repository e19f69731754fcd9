//! One reading of a side's differing cells.

use std::collections::BTreeSet;

use arrow::array::RecordBatch;
use futures::StreamExt;
use lakeshift_core::equivalence::CellKey;
use lakeshift_core::migration::Side;

use super::{DiffError, DiffRequest, SideReader};
use crate::encode::{DecodedCell, RowEncoder};
use crate::fingerprint::{CellAssigner, FingerprintError, Memo, RowHasher};

/// Distinct cell-deciding values that are remembered.
const MEMO_ENTRIES_MAX: usize = 16 * 1024;

/// Streams that are read at a time: every open file holds decoded rows.
const STREAMS_MAX: usize = 4;

/// The keys whose hash lies in one of `of` equal ranges.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) index: u64,
    pub(super) of: u64,
}

impl Part {
    /// Parts follow each other in the order of the hashes.
    fn has(self, key: u128) -> bool {
        let top = key >> 64;
        (top * u128::from(self.of)) >> 64 == u128::from(self.index)
    }
}

/// A row of a differing cell.
pub(super) struct Row<'r> {
    /// The hash of its key: of the whole row where there is none.
    pub(super) key: u128,
    /// The hash of the whole row.
    pub(super) hash: u128,
    /// Its encoding.
    pub(super) bytes: &'r [u8],
}

type Visit<'v> = dyn FnMut(Row<'_>) -> Result<(), DiffError> + Send + 'v;

/// Reads the rows of the differing cells.
pub(super) struct Scanner<'a> {
    request: &'a DiffRequest<'a>,
    reader: &'a dyn SideReader,
    assigner: CellAssigner,
    differing: BTreeSet<&'a CellKey>,
    key: Vec<usize>,
    rows: RowHasher,
    keys: RowHasher,
    values: RowHasher,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(request: &'a DiffRequest<'a>, reader: &'a dyn SideReader) -> Result<Self, DiffError> {
        let columns = &request.shape.columns;
        let position = |name: &String| {
            let not_compared = || DiffError::KeyColumn { column: name.clone() };
            columns.iter().position(|column| column == name).ok_or_else(not_compared)
        };
        let rows = RowHasher::new(request.shape.key);
        Ok(Self {
            request,
            reader,
            assigner: CellAssigner::new(&request.comparison.fields, columns)?,
            differing: request.comparison.differences.iter().map(|difference| &difference.cell).collect(),
            key: request.key.iter().map(position).collect::<Result<_, _>>()?,
            keys: rows.derived("lakeshift diff: keys"),
            values: rows.derived("lakeshift diff: values"),
            rows,
        })
    }

    pub(super) fn is_keyed(&self) -> bool {
        !self.key.is_empty()
    }

    /// Number of compared columns.
    pub(super) fn columns(&self) -> usize {
        self.request.shape.columns.len()
    }

    /// Positions of the key's columns among the compared ones.
    pub(super) fn key(&self) -> &[usize] {
        &self.key
    }

    /// The hash of one encoded value.
    pub(super) fn hash_value(&self, bytes: &[u8]) -> u64 {
        (self.values.hash(bytes) >> 64) as u64
    }

    /// The label of the cell that a row lies in.
    pub(super) fn cell_label(&self, cells: &[&[u8]]) -> Result<String, DiffError> {
        let cell = self.assigner.cell(&self.assigner.cell_bytes_of(cells))?;
        Ok(cell.label(&self.request.comparison.fields))
    }

    /// Visits the side's rows in differing cells whose key is in `part`.
    ///
    /// # Errors
    /// [`DiffError::Unstable`] when the cells have another number of rows than the fingerprint counted.
    pub(super) async fn scan(&self, side: Side, part: Part, visit: &mut Visit<'_>) -> Result<(), DiffError> {
        let scan_error = |source| DiffError::Scan { source };
        let streams = self.reader.open(side).await.map_err(scan_error)?;
        let mut streams = futures::stream::iter(streams).flatten_unordered(STREAMS_MAX);
        let mut pass = Pass { scanner: self, side, part, member: Memo::default(), found: 0 };
        while let Some(batch) = streams.next().await {
            pass.push(&batch.map_err(scan_error)?, visit)?;
        }
        let differences = &self.request.comparison.differences;
        let rows = |cell: &lakeshift_core::equivalence::CellDifference| match side {
            Side::Old => cell.old.rows,
            Side::New => cell.new.rows,
        };
        let expected = differences.iter().map(rows).sum();
        if pass.found == expected { Ok(()) } else { Err(DiffError::Unstable { side, expected, found: pass.found }) }
    }
}

struct Pass<'a> {
    scanner: &'a Scanner<'a>,
    side: Side,
    part: Part,
    /// Whether rows with these deciding values lie in a differing cell.
    member: Memo<bool>,
    found: u64,
}

impl Pass<'_> {
    fn push(&mut self, batch: &RecordBatch, visit: &mut Visit<'_>) -> Result<(), DiffError> {
        let scanner = self.scanner;
        let columns = match self.side {
            Side::Old => &scanner.request.old_columns,
            Side::New => &scanner.request.new_columns,
        };
        let encoder = RowEncoder::new(batch, columns, scanner.request.shape.encoding)?;
        let (mut bytes, mut other) = (Vec::new(), Vec::new());
        for row in 0..batch.num_rows() {
            scanner.assigner.cell_bytes(&encoder, row, &mut other);
            if !self.is_member(&other)? {
                continue;
            }
            self.found += 1;
            bytes.clear();
            encoder.encode_row(row, &mut bytes);
            let hash = scanner.rows.hash(&bytes);
            let key = if scanner.is_keyed() {
                other.clear();
                scanner.key.iter().for_each(|column| encoder.encode_cell(*column, row, &mut other));
                scanner.keys.hash(&other)
            } else {
                hash
            };
            if self.part.has(key) {
                visit(Row { key, hash, bytes: &bytes })?;
            }
        }
        Ok(())
    }

    fn is_member(&mut self, cell_bytes: &[u8]) -> Result<bool, DiffError> {
        if self.member.len() >= MEMO_ENTRIES_MAX {
            self.member.drain();
        }
        let scanner = self.scanner;
        let look_up = |bytes: &[u8]| Ok::<_, FingerprintError>(scanner.differing.contains(&scanner.assigner.cell(bytes)?));
        Ok(*self.member.get_or_insert(cell_bytes, look_up)?)
    }
}

/// A row's encoded cells, one slice a column.
pub(super) fn split(mut bytes: &[u8], columns: usize) -> Result<Vec<&[u8]>, DiffError> {
    let mut cells = Vec::with_capacity(columns);
    for _ in 0..columns {
        let before = bytes;
        DecodedCell::read(&mut bytes)?;
        cells.push(&before[..before.len() - bytes.len()]);
    }
    Ok(cells)
}
