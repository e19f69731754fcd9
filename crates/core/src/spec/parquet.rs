//! `target.parquet`: how data files are written. Files that are adopted or spliced keep their own ways.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::sizes::ByteSize;
use super::text::Text;

const EXPECTED: &str = "zstd(1) to zstd(22), zstd, snappy, lz4, gzip or none";
const ZSTD_LEVEL: u8 = 3;
const ZSTD_LEVEL_MAX: u8 = 22;

/// How the target's data files are written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ParquetOptions {
    /// `zstd(3)`, another level of it, `snappy`, `lz4`, `gzip` or `none`.
    pub compression: Compression,
    /// Columns, of those without members, whose files get a bloom filter in each row group.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bloom_filters: Vec<String>,
    /// Whether each page has its bounds in an index, by which readers skip pages.
    pub page_index: bool,
    /// A row group is closed once it is about this large; earlier where the memory for open files is short.
    pub row_group_size: ByteSize,
}

impl Default for ParquetOptions {
    fn default() -> Self {
        Self {
            compression: Compression::Zstd(ZSTD_LEVEL),
            bloom_filters: Vec::new(),
            page_index: true,
            row_group_size: ByteSize::mib(128),
        }
    }
}

impl ParquetOptions {
    /// Whether nothing was set.
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How pages are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Zstandard, of a level from 1 to 22.
    Zstd(u8),
    /// Snappy.
    Snappy,
    /// LZ4 without frames, `LZ4_RAW` in Parquet.
    Lz4,
    /// Deflate.
    Gzip,
    /// Not at all.
    None,
}

impl Compression {
    fn parse(text: &str) -> Option<Self> {
        Some(match text.trim() {
            "zstd" => Self::Zstd(ZSTD_LEVEL),
            "snappy" => Self::Snappy,
            "lz4" => Self::Lz4,
            "gzip" => Self::Gzip,
            "none" => Self::None,
            other => {
                let level = other.strip_prefix("zstd(")?.strip_suffix(')')?.trim().parse().ok()?;
                Self::Zstd(Some(level).filter(|level| (1..=ZSTD_LEVEL_MAX).contains(level))?)
            }
        })
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zstd(level) => write!(f, "zstd({level})"),
            Self::Snappy => f.write_str("snappy"),
            Self::Lz4 => f.write_str("lz4"),
            Self::Gzip => f.write_str("gzip"),
            Self::None => f.write_str("none"),
        }
    }
}

impl Serialize for Compression {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Compression {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text { expected: EXPECTED, parse: Self::parse })
    }
}

impl JsonSchema for Compression {
    fn schema_name() -> Cow<'static, str> {
        "Compression".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let pattern = "^(zstd|zstd\\(([1-9]|1[0-9]|2[0-2])\\)|snappy|lz4|gzip|none)$";
        json_schema!({ "type": "string", "pattern": pattern, "examples": ["zstd(3)", "snappy"] })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("zstd(1)", Some("zstd(1)"))]
    #[case(" zstd( 22 ) ", Some("zstd(22)"))]
    #[case("zstd", Some("zstd(3)"))]
    #[case("lz4", Some("lz4"))]
    #[case("zstd(0)", None)]
    #[case("zstd(23)", None)]
    #[case("zstd(3", None)]
    #[case("lzo", None)]
    fn a_compression_reads_and_prints(#[case] text: &str, #[case] printed: Option<&str>) {
        let read = Compression::parse(text);
        assert_eq!(read.map(|read| read.to_string()).as_deref(), printed);
        assert_eq!(read.and_then(|read| Compression::parse(&read.to_string())), read);
    }
}
