//! [`Staleness`]: which partitions of computed tables are not what a full rebuild would give.
//!
//! The scan goes through the tables, upstreams first, and slides every edge's window along the periods, so that it costs
//! time by the number of partitions, not by what they read.

use std::collections::{BTreeMap, VecDeque};
use std::ops::BitOr;

use serde::{Deserialize, Serialize};

use super::mapping::{EntityMapping, Key, Mapping, TimeMapping};
use super::time::TIMELESS;
use super::versions::{EntityId, LogicId, Versions};
use super::{Graph, Table, TableId};

/// Partitions that a migration writes: they and what is computed from them wait until it is validated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// The table.
    pub table: TableId,
    /// First and last period; `i32::MIN` and `i32::MAX` are without bound.
    pub periods: (i32, i32),
    /// The entity; `None` is all.
    pub entity: Option<EntityId>,
    /// Who holds them: a migration's name.
    pub by: String,
}

impl Hold {
    /// Whether it holds a partition.
    pub fn covers(&self, table: TableId, key: Key) -> bool {
        let (from, to) = self.periods;
        self.table == table && (from..=to).contains(&key.period) && self.entity.is_none_or(|entity| entity == key.entity)
    }
}

/// What is the matter with a partition; several things at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mark(u8);

impl Mark {
    /// Nothing.
    pub const FRESH: Self = Self(0);
    /// It is expected and was never computed.
    pub const MISSING: Self = Self(1);
    /// It was computed by another logic.
    pub const LOGIC: Self = Self(2);
    /// An upstream partition moved after it was read.
    pub const MOVED: Self = Self(4);
    /// An upstream partition is stale and may move.
    pub const UPSTREAM: Self = Self(8);
    /// It, or something that it is computed from, is under migration. Not staleness.
    pub const HELD: Self = Self(16);
    /// Somebody else wrote to it.
    pub const FOREIGN: Self = Self(32);

    /// Whether it has any of these.
    pub fn any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether a full rebuild might give something else.
    pub fn is_stale(self) -> bool {
        self.must_run() || self.any(Self::UPSTREAM)
    }

    /// Whether it must run, whatever its upstreams come to.
    pub fn must_run(self) -> bool {
        self.any(Self::MISSING | Self::FOREIGN | Self::LOGIC | Self::MOVED)
    }
}

impl BitOr for Mark {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The partitions that a table has or should have, of one entity, by period.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) periods: Vec<i32>,
    /// 0 where it was never computed.
    pub(super) versions: Vec<u64>,
    /// What it was computed from; `u64::MAX` where it was never computed, so that nothing moved since.
    pub(super) read_at: Vec<u64>,
    pub(super) marks: Vec<Mark>,
}

/// What a scan found: every partition that a table has or should have, with its marks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staleness {
    tables: Vec<BTreeMap<EntityId, Rows>>,
}

impl Staleness {
    /// Scans all tables.
    pub fn scan(graph: &Graph, versions: &Versions, holds: &[Hold]) -> Self {
        let mut scan = Self { tables: Vec::with_capacity(graph.tables.len()) };
        // All entities of a table in one, for the edges that read them so.
        let mut merged: BTreeMap<TableId, Rows> = BTreeMap::new();
        for (id, table) in graph.ids() {
            let mut rows = scan.expected(table, id, versions, &merged);
            mark_own(table, id, versions, holds, &mut rows);
            for edge in table.after.iter().filter(|edge| edge.upstream != id) {
                for (entity, rows) in &mut rows {
                    let upstream = match edge.mapping.entity {
                        EntityMapping::All => merged.get(&edge.upstream),
                        EntityMapping::Same => scan.tables[edge.upstream.index()].get(entity),
                    };
                    if let Some(upstream) = upstream {
                        mark_edge(&edge.mapping, upstream, rows);
                    }
                }
            }
            mark_self(table, id, &mut rows);
            merged.insert(id, merge(&rows));
            scan.tables.push(rows);
        }
        scan
    }

    /// What is the matter with a partition; `None` where the table neither has nor should have it.
    pub fn mark(&self, table: TableId, key: Key) -> Option<Mark> {
        let rows = self.tables.get(table.index())?.get(&key.entity)?;
        rows.periods.binary_search(&key.period).ok().map(|at| rows.marks[at])
    }

    /// Every partition that a table has or should have, by entity and period.
    pub fn partitions(&self, table: TableId) -> impl Iterator<Item = (Key, Mark)> {
        self.tables.get(table.index()).into_iter().flatten().flat_map(|(entity, rows)| {
            let keys = rows.periods.iter().map(|period| Key { period: *period, entity: *entity });
            keys.zip(rows.marks.iter().copied())
        })
    }

