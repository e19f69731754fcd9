//! What becomes of a table over time: sort order, snapshots that expire, partitioning that others change.

use std::sync::Arc;
use std::time::Duration;

use ::iceberg::spec::{TableMetadata, Transform, UnboundPartitionSpec};
use lakeshift_core::partition::{PartitionField, PartitionSpec, Transform as CoreTransform};
use lakeshift_core::spec::{SnapshotRule, SortColumn, Span};
use lakeshift_core::table::{
    CommitNumber, CommitOutcome, CommitRequest, CreateOutcome, CreateRequest, TableError, TableFormat,
};
use lakeshift_core::value::Value;
use lakeshift_journal::Epoch;
use lakeshift_testkit::ManualClock;
use serde_json::json;

use super::fixture::*;

fn by(column: &str, descending: bool) -> SortColumn {
    SortColumn { column: column.to_owned(), descending }
}

#[tokio::test]
async fn a_sort_order_stands_in_the_metadata() {
    let lake = Lake::new();
    let request = CreateRequest { sort: vec![by("name", false), by("id", true)], ..create_request() };
    assert!(matches!(lake.table(1).create(&request).await.unwrap(), CreateOutcome::Created(_)));
    let metadata = lake.metadata(1);
    assert_eq!(metadata["default-sort-order-id"], 1);
    let expected = json!([
        { "order-id": 0, "fields": [] },
        { "order-id": 1, "fields": [
            { "transform": "identity", "source-id": 3, "direction": "asc", "null-order": "nulls-first" },
            { "transform": "identity", "source-id": 1, "direction": "desc", "null-order": "nulls-last" },
        ] },
    ]);
    assert_eq!(metadata["sort-orders"], expected);
    let gone = CreateRequest { sort: vec![by("gone", false)], ..create_request() };
    let other = Lake::new();
    assert!(matches!(other.table(1).create(&gone).await, Err(TableError::Unsupported { .. })));
}

