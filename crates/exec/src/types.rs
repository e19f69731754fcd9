//! Between core's logical types and Arrow's: schemas in both directions, single values in both directions.
//!
//! One logical type has one Arrow type here (text is `Utf8`, instants are in `UTC`), so that batches of different files
//! and formats compare and concatenate. What has no lossless image is a [`TypeError`], never a silent change.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{
    DataType as ArrowType, Field as ArrowField, FieldRef, Fields, Schema, SchemaRef, TimeUnit as ArrowUnit,
};
use lakeshift_core::schema::{DataType, Field, TableSchema, TimeUnit};

mod value;

pub use value::{scalar, value_at};

/// Arrow's key for the name of an extension type.
const EXTENSION_NAME: &str = "ARROW:extension:name";
/// Arrow's canonical UUID extension type.
const UUID_EXTENSION: &str = "arrow.uuid";
/// The key under which the Parquet reader and writer carry field ids.
pub const FIELD_ID: &str = "PARQUET:field_id";
/// Digits that a 128-bit decimal holds.
const DECIMAL_DIGITS_MAX: u8 = 38;

/// Why a type or a value has no exact image on the other side.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TypeError {
    /// An Arrow type that no logical type stands for.
    #[error("column {column} has the type {found}, which has no lossless logical type; {advice}")]
    NoLogicalType {
        /// The column's path.
        column: String,
        /// The Arrow type.
        found: String,
        /// What to do.
        advice: &'static str,
    },
    /// A logical type whose parameters are out of range.
    #[error("column {column} has the type {found}, which is not valid: {reason}")]
    Invalid {
        /// The column's path.
        column: String,
        /// The logical type.
        found: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// Two columns of one struct or table have the same name.
    #[error("column {column} stands twice in the schema; give each column its own name")]
    Duplicate {
        /// The column's path.
        column: String,
    },
    /// A value that the other side's type cannot hold exactly. The value itself is not told.
    #[error("a {from} value does not fit {to} exactly: {reason}")]
    Lossy {
        /// The kind of value.
        from: String,
        /// The type that should hold it.
        to: String,
        /// Why it does not.
        reason: &'static str,
    },
}

/// Which names and metadata the Arrow fields carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Naming {
    /// Readers' names, no field ids.
    Logical,
    /// The names inside data files, and field ids where the schema has them.
    Physical,
}

/// The Arrow schema of batches in this table's logical schema.
///
/// # Errors
/// [`TypeError::Invalid`] or [`TypeError::Duplicate`] for a schema that contradicts itself.
pub fn arrow_schema(schema: &TableSchema) -> Result<SchemaRef, TypeError> {
    Ok(Arc::new(Schema::new(arrow_fields(&schema.fields, "", Naming::Logical)?)))
}

/// The Arrow schema of this table's data files: physical names, and field ids as the Parquet writer wants them.
///
/// # Errors
/// As [`arrow_schema`].
pub fn file_schema(schema: &TableSchema) -> Result<SchemaRef, TypeError> {
    Ok(Arc::new(Schema::new(arrow_fields(&schema.fields, "", Naming::Physical)?)))
}

/// The Arrow type of a logical type.
///
/// # Errors
/// As [`arrow_schema`].
pub fn arrow_type(data_type: &DataType) -> Result<ArrowType, TypeError> {
    to_arrow(data_type, "", Naming::Logical)
}

/// The logical schema of batches with this Arrow schema; field ids are taken over.
///
/// # Errors
/// [`TypeError::NoLogicalType`] or [`TypeError::Duplicate`].
pub fn table_schema(schema: &Schema) -> Result<TableSchema, TypeError> {
    Ok(TableSchema { fields: logical_fields(schema.fields(), "")? })
}

/// The name of a column inside data files.
pub(crate) fn physical_name(field: &Field) -> &str {
    field.physical_name.as_deref().unwrap_or(&field.name)
}

/// The first top-level column below which a member has another name in the data files.
pub(crate) fn nested_physical_name(schema: &TableSchema) -> Option<&Field> {
    fn renamed(field: &Field) -> bool {
        physical_name(field) != field.name || members(&field.data_type).into_iter().any(renamed)
    }
    schema.fields.iter().find(|field| members(&field.data_type).into_iter().any(renamed))
}

fn members(data_type: &DataType) -> Vec<&Field> {
    match data_type {
        DataType::Struct { fields } => fields.iter().collect(),
        DataType::List { element } => vec![element],
        DataType::Map { key, value } => vec![key, value],
        _ => Vec::new(),
    }
}

fn arrow_fields(fields: &[Field], path: &str, naming: Naming) -> Result<Fields, TypeError> {
    let converted = fields.iter().map(|field| arrow_field(field, path, naming)).collect::<Result<Vec<_>, _>>()?;
    check_unique(&converted, path)?;
    Ok(converted.into())
}

