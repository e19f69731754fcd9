//! [`Backfill`]: a batch that rewrites a range of the table beside the stream.
//!
//! In order: lock, wait for the stream's commit under way ([`Backfill::boundary`]), replace what was there then
//! ([`Backfill::commit`]), look at it ([`Backfill::validated`]), let go ([`Backfill::release`]). A process that stalled past its
//! lease fails at its commit and at every entry of the journal, whoever woke it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use lakeshift_core::table::{CommitNumber, MigrationId, NewFile, TableVersion, UnitId};
use lakeshift_journal::{Clock, Epoch, Grant, HeldLock, LockService, Standing};

use crate::error::StreamError;
use crate::event::{LockName, Locking, Mode, StreamEvent};
use crate::ledger::Refusal;
use crate::lock::{Lock, Stage};
use crate::offsets::Positions;
use crate::range::Range;
use crate::register::Register;
use crate::replace::{Later, Replace, Replacer};

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
pub struct BackfillConfig<T> {
    /// The stream's name.
    pub stream: MigrationId,
    /// The table, or the two of which one is written.
    pub table: T,
    /// Who may act.
    pub locks: Arc<dyn LockService>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// What came of asking.
#[must_use]
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one value a process, taken apart at once")]
pub enum Asked<T> {
    /// The range is locked for this process.
    Locked(Backfill<T>),
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
    later: Later,
}

impl Boundary {
    /// Whether a file is the backfill's to replace: all are but those that the stream has committed since.
    pub fn covers(&self, path: &str) -> bool {
        !self.later.has(path)
    }
}

/// A backfill that holds its range.
#[derive(Debug)]
pub struct Backfill<T> {
    config: BackfillConfig<T>,
    register: Register,
    lease: Box<dyn HeldLock>,
    lock: Epoch,
}

impl<T: Replace> Backfill<T> {
    /// Locks a range, or goes on in the place of a process that died with this name.
    ///
    /// # Errors
    /// What the journal, the service or the table may come to.
    pub async fn lock(config: BackfillConfig<T>, mut register: Register, ask: &Ask) -> Result<Asked<T>, StreamError> {
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
                let migration = config.table.migration().cloned();
                StreamEvent::Locked(Locking { epoch, name, range, mode, cut_off, migration })
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
                    let by = self.replacer();
                    return Ok(Boundary { read, cut_off, later: self.config.table.later(&by).await? });
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
        let (by, lock) = (self.replacer(), self.lock);
        let Self { config: BackfillConfig { table, clock, .. }, register, lease, .. } = self;
        let still = async || {
            register.refresh().await?;
            let found = register.ledger().locks().get(&lock);
            match found.filter(|found| found.is_held() && found.epoch == by.epoch) {
                Some(_) => Ok(()),
                None => Err(StreamError::Fenced { current: found.map_or(by.epoch, |found| found.epoch) }),
            }
        };
        let version = match while_renewing(lease.as_ref(), clock, table.replace(&by, (add, remove), still)).await {
            Ok(replaced) => replaced?,
            // The fence decides; who drops it would not know what was committed.
            Err((_, unfinished)) => unfinished.await?,
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

    /// Frees the range; the stream replays what it has parked. Gives the table back.
    ///
    /// # Errors
    /// [`StreamError::Refused`] before the rows were committed and validated, or when the lock is lost.
    pub async fn release(mut self) -> Result<T, StreamError> {
        let (lock, epoch) = (self.lock, self.epoch());
        self.register.record_beside(&StreamEvent::Released { lock, epoch, abandoned: false }).await?;
        self.let_go().await;
        Ok(self.config.table)
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

    /// Runs `work`, and shows meanwhile that the backfill is alive.
    ///
    /// # Errors
    /// [`StreamError::Fenced`] when another process has taken over; `work` is then dropped.
    pub async fn while_renewing<R>(&self, work: impl Future<Output = R>) -> Result<R, StreamError> {
        while_renewing(self.lease.as_ref(), &self.config.clock, work).await.map_err(|(error, _)| error)
    }

    /// The table, or the two of which one is written.
    pub fn table_mut(&mut self) -> &mut T {
        &mut self.config.table
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

    fn replacer(&self) -> Replacer {
        let held = self.held().map(|lock| (lock.last_commit, lock.taken.mode));
        let (since, mode) = held.unwrap_or((CommitNumber::default(), Mode::Priority));
        Replacer { stream: self.config.stream.clone(), id: self.id(), lock: self.lock, epoch: self.epoch(), since, mode }
    }

    /// A commit of whoever was before is in the table, and is noted, or never will be.
    async fn find_landed(&mut self) -> Result<(), StreamError> {
        let by = self.replacer();
        let landed = self.config.table.landed(&by).await?;
        if self.stage() == Some(Stage::Held)
            && let Some(version) = landed
        {
            self.record_commit(version).await?;
        }
        Ok(())
    }
}

/// Runs `work`, and renews the lease meanwhile. When that is lost, the unfinished work is given back.
async fn while_renewing<R, W: Future<Output = R>>(
    lease: &dyn HeldLock,
    clock: &Arc<dyn Clock>,
    work: W,
) -> Result<R, (StreamError, Pin<Box<W>>)> {
    let mut work = Box::pin(work);
    loop {
        match select(work, clock.sleep(lease.ttl() / 3)).await {
            Either::Left((output, _)) => return Ok(output),
            Either::Right(((), unfinished)) => work = unfinished,
        }
        if let Err(error) = renew(lease).await {
            return Err((error, work));
        }
    }
}

/// A renewal that fails is no reason to stop: the fence decides.
async fn renew(lease: &dyn HeldLock) -> Result<(), StreamError> {
    match lease.renew().await {
        Ok(Standing::Held) => Ok(()),
        Ok(Standing::Lost { current }) => Err(StreamError::Fenced { current }),
        Ok(Standing::Released) => Err(StreamError::Fenced { current: lease.epoch() }),
        Err(error) => {
            tracing::warn!(%error, "could not renew the backfill's lease");
            Ok(())
        }
    }
}