    /// The stale partitions of a table, by entity and period.
    pub fn stale(&self, table: TableId) -> impl Iterator<Item = (Key, Mark)> {
        self.partitions(table).filter(|(_, mark)| mark.is_stale())
    }

    /// The partitions of a table that a downstream partition reads, by entity and period.
    pub(super) fn reached(&self, table: TableId, reach: super::Reach) -> impl Iterator<Item = (Key, Mark)> {
        let entities = self.tables.get(table.index()).into_iter().flatten();
        entities.filter(move |(entity, _)| reach.entity.is_none_or(|only| only == **entity)).flat_map(
            move |(entity, rows)| {
                let (from, to) = rows.between(reach.from, reach.to);
                (from..to).map(|at| (Key { period: rows.periods[at], entity: *entity }, rows.marks[at]))
            },
        )
    }

    fn expected(
        &self,
        table: &Table,
        id: TableId,
        versions: &Versions,
        merged: &BTreeMap<TableId, Rows>,
    ) -> BTreeMap<EntityId, Rows> {
        let mut periods: BTreeMap<EntityId, Vec<i32>> = BTreeMap::new();
        for series in versions.series(id) {
            periods.insert(series.entity, series.periods.clone());
        }
        let declared = table.spec.entity.iter().flat_map(|entity| &entity.values);
        for entity in declared.filter_map(|name| versions.entity_id(name)) {
            periods.entry(entity).or_default();
        }
        if table.spec.entity.is_none() {
            periods.entry(EntityId::NONE).or_default();
        }
        for edge in table.after.iter().filter(|edge| edge.drives) {
            match edge.mapping.entity {
                EntityMapping::Same => {
                    for (entity, rows) in &self.tables[edge.upstream.index()] {
                        periods.entry(*entity).or_default().extend(driven(&edge.mapping, rows));
                    }
                }
                EntityMapping::All => {
                    let driven = merged.get(&edge.upstream).map_or(vec![], |rows| driven(&edge.mapping, rows));
                    // Which entities a fan-out will give is not known before the first run.
                    if periods.is_empty() {
                        periods.insert(EntityId::NONE, Vec::new());
                    }
                    periods.values_mut().for_each(|periods| periods.extend(&driven));
                }
            }
        }
        let rows = |mut periods: Vec<i32>| {
            periods.sort_unstable();
            periods.dedup();
            let count = periods.len();
            Rows { periods, versions: vec![0; count], read_at: vec![u64::MAX; count], marks: vec![Mark::FRESH; count] }
        };
        periods.into_iter().map(|(entity, periods)| (entity, rows(periods))).collect()
    }
}

impl Rows {
    /// The indexes of the periods from `from` to `to`.
    pub(super) fn between(&self, from: i32, to: i32) -> (usize, usize) {
        let first = self.periods.partition_point(|period| *period < from);
        (first, self.periods.partition_point(|period| *period <= to).max(first))
    }
}

/// The downstream's periods that an upstream's make expected.
fn driven(mapping: &Mapping, upstream: &Rows) -> Vec<i32> {
    let Some(first) = upstream.periods.first() else { return vec![] };
    if mapping.downstream.is_none() {
        return vec![TIMELESS];
    }
    if mapping.time == TimeMapping::All || mapping.upstream.is_none() {
        return vec![];
    }
    let mut periods = Vec::new();
    let mut next = mapping.drives_periods((*first, *first)).0;
    for period in &upstream.periods {
        let (from, to) = mapping.drives_periods((*period, *period));
        periods.extend(from.max(next)..=to);
        next = next.max(to.saturating_add(1));
    }
    periods
}

/// The marks that a partition has by itself.
fn mark_own(table: &Table, id: TableId, versions: &Versions, holds: &[Hold], rows: &mut BTreeMap<EntityId, Rows>) {
    let logic = table.logic.as_deref().map(|digest| versions.logic_id(digest));
    for series in versions.series(id) {
        let Some(rows) = rows.get_mut(&series.entity) else { continue };
        let mut at = 0;
        for (period, state) in series.periods.iter().zip(&series.states) {
            // Whatever was recorded is among the rows.
            while rows.periods[at] < *period {
                at += 1;
            }
            (rows.versions[at], rows.read_at[at]) = (state.version, state.read_at);
            rows.marks[at] = match logic {
                Some(_) if state.logic == LogicId::NONE => Mark::FOREIGN,
                Some(logic) if logic != Some(state.logic) => Mark::LOGIC,
                _ => Mark::FRESH,
            };
        }
    }
    if logic.is_some() {
        for rows in rows.values_mut() {
            let missing = rows.read_at.iter().zip(&mut rows.marks).filter(|(read_at, _)| **read_at == u64::MAX);
            missing.for_each(|(_, mark)| *mark = Mark::MISSING);
        }
    }
    for hold in holds.iter().filter(|hold| hold.table == id) {
        for (entity, rows) in &mut *rows {
            if hold.entity.is_none_or(|only| only == *entity) {
                let (from, to) = rows.between(hold.periods.0, hold.periods.1);
                rows.marks[from..to].iter_mut().for_each(|mark| *mark = *mark | Mark::HELD);
            }
        }
    }
}

