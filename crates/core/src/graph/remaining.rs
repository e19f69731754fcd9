//! [`Lines`]: the tasks of a table in two orders, so that whatever a partition reads is one range of one of them, and the
//! first unfinished task of a range is found in about constant time.

use super::mapping::{Key, Reach};
use super::versions::EntityId;

/// Which of the two orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    ByEntity,
    ByPeriod,
}

/// The tasks of one table.
#[derive(Debug, Clone, Default)]
pub(super) struct Lines {
    by_entity: Line,
    by_period: Line,
}

/// The tasks of one table in one order.
#[derive(Debug, Clone, Default)]
pub(super) struct Line {
    /// Entity and period, or period and entity, as one number; ascending.
    keys: Vec<u64>,
    /// The first halves of the keys, and where the keys with each begin.
    groups: Vec<(u32, u32)>,
    /// The tasks, as the keys.
    pub(super) tasks: Vec<u32>,
    /// Positions whose tasks have not succeeded.
    pub(super) unfinished: Remaining,
    /// Positions whose tasks are unfinished, or came out changed.
    pub(super) moved: Remaining,
}

/// Where a task stands in both orders.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Position {
    by_entity: u32,
    by_period: u32,
}

impl Lines {
    pub(super) fn new(tasks: &[(Key, u32)]) -> Self {
        Self {
            by_entity: Line::new(tasks.iter().map(|(key, task)| (by_entity(*key), *task)).collect()),
            by_period: Line::new(tasks.iter().map(|(key, task)| (by_period(*key), *task)).collect()),
        }
    }

    pub(super) fn line(&mut self, order: Order) -> &mut Line {
        match order {
            Order::ByEntity => &mut self.by_entity,
            Order::ByPeriod => &mut self.by_period,
        }
    }

    /// The positions of the tasks that a reach has.
    pub(super) fn range(&self, reach: Reach) -> (Order, u32, u32) {
        let at = |period, entity| Key { period, entity };
        let (order, line, first, last) = match reach.entity {
            Some(entity) => {
                let (first, last) = (by_entity(at(reach.from, entity)), by_entity(at(reach.to, entity)));
                (Order::ByEntity, &self.by_entity, first, last)
            }
            None => {
                let (first, last) = (at(reach.from, EntityId(u32::MIN)), at(reach.to, EntityId(u32::MAX)));
                (Order::ByPeriod, &self.by_period, by_period(first), by_period(last))
            }
        };
        (order, line.first_at(first), last.checked_add(1).map_or(line.end(), |after| line.first_at(after)))
    }

    /// Notes where every task stands.
    pub(super) fn positions(&self, into: &mut [Position]) {
        for (task, at) in self.by_entity.tasks.iter().zip(0..) {
            into[*task as usize].by_entity = at;
        }
        for (task, at) in self.by_period.tasks.iter().zip(0..) {
            into[*task as usize].by_period = at;
        }
    }

    /// Takes a task that succeeded out.
    pub(super) fn finish(&mut self, at: Position, changed: bool) {
        for (line, at) in [(&mut self.by_entity, at.by_entity), (&mut self.by_period, at.by_period)] {
            line.unfinished.remove(at);
            if !changed {
                line.moved.remove(at);
            }
        }
    }
}

impl Line {
    fn new(mut tasks: Vec<(u64, u32)>) -> Self {
        tasks.sort_unstable();
        let (keys, tasks): (Vec<_>, Vec<_>) = tasks.into_iter().unzip();
        let mut groups: Vec<(u32, u32)> = Vec::new();
        for (key, at) in keys.iter().zip(0..) {
            let major = halves(*key).0;
            if groups.last().is_none_or(|(last, _)| *last != major) {
                groups.push((major, at));
            }
        }
        let end = u32::try_from(keys.len()).unwrap_or(u32::MAX);
        Self { unfinished: Remaining::new(end), moved: Remaining::new(end), keys, groups, tasks }
    }

    fn end(&self) -> u32 {
        u32::try_from(self.keys.len()).unwrap_or(u32::MAX)
    }

    /// The first position whose key is not less.
    fn first_at(&self, key: u64) -> u32 {
        let (major, minor) = halves(key);
        let group = first_at(&self.groups, |(found, _)| *found, major);
        match self.groups.get(group as usize) {
            None => self.end(),
            Some((found, start)) if *found > major => *start,
            Some((_, start)) => {
                let end = self.groups.get(group as usize + 1).map_or(self.end(), |(_, end)| *end);
                start + first_at(&self.keys[*start as usize..end as usize], |key| halves(*key).1, minor)
            }
        }
    }
}

/// The first position of ascending, distinct numbers that is not less. Periods and entities are mostly without gaps: then it is
/// where it would be without any, else one search away.
fn first_at<T>(sorted: &[T], number: impl Fn(&T) -> u32, wanted: u32) -> u32 {
    let Some(guess) = sorted.first().and_then(|first| wanted.checked_sub(number(first))) else { return 0 };
    match sorted.get(guess as usize) {
        Some(found) if number(found) == wanted => guess,
        _ => u32::try_from(sorted.partition_point(|found| number(found) < wanted)).unwrap_or(u32::MAX),
    }
}

fn by_entity(key: Key) -> u64 {
    u64::from(key.entity.0) << 32 | u64::from(ascending(key.period))
}

fn by_period(key: Key) -> u64 {
    u64::from(ascending(key.period)) << 32 | u64::from(key.entity.0)
}

/// A period as a number without sign, in the same order.
fn ascending(period: i32) -> u32 {
    period.cast_unsigned() ^ 1 << 31
}

#[expect(clippy::cast_possible_truncation, reason = "these are the two halves")]
fn halves(key: u64) -> (u32, u32) {
    ((key >> 32) as u32, key as u32)
}

/// Positions that only ever go away: a union-find whose roots are those that remain.
#[derive(Debug, Clone, Default)]
pub(super) struct Remaining {
    next: Vec<u32>,
}

impl Remaining {
    fn new(count: u32) -> Self {
        Self { next: (0..=count).collect() }
    }

    /// The first position at `from` or after that remains; the count where none does.
    pub(super) fn first(&mut self, from: u32) -> u32 {
        let mut at = from;
        while self.next[at as usize] != at {
            self.next[at as usize] = self.next[self.next[at as usize] as usize];
            at = self.next[at as usize];
        }
        at
    }

    fn remove(&mut self, at: u32) {
        self.next[at as usize] = at + 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_range_has_what_the_reach_has_whatever_gaps_there_are(
            keys in prop::collection::btree_set((-20_i32..20, 0_u32..6), 0..60),
            from in prop_oneof![Just(i32::MIN), -25_i32..25],
            to in prop_oneof![Just(i32::MAX), -25_i32..25],
            entity in prop::option::of(0_u32..7),
        ) {
            let tasks: Vec<(Key, u32)> =
                keys.iter().map(|(period, entity)| Key { period: *period, entity: EntityId(*entity) }).zip(0..).collect();
            let reach = Reach { from, to, entity: entity.map(EntityId) };
            let mut lines = Lines::new(&tasks);
            let (order, first, last) = lines.range(reach);
            let mut found: Vec<u32> = lines.line(order).tasks[first as usize..last.max(first) as usize].to_vec();
            found.sort_unstable();
            let expected: Vec<u32> =
                tasks.iter().filter(|(key, _)| reach.contains(*key)).map(|(_, task)| *task).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
