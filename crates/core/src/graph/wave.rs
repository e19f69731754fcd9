//! [`Wave`]: which tasks of a plan may run now. It knows no clock and no runner.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::mapping::Reach;
use super::plan::Task;
use super::remaining::{Lines, Order, Position};
use super::{Graph, TableId};

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Waiting,
    Ready,
    Running,
    Done,
    UpToDate,
    Failed,
    Skipped,
}

/// What several tasks wait for together: one range of one upstream's tasks.
#[derive(Debug, Clone, Copy)]
struct Need {
    table: TableId,
    order: Order,
    from: u32,
    to: u32,
    /// The next need that waits for the same task first; [`NOBODY`] at the end of the list.
    next_watching: u32,
}

/// The runnable tasks of one priority.
#[derive(Debug, Clone, Default)]
struct Level {
    tasks: BTreeSet<u32>,
    /// Tasks of higher priority that started since one of these last did.
    passed: u32,
}

/// Starts of higher priorities that a lower one lets pass before it has a turn.
const AGE: u32 = 8;

/// No task, or no need.
const NOBODY: u32 = u32::MAX;

/// Drives the tasks of a plan. Tasks are named by their index in the plan; a lower index goes first among those of one priority.
/// A higher priority goes before a lower one, which ages: after eight starts of higher ones it has a turn.
#[derive(Debug, Clone)]
pub struct Wave {
    tasks: Vec<Task>,
    standing: Vec<Standing>,
    /// Needs that are not met, by task.
    pending: Vec<u16>,
    /// Whether a need came out changed, by task.
    touched: Vec<bool>,
    lines: Vec<Lines>,
    /// Where it stands in its table's lines, by task.
    positions: Vec<Position>,
    needs: Vec<Need>,
    /// The waiters of all needs, one need's after the other's.
    waiters: Vec<u32>,
    /// Where a need's waiters begin, by need, and the end.
    waiters_from: Vec<u32>,
    /// The first need that waits for this task first, by task.
    watching: Vec<u32>,
    priorities: Vec<i32>,
    ready: BTreeMap<Reverse<i32>, Level>,
}

/// How far a wave is, in tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaveSummary {
    /// Not yet ready, ready or running.
    pub open: u64,
    /// Ran.
    pub done: u64,
    /// Did not have to run: what they read came out as it was.
    pub up_to_date: u64,
    /// Failed.
    pub failed: u64,
    /// Did not run, for something that they read failed.
    pub skipped: u64,
}

/// By table: its own priority, or that of what is computed from it, where that is higher.
fn priorities(graph: &Graph) -> Vec<i32> {
    let mut priorities: Vec<i32> = graph.tables.iter().map(|table| table.spec.priority).collect();
    for (id, table) in graph.ids().rev() {
        for edge in &table.after {
            let upstream = edge.upstream.index();
            priorities[upstream] = priorities[upstream].max(priorities[id.index()]);
        }
    }
    priorities
}

impl Wave {
    /// A wave at its beginning. `tasks` are those of a plan of this graph, each before what it feeds or not.
    pub fn new(graph: &Graph, tasks: Vec<Task>) -> Self {
        let mut by_table = vec![Vec::new(); graph.tables.len()];
        for (task, at) in tasks.iter().zip(0_u32..) {
            by_table[task.table.index()].push((task.key, at));
        }
        let count = tasks.len();
        let mut wave = Self {
            tasks,
            standing: vec![Standing::Waiting; count],
            pending: vec![0; count],
            touched: vec![false; count],
            lines: by_table.iter().map(|tasks| Lines::new(tasks)).collect(),
            positions: vec![Position::default(); count],
            needs: Vec::new(),
            waiters: Vec::new(),
            waiters_from: Vec::new(),
            watching: vec![NOBODY; count],
            priorities: priorities(graph),
            ready: BTreeMap::new(),
        };
        wave.lines.iter().for_each(|lines| lines.positions(&mut wave.positions));
        wave.connect(graph);
        wave
    }

