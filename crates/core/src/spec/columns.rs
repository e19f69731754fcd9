//! The target's columns as the spec lists them: a name alone, `'*'`, or a mapping ([`TargetColumn`]).
//!
//! What a list means for a source is [`crate::projection`]'s to say.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::text;
use crate::schema::DataType;

/// The entry that stands for all columns that neither `columns` nor `drop` names, in their order.
pub const REST: &str = "*";

/// One column of the new table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetColumn {
    /// Its name in the new table.
    pub name: String,
    /// The column that it is made from (of the source, or of `transform.sql`'s result); the one of its own name when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Its type in the new table. A value that this type does not hold exactly stops the unit; nothing is cut or made null.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none", with = "optional_type")]
    #[schemars(schema_with = "text::data_type_schema")]
    pub data_type: Option<DataType>,
    /// The value where there is none: in place of NULL, and in every row where no such column is there to make it from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Literal>,
}

impl TargetColumn {
    /// The column of this name, as it is.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), from: None, data_type: None, default: None }
    }

    /// Whether the entry is `'*'`.
    pub fn is_rest(&self) -> bool {
        *self == Self::named(REST)
    }
}

/// A constant of the spec.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Literal {
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// Another number.
    Float(f64),
    /// Text; with a `type` also a date, a timestamp or a decimal, as it prints.
    Text(String),
}

impl Literal {
    /// The type that the constant has by itself.
    pub fn data_type(&self) -> DataType {
        match self {
            Self::Boolean(_) => DataType::Boolean,
            Self::Integer(_) => DataType::Int64,
            Self::Float(_) => DataType::Float64,
            Self::Text(_) => DataType::String,
        }
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Text(value) => write!(f, "'{value}'"),
        }
    }
}

/// Not derived: an untagged enum tells neither place nor what was expected.
impl<'de> Deserialize<'de> for Literal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Scalar;
        impl Visitor<'_> for Scalar {
            type Value = Literal;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a number, true or false")
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Literal, E> {
                Ok(Literal::Boolean(value))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Literal, E> {
                Ok(Literal::Integer(value))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Literal, E> {
                i64::try_from(value)
                    .map(Literal::Integer)
                    .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(value), &self))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Literal, E> {
                Ok(Literal::Float(value))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Literal, E> {
                Ok(Literal::Text(value.to_owned()))
            }
        }
        deserializer.deserialize_any(Scalar)
    }
}

mod optional_type {
    use serde::{Deserializer, Serializer};

    use super::text;
    use crate::schema::DataType;

    pub(super) fn serialize<S: Serializer>(data_type: &Option<DataType>, serializer: S) -> Result<S::Ok, S::Error> {
        match data_type {
            Some(data_type) => serializer.collect_str(data_type),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DataType>, D::Error> {
        deserializer
            .deserialize_str(text::Text { expected: text::COLUMN_TYPE_EXPECTED, parse: text::parse_column_type })
            .map(Some)
    }
}

/// `with` for the list: each entry a name or a mapping.
pub(super) mod list {
    use super::{Deserialize, Deserializer, Entry, Serializer, TargetColumn};

    pub fn serialize<S: Serializer>(columns: &[TargetColumn], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(columns)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<TargetColumn>, D::Error> {
        Ok(Vec::<Entry>::deserialize(deserializer)?.into_iter().map(|entry| entry.0).collect())
    }
}

struct Entry(TargetColumn);

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrParts;
        impl<'de> Visitor<'de> for NameOrParts {
            type Value = Entry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a column's name, '*', or a mapping with name, from, type and default")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Entry, E> {
                Ok(Entry(TargetColumn::named(name)))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Entry, A::Error> {
                TargetColumn::deserialize(MapAccessDeserializer::new(map)).map(Entry)
            }
        }
        deserializer.deserialize_any(NameOrParts)
    }
}

pub(super) fn list_schema(generator: &mut SchemaGenerator) -> Schema {
    let parts = generator.subschema_for::<TargetColumn>();
    json_schema!({
        "type": "array",
        "items": { "anyOf": [{ "type": "string", "examples": ["origin", "*"] }, parts] },
    })
}
