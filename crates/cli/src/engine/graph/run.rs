//! [`run`]: computes what a plan names, a partition as soon as what it reads is done.
//!
//! Partitions are computed side by side, and committed as soon as something waits for them, or enough of one table are there.
//! What failed stays stale, and the next run plans exactly that.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use lakeshift_core::graph::{Filter, GraphPlan, Money, Staleness, TableId, Task, Unit, WaveSummary};
use serde::Serialize;

use super::file::{GraphFile, refused};
use super::holds::holds;
use super::ledger::Ledger;
use super::listing::look;
use super::task::{Computed, Job, Listings, compute};
use crate::error::{Error, with_causes};

/// Times that a partition is tried.
const ATTEMPTS_MAX: u32 = 3;
/// Partitions of one table that one commit replaces at most. More at once cost a run that dies more work, and fewer cost
/// every table a version each.
const COMMIT_PARTITIONS: usize = 32;
/// The wait after the first failure; it doubles.
const BACKOFF: Duration = Duration::from_secs(1);

/// How a graph is run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Which stale partitions.
    pub filter: Filter,
    /// Partitions that are computed at most; all when absent.
    pub tasks_max: Option<u64>,
    /// Bytes of data files that are read at most; no limit when absent. A partition that would go beyond it ends the run.
    pub bytes_max: Option<u64>,
    /// What is spent at most by the graph's prices; no limit when absent. As with bytes, and what runs already is paid for.
    pub cost_max: Option<Money>,
    /// Partitions that are computed at the same time.
    pub parallel: usize,
}

/// A partition that could not be computed.
#[derive(Debug, Clone, Serialize)]
pub struct Failure {
    /// Which.
    pub partition: String,
    /// Why.
    pub error: String,
}

/// What a run came to.
#[derive(Debug, Default, Serialize)]
pub struct RunReport {
    /// Partitions that were planned.
    pub planned: u64,
    /// Stale partitions that wait for a migration and were left alone.
    pub held: u64,
    /// Partitions that were replaced.
    pub replaced: u64,
    /// Partitions that were computed and came out as they were; nothing was committed.
    pub unchanged: u64,
    /// What the wave came to, in tasks.
    pub wave: WaveSummary,
    /// Bytes of the data files that were read.
    pub read_bytes: u64,
    /// How long partitions were computed, all together.
    #[serde(serialize_with = "as_seconds", rename = "computed_seconds")]
    pub computed: Duration,
    /// What that and the bytes come to by the graph's prices.
    pub cost: Option<Money>,
    /// Whether the budget ended the run.
    pub budget_spent: bool,
    /// Rows that were written to tables.
    pub rows: u64,
    /// Bytes that were written to tables.
    pub bytes: u64,
    /// Stale partitions after the run, of all tables.
    pub stale: u64,
    /// What failed.
    pub failures: Vec<Failure>,
}

impl RunOptions {
    fn is_beyond(&self, read_bytes: u64, cost: Option<Money>) -> bool {
        self.bytes_max.is_some_and(|most| read_bytes > most)
            || self.cost_max.zip(cost).is_some_and(|(most, cost)| cost > most)
    }
}

fn as_seconds<S: serde::Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(time.as_secs_f64())
}

/// Runs what is stale and the filter takes.
///
/// # Errors
/// [`Error::GraphHeld`], [`Error::Fenced`], [`Error::Conflict`]; sources that cannot be read. A partition that cannot be computed
/// is a [`Failure`] in the report.
pub async fn run(file: &GraphFile, options: &RunOptions) -> Result<RunReport, Error> {
    if options.cost_max.is_some() && file.graph.prices.is_none() {
        let problem = format!("graph {} has no prices, by which its cost could be told; nothing was run", file.graph.name);
        return Err(refused(problem, "add `prices:` to its file, or bound the run by --max-bytes"));
    }
    let mut ledger = Ledger::open(&file.context, &file.graph, &file.folder).await?;
    ledger.lock().await?;
    let result = Box::pin(Runner::new(file, &mut ledger).run(options)).await;
    ledger.unlock().await;
    result
}

/// Partitions of a table that are computed and not committed yet: their places in the wave, and what they came to.
type Done = (Vec<usize>, Vec<(Job, Computed)>);

/// Whoever has the lease.
pub(super) struct Runner<'a> {
    pub(super) file: &'a GraphFile,
    pub(super) ledger: &'a mut Ledger,
}

impl<'a> Runner<'a> {
    pub(super) fn new(file: &'a GraphFile, ledger: &'a mut Ledger) -> Self {
        Self { file, ledger }
    }

    async fn run(mut self, options: &RunOptions) -> Result<RunReport, Error> {
        self.settle().await?;
        self.file.create(self.ledger).await?;
        let (tables, _, moved) = look(self.file, self.ledger).await?;
        self.ledger.record_sources(moved).await?;
        let graph = &self.file.graph;
        let holds = holds(self.file).await?;
        let staleness = Staleness::scan(graph, self.ledger.versions(), &holds);
        let plan = GraphPlan::new(graph, self.ledger.versions(), &staleness, &options.filter);
        let mut report = RunReport { planned: plan.totals.tasks, held: plan.held, ..RunReport::default() };
        self.wave(&plan, options, Listings::new(tables), &mut report).await?;
        let after = Staleness::scan(graph, self.ledger.versions(), &holds);
        report.stale = graph.ids().map(|(id, _)| after.stale(id).count() as u64).sum();
        self.ledger.checkpoint(1).await;
        Ok(report)
    }

