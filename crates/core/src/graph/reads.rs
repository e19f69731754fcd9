//! [`Sizes`]: how many bytes lie in the partitions that a partition reads, whatever their number.

use super::mapping::{Key, Reach};
use super::remaining::{Lines, Order};
use super::versions::Versions;
use super::{Graph, TableId};

/// The bytes of all partitions, in sums from the first on.
#[derive(Debug, Clone, Default)]
pub struct Sizes {
    tables: Vec<TableSizes>,
}

#[derive(Debug, Clone, Default)]
struct TableSizes {
    lines: Lines,
    by_entity: Vec<u64>,
    by_period: Vec<u64>,
}

impl Sizes {
    /// The sizes that are on record.
    pub fn new(graph: &Graph, versions: &Versions) -> Self {
        let table = |(id, _): (TableId, _)| {
            let sizes: Vec<u64> = versions.partitions(id).map(|(_, state)| state.bytes).collect();
            let keys: Vec<(Key, u32)> = versions.partitions(id).map(|(key, _)| key).zip(0..).collect();
            let mut lines = Lines::new(&keys);
            let mut sums = |order| {
                let mut sum = 0_u64;
                let after = |at: &u32| {
                    sum += sizes[*at as usize];
                    sum
                };
                std::iter::once(0).chain(lines.line(order).tasks.iter().map(after)).collect()
            };
            let (by_entity, by_period) = (sums(Order::ByEntity), sums(Order::ByPeriod));
            TableSizes { lines, by_entity, by_period }
        };
        Self { tables: graph.ids().map(table).collect() }
    }

    /// The bytes that computing a partition reads.
    pub fn read_by(&self, graph: &Graph, table: TableId, key: Key) -> u64 {
        graph.table(table).after.iter().map(|edge| self.within(edge.upstream, edge.mapping.needs(key))).sum()
    }

    fn within(&self, table: TableId, reach: Reach) -> u64 {
        let table = &self.tables[table.index()];
        let (order, from, to) = table.lines.range(reach);
        let sums = match order {
            Order::ByEntity => &table.by_entity,
            Order::ByPeriod => &table.by_period,
        };
        sums[to.max(from) as usize] - sums[from as usize]
    }
}
