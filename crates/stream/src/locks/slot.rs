//! What etcd and ZooKeeper have in common: a lock as two records, and [`SlotLock`], which is granted, renewed and released by them.
//!
//! One record is the highest epoch that was granted. It stays. The other says who holds the lock, and the service itself takes it
//! away when the holder has shown no life for its time to live. Every change of the second raises or rewrites the first in the
//! same step and under the condition that the first has not moved, so of two at once one succeeds, a request that arrives late
//! changes nothing, and a holder that finds its record gone and the epoch its own knows that nobody was granted the lock between.

use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::{Either, select};
use lakeshift_journal::{Clock, Epoch, Grant, HeldLock, LeaseConfig, LeaseError, Rng, RngExt, Standing};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

/// How often an acquisition or a renewal looks again after others moved the lock, or after an answer was lost.
const ATTEMPTS_MAX: u32 = 8;
/// Before it does.
const PAUSE: Duration = Duration::from_millis(100);
/// Longest wait for one answer; a third of the time to live where that is shorter.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Who asks for locks, for how long, and by which clock.
#[derive(Debug, Clone)]
pub struct LockConfig {
    /// Names this process to others.
    pub holder: String,
    /// How long a lock is to live without being renewed. The service may make it longer or shorter.
    pub ttl: Duration,
    /// Bounds waiting.
    pub clock: Arc<dyn Clock>,
    /// Tells one request's record from another's.
    pub rng: Arc<dyn Rng>,
}

impl From<LeaseConfig> for LockConfig {
    fn from(config: LeaseConfig) -> Self {
        Self { holder: config.holder, ttl: config.ttl, clock: config.clock, rng: config.rng }
    }
}

/// What a service said instead of an answer.
pub(super) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The record of who holds a lock. A persisted format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hold {
    format_version: u32,
    pub epoch: Epoch,
    pub holder: String,
    pub ttl_ms: u64,
    nonce: String,
}

impl Hold {
    pub fn encode(&self) -> Result<Vec<u8>, Failure> {
        Ok(serde_json::to_vec(self)?)
    }
}

/// Both records as they were read.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The highest epoch granted; 0 where none was.
    pub epoch: Epoch,
    /// The version of that record, which the next change is conditional on.
    pub version: i64,
    pub hold: Option<Holding>,
}

#[derive(Debug)]
pub(super) struct Holding {
    pub hold: Hold,
    /// Whether it lives as long as this process's own session with the service.
    pub is_of_session: bool,
    /// How long it lives if its holder is dead.
    pub expires_in: Duration,
}

/// Why the records could not be read.
#[derive(Debug)]
pub(super) enum Unread {
    Failed(Failure),
    /// What is there is no record of ours.
    Foreign(String),
}

impl From<Failure> for Unread {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// One lock's records in a service, and this process's session with it.
#[async_trait]
pub(super) trait Slot: Debug + Send + Sync {
    /// What the service is called.
    fn service(&self) -> &'static str;

    async fn read(&self) -> Result<Seen, Unread>;

    /// Writes both records in one step, the second bound to this process's session, if the first is as it was `seen`. Begins a
    /// session where there is none. Whether it was done.
    async fn write(&self, seen: &Seen, epoch: Epoch, hold: &Hold) -> Result<bool, Failure>;

    /// Takes the second record away if the first is as it was `seen`.
    async fn clear(&self, seen: &Seen) -> Result<(), Failure>;

    /// Shows the service that the session is alive. One that has ended is forgotten, and that is no failure.
    async fn keep_alive(&self) -> Result<(), Failure>;

    /// How long a session lives, as the service has set it.
    fn ttl(&self) -> Duration;

    /// Ends the session, if it can be done; it ends by itself.
    async fn close(&self);
}

/// Reads what is there as the first record.
pub(super) fn epoch_of(bytes: &[u8], place: &str) -> Result<Epoch, Unread> {
    let number = std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok());
    number.map(Epoch).ok_or_else(|| Unread::Foreign(place.to_owned()))
}

/// Reads what is there as the second record.
pub(super) fn hold_of(bytes: &[u8], place: &str) -> Result<Hold, Unread> {
    let hold = serde_json::from_slice(bytes).ok().filter(|hold: &Hold| hold.format_version == 1);
    hold.ok_or_else(|| Unread::Foreign(place.to_owned()))
}

/// A granted lock.
#[derive(Debug)]
pub(super) struct SlotLock {
    slot: Bounded,
    hold: Hold,
    released: Mutex<bool>,
}

