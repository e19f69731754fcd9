//! `target.columns`: columns renamed, dropped, put in another order, cast and filled.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, TimestampNanosecondArray, UInt64Array,
};
use datafusion::error::DataFusionError;
use lakeshift_core::partition::PartitionSpec;
use lakeshift_core::projection::ProjectionSpec;
use lakeshift_core::schema::{DataType, TableSchema, TimeUnit};
use lakeshift_core::spec::{Literal, TargetColumn};
use lakeshift_core::table::Format;
use lakeshift_exec::logic::{Logic, LogicSpec};
use lakeshift_exec::scan::{ScanRequest, scan};
use rstest::rstest;

use crate::files::{batch, collect, engine, memory, no_deletes, put, snapshot, sorted};

/// The rows of a file with these columns under the spec's list.
async fn apply(
    rows: &RecordBatch,
    transform: Option<&str>,
    columns: &[TargetColumn],
    drop: &[String],
) -> Result<(TableSchema, Vec<RecordBatch>), DataFusionError> {
    let (engine, storage) = (engine(), memory());
    let file = put(&storage, "day=1/a.parquet", rows, vec![]).await;
    let source = lakeshift_exec::types::table_schema(&rows.schema()).unwrap();
    let (snapshot, files) = (snapshot(&storage, source, PartitionSpec::default()), [file]);
    let request =
        ScanRequest { storage: &storage, format: Format::Hive, snapshot: &snapshot, files: &files, deletes: no_deletes() };
    let spec = LogicSpec { transform, columns: ProjectionSpec { columns, drop }, ..LogicSpec::default() };
    let logic = Logic::new(&engine, &snapshot.schema, spec).await.unwrap();
    let plan = logic.apply(scan(&engine, &request).unwrap(), &files[0].path).await.unwrap();
    let rows = collect(&engine, plan).await?;
    let (expected, found) = (lakeshift_exec::types::arrow_schema(logic.output_schema()).unwrap(), rows[0].schema());
    let types = |schema: &arrow::datatypes::Schema| {
        schema.fields().iter().map(|f| (f.name().clone(), f.data_type().clone())).collect::<Vec<_>>()
    };
    assert_eq!(types(&found), types(&expected));
    Ok((logic.output_schema().clone(), rows))
}

fn column(name: &str) -> TargetColumn {
    TargetColumn::named(name)
}

fn flights() -> RecordBatch {
    batch(vec![
        ("id", Arc::new(Int32Array::from(vec![1, 2]))),
        ("a b", Arc::new(StringArray::from(vec![Some("x"), None]))),
        ("gone", Arc::new(Int32Array::from(vec![7, 8]))),
    ])
}

#[tokio::test]
async fn columns_are_renamed_dropped_filled_and_put_in_order() {
    let columns = [
        TargetColumn { from: Some("a b".to_owned()), default: Some(Literal::Text("none".to_owned())), ..column("place") },
        column("*"),
        TargetColumn {
            data_type: Some(DataType::Date),
            default: Some(Literal::Text("2001-01-01".to_owned())),
            ..column("day")
        },
    ];
    let (schema, rows) = apply(&flights(), None, &columns, &["gone".to_owned()]).await.unwrap();
    assert_eq!(sorted(&rows), "| place | id | day        |\n| none  | 2  | 2001-01-01 |\n| x     | 1  | 2001-01-01 |");
    let nullable: Vec<bool> = schema.fields.iter().map(|field| field.nullable).collect();
    assert_eq!(nullable, [false, true, false], "what has a default is never null");
}

#[tokio::test]
async fn columns_come_after_the_transform_and_may_change_places() {
    let swap = [
        TargetColumn { from: Some("b".to_owned()), ..column("a") },
        TargetColumn { from: Some("a".to_owned()), ..column("b") },
    ];
    let sql = "SELECT id AS a, id * 10 AS b FROM source";
    let (_, rows) = apply(&flights(), Some(sql), &swap, &[]).await.unwrap();
    assert_eq!(sorted(&rows), "| a  | b |\n| 10 | 1 |\n| 20 | 2 |");
}

