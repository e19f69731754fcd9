//! A stream of three rows, for tests of what one step does.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use lakeshift_testkit::{ManualClock, SeededRng};
use object_store::ObjectStore;
use object_store::memory::InMemory;

use super::table::{Row, SimSink, SimTable};
use super::world::Process;
use crate::{
    Ask, Asked, Backfill, BadRecord, Ingest, OffsetSet, OneTable, Place, Polled, Positions, Record, Sink, Source,
    SourcePartition, Span, Started, StreamError,
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

/// The process of a small stream, on a good day.
#[derive(Debug, Clone)]
pub(crate) struct Small(Process);

impl Small {
    pub fn new() -> Self {
        let (clock, rng) = (Arc::new(ManualClock::new()), Arc::new(SeededRng::new(1)));
        Self(Process { store: Arc::new(InMemory::new()), faults: None, clock, rng, name: "one".to_owned() })
    }

    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.0.store
    }

    pub fn table(&self) -> SimTable {
        self.0.table()
    }

    pub fn sink(&self) -> SimSink {
        self.0.sink()
    }

    pub async fn ingest<K: Sink<Rows = Vec<Row>>>(&self, sink: K) -> Ingest<ThreeRows, OneTable<K>> {
        match self.0.ingest(ThreeRows::default(), sink).await.unwrap() {
            Started::Running(ingest) => ingest,
            Started::Held { .. } => panic!("nobody else is there"),
        }
    }

    pub async fn lock(&self, ask: &Ask) -> Backfill<Arc<SimTable>> {
        match self.0.lock(ask).await.unwrap() {
            Asked::Locked(backfill) => backfill,
            other => panic!("{other:?}"),
        }
    }
}
