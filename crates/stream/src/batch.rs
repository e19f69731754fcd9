//! [`Backfill`]: a batch that rewrites a range of the table beside the stream.
//!
//! In order: lock, wait for the stream's commit under way ([`Backfill::boundary`]), replace what was there then
//! ([`Backfill::commit`]), look at it ([`Backfill::validated`]), let go ([`Backfill::release`]). A process that stalled past its
//! lease fails at its commit and at every entry of the journal, whoever woke it.

use std::sync::Arc;
use std::time::Duration;

use lakeshift_core::plan::unit_of_path;
use lakeshift_core::table::{
    CommitNumber, CommitOutcome, CommitRequest, MigrationId, NewFile, TableFormat, TableVersion, UnitId,
};
use lakeshift_journal::{Clock, Epoch, Grant, HeldLock, LockService, Standing};

use crate::destination::fence;
use crate::error::StreamError;
use crate::event::{LockName, Locking, Mode, StreamEvent};
use crate::ledger::Refusal;
use crate::lock::{Lock, Stage};
use crate::offsets::Positions;
use crate::range::Range;
use crate::register::Register;

/// What a backfill asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Its name: asking again under it goes on with what was begun.
    pub name: LockName,
    /// What it will rewrite.
    pub range: Range,
    /// How the stream behaves meanwhile.
    pub mode: Mode,
    /// In [`Mode::Priority`]: up to where the backfill has read the source.
    pub cut_off: Positions,
}

/// What a backfill works with.
#[derive(Debug, Clone)]
pub struct BackfillConfig {
    /// The stream's name.
    pub stream: MigrationId,
    /// The table.
    pub table: Arc<dyn TableFormat>,
    /// Who may act.
    pub locks: Arc<dyn LockService>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// What came of asking.
#[must_use]
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one value a process, taken apart at once")]
pub enum Asked {
    /// The range is locked for this process.
    Locked(Backfill),
    /// Another process runs this backfill.
    Held {
        /// Who.
        holder: String,
        /// When it may be taken over if it is dead.
        expires_in: Duration,
    },
    /// The range is not free.
    Refused(Refusal),
}

/// What belongs to the backfill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boundary {
    /// What the stream had read: rows of events before these are the backfill's to write.
    pub read: Positions,
    /// In [`Mode::Priority`]: the cut-off. Rows of events before it are the backfill's as well.
    pub cut_off: Positions,
    stream: MigrationId,
    last_commit: CommitNumber,
}

impl Boundary {
    /// Whether a file is the backfill's to replace: all are but those that the stream has committed since.
    pub fn covers(&self, path: &str) -> bool {
        let number = unit_of_path(&self.stream, path).and_then(|unit| unit.0.strip_prefix('s')?.parse::<u64>().ok());
        number.is_none_or(|number| number <= self.last_commit.0)
    }
}

/// A backfill that holds its range.
#[derive(Debug)]
pub struct Backfill {
    config: BackfillConfig,
    register: Register,
    lease: Box<dyn HeldLock>,
    lock: Epoch,
}

impl Backfill {
    /// Locks a range, or goes on in the place of a process that died with this name.
    ///
    /// # Errors
    /// What the journal, the service or the table may come to.
    pub async fn lock(config: BackfillConfig, mut register: Register, ask: &Ask) -> Result<Asked, StreamError> {
        let floor = register.ledger().last_lock_epoch();
        let lease = match config.locks.acquire(&ask.name, floor).await? {
            Grant::Granted(lease) => lease,
            Grant::Held { holder, expires_in } => return Ok(Asked::Held { holder, expires_in }),
        };
        register.refresh().await?;
        let epoch = lease.epoch();
        let found = register.ledger().held_by(&ask.name);
        if let Some(other) = found.filter(|lock| (&lock.taken.range, lock.taken.mode) != (&ask.range, ask.mode)) {
            let (range, name) = (ask.range.to_string(), other.taken.name.clone());
            lease.release().await?;
            return Ok(Asked::Refused(Refusal::Overlaps { range, name }));
        }
        let known = found.map(Lock::id);
        let event = match known {
            Some(lock) => StreamEvent::TakenOver { lock, epoch },
            None => {
                let Ask { name, range, mode, cut_off } = ask.clone();
                StreamEvent::Locked(Locking { epoch, name, range, mode, cut_off })
            }
        };
        match register.record_beside(&event).await {
            Ok(()) => {}
            Err(StreamError::Refused(refusal)) => {
                lease.release().await?;
                return Ok(Asked::Refused(refusal));
            }
            Err(error) => return Err(error),
        }
        let mut backfill = Self { config, register, lease, lock: known.unwrap_or(epoch) };
        if known.is_some() {
            backfill.find_landed().await?;
        }
        Ok(Asked::Locked(backfill))
    }

