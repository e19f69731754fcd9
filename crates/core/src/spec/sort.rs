//! [`SortColumn`]: one column of a sort, as people write it (`column`, `column desc`).

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::text::Text;

const EXPECTED: &str = "a column, or a column and `desc`";
const DESCENDING: &str = "desc";
const ASCENDING: &str = "asc";

/// A column that rows are sorted by. Nulls come first where it ascends and last where it descends, as Iceberg and Spark
/// have it; NaN is greater than any number.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SortColumn {
    /// The column's name in the target.
    pub column: String,
    /// Whether the greatest value comes first.
    pub descending: bool,
}

impl SortColumn {
    /// Reads `column`, `column asc` or `column desc`. A name that itself ends in ` asc` or ` desc` needs one of them behind it.
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (column, descending) = match text.rsplit_once(char::is_whitespace) {
            Some((column, word)) if word.eq_ignore_ascii_case(DESCENDING) => (column.trim_end(), true),
            Some((column, word)) if word.eq_ignore_ascii_case(ASCENDING) => (column.trim_end(), false),
            _ => (text, false),
        };
        (!column.is_empty()).then(|| Self { column: column.to_owned(), descending })
    }

    /// The text that [`Self::parse`] reads back.
    fn print(&self) -> String {
        let reads_as_itself = Self::parse(&self.column).is_some_and(|read| read.column == self.column);
        match (self.descending, reads_as_itself) {
            (true, _) => format!("{} {DESCENDING}", self.column),
            (false, true) => self.column.clone(),
            (false, false) => format!("{} {ASCENDING}", self.column),
        }
    }
}

impl Serialize for SortColumn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.print())
    }
}

impl<'de> Deserialize<'de> for SortColumn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text { expected: EXPECTED, parse: Self::parse })
    }
}

impl JsonSchema for SortColumn {
    fn schema_name() -> Cow<'static, str> {
        "SortColumn".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["origin", "date desc"] })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("origin", "origin", false, "origin")]
    #[case(" origin  DESC ", "origin", true, "origin desc")]
    #[case("flight date asc", "flight date", false, "flight date")]
    #[case("in desc asc", "in desc", false, "in desc asc")]
    #[case("desc", "desc", false, "desc")]
    fn a_sort_column_reads_and_prints(
        #[case] text: &str,
        #[case] column: &str,
        #[case] descending: bool,
        #[case] printed: &str,
    ) {
        let read = SortColumn::parse(text).unwrap();
        assert_eq!((read.column.as_str(), read.descending), (column, descending));
        assert_eq!(read.print(), printed);
        assert_eq!(SortColumn::parse(printed), Some(read));
    }

    #[test]
    fn nothing_is_no_column() {
        assert_eq!(SortColumn::parse("  "), None);
    }
}
