//! Copying column chunks undecoded.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, Decimal128Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType as ArrowType, Field as ArrowField, Int64Type};
use bytes::Bytes;
use lakeshift_core::partition::{PartitionField, PartitionSpec, Transform};
use lakeshift_core::schema::{DataType, Field, TableSchema, TimeUnit};
use lakeshift_core::spec::ParquetOptions;
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{FileEntry, Format, NewFile};
use lakeshift_core::value::Value;
use lakeshift_exec::rewrite::{PartitionColumns, RewriteError, RewriteLimits};
use lakeshift_exec::splice::{SpliceOutcome, SpliceRequest, splice};
use lakeshift_exec::throttle::Throttle;
use lakeshift_testkit::ManualClock;
use object_store::ObjectStoreExt;
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use crate::files::{batch, memory, objects, put, read, snapshot};

/// `day` stands in the path.
fn source_schema() -> TableSchema {
    let element = Box::new(Field::new("element", DataType::Int64, true));
    let columns = vec![
        ("n", DataType::Int64),
        ("text", DataType::String),
        ("amount", DataType::Decimal { precision: 10, scale: 2 }),
        ("at", DataType::Timestamp { unit: TimeUnit::Micros, utc: true }),
        ("tags", DataType::List { element }),
        ("place", DataType::Struct { fields: vec![Field::new("code", DataType::String, true)] }),
        ("day", DataType::Date),
    ];
    crate::files::schema(columns)
}

/// The same columns with ids, as Iceberg numbers them.
fn target_schema() -> TableSchema {
    let mut schema = source_schema();
    for (id, field) in (1..).zip(&mut schema.fields) {
        field.id = Some(id);
        match &mut field.data_type {
            DataType::List { element } => element.id = Some(20),
            DataType::Struct { fields } => fields[0].id = Some(30),
            _ => {}
        }
    }
    schema
}

fn rows(from: i64, count: i64) -> RecordBatch {
    let numbers = || from..from + count;
    let tags = numbers().map(|n| (n % 3 > 0).then(|| (0..n % 3).map(|tag| (tag > 0).then_some(n)).collect::<Vec<_>>()));
    let code = Arc::new(ArrowField::new("code", ArrowType::Utf8, true));
    let codes: ArrayRef = Arc::new(StringArray::from_iter(numbers().map(|n| (n % 5 > 0).then(|| format!("c{}", n % 7)))));
    batch(vec![
        ("n", Arc::new(Int64Array::from_iter(numbers().map(|n| (n % 11 > 0).then_some(n)))) as ArrayRef),
        ("text", Arc::new(StringArray::from_iter_values(numbers().map(|n| format!("é{}", n % 50))))),
        (
            "amount",
            Arc::new(Decimal128Array::from_iter_values(numbers().map(i128::from)).with_precision_and_scale(10, 2).unwrap()),
        ),
        ("at", Arc::new(TimestampMicrosecondArray::from_iter_values(numbers()).with_timezone("UTC"))),
        ("tags", Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(tags))),
        ("place", Arc::new(StructArray::from(vec![(code, codes)]))),
    ])
}

struct World {
    source: Storage,
    target: Storage,
    files: Vec<FileEntry>,
}

const DAYS: [i32; 2] = [11_323, 11_324];

async fn world() -> World {
    let (source, target) = (memory(), memory());
    let mut files = Vec::new();
    for (index, day) in (0..).zip(DAYS) {
        let path = format!("day={day}/a.parquet");
        files.push(put(&source, &path, &rows(index * 1000, 1000), vec![Some(Value::Date(day))]).await);
    }
    World { source, target, files }
}

fn by(column: &str, transform: Transform) -> PartitionSpec {
    PartitionSpec { fields: vec![PartitionField::new(column, transform)] }
}

async fn spliced(world: &World, schema: &TableSchema, target_file_bytes: usize) -> Result<SpliceOutcome, RewriteError> {
    let throttle = Throttle::new(Arc::new(ManualClock::new()), None);
    let source = snapshot(&world.source, source_schema(), by("day", Transform::Identity));
    splice(&SpliceRequest {
        source: &world.source,
        format: Format::Hive,
        snapshot: &source,
        files: &world.files,
        storage: &world.target,
        schema,
        partition: &by("day", Transform::Month),
        key: &[Some(Value::Int(372))],
        partition_columns: PartitionColumns::Keep,
        file_stem: "ls.m.b000001.e1",
        limits: RewriteLimits { target_file_bytes, ..RewriteLimits::default() },
        parquet: &ParquetOptions::default(),
        throttle: &throttle,
    })
    .await
}