    /// Whether its rows are in the table: then what is left is to validate and to release.
    pub fn is_committed(&self) -> bool {
        self.stage().is_some_and(|stage| stage != Stage::Held)
    }

    /// What the journal says.
    pub fn register(&self) -> &Register {
        &self.register
    }

    /// The lock, as the journal has it.
    pub fn held(&self) -> Option<&Lock> {
        self.register.ledger().locks().get(&self.lock)
    }

    fn stage(&self) -> Option<Stage> {
        self.held().map(|lock| lock.stage)
    }

    fn epoch(&self) -> Epoch {
        self.lease.epoch()
    }

    /// Waits until the stream's commit that was under way has its end, at most for `wait`, and tells what is the backfill's.
    ///
    /// # Errors
    /// [`StreamError::NotDrained`] when nobody ends it.
    pub async fn boundary(&mut self, wait: Duration) -> Result<Boundary, StreamError> {
        let until = self.config.clock.elapsed() + wait;
        loop {
            let ledger = self.register.ledger();
            let pending = ledger.pending().map(|intent| intent.number);
            let lost = || Refusal::LockLost { lock: self.lock, current: ledger.last_lock_epoch() };
            let lock = self.held().ok_or_else(lost)?;
            match lock.drain.filter(|drain| pending == Some(*drain)) {
                None => {
                    let (read, cut_off) = (lock.at_lock.clone(), lock.cut_off.clone());
                    let (stream, last_commit) = (self.config.stream.clone(), lock.last_commit);
                    return Ok(Boundary { read, cut_off, stream, last_commit });
                }
                Some(number) if self.config.clock.elapsed() >= until => return Err(StreamError::NotDrained { number }),
                Some(_) => self.config.clock.sleep(Duration::from_millis(200)).await,
            }
            self.register.refresh().await?;
        }
    }

    /// In [`Mode::Pause`]: says up to where the backfill has read the source; there the stream resumes. Never before what the
    /// stream had read when it paused.
    ///
    /// # Errors
    /// [`StreamError::Refused`] in another mode, or when the lock is lost.
    pub async fn resume_at(&mut self, positions: &Positions) -> Result<(), StreamError> {
        let (lock, epoch) = (self.lock, self.epoch());
        let resume = self.held().map_or_else(|| positions.clone(), |held| held.at_least(positions));
        self.register.record_beside(&StreamEvent::Bounded { lock, epoch, resume }).await
    }

    /// Replaces files of the range by others in one commit, once: a second call finds the first one's.
    ///
    /// # Errors
    /// [`StreamError::NotCovered`], [`StreamError::Conflict`] and [`StreamError::Fenced`], with nothing committed.
    pub async fn commit(
        &mut self,
        boundary: &Boundary,
        add: Vec<NewFile>,
        remove: Vec<String>,
    ) -> Result<TableVersion, StreamError> {
        if let Some(path) = remove.iter().find(|path| !boundary.covers(path)) {
            return Err(StreamError::NotCovered { path: path.clone() });
        }
        let request =
            CommitRequest { add, remove, ..CommitRequest::fence(self.id(), CommitNumber(self.lock.0), self.epoch()) };
        let version = if request.is_fence() {
            self.config.table.snapshot(None).await?.version
        } else {
            match self.config.table.commit(&request).await? {
                CommitOutcome::Committed(version) | CommitOutcome::AlreadyCommitted(version) => version,
                CommitOutcome::Conflict { reason } => return Err(StreamError::Conflict { reason }),
                CommitOutcome::Fenced { current } => return Err(StreamError::Fenced { current }),
            }
        };
        self.record_commit(version.clone()).await?;
        Ok(version)
    }

