//! How rows are assigned to partitions: [`PartitionSpec`] of [`PartitionField`]s, each a [`Transform`] of one column.
//!
//! The transforms and their results are those of the Iceberg table specification (appendix B for the bucket hash), so
//! that a value computed here is the value that every Iceberg reader expects.

use percent_encoding::{AsciiSet, CONTROLS, PercentEncode, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use crate::schema::DataType;
use crate::value::Value;

/// How Hive and Spark write null in a folder's name.
pub const HIVE_NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// What Hive and Spark encode in partition folders, and the space.
const ENCODED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'&')
    .add(b'\'')
    .add(b'*')
    .add(b'+')
    .add(b'/')
    .add(b':')
    .add(b'<')
    .add(b'=')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}')
    .add(b'~');

/// A name or a value as it stands in the folder of a Hive-style partition, percent-encoded.
pub fn hive_text(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, ENCODED)
}

/// The partition fields of a table, outermost first; empty when it is not partitioned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct PartitionSpec {
    /// The fields, outermost first.
    pub fields: Vec<PartitionField>,
}

/// One partition field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionField {
    /// The partition field's own name: `date_month` for month of `date`, the column's name for identity.
    pub name: String,
    /// The column whose value is transformed.
    pub column: String,
    /// The function from the column's value to the partition's value.
    pub transform: Transform,
}

impl PartitionField {
    /// A field with the conventional name: the column's own for identity, else `column_transform`.
    pub fn new(column: impl Into<String>, transform: Transform) -> Self {
        let column = column.into();
        let name = match transform {
            Transform::Identity => column.clone(),
            Transform::Bucket(_) => format!("{column}_bucket"),
            Transform::Truncate(_) => format!("{column}_trunc"),
            other => format!("{column}_{other}"),
        };
        Self { name, column, transform }
    }
}

/// A function from a column's value to a partition's value; null maps to null.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transform {
    /// The value itself.
    Identity,
    /// Years since 1970.
    Year,
    /// Months since 1970-01.
    Month,
    /// Days since 1970-01-01.
    Day,
    /// Hours since 1970-01-01T00.
    Hour,
    /// Murmur3 hash modulo this many buckets.
    Bucket(u32),
    /// Text cut to this many characters, or a number rounded down to a multiple of it.
    Truncate(u32),
}

/// Why a transform could not be parsed or applied.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TransformError {
    /// The text names no transform.
    #[error("`{text}` is no transform; write identity, year, month, day, hour, bucket[N] or truncate[N]")]
    Unknown {
        /// What stood there.
        text: String,
    },
    /// The transform does not take this type.
    #[error("{transform} does not apply to a column of type {data_type}")]
    Type {
        /// The transform.
        transform: Transform,
        /// The column's type.
        data_type: String,
    },
}

impl Transform {
    /// The type of the result for a column of `source` type.
    ///
    /// # Errors
    /// [`TransformError::Type`] where the transform does not take that type.
    pub fn result_type(self, source: &DataType) -> Result<DataType, TransformError> {
        use DataType as T;
        let refused = || TransformError::Type { transform: self, data_type: source.to_string() };
        let nested = matches!(source, T::Struct { .. } | T::List { .. } | T::Map { .. });
        match self {
            Self::Identity if !nested => Ok(source.clone()),
            Self::Year | Self::Month if matches!(source, T::Date | T::Timestamp { .. }) => Ok(T::Int32),
            Self::Day if matches!(source, T::Date | T::Timestamp { .. }) => Ok(T::Date),
            Self::Hour if matches!(source, T::Timestamp { .. }) => Ok(T::Int32),
            Self::Bucket(_) if !nested && !matches!(source, T::Boolean | T::Float32 | T::Float64) => Ok(T::Int32),
            Self::Truncate(_)
                if matches!(
                    source,
                    T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::Decimal { .. } | T::String | T::Binary
                ) =>
            {
                Ok(source.clone())
            }
            _ => Err(refused()),
        }
    }

    /// Whether a larger input never gives a smaller result, so that bounds of a column bound its partition values.
    pub fn is_monotonic(self) -> bool {
        !matches!(self, Self::Bucket(_))
    }