/// The ids of a version's snapshots, by age.
fn snapshots(lake: &Lake, number: u64) -> Vec<i64> {
    let metadata = lake.metadata(number);
    metadata["snapshots"].as_array().unwrap().iter().map(|snapshot| snapshot["snapshot-id"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn snapshots_that_are_neither_new_nor_young_nor_named_are_dropped_and_their_files_stay() {
    let (lake, _) = created().await;
    let clock = Arc::new(ManualClock::new());
    let rule = SnapshotRule { keep: 2, max_age: Span::seconds(3600) };
    let table = lake.table(2).with_clock(clock.clone()).with_snapshot_rule(rule);
    for number in 1..=3 {
        let file = lake.file(&format!("data/{number}.parquet"), Some(DAY), &[(1, None)]).await;
        committed(&table, &request(number, vec![file], &[])).await;
    }
    let all = snapshots(&lake, 4);
    assert_eq!(all.len(), 3, "all are young");
    // Somebody tags the first.
    let mut metadata = lake.metadata(4);
    metadata["refs"]["audit"] = json!({ "snapshot-id": all[0], "type": "tag" });
    std::fs::write(lake.path("metadata/v4.metadata.json"), metadata.to_string()).unwrap();
    let list = metadata["snapshots"][1]["manifest-list"].as_str().unwrap().to_owned();
    clock.advance(Duration::from_secs(3601));
    committed(&table, &request(4, vec![], &["data/1.parquet"])).await;
    let left = snapshots(&lake, 5);
    assert_eq!((left.len(), left[0], left[1]), (3, all[0], all[2]), "the tagged, the two newest");
    assert!(std::path::Path::new(list.strip_prefix("file://").unwrap()).exists());
    assert_eq!(paths(&table).await, ["data/2.parquet", "data/3.parquet"]);
    // A fence adds no snapshot and drops none.
    clock.advance(Duration::from_secs(3601));
    committed(&table, &request(5, vec![], &[])).await;
    assert_eq!(snapshots(&lake, 6), left);
    assert_eq!(table.marks(&migration()).await.unwrap().foreign, vec![]);
}

/// As another program evolves the partitioning of a live table: a new spec becomes the default.
#[tokio::test]
async fn the_migrations_files_stay_of_their_partitioning_whatever_becomes_the_default() {
    let (lake, table) = created().await;
    let a = lake.file("data/a.parquet", Some(DAY), &[(1, None)]).await;
    committed(&table, &request(1, vec![a.clone()], &[])).await;
    let before: TableMetadata = serde_json::from_value(lake.metadata(2)).unwrap();
    let spec = UnboundPartitionSpec::builder().add_partition_field(3, "name_bucket", Transform::Bucket(4)).unwrap().build();
    let evolved = before.clone().into_builder(None).add_default_partition_spec(spec).unwrap().build().unwrap();
    std::fs::write(lake.path("metadata/v3.metadata.json"), serde_json::to_vec(&evolved.metadata).unwrap()).unwrap();
    let b = lake.file("data/b.parquet", Some(DAY), &[(2, None)]).await;
    committed(&table, &request(2, vec![b], &["data/a.parquet"])).await;
    assert_eq!(paths(&table).await, ["data/b.parquet"]);
    let now = lake.metadata(4);
    assert_eq!(now["default-spec-id"], 1, "the others' partitioning is left to them");
    // Files are told apart by the fields that they have, not by the default's.
    let snapshot = table.snapshot(None).await.unwrap();
    assert_eq!(snapshot.partition, create_request().partition);
    assert_eq!(live(&table).await[0].partition, vec![Some(Value::Date(DAY))]);
    // Who removes the spec has taken the migration's partitioning away.
    let mut gone = now.clone();
    gone["partition-specs"].as_array_mut().unwrap().retain(|spec| spec["spec-id"] == 1);
    std::fs::write(lake.path("metadata/v5.metadata.json"), gone.to_string()).unwrap();
    let c = lake.file("data/c.parquet", Some(DAY), &[(3, None)]).await;
    let outcome = table.commit(&request(3, vec![c], &[])).await;
    assert!(!matches!(outcome, Ok(CommitOutcome::Committed(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_live_table_is_repartitioned_without_a_snapshot_once_and_back() {
    let (lake, table) = created().await;
    let a = lake.file("data/a.parquet", Some(DAY), &[(1, None)]).await;
    committed(&table, &request(1, vec![a], &[])).await;
    let to = |fields: &[(&str, CoreTransform)]| {
        let fields = fields.iter().map(|(column, transform)| PartitionField::new(*column, *transform)).collect();
        CommitRequest { repartition: Some(PartitionSpec { fields }), ..request(2, vec![], &[]) }
    };
    let version = committed(&table, &to(&[("name", CoreTransform::Bucket(4))])).await;
    let now = lake.metadata(3);
    assert_eq!((&now["default-spec-id"], now["snapshots"].as_array().unwrap().len()), (&json!(1), 1));
    assert_eq!(version, table.snapshot(None).await.unwrap().version);
    let again = table.commit(&to(&[("name", CoreTransform::Bucket(4))])).await.unwrap();
    assert!(matches!(again, CommitOutcome::AlreadyCommitted(_)), "{again:?}");
    let fenced = CommitRequest { epoch: Epoch(0), number: CommitNumber(3), ..to(&[]) };
    assert!(matches!(table.commit(&fenced).await.unwrap(), CommitOutcome::Fenced { .. }));
    // The migration goes on, under its own.
    let b = lake.file("data/b.parquet", Some(DAY), &[(2, None)]).await;
    committed(&table, &request(3, vec![b], &[])).await;
    assert_eq!(live(&table).await[1].partition, vec![Some(Value::Date(DAY))]);
    // A partitioning that the table has had is that one again, not another.
    let back = CommitRequest { repartition: Some(create_request().partition), ..request(4, vec![], &[]) };
    committed(&table, &back).await;
    let now = lake.metadata(5);
    assert_eq!((&now["default-spec-id"], now["partition-specs"].as_array().unwrap().len()), (&json!(0), 2));
    let absent = CommitRequest { number: CommitNumber(5), ..to(&[("gone", CoreTransform::Identity)]) };
    assert!(matches!(table.commit(&absent).await, Err(TableError::Unsupported { .. })));
}
