//! Delta's schema and protocol from and to core's types.

use std::collections::BTreeMap;

use lakeshift_core::schema::{DataType, Field, TableSchema, TimeUnit};
use lakeshift_core::table::TableError;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::footer::{corrupt, unsupported};

/// Reader features that change nothing in what this adapter reports, or that it reports.
const READABLE: [&str; 7] = [
    "timestampNtz",
    "deletionVectors",
    "columnMapping",
    "typeWidening",
    "typeWidening-preview",
    "v2Checkpoint",
    "vacuumProtocolCheck",
];
/// The newest reader version; from it on, features have names.
const READER_VERSION_MAX: u32 = 3;
/// Writer features whose rules every commit of ours keeps, as long as [`check_writable`] finds them unused.
const WRITABLE: [&str; 7] =
    ["timestampNtz", "deletionVectors", "v2Checkpoint", "vacuumProtocolCheck", "appendOnly", "invariants", "domainMetadata"];
/// Characters that Delta readers refuse in names without column mapping.
const REFUSED_IN_NAMES: [char; 9] = [' ', ',', ';', '{', '}', '(', ')', '\n', '\t'];

/// The log's `protocol` action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Protocol {
    pub(super) min_reader_version: u32,
    pub(super) min_writer_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reader_features: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) writer_features: Option<Vec<String>>,
}

impl Protocol {
    /// The lowest protocol that a schema needs.
    pub(super) fn for_schema(schema: &TableSchema) -> Self {
        if schema.fields.iter().any(|field| has_ntz(&field.data_type)) {
            let features = || Some(vec!["timestampNtz".to_owned()]);
            return Self {
                min_reader_version: 3,
                min_writer_version: 7,
                reader_features: features(),
                writer_features: features(),
            };
        }
        Self { min_reader_version: 1, min_writer_version: 2, reader_features: None, writer_features: None }
    }
}

fn has_ntz(data_type: &DataType) -> bool {
    match data_type {
        DataType::Timestamp { utc, .. } => !utc,
        DataType::Struct { fields } => fields.iter().any(|field| has_ntz(&field.data_type)),
        DataType::List { element } => has_ntz(&element.data_type),
        DataType::Map { key, value } => has_ntz(&key.data_type) || has_ntz(&value.data_type),
        _ => false,
    }
}

/// How files name the columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mapping {
    /// As readers do.
    None,
    /// By physical names.
    Name,
    /// By field ids; partition values and statistics by physical names.
    Id,
}

/// Refuses a table whose files mean something else than this adapter knows; how they name the columns.
pub(super) fn check_readable(
    table: &str,
    protocol: &Protocol,
    properties: &BTreeMap<String, String>,
) -> Result<Mapping, TableError> {
    if protocol.min_reader_version > READER_VERSION_MAX {
        let feature = format!("Delta reader version {}", protocol.min_reader_version);
        return Err(unsupported(table, feature, "upgrade Lakeshift"));
    }
    let unknown = protocol.reader_features.iter().flatten().find(|feature| !READABLE.contains(&feature.as_str()));
    if let Some(feature) = unknown {
        return Err(unsupported(table, format!("the Delta feature {feature}"), "drop the feature from the table first"));
    }
    match properties.get("delta.columnMapping.mode").map(String::as_str) {
        None | Some("none") => Ok(Mapping::None),
        Some("name") => Ok(Mapping::Name),
        Some("id") => Ok(Mapping::Id),
        Some(other) => Err(unsupported(table, format!("column mapping by {other}"), "drop the column mapping first")),
    }
}

