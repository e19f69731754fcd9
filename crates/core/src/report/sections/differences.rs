//! What differs: rows, columns, cells, what the ledger absorbed, and a sample.

use super::{line, rest};
use crate::equivalence::{ColumnDiff, DiffMode, RowDiff, SampleColumn, SampleRow};
use crate::report::text::{code, count, cut, plural, prose};
use crate::report::{ValidationReport, facts};

const CELLS_MAX: usize = 20;
const CELL_COLUMNS_MAX: usize = 6;
const COLUMNS_MAX: usize = 20;
const ENTRIES_MAX: usize = 20;
const SAMPLE_ROWS_MAX: usize = 20;
const SAMPLE_COLUMNS_MAX: usize = 12;

/// How many rows differ, by which key, and in which columns.
pub(in crate::report) fn rows(report: &ValidationReport) -> String {
    let Some(rows) = &report.rows else { return String::new() };
    let mut out = format!("### Differing rows\n\n{}\n", row_totals(rows));
    if let Some(export) = &rows.export {
        line(&mut out, format_args!("\nAll of them are in {} beside this report.", code(export)));
    }
    let mut columns: Vec<_> = rows.columns.iter().filter(|column| column.unequal + column.tolerated > 0).collect();
    columns.sort_by(|a, b| (b.unequal, b.tolerated).cmp(&(a.unequal, a.tolerated)).then_with(|| a.column.cmp(&b.column)));
    if !columns.is_empty() {
        out.push_str(
            "\n| column | unequal | null flips | tolerated | largest difference | relative | what it looks like |\n",
        );
        out.push_str("|---|--:|--:|--:|--:|--:|---|\n");
    }
    for column in columns.iter().take(COLUMNS_MAX) {
        line(&mut out, format_args!("{}", column_row(column)));
    }
    rest(&mut out, columns.len(), COLUMNS_MAX, "column");
    out
}

fn column_row(column: &ColumnDiff) -> String {
    let [unequal, nulls, tolerated] = [column.unequal, column.null_flips, column.tolerated].map(count);
    let (absolute, relative) = (number(column.largest_absolute), number(column.largest_relative));
    let cause = column.cause.as_ref().map(|cause| prose(&cause.to_string())).unwrap_or_default();
    let name = code(&column.column);
    format!("| {name} | {unequal} | {nulls} | {tolerated} | {absolute} | {relative} | {cause} |")
}

/// A measure of at most six significant digits.
fn number(value: Option<f64>) -> String {
    let Some(value) = value else { return String::new() };
    let plain = format!("{value}");
    if plain.len() <= 9 { plain } else { format!("{value:.3e}") }
}

fn row_totals(rows: &RowDiff) -> String {
    let (missing, extra, changed) = (count(rows.missing), count(rows.extra), count(rows.changed));
    let told = match &rows.mode {
        DiffMode::Bag => format!("Compared as bags of whole rows: {missing} missing in the new table, {extra} extra."),
        DiffMode::Keyed { columns } => {
            let mut key: Vec<String> = columns.iter().take(COLUMNS_MAX).map(|column| code(column)).collect();
            key.extend((columns.len() > COLUMNS_MAX).then(|| "…".to_owned()));
            let duplicates = match rows.duplicate_keys {
                0 => " No key stands in more than one row.".to_owned(),
                keys => format!(" {} in more than one row; these were compared as bags.", stand(keys)),
            };
            format!(
                "By key {}: {missing} missing in the new table, {extra} extra, {changed} changed.{duplicates}",
                key.join(", ")
            )
        }
    };
    let excused = [
        (rows.tolerated, "differ only within their tolerance"),
        (rows.accepted_rows(), "fit an entry of the ledger and are not among these numbers"),
    ];
    let excused: Vec<String> =
        excused.iter().filter(|(rows, _)| *rows > 0).map(|(rows, how)| format!("{} {how}", plural(*rows, "row"))).collect();
    if excused.is_empty() { told } else { format!("{told} Besides, {}.", excused.join("; ")) }
}

fn stand(keys: u64) -> String {
    if keys == 1 { "1 key stands".to_owned() } else { format!("{} keys stand", count(keys)) }
}

