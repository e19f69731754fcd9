//! What it costs an event to ask whether a backfill has its range: not at all, as the stream does, and by asking the service that
//! grants locks. Medians of several runs, in nanoseconds an event. `make bench-locks`

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "it measures and prints")]

use std::sync::Arc;
use std::time::Duration;

use lakeshift_journal::{Clock, Epoch, LeaseConfig, LeaseManager, SystemClock, SystemRng};
use lakeshift_stream::{
    EpochMap, Judged, Lock, Locking, Mode, OffsetSet, Part, Place, Polled, Positions, Range, Reading, Record,
    SourcePartition, Span, Stage, judge,
};
use object_store::local::LocalFileSystem;
use object_store::path::Path;

/// Events of one micro-batch: the default of `commit.rows`.
const EVENTS: u32 = 500_000;
const PARTITIONS: u32 = 8;
/// Distinct places: ninety days of ten entities.
const DAYS: u32 = 90;
const ENTITIES: u32 = 10;
const RUNS: usize = 15;
const ASKS: u32 = 2000;

#[tokio::main]
async fn main() {
    let polled = polled();
    println!(
        "{EVENTS} events of {PARTITIONS} partitions in {} places; medians of {RUNS} runs, least and most in brackets",
        polled.places.len()
    );
    let none = measure(EVENTS, || drop(std::hint::black_box(unchecked(&polled))));
    println!("{:<58} {}", "none: offsets noted, rows kept, nothing asked", shown(&none));
    for (what, locks) in cases() {
        let map = EpochMap::new(locks.iter().map(|lock| (lock, true)), 1);
        let ours = measure(EVENTS, || drop(std::hint::black_box(judge(&polled, &map))));
        let check = median(&ours) - median(&none);
        println!("{what:<58} {}  the check alone: {check:.1} ns", shown(&ours));
    }
    ask_objects(median(&none)).await;
    #[cfg(feature = "etcd")]
    ask_etcd(median(&none)).await;
    #[cfg(feature = "zookeeper")]
    ask_zookeeper(median(&none)).await;
}

/// Events as Kafka gives them: partition by partition, their places mixed.
fn polled() -> Polled<()> {
    let each = EVENTS / PARTITIONS;
    let spans = (0..PARTITIONS).map(|number| Span {
        partition: SourcePartition::new("flights", i32::try_from(number).unwrap()),
        from: 1_000_000,
        to: 1_000_000 + i64::from(each),
    });
    let places = (0..DAYS * ENTITIES).map(|place| Place {
        period: i32::try_from(place % DAYS).unwrap(),
        entity: Some(format!("airport {}", place / DAYS).into()),
    });
    // A multiplicative hash: the places of neighbours differ, and every run has the same ones.
    let place = |event: u32| (event.wrapping_mul(2_654_435_761) >> 8) % (DAYS * ENTITIES);
    let records = (0..PARTITIONS * each).map(|event| Record {
        span: event / each,
        place: place(event),
        offset: 1_000_000 + i64::from(event % each),
    });
    Polled { spans: spans.collect(), records: records.collect(), places: places.collect(), bad: Vec::new(), rows: () }
}

/// What `judge` does where there are no locks to ask about.
fn unchecked(polled: &Polled<()>) -> Judged {
    let mut parts: Vec<Part> = polled.spans.iter().map(Part::of).collect();
    let mut kept = Vec::with_capacity(polled.records.len());
    for (row, record) in (0_u32..).zip(&polled.records) {
        parts[record.span as usize].applied.insert(record.offset);
        kept.push(row);
    }
    for part in &mut parts {
        part.absent = OffsetSet::range(part.from, part.to).difference(&part.applied);
    }
    Judged { reading: Reading { replay: None, locks_seen: 0, parts, dead_letters: None }, kept }
}