/// Refuses to write to a table whose rules a commit of ours would not keep.
pub(super) fn check_writable(
    table: &str,
    protocol: &Protocol,
    properties: &BTreeMap<String, String>,
    removes: bool,
) -> Result<(), TableError> {
    let refused = |feature: String| Err(unsupported(table, feature, "drop it from the table, or write to a new table"));
    if let Some(mode) = properties.get("delta.columnMapping.mode").filter(|mode| *mode != "none") {
        return refused(format!("column mapping by {mode}"));
    }
    if (3..=6).contains(&protocol.min_writer_version) {
        return refused(format!("Delta writer version {}", protocol.min_writer_version));
    }
    if let Some(feature) = protocol.writer_features.iter().flatten().find(|feature| !WRITABLE.contains(&feature.as_str())) {
        return refused(format!("the Delta writer feature {feature}"));
    }
    if removes && properties.get("delta.appendOnly").is_some_and(|value| value == "true") {
        return refused("delta.appendOnly=true while files are to be removed".to_owned());
    }
    match properties.keys().find(|key| key.starts_with("delta.constraints.")) {
        Some(key) => refused(format!("the check constraint {key}")),
        None => Ok(()),
    }
}

/// The columns that a `schemaString` describes.
pub(super) fn from_delta(table: &str, text: &str, mapping: Mapping) -> Result<TableSchema, TableError> {
    let json: Json = serde_json::from_str(text).map_err(|error| TableError::Corrupt {
        object: table.to_owned(),
        reason: "its schema is no JSON".to_owned(),
        source: Some(Box::new(error)),
    })?;
    Ok(TableSchema { fields: fields(table, &json, mapping)? })
}

fn fields(table: &str, json: &Json, mapping: Mapping) -> Result<Vec<Field>, TableError> {
    let members = json["fields"].as_array().ok_or_else(|| corrupt(table, "its schema has no list of fields".to_owned()))?;
    members.iter().map(|member| field(table, member, mapping)).collect()
}

fn field(table: &str, json: &Json, mapping: Mapping) -> Result<Field, TableError> {
    let name = json["name"].as_str().ok_or_else(|| corrupt(table, "a field of its schema has no name".to_owned()))?;
    if json["metadata"].get("delta.invariants").is_some() {
        return Err(unsupported(table, format!("an invariant on column {name}"), "drop the invariant from the table"));
    }
    let nullable = json["nullable"].as_bool().unwrap_or(true);
    let field = Field::new(name, data_type(table, name, &json["type"], mapping)?, nullable);
    if mapping == Mapping::None {
        return Ok(field);
    }
    let lacks = |what: &str| corrupt(table, format!("column {name} of its mapped schema has no {what}"));
    let metadata = &json["metadata"];
    let physical = metadata["delta.columnMapping.physicalName"].as_str().ok_or_else(|| lacks("physical name"))?;
    let id = metadata["delta.columnMapping.id"].as_i64().and_then(|id| i32::try_from(id).ok());
    let id = if mapping == Mapping::Id { Some(id.ok_or_else(|| lacks("id"))?) } else { None };
    Ok(Field { id, physical_name: (physical != name).then(|| physical.to_owned()), ..field })
}

fn data_type(table: &str, column: &str, json: &Json, mapping: Mapping) -> Result<DataType, TableError> {
    let part = |name: &str, key: &str, nullable: bool| -> Result<Box<Field>, TableError> {
        Ok(Box::new(Field::new(name, data_type(table, column, &json[key], mapping)?, nullable)))
    };
    let contains_null = |key: &str| json[key].as_bool().unwrap_or(true);
    match (json.as_str(), json["type"].as_str()) {
        (Some(name), _) => primitive(name)
            .ok_or_else(|| unsupported(table, format!("{column} as {name}"), "drop or convert the column first")),
        (None, Some("struct")) => Ok(DataType::Struct { fields: fields(table, json, mapping)? }),
        (None, Some("array")) => {
            Ok(DataType::List { element: part("element", "elementType", contains_null("containsNull"))? })
        }
        (None, Some("map")) => Ok(DataType::Map {
            key: part("key", "keyType", false)?,
            value: part("value", "valueType", contains_null("valueContainsNull"))?,
        }),
        _ => Err(corrupt(table, format!("its schema gives column {column} no known type"))),
    }
}