fn written(outcome: SpliceOutcome) -> Vec<NewFile> {
    match outcome {
        SpliceOutcome::Written(files) => files,
        SpliceOutcome::NotPossible { file, reason } => panic!("{file}: {reason}"),
    }
}

async fn bytes(storage: &Storage, path: &str) -> Bytes {
    storage.store().get(&storage.resolve(path).unwrap()).await.unwrap().bytes().await.unwrap()
}

async fn metadata(storage: &Storage, path: &str) -> ParquetMetaData {
    let mut reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Optional);
    reader.try_parse(&bytes(storage, path).await).unwrap();
    reader.finish().unwrap()
}

fn entry(file: &NewFile) -> FileEntry {
    FileEntry {
        path: file.path.clone(),
        size_bytes: file.size_bytes,
        identity: String::new(),
        modified_ms: 0,
        rows: Some(file.rows),
        partition: file.partition.clone(),
        has_deletes: false,
    }
}

#[tokio::test]
async fn daily_files_become_one_file_of_the_month_with_the_same_rows_and_the_column_of_the_path() {
    let world = world().await;
    let files = written(spliced(&world, &target_schema(), 1 << 30).await.unwrap());
    assert_eq!(files.len(), 1, "{files:?}");
    assert_eq!((files[0].path.as_str(), files[0].rows), ("data/day_month=2001-01/ls.m.b000001.e1-00001.parquet", 2000));
    assert_eq!(bytes(&world.target, &files[0].path).await.len() as u64, files[0].size_bytes);
    let new = snapshot(&world.target, target_schema(), by("day", Transform::Month));
    let new = read(Format::Iceberg, &world.target, &new, &[entry(&files[0])]).await.unwrap();
    let old = snapshot(&world.source, source_schema(), by("day", Transform::Identity));
    let old = read(Format::Hive, &world.source, &old, &world.files).await.unwrap();
    assert_eq!(new, old);
    assert!(new.contains("2001-01-02") && new.lines().count() == 2001);
}

#[tokio::test]
async fn chunks_are_the_same_bytes_with_their_statistics_and_page_indexes_under_the_targets_ids() {
    let world = world().await;
    let files = written(spliced(&world, &target_schema(), 1 << 30).await.unwrap());
    let new = metadata(&world.target, &files[0].path).await;
    let new_bytes = bytes(&world.target, &files[0].path).await;
    for (group, file) in world.files.iter().enumerate() {
        let (old, old_bytes) = (metadata(&world.source, &file.path).await, bytes(&world.source, &file.path).await);
        for leaf in 0..old.row_group(0).num_columns() {
            let (before, after) = (old.row_group(0).column(leaf), new.row_group(group).column(leaf));
            let slice = |bytes: &Bytes, (start, length): (u64, u64)| bytes.slice(start as usize..(start + length) as usize);
            assert_eq!(slice(&old_bytes, before.byte_range()), slice(&new_bytes, after.byte_range()));
            assert_eq!(before.statistics(), after.statistics());
            assert_eq!(old.column_index().unwrap()[0][leaf], new.column_index().unwrap()[group][leaf]);
            let page = &new.offset_index().unwrap()[group][leaf].page_locations[0];
            assert_eq!(page.offset, after.data_page_offset());
        }
    }
    let ids: Vec<i32> =
        new.file_metadata().schema().get_fields().iter().map(|column| column.get_basic_info().id()).collect();
    assert_eq!(ids, [1, 2, 3, 4, 5, 6, 7]);
    let leaf = |column: usize| new.file_metadata().schema_descr().column(column).self_type().get_basic_info().id();
    assert_eq!([leaf(4), leaf(5)], [20, 30], "members have their ids as well");
    let day = new.row_group(1).column(6).statistics().unwrap();
    assert_eq!(day.min_bytes_opt(), Some(&11_324_i32.to_le_bytes()[..]));
}

#[tokio::test]
async fn a_file_ends_at_its_size_and_where_the_columns_are_others() {
    let mut world = world().await;
    let files = written(spliced(&world, &target_schema(), 1).await.unwrap());
    assert_eq!(files.iter().map(|file| file.rows).collect::<Vec<_>>(), [1000, 1000]);

    // A later file lacks a column: what it lacks is null in it, so it cannot share a file with the others.
    let fewer = rows(2000, 10).project(&[0, 1]).unwrap();
    world.files.push(put(&world.source, "day=3/b.parquet", &fewer, vec![Some(Value::Date(11_325))]).await);
    let files = written(spliced(&world, &target_schema(), 1 << 30).await.unwrap());
    assert_eq!(files.iter().map(|file| file.rows).collect::<Vec<_>>(), [2000, 10]);
}

