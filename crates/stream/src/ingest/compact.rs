//! [`Compaction`]: files of the table replaced by others with the same rows, in a commit of the stream.
//!
//! It is a commit like those of rows: intended in the journal, made under the stream's next number, which carries the positions on, and
//! settled. It is intended only where no lock concerns its places and none moved since they were looked at, so a backfill that
//! locks a range waits for it, and replaces what it has left there.

use lakeshift_core::table::{CommitNumber, CommitOutcome, CommitRequest, NewFile, UnitId};
use lakeshift_journal::Epoch;

use super::Ingest;
use crate::destination::{Destination, OneTable, unit};
use crate::error::StreamError;
use crate::event::{Intent, Reading, StreamEvent};
use crate::range::Place;
use crate::source::{Sink, Source};

/// A compaction that may be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compaction {
    number: CommitNumber,
    epoch: Epoch,
    locks_seen: u64,
}

impl Compaction {
    /// What its files are named after: the stream's unit of them, and the epoch.
    pub fn files_of(&self) -> (UnitId, Epoch) {
        (unit(self.number), self.epoch)
    }
}

impl<S: Source, K: Sink<Rows = S::Rows>> Ingest<S, OneTable<K>> {
    /// Whether the stream may compact in these places: `None` where a lock concerns one of them, or parked events come first.
    pub fn may_compact(&self, places: &[Place]) -> Option<Compaction> {
        let ledger = self.register.ledger();
        let map = ledger.map();
        let free = ledger.draining().is_none() && places.iter().all(|place| map.is_free(place));
        let number = CommitNumber(ledger.last_number().0 + 1);
        free.then(|| Compaction { number, epoch: self.lease.epoch(), locks_seen: ledger.locks_seen() })
    }

    /// Replaces `remove` by `add`, which hold the same rows. False where a lock moved meanwhile, or others have replaced one of the files:
    /// then nothing was changed, and the new files are dropped.
    ///
    /// # Errors
    /// As [`Ingest::step`].
    pub async fn compact(
        &mut self,
        compaction: &Compaction,
        add: Vec<NewFile>,
        remove: Vec<String>,
    ) -> Result<bool, StreamError> {
        self.renew().await?;
        self.register.refresh().await?;
        let Compaction { number, epoch, locks_seen } = *compaction;
        let intent = Intent { number, rows: 0, reading: Reading { locks_seen, ..Reading::default() } };
        match self.register.record(epoch, &StreamEvent::Intended(intent)).await {
            Ok(()) => {}
            Err(StreamError::Refused(_)) => {
                self.config.destination.discard(add).await;
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
        let (positions, to) = (self.positions(), &self.config.destination);
        let request = CommitRequest { add, remove, positions, ..CommitRequest::fence(to.id.clone(), number, epoch) };
        match to.table.commit(&request).await? {
            CommitOutcome::Committed(_) | CommitOutcome::AlreadyCommitted(_) => {
                self.register.record(epoch, &StreamEvent::Settled { number, done: true }).await?;
                Ok(true)
            }
            CommitOutcome::Conflict { reason } => {
                // The table says whether it has it, as after a crash.
                self.settle().await?;
                let done = self.register.ledger().last_done() == number;
                if !done {
                    tracing::info!(reason, "files were not compacted, because the table has changed under it");
                    self.config.destination.discard(request.add).await;
                }
                Ok(done)
            }
            CommitOutcome::Fenced { current } => Err(StreamError::Fenced { current }),
        }
    }
}
