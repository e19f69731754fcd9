//! [`Versions`]: what every partition of every table came from, in columns by table and entity.
//!
//! All versions of a graph are drawn from one sequence. A partition that was computed when the sequence stood at `read_at`
//! read exactly the upstream versions up to it; so one number says which upstream versions a partition was computed from,
//! however many there are.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::mapping::{Key, Reach};
use super::{Graph, TableId};

/// An interned entity. One name has one id in all tables of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EntityId(pub u32);

impl EntityId {
    /// The only entity of a table without entities.
    pub const NONE: Self = Self(0);
}

/// An interned logic digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LogicId(pub u32);

impl LogicId {
    /// The logic of a source: none.
    pub const NONE: Self = Self(0);
}

/// The content of a partition in 32 bytes: equal contents have equal fingerprints, whatever files they lie in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(pub [u8; 32]);

/// The state of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Its version: where the sequence stood when its content last changed.
    pub version: u64,
    /// It was computed from the upstream versions up to this one.
    pub read_at: u64,
    /// The logic that computed it.
    pub logic: LogicId,
    /// Its content.
    pub fingerprint: Fingerprint,
    /// Its rows.
    pub rows: u64,
    /// Its bytes.
    pub bytes: u64,
}

/// What a run made of a partition, or what was found in a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// The content.
    pub fingerprint: Fingerprint,
    /// Rows.
    pub rows: u64,
    /// Bytes.
    pub bytes: u64,
    /// The logic that computed it; [`LogicId::NONE`] in a source, and where somebody else wrote to a computed table.
    pub logic: LogicId,
    /// [`Versions::sequence`] when the run began to read.
    pub read_at: u64,
}

/// What a recorded outcome came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The content is another: the partition has this new version, and what it feeds is stale.
    Moved(u64),
    /// The content is as it was: the version stays, and the wave ends here.
    Unchanged(u64),
}

/// The partitions of one entity of one table, by period, ascending.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    /// The entity.
    pub entity: EntityId,
    /// The periods, ascending.
    pub periods: Vec<i32>,
    /// The states, one a period.
    pub states: Vec<State>,
}

/// Numbers for names, from 1; 0 is the empty name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<String>", into = "Vec<String>")]
struct Names {
    names: Vec<String>,
    ids: HashMap<String, u32>,
}

/// The partition versions of a graph.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    sequence: u64,
    entities: Names,
    logics: Names,
    tables: Vec<Vec<Series>>,
}

impl Versions {
    /// No partition in any table. The entities that the graph declares are known.
    pub fn new(graph: &Graph) -> Self {
        let mut versions = Self::default();
        versions.declare(graph);
        versions
    }

    /// Makes the entities that the graph declares known: to be called after versions were loaded for a graph whose file
    /// may have changed since.
    pub fn declare(&mut self, graph: &Graph) {
        for name in graph.tables.iter().filter_map(|table| table.spec.entity.as_ref()).flat_map(|entity| &entity.values) {
            self.entity(name);
        }
    }

    /// The last version that was drawn.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Lets the sequence go on after `version`: numbers that stand elsewhere are not drawn twice.
    pub fn advance(&mut self, version: u64) {
        self.sequence = self.sequence.max(version);
    }

    /// The id of an entity's name; the empty name is [`EntityId::NONE`].
    pub fn entity(&mut self, name: &str) -> EntityId {
        EntityId(self.entities.intern(name))
    }

    /// The id of an entity's name, where it has one.
    pub fn entity_id(&self, name: &str) -> Option<EntityId> {
        self.entities.id(name).map(EntityId)
    }

    /// The name of an entity; empty for [`EntityId::NONE`].
    pub fn entity_name(&self, entity: EntityId) -> &str {
        self.entities.name(entity.0)
    }

    /// The id of a logic digest.
    pub fn logic(&mut self, digest: &str) -> LogicId {
        LogicId(self.logics.intern(digest))
    }

    /// The id of a logic digest, where any partition was recorded with it.
    pub fn logic_id(&self, digest: &str) -> Option<LogicId> {
        self.logics.id(digest).map(LogicId)
    }

    /// The digest of a logic; empty for [`LogicId::NONE`].
    pub fn logic_digest(&self, logic: LogicId) -> &str {
        self.logics.name(logic.0)
    }

    /// The partitions of a table, by entity, ascending.
    pub fn series(&self, table: TableId) -> &[Series] {
        self.tables.get(table.index()).map_or(&[], Vec::as_slice)
    }

    /// The state of a partition.
    pub fn get(&self, table: TableId, key: Key) -> Option<&State> {
        let series = self.series(table);
        let series = &series[series.binary_search_by_key(&key.entity, |series| series.entity).ok()?];
        // Periods are mostly without gaps.
        let first = series.periods.first()?;
        let guess = key.period.checked_sub(*first).and_then(|guess| usize::try_from(guess).ok());
        let at = guess.filter(|guess| series.periods.get(*guess) == Some(&key.period));
        at.or_else(|| series.periods.binary_search(&key.period).ok()).map(|at| &series.states[at])
    }

