//! Reading files in the table's schema.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, DictionaryArray, Int32Array, Int64Array, ListArray, RecordBatch, StructArray,
    TimestampMillisecondArray, TimestampNanosecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType as ArrowType, Field as ArrowField, Fields, Int32Type, Schema};
use lakeshift_core::partition::{PartitionField, PartitionSpec, Transform};
use lakeshift_core::schema::{DataType, Field, TableSchema, TimeUnit};
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{DeletedRows, FileEntry, Format, Snapshot};
use lakeshift_core::value::Value;
use lakeshift_exec::scan::{Deletes, ScanError, ScanRequest, refusal, scan};
use object_store::ObjectStoreExt;
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use parquet::data_type::{Int96, Int96Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use rstest::rstest;

use crate::files::{batch, collect, engine, local, memory, no_deletes, put, put_with, read, read_without, schema, snapshot};

fn ints(values: Vec<i32>) -> ArrayRef {
    Arc::new(Int32Array::from(values))
}

fn by_day() -> PartitionSpec {
    PartitionSpec { fields: vec![PartitionField::new("day", Transform::Identity)] }
}

fn day(days: i32) -> Vec<Option<Value>> {
    vec![Some(Value::Date(days))]
}

async fn refused(snapshot: &Snapshot, storage: &Storage, files: &[FileEntry]) -> String {
    refused_as(Format::Hive, snapshot, storage, files).await
}

async fn refused_as(format: Format, snapshot: &Snapshot, storage: &Storage, files: &[FileEntry]) -> String {
    let error = read(format, storage, snapshot, files).await.unwrap_err();
    refusal(&error).unwrap_or_else(|| panic!("not a refusal: {error:?}")).to_string()
}

#[tokio::test]
async fn files_of_different_schemas_read_in_the_tables_schema() {
    let folder = tempfile::tempdir().unwrap();
    let storage = local(folder.path());
    let old = put(&storage, "day=2001-01-01/a b.parquet", &batch(vec![("n", ints(vec![1, 2]))]), day(11_323)).await;
    let dictionary: DictionaryArray<Int32Type> = vec!["x", "y"].into_iter().collect();
    let new =
        batch(vec![("name", Arc::new(dictionary)), ("N", ints(vec![9, 9])), ("n", Arc::new(Int64Array::from(vec![3, 4])))]);
    let new = put(&storage, "day=2001-01-02/a%2Fb.parquet", &new, day(11_324)).await;
    let null =
        put(&storage, "day=__HIVE_DEFAULT_PARTITION__/c.parquet", &batch(vec![("n", ints(vec![5]))]), vec![None]).await;
    let table = schema(vec![("n", DataType::Int64), ("name", DataType::String), ("day", DataType::Date)]);
    let text = read(Format::Hive, &storage, &snapshot(&storage, table, by_day()), &[old, new, null]).await.unwrap();
    insta::assert_snapshot!(text, @r"
    | n | name | day        |
    | 1 |      | 2001-01-01 |
    | 2 |      | 2001-01-01 |
    | 3 | x    | 2001-01-02 |
    | 4 | y    | 2001-01-02 |
    | 5 |      |            |
    ");
}

#[rstest]
#[case::the_path_is_authoritative(Format::Hive, "2001-01-01")]
#[case::the_log_is_authoritative(Format::Delta, "2001-01-01")]
#[case::the_file_is_read(Format::Iceberg, "1970-01-08")]
#[tokio::test]
async fn a_partition_column_that_also_stands_in_the_file(#[case] format: Format, #[case] expected: &str) {
    let storage = memory();
    let rows = batch(vec![("n", ints(vec![1])), ("day", Arc::new(Date32Array::from(vec![7])))]);
    let with = put(&storage, "a.parquet", &rows, day(11_323)).await;
    let without = put(&storage, "b.parquet", &batch(vec![("n", ints(vec![2]))]), day(11_323)).await;
    let table = schema(vec![("n", DataType::Int32), ("day", DataType::Date)]);
    let snapshot = snapshot(&storage, table, by_day());
    let text = read(format, &storage, &snapshot, &[with, without]).await.unwrap();
    assert_eq!(text.lines().skip(1).collect::<Vec<_>>(), [format!("| 1 | {expected} |"), "| 2 | 2001-01-01 |".to_owned()]);
}

#[tokio::test]
async fn columns_are_found_by_physical_name_and_case_matters() {
    let storage = memory();
    let file = put(&storage, "a.parquet", &batch(vec![("col-1", ints(vec![1])), ("a", ints(vec![2]))]), vec![]).await;
    let mut table = schema(vec![("n", DataType::Int32), ("A", DataType::Int32)]);
    table.fields[0].physical_name = Some("col-1".to_owned());
    let text = read(Format::Delta, &storage, &snapshot(&storage, table, PartitionSpec::default()), &[file]).await.unwrap();
    assert_eq!(text, "| n | A |\n| 1 |   |");
}

/// An Arrow field with a Parquet field id.
fn with_id(field: ArrowField, id: i32) -> ArrowField {
    field.with_metadata(HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())]))
}

