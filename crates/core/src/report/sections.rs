//! The report's sections. Each returns its Markdown, bounded whatever the tables' size, or nothing when it has nothing
//! to say.

use std::fmt::Write;

use super::text::{bytes, code, count, duration, plural, prose};
use super::{SideFacts, ValidationReport};
use crate::equivalence::{
    ColumnCheck, DiffMode, FloatZeros, MapOrder, Nullability, Reason, RowDiff, SampleRow, TypeMatch, Verdict,
};

const REASONS_MAX: usize = 10;
const CELLS_MAX: usize = 20;
const COLUMNS_MAX: usize = 20;
const SCHEMA_ROWS_MAX: usize = 120;
const SAMPLE_ROWS_MAX: usize = 20;
const SAMPLE_COLUMNS_MAX: usize = 12;

/// The verdict in one line, then its reasons, then what to do.
pub(super) fn verdict(report: &ValidationReport) -> String {
    let word = &report.verdict;
    let migration = code(&report.run.migration.0);
    let mut out = format!("**{word}** · {migration} · {} · {}\n", extent(report), duration(report.run.duration_ms));
    let reasons = report.verdict.reasons();
    if !reasons.is_empty() {
        out.push('\n');
    }
    for reason in reasons.iter().take(REASONS_MAX) {
        line(&mut out, format_args!("- {}", reason_text(reason)));
    }
    rest(&mut out, reasons.len(), REASONS_MAX, "reason");
    line(&mut out, format_args!("\n{}", advice(&report.verdict)));
    out
}

fn reason_text(reason: &Reason) -> String {
    prose(&reason.to_string())
}

fn advice(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => {
            "Old and new hold the same rows. The migration may cut over while both tables stay at these versions."
        }
        Verdict::Accepted { .. } => {
            "Old and new differ only in what the ledger accepts. The migration may cut over while both tables stay at these versions."
        }
        Verdict::Fail { .. } => "Old and new differ. Do not cut over: find the cause below, repair it, validate again.",
        Verdict::Inconclusive { .. } => "Nothing is proven. Do not cut over: remove the obstacles above and validate again.",
    }
}

/// `scope all rows · 31 cells · 26,804 rows · 1.2 MiB read`.
fn extent(report: &ValidationReport) -> String {
    let scope = report.run.scope.as_ref().map_or_else(|| "all rows".to_owned(), |filter| format!("where {}", code(filter)));
    let read = bytes(report.old.bytes + report.new.bytes);
    match &report.comparison {
        None => format!("{scope} · not compared to the end · {read} read"),
        Some(comparison) => {
            let (old, new) = (comparison.old.rows, comparison.new.rows);
            let rows = if old == new { plural(old, "row") } else { format!("{} old, {} new rows", count(old), count(new)) };
            format!("{scope} · {} · {rows} · {read} read", plural(comparison.cells, "cell"))
        }
    }
}

/// What was read, at which versions, by what.
pub(super) fn inputs(report: &ValidationReport) -> String {
    let mut out =
        "### Inputs\n\n| side | format | location | version | files | size |\n|---|---|---|---|--:|--:|\n".to_owned();
    input_row(&mut out, "old", &report.old);
    input_row(&mut out, "new", &report.new);
    let run = &report.run;
    line(
        &mut out,
        format_args!("\nSpec {} · {} · {}", code(&run.spec_digest), code(&run.tool_version), time(run.started_at)),
    );
    if let Some(digest) = &report.certificate_digest {
        line(&mut out, format_args!("Certificate {}", code(digest)));
    }
    out
}

fn input_row(out: &mut String, side: &str, facts: &SideFacts) {
    let pinned = &facts.pinned;
    let (location, version) = (code(&pinned.location), code(&pinned.version.0));
    let (files, size) = (count(facts.files), bytes(facts.bytes));
    line(out, format_args!("| {side} | {} | {location} | {version} | {files} | {size} |", pinned.format));
}

