//! Delta's schema and protocol from and to core's types.

use std::collections::BTreeMap;

use lakeshift_core::mapping::needs_delta_mapping;
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
/// Writer features whose rules every commit of ours keeps, or that [`check_writable`] finds unused. Clustering is not among
/// them: every file would have to carry statistics of the clustering columns, and ours are sound or absent.
const WRITABLE: [&str; 11] = [
    "timestampNtz",
    "deletionVectors",
    "columnMapping",
    "v2Checkpoint",
    "vacuumProtocolCheck",
    "appendOnly",
    "invariants",
    "checkConstraints",
    "generatedColumns",
    "changeDataFeed",
    "domainMetadata",
];
/// The last writer version whose features, those above, are implied by the number.
const WRITER_VERSION_MAX: u32 = 5;
/// The writer version from which on features have names.
const WRITER_FEATURES_VERSION: u32 = 7;
/// The table property that says how columns are found in files.
const MAPPING_MODE: &str = "delta.columnMapping.mode";
/// The table property that holds the greatest column id that was ever given.
const MAX_COLUMN_ID: &str = "delta.columnMapping.maxColumnId";

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
    /// The lowest protocol that a new table needs.
    fn lowest(schema: &TableSchema, columns_are_mapped: bool) -> Self {
        let has_ntz = schema.fields.iter().any(|field| has_ntz(&field.data_type));
        let features = [(has_ntz, "timestampNtz"), (columns_are_mapped, "columnMapping")];
        let features: Vec<_> = features.into_iter().filter(|(needed, _)| *needed).map(|(_, name)| name.to_owned()).collect();
        let (min_reader_version, min_writer_version) = match (has_ntz, columns_are_mapped) {
            (true, _) => (3, 7),
            (false, true) => (2, 5),
            (false, false) => (1, 2),
        };
        let features = has_ntz.then_some(features);
        Self { min_reader_version, min_writer_version, reader_features: features.clone(), writer_features: features }
    }
}

/// What a new table's metadata say of its columns.
pub(super) struct NewTable {
    pub(super) protocol: Protocol,
    pub(super) schema_string: String,
    /// Properties that go with it.
    pub(super) properties: BTreeMap<String, String>,
}

impl NewTable {
    /// Columns are mapped by name where a name needs it, or where the properties ask for it. A column's name in files is its
    /// own name then, so that files which have it can be adopted.
    ///
    /// # Errors
    /// [`TableError::Unsupported`] for types without a lossless image, names that are one to Delta, and a mapping by id, which
    /// adopted files could not be read by.
    pub(super) fn new(table: &str, schema: &TableSchema, properties: &BTreeMap<String, String>) -> Result<Self, TableError> {
        let asked = match properties.get(MAPPING_MODE).map(String::as_str) {
            None | Some("none") => false,
            Some("name") => true,
            Some(mode) => {
                return Err(unsupported(table, format!("column mapping by {mode}"), "write `name`, or leave it out"));
            }
        };
        let columns_are_mapped = asked || schema.fields.iter().any(needs_delta_mapping);
        let mut writer = SchemaWriter { table, next_id: columns_are_mapped.then_some(1) };
        let schema_string = writer.members("", &schema.fields)?.to_string();
        let last_id = writer.next_id.map(|next| next - 1);
        let of_mapping = last_id.map(|id| [(MAPPING_MODE, "name".to_owned()), (MAX_COLUMN_ID, id.to_string())]);
        let properties = of_mapping.into_iter().flatten().map(|(key, value)| (key.to_owned(), value)).collect();
        Ok(Self { protocol: Protocol::lowest(schema, columns_are_mapped), schema_string, properties })
    }
}

