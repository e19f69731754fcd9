//! Tables as others leave them: defaults, compressed metadata, branches, files of deletes that are not what they should be.

use std::io::Write as _;
use std::sync::Arc;

use deltalake::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use lakeshift_core::table::{CommitRequest, FileEntry, MigrationId, NewFile, TableError, TableFormat, with_deletes};
use lakeshift_core::value::Value;
use lakeshift_tables::iceberg::IcebergTable;
use object_store::ObjectStoreExt;
use parquet::arrow::ArrowWriter;
use rstest::rstest;
use serde_json::{Value as Json, json};

use super::fixture::*;

/// The created table with its metadata changed.
async fn changed(change: impl FnOnce(&mut Json)) -> (Lake, IcebergTable) {
    let (lake, table) = created().await;
    let mut metadata = lake.metadata(1);
    change(&mut metadata);
    std::fs::write(lake.path("metadata/v1.metadata.json"), metadata.to_string()).unwrap();
    (lake, table)
}

fn version_three(metadata: &mut Json, field: Json) {
    metadata["format-version"] = 3.into();
    metadata["next-row-id"] = 0.into();
    metadata["last-column-id"] = 9.into();
    metadata["schemas"][0]["fields"].as_array_mut().unwrap().push(field);
}

fn field(data_type: Json, default: Json) -> Json {
    json!({ "id": 7, "name": "seats", "required": false, "type": data_type, "initial-default": default })
}

#[rstest]
#[case(json!("int"), json!(150), Value::Int(150))]
#[case(json!("long"), json!(-1), Value::Int(-1))]
#[case(json!("string"), json!("UA"), Value::String("UA".into()))]
#[case(json!("date"), json!("2001-01-01"), Value::Date(11_323))]
#[case(json!("timestamp"), json!("2001-01-01T00:00:00"), Value::Timestamp(978_307_200_000_000))]
#[case(json!("decimal(9, 2)"), json!("14.20"), Value::Decimal { unscaled: 1420, scale: 2 })]
#[case(json!("boolean"), json!(false), Value::Boolean(false))]
#[case(json!("binary"), json!("00ff"), Value::Binary(vec![0, 255]))]
#[tokio::test]
async fn a_default_is_told_with_its_column(#[case] data_type: Json, #[case] default: Json, #[case] expected: Value) {
    let (_lake, table) = changed(|metadata| version_three(metadata, field(data_type, default))).await;
    let snapshot = table.snapshot(None).await.unwrap();
    assert_eq!(snapshot.defaults.into_iter().collect::<Vec<_>>(), [("seats".to_owned(), expected)]);
}

/// The library would drop what it does not understand, and the rows would be null.
#[rstest]
#[case::unparsed(field(json!("timestamp_ns"), json!("2001-01-01T00:00:00.000000001")), "seats of this type")]
#[case::malformed(field(json!("int"), json!("150")), "seats of this type")]
#[case::nested(field(json!({ "type": "struct", "fields": [
    { "id": 8, "name": "row", "required": false, "type": "int", "initial-default": 1 }] }), Json::Null), "inside of column seats")]
#[tokio::test]
async fn a_default_that_is_not_understood_is_refused(#[case] field: Json, #[case] named: &str) {
    let (_lake, table) = changed(|metadata| version_three(metadata, field)).await;
    let error = table.snapshot(None).await.unwrap_err();
    assert!(matches!(error, TableError::Unsupported { .. }) && error.to_string().contains(named), "{error}");
}

#[tokio::test]
async fn a_default_in_a_version_without_defaults_is_refused() {
    let (_lake, table) = changed(|metadata| {
        version_three(metadata, field(json!("int"), json!(1)));
        metadata["format-version"] = 2.into();
    })
    .await;
    let error = table.snapshot(None).await.unwrap_err();
    assert!(error.to_string().contains("a default value of column seats"), "{error}");
}

#[tokio::test]
async fn compressed_metadata_is_read_with_its_defaults() {
    let (lake, table) = changed(|metadata| version_three(metadata, field(json!("int"), json!(150)))).await;
    let plain = std::fs::read(lake.path("metadata/v1.metadata.json")).unwrap();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(&plain).unwrap();
    std::fs::remove_file(lake.path("metadata/v1.metadata.json")).unwrap();
    std::fs::write(lake.path("metadata/v1.gz.metadata.json"), packed.finish().unwrap()).unwrap();
    let snapshot = table.snapshot(None).await.unwrap();
    assert_eq!(snapshot.defaults["seats"], Value::Int(150));
    let fixed = IcebergTable::new(lake.storage.clone()).with_metadata_file("metadata/v1.gz.metadata.json");
    assert_eq!(fixed.snapshot(None).await.unwrap().defaults, snapshot.defaults);
}