fn arrow_field(field: &Field, parent: &str, naming: Naming) -> Result<FieldRef, TypeError> {
    let name = if naming == Naming::Physical { physical_name(field) } else { &field.name };
    let data_type = to_arrow(&field.data_type, &join(parent, &field.name), naming)?;
    Ok(Arc::new(ArrowField::new(name, data_type, field.nullable).with_metadata(metadata(field, naming))))
}

fn metadata(field: &Field, naming: Naming) -> HashMap<String, String> {
    let id = field.id.filter(|_| naming == Naming::Physical).map(|id| (FIELD_ID.to_owned(), id.to_string()));
    let uuid = (field.data_type == DataType::Uuid).then(|| (EXTENSION_NAME.to_owned(), UUID_EXTENSION.to_owned()));
    id.into_iter().chain(uuid).collect()
}

fn check_unique(fields: &[FieldRef], path: &str) -> Result<(), TypeError> {
    let mut seen = std::collections::HashSet::new();
    match fields.iter().find(|field| !seen.insert(field.name())) {
        Some(twice) => Err(TypeError::Duplicate { column: join(path, twice.name()) }),
        None => Ok(()),
    }
}

fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}

fn to_arrow(data_type: &DataType, path: &str, naming: Naming) -> Result<ArrowType, TypeError> {
    Ok(match data_type {
        DataType::Boolean => ArrowType::Boolean,
        DataType::Int8 => ArrowType::Int8,
        DataType::Int16 => ArrowType::Int16,
        DataType::Int32 => ArrowType::Int32,
        DataType::Int64 => ArrowType::Int64,
        DataType::UInt8 => ArrowType::UInt8,
        DataType::UInt16 => ArrowType::UInt16,
        DataType::UInt32 => ArrowType::UInt32,
        DataType::UInt64 => ArrowType::UInt64,
        DataType::Float32 => ArrowType::Float32,
        DataType::Float64 => ArrowType::Float64,
        DataType::Decimal { precision, scale } => decimal(*precision, *scale, path)?,
        DataType::Date => ArrowType::Date32,
        DataType::Time { unit: TimeUnit::Millis } => ArrowType::Time32(ArrowUnit::Millisecond),
        DataType::Time { unit } => ArrowType::Time64(arrow_unit(*unit)),
        DataType::Timestamp { unit, utc } => ArrowType::Timestamp(arrow_unit(*unit), utc.then(|| Arc::from("UTC"))),
        DataType::String => ArrowType::Utf8,
        DataType::Binary => ArrowType::Binary,
        DataType::Fixed { length } => fixed(*length, path)?,
        DataType::Uuid => ArrowType::FixedSizeBinary(16),
        DataType::Struct { fields } => ArrowType::Struct(arrow_fields(fields, path, naming)?),
        DataType::List { element } => ArrowType::List(arrow_field(element, path, naming)?),
        DataType::Map { key, value } => map(key, value, path, naming)?,
    })
}

fn decimal(precision: u8, scale: u8, path: &str) -> Result<ArrowType, TypeError> {
    match i8::try_from(scale) {
        Ok(arrow_scale) if (1..=DECIMAL_DIGITS_MAX).contains(&precision) && scale <= precision => {
            Ok(ArrowType::Decimal128(precision, arrow_scale))
        }
        _ => Err(TypeError::Invalid {
            column: path.to_owned(),
            found: DataType::Decimal { precision, scale }.to_string(),
            reason: "the precision is 1 to 38 and the scale at most the precision",
        }),
    }
}

fn fixed(length: u32, path: &str) -> Result<ArrowType, TypeError> {
    i32::try_from(length).map(ArrowType::FixedSizeBinary).map_err(|_| TypeError::Invalid {
        column: path.to_owned(),
        found: DataType::Fixed { length }.to_string(),
        reason: "the length is at most 2147483647",
    })
}

fn map(key: &Field, value: &Field, path: &str, naming: Naming) -> Result<ArrowType, TypeError> {
    // A map's key is never null, whatever a schema says.
    let key = Field { nullable: false, ..key.clone() };
    let entries = Fields::from(vec![arrow_field(&key, path, naming)?, arrow_field(value, path, naming)?]);
    let entries = ArrowField::new("key_value", ArrowType::Struct(entries), false);
    Ok(ArrowType::Map(Arc::new(entries), false))
}

fn arrow_unit(unit: TimeUnit) -> ArrowUnit {
    match unit {
        TimeUnit::Millis => ArrowUnit::Millisecond,
        TimeUnit::Micros => ArrowUnit::Microsecond,
        TimeUnit::Nanos => ArrowUnit::Nanosecond,
    }
}