/// The schema by the names that columns have in files, at every level.
pub(super) fn in_files(schema: &TableSchema) -> TableSchema {
    fn field(one: &Field) -> Field {
        let name = one.physical_name.clone().unwrap_or_else(|| one.name.clone());
        Field { name, data_type: data_type(&one.data_type), physical_name: None, ..one.clone() }
    }
    fn data_type(one: &DataType) -> DataType {
        match one {
            DataType::Struct { fields } => DataType::Struct { fields: fields.iter().map(field).collect() },
            DataType::List { element } => DataType::List { element: Box::new(field(element)) },
            DataType::Map { key, value } => DataType::Map { key: Box::new(field(key)), value: Box::new(field(value)) },
            other => other.clone(),
        }
    }
    TableSchema { fields: schema.fields.iter().map(field).collect() }
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
    match properties.get(MAPPING_MODE).map(String::as_str) {
        None | Some("none") => Ok(Mapping::None),
        Some("name") => Ok(Mapping::Name),
        Some("id") => Ok(Mapping::Id),
        Some(other) => Err(unsupported(table, format!("column mapping by {other}"), "drop the column mapping first")),
    }
}

/// Refuses to write to a table whose rules a commit of ours would not keep.
pub(super) fn check_writable(table: &str, rules: &Rules<'_>, removes: bool) -> Result<(), TableError> {
    let refused = |feature: String| Err(unsupported(table, feature, "drop it from the table, or write to a new table"));
    let (protocol, properties) = (rules.protocol, rules.properties);
    let is_on = |key: &str| properties.get(key).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    if let Some(mode) = properties.get(MAPPING_MODE).filter(|mode| !["none", "name"].contains(&mode.as_str())) {
        return refused(format!("column mapping by {mode}"));
    }
    if !(..=WRITER_VERSION_MAX).contains(&protocol.min_writer_version)
        && protocol.min_writer_version != WRITER_FEATURES_VERSION
    {
        return refused(format!("Delta writer version {}", protocol.min_writer_version));
    }
    if let Some(feature) = protocol.writer_features.iter().flatten().find(|feature| !WRITABLE.contains(&feature.as_str())) {
        return refused(format!("the Delta writer feature {feature}"));
    }
    if removes && is_on("delta.appendOnly") {
        return refused("delta.appendOnly=true while files are to be removed".to_owned());
    }
    if is_on("delta.enableChangeDataFeed") {
        return refused("a change data feed (delta.enableChangeDataFeed)".to_owned());
    }
    if rules.schema_string.contains("delta.generationExpression") || rules.schema_string.contains("delta.identity.") {
        return refused("columns that the table generates".to_owned());
    }
    match properties.keys().find(|key| key.starts_with("delta.constraints.")) {
        Some(key) => refused(format!("the check constraint {key}")),
        None => Ok(()),
    }
}

/// The schema of a table with new columns after its own.
///
/// # Errors
/// [`TableError::Unsupported`] for columns that the table's protocol does not allow, and for a table whose columns are mapped.
pub(super) fn evolved(table: &str, rules: &Rules<'_>, columns: &[Field]) -> Result<String, TableError> {
    let new = NewTable::new(table, &TableSchema { fields: columns.to_vec() }, &BTreeMap::new())?;
    let is_mapped = rules.properties.get(MAPPING_MODE).is_some_and(|mode| mode != "none") || !new.properties.is_empty();
    if is_mapped {
        let advice = "add the column by the table's own engine, then go on: what is there already is not added again";
        return Err(unsupported(table, "a new column where columns are mapped", advice));
    }
    let has = |feature: &String| rules.protocol.writer_features.iter().flatten().any(|known| known == feature);
    if let Some(feature) = new.protocol.writer_features.iter().flatten().find(|feature| !has(feature)) {
        let advice = "turn the feature on by the table's own engine, or keep the column's times in UTC";
        return Err(unsupported(table, format!("a new column that needs the Delta feature {feature}"), advice));
    }
    let parse =
        |text: &str| serde_json::from_str::<Json>(text).map_err(|_| corrupt(table, "its schema is no JSON".to_owned()));
    let (mut schema, mut added) = (parse(rules.schema_string)?, parse(&new.schema_string)?);
    if let (Some(fields), Some(added)) = (schema["fields"].as_array_mut(), added["fields"].as_array_mut()) {
        fields.append(added);
    }
    Ok(schema.to_string())
}