#[tokio::test]
async fn a_branch_is_read_and_never_written() {
    let (lake, table) = created().await;
    let first = lake.file("data/a.parquet", Some(DAY), &[(1, None)]).await;
    let second = lake.file("data/b.parquet", Some(DAY), &[(2, None)]).await;
    let at = committed(&table, &request(1, vec![first], &[])).await;
    committed(&table, &request(2, vec![second.clone()], &[])).await;
    let mut metadata = lake.metadata(3);
    let id: i64 = at.0.strip_prefix("iceberg:").unwrap().parse().unwrap();
    metadata["refs"]["audit"] = json!({ "snapshot-id": id, "type": "branch" });
    std::fs::write(lake.path("metadata/v3.metadata.json"), metadata.to_string()).unwrap();
    let branch = lake.table(2).with_reference("audit");
    assert_eq!(paths(&branch).await, ["data/a.parquet"]);
    assert_eq!(branch.snapshot(None).await.unwrap().version, at);
    let refused = branch.commit(&request(3, vec![second], &[])).await;
    assert!(matches!(refused, Err(TableError::Unsupported { .. })), "{refused:?}");
    assert_eq!(paths(&lake.table(3).with_reference("main")).await, ["data/a.parquet", "data/b.parquet"]);
    let gone = lake.table(4).with_reference("nightly").snapshot(None).await.unwrap_err();
    assert!(gone.to_string().contains("nightly"), "{gone}");
}

/// A file of three rows, to which these deletes apply.
fn with(applied: Json) -> FileEntry {
    FileEntry {
        path: "data/a.parquet".to_owned(),
        size_bytes: 0,
        identity: with_deletes("sequence 1", &applied.to_string()),
        modified_ms: 0,
        rows: None,
        partition: vec![],
        has_deletes: true,
    }
}

#[rstest]
#[case::not_a_list(json!("of the manifests"), "the list of deletes of data/a.parquet")]
#[case::too_many_rows(json!({ "rows": 1_u64 << 33 }), "deletes in a file of 8589934592 rows")]
#[case::large_vector(json!({ "rows": 3, "vector": { "path": "d.puffin", "offset": 4, "size_bytes": 1_u64 << 31, "rows": 1 } }), "at most")]
#[case::outside(json!({ "rows": 3, "vector": { "path": "memory:///other/d.puffin", "offset": 4, "size_bytes": 40, "rows": 1 } }), "outside")]
#[case::no_puffin(json!({ "rows": 3, "vector": { "path": "d.parquet", "offset": 4, "size_bytes": 40, "rows": 1 } }), "magic of a Puffin")]
#[case::beyond_its_file(json!({ "rows": 3, "vector": { "path": "d.parquet", "offset": 4, "size_bytes": 9999, "rows": 1 } }), "does not lie within")]
#[case::large_file(json!({ "rows": 3, "positional": [{ "path": "d.parquet", "size_bytes": 1_u64 << 31, "rows": 2 }] }), "bytes of positional deletes")]
#[tokio::test]
async fn deletes_beyond_what_is_read_or_sound_are_refused_by_name(#[case] applied: Json, #[case] named: &str) {
    let (lake, table) = created().await;
    lake.file("d.parquet", None, &[(1, None), (2, None)]).await;
    let error = table.deleted_rows(&with(applied)).await.unwrap_err();
    assert!(error.to_string().contains(named), "{error}");
}

/// Data where deletes should be; and other rows than the table says.
#[tokio::test]
async fn a_file_that_holds_no_positional_deletes_is_refused() {
    let (lake, table) = created().await;
    let file = lake.file("d.parquet", None, &[(1, None), (2, None)]).await;
    let applied =
        |rows| json!({ "rows": 3, "positional": [{ "path": "d.parquet", "size_bytes": file.size_bytes, "rows": rows }] });
    let error = table.deleted_rows(&with(applied(2))).await.unwrap_err();
    assert!(error.to_string().contains("d.parquet") && error.to_string().contains("file_path and pos"), "{error}");
    let error = table.deleted_rows(&with(applied(1))).await.unwrap_err();
    assert!(error.to_string().contains("has 2 rows where the table says 1"), "{error}");
}

/// Writes a file of positional deletes, as (path, position).
async fn positions(lake: &Lake, rows: &[(String, i64)]) -> Json {
    let paths: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|(path, _)| path)));
    let positions: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|(_, position)| *position)));
    // The order of columns is the writer's own.
    let batch = RecordBatch::try_from_iter([("pos", positions), ("file_path", paths)]).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    let bytes = writer.into_inner().unwrap();
    let size_bytes = bytes.len();
    lake.storage.store().put(&lake.storage.resolve("p.parquet").unwrap(), bytes.into()).await.unwrap();
    json!({ "path": "p.parquet", "size_bytes": size_bytes, "rows": rows.len() })
}

