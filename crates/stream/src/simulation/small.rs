//! A stream of three rows, for tests of what one step does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lakeshift_core::table::MigrationId;
use lakeshift_journal::{JournalConfig, LeaseConfig, LeaseManager, ObjectLocks};
use lakeshift_testkit::{ManualClock, SeededRng};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::path::Path;

use super::table::{Row, SimSink, SimTable};
use crate::{
    Ask, Asked, Backfill, BackfillConfig, BadRecord, Ingest, IngestConfig, ObjectLetters, OffsetSet, OneTable, Place,
    Polled, Positions, Record, Register, Sink, Source, SourcePartition, Span, Started, StreamError,
};

/// Stands in every event and in the source's error.
pub(crate) const MARK: &str = "of-an-event";

/// Gives two rows of period 5, one of period 6 and an event that cannot be read, then nothing, then an error.
#[derive(Debug, Default)]
pub(crate) struct ThreeRows(usize);

impl ThreeRows {
    fn first() -> Polled<Vec<Row>> {
        let partition = SourcePartition::new("t", 0);
        let row = |(offset, period)| Row { partition: 0, offset, period, entity: MARK.to_owned(), value: 0 };
        let place = |period| Place { period, entity: Some(MARK.into()) };
        Polled {
            spans: vec![Span { partition, from: 0, to: 4 }],
            records: [(0, 0), (1, 1), (2, 0)].map(|(offset, place)| Record { span: 0, place, offset }).to_vec(),
            places: vec![place(5), place(6)],
            bad: vec![BadRecord { span: 0, offset: 3, reason: "no JSON".to_owned(), payload: MARK.into() }],
            rows: [(0, 5), (1, 6), (2, 5)].map(row).to_vec(),
        }
    }
}

#[async_trait]
impl Source for ThreeRows {
    type Rows = Vec<Row>;

    async fn poll(&mut self, _: &Positions) -> Result<Option<Polled<Vec<Row>>>, StreamError> {
        self.0 += 1;
        match self.0 {
            1 => Ok(Some(Self::first())),
            2 => Ok(None),
            _ => Err(StreamError::Source { object: "t".to_owned(), reason: MARK.to_owned() }),
        }
    }

    async fn ends(&mut self) -> Result<Positions, StreamError> {
        Ok(Positions::new())
    }

    async fn reread(&mut self, _: &BTreeMap<SourcePartition, OffsetSet>) -> Result<Polled<Vec<Row>>, StreamError> {
        Ok(Self::first())
    }
}

/// What a small stream works with.
#[derive(Debug, Clone)]
pub(crate) struct Small {
    pub store: Arc<dyn ObjectStore>,
    clock: Arc<ManualClock>,
    rng: Arc<SeededRng>,
}

impl Small {
    pub fn new() -> Self {
        let (clock, rng) = (Arc::new(ManualClock::new()), Arc::new(SeededRng::new(1)));
        Self { store: Arc::new(InMemory::new()), clock, rng }
    }

    fn stream() -> MigrationId {
        MigrationId("flights".to_owned())
    }

    pub fn table(&self) -> SimTable {
        SimTable { store: self.store.clone(), clock: self.clock.clone(), rng: self.rng.clone() }
    }

    pub fn sink(&self) -> SimSink {
        SimSink { table: self.table(), stream: Self::stream() }
    }

    async fn register(&self, writer: &str) -> Register {
        let journal = JournalConfig {
            store: self.store.clone(),
            prefix: Path::from("journal"),
            clock: self.clock.clone(),
            rng: self.rng.clone(),
            writer: writer.to_owned(),
        };
        Register::open(journal).await.unwrap()
    }

    fn leases(&self, folder: &str) -> LeaseConfig {
        LeaseConfig {
            store: self.store.clone(),
            prefix: Path::from(format!("leases/{folder}")),
            clock: self.clock.clone(),
            rng: self.rng.clone(),
            holder: folder.to_owned(),
            ttl: Duration::from_secs(60),
        }
    }

    pub async fn ingest<K: Sink<Rows = Vec<Row>>>(&self, sink: K) -> Ingest<ThreeRows, OneTable<K>> {
        let dead_letters = ObjectLetters { store: self.store.clone(), folder: Path::from("dead"), rng: self.rng.clone() };
        let config = IngestConfig {
            id: Self::stream(),
            destination: OneTable { id: Self::stream(), table: Arc::new(self.table()), sink },
            leases: LeaseManager::new(self.leases("ingest")),
            dead_letters: Arc::new(dead_letters),
            clock: self.clock.clone(),
        };
        match Ingest::start(config, self.register("ingest").await, ThreeRows::default()).await.unwrap() {
            Started::Running(ingest) => ingest,
            Started::Held { .. } => panic!("nobody else is there"),
        }
    }

    pub async fn lock(&self, ask: &Ask) -> Backfill {
        let config = BackfillConfig {
            stream: Self::stream(),
            table: Arc::new(self.table()),
            locks: Arc::new(ObjectLocks::new(self.leases("locks"))),
            clock: self.clock.clone(),
        };
        match Backfill::lock(config, self.register("backfill").await, ask).await.unwrap() {
            Asked::Locked(backfill) => backfill,
            other => panic!("{other:?}"),
        }
    }
}
