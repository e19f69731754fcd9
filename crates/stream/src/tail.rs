//! Following a table by its versions.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lakeshift_core::table::{Changes, Format, Snapshot, TableError, TableFormat, TableVersion};
use lakeshift_journal::Clock;

/// Looks in a row that may fail because of the store before [`Tail::wait`] gives up.
const FAILURES_MAX: u32 = 8;

/// Follows one table. Cheap to make.
#[derive(Debug, Clone)]
pub struct Tail {
    table: Arc<dyn TableFormat>,
    clock: Arc<dyn Clock>,
    interval: Duration,
    looks: Arc<AtomicU64>,
}

/// What changed between two versions.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The earlier version.
    pub from: Snapshot,
    /// The later one: the table as it was when it was looked at.
    pub to: Snapshot,
    /// Files added and removed.
    pub changes: Changes,
    /// How far behind `from` is.
    pub lag: Lag,
}

/// How far a follower is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lag {
    /// Commits that it does not have, where the format numbers them.
    pub commits: Option<u64>,
    /// Files added or removed that it does not have.
    pub files: u64,
    /// Rows of the added files among them, as far as they are known.
    pub rows: u64,
    /// Age of the first such commit, or else of the oldest added file, in seconds.
    pub seconds: u64,
}

impl fmt::Display for Lag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} changed file(s)", self.files)?;
        self.commits.map_or(Ok(()), |commits| write!(f, " of {commits} commit(s)"))
    }
}

impl Tail {
    /// A tail of `table` that looks every `interval` when it waits.
    pub fn new(table: Arc<dyn TableFormat>, clock: Arc<dyn Clock>, interval: Duration) -> Self {
        Self { table, clock, interval, looks: Arc::default() }
    }

    /// How often it has looked; clones count together.
    pub fn looks(&self) -> u64 {
        self.looks.load(Ordering::Relaxed)
    }

    /// Looks once: what has changed since `applied`, or nothing.
    ///
    /// # Errors
    /// The table, or its version `applied`, cannot be read.
    pub async fn look(&self, applied: &TableVersion) -> Result<Option<Batch>, TableError> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        let known = match self.table.format() {
            // The footers of files that a version in memory has are not read again.
            Format::Hive => Some(self.table.snapshot(Some(applied)).await?),
            _ => None,
        };
        let to = self.table.snapshot(None).await?;
        if to.version == *applied {
            return Ok(None);
        }
        let from = match known {
            Some(from) => from,
            None => self.table.snapshot(Some(applied)).await?,
        };
        let changes = self.table.changes(&from, &to).await?;
        let lag = self.lag(&changes);
        Ok(Some(Batch { from, to, changes, lag }))
    }

    /// Looks until something has changed. A store that fails is asked again, more and more slowly, a bounded number of
    /// times in a row.
    ///
    /// # Errors
    /// As [`Tail::look`].
    pub async fn wait(&self, applied: &TableVersion) -> Result<Batch, TableError> {
        let mut failures = 0;
        loop {
            match self.look(applied).await {
                Ok(Some(batch)) => return Ok(batch),
                Ok(None) => failures = 0,
                Err(error @ TableError::Store { .. }) if failures < FAILURES_MAX => {
                    failures += 1;
                    tracing::warn!(%error, failures, "could not look at the source; trying again");
                }
                Err(error) => return Err(error),
            }
            self.clock.sleep(self.interval * 2_u32.pow(failures.min(5))).await;
        }
    }

    fn lag(&self, changes: &Changes) -> Lag {
        let files_ms = changes.added.iter().map(|file| file.modified_ms).filter(|ms| *ms > 0).min();
        let oldest = changes.began_ms.or(files_ms);
        let age_ms = oldest.map_or(0, |ms| self.clock.now().timestamp_millis().saturating_sub(ms));
        let files = (changes.added.len() + changes.removed.len()) as u64;
        let rows = changes.added.iter().filter_map(|file| file.rows).sum();
        Lag { commits: changes.commits, files, rows, seconds: u64::try_from(age_ms / 1000).unwrap_or(0) }
    }
}
