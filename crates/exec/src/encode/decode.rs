//! Cells read back from their bytes: for the values of partition cells and for what a report shows of a row.

use std::fmt;

use arrow::datatypes::i256;
use lakeshift_core::value::Value;

use super::{number, tag};

/// A cell's value, free of the Arrow type that held it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodedCell {
    /// Null.
    Null,
    /// True or false.
    Boolean(bool),
    /// An integer of 64 bits, or a decimal that is one.
    Integer(i64),
    /// `mantissa × 10^exponent` that is no integer of 64 bits.
    Decimal {
        /// Not divisible by ten.
        mantissa: i256,
        /// The power of ten.
        exponent: i16,
    },
    /// A float, by the bits of its double.
    Float(u64),
    /// Days since 1970-01-01.
    Date(i32),
    /// A time of day.
    Time {
        /// Whole seconds since midnight.
        seconds: i64,
        /// Nanoseconds in the second.
        nanos: u32,
    },
    /// An instant (`utc`) or a wall-clock reading.
    Timestamp {
        /// Whole seconds since 1970-01-01T00:00:00.
        seconds: i64,
        /// Nanoseconds in the second.
        nanos: u32,
        /// Whether it is an instant.
        utc: bool,
    },
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Elements in order.
    List(Vec<DecodedCell>),
    /// Members in order.
    Struct(Vec<DecodedCell>),
    /// Entries in order.
    Map(Vec<(DecodedCell, DecodedCell)>),
}

/// The bytes are no cell of this encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("these bytes are no encoded cell; this is a defect of Lakeshift")]
pub struct Malformed;

impl DecodedCell {
    /// Reads the first cell of `bytes` and moves on behind it.
    ///
    /// # Errors
    /// [`Malformed`] when no cell stands there.
    pub fn read(bytes: &mut &[u8]) -> Result<Self, Malformed> {
        let [tag] = *array::<1>(bytes)?;
        Ok(match tag {
            tag::NULL => Self::Null,
            tag::BOOLEAN => Self::Boolean(*array::<1>(bytes)? == [1]),
            tag::INTEGER => Self::Integer(i64::from_le_bytes(*array(bytes)?)),
            tag::DECIMAL_128 => decimal(take(bytes, 18)?)?,
            tag::DECIMAL_256 => decimal(take(bytes, 34)?)?,
            tag::FLOAT => Self::Float(u64::from_le_bytes(*array(bytes)?)),
            tag::DATE => Self::Date(i32::from_le_bytes(*array(bytes)?)),
            tag::TIME | tag::TIMESTAMP | tag::TIMESTAMP_UTC => time(tag, bytes)?,
            tag::TEXT => Self::Text(String::from_utf8(sized(bytes)?.to_vec()).map_err(|_| Malformed)?),
            tag::BYTES => Self::Bytes(sized(bytes)?.to_vec()),
            tag::LIST => Self::List(repeat(bytes, Self::read)?),
            tag::STRUCT => Self::Struct(repeat(bytes, Self::read)?),
            tag::MAP => Self::Map(repeat(bytes, |bytes| Ok((Self::read(bytes)?, Self::read(bytes)?)))?),
            _ => return Err(Malformed),
        })
    }

    /// The scalar that partition transforms take; times are cut to microseconds. `None` for null, floats, nested values,
    /// and decimals beyond 128 bits.
    pub fn to_value(&self) -> Option<Value> {
        Some(match self {
            Self::Boolean(value) => Value::Boolean(*value),
            Self::Integer(value) => Value::Int(*value),
            Self::Decimal { mantissa, exponent } => scaled(mantissa.to_i128()?, *exponent)?,
            Self::Date(days) => Value::Date(*days),
            Self::Time { seconds, nanos } => Value::Time(micros(*seconds, *nanos)?),
            Self::Timestamp { seconds, nanos, .. } => Value::Timestamp(micros(*seconds, *nanos)?),
            Self::Text(text) => Value::String(text.clone()),
            Self::Bytes(bytes) => Value::Binary(bytes.clone()),
            Self::Null | Self::Float(_) | Self::List(_) | Self::Struct(_) | Self::Map(_) => return None,
        })
    }

    /// The class of the value and its size, without the value: `text(5)`.
    pub fn kind(&self) -> String {
        match self {
            Self::Null => "NULL".to_owned(),
            Self::Boolean(_) => "boolean".to_owned(),
            Self::Integer(_) => "integer".to_owned(),
            Self::Decimal { .. } => "decimal".to_owned(),
            Self::Float(_) => "float".to_owned(),
            Self::Date(_) => "date".to_owned(),
            Self::Time { .. } => "time".to_owned(),
            Self::Timestamp { .. } => "timestamp".to_owned(),
            Self::Text(text) => format!("text({})", text.chars().count()),
            Self::Bytes(bytes) => format!("bytes({})", bytes.len()),
            Self::List(elements) => format!("list({})", elements.len()),
            Self::Struct(members) => format!("struct({})", members.len()),
            Self::Map(entries) => format!("map({})", entries.len()),
        }
    }
}

