//! Delta tables: created, committed to and read back, also by deltalake itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::TryStreamExt;
use lakeshift_core::partition::{PartitionField, PartitionSpec, Transform};
use lakeshift_core::schema::{DataType, Field, TableSchema, TimeUnit};
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{
    CommitNumber, CommitOutcome, CommitRequest, CreateOutcome, CreateRequest, MigrationId, NewFile, TableError, TableFormat,
    TableVersion,
};
use lakeshift_core::value::Value;
use lakeshift_journal::Epoch;
use lakeshift_tables::delta::DeltaTable;
use lakeshift_testkit::{Counted, FaultPlan, FaultStore, Gate, ManualClock};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use rstest::rstest;
use serde_json::{Value as Json, json};

use crate::builders::{entries, folder, ints, numbers, parquet, paths, put, texts};

pub fn storage_on(store: Arc<dyn ObjectStore>) -> Storage {
    Storage::new(url::Url::parse("memory:///lake/t").unwrap(), store, Path::from("lake/t"))
}

pub fn memory() -> Storage {
    storage_on(Arc::new(InMemory::new()))
}

pub fn open(storage: &Storage) -> DeltaTable {
    DeltaTable::new(storage.clone(), Arc::new(ManualClock::new()))
}

fn schema() -> TableSchema {
    TableSchema { fields: vec![Field::new("id", DataType::Int64, true), Field::new("place", DataType::String, true)] }
}

fn by_place() -> PartitionSpec {
    PartitionSpec { fields: vec![PartitionField::new("place", Transform::Identity)] }
}

pub fn creation(schema: TableSchema, partition: PartitionSpec) -> CreateRequest {
    let properties = BTreeMap::from([("owner".to_owned(), "tests".to_owned())]);
    CreateRequest {
        migration: MigrationId("m".into()),
        epoch: Epoch(1),
        schema,
        partition,
        sort: Vec::new(),
        format_version: None,
        properties,
    }
}

pub async fn created(storage: &Storage) -> DeltaTable {
    let table = open(storage);
    let outcome = table.create(&creation(schema(), by_place())).await.unwrap();
    assert_eq!(outcome, CreateOutcome::Created(TableVersion("0".into())));
    table
}

pub async fn new_file(storage: &Storage, path: &str, rows: i64, place: Option<&str>) -> NewFile {
    let bytes = numbers(0, rows);
    let size_bytes = bytes.len() as u64;
    put(storage, path, bytes).await;
    let partition = vec![place.map(|place| Value::String(place.to_owned()))];
    NewFile { path: path.to_owned(), size_bytes, partition, rows: rows.unsigned_abs() }
}

pub fn request(number: u64, epoch: u64, add: Vec<NewFile>, remove: &[&str]) -> CommitRequest {
    let remove = remove.iter().map(|path| (*path).to_owned()).collect();
    CommitRequest { add, remove, ..CommitRequest::fence(MigrationId("m".into()), CommitNumber(number), Epoch(epoch)) }
}

pub fn committed(outcome: CommitOutcome) -> u64 {
    match outcome {
        CommitOutcome::Committed(version) => version.0.parse().unwrap(),
        other => panic!("{other:?}"),
    }
}

