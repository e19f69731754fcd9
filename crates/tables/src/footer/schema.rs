//! From Parquet's types to [`DataType`], with the logical path of each leaf.
//!
//! Lists and maps are recognised in the standard three-level form and in the older forms that the Parquet specification
//! lists under backward compatibility. Converted (legacy) types count where a logical type is absent.

use std::sync::Arc;

use lakeshift_core::schema::{DataType, Field, TableSchema, TimeUnit};
use lakeshift_core::table::TableError;
use parquet::basic::{ConvertedType, LogicalType, Repetition, TimeUnit as ParquetUnit, Type as Physical};
use parquet::schema::types::{BasicTypeInfo, SchemaDescriptor, Type};

use super::unsupported;

/// Nesting deeper than this is refused; no table has it and recursion is bounded by it.
const DEPTH_MAX: usize = 64;

/// What an INT96 column is. The file does not say: it has neither zone nor unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Int96 {
    /// Nothing that is certain.
    Refused,
    /// Instants in nanoseconds, where the table declares so.
    Instants,
    /// As [`Self::Instants`], by the microseconds that they are read in: a table's type, not a file's.
    InstantsAsRead,
}

/// One leaf column, in the file's order.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Leaf {
    /// Logical path: column, members, `element`, `key`, `value`.
    pub(super) path: Arc<[String]>,
    pub(super) data_type: DataType,
    pub(super) field_id: Option<i32>,
}

/// What a file's schema means.
pub(super) fn convert(object: &str, schema: &SchemaDescriptor, int96: Int96) -> Result<Converted, TableError> {
    let mut converter = Converter { object, int96, path: Vec::new(), leaves: Vec::new(), two_level_list: None };
    let root = schema.root_schema();
    let fields = if root.is_group() { root.get_fields() } else { &[] };
    let fields = fields.iter().map(|field| converter.field(field, field.name())).collect::<Result<_, _>>()?;
    let Converter { leaves, two_level_list, .. } = converter;
    Ok(Converted { schema: Arc::new(TableSchema { fields }), leaves, two_level_list })
}

/// A file's columns.
pub(super) struct Converted {
    pub(super) schema: Arc<TableSchema>,
    pub(super) leaves: Vec<Leaf>,
    /// The first column that is a list of two levels, dotted where nested.
    pub(super) two_level_list: Option<String>,
}

struct Converter<'a> {
    object: &'a str,
    int96: Int96,
    path: Vec<String>,
    leaves: Vec<Leaf>,
    two_level_list: Option<String>,
}