    /// The partition value of a column's value.
    ///
    /// # Errors
    /// [`TransformError::Type`] where the transform does not take a value of this kind.
    pub fn apply(self, value: &Value) -> Result<Value, TransformError> {
        const DAY_MICROS: i64 = 86_400_000_000;
        let refused = || TransformError::Type { transform: self, data_type: kind(value).to_owned() };
        match (self, value) {
            (Self::Identity, value) => Ok(value.clone()),
            (Self::Bucket(buckets), value) => {
                let hash = bucket_hash(value).ok_or_else(refused)?;
                let bucket = (hash & 0x7fff_ffff) % buckets.max(1);
                Ok(Value::Int(i64::from(bucket)))
            }
            (Self::Truncate(width), value) => truncate(value, width.max(1)).ok_or_else(refused),
            (Self::Hour, Value::Timestamp(micros)) => Ok(Value::Int(micros.div_euclid(3_600_000_000))),
            (Self::Year | Self::Month | Self::Day, Value::Date(days)) => self.of_days(i64::from(*days)).ok_or_else(refused),
            (Self::Year | Self::Month | Self::Day, Value::Timestamp(micros)) => {
                self.of_days(micros.div_euclid(DAY_MICROS)).ok_or_else(refused)
            }
            _ => Err(refused()),
        }
    }

    fn of_days(self, days: i64) -> Option<Value> {
        use chrono::Datelike;
        if self == Self::Day {
            return i32::try_from(days).ok().map(Value::Date);
        }
        let date = chrono::DateTime::from_timestamp(days.checked_mul(86_400)?, 0)?.date_naive();
        let years = i64::from(date.year()) - 1970;
        Some(Value::Int(if self == Self::Year { years } else { years * 12 + i64::from(date.month0()) }))
    }

    /// A partition value as people and Hive-style paths write it: `2001`, `2001-02`, `2001-02-03-04` for the times.
    pub fn display(self, value: Option<&Value>) -> String {
        match (self, value) {
            (_, None) => "null".to_owned(),
            (Self::Year, Some(Value::Int(years))) => format!("{:04}", 1970 + years),
            (Self::Month, Some(Value::Int(months))) => {
                format!("{:04}-{:02}", 1970 + months.div_euclid(12), months.rem_euclid(12) + 1)
            }
            (Self::Hour, Some(Value::Int(hours))) => match chrono::DateTime::from_timestamp(hours * 3600, 0) {
                Some(time) => time.format("%Y-%m-%d-%H").to_string(),
                None => hours.to_string(),
            },
            (_, Some(value)) => value.to_string(),
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Boolean(_) => "boolean",
        Value::Int(_) => "integer",
        Value::Float(_) => "float",
        Value::Decimal { .. } => "decimal",
        Value::Date(_) => "date",
        Value::Time(_) => "time",
        Value::Timestamp(_) => "timestamp",
        Value::String(_) => "string",
        Value::Binary(_) => "binary",
    }
}

/// The 32-bit Murmur3 hash of a value's canonical bytes (Iceberg specification, appendix B); `None` for types that do
/// not hash (boolean, float).
pub fn bucket_hash(value: &Value) -> Option<u32> {
    let hash = |mut bytes: &[u8]| murmur3::murmur3_32(&mut bytes, 0).ok();
    match value {
        Value::Int(value) | Value::Time(value) | Value::Timestamp(value) => hash(&value.to_le_bytes()),
        Value::Date(days) => hash(&i64::from(*days).to_le_bytes()),
        Value::Decimal { unscaled, .. } => hash(minimal_be_bytes(*unscaled, &mut [0; 16])),
        Value::String(text) => hash(text.as_bytes()),
        Value::Binary(bytes) => hash(bytes),
        Value::Boolean(_) | Value::Float(_) => None,
    }
}

/// The shortest big-endian two's complement of `value`.
fn minimal_be_bytes(value: i128, buffer: &mut [u8; 16]) -> &[u8] {
    *buffer = value.to_be_bytes();
    let redundant = |i: usize| {
        let fill = if value < 0 { 0xff } else { 0 };
        buffer[i] == fill && (buffer[i + 1] ^ fill) & 0x80 == 0
    };
    let skip = (0..15).take_while(|&i| redundant(i)).count();
    &buffer[skip..]
}

fn truncate(value: &Value, width: u32) -> Option<Value> {
    match value {
        Value::Int(value) => value.checked_sub(value.rem_euclid(i64::from(width))).map(Value::Int),
        Value::Decimal { unscaled, scale } => {
            let unscaled = unscaled.checked_sub(unscaled.rem_euclid(i128::from(width)))?;
            Some(Value::Decimal { unscaled, scale: *scale })
        }
        Value::String(text) => Some(Value::String(text.chars().take(width as usize).collect())),
        Value::Binary(bytes) => Some(Value::Binary(bytes.iter().take(width as usize).copied().collect())),
        _ => None,
    }
}

impl std::fmt::Display for Transform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Identity => f.write_str("identity"),
            Self::Year => f.write_str("year"),
            Self::Month => f.write_str("month"),
            Self::Day => f.write_str("day"),
            Self::Hour => f.write_str("hour"),
            Self::Bucket(buckets) => write!(f, "bucket[{buckets}]"),
            Self::Truncate(width) => write!(f, "truncate[{width}]"),
        }
    }
}

