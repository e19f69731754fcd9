//! What a collector is told of a step: its parts, their numbers, and no value.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use lakeshift_core::table::MigrationId;
use lakeshift_journal::{JournalConfig, LeaseConfig, LeaseManager};
use lakeshift_testkit::{ManualClock, SeededRng};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::path::Path;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record as Values};
use tracing::{Event, Metadata, Subscriber};

use super::TARGET;
use crate::simulation::table::{Row, SimSink, SimTable};
use crate::{
    BadRecord, Ingest, IngestConfig, ObjectLetters, OffsetSet, OneTable, Place, Polled, Positions, Record, Register, Source,
    SourcePartition, Span, Started, StreamError,
};

/// Stands in every event and in the source's error.
const MARK: &str = "of-an-event";

/// A span as it was told: its name, the span around it, and its attributes.
#[derive(Debug, Clone, Default)]
struct Told {
    name: &'static str,
    within: Option<&'static str>,
    fields: BTreeMap<&'static str, String>,
}

impl Visit for Told {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.fields.insert(field.name(), format!("{value:?}"));
    }
}

#[derive(Debug, Default)]
struct Kept {
    told: Vec<Told>,
    entered: Vec<usize>,
}

/// Takes spans, as a collector's layer does.
#[derive(Debug, Clone, Default)]
struct Collector(Arc<Mutex<Kept>>);

fn index(id: &Id) -> usize {
    usize::try_from(id.into_u64()).unwrap() - 1
}

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == TARGET
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut kept = self.0.lock().unwrap();
        let within = kept.entered.last().map(|at| kept.told[*at].name);
        let mut told = Told { name: attributes.metadata().name(), within, ..Told::default() };
        attributes.record(&mut told);
        kept.told.push(told);
        Id::from_u64(kept.told.len() as u64)
    }

    fn record(&self, id: &Id, values: &Values<'_>) {
        values.record(&mut self.0.lock().unwrap().told[index(id)]);
    }

    fn enter(&self, id: &Id) {
        self.0.lock().unwrap().entered.push(index(id));
    }

    fn exit(&self, _: &Id) {
        self.0.lock().unwrap().entered.pop();
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}
}

/// Gives three rows and an event that cannot be read, then nothing, then an error.
#[derive(Debug, Default)]
struct ThreeRows(usize);

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

async fn ingest() -> Ingest<ThreeRows, OneTable<SimSink>> {
    let (clock, rng) = (Arc::new(ManualClock::new()), Arc::new(SeededRng::new(1)));
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let (prefix, name) = (|folder: &str| Path::from(folder), || "one".to_owned());
    let table = SimTable { store: store.clone(), clock: clock.clone(), rng: rng.clone() };
    let journal = JournalConfig {
        store: store.clone(),
        prefix: prefix("journal"),
        clock: clock.clone(),
        rng: rng.clone(),
        writer: name(),
    };
    let leases = LeaseConfig {
        store: store.clone(),
        prefix: prefix("leases"),
        clock: clock.clone(),
        rng: rng.clone(),
        holder: name(),
        ttl: Duration::from_secs(60),
    };
    let stream = MigrationId("flights".to_owned());
    let config = IngestConfig {
        id: stream.clone(),
        destination: OneTable { id: stream.clone(), table: Arc::new(table.clone()), sink: SimSink { table, stream } },
        leases: LeaseManager::new(leases),
        dead_letters: Arc::new(ObjectLetters { store, folder: prefix("dead"), rng }),
        clock,
    };
    match Ingest::start(config, Register::open(journal).await.unwrap(), ThreeRows::default()).await.unwrap() {
        Started::Running(ingest) => ingest,
        Started::Held { .. } => panic!("nobody else is there"),
    }
}

/// A span's line: its name, where it is, and its attributes but for the stream's name.
fn line(told: &Told) -> String {
    let mut fields = told.fields.clone();
    assert_eq!(fields.remove("lakeshift.stream").as_deref(), Some("flights"), "{told:?}");
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!(" {name}={value}")).collect();
    format!("{} in {}{}", told.name, told.within.unwrap_or("none"), fields.concat())
}

#[tokio::test]
async fn a_step_tells_its_parts_and_their_numbers() {
    let collector = Collector::default();
    let guard = tracing::subscriber::set_default(collector.clone());
    let mut ingest = ingest().await;
    assert_eq!(ingest.step().await.unwrap().unwrap().rows, 3);
    assert!(ingest.step().await.unwrap().is_none());
    ingest.step().await.unwrap_err();
    drop(guard);

    let kept = collector.0.lock().unwrap();
    assert!(!format!("{kept:?}").contains(MARK), "{kept:?}");
    let expected = [
        "ingest.step in none lakeshift.held_back=1 lakeshift.records=4 lakeshift.replayed=0 lakeshift.rows=3",
        "ingest.read in ingest.step lakeshift.dead_letters=1 lakeshift.partitions=1 lakeshift.records=4",
        "ingest.judge in ingest.step lakeshift.rows=3",
        "ingest.write in ingest.step lakeshift.bytes=2 lakeshift.commit=1 lakeshift.files=2 lakeshift.partitions=2 lakeshift.rows=3",
        "ingest.intend in ingest.step lakeshift.commit=1",
        "ingest.commit in ingest.step lakeshift.commit=1",
        "ingest.settle in ingest.step lakeshift.commit=1",
        "ingest.step in none lakeshift.held_back=0 lakeshift.records=0 lakeshift.replayed=0 lakeshift.rows=0",
        "ingest.read in ingest.step lakeshift.dead_letters=0 lakeshift.partitions=0 lakeshift.records=0",
        "ingest.step in none otel.status_code=ERROR",
        "ingest.read in ingest.step otel.status_code=ERROR",
    ];
    assert_eq!(kept.told.iter().map(line).collect::<Vec<_>>(), expected);
}

#[test]
fn spans_have_a_target_and_a_level_that_logs_leave_out() {
    let collector = Collector::default();
    let span = tracing::subscriber::with_default(collector, || span!("ingest.judge", MigrationId("flights".to_owned())));
    let metadata = span.metadata().unwrap();
    assert_eq!((metadata.target(), *metadata.level()), ("lakeshift::spans", tracing::Level::TRACE));
}