/// A file of columns `old_n` (id 1), `n` (id 2), and `s` (id 3) with the members `a` (id 4) and `b` (id 5), in a list too (id 6, 7).
async fn file_with_ids(storage: &Storage) -> FileEntry {
    let int = |name: &str, id| with_id(ArrowField::new(name, ArrowType::Int32, true), id);
    let members = || Fields::from(vec![int("a", 4), int("b", 5)]);
    let pair = || StructArray::new(members(), vec![ints(vec![30]), ints(vec![40])], None);
    let element = with_id(ArrowField::new("element", ArrowType::Struct(members()), true), 7);
    let list = ListArray::new(Arc::new(element.clone()), OffsetBuffer::from_lengths([1]), Arc::new(pair()), None);
    let schema = Schema::new(vec![
        int("old_n", 1),
        int("n", 2),
        with_id(ArrowField::new("s", ArrowType::Struct(members()), true), 3),
        with_id(ArrowField::new("l", ArrowType::List(Arc::new(element)), true), 6),
    ]);
    let columns: Vec<ArrayRef> = vec![ints(vec![10]), ints(vec![20]), Arc::new(pair()), Arc::new(list)];
    put(storage, "ids.parquet", &RecordBatch::try_new(Arc::new(schema), columns).unwrap(), vec![]).await
}

fn numbered(name: &str, id: i32, data_type: DataType) -> Field {
    Field { id: Some(id), ..Field::new(name, data_type, true) }
}

/// Renamed, dropped and added again under an old name: only ids tell, at every level.
#[tokio::test]
async fn iceberg_columns_are_found_by_their_ids_at_every_level() {
    let storage = memory();
    let file = file_with_ids(&storage).await;
    let int = |name: &str, id| numbered(name, id, DataType::Int32);
    // `b` bears the name that `a` had, and `a` was added anew.
    let members = || DataType::Struct { fields: vec![int("a", 99), int("b", 4)] };
    let list = DataType::List { element: Box::new(numbered("element", 7, members())) };
    let fields = vec![int("n", 1), int("s", 2), int("gone", 98), numbered("place", 3, members()), numbered("l", 6, list)];
    let table = snapshot(&storage, TableSchema { fields }, PartitionSpec::default());
    let text = read(Format::Iceberg, &storage, &table, &[file]).await.unwrap();
    let row = text.lines().last().unwrap().replace(' ', "");
    assert_eq!(row, "|10|20||{a:,b:30}|[{a:,b:30}]|", "{text}");
}

#[tokio::test]
async fn a_file_without_ids_is_read_by_the_name_mapping_or_refused() {
    let storage = memory();
    let file = put(&storage, "a.parquet", &batch(vec![("old", ints(vec![1])), ("n", ints(vec![2]))]), vec![]).await;
    let mut table = TableSchema { fields: vec![numbered("n", 1, DataType::Int32), numbered("m", 2, DataType::Int32)] };
    let error = refused_as(Format::Iceberg, &snapshot_of(&storage, &table), &storage, std::slice::from_ref(&file)).await;
    assert!(error.contains("a.parquet has no field ids") && error.contains("name-mapping"), "{error}");
    table.fields[0].aliases = vec!["old".to_owned()];
    let text = read(Format::Iceberg, &storage, &snapshot_of(&storage, &table), &[file]).await.unwrap();
    assert_eq!(text.lines().last().unwrap().replace(' ', ""), "|1||", "what the mapping does not name is not read");
}

fn snapshot_of(storage: &Storage, table: &TableSchema) -> Snapshot {
    snapshot(storage, table.clone(), PartitionSpec::default())
}

