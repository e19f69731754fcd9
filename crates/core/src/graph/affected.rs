//! [`affected`]: what a change reaches, widened forward through windows, without a scan.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::mapping::{EntityMapping, Key, Mapping};
use super::versions::{EntityId, Versions};
use super::{Graph, TableId};

/// Partitions of a table that a change reaches. Where the table's periods have gaps, the range may reach across them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Affected {
    /// The table.
    pub table: TableId,
    /// The first period.
    pub from: i32,
    /// The last period.
    pub to: i32,
    /// The entity; `None` is all.
    pub entity: Option<EntityId>,
}

/// Ranges of periods by entity; `None` is all entities.
type Ranges = BTreeMap<Option<EntityId>, Vec<(i32, i32)>>;

/// What the changed partitions of a table reach, table by table, upstreams first: every partition that the change can make
/// stale. Its time goes with tables and ranges, not with partitions.
pub fn affected(graph: &Graph, versions: &Versions, table: TableId, changed: &[Key]) -> Vec<Affected> {
    let mut reached: Vec<Ranges> = vec![Ranges::new(); graph.tables.len()];
    for key in changed {
        reached[table.index()].entry(Some(key.entity)).or_default().push((key.period, key.period));
    }
    reached[table.index()].values_mut().for_each(join);
    let mut all = Vec::new();
    for (id, downstream) in graph.ids() {
        let hull = hull(versions, id);
        for edge in downstream.after.iter().filter(|edge| edge.upstream != id) {
            let from_upstream = reached[edge.upstream.index()].clone();
            for (entity, ranges) in from_upstream {
                let entity = match edge.mapping.entity {
                    EntityMapping::Same => entity,
                    EntityMapping::All if downstream.spec.entity.is_none() => Some(EntityId::NONE),
                    EntityMapping::All => None,
                };
                let fed = ranges.iter().filter_map(|range| fed(&edge.mapping, *range, hull, edge.drives));
                reached[id.index()].entry(entity).or_default().extend(fed);
            }
        }
        reached[id.index()].values_mut().for_each(join);
        if let Some(edge) = downstream.after.iter().find(|edge| edge.upstream == id) {
            to_the_end(&mut reached[id.index()], edge.mapping.entity, hull);
        }
        if id != table {
            let ranges =
                reached[id.index()].iter().flat_map(|(entity, ranges)| ranges.iter().map(move |range| (*entity, *range)));
            all.extend(ranges.map(|(entity, (from, to))| Affected { table: id, from, to, entity }));
        }
    }
    all
}

/// First and last period that a table has.
fn hull(versions: &Versions, table: TableId) -> Option<(i32, i32)> {
    let series = versions.series(table).iter();
    let ends = series.filter_map(|series| Some((*series.periods.first()?, *series.periods.last()?)));
    ends.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
}

/// What a range feeds of the partitions that are there, or that it makes expected.
fn fed(mapping: &Mapping, range: (i32, i32), hull: Option<(i32, i32)>, drives: bool) -> Option<(i32, i32)> {
    let feeds = mapping.feeds_periods(range);
    let driven = drives.then(|| mapping.drives_periods(range)).filter(|driven| driven.0 > i32::MIN && driven.1 < i32::MAX);
    let there = hull.map(|hull| (feeds.0.max(hull.0), feeds.1.min(hull.1))).filter(|(from, to)| from <= to);
    match (there, driven) {
        (Some(there), Some(driven)) => Some((there.0.min(driven.0), there.1.max(driven.1))),
        (there, driven) => there.or(driven),
    }
}

/// A table that is computed from its own earlier periods: what reaches one reaches all later ones.
fn to_the_end(ranges: &mut Ranges, entity: EntityMapping, hull: Option<(i32, i32)>) {
    let end = |(from, to): (i32, i32)| (from, hull.map_or(to, |hull| hull.1.max(to)));
    match entity {
        EntityMapping::Same => ranges.values_mut().for_each(|ranges| {
            ranges.iter_mut().for_each(|range| *range = end(*range));
            join(ranges);
        }),
        EntityMapping::All => {
            let first = ranges.values().flatten().copied().reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
            if let Some(range) = first {
                ranges.clear();
                ranges.insert(None, vec![end(range)]);
            }
        }
    }
}

/// Sorts ranges and joins those that touch.
fn join(ranges: &mut Vec<(i32, i32)>) {
    ranges.sort_unstable();
    ranges.dedup_by(|next, range| {
        let touches = next.0 <= range.1.saturating_add(1);
        if touches {
            range.1 = range.1.max(next.1);
        }
        touches
    });
}