fn cases() -> Vec<(&'static str, Vec<Lock>)> {
    let lock = |epoch: u64, from: i32, to: i32, mode, stage| {
        let range = Range { from, to, entity: None };
        let taken = Locking {
            epoch: Epoch(epoch),
            name: format!("b{epoch}"),
            range,
            mode,
            cut_off: Positions::new(),
            migration: None,
        };
        let partitions = (0..PARTITIONS).map(|number| SourcePartition::new("flights", i32::try_from(number).unwrap()));
        Lock {
            taken,
            epoch: Epoch(epoch),
            stage,
            at_lock: Positions::new(),
            cut_off: partitions.map(|partition| (partition, 1_030_000)).collect(),
            last_commit: lakeshift_core::table::CommitNumber(0),
            drain: None,
        }
    };
    let elsewhere = |count: i32| (0..count).map(|at| lock(1, 1000 + at, 1000 + at, Mode::Park, Stage::Held)).collect();
    vec![
        ("ours, no lock", Vec::new()),
        ("ours, a lock of ninety other days", vec![lock(1, 1000, 1089, Mode::Park, Stage::Held)]),
        ("ours, 16 locks of other days", elsewhere(16)),
        ("ours, a tenth of the events superseded or not, by offset", vec![lock(1, 0, 8, Mode::Priority, Stage::Released)]),
        ("ours, all events superseded or not, by offset", vec![lock(1, 0, 89, Mode::Priority, Stage::Released)]),
    ]
}

/// Nanoseconds an event, run by run, sorted.
fn measure(events: u32, run: impl Fn()) -> Vec<f64> {
    let clock = SystemClock::new();
    let mut runs: Vec<f64> = (0..RUNS)
        .map(|_| {
            let began = clock.elapsed();
            run();
            (clock.elapsed() - began).as_secs_f64() * 1e9 / f64::from(events)
        })
        .collect();
    runs.sort_by(f64::total_cmp);
    runs
}

fn median(runs: &[f64]) -> f64 {
    runs[runs.len() / 2]
}

fn shown(runs: &[f64]) -> String {
    format!("{:>9.1} ns [{:.1}, {:.1}]", median(runs), runs[0], runs[runs.len() - 1])
}

/// Asks once an event, and prints what that costs.
async fn asked<F: Future<Output = ()>>(what: &str, none: f64, ask: impl Fn() -> F) {
    let clock = SystemClock::new();
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        let began = clock.elapsed();
        for _ in 0..ASKS {
            ask().await;
        }
        runs.push((clock.elapsed() - began).as_secs_f64() * 1e9 / f64::from(ASKS));
    }
    runs.sort_by(f64::total_cmp);
    println!("{what:<58} {}  {:.0} times none", shown(&runs), median(&runs) / none);
}

async fn ask_objects(none: f64) {
    let folder = tempfile::tempdir().unwrap();
    let manager = LeaseManager::new(LeaseConfig {
        store: Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap()),
        prefix: Path::from("locks/b"),
        clock: Arc::new(SystemClock::new()),
        rng: Arc::new(SystemRng),
        holder: "one".to_owned(),
        ttl: Duration::from_secs(60),
    });
    let lease = manager.acquire().await.unwrap();
    asked("asking the object store on the local disk", none, || async { drop(manager.status().await.unwrap()) }).await;
    drop(lease);
}

#[cfg(feature = "etcd")]
async fn ask_etcd(none: f64) {
    let Some(server) = lakeshift_testkit::etcd::start_if_installed().await else { return };
    let client = etcd_client::Client::connect([format!("127.0.0.1:{}", server.port())], None).await.unwrap();
    client.clone().put("lakeshift/flights/b/holder", "one", None).await.unwrap();
    let ask = || {
        let mut client = client.clone();
        async move { drop(client.get("lakeshift/flights/b/holder", None).await.unwrap()) }
    };
    asked("asking etcd on the loopback", none, ask).await;
}

#[cfg(feature = "zookeeper")]
async fn ask_zookeeper(none: f64) {
    use zookeeper_client::{Acls, Client, CreateMode};
    let Some(server) = lakeshift_testkit::zookeeper::start_if_installed().await else { return };
    let client = Client::connect(&format!("127.0.0.1:{}", server.port())).await.unwrap();
    client.create("/b", b"one", &CreateMode::Persistent.with_acls(Acls::anyone_all())).await.unwrap();
    let ask = || async { drop(client.get_data("/b").await.unwrap()) };
    asked("asking ZooKeeper on the loopback", none, ask).await;
}
