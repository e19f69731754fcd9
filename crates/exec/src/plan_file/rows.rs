//! Planned files as Arrow batches.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type};
use lakeshift_core::plan::{PlannedFile, Strategy};
use lakeshift_core::table::UnitId;
use lakeshift_core::value::Value;

use super::PlanFileError;

/// The columns, in order; partition values are JSON arrays.
pub(super) fn schema() -> SchemaRef {
    let text = |name| Field::new(name, DataType::Utf8, false);
    let number = |name| Field::new(name, DataType::UInt64, false);
    Arc::new(Schema::new(vec![
        text("unit"),
        text("strategy"),
        text("reason"),
        text("path"),
        text("identity"),
        number("size_bytes"),
        number("rows"),
        text("partition"),
        Field::new("target_partition", DataType::Utf8, true),
    ]))
}

pub(super) fn encode(files: &[PlannedFile], path: &str) -> Result<RecordBatch, PlanFileError> {
    let text = |of: fn(&PlannedFile) -> &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(files.iter().map(of))) };
    let number = |of: fn(&PlannedFile) -> u64| -> ArrayRef { Arc::new(UInt64Array::from_iter_values(files.iter().map(of))) };
    let partitions = files.iter().map(|file| to_json(&file.partition, file)).collect::<Result<Vec<_>, _>>()?;
    let target = |file: &PlannedFile| file.target_partition.as_ref().map(|values| to_json(values, file)).transpose();
    let targets = files.iter().map(target).collect::<Result<Vec<_>, _>>()?;
    let columns = vec![
        text(|file| &file.unit.0),
        text(|file| name(file.strategy)),
        text(|file| &file.reason),
        text(|file| &file.path),
        text(|file| &file.identity),
        number(|file| file.size_bytes),
        number(|file| file.rows),
        Arc::new(StringArray::from(partitions)) as ArrayRef,
        Arc::new(StringArray::from(targets)) as ArrayRef,
    ];
    RecordBatch::try_new(schema(), columns).map_err(|source| PlanFileError::Arrow { path: path.to_owned(), source })
}

pub(super) fn decode(batch: &RecordBatch, first_row: u64, path: &str) -> Result<Vec<PlannedFile>, PlanFileError> {
    let invalid =
        |row: usize, reason: String| PlanFileError::Row { path: path.to_owned(), row: first_row + row as u64, reason };
    let expected = schema();
    let names = |schema: &Schema| {
        schema.fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect::<Vec<_>>()
    };
    if names(&batch.schema()) != names(&expected) {
        return Err(invalid(0, "the columns are not those of a plan".to_owned()));
    }
    let text = |column: usize, row: usize| batch.column(column).as_string::<i32>().value(row).to_owned();
    let number = |column: usize, row: usize| batch.column(column).as_primitive::<UInt64Type>().value(row);
    let values = |column: usize, row: usize| {
        serde_json::from_str(batch.column(column).as_string::<i32>().value(row))
            .map_err(|error| invalid(row, error.to_string()))
    };
    let file = |row: usize| {
        if (0..8).any(|column| batch.column(column).is_null(row)) {
            return Err(invalid(row, "a value is missing".to_owned()));
        }
        let strategy = strategy(batch.column(1).as_string::<i32>().value(row));
        Ok(PlannedFile {
            unit: UnitId(text(0, row)),
            strategy: strategy.ok_or_else(|| invalid(row, "the strategy is unknown".to_owned()))?,
            reason: text(2, row),
            path: text(3, row),
            identity: text(4, row),
            size_bytes: number(5, row),
            rows: number(6, row),
            partition: values(7, row)?,
            target_partition: if batch.column(8).is_null(row) { None } else { Some(values(8, row)?) },
        })
    };
    (0..batch.num_rows()).map(file).collect()
}

fn name(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::Adopt => "adopt",
        Strategy::Splice => "splice",
        Strategy::Rewrite => "rewrite",
    }
}

fn strategy(name: &str) -> Option<Strategy> {
    [Strategy::Adopt, Strategy::Splice, Strategy::Rewrite].into_iter().find(|strategy| self::name(*strategy) == name)
}

fn to_json(values: &[Option<Value>], file: &PlannedFile) -> Result<String, PlanFileError> {
    let refused = || PlanFileError::NotFinite { file: file.path.clone() };
    if values.iter().any(|value| matches!(value, Some(Value::Float(number)) if !number.is_finite())) {
        return Err(refused());
    }
    serde_json::to_string(values).map_err(|_| refused())
}
