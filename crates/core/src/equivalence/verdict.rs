//! [`Verdict`]: what a validation comes to, and [`judge`], which derives it from what was found.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::accept::AcceptedUse;
use super::coverage::ProvenFiles;
use super::fingerprint::Comparison;
use super::rows::{DifferenceCounts, RowDiff};
use super::schema_check::{ColumnCheck, SchemaCheck};
use crate::migration::{Side, VerdictName};

/// What a validation comes to. The worst finding wins: FAIL over INCONCLUSIVE over PASS WITH ACCEPTED DIFFERENCES over
/// PASS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "UPPERCASE")]
#[must_use]
pub enum Verdict {
    /// Every column of every row was compared, and both sides hold the same rows.
    Pass,
    /// All that differs was accepted beforehand, by entries of the ledger that hold.
    Accepted {
        /// What was accepted; never empty.
        reasons: Vec<Reason>,
    },
    /// It could not be told.
    Inconclusive {
        /// Why not; never empty.
        reasons: Vec<Reason>,
    },
    /// The sides differ.
    Fail {
        /// How they differ and, besides, what could not be told; never empty.
        reasons: Vec<Reason>,
    },
}

/// Why a verdict is not PASS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// Rows differ.
    RowsDiffer {
        /// Cells that differ.
        cells: u64,
        /// Cells in all.
        of: u64,
        /// Rows of the old side.
        old_rows: u64,
        /// Rows of the new side.
        new_rows: u64,
    },
    /// Rows differ, and an entry of the ledger accepts them.
    Accepted {
        /// The entry.
        id: String,
        /// Rows that it absorbed.
        rows: u64,
        /// Who answers for it.
        owner: String,
    },
    /// Rows differ that an entry of the ledger would accept, but the entry does not hold.
    AcceptanceFailed {
        /// The entry.
        id: String,
        /// Why it does not hold.
        why: String,
    },
    /// The new table lacks a column.
    ColumnMissing {
        /// Its name in the old table.
        column: String,
    },
    /// A column was not compared.
    ColumnNotCompared {
        /// Its name in the new table.
        column: String,
        /// Why.
        why: String,
    },
    /// There is nothing to compare: no column in both tables, or no row on either side.
    NothingCompared {
        /// What is lacking.
        what: String,
    },
    /// A side was read without a fixed version.
    NotPinned {
        /// The side.
        side: Side,
    },
    /// The comparison did not come to its end.
    Incomplete {
        /// What stopped it.
        why: String,
    },
}

impl Reason {
    fn is_difference(&self) -> bool {
        matches!(self, Self::RowsDiffer { .. } | Self::AcceptanceFailed { .. } | Self::ColumnMissing { .. })
    }

    pub(super) fn is_accepted(&self) -> bool {
        matches!(self, Self::Accepted { .. })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RowsDiffer { cells, of, old_rows, new_rows } => {
                write!(f, "rows differ in {cells} of {of} cells ({old_rows} rows in the old table, {new_rows} in the new)")
            }
            Self::Accepted { id, rows, owner } => {
                write!(f, "{rows} differing rows are accepted by the ledger's entry {id} of {owner}")
            }
            Self::AcceptanceFailed { id, why } => write!(f, "the ledger's entry {id} does not hold: {why}"),
            Self::ColumnMissing { column } => write!(f, "the new table has no column {column}"),
            Self::ColumnNotCompared { column, why } => write!(f, "column {column} was not compared: {why}"),
            Self::NothingCompared { what } => write!(f, "there was nothing to compare: {what}"),
            Self::NotPinned { side: Side::Old } => f.write_str("the old table was not read at a fixed version"),
            Self::NotPinned { side: Side::New } => f.write_str("the new table was not read at a fixed version"),
            Self::Incomplete { why } => write!(f, "the comparison is not complete: {why}"),
        }
    }
}

impl Verdict {
    /// The verdict of all `reasons` together.
    pub fn of(reasons: Vec<Reason>) -> Self {
        if reasons.is_empty() {
            Self::Pass
        } else if reasons.iter().any(Reason::is_difference) {
            Self::Fail { reasons }
        } else if reasons.iter().all(Reason::is_accepted) {
            Self::Accepted { reasons }
        } else {
            Self::Inconclusive { reasons }
        }
    }

    /// The verdict on two parts together: the worst wins, and every reason is kept.
    pub fn and(self, other: Self) -> Self {
        Self::of(self.reasons().iter().chain(other.reasons()).cloned().collect())
    }

    /// Why it is not PASS.
    pub fn reasons(&self) -> &[Reason] {
        match self {
            Self::Pass => &[],
            Self::Accepted { reasons } | Self::Inconclusive { reasons } | Self::Fail { reasons } => reasons,
        }
    }

    /// The verdict as a word.
    pub fn name(&self) -> VerdictName {
        match self {
            Self::Pass => VerdictName::Pass,
            Self::Accepted { .. } => VerdictName::Accepted,
            Self::Inconclusive { .. } => VerdictName::Inconclusive,
            Self::Fail { .. } => VerdictName::Fail,
        }
    }