async fn log(storage: &Storage, version: u64) -> Vec<Json> {
    let path = storage.resolve(&format!("_delta_log/{version:020}.json")).unwrap();
    let bytes = storage.store().get(&path).await.unwrap().bytes().await.unwrap();
    std::str::from_utf8(&bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub async fn action(storage: &Storage, version: u64, name: &str) -> Json {
    log(storage, version).await.iter().find_map(|line| line.get(name).cloned()).unwrap_or(Json::Null)
}

pub async fn write_log(storage: &Storage, version: u64, lines: &[Json]) {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    put(storage, &format!("_delta_log/{version:020}.json"), text.into_bytes()).await;
}

#[tokio::test]
async fn a_new_table_reads_back_as_it_was_asked_for() {
    let storage = memory();
    let table = created(&storage).await;
    let snapshot = table.snapshot(None).await.unwrap();
    assert_eq!((snapshot.schema, snapshot.partition), (schema(), by_place()));
    assert_eq!(snapshot.properties["owner"], "tests");
    assert_eq!(snapshot.properties["lakeshift.migration"], "m");
    assert_eq!(snapshot.properties["delta.deletedFileRetentionDuration"], "interval 36500 days");
    assert_eq!(action(&storage, 0, "protocol").await, json!({ "minReaderVersion": 1, "minWriterVersion": 2 }));
}

#[tokio::test]
async fn every_type_that_delta_has_comes_back_and_ntz_raises_the_protocol() {
    let all = [
        ("a", DataType::Boolean),
        ("b", DataType::Int8),
        ("c", DataType::Int16),
        ("d", DataType::Int32),
        ("e", DataType::Float32),
        ("f", DataType::Float64),
        ("g", DataType::Decimal { precision: 38, scale: 4 }),
        ("h", DataType::Date),
        ("i", DataType::Timestamp { unit: TimeUnit::Micros, utc: true }),
        ("j", DataType::Timestamp { unit: TimeUnit::Micros, utc: false }),
        ("k", DataType::Binary),
        ("l", DataType::List { element: Box::new(Field::new("element", DataType::Int64, false)) }),
        (
            "m",
            DataType::Map {
                key: Box::new(Field::new("key", DataType::String, false)),
                value: Box::new(Field::new(
                    "value",
                    DataType::Struct { fields: vec![Field::new("x", DataType::Date, false)] },
                    true,
                )),
            },
        ),
    ];
    let schema = TableSchema { fields: all.map(|(name, data_type)| Field::new(name, data_type, true)).to_vec() };
    let storage = memory();
    let table = open(&storage);
    let _ = table.create(&creation(schema.clone(), PartitionSpec::default())).await.unwrap();
    assert_eq!(table.snapshot(None).await.unwrap().schema, schema);
    let protocol = action(&storage, 0, "protocol").await;
    let expected = json!({ "minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["timestampNtz"], "writerFeatures": ["timestampNtz"] });
    assert_eq!(protocol, expected);
}

#[rstest]
#[case(Field::new("u", DataType::UInt64, true), "uint64")]
#[case(Field::new("t", DataType::Time { unit: TimeUnit::Micros }, true), "time[us]")]
#[case(Field::new("t", DataType::Timestamp { unit: TimeUnit::Nanos, utc: true }, true), "timestamptz[ns]")]
#[case(Field::new("ID", DataType::Int64, true), "case")]
#[tokio::test]
async fn what_delta_cannot_hold_is_refused_and_nothing_is_written(#[case] field: Field, #[case] named: &str) {
    let storage = memory();
    let schema = TableSchema { fields: vec![Field::new("id", DataType::Int64, true), field] };
    let error = open(&storage).create(&creation(schema, PartitionSpec::default())).await.unwrap_err();
    assert!(matches!(&error, TableError::Unsupported { .. }) && error.to_string().contains(named), "{error}");
    assert_eq!(storage.store().list(None).try_collect::<Vec<_>>().await.unwrap(), []);
}

#[tokio::test]
async fn partitioning_by_a_transform_is_refused() {
    let partition = PartitionSpec { fields: vec![PartitionField::new("id", Transform::Bucket(4))] };
    let error = open(&memory()).create(&creation(schema(), partition)).await.unwrap_err().to_string();
    assert!(error.contains("bucket[4] of id"), "{error}");
}

#[tokio::test]
async fn creating_again_is_told_from_anothers_table() {
    let storage = memory();
    let table = created(&storage).await;
    let again = table.create(&creation(schema(), by_place())).await.unwrap();
    assert_eq!(again, CreateOutcome::AlreadyCreated(TableVersion("0".into())));
    let other = CreateRequest { migration: MigrationId("other".into()), ..creation(schema(), by_place()) };
    assert!(
        matches!(table.create(&other).await.unwrap(), CreateOutcome::Foreign { found } if found.contains("migration m"))
    );
}

#[tokio::test]
async fn a_table_that_is_not_there_is_not_found() {
    assert!(matches!(open(&memory()).snapshot(None).await, Err(TableError::NotFound { .. })));
}

#[tokio::test]
async fn awkward_partition_values_come_back_typed_and_are_read_by_deltalake() {
    let folder = folder();
    let table = created(&folder.storage).await;
    let places = ["São Paulo", "a/b", "100% + x=y", "%2F"];
    let mut add = vec![new_file(&folder.storage, "place=__HIVE_DEFAULT_PARTITION__/n.parquet", 1, None).await];
    for place in places {
        let encoded = percent_encoding::utf8_percent_encode(place, percent_encoding::NON_ALPHANUMERIC);
        add.push(new_file(&folder.storage, &format!("place={encoded}/f.parquet"), 2, Some(place)).await);
    }
    assert_eq!(committed(table.commit(&request(1, 1, add.clone(), &[])).await.unwrap()), 1);

    let snapshot = table.snapshot(None).await.unwrap();
    let found: BTreeMap<_, _> =
        entries(&table, &snapshot).await.into_iter().map(|entry| (entry.path.clone(), entry)).collect();
    for file in &add {
        let entry = &found[&file.path];
        assert_eq!((&entry.partition, entry.rows, entry.size_bytes), (&file.partition, Some(file.rows), file.size_bytes));
    }
    // Each path in the log, decoded once, names the object on disk.
    for line in log(&folder.storage, 1).await {
        if let Some(path) = line["add"]["path"].as_str() {
            let decoded = percent_encoding::percent_decode_str(path).decode_utf8().unwrap();
            assert!(folder.dir.path().join(decoded.as_ref()).is_file(), "{path}");
        }
    }
}

#[tokio::test]
async fn a_commit_adds_removes_and_replaces_in_one_version() {
    let storage = memory();
    let table = created(&storage).await;
    let mut add = Vec::new();
    for name in ["kept", "gone", "replaced"] {
        add.push(new_file(&storage, &format!("place=x/{name}.parquet"), 2, Some("x")).await);
    }
    committed(table.commit(&request(1, 1, add, &[])).await.unwrap());
    let before = table.snapshot(None).await.unwrap();
    let replaced = new_file(&storage, "place=x/replaced.parquet", 5, Some("x")).await;
    let new = new_file(&storage, "place=y/new.parquet", 1, Some("y")).await;
    let remove = ["place=x/gone.parquet", "place=x/replaced.parquet"];
    assert_eq!(committed(table.commit(&request(2, 1, vec![replaced, new], &remove)).await.unwrap()), 2);

    let after = table.snapshot(None).await.unwrap();
    assert_eq!(paths(&table, &after).await, ["place=x/kept.parquet", "place=x/replaced.parquet", "place=y/new.parquet"]);
    assert_eq!(entries(&table, &after).await[1].rows, Some(5));
    let changes = table.changes(&before, &after).await.unwrap();
    let names = |files: &[lakeshift_core::table::FileEntry]| files.iter().map(|file| file.path.clone()).collect::<Vec<_>>();
    assert_eq!(names(&changes.added), ["place=x/replaced.parquet", "place=y/new.parquet"]);
    assert_eq!(names(&changes.removed), ["place=x/gone.parquet", "place=x/replaced.parquet"]);
    assert_eq!(paths(&table, &table.snapshot(Some(&before.version)).await.unwrap()).await.len(), 3, "time travel");
}

#[tokio::test]
async fn a_commit_that_is_repeated_is_done_once() {
    let storage = memory();
    let table = created(&storage).await;
    let add = vec![new_file(&storage, "place=x/f.parquet", 2, Some("x")).await];
    committed(table.commit(&request(2, 1, add.clone(), &[])).await.unwrap());
    for number in [1, 2] {
        let outcome = table.commit(&request(number, 1, add.clone(), &[])).await.unwrap();
        assert_eq!(outcome, CommitOutcome::AlreadyCommitted(TableVersion("1".into())));
    }
    let outcome = table.commit(&request(3, 1, add, &[])).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Conflict { reason } if reason.contains("place=x/f.parquet")));
}

#[tokio::test]
async fn a_runner_that_was_replaced_is_fenced() {
    let storage = memory();
    let table = created(&storage).await;
    committed(table.commit(&request(1, 5, vec![], &[])).await.unwrap());
    let outcome = table.commit(&request(2, 4, vec![], &[])).await.unwrap();
    assert_eq!(outcome, CommitOutcome::Fenced { current: Epoch(5) });
    let marks = table.marks(&MigrationId("m".into())).await.unwrap();
    assert_eq!((marks.number, marks.epoch), (None, Some(Epoch(5))));
}

#[tokio::test]
async fn marks_tell_what_others_committed_since() {
    let storage = memory();
    let table = created(&storage).await;
    committed(table.commit(&request(1, 1, vec![], &[])).await.unwrap());
    let other = CommitRequest { migration: MigrationId("other".into()), ..request(1, 1, vec![], &[]) };
    assert_eq!(committed(table.commit(&other).await.unwrap()), 2);
    let marks = table.marks(&MigrationId("m".into())).await.unwrap();
    assert_eq!(marks.foreign, [TableVersion("2".into())]);
    assert_eq!(table.marks(&MigrationId("nobody".into())).await.unwrap(), lakeshift_core::table::Marks::default());
}

#[tokio::test]
async fn a_file_to_remove_that_is_gone_is_a_conflict() {
    let storage = memory();
    let table = created(&storage).await;
    let outcome = table.commit(&request(1, 1, vec![], &["place=x/f.parquet"])).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Conflict { reason } if reason.contains("place=x/f.parquet")));
}