#[rstest]
#[case::by_name("name", "|10|{a:30,b:40}|")]
#[case::by_id("id", "|20|{a:40,b:30}|")]
#[tokio::test]
async fn delta_columns_are_found_as_its_mapping_says(#[case] mode: &str, #[case] expected: &str) {
    let storage = memory();
    let file = file_with_ids(&storage).await;
    let mapped = |name: &str, physical: &str, id, data_type| Field {
        physical_name: Some(physical.to_owned()),
        ..numbered(name, id, data_type)
    };
    // Names and ids tell different columns here, as they never do in a table.
    let int = |name: &str, physical: &str, id| mapped(name, physical, id, DataType::Int32);
    let members = DataType::Struct { fields: vec![int("a", "a", 5), int("b", "b", 4)] };
    let fields = vec![int("x", "old_n", 2), mapped("y", "s", 3, members)];
    let mut table = snapshot_of(&storage, &TableSchema { fields });
    table.properties.insert("delta.columnMapping.mode".to_owned(), mode.to_owned());
    let text = read(Format::Delta, &storage, &table, &[file]).await.unwrap();
    assert_eq!(text.lines().last().unwrap().replace(' ', ""), expected, "{text}");
}

#[tokio::test]
async fn a_column_is_read_under_each_of_its_names_and_never_under_two_of_them() {
    let storage = memory();
    let nested = |n: i32| -> ArrayRef {
        let inner = batch(vec![("n", ints(vec![n]))]);
        Arc::new(arrow::array::StructArray::from(inner))
    };
    let first = put(&storage, "a.parquet", &batch(vec![("from", ints(vec![1])), ("s_old", nested(7))]), vec![]).await;
    let second = put(&storage, "b.parquet", &batch(vec![("s", nested(8)), ("origin", ints(vec![2]))]), vec![]).await;
    let member = Field::new("n", DataType::Int32, true);
    let mut table = schema(vec![("origin", DataType::Int32), ("s", DataType::Struct { fields: vec![member] })]);
    table.fields[0].aliases = vec!["from".to_owned(), "dep".to_owned()];
    table.fields[1].aliases = vec!["s_old".to_owned()];
    let snapshot = snapshot(&storage, table, PartitionSpec::default());
    let text = read(Format::Hive, &storage, &snapshot, &[first, second]).await.unwrap();
    assert_eq!(text, "| origin | s      |\n| 1      | {n: 7} |\n| 2      | {n: 8} |");
    for names in [["from", "origin"], ["dep", "from"]] {
        let columns = names.map(|name| (name, ints(vec![1]))).to_vec();
        let both = put(&storage, "both.parquet", &batch(columns), vec![]).await;
        let error = refused(&snapshot, &storage, &[both]).await;
        assert!(error.contains("both.parquet") && error.contains("columns map"), "{error}");
    }
}

