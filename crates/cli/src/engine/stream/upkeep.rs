//! [`Upkeep`]: what is done between a stream's commits: small files of its table become one ([`Compacting`]), or what one table of a
//! migration has is carried to the other ([`Carrying`]).

use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use lakeshift_journal::Clock;
use lakeshift_stream::{Ingest, OneTable, Source, StreamError};

use super::both_tables::BothTables;
use super::compact::compact;
use super::ingest::{IngestReport, OtherTable};
use super::sink::ParquetSink;
use super::table_stream::TableStream;
use crate::error::{Error, with_causes};

/// Failures of the mirror in a row after which a stream that follows gives up.
const FAILURES_MAX: u32 = 10;

/// When it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// Something was read, and committed where there were rows.
    Step {
        /// Whether there were.
        committed: bool,
    },
    /// There is nothing to read now.
    Idle,
    /// Everything was read, and the command ends.
    End,
    /// The operator wants it to end.
    Stopped,
}

/// What is done between commits.
pub(super) trait Upkeep<S, D> {
    /// Does it, where it is time.
    ///
    /// # Errors
    /// What was committed stays.
    async fn keep_up(&mut self, ingest: &mut Ingest<S, D>, moment: Moment, report: &mut IngestReport) -> Result<(), Error>;
}

/// Compacts one table.
pub(super) struct Compacting<'a> {
    pub(super) stream: TableStream<'a>,
    /// Commits since it was looked whether there are too many small files.
    pub(super) uncompacted: u64,
}

impl<S: Source<Rows = RecordBatch>> Upkeep<S, OneTable<ParquetSink>> for Compacting<'_> {
    /// Once so many commits have been made since that was looked at. Sooner no partition has so many files.
    async fn keep_up(
        &mut self,
        ingest: &mut Ingest<S, OneTable<ParquetSink>>,
        moment: Moment,
        report: &mut IngestReport,
    ) -> Result<(), Error> {
        let Some(policy) = self.stream.spec.compact else { return Ok(()) };
        let enough = match moment {
            Moment::Step { committed } => {
                self.uncompacted += u64::from(committed);
                u64::from(policy.files)
            }
            Moment::End => 1,
            Moment::Idle | Moment::Stopped => return Ok(()),
        };
        if self.uncompacted < enough {
            return Ok(());
        }
        self.uncompacted = 0;
        loop {
            match compact(&self.stream, ingest, &policy).await? {
                0 => return Ok(()),
                files => report.compacted += files,
            }
        }
    }
}

/// Carries to the other table of a migration.
pub(super) struct Carrying {
    clock: Arc<dyn Clock>,
    follows: bool,
    tried: Option<Duration>,
    failures: u32,
}

impl Carrying {
    pub(super) fn new(clock: Arc<dyn Clock>, follows: bool) -> Self {
        Self { clock, follows, tried: None, failures: 0 }
    }

    /// Whether it is tried now. A round of the mirror costs some entries of the migration's journal, so not after every commit.
    fn is_due(&self, moment: Moment, interval: Duration) -> bool {
        match moment {
            Moment::Step { .. } | Moment::Idle => {
                self.tried.is_none_or(|tried| self.clock.elapsed().saturating_sub(tried) >= interval)
            }
            Moment::End | Moment::Stopped => true,
        }
    }
}

impl<S: Source<Rows = RecordBatch>> Upkeep<S, BothTables> for Carrying {
    async fn keep_up(
        &mut self,
        ingest: &mut Ingest<S, BothTables>,
        moment: Moment,
        report: &mut IngestReport,
    ) -> Result<(), Error> {
        let both = ingest.destination();
        if !both.is_behind() || !self.is_due(moment, both.interval()) {
            return Ok(());
        }
        let wait = if moment == Moment::End { both.max_lag() } else { Duration::ZERO };
        let (lease, both) = ingest.lease_and_destination();
        let carried = both.carry(lease, wait).await;
        self.tried = Some(self.clock.elapsed());
        let passes = self.follows && self.failures < FAILURES_MAX;
        let other = match carried {
            Ok(carried) => carried.into(),
            Err(StreamError::Destination(error)) if passes && moment != Moment::End => {
                self.failures += 1;
                let why = with_causes(error.as_ref());
                tracing::warn!(
                    failures = self.failures,
                    error = why,
                    "could not carry rows to the other table; trying again"
                );
                report.other_table = Some(OtherTable::Later(why));
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        self.failures = 0;
        report.other_table = Some(other);
        Ok(())
    }
}