    /// The process's exit code: 0 PASS with accepted differences or without, 1 FAIL, 3 INCONCLUSIVE.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Pass | Self::Accepted { .. } => 0,
            Self::Fail { .. } => 1,
            Self::Inconclusive { .. } => 3,
        }
    }

    /// The exit code under `--strict`: 4 for PASS WITH ACCEPTED DIFFERENCES, else [`exit_code`](Self::exit_code).
    pub fn strict_exit_code(&self) -> u8 {
        match self {
            Self::Accepted { .. } => 4,
            _ => self.exit_code(),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "PASS",
            Self::Accepted { .. } => "PASS WITH ACCEPTED DIFFERENCES",
            Self::Inconclusive { .. } => "INCONCLUSIVE",
            Self::Fail { .. } => "FAIL",
        })
    }
}

/// What a validation found.
#[derive(Debug, Clone, Copy)]
pub struct Findings<'a> {
    /// The columns.
    pub schema: &'a SchemaCheck,
    /// The rows that were read; absent when the comparison did not come to its end.
    pub comparison: Option<&'a Comparison>,
    /// Files that both tables register: their rows are in no sum.
    pub proven: &'a [ProvenFiles],
    /// The differing rows, where cells differ and the rows were compared to the end.
    pub rows: Option<&'a RowDiff>,
    /// What else stands against a verdict: an unpinned side, an interruption.
    pub obstacles: &'a [Reason],
}

/// The differing rows in numbers: all that a verdict needs of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowFindings<'a> {
    pub counts: DifferenceCounts,
    pub accepted: &'a [AcceptedUse],
}

/// The verdict. A column that was not compared, and two sides without any row, are INCONCLUSIVE: nothing was proven.
pub fn judge(findings: &Findings<'_>) -> Verdict {
    let mut reasons = of_schema(findings.schema);
    match findings.comparison {
        Some(comparison) => {
            let rows = findings.rows.map(|rows| RowFindings { counts: rows.counts(), accepted: &rows.accepted });
            reasons.extend(of_rows(comparison, findings.proven, rows));
        }
        // Without the rows something must stand against a PASS.
        None if findings.obstacles.iter().all(Reason::is_accepted) => {
            reasons.push(Reason::Incomplete { why: "the rows were not read".to_owned() });
        }
        None => {}
    }
    reasons.extend(findings.obstacles.iter().cloned());
    Verdict::of(reasons)
}

/// What speaks against a PASS in the columns alone.
pub(super) fn of_schema(schema: &SchemaCheck) -> Vec<Reason> {
    let mut reasons: Vec<Reason> = schema.columns.iter().filter_map(of_column).collect();
    if schema.compared().is_empty() {
        reasons.push(Reason::NothingCompared { what: "no column is in both tables".to_owned() });
    }
    reasons
}

fn of_column(column: &ColumnCheck) -> Option<Reason> {
    match column {
        ColumnCheck::Compared { .. } => None,
        ColumnCheck::Refused { pair, reason, .. } => {
            Some(Reason::ColumnNotCompared { column: pair.new.clone(), why: reason.clone() })
        }
        ColumnCheck::Missing { old, .. } => Some(Reason::ColumnMissing { column: old.clone() }),
        ColumnCheck::Added { new, .. } => {
            Some(Reason::ColumnNotCompared { column: new.clone(), why: "the old table has no such column".to_owned() })
        }
    }
}

/// Cells that differ are a difference, unless every differing row was looked at and each is within its tolerance or
/// accepted by an entry that holds.
pub(super) fn of_rows(comparison: &Comparison, proven: &[ProvenFiles], rows: Option<RowFindings<'_>>) -> Vec<Reason> {
    let (old_rows, new_rows) = (comparison.old.rows, comparison.new.rows);
    let cells = comparison.differences.len() as u64;
    if old_rows == 0 && new_rows == 0 && proven.iter().all(|files| files.amount.files == 0) {
        return vec![Reason::NothingCompared { what: "neither table has a row in scope".to_owned() }];
    }
    if cells == 0 {
        return Vec::new();
    }
    let differ = Reason::RowsDiffer { cells, of: comparison.cells, old_rows, new_rows };
    let Some(rows) = rows else { return vec![differ] };
    let mut reasons: Vec<Reason> = rows.accepted.iter().filter_map(of_entry).collect();
    let unexplained = !rows.explain(comparison);
    if unexplained {
        let why = "the differing cells were read row by row, and what was found does not account for their sums; \
                   validate again, with --read-all";
        reasons.insert(0, Reason::Incomplete { why: why.to_owned() });
    }
    if unexplained || rows.counts.unexcused() > 0 {
        reasons.insert(0, differ);
    }
    reasons
}

impl RowFindings<'_> {
    /// Whether the rows can be why the sums differ: some row does, and enough are on one side only to make up for the
    /// number by which the sides differ. Sums and rows that contradict each other prove nothing.
    fn explain(&self, comparison: &Comparison) -> bool {
        let accepted = self.accepted.iter().fold(0, |sum: u64, entry| sum.saturating_add(entry.rows));
        let one_sided = self.counts.missing.saturating_add(self.counts.extra).saturating_add(accepted);
        let any = one_sided > 0 || self.counts.changed > 0 || self.counts.tolerated > 0;
        any && comparison.old.rows.abs_diff(comparison.new.rows) <= one_sided
    }
}

fn of_entry(entry: &AcceptedUse) -> Option<Reason> {
    let id = entry.rule.id.clone();
    match entry.objection() {
        Some(why) => Some(Reason::AcceptanceFailed { id, why }),
        None if entry.rows == 0 => None,
        None => Some(Reason::Accepted { id, rows: entry.rows, owner: entry.rule.owner.clone() }),
    }
}