#[tokio::test]
async fn what_does_not_fit_is_refused_by_name() {
    let storage = memory();
    let table = |data_type| snapshot(&storage, schema(vec![("n", data_type)]), PartitionSpec::default());
    let file =
        put(&storage, "a.parquet", &batch(vec![("n", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]), vec![]).await;
    let files = [file.clone()];
    insta::assert_snapshot!(refused(&table(DataType::Int32), &storage, &files).await, @"column n of a.parquet is Int64 and the table says Int32; a change without loss is not possible");
    let nanos = batch(vec![("n", Arc::new(TimestampNanosecondArray::from(vec![1])) as ArrayRef)]);
    let nanos = [put(&storage, "n.parquet", &nanos, vec![]).await];
    let micros = table(DataType::Timestamp { unit: TimeUnit::Micros, utc: false });
    insta::assert_snapshot!(refused(&micros, &storage, &nanos).await, @"column n of n.parquet is Timestamp(ns) and the table says Timestamp(µs); a change without loss is not possible");
    let replaced = [FileEntry { rows: Some(7), ..file.clone() }];
    insta::assert_snapshot!(refused(&table(DataType::Int64), &storage, &replaced).await, @"a.parquet has 1 rows and 7 were recorded; it was replaced or damaged, list the table again");
    let mut required = table(DataType::Int64);
    required.schema.fields.push(Field::new("m", DataType::Int64, false));
    insta::assert_snapshot!(refused(&required, &storage, &files).await, @"column m may not be null and a.parquet does not have it");
}

#[tokio::test]
async fn a_null_in_a_column_that_may_not_be_null_is_an_error() {
    let storage = memory();
    let rows = batch(vec![("n", Arc::new(Int32Array::from(vec![Some(1), None])) as ArrayRef)]);
    let files = [put(&storage, "a.parquet", &rows, vec![]).await];
    let table = TableSchema { fields: vec![Field::new("n", DataType::Int64, false)] };
    assert!(read(Format::Hive, &storage, &snapshot(&storage, table, PartitionSpec::default()), &files).await.is_err());
}

#[tokio::test]
async fn deletes_and_paths_outside_are_refused_before_anything_is_read() {
    let storage = memory();
    let snapshot = snapshot(&storage, schema(vec![("n", DataType::Int32)]), PartitionSpec::default());
    let file = put(&storage, "a.parquet", &batch(vec![("n", ints(vec![1]))]), vec![]).await;
    let plan = |file: FileEntry| {
        let files = [file];
        scan(
            &engine(),
            &ScanRequest {
                storage: &storage,
                format: Format::Delta,
                snapshot: &snapshot,
                files: &files,
                deletes: no_deletes(),
            },
        )
        .map(|_| ())
    };
    assert!(matches!(plan(FileEntry { has_deletes: true, ..file.clone() }), Err(ScanError::Deletes { .. })));
    assert!(matches!(plan(FileEntry { path: "../a.parquet".to_owned(), ..file.clone() }), Err(ScanError::Outside(_))));
    assert!(plan(file).is_ok());
}

/// In row groups of three rows: one is left out as a whole, one is read as a whole.
#[tokio::test]
async fn deleted_rows_are_not_read_and_what_does_not_fit_is_refused() {
    let storage = memory();
    let rows = batch(vec![("n", ints((0..10).collect()))]);
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(3)).build();
    let mut file = put_with(&storage, "a.parquet", &rows, vec![], Some(properties)).await;
    file.has_deletes = true;
    let snapshot = snapshot(&storage, schema(vec![("n", DataType::Int32)]), PartitionSpec::default());
    let read = async |deleted: &[u64], left: Option<u64>| {
        let file = FileEntry { rows: left, ..file.clone() };
        let deletes = Deletes::from([(file.path.clone(), DeletedRows::from_ascending(deleted.iter().copied()).unwrap())]);
        read_without(Format::Delta, &storage, &snapshot, &[file], &deletes).await
    };
    for (deleted, expected) in [
        (&[][..], "0 1 2 3 4 5 6 7 8 9"),
        (&[0, 3, 4, 5, 7, 9], "1 2 6 8"),
        (&[2, 3], "0 1 4 5 6 7 8 9"),
        (&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], ""),
    ] {
        let text = read(deleted, Some(10 - deleted.len() as u64)).await.unwrap();
        let left: Vec<&str> = text.lines().skip(1).map(|line| line.trim_matches(['|', ' '])).collect();
        assert_eq!(left.join(" "), expected, "{deleted:?}");
    }
    let error = read(&[1], Some(8)).await.unwrap_err();
    assert!(refusal(&error).unwrap().to_string().contains("has 10 rows and 9 were recorded"), "{error}");
}

#[test]
fn deletes_that_cannot_be_applied_are_refused_before_anything_is_read() {
    let storage = memory();
    let snapshot = snapshot(&storage, schema(vec![("n", DataType::Int32)]), PartitionSpec::default());
    let plan = |left: Option<u64>, deleted: &[u64]| {
        let file = FileEntry {
            path: "a.parquet".to_owned(),
            size_bytes: 9,
            identity: String::new(),
            modified_ms: 0,
            rows: left,
            partition: vec![],
            has_deletes: true,
        };
        let deletes = Deletes::from([(file.path.clone(), DeletedRows::from_ascending(deleted.iter().copied()).unwrap())]);
        let files = [file];
        let request =
            ScanRequest { storage: &storage, format: Format::Delta, snapshot: &snapshot, files: &files, deletes: &deletes };
        scan(&engine(), &request).map(drop).map_err(|error| error.to_string())
    };
    assert!(plan(Some(4), &[5]).is_err_and(|error| error.contains("rows that it does not have")));
    assert!(plan(None, &[0]).is_err_and(|error| error.contains("how many rows")));
    assert!(plan(Some(4), &[4]).is_ok());
}

