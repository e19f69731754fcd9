//! [`Journal`]: an append-only sequence of events in a [`NumberedLog`], each entry bound to the one before by its hash
//! and carrying the fencing [`Epoch`] of its writer.
//!
//! Epochs never decrease along the chain. The holder of a new lease appends first of all (whatever event its user
//! defines for that) with its higher epoch; a former holder that wakes up finds its next number taken, reads the
//! chain on, meets the higher epoch and is [`Append::Fenced`].
//!
//! What an event means is the caller's; state is a fold over [`Journal::entries`]. Cutting off the *end* of a journal
//! cannot be seen by a process that opens it afterwards; any other damage is.

mod entry;
mod error;

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::path::Path;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::log::{Create, NumberedLog};
use crate::rng::nonce_text;
use crate::{Clock, Epoch, Rng, Sequence};

pub use entry::{Digest, Entry};
use entry::{Envelope, FORMAT_VERSION};
pub use error::JournalError;

/// Where a journal lives and who writes to it.
#[derive(Debug, Clone)]
pub struct JournalConfig {
    /// The store.
    pub store: Arc<dyn ObjectStore>,
    /// The folder of the entries; nothing else need be in it.
    pub prefix: Path,
    /// Stamps entries and spaces retries.
    pub clock: Arc<dyn Clock>,
    /// Gives every entry its nonce.
    pub rng: Arc<dyn Rng>,
    /// Names this process in its entries, for people who read them.
    pub writer: String,
}

/// What came of an append.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Append {
    /// The event is in the journal at this position.
    Appended(Sequence),
    /// Another entry took the position, and its epoch does not fence this writer. The event was not written. The
    /// journal now holds the other entries too: decide again from the new state, then append again if it still holds.
    Conflict {
        /// The last entry of the journal as now loaded.
        last: Sequence,
    },
    /// The journal holds an entry of a higher epoch: the writer's lease was taken over. The event was not written and
    /// never can be under this epoch; stop.
    Fenced {
        /// The epoch of the present holder.
        current: Epoch,
    },
}

/// A place in a journal: an entry that somebody has read and verified, with all before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// The entry.
    pub sequence: Sequence,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its digest.
    pub digest: Digest,
}

impl Position {
    /// Before the first entry.
    fn start() -> Self {
        Self { sequence: Sequence(0), epoch: Epoch(0), digest: Digest::genesis() }
    }
}

/// A verified journal of events `E`, as far as it was last read.
#[derive(Debug)]
pub struct Journal<E> {
    config: JournalConfig,
    log: NumberedLog,
    /// The entries begin after this one.
    after: Position,
    entries: Vec<Entry<E>>,
}

impl<E: Serialize + DeserializeOwned> Journal<E> {
    /// Reads and verifies the journal under `config.prefix`. Writes nothing; an absent journal is an empty one.
    ///
    /// # Errors
    /// [`JournalError::Log`] when the store fails; any other variant names the first object that breaks the chain.
    pub async fn open(config: JournalConfig) -> Result<Self, JournalError> {
        Self::open_at(config, Position::start()).await
    }

    /// Reads and verifies the journal from the entry after `position` on, for whoever knows what the entries up to it came to;
    /// the entry at `position` itself must be the one that it names. Writes nothing.
    ///
    /// # Errors
    /// As [`Journal::open`]; [`JournalError::Truncated`] and [`JournalError::BrokenChain`] where the journal is not the one that
    /// `position` is in.
    pub async fn open_after(config: JournalConfig, position: Position) -> Result<Self, JournalError> {
        let log = NumberedLog::new(config.store.clone(), config.prefix.clone(), config.clock.clone());
        let (path, sequence) = (log.path(position.sequence.0), position.sequence);
        let Some(bytes) = log.read(sequence.0).await? else { return Err(JournalError::Truncated { path, sequence }) };
        if Digest::of(&bytes) != position.digest {
            return Err(JournalError::BrokenChain { previous: path.clone(), path, sequence });
        }
        Self::open_at(config, position).await
    }

    async fn open_at(config: JournalConfig, after: Position) -> Result<Self, JournalError> {
        let log = NumberedLog::new(config.store.clone(), config.prefix.clone(), config.clock.clone());
        let mut journal = Self { config, log, after, entries: Vec::new() };
        journal.refresh().await?;
        Ok(journal)
    }

