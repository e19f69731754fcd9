//! What every step of the difference needs: columns, hash functions and cells.

use std::collections::BTreeSet;

use arrow::array::RecordBatch;
use lakeshift_core::equivalence::{CellKey, Tolerance};
use lakeshift_core::migration::Side;

use super::join::Rows;
use super::{DiffError, DiffRequest};
use crate::encode::RowEncoder;
use crate::fingerprint::{CellAssigner, FingerprintError, Memo, RowHasher};

/// Distinct cell-deciding values that are remembered.
pub(super) const MEMO_ENTRIES_MAX: usize = 16 * 1024;

/// The hashes by which a row is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RowId {
    /// Of its key: of the whole row where there is none.
    pub(super) key: u128,
    /// Of the whole row.
    pub(super) row: u128,
}

/// The request with what is derived from it.
pub(super) struct Context<'a> {
    pub(super) request: &'a DiffRequest<'a>,
    assigner: CellAssigner,
    differing: BTreeSet<&'a CellKey>,
    key: Vec<usize>,
    rows: RowHasher,
    keys: RowHasher,
}

impl<'a> Context<'a> {
    pub(super) fn new(request: &'a DiffRequest<'a>) -> Result<Self, DiffError> {
        let columns = &request.shape.columns;
        let position = |name: &String| {
            let not_compared = || DiffError::KeyColumn { column: name.clone() };
            columns.iter().position(|column| column == name).ok_or_else(not_compared)
        };
        let rows = RowHasher::new(request.shape.key);
        Ok(Self {
            request,
            assigner: CellAssigner::new(&request.comparison.fields, columns)?,
            differing: request.comparison.differences.iter().map(|difference| &difference.cell).collect(),
            key: request.key.iter().map(position).collect::<Result<_, _>>()?,
            keys: rows.derived("lakeshift diff: keys"),
            rows,
        })
    }

    pub(super) fn is_keyed(&self) -> bool {
        !self.key.is_empty()
    }

    /// The compared columns, named as in the new table.
    pub(super) fn columns(&self) -> &'a [String] {
        &self.request.shape.columns
    }

    /// The compared columns, named as on this side.
    pub(super) fn columns_of(&self, side: Side) -> &'a [String] {
        match side {
            Side::Old => &self.request.old_columns,
            Side::New => &self.request.new_columns,
        }
    }

    /// Positions of the key's columns among the compared ones.
    pub(super) fn key(&self) -> &[usize] {
        &self.key
    }

    /// The tolerance of a column, where rows are paired by key.
    pub(super) fn tolerance(&self, column: usize) -> Option<&'a Tolerance> {
        let tolerances = &self.request.tolerances;
        tolerances.get(column).and_then(Option::as_ref).filter(|_| self.is_keyed())
    }

    /// An encoder of the compared columns of a batch whose columns are named as in the new table.
    pub(super) fn encoder<'b>(&self, batch: &'b RecordBatch) -> Result<RowEncoder<'b>, DiffError> {
        Ok(RowEncoder::new(batch, self.columns(), self.request.shape.encoding)?)
    }

    /// The hashes of a row; `bytes` is scratch space.
    pub(super) fn row_id(&self, encoder: &RowEncoder<'_>, row: usize, bytes: &mut Vec<u8>) -> RowId {
        bytes.clear();
        encoder.encode_row(row, bytes);
        let hash = self.rows.hash(bytes);
        if !self.is_keyed() {
            return RowId { key: hash, row: hash };
        }
        bytes.clear();
        self.key.iter().for_each(|column| encoder.encode_cell(*column, row, bytes));
        RowId { key: self.keys.hash(bytes), row: hash }
    }

    /// Replaces `out` by the encoded values that decide the row's cell.
    pub(super) fn cell_bytes(&self, encoder: &RowEncoder<'_>, row: usize, out: &mut Vec<u8>) {
        self.assigner.cell_bytes(encoder, row, out);
    }

    /// Whether rows with these deciding values lie in a differing cell.
    pub(super) fn differs(&self, cell_bytes: &[u8]) -> Result<bool, FingerprintError> {
        Ok(self.differing.contains(&self.assigner.cell(cell_bytes)?))
    }

    /// The label of every row's cell: the old one where the row has an old side.
    pub(super) fn labels(&self, rows: &Rows) -> Result<Vec<String>, DiffError> {
        let encoders = [self.encoder(&rows.old)?, self.encoder(&rows.new)?];
        let (mut memo, mut bytes) = (Memo::default(), Vec::new());
        let label =
            |bytes: &[u8]| Ok::<_, FingerprintError>(self.assigner.cell(bytes)?.label(&self.request.comparison.fields));
        let one = |row: usize| {
            let encoder = &encoders[usize::from(rows.has_old.is_null(row))];
            self.cell_bytes(encoder, row, &mut bytes);
            Ok(memo.get_or_insert(&bytes, label)?.clone())
        };
        (0..rows.len()).map(one).collect()
    }
}
