//! The Markdown's sections. Each returns its text, bounded whatever the tables' size, or nothing when it has nothing to
//! say.

mod differences;
mod schema;

use std::collections::BTreeSet;
use std::fmt::Write;

use super::heat_map::{CellState, HeatMap, MapSize, heat_map};
use super::text::{bytes, code, count, cut, duration, plural, prose, prose_of};
use super::{SideFacts, ValidationReport, facts};

pub(super) use differences::{cells, ledger, rows, sample};
pub(super) use schema::schema;

const REASONS_MAX: usize = 10;
const COMMANDS_MAX: usize = 10;
const FACT_CHARS_MAX: usize = 1200;

/// At most 30 lines: a comment's reader shall not have to scroll past a map.
const STRIP_SIZE: MapSize = MapSize { rows_max: 30, width: 60 };
const STRIP_LABEL_CHARS: usize = 24;

/// The verdict in one line, then what to do, then its reasons.
pub(super) fn verdict(report: &ValidationReport) -> String {
    let word = &report.verdict;
    let migration = code(&report.run.migration.0);
    let scope = report.run.scope.as_ref().map_or_else(|| "all rows".to_owned(), |filter| format!("where {}", code(filter)));
    let range = report.run.range.as_ref().map(|range| format!(" · range {}", code(range))).unwrap_or_default();
    let (extent, time) = (facts::extent(report), duration(report.run.duration_ms));
    let mut out = format!("**{word}** · {migration} · {scope}{range} · {extent} · {time}\n");
    let reasons = facts::reasons(report, REASONS_MAX);
    if !reasons.is_empty() {
        out.push('\n');
    }
    for reason in reasons {
        line(&mut out, format_args!("- {}", prose(&reason)));
    }
    line(&mut out, format_args!("\n{}", prose(facts::advice(report))));
    out
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

/// What was compared, how its rows were told, what was not compared, and by which rules.
pub(super) fn coverage(report: &ValidationReport) -> String {
    let mut out = "### Coverage\n\n".to_owned();
    for fact in facts::coverage(report) {
        line(&mut out, format_args!("- {}", prose_of(&fact, FACT_CHARS_MAX)));
    }
    out
}

/// A character for each cell or group of neighbours.
pub(super) fn strip(report: &ValidationReport) -> String {
    let Some(map) = heat_map(report, STRIP_SIZE) else { return String::new() };
    let mut out = "### Partitions\n\n```text\n".to_owned();
    let label = |text: &str| cut(&text.replace(|c: char| c == '`' || c.is_control(), " "), STRIP_LABEL_CHARS);
    let labels: Vec<String> = map.rows.iter().map(|row| label(&row.label)).collect();
    let width = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
    for (row, label) in map.rows.iter().zip(labels) {
        let symbols = row.tiles.iter().map(|tile| tile.as_ref().map_or('·', |tile| tile.state.symbol()));
        let symbols: String = symbols.collect();
        line(&mut out, format_args!("{label:width$}  {symbols}"));
    }
    out.push_str("```\n\n");
    line(&mut out, format_args!("{}", legend(&map)));
    out
}

fn legend(map: &HeatMap) -> String {
    let tiles = || map.rows.iter().flat_map(|row| row.tiles.iter());
    let present: BTreeSet<CellState> = tiles().flatten().map(|tile| tile.state).collect();
    let state = |state: &CellState| format!("`{}` {}", state.symbol(), state.words());
    let mut words: Vec<String> = present.iter().map(state).collect();
    if tiles().any(Option::is_none) {
        words.push("`·` no rows".to_owned());
    }
    let grouped =
        if map.grouped { ". A character may stand for several neighbouring cells; the worst of them is shown" } else { "" };
    format!("{}{grouped}.", words.join(", "))
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
    for command in report.run.reproduce.iter().take(COMMANDS_MAX) {
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
