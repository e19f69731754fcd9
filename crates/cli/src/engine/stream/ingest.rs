//! [`ingest`]: events into the table or both tables of a migration, once or on and on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use lakeshift_journal::{Clock, LeaseManager};
use lakeshift_stream::metrics::{Metrics, serve};
use lakeshift_stream::{Destination, Ingest, IngestConfig, OneTable, Register, Source, Started, Step, StreamError};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::both_tables::BothTables;
use super::file::StreamFile;
use super::upkeep::{Carrying, Compacting, Moment, Upkeep};
use crate::error::{Error, with_causes};
use crate::writer::Carried;

/// Failures in a row after which a stream that follows gives up.
const FAILURES_MAX: u32 = 10;
/// The wait after a failure; it grows with their number.
const BACKOFF: Duration = Duration::from_secs(2);
/// How often brokers are asked how far the topics are, where somebody may ask for metrics.
const LAG_EVERY: Duration = Duration::from_secs(15);
/// Commits whose times are kept.
const LATENCIES_MAX: usize = 10_000;

/// What came in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct IngestReport {
    /// Readings that were committed or noted.
    pub steps: u64,
    /// Rows that were read.
    pub records: u64,
    /// Rows that were committed to the table.
    pub rows: u64,
    /// Of them from events that a backfill had parked.
    pub replayed: u64,
    /// Rows that were set aside for a backfill, or covered by one, and dead letters.
    pub held_back: u64,
    /// Of them dead letters.
    pub dead_letters: u64,
    /// Rows of the stream in the table, over its whole life.
    pub rows_in_all: u64,
    /// How many fewer files there are by compaction.
    pub compacted: u64,
    /// Whether the other table of a migration has them, too; nothing where there is none, or nothing was to be carried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_table: Option<OtherTable>,
    /// How long commits took, from rows in hand to rows in the table and in the journal; nothing without a commit.
    pub commit_ms: Option<CommitMillis>,
}

/// Whether the other table of a migration has what was committed to one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OtherTable {
    /// It has.
    Done,
    /// Whoever runs the migration carries it over: who, or why not now.
    Later(String),
    /// Nothing is carried to it now: why.
    No(String),
}

impl From<Carried> for OtherTable {
    fn from(carried: Carried) -> Self {
        match carried {
            Carried::Done => Self::Done,
            Carried::Later(why) => Self::Later(why),
            Carried::No(why) => Self::No(why),
        }
    }
}

impl OtherTable {
    /// As a line of a report, and its exit code.
    pub fn line(&self) -> (String, u8) {
        match self {
            Self::Done => ("both tables of the migration have them".to_owned(), 0),
            Self::Later(why) => (format!("not yet in the other table of the migration: {why}"), 5),
            Self::No(why) => (format!("nothing is carried to the other table of the migration: {why}"), 0),
        }
    }
}

/// How long the commits of a run took, or the last ten thousand of them, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CommitMillis {
    /// Half of them took no longer.
    pub p50: u64,
    /// 99 of 100 took no longer.
    pub p99: u64,
    /// None took longer.
    pub max: u64,
}

/// How events are brought in.
#[derive(Debug, Clone, Default)]
pub struct IngestOptions {
    /// Whether it goes on when everything that is there was read.
    pub follows: bool,
    /// Where it answers with metrics.
    pub metrics: Option<SocketAddr>,
}

/// Reads what is there, or goes on until it is asked to stop.
///
/// # Errors
/// [`Error::StreamHeld`] when another process ingests; what source, table and journal may come to. What was committed stays, and
/// the next run goes on from there.
pub async fn ingest(file: &StreamFile, options: &IngestOptions) -> Result<IngestReport, Error> {
    let linger = if options.follows { Duration::from_secs(file.spec.commit.every.as_seconds()) } else { Duration::ZERO };
    let source = file.source(linger)?;
    ingest_from(file, source, options).await
}

