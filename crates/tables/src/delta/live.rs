//! The live files of a Delta version, as the log has them.

use std::collections::HashMap;

use deltalake::arrow::array::{Array, AsArray, MapArray, RecordBatch, StructArray};
use deltalake::arrow::datatypes::{Int32Type, Int64Type};
use futures::TryStreamExt;
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{FileEntry, TableError};
use lakeshift_core::value::Value;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::json;

use super::log::{Loaded, Log};
use crate::footer::corrupt;
use crate::storage::outside_error;
use crate::text;

/// One live file.
#[derive(Debug, Clone)]
pub(super) struct LiveFile {
    /// As the log spells it: a remove must name it so.
    pub(super) raw_path: String,
    /// Decoded and relative to the table's root, or an absolute URL.
    pub(super) path: String,
    pub(super) size: i64,
    pub(super) modified_ms: i64,
    pub(super) partition_values: HashMap<String, Option<String>>,
    /// The deletion vector as the log's JSON has it.
    pub(super) deletion_vector: Option<serde_json::Value>,
    pub(super) rows: Option<u64>,
}

/// Every live file, in the order of the decoded paths.
pub(super) async fn files(log: &Log, loaded: &Loaded) -> Result<Vec<LiveFile>, TableError> {
    let store = log.store();
    let location = log.storage().location();
    let failed =
        |error| TableError::Store { action: "list the files of", object: location.to_owned(), source: Box::new(error) };
    let mut batches = loaded.snapshot.files(store.as_ref(), None);
    let mut files = Vec::new();
    while let Some(batch) = batches.try_next().await.map_err(failed)? {
        read_batch(location, &batch, &mut files)?;
    }
    files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn read_batch(location: &str, batch: &RecordBatch, files: &mut Vec<LiveFile>) -> Result<(), TableError> {
    let shape = || corrupt(location, "deltalake answered with files of another shape than expected".to_owned());
    let column = |name: &str| batch.column_by_name(name).ok_or_else(shape);
    let paths = column("path")?.as_string_opt::<i32>().ok_or_else(shape)?;
    let sizes = column("size")?.as_primitive_opt::<Int64Type>().ok_or_else(shape)?;
    let modified = column("modificationTime")?.as_primitive_opt::<Int64Type>().ok_or_else(shape)?;
    let stats = batch.column_by_name("stats").and_then(|column| column.as_string_opt::<i32>());
    let vectors = column("deletionVector")?.as_struct_opt().ok_or_else(shape)?;
    let constants = column("fileConstantValues")?.as_struct_opt().ok_or_else(shape)?;
    let partitions = constants.column_by_name("partitionValues").and_then(|column| column.as_map_opt()).ok_or_else(shape)?;
    for row in 0..batch.num_rows() {
        let raw_path = paths.value(row).to_owned();
        files.push(LiveFile {
            path: decode(location, &raw_path)?,
            raw_path,
            size: sizes.value(row),
            modified_ms: modified.value(row),
            partition_values: string_map(partitions, row).ok_or_else(shape)?,
            deletion_vector: deletion_vector(vectors, row),
            rows: stats.filter(|stats| stats.is_valid(row)).and_then(|stats| num_records(stats.value(row))),
        });
    }
    Ok(())
}

/// The decoded path; an absolute URL stays as it is unless it lies below the table.
fn decode(location: &str, raw: &str) -> Result<String, TableError> {
    let below = raw.strip_prefix(location).and_then(|rest| rest.strip_prefix('/'));
    if raw.contains("://") && below.is_none() {
        return Ok(raw.to_owned());
    }
    let decoded = percent_decode_str(below.unwrap_or(raw)).decode_utf8();
    decoded
        .map(|path| path.into_owned())
        .map_err(|_| corrupt(location, format!("its log has the path {raw}, which is not UTF-8")))
}

fn string_map(maps: &MapArray, row: usize) -> Option<HashMap<String, Option<String>>> {
    if maps.is_null(row) {
        return Some(HashMap::new());
    }
    let entries = maps.value(row);
    let (keys, values) = (entries.column(0).as_string_opt::<i32>()?, entries.column(1).as_string_opt::<i32>()?);
    let value = |index: usize| values.is_valid(index).then(|| values.value(index).to_owned());
    Some((0..entries.len()).map(|index| (keys.value(index).to_owned(), value(index))).collect())
}

fn deletion_vector(vectors: &StructArray, row: usize) -> Option<serde_json::Value> {
    let text = |name: &str| {
        let column = vectors.column_by_name(name)?.as_string_opt::<i32>()?;
        column.is_valid(row).then(|| column.value(row).to_owned())
    };
    let int = |name: &str| {
        let column = vectors.column_by_name(name)?.as_primitive_opt::<Int32Type>()?;
        column.is_valid(row).then(|| column.value(row))
    };
    if vectors.is_null(row) {
        return None;
    }
    let storage_type = text("storageType")?;
    let cardinality = vectors.column_by_name("cardinality").and_then(|column| column.as_primitive_opt::<Int64Type>());
    let mut vector = json!({
        "storageType": storage_type,
        "pathOrInlineDv": text("pathOrInlineDv"),
        "sizeInBytes": int("sizeInBytes"),
        "cardinality": cardinality.map(|column| column.value(row)),
    });
    if let Some(offset) = int("offset") {
        vector["offset"] = offset.into();
    }
    Some(vector)
}

fn num_records(stats: &str) -> Option<u64> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Stats {
        num_records: Option<u64>,
    }
    serde_json::from_str::<Stats>(stats).ok()?.num_records
}

/// The file as core knows it, with typed partition values.
pub(super) fn entry(file: &LiveFile, loaded: &Loaded, storage: &Storage) -> Result<FileEntry, TableError> {
    if !file.path.contains("://") {
        storage.resolve(&file.path).map_err(outside_error)?;
    }
    let size_bytes =
        u64::try_from(file.size).map_err(|_| corrupt(&file.path, "the log gives it a negative size".to_owned()))?;
    let vector = file.deletion_vector.as_ref().map(|vector| format!(" with deletion vector {vector}")).unwrap_or_default();
    Ok(FileEntry {
        path: file.path.clone(),
        size_bytes,
        identity: format!("modified:{}{vector}", file.modified_ms),
        modified_ms: file.modified_ms,
        rows: file.rows,
        partition: partition(file, loaded)?,
        has_deletes: file.deletion_vector.is_some(),
    })
}

fn partition(file: &LiveFile, loaded: &Loaded) -> Result<Vec<Option<Value>>, TableError> {
    let value = |column: &str| {
        let field = loaded.schema.field(column);
        // The log's maps go by physical names.
        let key = field.and_then(|field| field.physical_name.as_deref()).unwrap_or(column);
        let text = file
            .partition_values
            .get(key)
            .ok_or_else(|| corrupt(&file.path, format!("the log gives it no value of the partition column {column}")))?;
        // The protocol: an empty text is null.
        let Some(text) = text.as_deref().filter(|text| !text.is_empty()) else { return Ok(None) };
        let parsed = field.and_then(|field| text::parse(text, &field.data_type));
        parsed
            .map(Some)
            .ok_or_else(|| corrupt(&file.path, format!("its value of the partition column {column} is not of its type")))
    };
    loaded.partition.fields.iter().map(|field| value(&field.column)).collect()
}
