//! The ladder of checks: what was asked, what the answer proves, what came out.

use serde::{Deserialize, Serialize};

use super::text::count;
use crate::equivalence::{ColumnCheck, Comparison, Findings, Reason, RowDiff, TypeMatch};

/// One rung of the ladder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// A short name: `pinned`, `schema`, `row counts`, `fingerprints`, `rows`.
    pub name: String,
    /// What its PASS proves.
    pub proves: String,
    /// What came out.
    pub result: CheckResult,
    /// In numbers.
    pub detail: String,
}

/// What came out of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum CheckResult {
    /// It holds.
    Pass,
    /// It does not hold.
    Fail,
    /// It could not be told.
    Inconclusive,
    /// There was no need for it, or an earlier check made it pointless.
    Skipped,
}

impl std::fmt::Display for CheckResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
            Self::Inconclusive => "INCONCLUSIVE",
            Self::Skipped => "skipped",
        })
    }
}

/// Every check in order, weakest first.
pub(super) fn ladder(findings: &Findings<'_>, rows: Option<&RowDiff>) -> Vec<Check> {
    vec![
        pinned(findings.obstacles),
        schema(findings),
        row_counts(findings.comparison),
        fingerprints(findings),
        row_diff(findings.comparison, rows),
    ]
}

fn check(name: &str, proves: &str, (result, detail): (CheckResult, String)) -> Check {
    Check { name: name.to_owned(), proves: proves.to_owned(), result, detail }
}

fn pinned(obstacles: &[Reason]) -> Check {
    let outcome = match obstacles.iter().find(|reason| matches!(reason, Reason::NotPinned { .. })) {
        Some(reason) => (CheckResult::Inconclusive, reason.to_string()),
        None => (CheckResult::Pass, "both versions are fixed and named above".to_owned()),
    };
    check("pinned", "both sides were read as they were at one version each", outcome)
}

fn schema(findings: &Findings<'_>) -> Check {
    let columns = &findings.schema.columns;
    let number = |wanted: fn(&ColumnCheck) -> bool| columns.iter().filter(|column| wanted(column)).count();
    let missing = number(|column| matches!(column, ColumnCheck::Missing { .. }));
    let uncompared = number(|column| matches!(column, ColumnCheck::Refused { .. } | ColumnCheck::Added { .. }));
    let compared = findings.schema.compared().len();
    let retyped = number(|column| matches!(column, ColumnCheck::Compared { types, .. } if *types != TypeMatch::Identical));
    let detail = format!(
        "{compared} columns compared, {retyped} of them with another type; {missing} missing, {uncompared} not compared"
    );
    let result = match (missing, uncompared, compared) {
        (0, 0, 1..) => CheckResult::Pass,
        (0, ..) => CheckResult::Inconclusive,
        _ => CheckResult::Fail,
    };
    check("schema", "every column is in both tables, with types whose values can be compared exactly", (result, detail))
}

fn row_counts(comparison: Option<&Comparison>) -> Check {
    let outcome = match comparison {
        None => (CheckResult::Skipped, "the rows were not read to the end".to_owned()),
        Some(comparison) if is_empty(comparison) => (CheckResult::Inconclusive, "no row on either side".to_owned()),
        Some(comparison) => {
            let unequal = comparison.differences.iter().filter(|cell| cell.old.rows != cell.new.rows).count();
            let detail = format!(
                "{} rows old, {} new; {unequal} of {} cells differ in number",
                count(comparison.old.rows),
                count(comparison.new.rows),
                count(comparison.cells)
            );
            (if unequal == 0 { CheckResult::Pass } else { CheckResult::Fail }, detail)
        }
    };
    check("row counts", "every cell has as many rows on both sides", outcome)
}

fn fingerprints(findings: &Findings<'_>) -> Check {
    let outcome = match findings.comparison {
        None => (CheckResult::Skipped, "the rows were not read to the end".to_owned()),
        Some(comparison) if is_empty(comparison) => (CheckResult::Inconclusive, "no row on either side".to_owned()),
        Some(comparison) => {
            let differing = comparison.differences.len();
            let bound = comparison.collision_bound_log2();
            let detail = format!(
                "{differing} of {} cells differ; chance of a missed difference at most 2^{bound}",
                count(comparison.cells)
            );
            (if differing == 0 { CheckResult::Pass } else { CheckResult::Fail }, detail)
        }
    };
    check("fingerprints", "every cell holds the same rows equally often, in all compared columns", outcome)
}

fn row_diff(comparison: Option<&Comparison>, rows: Option<&RowDiff>) -> Check {
    let outcome = match (comparison, rows) {
        (_, Some(rows)) => {
            let (missing, extra, changed) = (count(rows.missing), count(rows.extra), count(rows.changed));
            (CheckResult::Fail, format!("{missing} rows missing, {extra} extra, {changed} changed"))
        }
        (Some(comparison), None) if comparison.differences.is_empty() => {
            (CheckResult::Skipped, "no cell differs".to_owned())
        }
        _ => (CheckResult::Skipped, "the differing rows were not looked for".to_owned()),
    };
    check("rows", "which rows differ (read again where cells differ)", outcome)
}

fn is_empty(comparison: &Comparison) -> bool {
    comparison.old.rows == 0 && comparison.new.rows == 0
}
