//! The columns that merging needs beside the table's own: where a row's key stands, and what makes a record a delete.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType as ArrowType, SchemaRef};
use lakeshift_core::hudi::{MergeRule, RecordKey};
use lakeshift_core::schema::{DataType, Field, TableSchema};

use super::error::{HudiError, damaged, unsupported};
use crate::types::{self, TypeError};

/// Hudi's column of record keys.
const KEY: &str = "_hoodie_record_key";
/// A record with true there is a delete.
const IS_DELETED: &str = "_hoodie_is_deleted";
/// How Hudi writes null and the empty text in keys of several columns.
const NULL_PART: &str = "__null__";
const EMPTY_PART: &str = "__empty__";

/// A table's columns, with those that merging needs behind them.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    /// All of them.
    pub(super) wide: TableSchema,
    /// The same in Arrow.
    pub(super) wide_arrow: SchemaRef,
    /// How many of them are the table's.
    own: usize,
}

impl Columns {
    pub(super) fn new(schema: &TableSchema, rule: &MergeRule) -> Result<Self, TypeError> {
        let mut wide = schema.clone();
        if rule.key == RecordKey::Meta {
            wide.fields.push(Field::new(KEY, DataType::String, true));
        }
        if wide.field(IS_DELETED).is_none() {
            wide.fields.push(Field::new(IS_DELETED, DataType::Boolean, true));
        }
        Ok(Self { wide_arrow: types::arrow_schema(&wide)?, own: schema.fields.len(), wide })
    }

    /// The table's own columns of a batch that has all.
    pub(super) fn own(&self, batch: &RecordBatch) -> Result<RecordBatch, arrow::error::ArrowError> {
        batch.project(&(0..self.own).collect::<Vec<_>>())
    }

    /// The types of the ordering fields.
    pub(super) fn ordering_types(&self, rule: &MergeRule) -> Vec<ArrowType> {
        let types = rule.ordering.iter().filter_map(|name| self.wide_arrow.field_with_name(name).ok());
        types.map(|field| field.data_type().clone()).collect()
    }
}

/// The keys of a batch's rows.
///
/// # Errors
/// [`HudiError::Damaged`] for a row without a key, [`HudiError::Unsupported`] for key columns whose text is not certain.
pub(super) fn keys(file: &str, rule: &MergeRule, batch: &RecordBatch) -> Result<StringArray, HudiError> {
    let keys = match &rule.key {
        RecordKey::Meta => texts(file, batch, KEY)?.as_string::<i32>().clone(),
        RecordKey::Column(name) => texts(file, batch, name)?.as_string::<i32>().clone(),
        RecordKey::Columns(names) => {
            let columns = names.iter().map(|name| texts(file, batch, name)).collect::<Result<Vec<_>, _>>()?;
            let part = |row: usize, (name, column): (&String, &ArrayRef)| {
                let column = column.as_string::<i32>();
                let text = match column.is_null(row) {
                    true => NULL_PART,
                    false if column.value(row).is_empty() => EMPTY_PART,
                    false => column.value(row),
                };
                format!("{name}:{text}")
            };
            let key = |row: usize| names.iter().zip(&columns).map(|pair| part(row, pair)).collect::<Vec<_>>().join(",");
            (0..batch.num_rows()).map(|row| Some(key(row))).collect()
        }
    };
    if keys.null_count() > 0 { Err(damaged(file, "a row has no record key")) } else { Ok(keys) }
}

/// A key column as the text that Hudi makes of it: of texts, whole numbers and booleans there is only one.
fn texts(file: &str, batch: &RecordBatch, name: &str) -> Result<ArrayRef, HudiError> {
    let column = batch.column_by_name(name).ok_or_else(|| damaged(file, format!("it has no key column {name}")))?;
    match column.data_type() {
        ArrowType::Utf8 => Ok(Arc::clone(column)),
        ArrowType::Int32 | ArrowType::Int64 | ArrowType::Boolean => {
            cast(column, &ArrowType::Utf8).map_err(super::error::row(file))
        }
        other => Err(unsupported(file, format!("record keys of the type {other} that stand in no column of their own"))),
    }
}

/// Which of a log batch's rows are deletes.
pub(super) struct Deletes<'a> {
    flags: Option<&'a BooleanArray>,
    marked: Option<(&'a StringArray, &'a str)>,
}

impl<'a> Deletes<'a> {
    pub(super) fn new(file: &str, rule: &'a MergeRule, batch: &'a RecordBatch) -> Result<Self, HudiError> {
        let flags = batch.column_by_name(IS_DELETED).and_then(|column| column.as_boolean_opt());
        let marked = match &rule.delete_marker {
            None => None,
            Some((name, value)) => {
                let column = batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
                let column =
                    column.ok_or_else(|| unsupported(file, format!("a delete marker in {name}, which is no text")))?;
                Some((column, value.as_str()))
            }
        };
        Ok(Self { flags, marked })
    }

    pub(super) fn has(&self, row: usize) -> bool {
        let flagged = self.flags.is_some_and(|flags| flags.is_valid(row) && flags.value(row));
        flagged || self.marked.is_some_and(|(column, value)| column.is_valid(row) && column.value(row) == value)
    }
}