    /// Where the journal ends, as far as it was last read; `None` where it is empty.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        (self.last_sequence() > Sequence(0)).then(|| Position {
            sequence: self.last_sequence(),
            epoch: self.last_epoch(),
            digest: self.last_digest(),
        })
    }

    /// The entries in order, as far as the journal was last read; those after the position that it was opened at.
    #[must_use]
    pub fn entries(&self) -> &[Entry<E>] {
        &self.entries
    }

    /// The position of the last entry read; 0 when the journal is empty.
    #[must_use]
    pub fn last_sequence(&self) -> Sequence {
        self.entries.last().map_or(self.after.sequence, |entry| entry.sequence)
    }

    /// The epoch of the last entry read; 0 when the journal is empty.
    #[must_use]
    pub fn last_epoch(&self) -> Epoch {
        self.entries.last().map_or(self.after.epoch, |entry| entry.epoch)
    }

    /// Reads and verifies what others appended since. Returns the number of new entries.
    ///
    /// # Errors
    /// As [`Journal::open`], and [`JournalError::Truncated`]. The entries verified before the error are kept.
    pub async fn refresh(&mut self) -> Result<usize, JournalError> {
        let known = self.last_sequence();
        // The last known entry is listed too, so that its loss is seen.
        let last = self.log.last_after(known.0.saturating_sub(1)).await?.map_or(Sequence(0), Sequence);
        if last < known {
            return Err(JournalError::Truncated { path: self.path(known), sequence: known });
        }
        // Every number up to the last is read, listed or not: a listing is no snapshot of a folder being written to.
        let log = self.log.clone();
        let mut objects = std::pin::pin!(log.read_range(known.next().0..=last.0));
        while let Some((number, bytes)) = objects.try_next().await? {
            let sequence = Sequence(number);
            let bytes = bytes.ok_or_else(|| JournalError::Missing { path: self.path(sequence), sequence, last })?;
            self.verify_and_push(sequence, &bytes)?;
        }
        Ok(usize::try_from(self.last_sequence().0 - known.0).unwrap_or(usize::MAX))
    }

    /// Appends `event` under `epoch`, the number of the lease that the caller holds.
    ///
    /// # Errors
    /// [`JournalError::Log`] with [`crate::LogError::OutcomeUnknown`] when the event may or may not be in the journal:
    /// open it again and look. [`JournalError::Encode`] when the event has no JSON form that reads back. Other
    /// variants as [`Journal::refresh`], when another's entry had to be read.
    pub async fn append(&mut self, epoch: Epoch, event: &E) -> Result<Append, JournalError> {
        if epoch < self.last_epoch() {
            return Ok(Append::Fenced { current: self.last_epoch() });
        }
        let sequence = self.last_sequence().next();
        let (bytes, entry) = self.encode(sequence, epoch, event)?;
        match self.log.create(sequence.0, bytes).await? {
            Create::Created => {
                self.entries.push(entry);
                Ok(Append::Appended(sequence))
            }
            Create::Taken => {
                self.refresh().await?;
                let current = self.last_epoch();
                if current > epoch {
                    return Ok(Append::Fenced { current });
                }
                Ok(Append::Conflict { last: self.last_sequence() })
            }
        }
    }

    /// The object to write, and the entry as it will be read: an event that cannot be read back would end the journal.
    fn encode(&self, sequence: Sequence, epoch: Epoch, event: &E) -> Result<(Bytes, Entry<E>), JournalError> {
        let path = self.path(sequence);
        let envelope = Envelope {
            format_version: FORMAT_VERSION,
            sequence,
            previous: self.last_digest(),
            epoch,
            at: self.config.clock.now(),
            writer: self.config.writer.clone(),
            nonce: nonce_text(self.config.rng.as_ref()),
            event,
        };
        let bytes = envelope.encode().map_err(|source| JournalError::Encode { path: path.clone(), source })?;
        match entry::decode(&path, &bytes) {
            Err(JournalError::UnknownEvent { path, source }) => Err(JournalError::Encode { path, source }),
            decoded => Ok((bytes, decoded?)),
        }
    }

    fn verify_and_push(&mut self, sequence: Sequence, bytes: &Bytes) -> Result<(), JournalError> {
        let path = self.path(sequence);
        let entry = entry::decode(&path, bytes)?;
        if entry.sequence != sequence {
            return Err(JournalError::WrongSequence { path, expected: sequence, found: entry.sequence });
        }
        if entry.previous != self.last_digest() {
            return Err(JournalError::BrokenChain { path, previous: self.path(self.last_sequence()), sequence });
        }
        if entry.epoch < self.last_epoch() {
            return Err(JournalError::EpochWentBack { path, found: entry.epoch, before: self.last_epoch() });
        }
        self.entries.push(entry);
        Ok(())
    }

    fn last_digest(&self) -> Digest {
        self.entries.last().map_or(self.after.digest, |entry| entry.digest)
    }

    fn path(&self, sequence: Sequence) -> Path {
        self.log.path(sequence.0)
    }
}
