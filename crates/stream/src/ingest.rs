//! [`Ingest`]: from a source to its destination, exactly once, and out of the way of backfills.
//!
//! A commit is intended in the journal, made at the [`Destination`] under its number, and settled in the journal. The append of the intent
//! is refused when a lock came or went since the events' places were judged, so no commit of the stream is unaware of a lock.
//! Whoever takes over fences the destination first, and then looks whether the last commit arrived.

mod compact;
mod judge;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lakeshift_core::table::{CommitNumber, MigrationId};
use lakeshift_journal::{Acquire, Clock, Epoch, Lease, LeaseManager, Standing};

use crate::destination::Destination;
use crate::error::StreamError;
use crate::event::{Intent, Reading, StreamEvent};
use crate::ledger::Refusal;
use crate::letters::{DeadLetters, Letter};
use crate::lock::EpochMap;
use crate::offsets::Positions;
use crate::register::Register;
use crate::source::{Polled, Source};
use crate::spans::{self, Found};

pub use compact::Compaction;
pub use judge::{Judged, judge};

/// How often what was read is judged anew because locks moved.
const JUDGEMENTS_MAX: usize = 16;

/// What a stream is and what it works with.
#[derive(Debug)]
pub struct IngestConfig<D> {
    /// The stream, for its traces.
    pub id: MigrationId,
    /// Where its commits go.
    pub destination: D,
    /// Leases of whoever ingests.
    pub leases: LeaseManager,
    /// Where records go that could not be read.
    pub dead_letters: Arc<dyn DeadLetters>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// What came of asking to ingest.
#[must_use]
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one value a process, taken apart at once")]
pub enum Started<S, D> {
    /// This process ingests.
    Running(Ingest<S, D>),
    /// Another one does.
    Held {
        /// Who.
        holder: String,
        /// When it may be taken over if it is dead.
        expires_in: Duration,
    },
}

/// What a step did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Step {
    /// Records read.
    pub records: u64,
    /// Rows committed.
    pub rows: u64,
    /// Of them from a replay of parked events.
    pub replayed: u64,
    /// Records set aside, covered by a backfill, or dead.
    pub held_back: u64,
    /// Of them the dead ones.
    pub dead: u64,
    /// From rows in hand to rows in the table and on record; nothing where no rows were committed.
    pub commit: Option<Duration>,
}

/// A process that ingests.
#[derive(Debug)]
pub struct Ingest<S, D> {
    config: IngestConfig<D>,
    register: Register,
    source: S,
    lease: Lease,
    renewed: Duration,
    map: EpochMap,
}

/// What a refused commit had made ready, not referred to by anything: good for the next try where that keeps the same rows.
struct Draft<R> {
    kept: Vec<u32>,
    ready: R,
    /// When the rows were in hand.
    began: Duration,
}

impl<S: Source, D: Destination<Rows = S::Rows>> Ingest<S, D> {
    /// Takes the stream's lease, fences whoever had it, and settles the commit that was under way.
    ///
    /// # Errors
    /// [`StreamError::JournalBehind`] and [`StreamError::TableBehind`]; a destination that the stream may not move to now; what the
    /// journal, the lease or the destination may come to.
    pub async fn start(config: IngestConfig<D>, mut register: Register, source: S) -> Result<Started<S, D>, StreamError> {
        if let Some(moved) = moved(&register, &config.destination) {
            register.ledger().check(&moved)?;
        }
        let lease = match config.leases.acquire_above(register.journal().last_epoch()).await? {
            Acquire::Granted(lease) => lease,
            Acquire::Held { holder, expires_in, .. } => return Ok(Started::Held { holder, expires_in }),
        };
        register.refresh().await?;
        register.record(lease.epoch(), &StreamEvent::Taken).await?;
        if let Some(moved) = moved(&register, &config.destination) {
            register.record(lease.epoch(), &moved).await?;
        }
        let renewed = config.clock.elapsed();
        let mut ingest = Self { config, register, source, lease, renewed, map: EpochMap::default() };
        ingest.settle().await?;
        ingest.map = ingest.register.ledger().map();
        Ok(Started::Running(ingest))
    }

    /// What the journal says.
    pub fn register(&self) -> &Register {
        &self.register
    }

    /// Where its commits go.
    pub fn destination(&mut self) -> &mut D {
        &mut self.config.destination
    }

    /// As [`Ingest::destination`], with the lease of whoever ingests.
    pub fn lease_and_destination(&mut self) -> (&Lease, &mut D) {
        (&self.lease, &mut self.config.destination)
    }

