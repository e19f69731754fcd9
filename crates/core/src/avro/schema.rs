//! Avro schemas, with named types put in where they are referred to.

use std::collections::HashMap;

use serde_json::Value as Json;

use super::AvroError;

/// Types in types, at most.
const DEPTH_MAX: usize = 64;
/// Types in one schema, references put in, at most.
const NODES_MAX: usize = 100_000;

/// What a logical type says of the type that holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Logical {
    /// Fixed-point decimal, big-endian two's complement.
    Decimal {
        /// Digits in all.
        precision: u8,
        /// Digits after the point.
        scale: u8,
    },
    /// Days since 1970-01-01.
    Date,
    /// Milliseconds since midnight.
    TimeMillis,
    /// Microseconds since midnight.
    TimeMicros,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    TimestampMillis,
    /// Microseconds since 1970-01-01T00:00:00Z.
    TimestampMicros,
    /// Milliseconds since 1970-01-01T00:00:00, without a zone.
    LocalTimestampMillis,
    /// Microseconds since 1970-01-01T00:00:00, without a zone.
    LocalTimestampMicros,
    /// A UUID as text.
    Uuid,
    /// Another one, by its name.
    Other(String),
}

/// An Avro type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schema {
    /// Nothing.
    Null,
    /// True or false.
    Boolean,
    /// Signed integer of 32 bits.
    Int,
    /// Signed integer of 64 bits.
    Long,
    /// IEEE 754 binary32.
    Float,
    /// IEEE 754 binary64.
    Double,
    /// Bytes of any length.
    Bytes,
    /// UTF-8 text.
    String,
    /// Bytes of this length.
    Fixed(usize),
    /// One of these symbols.
    Enum(Vec<String>),
    /// Elements in order.
    Array(Box<Schema>),
    /// Values by text.
    Map(Box<Schema>),
    /// One of these types.
    Union(Vec<Schema>),
    /// Named members in order.
    Record(Vec<(String, Schema)>),
    /// A type with a meaning.
    Logical(Box<Schema>, Logical),
}

impl Schema {
    /// Reads a schema's JSON.
    ///
    /// # Errors
    /// [`AvroError::Schema`].
    pub fn parse(json: &str) -> Result<Self, AvroError> {
        let json: Json = serde_json::from_str(json).map_err(|error| AvroError::Schema(error.to_string()))?;
        Parser::default().schema(&json, "", 0)
    }

    /// The members of a record; none of other types.
    pub fn fields(&self) -> &[(String, Schema)] {
        if let Self::Record(fields) = self { fields } else { &[] }
    }

    /// The type beside null of a union of these two; `None` of every other type.
    pub fn nullable(&self) -> Option<&Schema> {
        match self {
            Self::Union(branches) => match &branches[..] {
                [Self::Null, other] | [other, Self::Null] if *other != Self::Null => Some(other),
                _ => None,
            },
            _ => None,
        }
    }
}

#[derive(Default)]
struct Parser {
    named: HashMap<String, Schema>,
    nodes: usize,
}

fn invalid(reason: impl Into<String>) -> AvroError {
    AvroError::Schema(reason.into())
}

impl Parser {
    fn schema(&mut self, json: &Json, namespace: &str, depth: usize) -> Result<Schema, AvroError> {
        if depth > DEPTH_MAX {
            return Err(invalid(format!("it is nested more than {DEPTH_MAX} deep")));
        }
        self.count(1)?;
        match json {
            Json::String(name) => self.reference(name, namespace),
            Json::Array(branches) => {
                let branches = branches.iter().map(|branch| self.schema(branch, namespace, depth + 1));
                Ok(Schema::Union(branches.collect::<Result<_, _>>()?))
            }
            Json::Object(object) => {
                let plain = self.object(object, namespace, depth)?;
                match object.get("logicalType").and_then(Json::as_str) {
                    None => Ok(plain),
                    Some(name) => Ok(Schema::Logical(Box::new(plain), logical(name, object)?)),
                }
            }
            _ => Err(invalid("a type is neither a name, a union nor an object")),
        }
    }

    fn count(&mut self, nodes: usize) -> Result<(), AvroError> {
        self.nodes += nodes;
        if self.nodes > NODES_MAX { Err(invalid(format!("it has more than {NODES_MAX} types"))) } else { Ok(()) }
    }

