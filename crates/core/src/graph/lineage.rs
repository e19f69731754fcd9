//! [`History`] and [`Lineage`]: which logics the rows of a partition rest on, by what was read when it was computed, not by what
//! its upstreams are now.
//!
//! Versions come from one sequence, so "what was read" is, for every upstream partition, its last version up to the
//! reader's `read_at`. Where an upstream was computed anew since and came out as it was, the later logic stands for the
//! version: its rows are what that logic gives as well.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::mapping::{Key, Reach};
use super::versions::{EntityId, LogicId, State};
use super::{Graph, TableId};

/// One version that a partition had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Past {
    /// The version.
    pub version: u64,
    /// It was computed from the upstream versions up to this one.
    pub read_at: u64,
    /// The logic that gave it, the latest where several did; [`LogicId::NONE`] in a source.
    pub logic: LogicId,
}

/// Every version that every partition had, by table and partition, ascending.
#[derive(Debug, Clone, Default)]
pub struct History {
    tables: Vec<BTreeMap<Key, Vec<Past>>>,
}

/// A partition as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reading {
    /// The table.
    pub table: TableId,
    /// Its partition.
    pub key: Key,
    /// The version that was read.
    pub version: u64,
    /// The logic that gave it.
    pub logic: LogicId,
}

impl History {
    /// Adds a state; to be called in the order in which states were recorded.
    pub fn record(&mut self, table: TableId, key: Key, state: &State) {
        if self.tables.len() <= table.index() {
            self.tables.resize(table.index() + 1, BTreeMap::new());
        }
        let pasts = self.tables[table.index()].entry(key).or_default();
        let past = Past { version: state.version, read_at: state.read_at, logic: state.logic };
        match pasts.last_mut() {
            Some(last) if last.version == state.version => *last = past,
            _ => pasts.push(past),
        }
    }

    /// The partitions in reach, each with its place among its versions as they were when the sequence stood at `read_at`.
    fn read(&self, table: TableId, reach: Reach, read_at: u64) -> impl Iterator<Item = (Key, usize)> {
        let first = Key { period: reach.from, entity: EntityId::NONE };
        let last = Key { period: reach.to, entity: EntityId(u32::MAX) };
        let partitions = self.tables.get(table.index()).map(|partitions| partitions.range(first..=last));
        let wanted = partitions.into_iter().flatten().filter(move |(key, _)| reach.contains(**key));
        wanted.filter_map(move |(key, pasts)| {
            Some((*key, pasts.partition_point(|past| past.version <= read_at).checked_sub(1)?))
        })
    }

    /// Every version of every partition of a table, ascending.
    pub fn pasts(&self, table: TableId) -> impl Iterator<Item = (Key, &[Past])> {
        self.tables.get(table.index()).into_iter().flatten().map(|(key, pasts)| (*key, pasts.as_slice()))
    }

    fn past(&self, table: TableId, key: Key, at: usize) -> Option<Past> {
        self.tables.get(table.index())?.get(&key)?.get(at).copied()
    }

    /// All that a partition was computed from, directly and through others, itself first; nearest first. Its time goes with
    /// what it reports.
    pub fn read_by(&self, graph: &Graph, table: TableId, key: Key) -> Vec<Reading> {
        let reach = Reach { from: key.period, to: key.period, entity: Some(key.entity) };
        self.below(graph, self.read(table, reach, u64::MAX).map(|(key, at)| (table, key, at)))
    }

    /// The tables of which a partition that `logic` computes now, from versions up to `read_at`, mixes several logics.
    pub fn mixes_of(&self, graph: &Graph, table: TableId, key: Key, logic: LogicId, read_at: u64) -> BTreeSet<TableId> {
        let direct = graph.table(table).after.iter().flat_map(|edge| {
            let read = self.read(edge.upstream, edge.mapping.needs(key), read_at);
            read.map(move |(key, at)| (edge.upstream, key, at))
        });
        let mut logics: Logics = self.below(graph, direct).iter().map(|reading| (reading.table, reading.logic)).collect();
        logics.insert((table, logic));
        let tables: Vec<TableId> = logics.into_iter().map(|(table, _)| table).collect();
        tables.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect()
    }

