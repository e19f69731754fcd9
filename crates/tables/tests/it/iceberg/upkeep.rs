//! What becomes of a table over time: sort order, snapshots that expire, partitioning that others change.

use std::sync::Arc;
use std::time::Duration;

use ::iceberg::spec::{TableMetadata, Transform, UnboundPartitionSpec};
use lakeshift_core::spec::{SnapshotRule, SortColumn, Span};
use lakeshift_core::table::{CommitOutcome, CreateOutcome, CreateRequest, TableError, TableFormat};
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
async fn files_of_the_planned_partitioning_are_not_added_under_another() {
    let (lake, table) = created().await;
    let a = lake.file("data/a.parquet", Some(DAY), &[(1, None)]).await;
    committed(&table, &request(1, vec![a.clone()], &[])).await;
    let before: TableMetadata = serde_json::from_value(lake.metadata(2)).unwrap();
    let spec = UnboundPartitionSpec::builder().add_partition_field(3, "name_bucket", Transform::Bucket(4)).unwrap().build();
    let evolved = before.clone().into_builder(None).add_default_partition_spec(spec).unwrap().build().unwrap();
    std::fs::write(lake.path("metadata/v3.metadata.json"), serde_json::to_vec(&evolved.metadata).unwrap()).unwrap();
    let b = lake.file("data/b.parquet", Some(DAY), &[(2, None)]).await;
    for change in [request(2, vec![b.clone()], &[]), request(2, vec![], &["data/a.parquet"])] {
        let outcome = table.commit(&change).await.unwrap();
        let CommitOutcome::Conflict { reason } = outcome else { panic!("{outcome:?}") };
        assert!(reason.contains("partition spec") && reason.contains("bucket[4](name_bucket)"), "{reason}");
    }
    // Older runners are still fenced.
    committed(&table, &request(2, vec![], &[])).await;
    // And once the former spec is the default again, the migration goes on.
    let now: TableMetadata = serde_json::from_value(lake.metadata(4)).unwrap();
    let back = now.into_builder(None).set_default_partition_spec(0).unwrap().build().unwrap();
    std::fs::write(lake.path("metadata/v5.metadata.json"), serde_json::to_vec(&back.metadata).unwrap()).unwrap();
    committed(&table, &request(3, vec![b], &["data/a.parquet"])).await;
    assert_eq!(paths(&table).await, ["data/b.parquet"]);
}