/// What a table asks of its writers.
pub(super) struct Rules<'a> {
    pub(super) protocol: &'a Protocol,
    pub(super) properties: &'a BTreeMap<String, String>,
    /// The columns' own rules stand in their metadata.
    pub(super) schema_string: &'a str,
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
    if mapping == Mapping::Id && id.is_none() {
        return Err(lacks("id"));
    }
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

/// Writes a `schemaString`.
struct SchemaWriter<'a> {
    table: &'a str,
    /// The id of the next column or member, where columns are mapped.
    next_id: Option<u32>,
}

impl SchemaWriter<'_> {
    fn members(&mut self, parent: &str, fields: &[Field]) -> Result<Json, TableError> {
        let mut members = Vec::new();
        for (index, field) in fields.iter().enumerate() {
            let path = if parent.is_empty() { field.name.clone() } else { format!("{parent}.{}", field.name) };
            if fields[..index].iter().any(|other| other.name.to_lowercase() == field.name.to_lowercase()) {
                let advice = "rename it by target.columns";
                return Err(self.refused(&path, "a name that another column has but for case", advice));
            }
            let metadata = self.next_id.map_or_else(
                || json!({}),
                |id| {
                    self.next_id = Some(id + 1);
                    json!({ "delta.columnMapping.id": id, "delta.columnMapping.physicalName": field.name })
                },
            );
            let data_type = self.data_type(&path, &field.data_type)?;
            members.push(json!({ "name": field.name, "type": data_type, "nullable": field.nullable, "metadata": metadata }));
        }
        Ok(json!({ "type": "struct", "fields": members }))
    }

    fn data_type(&mut self, path: &str, data_type: &DataType) -> Result<Json, TableError> {
        match data_type {
            DataType::Decimal { precision, scale } => Ok(format!("decimal({precision},{scale})").into()),
            DataType::Struct { fields } => self.members(path, fields),
            DataType::List { element } => {
                let inner = self.data_type(&format!("{path}.element"), &element.data_type)?;
                Ok(json!({ "type": "array", "elementType": inner, "containsNull": element.nullable }))
            }
            DataType::Map { key, value } => {
                let key = self.data_type(&format!("{path}.key"), &key.data_type)?;
                let inner = self.data_type(&format!("{path}.value"), &value.data_type)?;
                Ok(json!({ "type": "map", "keyType": key, "valueType": inner, "valueContainsNull": value.nullable }))
            }
            other => match primitive_name(other) {
                Some(name) => Ok(name.into()),
                None => {
                    let feature = format!("the type {other}, which Delta does not have");
                    Err(self.refused(path, &feature, "cast it in transform.sql"))
                }
            },
        }
    }

    fn refused(&self, path: &str, feature: &str, advice: &str) -> TableError {
        unsupported(&format!("{} (column {path})", self.table), feature, advice)
    }
}

/// The inverse of [`primitive`], decimals apart.
fn primitive_name(data_type: &DataType) -> Option<&'static str> {
    use DataType as T;
    Some(match data_type {
        T::Boolean => "boolean",
        T::Int8 => "byte",
        T::Int16 => "short",
        T::Int32 => "integer",
        T::Int64 => "long",
        T::Float32 => "float",
        T::Float64 => "double",
        T::Date => "date",
        // Milliseconds are whole microseconds; nanoseconds are not.
        T::Timestamp { unit: TimeUnit::Millis | TimeUnit::Micros, utc: true } => "timestamp",
        T::Timestamp { unit: TimeUnit::Millis | TimeUnit::Micros, utc: false } => "timestamp_ntz",
        T::String => "string",
        T::Binary => "binary",
        _ => return None,
    })
}