    async fn record_commit(&mut self, version: TableVersion) -> Result<(), StreamError> {
        let (lock, epoch) = (self.lock, self.epoch());
        self.register.record_beside(&StreamEvent::BatchCommitted { lock, epoch, version }).await
    }

    /// Says that the committed rows were looked at and are right.
    ///
    /// # Errors
    /// [`StreamError::Refused`] when nothing was committed, or the lock is lost.
    pub async fn validated(&mut self, evidence: &str) -> Result<(), StreamError> {
        if self.stage() == Some(Stage::Validated) {
            return Ok(());
        }
        let (lock, epoch, evidence) = (self.lock, self.epoch(), evidence.to_owned());
        self.register.record_beside(&StreamEvent::Validated { lock, epoch, evidence }).await
    }

    /// Frees the range; the stream replays what it has parked.
    ///
    /// # Errors
    /// [`StreamError::Refused`] before the rows were committed and validated, or when the lock is lost.
    pub async fn release(mut self) -> Result<(), StreamError> {
        let (lock, epoch) = (self.lock, self.epoch());
        self.register.record_beside(&StreamEvent::Released { lock, epoch, abandoned: false }).await?;
        self.let_go().await;
        Ok(())
    }

    /// Frees the range without rows: nothing is superseded or skipped, the stream replays all that it has parked.
    ///
    /// # Errors
    /// [`StreamError::Landed`] when the rows are in the table; [`StreamError::Refused`] when the lock is lost.
    pub async fn abandon(mut self) -> Result<(), StreamError> {
        self.find_landed().await?;
        if let Some(lock) = self.held().filter(|lock| lock.stage != Stage::Held) {
            return Err(StreamError::Landed { name: lock.taken.name.clone() });
        }
        let (lock, epoch) = (self.lock, self.epoch());
        self.register.record_beside(&StreamEvent::Released { lock, epoch, abandoned: true }).await?;
        self.let_go().await;
        Ok(())
    }

    /// Shows that the backfill is alive; at a third of [`Backfill::ttl`].
    ///
    /// # Errors
    /// [`StreamError::Fenced`] when another process has taken over.
    pub async fn renew(&self) -> Result<(), StreamError> {
        match self.lease.renew().await? {
            Standing::Held => Ok(()),
            Standing::Lost { current } => Err(StreamError::Fenced { current }),
            Standing::Released => Err(StreamError::Fenced { current: self.epoch() }),
        }
    }

    /// How long the lock lives without being renewed.
    pub fn ttl(&self) -> Duration {
        self.lease.ttl()
    }

    /// The lock is free by the journal already; the lease would end by itself.
    async fn let_go(&self) {
        if let Err(error) = self.lease.release().await {
            tracing::warn!(%error, "could not give the backfill's lease back; it ends by itself");
        }
    }

    /// The name under which it commits: of this backfill alone, so that it fences only itself.
    fn id(&self) -> MigrationId {
        let name = self.held().map_or("", |lock| lock.taken.name.as_str());
        MigrationId(format!("{}+lock-{name}", self.config.stream))
    }

    /// The unit in the names of its files.
    pub fn unit(&self) -> UnitId {
        UnitId(format!("l{:08}", self.lock.0))
    }

    /// Under what its files are named.
    pub fn files_of(&self) -> (MigrationId, UnitId, Epoch) {
        (self.id(), self.unit(), self.epoch())
    }

    /// A commit of whoever was before is in the table, and is noted, or never will be.
    async fn find_landed(&mut self) -> Result<(), StreamError> {
        let (table, id) = (self.config.table.clone(), self.id());
        fence(table.as_ref(), &id, self.epoch()).await?;
        let number = table.marks(&id).await?.number;
        if self.stage() == Some(Stage::Held) && number.is_some_and(|number| number.0 >= self.lock.0) {
            let version = table.snapshot(None).await?.version;
            self.record_commit(version).await?;
        }
        Ok(())
    }
}
