//! [`BothTables`]: a stream's commits as writes of a migration's dual writer, to the table that is written now; the migration's mirror
//! carries them to the other.
//!
//! The producers' lease is taken before a commit is intended in the stream's journal, and the commit is made under that lease or not at
//! all: [`Prepared`] holds it. So whoever finds an intent without an end takes that lease. By its entry in the producers' journal a
//! stalled process is fenced there; what that process has intended there is finished, and what it has not it never will.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use lakeshift_core::evolution::is_wider;
use lakeshift_core::migration::{Phase, Side};
use lakeshift_core::plan::same_type;
use lakeshift_core::stream::StreamSpec;
use lakeshift_core::table::{CommitNumber, MigrationId};
use lakeshift_core::writes::{StreamCommit, StreamWrite, WriteId, writer_of, written_side};
use lakeshift_journal::{Clock, Lease};
use lakeshift_stream::{Destination, Ledger, StreamError};

use super::file::{StreamFile, refused};
use super::sink::kept_rows;
use super::table_stream::check_columns;
use crate::commands::opened::Opened;
use crate::engine::writer::{self, Producer, Rowset, WriteLog};
use crate::error::Error;
use crate::lease;
use crate::writer::{Carried, Wrote, carry, is_carried_over, nowhere, rowset};

/// How long other producers, or a cutover that holds them off, are waited for.
const PRODUCER_WAIT: Duration = Duration::from_secs(120);

/// The two tables of a migration.
#[derive(Debug)]
pub struct BothTables {
    pub(super) opened: Opened,
    stream: MigrationId,
    /// For what it takes the producers' lease.
    purpose: &'static str,
    spec: StreamSpec,
    clock: Arc<dyn Clock>,
    pub(super) log: Option<WriteLog>,
    /// The side whose table is known to have the stream's columns.
    fits: Option<Side>,
    uncarried: Option<Uncarried>,
    /// The side whose table a backfill has looked at.
    pub(super) ground: Option<Side>,
    /// What a backfill has replaced.
    pub(super) replaced: Option<Wrote>,
}

/// The last write of which it is not known that the other table has it.
#[derive(Debug, Clone, Copy)]
struct Uncarried {
    number: u64,
    side: Side,
    /// Whether another process has made it, and may have carried it.
    before: bool,
}

/// Rows, and the lease under which they are written.
#[derive(Debug)]
pub struct Prepared {
    producer: Producer,
    rows: Rowset,
}

impl BothTables {
    /// Opens the migration of a stream; writes nothing.
    ///
    /// # Errors
    /// A migration that there is not yet or no longer, a table that is only read or has other columns. Where a commit is under way, these
    /// are told after it has found its end.
    pub(super) async fn open(file: &StreamFile, migration: &Path, ledger: &Ledger) -> Result<Self, Error> {
        let mut both = Self::unchecked(file, migration, "ingest").await?;
        if ledger.pending().is_none() {
            both.check().await?;
        }
        Ok(both)
    }

    /// As [`BothTables::open`], whatever tables there are.
    ///
    /// # Errors
    /// A migration that there is not yet.
    pub(super) async fn unchecked(file: &StreamFile, migration: &Path, purpose: &'static str) -> Result<Self, Error> {
        let opened = Opened::existing(&file.context, migration).await?;
        let (stream, spec, clock) = (file.id(), file.spec.clone(), file.context.clock.clone());
        let (log, fits, uncarried, ground, replaced) = (None, None, None, None, None);
        Ok(Self { opened, stream, purpose, spec, clock, log, fits, uncarried, ground, replaced })
    }

