//! [`GraphPlan`]: what would run, in which order and why, against what coarser schedulers would run.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDateTime;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::mapping::{Key, Reach};
use super::reads::Sizes;
use super::remaining::Lines;
use super::spec::hex;
use super::stale::{Mark, Staleness};
use super::time::Grain;
use super::versions::{EntityId, Versions};
use super::wave::Wave;
use super::{Graph, Table, TableId};
use crate::table::Format;

/// Which stale partitions a plan takes; all by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// Tables; all when empty.
    pub tables: BTreeSet<String>,
    /// Partitions that end after this.
    pub from: Option<NaiveDateTime>,
    /// Partitions that begin before this.
    pub to: Option<NaiveDateTime>,
    /// Entities; all when empty. Tables without entity are taken.
    pub entities: BTreeSet<String>,
}

/// One partition to compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// The table.
    pub table: TableId,
    /// The partition.
    pub key: Key,
    /// Why.
    pub mark: Mark,
    /// Rows that it had last; `None` where it was never computed.
    pub rows: Option<u64>,
    /// Bytes that it had last; `None` where it was never computed.
    pub bytes: Option<u64>,
}

/// Partitions, and what is known of their size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Partitions.
    pub tasks: u64,
    /// Rows that they had last.
    pub rows: u64,
    /// Bytes that they had last.
    pub bytes: u64,
    /// Partitions that were never computed, which rows and bytes are without.
    pub unsized_tasks: u64,
}

/// What others would run for the same changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// Every partition of every computed table.
    pub full_graph: Totals,
    /// Every partition of the tables that must run and of what is computed from them.
    pub descendants: Totals,
    /// Of those, the partitions that overlap the time from the first to the last that must run.
    pub descendants_in_interval: Totals,
}

/// Partitions of one table, next to each other, that run for one reason: a line of the plan as people read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The table.
    pub table: String,
    /// The first period; `None` where the table has no time.
    pub from: Option<String>,
    /// The last period.
    pub to: Option<String>,
    /// The entities; empty where the table has none.
    pub entities: Vec<String>,
    /// Why.
    pub because: String,
    /// How much.
    pub totals: Totals,
}

/// What would run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GraphPlan {
    /// The graph's name.
    pub graph: String,
    /// [`Versions::sequence`] when it was planned.
    pub sequence: u64,
    /// The tasks in order: each after what it reads; newest periods first, and what is computed from them as soon as it
    /// can.
    pub tasks: Vec<Task>,
    /// Stale partitions that the filter takes and that wait for a migration's validation.
    pub held: u64,
    /// The tasks as people read them, upstreams first.
    pub groups: Vec<Group>,
    /// What the tasks come to.
    pub totals: Totals,
    /// Bytes of data files that the tasks read, where what they read is as it was last.
    pub read_bytes: u64,
    /// What others would run.
    pub comparison: Comparison,
}

/// A task as a scheduler hands it to a process that knows nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unit {
    /// The partition as people read it, `daily 2001-01-31 EU`: what `graph run-unit` takes.
    pub id: String,
    /// A digest of all else but `after` and `sequence`: equal work has equal digests.
    pub digest: String,
    /// The graph.
    pub graph: String,
    /// The table.
    pub table: String,
    /// Where it lies.
    pub location: String,
    /// Its format.
    pub format: Format,
    /// The period; `None` where the table has no time.
    pub period: Option<String>,
    /// The entity; `None` where the table has none, or where a fan-out's first run tells.
    pub entity: Option<String>,
    /// The digest of the logic.
    pub logic: String,
    /// The query.
    pub sql: Option<String>,
    /// The program and its arguments.
    pub command: Option<Vec<String>>,
    /// What it reads.
    pub reads: Vec<Read>,
    /// The units of the plan that it reads, by their ids.
    pub after: Vec<String>,
    /// [`Versions::sequence`] when it was planned.
    pub sequence: u64,
}

/// A range of an upstream's partitions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Read {
    /// The upstream.
    pub table: String,
    /// Where it lies.
    pub location: String,
    /// Its format.
    pub format: Format,
    /// The first period; `None` where there is no bound.
    pub from: Option<String>,
    /// The last period.
    pub to: Option<String>,
    /// The entity; `None` is all.
    pub entity: Option<String>,
}