/// Slides the edge's window along the downstream's periods. Its bounds never fall, so every upstream row enters and leaves
/// once; the greatest version is at the front of a queue of falling ones.
fn mark_edge(mapping: &Mapping, upstream: &Rows, rows: &mut Rows) {
    let (mut entered, mut greatest) = (0, VecDeque::new());
    let (mut last_stale, mut last_held) = (None, None);
    for ((period, read_at), mark) in rows.periods.iter().zip(&rows.read_at).zip(&mut rows.marks) {
        let (from, to) = mapping.needs_periods(*period);
        while entered < upstream.periods.len() && upstream.periods[entered] <= to {
            while greatest.back().is_some_and(|back: &usize| upstream.versions[*back] <= upstream.versions[entered]) {
                greatest.pop_back();
            }
            greatest.push_back(entered);
            let upstream_mark = upstream.marks[entered];
            if upstream_mark.is_stale() {
                last_stale = Some(upstream.periods[entered]);
            }
            if upstream_mark.any(Mark::HELD) {
                last_held = Some(upstream.periods[entered]);
            }
            entered += 1;
        }
        while greatest.front().is_some_and(|front| upstream.periods[*front] < from) {
            greatest.pop_front();
        }
        let moved = greatest.front().is_some_and(|at| upstream.versions[*at] > *read_at);
        let given = |last: Option<i32>, given| if last.is_some_and(|last| last >= from) { given } else { Mark::FRESH };
        *mark = *mark | given(last_stale, Mark::UPSTREAM) | given(last_held, Mark::HELD);
        *mark = *mark | if moved { Mark::MOVED } else { Mark::FRESH };
    }
}

/// The edge from a table to itself: it needs strictly earlier periods, so one pass in their order has their marks.
fn mark_self(table: &Table, id: TableId, rows: &mut BTreeMap<EntityId, Rows>) {
    let Some(edge) = table.after.iter().find(|edge| edge.upstream == id) else { return };
    let all = edge.mapping.entity == EntityMapping::All;
    let merged = all.then(|| merge(rows));
    for rows in rows.values_mut() {
        match &merged {
            Some(merged) => mark_edge(&edge.mapping, merged, rows),
            None => mark_edge(&edge.mapping, &rows.clone(), rows),
        }
    }
    let mut order: Vec<(i32, EntityId, usize)> = Vec::new();
    for (entity, rows) in &*rows {
        order.extend(rows.periods.iter().enumerate().map(|(at, period)| (*period, *entity, at)));
    }
    order.sort_unstable();
    for marks in [(Mark::UPSTREAM, true), (Mark::HELD, false)] {
        let (given, of_stale) = marks;
        let mut last: BTreeMap<EntityId, (Option<i32>, Option<i32>)> = BTreeMap::new();
        for (period, entity, at) in &order {
            let Some(rows) = rows.get_mut(entity) else { continue };
            let (before, latest) = last.entry(if all { EntityId::NONE } else { *entity }).or_default();
            if latest.is_some_and(|latest| latest < *period) {
                *before = *latest;
            }
            if before.is_some_and(|before| before >= edge.mapping.needs_periods(*period).0) {
                rows.marks[*at] = rows.marks[*at] | given;
            }
            let has = if of_stale { rows.marks[*at].is_stale() } else { rows.marks[*at].any(Mark::HELD) };
            if has {
                *latest = Some(*period);
            }
        }
    }
}

/// All entities in one: the greatest version and all marks of every period.
fn merge(rows: &BTreeMap<EntityId, Rows>) -> Rows {
    let mut all: Vec<(i32, u64, Mark)> = Vec::new();
    for rows in rows.values() {
        all.extend(
            rows.periods
                .iter()
                .zip(&rows.versions)
                .zip(&rows.marks)
                .map(|((period, version), mark)| (*period, *version, *mark)),
        );
    }
    all.sort_unstable_by_key(|(period, ..)| *period);
    let mut merged = Rows::default();
    for (period, version, mark) in all {
        if merged.periods.last() == Some(&period) {
            let at = merged.periods.len() - 1;
            merged.versions[at] = merged.versions[at].max(version);
            merged.marks[at] = merged.marks[at] | mark;
        } else {
            merged.periods.push(period);
            merged.versions.push(version);
            merged.read_at.push(u64::MAX);
            merged.marks.push(mark);
        }
    }
    merged
}
