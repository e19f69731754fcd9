//! One cell: its [`CellKey`] and its [`CellSum`].

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::partition::PartitionField;
use crate::value::Value;

/// The partition values that the rows of a cell share, one for every field of the refinement; `None` is null.
///
/// Decimals are kept without trailing zeros, so that tables of different scale have the same cells. There are no floats.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct CellKey(Vec<Option<Value>>);

impl CellKey {
    /// A cell of these values.
    pub fn new(values: Vec<Option<Value>>) -> Self {
        Self(values.into_iter().map(|value| value.map(canonical)).collect())
    }

    /// The values, in the order of the refinement's fields.
    pub fn values(&self) -> &[Option<Value>] {
        &self.0
    }

    /// The wider cell of the first `fields` values.
    #[must_use]
    pub fn prefix(&self, fields: usize) -> Self {
        Self(self.0.iter().take(fields).cloned().collect())
    }

    /// The cell as people read it: `flight_date=2001-01-03, origin_bucket=7`; `all rows` for the only cell of a table
    /// without partitions.
    pub fn label(&self, fields: &[PartitionField]) -> String {
        if self.0.is_empty() {
            return "all rows".to_owned();
        }
        let pair = |(field, value): (&PartitionField, &Option<Value>)| {
            format!("{}={}", field.name, field.transform.display(value.as_ref()))
        };
        fields.iter().zip(&self.0).map(pair).collect::<Vec<_>>().join(", ")
    }
}

fn canonical(value: Value) -> Value {
    match value {
        Value::Decimal { mut unscaled, mut scale } => {
            while scale > 0 && unscaled % 10 == 0 {
                unscaled /= 10;
                scale -= 1;
            }
            Value::Decimal { unscaled, scale }
        }
        other => other,
    }
}

impl PartialEq for CellKey {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for CellKey {}

impl PartialOrd for CellKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for CellKey {
    fn cmp(&self, other: &Self) -> Ordering {
        let pairs = self.0.iter().zip(&other.0);
        let first = pairs.map(|(a, b)| total(a.as_ref(), b.as_ref())).find(|order| order.is_ne());
        first.unwrap_or_else(|| self.0.len().cmp(&other.0.len()))
    }
}

/// Nulls first, then by kind, then by value; decimals of different scale by scale (canonical ones differ anyway).
fn total(a: Option<&Value>, b: Option<&Value>) -> Ordering {
    let (Some(a), Some(b)) = (a, b) else { return a.is_some().cmp(&b.is_some()) };
    a.compare(b).unwrap_or_else(|| rank(a).cmp(&rank(b)))
}

fn rank(value: &Value) -> (u8, u8) {
    match value {
        Value::Boolean(_) => (0, 0),
        Value::Int(_) => (1, 0),
        Value::Float(_) => (2, 0),
        Value::Decimal { scale, .. } => (3, *scale),
        Value::Date(_) => (4, 0),
        Value::Time(_) => (5, 0),
        Value::Timestamp(_) => (6, 0),
        Value::String(_) => (7, 0),
        Value::Binary(_) => (8, 0),
    }
}

/// The rows of a cell, told by their number and the sum of their hashes modulo 2^128. Sums add and subtract, so a cell
/// is the sum of its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CellSum {
    /// Rows, duplicates counted.
    pub rows: u64,
    /// Sum of the rows' hashes.
    #[serde(with = "hex128")]
    pub sum: u128,
}

impl CellSum {
    /// Counts one row.
    pub fn add_row(&mut self, hash: u128) {
        self.rows += 1;
        self.sum = self.sum.wrapping_add(hash);
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { rows: self.rows + other.rows, sum: self.sum.wrapping_add(other.sum) }
    }

    /// This without `other`; `None` when `other` has more rows.
    pub fn minus(self, other: Self) -> Option<Self> {
        Some(Self { rows: self.rows.checked_sub(other.rows)?, sum: self.sum.wrapping_sub(other.sum) })
    }
}

/// A sum for every compared column: of a 64-bit hash of its value in each row, modulo 2^64. Where a cell differs, they say
/// in which columns; the verdict rests on [`CellSum`] alone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ColumnSums(pub Vec<u64>);

impl ColumnSums {
    /// Adds the sums of other rows of the same columns.
    pub fn add(&mut self, other: &Self) {
        self.zip(other, u64::wrapping_add);
    }

    /// Takes away the sums of a part of the rows.
    pub fn subtract(&mut self, other: &Self) {
        self.zip(other, u64::wrapping_sub);
    }

    /// The positions at which the two differ.
    pub fn differing(&self, other: &Self) -> Vec<usize> {
        let at = |sums: &Self, index: usize| sums.0.get(index).copied().unwrap_or(0);
        (0..self.0.len().max(other.0.len())).filter(|index| at(self, *index) != at(other, *index)).collect()
    }

    fn zip(&mut self, other: &Self, combine: fn(u64, u64) -> u64) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (sum, other) in self.0.iter_mut().zip(&other.0) {
            *sum = combine(*sum, *other);
        }
    }
}

/// 16 hex digits a column, one text for all of them: JSON's readers keep only 53 bits of a number.
impl Serialize for ColumnSums {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.iter().map(|sum| format!("{sum:016x}")).collect::<String>())
    }
}

impl<'de> Deserialize<'de> for ColumnSums {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let sum = |digits: &[u8]| hex_number(digits, 16).and_then(|sum| u64::try_from(sum).ok());
        let sums: Option<Vec<u64>> = text.as_bytes().chunks(16).map(sum).collect();
        sums.map(Self).ok_or_else(|| serde::de::Error::custom("column sums are 16 hexadecimal digits each"))
    }
}

impl fmt::Display for CellSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows, {:032x}", self.rows, self.sum)
    }
}

/// The number of exactly `length` hex digits, lower-case: a sum has one text.
fn hex_number(digits: &[u8], length: usize) -> Option<u128> {
    let is_digit = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    let text = std::str::from_utf8(digits).ok().filter(|_| digits.len() == length && digits.iter().all(is_digit))?;
    u128::from_str_radix(text, 16).ok()
}

/// A 128-bit number as 32 hex digits: JSON's readers keep only 53 bits of a number.
mod hex128 {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{value:032x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
        let text = String::deserialize(deserializer)?;
        let refused = || serde::de::Error::custom("a sum is 32 hexadecimal digits");
        super::hex_number(text.as_bytes(), 32).ok_or_else(refused)
    }
}
