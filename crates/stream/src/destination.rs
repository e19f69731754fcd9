//! [`Destination`]: where the commits of a stream go: [`OneTable`], or two tables that somebody keeps in step.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use lakeshift_core::table::{CommitNumber, CommitOutcome, CommitRequest, MigrationId, NewFile, TableFormat, UnitId};
use lakeshift_journal::{Epoch, Lease};

use crate::error::StreamError;
use crate::source::Sink;
use crate::spans;

/// Takes a stream's commits, each once. The stream intends a commit in its journal between [`Destination::prepare`] and
/// [`Destination::commit`], under the lease of whoever ingests, and settles it after.
pub trait Destination: Debug {
    /// The rows that it takes.
    type Rows: Send + Sync;
    /// What was made ready for one commit. A commit needs it, so nobody makes one that nobody prepared.
    type Ready;

    /// The migration whose two tables these are; `None` for a table.
    fn migration(&self) -> Option<&MigrationId>;

    /// Makes those rows ready whose index is in `kept`. Nothing refers to them yet.
    ///
    /// # Errors
    /// [`StreamError::Sink`], [`StreamError::Destination`]; nothing was intended, and a later try may do.
    fn prepare(
        &mut self,
        rows: &Self::Rows,
        kept: &[u32],
        number: CommitNumber,
        lease: &Lease,
    ) -> impl Future<Output = Result<Self::Ready, StreamError>>;

    /// Drops what will not be committed. Best effort.
    fn discard(&mut self, ready: Self::Ready) -> impl Future<Output = ()>;

    /// Makes the commit, and writes into it where each source is read on from.
    ///
    /// # Errors
    /// It may have been made or not; [`Destination::settle`] tells.
    fn commit(
        &mut self,
        ready: Self::Ready,
        number: CommitNumber,
        positions: BTreeMap<String, u64>,
        lease: &Lease,
    ) -> impl Future<Output = Result<(), StreamError>>;

    /// After this the commit, which another process or a failed step of this one has left, is made or never will be. Whether it
    /// is.
    ///
    /// # Errors
    /// What the tables may come to; asked again it goes on.
    fn settle(&mut self, number: CommitNumber, lease: &Lease) -> impl Future<Output = Result<bool, StreamError>>;

    /// The last of the stream's commits that is there.
    ///
    /// # Errors
    /// A table that cannot be read, or was set back.
    fn last(&mut self) -> impl Future<Output = Result<CommitNumber, StreamError>>;
}

/// A table, and the sink that writes its files.
#[derive(Debug)]
pub struct OneTable<K> {
    /// The name under which the stream commits.
    pub id: MigrationId,
    /// The table.
    pub table: Arc<dyn TableFormat>,
    /// Writes its rows.
    pub sink: K,
}

impl<K: Sink> Destination for OneTable<K> {
    type Rows = K::Rows;
    type Ready = Vec<NewFile>;

    fn migration(&self) -> Option<&MigrationId> {
        None
    }

    async fn prepare(
        &mut self,
        rows: &K::Rows,
        kept: &[u32],
        number: CommitNumber,
        lease: &Lease,
    ) -> Result<Vec<NewFile>, StreamError> {
        let unit = unit(number);
        spans::write(&self.id, number, self.sink.write(rows, kept, &unit, lease.epoch())).await
    }

    async fn discard(&mut self, ready: Vec<NewFile>) {
        self.sink.discard(&ready).await;
    }

    async fn commit(
        &mut self,
        add: Vec<NewFile>,
        number: CommitNumber,
        positions: BTreeMap<String, u64>,
        lease: &Lease,
    ) -> Result<(), StreamError> {
        let request = CommitRequest { add, positions, ..CommitRequest::fence(self.id.clone(), number, lease.epoch()) };
        match self.table.commit(&request).await? {
            CommitOutcome::Committed(_) | CommitOutcome::AlreadyCommitted(_) => Ok(()),
            CommitOutcome::Conflict { reason } => Err(StreamError::Conflict { reason }),
            CommitOutcome::Fenced { current } => Err(StreamError::Fenced { current }),
        }
    }

    async fn settle(&mut self, number: CommitNumber, lease: &Lease) -> Result<bool, StreamError> {
        fence(self.table.as_ref(), &self.id, lease.epoch()).await?;
        Ok(self.last().await? >= number)
    }

    async fn last(&mut self) -> Result<CommitNumber, StreamError> {
        Ok(self.table.marks(&self.id).await?.number.unwrap_or_default())
    }
}

/// The unit of a commit of the stream: it stands in the names of its files.
pub(crate) fn unit(number: CommitNumber) -> UnitId {
    UnitId(format!("s{:08}", number.0))
}

/// After this, no commit under a lower epoch reaches the table, and none of the same one that is on its way.
pub(crate) async fn fence<T: TableFormat + ?Sized>(table: &T, id: &MigrationId, epoch: Epoch) -> Result<(), StreamError> {
    match table.commit(&CommitRequest::fence(id.clone(), CommitNumber(0), epoch)).await? {
        CommitOutcome::Committed(_) | CommitOutcome::AlreadyCommitted(_) => Ok(()),
        CommitOutcome::Conflict { reason } => Err(StreamError::Conflict { reason }),
        CommitOutcome::Fenced { current } => Err(StreamError::Fenced { current }),
    }
}
