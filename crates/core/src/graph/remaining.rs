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
        (order, line.keys.partition_point(|key| *key < first), line.keys.partition_point(|key| *key <= last))
    }

    /// Takes a task that succeeded out.
    pub(super) fn finish(&mut self, key: Key, changed: bool) {
        for (line, key) in [(&mut self.by_entity, by_entity(key)), (&mut self.by_period, by_period(key))] {
            if let Ok(at) = line.keys.binary_search(&key) {
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
        Self { unfinished: Remaining::new(keys.len()), moved: Remaining::new(keys.len()), keys, tasks }
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