#[tokio::test]
async fn a_value_in_the_path_stands_before_the_one_in_the_file() {
    let mut world = world().await;
    let mut columns: Vec<(String, ArrayRef)> = Vec::new();
    let rows = rows(0, 10);
    for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
        columns.push((field.name().clone(), Arc::clone(column)));
    }
    columns.push(("day".to_owned(), Arc::new(Date32Array::from_iter_values([1; 10]))));
    let both =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap();
    world.files = vec![put(&world.source, "day=1/c.parquet", &both, vec![None]).await];
    let files = written(spliced(&world, &target_schema(), 1 << 30).await.unwrap());
    let new = snapshot(&world.target, target_schema(), by("day", Transform::Month));
    let rows = read(Format::Iceberg, &world.target, &new, &[entry(&files[0])]).await.unwrap();
    assert!(!rows.contains("1970-01-02"), "{rows}");
}

#[tokio::test]
async fn many_row_groups_without_statistics_are_copied_as_they_are() {
    let mut world = world().await;
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(7))
        .set_statistics_enabled(EnabledStatistics::None)
        .set_offset_index_disabled(true)
        .build();
    let rows = rows(0, 30);
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties)).unwrap();
    writer.write(&rows).unwrap();
    let file = writer.into_inner().unwrap();
    world.files.truncate(1);
    (world.files[0].size_bytes, world.files[0].rows) = (file.len() as u64, Some(30));
    world.source.store().put(&world.source.resolve(&world.files[0].path).unwrap(), file.into()).await.unwrap();
    let files = written(spliced(&world, &target_schema(), 1 << 30).await.unwrap());
    let metadata = metadata(&world.target, &files[0].path).await;
    assert_eq!((metadata.num_row_groups(), metadata.row_group(0).column(0).statistics()), (5, None));
    let new = snapshot(&world.target, target_schema(), by("day", Transform::Month));
    let new = read(Format::Iceberg, &world.target, &new, &[entry(&files[0])]).await.unwrap();
    assert_eq!(new.lines().count(), 31);

    // Pages are indexed in all of a file or nowhere in it.
    world.files.push(put(&world.source, "day=2/indexed.parquet", &rows, vec![Some(Value::Date(11_324))]).await);
    let files = written(spliced(&world, &target_schema(), 1 << 30).await.unwrap());
    assert_eq!(files.iter().map(|file| file.rows).collect::<Vec<_>>(), [30, 30]);
}

#[tokio::test]
async fn what_is_not_the_targets_column_is_not_copied_and_nothing_becomes_visible() {
    let mut world = world().await;
    let other = batch(vec![("n", Arc::new(arrow::array::Int32Array::from_iter_values(0..10)) as ArrayRef)]);
    world.files[1] = put(&world.source, "day=2/other.parquet", &other, vec![Some(Value::Date(11_324))]).await;
    match spliced(&world, &target_schema(), 1 << 30).await.unwrap() {
        SpliceOutcome::NotPossible { file, reason } => {
            assert_eq!(file, "day=2/other.parquet");
            assert!(reason.contains("column n is int32 and int64"), "{reason}");
        }
        SpliceOutcome::Written(files) => panic!("{files:?}"),
    }
    world.files[1].has_deletes = true;
    assert!(matches!(spliced(&world, &target_schema(), 1 << 30).await.unwrap(), SpliceOutcome::NotPossible { .. }));
    assert_eq!(objects(&world.target).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_file_that_is_not_the_one_on_record_is_an_error_and_nothing_becomes_visible() {
    let mut world = world().await;
    world.files[1].rows = Some(999);
    let error = spliced(&world, &target_schema(), 1 << 30).await.unwrap_err();
    assert!(matches!(error, RewriteError::Replaced { found: 1000, expected: 999, .. }), "{error}");
    world.files[1].path = "gone.parquet".to_owned();
    assert!(matches!(spliced(&world, &target_schema(), 1 << 30).await, Err(RewriteError::ReadFile { .. })));
    assert_eq!(objects(&world.target).await, Vec::<String>::new());
}
