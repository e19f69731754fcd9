//! What was compared and how, in plain sentences that Markdown and HTML share. Foreign names in them are not yet escaped.

use super::ValidationReport;
use super::heat_map::CellState;
use super::text::{bytes, count, cut, plural};
use crate::equivalence::{Amount, CellCoverage, ColumnCheck, FloatZeros, MapOrder, Reason, SampleRow, Verdict};
use crate::spec::ColumnRule;

/// Names that a list shows at most.
const NAMES_MAX: usize = 10;

/// Column rules told at most.
const RULES_MAX: usize = 20;

/// Characters of a name or an expression at most.
const NAME_CHARS_MAX: usize = 60;

/// What the verdict means for the migration.
pub(super) fn advice(report: &ValidationReport) -> &'static str {
    match (&report.verdict, &report.run.range) {
        (Verdict::Pass, None) => {
            "Old and new hold the same rows. The migration may cut over while both tables stay at these versions."
        }
        (Verdict::Pass | Verdict::Accepted { .. }, Some(_)) => {
            "This holds in the range below and says nothing of the other rows. It does not open the cutover: validate without validation.range."
        }
        (Verdict::Accepted { .. }, None) => {
            "Old and new differ only in what the ledger accepts: read its reasons below. The migration may cut over while both tables stay at these versions and the entries hold."
        }
        (Verdict::Fail { .. }, _) => "Old and new differ. Do not cut over: find the cause below, repair it, validate again.",
        (Verdict::Inconclusive { .. }, _) => {
            "Nothing is proven. Do not cut over: remove the obstacles above and validate again."
        }
    }
}

/// The reasons as sentences, the first ones.
pub(super) fn reasons(report: &ValidationReport, count_max: usize) -> Vec<String> {
    let reasons = report.verdict.reasons();
    let mut out: Vec<String> = reasons.iter().take(count_max).map(Reason::to_string).collect();
    if let Some(more) = reasons.len().checked_sub(count_max).filter(|more| *more > 0) {
        out.push(format!("and {} more, in report.json", plural(more as u64, "reason")));
    }
    out
}

/// `31 cells · 26,804 rows · 1.2 MiB read`.
pub(super) fn extent(report: &ValidationReport) -> String {
    let read = format!("{} read", bytes(report.old.coverage.now.bytes + report.new.coverage.now.bytes));
    let Some(comparison) = &report.comparison else { return format!("not compared to the end · {read}") };
    let unread = |side: &super::SideFacts| side.coverage.metadata.rows;
    let (old, new) = (comparison.old.rows + unread(&report.old), comparison.new.rows + unread(&report.new));
    let rows = if old == new { plural(old, "row") } else { format!("{} old, {} new rows", count(old), count(new)) };
    let proven = match report.proven.len() as u64 {
        0 => String::new(),
        partitions => format!(" and {} of the same files", plural(partitions, "partition")),
    };
    format!("{}{proven} · {rows} · {read}", plural(comparison.cells, "cell"))
}

/// What was read now, what came from an earlier reading, what was proven unread, what was not compared, and by which rules.
pub(super) fn coverage(report: &ValidationReport) -> Vec<String> {
    let mut facts = vec![columns(report)];
    facts.extend(
        report
            .run
            .range
            .as_ref()
            .map(|range| format!("only rows where {}; no other row was compared", cut(range, 4 * NAME_CHARS_MAX))),
    );
    facts.extend(cells(report));
    facts.push(side("old", &report.old));
    facts.push(side("new", &report.new));
    facts.extend(proven(report));
    facts.extend(one_sided(report));
    facts.extend(report.rules.iter().take(RULES_MAX).map(|(column, rule)| column_rule(column, rule)));
    facts.extend(more(report.rules.len(), RULES_MAX).map(|more| format!("{more} more columns have rules of their own")));
    facts.push(equality(report));
    facts
}

fn columns(report: &ValidationReport) -> String {
    let compared = report.schema.compared().len();
    let all = plural(report.schema.columns.len() as u64, "column");
    let not: Vec<String> = report.schema.columns.iter().filter_map(uncompared).collect();
    match not.is_empty() {
        true => format!("{compared} of {all} compared"),
        false => format!("{compared} of {all} compared; not compared: {}", names(not)),
    }
}

fn uncompared(column: &ColumnCheck) -> Option<String> {
    match column {
        ColumnCheck::Compared { .. } => None,
        ColumnCheck::Refused { pair, reason, .. } => {
            Some(format!("{} ({})", cut(&pair.new, NAME_CHARS_MAX), cut(reason, 2 * NAME_CHARS_MAX)))
        }
        ColumnCheck::Missing { old, .. } => Some(format!("{} (only old)", cut(old, NAME_CHARS_MAX))),
        ColumnCheck::Added { new, .. } => Some(format!("{} (only new)", cut(new, NAME_CHARS_MAX))),
    }
}