    /// All partitions of a table, by entity and period.
    pub fn partitions(&self, table: TableId) -> impl Iterator<Item = (Key, &State)> {
        self.series(table).iter().flat_map(|series| {
            let keys = series.periods.iter().map(|period| Key { period: *period, entity: series.entity });
            keys.zip(&series.states)
        })
    }

    /// The greatest version of the partitions in reach; `None` where there is none.
    pub fn newest(&self, table: TableId, reach: Reach) -> Option<u64> {
        let series = self.series(table).iter().filter(|series| reach.entity.is_none_or(|only| only == series.entity));
        let versions = series.flat_map(|series| {
            let from = series.periods.partition_point(|period| *period < reach.from);
            let to = series.periods.partition_point(|period| *period <= reach.to);
            series.states[from..to.max(from)].iter().map(|state| state.version)
        });
        versions.max()
    }

    /// Records what a partition is now. Where its content is as it was, its version stays (the early cut-off), while
    /// `read_at` and logic move. Recording an outcome again changes nothing.
    pub fn record(&mut self, table: TableId, key: Key, outcome: Outcome) -> Change {
        let before = self.get(table, key).filter(|state| state.fingerprint == outcome.fingerprint);
        let change = match before {
            Some(state) => Change::Unchanged(state.version),
            None => {
                self.sequence += 1;
                Change::Moved(self.sequence)
            }
        };
        let (Change::Moved(version) | Change::Unchanged(version)) = change;
        let Outcome { fingerprint, rows, bytes, logic, read_at } = outcome;
        self.restore(table, key, State { version, read_at, logic, fingerprint, rows, bytes });
        change
    }

    /// Records that the content of a source's partition, or of a table that something else wrote, is another. What was
    /// removed is a partition of 0 rows: its downstream still has to hear of it.
    pub fn moved(&mut self, table: TableId, key: Key, fingerprint: Fingerprint, rows: u64, bytes: u64) -> Change {
        let logic = self.get(table, key).map_or(LogicId::NONE, |state| state.logic);
        let read_at = self.get(table, key).map_or(self.sequence, |state| state.read_at);
        self.record(table, key, Outcome { fingerprint, rows, bytes, logic, read_at })
    }

    /// Puts a stored state back, as it was.
    pub fn restore(&mut self, table: TableId, key: Key, state: State) {
        self.sequence = self.sequence.max(state.version);
        if self.tables.len() <= table.index() {
            self.tables.resize(table.index() + 1, Vec::new());
        }
        let all = &mut self.tables[table.index()];
        let at = all.binary_search_by_key(&key.entity, |series| series.entity).unwrap_or_else(|at| {
            all.insert(at, Series { entity: key.entity, periods: Vec::new(), states: Vec::new() });
            at
        });
        let series = &mut all[at];
        match series.periods.binary_search(&key.period) {
            Ok(at) => series.states[at] = state,
            Err(at) => {
                series.periods.insert(at, key.period);
                series.states.insert(at, state);
            }
        }
    }
}

impl Names {
    fn intern(&mut self, name: &str) -> u32 {
        if let Some(id) = self.id(name) {
            return id;
        }
        self.names.push(name.to_owned());
        let id = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.ids.insert(name.to_owned(), id);
        id
    }

    fn id(&self, name: &str) -> Option<u32> {
        if name.is_empty() { Some(0) } else { self.ids.get(name).copied() }
    }

    fn name(&self, id: u32) -> &str {
        let at = (id as usize).checked_sub(1);
        at.and_then(|at| self.names.get(at)).map_or("", String::as_str)
    }
}

impl From<Vec<String>> for Names {
    fn from(names: Vec<String>) -> Self {
        let mut all = Self::default();
        for name in names {
            all.intern(&name);
        }
        all
    }
}

impl From<Names> for Vec<String> {
    fn from(names: Names) -> Self {
        names.names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(content: u8, read_at: u64, logic: LogicId) -> Outcome {
        Outcome { fingerprint: Fingerprint([content; 32]), rows: 1, bytes: 10, logic, read_at }
    }

    #[test]
    fn an_unchanged_outcome_keeps_its_version_and_moves_what_it_was_computed_from() {
        let mut versions = Versions::default();
        let (first, second) = (versions.logic("a"), versions.logic("b"));
        let key = Key { period: 3, entity: versions.entity("EU") };
        assert_eq!(versions.record(TableId(0), key, outcome(1, 0, first)), Change::Moved(1));
        assert_eq!(versions.record(TableId(0), key, outcome(1, 9, second)), Change::Unchanged(1));
        let state = versions.get(TableId(0), key).unwrap();
        assert_eq!((state.version, state.read_at, state.logic), (1, 9, second));
        assert_eq!(versions.record(TableId(0), key, outcome(2, 9, second)), Change::Moved(2));
    }

    #[test]
    fn versions_come_back_from_their_json_as_they_were() {
        let mut versions = Versions::default();
        for period in [5, -1, 3] {
            let key = Key { period, entity: versions.entity("EU") };
            versions.moved(TableId(1), key, Fingerprint([7; 32]), 1, 1);
        }
        let json = serde_json::to_string(&versions).unwrap();
        assert_eq!(serde_json::from_str::<Versions>(&json).unwrap(), versions);
        assert_eq!(versions.series(TableId(1))[0].periods, [-1, 3, 5]);
    }
}
