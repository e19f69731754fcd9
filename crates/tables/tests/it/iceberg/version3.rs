//! Version 3 of the format: row ids are assigned once and stay, through rewrites and merges of manifests.

use std::collections::BTreeMap;

use ::iceberg::spec::{DataFile, FormatVersion, Manifest, ManifestContentType, ManifestFile, ManifestStatus, TableMetadata};
use lakeshift_core::table::{CreateRequest, TableError, TableFormat};

use super::fixture::*;

/// The first row id of every live data file, as a reader finds it.
fn first_row_ids(manifests: &[(ManifestFile, Manifest)]) -> BTreeMap<String, Option<i64>> {
    let mut found = BTreeMap::new();
    for (file, manifest) in manifests.iter().filter(|(file, _)| file.content == ManifestContentType::Data) {
        let mut next = file.first_row_id.map(|id| id as i64);
        for entry in manifest.entries().iter().filter(|entry| entry.status() != ManifestStatus::Deleted) {
            let data: &DataFile = entry.data_file();
            let id = data.first_row_id().or(next);
            if data.first_row_id().is_none() {
                next = next.map(|next| next + data.record_count() as i64);
            }
            found.insert(data.file_path().rsplit('/').next().unwrap().to_owned(), id);
        }
    }
    found
}

fn lineage(lake: &Lake, number: u64) -> (u64, u64, u64) {
    let metadata = lake.metadata(number);
    let snapshot = metadata["snapshots"].as_array().unwrap().last().unwrap();
    let number = |value: &serde_json::Value| value.as_u64().unwrap();
    (number(&snapshot["first-row-id"]), number(&snapshot["added-rows"]), number(&metadata["next-row-id"]))
}

#[tokio::test]
async fn rows_have_ids_that_stay_when_their_manifest_is_rewritten() {
    let (lake, table) = created_as(Some(3)).await;
    let metadata = lake.metadata(1);
    assert_eq!((&metadata["format-version"], &metadata["next-row-id"]), (&3.into(), &0.into()));
    let a = lake.file("data/a.parquet", Some(DAY), &[(1, None), (2, None)]).await;
    let b = lake.file("data/b.parquet", Some(DAY), &[(3, None), (4, None), (5, None)]).await;
    committed(&table, &request(1, vec![a, b], &[])).await;
    assert_eq!(lineage(&lake, 2), (0, 5, 5));
    let c = lake.file("data/c.parquet", Some(DAY), &[(6, None)]).await;
    committed(&table, &request(2, vec![c], &[])).await;
    assert_eq!(lineage(&lake, 3), (5, 1, 6));
    let d = lake.file("data/d.parquet", Some(DAY), &[(7, None)]).await;
    committed(&table, &request(3, vec![d], &["data/a.parquet"])).await;
    assert_eq!(lineage(&lake, 4), (6, 1, 7));
    let ids = first_row_ids(&lake.manifests(4));
    let expected = [("b.parquet", Some(2)), ("c.parquet", Some(5)), ("d.parquet", Some(6))];
    assert_eq!(ids, expected.map(|(name, id)| (name.to_owned(), id)).into());
    for (file, _) in lake.manifests(4) {
        assert!(file.first_row_id.is_some(), "every data manifest has a first row id");
    }
    // Deleting rows adds none.
    committed(&table, &deleting(4, &[("data/b.parquet", &[0])])).await;
    assert_eq!(lineage(&lake, 5), (7, 0, 7));
    assert_eq!(first_row_ids(&lake.manifests(5)), ids);
    // A fence has no snapshot.
    committed(&table, &request(5, vec![], &[])).await;
    assert_eq!(lake.metadata(6)["next-row-id"], 7);
}