    /// Where the source ends by now.
    ///
    /// # Errors
    /// [`StreamError::Source`].
    pub async fn ends(&mut self) -> Result<Positions, StreamError> {
        self.source.ends().await
    }

    /// Gives the lease back.
    ///
    /// # Errors
    /// The store fails; the lease then ends by itself.
    pub async fn stop(self) -> Result<(), StreamError> {
        Ok(self.lease.release().await?)
    }

    /// Reads once and commits what was read: parked events of a released lock first, then what is new. `None` where there is
    /// nothing to do.
    ///
    /// # Errors
    /// [`StreamError::Fenced`] when another process ingests by now; any other error leaves a state that [`Ingest::start`] goes
    /// on from.
    pub async fn step(&mut self) -> Result<Option<Step>, StreamError> {
        let id = self.config.id.clone();
        spans::step(&id, self.advance()).await
    }

    async fn advance(&mut self) -> Result<Option<Step>, StreamError> {
        self.renew().await?;
        self.register.refresh().await?;
        let ledger = self.register.ledger();
        self.source.note(&ledger.applied());
        if let Some(lock) = ledger.draining().map(crate::lock::Lock::id) {
            let polled = spans::read(&self.config.id, self.source.reread(&ledger.parked(lock)), Found::of).await?;
            return self.replay(lock, &polled).await.map(Some);
        }
        match spans::read(&self.config.id, self.source.poll(&ledger.positions()), Found::of_any).await? {
            Some(polled) => self.go_on(&polled).await.map(Some),
            None => Ok(None),
        }
    }

    async fn go_on(&mut self, polled: &Polled<S::Rows>) -> Result<Step, StreamError> {
        let dead_letters = self.keep_letters(polled).await?;
        let mut draft = None;
        let step = self.judge_until_committed(polled, dead_letters.as_ref(), &mut draft).await;
        self.drop_draft(&mut draft).await;
        step
    }

    /// Judges and commits; judges again where locks moved meanwhile.
    async fn judge_until_committed(
        &mut self,
        polled: &Polled<S::Rows>,
        dead_letters: Option<&String>,
        draft: &mut Option<Draft<D::Ready>>,
    ) -> Result<Step, StreamError> {
        for _ in 0..JUDGEMENTS_MAX {
            if self.map.seen() != self.register.ledger().locks_seen() {
                self.map = self.register.ledger().map();
            }
            let Judged { mut reading, kept } = spans::judge(&self.config.id, || judge(polled, &self.map));
            reading.dead_letters = dead_letters.cloned();
            let records = (polled.records.len() + polled.bad.len()) as u64;
            let (rows, dead) = (kept.len() as u64, polled.bad.len() as u64);
            match self.commit(reading, polled, kept, draft).await {
                Ok(commit) => return Ok(Step { records, rows, held_back: records - rows, dead, replayed: 0, commit }),
                Err(StreamError::Refused(Refusal::LocksMoved)) => self.register.refresh().await?,
                // What was released meanwhile comes first; this is read again.
                Err(StreamError::Refused(Refusal::BehindBarrier { .. })) => return Ok(Step::default()),
                Err(error) => return Err(error),
            }
        }
        Err(StreamError::Conflict { reason: format!("locks moved {JUDGEMENTS_MAX} times") })
    }

    async fn replay(&mut self, lock: Epoch, polled: &Polled<S::Rows>) -> Result<Step, StreamError> {
        let (reading, kept) = judge::replayed(polled, lock, self.register.ledger().locks_seen());
        let (rows, mut draft) = (kept.len() as u64, None);
        let committed = self.commit(reading, polled, kept, &mut draft).await;
        self.drop_draft(&mut draft).await;
        match committed {
            Ok(commit) => Ok(Step { records: rows, rows, replayed: rows, commit, ..Step::default() }),
            Err(StreamError::Refused(Refusal::LocksMoved)) => Ok(Step::default()),
            Err(error) => Err(error),
        }
    }

