//! From Avro's types to the logical ones.

use super::{AvroError, Logical, Schema};
use crate::schema::{DataType, Field, TableSchema, TimeUnit};

impl Schema {
    /// The columns of a record.
    ///
    /// # Errors
    /// [`AvroError::Type`] for a type without a lossless image, [`AvroError::Schema`] for what is no record.
    pub fn table_schema(&self) -> Result<TableSchema, AvroError> {
        match self {
            Self::Record(fields) => Ok(TableSchema { fields: members(fields, "")? }),
            _ => Err(AvroError::Schema("a table's schema is a record".to_owned())),
        }
    }
}

fn members(fields: &[(String, Schema)], path: &str) -> Result<Vec<Field>, AvroError> {
    fields.iter().map(|(name, schema)| field(name, schema, path)).collect()
}

fn field(name: &str, schema: &Schema, parent: &str) -> Result<Field, AvroError> {
    let path = if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") };
    let (plain, nullable) = schema.nullable().map_or((schema, false), |plain| (plain, true));
    Ok(Field::new(name, data_type(plain, &path)?, nullable))
}

fn data_type(schema: &Schema, path: &str) -> Result<DataType, AvroError> {
    let refused = |found: &str| AvroError::Type { column: path.to_owned(), found: found.to_owned() };
    Ok(match schema {
        Schema::Boolean => DataType::Boolean,
        Schema::Int => DataType::Int32,
        Schema::Long => DataType::Int64,
        Schema::Float => DataType::Float32,
        Schema::Double => DataType::Float64,
        Schema::Bytes => DataType::Binary,
        Schema::String | Schema::Enum(_) => DataType::String,
        Schema::Fixed(length) => {
            DataType::Fixed { length: u32::try_from(*length).map_err(|_| refused("a fixed of that length"))? }
        }
        Schema::Array(items) => DataType::List { element: Box::new(field("element", items, path)?) },
        Schema::Map(values) => DataType::Map {
            key: Box::new(Field::new("key", DataType::String, false)),
            value: Box::new(field("value", values, path)?),
        },
        Schema::Record(fields) => DataType::Struct { fields: members(fields, path)? },
        Schema::Logical(plain, logical) => meaning(plain, logical).ok_or_else(|| match logical {
            Logical::Other(name) => refused(name),
            other => refused(&format!("{other:?} in {plain:?}")),
        })?,
        Schema::Null => return Err(refused("null")),
        Schema::Union(_) => return Err(refused("a union of several types")),
    })
}

fn meaning(plain: &Schema, logical: &Logical) -> Option<DataType> {
    let timestamp = |unit, utc| DataType::Timestamp { unit, utc };
    Some(match (plain, logical) {
        (Schema::Bytes | Schema::Fixed(_), Logical::Decimal { precision, scale }) => {
            DataType::Decimal { precision: *precision, scale: *scale }
        }
        (Schema::Int, Logical::Date) => DataType::Date,
        (Schema::Int, Logical::TimeMillis) => DataType::Time { unit: TimeUnit::Millis },
        (Schema::Long, Logical::TimeMicros) => DataType::Time { unit: TimeUnit::Micros },
        (Schema::Long, Logical::TimestampMillis) => timestamp(TimeUnit::Millis, true),
        (Schema::Long, Logical::TimestampMicros) => timestamp(TimeUnit::Micros, true),
        (Schema::Long, Logical::LocalTimestampMillis) => timestamp(TimeUnit::Millis, false),
        (Schema::Long, Logical::LocalTimestampMicros) => timestamp(TimeUnit::Micros, false),
        // Hudi's files hold a UUID as the text that it is.
        (Schema::String, Logical::Uuid) => DataType::String,
        _ => return None,
    })
}
