//! What a command needs of the outside: stores, time, randomness, environment, and somewhere to talk to.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lakeshift_core::spec::{Place, Spec};
use lakeshift_core::storage::Storage;
use lakeshift_journal::{Clock, Journal, JournalConfig, LeaseConfig, LeaseManager, Position, Rng, SystemClock, SystemRng};
use lakeshift_tables::storage::Stores;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::progress::Progress;
use crate::stop::Stop;

/// The outside, as seen by every command. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// Which object store serves which URL.
    pub stores: Stores,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
    /// The environment, for credentials that a spec names.
    pub env: fn(&str) -> Option<String>,
    /// This process, as others shall see it: `user@host:pid`.
    pub holder: String,
    /// Whether the operator wants it to end.
    pub stop: Stop,
    /// Where progress is shown.
    pub progress: Progress,
}

impl Context {
    /// The real outside.
    pub fn system(progress: Progress, stop: Stop) -> Self {
        Self {
            stores: Stores::new(),
            clock: Arc::new(SystemClock::new()),
            rng: Arc::new(SystemRng),
            env: |name| std::env::var(name).ok(),
            holder: holder(),
            progress,
            stop,
        }
    }

    /// Opens one of a spec's places.
    ///
    /// # Errors
    /// A missing variable, or a location that no store serves.
    pub fn open(&self, spec: &Spec, place: Place) -> Result<Storage, Error> {
        let location = match place {
            Place::Control => &spec.control,
            Place::Source => &spec.source.location,
            Place::Target => &spec.target.location,
        };
        let options = spec.storage_options(place, self.env)?;
        Ok(self.stores.open_with(location.as_str(), &options)?)
    }

    /// Opens the journal in a folder's `journal/`, and verifies it.
    ///
    /// # Errors
    /// It cannot be read, or an entry is missing or was altered.
    pub async fn journal<E: Serialize + DeserializeOwned>(&self, folder: &Storage) -> Result<Journal<E>, Error> {
        self.journal_at(&folder.child("journal")).await
    }

    /// As [`Context::journal`], of the entries that lie in `folder` itself.
    pub(crate) async fn journal_at<E: Serialize + DeserializeOwned>(&self, folder: &Storage) -> Result<Journal<E>, Error> {
        Ok(Journal::open(self.journal_config(folder)).await?)
    }

    /// As [`Context::journal`], from the entry after `position` on.
    pub(crate) async fn journal_after<E: Serialize + DeserializeOwned>(
        &self,
        folder: &Storage,
        position: Option<Position>,
    ) -> Result<Journal<E>, Error> {
        let config = self.journal_config(&folder.child("journal"));
        Ok(match position {
            Some(position) => Journal::open_after(config, position).await?,
            None => Journal::open(config).await?,
        })
    }

    fn journal_config(&self, folder: &Storage) -> JournalConfig {
        JournalConfig {
            store: folder.store().clone(),
            prefix: folder.prefix().clone(),
            clock: self.clock.clone(),
            rng: self.rng.clone(),
            writer: self.holder.clone(),
        }
    }

    /// The leases in a folder's `leases/`, of one name.
    pub(crate) fn leases(&self, folder: &Storage, name: &str, ttl: Duration) -> LeaseManager {
        let folder = folder.child("leases").child(name);
        LeaseManager::new(LeaseConfig {
            store: folder.store().clone(),
            prefix: folder.prefix().clone(),
            clock: self.clock.clone(),
            rng: self.rng.clone(),
            holder: self.holder.clone(),
            ttl,
        })
    }
}

fn holder() -> String {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let user = variable("USER").unwrap_or_else(|| "unknown".to_owned());
    let host = variable("HOSTNAME")
        .or_else(|| std::fs::read_to_string("/etc/hostname").ok().map(|name| name.trim().to_owned()))
        .unwrap_or_else(|| "localhost".to_owned());
    format!("{user}@{host}:{}", std::process::id())
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("holder", &self.holder).finish_non_exhaustive()
    }
}
