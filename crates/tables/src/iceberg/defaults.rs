//! What rows of files that lack a column have there: `initial-default`, of version 3.
//!
//! The library parses a default as far as it can and drops what it cannot; a dropped default would be read as null. So the
//! metadata is looked at as it stands, and a default that the library did not understand is refused.

use std::collections::BTreeMap;
use std::io::Read as _;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use iceberg::spec::{FormatVersion, Schema};
use lakeshift_core::table::TableError;
use lakeshift_core::value::Value;
use object_store::ObjectStoreExt;
use serde_json::Value as Json;

use super::IcebergTable;
use super::catalog::Base;
use super::fault::{bad_json, corrupt, unreadable, unsupported};
use super::schema::with_default;
use super::values::from_literal;

/// What a compressed metadata file begins with.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Metadata that is unpacked at most, in bytes.
const METADATA_BYTES_MAX: u64 = 1 << 30;
const ADVICE: &str = "rewrite the files that lack the column, and drop its default";

/// The defaults of a schema's top-level columns, by field id.
///
/// # Errors
/// [`TableError::Unsupported`] for a default inside of a column, for one that is not understood, and in a table of a version
/// that has none.
pub(super) async fn of(table: &IcebergTable, base: &Base, schema: &Schema) -> Result<BTreeMap<i32, Value>, TableError> {
    let name = table.name();
    if base.metadata.format_version() != FormatVersion::V3 {
        return match with_default(schema) {
            None => Ok(BTreeMap::new()),
            Some(column) => {
                let feature = format!("a default value of column {column} in a table of {}", base.metadata.format_version());
                Err(unsupported(name, feature, ADVICE))
            }
        };
    }
    let metadata = as_it_stands(table, base).await?;
    let missing = || corrupt(name, format!("its metadata lacks schema {}", schema.schema_id()));
    let mut schemas = metadata["schemas"].as_array().into_iter().flatten();
    let raw = schemas.find(|raw| raw["schema-id"] == schema.schema_id()).ok_or_else(missing)?;
    let mut defaults = BTreeMap::new();
    for field in raw["fields"].as_array().into_iter().flatten() {
        let column = field["name"].as_str().unwrap_or_default();
        if has_default(&field["type"]) {
            return Err(unsupported(name, format!("a default value inside of column {column}"), ADVICE));
        }
        if field["initial-default"].is_null() {
            continue;
        }
        let (id, value) = understood(schema, &field["id"])
            .ok_or_else(|| unsupported(name, format!("a default value of column {column} of this type"), ADVICE))?;
        defaults.insert(id, value);
    }
    Ok(defaults)
}

fn understood(schema: &Schema, id: &Json) -> Option<(i32, Value)> {
    let id = i32::try_from(id.as_i64()?).ok()?;
    let field = schema.field_by_id(id)?;
    let literal = field.initial_default.as_ref()?.as_primitive_literal()?;
    Some((id, from_literal(&literal, field.field_type.as_primitive_type()?)?))
}

/// Whether a type has a field with a default at any level.
fn has_default(data_type: &Json) -> bool {
    match data_type {
        Json::Object(members) => {
            members.get("initial-default").is_some_and(|default| !default.is_null()) || members.values().any(has_default)
        }
        Json::Array(fields) => fields.iter().any(has_default),
        _ => false,
    }
}

async fn as_it_stands(table: &IcebergTable, base: &Base) -> Result<Json, TableError> {
    let path = &base.location;
    let place = table.places.locate(path)?;
    let failed = |error| unreadable(path, error);
    let bytes: Bytes = place.storage.store().get(&place.path).await.map_err(failed)?.bytes().await.map_err(failed)?;
    if !bytes.starts_with(&GZIP_MAGIC) {
        return serde_json::from_slice(&bytes).map_err(|source| bad_json(path, source));
    }
    let reader = MultiGzDecoder::new(bytes.as_ref()).take(METADATA_BYTES_MAX);
    serde_json::from_reader(std::io::BufReader::new(reader)).map_err(|source| bad_json(path, source))
}
