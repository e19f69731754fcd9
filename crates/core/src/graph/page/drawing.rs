//! The tables as boxes, column by column, and what is computed from what as lines between them.

use std::fmt::Write;

use super::Page;
use crate::graph::{Graph, TableId};
use crate::report::text::{count, cut, markup};

const WIDTH: usize = 170;
const HEIGHT: usize = 42;
const GAP_X: usize = 70;
const GAP_Y: usize = 16;
const NAME_CHARS_MAX: usize = 24;

pub(super) fn draw(page: &Page<'_>) -> String {
    let graph = page.graph;
    let places = places(graph);
    let columns = places.iter().map(|(column, _)| column + 1).max().unwrap_or(1);
    let rows = places.iter().map(|(_, row)| row + 1).max().unwrap_or(1);
    let (width, height) = (columns * (WIDTH + GAP_X) - GAP_X + 4, rows * (HEIGHT + GAP_Y) - GAP_Y + 4);
    let corner = |id: TableId| {
        let (column, row) = places[id.index()];
        (column * (WIDTH + GAP_X) + 2, row * (HEIGHT + GAP_Y) + 2)
    };
    let mut out =
        format!("<svg class=\"graph\" role=\"img\" aria-label=\"tables and edges\" viewBox=\"0 0 {width} {height}\">\n");
    // Writing to a String cannot fail.
    for (id, table) in graph.ids() {
        for edge in table.after.iter().filter(|edge| edge.upstream != id) {
            let ((x1, y1), (x2, y2)) = (corner(edge.upstream), corner(id));
            let (x1, y1, y2) = (x1 + WIDTH, y1 + HEIGHT / 2, y2 + HEIGHT / 2);
            let middle = x1.midpoint(x2);
            let told = format!("{} → {}: {}", graph.table(edge.upstream).name, table.name, edge.mapping);
            let _ = writeln!(
                out,
                "<path d=\"M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}\"><title>{}</title></path>",
                markup(&told)
            );
        }
    }
    for (id, table) in graph.ids() {
        let (x, y) = corner(id);
        let (partitions, stale) = (page.staleness.partitions(id).count(), page.staleness.stale(id).count());
        let class = if stale > 0 { " class=\"stale\"" } else { "" };
        let own =
            table.after.iter().find(|edge| edge.upstream == id).map(|edge| format!(", reads itself: {}", edge.mapping));
        let told = format!("{} ({}){}", table.name, table.spec.format, own.unwrap_or_default());
        let size = format!("{} of {} stale", count(stale as u64), count(partitions as u64));
        let size = if table.is_source() { format!("source, {} partitions", count(partitions as u64)) } else { size };
        let _ = writeln!(
            out,
            "<g data-table=\"{0}\"><title>{1}</title><rect x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
             rx=\"6\"{class}/><text x=\"{2}\" y=\"{3}\">{4}</text><text class=\"dim\" x=\"{2}\" y=\"{5}\">{6}</text></g>",
            markup(&table.name),
            markup(&told),
            x + 9,
            y + 18,
            markup(&cut(&table.name, NAME_CHARS_MAX)),
            y + 33,
            size
        );
    }
    out + "</svg>"
}

/// Column and row of every table: as far right as its longest way from a source, and in the order of its upstreams.
fn places(graph: &Graph) -> Vec<(usize, usize)> {
    let mut places: Vec<(usize, usize)> = Vec::with_capacity(graph.tables.len());
    let mut rows: Vec<usize> = Vec::new();
    for (id, table) in graph.ids() {
        let upstreams = table.after.iter().map(|edge| edge.upstream).filter(|upstream| *upstream != id);
        let column = upstreams.map(|upstream| places[upstream.index()].0 + 1).max().unwrap_or(0);
        rows.resize(rows.len().max(column + 1), 0);
        places.push((column, rows[column]));
        rows[column] += 1;
    }
    places
}