/// Spark's INT96: nanoseconds of the day and the Julian day.
#[rstest]
#[case::epoch(0, 2_440_588, Some(0))]
#[case::nanoseconds_are_cut(1_999, 2_440_588, Some(1))]
#[case::year_one(0, 1_721_426, Some(-62_135_596_800_000_000))]
#[case::year_9999(86_399_999_999_000, 5_373_484, Some(253_402_300_799_999_999))]
#[tokio::test]
async fn int96_is_an_instant_where_the_table_says_so_over_its_whole_range(
    #[case] nanos: u64,
    #[case] julian: u32,
    #[case] micros: Option<i64>,
) {
    let storage = memory();
    let message = Arc::new(parse_message_type("message m { optional int96 at; }").unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), message, Default::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let value = Int96::from(vec![nanos as u32, (nanos >> 32) as u32, julian]);
    column.typed::<Int96Type>().write_batch(&[value], Some(&[1]), None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    let bytes = writer.into_inner().unwrap();
    let size_bytes = bytes.len() as u64;
    storage.store().put(&storage.resolve("a.parquet").unwrap(), bytes.into()).await.unwrap();
    let files = [FileEntry {
        path: "a.parquet".to_owned(),
        size_bytes,
        identity: String::new(),
        modified_ms: 0,
        rows: Some(1),
        partition: vec![],
        has_deletes: false,
    }];
    let instant = |utc| schema(vec![("at", DataType::Timestamp { unit: TimeUnit::Micros, utc })]);
    let mut declared = snapshot(&storage, instant(true), PartitionSpec::default());
    declared.properties.insert("source.int96".to_owned(), "utc".to_owned());
    for (format, table) in
        [(Format::Delta, snapshot(&storage, instant(true), PartitionSpec::default())), (Format::Hive, declared)]
    {
        let request = ScanRequest { storage: &storage, format, snapshot: &table, files: &files, deletes: no_deletes() };
        let engine = engine();
        let rows = collect(&engine, scan(&engine, &request).unwrap()).await.unwrap();
        let found = lakeshift_exec::types::value_at(rows[0].column(0), 0).unwrap();
        assert_eq!(found, micros.map(Value::Timestamp), "{format}");
    }
    for (format, utc) in [(Format::Hive, true), (Format::Delta, false)] {
        let table = snapshot(&storage, instant(utc), PartitionSpec::default());
        assert!(refused_as(format, &table, &storage, &files).await.contains("INT96"), "{format}");
    }
}

#[tokio::test]
async fn a_damaged_file_is_an_error_and_no_files_are_no_rows() {
    let storage = memory();
    let snapshot = snapshot(&storage, schema(vec![("n", DataType::Int32)]), PartitionSpec::default());
    let mut file = put(&storage, "a.parquet", &batch(vec![("n", ints(vec![1]))]), vec![]).await;
    file.size_bytes -= 1;
    assert!(read(Format::Hive, &storage, &snapshot, &[file]).await.is_err());
    assert_eq!(read(Format::Hive, &storage, &snapshot, &[]).await.unwrap(), "");
}

#[tokio::test]
async fn timestamps_widen_and_two_stores_of_one_url_are_kept_apart() {
    let (first, second) = (memory(), memory());
    let engine = engine();
    let table = schema(vec![("t", DataType::Timestamp { unit: TimeUnit::Micros, utc: true })]);
    for (storage, value) in [(&first, 1), (&second, 2)] {
        let millis = TimestampMillisecondArray::from(vec![value]).with_timezone("UTC");
        let files = [put(storage, "a.parquet", &batch(vec![("t", Arc::new(millis) as ArrayRef)]), vec![]).await];
        let snapshot = snapshot(storage, table.clone(), PartitionSpec::default());
        let request =
            ScanRequest { storage, format: Format::Hive, snapshot: &snapshot, files: &files, deletes: no_deletes() };
        let rows = collect(&engine, scan(&engine, &request).unwrap()).await.unwrap();
        let found = lakeshift_exec::types::value_at(rows[0].column(0), 0).unwrap();
        assert_eq!(found, Some(Value::Timestamp(value * 1000)));
    }
}

#[tokio::test]
async fn text_of_a_partition_keeps_its_zeros_and_nested_columns_widen() {
    let storage = memory();
    let list = arrow::array::ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1), None])]);
    let file =
        put(&storage, "a.parquet", &batch(vec![("l", Arc::new(list) as ArrayRef)]), vec![Some(Value::String("00".into()))])
            .await;
    let element = Box::new(Field::new("element", DataType::Int64, true));
    let table = schema(vec![("l", DataType::List { element }), ("hour", DataType::String)]);
    let spec = PartitionSpec { fields: vec![PartitionField::new("hour", Transform::Identity)] };
    let text = read(Format::Hive, &storage, &snapshot(&storage, table, spec), &[file]).await.unwrap();
    assert_eq!(text.lines().last().unwrap(), "| [1, ] | 00   |");
}