/// As [`ingest`], from another source of the same events.
///
/// # Errors
/// As [`ingest`].
pub async fn ingest_from<S>(file: &StreamFile, source: S, options: &IngestOptions) -> Result<IngestReport, Error>
where
    S: Source<Rows = RecordBatch>,
{
    let watched = match options.metrics {
        None => None,
        Some(address) => Some(Watched::listen(file, address).await?),
    };
    let register = file.register().await?;
    match file.target() {
        Ok(stream) => {
            let snapshot = stream.create(register.ledger()).await?;
            let destination = OneTable { id: stream.id(), table: stream.table.clone(), sink: stream.sink(snapshot) };
            let upkeep = Compacting { stream, uncompacted: 0 };
            run(file, (source, destination, register), options.follows, (watched, upkeep)).await
        }
        Err(migration) => {
            let destination = BothTables::open(file, migration, register.ledger()).await?;
            let upkeep = Carrying::new(file.context.clock.clone(), options.follows);
            run(file, (source, destination, register), options.follows, (watched, upkeep)).await
        }
    }
}

/// From a source to a destination.
async fn run<S, D, U>(
    file: &StreamFile,
    (source, destination, register): (S, D, Register),
    follows: bool,
    (watched, upkeep): (Option<Watched>, U),
) -> Result<IngestReport, Error>
where
    S: Source<Rows = RecordBatch>,
    D: Destination<Rows = RecordBatch>,
    U: Upkeep<S, D>,
{
    let config = IngestConfig {
        id: file.id(),
        destination,
        leases: LeaseManager::new(file.leases("ingest")),
        dead_letters: file.dead_letters()?,
        clock: file.context.clock.clone(),
    };
    let mut ingest = match Ingest::start(config, register, source).await? {
        Started::Running(ingest) => ingest,
        Started::Held { holder, expires_in } => {
            return Err(Error::StreamHeld { what: file.spec.stream.clone(), holder, expires_in });
        }
    };
    let (report, commits) = (IngestReport::default(), Latencies::default());
    let mut run = Run { file, follows, watched, report, commits, upkeep };
    let ended = run.steps(&mut ingest).await;
    let Run { mut report, commits, .. } = run;
    report.rows_in_all = ingest.register().ledger().rows();
    report.commit_ms = commits.told();
    if let Err(error) = ingest.stop().await {
        tracing::warn!(%error, "could not give the stream's lease back; it ends by itself");
    }
    ended.map(|()| report)
}

/// A run of steps and what it came to so far.
struct Run<'a, U> {
    file: &'a StreamFile,
    follows: bool,
    watched: Option<Watched>,
    report: IngestReport,
    commits: Latencies,
    upkeep: U,
}