fn time(at: chrono::DateTime<chrono::Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// What was compared and what was not, and by which rules.
pub(super) fn coverage(report: &ValidationReport) -> String {
    let columns = report.schema.columns.len();
    let compared = report.schema.compared().len();
    let mut out = format!("### Coverage\n\n- {compared} of {} compared", plural(columns as u64, "column"));
    let uncompared: Vec<String> = report.schema.columns.iter().filter_map(uncompared).take(REASONS_MAX).collect();
    let not = if uncompared.is_empty() { String::new() } else { format!("; not compared: {}", uncompared.join(", ")) };
    line(&mut out, format_args!("{not}"));
    if let Some(comparison) = &report.comparison {
        let fields: Vec<String> = comparison.fields.iter().map(|field| code(&field.name)).collect();
        let by = if fields.is_empty() { "the whole table is one".to_owned() } else { fields.join(", ") };
        line(&mut out, format_args!("- {}: {by}", plural(comparison.cells, "cell")));
        for field in &comparison.given_up {
            line(&mut out, format_args!("- {} divides no cells: there would be too many", code(&field.name)));
        }
    }
    for dropped in report.method.refinement.dropped.iter().take(REASONS_MAX) {
        line(&mut out, format_args!("- {} divides no cells: {}", code(&dropped.field.name), prose(&dropped.reason)));
    }
    line(&mut out, format_args!("- {}", rules(report)));
    out
}

fn uncompared(column: &ColumnCheck) -> Option<String> {
    match column {
        ColumnCheck::Compared { .. } => None,
        ColumnCheck::Refused { pair, .. } => Some(code(&pair.new)),
        ColumnCheck::Missing { old, .. } => Some(format!("{} (only old)", code(old))),
        ColumnCheck::Added { new, .. } => Some(format!("{} (only new)", code(new))),
    }
}

fn rules(report: &ValidationReport) -> String {
    let encoding = report.method.encoding;
    let zeros = match encoding.float_zeros {
        FloatZeros::Distinct => "−0.0 differs from 0.0",
        FloatZeros::Equal => "−0.0 equals 0.0",
    };
    let maps = match encoding.map_order {
        MapOrder::Counts => "the order of map entries counts",
        MapOrder::Ignored => "the order of map entries does not count",
    };
    format!(
        "values are equal when exactly equal; NULL equals NULL only; NaN equals NaN; {zeros}; {maps}; row order does not count"
    )
}

/// The ladder of checks.
pub(super) fn checks(report: &ValidationReport) -> String {
    let mut out = "### Checks\n\n| check | result | what was found | what a PASS proves |\n|---|---|---|---|\n".to_owned();
    for check in &report.checks {
        let (detail, proves) = (prose(&check.detail), prose(&check.proves));
        line(&mut out, format_args!("| {} | {} | {detail} | {proves} |", check.name, check.result));
    }
    out
}

/// How to repeat it.
pub(super) fn reproduce(report: &ValidationReport) -> String {
    if report.run.reproduce.is_empty() {
        return String::new();
    }
    let mut out = "### Reproduce\n\n```sh\n".to_owned();
    for command in report.run.reproduce.iter().take(REASONS_MAX) {
        let clean: String = command.chars().take(400).map(|c| if c == '`' || c.is_control() { ' ' } else { c }).collect();
        line(&mut out, format_args!("{clean}"));
    }
    out.push_str("```\n");
    line(
        &mut out,
        format_args!("\nKey {} · encoding {}", code(&report.method.key.to_string()), report.method.encoding.version),
    );
    out
}

/// How many rows differ, and in which columns.
pub(super) fn columns(report: &ValidationReport) -> String {
    let Some(rows) = &report.rows else { return String::new() };
    let mut out = format!("### Differing rows\n\n{}\n", row_totals(rows));
    let mut columns: Vec<_> = rows.columns.iter().filter(|column| column.unequal > 0).collect();
    columns.sort_by(|a, b| b.unequal.cmp(&a.unequal).then_with(|| a.column.cmp(&b.column)));
    if !columns.is_empty() {
        out.push_str("\n| column | changed rows in which it differs |\n|---|--:|\n");
    }
    for column in columns.iter().take(COLUMNS_MAX) {
        line(&mut out, format_args!("| {} | {} |", code(&column.column), count(column.unequal)));
    }
    rest(&mut out, columns.len(), COLUMNS_MAX, "column");
    out
}

fn row_totals(rows: &RowDiff) -> String {
    let (missing, extra) = (count(rows.missing), count(rows.extra));
    match &rows.mode {
        DiffMode::Bag => format!("Compared as bags of whole rows: {missing} missing in the new table, {extra} extra."),
        DiffMode::Keyed { columns } => {
            let key: Vec<String> = columns.iter().take(COLUMNS_MAX).map(|column| code(column)).collect();
            let duplicates = match rows.duplicate_keys {
                0 => String::new(),
                keys => format!(" {} in more than one row; these were compared as bags.", stand(keys)),
            };
            let changed = count(rows.changed);
            format!(
                "By key {}: {missing} missing in the new table, {extra} extra, {changed} changed.{duplicates}",
                key.join(", ")
            )
        }
    }
}

fn stand(keys: u64) -> String {
    if keys == 1 { "1 key stands".to_owned() } else { format!("{} keys stand", count(keys)) }
}

/// The cells that differ most.
pub(super) fn cells(report: &ValidationReport) -> String {
    let Some(comparison) = report.comparison.as_ref().filter(|comparison| !comparison.differences.is_empty()) else {
        return String::new();
    };
    let mut out = "### Differing cells\n\n| cell | rows old | rows new | |\n|---|--:|--:|---|\n".to_owned();
    for cell in report.worst_cells(CELLS_MAX) {
        let (old, new) = (cell.old.rows, cell.new.rows);
        let note = match (old, new) {
            (0, _) => "only new",
            (_, 0) => "only old",
            _ if old == new => "same number, other rows",
            _ => "",
        };
        let label = code(&cell.cell.label(&comparison.fields));
        line(&mut out, format_args!("| {label} | {} | {} | {note} |", count(old), count(new)));
    }
    rest(&mut out, comparison.differences.len(), CELLS_MAX, "cell");
    out
}

/// Some of the differing rows.
pub(super) fn sample(report: &ValidationReport) -> String {
    let Some(rows) = report.rows.as_ref().filter(|rows| !rows.sample.is_empty()) else { return String::new() };
    let shown = rows.sample.len().min(SAMPLE_ROWS_MAX);
    let masked = if rows.masked { ", values masked" } else { "" };
    let mut out = format!("<details><summary>{shown} of {} differing rows{masked}</summary>\n\n", count(rows.total()));
    if rows.masked {
        out.push_str("Equal values of one column have equal tokens within this report.\n\n");
    }
    for row in rows.sample.iter().take(SAMPLE_ROWS_MAX) {
        sample_row(&mut out, row);
    }
    out.push_str("\n</details>\n");
    out
}

fn sample_row(out: &mut String, row: &SampleRow) {
    let copies = if row.copies > 1 { format!(" × {}", count(row.copies)) } else { String::new() };
    let value = |column: &crate::equivalence::SampleColumn| {
        let text = match (&column.old, &column.new) {
            (Some(old), Some(new)) if old == new => code(old),
            (Some(old), Some(new)) => format!("{} → {}", code(old), code(new)),
            (Some(one), None) | (None, Some(one)) => code(one),
            (None, None) => String::new(),
        };
        format!("{} {text}", prose(&column.column))
    };
    let values: Vec<String> = row.columns.iter().take(SAMPLE_COLUMNS_MAX).map(value).collect();
    let more = row.columns.len().saturating_sub(SAMPLE_COLUMNS_MAX);
    let more = if more == 0 { String::new() } else { format!(", and {more} more columns") };
    line(out, format_args!("- **{}**{copies} in {}: {}{more}", row.kind, code(&row.cell), values.join(", ")));
}

/// Every column with its types.
pub(super) fn schema(report: &ValidationReport) -> String {
    let columns = &report.schema.columns;
    let mut out = format!("<details><summary>Schema: {}</summary>\n\n", plural(columns.len() as u64, "column"));
    out.push_str("| old | type | new | type | |\n|---|---|---|---|---|\n");
    for column in columns.iter().take(SCHEMA_ROWS_MAX) {
        line(&mut out, format_args!("{}", schema_row(column)));
    }
    rest(&mut out, columns.len(), SCHEMA_ROWS_MAX, "column");
    out.push_str("\n</details>\n");
    out
}

fn schema_row(column: &ColumnCheck) -> String {
    match column {
        ColumnCheck::Compared { pair, old_type, new_type, types, nullability } => {
            let mut notes = Vec::new();
            if pair.old != pair.new {
                notes.push("renamed");
            }
            match types {
                TypeMatch::Identical => notes.push("identical"),
                TypeMatch::Widened => notes.push("widened"),
                TypeMatch::Narrowed => notes.push("narrowed, values compared exactly"),
            }
            match nullability {
                Nullability::Same => {}
                Nullability::Relaxed => notes.push("now nullable"),
                Nullability::Tightened => notes.push("no longer nullable"),
            }
            row(&pair.old, old_type, &pair.new, new_type, &notes.join(", "))
        }
        ColumnCheck::Refused { pair, old_type, new_type, reason } => {
            row(&pair.old, old_type, &pair.new, new_type, &format!("**not compared**: {}", prose(reason)))
        }
        ColumnCheck::Missing { old, old_type } => row(old, old_type, "—", "—", "**missing in the new table**"),
        ColumnCheck::Added { new, new_type } => row("—", "—", new, new_type, "**not compared**: only in the new table"),
    }
}

fn row(old: &str, old_type: &str, new: &str, new_type: &str, note: &str) -> String {
    format!("| {} | {} | {} | {} | {note} |", code(old), code(old_type), code(new), code(new_type))
}

fn rest(out: &mut String, all: usize, shown: usize, noun: &str) {
    if all > shown {
        let more = plural((all - shown) as u64, noun);
        line(out, format_args!("\n… and {more} more, in `report.json`."));
    }
}

/// Writing to a `String` cannot fail.
fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = writeln!(out, "{text}");
}
