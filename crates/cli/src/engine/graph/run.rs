//! [`run`]: computes what a plan names, a partition as soon as what it reads is done.
//!
//! Partitions are computed side by side and committed one after another: an intent in the journal, an atomic replace in the
//! table, the settling in the journal. A run that was killed between these is settled by the next one, which fences the
//! table first. What failed stays stale, and the next run plans exactly that.

use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use lakeshift_core::graph::{Filter, GraphPlan, LogicId, Staleness, State, Task, WaveSummary};
use lakeshift_core::table::{CommitOutcome, CommitRequest, NewFile};
use serde::Serialize;

use super::file::GraphFile;
use super::ledger::{GraphEvent, Ledger, Pending};
use super::listing::look;
use super::task::{Computed, Job, Listings, compute, discard};
use crate::error::{Error, with_causes};

/// Times that a partition is tried.
const ATTEMPTS_MAX: u32 = 3;
/// The wait after the first failure; it doubles.
const BACKOFF: Duration = Duration::from_secs(1);

/// How a graph is run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Which stale partitions.
    pub filter: Filter,
    /// Partitions that are computed at most; all when absent.
    pub tasks_max: Option<u64>,
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
    /// Partitions that were replaced.
    pub replaced: u64,
    /// Partitions that were computed and came out as they were; nothing was committed.
    pub unchanged: u64,
    /// What the wave came to, in tasks.
    pub wave: WaveSummary,
    /// Rows that were written to tables.
    pub rows: u64,
    /// Bytes that were written to tables.
    pub bytes: u64,
    /// Stale partitions after the run, of all tables.
    pub stale: u64,
    /// What failed.
    pub failures: Vec<Failure>,
}

/// Runs what is stale and the filter takes.
///
/// # Errors
/// [`Error::GraphHeld`], [`Error::Fenced`], [`Error::Conflict`]; sources that cannot be read. A partition that cannot be computed
/// is a [`Failure`] in the report.
pub async fn run(file: &GraphFile, options: &RunOptions) -> Result<RunReport, Error> {
    let mut ledger = Ledger::open(&file.context, &file.graph, &file.folder).await?;
    let queries = file.queries().await?;
    ledger.lock().await?;
    let result = Box::pin(Runner { file, ledger: &mut ledger, options, queries: &queries }.run()).await;
    ledger.unlock().await;
    result
}

struct Runner<'a> {
    file: &'a GraphFile,
    ledger: &'a mut Ledger,
    options: &'a RunOptions,
    queries: &'a [Option<lakeshift_exec::query::Query>],
}

