//! What a backfill replaces while its stream writes both tables of a migration: files of the table that is written now, in one
//! write of the dual writer.
//!
//! The producers' lease is taken first, then it is asked in the stream's journal whether the lock is still held, and the commit is
//! made under that lease or not at all. Who takes a lock over says so in the stream's journal, and takes the producers' lease
//! after that: what a stalled process has intended by then is in the table or is withdrawn, and what it intends later it
//! asks for first.

use lakeshift_core::migration::Side;
use lakeshift_core::table::{MigrationId, NewFile, TableVersion};
use lakeshift_core::writes::{StreamBackfill, writer_of, written_side};
use lakeshift_stream::{Later, Mode, Replace, Replacer, StreamError};

use super::both_tables::{BothTables, boxed};
use super::file::refused;
use super::ground::Ground;
use crate::engine::writer::{self, WriteLog};
use crate::error::Error;
use crate::writer::{Carried, Wrote, carry};

impl BothTables {
    /// The table that is written now; where the range was rewritten, the one in which it was.
    ///
    /// # Errors
    /// It cannot be read, or does not take the stream's rows.
    pub(super) async fn ground(&mut self) -> Result<Ground, Error> {
        self.opened.session.refresh().await?;
        let side = match &self.replaced {
            Some(wrote) => wrote.side,
            None => {
                self.check().await?;
                written_side(&self.opened.session.state)
            }
        };
        let (session, tables) = (&self.opened.session, &self.opened.tables);
        let (table, own, staging) = tables.of(side, &writer_of(session.id()));
        let (places, target) = match side {
            Side::Old => (vec![own], None),
            Side::New => (vec![own, tables.source_storage.clone()], Some(&session.spec.target)),
        };
        let (parquet, sort) = target.map(|target| (target.parquet.clone(), target.sort.clone())).unwrap_or_default();
        self.ground = Some(side);
        Ok(Ground { table, places, staging, parquet, sort })
    }

    /// Carries what was replaced to the other table, or waits until a runner at work has.
    ///
    /// # Errors
    /// As a round of the mirror; what was written stays where it is.
    pub(super) async fn carry_replaced(&mut self) -> Result<Carried, Error> {
        let Some(wrote) = self.replaced.take() else { return Ok(Carried::Done) };
        self.opened.session.refresh().await?;
        if wrote.side != written_side(&self.opened.session.state) {
            // A cutover and a rollback carry everything over first.
            return Ok(Carried::Done);
        }
        let wait = self.max_lag();
        Box::pin(carry(&mut self.opened, &wrote, wait)).await
    }

    /// Replaces files under the producers' lease.
    async fn replace_files(
        &mut self,
        by: &Replacer,
        files: (Vec<NewFile>, Vec<String>),
        still: impl AsyncFnOnce() -> Result<(), StreamError>,
    ) -> Result<TableVersion, StreamError> {
        let mut producer = self.hold_to_write().await.map_err(boxed)?;
        let (session, tables) = (&self.opened.session, &self.opened.tables);
        let side = written_side(&session.state);
        let stays = match self.ground == Some(side) {
            true => one_side(producer.log(), by, side).map_err(boxed),
            false => Err(StreamError::Conflict { reason: "readers have moved while the range was computed".to_owned() }),
        };
        let asked = match stays {
            Ok(()) => still().await,
            Err(error) => Err(error),
        };
        let done = match (asked, producer.writes().backfills.get(&backfill_of(by))) {
            (Ok(()), None) => producer.replace(session, tables, &backfill_of(by), files).await.map_err(told),
            (Ok(()), Some(_)) => {
                Err(StreamError::Conflict { reason: "the range was rewritten under this lock before".to_owned() })
            }
            (Err(error), _) => Err(error),
        };
        self.log = Some(producer.release().await);
        done
    }
}

impl Replace for BothTables {
    fn migration(&self) -> Option<&MigrationId> {
        Some(self.opened.session.id())
    }

    async fn later(&mut self, by: &Replacer) -> Result<Later, StreamError> {
        let side = self.ground.unwrap_or_else(|| written_side(&self.opened.session.state));
        let writer = self.opened.session.id().clone();
        let log = self.read().await.map_err(boxed)?;
        one_side(log, by, side).map_err(boxed)?;
        let here = log.begun_after(&by.stream, by.since).filter(|(_, of)| *of == side);
        let first = here.map(|(number, _)| number).min();
        // Numbers rise; what others have written to both tables since stays as it is, too.
        Ok(Later { writer, letter: writer::LETTER, last: first.map_or(log.writes().last, |first| first.saturating_sub(1)) })
    }

    async fn replace(
        &mut self,
        by: &Replacer,
        files: (Vec<NewFile>, Vec<String>),
        still: impl AsyncFnOnce() -> Result<(), StreamError>,
    ) -> Result<TableVersion, StreamError> {
        if files.0.is_empty() && files.1.is_empty() {
            let side = written_side(&self.opened.session.state);
            return Ok(writer::table(&self.opened.tables, side).snapshot(None).await?.version);
        }
        let removed = files.1.clone();
        let version = self.replace_files(by, files, still).await?;
        self.replaced = self.ground.map(|side| Wrote { stem: format!("ls.{}.", by.id), removed, side });
        Ok(version)
    }

    async fn landed(&mut self, by: &Replacer) -> Result<Option<TableVersion>, StreamError> {
        let producer = self.hold().await.map_err(boxed)?;
        let made = producer.writes().backfills.get(&backfill_of(by)).copied();
        self.log = Some(producer.release().await);
        let Some((_, side)) = made else { return Ok(None) };
        self.replaced = Some(Wrote { stem: format!("ls.{}.", by.id), removed: Vec::new(), side });
        Ok(Some(writer::table(&self.opened.tables, side).snapshot(None).await?.version))
    }
}

/// Refuses where the stream may have written newer rows of the range to the other table: which rows of this one are those is not
/// told by the names of its files.
fn one_side(log: &WriteLog, by: &Replacer, side: Side) -> Result<(), Error> {
    if by.mode != Mode::Priority || log.begun_after(&by.stream, by.since).all(|(_, of)| of == side) {
        return Ok(());
    }
    let problem =
        "readers have moved since the range was locked, and newer rows of it may have come before that; no row was changed";
    Err(refused(problem, "give the backfill up with --abandon, and run it again under another name"))
}

fn backfill_of(by: &Replacer) -> StreamBackfill {
    StreamBackfill { stream: by.stream.clone(), lock: by.lock }
}

/// What means that nothing was replaced keeps its name.
fn told(error: Error) -> StreamError {
    match error {
        Error::Conflict { reason } => StreamError::Conflict { reason },
        Error::Fenced { current } => StreamError::Fenced { current },
        error => boxed(error),
    }
}