/// Asks for the lock that lies in `slot`.
pub(super) async fn acquire(
    slot: Box<dyn Slot>,
    name: &str,
    floor: Epoch,
    config: &LockConfig,
) -> Result<Grant, LeaseError> {
    let slot = Bounded { slot, name: name.to_owned(), clock: config.clock.clone(), ttl: config.ttl };
    let mut hold = Hold {
        format_version: 1,
        epoch: floor,
        holder: config.holder.clone(),
        ttl_ms: u64::try_from(config.ttl.as_millis()).unwrap_or(u64::MAX),
        nonce: format!("{:032x}", config.rng.nonce128()),
    };
    let mut last = None;
    for attempt in 0..ATTEMPTS_MAX {
        if attempt > 0 {
            config.clock.sleep(PAUSE).await;
            // Attempts that were waited for may have outlived the session.
            slot.keep_alive().await?;
        }
        let seen = slot.read().await?;
        match seen.hold.as_ref() {
            // The answer to an earlier attempt was lost.
            Some(found) if found.hold.nonce == hold.nonce => {
                hold.epoch = found.hold.epoch;
                return Ok(Grant::Granted(Box::new(SlotLock { slot, hold, released: Mutex::new(false) })));
            }
            Some(Holding { hold, expires_in, .. }) => {
                return Ok(Grant::Held { holder: hold.holder.clone(), expires_in: *expires_in });
            }
            None => hold.epoch = seen.epoch.max(floor).next(),
        }
        match slot.write(&seen, &hold).await {
            Ok(true) => return Ok(Grant::Granted(Box::new(SlotLock { slot, hold, released: Mutex::new(false) }))),
            Ok(false) => {}
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| slot.failed("others took and let go of it again and again".into())))
}

#[async_trait]
impl HeldLock for SlotLock {
    fn epoch(&self) -> Epoch {
        self.hold.epoch
    }

    fn ttl(&self) -> Duration {
        self.slot.slot.ttl()
    }

    async fn renew(&self) -> Result<Standing, LeaseError> {
        let released = self.released.lock().await;
        if *released {
            return Ok(Standing::Released);
        }
        self.slot.keep_alive().await?;
        for _ in 0..ATTEMPTS_MAX {
            let seen = self.slot.read().await?;
            match seen.hold.as_ref() {
                Some(found) if found.hold.nonce == self.hold.nonce && found.is_of_session => return Ok(Standing::Held),
                Some(found) if found.hold.nonce != self.hold.nonce => {
                    return Ok(Standing::Lost { current: seen.epoch.max(found.hold.epoch) });
                }
                _ if seen.epoch > self.hold.epoch => return Ok(Standing::Lost { current: seen.epoch }),
                // The session has ended, or the service has lost its memory, and nobody was granted the lock since.
                _ => {}
            }
            if self.slot.write(&seen, &self.hold).await? {
                return Ok(Standing::Held);
            }
        }
        Err(self.slot.failed("others took and let go of it again and again".into()))
    }

    async fn release(&self) -> Result<(), LeaseError> {
        let mut released = self.released.lock().await;
        if *released {
            return Ok(());
        }
        let seen = self.slot.read().await?;
        if seen.hold.as_ref().is_some_and(|found| found.hold.nonce == self.hold.nonce) {
            self.slot.clear(&seen).await?;
        }
        *released = true;
        self.slot.close().await;
        Ok(())
    }
}

/// A slot whose every answer is waited for only so long, and whose failures name the lock.
#[derive(Debug)]
struct Bounded {
    slot: Box<dyn Slot>,
    name: String,
    clock: Arc<dyn Clock>,
    ttl: Duration,
}

impl Bounded {
    async fn read(&self) -> Result<Seen, LeaseError> {
        match self.answer(self.slot.read()).await? {
            Ok(seen) => Ok(seen),
            Err(Unread::Failed(source)) => Err(self.failed(source)),
            Err(Unread::Foreign(place)) => Err(LeaseError::Foreign { service: self.slot.service(), place }),
        }
    }

    async fn write(&self, seen: &Seen, hold: &Hold) -> Result<bool, LeaseError> {
        self.answer(self.slot.write(seen, hold.epoch, hold)).await?.map_err(|source| self.failed(source))
    }

    async fn clear(&self, seen: &Seen) -> Result<(), LeaseError> {
        self.answer(self.slot.clear(seen)).await?.map_err(|source| self.failed(source))
    }

    async fn keep_alive(&self) -> Result<(), LeaseError> {
        self.answer(self.slot.keep_alive()).await?.map_err(|source| self.failed(source))
    }

    async fn close(&self) {
        // What cannot be closed ends by itself.
        let _ = self.answer(self.slot.close()).await;
    }

    async fn answer<T>(&self, answer: impl Future<Output = T> + Send) -> Result<T, LeaseError> {
        let patience = ANSWER_MAX.min(self.ttl / 3);
        match select(pin!(answer), self.clock.sleep(patience)).await {
            Either::Left((answer, _)) => Ok(answer),
            Either::Right(_) => Err(self.failed(format!("no answer within {patience:?}").into())),
        }
    }

    fn failed(&self, source: Failure) -> LeaseError {
        LeaseError::Service { service: self.slot.service(), name: self.name.clone(), source }
    }
}
