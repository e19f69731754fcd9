//! Delta tables whose columns are mapped by name: created where a name needs it, and written by the names in files.

use lakeshift_core::partition::{PartitionField, PartitionSpec, Transform};
use lakeshift_core::schema::{DataType, Field, TableSchema, TimeUnit};
use lakeshift_core::table::{CommitOutcome, NewFile, TableError, TableFormat};
use lakeshift_core::value::Value;
use rstest::rstest;
use serde_json::{Value as Json, json};

use crate::builders::{entries, ints, parquet, put, texts};
use crate::delta::{action, creation, memory, new_file, open, request, write_log};

fn schema(columns: Vec<(&str, DataType)>) -> TableSchema {
    TableSchema { fields: columns.into_iter().map(|(name, data_type)| Field::new(name, data_type, true)).collect() }
}

fn wall() -> DataType {
    DataType::Timestamp { unit: TimeUnit::Micros, utc: false }
}

fn nested(name: &str) -> DataType {
    DataType::List {
        element: Box::new(Field::new(
            "element",
            DataType::Struct { fields: vec![Field::new(name, DataType::Int64, true)] },
            true,
        )),
    }
}

#[rstest]
#[case::plain(vec![("id", DataType::Int64)], json!({ "minReaderVersion": 1, "minWriterVersion": 2 }))]
#[case::dotted(vec![("a.b", DataType::Int64), ("é", nested("x-y"))], json!({ "minReaderVersion": 1, "minWriterVersion": 2 }))]
#[case::special(vec![("a b", DataType::Int64)], json!({ "minReaderVersion": 2, "minWriterVersion": 5 }))]
#[case::special_below(vec![("a", nested("x=y"))], json!({ "minReaderVersion": 2, "minWriterVersion": 5 }))]
#[case::wall_clock(
    vec![("at", wall())],
    json!({ "minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["timestampNtz"], "writerFeatures": ["timestampNtz"] })
)]
#[case::both(
    vec![("at", wall()), ("a;b", DataType::Int64)],
    json!({ "minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["timestampNtz", "columnMapping"],
            "writerFeatures": ["timestampNtz", "columnMapping"] })
)]
#[tokio::test]
async fn the_protocol_is_no_higher_than_names_and_types_need(
    #[case] columns: Vec<(&str, DataType)>,
    #[case] protocol: Json,
) {
    let (storage, schema) = (memory(), schema(columns));
    let table = open(&storage);
    let _ = table.create(&creation(schema.clone(), PartitionSpec::default())).await.unwrap();
    assert_eq!(action(&storage, 0, "protocol").await, protocol);
    let snapshot = table.snapshot(None).await.unwrap();
    let names = |schema: &TableSchema| schema.fields.iter().map(|field| field.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&snapshot.schema), names(&schema));
    assert!(snapshot.schema.fields.iter().all(|field| field.physical_name.is_none()), "files have the columns' own names");
}

#[tokio::test]
async fn a_mapped_table_numbers_every_column_and_member_once() {
    let storage = memory();
    let columns = vec![("a b", DataType::Int64), ("l", nested("x")), ("c", DataType::Date)];
    let table = open(&storage);
    let _ = table.create(&creation(schema(columns), PartitionSpec::default())).await.unwrap();
    let metadata = action(&storage, 0, "metaData").await;
    let configuration = &metadata["configuration"];
    assert_eq!(configuration["delta.columnMapping.mode"], "name");
    assert_eq!(configuration["delta.columnMapping.maxColumnId"], "4");
    let text: Json = serde_json::from_str(metadata["schemaString"].as_str().unwrap()).unwrap();
    let of = |field: &Json| {
        let metadata = &field["metadata"];
        (metadata["delta.columnMapping.id"].as_i64().unwrap(), metadata["delta.columnMapping.physicalName"].clone())
    };
    let fields = &text["fields"];
    assert_eq!(of(&fields[0]), (1, json!("a b")));
    assert_eq!(of(&fields[1]), (2, json!("l")));
    assert_eq!(of(&fields[1]["type"]["elementType"]["fields"][0]), (3, json!("x")));
    assert_eq!(of(&fields[2]), (4, json!("c")));
    let ids: Vec<_> = table.snapshot(None).await.unwrap().schema.fields.iter().map(|field| field.id).collect();
    assert_eq!(ids, [Some(1), Some(2), Some(4)], "so that new files carry them");
}

