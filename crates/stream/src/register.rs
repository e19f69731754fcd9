//! [`Register`]: a stream's journal and the ledger folded from it, and appending to both.

use lakeshift_journal::{Append, Epoch, Journal, JournalConfig};

use crate::error::StreamError;
use crate::event::StreamEvent;
use crate::guard::{Guard, is_on};
use crate::ledger::Ledger;

/// How often an event is checked anew because another was written first.
const RACES_MAX: usize = 32;

/// A stream's journal, as far as it was read.
#[derive(Debug)]
pub struct Register {
    journal: Journal<StreamEvent>,
    ledger: Ledger,
    folded: usize,
}

impl Register {
    /// Reads the journal; writes nothing.
    ///
    /// # Errors
    /// It cannot be read, or an entry is missing or was altered.
    pub async fn open(config: JournalConfig) -> Result<Self, StreamError> {
        let journal = Journal::open(config).await?;
        let mut register = Self { journal, ledger: Ledger::default(), folded: 0 };
        register.fold();
        Ok(register)
    }

    /// What the journal says.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The journal.
    pub fn journal(&self) -> &Journal<StreamEvent> {
        &self.journal
    }

    /// Reads what others have written since.
    ///
    /// # Errors
    /// As [`Register::open`].
    pub async fn refresh(&mut self) -> Result<(), StreamError> {
        self.journal.refresh().await?;
        self.fold();
        Ok(())
    }

    /// Writes an event of whoever ingests, under the epoch of its lease.
    ///
    /// # Errors
    /// [`StreamError::Fenced`] when another has begun to ingest; [`StreamError::Refused`] when the event does not fit what the
    /// journal holds by now. In both cases it was not written.
    pub async fn record(&mut self, epoch: Epoch, event: &StreamEvent) -> Result<(), StreamError> {
        for _ in 0..RACES_MAX {
            self.ledger.check(event)?;
            let epoch = if is_on(Guard::Fence) { epoch } else { self.journal.last_epoch().max(epoch) };
            match self.journal.append(epoch, event).await? {
                Append::Appended(_) => {
                    self.fold();
                    return Ok(());
                }
                Append::Conflict { .. } => self.fold(),
                Append::Fenced { current } => return Err(StreamError::Fenced { current }),
            }
        }
        Err(StreamError::Contended { times: RACES_MAX })
    }

    /// Writes an event of a backfill. It is fenced by the epoch of its lock, which the event carries, not by the stream's.
    ///
    /// # Errors
    /// [`StreamError::Refused`]; it was not written.
    pub async fn record_beside(&mut self, event: &StreamEvent) -> Result<(), StreamError> {
        for _ in 0..RACES_MAX {
            match self.record(self.journal.last_epoch(), event).await {
                // Somebody has begun to ingest meanwhile: nothing to a backfill.
                Err(StreamError::Fenced { .. }) => self.fold(),
                done => return done,
            }
        }
        Err(StreamError::Contended { times: RACES_MAX })
    }

    fn fold(&mut self) {
        for entry in &self.journal.entries()[self.folded..] {
            self.ledger.apply(&entry.event);
        }
        self.folded = self.journal.entries().len();
    }
}
