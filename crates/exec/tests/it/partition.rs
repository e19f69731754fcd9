//! Partition values of columns against core's of single values.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray, StringViewArray};
use arrow::compute::concat;
use lakeshift_core::partition::{PartitionField, PartitionSpec, Transform};
use lakeshift_core::schema::{DataType, Field, TableSchema, TimeUnit};
use lakeshift_core::value::Value;
use lakeshift_exec::partition::{PartitionError, Partitioner, transform_array};
use lakeshift_exec::types::{arrow_schema, arrow_type, scalar, value_at};
use proptest::prelude::*;

use crate::files::{batch, schema};

/// A type with values of it, extremes included. Truncation near the ends of a range is left to unit tests.
fn typed_values() -> impl Strategy<Value = (DataType, Vec<Option<Value>>)> {
    let days = -1_000_000..1_000_000_i32;
    let micros = -50_000_000_000_000_000..50_000_000_000_000_000_i64;
    let timestamp = |unit, utc| DataType::Timestamp { unit, utc };
    prop_oneof![
        column(DataType::Int8, (-100..=i8::MAX).prop_map(|v| Value::Int(v.into()))),
        column(DataType::Int32, (-2_000_000_000..=i32::MAX).prop_map(|v| Value::Int(v.into()))),
        column(DataType::Int64, (i64::MIN / 2..=i64::MAX).prop_map(Value::Int)),
        column(
            DataType::Decimal { precision: 38, scale: 3 },
            (-(10_i128.pow(37))..10_i128.pow(37)).prop_map(|unscaled| Value::Decimal { unscaled, scale: 3 })
        ),
        column(
            DataType::Decimal { precision: 9, scale: 0 },
            (-1000..1000_i128).prop_map(|unscaled| Value::Decimal { unscaled, scale: 0 })
        ),
        column(DataType::Date, days.prop_map(Value::Date)),
        column(timestamp(TimeUnit::Micros, true), micros.clone().prop_map(Value::Timestamp)),
        column(timestamp(TimeUnit::Millis, false), micros.clone().prop_map(|v| Value::Timestamp(v / 1000 * 1000))),
        column(
            timestamp(TimeUnit::Nanos, false),
            (-9_000_000_000_000_000..9_000_000_000_000_000_i64).prop_map(Value::Timestamp)
        ),
        column(DataType::Time { unit: TimeUnit::Micros }, (0..86_400_000_000_i64).prop_map(Value::Time)),
        column(DataType::String, "[aé漢😀_ /]{0,8}".prop_map(Value::String)),
        column(DataType::Binary, proptest::collection::vec(any::<u8>(), 0..8).prop_map(Value::Binary)),
        column(DataType::Fixed { length: 3 }, proptest::collection::vec(any::<u8>(), 3).prop_map(Value::Binary)),
        column(DataType::Boolean, any::<bool>().prop_map(Value::Boolean)),
        column(DataType::Float64, any::<f64>().prop_map(Value::Float)),
    ]
}

fn column(
    data_type: DataType,
    value: impl Strategy<Value = Value> + 'static,
) -> BoxedStrategy<(DataType, Vec<Option<Value>>)> {
    let values = proptest::collection::vec(proptest::option::weighted(0.9, value), 1..20);
    values.prop_map(move |values| (data_type.clone(), values)).boxed()
}

fn any_transform() -> impl Strategy<Value = Transform> {
    prop_oneof![
        Just(Transform::Identity),
        Just(Transform::Year),
        Just(Transform::Month),
        Just(Transform::Day),
        Just(Transform::Hour),
        (1..1000_u32).prop_map(Transform::Bucket),
        (1..28_u32).prop_map(Transform::Truncate),
    ]
}

