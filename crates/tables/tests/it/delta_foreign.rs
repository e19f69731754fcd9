//! Delta tables that others wrote: what of their protocol is read, and what is refused by name.

use lakeshift_core::table::{Format, TableError, TableFormat};
use lakeshift_core::value::Value;
use rstest::rstest;
use serde_json::{Value as Json, json};

use crate::builders::{entries, paths};
use crate::delta::{action, committed, memory, open, request, write_log};

fn foreign_table(protocol: Json, configuration: Json, fields: Json) -> Vec<Json> {
    let schema = json!({ "type": "struct", "fields": fields }).to_string();
    vec![
        json!({ "protocol": protocol }),
        json!({ "metaData": { "id": "8a3f2f9c-0a52-4b1c-9f6e-000000000000", "format": { "provider": "parquet", "options": {} },
            "schemaString": schema, "partitionColumns": ["place"], "configuration": configuration, "createdTime": 0 } }),
    ]
}

fn plain_fields() -> Json {
    json!([
        { "name": "id", "type": "long", "nullable": true, "metadata": {} },
        { "name": "place", "type": "string", "nullable": true, "metadata": {} },
    ])
}

/// The deletion vector of the protocol's example.
fn vector() -> Json {
    json!({ "storageType": "i", "pathOrInlineDv": "^Bg9^0rr910000000000iXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L", "sizeInBytes": 44, "cardinality": 6 })
}

/// The log of a table with one file, some of whose rows are deleted.
pub fn vector_table() -> Vec<Json> {
    let features = json!(["deletionVectors"]);
    let protocol =
        json!({ "minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": features, "writerFeatures": features });
    let mut lines = foreign_table(protocol, json!({ "delta.enableDeletionVectors": "true" }), plain_fields());
    lines.push(
        json!({ "add": { "path": "a%20b.parquet", "partitionValues": { "place": "" }, "size": 10, "modificationTime": 5,
        "dataChange": true, "stats": "{\"numRecords\":9}", "deletionVector": vector() } }),
    );
    lines
}

#[tokio::test]
async fn a_file_with_a_deletion_vector_is_marked_and_removed_with_it() {
    let (storage, vector) = (memory(), vector());
    write_log(&storage, 0, &vector_table()).await;

    let table = open(&storage);
    let snapshot = table.snapshot(None).await.unwrap();
    let entry = &entries(&table, &snapshot).await[0];
    assert_eq!(
        (entry.path.as_str(), entry.rows, &entry.partition, entry.has_deletes),
        ("a b.parquet", Some(3), &vec![None], true)
    );

    committed(table.commit(&request(1, 1, vec![], &["a b.parquet"])).await.unwrap());
    let remove = action(&storage, 1, "remove").await;
    assert_eq!((&remove["path"], &remove["deletionVector"]), (&json!("a%20b.parquet"), &vector));
    assert!(paths(&table, &table.snapshot(None).await.unwrap()).await.is_empty());
}

#[tokio::test]
async fn a_reader_feature_that_changes_what_files_mean_is_refused_by_name() {
    let storage = memory();
    let features = json!(["newerThanThis"]);
    let protocol =
        json!({ "minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": features, "writerFeatures": features });
    write_log(&storage, 0, &foreign_table(protocol, json!({}), plain_fields())).await;
    let error = open(&storage).snapshot(None).await.unwrap_err();
    assert!(matches!(&error, TableError::Unsupported { .. }) && error.to_string().contains("newerThanThis"), "{error}");
}