    /// Versions of partitions and all that they were computed from, breadth first.
    fn below(&self, graph: &Graph, from: impl Iterator<Item = (TableId, Key, usize)>) -> Vec<Reading> {
        let mut queue: VecDeque<_> = from.collect();
        let (mut seen, mut all): (BTreeSet<_>, _) = (queue.iter().copied().collect(), Vec::new());
        while let Some((table, key, at)) = queue.pop_front() {
            let Some(Past { version, read_at, logic }) = self.past(table, key, at) else { continue };
            all.push(Reading { table, key, version, logic });
            for edge in &graph.table(table).after {
                for (key, at) in self.read(edge.upstream, edge.mapping.needs(key), read_at) {
                    if seen.insert((edge.upstream, key, at)) {
                        queue.push_back((edge.upstream, key, at));
                    }
                }
            }
        }
        all
    }
}

/// Logics of tables, in order.
type Logics = BTreeSet<(TableId, LogicId)>;

/// The logics that every partition rests on. Found table by table, upstreams first, with one set for all partitions that rest
/// on the same.
#[derive(Debug)]
pub struct Lineage {
    sets: Vec<Logics>,
    /// The set of every partition as it is now, by table.
    tables: Vec<HashMap<Key, usize>>,
}

impl Lineage {
    /// Finds the logics below all partitions of all tables.
    pub fn new(graph: &Graph, history: &History) -> Self {
        let mut sets = Sets::default();
        // By table and partition, the set of each of its versions.
        let mut below: Vec<HashMap<Key, Vec<usize>>> = vec![HashMap::new(); graph.tables.len()];
        for (id, table) in graph.ids() {
            // A table that reads itself reads earlier periods, and partitions come by period.
            for (key, pasts) in history.pasts(id) {
                for past in pasts {
                    let mut parts: BTreeSet<usize> = BTreeSet::new();
                    for edge in &table.after {
                        let read = history.read(edge.upstream, edge.mapping.needs(key), past.read_at);
                        let known = &below[edge.upstream.index()];
                        parts.extend(read.filter_map(|(key, at)| known.get(&key)?.get(at)));
                    }
                    let own = (!table.is_source()).then_some((id, past.logic));
                    let set = sets.joined(parts, own);
                    below[id.index()].entry(key).or_default().push(set);
                }
            }
        }
        let now = |partitions: HashMap<Key, Vec<usize>>| {
            partitions.into_iter().filter_map(|(key, sets)| Some((key, *sets.last()?))).collect()
        };
        Self { sets: sets.all, tables: below.into_iter().map(now).collect() }
    }

    /// The tables of which a partition mixes what several logics computed, with these logics; empty where it mixes none.
    pub fn mixes(&self, table: TableId, key: Key) -> BTreeMap<TableId, Vec<LogicId>> {
        let mut by_table: BTreeMap<TableId, Vec<LogicId>> = BTreeMap::new();
        let set = self.tables.get(table.index()).and_then(|partitions| partitions.get(&key));
        for (table, logic) in set.into_iter().flat_map(|set| &self.sets[*set]) {
            by_table.entry(*table).or_default().push(*logic);
        }
        by_table.retain(|_, logics| logics.len() > 1);
        by_table
    }
}

/// Sets that are put together, and the logic that comes to them.
type Join = (BTreeSet<usize>, Option<(TableId, LogicId)>);

/// Each set once.
#[derive(Default)]
struct Sets {
    all: Vec<Logics>,
    ids: HashMap<Logics, usize>,
    joins: HashMap<Join, usize>,
}

impl Sets {
    fn joined(&mut self, parts: BTreeSet<usize>, own: Option<(TableId, LogicId)>) -> usize {
        if let Some(known) = self.joins.get(&(parts.clone(), own)) {
            return *known;
        }
        let mut set: Logics = parts.iter().flat_map(|part| self.all[*part].iter().copied()).collect();
        set.extend(own);
        let next = self.all.len();
        let id = *self.ids.entry(set.clone()).or_insert(next);
        if id == next {
            self.all.push(set);
        }
        self.joins.insert((parts, own), id);
        id
    }
}
