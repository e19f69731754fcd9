//! Rows that equality deletes name: found by position, whatever the files' layouts.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Field as ArrowField, Schema};
use lakeshift_core::partition::{PartitionField, PartitionSpec, Transform};
use lakeshift_core::schema::{DataType, Field, TableSchema};
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{DeleteFile, EqualityColumn, EqualityDeletes, FileEntry, Format, Snapshot};
use lakeshift_core::value::Value;
use lakeshift_exec::engine::{Engine, EngineSettings};
use lakeshift_exec::equality::{EqualityRequest, equality_deleted};
use lakeshift_exec::scan::ScanError;
use parquet::file::properties::WriterProperties;

use crate::files::{engine, memory, put, put_with, snapshot};

/// A batch whose columns have field ids.
fn batch(columns: Vec<(&str, i32, ArrayRef)>) -> RecordBatch {
    let field = |(name, id, array): &(&str, i32, ArrayRef)| {
        let id = [("PARQUET:field_id".to_owned(), id.to_string())].into();
        ArrowField::new(*name, array.data_type().clone(), true).with_metadata(id)
    };
    let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(schema), columns.into_iter().map(|(.., array)| array).collect()).unwrap()
}

fn field(name: &str, id: i32, data_type: DataType) -> Field {
    Field { id: Some(id), ..Field::new(name, data_type, true) }
}

/// A table of `origin` (1) and `delay` (2).
fn table(storage: &Storage) -> Snapshot {
    let fields = vec![field("origin", 1, DataType::String), field("delay", 2, DataType::Int64)];
    snapshot(storage, TableSchema { fields }, PartitionSpec::default())
}

fn texts(values: Vec<Option<&str>>) -> ArrayRef {
    Arc::new(StringArray::from(values))
}

fn longs(values: Vec<Option<i64>>) -> ArrayRef {
    Arc::new(Int64Array::from(values))
}

fn column(field: Field) -> EqualityColumn {
    EqualityColumn { field, default: None }
}

fn by(columns: Vec<EqualityColumn>, files: &[&FileEntry]) -> EqualityDeletes {
    let file = |entry: &&FileEntry| DeleteFile {
        path: entry.path.clone(),
        size_bytes: entry.size_bytes,
        rows: entry.rows.unwrap(),
    };
    EqualityDeletes { columns, files: files.iter().map(file).collect() }
}

async fn found(
    engine: &Engine,
    storage: &Storage,
    snapshot: &Snapshot,
    file: &FileEntry,
    deletes: &[EqualityDeletes],
) -> Result<Vec<u64>, ScanError> {
    let request =
        EqualityRequest { storage, format: Format::Iceberg, snapshot, file, rows: file.rows, places: &[storage], deletes };
    let rows = equality_deleted(engine, &request).await?;
    Ok(rows.ranges().iter().flat_map(|range| range.clone()).collect())
}

#[tokio::test]
async fn null_equals_null_and_every_column_must_be_equal() {
    let storage = memory();
    let data = batch(vec![
        ("origin", 1, texts(vec![Some("ATL"), None, Some("ATL"), None, Some("")])),
        ("delay", 2, longs(vec![Some(1), Some(2), None, None, Some(1)])),
    ]);
    let file = put(&storage, "a.parquet", &data, vec![]).await;
    let both = batch(vec![
        ("delay", 2, longs(vec![None, Some(1), Some(7)])),
        ("origin", 1, texts(vec![None, Some("ATL"), Some("ATL")])),
    ]);
    let both = put(&storage, "both.parquet", &both, vec![]).await;
    // A delete file may hold more columns than those that decide.
    let origin = batch(vec![("origin", 1, texts(vec![Some("")])), ("delay", 2, longs(vec![Some(9)]))]);
    let origin = put(&storage, "origin.parquet", &origin, vec![]).await;
    let [name, delay] = [field("origin", 1, DataType::String), field("delay", 2, DataType::Int64)].map(column);
    let by_both = by(vec![name.clone(), delay], &[&both]);
    let table = table(&storage);
    assert_eq!(found(&engine(), &storage, &table, &file, std::slice::from_ref(&by_both)).await.unwrap(), [0, 3]);
    let all = [by_both, by(vec![name], &[&origin])];
    assert_eq!(found(&engine(), &storage, &table, &file, &all).await.unwrap(), [0, 3, 4]);
}

