//! [`Ingest`]: from a source to a table, exactly once, and out of the way of backfills.
//!
//! A commit is intended in the journal, made in the table under its number, and settled in the journal. The append of the intent
//! is refused when a lock came or went since the events' places were judged, so no commit of the stream is unaware of a lock.
//! Whoever takes over fences the table first, and then looks whether the last commit arrived.

mod compact;
mod judge;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lakeshift_core::table::{CommitNumber, CommitOutcome, CommitRequest, MigrationId, NewFile, TableFormat, UnitId};
use lakeshift_journal::{Acquire, Clock, Epoch, Lease, LeaseManager, Standing};

use crate::error::StreamError;
use crate::event::{Intent, Reading, StreamEvent};
use crate::ledger::Refusal;
use crate::letters::{DeadLetters, Letter};
use crate::lock::EpochMap;
use crate::offsets::Positions;
use crate::register::Register;
use crate::source::{Polled, Sink, Source};

pub use compact::Compaction;
pub use judge::{Judged, judge};

/// How often what was read is judged anew because locks moved.
const JUDGEMENTS_MAX: usize = 16;

/// What a stream is and what it works with.
#[derive(Debug)]
pub struct IngestConfig<K> {
    /// The name under which it commits.
    pub id: MigrationId,
    /// The table.
    pub table: Arc<dyn TableFormat>,
    /// Writes its rows.
    pub sink: K,
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
pub enum Started<S, K> {
    /// This process ingests.
    Running(Ingest<S, K>),
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
pub struct Ingest<S, K> {
    config: IngestConfig<K>,
    register: Register,
    source: S,
    lease: Lease,
    renewed: Duration,
    map: EpochMap,
}

impl<S: Source, K: Sink<Rows = S::Rows>> Ingest<S, K> {
    /// Takes the stream's lease, fences whoever had it, and settles the commit that was under way.
    ///
    /// # Errors
    /// [`StreamError::JournalBehind`] and [`StreamError::TableBehind`]; what the journal, the lease or the table may come to.
    pub async fn start(config: IngestConfig<K>, mut register: Register, source: S) -> Result<Started<S, K>, StreamError> {
        let lease = match config.leases.acquire_above(register.journal().last_epoch()).await? {
            Acquire::Granted(lease) => lease,
            Acquire::Held { holder, expires_in, .. } => return Ok(Started::Held { holder, expires_in }),
        };
        register.refresh().await?;
        register.record(lease.epoch(), &StreamEvent::Taken).await?;
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
        self.renew().await?;
        self.register.refresh().await?;
        let ledger = self.register.ledger();
        if let Some(lock) = ledger.draining().map(crate::lock::Lock::id) {
            let polled = self.source.reread(&ledger.parked(lock)).await?;
            return self.replay(lock, &polled).await.map(Some);
        }
        match self.source.poll(&ledger.positions()).await? {
            Some(polled) => self.go_on(&polled).await.map(Some),
            None => Ok(None),
        }
    }

