//! The cell of a row, computed from its encoded values, so that both sides divide equal rows alike whatever their types.

use std::collections::HashMap;

use lakeshift_core::equivalence::CellKey;
use lakeshift_core::partition::PartitionField;
use lakeshift_core::value::Value;

use super::FingerprintError;
use crate::encode::{DecodedCell, RowEncoder};

/// Gives rows their cells.
#[derive(Debug, Clone)]
pub(crate) struct CellAssigner {
    fields: Vec<PartitionField>,
    /// The distinct columns of the fields, as positions among the compared columns.
    columns: Vec<usize>,
    /// Every field's position in `columns`.
    field_columns: Vec<usize>,
}

impl CellAssigner {
    /// An assigner for rows that are encoded as `columns`, named as in the new table.
    pub(crate) fn new(fields: &[PartitionField], columns: &[String]) -> Result<Self, FingerprintError> {
        let mut distinct = Vec::new();
        let mut field_columns = Vec::new();
        for field in fields {
            let not_compared = || FingerprintError::CellColumn { column: field.column.clone() };
            let position = columns.iter().position(|column| *column == field.column).ok_or_else(not_compared)?;
            let index = distinct.iter().position(|&known| known == position).unwrap_or_else(|| {
                distinct.push(position);
                distinct.len() - 1
            });
            field_columns.push(index);
        }
        Ok(Self { fields: fields.to_vec(), columns: distinct, field_columns })
    }

    /// The positions of the columns that decide the cell.
    pub(crate) fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// Replaces `out` by the encoded values that decide the row's cell.
    pub(crate) fn cell_bytes(&self, encoder: &RowEncoder<'_>, row: usize, out: &mut Vec<u8>) {
        out.clear();
        for column in &self.columns {
            encoder.encode_cell(*column, row, out);
        }
    }

    /// The cell of rows whose deciding values have these bytes.
    pub(crate) fn cell(&self, mut bytes: &[u8]) -> Result<CellKey, FingerprintError> {
        let mut values = Vec::with_capacity(self.columns.len());
        for _ in &self.columns {
            values.push(DecodedCell::read(&mut bytes)?);
        }
        let fields = self.fields.iter().zip(&self.field_columns);
        let transformed = fields.map(|(field, column)| transformed(field, &values[*column]));
        Ok(CellKey::new(transformed.collect::<Result<_, _>>()?))
    }
}

fn transformed(field: &PartitionField, value: &DecodedCell) -> Result<Option<Value>, FingerprintError> {
    if *value == DecodedCell::Null {
        return Ok(None);
    }
    let no_cell = |source| FingerprintError::CellValue { column: field.column.clone(), source };
    let value = value.to_value().ok_or_else(|| no_cell(None))?;
    field.transform.apply(&value).map(Some).map_err(|source| no_cell(Some(source)))
}

/// What is known of the rows that share some bytes; rows of one partition mostly follow each other.
#[derive(Debug)]
pub(crate) struct Memo<T> {
    positions: HashMap<Vec<u8>, usize>,
    values: Vec<T>,
    last: Option<(Vec<u8>, usize)>,
}

impl<T> Default for Memo<T> {
    fn default() -> Self {
        Self { positions: HashMap::new(), values: Vec::new(), last: None }
    }
}

impl<T> Memo<T> {
    /// Entries.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// What is kept for `bytes`, made by `make` the first time.
    pub(crate) fn get_or_insert<E>(&mut self, bytes: &[u8], make: impl FnOnce(&[u8]) -> Result<T, E>) -> Result<&mut T, E> {
        let position = match &self.last {
            Some((last, position)) if last == bytes => *position,
            _ => self.look_up(bytes, make)?,
        };
        Ok(&mut self.values[position])
    }

    fn look_up<E>(&mut self, bytes: &[u8], make: impl FnOnce(&[u8]) -> Result<T, E>) -> Result<usize, E> {
        let position = match self.positions.get(bytes) {
            Some(position) => *position,
            None => {
                self.values.push(make(bytes)?);
                self.positions.insert(bytes.to_vec(), self.values.len() - 1);
                self.values.len() - 1
            }
        };
        let (last, last_position) = self.last.get_or_insert_with(|| (Vec::new(), 0));
        last.clear();
        last.extend_from_slice(bytes);
        *last_position = position;
        Ok(position)
    }

    /// Takes all values and forgets their bytes.
    pub(crate) fn drain(&mut self) -> Vec<T> {
        self.positions.clear();
        self.last = None;
        std::mem::take(&mut self.values)
    }
}
