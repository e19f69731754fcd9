//! [`Wave`]: which tasks of a plan may run now. It knows no clock and no runner.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::mapping::Reach;
use super::plan::Task;
use super::remaining::{Lines, Order};
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
#[derive(Debug, Clone)]
struct Need {
    table: TableId,
    order: Order,
    from: usize,
    to: usize,
    waiters: Vec<u32>,
}

/// Drives the tasks of a plan. Tasks are named by their index in the plan; a lower index goes first.
#[derive(Debug, Clone)]
pub struct Wave {
    tasks: Vec<Task>,
    standing: Vec<Standing>,
    /// Needs that are not met, by task.
    pending: Vec<u16>,
    /// Whether a need came out changed, by task.
    touched: Vec<bool>,
    lines: Vec<Lines>,
    needs: Vec<Need>,
    /// Needs that wait for this task first, by task.
    watching: Vec<Vec<u32>>,
    ready: BTreeSet<u32>,
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
            needs: Vec::new(),
            watching: vec![Vec::new(); count],
            ready: BTreeSet::new(),
        };
        wave.connect(graph);
        wave
    }

    /// Takes the first runnable task; it runs until [`Self::done`] or [`Self::failed`].
    pub fn start_next(&mut self) -> Option<usize> {
        let task = self.ready.pop_first()? as usize;
        self.standing[task] = Standing::Running;
        Some(task)
    }

    /// The runnable tasks that nobody has taken, in order.
    pub fn ready(&self) -> impl Iterator<Item = usize> + '_ {
        self.ready.iter().map(|task| *task as usize)
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

    fn connect(&mut self, graph: &Graph) {
        let mut known: HashMap<(TableId, Reach), u32> = HashMap::new();
        for at in 0..self.tasks.len() {
            let task = &self.tasks[at];
            for edge in &graph.table(task.table).after {
                let reach = edge.mapping.needs(task.key);
                let need = match known.get(&(edge.upstream, reach)) {
                    Some(need) => *need,
                    None => {
                        let (order, from, to) = self.lines[edge.upstream.index()].range(reach);
                        if from >= to {
                            continue;
                        }
                        self.needs.push(Need { table: edge.upstream, order, from, to, waiters: Vec::new() });
                        let need = u32::try_from(self.needs.len() - 1).unwrap_or(u32::MAX);
                        known.insert((edge.upstream, reach), need);
                        need
                    }
                };
                self.needs[need as usize].waiters.push(u32::try_from(at).unwrap_or(u32::MAX));
                self.pending[at] += 1;
            }
        }
        for need in 0..self.needs.len() {
            let Need { table, order, from, .. } = self.needs[need];
            let first = self.lines[table.index()].line(order).tasks[from] as usize;
            self.watching[first].push(u32::try_from(need).unwrap_or(u32::MAX));
        }
        for at in (0..self.tasks.len()).filter(|at| self.pending[*at] == 0) {
            self.standing[at] = Standing::Ready;
            self.ready.insert(u32::try_from(at).unwrap_or(u32::MAX));
        }
    }

    /// Gives a running task its end, and all tasks that follow from it theirs.
    fn settle(&mut self, task: usize, standing: Standing, changed: bool) {
        if self.standing[task] != Standing::Running {
            return;
        }
        self.standing[task] = standing;
        let mut settled = vec![(task, changed)];
        while let Some((task, changed)) = settled.pop() {
            let Task { table, key, .. } = self.tasks[task];
            let succeeded = matches!(self.standing[task], Standing::Done | Standing::UpToDate);
            if succeeded {
                self.lines[table.index()].finish(key, changed);
            }
            for need in std::mem::take(&mut self.watching[task]) {
                self.advance(need, &mut settled);
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
            for task in std::mem::take(&mut self.needs[need as usize].waiters) {
                self.met(task, changed, settled);
            }
            return;
        }
        let next = line.tasks[next] as usize;
        if !matches!(self.standing[next], Standing::Failed | Standing::Skipped) {
            self.watching[next].push(need);
            return;
        }
        for task in std::mem::take(&mut self.needs[need as usize].waiters) {
            if self.standing[task as usize] == Standing::Waiting {
                self.standing[task as usize] = Standing::Skipped;
                settled.push((task as usize, true));
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
            self.standing[at] = Standing::Ready;
            self.ready.insert(task);
        } else {
            self.standing[at] = Standing::UpToDate;
            settled.push((at, false));
        }
    }
}