impl GraphPlan {
    /// Plans what a scan found stale and the filter takes. What is held is left out. So is what is only stale because an
    /// upstream is that the plan leaves out: running it would give what it has.
    pub fn new(graph: &Graph, versions: &Versions, staleness: &Staleness, filter: &Filter) -> Self {
        let (planned, held) = select(graph, versions, staleness, filter);
        // Beside each other: of a million tasks either takes a second.
        let (tasks, (groups, comparison, totals, read_bytes)) = std::thread::scope(|scope| {
            let tasks = scope.spawn(|| in_running_order(graph, newest_first(graph, &planned)));
            let groups = groups(graph, versions, &planned);
            let comparison = compare(graph, versions, staleness, &planned);
            let totals = planned.iter().fold(Totals::default(), |totals, task| totals.with(task.rows, task.bytes));
            let sizes = Sizes::new(graph, versions);
            let read_bytes = planned.iter().map(|task| sizes.read_by(graph, task.table, task.key)).sum();
            (tasks.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), (groups, comparison, totals, read_bytes))
        });
        Self {
            graph: graph.name.clone(),
            sequence: versions.sequence(),
            tasks,
            held,
            groups,
            totals,
            read_bytes,
            comparison,
        }
    }

    /// A wave over the tasks, at its beginning.
    pub fn wave(&self, graph: &Graph) -> Wave {
        Wave::new(graph, self.tasks.clone())
    }

    /// The tasks with all that it takes to run them, in order.
    pub fn units(&self, graph: &Graph, versions: &Versions) -> Vec<Unit> {
        let mut keys: Vec<BTreeSet<Key>> = vec![BTreeSet::new(); graph.tables.len()];
        for task in &self.tasks {
            keys[task.table.index()].insert(task.key);
        }
        self.tasks.iter().map(|task| self.unit(graph, versions, task, &keys)).collect()
    }

    fn unit(&self, graph: &Graph, versions: &Versions, task: &Task, planned: &[BTreeSet<Key>]) -> Unit {
        let mut after = Vec::new();
        for edge in &graph.table(task.table).after {
            let reach = edge.mapping.needs(task.key);
            let first = Key { period: reach.from, entity: EntityId::NONE };
            let keys = planned[edge.upstream.index()].range(first..).take_while(|key| key.period <= reach.to);
            let needed = keys.filter(|key| reach.contains(**key));
            after.extend(needed.map(|key| graph.show(versions, edge.upstream, *key)));
        }
        Unit { after, sequence: self.sequence, ..Unit::new(graph, versions, task.table, task.key) }
    }
}

impl Unit {
    /// A partition with all that it takes to compute it; outside of a plan, at sequence 0.
    pub fn new(graph: &Graph, versions: &Versions, table: TableId, key: Key) -> Self {
        let of = graph.table(table);
        let reads = of.after.iter().map(|edge| read(graph, versions, edge.upstream, edge.mapping.needs(key)));
        let mut unit = Self {
            id: graph.show(versions, table, key),
            digest: String::new(),
            graph: graph.name.clone(),
            table: of.name.clone(),
            location: of.spec.location.clone(),
            format: of.spec.format,
            period: of.grain().map(|grain| grain.format(key.period)),
            entity: named(versions, key.entity),
            logic: of.logic.clone().unwrap_or_default(),
            sql: of.spec.sql.clone(),
            command: of.spec.command.clone(),
            reads: reads.collect(),
            after: Vec::new(),
            sequence: 0,
        };
        let json = serde_json::json!(unit).to_string();
        unit.digest = hex(&Sha256::digest(json)[..16]);
        unit
    }
}

impl Totals {
    fn with(mut self, rows: Option<u64>, bytes: Option<u64>) -> Self {
        self.tasks += 1;
        self.rows = self.rows.saturating_add(rows.unwrap_or(0));
        self.bytes = self.bytes.saturating_add(bytes.unwrap_or(0));
        self.unsized_tasks += u64::from(rows.is_none());
        self
    }
}

impl Filter {
    fn takes(&self, table: &Table, versions: &Versions, key: Key) -> bool {
        let named = self.entities.is_empty()
            || key.entity == EntityId::NONE
            || self.entities.contains(versions.entity_name(key.entity));
        let hours = |time: NaiveDateTime| Grain::Hour.at(time);
        let timely = table.grain().is_none_or(|grain| {
            self.from.is_none_or(|from| grain.end_hours(key.period) > i64::from(hours(from)))
                && self.to.is_none_or(|to| grain.start_hours(key.period) < i64::from(hours(to)))
        });
        named && timely && (self.tables.is_empty() || self.tables.contains(&table.name))
    }
}

impl std::fmt::Display for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.table)?;
        match (&self.from, &self.to) {
            (Some(from), Some(to)) if from != to => write!(f, ": {from}..{to}")?,
            (Some(from), _) => write!(f, ": {from}")?,
            (None, _) => {}
        }
        match self.entities.as_slice() {
            [] => {}
            [one] => write!(f, ", {one}")?,
            several => write!(f, ", {} entities", several.len())?,
        }
        write!(f, ", because {}", self.because)
    }
}