/// The cells that differ most.
pub(in crate::report) fn cells(report: &ValidationReport) -> String {
    let Some(comparison) = report.comparison.as_ref().filter(|comparison| !comparison.differences.is_empty()) else {
        return String::new();
    };
    let mut out = "### Differing cells\n\n| cell | rows old | rows new | | columns whose sums differ |\n".to_owned();
    out.push_str("|---|--:|--:|---|---|\n");
    for cell in report.worst_cells(CELLS_MAX) {
        let (old, new) = (cell.old.rows, cell.new.rows);
        let note = match (old, new) {
            (0, _) => "only new".to_owned(),
            (_, 0) => "only old".to_owned(),
            _ if old == new => "same number, other rows".to_owned(),
            _ if old > new => format!("{} fewer", count(old - new)),
            _ => format!("{} more", count(new - old)),
        };
        let mut columns: Vec<String> = cell.columns.iter().take(CELL_COLUMNS_MAX).map(|column| code(column)).collect();
        let more = cell.columns.len().saturating_sub(CELL_COLUMNS_MAX);
        columns.extend((more > 0).then(|| format!("and {more} more")));
        let (label, columns) = (code(&cell.cell.label(&comparison.fields)), columns.join(", "));
        line(&mut out, format_args!("| {label} | {} | {} | {note} | {columns} |", count(old), count(new)));
    }
    rest(&mut out, comparison.differences.len(), CELLS_MAX, "cell");
    out
}

/// What was accepted, by whom, why, and for how long.
pub(in crate::report) fn ledger(report: &ValidationReport) -> String {
    let Some(rows) = report.rows.as_ref().filter(|rows| !rows.accepted.is_empty()) else { return String::new() };
    let mut out =
        "### Accepted differences\n\n| entry | owner | reason | expires | rows at most | rows absorbed | objection |\n"
            .to_owned();
    out.push_str("|---|---|---|---|--:|--:|---|\n");
    for used in rows.accepted.iter().take(ENTRIES_MAX) {
        let rule = &used.rule;
        let (id, owner, reason) = (code(&rule.id), prose(&rule.owner), prose(&cut(&rule.reason, 200)));
        let objection = used.objection().map_or_else(|| "holds".to_owned(), |why| format!("**{}**", prose(&why)));
        let (most, absorbed) = (count(rule.max_rows), count(used.rows));
        line(&mut out, format_args!("| {id} | {owner} | {reason} | {} | {most} | {absorbed} | {objection} |", rule.expires));
    }
    let more = rows.accepted.len().saturating_sub(ENTRIES_MAX) as u64;
    if more > 0 {
        line(&mut out, format_args!("\n… and {} more in `report.json`.", count(more)));
    }
    out
}

/// Some of the differing rows, each with the query that shows it whole.
pub(in crate::report) fn sample(report: &ValidationReport) -> String {
    let Some(rows) = report.rows.as_ref().filter(|rows| !rows.sample.is_empty()) else { return String::new() };
    let shown = rows.sample.len().min(SAMPLE_ROWS_MAX);
    let masked = if rows.masked { ", values masked" } else { "" };
    let all = rows.total() + rows.accepted_rows();
    let mut out = format!("<details><summary>{shown} of {} differing rows{masked}</summary>\n\n", count(all));
    if rows.masked {
        out.push_str("Equal values of one column have equal tokens within this report.\n\n");
    }
    for row in rows.sample.iter().take(SAMPLE_ROWS_MAX) {
        sample_row(&mut out, row, rows.export.as_deref());
    }
    out.push_str("\n</details>\n");
    out
}

fn sample_row(out: &mut String, row: &SampleRow, export: Option<&str>) {
    let copies = if row.copies > 1 { format!(" × {}", count(row.copies)) } else { String::new() };
    let accepted = row.accepted_by.as_ref().map(|id| format!(" (accepted by {})", code(id))).unwrap_or_default();
    let values: Vec<String> = row.columns.iter().take(SAMPLE_COLUMNS_MAX).map(sample_value).collect();
    let more = row.columns.len().saturating_sub(SAMPLE_COLUMNS_MAX) as u64;
    let more = if more == 0 { String::new() } else { format!(", and {}", plural(more, "more column")) };
    let values = values.join(", ");
    line(out, format_args!("- **{}**{copies}{accepted} in {}: {values}{more}", row.kind, code(&row.cell)));
    if let Some(query) = facts::query(row, export) {
        line(out, format_args!("  {}", code(&query)));
    }
}

fn sample_value(column: &SampleColumn) -> String {
    let text = match (&column.old, &column.new) {
        (Some(old), Some(new)) if old == new => code(old),
        (Some(old), Some(new)) => format!("{} → {}", code(old), code(new)),
        (Some(one), None) | (None, Some(one)) => code(one),
        (None, None) => String::new(),
    };
    format!("{} {text}", prose(&cut(&column.column, 80)))
}
