//! [`Part`]: what a partition was computed from, as few lines as it takes to say it.

use std::collections::BTreeMap;

use super::TableId;
use super::lineage::Reading;
use super::versions::{EntityId, LogicId};

/// Partitions of one table that one logic gave, as somebody read them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The table.
    pub table: TableId,
    /// The logic; [`LogicId::NONE`] of a source.
    pub logic: LogicId,
    /// How many partitions.
    pub partitions: u64,
    /// Which: ranges of periods, each with the entities that have all of it.
    pub spans: Vec<PartSpan>,
}

/// Periods without a gap, of several entities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartSpan {
    /// The first period.
    pub from: i32,
    /// The last period.
    pub to: i32,
    /// The entities; [`EntityId::NONE`] alone where the table has none.
    pub entities: Vec<EntityId>,
}

/// Gathers readings by table and logic; the tables nearest to the reader first.
pub fn parts(readings: &[Reading]) -> Vec<Part> {
    let mut periods: BTreeMap<(TableId, LogicId), BTreeMap<EntityId, Vec<i32>>> = BTreeMap::new();
    for reading in readings {
        let by_entity = periods.entry((reading.table, reading.logic)).or_default();
        by_entity.entry(reading.key.entity).or_default().push(reading.key.period);
    }
    let part = |((table, logic), by_entity): (_, BTreeMap<EntityId, Vec<i32>>)| {
        let mut entities: BTreeMap<Vec<(i32, i32)>, Vec<EntityId>> = BTreeMap::new();
        let mut partitions = 0;
        for (entity, mut periods) in by_entity {
            periods.sort_unstable();
            periods.dedup();
            partitions += periods.len() as u64;
            let runs = periods.chunk_by(|a, b| a.checked_add(1) == Some(*b));
            let ranges = runs.map(|run| (run[0], run[run.len() - 1])).collect();
            entities.entry(ranges).or_default().push(entity);
        }
        let spans = entities.into_iter().flat_map(|(ranges, entities)| {
            ranges.into_iter().map(move |(from, to)| PartSpan { from, to, entities: entities.clone() })
        });
        Part { table, logic, partitions, spans: spans.collect() }
    };
    let mut parts: Vec<Part> = periods.into_iter().map(part).collect();
    // Upstreams have lower ids than what reads them.
    parts.sort_by_key(|part| (std::cmp::Reverse(part.table), part.logic));
    parts
}