/// The tasks, table by table, upstreams first; and how many partitions are held.
fn select(graph: &Graph, versions: &Versions, staleness: &Staleness, filter: &Filter) -> (Vec<Task>, u64) {
    let (mut tasks, mut held) = (Vec::new(), 0);
    let mut lines: Vec<Lines> = Vec::with_capacity(graph.tables.len());
    for (id, table) in graph.ids() {
        let mut candidates: Vec<(Key, Mark)> =
            staleness.stale(id).filter(|(key, _)| filter.takes(table, versions, *key)).collect();
        // A table that reads its own earlier periods.
        candidates.sort_unstable_by_key(|(key, _)| *key);
        let mut own = Own::default();
        let mut chosen = Vec::new();
        for (key, mark) in candidates {
            if mark.any(Mark::HELD) {
                held += 1;
                continue;
            }
            let reads_planned = || {
                table.after.iter().any(|edge| {
                    let reach = edge.mapping.needs(key);
                    if edge.upstream == id {
                        return own.any(reach);
                    }
                    let (_, from, to) = lines[edge.upstream.index()].range(reach);
                    from < to
                })
            };
            if mark.must_run() || reads_planned() {
                own.latest(key);
                chosen.push((key, 0));
                let state = versions.get(id, key);
                let (rows, bytes) = (state.map(|state| state.rows), state.map(|state| state.bytes));
                tasks.push(Task { table: id, key, mark, rows, bytes });
            }
        }
        lines.push(Lines::new(&chosen));
    }
    (tasks, held)
}

/// The latest two planned periods of every entity, and of all, as a table's tasks are chosen in the order of time.
#[derive(Default)]
struct Own(BTreeMap<Option<EntityId>, (Option<i32>, i32)>);

impl Own {
    fn latest(&mut self, key: Key) {
        for entity in [None, Some(key.entity)] {
            let (before, latest) = self.0.entry(entity).or_insert((None, key.period));
            if *latest < key.period {
                (*before, *latest) = (Some(*latest), key.period);
            }
        }
    }

    /// Whether a reach that ends before the period that is chosen now has a task.
    fn any(&self, reach: Reach) -> bool {
        self.0.get(&reach.entity).is_some_and(|(before, latest)| {
            let newest = if *latest <= reach.to { Some(*latest) } else { *before };
            newest.is_some_and(|newest| newest >= reach.from)
        })
    }
}

/// Later beginnings first; at one time, what is computed from others first, so that what can be finished is. The tasks come table by
/// table, each table's by period and entity.
fn newest_first(graph: &Graph, tasks: &[Task]) -> Vec<Task> {
    let grains: Vec<Option<Grain>> = graph.tables.iter().map(Table::grain).collect();
    let start = |task: &Task| grains[task.table.index()].map_or(i64::MIN, |grain| grain.start_hours(task.key.period));
    // Entities keep their order, so a period of a table is moved as a whole.
    let mut periods: Vec<&[Task]> = tasks.chunk_by(|a, b| (a.table, a.key.period) == (b.table, b.key.period)).collect();
    periods.sort_by_cached_key(|period| std::cmp::Reverse((start(&period[0]), period[0].table)));
    periods.concat()
}

/// The order in which a wave with one runner takes the tasks.
fn in_running_order(graph: &Graph, tasks: Vec<Task>) -> Vec<Task> {
    let mut wave = Wave::new(graph, tasks);
    let mut order = Vec::with_capacity(wave.tasks().len());
    while let Some(next) = wave.start_next() {
        order.push(wave.tasks()[next]);
        wave.done(next, true);
    }
    order
}

fn named(versions: &Versions, entity: EntityId) -> Option<String> {
    (entity != EntityId::NONE).then(|| versions.entity_name(entity).to_owned())
}

fn read(graph: &Graph, versions: &Versions, table: TableId, reach: Reach) -> Read {
    let table = graph.table(table);
    let bounded = |period: i32| period != i32::MIN && period != i32::MAX;
    let shown = |period| table.grain().filter(|_| bounded(period)).map(|grain| grain.format(period));
    Read {
        table: table.name.clone(),
        location: table.spec.location.clone(),
        format: table.spec.format,
        from: shown(reach.from),
        to: shown(reach.to),
        entity: reach.entity.and_then(|entity| named(versions, entity)),
    }
}

