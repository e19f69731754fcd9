//! The canonical encoding of rows: equal rows have equal bytes, whatever Arrow types hold them, and rows that differ have
//! different bytes. `docs/equivalence.md` documents the layout; [`Encoding::VERSION`] numbers it.
//!
//! [`RowEncoder`] writes the rows of one batch; [`DecodedCell`] reads a cell back, which is also why two cells of
//! different value cannot have the same bytes. No value goes through text.

mod array;
mod decode;
mod number;

use arrow::array::{Array, RecordBatch};
use lakeshift_core::equivalence::Encoding;

use array::EncodeCell;
pub use decode::{DecodedCell, Malformed, cell_parts};
pub(crate) use number::{decimal_parts, float_bits, seconds_parts, write_decimal as write_decimal_cell};

/// The first byte of a cell: its class of types.
pub(crate) mod tag {
    pub(crate) const NULL: u8 = 0;
    pub(crate) const BOOLEAN: u8 = 1;
    pub(crate) const INTEGER: u8 = 2;
    pub(crate) const DECIMAL_128: u8 = 3;
    pub(crate) const DECIMAL_256: u8 = 4;
    pub(crate) const FLOAT: u8 = 5;
    pub(crate) const DATE: u8 = 6;
    pub(crate) const TIME: u8 = 7;
    pub(crate) const TIMESTAMP: u8 = 8;
    pub(crate) const TIMESTAMP_UTC: u8 = 9;
    pub(crate) const TEXT: u8 = 10;
    pub(crate) const BYTES: u8 = 11;
    pub(crate) const LIST: u8 = 12;
    pub(crate) const STRUCT: u8 = 13;
    pub(crate) const MAP: u8 = 14;
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

/// Writes the cells of one column.
pub(crate) struct CellEncoder<'a>(Box<dyn EncodeCell + 'a>);

impl<'a> CellEncoder<'a> {
    /// An encoder of the column `name`.
    ///
    /// # Errors
    /// [`EncodeError::Unsupported`].
    pub(crate) fn new(name: &str, array: &'a dyn Array, encoding: Encoding) -> Result<Self, EncodeError> {
        let unsupported =
            |found: array::Unsupported| EncodeError::Unsupported { column: name.to_owned(), data_type: found.0 };
        array::cell_encoder(array, encoding).map(Self).map_err(unsupported)
    }

    /// Appends the cell at `row`.
    pub(crate) fn encode(&self, row: usize, out: &mut Vec<u8>) {
        self.0.encode(row, out);
    }
}

/// Writes rows of one batch.
pub struct RowEncoder<'a> {
    cells: Vec<CellEncoder<'a>>,
}

impl<'a> RowEncoder<'a> {
    /// An encoder of these columns of `batch`, in this order.
    ///
    /// # Errors
    /// [`EncodeError`] when a column is absent or of a type that has no canonical form.
    pub fn new(batch: &'a RecordBatch, columns: &[String], encoding: Encoding) -> Result<Self, EncodeError> {
        let cell = |column: &String| {
            let array = batch.column_by_name(column).ok_or_else(|| EncodeError::NoColumn { column: column.clone() })?;
            CellEncoder::new(column, array.as_ref(), encoding)
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
