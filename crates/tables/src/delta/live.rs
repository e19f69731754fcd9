//! The live files of a Delta version, as the log has them.

use std::collections::HashMap;

use deltalake::arrow::array::{Array, AsArray, MapArray, RecordBatch, StructArray};
use deltalake::arrow::datatypes::{Int32Type, Int64Type};
use futures::TryStreamExt;
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{FileEntry, TableError, with_deletes};
use lakeshift_core::value::Value;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::json;

use super::log::{Loaded, Log};
use super::vector::Vector;
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
    /// Rows, those that the vector deletes among them.
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
pub(super) fn decode(location: &str, raw: &str) -> Result<String, TableError> {
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
    let identity = format!("modified:{}", file.modified_ms);
    let (identity, rows) = match &file.deletion_vector {
        Some(vector) => {
            let text = vector.to_string();
            let deleted = Vector::parse(&file.path, &text)?.cardinality;
            (with_deletes(&identity, &text), remaining(&file.path, file.rows, deleted)?)
        }
        None => (identity, file.rows),
    };
    Ok(FileEntry {
        path: file.path.clone(),
        size_bytes,
        identity,
        modified_ms: file.modified_ms,
        rows,
        partition: partition(file, loaded)?,
        has_deletes: file.deletion_vector.is_some(),
    })
}

/// The rows that a vector leaves, where the log tells how many there were.
pub(super) fn remaining(file: &str, rows: Option<u64>, deleted: u64) -> Result<Option<u64>, TableError> {
    let left = |rows: u64| {
        rows.checked_sub(deleted)
            .ok_or_else(|| corrupt(file, format!("its deletion vector deletes {deleted} of {rows} rows")))
    };
    rows.map(left).transpose()
}

fn partition(file: &LiveFile, loaded: &Loaded) -> Result<Vec<Option<Value>>, TableError> {
    // Under column mapping the log knows a column by its name in the files.
    let physical = |column: &str| -> String {
        let field = loaded.schema.field(column);
        field.and_then(|field| field.physical_name.clone()).unwrap_or_else(|| column.to_owned())
    };
    let value = |column: &str| {
        let text = file
            .partition_values
            .get(&physical(column))
            .ok_or_else(|| corrupt(&file.path, format!("the log gives it no value of the partition column {column}")))?;
        // The protocol: an empty text is null.
        let Some(text) = text.as_deref().filter(|text| !text.is_empty()) else { return Ok(None) };
        let parsed = loaded.schema.field(column).and_then(|field| text::parse(text, &field.data_type));
        parsed
            .map(Some)
            .ok_or_else(|| corrupt(&file.path, format!("its value of the partition column {column} is not of its type")))
    };
    loaded.partition.fields.iter().map(|field| value(&field.column)).collect()
}
