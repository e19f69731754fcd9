//! Which partitions a spec's `scope.where` leaves, where the condition asks for nothing but what a partition's rows have in
//! common: then every file is inside of the scope or outside of it as a whole.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use datafusion::common::ScalarValue;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::DataFusionError;
use datafusion::physical_plan::{ExecutionPlan, collect};
use lakeshift_core::partition::{PartitionSpec, Transform};
use lakeshift_core::schema::{DataType, Field, TableSchema};
use lakeshift_core::value::Value;

use crate::engine::Engine;
use crate::logic::{Logic, LogicError, LogicSpec};
use crate::types;

/// Numbers the partitions in the rows that stand for them.
const NUMBER: &str = "__lakeshift_partition";

/// For each partition whether its rows are inside of the scope; `None` where the condition asks for more than partition
/// columns whose values are those of the rows.
///
/// # Errors
/// The engine cannot evaluate a condition that it has planned.
pub async fn partitions_inside(
    engine: &Engine,
    (schema, spec): (&TableSchema, &PartitionSpec),
    condition: &str,
    partitions: &[Vec<Option<Value>>],
) -> Result<Option<Vec<bool>>, LogicError> {
    let columns = columns(schema, spec);
    let mut fields: Vec<Field> = columns.iter().map(|(_, field)| (*field).clone()).collect();
    fields.push(Field::new(NUMBER, DataType::Int64, false));
    let rows = TableSchema { fields };
    // What names another column is wrong here; the whole logic, over all columns, tells what is wrong anywhere.
    let spec = LogicSpec { scope: Some(condition), ..LogicSpec::default() };
    let Ok(logic) = Logic::new(engine, &rows, spec).await else { return Ok(None) };
    let Some(batch) = batch(&rows, &columns, partitions)? else { return Ok(None) };
    let schema = batch.schema();
    let planned = |source| LogicError::Plan { source };
    let input: Arc<dyn ExecutionPlan> = MemorySourceConfig::try_new_exec(&[vec![batch]], schema, None).map_err(planned)?;
    let left = collect(logic.apply(input, "").await?, engine.session().task_ctx()).await.map_err(planned)?;
    let mut inside = vec![false; partitions.len()];
    for batch in left {
        let numbers = batch.column_by_name(NUMBER).and_then(|column| {
            use arrow::array::AsArray;
            column.as_primitive_opt::<Int64Type>().cloned()
        });
        let lost = || planned(DataFusionError::Internal("the partitions' numbers are gone".to_owned()));
        for number in numbers.ok_or_else(lost)?.values() {
            if let Some(one) = usize::try_from(*number).ok().and_then(|number| inside.get_mut(number)) {
                *one = true;
            }
        }
    }
    Ok(Some(inside))
}

/// The columns whose values a partition tells, with their places in its values.
fn columns<'a>(schema: &'a TableSchema, spec: &PartitionSpec) -> Vec<(usize, &'a Field)> {
    let fields = spec.fields.iter().enumerate().filter(|(_, field)| field.transform == Transform::Identity);
    fields.filter_map(|(place, field)| Some((place, schema.field(&field.column)?))).collect()
}

/// One row a partition; `None` where a value has no place in its column.
fn batch(
    rows: &TableSchema,
    columns: &[(usize, &Field)],
    partitions: &[Vec<Option<Value>>],
) -> Result<Option<RecordBatch>, LogicError> {
    let schema = types::arrow_schema(rows)?;
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(columns.len() + 1);
    for ((place, _), field) in columns.iter().zip(schema.fields()) {
        let value = |partition: &Vec<Option<Value>>| {
            types::scalar(partition.get(*place).and_then(Option::as_ref), field.data_type()).ok()
        };
        let Some(values) = partitions.iter().map(value).collect::<Option<Vec<ScalarValue>>>() else { return Ok(None) };
        match values.is_empty() {
            true => arrays.push(arrow::array::new_empty_array(field.data_type())),
            false => arrays.push(ScalarValue::iter_to_array(values).map_err(|source| LogicError::Plan { source })?),
        }
    }
    arrays.push(Arc::new(Int64Array::from_iter_values((0..).take(partitions.len()))));
    let batch = RecordBatch::try_new(schema, arrays);
    Ok(Some(batch.map_err(|error| LogicError::Plan { source: DataFusionError::ArrowError(Box::new(error), None) })?))
}

#[cfg(test)]
mod tests {
    use lakeshift_core::partition::PartitionField;
    use rstest::rstest;

    use super::*;
    use crate::engine::Engine;

    fn table() -> (TableSchema, PartitionSpec) {
        let schema = TableSchema {
            fields: vec![
                Field::new("id", DataType::Int64, true),
                Field::new("day", DataType::Date, true),
                Field::new("Region", DataType::String, true),
                Field::new("at", DataType::Date, true),
            ],
        };
        let field =
            |column: &str, transform| PartitionField { column: column.to_owned(), transform, name: column.to_owned() };
        let fields = vec![
            field("day", Transform::Identity),
            field("Region", Transform::Identity),
            PartitionField { name: "at_year".to_owned(), ..field("at", Transform::Year) },
        ];
        (schema, PartitionSpec { fields })
    }

    fn partitions() -> Vec<Vec<Option<Value>>> {
        let of = |day, region: Option<&str>| {
            vec![Some(Value::Date(day)), region.map(|text| Value::String(text.to_owned())), Some(Value::Int(31))]
        };
        vec![of(11_323, Some("a")), of(11_324, Some("b")), of(11_325, None)]
    }

    #[rstest]
    #[case::a_day("day >= DATE '2001-01-02'", Some([false, true, true]))]
    #[case::two_columns("day < DATE '2001-01-03' AND Region <> 'a'", Some([false, true, false]))]
    #[case::null_is_outside("Region <> 'x'", Some([true, true, false]))]
    #[case::null_by_name("Region IS NULL", Some([false, false, true]))]
    #[case::a_row_decides("id > 3 OR day > DATE '2001-01-02'", None)]
    #[case::a_year_is_no_value("at > DATE '2001-01-01'", None)]
    #[case::no_such_column("elsewhere = 1", None)]
    #[tokio::test]
    async fn a_condition_of_partition_columns_tells_whole_partitions(
        #[case] condition: &str,
        #[case] expected: Option<[bool; 3]>,
    ) {
        let engine = Engine::builder().build().unwrap();
        let (schema, spec) = table();
        let told = partitions_inside(&engine, (&schema, &spec), condition, &partitions()).await.unwrap();
        assert_eq!(told.as_deref(), expected.as_ref().map(<[bool; 3]>::as_slice));
        let none = partitions_inside(&engine, (&schema, &spec), condition, &[]).await.unwrap();
        assert_eq!(none.is_some(), expected.is_some());
    }
}
