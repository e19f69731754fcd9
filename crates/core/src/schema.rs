//! The logical schema that every format is mapped to and from.
//!
//! [`TableSchema`] is what readers see: columns by name, with the identity that the format gives them (field id, physical
//! name). It knows no Arrow and no Parquet; adapters and the engine convert at their edges.

use serde::{Deserialize, Serialize};

/// A table's columns in order, partition columns included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct TableSchema {
    /// Columns, in the order that readers see.
    pub fields: Vec<Field>,
}

impl TableSchema {
    /// The top-level column of this exact name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The position of the top-level column of this exact name.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name == name)
    }
}

/// One column, struct member, list element, map key or map value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// The name that readers use.
    pub name: String,
    /// The logical type.
    #[serde(rename = "type")]
    pub data_type: DataType,
    /// Whether a null may stand here; a list's elements and a map's values have their own.
    pub nullable: bool,
    /// The format's field id, where it has one (Iceberg, Delta column mapping by id, Parquet field ids).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<i32>,
    /// The column's name inside the data files where it is not `name` (Delta column mapping).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub physical_name: Option<String>,
    /// Other names that the column has inside some of the data files (a Hive source's declared renames, Iceberg's name
    /// mapping). A file has the column under one of its names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
}

impl Field {
    /// A column without field id, physical name or aliases.
    pub fn new(name: impl Into<String>, data_type: DataType, nullable: bool) -> Self {
        Self { name: name.into(), data_type, nullable, id: None, physical_name: None, aliases: Vec::new() }
    }
}

/// A logical type. Names follow Iceberg and Delta where they agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataType {
    /// True or false.
    Boolean,
    /// Signed integer of 8 bits.
    Int8,
    /// Signed integer of 16 bits.
    Int16,
    /// Signed integer of 32 bits.
    Int32,
    /// Signed integer of 64 bits.
    Int64,
    /// Unsigned integer of 8 bits.
    UInt8,
    /// Unsigned integer of 16 bits.
    UInt16,
    /// Unsigned integer of 32 bits.
    UInt32,
    /// Unsigned integer of 64 bits.
    UInt64,
    /// IEEE 754 binary32.
    Float32,
    /// IEEE 754 binary64.
    Float64,
    /// Fixed-point decimal.
    Decimal {
        /// Digits in all, 1 to 38.
        precision: u8,
        /// Digits after the point.
        scale: u8,
    },
    /// Days since 1970-01-01.
    Date,
    /// Time of day.
    Time {
        /// Resolution.
        unit: TimeUnit,
    },
    /// A point in time (`utc`) or a wall-clock reading without a zone (not `utc`).
    Timestamp {
        /// Resolution.
        unit: TimeUnit,
        /// Whether values are instants (Parquet's `isAdjustedToUTC`).
        utc: bool,
    },
    /// UTF-8 text.
    String,
    /// Bytes of any length.
    Binary,
    /// Bytes of one length.
    Fixed {
        /// Length in bytes.
        length: u32,
    },
    /// A 16-byte UUID.
    Uuid,
    /// Named members.
    Struct {
        /// The members in order.
        fields: Vec<Field>,
    },
    /// Elements in order.
    List {
        /// The element; its nullability is its own.
        element: Box<Field>,
    },
    /// Key-value pairs.
    Map {
        /// The key, never null.
        key: Box<Field>,
        /// The value; its nullability is its own.
        value: Box<Field>,
    },
}

/// Resolution of a time or timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeUnit {
    /// 10⁻³ s.
    Millis,
    /// 10⁻⁶ s.
    Micros,
    /// 10⁻⁹ s.
    Nanos,
}

impl std::fmt::Display for DataType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Boolean => f.write_str("boolean"),
            Self::Int8 => f.write_str("int8"),
            Self::Int16 => f.write_str("int16"),
            Self::Int32 => f.write_str("int32"),
            Self::Int64 => f.write_str("int64"),
            Self::UInt8 => f.write_str("uint8"),
            Self::UInt16 => f.write_str("uint16"),
            Self::UInt32 => f.write_str("uint32"),
            Self::UInt64 => f.write_str("uint64"),
            Self::Float32 => f.write_str("float32"),
            Self::Float64 => f.write_str("float64"),
            Self::Decimal { precision, scale } => write!(f, "decimal({precision},{scale})"),
            Self::Date => f.write_str("date"),
            Self::Time { unit } => write!(f, "time[{unit}]"),
            Self::Timestamp { unit, utc: true } => write!(f, "timestamptz[{unit}]"),
            Self::Timestamp { unit, utc: false } => write!(f, "timestamp[{unit}]"),
            Self::String => f.write_str("string"),
            Self::Binary => f.write_str("binary"),
            Self::Fixed { length } => write!(f, "fixed({length})"),
            Self::Uuid => f.write_str("uuid"),
            Self::Struct { fields } => {
                f.write_str("struct<")?;
                for (index, field) in fields.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{}: {}", field.name, field.data_type)?;
                }
                f.write_str(">")
            }
            Self::List { element } => write!(f, "list<{}>", element.data_type),
            Self::Map { key, value } => write!(f, "map<{}, {}>", key.data_type, value.data_type),
        }
    }
}

impl std::fmt::Display for TimeUnit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Millis => "ms",
            Self::Micros => "us",
            Self::Nanos => "ns",
        })
    }
}
