//! What two fingerprints must share to be comparable: the key and the encoding.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The 128-bit key of one validation's row hashes. It is drawn after both versions are pinned, so that nobody can have
/// chosen rows to suit it. Its text is 32 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ValidationKey([u8; 16]);

impl ValidationKey {
    /// A key of these bytes, which come from a random source.
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// The text is no 128-bit key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a validation key is 32 hexadecimal digits; this text has {length} characters or others than digits and a to f")]
pub struct KeyError {
    /// Characters of the text.
    pub length: usize,
}

impl fmt::Display for ValidationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ValidationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ValidationKey({self})")
    }
}

impl FromStr for ValidationKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || KeyError { length: text.chars().count() };
        let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        let number = u128::from_str_radix(text, 16).ok().filter(|_| is_hex).ok_or_else(refused)?;
        Ok(Self(number.to_be_bytes()))
    }
}

impl Serialize for ValidationKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ValidationKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// How values become bytes, as far as it may vary. Two fingerprints of different encodings say nothing of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encoding {
    /// Version of the byte layout and of the row hash in `docs/equivalence.md`.
    pub version: u32,
    /// Whether −0.0 is 0.0.
    pub float_zeros: FloatZeros,
    /// Whether the order of a map's entries counts.
    pub map_order: MapOrder,
}

impl Encoding {
    /// The byte layout and the row hash of this build.
    pub const VERSION: u32 = 2;
}

impl Default for Encoding {
    fn default() -> Self {
        Self { version: Self::VERSION, float_zeros: FloatZeros::Distinct, map_order: MapOrder::Counts }
    }
}

/// The two floating-point zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FloatZeros {
    /// −0.0 and 0.0 differ.
    Distinct,
    /// −0.0 is 0.0.
    Equal,
}

/// The order of a map's entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MapOrder {
    /// Maps with the same entries in another order differ.
    Counts,
    /// Maps are bags of entries.
    Ignored,
}