    /// How long the commit took from the first draft of its rows; nothing where there was no row. A refused one leaves its draft.
    async fn commit(
        &mut self,
        reading: Reading,
        polled: &Polled<S::Rows>,
        kept: Vec<u32>,
        draft: &mut Option<Draft<D::Ready>>,
    ) -> Result<Option<Duration>, StreamError> {
        let (id, epoch, began) = (self.config.id.clone(), self.lease.epoch(), self.config.clock.elapsed());
        if kept.is_empty() {
            self.register.record(epoch, &StreamEvent::Noted(reading)).await?;
            return Ok(None);
        }
        let number = CommitNumber(self.register.ledger().last_number().0 + 1);
        let Draft { kept, ready, began } = match draft.take_if(|draft| draft.kept == kept) {
            Some(draft) => draft,
            None => {
                self.drop_draft(draft).await;
                let ready = self.config.destination.prepare(&polled.rows, &kept, number, &self.lease).await?;
                Draft { kept, ready, began }
            }
        };
        let intended = StreamEvent::Intended(Intent { number, rows: kept.len() as u64, reading });
        if let Err(refused) = spans::intend(&id, number, self.register.record(epoch, &intended)).await {
            if matches!(refused, StreamError::Refused(_) | StreamError::Fenced { .. }) {
                *draft = Some(Draft { kept, ready, began });
            }
            return Err(refused);
        }
        let positions = self.positions();
        let made = self.config.destination.commit(ready, number, positions, &self.lease);
        spans::commit(&id, number, made).await?;
        self.settled(number, true).await?;
        Ok(Some(self.config.clock.elapsed().saturating_sub(began)))
    }

    async fn drop_draft(&mut self, draft: &mut Option<Draft<D::Ready>>) {
        if let Some(draft) = draft.take() {
            self.config.destination.discard(draft.ready).await;
        }
    }

    async fn settled(&mut self, number: CommitNumber, done: bool) -> Result<(), StreamError> {
        let settled = StreamEvent::Settled { number, done };
        spans::settle(&self.config.id, number, self.register.record(self.lease.epoch(), &settled)).await
    }

    /// Finds the end of a commit that another process, or a failed step of this one, has left. After the fence it is there, or
    /// never will be.
    async fn settle(&mut self) -> Result<(), StreamError> {
        let last = self.register.ledger().last_number();
        if let Some(number) = self.register.ledger().pending().map(|intent| intent.number) {
            let done = self.config.destination.settle(number, &self.lease).await?;
            self.settled(number, done).await?;
        }
        let there = self.config.destination.last().await?;
        let done = self.register.ledger().last_done_here().unwrap_or_default();
        if there > last {
            return Err(StreamError::JournalBehind { table: there, journal: last });
        }
        if there < done {
            return Err(StreamError::TableBehind { table: there, journal: done });
        }
        Ok(())
    }

    /// Where each source is read on from after the commit that is intended.
    fn positions(&self) -> BTreeMap<String, u64> {
        let ledger = self.register.ledger();
        let parts = ledger.pending().into_iter().flat_map(|intent| &intent.reading.parts);
        let next = parts.map(|part| (part.partition.to_string(), part.to));
        let mut positions: BTreeMap<String, u64> =
            ledger.positions().into_iter().map(|(partition, next)| (partition.to_string(), next.unsigned_abs())).collect();
        for (partition, next) in next {
            let position = positions.entry(partition).or_default();
            *position = (*position).max(next.unsigned_abs());
        }
        positions
    }

    /// Before any commit accounts for their offsets; a reading that is judged again keeps them once.
    async fn keep_letters(&self, polled: &Polled<S::Rows>) -> Result<Option<String>, StreamError> {
        if polled.bad.is_empty() {
            return Ok(None);
        }
        let letters = polled.bad.iter().map(|bad| Letter {
            partition: polled.spans[bad.span as usize].partition.clone(),
            offset: bad.offset,
            reason: bad.reason.clone(),
            payload: bad.payload.clone(),
        });
        let letters: Vec<_> = letters.collect();
        let at = self.config.dead_letters.keep(&letters, self.register.journal().last_sequence().0).await?;
        for Letter { partition, offset, reason, .. } in &letters {
            tracing::warn!(%partition, offset, reason, at, "dead letter");
        }
        Ok(Some(at))
    }

    async fn renew(&mut self) -> Result<(), StreamError> {
        let now = self.config.clock.elapsed();
        if now.saturating_sub(self.renewed) < self.lease.ttl() / 3 {
            return Ok(());
        }
        match self.lease.renew().await {
            Ok(Standing::Held) => self.renewed = now,
            Ok(Standing::Lost { current }) => return Err(StreamError::Fenced { current }),
            Ok(Standing::Released) => return Err(StreamError::Fenced { current: self.lease.epoch() }),
            Err(error) => tracing::warn!(%error, "could not renew the stream's lease"),
        }
        Ok(())
    }
}

/// What is to be written down where the stream's commits go elsewhere from now on.
fn moved(register: &Register, to: &impl Destination) -> Option<StreamEvent> {
    let migration = to.migration().cloned();
    (register.ledger().migration() != migration.as_ref()).then_some(StreamEvent::Moved { migration })
}
