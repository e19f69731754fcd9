//! [`ingest`]: events into the table, once or on and on.

use std::time::Duration;

use lakeshift_journal::LeaseManager;
use lakeshift_stream::{Ingest, IngestConfig, Started, Step, StreamError};
use serde::Serialize;

use super::file::StreamFile;
use crate::error::{Error, with_causes};

/// Failures in a row after which a stream that follows gives up.
const FAILURES_MAX: u32 = 10;
/// The wait after a failure; it grows with their number.
const BACKOFF: Duration = Duration::from_secs(2);

/// What came in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
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
    /// Rows of the stream in the table, over its whole life.
    pub rows_in_all: u64,
}

/// Reads what is there, or goes on until it is asked to stop.
///
/// # Errors
/// [`Error::StreamHeld`] when another process ingests; what source, table and journal may come to. What was committed stays, and
/// the next run goes on from there.
pub async fn ingest(file: &StreamFile, follows: bool) -> Result<IngestReport, Error> {
    let register = file.register().await?;
    let snapshot = file.create(register.ledger()).await?;
    let linger = if follows { Duration::from_secs(file.spec.commit.every.as_seconds()) } else { Duration::ZERO };
    let source = file.source(linger)?;
    let dead_letters = match &file.spec.dead_letters {
        Some(location) => file.context.stores.open(location)?,
        None => file.folder.child("dead-letters"),
    };
    let config = IngestConfig {
        id: file.id(),
        table: file.table.clone(),
        sink: file.sink(snapshot),
        leases: LeaseManager::new(file.leases("ingest")),
        store: dead_letters.store().clone(),
        dead_letters: dead_letters.prefix().clone(),
        clock: file.context.clock.clone(),
        rng: file.context.rng.clone(),
    };
    let mut ingest = match Ingest::start(config, register, source).await? {
        Started::Running(ingest) => ingest,
        Started::Held { holder, expires_in } => {
            return Err(Error::StreamHeld { what: file.spec.stream.clone(), holder, expires_in });
        }
    };
    let mut report = IngestReport::default();
    let mut failures = 0;
    let ended = loop {
        if file.context.stop.check().is_err() {
            break Ok(());
        }
        match ingest.step().await {
            Ok(Some(step)) => {
                failures = 0;
                report.add(step);
                file.context.progress.say(told(&step));
            }
            Ok(None) if follows => failures = 0,
            Ok(None) => break Ok(()),
            Err(error @ StreamError::Source { .. }) if follows && failures < FAILURES_MAX => {
                failures += 1;
                tracing::warn!(failures, error = with_causes(&error), "could not read on; trying again");
                if file.context.stop.or_drop(file.context.clock.sleep(BACKOFF * failures)).await.is_err() {
                    break Ok(());
                }
            }
            Err(error) => break Err(error.into()),
        }
    };
    report.rows_in_all = ingest.register().ledger().rows();
    if let Err(error) = ingest.stop().await {
        tracing::warn!(%error, "could not give the stream's lease back; it ends by itself");
    }
    ended.map(|()| report)
}

impl IngestReport {
    fn add(&mut self, step: Step) {
        self.steps += 1;
        self.records += step.records;
        self.rows += step.rows;
        self.replayed += step.replayed;
        self.held_back += step.held_back;
    }
}

fn told(step: &Step) -> String {
    match step {
        Step { replayed, .. } if *replayed > 0 => format!("{replayed} parked rows replayed"),
        Step { rows, held_back: 0, .. } => format!("{rows} rows"),
        Step { rows, held_back, .. } => format!("{rows} rows, {held_back} held back"),
    }
}
