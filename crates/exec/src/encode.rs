//! The canonical encoding of rows: equal rows have equal bytes, whatever Arrow types hold them, and rows that differ have
//! different bytes. `docs/equivalence.md` documents the layout; [`Encoding::VERSION`] numbers it.
//!
//! [`RowEncoder`] writes the rows of one batch; [`DecodedCell`] reads a cell back, which is also why two cells of
//! different value cannot have the same bytes. No value goes through text.

mod array;
mod decode;
mod number;

use arrow::array::RecordBatch;
use lakeshift_core::equivalence::Encoding;

use array::EncodeCell;
pub use decode::{DecodedCell, Malformed};

/// The first byte of a cell: its class of types.
mod tag {
    pub(super) const NULL: u8 = 0;
    pub(super) const BOOLEAN: u8 = 1;
    pub(super) const INTEGER: u8 = 2;
    pub(super) const DECIMAL_128: u8 = 3;
    pub(super) const DECIMAL_256: u8 = 4;
    pub(super) const FLOAT: u8 = 5;
    pub(super) const DATE: u8 = 6;
    pub(super) const TIME: u8 = 7;
    pub(super) const TIMESTAMP: u8 = 8;
    pub(super) const TIMESTAMP_UTC: u8 = 9;
    pub(super) const TEXT: u8 = 10;
    pub(super) const BYTES: u8 = 11;
    pub(super) const LIST: u8 = 12;
    pub(super) const STRUCT: u8 = 13;
    pub(super) const MAP: u8 = 14;
}

/// Why the rows of a batch cannot be encoded.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EncodeError {
    /// A batch lacks a column that was to be compared.
    #[error("the scan returned no column {column}, which is to be compared; this is a defect of Lakeshift")]
    NoColumn {
        /// The column.
        column: String,
    },
    /// A type whose values have no canonical form here; the column cannot be compared.
    #[error("column {column} has the type {data_type}, whose values Lakeshift cannot compare; cast it in transform.sql")]
    Unsupported {
        /// The column.
        column: String,
        /// Its Arrow type.
        data_type: String,
    },
}

/// Writes rows of one batch.
pub struct RowEncoder<'a> {
    cells: Vec<Box<dyn EncodeCell + 'a>>,
}

impl<'a> RowEncoder<'a> {
    /// An encoder of these columns of `batch`, in this order.
    ///
    /// # Errors
    /// [`EncodeError`] when a column is absent or of a type that has no canonical form.
    pub fn new(batch: &'a RecordBatch, columns: &[String], encoding: Encoding) -> Result<Self, EncodeError> {
        let cell = |column: &String| {
            let array = batch.column_by_name(column).ok_or_else(|| EncodeError::NoColumn { column: column.clone() })?;
            array::cell_encoder(array.as_ref(), encoding)
                .map_err(|unsupported| EncodeError::Unsupported { column: column.clone(), data_type: unsupported.0 })
        };
        Ok(Self { cells: columns.iter().map(cell).collect::<Result<_, _>>()? })
    }

    /// Appends the row's cells, in order.
    pub fn encode_row(&self, row: usize, out: &mut Vec<u8>) {
        for cell in &self.cells {
            cell.encode(row, out);
        }
    }

    /// Appends one cell: that of the `column`-th column given to [`new`](Self::new).
    pub fn encode_cell(&self, column: usize, row: usize, out: &mut Vec<u8>) {
        if let Some(cell) = self.cells.get(column) {
            cell.encode(row, out);
        }
    }
}

/// A length as LEB128: seven bits a byte, least significant first; the shortest form only.
fn write_length(mut length: usize, out: &mut Vec<u8>) {
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}
