//! The report as one HTML page: the verdict as markup, all else as data that the page's own script draws.
//!
//! Foreign text goes through [`markup`] in markup and through [`script_safe`] in data; the script sets text, never markup.

use serde::Serialize;

use super::heat_map::{CellState, HeatMap, MapSize, Tile, heat_map};
use super::text::{bytes, cut, duration, markup};
use super::{Check, Method, RunFacts, SideFacts, ValidationReport, facts};
use crate::equivalence::{
    AcceptedUse, CellCoverage, ColumnCheck, ColumnDiff, DiffMode, RowDiff, SampleColumn, SampleRow, Verdict,
};

const PAGE: &str = include_str!("html/page.html");
const STYLE: &str = include_str!("html/style.css");
const SCRIPT: &str = include_str!("html/script.js");

/// Cells that the page lists at most, the differing ones first. The map has all of them.
const CELLS_MAX: usize = 5000;

/// Tiles of the map at most: 4,800.
const MAP_SIZE: MapSize = MapSize { rows_max: 150, width: 32 };

const SCHEMA_COLUMNS_MAX: usize = 1000;
const SAMPLE_ROWS_MAX: usize = 200;
const SAMPLE_COLUMNS_MAX: usize = 40;
const ENTRIES_MAX: usize = 200;
const REASONS_MAX: usize = 20;
const TEXT_CHARS_MAX: usize = 300;
const VALUE_CHARS_MAX: usize = 120;

/// What the script draws.
#[derive(Serialize)]
struct Page<'a> {
    states: Vec<State>,
    map: Option<Map>,
    cells: Vec<Cell>,
    cells_all: usize,
    proven: usize,
    coverage: Vec<String>,
    checks: &'a [Check],
    run: &'a RunFacts,
    method: &'a Method,
    certificate: Option<&'a str>,
    sides: [Side<'a>; 2],
    schema: &'a [ColumnCheck],
    schema_all: usize,
    rows: Option<Rows<'a>>,
}

#[derive(Serialize)]
struct State {
    name: &'static str,
    words: &'static str,
    symbol: Option<char>,
}

#[derive(Serialize)]
struct Map {
    grouped: bool,
    rows: Vec<MapRow>,
}

/// Label, cells, differing cells, rows old, rows new, state: as the page's script reads them.
type TileRow = (String, u64, u64, u64, u64, &'static str);

#[derive(Serialize)]
struct MapRow {
    label: String,
    /// `[label, cells, differing, old rows, new rows, state]`: short, for there are thousands.
    tiles: Vec<Option<TileRow>>,
}

#[derive(Serialize)]
struct Cell {
    label: String,
    state: &'static str,
    old: u64,
    new: u64,
    /// Rows of both sides that were taken from an earlier reading.
    earlier: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    columns: Vec<String>,
}

#[derive(Serialize)]
struct Side<'a> {
    name: &'static str,
    facts: &'a SideFacts,
    size: String,
}

#[derive(Serialize)]
struct Rows<'a> {
    mode: &'a DiffMode,
    missing: u64,
    extra: u64,
    changed: u64,
    duplicate_keys: u64,
    tolerated: u64,
    total: u64,
    masked: bool,
    export: Option<&'a str>,
    columns: Vec<Column<'a>>,
    accepted: Vec<Entry<'a>>,
    sample: Vec<Sample>,
}

#[derive(Serialize)]
struct Column<'a> {
    #[serde(flatten)]
    diff: &'a ColumnDiff,
    guess: Option<String>,
}

#[derive(Serialize)]
struct Entry<'a> {
    #[serde(flatten)]
    entry: &'a AcceptedUse,
    objection: Option<String>,
}

#[derive(Serialize)]
struct Sample {
    #[serde(flatten)]
    row: SampleRow,
    more_columns: usize,
    query: Option<String>,
}

/// The page.
///
/// # Errors
/// None that can occur: the data has no maps with other keys than texts.
pub(super) fn render(report: &ValidationReport) -> Result<String, serde_json::Error> {
    let data = script_safe(&serde_json::to_string(&page(report))?);
    let reasons = facts::reasons(report, REASONS_MAX);
    let reasons: String =
        reasons.iter().map(|reason| format!("<li>{}</li>", markup(&cut(reason, TEXT_CHARS_MAX)))).collect();
    let scope = report.run.scope.as_ref().map_or_else(|| "all rows".to_owned(), |filter| format!("where {filter}"));
    let range =
        report.run.range.as_ref().map(|range| format!(" · range {}", cut(range, TEXT_CHARS_MAX))).unwrap_or_default();
    let line =
        format!("{}{range} · {} · {}", cut(&scope, TEXT_CHARS_MAX), facts::extent(report), duration(report.run.duration_ms));
    let word = report.verdict.to_string();
    let class = match report.verdict {
        Verdict::Pass | Verdict::Accepted { .. } => "pass",
        Verdict::Fail { .. } => "fail",
        Verdict::Inconclusive { .. } => "inconclusive",
    };
    // Each place once, in the order of the page: a text that holds another place's name is not looked at again.
    let values = [
        ("{{title}}", markup(&format!("{word}: {}", report.run.migration))),
        ("{{style}}", STYLE.to_owned()),
        ("{{class}}", class.to_owned()),
        ("{{verdict}}", markup(&word)),
        ("{{migration}}", markup(&report.run.migration.0)),
        ("{{line}}", markup(&line)),
        ("{{advice}}", markup(facts::advice(report))),
        ("{{reasons}}", reasons),
        ("{{data}}", data),
        ("{{script}}", SCRIPT.to_owned()),
    ];
    Ok(fill(PAGE, &values))
}

