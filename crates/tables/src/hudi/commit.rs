//! What an instant did: [`Commit`], of a completed write, and [`deleted`], of a clean. Version 6 writes the first as
//! JSON and the second as Avro, later versions both as Avro.

use std::collections::BTreeMap;

use lakeshift_core::avro;
use lakeshift_core::table::TableError;
use serde::Deserialize;

use crate::footer::corrupt;

/// The largest object of the timeline that is read, in bytes.
pub(super) const INSTANT_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Begins an Avro container file.
const AVRO_MAGIC: &[u8] = b"Obj\x01";
/// Where Hudi says that there was no earlier commit.
const NO_COMMIT: &str = "null";

/// A completed write.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Commit {
    /// Files that it wrote.
    pub(super) writes: Vec<Write>,
    /// File groups that are gone from then on, as (partition, file id).
    pub(super) replaced: Vec<(String, String)>,
    /// The table's schema from then on, as Avro JSON, where the write can change it.
    pub(super) schema: Option<String>,
    /// Whether columns are found by an id of Hudi's own (schema evolution on read).
    pub(super) has_column_ids: bool,
}

/// A file that an instant wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) partition: String,
    pub(super) file_id: String,
    /// Relative to the table.
    pub(super) path: String,
    /// The instant of the base file before this one.
    pub(super) before: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    partition_to_write_stats: Option<BTreeMap<String, Vec<Stat>>>,
    partition_to_replace_file_ids: Option<BTreeMap<String, Vec<String>>>,
    extra_metadata: Option<BTreeMap<String, Option<String>>>,
    operation_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stat {
    file_id: Option<String>,
    path: Option<String>,
    prev_commit: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CleanMetadata {
    partition_metadata: Option<BTreeMap<String, CleanedPartition>>,
    bootstrap_partition_metadata: Option<BTreeMap<String, CleanedPartition>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CleanedPartition {
    delete_path_patterns: Option<Vec<String>>,
    success_delete_files: Option<Vec<String>>,
}

impl Commit {
    /// Reads a completed write's object.
    pub(super) fn parse(object: &str, bytes: &[u8]) -> Result<Self, TableError> {
        let metadata: Metadata = decode(object, bytes)?;
        let mut writes = Vec::new();
        for (partition, stats) in metadata.partition_to_write_stats.unwrap_or_default() {
            for stat in stats {
                // A stat without a path is of a task that wrote nothing.
                let (Some(file_id), Some(path)) = (stat.file_id, stat.path.filter(|path| !path.is_empty())) else {
                    continue;
                };
                let before = stat.prev_commit.filter(|time| !time.is_empty() && time != NO_COMMIT);
                writes.push(Write { partition: partition.clone(), file_id, path, before });
            }
        }
        let replaced = metadata.partition_to_replace_file_ids.unwrap_or_default().into_iter();
        let replaced =
            replaced.flat_map(|(partition, ids)| ids.into_iter().map(move |id| (partition.clone(), id))).collect();
        let extra = metadata.extra_metadata.unwrap_or_default();
        let text = |key: &str| extra.get(key).cloned().flatten().filter(|text| !text.is_empty());
        // These write rows that were there; what they call the schema may be an older one.
        let rearranges = ["CLUSTER", "COMPACT", "LOG_COMPACT", "INDEX"];
        let changes = !metadata
            .operation_type
            .is_some_and(|operation| rearranges.iter().any(|rearranging| operation.eq_ignore_ascii_case(rearranging)));
        let schema = text("schema").filter(|_| changes);
        Ok(Self { writes, replaced, schema, has_column_ids: text("latest_schema").is_some() })
    }
}

/// The files that a clean deleted, as (partition, name).
pub(super) fn deleted(object: &str, bytes: &[u8]) -> Result<Vec<(String, String)>, TableError> {
    let metadata: CleanMetadata = decode(object, bytes)?;
    let parts = [metadata.partition_metadata, metadata.bootstrap_partition_metadata];
    let mut deleted = Vec::new();
    for (partition, cleaned) in parts.into_iter().flatten().flatten() {
        let files = [cleaned.delete_path_patterns, cleaned.success_delete_files].into_iter().flatten().flatten();
        let names = files.filter_map(|path| path.rsplit('/').next().map(str::to_owned));
        deleted.extend(names.map(|name| (partition.clone(), name)));
    }
    Ok(deleted)
}

fn decode<T: serde::de::DeserializeOwned>(object: &str, bytes: &[u8]) -> Result<T, TableError> {
    let decoded = if bytes.starts_with(AVRO_MAGIC) {
        let (schema, values) = avro::container(bytes).map_err(|error| corrupt(object, error.to_string()))?;
        match &values[..] {
            [one] => serde_json::from_value::<T>(avro::json(&schema, one)),
            _ => return Err(corrupt(object, format!("it holds {} records and should hold one", values.len()))),
        }
    } else {
        serde_json::from_slice::<T>(bytes)
    };
    decoded.map_err(|error| TableError::Corrupt {
        object: object.to_owned(),
        reason: "it is no metadata of an instant".to_owned(),
        source: Some(Box::new(error)),
    })
}
