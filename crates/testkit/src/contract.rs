//! The suites that an object store must pass before journals and leases may live on it, and those of lock services, of tables
//! and of what readers are moved by. Those of stores work under a prefix that must be empty; all panic on the first breach.

#![expect(clippy::expect_used, clippy::panic, reason = "a suite reports a breach by panicking, as a test does")]

mod journal;
mod lease;
mod lock;
mod log;
#[cfg(feature = "catalogs")]
mod pointer;
#[cfg(feature = "catalogs")]
mod table;

use std::sync::Arc;

use lakeshift_journal::{JournalConfig, LeaseConfig, SystemRng};
use object_store::ObjectStore;
use object_store::path::Path;

use crate::ManualClock;

pub use journal::journal_contract;
pub use lease::lease_contract;
pub use lock::{LockProcess, LockWorld, lock_contract};
pub use log::log_contract;
#[cfg(feature = "catalogs")]
pub use pointer::{BehindProxy, Over, PointerWorld, pointer_contract, pointer_race_contract};
#[cfg(feature = "catalogs")]
pub use table::{Deaf, TableWorld, table_contract};

/// Contenders in a race. Few: SeaweedFS lets them wait for one another in steps of a second.
const RACERS: usize = 5;
/// The time to live of the leases in the suites.
const TTL: std::time::Duration = std::time::Duration::from_secs(60);

/// What every process in a scenario shares.
struct World {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    clock: Arc<ManualClock>,
}

impl World {
    fn new(store: &Arc<dyn ObjectStore>, prefix: &Path, scenario: &str) -> Self {
        Self { store: store.clone(), prefix: prefix.clone().join(scenario), clock: Arc::new(ManualClock::new()) }
    }

    fn journal(&self, writer: &str) -> JournalConfig {
        JournalConfig {
            store: self.store.clone(),
            prefix: self.prefix.clone(),
            clock: self.clock.clone(),
            rng: Arc::new(SystemRng),
            writer: writer.to_owned(),
        }
    }

    fn lease(&self, holder: &str) -> LeaseConfig {
        LeaseConfig {
            store: self.store.clone(),
            prefix: self.prefix.clone(),
            clock: self.clock.clone(),
            rng: Arc::new(SystemRng),
            holder: holder.to_owned(),
            ttl: TTL,
        }
    }
}