/// Runs of neighbouring periods that have one reason and the same entities.
fn groups(graph: &Graph, versions: &Versions, tasks: &[Task]) -> Vec<Group> {
    let mut groups = Vec::new();
    for tasks in tasks.chunk_by(|a, b| a.table == b.table) {
        let Some(id) = tasks.first().map(|task| task.table) else { continue };
        let mut by_mark: BTreeMap<u8, Vec<&Task>> = BTreeMap::new();
        for task in tasks {
            by_mark.entry(urgency(task.mark)).or_default().push(task);
        }
        for tasks in by_mark.into_values() {
            // Tasks of a table come by period and entity.
            let periods: Vec<&[&Task]> = tasks.chunk_by(|a, b| a.key.period == b.key.period).collect();
            for run in periods.chunk_by(|a, b| neighbours(a, b)) {
                groups.push(group(graph, versions, id, run));
            }
        }
    }
    groups
}

fn neighbours(a: &[&Task], b: &[&Task]) -> bool {
    a[0].key.period.checked_add(1) == Some(b[0].key.period)
        && a.len() == b.len()
        && a.iter().zip(b).all(|(a, b)| a.key.entity == b.key.entity)
}

fn group(graph: &Graph, versions: &Versions, id: TableId, run: &[&[&Task]]) -> Group {
    let table = graph.table(id);
    let (first, last) = (run[0][0], run[run.len() - 1][0]);
    let shown = |task: &Task| table.grain().map(|grain| grain.format(task.key.period));
    let tasks = run.iter().copied().flatten();
    Group {
        table: table.name.clone(),
        from: shown(first),
        to: shown(last),
        entities: run[0].iter().filter_map(|task| named(versions, task.key.entity)).collect(),
        because: because(graph, versions, table, first),
        totals: tasks.fold(Totals::default(), |totals, task| totals.with(task.rows, task.bytes)),
    }
}

/// The reason that is told of a partition that has several.
fn urgency(mark: Mark) -> u8 {
    let all = [Mark::MISSING, Mark::FOREIGN, Mark::LOGIC, Mark::MOVED];
    all.iter().zip(0..).find(|(one, _)| mark.any(**one)).map_or(4, |(_, at)| at)
}

fn because(graph: &Graph, versions: &Versions, table: &Table, task: &Task) -> String {
    let upstreams = |which: &dyn Fn(&super::Edge) -> bool| {
        let names = table.after.iter().filter(|edge| which(edge)).map(|edge| graph.table(edge.upstream).name.as_str());
        names.collect::<Vec<_>>().join(" and ")
    };
    match urgency(task.mark) {
        0 => "it is missing".to_owned(),
        1 => "somebody else wrote to it".to_owned(),
        2 => "its logic changed".to_owned(),
        3 => {
            let read_at = versions.get(task.table, task.key).map_or(u64::MAX, |state| state.read_at);
            let moved = |edge: &super::Edge| {
                versions.newest(edge.upstream, edge.mapping.needs(task.key)).is_some_and(|newest| newest > read_at)
            };
            format!("{} moved", upstreams(&moved))
        }
        _ => format!("{} may change", upstreams(&|_| true)),
    }
}

fn compare(graph: &Graph, versions: &Versions, staleness: &Staleness, tasks: &[Task]) -> Comparison {
    let mut comparison = Comparison::default();
    let must: Vec<&Task> = tasks.iter().filter(|task| task.mark.must_run()).collect();
    let mut descends = vec![false; graph.tables.len()];
    must.iter().for_each(|task| descends[task.table.index()] = true);
    let (mut begin, mut end) = (i64::MAX, i64::MIN);
    for task in must {
        let grain = graph.table(task.table).grain();
        let (from, to) = grain
            .map_or((i64::MIN, i64::MAX), |grain| (grain.start_hours(task.key.period), grain.end_hours(task.key.period)));
        // A table without time says nothing of the interval.
        if grain.is_some() {
            (begin, end) = (begin.min(from), end.max(to));
        }
    }
    if begin > end {
        (begin, end) = (i64::MIN, i64::MAX);
    }
    for (id, table) in graph.ids().filter(|(_, table)| !table.is_source()) {
        descends[id.index()] |= table.after.iter().any(|edge| descends[edge.upstream.index()]);
        let grain = table.grain();
        for (key, _) in staleness.partitions(id) {
            let state = versions.get(id, key);
            let (rows, bytes) = (state.map(|state| state.rows), state.map(|state| state.bytes));
            let add = |totals: &mut Totals| *totals = totals.with(rows, bytes);
            add(&mut comparison.full_graph);
            if descends[id.index()] {
                add(&mut comparison.descendants);
                if grain.is_none_or(|grain| grain.start_hours(key.period) < end && begin < grain.end_hours(key.period)) {
                    add(&mut comparison.descendants_in_interval);
                }
            }
        }
    }
    comparison
}