fn primitive(name: &str) -> Option<DataType> {
    Some(match name {
        "boolean" => DataType::Boolean,
        "byte" => DataType::Int8,
        "short" => DataType::Int16,
        "integer" => DataType::Int32,
        "long" => DataType::Int64,
        "float" => DataType::Float32,
        "double" => DataType::Float64,
        "date" => DataType::Date,
        "timestamp" => DataType::Timestamp { unit: TimeUnit::Micros, utc: true },
        "timestamp_ntz" => DataType::Timestamp { unit: TimeUnit::Micros, utc: false },
        "string" => DataType::String,
        "binary" => DataType::Binary,
        other => return decimal(other),
    })
}

fn decimal(text: &str) -> Option<DataType> {
    if text == "decimal" {
        return Some(DataType::Decimal { precision: 10, scale: 0 });
    }
    let (precision, scale) = text.strip_prefix("decimal(")?.strip_suffix(')')?.split_once(',')?;
    Some(DataType::Decimal { precision: precision.trim().parse().ok()?, scale: scale.trim().parse().ok()? })
}

/// The `schemaString` of columns.
///
/// # Errors
/// [`TableError::Unsupported`] for types without a lossless image and for names that Delta refuses.
pub(super) fn to_delta(table: &str, schema: &TableSchema) -> Result<String, TableError> {
    Ok(struct_json(table, "", &schema.fields)?.to_string())
}

fn struct_json(table: &str, parent: &str, fields: &[Field]) -> Result<Json, TableError> {
    let mut members = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        let path = if parent.is_empty() { field.name.clone() } else { format!("{parent}.{}", field.name) };
        let column = format!("{table} (column {path})");
        if let Some(found) = field.name.chars().find(|found| REFUSED_IN_NAMES.contains(found) || *found == '=') {
            return Err(unsupported(
                &column,
                format!("the character {found:?} in a name"),
                "rename it in the spec's columns map",
            ));
        }
        if fields[..index].iter().any(|other| other.name.to_lowercase() == field.name.to_lowercase()) {
            return Err(unsupported(
                &column,
                "a name that another column has but for case",
                "rename it in the spec's columns map",
            ));
        }
        let data_type = type_json(table, &path, &field.data_type)?;
        members.push(json!({ "name": field.name, "type": data_type, "nullable": field.nullable, "metadata": {} }));
    }
    Ok(json!({ "type": "struct", "fields": members }))
}

fn type_json(table: &str, path: &str, data_type: &DataType) -> Result<Json, TableError> {
    use DataType as T;
    let name = match data_type {
        T::Boolean => "boolean",
        T::Int8 => "byte",
        T::Int16 => "short",
        T::Int32 => "integer",
        T::Int64 => "long",
        T::Float32 => "float",
        T::Float64 => "double",
        T::Date => "date",
        // Milliseconds are whole microseconds; nanoseconds are not, and are refused below.
        T::Timestamp { unit: TimeUnit::Millis | TimeUnit::Micros, utc: true } => "timestamp",
        T::Timestamp { unit: TimeUnit::Millis | TimeUnit::Micros, utc: false } => "timestamp_ntz",
        T::String => "string",
        T::Binary => "binary",
        T::Decimal { precision, scale } => return Ok(format!("decimal({precision},{scale})").into()),
        T::Struct { fields } => return struct_json(table, path, fields),
        T::List { element } => {
            let inner = type_json(table, &format!("{path}.element"), &element.data_type)?;
            return Ok(json!({ "type": "array", "elementType": inner, "containsNull": element.nullable }));
        }
        T::Map { key, value } => {
            let key = type_json(table, &format!("{path}.key"), &key.data_type)?;
            let inner = type_json(table, &format!("{path}.value"), &value.data_type)?;
            return Ok(json!({ "type": "map", "keyType": key, "valueType": inner, "valueContainsNull": value.nullable }));
        }
        other => {
            let column = format!("{table} (column {path})");
            return Err(unsupported(
                &column,
                format!("the type {other}, which Delta does not have"),
                "cast it in transform.sql",
            ));
        }
    };
    Ok(name.into())
}
