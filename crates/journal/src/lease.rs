//! Leases: [`LeaseManager`] acquires, a [`Lease`] is held, renewed and released.
//!
//! A lease is the object `<prefix>/<epoch>.json` of a [`NumberedLog`]: created once, never changed, and its number is
//! the fencing [`Epoch`]. The highest number is the present lease. Beside it the holder, and only the holder,
//! overwrites `<prefix>/<epoch>.heartbeat`, which says that it is alive or that it has let go.
//!
//! Taking over is creating the next number, so exactly one contender succeeds. *Whether* to take over is judged by
//! clocks, and a wrong judgement is safe: the former holder is fenced wherever it presents its epoch. The heartbeat is
//! liveness only; nothing that must be safe reads it.

mod error;
mod object;

use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use object_store::ObjectStore;
use object_store::path::Path;
use tokio::sync::Mutex;

use crate::log::{Create, NumberedLog};
use crate::rng::nonce_text;
use crate::{Clock, Epoch, Rng};

pub use error::LeaseError;
use object::{FORMAT_VERSION, Heartbeat, LeaseObject};

/// How often an acquisition looks again after losing a race before it gives up.
const RACES_MAX: u32 = 8;

/// Where leases on one thing live, and who asks for them.
#[derive(Debug, Clone)]
pub struct LeaseConfig {
    /// The store.
    pub store: Arc<dyn ObjectStore>,
    /// The folder of the leases on this one thing.
    pub prefix: Path,
    /// Judges whether a holder is alive; spaces retries.
    pub clock: Arc<dyn Clock>,
    /// Gives every object its nonce.
    pub rng: Arc<dyn Rng>,
    /// Names this process to others, such as `user@host:pid`.
    pub holder: String,
    /// How long a lease lives without a heartbeat. Renew at a third of it.
    pub ttl: Duration,
}

/// What came of asking for the lease.
#[must_use]
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one value a process, taken apart at once")]
pub enum Acquire {
    /// This process holds it.
    Granted(Lease),
    /// Another process holds it; nothing was changed.
    Held {
        /// Who.
        holder: String,
        /// Since when, by its own clock.
        since: DateTime<Utc>,
        /// Its epoch.
        epoch: Epoch,
        /// When it may be taken over if its holder is dead. Never more than its time to live.
        expires_in: Duration,
    },
}

/// Whether a lease is still the present one.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// No higher epoch existed when it was looked at. One may exist now: only a fenced write proves more.
    Held,
    /// A higher epoch exists. Stop working.
    Lost {
        /// The highest epoch.
        current: Epoch,
    },
    /// This process has released it.
    Released,
}

/// The lease before the one that was granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Previous {
    /// Who held it.
    pub holder: String,
    /// Its epoch.
    pub epoch: Epoch,
    /// Whether its holder released it. If not, the holder died or stalled, and may have left work half done.
    pub released: bool,
}

/// The present lease as seen from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseStatus {
    /// Who acquired it last.
    pub holder: String,
    /// Its epoch.
    pub epoch: Epoch,
    /// When it was acquired, by the holder's clock.
    pub since: DateTime<Utc>,
    /// When its holder last showed that it is alive, by the holder's clock.
    pub last_heartbeat: DateTime<Utc>,
    /// Whether its holder has released it.
    pub released: bool,
    /// When it may be taken over if its holder is dead; zero when it may be now.
    pub expires_in: Duration,
}

impl LeaseStatus {
    /// Whether someone holds the lease, as far as clocks can tell.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !self.released && !self.expires_in.is_zero()
    }
}

/// Acquires leases on one thing.
#[derive(Debug)]
pub struct LeaseManager {
    config: LeaseConfig,
    log: NumberedLog,
    seen: StdMutex<Option<Sighting>>,
}

/// The last sign of life seen, and when this process first saw it.
#[derive(Debug)]
struct Sighting {
    nonce: String,
    at: Duration,
}

/// The present lease and its last sign of life.
struct Current {
    lease: LeaseObject,
    heartbeat: Option<Heartbeat>,
}