#[tokio::test]
async fn a_footer_with_other_rows_than_counted_is_refused() {
    let storage = memory();
    let table = created(&storage).await;
    let file = NewFile { rows: 3, ..new_file(&storage, "place=x/f.parquet", 2, Some("x")).await };
    let error = table.commit(&request(1, 1, vec![file], &[])).await.unwrap_err();
    assert!(matches!(&error, TableError::Corrupt { object, .. } if object == "place=x/f.parquet"), "{error:?}");
    assert_eq!(table.snapshot(None).await.unwrap().version.0, "0");
}

#[rstest]
#[case::another_type(vec![("id", texts(vec!["1"]))], "id as string")]
#[case::missing(vec![("other", ints(vec![Some(1)]))], "lacks the column id")]
#[tokio::test]
async fn a_file_that_is_not_of_this_table_is_a_conflict(
    #[case] columns: Vec<(&str, deltalake::arrow::array::ArrayRef)>,
    #[case] named: &str,
) {
    let storage = memory();
    let required = TableSchema { fields: vec![Field::new("id", DataType::Int64, false)] };
    let table = open(&storage);
    let _ = table.create(&creation(required, PartitionSpec::default())).await.unwrap();
    let bytes = parquet(columns);
    let file = NewFile { path: "f.parquet".into(), size_bytes: bytes.len() as u64, partition: vec![], rows: 1 };
    put(&storage, "f.parquet", bytes).await;
    let outcome = table.commit(&request(1, 1, vec![file], &[])).await.unwrap();
    assert!(matches!(&outcome, CommitOutcome::Conflict { reason } if reason.contains(named)), "{outcome:?}");
}