#[tokio::test]
async fn merged_manifests_keep_every_row_id() {
    let (lake, table) = created_as(Some(3)).await;
    let mut expected = BTreeMap::new();
    for number in 1..=104 {
        let name = format!("{number:03}.parquet");
        let file = lake.file(&format!("data/{name}"), Some(DAY), &[(1, None), (2, None)]).await;
        committed(&table, &request(number, vec![file], &[])).await;
        expected.insert(name, Some((number as i64 - 1) * 2));
    }
    let manifests = lake.manifests(105);
    assert!(manifests.len() < 10, "{} manifests", manifests.len());
    assert_eq!(first_row_ids(&manifests), expected);
    assert_eq!(lineage(&lake, 105), (206, 2, 208));
}

/// As another program upgrades a table: only its metadata changes. Its manifests have entries without row ids, one of a file
/// that was removed before.
#[tokio::test]
async fn a_table_that_was_upgraded_gets_row_ids_with_its_next_commit_and_keeps_them() {
    let (lake, table) = created().await;
    let file = |name: &'static str, rows: &'static [(i64, Option<&str>)]| lake.file(name, Some(DAY), rows);
    let a = file("data/a.parquet", &[(1, None), (2, None)]).await;
    let b = file("data/b.parquet", &[(3, None)]).await;
    let c = file("data/c.parquet", &[(4, None)]).await;
    committed(&table, &request(1, vec![a, b, c], &[])).await;
    committed(&table, &request(2, vec![], &["data/a.parquet"])).await;
    let before: TableMetadata = serde_json::from_value(lake.metadata(3)).unwrap();
    let upgraded = before.into_builder(None).upgrade_format_version(FormatVersion::V3).unwrap().build().unwrap();
    std::fs::write(lake.path("metadata/v4.metadata.json"), serde_json::to_vec(&upgraded.metadata).unwrap()).unwrap();
    let d = file("data/d.parquet", &[(5, None)]).await;
    committed(&table, &request(3, vec![d], &[])).await;
    let ids = first_row_ids(&lake.manifests(5));
    let unlike: std::collections::BTreeSet<_> = ids.values().flatten().collect();
    assert_eq!((ids.len(), unlike.len(), lineage(&lake, 5)), (3, 3, (0, 3, 3)));
    assert_eq!(paths(&table).await, ["data/b.parquet", "data/c.parquet", "data/d.parquet"]);
    // The manifest is rewritten, and the ids of what stays in it do not change.
    committed(&table, &request(4, vec![], &["data/b.parquet"])).await;
    let later = first_row_ids(&lake.manifests(6));
    assert_eq!((later.len(), later["c.parquet"], later["d.parquet"]), (2, ids["c.parquet"], ids["d.parquet"]));
}

#[tokio::test]
async fn positional_deletes_of_an_upgraded_table_are_not_hidden_by_a_vector() {
    let (lake, table) = created().await;
    let a = lake.file("data/a.parquet", Some(DAY), &[(1, None), (2, None)]).await;
    committed(&table, &request(1, vec![a], &[])).await;
    committed(&table, &deleting(2, &[("data/a.parquet", &[0])])).await;
    let before: TableMetadata = serde_json::from_value(lake.metadata(3)).unwrap();
    let upgraded = before.into_builder(None).upgrade_format_version(FormatVersion::V3).unwrap().build().unwrap();
    std::fs::write(lake.path("metadata/v4.metadata.json"), serde_json::to_vec(&upgraded.metadata).unwrap()).unwrap();
    let refused = table.commit(&deleting(3, &[("data/a.parquet", &[1])])).await;
    assert!(matches!(refused, Err(TableError::Unsupported { .. })), "{refused:?}");
}

#[tokio::test]
async fn other_versions_are_not_created() {
    let lake = Lake::new();
    for version in [1, 4] {
        let request = CreateRequest { format_version: Some(version), ..create_request() };
        let refused = lake.table(1).create(&request).await;
        assert!(refused.is_err(), "{version}: {refused:?}");
    }
    assert!(!lake.path("metadata/v1.metadata.json").exists());
}
