//! What goes over the wire of the REST protocol, as far as it is used.

use std::collections::BTreeMap;

use iceberg::TableRequirement;
use iceberg::spec::{MAIN_BRANCH, TableMetadata};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::{Base, Next};

/// The answer to a load of a table.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Loaded {
    pub metadata_location: Option<String>,
    pub metadata: TableMetadata,
    #[serde(default)]
    config: BTreeMap<String, Value>,
    #[serde(default)]
    storage_credentials: Vec<Value>,
}

impl Loaded {
    /// Whether the catalogue sent credentials for the table's storage.
    pub fn vends_credentials(&self) -> bool {
        let telling = |key: &String| ["secret", "token", "sas"].iter().any(|word| key.contains(word));
        !self.storage_credentials.is_empty() || self.config.keys().any(telling)
    }
}

/// The answer to the first question to a catalogue.
#[derive(Deserialize)]
pub(super) struct Config {
    #[serde(default)]
    defaults: BTreeMap<String, Value>,
    #[serde(default)]
    overrides: BTreeMap<String, Value>,
}

impl Config {
    /// A setting of the catalogue.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.overrides.get(key).or_else(|| self.defaults.get(key))?.as_str()
    }
}

/// The answer to a request for a token.
#[derive(Deserialize)]
pub(super) struct Token {
    pub access_token: String,
}

/// What a catalogue says of a request that it does not carry out.
#[derive(Deserialize)]
pub(super) struct ErrorBody {
    pub error: ErrorModel,
}

/// See [`ErrorBody`].
#[derive(Deserialize)]
pub(super) struct ErrorModel {
    #[serde(default)]
    pub message: String,
    #[serde(default, rename = "type")]
    pub kind: String,
}

/// The creation of a table.
pub(super) fn create_request(name: &str, next: &Next) -> Result<Value, serde_json::Error> {
    let metadata = &next.metadata;
    let mut properties: BTreeMap<&str, &str> =
        metadata.properties().iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let version = (metadata.format_version() as u8).to_string();
    properties.insert("format-version", &version);
    let mut body = json!({
        "name": name,
        "location": metadata.location(),
        "schema": metadata.current_schema(),
        "partition-spec": metadata.default_partition_spec(),
        "stage-create": false,
        "properties": properties,
    });
    if !metadata.default_sort_order().is_unsorted() {
        body["write-order"] = serde_json::to_value(metadata.default_sort_order())?;
    }
    Ok(body)
}

/// A commit on `base`, which must still be the table in everything that can be asked for.
pub(super) fn commit_request(base: &Base, next: &Next) -> Result<Value, serde_json::Error> {
    let metadata = &base.metadata;
    let requirements = [
        TableRequirement::UuidMatch { uuid: metadata.uuid() },
        TableRequirement::RefSnapshotIdMatch { r#ref: MAIN_BRANCH.to_owned(), snapshot_id: metadata.current_snapshot_id() },
        TableRequirement::CurrentSchemaIdMatch { current_schema_id: metadata.current_schema_id() },
        TableRequirement::LastAssignedFieldIdMatch { last_assigned_field_id: metadata.last_column_id() },
        TableRequirement::DefaultSpecIdMatch { default_spec_id: metadata.default_partition_spec_id() },
        TableRequirement::LastAssignedPartitionIdMatch { last_assigned_partition_id: metadata.last_partition_id() },
        TableRequirement::DefaultSortOrderIdMatch { default_sort_order_id: metadata.default_sort_order_id() },
    ];
    Ok(json!({"requirements": serde_json::to_value(requirements)?, "updates": serde_json::to_value(&next.changes)?}))
}
