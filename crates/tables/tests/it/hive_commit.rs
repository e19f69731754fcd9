//! Commits to Hive-style folders: done once, in order, fenced, and finished by whoever comes next.

use std::sync::Arc;

use lakeshift_core::storage::Storage;
use lakeshift_core::table::{CommitNumber, CommitOutcome, CommitRequest, MigrationId, NewFile, TableError, TableFormat};
use lakeshift_core::value::Value;
use lakeshift_journal::Epoch;
use lakeshift_tables::hive::{HiveTable, PartitionColumn, staging};
use lakeshift_testkit::{FaultPlan, FaultStore, ManualClock, SeededRng};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::path::Path;
use rstest::rstest;

use crate::builders::{numbers, paths, put};

fn migration() -> MigrationId {
    MigrationId("m".to_owned())
}

fn on(store: Arc<dyn ObjectStore>) -> Storage {
    Storage::new(url::Url::parse("memory:///lake/t").unwrap(), store, Path::from("lake/t"))
}

/// The table as a new process opens it.
fn open(storage: &Storage) -> HiveTable {
    let table = HiveTable::new(storage.clone());
    table.with_writing(Arc::new(ManualClock::for_retries()), Arc::new(SeededRng::new(7)))
}

/// Two days of one file each.
async fn table() -> Storage {
    let storage = on(Arc::new(InMemory::new()));
    put(&storage, "day=2001-01-01/a.parquet", numbers(0, 3)).await;
    put(&storage, "day=2001-01-02/b.parquet", numbers(3, 2)).await;
    storage
}

async fn staged(storage: &Storage, name: &str, day: i32, rows: i64) -> NewFile {
    let (path, bytes) = (format!("data/{name}"), numbers(100, rows));
    let size_bytes = bytes.len() as u64;
    put(&staging(storage, &migration()), &path, bytes).await;
    NewFile { path, size_bytes, partition: vec![Some(Value::Date(day))], rows: rows as u64 }
}

fn request(number: u64, epoch: u64, add: &[NewFile], remove: &[&str]) -> CommitRequest {
    CommitRequest {
        add: add.to_vec(),
        remove: remove.iter().map(|path| (*path).to_owned()).collect(),
        ..CommitRequest::fence(migration(), CommitNumber(number), Epoch(epoch))
    }
}

async fn live(storage: &Storage) -> Vec<String> {
    let table = open(storage);
    paths(&table, &table.snapshot(None).await.unwrap()).await
}

#[tokio::test]
async fn files_are_moved_to_the_folders_of_their_partitions_and_others_go() {
    let storage = table().await;
    let old = staged(&storage, "old.parquet", 11_323, 1).await;
    let new = staged(&storage, "new.parquet", 11_330, 2).await;
    assert_eq!(live(&storage).await, ["day=2001-01-01/a.parquet", "day=2001-01-02/b.parquet"], "what is staged is hidden");
    let outcome = open(&storage).commit(&request(1, 1, &[old.clone(), new], &["day=2001-01-02/b.parquet"])).await.unwrap();
    let version = open(&storage).snapshot(None).await.unwrap().version;
    assert_eq!(outcome, CommitOutcome::Committed(version.clone()));
    let expected = ["day=2001-01-01/a.parquet", "day=2001-01-01/old.parquet", "day=2001-01-08/new.parquet"];
    assert_eq!(live(&storage).await, expected);
    let again = open(&storage).commit(&request(1, 1, &[old], &["day=2001-01-02/b.parquet"])).await.unwrap();
    assert_eq!(again, CommitOutcome::AlreadyCommitted(version));
    let marks = open(&storage).marks(&migration()).await.unwrap();
    assert_eq!((marks.number, marks.epoch), (Some(CommitNumber(1)), Some(Epoch(1))));
}

/// The folder that stands there is used, however a value is spelled in it.
#[tokio::test]
async fn a_partition_keeps_the_spelling_of_its_folder() {
    let storage = on(Arc::new(InMemory::new()));
    put(&storage, "n=01/a.parquet", numbers(0, 1)).await;
    put(&storage, "n=__HIVE_DEFAULT_PARTITION__/b.parquet", numbers(0, 1)).await;
    let declared = PartitionColumn { name: "n".to_owned(), data_type: lakeshift_core::schema::DataType::Int32 };
    let table = open(&storage).with_partition_types(vec![declared]);
    let mut files = Vec::new();
    for (name, value) in [("one.parquet", Some(1)), ("two.parquet", Some(2)), ("null.parquet", None)] {
        let file = staged(&storage, name, 0, 1).await;
        files.push(NewFile { partition: vec![value.map(Value::Int)], ..file });
    }
    assert!(matches!(table.commit(&request(1, 1, &files, &[])).await.unwrap(), CommitOutcome::Committed(_)));
    let found = paths(&table, &table.snapshot(None).await.unwrap()).await;
    let expected = [
        "n=01/a.parquet",
        "n=01/one.parquet",
        "n=2/two.parquet",
        "n=__HIVE_DEFAULT_PARTITION__/b.parquet",
        "n=__HIVE_DEFAULT_PARTITION__/null.parquet",
    ];
    assert_eq!(found, expected);
}

#[rstest]
#[case::gone(false, &["day=2001-01-01/gone.parquet"])]
#[case::not_staged(true, &[])]
#[tokio::test]
async fn a_request_that_does_not_fit_changes_nothing(#[case] missing: bool, #[case] remove: &[&str]) {
    let storage = table().await;
    let mut file = staged(&storage, "x.parquet", 11_323, 1).await;
    if missing {
        file.path = "data/y.parquet".to_owned();
    }
    let before = live(&storage).await;
    let outcome = open(&storage).commit(&request(1, 1, &[file], remove)).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Conflict { .. }), "{outcome:?}");
    assert_eq!(live(&storage).await, before);
}