fn array(data_type: &DataType, values: &[Option<Value>]) -> ArrayRef {
    let arrow = arrow_type(data_type).unwrap();
    let parts: Vec<ArrayRef> =
        values.iter().map(|value| scalar(value.as_ref(), &arrow).unwrap().to_array().unwrap()).collect();
    concat(&parts.iter().map(AsRef::as_ref).collect::<Vec<_>>()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_column_transforms_as_its_values_do((data_type, values) in typed_values(), transform in any_transform()) {
        let array = array(&data_type, &values);
        let Ok(result_type) = transform.result_type(&data_type) else {
            prop_assert!(transform_array(transform, &array, "a").is_err() || array.null_count() == array.len());
            return Ok(());
        };
        let result = transform_array(transform, &array, "a").unwrap();
        prop_assert_eq!(result.data_type(), &arrow_type(&result_type).unwrap());
        for (row, value) in values.iter().enumerate() {
            let expected = value.as_ref().map(|value| transform.apply(value).unwrap());
            let found = value_at(&result, row).unwrap();
            // NaN is no value's equal; its text is.
            prop_assert_eq!(format!("{found:?}"), format!("{expected:?}"), "row {}", row);
        }
    }

    #[test]
    fn every_row_is_in_the_group_of_its_own_values(
        rows in proptest::collection::vec((proptest::option::of(-3..3_i32), proptest::option::of("[ab]{0,2}")), 1..60),
        cut in 0..60_usize,
        views: bool,
    ) {
        let columns = vec![("n", DataType::Int32), ("s", DataType::String)];
        let spec = PartitionSpec { fields: vec![PartitionField::new("n", Transform::Truncate(2)), PartitionField::new("s", Transform::Identity)] };
        let mut partitioner = Partitioner::new(&schema(columns), &spec, 100).unwrap();
        let numbers: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<Int32Array>());
        let texts: ArrayRef = match views {
            true => Arc::new(rows.iter().map(|row| row.1.as_deref()).collect::<StringViewArray>()),
            false => Arc::new(rows.iter().map(|row| row.1.as_deref()).collect::<StringArray>()),
        };
        let whole = batch(vec![("n", numbers), ("s", texts)]);
        let cut = cut.min(rows.len());
        let mut seen = 0;
        for part in [whole.slice(0, cut), whole.slice(cut, rows.len() - cut)] {
            let groups = partitioner.assign(&part).unwrap();
            prop_assert_eq!(groups.len(), part.num_rows());
            for group in groups {
                let (n, s) = &rows[seen];
                let n = n.map(|n| Value::Int((n - n.rem_euclid(2)).into()));
                prop_assert_eq!(partitioner.key(group), &[n, s.clone().map(Value::String)][..]);
                seen += 1;
            }
        }
        prop_assert_eq!(seen, rows.len());
        let keys: std::collections::HashSet<String> = (0..partitioner.group_count()).map(|id| format!("{:?}", partitioner.key(id as u32))).collect();
        prop_assert_eq!(keys.len(), partitioner.group_count());
    }
}

#[test]
fn too_many_partitions_and_unknown_columns_are_errors() {
    let table = schema(vec![("n", DataType::Int32)]);
    let spec = |column: &str| PartitionSpec { fields: vec![PartitionField::new(column, Transform::Identity)] };
    assert!(matches!(Partitioner::new(&table, &spec("m"), 1), Err(PartitionError::NoColumn { .. })));
    let mut partitioner = Partitioner::new(&table, &spec("n"), 2).unwrap();
    let rows = |values: Vec<i32>| batch(vec![("n", Arc::new(Int32Array::from(values)) as ArrayRef)]);
    assert_eq!(partitioner.assign(&rows(vec![5, 6, 5, 5])).unwrap(), [0, 1, 0, 0]);
    assert!(matches!(partitioner.assign(&rows(vec![7])), Err(PartitionError::TooMany { partitions_max: 2 })));
}

#[test]
fn without_partition_fields_all_rows_are_one_group_and_an_empty_batch_is_none() {
    let table = TableSchema { fields: vec![Field::new("n", DataType::Int32, true)] };
    let mut partitioner = Partitioner::new(&table, &PartitionSpec::default(), 1).unwrap();
    assert!(partitioner.assign(&RecordBatch::new_empty(arrow_schema(&table).unwrap())).unwrap().is_empty());
    let rows = batch(vec![("n", Arc::new(Int32Array::from(vec![1, 2])) as ArrayRef)]);
    assert_eq!(partitioner.assign(&rows).unwrap(), [0, 0]);
    assert!(partitioner.key(0).is_empty());
}
