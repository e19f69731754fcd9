//! The spec's short notations: partition fields (`bucket(16, origin)`), scalar types (`decimal(10,2)`), names.

use std::fmt;

use schemars::{Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, Unexpected, Visitor};

use crate::partition::{PartitionField, Transform};
use crate::schema::{DataType, TimeUnit};
use crate::table::Format;

const FIELD_EXPECTED: &str =
    "a column, year(column), month(column), day(column), hour(column), bucket(16, column) or truncate(4, column)";
const TYPE_EXPECTED: &str =
    "string, boolean, int8, int16, int32, int64, date, timestamp, timestamptz or decimal(precision,scale)";
/// What [`parse_column_type`] reads.
pub(super) const COLUMN_TYPE_EXPECTED: &str = "string, binary, boolean, int8, int16, int32, int64, float32, float64, date, \
     timestamp, timestamptz or decimal(precision,scale)";
const TRANSFORMS: [&str; 7] = ["identity", "year", "month", "day", "hour", "bucket", "truncate"];
const NAME_CHARS_MAX: usize = 64;

/// Reads a scalar by its text. The refusal comes from inside the scalar, so that it has the scalar's line and column; and
/// `14` is refused as a time without a unit, not as an integer.
pub(super) struct Text<T> {
    pub expected: &'static str,
    pub parse: fn(&str) -> Option<T>,
}

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

/// Whether `name` may name a migration.
pub(crate) fn is_name(name: &str) -> bool {
    let sound = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (1..=NAME_CHARS_MAX).contains(&name.len()) && name.chars().all(sound)
}

/// Whether `name` may name an alias: as a migration, and dots inside.
pub(super) fn is_alias(name: &str) -> bool {
    is_name(&name.replace('.', "_")) && name.starts_with(|c: char| c.is_ascii_alphanumeric())
}

/// Reads one partition field in the notation of `target.partitioning`: `month(date)`, `bucket(16, origin)`, `origin`.
pub fn parse_field(text: &str) -> Option<PartitionField> {
    let text = text.trim();
    let Some((name, rest)) = text.split_once('(') else {
        return (!text.is_empty() && !text.contains(')')).then(|| PartitionField::new(text, Transform::Identity));
    };
    let name = name.trim();
    if !TRANSFORMS.contains(&name) {
        return None;
    }
    let arguments = rest.strip_suffix(')')?;
    let (transform, column) = match name {
        "bucket" | "truncate" => {
            let (number, column) = arguments.split_once(',')?;
            (format!("{name}[{}]", number.trim()), column)
        }
        _ => (name.to_owned(), arguments),
    };
    let column = column.trim();
    (!column.is_empty()).then_some(PartitionField::new(column, transform.parse().ok()?))
}

/// The notation of one partition field; [`parse_field`] reads it back.
pub fn print_field(field: &PartitionField) -> String {
    let column = &field.column;
    match field.transform {
        Transform::Identity if column.contains(['(', ')']) => format!("identity({column})"),
        Transform::Identity => column.clone(),
        Transform::Bucket(number) => format!("bucket({number}, {column})"),
        Transform::Truncate(width) => format!("truncate({width}, {column})"),
        Transform::Year | Transform::Month | Transform::Day | Transform::Hour => format!("{}({column})", field.transform),
    }
}

/// Reads a type that values in directory names may have.
pub(super) fn parse_type(text: &str) -> Option<DataType> {
    let micros = |utc| DataType::Timestamp { unit: TimeUnit::Micros, utc };
    Some(match text.trim() {
        "string" => DataType::String,
        "boolean" => DataType::Boolean,
        "int8" => DataType::Int8,
        "int16" => DataType::Int16,
        "int32" | "int" => DataType::Int32,
        "int64" | "long" => DataType::Int64,
        "date" => DataType::Date,
        "timestamp" | "timestamp[us]" => micros(false),
        "timestamptz" | "timestamptz[us]" => micros(true),
        other => {
            let (precision, scale) = other.strip_prefix("decimal(")?.strip_suffix(')')?.split_once(',')?;
            let (precision, scale) = (precision.trim().parse().ok()?, scale.trim().parse().ok()?);
            ((1..=38).contains(&precision) && scale <= precision).then_some(DataType::Decimal { precision, scale })?
        }
    })
}

/// Reads a type that a column may be cast to.
pub(super) fn parse_column_type(text: &str) -> Option<DataType> {
    Some(match text.trim() {
        "float32" | "float" => DataType::Float32,
        "float64" | "double" => DataType::Float64,
        "binary" => DataType::Binary,
        other => return parse_type(other),
    })
}

/// `with` for a [`DataType`] in the notation of [`parse_type`].
pub(super) mod data_type {
    use serde::{Deserializer, Serializer};

    use crate::schema::DataType;

    pub fn serialize<S: Serializer>(data_type: &DataType, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(data_type)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DataType, D::Error> {
        deserializer.deserialize_str(super::Text { expected: super::TYPE_EXPECTED, parse: super::parse_type })
    }
}

/// `with` for a [`DataType`] in the notation of [`parse_column_type`].
pub(crate) mod column_type {
    use serde::{Deserializer, Serializer};

    use crate::schema::DataType;

    pub fn serialize<S: Serializer>(data_type: &DataType, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(data_type)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DataType, D::Error> {
        deserializer.deserialize_str(super::Text { expected: super::COLUMN_TYPE_EXPECTED, parse: super::parse_column_type })
    }
}

/// `with` for a [`PartitionSpec`](crate::partition::PartitionSpec) as a list in the notation of [`parse_field`].
pub(super) mod partitioning {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::partition::{PartitionField, PartitionSpec};

    struct Field(PartitionField);

    impl<'de> Deserialize<'de> for Field {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer
                .deserialize_str(super::Text { expected: super::FIELD_EXPECTED, parse: super::parse_field })
                .map(Self)
        }
    }

    pub fn serialize<S: Serializer>(spec: &PartitionSpec, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(spec.fields.iter().map(super::print_field))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PartitionSpec, D::Error> {
        let fields = Vec::<Field>::deserialize(deserializer)?;
        Ok(PartitionSpec { fields: fields.into_iter().map(|field| field.0).collect() })
    }
}

/// Reads a format that Lakeshift writes.
pub(crate) fn target_format<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Format, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Written {
        Delta,
        Iceberg,
    }
    Ok(match Written::deserialize(deserializer)? {
        Written::Delta => Format::Delta,
        Written::Iceberg => Format::Iceberg,
    })
}

pub(crate) fn target_format_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["delta", "iceberg"] })
}

pub(super) fn partitioning_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": { "type": "string", "examples": ["month(date)", "bucket(16, origin)", "origin"] },
    })
}

pub(crate) fn data_type_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "examples": ["string", "date", "int32", "decimal(10,2)"] })
}

pub(super) fn name_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$" })
}

pub(super) fn alias_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$" })
}