#[tokio::test]
async fn a_file_that_is_not_what_was_written_is_refused() {
    let storage = table().await;
    let file = NewFile { rows: 5, ..staged(&storage, "x.parquet", 11_323, 1).await };
    assert!(matches!(open(&storage).commit(&request(1, 1, &[file], &[])).await, Err(TableError::Corrupt { .. })));
    assert_eq!(live(&storage).await.len(), 2);
}

#[tokio::test]
async fn a_fence_shuts_out_the_older_epoch_and_takes_no_number() {
    let storage = table().await;
    let file = staged(&storage, "x.parquet", 11_323, 1).await;
    assert!(matches!(open(&storage).commit(&request(1, 5, &[], &[])).await.unwrap(), CommitOutcome::Committed(_)));
    let late = open(&storage).commit(&request(1, 4, std::slice::from_ref(&file), &[])).await.unwrap();
    assert_eq!(late, CommitOutcome::Fenced { current: Epoch(5) });
    assert_eq!(open(&storage).marks(&migration()).await.unwrap().number, None);
    assert!(matches!(open(&storage).commit(&request(1, 5, &[file], &[])).await.unwrap(), CommitOutcome::Committed(_)));
}

/// Killed before and after every operation, and with every answer lost: the next runner's fence tells whether the commit is
/// in the table, and if it is, all of it is.
#[tokio::test]
async fn a_commit_that_was_cut_off_is_finished_or_never_was() {
    let mut outcomes = [0, 0];
    for n in 1.. {
        let mut struck = false;
        for plan in [FaultPlan::CrashBefore(n), FaultPlan::CrashAfter(n), FaultPlan::LostResponse(n)] {
            let storage = table().await;
            let file = staged(&storage, "x.parquet", 11_323, 1).await;
            let commit = request(1, 1, &[file], &["day=2001-01-02/b.parquet"]);
            let faulty = Arc::new(FaultStore::new(storage.store().clone(), plan));
            let first = open(&on(faulty.clone())).commit(&commit).await;
            struck |= faulty.has_struck();
            assert!(matches!(open(&storage).commit(&request(1, 2, &[], &[])).await.unwrap(), CommitOutcome::Committed(_)));
            let done = open(&storage).marks(&migration()).await.unwrap().number == Some(CommitNumber(1));
            assert!(done || first.is_err(), "{plan:?}: {first:?}");
            let expected = match done {
                true => ["day=2001-01-01/a.parquet", "day=2001-01-01/x.parquet"],
                false => ["day=2001-01-01/a.parquet", "day=2001-01-02/b.parquet"],
            };
            assert_eq!(live(&storage).await, expected, "{plan:?}");
            outcomes[usize::from(done)] += 1;
        }
        if !struck {
            break;
        }
    }
    assert!(outcomes.iter().all(|count| *count > 3), "{outcomes:?}");
}

/// A runner that slept through its successor's work carries out its own commit again.
#[tokio::test]
async fn what_somebody_else_wrote_under_a_removed_name_stays() {
    let storage = table().await;
    let outcome = open(&storage).commit(&request(1, 1, &[], &["day=2001-01-02/b.parquet"])).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed(_)));
    put(&storage, "day=2001-01-02/b.parquet", numbers(50, 9)).await;
    let applied = staging(&storage, &migration()).resolve("applied").unwrap();
    object_store::ObjectStoreExt::delete(storage.store(), &applied).await.unwrap();
    open(&storage).marks(&migration()).await.unwrap();
    assert_eq!(live(&storage).await, ["day=2001-01-01/a.parquet", "day=2001-01-02/b.parquet"]);
}

#[tokio::test]
async fn two_commits_at_once_are_both_in_the_table() {
    let storage = table().await;
    let mut racers = Vec::new();
    for (name, number) in [("x.parquet", 1), ("y.parquet", 2)] {
        let other = MigrationId(format!("m{number}"));
        let file = staged(&storage, name, 11_323, 1).await;
        put(&staging(&storage, &other), &file.path, numbers(100, 1)).await;
        let (table, commit) = (open(&storage), CommitRequest { migration: other, ..request(number, 1, &[file], &[]) });
        racers.push(tokio::spawn(async move { table.commit(&commit).await.unwrap() }));
    }
    for racer in racers {
        assert!(matches!(racer.await.unwrap(), CommitOutcome::Committed(_)));
    }
    assert_eq!(live(&storage).await.len(), 4);
}

#[tokio::test]
async fn the_last_file_is_not_removed_because_a_folder_without_files_is_no_table() {
    let storage = table().await;
    let all = ["day=2001-01-01/a.parquet", "day=2001-01-02/b.parquet"];
    let refused = open(&storage).commit(&request(1, 1, &[], &all)).await;
    assert!(matches!(refused, Err(TableError::Unsupported { .. })), "{refused:?}");
    assert_eq!(live(&storage).await, all);
    let file = staged(&storage, "x.parquet", 11_323, 1).await;
    let replaced = open(&storage).commit(&request(1, 1, &[file], &all)).await.unwrap();
    assert!(matches!(replaced, CommitOutcome::Committed(_)), "{replaced:?}");
    assert_eq!(live(&storage).await, ["day=2001-01-01/x.parquet"]);
}
