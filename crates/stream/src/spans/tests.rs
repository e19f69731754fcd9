//! What a collector is told of a step: its parts, their numbers, and no value.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use lakeshift_core::table::MigrationId;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record as Values};
use tracing::{Event, Metadata, Subscriber};

use super::TARGET;
use crate::simulation::small::{MARK, Small};

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

/// A span's line: its name, where it is, and its attributes but for the stream's name.
fn line(told: &Told) -> String {
    let mut fields = told.fields.clone();
    assert_eq!(fields.remove("lakeshift.stream").as_deref(), Some("s"), "{told:?}");
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!(" {name}={value}")).collect();
    format!("{} in {}{}", told.name, told.within.unwrap_or("none"), fields.concat())
}

/// In a process of its own: `tracing` keeps for good that nobody wants a span whose first use, on another test's thread, is under
/// way when the collector comes.
#[test]
fn a_step_tells_its_parts_and_their_numbers() {
    let alone = ["--exact", "spans::tests::parts_and_numbers", "--ignored"];
    let done = std::process::Command::new(std::env::current_exe().unwrap()).args(alone).output().unwrap();
    let told = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && told.contains("1 passed"), "{told}");
}

#[tokio::test]
#[ignore = "run in a process of its own by a_step_tells_its_parts_and_their_numbers"]
async fn parts_and_numbers() {
    let collector = Collector::default();
    let guard = tracing::subscriber::set_default(collector.clone());
    let small = Small::new();
    let mut ingest = small.ingest(small.sink()).await;
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