/// Many row groups, small batches, and deletes that do not fit in memory at once: the positions are those of the file.
#[tokio::test]
async fn positions_are_of_the_whole_file_and_memory_is_bounded() {
    let storage = memory();
    let rows = 20_000_i64;
    let data = batch(vec![("delay", 2, longs((0..rows).map(|row| Some((row * 7919) % rows)).collect()))]);
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(1_111)).build();
    let file = put_with(&storage, "a.parquet", &data, vec![], Some(properties)).await;
    let deleted: Vec<Option<i64>> = (0..rows).step_by(3).map(Some).collect();
    let deletes = put(&storage, "d.parquet", &batch(vec![("delay", 2, longs(deleted))]), vec![]).await;
    let deletes = [by(vec![column(field("delay", 2, DataType::Int64))], &[&deletes])];
    let expected: Vec<u64> = (0..rows).filter(|row| (row * 7919) % rows % 3 == 0).map(|row| row as u64).collect();
    // 64 KiB for the keys of one of four readers: some hundred rows at a time.
    for memory_bytes in [1 << 30, 1 << 20] {
        let settings = EngineSettings { memory_bytes, concurrency: 4, batch_rows_max: 100 };
        let engine = Engine::builder().with_settings(settings).build().unwrap();
        assert_eq!(found(&engine, &storage, &table(&storage), &file, &deletes).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn columns_are_found_by_id_and_widened_and_may_be_dropped_or_default() {
    let storage = memory();
    // The file has the column under an older name and type, and a column of today's name that is another.
    let narrow: ArrayRef = Arc::new(Int32Array::from(vec![1, 2, 3]));
    let data = batch(vec![("late", 2, narrow), ("delay", 8, texts(vec![Some("x"), Some("y"), Some("z")]))]);
    let file = put(&storage, "a.parquet", &data, vec![]).await;
    let wide = put(&storage, "w.parquet", &batch(vec![("delay", 2, longs(vec![Some(2), None]))]), vec![]).await;
    let dropped = put(&storage, "t.parquet", &batch(vec![("delay", 8, texts(vec![Some("z")]))]), vec![]).await;
    let later = put(&storage, "l.parquet", &batch(vec![("seats", 9, longs(vec![Some(150)]))]), vec![]).await;
    let none = put(&storage, "n.parquet", &batch(vec![("seats", 9, longs(vec![None]))]), vec![]).await;
    let delay = || column(field("delay", 2, DataType::Int64));
    let seats = |default| EqualityColumn { field: field("seats", 9, DataType::Int64), default };
    let text = || column(field("delay", 8, DataType::String));
    let table = table(&storage);
    let cases = [
        (by(vec![delay()], &[&wide]), vec![1]),
        (by(vec![text()], &[&dropped]), vec![2]),
        // Before the column was added, every row has null there; or the column's default.
        (by(vec![seats(None)], &[&later]), vec![]),
        (by(vec![seats(None)], &[&none]), vec![0, 1, 2]),
        (by(vec![seats(Some(Value::Int(150)))], &[&later]), vec![0, 1, 2]),
        (by(vec![seats(Some(Value::Int(150)))], &[&none]), vec![]),
    ];
    for (deletes, expected) in cases {
        let rows = found(&engine(), &storage, &table, &file, std::slice::from_ref(&deletes)).await.unwrap();
        assert_eq!(rows, expected, "{deletes:?}");
    }
}

/// A file that lacks its partition column has the partition's value there.
#[tokio::test]
async fn a_partition_column_that_the_file_lacks_has_the_partitions_value() {
    let storage = memory();
    let mut table = table(&storage);
    let fields = ["delay", "origin"].map(|column| PartitionField::new(column, Transform::Identity));
    table.partition = PartitionSpec { fields: fields.into() };
    let data = batch(vec![("delay", 2, longs(vec![Some(1), Some(2)]))]);
    let file = put(&storage, "a.parquet", &data, vec![Some(Value::Int(1)), Some(Value::String("ATL".into()))]).await;
    let deletes = batch(vec![("origin", 1, texts(vec![Some("ATL")])), ("delay", 2, longs(vec![Some(2)]))]);
    let deletes = put(&storage, "d.parquet", &deletes, vec![]).await;
    let columns = [field("origin", 1, DataType::String), field("delay", 2, DataType::Int64)].map(column);
    let deletes = [by(columns.into(), &[&deletes])];
    assert_eq!(found(&engine(), &storage, &table, &file, &deletes).await.unwrap(), [1]);
}

#[tokio::test]
async fn files_that_are_not_what_the_table_says_are_refused() {
    let storage = memory();
    let table = table(&storage);
    let file = put(&storage, "a.parquet", &batch(vec![("delay", 2, longs(vec![Some(1)]))]), vec![]).await;
    let delete = put(&storage, "d.parquet", &batch(vec![("delay", 2, longs(vec![Some(1)]))]), vec![]).await;
    let read = async |file: &FileEntry, deletes: EqualityDeletes| {
        let error = found(&engine(), &storage, &table, file, &[deletes]).await.unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        format!("{error}: {cause}")
    };
    // A delete file without a deciding column would read as null, and delete the wrong rows.
    let lacking = read(&file, by(vec![column(field("origin", 1, DataType::String))], &[&delete])).await;
    assert!(lacking.contains("d.parquet does not have it"), "{lacking}");
    let other_type = read(&file, by(vec![column(field("delay", 2, DataType::Int32))], &[&delete])).await;
    assert!(other_type.contains("a change without loss is not possible"), "{other_type}");
    let delay = || vec![column(field("delay", 2, DataType::Int64))];
    let cut = FileEntry { rows: Some(2), ..delete.clone() };
    let other_rows = read(&file, by(delay(), &[&cut])).await;
    assert!(other_rows.contains("has 1 rows and 2 were recorded"), "{other_rows}");
    let other_rows = read(&FileEntry { rows: Some(2), ..file.clone() }, by(delay(), &[&delete])).await;
    assert!(other_rows.contains("a.parquet has 1 rows"), "{other_rows}");
}
