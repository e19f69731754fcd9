//! [`RowDiff`]: which rows differ, counted and sampled. The engine makes it; reports show it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::accept::AcceptedUse;

/// The differing rows of the differing cells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// Keys whose rows differ only within the tolerances of `validation.columns`; not counted in `changed`.
    pub tolerated: u64,
    /// What the ledger's entries absorbed; rows that they absorbed are not counted in `missing`, `extra` and `changed`.
    pub accepted: Vec<AcceptedUse>,
    /// How every compared column differs in the changed rows. Empty without a key.
    pub columns: Vec<ColumnDiff>,
    /// Some of the differing rows: always the same ones for the same tables and key.
    pub sample: Vec<SampleRow>,
    /// Whether the sample shows tokens in place of values.
    pub masked: bool,
    /// The Parquet file with all differing rows, relative to the report's folder; absent when it was not written.
    pub export: Option<String>,
}

impl RowDiff {
    /// Differing rows that nothing excuses: missing, extra and changed.
    pub fn total(&self) -> u64 {
        self.missing + self.extra + self.changed
    }

    /// Rows that the ledger absorbed.
    pub fn accepted_rows(&self) -> u64 {
        self.accepted.iter().map(|entry| entry.rows).sum()
    }

    /// Its numbers, without the ledger's.
    pub fn counts(&self) -> DifferenceCounts {
        DifferenceCounts {
            missing: self.missing,
            extra: self.extra,
            changed: self.changed,
            tolerated: self.tolerated,
            duplicate_keys: self.duplicate_keys,
        }
    }
}

/// A [`RowDiff`] in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DifferenceCounts {
    /// Rows that only the old side has and nothing excuses.
    pub missing: u64,
    /// Rows that only the new side has and nothing excuses.
    pub extra: u64,
    /// Keys whose rows differ and nothing excuses.
    pub changed: u64,
    /// Keys whose rows differ only within tolerances.
    pub tolerated: u64,
    /// Keys that stand in more than one row of a side.
    pub duplicate_keys: u64,
}

impl DifferenceCounts {
    /// Differing rows that nothing excuses.
    pub fn unexcused(&self) -> u64 {
        self.missing.saturating_add(self.extra).saturating_add(self.changed)
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
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ColumnDiff {
    /// The column, named as in the new table.
    pub column: String,
    /// Changed rows in which it differs, accepted ones included, tolerated ones not.
    pub unequal: u64,
    /// Of those, rows where one side is null and the other is not.
    pub null_flips: u64,
    /// Rows in which it differs within its tolerance.
    pub tolerated: u64,
    /// Largest absolute difference of two numbers, or of two times in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub largest_absolute: Option<f64>,
    /// Largest difference of two numbers relative to the old value; pairs whose old value is zero are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub largest_relative: Option<f64>,
    /// The pattern that all its differences follow, where there is a plain one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
}

/// A plain pattern of differences, from the old value to the new one. It is a guess at the cause: that all differing
/// values follow it is counted, why they do is not known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "pattern", rename_all = "snake_case")]
pub enum Cause {
    /// Every time is shifted by the same whole number of quarter-hours: a time zone.
    TimeShift {
        /// New less old, in seconds.
        seconds: i64,
    },
    /// The texts differ in white space at an end only.
    TrailingSpace,
    /// The texts differ in upper and lower case only.
    LetterCase,
    /// Every number is the old one times the same power of ten.
    Scale {
        /// The exponent of ten.
        exponent: i32,
    },
    /// Every number or time is the old one with its last digits cut or rounded away.
    TruncatedPrecision,
    /// Null on one side, the empty text on the other.
    NullAgainstEmpty,
    /// Null on the new side, a value on the old.
    ValuesLost,
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TimeShift { seconds } => {
                let sign = if *seconds < 0 { '−' } else { '+' };
                let minutes = seconds.unsigned_abs() / 60;
                write!(f, "every time is shifted by {sign}{:02}:{:02} h: a time zone?", minutes / 60, minutes % 60)
            }
            Self::TrailingSpace => f.write_str("only white space at the ends differs: trimmed or padded text?"),
            Self::LetterCase => f.write_str("only upper and lower case differ"),
            Self::Scale { exponent } => write!(f, "every number is 10^{exponent} times the old one: another scale or unit?"),
            Self::TruncatedPrecision => f.write_str("the last digits are cut or rounded away: a narrower type?"),
            Self::NullAgainstEmpty => f.write_str("NULL on one side is the empty text on the other"),
            Self::ValuesLost => f.write_str("values became NULL"),
        }
    }
}

/// How a row differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
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
    /// Its number in the exported file: `SELECT * FROM 'differences.parquet' WHERE row = …`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<u64>,
    /// The ledger's entry that absorbed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_by: Option<String>,
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