    /// Whether there are two tables, and the one that is written now takes the stream's rows.
    pub(super) async fn check(&mut self) -> Result<(), Error> {
        let Opened { session, tables, .. } = &self.opened;
        let (over, left) = match session.state.phase {
            Phase::Completed => ("completed", "new"),
            Phase::Aborted => ("aborted", "old"),
            _ => ("", ""),
        };
        if !over.is_empty() {
            let problem =
                format!("the migration {} is {over}, and the {left} table is left; nothing was written", session.id());
            return Err(refused(problem, "name a table in place of `migration`; the stream then goes on where it was"));
        }
        let side = written_side(&session.state);
        if self.fits == Some(side) {
            return Ok(());
        }
        writer::writable(session, tables, side)?;
        let table = writer::table(tables, side);
        let snapshot = table.snapshot(None).await?;
        // A value goes in as it is or is no value of the column: nothing is cut, and no event stops the stream.
        check_columns(&self.spec, table.location(), &snapshot, |column, there| {
            same_type(column, there) || is_wider(column, there)
        })?;
        self.fits = Some(side);
        Ok(())
    }

    /// Takes the producers' lease, and finishes what another one has left.
    pub(super) async fn hold(&mut self) -> Result<Producer, Error> {
        let Self { opened: Opened { session, tables, .. }, log, purpose, .. } = self;
        let mut producer = writer::hold_again(session, log, purpose, PRODUCER_WAIT).await?;
        // A cutover that has ended while this waited has moved the side that is written.
        let settled = match session.refresh().await {
            Ok(()) => producer.settle(session, tables).await,
            Err(error) => Err(error),
        };
        match settled {
            Ok(()) => Ok(producer),
            Err(error) => {
                *log = Some(producer.release().await);
                Err(error)
            }
        }
    }

    pub(super) async fn hold_to_write(&mut self) -> Result<Producer, Error> {
        let producer = self.hold().await?;
        match self.check().await {
            Ok(()) => Ok(producer),
            Err(error) => {
                self.log = Some(producer.release().await);
                Err(error)
            }
        }
    }

    /// The producers' journal as it is now.
    pub(super) async fn read(&mut self) -> Result<&WriteLog, Error> {
        let log = match self.log.take() {
            Some(mut log) => {
                log.refresh().await?;
                log
            }
            None => WriteLog::open(&self.opened.session).await?,
        };
        Ok(self.log.insert(log))
    }

    /// Whether there is a write of which it is not known that the other table has it.
    pub(super) fn is_behind(&self) -> bool {
        self.uncarried.is_some()
    }

    /// How long the migration's mirror waits between two looks.
    pub(super) fn interval(&self) -> Duration {
        self.opened.session.spec.dual_write.interval.duration()
    }

    /// How far the other table may be behind.
    pub(super) fn max_lag(&self) -> Duration {
        self.opened.session.spec.dual_write.max_lag.duration()
    }

    /// Carries to the other table what it has not, or waits for so long until a runner at work has.
    ///
    /// # Errors
    /// As a round of the mirror; what was written stays where it is. [`StreamError::Fenced`] where the stream's lease is lost.
    pub(super) async fn carry(&mut self, lease: &Lease, wait: Duration) -> Result<Carried, StreamError> {
        let clock = self.clock.clone();
        held(&clock, lease, self.carry_on(wait)).await
    }

    async fn carry_on(&mut self, wait: Duration) -> Result<Carried, Error> {
        let Some(Uncarried { number, side, before }) = self.uncarried else { return Ok(Carried::Done) };
        self.opened.session.refresh().await?;
        let opened = &mut self.opened;
        let wrote = Wrote::write(&opened.session, number, side);
        let carried = match before && nowhere(opened).await?.is_none() && is_carried_over(opened, &wrote).await? {
            true => Carried::Done,
            false => Box::pin(carry(opened, &wrote, wait)).await?,
        };
        if !matches!(carried, Carried::Later(_)) {
            self.uncarried = None;
        }
        Ok(carried)
    }
}

impl Destination for BothTables {
    type Rows = RecordBatch;
    type Ready = Prepared;

    fn migration(&self) -> Option<&MigrationId> {
        Some(self.opened.session.id())
    }

    async fn prepare(
        &mut self,
        rows: &RecordBatch,
        kept: &[u32],
        _: CommitNumber,
        lease: &Lease,
    ) -> Result<Prepared, StreamError> {
        let rows = rowset(&[kept_rows(rows, kept)?]).map_err(boxed)?;
        let clock = self.clock.clone();
        let producer = held(&clock, lease, self.hold_to_write()).await?;
        Ok(Prepared { producer, rows })
    }