/// The template with each place filled, from the first to the last.
fn fill(template: &str, values: &[(&str, String)]) -> String {
    let mut out = String::new();
    let mut rest = template;
    for (place, value) in values {
        if let Some((before, after)) = rest.split_once(place) {
            out.push_str(before);
            out.push_str(value);
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

/// JSON that cannot end the script element it stands in. These characters occur only inside JSON's strings.
fn script_safe(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            c => out.push(c),
        }
    }
    out
}

fn page(report: &ValidationReport) -> Page<'_> {
    let state = |state: CellState| State {
        name: state.name(),
        words: state.words(),
        symbol: state.symbol().is_ascii().then(|| state.symbol()),
    };
    let schema = &report.schema.columns;
    Page {
        states: CellState::ALL.into_iter().map(state).collect(),
        map: heat_map(report, MAP_SIZE).map(map),
        cells: cells(report),
        cells_all: report.cells.len(),
        proven: report.proven.len(),
        coverage: facts::coverage(report),
        checks: &report.checks,
        run: &report.run,
        method: &report.method,
        certificate: report.certificate_digest.as_deref(),
        sides: [side("old", &report.old), side("new", &report.new)],
        schema: &schema[..schema.len().min(SCHEMA_COLUMNS_MAX)],
        schema_all: schema.len(),
        rows: report.rows.as_ref().map(rows),
    }
}

fn side<'a>(name: &'static str, facts: &'a SideFacts) -> Side<'a> {
    Side { name, size: bytes(facts.bytes), facts }
}

fn map(map: HeatMap) -> Map {
    let tile = |tile: Tile| {
        let label = cut(&tile.label, TEXT_CHARS_MAX);
        (label, tile.cells, tile.differing, tile.old_rows, tile.new_rows, tile.state.name())
    };
    let row = |row: super::heat_map::MapRow| MapRow {
        label: cut(&row.label, TEXT_CHARS_MAX),
        tiles: row.tiles.into_iter().map(|place| place.map(tile)).collect(),
    };
    Map { grouped: map.grouped, rows: map.rows.into_iter().map(row).collect() }
}

/// The differing cells first, the worst at the top, then the others in order.
fn cells(report: &ValidationReport) -> Vec<Cell> {
    let Some(comparison) = &report.comparison else { return Vec::new() };
    let excused = report.is_excused();
    let by_cell: std::collections::BTreeMap<_, _> = report.cells.iter().map(|cell| (&cell.cell, cell)).collect();
    let cell = |cell: &CellCoverage, columns: &[String]| Cell {
        label: cut(&cell.cell.label(&comparison.fields), TEXT_CHARS_MAX),
        state: CellState::of(cell, excused).name(),
        old: cell.old.now + cell.old.earlier,
        new: cell.new.now + cell.new.earlier,
        earlier: cell.old.earlier + cell.new.earlier,
        columns: columns.iter().take(SAMPLE_COLUMNS_MAX).map(|column| cut(column, TEXT_CHARS_MAX)).collect(),
    };
    let worst = report.worst_cells(CELLS_MAX);
    let worst = worst.into_iter().filter_map(|found| by_cell.get(&found.cell).map(|covered| cell(covered, &found.columns)));
    let equal = report.cells.iter().filter(|cell| !cell.differs).map(|covered| cell(covered, &[]));
    worst.chain(equal).take(CELLS_MAX).collect()
}

fn rows(rows: &RowDiff) -> Rows<'_> {
    let mut columns: Vec<Column<'_>> = rows
        .columns
        .iter()
        .filter(|diff| diff.unequal + diff.tolerated > 0)
        .map(|diff| Column { diff, guess: diff.cause.as_ref().map(ToString::to_string) })
        .collect();
    columns.sort_by_key(|column| std::cmp::Reverse((column.diff.unequal, column.diff.tolerated)));
    columns.truncate(SCHEMA_COLUMNS_MAX);
    Rows {
        mode: &rows.mode,
        missing: rows.missing,
        extra: rows.extra,
        changed: rows.changed,
        duplicate_keys: rows.duplicate_keys,
        tolerated: rows.tolerated,
        total: rows.total(),
        masked: rows.masked,
        export: rows.export.as_deref(),
        columns,
        accepted: rows
            .accepted
            .iter()
            .take(ENTRIES_MAX)
            .map(|entry| Entry { entry, objection: entry.objection() })
            .collect(),
        sample: rows.sample.iter().take(SAMPLE_ROWS_MAX).map(|row| sample(row, rows.export.as_deref())).collect(),
    }
}

fn sample(row: &SampleRow, export: Option<&str>) -> Sample {
    let short = |text: &Option<String>| text.as_ref().map(|text| cut(text, VALUE_CHARS_MAX));
    let column = |column: &SampleColumn| SampleColumn {
        column: cut(&column.column, VALUE_CHARS_MAX),
        old: short(&column.old),
        new: short(&column.new),
    };
    Sample {
        row: SampleRow { columns: row.columns.iter().take(SAMPLE_COLUMNS_MAX).map(column).collect(), ..row.clone() },
        more_columns: row.columns.len().saturating_sub(SAMPLE_COLUMNS_MAX),
        query: facts::query(row, export),
    }
}