/// Two values, of which one fits the type and one does not.
fn edges() -> Vec<(&'static str, ArrayRef, ArrayRef, DataType)> {
    let micros = |utc| DataType::Timestamp { unit: TimeUnit::Micros, utc };
    let decimal = |values: Vec<i128>, p, s| {
        Arc::new(Decimal128Array::from(values).with_precision_and_scale(p, s).unwrap()) as ArrayRef
    };
    let texts = |text: &str| Arc::new(StringArray::from(vec![text])) as ArrayRef;
    let floats = |value: f64| Arc::new(Float64Array::from(vec![value])) as ArrayRef;
    let longs = |value: i64| Arc::new(Int64Array::from(vec![value])) as ArrayRef;
    vec![
        ("overflow", longs(127), longs(128), DataType::Int8),
        ("double of an integer", longs(1 << 53), longs((1 << 53) + 1), DataType::Float64),
        ("fraction", floats(-2.0), floats(-2.5), DataType::Int32),
        ("sign of zero", floats(0.0), floats(-0.0), DataType::Int32),
        ("not a number", floats(1.0), floats(f64::NAN), DataType::Int64),
        ("single precision", floats(0.5), floats(0.1), DataType::Float32),
        ("unsigned", Arc::new(UInt64Array::from(vec![1])), Arc::new(UInt64Array::from(vec![u64::MAX])), DataType::Int64),
        ("scale", decimal(vec![1230], 10, 3), decimal(vec![1234], 10, 3), DataType::Decimal { precision: 10, scale: 2 }),
        ("digits", decimal(vec![99], 10, 0), decimal(vec![100], 10, 0), DataType::Decimal { precision: 2, scale: 0 }),
        ("number in text", texts("-7"), texts("007"), DataType::Int32),
        ("word", texts("true"), texts("yes"), DataType::Boolean),
        ("day in text", texts("2001-02-28"), texts("2001-02-30"), DataType::Date),
        (
            "nanoseconds",
            Arc::new(TimestampNanosecondArray::from(vec![1_000])),
            Arc::new(TimestampNanosecondArray::from(vec![1_001])),
            micros(false),
        ),
        (
            "midnight",
            Arc::new(TimestampMicrosecondArray::from(vec![86_400_000_000])),
            Arc::new(TimestampMicrosecondArray::from(vec![86_400_000_001])),
            DataType::Date,
        ),
        ("far day", Arc::new(Date32Array::from(vec![1])), Arc::new(Date32Array::from(vec![i32::MAX])), micros(false)),
    ]
}

#[tokio::test]
async fn a_cast_gives_the_exact_value_or_an_error_that_names_column_and_file_and_shows_no_value() {
    for (name, fits, does_not, to) in edges() {
        let columns = [TargetColumn { data_type: Some(to.clone()), from: Some("v".to_owned()), ..column("w") }];
        let (_, rows) = apply(&batch(vec![("v", fits)]), None, &columns, &[]).await.unwrap();
        assert_eq!((rows[0].num_rows(), rows[0].column(0).null_count()), (1, 0), "{name}");
        let shown = arrow::util::display::array_value_to_string(&does_not, 0).unwrap();
        let error = apply(&batch(vec![("v", does_not)]), None, &columns, &[]).await.unwrap_err().to_string();
        assert!(error.contains("column w in day=1/a.parquet does not fit"), "{name}: {error}");
        assert!(!error.contains(&shown) || shown.len() < 3, "{name}: {error}");
    }
}

#[tokio::test]
async fn nulls_stay_null_and_infinities_and_nan_stay_what_they_are() {
    let values = Float64Array::from(vec![Some(f64::NAN), Some(f64::NEG_INFINITY), Some(-0.0), None]);
    let columns = [TargetColumn { data_type: Some(DataType::String), ..column("v") }];
    let (_, rows) = apply(&batch(vec![("v", Arc::new(values))]), None, &columns, &[]).await.unwrap();
    assert_eq!(sorted(&rows), "| v    |\n|      |\n| -0.0 |\n| -inf |\n| NaN  |");
}

#[rstest]
#[case(Literal::Integer(300), DataType::Int8)]
#[case(Literal::Float(0.5), DataType::Int8)]
#[case(Literal::Text("2001-02-30".to_owned()), DataType::Date)]
#[case(Literal::Text("noon".to_owned()), DataType::Timestamp { unit: TimeUnit::Micros, utc: true })]
#[tokio::test]
async fn a_default_that_is_no_value_of_its_type_is_refused_before_a_row_is_read(
    #[case] default: Literal,
    #[case] data_type: DataType,
) {
    let columns = [TargetColumn { data_type: Some(data_type), default: Some(default), ..column("new") }, column("*")];
    let source = lakeshift_exec::types::table_schema(&flights().schema()).unwrap();
    let spec = LogicSpec { columns: ProjectionSpec { columns: &columns, drop: &[] }, ..LogicSpec::default() };
    let error = Logic::new(&engine(), &source, spec).await.unwrap_err().to_string();
    assert!(error.contains("the default of new is no"), "{error}");
}

#[tokio::test]
async fn every_column_that_cannot_be_made_is_told() {
    let columns = [column("nope"), TargetColumn { data_type: Some(DataType::Boolean), ..column("id") }];
    let source = lakeshift_exec::types::table_schema(&flights().schema()).unwrap();
    let spec = LogicSpec { columns: ProjectionSpec { columns: &columns, drop: &[] }, ..LogicSpec::default() };
    let error = Logic::new(&engine(), &source, spec).await.unwrap_err().to_string();
    for part in ["nope is made from nope", "id is int32 and cannot be made boolean", "no place for a b", "no place for gone"]
    {
        assert!(error.contains(part), "{error}");
    }
}
