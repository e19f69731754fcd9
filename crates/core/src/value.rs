//! Typed scalars: partition values, bounds and keys.
//!
//! A [`Value`] is never null; where null is possible the type is `Option<Value>`.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// One scalar. Integers of every width are [`Value::Int`]; the column's [`DataType`](crate::schema::DataType) has the width.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// True or false.
    Boolean(bool),
    /// A signed or unsigned integer (an unsigned 64-bit one above `i64::MAX` does not fit and is refused at the edge).
    Int(i64),
    /// A float of either width.
    Float(f64),
    /// `unscaled × 10^-scale`.
    Decimal {
        /// The unscaled integer.
        unscaled: i128,
        /// Digits after the point.
        scale: u8,
    },
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since midnight.
    Time(i64),
    /// Microseconds since 1970-01-01T00:00:00, in UTC when the column says so.
    Timestamp(i64),
    /// UTF-8 text.
    String(String),
    /// Bytes (binary, fixed, UUID).
    Binary(Vec<u8>),
}

impl Value {
    /// Bytes that it takes beside its own size.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::String(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
            _ => 0,
        }
    }

    /// Orders two values of one kind: floats totally (−0.0 before +0.0, NaN last), decimals by value, text by bytes.
    /// `None` when the kinds differ.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        Some(match (self, other) {
            (Self::Boolean(a), Self::Boolean(b)) => a.cmp(b),
            (Self::Int(a), Self::Int(b)) | (Self::Time(a), Self::Time(b)) | (Self::Timestamp(a), Self::Timestamp(b)) => {
                a.cmp(b)
            }
            (Self::Float(a), Self::Float(b)) => a.total_cmp(b),
            (Self::Decimal { unscaled: a, scale: s }, Self::Decimal { unscaled: b, scale: t }) if s == t => a.cmp(b),
            (Self::Date(a), Self::Date(b)) => a.cmp(b),
            (Self::String(a), Self::String(b)) => a.as_bytes().cmp(b.as_bytes()),
            (Self::Binary(a), Self::Binary(b)) => a.cmp(b),
            _ => return None,
        })
    }
}

impl std::fmt::Display for Value {
    /// The text that stands in Hive-style paths and in reports: ISO 8601 for dates and times, hex for bytes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Decimal { unscaled, scale } => write_decimal(f, *unscaled, *scale),
            Self::Date(days) => match chrono::DateTime::from_timestamp(i64::from(*days) * 86_400, 0) {
                Some(time) => write!(f, "{}", time.date_naive()),
                None => write!(f, "{days} days after 1970-01-01"),
            },
            Self::Time(micros) => {
                let (seconds, fraction) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
                write!(f, "{:02}:{:02}:{:02}.{fraction:06}", seconds / 3600, seconds / 60 % 60, seconds % 60)
            }
            Self::Timestamp(micros) => match chrono::DateTime::from_timestamp_micros(*micros) {
                Some(time) => write!(f, "{}", time.naive_utc().format("%Y-%m-%d %H:%M:%S%.6f")),
                None => write!(f, "{micros} microseconds after 1970-01-01"),
            },
            Self::String(value) => f.write_str(value),
            Self::Binary(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
        }
    }
}

fn write_decimal(f: &mut std::fmt::Formatter<'_>, unscaled: i128, scale: u8) -> std::fmt::Result {
    let sign = if unscaled < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = usize::from(scale) + 1);
    let (whole, fraction) = digits.split_at(digits.len() - usize::from(scale));
    if fraction.is_empty() { write!(f, "{sign}{whole}") } else { write!(f, "{sign}{whole}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(Value::Decimal { unscaled: -5, scale: 2 }, "-0.05")]
    #[case(Value::Decimal { unscaled: 1234, scale: 0 }, "1234")]
    #[case(Value::Date(11_323), "2001-01-01")]
    #[case(Value::Date(-1), "1969-12-31")]
    #[case(Value::Timestamp(-1), "1969-12-31 23:59:59.999999")]
    #[case(Value::Binary(vec![0, 255]), "00ff")]
    fn a_value_prints_as_its_standard_text(#[case] value: Value, #[case] text: &str) {
        assert_eq!(value.to_string(), text);
    }

    #[test]
    fn negative_zero_orders_before_zero_and_kinds_do_not_mix() {
        assert_eq!(Value::Float(-0.0).compare(&Value::Float(0.0)), Some(Ordering::Less));
        assert_eq!(Value::Int(1).compare(&Value::Float(1.0)), None);
    }
}
