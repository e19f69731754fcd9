//! Partitions as strips of tiles over one axis of time, a strip for each table and entity.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Page, Tile};
use crate::graph::{EntityId, Grain, Key, Table, TableId};
use crate::report::text::{count, cut, markup};

const NAMES: f64 = 190.0;
const WIDTH: f64 = 1000.0;
const ROW: usize = 15;
const TILE: usize = 11;
/// Entities of a table that have a strip of their own; with more, they share one.
const ENTITIES_MAX: usize = 8;
const TILES_MAX: usize = 15_000;
const NAME_CHARS_MAX: usize = 34;

/// Partitions next to each other that share a tile.
struct Drawn<T> {
    first: Key,
    last: Key,
    partitions: u64,
    worst: T,
    rows: u64,
    ran: Option<usize>,
}

/// One strip: its name, and its partitions, ascending.
struct Strip {
    table: TableId,
    name: String,
    keys: Vec<Key>,
}

pub(super) fn draw<T: Tile>(page: &Page<'_>, of: &dyn Fn(TableId, Key) -> Option<T>) -> String {
    let strips = strips(page);
    let axis = Axis::new(page);
    let most = (TILES_MAX / strips.len().max(1)).clamp(12, 400);
    let height = (strips.len() + 1) * ROW + 4;
    let mut out = format!(
        "<svg class=\"strips\" role=\"img\" aria-label=\"partitions over time\" viewBox=\"0 0 {} {height}\">\n",
        NAMES + WIDTH + 2.0
    );
    let last = page.ran.len().max(2) - 1;
    // Writing to a String cannot fail.
    for (row, strip) in strips.iter().enumerate() {
        let (table, y) = (page.graph.table(strip.table), row * ROW + 2);
        let name = markup(&cut(&strip.name, NAME_CHARS_MAX));
        let _ = writeln!(out, "<text class=\"name\" x=\"0\" y=\"{}\">{name}</text>", y + TILE - 2);
        for tile in tiles(page, strip, most, of) {
            let (from, to) = axis.span(table, tile.first.period, tile.last.period);
            let width = (to - from - 0.6).max(0.4);
            let class = tile.worst.class();
            let _ = write!(
                out,
                "<g><title>{}</title><rect class=\"{class}\" x=\"{from:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"{TILE}\"/>",
                markup(&told(page, strip.table, &tile))
            );
            if let Some(ran) = tile.ran {
                let (y, shade) = (y + TILE + 1, 0.25 + 0.75 * ran as f64 / last as f64);
                let end = from + width;
                let _ = write!(out, "<path class=\"run\" opacity=\"{shade:.2}\" d=\"M{from:.1} {y}H{end:.1}\"/>");
            }
            out.push_str("</g>\n");
        }
    }
    axis.label(&mut out, strips.len() * ROW + ROW);
    out + "</svg>"
}

fn told<T: Tile>(page: &Page<'_>, table: TableId, tile: &Drawn<T>) -> String {
    let first = page.graph.show(page.versions, table, tile.first);
    let mut text = match tile.partitions {
        1 => first,
        many => {
            let last = page.graph.show(page.versions, table, tile.last);
            format!("{first} to {last}, {} partitions", count(many))
        }
    };
    let _ = write!(text, ": {}; {} rows", tile.worst.words(), count(tile.rows));
    if let Some(ran) = tile.ran {
        let _ = write!(text, "; number {} of {} in the last run", ran + 1, page.ran.len());
    }
    text
}

fn strips(page: &Page<'_>) -> Vec<Strip> {
    let mut strips = Vec::new();
    for (id, table) in page.graph.ids() {
        let mut by_entity: BTreeMap<EntityId, Vec<Key>> = BTreeMap::new();
        for (key, _) in page.staleness.partitions(id) {
            by_entity.entry(key.entity).or_default().push(key);
        }
        if by_entity.len() <= ENTITIES_MAX {
            let name = |entity| format!("{} {}", table.name, page.versions.entity_name(entity)).trim_end().to_owned();
            let own = by_entity.into_iter().map(|(entity, keys)| Strip { table: id, name: name(entity), keys });
            strips.extend(own);
        } else {
            let name = format!("{}, {} entities", table.name, count(by_entity.len() as u64));
            let mut keys: Vec<Key> = by_entity.into_values().flatten().collect();
            keys.sort_unstable();
            strips.push(Strip { table: id, name, keys });
        }
    }
    strips
}

/// The strip's partitions as at most `most` tiles.
fn tiles<T: Tile>(page: &Page<'_>, strip: &Strip, most: usize, of: &dyn Fn(TableId, Key) -> Option<T>) -> Vec<Drawn<T>> {
    let periods: Vec<&[Key]> = strip.keys.chunk_by(|a, b| a.period == b.period).collect();
    let mut tiles = Vec::new();
    for chunk in periods.chunks(periods.len().div_ceil(most).max(1)) {
        let mut drawn: Option<Drawn<T>> = None;
        for key in chunk.iter().copied().flatten() {
            let Some(state) = of(strip.table, *key) else { continue };
            let rows = page.versions.get(strip.table, *key).map_or(0, |state| state.rows);
            let ran = page.ran.get(&(strip.table, *key)).copied();
            match &mut drawn {
                None => drawn = Some(Drawn { first: *key, last: *key, partitions: 1, worst: state, rows, ran }),
                Some(tile) => {
                    (tile.last, tile.worst) = (*key, tile.worst.min(state));
                    tile.partitions += 1;
                    tile.rows += rows;
                    tile.ran = tile.ran.max(ran);
                }
            }
        }
        tiles.extend(drawn);
    }
    tiles
}

/// Hours from the first partition's beginning to the last one's end, on the page's width: of the tables with the finest
/// grain, so that one year does not make slivers of its days. What lies outside is drawn at the edge.
struct Axis {
    from: i64,
    to: i64,
}

impl Axis {
    fn new(page: &Page<'_>) -> Self {
        let mut axis = Self { from: i64::MAX, to: i64::MIN };
        let finest = page.graph.tables.iter().filter_map(Table::grain).min();
        for (id, table) in page.graph.ids() {
            let Some(grain) = table.grain().filter(|grain| Some(*grain) == finest) else { continue };
            for (key, _) in page.staleness.partitions(id) {
                axis.from = axis.from.min(grain.start_hours(key.period));
                axis.to = axis.to.max(grain.end_hours(key.period));
            }
        }
        if axis.from >= axis.to { Self { from: 0, to: 1 } } else { axis }
    }

    fn at(&self, hours: i64) -> f64 {
        let hours = hours.clamp(self.from, self.to);
        NAMES + WIDTH * (hours - self.from) as f64 / (self.to - self.from) as f64
    }

    /// Where the periods from `first` to `last` of a table lie; a table without time takes all.
    fn span(&self, table: &Table, first: i32, last: i32) -> (f64, f64) {
        match table.grain() {
            Some(grain) => (self.at(grain.start_hours(first)), self.at(grain.end_hours(last))),
            None => (NAMES, NAMES + WIDTH),
        }
    }

    fn label(&self, out: &mut String, y: usize) {
        for tenth in 0..5 {
            let hours = self.from + (self.to - self.from) * tenth / 5;
            let day = Grain::Day.format(Grain::Day.at_hours(hours));
            let _ = writeln!(out, "<text x=\"{:.1}\" y=\"{y}\">{day}</text>", self.at(hours));
        }
    }
}
