//! [`LockService`]: who may act under a name, and under which epoch. The default, [`ObjectLocks`], needs nothing but the object
//! store that the journal lies on.
//!
//! A service says who *may* act, judged by clocks. That a former holder's write fails is settled where it writes, by the epoch.
//! So a service whose clocks are wrong, or that forgets who holds a lock, costs time and nothing else.

use std::fmt::Debug;
use std::time::Duration;

use crate::{Acquire, Epoch, Lease, LeaseConfig, LeaseError, LeaseManager, Standing};
use async_trait::async_trait;

/// What came of asking for a lock.
#[must_use]
#[derive(Debug)]
pub enum Grant {
    /// It is this process's.
    Granted(Box<dyn HeldLock>),
    /// Another process has it.
    Held {
        /// Who.
        holder: String,
        /// When it may be taken over if its holder is dead.
        expires_in: Duration,
    },
}

/// Grants locks by name.
#[async_trait]
pub trait LockService: Debug + Send + Sync {
    /// Asks for the lock `name`. An epoch granted is above `floor`, and above all that were granted under this name. Pass the
    /// highest epoch on record where writes are fenced, so that epochs still rise when the service has lost its memory.
    ///
    /// # Errors
    /// The service does not answer; the lock may then have been granted, and ends by itself.
    async fn acquire(&self, name: &str, floor: Epoch) -> Result<Grant, LeaseError>;
}

/// A lock that was granted. Dropped without [`HeldLock::release`], it ends by itself.
#[async_trait]
pub trait HeldLock: Debug + Send + Sync {
    /// Its epoch: present it with every write.
    fn epoch(&self) -> Epoch;

    /// How long it lives without being renewed. Renew at a third of it.
    fn ttl(&self) -> Duration;

    /// Shows that the holder is alive, and looks whether the lock was taken over all the same. A lock that has ended because
    /// nobody renewed it, and that nobody took over, is held again under its epoch.
    ///
    /// # Errors
    /// The service does not answer; the lock may still be held.
    async fn renew(&self) -> Result<Standing, LeaseError>;

    /// Lets go.
    ///
    /// # Errors
    /// The service does not answer; the lock ends by itself.
    async fn release(&self) -> Result<(), LeaseError>;
}

/// Locks as numbered, create-only objects: `<prefix>/<name>/<epoch>.json`.
#[derive(Debug, Clone)]
pub struct ObjectLocks {
    config: LeaseConfig,
}

impl ObjectLocks {
    /// Locks below `config.prefix`.
    pub fn new(config: LeaseConfig) -> Self {
        Self { config }
    }
}

#[async_trait]
impl LockService for ObjectLocks {
    async fn acquire(&self, name: &str, floor: Epoch) -> Result<Grant, LeaseError> {
        let config = LeaseConfig { prefix: self.config.prefix.clone().join(name), ..self.config.clone() };
        Ok(match LeaseManager::new(config).acquire_above(floor).await? {
            Acquire::Granted(lease) => Grant::Granted(Box::new(lease)),
            Acquire::Held { holder, expires_in, .. } => Grant::Held { holder, expires_in },
        })
    }
}

#[async_trait]
impl HeldLock for Lease {
    fn epoch(&self) -> Epoch {
        Lease::epoch(self)
    }

    fn ttl(&self) -> Duration {
        Lease::ttl(self)
    }

    async fn renew(&self) -> Result<Standing, LeaseError> {
        Lease::renew(self).await
    }

    async fn release(&self) -> Result<(), LeaseError> {
        Lease::release(self).await
    }
}
