//! What a commit does, what it refuses, and who wins.

use lakeshift_core::table::{
    CommitNumber, CommitOutcome, CommitRequest, CreateOutcome, Marks, MigrationId, NewFile, TableError, TableFormat,
    TableVersion,
};
use lakeshift_core::value::Value;
use lakeshift_journal::Epoch;
use rstest::rstest;

use super::fixture::*;

#[tokio::test]
async fn a_new_table_is_created_once_and_known_again() {
    let (lake, table) = created().await;
    let none = TableVersion("iceberg:none".to_owned());
    let again = lake.table(2).create(&create_request()).await.unwrap();
    assert_eq!(again, CreateOutcome::AlreadyCreated(none.clone()));
    let mut other = create_request();
    other.migration = MigrationId("other".to_owned());
    let found = lake.table(3).create(&other).await.unwrap();
    assert_eq!(found, CreateOutcome::Foreign { found: "an Iceberg table of the migration flights".to_owned() });
    let snapshot = table.snapshot(None).await.unwrap();
    assert_eq!(snapshot.version, none);
    assert_eq!(snapshot.partition, create_request().partition);
    assert_eq!(snapshot.schema.fields.iter().map(|field| field.id).collect::<Vec<_>>(), [Some(1), Some(2), Some(3)]);
    assert_eq!(paths(&table).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_table_of_a_catalogue_is_foreign_and_not_guessed_at() {
    let lake = Lake::new();
    std::fs::create_dir_all(lake.path("metadata")).unwrap();
    std::fs::write(lake.path("metadata/00001-5c1e.metadata.json"), "{}").unwrap();
    let outcome = lake.table(1).create(&create_request()).await.unwrap();
    assert!(matches!(outcome, CreateOutcome::Foreign { .. }));
    assert!(matches!(lake.table(1).snapshot(None).await, Err(TableError::Unsupported { .. })));
}

#[tokio::test]
async fn appended_files_are_read_back_with_their_partition_values() {
    let (lake, table) = created().await;
    let first = lake.file("data/a.parquet", Some(DAY), &[(1, Some("x")), (2, None)]).await;
    let second = lake.file("data/b c=1%2F2.parquet", None, &[(3, Some("y"))]).await;
    let version = committed(&table, &request(1, vec![second.clone(), first.clone()], &[])).await;
    let entries = live(&lake.table(9)).await;
    assert_eq!(
        entries.iter().map(|entry| entry.path.as_str()).collect::<Vec<_>>(),
        ["data/a.parquet", "data/b c=1%2F2.parquet"]
    );
    assert_eq!(entries[0].partition, vec![Some(Value::Date(DAY))]);
    assert_eq!(entries[1].partition, vec![None]);
    assert_eq!((entries[0].rows, entries[0].size_bytes, entries[0].has_deletes), (Some(2), first.size_bytes, false));
    assert_eq!(table.snapshot(None).await.unwrap().version, version);
    let hint = std::fs::read_to_string(lake.path("metadata/version-hint.text")).unwrap();
    assert_eq!(hint, "2");
}

#[tokio::test]
async fn replacing_carries_the_other_files_with_their_sequence_numbers() {
    let (lake, table) = created().await;
    let first = lake.file("data/a.parquet", Some(DAY), &[(1, None)]).await;
    let second = lake.file("data/b.parquet", Some(DAY), &[(2, None), (3, None)]).await;
    committed(&table, &request(1, vec![first, second], &[])).await;
    let before = table.snapshot(None).await.unwrap();
    let third = lake.file("data/c.parquet", Some(DAY + 1), &[(4, None)]).await;
    committed(&table, &request(2, vec![third], &["data/a.parquet"])).await;
    let entries = live(&table).await;
    let seen: Vec<_> = entries.iter().map(|entry| (entry.path.as_str(), entry.identity.as_str())).collect();
    assert_eq!(seen, [("data/b.parquet", "sequence 1"), ("data/c.parquet", "sequence 2")]);
    let changes = table.changes(&before, &table.snapshot(None).await.unwrap()).await.unwrap();
    assert_eq!(changes.added.iter().map(|entry| &entry.path).collect::<Vec<_>>(), ["data/c.parquet"]);
    assert_eq!(changes.commits, Some(1));
    assert!(changes.began_ms.is_some_and(|ms| ms > 0), "what is not carried over has an age: {:?}", changes.began_ms);
    assert_eq!(changes.removed.iter().map(|entry| &entry.path).collect::<Vec<_>>(), ["data/a.parquet"]);
    committed(&table, &request(3, vec![], &["data/b.parquet"])).await;
    assert_eq!(paths(&table).await, ["data/c.parquet"]);
    // The older snapshot still reads as it was.
    use futures::TryStreamExt;
    let old: Vec<_> = table.files(&before).try_collect().await.unwrap();
    assert_eq!(old.len(), 2);
}

#[tokio::test]
async fn the_summary_counts_what_changed_and_what_there_is() {
    let (lake, table) = created().await;
    let first = lake.file("data/a.parquet", Some(DAY), &[(1, None)]).await;
    let second = lake.file("data/b.parquet", Some(DAY + 1), &[(2, None), (3, None)]).await;
    let bytes = second.size_bytes;
    committed(&table, &request(1, vec![first], &[])).await;
    committed(&table, &request(2, vec![second], &["data/a.parquet"])).await;
    let metadata = lake.metadata(3);
    let summary = &metadata["snapshots"][1]["summary"];
    let expected = [
        ("operation", "overwrite".to_owned()),
        ("added-data-files", "1".to_owned()),
        ("deleted-data-files", "1".to_owned()),
        ("added-records", "2".to_owned()),
        ("deleted-records", "1".to_owned()),
        ("total-data-files", "1".to_owned()),
        ("total-records", "2".to_owned()),
        ("total-files-size", bytes.to_string()),
        ("changed-partition-count", "2".to_owned()),
        ("lakeshift.migration", "flights".to_owned()),
        ("lakeshift.commit", "2".to_owned()),
        ("lakeshift.epoch", "1".to_owned()),
    ];
    for (key, value) in expected {
        assert_eq!(summary[key], value, "{key}");
    }
    assert_eq!(metadata["snapshots"][1]["sequence-number"], 2);
    assert_eq!(metadata["snapshots"][1]["parent-snapshot-id"], metadata["snapshots"][0]["snapshot-id"]);
    assert_eq!(metadata["metadata-log"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_commit_done_twice_changes_nothing_the_second_time() {
    let (lake, table) = created().await;
    let file = lake.file("data/a.parquet", Some(DAY), &[(1, None)]).await;
    let version = committed(&table, &request(2, vec![file.clone()], &[])).await;
    for number in [1, 2] {
        let outcome = lake.table(2).commit(&request(number, vec![file.clone()], &[])).await.unwrap();
        assert_eq!(outcome, CommitOutcome::AlreadyCommitted(version.clone()));
    }
    assert!(!lake.path("metadata/v3.metadata.json").exists());
}

#[tokio::test]
async fn a_fence_without_files_shuts_out_the_older_epoch() {
    let (lake, table) = created().await;
    let file = lake.file("data/a.parquet", Some(DAY), &[(1, None)]).await;
    let version = committed(&table, &request(1, vec![file], &[])).await;
    let fence = CommitRequest { epoch: Epoch(5), ..request(2, vec![], &[]) };
    // No file changed, so the version that a certificate is bound to stays.
    assert_eq!(committed(&lake.table(2), &fence).await, version);
    let late = lake.file("data/b.parquet", Some(DAY), &[(2, None)]).await;
    let outcome = table.commit(&request(3, vec![late], &[])).await.unwrap();
    assert_eq!(outcome, CommitOutcome::Fenced { current: Epoch(5) });
    let repeated = table.commit(&request(1, vec![], &[])).await.unwrap();
    assert_eq!(repeated, CommitOutcome::Fenced { current: Epoch(5) });
    let marks = table.marks(&migration()).await.unwrap();
    assert_eq!(marks, Marks { number: Some(CommitNumber(1)), epoch: Some(Epoch(5)), foreign: vec![] });
}

#[rstest]
#[case::gone(&["data/gone.parquet"], false)]
#[case::gone_elsewhere(&["file:///elsewhere/a.parquet"], false)]
#[case::already_there(&[], true)]
#[tokio::test]
async fn a_request_that_does_not_fit_the_table_conflicts_and_leaves_it(#[case] remove: &[&str], #[case] add: bool) {
    let (lake, table) = created().await;
    let file = lake.file("data/a.parquet", Some(DAY), &[(1, None)]).await;
    committed(&table, &request(1, vec![file.clone()], &[])).await;
    let add = if add { vec![file] } else { vec![] };
    let outcome = table.commit(&request(2, add, remove)).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Conflict { .. }), "{outcome:?}");
    assert_eq!(paths(&table).await, ["data/a.parquet"]);
    assert_eq!(table.marks(&migration()).await.unwrap().number, Some(CommitNumber(1)));
}

#[tokio::test]
async fn a_file_overwritten_in_place_is_removed_and_added_in_one_commit() {
    let (lake, table) = created().await;
    let old = lake.file("data/a.parquet", Some(DAY), &[(1, None)]).await;
    committed(&table, &request(1, vec![old], &[])).await;
    let new = lake.file("data/a.parquet", Some(DAY), &[(1, None), (2, None)]).await;
    committed(&table, &request(2, vec![new], &["data/a.parquet"])).await;
    let entries = live(&table).await;
    assert_eq!(entries.len(), 1);
    assert_eq!((entries[0].rows, entries[0].identity.as_str()), (Some(2), "sequence 2"));
}

#[tokio::test]
async fn many_small_manifests_are_merged_without_losing_a_file() {
    let (lake, table) = created().await;
    let mut expected = Vec::new();
    for number in 1..=104 {
        let path = format!("data/{number:03}.parquet");
        let file = lake.file(&path, Some(DAY), &[(1, None)]).await;
        committed(&table, &request(number, vec![file], &[])).await;
        expected.push((path, format!("sequence {number}")));
    }
    let entries = live(&table).await;
    assert_eq!(entries.into_iter().map(|entry| (entry.path, entry.identity)).collect::<Vec<_>>(), expected);
    let metadata = lake.metadata(105);
    let list = metadata["snapshots"][103]["manifest-list"].as_str().unwrap();
    let list = std::fs::read(list.strip_prefix("file://").unwrap()).unwrap();
    let list = ::iceberg::spec::ManifestList::parse_with_version(&list, ::iceberg::spec::FormatVersion::V2).unwrap();
    assert!(list.entries().len() < 10, "{} manifests", list.entries().len());
    assert_eq!(metadata["metadata-log"].as_array().unwrap().len(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runners_racing_both_keep_their_files_and_one_file_goes_in_once() {
    let (lake, table) = created().await;
    let shared = lake.file("data/shared.parquet", Some(DAY), &[(0, None)]).await;
    let mut tasks = Vec::new();
    for runner in 0..4_u64 {
        let own = lake.file(&format!("data/{runner}.parquet"), Some(DAY), &[(1, None)]).await;
        let migration = MigrationId(format!("m{runner}"));
        let adapter = lake.table(100 + runner);
        let commit =
            move |number, add: Vec<NewFile>| CommitRequest { migration: migration.clone(), ..request(number, add, &[]) };
        let shared = shared.clone();
        tasks.push(tokio::spawn(async move {
            let first = adapter.commit(&commit(1, vec![own])).await.unwrap();
            let second = adapter.commit(&commit(2, vec![shared])).await.unwrap();
            (first, second)
        }));
    }
    let mut winners = 0;
    for task in tasks {
        let (own, shared) = task.await.unwrap();
        assert!(matches!(own, CommitOutcome::Committed(_)), "{own:?}");
        winners += usize::from(matches!(shared, CommitOutcome::Committed(_)));
    }
    assert_eq!(winners, 1);
    assert_eq!(paths(&table).await.len(), 5);
}

#[tokio::test]
async fn snapshots_of_others_after_ours_are_foreign() {
    let (lake, table) = created().await;
    let file = |name: &'static str| lake.file(name, Some(DAY), &[(1, None)]);
    committed(&table, &request(1, vec![file("data/a.parquet").await], &[])).await;
    let rogue =
        CommitRequest { migration: MigrationId("rogue".to_owned()), ..request(1, vec![file("data/b.parquet").await], &[]) };
    let foreign = committed(&lake.table(2), &rogue).await;
    assert_eq!(table.marks(&migration()).await.unwrap().foreign, vec![foreign]);
    committed(&table, &request(2, vec![file("data/c.parquet").await], &[])).await;
    assert_eq!(table.marks(&migration()).await.unwrap().foreign, vec![]);
    assert_eq!(table.marks(&MigrationId("unknown".to_owned())).await.unwrap(), Marks::default());
}

#[tokio::test]
async fn a_commit_through_a_catalogue_is_seen_as_foreign() {
    let (lake, table) = created().await;
    std::fs::copy(lake.path("metadata/v1.metadata.json"), lake.path("metadata/00000-5c1e.metadata.json")).unwrap();
    let marks = table.marks(&migration()).await.unwrap();
    assert_eq!(marks.foreign, vec![TableVersion("iceberg:metadata/00000-5c1e.metadata.json".to_owned())]);
    assert_eq!(table.marks(&MigrationId("other".to_owned())).await.unwrap().foreign, vec![]);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_s3_a_race_has_one_winner_for_each_version_and_no_file_is_lost() {
    let Some(server) = lakeshift_testkit::s3::shared().await else { return };
    let url = url::Url::parse(&format!("s3://{}/iceberg-race-{}", server.bucket(), std::process::id())).unwrap();
    let prefix = object_store::path::Path::from_url_path(url.path()).unwrap();
    let storage = lakeshift_core::storage::Storage::new(url, std::sync::Arc::new(server.store().unwrap()), prefix);
    let created = adapter(storage.clone(), 1).create(&create_request()).await.unwrap();
    assert!(matches!(created, CreateOutcome::Created(_)), "{created:?}");
    let mut tasks = Vec::new();
    for runner in 0..4_u64 {
        let file = new_file(&storage, &format!("data/{runner} ä%2F.parquet"), Some(DAY), &[(1, None)]).await;
        let commit = CommitRequest { migration: MigrationId(format!("m{runner}")), ..request(1, vec![file], &[]) };
        let table = adapter(storage.clone(), 10 + runner);
        tasks.push(tokio::spawn(async move { table.commit(&commit).await.unwrap() }));
    }
    for task in tasks {
        let outcome = task.await.unwrap();
        assert!(matches!(outcome, CommitOutcome::Committed(_)), "{outcome:?}");
    }
    let table = adapter(storage, 2);
    assert_eq!(live(&table).await.len(), 4);
    assert!(table.metadata_location().await.unwrap().ends_with("/metadata/v5.metadata.json"));
}
