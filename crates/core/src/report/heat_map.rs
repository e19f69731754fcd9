//! [`HeatMap`]: the cells of a comparison laid out in rows of tiles, bounded however many cells there are.
//!
//! Cells that are divided by a day or a month come as a calendar, others in their order. The same report gives the same map.

use std::collections::BTreeMap;

use super::ValidationReport;
use crate::equivalence::{CellCoverage, ProvenFiles};
use crate::partition::{PartitionField, Transform};
use crate::value::Value;

/// What became of a cell or of a tile of cells; of several, the first in this order stands for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CellState {
    /// Rows differ, and nothing excuses it.
    Differs,
    /// Only the old side has rows.
    OldOnly,
    /// Only the new side has rows.
    NewOnly,
    /// Rows differ, and every one is within its tolerance or accepted.
    Excused,
    /// Equal; some or all sums are from an earlier reading.
    Earlier,
    /// Equal; some or all files are the same on both sides and were not read.
    Metadata,
    /// Equal, all of it read in this validation.
    Now,
}

impl CellState {
    /// Every state, the worst first.
    pub(super) const ALL: [Self; 7] =
        [Self::Differs, Self::OldOnly, Self::NewOnly, Self::Excused, Self::Earlier, Self::Metadata, Self::Now];

    /// What became of `cell`; `excused` where nothing that differs in the whole comparison is without excuse.
    pub(super) fn of(cell: &CellCoverage, excused: bool) -> Self {
        let (old, new) = (cell.old.now + cell.old.earlier, cell.new.now + cell.new.earlier);
        match (cell.differs, old, new) {
            (true, ..) if excused => Self::Excused,
            (true, 0, _) => Self::NewOnly,
            (true, _, 0) => Self::OldOnly,
            (true, ..) => Self::Differs,
            (false, ..) if cell.old.earlier + cell.new.earlier > 0 => Self::Earlier,
            (false, ..) => Self::Now,
        }
    }

    /// One character in a text.
    pub(super) fn symbol(self) -> char {
        match self {
            Self::Differs => 'X',
            Self::OldOnly => 'O',
            Self::NewOnly => 'N',
            Self::Excused => '~',
            Self::Earlier => '▓',
            Self::Metadata => '░',
            Self::Now => '█',
        }
    }

    /// A word for programs: `differs`, `old_only` …
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Differs => "differs",
            Self::OldOnly => "old_only",
            Self::NewOnly => "new_only",
            Self::Excused => "excused",
            Self::Earlier => "earlier",
            Self::Metadata => "metadata",
            Self::Now => "now",
        }
    }

    /// The state in words.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Differs => "rows differ",
            Self::OldOnly => "only in the old table",
            Self::NewOnly => "only in the new table",
            Self::Excused => "differs only as tolerated or accepted",
            Self::Earlier => "equal, partly or wholly from an earlier reading",
            Self::Metadata => "equal, partly or wholly the same files (not read)",
            Self::Now => "equal, all read now",
        }
    }

    /// Whether the sides differ there without excuse.
    pub(super) fn is_difference(self) -> bool {
        matches!(self, Self::Differs | Self::OldOnly | Self::NewOnly)
    }
}

/// How large a map may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct MapSize {
    /// Rows at most.
    pub(super) rows_max: usize,
    /// Tiles in a row that is not a calendar's.
    pub(super) width: usize,
}

/// Rows of tiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeatMap {
    /// From top to bottom.
    pub(super) rows: Vec<MapRow>,
    /// Whether any tile stands for more than one cell.
    pub(super) grouped: bool,
}

/// One row; tiles without cells are absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MapRow {
    /// What its tiles have in common, or its first tile's label.
    pub(super) label: String,
    /// From left to right.
    pub(super) tiles: Vec<Option<Tile>>,
}

/// One cell or several neighbours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tile {
    /// The cell, or the first and the last one.
    pub(super) label: String,
    /// Cells and, where files are proven unread, their partitions.
    pub(super) cells: u64,
    /// Of those, cells that differ without excuse.
    pub(super) differing: u64,
    /// Rows of the old side, the unread ones included.
    pub(super) old_rows: u64,
    /// Rows of the new side, the unread ones included.
    pub(super) new_rows: u64,
    /// The worst cell's state.
    pub(super) state: CellState,
}

impl Tile {
    fn join(&mut self, other: &Self) {
        self.cells += other.cells;
        self.differing += other.differing;
        self.old_rows += other.old_rows;
        self.new_rows += other.new_rows;
        self.state = match (self.state, other.state) {
            (CellState::OldOnly, CellState::NewOnly) | (CellState::NewOnly, CellState::OldOnly) => CellState::Differs,
            (a, b) => a.min(b),
        };
    }
}

/// One cell, or the files of one partition that are proven unread.
struct Item {
    /// The first field's value as text.
    first: String,
    tile: Tile,
}

/// The map of all cells; `None` when there are none.
pub(super) fn heat_map(report: &ValidationReport, size: MapSize) -> Option<HeatMap> {
    let items = items(report);
    if items.is_empty() {
        return None;
    }
    let calendar = match period(report) {
        Some(Period::Day) => calendar(&items, Period::Day, size).or_else(|| calendar(&items, Period::Month, size)),
        Some(Period::Month) => calendar(&items, Period::Month, size),
        None => None,
    };
    let rows = calendar.unwrap_or_else(|| in_order(&items, size));
    let grouped = rows.iter().flat_map(|row| row.tiles.iter().flatten()).any(|tile| tile.cells > 1);
    Some(HeatMap { rows, grouped })
}

