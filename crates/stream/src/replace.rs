//! [`Replace`]: where a backfill's replacement of files goes: a table, or that one of two tables which is written.

use std::fmt::Debug;
use std::sync::Arc;

use lakeshift_core::plan::unit_of_path;
use lakeshift_core::table::{CommitNumber, CommitOutcome, CommitRequest, MigrationId, NewFile, TableFormat, TableVersion};
use lakeshift_journal::Epoch;

use crate::destination::fence;
use crate::error::StreamError;
use crate::event::Mode;

/// Whose replacement it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacer {
    /// The name under which the stream commits.
    pub stream: MigrationId,
    /// The name under which the backfill does: its own, so that it fences only itself.
    pub id: MigrationId,
    /// The lock under which it is made, once.
    pub lock: Epoch,
    /// The epoch of whoever acts for the lock.
    pub epoch: Epoch,
    /// The stream's last commit when it was taken.
    pub since: CommitNumber,
    /// What the stream does in the range meanwhile.
    pub mode: Mode,
}

/// Takes the replacement of files that a backfill makes, once for each lock.
pub trait Replace: Debug {
    /// The migration whose two tables these are; `None` for a table.
    fn migration(&self) -> Option<&MigrationId>;

    /// What the stream has committed since the lock was taken.
    ///
    /// # Errors
    /// The tables cannot tell.
    fn later(&mut self, by: &Replacer) -> impl Future<Output = Result<Later, StreamError>>;

    /// Replaces files in one commit; without any it tells the present version. `still` says whether the lock is still held: who
    /// cannot fence a commit by the lock's epoch asks when nothing can come between.
    ///
    /// # Errors
    /// [`StreamError::Conflict`] and [`StreamError::Fenced`], with nothing replaced; what `still` says. After any other error it
    /// may have been made or not; [`Replace::landed`] tells.
    fn replace(
        &mut self,
        by: &Replacer,
        files: (Vec<NewFile>, Vec<String>),
        still: impl AsyncFnOnce() -> Result<(), StreamError>,
    ) -> impl Future<Output = Result<TableVersion, StreamError>>;

    /// After this a replacement of a lower epoch of the lock is made, or never will be. A version that has it, if one has.
    ///
    /// # Errors
    /// What the tables may come to; asked again it goes on.
    fn landed(&mut self, by: &Replacer) -> impl Future<Output = Result<Option<TableVersion>, StreamError>>;
}

/// Files that are not a backfill's to replace, by their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Later {
    /// The name under which they were written.
    pub writer: MigrationId,
    /// The letter before the number of their unit.
    pub letter: char,
    /// Numbers after this one are later.
    pub last: u64,
}

impl Later {
    /// Whether a file is one of them.
    pub fn has(&self, path: &str) -> bool {
        let unit = unit_of_path(&self.writer, path);
        let number = unit.and_then(|unit| unit.0.strip_prefix(self.letter)?.parse::<u64>().ok());
        number.is_some_and(|number| number > self.last)
    }
}

impl<T: TableFormat + ?Sized> Replace for Arc<T> {
    fn migration(&self) -> Option<&MigrationId> {
        None
    }

    async fn later(&mut self, by: &Replacer) -> Result<Later, StreamError> {
        Ok(Later { writer: by.stream.clone(), letter: 's', last: by.since.0 })
    }

    async fn replace(
        &mut self,
        by: &Replacer,
        (add, remove): (Vec<NewFile>, Vec<String>),
        _: impl AsyncFnOnce() -> Result<(), StreamError>,
    ) -> Result<TableVersion, StreamError> {
        let request =
            CommitRequest { add, remove, ..CommitRequest::fence(by.id.clone(), CommitNumber(by.lock.0), by.epoch) };
        if request.is_fence() {
            return Ok(self.snapshot(None).await?.version);
        }
        match self.commit(&request).await? {
            CommitOutcome::Committed(version) | CommitOutcome::AlreadyCommitted(version) => Ok(version),
            CommitOutcome::Conflict { reason } => Err(StreamError::Conflict { reason }),
            CommitOutcome::Fenced { current } => Err(StreamError::Fenced { current }),
        }
    }

    async fn landed(&mut self, by: &Replacer) -> Result<Option<TableVersion>, StreamError> {
        fence(self.as_ref(), &by.id, by.epoch).await?;
        let number = self.marks(&by.id).await?.number;
        match number.is_some_and(|number| number.0 >= by.lock.0) {
            true => Ok(Some(self.snapshot(None).await?.version)),
            false => Ok(None),
        }
    }
}
