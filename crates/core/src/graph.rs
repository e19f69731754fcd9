//! The graph: tables computed from tables, which of their partitions are stale and why, and what to run, in which order.
//!
//! A [`GraphSpec`] is what people write, [`Graph`] is it resolved. [`Versions`] hold what every partition was computed
//! from; [`Staleness::scan`] compares them, [`affected`] widens one change without a scan; a [`GraphPlan`] is what would
//! run, and a [`Wave`] drives it. All of it is pure: the caller runs the tasks and stores the versions.

mod affected;
mod build;
mod lineage;
mod mapping;
mod page;
mod parts;
mod plan;
mod reads;
mod remaining;
mod span;
mod spec;
mod stale;
mod time;
mod versions;
mod wave;
mod why;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use affected::{Affected, affected};
pub use build::{Inferred, Proof};
pub use lineage::{History, Lineage, Past, Reading};
pub use mapping::{EntityMapping, Key, Mapping, Reach, TimeMapping};
pub use page::Page;
pub use parts::{Part, PartSpan, parts};
pub use plan::{Comparison, Filter, GraphPlan, Group, Read, Task, Totals, Unit};
pub use reads::Sizes;
pub use span::Span;
pub use spec::{
    EdgeSpec, EntitySpec, GraphError, GraphSpec, Money, Previous, Prices, TableSpec, TimeRule, TimeSpec, TimeWord, Window,
};
pub use stale::{Hold, Mark, Staleness};
pub use time::{Grain, PeriodError, TIMELESS};
pub use versions::{Change, EntityId, Fingerprint, LogicId, Outcome, Series, State, Versions};
pub use wave::{Wave, WaveSummary};
pub use why::{Cause, Link, why};

/// A table's place in [`Graph::tables`]: upstreams come before what is computed from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TableId(pub u16);

impl TableId {
    /// The place as an index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A graph that can be used: every mapping known, no cycles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Graph {
    /// Its name.
    pub name: String,
    /// Partitions that are computed at a time, by pool.
    pub pools: BTreeMap<String, u32>,
    /// What computing costs, where the file says so.
    pub prices: Option<Prices>,
    /// Its tables, upstreams first.
    pub tables: Vec<Table>,
}

/// A table of a graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// What the file says of it.
    pub spec: TableSpec,
    /// The digest of its logic; `None` for a source.
    pub logic: Option<String>,
    /// What it is computed from, by the upstreams' names.
    pub after: Vec<Edge>,
}

/// One upstream of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Edge {
    /// The upstream.
    pub upstream: TableId,
    /// Which partitions relate.
    pub mapping: Mapping,
    /// Where the mapping of time comes from.
    pub time_from: Origin,
    /// Where the mapping of entities comes from.
    pub entity_from: Origin,
    /// Whether the upstream's partitions make the table's expected. A table's partition is expected where *any* such
    /// upstream has data: what is computed from the rest is then recomputed when the rest arrives, so that at every
    /// moment the table is what a full rebuild would give.
    pub drives: bool,
}

/// Where a mapping comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The file says so.
    Stated,
    /// The SQL proves it.
    Sql,
    /// Grains and columns prove it.
    Partitioning,
}

impl Graph {
    /// The table of a name.
    pub fn table_id(&self, name: &str) -> Option<TableId> {
        let at = self.tables.iter().position(|table| table.name == name)?;
        u16::try_from(at).ok().map(TableId)
    }

    /// A table by its id.
    ///
    /// # Panics
    /// Where the id is another graph's.
    pub fn table(&self, id: TableId) -> &Table {
        &self.tables[id.index()]
    }

    /// All tables with their ids, upstreams first.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = (TableId, &Table)> {
        (0..).map(TableId).take(self.tables.len()).zip(&self.tables).collect::<Vec<_>>().into_iter()
    }

    /// A partition as people read it: `daily 2001-01-31 EU`.
    pub fn show(&self, versions: &Versions, table: TableId, key: Key) -> String {
        let table = self.table(table);
        let mut text = table.name.clone();
        if let Some(grain) = table.grain() {
            text = format!("{text} {}", grain.format(key.period));
        }
        if key.entity != EntityId::NONE {
            text = format!("{text} {}", versions.entity_name(key.entity));
        }
        text
    }
}

impl Table {
    /// How much time a partition covers; `None` where it has no time.
    pub fn grain(&self) -> Option<Grain> {
        self.spec.time.as_ref().map(|time| time.grain)
    }

    /// Whether nothing computes it.
    pub fn is_source(&self) -> bool {
        self.logic.is_none()
    }
}

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.time.told((self.upstream, self.downstream)))?;
        f.write_str(match self.entity {
            EntityMapping::Same => ", same entity",
            EntityMapping::All => ", all entities",
        })
    }
}