/// Cells by the first field's value, in order, in at most `count` groups of neighbours.
pub(super) fn groups(report: &ValidationReport, count: usize) -> Vec<Tile> {
    let mut by_first: Vec<Tile> = Vec::new();
    let mut last = None;
    let name = fields(report).first().map(|field| field.name.clone());
    for item in items(report) {
        match by_first.last_mut() {
            Some(tile) if last.as_ref() == Some(&item.first) => tile.join(&item.tile),
            _ => {
                let label = name.as_ref().map_or_else(|| item.tile.label.clone(), |name| format!("{name}={}", item.first));
                by_first.push(Tile { label, ..item.tile });
            }
        }
        last = Some(item.first);
    }
    chunks(&by_first, count)
}

fn chunks(tiles: &[Tile], count: usize) -> Vec<Tile> {
    tiles.chunks(tiles.len().div_ceil(count.max(1)).max(1)).filter_map(joined).collect()
}

fn joined(tiles: &[Tile]) -> Option<Tile> {
    let (first, others) = tiles.split_first()?;
    let mut tile = first.clone();
    for other in others {
        tile.join(other);
    }
    if let Some(last) = others.last() {
        tile.label = format!("{} … {}", first.label, last.label);
    }
    Some(tile)
}

fn fields(report: &ValidationReport) -> &[PartitionField] {
    report.comparison.as_ref().map_or(&[], |comparison| &comparison.fields)
}

/// Cells and proven partitions, by the first field's value.
fn items(report: &ValidationReport) -> Vec<Item> {
    let fields = fields(report);
    let excused = report.is_excused();
    let mut items: Vec<Item> = report.cells.iter().map(|cell| of_cell(cell, fields, excused)).collect();
    if !report.proven.is_empty() {
        items.extend(report.proven.iter().map(|proven| of_proven(proven, fields)));
        items.sort_by(|a, b| a.first.cmp(&b.first));
    }
    items
}

fn of_cell(cell: &CellCoverage, fields: &[PartitionField], excused: bool) -> Item {
    let state = CellState::of(cell, excused);
    let first = fields.first().zip(cell.cell.values().first());
    let tile = Tile {
        label: cell.cell.label(fields),
        cells: 1,
        differing: u64::from(state.is_difference()),
        old_rows: cell.old.now + cell.old.earlier,
        new_rows: cell.new.now + cell.new.earlier,
        state,
    };
    Item { first: first.map_or_else(String::new, |(field, value)| field.transform.display(value.as_ref())), tile }
}

/// The partition's label names fields; where the first of the cells' fields is among them, the files stand with its cells.
fn of_proven(proven: &ProvenFiles, fields: &[PartitionField]) -> Item {
    let values = || proven.partition.split(", ").filter_map(|part| part.split_once('='));
    let first = fields.first().and_then(|field| values().find(|(name, _)| *name == field.name));
    let rows = proven.amount.rows;
    let tile = Tile {
        label: proven.partition.clone(),
        cells: 1,
        differing: 0,
        old_rows: rows,
        new_rows: rows,
        state: CellState::Metadata,
    };
    Item { first: first.map_or_else(|| proven.partition.clone(), |(_, value)| value.to_owned()), tile }
}

/// What a tile of a calendar spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Period {
    Day,
    Month,
}

impl Period {
    /// The calendar's row and the place in it, of `2001-02-03`, `2001-02-03-04` or `2001-02`.
    fn place(self, text: &str) -> Option<(String, usize)> {
        let mut parts = text.split('-').map(|part| part.parse::<usize>().ok());
        let (year, month) = (parts.next()??, parts.next()??);
        let (row, column, columns) = match self {
            Self::Day => (format!("{year:04}-{month:02}"), parts.next()??, 31),
            Self::Month => (format!("{year:04}"), month, 12),
        };
        (1..=columns).contains(&column).then_some((row, column - 1))
    }

    fn columns(self) -> usize {
        match self {
            Self::Day => 31,
            Self::Month => 12,
        }
    }
}

fn period(report: &ValidationReport) -> Option<Period> {
    let field = fields(report).first()?;
    let value = report.cells.iter().find_map(|cell| cell.cell.values().first()?.as_ref());
    match (field.transform, value) {
        (Transform::Identity, Some(Value::Date(_))) | (Transform::Day | Transform::Hour, _) => Some(Period::Day),
        (Transform::Month, _) => Some(Period::Month),
        _ => None,
    }
}

/// A row a month or a year; what has no date stands in a last row. `None` where there are too many rows.
fn calendar(items: &[Item], period: Period, size: MapSize) -> Option<Vec<MapRow>> {
    const OTHER: &str = "other";
    let mut rows: BTreeMap<String, Vec<Option<Tile>>> = BTreeMap::new();
    for item in items {
        let (row, column) = period.place(&item.first).unwrap_or_else(|| (OTHER.to_owned(), 0));
        let tiles = rows.entry(row).or_insert_with(|| vec![None; period.columns()]);
        match tiles.get_mut(column) {
            Some(Some(tile)) => {
                tile.join(&item.tile);
                tile.label.clone_from(&item.first);
            }
            Some(empty) => *empty = Some(item.tile.clone()),
            None => {}
        }
    }
    (rows.len() <= size.rows_max).then(|| rows.into_iter().map(|(label, tiles)| MapRow { label, tiles }).collect())
}

fn in_order(items: &[Item], size: MapSize) -> Vec<MapRow> {
    let tiles: Vec<Tile> = items.iter().map(|item| item.tile.clone()).collect();
    let row = |tiles: &[Tile]| MapRow {
        label: tiles.first().map_or_else(String::new, |tile| tile.label.clone()),
        tiles: tiles.iter().cloned().map(Some).collect(),
    };
    chunks(&tiles, size.rows_max * size.width).chunks(size.width.max(1)).map(row).collect()
}
