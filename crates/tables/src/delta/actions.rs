//! The lines of a commit: one JSON action each.

use std::collections::BTreeMap;

use lakeshift_core::partition::PartitionField;
use lakeshift_core::table::{CommitNumber, CreateRequest, MigrationId, NewFile, TableError};
use lakeshift_core::value::Value;
use lakeshift_journal::Epoch;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value as Json, json};
use sha2::{Digest, Sha256};

use super::live::LiveFile;
use super::schema::NewTable;
use crate::footer::unsupported;

/// The table property that names the migration which created the table.
pub(super) const MIGRATION_PROPERTY: &str = "lakeshift.migration";
/// While files are shared with the source, a vacuum must not delete what this table has removed.
const RETENTION: (&str, &str) = ("delta.deletedFileRetentionDuration", "interval 36500 days");
/// What stays as it is in the URI of a path; the rest is percent-encoded.
const URI_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'=');

/// The application that the commit numbers of a migration belong to.
pub(super) fn numbers_of(migration: &MigrationId) -> String {
    format!("lakeshift/{migration}")
}

/// The application that the fencing epochs of a migration belong to.
pub(super) fn epochs_of(migration: &MigrationId) -> String {
    format!("lakeshift/{migration}/epoch")
}

/// Who commits what, and when.
pub(super) struct Origin<'a> {
    pub(super) migration: &'a MigrationId,
    pub(super) epoch: Epoch,
    pub(super) number: Option<CommitNumber>,
    pub(super) now_ms: i64,
    pub(super) read_version: Option<u64>,
}

pub(super) fn commit_info(origin: &Origin<'_>, operation: &str, is_append: bool, notes: &BTreeMap<String, String>) -> Json {
    let mut info = json!({
        "timestamp": origin.now_ms,
        "operation": operation,
        "operationParameters": {},
        "isBlindAppend": is_append,
        "engineInfo": concat!("lakeshift/", env!("CARGO_PKG_VERSION")),
        "lakeshiftMigration": origin.migration.0,
        "lakeshiftEpoch": origin.epoch.0,
    });
    if let Some(number) = origin.number {
        info["lakeshiftCommit"] = number.0.into();
    }
    if let Some(version) = origin.read_version {
        info["readVersion"] = version.into();
    }
    for (name, note) in notes {
        info[name] = note.as_str().into();
    }
    json!({ "commitInfo": info })
}

/// The marks that the next commit looks for. Without `lastUpdated` they never expire.
pub(super) fn transactions(origin: &Origin<'_>) -> Vec<Json> {
    let txn = |application: String, version: u64| json!({ "txn": { "appId": application, "version": version } });
    let number = origin.number.map(|number| txn(numbers_of(origin.migration), number.0));
    number.into_iter().chain([txn(epochs_of(origin.migration), origin.epoch.0)]).collect()
}

/// Where a stream's sources are read on from: an application each, kept through checkpoints as every `txn` is.
pub(super) fn positions(migration: &MigrationId, positions: &BTreeMap<String, u64>) -> Vec<Json> {
    let txn = |(name, next): (&String, &u64)| json!({ "txn": { "appId": format!("lakeshift/{migration}/at/{name}"), "version": next } });
    positions.iter().map(txn).collect()
}

/// The `protocol` and `metaData` of a new table.
pub(super) fn table(location: &str, request: &CreateRequest, now_ms: i64) -> Result<Vec<Json>, TableError> {
    let NewTable { protocol, schema_string, properties } = NewTable::new(location, &request.schema, &request.properties)?;
    let mut configuration: Map<String, Json> =
        request.properties.iter().chain(&properties).map(|(key, value)| (key.clone(), value.as_str().into())).collect();
    configuration.insert(RETENTION.0.to_owned(), RETENTION.1.into());
    configuration.insert(MIGRATION_PROPERTY.to_owned(), request.migration.0.as_str().into());
    let columns: Vec<&str> = request.partition.fields.iter().map(|field| field.column.as_str()).collect();
    let metadata = json!({
        "id": table_id(location, &request.migration),
        "format": { "provider": "parquet", "options": {} },
        "schemaString": schema_string,
        "partitionColumns": columns,
        "configuration": configuration,
        "createdTime": now_ms,
    });
    Ok(vec![json!({ "protocol": protocol }), json!({ "metaData": metadata })])
}

/// A UUID that is the same whenever this migration creates this table.
fn table_id(location: &str, migration: &MigrationId) -> String {
    let digest = Sha256::digest(format!("{location}\n{migration}"));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
}

/// The `add` of a file; `fields` are the partition columns by their names in files, and so is what `stats` names.
pub(super) fn add(file: &NewFile, fields: &[PartitionField], stats: String, now_ms: i64) -> Result<Json, TableError> {
    Ok(json!({ "add": {
        "path": utf8_percent_encode(&file.path, URI_PATH).to_string(),
        "partitionValues": partition_values(file, fields)?,
        "size": file.size_bytes,
        "modificationTime": now_ms,
        "dataChange": true,
        "stats": stats,
    } }))
}

/// A value for every partition column; null is JSON's null.
fn partition_values(file: &NewFile, fields: &[PartitionField]) -> Result<Map<String, Json>, TableError> {
    if file.partition.len() != fields.len() {
        let feature = format!("{} partition values where the table has {} columns", file.partition.len(), fields.len());
        return Err(unsupported(&file.path, feature, "report this as a bug; nothing was committed"));
    }
    let pairs = fields.iter().zip(&file.partition);
    pairs.map(|(field, value)| Ok((field.column.clone(), partition_text(file, field, value.as_ref())?))).collect()
}

fn partition_text(file: &NewFile, field: &PartitionField, value: Option<&Value>) -> Result<Json, TableError> {
    let refused = |what: &str| {
        unsupported(&file.path, format!("{what} in partition column {}", field.column), "choose another partition column")
    };
    match value {
        None => Ok(Json::Null),
        Some(Value::String(text)) if text.is_empty() => Err(refused("an empty text, which Delta reads as null,")),
        Some(Value::Binary(_)) => Err(refused("bytes")),
        Some(Value::Time(_)) => Err(refused("a time of day")),
        Some(value) => Ok(value.to_string().into()),
    }
}

pub(super) fn remove(file: &LiveFile, now_ms: i64) -> Json {
    let mut remove = json!({
        "path": file.raw_path,
        "deletionTimestamp": now_ms,
        "dataChange": true,
        "extendedFileMetadata": true,
        "partitionValues": file.partition_values,
        "size": file.size,
    });
    if let Some(vector) = &file.deletion_vector {
        remove["deletionVector"] = vector.clone();
    }
    json!({ "remove": remove })
}
