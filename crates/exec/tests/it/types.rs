//! Schemas and values between core and Arrow.

use std::sync::Arc;

use arrow::array::{ArrayRef, TimestampNanosecondArray, UInt64Array};
use arrow::datatypes::{DataType as ArrowType, Field as ArrowField, Schema, TimeUnit as ArrowUnit};
use lakeshift_core::schema::{DataType, Field, TableSchema, TimeUnit};
use lakeshift_core::value::Value;
use lakeshift_exec::types::{TypeError, arrow_schema, file_schema, scalar, table_schema, value_at};
use rstest::rstest;

fn every_type() -> TableSchema {
    let field = |name: &str, data_type, nullable| Field::new(name, data_type, nullable);
    let units = [TimeUnit::Millis, TimeUnit::Micros, TimeUnit::Nanos];
    let mut types = vec![DataType::Boolean, DataType::Int8, DataType::Int16, DataType::Int32, DataType::Int64];
    types.extend([
        DataType::UInt8,
        DataType::UInt16,
        DataType::UInt32,
        DataType::UInt64,
        DataType::Float32,
        DataType::Float64,
    ]);
    types.extend([DataType::Decimal { precision: 38, scale: 38 }, DataType::Date, DataType::String, DataType::Binary]);
    types.extend([DataType::Fixed { length: 16 }, DataType::Uuid]);
    types.extend(units.map(|unit| DataType::Time { unit }));
    types.extend(units.map(|unit| DataType::Timestamp { unit, utc: true }));
    types.extend(units.map(|unit| DataType::Timestamp { unit, utc: false }));
    let element = Box::new(field("element", DataType::Uuid, false));
    let key = Box::new(field("key", DataType::String, false));
    let value = Box::new(field("value", DataType::List { element: element.clone() }, true));
    types.push(DataType::Map { key, value });
    types.push(DataType::Struct { fields: vec![field("a.b", DataType::List { element }, true)] });
    let fields = types.into_iter().enumerate().map(|(i, t)| field(&format!("c{i}"), t, i % 2 == 0));
    TableSchema { fields: fields.collect() }
}

#[test]
fn every_logical_type_survives_the_way_to_arrow_and_back() {
    let schema = every_type();
    assert_eq!(table_schema(&arrow_schema(&schema).unwrap()).unwrap(), schema);
}

#[test]
fn a_files_schema_carries_ids_and_physical_names() {
    let mut schema = every_type();
    schema.fields[0].id = Some(7);
    schema.fields[0].physical_name = Some("col-7".to_owned());
    let file = table_schema(&file_schema(&schema).unwrap()).unwrap();
    assert_eq!((file.fields[0].name.as_str(), file.fields[0].id), ("col-7", Some(7)));
    assert_eq!(arrow_schema(&schema).unwrap().field(0).name(), "c0");
}

#[rstest]
#[case(ArrowType::Null)]
#[case(ArrowType::Float16)]
#[case(ArrowType::Date64)]
#[case(ArrowType::Decimal128(10, -2))]
#[case(ArrowType::Decimal256(40, 2))]
#[case(ArrowType::Timestamp(ArrowUnit::Second, None))]
#[case(ArrowType::Timestamp(ArrowUnit::Microsecond, Some("Europe/Berlin".into())))]
#[case(ArrowType::Duration(ArrowUnit::Second))]
fn an_arrow_type_without_lossless_image_is_refused_with_the_columns_path(#[case] data_type: ArrowType) {
    let inner = ArrowType::Struct(vec![ArrowField::new("b", data_type, true)].into());
    let error = table_schema(&Schema::new(vec![ArrowField::new("a", inner, true)])).unwrap_err();
    assert!(matches!(&error, TypeError::NoLogicalType { column, .. } if column == "a.b"), "{error}");
}

#[test]
fn names_that_stand_twice_and_impossible_decimals_are_refused() {
    let twice = TableSchema { fields: vec![Field::new("a", DataType::Date, true), Field::new("a", DataType::Date, true)] };
    assert!(matches!(arrow_schema(&twice), Err(TypeError::Duplicate { .. })));
    let wide = Field::new("a", DataType::Decimal { precision: 39, scale: 0 }, true);
    assert!(matches!(arrow_schema(&TableSchema { fields: vec![wide] }), Err(TypeError::Invalid { .. })));
}

#[test]
fn values_that_do_not_fit_exactly_are_refused_in_both_directions() {
    let nanos: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1000, 1001]));
    assert_eq!(value_at(&nanos, 0).unwrap(), Some(Value::Timestamp(1)));
    assert!(value_at(&nanos, 1).is_err());
    assert!(value_at(&UInt64Array::from(vec![u64::MAX]), 0).is_err());
    let refused: [(Value, ArrowType); 7] = [
        (Value::Int(128), ArrowType::Int8),
        (Value::Int(1), ArrowType::Utf8),
        (Value::Float(0.1), ArrowType::Float32),
        (Value::Decimal { unscaled: 100, scale: 2 }, ArrowType::Decimal128(2, 2)),
        (Value::Decimal { unscaled: 1, scale: 1 }, ArrowType::Decimal128(10, 2)),
        (Value::Timestamp(1), ArrowType::Timestamp(ArrowUnit::Millisecond, None)),
        (Value::Timestamp(i64::MAX), ArrowType::Timestamp(ArrowUnit::Nanosecond, None)),
    ];
    for (value, to) in refused {
        assert!(matches!(scalar(Some(&value), &to), Err(TypeError::Lossy { .. })), "{value:?} as {to}");
    }
}

#[rstest]
#[case(Value::Float(-0.0), ArrowType::Float32)]
#[case(Value::Decimal { unscaled: -99, scale: 2 }, ArrowType::Decimal128(2, 2))]
#[case(Value::Timestamp(-1), ArrowType::Timestamp(ArrowUnit::Nanosecond, Some("UTC".into())))]
#[case(Value::Time(1_000), ArrowType::Time32(ArrowUnit::Millisecond))]
#[case(Value::Binary(vec![0; 16]), ArrowType::FixedSizeBinary(16))]
#[case(Value::String("é".into()), ArrowType::Utf8View)]
fn a_value_survives_the_way_to_a_scalar_and_back(#[case] value: Value, #[case] to: ArrowType) {
    let array = scalar(Some(&value), &to).unwrap().to_array_of_size(2).unwrap();
    assert_eq!(array.data_type(), &to);
    assert_eq!(value_at(&array, 1).unwrap(), Some(value));
    assert_eq!(value_at(&scalar(None, &to).unwrap().to_array().unwrap(), 0).unwrap(), None);
}