impl Converter<'_> {
    /// A column, member, element, key or value under the logical `name`.
    fn field(&mut self, parquet: &Type, name: &str) -> Result<Field, TableError> {
        let repeated = repetition(parquet.get_basic_info()) == Some(Repetition::REPEATED);
        self.path.push(name.to_owned());
        if self.path.len() > DEPTH_MAX {
            return Err(self.refused("columns nested more than 64 levels deep", "flatten them with transform.sql"));
        }
        // A repeated field outside of a list or map is a list of required elements.
        let data_type = if repeated {
            self.is_two_level();
            DataType::List { element: Box::new(self.required(parquet, "element")?) }
        } else {
            self.data_type(parquet)?
        };
        self.path.pop();
        let nullable = repetition(parquet.get_basic_info()) == Some(Repetition::OPTIONAL);
        Ok(Field { id: id(parquet), ..Field::new(name, data_type, nullable) })
    }

    /// As [`Self::field`] for a repeated type that is itself the element of a list.
    fn required(&mut self, parquet: &Type, name: &str) -> Result<Field, TableError> {
        self.path.push(name.to_owned());
        let data_type = self.data_type(parquet)?;
        self.path.pop();
        Ok(Field { id: id(parquet), ..Field::new(name, data_type, false) })
    }

    fn data_type(&mut self, parquet: &Type) -> Result<DataType, TableError> {
        if parquet.is_primitive() {
            let data_type = self.primitive(parquet)?;
            self.leaves.push(Leaf {
                path: self.path.as_slice().into(),
                data_type: data_type.clone(),
                field_id: id(parquet),
            });
            return Ok(data_type);
        }
        let info = parquet.get_basic_info();
        match (info.logical_type_ref(), info.converted_type()) {
            (Some(LogicalType::List), _) | (None, ConvertedType::LIST) => self.list(parquet),
            (Some(LogicalType::Map), _) | (None, ConvertedType::MAP | ConvertedType::MAP_KEY_VALUE) => self.map(parquet),
            (None, _) => self.group(parquet),
            (Some(other), _) => {
                Err(self.refused(&format!("the Parquet type {other:?}"), "drop the column with transform.sql"))
            }
        }
    }

    fn group(&mut self, parquet: &Type) -> Result<DataType, TableError> {
        let fields =
            parquet.get_fields().iter().map(|member| self.field(member, member.name())).collect::<Result<_, _>>()?;
        Ok(DataType::Struct { fields })
    }

    fn is_two_level(&mut self) {
        self.two_level_list.get_or_insert_with(|| self.path.join("."));
    }

    fn list(&mut self, parquet: &Type) -> Result<DataType, TableError> {
        let [repeated] = parquet.get_fields() else {
            return Err(self.refused("a LIST that does not have exactly one child", "write the file anew"));
        };
        let name = repeated.name();
        // The specification's rules for lists of two levels: the repeated type is the element itself.
        let is_element = repeated.is_primitive()
            || repeated.get_fields().len() != 1
            || repetition(repeated.get_fields()[0].get_basic_info()) == Some(Repetition::REPEATED)
            || name == "array"
            || name == format!("{}_tuple", parquet.name());
        if is_element {
            self.is_two_level();
        }
        let element = match is_element {
            true => self.required(repeated, "element")?,
            false => self.field(&repeated.get_fields()[0], "element")?,
        };
        Ok(DataType::List { element: Box::new(element) })
    }

    fn map(&mut self, parquet: &Type) -> Result<DataType, TableError> {
        let entries = match parquet.get_fields() {
            [entries] if entries.is_group() => entries.get_fields(),
            _ => &[],
        };
        let [key, value] = entries else {
            return Err(self.refused("a MAP without exactly a key and a value", "write the file anew"));
        };
        let mut key = self.field(key, "key")?;
        key.nullable = false;
        let value = self.field(value, "value")?;
        Ok(DataType::Map { key: Box::new(key), value: Box::new(value) })
    }

    fn primitive(&self, parquet: &Type) -> Result<DataType, TableError> {
        let info = parquet.get_basic_info();
        let physical = parquet.get_physical_type();
        match info.logical_type_ref() {
            Some(logical) => self.logical(parquet, physical, logical),
            None => self.converted(parquet, physical, info.converted_type()),
        }
    }

    fn logical(&self, parquet: &Type, physical: Physical, logical: &LogicalType) -> Result<DataType, TableError> {
        Ok(match (logical, physical) {
            // Enum and JSON are text: readers of every format see the characters.
            (LogicalType::String | LogicalType::Enum | LogicalType::Json, Physical::BYTE_ARRAY) => DataType::String,
            (LogicalType::Bson, Physical::BYTE_ARRAY) => DataType::Binary,
            (LogicalType::Uuid, Physical::FIXED_LEN_BYTE_ARRAY) => DataType::Uuid,
            (LogicalType::Date, Physical::INT32) => DataType::Date,
            (LogicalType::Decimal(decimal), _) => return self.decimal(decimal.precision, decimal.scale),
            (LogicalType::Time(time), Physical::INT32 | Physical::INT64) => DataType::Time { unit: unit(&time.unit) },
            (LogicalType::Timestamp(time), Physical::INT64) => {
                DataType::Timestamp { unit: unit(&time.unit), utc: time.is_adjusted_to_u_t_c }
            }
            (LogicalType::Integer(integer), Physical::INT32 | Physical::INT64) => {
                return self.integer(integer.bit_width, integer.is_signed);
            }
            _ => {
                let advice = format!("convert column {} with transform.sql, or drop it", parquet.name());
                return Err(self.refused(&format!("the Parquet type {physical} as {logical:?}"), &advice));
            }
        })
    }

    fn converted(&self, parquet: &Type, physical: Physical, converted: ConvertedType) -> Result<DataType, TableError> {
        use ConvertedType as C;
        Ok(match (converted, physical) {
            (C::UTF8 | C::ENUM | C::JSON, Physical::BYTE_ARRAY) => DataType::String,
            (C::BSON, Physical::BYTE_ARRAY) => DataType::Binary,
            (C::DECIMAL, _) => return self.decimal(parquet.get_precision(), parquet.get_scale()),
            (C::DATE, Physical::INT32) => DataType::Date,
            (C::TIME_MILLIS, Physical::INT32) => DataType::Time { unit: TimeUnit::Millis },
            (C::TIME_MICROS, Physical::INT64) => DataType::Time { unit: TimeUnit::Micros },
            // The specification: legacy timestamps are adjusted to UTC.
            (C::TIMESTAMP_MILLIS, Physical::INT64) => DataType::Timestamp { unit: TimeUnit::Millis, utc: true },
            (C::TIMESTAMP_MICROS, Physical::INT64) => DataType::Timestamp { unit: TimeUnit::Micros, utc: true },
            (C::INT_8, Physical::INT32) => DataType::Int8,
            (C::INT_16, Physical::INT32) => DataType::Int16,
            (C::UINT_8, Physical::INT32) => DataType::UInt8,
            (C::UINT_16, Physical::INT32) => DataType::UInt16,
            (C::UINT_32, Physical::INT32) => DataType::UInt32,
            (C::UINT_64, Physical::INT64) => DataType::UInt64,
            (C::NONE | C::INT_32, Physical::INT32) => DataType::Int32,
            (C::NONE | C::INT_64, Physical::INT64) => DataType::Int64,
            (C::NONE, physical) => return self.plain(parquet, physical),
            (other, physical) => {
                return Err(
                    self.refused(&format!("the Parquet type {physical} as {other}"), "convert it with transform.sql")
                );
            }
        })
    }

    /// A physical type that nothing annotates.
    fn plain(&self, parquet: &Type, physical: Physical) -> Result<DataType, TableError> {
        Ok(match physical {
            Physical::BOOLEAN => DataType::Boolean,
            Physical::INT32 => DataType::Int32,
            Physical::INT64 => DataType::Int64,
            Physical::FLOAT => DataType::Float32,
            Physical::DOUBLE => DataType::Float64,
            Physical::BYTE_ARRAY => DataType::Binary,
            Physical::FIXED_LEN_BYTE_ARRAY => DataType::Fixed { length: fixed_length(parquet) },
            Physical::INT96 => return self.int96(),
        })
    }

    fn int96(&self) -> Result<DataType, TableError> {
        if self.int96 != Int96::Refused && self.path.len() > 1 {
            return Err(self.refused("INT96 inside of another column", "write the files anew with INT64 timestamps"));
        }
        match self.int96 {
            Int96::Instants => Ok(DataType::Timestamp { unit: TimeUnit::Nanos, utc: true }),
            Int96::InstantsAsRead => Ok(DataType::Timestamp { unit: TimeUnit::Micros, utc: true }),
            Int96::Refused => {
                let advice = "a Hive source whose INT96 timestamps are instants, as Spark writes them, says so by \
                              `int96: utc`; otherwise write the files anew with \
                              spark.sql.parquet.outputTimestampType=TIMESTAMP_MICROS";
                Err(self.refused("an INT96 column", advice))
            }
        }
    }

    fn decimal(&self, precision: i32, scale: i32) -> Result<DataType, TableError> {
        match (u8::try_from(precision), u8::try_from(scale)) {
            (Ok(precision @ 1..=38), Ok(scale)) if scale <= precision => Ok(DataType::Decimal { precision, scale }),
            _ => Err(self.refused(&format!("decimal({precision},{scale})"), "convert it with transform.sql")),
        }
    }

    fn integer(&self, bit_width: i8, signed: bool) -> Result<DataType, TableError> {
        Ok(match (bit_width, signed) {
            (8, true) => DataType::Int8,
            (16, true) => DataType::Int16,
            (32, true) => DataType::Int32,
            (64, true) => DataType::Int64,
            (8, false) => DataType::UInt8,
            (16, false) => DataType::UInt16,
            (32, false) => DataType::UInt32,
            (64, false) => DataType::UInt64,
            _ => return Err(self.refused(&format!("integers of {bit_width} bits"), "convert it with transform.sql")),
        })
    }

    fn refused(&self, feature: &str, advice: &str) -> TableError {
        unsupported(&format!("{} (column {})", self.object, self.path.join(".")), feature, advice)
    }
}

fn repetition(info: &BasicTypeInfo) -> Option<Repetition> {
    info.has_repetition().then(|| info.repetition())
}

fn id(parquet: &Type) -> Option<i32> {
    let info = parquet.get_basic_info();
    info.has_id().then(|| info.id())
}

fn unit(unit: &ParquetUnit) -> TimeUnit {
    match unit {
        ParquetUnit::MILLIS => TimeUnit::Millis,
        ParquetUnit::MICROS => TimeUnit::Micros,
        ParquetUnit::NANOS => TimeUnit::Nanos,
    }
}

fn fixed_length(parquet: &Type) -> u32 {
    match parquet {
        Type::PrimitiveType { type_length, .. } => u32::try_from(*type_length).unwrap_or(0),
        Type::GroupType { .. } => 0,
    }
}