/// An encoded cell's tag and payload; of texts and bytes without their length. `None` for no bytes.
pub fn cell_parts(cell: &[u8]) -> Option<(u8, &[u8])> {
    let (tag, mut payload) = cell.split_first()?;
    match *tag {
        tag::TEXT | tag::BYTES => sized(&mut payload).ok().map(|bytes| (*tag, bytes)),
        _ => Some((*tag, payload)),
    }
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8], Malformed> {
    let (head, rest) = bytes.split_at_checked(count).ok_or(Malformed)?;
    *bytes = rest;
    Ok(head)
}

fn array<'a, const N: usize>(bytes: &mut &'a [u8]) -> Result<&'a [u8; N], Malformed> {
    take(bytes, N)?.try_into().map_err(|_| Malformed)
}

fn length(bytes: &mut &[u8]) -> Result<usize, Malformed> {
    let mut length = 0_usize;
    for shift in (0..usize::BITS).step_by(7) {
        let [byte] = *array::<1>(bytes)?;
        length |= usize::from(byte & 0x7f).checked_shl(shift).ok_or(Malformed)?;
        if byte < 0x80 {
            return Ok(length);
        }
    }
    Err(Malformed)
}

fn sized<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    let count = length(bytes)?;
    take(bytes, count)
}

fn repeat<T>(bytes: &mut &[u8], read: impl Fn(&mut &[u8]) -> Result<T, Malformed>) -> Result<Vec<T>, Malformed> {
    let count = length(bytes)?;
    (0..count).map(|_| read(bytes)).collect()
}

fn decimal(bytes: &[u8]) -> Result<DecodedCell, Malformed> {
    let (mantissa, exponent) = number::read_decimal(bytes).ok_or(Malformed)?;
    Ok(DecodedCell::Decimal { mantissa, exponent })
}

fn time(tag: u8, bytes: &mut &[u8]) -> Result<DecodedCell, Malformed> {
    let seconds = i64::from_le_bytes(*array(bytes)?);
    let nanos = u32::from_le_bytes(*array(bytes)?);
    Ok(match tag {
        tag::TIME => DecodedCell::Time { seconds, nanos },
        _ => DecodedCell::Timestamp { seconds, nanos, utc: tag == tag::TIMESTAMP_UTC },
    })
}

fn scaled(mantissa: i128, exponent: i16) -> Option<Value> {
    let power = 10_i128.checked_pow(u32::try_from(exponent.max(0)).ok()?)?;
    Some(Value::Decimal { unscaled: mantissa.checked_mul(power)?, scale: u8::try_from((-exponent).max(0)).ok()? })
}

fn micros(seconds: i64, nanos: u32) -> Option<i64> {
    seconds.checked_mul(1_000_000)?.checked_add(i64::from(nanos / 1000))
}

impl fmt::Display for DecodedCell {
    /// The value in full, for people: text as it is, times in ISO 8601, bytes in hex, nested values in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Float(bits) => write!(f, "{:?}", f64::from_bits(*bits)),
            Self::Time { seconds, nanos } => {
                write!(f, "{:02}:{:02}:{:02}.{nanos:09}", seconds / 3600, seconds / 60 % 60, seconds % 60)
            }
            Self::Timestamp { seconds, nanos, utc } => {
                let zone = if *utc { "Z" } else { "" };
                match chrono::DateTime::from_timestamp(*seconds, *nanos) {
                    Some(time) => write!(f, "{}{zone}", time.naive_utc().format("%Y-%m-%dT%H:%M:%S%.f")),
                    None => write!(f, "{seconds}.{nanos:09} s after 1970-01-01{zone}"),
                }
            }
            Self::List(elements) => in_brackets(f, ('[', ']'), elements),
            Self::Struct(members) => in_brackets(f, ('(', ')'), members),
            Self::Map(entries) => {
                f.write_str("{")?;
                for (index, (key, value)) in entries.iter().enumerate() {
                    write!(f, "{}{key}: {value}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("}")
            }
            Self::Decimal { mantissa, exponent } => match self.to_value() {
                Some(value) => write!(f, "{value}"),
                None => write!(f, "{mantissa}E{exponent}"),
            },
            scalar => match scalar.to_value() {
                Some(value) => write!(f, "{value}"),
                None => f.write_str(&scalar.kind()),
            },
        }
    }
}

fn in_brackets(f: &mut fmt::Formatter<'_>, brackets: (char, char), cells: &[DecodedCell]) -> fmt::Result {
    write!(f, "{}", brackets.0)?;
    for (index, cell) in cells.iter().enumerate() {
        write!(f, "{}{cell}", if index == 0 { "" } else { ", " })?;
    }
    write!(f, "{}", brackets.1)
}