    async fn discard(&mut self, ready: Prepared) {
        self.log = Some(ready.producer.release().await);
    }

    async fn commit(
        &mut self,
        ready: Prepared,
        number: CommitNumber,
        positions: BTreeMap<String, u64>,
        lease: &Lease,
    ) -> Result<(), StreamError> {
        let Prepared { mut producer, rows } = ready;
        let id = WriteId::Stream(StreamCommit { stream: self.stream.clone(), number, positions });
        let Opened { session, tables, .. } = &self.opened;
        let rowsets = [rows];
        let work = producer.write(session, tables, &rowsets, Some(&id));
        let written = held(&self.clock, lease, work).await;
        self.log = Some(producer.release().await);
        let written = written?;
        self.uncarried = Some(Uncarried { number: written.number, side: written.side, before: written.before });
        Ok(())
    }

    async fn settle(&mut self, number: CommitNumber, lease: &Lease) -> Result<bool, StreamError> {
        let clock = self.clock.clone();
        let producer = held(&clock, lease, self.hold()).await?;
        let id = WriteId::Stream(StreamCommit { stream: self.stream.clone(), number, positions: BTreeMap::new() });
        let made = producer.writes().made(&id).is_some();
        self.log = Some(producer.release().await);
        Ok(made)
    }

    async fn last(&mut self) -> Result<CommitNumber, StreamError> {
        let stream = self.stream.clone();
        let last = self.read().await.map_err(boxed)?.writes().streams.get(&stream).copied();
        let Some(last) = last else { return Ok(CommitNumber(0)) };
        if !is_there(&self.opened, last).await.map_err(boxed)? {
            let location = writer::table(&self.opened.tables, last.side).location();
            let problem = format!(
                "the producers' journal has write {} of the stream, and the table at {location} has it no more: the table was set back or \
                 made anew, and its later rows are gone; nothing was done",
                last.number
            );
            return Err(boxed(refused(problem, "bring the table's later versions back")));
        }
        if last.side == written_side(&self.opened.session.state) {
            self.uncarried = Some(Uncarried { number: last.number, side: last.side, before: true });
        }
        Ok(last.commit)
    }
}

/// The migration of a stream, and the last of the stream's commits that is in its tables. Takes no lease, and writes nothing.
///
/// # Errors
/// The journals or the table cannot be read.
pub(super) async fn last_commit(file: &StreamFile, migration: &Path) -> Result<(MigrationId, Option<CommitNumber>), Error> {
    let opened = Opened::new(&file.context, migration).await?;
    let log = WriteLog::open(&opened.session).await?;
    let commit = match log.writes().streams.get(&file.id()).copied() {
        Some(last) if is_there(&opened, last).await? => Some(last.commit),
        _ => None,
    };
    Ok((opened.session.id().clone(), commit))
}

/// Whether the table of a write still has it. The one that is not written any more may be gone, and nobody asks for it.
async fn is_there(opened: &Opened, last: StreamWrite) -> Result<bool, Error> {
    let Opened { session, tables, .. } = opened;
    if last.side != written_side(&session.state) {
        return Ok(true);
    }
    let marks = writer::table(tables, last.side).marks(&writer_of(session.id())).await?;
    Ok(marks.number.is_some_and(|number| number.0 >= last.number))
}

/// Does `work`, and shows meanwhile that the stream is alive.
async fn held<T>(
    clock: &Arc<dyn Clock>,
    lease: &Lease,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, StreamError> {
    match lease::while_renewing(clock, lease, work).await {
        Ok(done) => done.map_err(boxed),
        Err(Error::Fenced { current }) => Err(StreamError::Fenced { current }),
        Err(error) => Err(boxed(error)),
    }
}

pub(super) fn boxed(error: Error) -> StreamError {
    StreamError::Destination(Box::new(error))
}