impl LeaseManager {
    /// A manager of the leases under `config.prefix`. Does no I/O.
    #[must_use]
    pub fn new(config: LeaseConfig) -> Self {
        let log = NumberedLog::new(config.store.clone(), config.prefix.clone(), config.clock.clone());
        Self { config, log, seen: StdMutex::new(None) }
    }

    /// Asks for the lease: granted when there is none, when the last one was released, or when its holder has shown
    /// no life for its time to live. A holder whose clock runs ahead never blocks for good: a manager that keeps
    /// asking also sees that the same heartbeat stays.
    ///
    /// # Errors
    /// [`LeaseError`] when the store fails or an object is not a lease. After
    /// [`crate::LogError::OutcomeUnknown`] the lease may have been taken in this process's name; it then expires.
    pub async fn acquire(&self) -> Result<Acquire, LeaseError> {
        self.acquire_above(Epoch(0)).await
    }

    /// As [`LeaseManager::acquire`], and an epoch granted is above `floor`. Pass the last epoch of the journal that the
    /// lease guards, so that epochs still rise when the folder of the leases was lost.
    ///
    /// # Errors
    /// As [`LeaseManager::acquire`].
    pub async fn acquire_above(&self, floor: Epoch) -> Result<Acquire, LeaseError> {
        let mut epoch = floor;
        for _ in 0..RACES_MAX {
            let current = self.read_current().await?;
            if let Some(current) = &current {
                let status = self.judge(current);
                if status.is_held() {
                    return Ok(Acquire::Held {
                        holder: status.holder,
                        since: status.since,
                        epoch: status.epoch,
                        expires_in: status.expires_in,
                    });
                }
            }
            epoch = current.as_ref().map_or(floor, |current| current.lease.epoch.max(floor)).next();
            if self.create(epoch).await? == Create::Created {
                return Ok(Acquire::Granted(Lease::new(self, epoch, current.map(Previous::from))));
            }
        }
        Err(LeaseError::Contended { path: self.log.path(epoch.0), attempts: RACES_MAX })
    }

    /// Who holds the lease and since when; nothing when nobody ever did. Changes nothing.
    ///
    /// # Errors
    /// [`LeaseError`] when the store fails or an object is not a lease.
    pub async fn status(&self) -> Result<Option<LeaseStatus>, LeaseError> {
        Ok(self.read_current().await?.map(|current| self.judge(&current)))
    }

    async fn create(&self, epoch: Epoch) -> Result<Create, LeaseError> {
        let lease = LeaseObject {
            format_version: FORMAT_VERSION,
            epoch,
            holder: self.config.holder.clone(),
            at: self.config.clock.now(),
            ttl_ms: u64::try_from(self.config.ttl.as_millis()).unwrap_or(u64::MAX),
            nonce: nonce_text(self.config.rng.as_ref()),
        };
        let path = self.log.path(epoch.0);
        Ok(self.log.create(epoch.0, object::encode(&path, &lease)?).await?)
    }

    async fn read_current(&self) -> Result<Option<Current>, LeaseError> {
        let Some(number) = self.log.last().await? else { return Ok(None) };
        let path = self.log.path(number);
        let bytes = self.log.read(number).await?.ok_or_else(|| LeaseError::Gone { path: path.clone() })?;
        let lease = LeaseObject::decode(&path, &bytes, Epoch(number))?;
        let path = heartbeat_path(&self.config.prefix, Epoch(number));
        let heartbeat = match self.log.read_object(&path).await? {
            Some(bytes) => Some(Heartbeat::decode(&path, &bytes)?),
            None => None,
        };
        Ok(Some(Current { lease, heartbeat }))
    }

    /// Judges by the wall clock, and by how long this process has seen the same sign of life.
    fn judge(&self, current: &Current) -> LeaseStatus {
        let Current { lease, heartbeat } = current;
        let ttl = Duration::from_millis(lease.ttl_ms);
        let last_heartbeat = heartbeat.as_ref().map_or(lease.at, |heartbeat| heartbeat.at);
        let nonce = heartbeat.as_ref().map_or(&lease.nonce, |heartbeat| &heartbeat.nonce);
        // A heartbeat from the future (clocks differ) counts as one of now.
        let age = (self.config.clock.now() - last_heartbeat).max(TimeDelta::zero()).to_std().unwrap_or_default();
        let age = age.max(self.unchanged_for(nonce));
        LeaseStatus {
            holder: lease.holder.clone(),
            epoch: lease.epoch,
            since: lease.at,
            last_heartbeat,
            released: heartbeat.as_ref().is_some_and(|heartbeat| heartbeat.released),
            expires_in: ttl.saturating_sub(age),
        }
    }

