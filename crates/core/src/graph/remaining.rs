//! [`Lines`]: the tasks of a table in two orders, so that whatever a partition reads is one range of one of them, and the
//! first unfinished task of a range is found in about constant time.

use super::mapping::{Key, Reach};

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
    /// Entity and period, or period and entity; ascending.
    keys: Vec<(i64, i64)>,
    /// The first halves of the keys, and where the keys with each begin.
    groups: Vec<(i64, usize)>,
    /// The tasks, as the keys.
    pub(super) tasks: Vec<u32>,
    /// Positions whose tasks have not succeeded.
    pub(super) unfinished: Remaining,
    /// Positions whose tasks are unfinished, or came out changed.
    pub(super) moved: Remaining,
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
    pub(super) fn range(&self, reach: Reach) -> (Order, usize, usize) {
        let (from, to) = (i64::from(reach.from), i64::from(reach.to));
        let (order, line, first, last) = match reach.entity {
            Some(entity) => {
                let entity = i64::from(entity.0);
                (Order::ByEntity, &self.by_entity, (entity, from), (entity, to))
            }
            None => (Order::ByPeriod, &self.by_period, (from, i64::MIN), (to, i64::MAX)),
        };
        (order, line.first_at(first), line.first_after(last))
    }

    /// Takes a task that succeeded out.
    pub(super) fn finish(&mut self, key: Key, changed: bool) {
        for (line, key) in [(&mut self.by_entity, by_entity(key)), (&mut self.by_period, by_period(key))] {
            let at = line.first_at(key);
            if line.keys.get(at) == Some(&key) {
                line.unfinished.remove(at);
                if !changed {
                    line.moved.remove(at);
                }
            }
        }
    }
}

impl Line {
    fn new(mut tasks: Vec<((i64, i64), u32)>) -> Self {
        tasks.sort_unstable();
        let (keys, tasks): (Vec<_>, Vec<_>) = tasks.into_iter().unzip();
        let mut groups: Vec<(i64, usize)> = Vec::new();
        for (at, (major, _)) in keys.iter().enumerate() {
            if groups.last().is_none_or(|(last, _)| last != major) {
                groups.push((*major, at));
            }
        }
        Self { unfinished: Remaining::new(keys.len()), moved: Remaining::new(keys.len()), keys, groups, tasks }
    }

    /// The first position whose key is not less.
    fn first_at(&self, (major, minor): (i64, i64)) -> usize {
        let group = first_at(&self.groups, |(found, _)| *found, major);
        match self.groups.get(group) {
            None => self.keys.len(),
            Some((found, start)) if *found > major => *start,
            Some((_, start)) => {
                let end = self.groups.get(group + 1).map_or(self.keys.len(), |(_, end)| *end);
                start + first_at(&self.keys[*start..end], |(_, found)| *found, minor)
            }
        }
    }

    /// The first position whose key is greater.
    fn first_after(&self, (major, minor): (i64, i64)) -> usize {
        match (major.checked_add(1), minor.checked_add(1)) {
            (_, Some(minor)) => self.first_at((major, minor)),
            (Some(major), None) => self.first_at((major, i64::MIN)),
            (None, None) => self.keys.len(),
        }
    }
}

/// The first position of ascending, distinct numbers that is not less. Periods and entities are mostly without gaps: then it is
/// where it would be without any, else one search away.
fn first_at<T>(sorted: &[T], number: impl Fn(&T) -> i64, wanted: i64) -> usize {
    let Some(first) = sorted.first().map(&number) else { return 0 };
    if wanted <= first {
        return 0;
    }
    let guess = wanted.checked_sub(first).and_then(|guess| usize::try_from(guess).ok()).unwrap_or(usize::MAX);
    match sorted.get(guess) {
        Some(found) if number(found) == wanted => guess,
        _ => sorted.partition_point(|found| number(found) < wanted),
    }
}

fn by_entity(key: Key) -> (i64, i64) {
    (i64::from(key.entity.0), i64::from(key.period))
}

fn by_period(key: Key) -> (i64, i64) {
    (i64::from(key.period), i64::from(key.entity.0))
}

/// Positions that only ever go away: a union-find whose roots are those that remain.
#[derive(Debug, Clone, Default)]
pub(super) struct Remaining {
    next: Vec<usize>,
}

impl Remaining {
    fn new(count: usize) -> Self {
        Self { next: (0..=count).collect() }
    }

    /// The first position at `from` or after that remains; the count where none does.
    pub(super) fn first(&mut self, from: usize) -> usize {
        let mut at = from;
        while self.next[at] != at {
            self.next[at] = self.next[self.next[at]];
            at = self.next[at];
        }
        at
    }

    fn remove(&mut self, at: usize) {
        self.next[at] = at + 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::versions::EntityId;
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
            let mut found: Vec<u32> = lines.line(order).tasks[first..last.max(first)].to_vec();
            found.sort_unstable();
            let expected: Vec<u32> =
                tasks.iter().filter(|(key, _)| reach.contains(*key)).map(|(_, task)| *task).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
