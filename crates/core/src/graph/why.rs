//! [`why`]: the shortest chain of causes from a stale partition down to what made it so.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::mapping::Key;
use super::stale::{Hold, Mark, Staleness};
use super::versions::Versions;
use super::{Graph, TableId};

/// What is the matter with one partition of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It was never computed.
    Missing,
    /// Somebody else wrote to it.
    Foreign,
    /// It was computed by another logic.
    LogicChanged {
        /// The digest of the logic that computed it.
        from: String,
        /// The digest of the logic as it is.
        to: String,
    },
    /// An upstream partition has another content than the one that was read.
    UpstreamMoved {
        /// The upstream.
        table: TableId,
        /// Its partition with the newest version.
        partition: Key,
        /// That version.
        version: u64,
        /// The partition was computed from versions up to this one.
        read_at: u64,
    },
    /// An upstream partition is stale; the chain goes on there.
    UpstreamStale {
        /// The upstream.
        table: TableId,
        /// Its partition.
        partition: Key,
    },
    /// A migration holds it.
    Held {
        /// The migration.
        by: String,
    },
}

/// One step of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The table.
    pub table: TableId,
    /// The partition.
    pub key: Key,
    /// What is the matter with it.
    pub cause: Cause,
}

/// Why a partition is stale: the chain from it, upstream, to the root; shortest first, then by the upstreams' names,
/// entities and periods. A partition that is held has the chain to its hold. Empty where it is neither.
pub fn why(
    graph: &Graph,
    versions: &Versions,
    staleness: &Staleness,
    holds: &[Hold],
    table: TableId,
    key: Key,
) -> Vec<Link> {
    let Some(mark) = staleness.mark(table, key) else { return vec![] };
    let held =
        |table, key| holds.iter().find(|hold| hold.covers(table, key)).map(|hold| Cause::Held { by: hold.by.clone() });
    if mark.any(Mark::HELD) {
        chain(graph, staleness, (table, key), Mark::HELD, &held)
    } else if mark.is_stale() {
        let stale = Mark::MISSING | Mark::FOREIGN | Mark::LOGIC | Mark::MOVED | Mark::UPSTREAM;
        chain(graph, staleness, (table, key), stale, &|table, key| root(graph, versions, staleness, table, key))
    } else {
        vec![]
    }
}

/// Breadth first, upstream, through partitions that have one of `marks`, to the first that has a root.
fn chain(
    graph: &Graph,
    staleness: &Staleness,
    start: (TableId, Key),
    marks: Mark,
    root: &dyn Fn(TableId, Key) -> Option<Cause>,
) -> Vec<Link> {
    let mut below: HashMap<(TableId, Key), Option<(TableId, Key)>> = HashMap::from([(start, None)]);
    let mut queue = VecDeque::from([start]);
    while let Some((table, key)) = queue.pop_front() {
        if let Some(cause) = root(table, key) {
            return links(&below, (table, key), cause);
        }
        for edge in &graph.table(table).after {
            let upstream = edge.upstream;
            for (next, mark) in staleness.reached(upstream, edge.mapping.needs(key)) {
                if mark.any(marks) && !below.contains_key(&(upstream, next)) {
                    below.insert((upstream, next), Some((table, key)));
                    queue.push_back((upstream, next));
                }
            }
        }
    }
    vec![]
}

fn links(below: &HashMap<(TableId, Key), Option<(TableId, Key)>>, root: (TableId, Key), cause: Cause) -> Vec<Link> {
    let mut chain = vec![Link { table: root.0, key: root.1, cause }];
    let mut upstream = root;
    while let Some(Some((table, key))) = below.get(&upstream).copied() {
        let cause = Cause::UpstreamStale { table: upstream.0, partition: upstream.1 };
        chain.push(Link { table, key, cause });
        upstream = (table, key);
    }
    chain.reverse();
    chain
}

/// The cause that a partition has by itself.
fn root(graph: &Graph, versions: &Versions, staleness: &Staleness, table: TableId, key: Key) -> Option<Cause> {
    let mark = staleness.mark(table, key)?;
    let Some(state) = versions.get(table, key) else { return mark.any(Mark::MISSING).then_some(Cause::Missing) };
    if mark.any(Mark::FOREIGN) {
        return Some(Cause::Foreign);
    }
    if mark.any(Mark::LOGIC) {
        let to = graph.table(table).logic.clone().unwrap_or_default();
        return Some(Cause::LogicChanged { from: versions.logic_digest(state.logic).to_owned(), to });
    }
    let newest = graph.table(table).after.iter().flat_map(|edge| {
        let reached = staleness.reached(edge.upstream, edge.mapping.needs(key));
        reached.filter_map(|(key, _)| Some((versions.get(edge.upstream, key)?.version, edge.upstream, key)))
    });
    // Versions are unique, so there is one greatest.
    let (version, upstream, partition) = newest.max_by_key(|(version, ..)| *version)?;
    let read_at = state.read_at;
    (mark.any(Mark::MOVED) && version > read_at).then_some(Cause::UpstreamMoved {
        table: upstream,
        partition,
        version,
        read_at,
    })
}