impl Runner<'_> {
    async fn run(mut self) -> Result<RunReport, Error> {
        self.settle().await?;
        self.file.create(self.ledger, self.queries).await?;
        let (sources, _, moved) = look(self.file, self.ledger).await?;
        if !moved.is_empty() {
            self.ledger.record(GraphEvent::SourcesMoved { partitions: moved }).await?;
        }
        let graph = &self.file.graph;
        let staleness = Staleness::scan(graph, self.ledger.versions(), &[]);
        let plan = GraphPlan::new(graph, self.ledger.versions(), &staleness, &self.options.filter);
        let mut report = RunReport { planned: plan.totals.tasks, ..RunReport::default() };
        self.wave(&plan, Listings::new(sources), &mut report).await?;
        let after = Staleness::scan(graph, self.ledger.versions(), &[]);
        report.stale = graph.ids().map(|(id, _)| after.stale(id).count() as u64).sum();
        Ok(report)
    }

    async fn wave(&mut self, plan: &GraphPlan, mut listings: Listings, report: &mut RunReport) -> Result<(), Error> {
        let (file, queries) = (self.file, self.queries);
        let mut wave = plan.wave(&file.graph);
        let mut running = FuturesUnordered::new();
        let mut started = 0;
        let result = loop {
            while running.len() < self.options.parallel.max(1)
                && self.options.tasks_max.is_none_or(|most| started < most)
                && file.context.stop.check().is_ok()
            {
                let Some(at) = wave.start_next() else { break };
                let task = wave.tasks()[at];
                let job = self.job(&task, started, &mut listings).await?;
                started += 1;
                running.push(async move { (at, attempt(file, queries, &job).await, job) });
            }
            let Some((at, computed, job)) = self.ledger.while_renewing(running.next()).await? else { break Ok(()) };
            match computed {
                Ok(computed) => {
                    let changed = match self.settle_task(&job, computed, &mut listings, report).await {
                        Ok(changed) => changed,
                        Err(error) => break Err(error),
                    };
                    wave.done(at, changed);
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
        result?;
        file.context.stop.check()
    }

    async fn job(&self, task: &Task, count: u64, listings: &mut Listings) -> Result<Job, Error> {
        let table = self.file.graph.table(task.table);
        let read_at = self.ledger.versions().sequence();
        let mut upstreams = Vec::with_capacity(table.after.len());
        for edge in &table.after {
            let reach = edge.mapping.needs(task.key);
            let entity = reach.entity.map(|entity| self.ledger.entity_name(entity).to_owned());
            upstreams.push((edge.upstream, listings.get(self.file, edge.upstream).await?, entity));
        }
        let schema = listings.get(self.file, task.table).await?.snapshot.schema.clone();
        let print = self.ledger.key().ok_or(Error::Fenced { current: self.ledger.epoch() })?;
        let stem = format!("graph-{}-{count:06}", self.ledger.epoch());
        let entity = self.ledger.entity_name(task.key.entity).to_owned();
        Ok(Job { table: task.table, key: task.key, entity, upstreams, schema, read_at, stem, print })
    }

    /// Commits and records what a partition came to; whether its content changed.
    async fn settle_task(
        &mut self,
        job: &Job,
        computed: Computed,
        listings: &mut Listings,
        report: &mut RunReport,
    ) -> Result<bool, Error> {
        let file = self.file;
        let logic = file.graph.table(job.table).logic.clone().unwrap_or_default();
        let before = self.ledger.versions().get(job.table, job.key).copied();
        let listing = listings.get(file, job.table).await?;
        let old = listing.files.get(&(job.key.period, job.entity.clone())).cloned().unwrap_or_default();
        // What is on record and not in the table any more is written again.
        let is_there = |before: &State| before.rows == 0 || !old.is_empty();
        let same = before.filter(|before| before.fingerprint == computed.fingerprint && is_there(before));
        let Computed { fingerprint, rows, .. } = computed;
        let bytes = same.map_or(computed.bytes, |before| before.bytes);
        let version = same.map_or(self.ledger.versions().sequence() + 1, |before| before.version);
        let state = State { version, read_at: job.read_at, logic: LogicId::NONE, fingerprint, rows, bytes };
        let partition = self.ledger.stored(job.table, job.key.period, &job.entity, &state, &logic);
        let shown = file.graph.show(self.ledger.versions(), job.table, job.key);
        let remove: Vec<String> = old.into_iter().map(|file| file.path).collect();
        if same.is_some() || (computed.files.is_empty() && remove.is_empty()) {
            discard(file, job.table, &computed.files).await;
            self.ledger.record(GraphEvent::Computed { partition }).await?;
            report.unchanged += 1;
            file.context.progress.say(format!("{shown}: {rows} rows, as before"));
            return Ok(same.is_none());
        }
        let number = self.ledger.next_number();
        self.ledger.record(GraphEvent::CommitIntended { number, partition }).await?;
        let request = self.request(computed.files, remove);
        let outcome = self.ledger.while_renewing(file.place(job.table).table.commit(&request)).await??;
        listings.forget(job.table);
        match outcome {
            CommitOutcome::Committed(_) | CommitOutcome::AlreadyCommitted(_) => {
                self.ledger.record(GraphEvent::CommitSettled { number, done: true }).await?;
                report.replaced += 1;
                report.rows += rows;
                report.bytes += bytes;
                file.context.progress.say(format!("{shown}: {rows} rows"));
                Ok(true)
            }
            CommitOutcome::Conflict { reason } => {
                self.ledger.record(GraphEvent::CommitSettled { number, done: false }).await?;
                discard(file, job.table, &request.add).await;
                Err(Error::Conflict { reason })
            }
            CommitOutcome::Fenced { current } => Err(Error::Fenced { current }),
        }
    }

    /// Settles the commit that an earlier runner left without an end: an empty commit of this epoch keeps it from coming
    /// late, then the table tells whether it came.
    async fn settle(&mut self) -> Result<(), Error> {
        let Some(Pending { number, partition }) = self.ledger.pending.clone() else { return Ok(()) };
        let file = self.file;
        let Some(table) = file.graph.table_id(&partition.table) else {
            // The graph no longer has the table, and what it holds is nobody's business here.
            return self.ledger.record(GraphEvent::CommitSettled { number, done: false }).await;
        };
        let mut done = false;
        if file.exists(table).await? {
            let fence = self.request(Vec::new(), Vec::new());
            match file.place(table).table.commit(&fence).await? {
                CommitOutcome::Committed(_) | CommitOutcome::AlreadyCommitted(_) => {}
                CommitOutcome::Conflict { reason } => return Err(Error::Conflict { reason }),
                CommitOutcome::Fenced { current } => return Err(Error::Fenced { current }),
            }
            done = file.place(table).table.marks(&file.id()).await?.number.is_some_and(|highest| highest >= number);
        }
        tracing::info!(%number, done, "settled a commit that an earlier run left open");
        self.ledger.record(GraphEvent::CommitSettled { number, done }).await
    }

    fn request(&self, add: Vec<NewFile>, remove: Vec<String>) -> CommitRequest {
        let number = self.ledger.pending.as_ref().map_or(self.ledger.next_number(), |pending| pending.number);
        CommitRequest {
            migration: self.file.id(),
            number,
            epoch: self.ledger.epoch(),
            add,
            remove,
            deletes: std::collections::BTreeMap::new(),
            repartition: None,
            evolve: Vec::new(),
            positions: Default::default(),
        }
    }
}

/// Computes a partition, and tries again where the store failed.
async fn attempt(file: &GraphFile, queries: &[Option<lakeshift_exec::query::Query>], job: &Job) -> Result<Computed, Error> {
    let Some(query) = &queries[job.table.index()] else {
        return Err(super::file::refused("a source was planned to be computed", "report this as a defect"));
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