    /// Takes the first runnable task; it runs until [`Self::done`] or [`Self::failed`].
    pub fn start_next(&mut self) -> Option<usize> {
        self.start_where(|_| true)
    }

    /// Takes the first runnable task of a table that may run now.
    pub fn start_where(&mut self, may_run: impl Fn(TableId) -> bool) -> Option<usize> {
        let mut order: Vec<Reverse<i32>> = self.ready.keys().copied().collect();
        // The oldest of those that have waited long enough; a stable sort keeps the rest by priority.
        order.sort_by_key(|priority| Reverse(self.ready[priority].passed.max(AGE - 1)));
        let allowed = |priority: &Reverse<i32>| {
            let mut tasks = self.ready[priority].tasks.iter().copied();
            Some((*priority, tasks.find(|task| may_run(self.tasks[*task as usize].table))?))
        };
        let (priority, next) = order.iter().find_map(allowed)?;
        for (lower, level) in self.ready.range_mut(priority..) {
            level.passed = if *lower == priority { 0 } else { level.passed + 1 };
        }
        if let Some(level) = self.ready.get_mut(&priority) {
            level.tasks.remove(&next);
        }
        self.ready.retain(|_, level| !level.tasks.is_empty());
        self.standing[next as usize] = Standing::Running;
        Some(next as usize)
    }

