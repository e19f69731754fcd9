//! The ladder of checks: what was asked, what the answer proves, what came out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::text::{count, plural};
use crate::equivalence::{ColumnCheck, Comparison, Findings, ProvenFiles, Reason, RowDiff, TypeMatch};
use crate::spec::ColumnRule;

/// One rung of the ladder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// A short name: `pinned`, `schema`, `same files`, `row counts`, `fingerprints`, `rows`, `tolerances`, `accepted`.
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
    /// It does not hold, and every row on which it does not is within its tolerance or accepted.
    Excused,
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
            Self::Excused => "EXCUSED",
            Self::Fail => "FAIL",
            Self::Inconclusive => "INCONCLUSIVE",
            Self::Skipped => "skipped",
        })
    }
}

/// Every check in order, weakest first. Tolerances and the ledger are checks where the spec has any.
pub(super) fn ladder(findings: &Findings<'_>, rules: &BTreeMap<String, ColumnRule>) -> Vec<Check> {
    let mut checks = vec![pinned(findings.obstacles), schema(findings)];
    checks.extend((!findings.proven.is_empty()).then(|| same_files(findings.proven)));
    checks.extend([row_counts(findings), fingerprints(findings), row_diff(findings.comparison, findings.rows)]);
    checks.extend(tolerances(findings.rows, rules));
    checks.extend(findings.rows.filter(|rows| !rows.accepted.is_empty()).map(accepted));
    checks
}

/// Whether rows differ and every one is within its tolerance or accepted by an entry that holds.
pub(super) fn excused(rows: Option<&RowDiff>) -> bool {
    rows.is_some_and(|rows| {
        let told = rows.tolerated + rows.accepted_rows() > 0;
        rows.total() == 0 && told && rows.accepted.iter().all(|entry| entry.objection().is_none())
    })
}

/// What cells that differ come to.
fn on_difference(differing: usize, rows: Option<&RowDiff>) -> CheckResult {
    match differing {
        0 => CheckResult::Pass,
        _ if excused(rows) => CheckResult::Excused,
        _ => CheckResult::Fail,
    }
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

fn same_files(proven: &[ProvenFiles]) -> Check {
    let (files, rows) =
        proven.iter().fold((0, 0), |(files, rows), part| (files + part.amount.files, rows + part.amount.rows));
    let partitions = plural(proven.len() as u64, "partition");
    let detail = format!("{} with {} in {partitions}", plural(files, "file"), plural(rows, "row"));
    let proves = "both tables register the same immutable files, with the same deletes, columns and partition values";
    check("same files", proves, (CheckResult::Pass, detail))
}

fn row_counts(findings: &Findings<'_>) -> Check {
    let outcome = match findings.comparison {
        None => (CheckResult::Skipped, "the rows were not read to the end".to_owned()),
        Some(comparison) if is_empty(comparison) => no_rows(findings),
        Some(comparison) => {
            let unequal = comparison.differences.iter().filter(|cell| cell.old.rows != cell.new.rows).count();
            let detail = format!(
                "{} rows old, {} new; {unequal} of {} cells differ in number",
                count(comparison.old.rows),
                count(comparison.new.rows),
                count(comparison.cells)
            );
            (on_difference(unequal, findings.rows), detail)
        }
    };
    check("row counts", "every cell has as many rows on both sides", outcome)
}

fn fingerprints(findings: &Findings<'_>) -> Check {
    let outcome = match findings.comparison {
        None => (CheckResult::Skipped, "the rows were not read to the end".to_owned()),
        Some(comparison) if is_empty(comparison) => no_rows(findings),
        Some(comparison) => {
            let differing = comparison.differences.len();
            let bound = comparison.collision_bound_log2();
            let detail = format!(
                "{differing} of {} cells differ; chance of a missed difference at most 2^{bound}",
                count(comparison.cells)
            );
            (on_difference(differing, findings.rows), detail)
        }
    };
    check("fingerprints", "every cell holds the same rows equally often, in all compared columns", outcome)
}

fn row_diff(comparison: Option<&Comparison>, rows: Option<&RowDiff>) -> Check {
    let outcome = match (comparison, rows) {
        (Some(comparison), Some(rows)) => of_rows(rows, comparison.differences.len()),
        (Some(comparison), None) if comparison.differences.is_empty() => {
            (CheckResult::Skipped, "no cell differs".to_owned())
        }
        _ => (CheckResult::Skipped, "the differing rows were not looked for".to_owned()),
    };
    let proves = "every row of the cells that differ was read again, and none differs beyond tolerance and ledger";
    check("rows", proves, outcome)
}

fn of_rows(rows: &RowDiff, differing: usize) -> (CheckResult, String) {
    let (missing, extra, changed) = (count(rows.missing), count(rows.extra), count(rows.changed));
    let (tolerated, accepted) = (rows.tolerated, rows.accepted_rows());
    let besides = match (tolerated, accepted) {
        (0, 0) => String::new(),
        _ => format!("; besides {} tolerated, {} accepted", count(tolerated), count(accepted)),
    };
    let detail = format!("{missing} rows missing, {extra} extra, {changed} changed{besides}");
    match rows.total() {
        0 if tolerated + accepted > 0 || differing == 0 => (CheckResult::Pass, detail),
        0 => (CheckResult::Fail, format!("{detail}, though the sums differ: a contradiction, so nothing is proven")),
        _ => (CheckResult::Fail, detail),
    }
}

fn tolerances(rows: Option<&RowDiff>, rules: &BTreeMap<String, ColumnRule>) -> Option<Check> {
    let tolerant = |column: &str| rules.get(column).is_some_and(ColumnRule::is_tolerant);
    let columns = rules.values().filter(|rule| rule.is_tolerant()).count();
    let outcome = match rows {
        None => (CheckResult::Skipped, "no row was compared by key".to_owned()),
        Some(rows) => {
            let beyond: u64 = rows.columns.iter().filter(|diff| tolerant(&diff.column)).map(|diff| diff.unequal).sum();
            let within = count(rows.tolerated);
            let detail = format!("{within} rows differ within tolerance, {} values beyond it", count(beyond));
            let result = match beyond {
                0 => CheckResult::Pass,
                _ if excused(Some(rows)) => CheckResult::Excused,
                _ => CheckResult::Fail,
            };
            (result, detail)
        }
    };
    let proves = "columns with a tolerance differ by no more than it, row by row";
    (columns > 0).then(|| check("tolerances", proves, outcome))
}

fn accepted(rows: &RowDiff) -> Check {
    let objections: Vec<String> = rows
        .accepted
        .iter()
        .filter_map(|entry| entry.objection().map(|objection| format!("{}: {objection}", entry.rule.id)))
        .collect();
    let absorbed = format!("entries: {}; {} absorbed", rows.accepted.len(), plural(rows.accepted_rows(), "row"));
    let outcome = match objections.is_empty() {
        true => (CheckResult::Pass, absorbed),
        false => (CheckResult::Fail, format!("{absorbed}; {}", objections.join("; "))),
    };
    check("accepted", "what the ledger absorbed is within its entries' caps and days", outcome)
}

fn no_rows(findings: &Findings<'_>) -> (CheckResult, String) {
    match findings.proven.is_empty() {
        true => (CheckResult::Inconclusive, "no row on either side".to_owned()),
        false => (CheckResult::Skipped, "no row had to be read: all files are the same".to_owned()),
    }
}

fn is_empty(comparison: &Comparison) -> bool {
    comparison.old.rows == 0 && comparison.new.rows == 0
}