fn cells(report: &ValidationReport) -> Vec<String> {
    let mut facts = Vec::new();
    let too_many = |name: &str| format!("{} divides no cells: there would be too many", cut(name, NAME_CHARS_MAX));
    if let Some(comparison) = &report.comparison {
        let fields: Vec<String> = comparison.fields.iter().map(|field| field.name.clone()).collect();
        let by = if fields.is_empty() { "the whole table is one".to_owned() } else { format!("by {}", names(fields)) };
        facts.push(format!("{}: {by}", plural(comparison.cells, "cell")));
        facts.extend(comparison.given_up.iter().take(NAMES_MAX).map(|field| too_many(&field.name)));
    }
    let dropped = report.method.refinement.dropped.iter().take(NAMES_MAX);
    facts.extend(dropped.map(|dropped| {
        format!("{} divides no cells: {}", cut(&dropped.field.name, NAME_CHARS_MAX), cut(&dropped.reason, 200))
    }));
    facts
}

fn side(name: &str, facts: &super::SideFacts) -> String {
    let amount = |amount: &Amount, how: &str| {
        let told = format!("{} ({}, {})", plural(amount.files, "file"), plural(amount.rows, "row"), bytes(amount.bytes));
        (amount.files > 0).then(|| format!("{told} {how}"))
    };
    let coverage = &facts.coverage;
    let parts = [
        amount(&coverage.now, "read now"),
        amount(&coverage.earlier, "taken from an earlier reading of the same files"),
        amount(&coverage.metadata, "proven by metadata without reading"),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    match parts.is_empty() {
        true => format!("{name}: no file was read"),
        false => format!("{name}: {}", parts.join(", ")),
    }
}

fn proven(report: &ValidationReport) -> Option<String> {
    let partitions: Vec<String> = report.proven.iter().map(|proven| proven.partition.clone()).collect();
    let told = "proven without reading (both tables register the same immutable files, with the same deletes, columns and partition values)";
    (!partitions.is_empty()).then(|| format!("{told}: {}", names(partitions)))
}

/// Cells with rows on one side only.
fn one_sided(report: &ValidationReport) -> Vec<String> {
    let Some(comparison) = &report.comparison else { return Vec::new() };
    let told = |state: CellState, side: &str| {
        let labels: Vec<String> = report
            .cells
            .iter()
            .filter(|cell: &&CellCoverage| CellState::of(cell, false) == state)
            .map(|cell| cell.cell.label(&comparison.fields))
            .collect();
        (!labels.is_empty())
            .then(|| format!("{} only in the {side} table: {}", plural(labels.len() as u64, "cell"), names(labels)))
    };
    [told(CellState::OldOnly, "old"), told(CellState::NewOnly, "new")].into_iter().flatten().collect()
}

/// One column's rule.
fn column_rule(column: &str, rule: &ColumnRule) -> String {
    let expression = |side: &str, sql: &Option<String>| {
        sql.as_ref().map(|sql| format!("the {side} side is {}", cut(sql, 2 * NAME_CHARS_MAX)))
    };
    let parts = [
        expression("old", &rule.old),
        expression("new", &rule.new),
        rule.unit.map(|unit| format!("times cut to the {unit}")),
        rule.trim.then(|| "white space at the ends ignored".to_owned()),
        rule.ignore_case.then(|| "upper and lower case alike".to_owned()),
        rule.absolute.map(|most| format!("equal within {most}")),
        rule.relative.map(|most| format!("equal within {most} of the larger value")),
        rule.ulps.map(|most| format!("equal within {most} ULPs")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    format!("column {}: {}", cut(column, NAME_CHARS_MAX), parts.join("; "))
}

fn equality(report: &ValidationReport) -> String {
    let encoding = report.method.encoding;
    let zeros = match encoding.float_zeros {
        FloatZeros::Distinct => "−0.0 differs from 0.0",
        FloatZeros::Equal => "−0.0 equals 0.0",
    };
    let maps = match encoding.map_order {
        MapOrder::Counts => "the order of map entries counts",
        MapOrder::Ignored => "the order of map entries does not count",
    };
    let but = if report.rules.is_empty() { "" } else { ", but for the columns above" };
    format!(
        "values are equal when exactly equal{but}; NULL equals NULL only; NaN equals NaN; {zeros}; {maps}; row order does not count"
    )
}

/// The query that shows a sampled row in the exported file.
pub(super) fn query(row: &SampleRow, export: Option<&str>) -> Option<String> {
    let (row, file) = (row.row?, export?);
    Some(format!("SELECT * FROM '{}' WHERE row = {row}", file.replace('\'', "''")))
}

/// The first names of a list, and how many more there are.
fn names(all: Vec<String>) -> String {
    let rest = more(all.len(), NAMES_MAX).map(|more| format!(" and {more} more")).unwrap_or_default();
    let shown: Vec<String> = all.iter().take(NAMES_MAX).map(|name| cut(name, 2 * NAME_CHARS_MAX - 20)).collect();
    format!("{}{rest}", shown.join(", "))
}

fn more(all: usize, shown: usize) -> Option<String> {
    all.checked_sub(shown).filter(|more| *more > 0).map(|more| count(more as u64))
}