#[tokio::test]
async fn a_mapping_that_is_asked_for_is_made_and_one_by_id_is_refused() {
    for (mode, made) in [("name", true), ("none", false)] {
        let storage = memory();
        let mut request = creation(schema(vec![("id", DataType::Int64)]), PartitionSpec::default());
        request.properties.insert("delta.columnMapping.mode".to_owned(), mode.to_owned());
        let _ = open(&storage).create(&request).await.unwrap();
        assert_eq!(action(&storage, 0, "protocol").await["minReaderVersion"], if made { 2 } else { 1 });
    }
    let storage = memory();
    let mut request = creation(schema(vec![("id", DataType::Int64)]), PartitionSpec::default());
    request.properties.insert("delta.columnMapping.mode".to_owned(), "id".to_owned());
    let error = open(&storage).create(&request).await.unwrap_err();
    assert!(matches!(&error, TableError::Unsupported { .. }) && error.to_string().contains("by id"), "{error}");
}

/// As Spark makes one, or after a column was renamed: files, partition values and statistics know other names.
#[tokio::test]
async fn a_commit_to_a_mapped_table_speaks_by_the_names_in_files() {
    let storage = memory();
    let field = |name: &str, physical: &str, id: i32, data_type: &str| {
        json!({ "name": name, "type": data_type, "nullable": true,
                "metadata": { "delta.columnMapping.id": id, "delta.columnMapping.physicalName": physical } })
    };
    // `id` is what the files call the column that readers know as `number`, and the other way round.
    let fields =
        [field("number", "id", 1, "long"), field("id", "number", 2, "string"), field("place", "col-3", 3, "string")];
    let schema = json!({ "type": "struct", "fields": fields }).to_string();
    let lines = [
        json!({ "protocol": { "minReaderVersion": 2, "minWriterVersion": 5 } }),
        json!({ "metaData": { "id": "8a3f2f9c-0a52-4b1c-9f6e-000000000000", "format": { "provider": "parquet", "options": {} },
            "schemaString": schema, "partitionColumns": ["place"], "createdTime": 0,
            "configuration": { "delta.columnMapping.mode": "name", "delta.columnMapping.maxColumnId": "3" } } }),
    ];
    write_log(&storage, 0, &lines).await;
    let table = open(&storage);
    let bytes = parquet(vec![("id", ints(vec![Some(7), None])), ("number", texts(vec!["a", "b"]))]);
    let size_bytes = bytes.len() as u64;
    put(&storage, "f.parquet", bytes).await;
    let partition = vec![Some(Value::String("x".to_owned()))];
    let file = NewFile { path: "f.parquet".into(), size_bytes, partition, rows: 2 };
    let outcome = table.commit(&request(1, 1, vec![file], &[])).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed(_)), "{outcome:?}");
    let add = action(&storage, 1, "add").await;
    assert_eq!(add["partitionValues"], json!({ "col-3": "x" }));
    let stats: Json = serde_json::from_str(add["stats"].as_str().unwrap()).unwrap();
    assert_eq!(stats["minValues"], json!({ "id": 7, "number": "a" }));
    let entry = &entries(&table, &table.snapshot(None).await.unwrap()).await[0];
    assert_eq!(entry.partition, [Some(Value::String("x".to_owned()))]);

    // A file of readers' names is not of this table: `number` would be read as a text.
    let bytes = parquet(vec![("number", ints(vec![Some(7)])), ("id", texts(vec!["a"]))]);
    let size_bytes = bytes.len() as u64;
    put(&storage, "g.parquet", bytes).await;
    let file = NewFile { path: "g.parquet".into(), size_bytes, partition: vec![None], rows: 1 };
    let outcome = table.commit(&request(2, 1, vec![file], &[])).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Conflict { .. }), "{outcome:?}");
}

#[tokio::test]
async fn a_mapped_table_is_checkpointed_like_another() {
    let storage = memory();
    let table = open(&storage);
    let partition = PartitionSpec { fields: vec![PartitionField::new("the place", Transform::Identity)] };
    let columns = schema(vec![("id", DataType::Int64), ("the place", DataType::String)]);
    let _ = table.create(&creation(columns, partition)).await.unwrap();
    for number in 1..=10 {
        let file = new_file(&storage, &format!("{number}.parquet"), 1, Some("a b")).await;
        let outcome = table.commit(&request(number, 1, vec![file], &[])).await.unwrap();
        assert!(matches!(outcome, CommitOutcome::Committed(_)), "{outcome:?}");
    }
    let checkpoint = storage.resolve("_delta_log/00000000000000000010.checkpoint.parquet").unwrap();
    assert!(object_store::ObjectStoreExt::head(storage.store().as_ref(), &checkpoint).await.is_ok());
    for version in 0..10 {
        let path = storage.resolve(&format!("_delta_log/{version:020}.json")).unwrap();
        object_store::ObjectStoreExt::delete(storage.store().as_ref(), &path).await.unwrap();
    }
    let fresh = open(&storage);
    let files = entries(&fresh, &fresh.snapshot(None).await.unwrap()).await;
    assert_eq!(files.len(), 10);
    assert!(files.iter().all(|file| file.partition == [Some(Value::String("a b".to_owned()))] && file.rows == Some(1)));
}