#[tokio::test]
async fn positional_deletes_are_those_of_the_one_file_in_every_spelling() {
    let (lake, table) = created().await;
    let folder = lake.path("").canonicalize().unwrap().display().to_string();
    let path = |spelling: &str, file: &str| format!("{spelling}{folder}/data/{file}.parquet");
    let rows = [(path("", "a"), 2), (path("", "b"), 1), (path("file:", "a"), 0), (path("file://", "a"), 2)];
    let applied = json!({ "rows": 3, "positional": [positions(&lake, &rows).await] });
    let deleted = table.deleted_rows(&with(applied)).await.unwrap();
    assert_eq!((deleted.ranges(), deleted.count(), deleted.file_rows()), (&[0..1, 2..3][..], 2, Some(3)));
    for beyond in [3, -1] {
        let delete = positions(&lake, &[(path("", "a"), beyond)]).await;
        let error = table.deleted_rows(&with(json!({ "rows": 3, "positional": [delete] }))).await.unwrap_err();
        assert!(error.to_string().contains("p.parquet") && error.to_string().contains("does not have"), "{error}");
    }
}

/// Files of before have the day in their partition alone, and the table is no longer partitioned by it.
#[tokio::test]
async fn a_column_that_only_an_earlier_partitioning_has_is_not_read_as_null() {
    use futures::TryStreamExt;
    let (lake, table) = created().await;
    let file = lake.file("data/a.parquet", Some(DAY), &[(1, None)]).await;
    committed(&table, &request(1, vec![file], &[])).await;
    let mut metadata = lake.metadata(2);
    let month = json!({ "source-id": 2, "field-id": 1001, "transform": "month", "name": "day_month" });
    metadata["partition-specs"].as_array_mut().unwrap().push(json!({ "spec-id": 1, "fields": [month] }));
    metadata["default-spec-id"] = 1.into();
    metadata["last-partition-id"] = 1001.into();
    std::fs::write(lake.path("metadata/v2.metadata.json"), metadata.to_string()).unwrap();
    // While no file is of the later one, the earlier tells them apart.
    assert_eq!(live(&table).await[0].partition, vec![Some(Value::Date(DAY))]);
    let later = NewFile { partition: vec![Some(Value::Int(372))], ..lake.file("data/b.parquet", None, &[(2, None)]).await };
    let others = CommitRequest { migration: MigrationId("others".to_owned()), ..request(1, vec![later], &[]) };
    committed(&table, &others).await;
    let snapshot = table.snapshot(None).await.unwrap();
    assert_eq!(snapshot.partition.fields, []);
    let error = table.files(&snapshot).try_collect::<Vec<_>>().await.unwrap_err();
    assert!(error.to_string().contains("partition field day, which not all"), "{error}");
}

fn by_equality(ids: &[i32]) -> FileEntry {
    with(json!({ "rows": 3, "equality": [{ "ids": ids, "files": [{ "path": "d.parquet", "size_bytes": 9, "rows": 1 }] }] }))
}

/// The column that was dropped has the name and the type that it had, whatever came after it.
#[tokio::test]
async fn equality_deletes_tell_their_columns_of_all_times() {
    let (_lake, table) = changed(|metadata| {
        let mut schema = metadata["schemas"][0].clone();
        schema["schema-id"] = 1.into();
        let fields = schema["fields"].as_array_mut().unwrap();
        fields[0]["name"] = "number".into();
        fields[2] = json!({ "id": 7, "name": "name", "required": false, "type": "int" });
        metadata["schemas"].as_array_mut().unwrap().push(schema);
        metadata["current-schema-id"] = 1.into();
        metadata["last-column-id"] = 7.into();
    })
    .await;
    let deletes = table.equality_deletes(&by_equality(&[1, 3, 7])).await.unwrap();
    let columns: Vec<_> = deletes[0].columns.iter().map(|one| (one.field.id, one.field.name.as_str())).collect();
    assert_eq!(columns, [(Some(1), "number"), (Some(3), "name"), (Some(7), "name")]);
    let types: Vec<_> = deletes[0].columns.iter().map(|one| one.field.data_type.to_string()).collect();
    assert_eq!(types, ["int64", "string", "int32"]);
    assert_eq!(deletes[0].files[0].path, "d.parquet");
    assert_eq!(table.equality_deletes(&with(json!({ "rows": 3 }))).await.unwrap(), []);
}

#[rstest]
#[case(7, "the floating-point column ratio")]
#[case(8, "the nested column inner")]
#[case(9, "inside of another (field id 9)")]
#[case(99, "field id 99, which is in none")]
#[tokio::test]
async fn equality_deletes_by_a_column_that_cannot_decide_are_refused(#[case] id: i32, #[case] named: &str) {
    let (_lake, table) = changed(|metadata| {
        let nested = json!({ "type": "struct", "fields": [{ "id": 9, "name": "row", "required": false, "type": "int" }] });
        let fields = metadata["schemas"][0]["fields"].as_array_mut().unwrap();
        fields.push(json!({ "id": 7, "name": "ratio", "required": false, "type": "double" }));
        fields.push(json!({ "id": 8, "name": "inner", "required": false, "type": nested }));
        metadata["last-column-id"] = 9.into();
    })
    .await;
    let error = table.equality_deletes(&by_equality(&[1, id])).await.unwrap_err();
    assert!(error.to_string().contains(named), "{error}");
}
