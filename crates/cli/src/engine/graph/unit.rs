//! [`run_unit`]: one partition, for a scheduler that runs many of them at once, on one machine or several.
//!
//! The graph's lease is held to look and to commit, not to compute. So what was read may have moved when the rows are there:
//! then they are dropped and the partition is computed again.

use std::time::Duration;

use lakeshift_core::graph::{Key, Mark, Staleness, TableId, Task};
use serde::Serialize;

use super::file::{GraphFile, refused};
use super::holds::holds;
use super::ledger::Ledger;
use super::listing::look;
use super::run::{RunReport, Runner, attempt};
use super::task::{Computed, Job, Listings, discard};
use crate::error::Error;

/// How often a partition is computed before others who move what it reads are let be.
const ROUNDS_MAX: u32 = 5;
/// Units that commit before one of them writes the graph's versions anew: each is a process of its own, and reads them.
const CHECKPOINT_ENTRIES: u64 = 64;
/// The wait between two looks at a lease that another holds.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// A partition to compute, by names: what is new in a source has no number yet.
#[derive(Debug, Clone)]
pub struct UnitKey {
    /// The table.
    pub table: TableId,
    /// The period.
    pub period: i32,
    /// The entity's name; empty where the table has none.
    pub entity: String,
}

/// What became of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UnitOutcome {
    /// The partition was replaced.
    Replaced,
    /// It came out as it was; nothing was committed.
    Unchanged,
    /// It was not stale; nothing was computed.
    UpToDate,
}

/// What a unit came to.
#[derive(Debug, Clone, Serialize)]
pub struct UnitReport {
    /// The partition.
    pub partition: String,
    /// What became of it.
    pub outcome: UnitOutcome,
    /// Rows that it has; 0 where nothing was computed.
    pub rows: u64,
    /// Bytes that were written.
    pub bytes: u64,
}

/// Computes a partition if it is stale, and what it reads is not.
///
/// # Errors
/// [`Error::GraphHeld`] where others kept the lease for longer than `wait`; [`Error::GraphRefused`] where something that it reads is
/// stale, or is under migration; what keeps the partition from being computed.
pub async fn run_unit(file: &GraphFile, unit: &UnitKey, wait: Duration) -> Result<UnitReport, Error> {
    let mut ledger = Ledger::open(&file.context, &file.graph, &file.folder).await?;
    for _ in 0..ROUNDS_MAX {
        lock(file, &mut ledger, wait).await?;
        let begun = Runner::new(file, &mut ledger).begin(unit).await;
        ledger.unlock().await;
        let (partition, job) = begun?;
        let Some(job) = job else {
            return Ok(UnitReport { partition, outcome: UnitOutcome::UpToDate, rows: 0, bytes: 0 });
        };
        let computed = file.context.stop.or_drop(attempt(file, &job)).await??;
        if let Err(error) = lock(file, &mut ledger, wait).await {
            discard(file, unit.table, &computed.files).await;
            return Err(error);
        }
        let mut report = RunReport::default();
        let rows = computed.rows;
        let done = Runner::new(file, &mut ledger).finish(job, computed, &mut report).await;
        ledger.unlock().await;
        if done? {
            let outcome = if report.replaced > 0 { UnitOutcome::Replaced } else { UnitOutcome::Unchanged };
            return Ok(UnitReport { partition, outcome, rows, bytes: report.bytes });
        }
        file.context.progress.say(format!("{partition}: what it reads moved meanwhile; computing it again"));
    }
    let name = &file.graph.table(unit.table).name;
    Err(refused(
        format!("what this partition of {name} reads moved {ROUNDS_MAX} times while it was computed; it was left as it was"),
        "run it when its upstreams have come to rest",
    ))
}

/// Takes the lease, waiting for whoever has it.
async fn lock(file: &GraphFile, ledger: &mut Ledger, wait: Duration) -> Result<(), Error> {
    let mut waited = Duration::ZERO;
    loop {
        match ledger.lock().await {
            Err(Error::GraphHeld { .. }) if waited < wait => {
                file.context.stop.check()?;
                file.context.clock.sleep(LOOK_AGAIN).await;
                waited += LOOK_AGAIN;
            }
            // Another unit wrote between this one's last look and its lease; the next look has it.
            Err(Error::Fenced { .. }) if waited < wait => waited += LOOK_AGAIN,
            done => return done,
        }
    }
}

impl Runner<'_> {
    /// A partition as people read it, and what it takes to compute it; `None` where it is up to date.
    async fn begin(&mut self, unit: &UnitKey) -> Result<(String, Option<Job>), Error> {
        self.settle().await?;
        self.file.create(self.ledger).await?;
        let (tables, _, moved) = look(self.file, self.ledger).await?;
        self.ledger.record_sources(moved).await?;
        let graph = &self.file.graph;
        let versions = self.ledger.versions();
        let Some(entity) = versions.entity_id(&unit.entity) else {
            let problem = format!("no partition of table {} has this entity", graph.table(unit.table).name);
            return Err(refused(problem, "`lakeshift graph stale` lists them"));
        };
        let (table, key) = (unit.table, Key { period: unit.period, entity });
        let shown = graph.show(versions, table, key);
        let staleness = Staleness::scan(graph, versions, &holds(self.file).await?);
        let mark = match staleness.mark(table, key) {
            None => {
                return Err(refused(format!("{shown} is no partition of this graph"), "`lakeshift graph stale` lists them"));
            }
            Some(_) if graph.table(table).is_source() => {
                return Err(refused(format!("{shown} is a source"), "nothing in this graph computes it"));
            }
            Some(mark) if !mark.is_stale() => return Ok((shown, None)),
            Some(mark) => mark,
        };
        let waits =
            |reason: &str| refused(format!("{shown} {reason}"), "`lakeshift graph stale --why` tells which; run that first");
        if mark.any(Mark::HELD) {
            return Err(waits("rests on a table that is under migration"));
        }
        if mark.any(Mark::UPSTREAM) {
            return Err(waits("reads what is stale itself"));
        }
        let task = Task { table, key, mark, rows: None, bytes: None };
        Ok((shown, Some(self.job(&task, 0, &mut Listings::new(tables)).await?)))
    }

    /// Commits what was computed, unless what it was computed from has moved since: then drops it.
    async fn finish(&mut self, job: Job, computed: Computed, report: &mut RunReport) -> Result<bool, Error> {
        self.settle().await?;
        let edges = &self.file.graph.table(job.table).after;
        let newest =
            edges.iter().filter_map(|edge| self.ledger.versions().newest(edge.upstream, edge.mapping.needs(job.key)));
        let overtaken = newest.max().is_some_and(|newest| newest > job.read_at);
        // Another unit of the same partition was faster.
        let twice = self.ledger.versions().get(job.table, job.key).is_some_and(|state| state.read_at > job.read_at);
        if overtaken || twice {
            discard(self.file, job.table, &computed.files).await;
            return Ok(false);
        }
        self.settle_batch(vec![(job, computed)], &mut Listings::default(), report).await?;
        self.ledger.checkpoint(CHECKPOINT_ENTRIES).await;
        Ok(true)
    }
}
