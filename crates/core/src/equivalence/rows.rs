//! [`RowDiff`]: which rows differ, counted and sampled. The engine makes it; reports show it.

use serde::{Deserialize, Serialize};

/// The differing rows of the differing cells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowDiff {
    /// How rows were paired.
    pub mode: DiffMode,
    /// Rows of the old side that were read for it.
    pub old_rows: u64,
    /// Rows of the new side that were read for it.
    pub new_rows: u64,
    /// Rows that only the old side has, duplicates counted.
    pub missing: u64,
    /// Rows that only the new side has, duplicates counted.
    pub extra: u64,
    /// Keys with one row on either side that is not the same; none without a key.
    pub changed: u64,
    /// Keys that stand in more than one row of a side; their rows are compared as bags. None without a key.
    pub duplicate_keys: u64,
    /// For every compared column, in how many changed rows it differs. Empty without a key.
    pub columns: Vec<ColumnDiff>,
    /// Some of the differing rows: always the same ones for the same tables and key.
    pub sample: Vec<SampleRow>,
    /// Whether the sample shows tokens in place of values.
    pub masked: bool,
}

impl RowDiff {
    /// Differing rows in all: missing, extra and changed.
    pub fn total(&self) -> u64 {
        self.missing + self.extra + self.changed
    }
}

/// How rows of both sides are paired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiffMode {
    /// By these columns, named as in the new table; null equals null.
    Keyed {
        /// The key.
        columns: Vec<String>,
    },
    /// By the whole row: a difference of bags.
    Bag,
}

/// A column's share in the changed rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnDiff {
    /// The column, named as in the new table.
    pub column: String,
    /// Changed rows in which it differs.
    pub unequal: u64,
}

/// How a row differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    /// Only the old side has it.
    Missing,
    /// Only the new side has it.
    Extra,
    /// Both sides have its key, with other values.
    Changed,
}

impl std::fmt::Display for DifferenceKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Changed => "changed",
        })
    }
}

/// One differing row as the report shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleRow {
    /// How it differs.
    pub kind: DifferenceKind,
    /// How many times; always 1 for a changed row.
    pub copies: u64,
    /// The cell it lies in (the old one where a changed row moved).
    pub cell: String,
    /// Its values as text or tokens: for a changed row the key and the columns that differ, else all.
    pub columns: Vec<SampleColumn>,
}

/// One value of a sampled row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleColumn {
    /// The column, named as in the new table.
    pub column: String,
    /// On the old side; absent when the row is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// On the new side; absent when the row is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
}
