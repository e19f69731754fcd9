//! What the tests of this crate share.

use std::sync::Arc;
use std::time::Duration;

use lakeshift_journal::{Append, Epoch, Journal, JournalConfig, JournalError, LeaseConfig, LeaseManager, Position};
use lakeshift_testkit::{ManualClock, SeededRng};
use object_store::ObjectStore;
use object_store::path::Path;

pub const TTL: Duration = Duration::from_secs(60);

/// A simulated process: its own view of the store, its own clock, its own randomness.
#[derive(Debug, Clone)]
pub struct Process {
    pub name: &'static str,
    pub store: Arc<dyn ObjectStore>,
    pub clock: Arc<ManualClock>,
    pub rng: Arc<SeededRng>,
}

impl Process {
    pub fn new(name: &'static str, store: Arc<dyn ObjectStore>, clock: &Arc<ManualClock>) -> Self {
        let seed = name.bytes().fold(0, |seed, byte| seed * 31 + u64::from(byte));
        Self { name, store, clock: clock.clone(), rng: Arc::new(SeededRng::new(seed)) }
    }

    pub async fn open(&self) -> Result<Journal<String>, JournalError> {
        Journal::open(self.journal()).await
    }

    pub async fn open_after(&self, position: Position) -> Result<Journal<String>, JournalError> {
        Journal::open_after(self.journal(), position).await
    }

    fn journal(&self) -> JournalConfig {
        JournalConfig {
            store: self.store.clone(),
            prefix: Path::from("m/journal"),
            clock: self.clock.clone(),
            rng: self.rng.clone(),
            writer: self.name.to_owned(),
        }
    }

    pub fn leases(&self) -> LeaseManager {
        LeaseManager::new(LeaseConfig {
            store: self.store.clone(),
            prefix: Path::from("m/leases"),
            clock: self.clock.clone(),
            rng: self.rng.clone(),
            holder: self.name.to_owned(),
            ttl: TTL,
        })
    }
}

pub fn entry_path(number: u64) -> Path {
    Path::from(format!("m/journal/{number:020}.json"))
}

pub fn events(journal: &Journal<String>) -> Vec<&str> {
    journal.entries().iter().map(|entry| entry.event.as_str()).collect()
}

pub async fn append(journal: &mut Journal<String>, epoch: u64, event: &str) -> Append {
    journal.append(Epoch(epoch), &event.to_owned()).await.unwrap()
}