    /// How long this process has known this sign of life without seeing another, by its monotonic clock.
    fn unchanged_for(&self, nonce: &str) -> Duration {
        let now = self.config.clock.elapsed();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match &*seen {
            Some(sighting) if sighting.nonce == nonce => now.saturating_sub(sighting.at),
            _ => {
                *seen = Some(Sighting { nonce: nonce.to_owned(), at: now });
                Duration::ZERO
            }
        }
    }
}

impl From<Current> for Previous {
    fn from(current: Current) -> Self {
        Self {
            holder: current.lease.holder,
            epoch: current.lease.epoch,
            released: current.heartbeat.is_some_and(|heartbeat| heartbeat.released),
        }
    }
}

/// A granted lease. It does not renew itself: renew it at a third of its time to live while working. Dropping it
/// without [`Lease::release`] leaves it to expire.
#[derive(Debug)]
pub struct Lease {
    config: LeaseConfig,
    log: NumberedLog,
    epoch: Epoch,
    previous: Option<Previous>,
    /// Whether it was released. Held while a heartbeat is written, so that no late renewal undoes a release.
    released: Mutex<bool>,
}

impl Lease {
    fn new(manager: &LeaseManager, epoch: Epoch, previous: Option<Previous>) -> Self {
        Self { config: manager.config.clone(), log: manager.log.clone(), epoch, previous, released: Mutex::new(false) }
    }

    /// The fencing epoch: present it with every write.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The lease that this one took over, if it is not the first.
    #[must_use]
    pub fn previous(&self) -> Option<&Previous> {
        self.previous.as_ref()
    }

    /// How long the lease lives without being renewed.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.config.ttl
    }

    /// Shows that the holder is alive, then looks whether the lease was taken over all the same.
    ///
    /// # Errors
    /// [`LeaseError::Log`] when the store fails. The lease may still be held: try again until it says otherwise.
    pub async fn renew(&self) -> Result<Standing, LeaseError> {
        let released = self.released.lock().await;
        if *released {
            return Ok(Standing::Released);
        }
        self.write_heartbeat(false).await?;
        self.look().await
    }

    /// Looks whether the lease is still the present one. Writes nothing.
    ///
    /// # Errors
    /// [`LeaseError::Log`] when the store fails.
    pub async fn check(&self) -> Result<Standing, LeaseError> {
        if *self.released.lock().await {
            return Ok(Standing::Released);
        }
        self.look().await
    }

    /// Lets go, so that the next contender need not wait. Harmless when the lease was lost. Afterwards [`Lease::renew`]
    /// and [`Lease::check`] say [`Standing::Released`].
    ///
    /// # Errors
    /// [`LeaseError::Log`] when the store fails; the lease then expires by itself, and releasing can be tried again.
    pub async fn release(&self) -> Result<(), LeaseError> {
        let mut released = self.released.lock().await;
        if !*released {
            self.write_heartbeat(true).await?;
            *released = true;
        }
        Ok(())
    }

    async fn look(&self) -> Result<Standing, LeaseError> {
        Ok(match self.log.last_after(self.epoch.0).await? {
            Some(current) => Standing::Lost { current: Epoch(current) },
            None => Standing::Held,
        })
    }

    async fn write_heartbeat(&self, released: bool) -> Result<(), LeaseError> {
        let heartbeat = Heartbeat {
            format_version: FORMAT_VERSION,
            at: self.config.clock.now(),
            released,
            nonce: nonce_text(self.config.rng.as_ref()),
        };
        let path = heartbeat_path(&self.config.prefix, self.epoch);
        Ok(self.log.overwrite_object(&path, object::encode(&path, &heartbeat)?).await?)
    }
}

fn heartbeat_path(prefix: &Path, epoch: Epoch) -> Path {
    prefix.clone().join(format!("{:020}.heartbeat", epoch.0))
}