#[rstest]
#[case::by_name(Some("name"))]
#[case::by_id(Some("id"))]
#[case::not_in_force(None)]
#[tokio::test]
async fn a_column_mapping_tells_names_and_ids_in_files_and_by_id_keeps_writers_out(#[case] mode: Option<&str>) {
    let storage = memory();
    let mut fields = plain_fields();
    for (number, field) in (1..).zip(fields.as_array_mut().unwrap()) {
        let name = format!("col-{number}");
        field["metadata"] = json!({ "delta.columnMapping.id": number, "delta.columnMapping.physicalName": name });
    }
    let configuration = mode.map_or(json!({}), |mode| json!({ "delta.columnMapping.mode": mode }));
    let protocol = match mode {
        Some(_) => json!({ "minReaderVersion": 2, "minWriterVersion": 5 }),
        None => json!({ "minReaderVersion": 1, "minWriterVersion": 2 }),
    };
    let mut lines = foreign_table(protocol, configuration, fields);
    let key = if mode.is_some() { "col-2" } else { "place" };
    lines.push(json!({ "add": { "path": "a.parquet", "partitionValues": { key: "x" }, "size": 10, "modificationTime": 5,
        "dataChange": true, "stats": "{\"numRecords\":9}" } }));
    write_log(&storage, 0, &lines).await;
    let table = open(&storage);
    let snapshot = table.snapshot(None).await.unwrap();
    let first = &snapshot.schema.fields[0];
    let told = (first.id, first.physical_name.as_deref());
    assert_eq!(told, if mode.is_some() { (Some(1), Some("col-1")) } else { (None, None) });
    assert_eq!(snapshot.finds_columns_by_id(Format::Delta), mode == Some("id"));
    assert_eq!(entries(&table, &snapshot).await[0].partition, [Some(Value::String("x".into()))]);
    let removal = table.commit(&request(1, 1, vec![], &["a.parquet"])).await;
    match mode {
        Some("id") => assert!(matches!(removal, Err(TableError::Unsupported { .. })), "{removal:?}"),
        _ => assert_eq!(committed(removal.unwrap()), 1),
    }
}

#[rstest]
#[case::version(json!({ "minReaderVersion": 1, "minWriterVersion": 6 }), json!({}), "writer version 6")]
#[case::change_feed(json!({ "minReaderVersion": 1, "minWriterVersion": 4 }), json!({ "delta.enableChangeDataFeed": "true" }), "change data feed")]
#[case::constraint(json!({ "minReaderVersion": 1, "minWriterVersion": 3 }), json!({ "delta.constraints.c": "id > 0" }), "delta.constraints.c")]
#[case::clustering(
    json!({ "minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": ["clustering", "domainMetadata"] }),
    json!({}),
    "clustering"
)]
#[case::append_only(json!({ "minReaderVersion": 1, "minWriterVersion": 2 }), json!({ "delta.appendOnly": "true" }), "appendOnly")]
#[case::feature(
    json!({ "minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": ["rowTracking", "domainMetadata"] }),
    json!({}),
    "rowTracking"
)]
#[tokio::test]
async fn a_writer_rule_that_a_commit_would_break_is_refused_by_name(
    #[case] protocol: Json,
    #[case] configuration: Json,
    #[case] named: &str,
) {
    let storage = memory();
    write_log(&storage, 0, &foreign_table(protocol, configuration, plain_fields())).await;
    let error = open(&storage).commit(&request(1, 1, vec![], &["f.parquet"])).await.unwrap_err();
    assert!(matches!(&error, TableError::Unsupported { .. }) && error.to_string().contains(named), "{error}");
}

/// Writer version 5 implies generated columns; a table that has one computes it for each row that is written.
#[tokio::test]
async fn a_table_with_generated_columns_is_read_and_not_written() {
    let storage = memory();
    let mut fields = plain_fields();
    fields[1]["metadata"] = json!({ "delta.generationExpression": "CAST(id AS STRING)" });
    write_log(&storage, 0, &foreign_table(json!({ "minReaderVersion": 1, "minWriterVersion": 4 }), json!({}), fields)).await;
    let table = open(&storage);
    assert_eq!(table.snapshot(None).await.unwrap().schema.fields.len(), 2);
    let error = table.commit(&request(1, 1, vec![], &[])).await.unwrap_err().to_string();
    assert!(error.contains("generates"), "{error}");
}

/// A clustered table's files lie anywhere, and clustering is a feature of writers alone.
#[tokio::test]
async fn a_clustered_table_is_read() {
    let storage = memory();
    let protocol =
        json!({ "minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": ["clustering", "domainMetadata"] });
    let mut lines = foreign_table(protocol, json!({}), plain_fields());
    lines.push(json!({ "domainMetadata": { "domain": "delta.clustering", "configuration": "{\"clusteringColumns\":[[\"id\"]]}", "removed": false } }));
    lines
        .push(json!({ "add": { "path": "a.parquet", "partitionValues": { "place": "x" }, "size": 10, "modificationTime": 5,
        "dataChange": true, "stats": "{\"numRecords\":9}", "clusteringProvider": "liquid" } }));
    write_log(&storage, 0, &lines).await;
    let table = open(&storage);
    assert_eq!(entries(&table, &table.snapshot(None).await.unwrap()).await[0].rows, Some(9));
}