    async fn wave(
        &mut self,
        plan: &GraphPlan,
        options: &RunOptions,
        mut listings: Listings,
        report: &mut RunReport,
    ) -> Result<(), Error> {
        let file = self.file;
        let mut wave = plan.wave(&file.graph);
        let mut running = FuturesUnordered::new();
        // Computed and not yet committed, with their places in the wave.
        let mut computed: BTreeMap<TableId, Done> = BTreeMap::new();
        let mut started = 0;
        let mut in_pool: BTreeMap<&str, u32> = BTreeMap::new();
        let pool_of = |table| file.graph.table(table).spec.pool.as_deref();
        let parallel = options.parallel.max(1);
        let result = loop {
            while running.len() < parallel
                && options.tasks_max.is_none_or(|most| started < most)
                && !report.budget_spent
                && file.context.stop.check().is_ok()
            {
                let has_room = |table| {
                    pool_of(table).is_none_or(|pool| in_pool.get(pool).copied().unwrap_or(0) < file.graph.pools[pool])
                };
                let Some(at) = wave.start_where(has_room) else { break };
                let task = wave.tasks()[at];
                let job = self.job(&task, started, &mut listings).await?;
                let read_bytes = report.read_bytes + job.input_bytes;
                report.budget_spent =
                    options.is_beyond(read_bytes, file.graph.prices.map(|prices| prices.cost(read_bytes, report.computed)));
                if report.budget_spent {
                    break;
                }
                report.read_bytes = read_bytes;
                if let Some(pool) = pool_of(task.table) {
                    *in_pool.entry(pool).or_default() += 1;
                }
                started += 1;
                running.push(async move { (at, attempt(file, &job).await, job) });
            }
            // A free place says that nothing can start before what was computed is committed.
            let full = computed.iter().find(|(_, (tasks, _))| tasks.len() >= COMMIT_PARTITIONS).map(|(table, _)| *table);
            let due = full.or_else(|| computed.keys().next().copied().filter(|_| running.len() < parallel));
            if let Some((tasks, batch)) = due.and_then(|table| computed.remove(&table)) {
                match self.settle_batch(batch, &mut listings, report).await {
                    Ok(changed) => tasks.into_iter().zip(changed).for_each(|(at, changed)| wave.done(at, changed)),
                    Err(error) => break Err(error),
                }
                continue;
            }
            let Some((at, result, job)) = self.ledger.while_renewing(running.next()).await? else { break Ok(()) };
            if let Some(running) = pool_of(job.table).and_then(|pool| in_pool.get_mut(pool)) {
                *running -= 1;
            }
            match result {
                Ok(done) => {
                    report.computed += done.took;
                    let (tasks, batch) = computed.entry(job.table).or_default();
                    tasks.push(at);
                    batch.push((job, done));
                }
                Err(error) => {
                    let partition = file.graph.show(self.ledger.versions(), job.table, job.key);
                    file.context.progress.say(format!("{partition} failed: {}", with_causes(&error)));
                    report.failures.push(Failure { partition, error: with_causes(&error) });
                    wave.failed(at);
                }
            }
        };
        report.wave = wave.summary();
        report.cost = file.graph.prices.map(|prices| prices.cost(report.read_bytes, report.computed));
        result?;
        file.context.stop.check()
    }

    pub(super) async fn job(&self, task: &Task, count: u64, listings: &mut Listings) -> Result<Job, Error> {
        let table = self.file.graph.table(task.table);
        let read_at = self.ledger.versions().sequence();
        let (mut upstreams, mut input_bytes) = (Vec::with_capacity(table.after.len()), 0);
        for edge in &table.after {
            let reach = edge.mapping.needs(task.key);
            let entity = reach.entity.map(|entity| self.ledger.entity_name(entity).to_owned());
            let listing = listings.get(self.file, edge.upstream).await?;
            input_bytes += listing.reached(reach, entity.as_deref()).iter().map(|file| file.size_bytes).sum::<u64>();
            upstreams.push((edge.upstream, listing, entity));
        }
        let schema = listings.get(self.file, task.table).await?.snapshot.schema.clone();
        let print = self.ledger.key().ok_or(Error::Fenced { current: self.ledger.epoch() })?;
        // Epochs are unique, and every unit and every run has its own.
        let stem = format!("graph-{}-{count:06}", self.ledger.epoch());
        let entity = self.ledger.entity_name(task.key.entity).to_owned();
        let unit = Unit::new(&self.file.graph, self.ledger.versions(), task.table, task.key);
        let unit = serde_json::json!(unit).to_string();
        Ok(Job { table: task.table, key: task.key, entity, upstreams, input_bytes, unit, schema, read_at, stem, print })
    }
}

/// Computes a partition, and tries again where the store failed.
pub(super) async fn attempt(file: &GraphFile, job: &Job) -> Result<Computed, Error> {
    let Some(query) = file.query(job.table) else {
        return Err(refused("a source was planned to be computed", "report this as a defect"));
    };
    let mut attempt = 1;
    loop {
        match Box::pin(compute(file, query, job)).await {
            Err(error) if attempt < ATTEMPTS_MAX && error.exit_code() == 2 && !matches!(error, Error::GraphQuery(_)) => {
                tracing::warn!(attempt, error = with_causes(&error), "a partition could not be computed; trying again");
                file.context.clock.sleep(BACKOFF * 2_u32.pow(attempt - 1)).await;
                attempt += 1;
            }
            done => return done,
        }
    }
}