    async fn go_on(&mut self, polled: &Polled<S::Rows>) -> Result<Step, StreamError> {
        let dead_letters = self.keep_letters(polled).await?;
        for _ in 0..JUDGEMENTS_MAX {
            if self.map.seen() != self.register.ledger().locks_seen() {
                self.map = self.register.ledger().map();
            }
            let Judged { mut reading, kept } = judge(polled, &self.map);
            reading.dead_letters.clone_from(&dead_letters);
            let records = (polled.records.len() + polled.bad.len()) as u64;
            let (rows, dead) = (kept.len() as u64, polled.bad.len() as u64);
            match self.commit(reading, polled, &kept).await {
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
        let rows = kept.len() as u64;
        match self.commit(reading, polled, &kept).await {
            Ok(commit) => Ok(Step { records: rows, rows, replayed: rows, commit, ..Step::default() }),
            Err(StreamError::Refused(Refusal::LocksMoved)) => Ok(Step::default()),
            Err(error) => Err(error),
        }
    }

    /// How long the commit took; nothing where there was no row.
    async fn commit(
        &mut self,
        reading: Reading,
        polled: &Polled<S::Rows>,
        kept: &[u32],
    ) -> Result<Option<Duration>, StreamError> {
        let (epoch, began) = (self.lease.epoch(), self.config.clock.elapsed());
        if kept.is_empty() {
            self.register.record(epoch, &StreamEvent::Noted(reading)).await?;
            return Ok(None);
        }
        let number = CommitNumber(self.register.ledger().last_number().0 + 1);
        let add = self.config.sink.write(&polled.rows, kept, &unit(number), epoch).await?;
        let intent = Intent { number, rows: kept.len() as u64, reading };
        if let Err(refused) = self.register.record(epoch, &StreamEvent::Intended(intent)).await {
            if matches!(refused, StreamError::Refused(_) | StreamError::Fenced { .. }) {
                self.config.sink.discard(&add).await;
            }
            return Err(refused);
        }
        let request = self.request(number, add, Vec::new());
        match self.config.table.commit(&request).await? {
            CommitOutcome::Committed(_) | CommitOutcome::AlreadyCommitted(_) => {}
            CommitOutcome::Conflict { reason } => return Err(StreamError::Conflict { reason }),
            CommitOutcome::Fenced { current } => return Err(StreamError::Fenced { current }),
        }
        self.register.record(epoch, &StreamEvent::Settled { number, done: true }).await?;
        Ok(Some(self.config.clock.elapsed().saturating_sub(began)))
    }

    /// Finds the end of a commit that another process, or a failed step of this one, has left. After the fence it is in the
    /// table, or never will be.
    async fn settle(&mut self) -> Result<(), StreamError> {
        let (epoch, table) = (self.lease.epoch(), self.config.table.clone());
        let last = self.register.ledger().last_number();
        if let Some(number) = self.register.ledger().pending().map(|intent| intent.number) {
            fence(table.as_ref(), &self.config.id, epoch).await?;
            let marks = table.marks(&self.config.id).await?;
            let done = marks.number.is_some_and(|there| there >= number);
            self.register.record(epoch, &StreamEvent::Settled { number, done }).await?;
        }
        let there = table.marks(&self.config.id).await?.number.unwrap_or_default();
        let done = self.register.ledger().last_done();
        if there > last {
            return Err(StreamError::JournalBehind { table: there, journal: last });
        }
        if there < done {
            return Err(StreamError::TableBehind { table: there, journal: done });
        }
        Ok(())
    }

    fn request(&self, number: CommitNumber, add: Vec<NewFile>, remove: Vec<String>) -> CommitRequest {
        let ledger = self.register.ledger();
        let parts = ledger.pending().into_iter().flat_map(|intent| &intent.reading.parts);
        let next = parts.map(|part| (part.partition.to_string(), part.to));
        let mut positions: BTreeMap<String, u64> =
            ledger.positions().into_iter().map(|(partition, next)| (partition.to_string(), next.unsigned_abs())).collect();
        for (partition, next) in next {
            let position = positions.entry(partition).or_default();
            *position = (*position).max(next.unsigned_abs());
        }
        let (migration, epoch) = (self.config.id.clone(), self.lease.epoch());
        CommitRequest {
            migration,
            number,
            epoch,
            add,
            remove,
            deletes: BTreeMap::new(),
            repartition: None,
            evolve: Vec::new(),
            positions,
            notes: BTreeMap::new(),
        }
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

/// The unit of a commit of the stream: it stands in the names of its files.
pub(crate) fn unit(number: CommitNumber) -> UnitId {
    UnitId(format!("s{:08}", number.0))
}

/// After this, no commit under a lower epoch reaches the table, and none of the same one that is on its way.
pub(crate) async fn fence(table: &dyn TableFormat, id: &MigrationId, epoch: Epoch) -> Result<(), StreamError> {
    let request = CommitRequest {
        migration: id.clone(),
        number: CommitNumber(0),
        epoch,
        add: Vec::new(),
        remove: Vec::new(),
        deletes: BTreeMap::new(),
        repartition: None,
        evolve: Vec::new(),
        positions: BTreeMap::new(),
        notes: BTreeMap::new(),
    };
    match table.commit(&request).await? {
        CommitOutcome::Committed(_) | CommitOutcome::AlreadyCommitted(_) => Ok(()),
        CommitOutcome::Conflict { reason } => Err(StreamError::Conflict { reason }),
        CommitOutcome::Fenced { current } => Err(StreamError::Fenced { current }),
    }
}