#[rstest]
#[case("../x.parquet")]
#[case("memory:///lake/other/x.parquet")]
#[tokio::test]
async fn a_file_outside_of_the_table_is_refused(#[case] path: &str) {
    let storage = memory();
    let table = created(&storage).await;
    let file = NewFile { path: path.to_owned(), size_bytes: 100, partition: vec![None], rows: 1 };
    let error = table.commit(&request(1, 1, vec![file], &[])).await.unwrap_err();
    assert!(matches!(error, TableError::Outside { .. } | TableError::Unsupported { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writers_at_once_each_commit_exactly_once() {
    let storage = memory();
    created(&storage).await;
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..8 {
        let storage = storage.clone();
        tasks.spawn(async move {
            let file = new_file(&storage, &format!("place=x/{writer}.parquet"), 1, Some("x")).await;
            let migration = MigrationId(format!("writer{writer}"));
            let request = CommitRequest { migration, ..request(1, 1, vec![file], &[]) };
            committed(open(&storage).commit(&request).await.unwrap())
        });
    }
    let mut versions = tasks.join_all().await;
    versions.sort_unstable();
    assert_eq!(versions, (1..=8).collect::<Vec<_>>());
    let table = open(&storage);
    assert_eq!(paths(&table, &table.snapshot(None).await.unwrap()).await.len(), 8);
}

/// The operations of one commit, each failing in each way: afterwards a repeated commit finds the file exactly once.
#[tokio::test]
async fn a_commit_that_crashes_anywhere_is_finished_by_repeating_it() {
    let count = mutations_of_a_commit(FaultPlan::None).await;
    assert!(count > 0);
    for operation in 1..=count {
        for plan in [FaultPlan::CrashBefore(operation), FaultPlan::CrashAfter(operation), FaultPlan::LostResponse(operation)]
        {
            mutations_of_a_commit(plan).await;
        }
    }
}

async fn mutations_of_a_commit(plan: FaultPlan) -> u64 {
    let inner: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let sound = storage_on(Arc::clone(&inner));
    created(&sound).await;
    let file = new_file(&sound, "place=x/f.parquet", 2, Some("x")).await;
    let faulty = Arc::new(FaultStore::new(inner, plan).with_counted(Counted::Mutations));
    let first = open(&storage_on(faulty.clone())).commit(&request(1, 1, vec![file.clone()], &[])).await;
    if let FaultPlan::LostResponse(_) = plan {
        assert_eq!(committed(first.unwrap()), 1, "our own bytes were found");
    }
    let table = open(&sound);
    let again = table.commit(&request(1, 1, vec![file], &[])).await.unwrap();
    assert!(matches!(again, CommitOutcome::Committed(_) | CommitOutcome::AlreadyCommitted(_)), "{plan:?} {again:?}");
    assert_eq!(paths(&table, &table.snapshot(None).await.unwrap()).await, ["place=x/f.parquet"], "{plan:?}");
    faulty.mutations()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_is_written_every_ten_versions_and_the_table_reads_on() {
    let storage = memory();
    let table = created(&storage).await;
    for number in 1..=12 {
        let file = new_file(&storage, &format!("place=x/{number}.parquet"), 1, Some("x")).await;
        committed(table.commit(&request(number, 3, vec![file], &[])).await.unwrap());
    }
    let checkpoint = storage.resolve("_delta_log/00000000000000000010.checkpoint.parquet").unwrap();
    assert!(storage.store().head(&checkpoint).await.is_ok());
    for version in 0..10 {
        let path = storage.resolve(&format!("_delta_log/{version:020}.json")).unwrap();
        storage.store().delete(&path).await.unwrap();
    }
    let fresh = open(&storage);
    assert_eq!(paths(&fresh, &fresh.snapshot(None).await.unwrap()).await.len(), 12);
    let marks = fresh.marks(&MigrationId("m".into())).await.unwrap();
    assert_eq!((marks.number, marks.epoch), (Some(CommitNumber(12)), Some(Epoch(3))));
}

/// The checkpoint's first request is answered only when another task of the same thread has run: that is how a lease is
/// renewed meanwhile.
#[test]
fn a_checkpoint_lets_the_other_tasks_of_its_thread_go_on() {
    let (done, waited) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let asked = Arc::new(tokio::sync::Notify::new());
            let answered = Arc::new(tokio::sync::Semaphore::new(0));
            let (ask, answer) = (asked.clone(), answered.clone());
            let gate: Gate = Arc::new(move |_, path| {
                let (ask, answer, is_checkpoint) =
                    (ask.clone(), answer.clone(), path.as_ref().contains("checkpoint.parquet"));
                Box::pin(async move {
                    if is_checkpoint {
                        ask.notify_one();
                        answer.acquire().await.unwrap().forget();
                        answer.add_permits(1);
                    }
                    None
                })
            });
            let storage = memory();
            let table = created(&storage).await;
            for number in 1..=9 {
                committed(table.commit(&request(number, 1, vec![], &[])).await.unwrap());
            }
            let store = FaultStore::new(storage.store().clone(), FaultPlan::None).with_gate(gate);
            let other = tokio::spawn(async move {
                asked.notified().await;
                answered.add_permits(1);
            });
            committed(open(&storage_on(Arc::new(store))).commit(&request(10, 1, vec![], &[])).await.unwrap());
            other.await.unwrap();
        });
        done.send(()).unwrap();
    });
    waited.recv_timeout(std::time::Duration::from_secs(60)).expect("the checkpoint holds its thread");
}

/// So that readers need not replay tens of thousands of lines.
#[tokio::test]
async fn a_large_commit_is_followed_by_a_checkpoint() {
    const FILES: usize = 50_000;
    let storage = memory();
    let table = created(&storage).await;
    let bytes = bytes::Bytes::from(numbers(0, 1));
    let mut add = Vec::with_capacity(FILES);
    for number in 0..FILES {
        let path = format!("{number}.parquet");
        storage.store().put(&storage.resolve(&path).unwrap(), bytes.clone().into()).await.unwrap();
        add.push(NewFile { path, size_bytes: bytes.len() as u64, partition: vec![None], rows: 1 });
    }
    let small = add.split_off(FILES - 1);
    assert_eq!(committed(table.commit(&request(1, 1, small, &[])).await.unwrap()), 1);
    let checkpoint = |version: u64| storage.resolve(&format!("_delta_log/{version:020}.checkpoint.parquet")).unwrap();
    assert!(storage.store().head(&checkpoint(1)).await.is_err());
    add.push(new_file(&storage, "another.parquet", 1, None).await);
    assert_eq!(committed(table.commit(&request(2, 1, add, &[])).await.unwrap()), 2);
    assert!(storage.store().head(&checkpoint(2)).await.is_ok());
    assert_eq!(paths(&table, &table.snapshot(None).await.unwrap()).await.len(), FILES + 1);
}

#[tokio::test]
async fn statistics_are_told_only_where_they_hold() {
    use deltalake::arrow::array::{ArrayRef, Decimal128Array, Float64Array, TimestampMicrosecondArray};
    let long = "x".repeat(300);
    let decimals = |values: Vec<i128>, precision| {
        Arc::new(Decimal128Array::from(values).with_precision_and_scale(precision, 2).unwrap()) as ArrayRef
    };
    let timestamp = TimestampMicrosecondArray::from(vec![1_001, 2_001]).with_timezone("UTC");
    let bytes = parquet(vec![
        ("id", ints(vec![Some(7), None])),
        ("name", texts(vec!["a", "b"])),
        ("long", texts(vec!["a", &long])),
        ("time", Arc::new(timestamp)),
        ("real", Arc::new(Float64Array::from(vec![1.0, f64::NAN]))),
        ("price", decimals(vec![12_345, -5], 9)),
        ("huge", decimals(vec![9_007_199_254_740_993, 1], 18)),
    ]);
    let decimal = |precision| DataType::Decimal { precision, scale: 2 };
    let fields = [
        ("id", DataType::Int64),
        ("name", DataType::String),
        ("long", DataType::String),
        ("time", DataType::Timestamp { unit: TimeUnit::Micros, utc: true }),
        ("real", DataType::Float64),
        ("price", decimal(9)),
        ("huge", decimal(18)),
    ];
    let schema = TableSchema { fields: fields.map(|(name, data_type)| Field::new(name, data_type, true)).to_vec() };
    let storage = memory();
    let table = open(&storage);
    let _ = table.create(&creation(schema, PartitionSpec::default())).await.unwrap();
    let size_bytes = bytes.len() as u64;
    put(&storage, "f.parquet", bytes).await;
    let file = NewFile { path: "f.parquet".into(), size_bytes, partition: vec![], rows: 2 };
    committed(table.commit(&request(1, 1, vec![file], &[])).await.unwrap());
    let stats: Json = serde_json::from_str(action(&storage, 1, "add").await["stats"].as_str().unwrap()).unwrap();
    assert_eq!(
        stats,
        json!({
            "numRecords": 2,
            "minValues": { "id": 7, "name": "a", "time": "1970-01-01T00:00:00.001Z", "price": -0.05 },
            "maxValues": { "id": 7, "name": "b", "time": "1970-01-01T00:00:00.003Z", "price": 123.45 },
            "nullCount": { "id": 1, "name": 0, "long": 0, "time": 0, "real": 0, "price": 0, "huge": 0 },
        })
    );
}

#[rstest]
#[case("7")]
#[case("latest")]
#[tokio::test]
async fn a_version_that_never_was_is_gone(#[case] version: &str) {
    let storage = memory();
    let table = created(&storage).await;
    let error = table.snapshot(Some(&TableVersion(version.to_owned()))).await.unwrap_err();
    assert!(matches!(error, TableError::VersionGone { .. }), "{error:?}");
}

#[tokio::test]
async fn a_table_shares_its_folder_with_the_hive_source() {
    let folder = folder();
    let file = new_file(&folder.storage, "place=x/f.parquet", 2, Some("x")).await;
    let table = created(&folder.storage).await;
    committed(table.commit(&request(1, 1, vec![file], &[])).await.unwrap());
    let hive = lakeshift_tables::hive::HiveTable::new(folder.storage.clone());
    let source = hive.snapshot(None).await.unwrap();
    assert_eq!(paths(&hive, &source).await, paths(&table, &table.snapshot(None).await.unwrap()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_life_of_a_table_also_works_on_s3() {
    let Some(server) = lakeshift_testkit::s3::shared().await else { return };
    let url = url::Url::parse("s3://lake/delta/t").unwrap();
    let storage = Storage::new(url, Arc::new(server.store().unwrap()), Path::from("delta/t"));
    let table = created(&storage).await;
    let file = new_file(&storage, "place=S%C3%A3o%20P/f g.parquet", 2, Some("São P")).await;
    committed(table.commit(&request(1, 1, vec![file], &[])).await.unwrap());
    assert_eq!(committed(table.commit(&request(2, 1, vec![], &["place=S%C3%A3o%20P/f g.parquet"])).await.unwrap()), 2);
    let first = table.snapshot(Some(&TableVersion("1".into()))).await.unwrap();
    assert_eq!(entries(&table, &first).await[0].partition, [Some(Value::String("São P".into()))]);
}

#[tokio::test]
async fn deleted_rows_of_a_file_that_stays_are_refused() {
    use lakeshift_core::table::DeletedRows;
    let folder = folder();
    let table = DeltaTable::new(folder.storage.clone(), Arc::new(ManualClock::new()));
    assert!(matches!(table.create(&creation(schema(), by_place())).await.unwrap(), CreateOutcome::Created(_)));
    let rows = DeletedRows::from_ascending([0]).unwrap();
    let deleting = CommitRequest { deletes: [("a.parquet".to_owned(), rows)].into(), ..request(1, 1, vec![], &[]) };
    assert!(matches!(table.commit(&deleting).await, Err(TableError::Unsupported { .. })));
}
