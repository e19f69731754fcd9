//! What stands in the metadata: metrics, adopted files, and files that are refused.

use lakeshift_core::table::{CommitOutcome, NewFile, TableError, TableFormat};
use lakeshift_core::value::Value;
use lakeshift_tables::iceberg::IcebergTable;
use rstest::rstest;

use super::fixture::*;

/// The first data file of the newest snapshot, as Iceberg's own parser reads it.
fn data_file(lake: &Lake, number: u64) -> ::iceberg::spec::DataFile {
    use ::iceberg::spec::{FormatVersion, Manifest, ManifestList};
    let read = |url: &str| std::fs::read(url.strip_prefix("file://").unwrap()).unwrap();
    let metadata = lake.metadata(number);
    let snapshot = metadata["snapshots"].as_array().unwrap().last().unwrap();
    let list = read(snapshot["manifest-list"].as_str().unwrap());
    let list = ManifestList::parse_with_version(&list, FormatVersion::V2).unwrap();
    let manifest = Manifest::parse_avro(&read(&list.entries()[0].manifest_path)).unwrap();
    manifest.entries()[0].data_file().clone()
}

#[tokio::test]
async fn metrics_are_by_field_id_and_sound() {
    let (lake, table) = created().await;
    let long = "aaaaaaaaaaaaaaaaaaaaaaaaa";
    let file = lake.file("data/a.parquet", Some(DAY), &[(7, Some(long)), (-2, None), (3, Some("zzzzzzzzzzzzzzzzzz"))]).await;
    committed(&table, &request(1, vec![file], &[])).await;
    let file = data_file(&lake, 2);
    assert_eq!(file.file_path(), format!("file://{}", lake.path("data/a.parquet").canonicalize().unwrap().display()));
    assert_eq!((file.value_counts()[&1], file.null_value_counts()[&1], file.null_value_counts()[&3]), (3, 0, 1));
    let bound = |datum: &::iceberg::spec::Datum| datum.to_human_string();
    assert_eq!((bound(&file.lower_bounds()[&1]), bound(&file.upper_bounds()[&1])), ("-2".to_owned(), "7".to_owned()));
    assert_eq!(bound(&file.lower_bounds()[&3]), "a".repeat(16));
    assert_eq!(bound(&file.upper_bounds()[&3]), "z".repeat(15) + "{");
    assert!(!file.value_counts().contains_key(&2), "the partition column is not in the file");
    assert_eq!(file.split_offsets(), Some([4].as_slice()));
    assert!(file.column_sizes()[&1] > 0);
}

#[tokio::test]
async fn facts_come_from_the_footer() {
    use futures::StreamExt;
    let (lake, table) = created().await;
    let file = lake.file("data/a.parquet", Some(DAY), &[(7, None), (-2, None)]).await;
    committed(&table, &request(1, vec![file], &[])).await;
    let facts: Vec<_> = table.facts(live(&table).await).collect().await;
    let facts = facts[0].1.as_ref().unwrap();
    assert_eq!(facts.rows, 2);
    assert_eq!(facts.bounds["id"], (Value::Int(-2), Value::Int(7)));
    assert_eq!(facts.null_counts["name"], 2);
}

#[tokio::test]
async fn a_file_of_the_old_table_is_adopted_where_it_is() {
    let (lake, _) = created().await;
    let old = open(&lake.dir.path().join("old table"));
    let mut file = new_file(&old, "day=2001-01-01/a%2Fb.parquet", Some(DAY), &[(1, None)]).await;
    file.path = format!("{}/day=2001-01-01/a%252Fb.parquet", old.location());
    let unaware = lake.table(2).commit(&request(1, vec![file.clone()], &[])).await;
    assert!(matches!(unaware, Err(TableError::Outside { .. })), "{unaware:?}");
    let table = lake.table(3).with_files_in(old);
    committed(&table, &request(1, vec![file.clone()], &[])).await;
    assert_eq!(paths(&table).await, [file.path.clone()]);
    assert!(data_file(&lake, 2).file_path().ends_with("/old table/day=2001-01-01/a%2Fb.parquet"));
    committed(&table, &request(2, vec![], &[&file.path])).await;
    assert_eq!(paths(&table).await, Vec::<String>::new());
}

#[rstest]
#[case::rows(|file: &mut NewFile| file.rows += 1)]
#[case::partition_count(|file: &mut NewFile| file.partition.clear())]
#[case::partition_type(|file: &mut NewFile| file.partition = vec![Some(Value::Int(1))])]
#[case::size(|file: &mut NewFile| file.size_bytes -= 1)]
#[case::gone(|file: &mut NewFile| file.path = "data/gone.parquet".to_owned())]
#[tokio::test]
async fn a_file_that_is_not_what_was_said_is_refused(#[case] falsify: fn(&mut NewFile)) {
    let (lake, table) = created().await;
    let mut file = lake.file("data/a.parquet", Some(DAY), &[(1, None)]).await;
    falsify(&mut file);
    let refused = table.commit(&request(1, vec![file], &[])).await;
    assert!(matches!(refused, Err(TableError::Corrupt { .. } | TableError::Store { .. })), "{refused:?}");
    assert!(!lake.path("metadata/v2.metadata.json").exists());
}

#[tokio::test]
async fn a_table_at_a_fixed_metadata_file_is_read_and_not_written() {
    let (lake, table) = created().await;
    let first = lake.file("data/a.parquet", Some(DAY), &[(1, None)]).await;
    let second = lake.file("data/b.parquet", Some(DAY), &[(2, None)]).await;
    committed(&table, &request(1, vec![first], &[])).await;
    committed(&table, &request(2, vec![second.clone()], &[])).await;
    let fixed = IcebergTable::new(lake.storage.clone()).with_metadata_file("metadata/v2.metadata.json");
    assert_eq!(paths(&fixed).await, ["data/a.parquet"]);
    let refused = fixed.commit(&request(3, vec![second], &[])).await;
    assert!(matches!(refused, Err(TableError::Unsupported { .. })), "{refused:?}");
}

#[tokio::test]
async fn damaged_metadata_is_named_and_refused() {
    let (lake, table) = created().await;
    std::fs::write(lake.path("metadata/v2.metadata.json"), "{\"format-version\": 2}").unwrap();
    let error = table.snapshot(None).await.unwrap_err();
    assert!(error.to_string().contains("v2.metadata.json"), "{error}");
    let refused: Result<CommitOutcome, _> = table.commit(&request(1, vec![], &[])).await;
    assert!(matches!(refused, Err(TableError::Corrupt { .. })));
}

#[tokio::test]
async fn a_partition_column_may_have_any_name() {
    use lakeshift_core::partition::{PartitionField, Transform};
    use lakeshift_core::table::CreateOutcome;
    let lake = Lake::new();
    let table = lake.table(1);
    let mut wanted = create_request();
    wanted.schema.fields[1].name = "flight date/é.1".to_owned();
    wanted.partition.fields = vec![PartitionField::new("flight date/é.1", Transform::Identity)];
    assert!(matches!(table.create(&wanted).await.unwrap(), CreateOutcome::Created(_)));
    let file = lake.file("data/a.parquet", Some(DAY), &[(1, None)]).await;
    committed(&table, &request(1, vec![file], &[])).await;
    assert_eq!(live(&table).await[0].partition, vec![Some(Value::Date(DAY))]);
}