    /// The runnable tasks that nobody has taken, by priority and in order.
    pub fn ready(&self) -> impl Iterator<Item = usize> + '_ {
        self.ready.values().flat_map(|level| level.tasks.iter().map(|task| *task as usize))
    }

    fn make_ready(&mut self, task: u32) {
        self.standing[task as usize] = Standing::Ready;
        let priority = self.priorities[self.tasks[task as usize].table.index()];
        self.ready.entry(Reverse(priority)).or_default().tasks.insert(task);
    }

    /// A running task succeeded. Where it came out as it was, what has no other cause to run becomes up to date.
    pub fn done(&mut self, task: usize, changed: bool) {
        self.settle(task, Standing::Done, changed);
    }

    /// A running task failed for good: whatever reads it, however far away, is skipped.
    pub fn failed(&mut self, task: usize) {
        self.settle(task, Standing::Failed, true);
    }

    /// How far it is.
    pub fn summary(&self) -> WaveSummary {
        let mut summary = WaveSummary::default();
        for standing in &self.standing {
            *match standing {
                Standing::Waiting | Standing::Ready | Standing::Running => &mut summary.open,
                Standing::Done => &mut summary.done,
                Standing::UpToDate => &mut summary.up_to_date,
                Standing::Failed => &mut summary.failed,
                Standing::Skipped => &mut summary.skipped,
            } += 1;
        }
        summary
    }

    /// What a resumed run has to do: all that neither ran nor was found up to date, in order.
    pub fn left(&self) -> impl Iterator<Item = &Task> {
        let left = |standing: &Standing| !matches!(standing, Standing::Done | Standing::UpToDate);
        self.tasks.iter().zip(&self.standing).filter(move |(_, standing)| left(standing)).map(|(task, _)| task)
    }

    /// The tasks.
    pub fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    /// Finds what every task waits for.
    fn connect(&mut self, graph: &Graph) {
        let mut shared: HashMap<(TableId, Reach), u32> = HashMap::new();
        let mut pairs: Vec<(u32, u32)> = Vec::new();
        for (at, task) in (0_u32..).zip(&self.tasks) {
            for edge in &graph.table(task.table).after {
                let reach = edge.mapping.needs(task.key);
                let (order, from, to) = self.lines[edge.upstream.index()].range(reach);
                if from >= to {
                    continue;
                }
                let next = u32::try_from(self.needs.len()).unwrap_or(NOBODY);
                // What is alone, few tasks share: no bookkeeping for it.
                let need = if to - from > 1 { *shared.entry((edge.upstream, reach)).or_insert(next) } else { next };
                if need == next {
                    self.needs.push(Need { table: edge.upstream, order, from, to, next_watching: NOBODY });
                }
                pairs.push((need, at));
                self.pending[at as usize] += 1;
            }
        }
        self.group_waiters(&pairs);
        for need in 0..u32::try_from(self.needs.len()).unwrap_or(NOBODY) {
            let Need { table, order, from, .. } = self.needs[need as usize];
            let first = self.lines[table.index()].line(order).tasks[from as usize];
            self.watch(need, first);
        }
        for at in (0_u32..).take(self.tasks.len()) {
            if self.pending[at as usize] == 0 {
                self.make_ready(at);
            }
        }
    }

    /// Lays the waiters of every need next to each other (a counting sort).
    fn group_waiters(&mut self, pairs: &[(u32, u32)]) {
        self.waiters_from = vec![0; self.needs.len() + 1];
        for (need, _) in pairs {
            self.waiters_from[*need as usize + 1] += 1;
        }
        for need in 0..self.needs.len() {
            self.waiters_from[need + 1] += self.waiters_from[need];
        }
        let mut free = self.waiters_from.clone();
        self.waiters = vec![NOBODY; pairs.len()];
        for (need, task) in pairs {
            let at = &mut free[*need as usize];
            self.waiters[*at as usize] = *task;
            *at += 1;
        }
    }

    fn watch(&mut self, need: u32, task: u32) {
        let head = &mut self.watching[task as usize];
        self.needs[need as usize].next_watching = std::mem::replace(head, need);
    }

    fn waiters_of(&self, need: u32) -> std::ops::Range<usize> {
        let need = need as usize;
        self.waiters_from[need] as usize..self.waiters_from[need + 1] as usize
    }

    /// Gives a running task its end, and all tasks that follow from it theirs.
    fn settle(&mut self, task: usize, standing: Standing, changed: bool) {
        if self.standing[task] != Standing::Running {
            return;
        }
        self.standing[task] = standing;
        let mut settled = vec![(task, changed)];
        while let Some((task, changed)) = settled.pop() {
            let table = self.tasks[task].table;
            let succeeded = matches!(self.standing[task], Standing::Done | Standing::UpToDate);
            if succeeded {
                self.lines[table.index()].finish(self.positions[task], changed);
            }
            let mut need = std::mem::replace(&mut self.watching[task], NOBODY);
            while need != NOBODY {
                let next = self.needs[need as usize].next_watching;
                self.advance(need, &mut settled);
                need = next;
            }
        }
    }

    /// Moves a need to the next task that it waits for, or tells its waiters that it is met, or that it never will be.
    fn advance(&mut self, need: u32, settled: &mut Vec<(usize, bool)>) {
        let Need { table, order, from, to, .. } = self.needs[need as usize];
        let line = self.lines[table.index()].line(order);
        let next = line.unfinished.first(from);
        if next >= to {
            let changed = line.moved.first(from) < to;
            for at in self.waiters_of(need) {
                self.met(self.waiters[at], changed, settled);
            }
            return;
        }
        let next = line.tasks[next as usize];
        if !matches!(self.standing[next as usize], Standing::Failed | Standing::Skipped) {
            self.watch(need, next);
            return;
        }
        for at in self.waiters_of(need) {
            let task = self.waiters[at] as usize;
            if self.standing[task] == Standing::Waiting {
                self.standing[task] = Standing::Skipped;
                settled.push((task, true));
            }
        }
    }

    fn met(&mut self, task: u32, changed: bool, settled: &mut Vec<(usize, bool)>) {
        let at = task as usize;
        self.pending[at] -= 1;
        self.touched[at] |= changed;
        if self.pending[at] > 0 || self.standing[at] != Standing::Waiting {
            return;
        }
        if self.touched[at] || self.tasks[at].mark.must_run() {
            self.make_ready(task);
        } else {
            self.standing[at] = Standing::UpToDate;
            settled.push((at, false));
        }
    }
}