impl std::str::FromStr for Transform {
    type Err = TransformError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || TransformError::Unknown { text: text.to_owned() };
        let argument = |name: &str| -> Option<u32> {
            let number = text.strip_prefix(name)?.strip_prefix('[')?.strip_suffix(']')?.parse().ok()?;
            (1..=0x7fff_ffff).contains(&number).then_some(number)
        };
        match text {
            "identity" => Ok(Self::Identity),
            "year" => Ok(Self::Year),
            "month" => Ok(Self::Month),
            "day" => Ok(Self::Day),
            "hour" => Ok(Self::Hour),
            _ => {
                argument("bucket").map(Self::Bucket).or_else(|| argument("truncate").map(Self::Truncate)).ok_or_else(unknown)
            }
        }
    }
}

impl Serialize for Transform {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Transform {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    // The expected hashes are the examples of the Iceberg specification's appendix B.
    #[rstest]
    #[case(Value::Int(34), 2_017_239_379)]
    #[case(Value::Decimal { unscaled: 1420, scale: 2 }, -500_754_589)]
    #[case(Value::Date(17_486), -653_330_422)]
    #[case(Value::Timestamp(1_510_871_468_000_000), -2_047_944_441)]
    #[case(Value::String("iceberg".into()), 1_210_000_089)]
    #[case(Value::Binary(vec![0, 1, 2, 3]), -188_683_207)]
    fn the_bucket_hash_is_icebergs(#[case] value: Value, #[case] hash: i32) {
        assert_eq!(bucket_hash(&value), Some(hash.cast_unsigned()));
    }

    #[rstest]
    #[case(Transform::Month, Value::Date(-1), Value::Int(-1), "1969-12")]
    #[case(Transform::Year, Value::Date(-1), Value::Int(-1), "1969")]
    #[case(Transform::Day, Value::Timestamp(-1), Value::Date(-1), "1969-12-31")]
    #[case(Transform::Hour, Value::Timestamp(-1), Value::Int(-1), "1969-12-31-23")]
    #[case(Transform::Truncate(10), Value::Int(-1), Value::Int(-10), "-10")]
    #[case(Transform::Truncate(2), Value::String("äöü".into()), Value::String("äö".into()), "äö")]
    #[case(Transform::Truncate(50), Value::Decimal { unscaled: 1065, scale: 2 }, Value::Decimal { unscaled: 1050, scale: 2 }, "10.50")]
    fn a_transform_gives_icebergs_value(
        #[case] transform: Transform,
        #[case] input: Value,
        #[case] output: Value,
        #[case] text: &str,
    ) {
        let value = transform.apply(&input).unwrap();
        assert_eq!(value, output);
        assert_eq!(transform.display(Some(&value)), text);
    }

    #[test]
    fn a_truncation_below_the_least_integer_is_refused() {
        assert!(Transform::Truncate(100).apply(&Value::Int(i64::MIN)).is_err());
        assert!(Transform::Truncate(100).apply(&Value::Decimal { unscaled: i128::MIN, scale: 2 }).is_err());
    }

    #[test]
    fn a_transform_reads_back_as_it_prints_and_refuses_nonsense() {
        for text in ["identity", "year", "month", "day", "hour", "bucket[16]", "truncate[4]"] {
            assert_eq!(text.parse::<Transform>().unwrap().to_string(), text);
        }
        for text in ["bucket", "bucket[0]", "bucket[x]", "Month", ""] {
            assert!(text.parse::<Transform>().is_err(), "{text}");
        }
    }
}