fn logical_fields(fields: &Fields, path: &str) -> Result<Vec<Field>, TypeError> {
    check_unique(fields, path)?;
    fields.iter().map(|field| logical_field(field, path)).collect()
}

fn logical_field(field: &ArrowField, parent: &str) -> Result<Field, TypeError> {
    let path = join(parent, field.name());
    let uuid = field.metadata().get(EXTENSION_NAME).is_some_and(|name| name == UUID_EXTENSION);
    let data_type = match field.data_type() {
        ArrowType::FixedSizeBinary(16) if uuid => DataType::Uuid,
        other => to_logical(other, &path)?,
    };
    let id = field.metadata().get(FIELD_ID).and_then(|id| id.parse().ok());
    Ok(Field { id, ..Field::new(field.name().as_str(), data_type, field.is_nullable()) })
}

fn to_logical(arrow: &ArrowType, path: &str) -> Result<DataType, TypeError> {
    let refused = |advice| TypeError::NoLogicalType { column: path.to_owned(), found: arrow.to_string(), advice };
    Ok(match arrow {
        ArrowType::Boolean => DataType::Boolean,
        ArrowType::Int8 => DataType::Int8,
        ArrowType::Int16 => DataType::Int16,
        ArrowType::Int32 => DataType::Int32,
        ArrowType::Int64 => DataType::Int64,
        ArrowType::UInt8 => DataType::UInt8,
        ArrowType::UInt16 => DataType::UInt16,
        ArrowType::UInt32 => DataType::UInt32,
        ArrowType::UInt64 => DataType::UInt64,
        ArrowType::Float32 => DataType::Float32,
        ArrowType::Float64 => DataType::Float64,
        ArrowType::Decimal32(precision, scale)
        | ArrowType::Decimal64(precision, scale)
        | ArrowType::Decimal128(precision, scale) => {
            let scale = u8::try_from(*scale).map_err(|_| refused("cast it to a decimal whose scale is not negative"))?;
            DataType::Decimal { precision: *precision, scale }
        }
        ArrowType::Date32 => DataType::Date,
        ArrowType::Time32(unit) | ArrowType::Time64(unit) => {
            DataType::Time { unit: logical_unit(*unit).ok_or_else(|| refused("cast it to time in microseconds"))? }
        }
        ArrowType::Timestamp(unit, zone) => {
            let unit = logical_unit(*unit).ok_or_else(|| refused("cast it to timestamp in microseconds"))?;
            let utc = is_utc(zone.as_deref()).ok_or_else(|| refused("cast it to a timestamp in UTC"))?;
            DataType::Timestamp { unit, utc }
        }
        ArrowType::Utf8 | ArrowType::LargeUtf8 | ArrowType::Utf8View => DataType::String,
        ArrowType::Binary | ArrowType::LargeBinary | ArrowType::BinaryView => DataType::Binary,
        ArrowType::FixedSizeBinary(length) => {
            DataType::Fixed { length: u32::try_from(*length).map_err(|_| refused("its length is negative"))? }
        }
        ArrowType::Dictionary(_, values) => to_logical(values, path)?,
        ArrowType::Struct(fields) => DataType::Struct { fields: logical_fields(fields, path)? },
        ArrowType::List(element) | ArrowType::LargeList(element) => {
            DataType::List { element: Box::new(logical_field(element, path)?) }
        }
        ArrowType::Map(entries, _) => {
            logical_map(entries, path).ok_or_else(|| refused("its entries are no key and value"))??
        }
        ArrowType::Null => return Err(refused("give the NULL a type by CAST")),
        _ => return Err(refused("cast it to a type that tables have")),
    })
}

fn logical_map(entries: &ArrowField, path: &str) -> Option<Result<DataType, TypeError>> {
    let ArrowType::Struct(entries) = entries.data_type() else { return None };
    let [key, value] = &entries[..] else { return None };
    let both =
        || Ok(DataType::Map { key: Box::new(logical_field(key, path)?), value: Box::new(logical_field(value, path)?) });
    Some(both())
}

fn logical_unit(unit: ArrowUnit) -> Option<TimeUnit> {
    match unit {
        ArrowUnit::Second => None,
        ArrowUnit::Millisecond => Some(TimeUnit::Millis),
        ArrowUnit::Microsecond => Some(TimeUnit::Micros),
        ArrowUnit::Nanosecond => Some(TimeUnit::Nanos),
    }
}

/// Whether a zone means UTC; `None` for another zone, whose name a logical type cannot keep.
fn is_utc(zone: Option<&str>) -> Option<bool> {
    match zone {
        None => Some(false),
        Some("UTC" | "Etc/UTC" | "Z" | "+00:00") => Some(true),
        Some(_) => None,
    }
}