impl<U> Run<'_, U> {
    async fn steps<S, D>(&mut self, ingest: &mut Ingest<S, D>) -> Result<(), Error>
    where
        S: Source<Rows = RecordBatch>,
        D: Destination<Rows = RecordBatch>,
        U: Upkeep<S, D>,
    {
        let context = &self.file.context;
        let mut failures = 0;
        while context.stop.check().is_ok() {
            if let Some(watched) = &mut self.watched {
                watched.look(ingest).await;
            }
            match ingest.step().await {
                Ok(Some(step)) => {
                    failures = 0;
                    self.count(&step);
                    context.progress.say(told(&step));
                    let moment = Moment::Step { committed: step.commit.is_some() };
                    self.upkeep.keep_up(ingest, moment, &mut self.report).await?;
                }
                Ok(None) if self.follows => {
                    failures = 0;
                    self.upkeep.keep_up(ingest, Moment::Idle, &mut self.report).await?;
                }
                Ok(None) => return self.upkeep.keep_up(ingest, Moment::End, &mut self.report).await,
                Err(error) if is_interrupted(&error) => break,
                Err(error) if self.follows && failures < FAILURES_MAX && passes(&error) => {
                    failures += 1;
                    if let Some(watched) = &self.watched {
                        watched.metrics.failure();
                    }
                    tracing::warn!(failures, error = with_causes(&error), "could not go on; trying again");
                    let wait = context.clock.sleep(BACKOFF * failures);
                    if context.stop.or_drop(wait).await.is_err() {
                        break;
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.upkeep.keep_up(ingest, Moment::Stopped, &mut self.report).await
    }

    fn count(&mut self, step: &Step) {
        self.report.add(step);
        if let Some(commit) = step.commit {
            self.commits.add(commit);
        }
        if let Some(watched) = &self.watched {
            watched.metrics.step(step, watched.clock.as_ref());
        }
    }
}

/// Whether brokers or other producers may be the reason, and a later try may do.
fn passes(error: &StreamError) -> bool {
    match error {
        StreamError::Source { .. } | StreamError::Letters { .. } => true,
        // Before anything was intended.
        StreamError::Destination(error) => matches!(error.downcast_ref(), Some(Error::Producing { .. })),
        _ => false,
    }
}

fn is_interrupted(error: &StreamError) -> bool {
    matches!(error, StreamError::Destination(error) if matches!(error.downcast_ref(), Some(Error::Interrupted)))
}

/// Metrics that somebody may ask for, for as long as this lives.
struct Watched {
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    looked: Option<Duration>,
    server: JoinHandle<()>,
}

impl Watched {
    async fn listen(file: &StreamFile, address: SocketAddr) -> Result<Self, Error> {
        let bad = |error: std::io::Error| Error::Argument { text: address.to_string(), reason: format!("metrics: {error}") };
        let listener = TcpListener::bind(address).await.map_err(bad)?;
        let (metrics, clock) = (Arc::new(Metrics::new(&file.spec.stream)), file.context.clock.clone());
        let server = tokio::spawn(serve(listener, metrics.clone(), clock.clone()));
        Ok(Self { metrics, clock, looked: None, server })
    }

    /// Looks at what is parked, and asks the brokers from time to time how far the topics are.
    async fn look<S, D>(&mut self, ingest: &mut Ingest<S, D>)
    where
        S: Source<Rows = RecordBatch>,
        D: Destination<Rows = RecordBatch>,
    {
        self.metrics.parked(ingest.register().ledger());
        let now = self.clock.elapsed();
        if self.looked.is_some_and(|looked| now.saturating_sub(looked) < LAG_EVERY) {
            return;
        }
        self.looked = Some(now);
        match ingest.ends().await {
            Ok(ends) => self.metrics.lag(&ends, ingest.register().ledger()),
            Err(error) => tracing::debug!(%error, "could not ask how far the topics are"),
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// How long the last commits took.
#[derive(Debug, Default)]
struct Latencies {
    ms: Vec<u64>,
    count: usize,
}

impl Latencies {
    fn add(&mut self, commit: Duration) {
        let ms = u64::try_from(commit.as_millis()).unwrap_or(u64::MAX);
        match self.ms.get_mut(self.count % LATENCIES_MAX) {
            Some(oldest) => *oldest = ms,
            None => self.ms.push(ms),
        }
        self.count += 1;
    }

    fn told(mut self) -> Option<CommitMillis> {
        self.ms.sort_unstable();
        let at = |percent: usize| self.ms.get((self.ms.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        Some(CommitMillis { p50: at(50)?, p99: at(99)?, max: at(100)? })
    }
}

impl IngestReport {
    fn add(&mut self, step: &Step) {
        self.steps += 1;
        self.records += step.records;
        self.rows += step.rows;
        self.replayed += step.replayed;
        self.held_back += step.held_back;
        self.dead_letters += step.dead;
    }
}

fn told(step: &Step) -> String {
    match step {
        Step { replayed, .. } if *replayed > 0 => format!("{replayed} parked rows replayed"),
        Step { rows, held_back: 0, .. } => format!("{rows} rows"),
        Step { rows, held_back, .. } => format!("{rows} rows, {held_back} held back"),
    }
}