    fn reference(&mut self, name: &str, namespace: &str) -> Result<Schema, AvroError> {
        Ok(match name {
            "null" => Schema::Null,
            "boolean" => Schema::Boolean,
            "int" => Schema::Int,
            "long" => Schema::Long,
            "float" => Schema::Float,
            "double" => Schema::Double,
            "bytes" => Schema::Bytes,
            "string" => Schema::String,
            _ => {
                let found = self.named.get(&full_name(name, namespace)).or_else(|| self.named.get(name));
                // A type inside itself is not known yet where it is referred to.
                let found = found.ok_or_else(|| invalid(format!("the type {name} is not defined before its use")))?;
                let found = found.clone();
                self.count(nodes(&found))?;
                found
            }
        })
    }

    fn object(
        &mut self,
        object: &serde_json::Map<String, Json>,
        namespace: &str,
        depth: usize,
    ) -> Result<Schema, AvroError> {
        let missing = |key: &str| invalid(format!("a type has no `{key}`"));
        let part = |key: &'static str| object.get(key).ok_or_else(|| missing(key));
        let kind = match part("type")? {
            Json::String(kind) => kind.as_str(),
            nested => return self.schema(nested, namespace, depth + 1),
        };
        let namespace = object.get("namespace").and_then(Json::as_str).unwrap_or(namespace);
        let name = object.get("name").and_then(Json::as_str).unwrap_or_default();
        let inner = name.rsplit_once('.').map_or(namespace, |(namespace, _)| namespace);
        let schema = match kind {
            "record" => {
                let fields = part("fields")?.as_array().ok_or_else(|| missing("fields"))?;
                let fields = fields.iter().map(|field| {
                    let name = field.get("name").and_then(Json::as_str).ok_or_else(|| missing("name"))?;
                    let schema = field.get("type").ok_or_else(|| missing("type"))?;
                    Ok((name.to_owned(), self.schema(schema, inner, depth + 1)?))
                });
                Schema::Record(fields.collect::<Result<_, AvroError>>()?)
            }
            "enum" => {
                let symbols = part("symbols")?.as_array().ok_or_else(|| missing("symbols"))?;
                Schema::Enum(symbols.iter().filter_map(Json::as_str).map(str::to_owned).collect())
            }
            "fixed" => {
                let size = part("size")?.as_u64().and_then(|size| usize::try_from(size).ok());
                Schema::Fixed(size.ok_or_else(|| missing("size"))?)
            }
            "array" => return Ok(Schema::Array(Box::new(self.schema(part("items")?, namespace, depth + 1)?))),
            "map" => return Ok(Schema::Map(Box::new(self.schema(part("values")?, namespace, depth + 1)?))),
            other => return self.reference(other, namespace),
        };
        let logical = object.get("logicalType").and_then(Json::as_str);
        let named = match logical {
            None => schema.clone(),
            Some(name) => Schema::Logical(Box::new(schema.clone()), self::logical(name, object)?),
        };
        self.named.insert(full_name(name, namespace), named);
        Ok(schema)
    }
}

fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() { name.to_owned() } else { format!("{namespace}.{name}") }
}

fn nodes(schema: &Schema) -> usize {
    1 + match schema {
        Schema::Array(inner) | Schema::Map(inner) | Schema::Logical(inner, _) => nodes(inner),
        Schema::Union(branches) => branches.iter().map(nodes).sum(),
        Schema::Record(fields) => fields.iter().map(|(_, field)| nodes(field)).sum(),
        _ => 0,
    }
}

fn logical(name: &str, object: &serde_json::Map<String, Json>) -> Result<Logical, AvroError> {
    let number = |key: &str| object.get(key).and_then(Json::as_u64).and_then(|number| u8::try_from(number).ok());
    Ok(match name {
        "decimal" => Logical::Decimal {
            precision: number("precision").ok_or_else(|| invalid("a decimal has no precision"))?,
            scale: match object.get("scale") {
                None => 0,
                Some(_) => number("scale").ok_or_else(|| invalid("a decimal has no valid scale"))?,
            },
        },
        "date" => Logical::Date,
        "time-millis" => Logical::TimeMillis,
        "time-micros" => Logical::TimeMicros,
        "timestamp-millis" => Logical::TimestampMillis,
        "timestamp-micros" => Logical::TimestampMicros,
        "local-timestamp-millis" => Logical::LocalTimestampMillis,
        "local-timestamp-micros" => Logical::LocalTimestampMicros,
        "uuid" => Logical::Uuid,
        other => Logical::Other(other.to_owned()),
    })
}
