//! Streams from outside: events of a mock Kafka cluster into real tables, and backfills beside them that are killed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use lakeshift::error::{Error, with_causes};
use lakeshift_core::table::{FileEntry, TableFormat};
use lakeshift_tables::delta::DeltaTable;
use lakeshift_tables::iceberg::IcebergTable;
use lakeshift_tables::storage::Stores;
use lakeshift_testkit::{FaultPlan, FaultStore};
use object_store::ObjectStoreExt;
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rstest::rstest;
use serde_json::{Value as Json, json};

use crate::support::{Target, World};

const TOPIC: &str = "flights";
/// Computes again: a row that is computed twice shows it.
const LATER: &str = "SELECT n, delay + 1000 AS delay, day FROM events";

/// A world with a stream and its cluster.
struct Live {
    world: World,
    _cluster: MockCluster<'static, DefaultProducerContext>,
    producer: BaseProducer,
    stream: String,
    format: &'static str,
}

impl Live {
    fn new(format: &'static str) -> Self {
        let world = World::in_memory(Target::Iceberg);
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic(TOPIC, 2, 1).unwrap();
        let bootstrap = cluster.bootstrap_servers();
        let producer = ClientConfig::new().set("bootstrap.servers", &bootstrap).create().unwrap();
        let root = &world.root;
        let text = format!(
            "stream: live\ncontrol: {root}/control\ntable: {{format: {format}, location: '{root}/live'}}\ncolumns:\n  - {{name: n, \
             type: int64, required: true}}\n  - {{name: delay, type: int64}}\n  - {{name: day, type: date}}\ntime: {{column: day, \
             grain: day}}\nkafka: {{bootstrap: '{bootstrap}', topics: [{TOPIC}]}}\n"
        );
        let stream = world.write_file("stream.yaml", text);
        Self { world, _cluster: cluster, producer, stream, format }
    }

    /// Events of these numbers, each on the day of January after that of its last digit.
    fn produce(&self, numbers: impl IntoIterator<Item = i64>) {
        for n in numbers {
            self.send(n, &json!({"n": n, "delay": n, "day": format!("2001-01-{:02}", n % 10 + 1)}).to_string());
        }
        self.producer.flush(Duration::from_secs(30)).unwrap();
    }

    fn send(&self, n: i64, text: &str) {
        let partition = i32::try_from(n % 2).unwrap();
        self.producer.send(BaseRecord::<(), str>::to(TOPIC).partition(partition).payload(text)).unwrap();
    }

    async fn run(&self, command: &[&str]) -> Json {
        let answer = self.world.run(command).await;
        let answer = answer.unwrap_or_else(|error| panic!("{command:?}: {}", with_causes(&error)));
        assert_eq!(answer.exit_code, 0, "{}", answer.text);
        answer.json
    }

    async fn ingest(&self) -> Json {
        self.run(&["ingest", &self.stream, "--once"]).await
    }

    async fn audit(&self) -> Json {
        self.run(&["stream", "audit", &self.stream]).await
    }

    /// A sum over all partitions of an audit.
    async fn audited(&self, what: &str) -> u64 {
        let count = |one: &Json| match &one[what] {
            Json::Object(by_name) => by_name.values().filter_map(Json::as_u64).sum(),
            count => count.as_u64().unwrap(),
        };
        self.audit().await["partitions"].as_array().unwrap().iter().map(count).sum()
    }

    /// How often each row is there: number and delay.
    async fn rows(&self) -> BTreeMap<(i64, i64), usize> {
        let stores = Stores::new().with_store(self.world.root.clone(), self.world.store.clone());
        let storage = stores.open(&format!("{}/live", self.world.root)).unwrap();
        let table: Box<dyn TableFormat> = match self.format {
            "delta" => Box::new(DeltaTable::new(storage.clone(), self.world.clock.clone())),
            _ => Box::new(IcebergTable::new(storage.clone()).with_clock(self.world.clock.clone())),
        };
        let snapshot = table.snapshot(None).await.unwrap();
        let files: Vec<FileEntry> = table.files(&snapshot).try_collect().await.unwrap();
        let mut rows = BTreeMap::new();
        for file in files {
            let bytes = self.world.store.get(&storage.resolve(&file.path).unwrap()).await.unwrap().bytes().await.unwrap();
            for row in crate::support::rows_of(bytes) {
                let mut cells = row.split('|').map(|cell| cell.parse::<i64>().unwrap_or(-1));
                *rows.entry((cells.next().unwrap(), cells.next().unwrap())).or_default() += 1;
            }
        }
        rows
    }
}

fn once(rows: impl IntoIterator<Item = (i64, i64)>) -> BTreeMap<(i64, i64), usize> {
    rows.into_iter().map(|row| (row, 1)).collect()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn events_come_in_once_and_what_cannot_be_read_is_a_dead_letter(#[values("delta", "iceberg")] format: &'static str) {
    let live = Live::new(format);
    live.produce(1..40);
    live.send(7, "{\"n\": \"hunter2\"}");
    live.produce(40..50);
    let report = live.ingest().await;
    assert_eq!((&report["rows"], &report["held_back"]), (&json!(49), &json!(1)));
    assert_eq!(live.rows().await, once((1..50).map(|n| (n, n))));
    assert_eq!(live.ingest().await["rows"], 0);
    live.produce(50..60);
    assert_eq!(live.ingest().await["rows_in_all"], 59);
    assert_eq!(live.rows().await, once((1..60).map(|n| (n, n))));
    assert_eq!((live.audited("applied").await, live.audited("dead_lettered").await), (59, 1));
    let letters = live.world.objects_below("control/streams/live/dead-letters").await;
    assert_eq!(letters.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingest_that_is_killed_anywhere_is_finished_by_the_next() {
    let live = Live::new("delta");
    let mut next = 1;
    for (at, plan) in
        (1..60).step_by(3).flat_map(|n| [FaultPlan::CrashBefore(n), FaultPlan::LostResponse(n + 1)]).enumerate()
    {
        live.produce(next..next + 5);
        next += 5;
        let faulty = Arc::new(FaultStore::new(live.world.store.clone(), plan));
        let _ = live.world.run_on(faulty, &["ingest", &live.stream]).await;
        live.world.wait(300);
        if at % 4 == 3 {
            live.ingest().await;
            assert_eq!(live.rows().await, once((1..next).map(|n| (n, n))), "{plan:?}");
        }
    }
    live.ingest().await;
    assert_eq!(live.rows().await, once((1..next).map(|n| (n, n))));
    assert_eq!(live.audited("applied").await, u64::try_from(next - 1).unwrap());
}

#[rstest]
#[case::park("park", "delta")]
#[case::park_iceberg("park", "iceberg")]
#[case::skip("skip", "delta")]
#[case::priority("priority", "delta")]
#[case::pause("pause", "delta")]
#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_that_is_killed_again_and_again_computes_once_and_no_event_is_lost(
    #[case] mode: &str,
    #[case] format: &'static str,
) {
    let live = Live::new(format);
    live.produce(1..60);
    live.ingest().await;
    let command = [
        "stream",
        "backfill",
        &live.stream,
        "--name",
        "later",
        "--from",
        "2001-01-02",
        "--to",
        "2001-01-04",
        "--mode",
        mode,
        "--sql",
        LATER,
    ];
    let (mut next, mut kept) = (60, 0);
    for n in (1..400).step_by(9) {
        let faulty = Arc::new(FaultStore::new(live.world.store.clone(), FaultPlan::CrashBefore(n)));
        match live.world.run_on(faulty, &command).await {
            Ok(answer) => {
                assert_eq!(answer.exit_code, 0, "{}", answer.text);
                break;
            }
            Err(Error::RangeKept { .. }) => kept += 1,
            Err(_) => {}
        }
        live.world.wait(300);
        live.produce(next..next + 10);
        next += 10;
        live.ingest().await;
    }
    assert!(kept > 0, "it was never killed while it held the range");
    live.world.wait(300);
    live.ingest().await;
    let in_range = |n: i64| (2..=4).contains(&(n % 10 + 1));
    let (rows, skipped) = (live.rows().await, live.audited("skipped").await);
    assert!(rows.values().all(|count| *count == 1), "{rows:?}");
    // Computed once is 1000 more; those that came after the lock are as they came.
    let missing: Vec<i64> =
        (1..next).filter(|n| !rows.contains_key(&(*n, *n)) && !rows.contains_key(&(*n, *n + 1000))).collect();
    assert_eq!(rows.len() + missing.len(), usize::try_from(next - 1).unwrap());
    assert_eq!((missing.len() as u64, missing.iter().all(|n| in_range(*n))), (skipped, true));
    assert_eq!(skipped > 0, mode == "skip", "{missing:?}");
    let computed = |n: &i64| rows.contains_key(&(*n, *n + 1000));
    assert!((1..60).all(|n| computed(&n) == in_range(n)), "{rows:?}");
    assert!((1..next).filter(|n| !in_range(*n)).all(|n| !computed(&n)), "{rows:?}");
    assert_eq!(live.audited("parked").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_that_does_not_fit_locks_nothing_and_a_range_that_is_held_is_refused() {
    let live = Live::new("delta");
    live.produce(1..20);
    live.ingest().await;
    let backfill = async |name: &str, sql: &[&str]| {
        let mut command = vec!["stream", "backfill", &live.stream, "--name", name];
        command.extend(["--from", "2001-01-02", "--to", "2001-01-04", "--mode", "park"]);
        command.extend(sql);
        live.world.run(&command).await
    };
    for (sql, told) in [
        ("SELECT n, day FROM events", "no column delay"),
        ("SELECT n, delay * 1.5 AS delay, day FROM events", "gives delay as"),
        ("SELECT n, delay, day, 1 AS more FROM events", "the column more"),
        ("SELECT n, delay, day FROM event", "event"),
    ] {
        let error = with_causes(&backfill("wrong", &["--sql", sql]).await.unwrap_err());
        assert!(error.contains(told), "{error}");
    }
    // Nothing was locked, so this one goes through; its query fails on a row and keeps the range.
    let failing = "SELECT n, delay / (n - n) AS delay, day FROM events";
    let error = backfill("failing", &["--sql", failing]).await.unwrap_err();
    assert!(matches!(error, Error::RangeKept { .. }), "{}", with_causes(&error));
    live.world.wait(300);
    let error = with_causes(&backfill("other", &["--sql", LATER]).await.unwrap_err());
    assert!(error.contains("locked by the backfill failing"), "{error}");
    live.produce(20..30);
    live.ingest().await;
    assert_eq!(live.audited("parked").await, 3);
    backfill("failing", &["--abandon"]).await.unwrap();
    live.ingest().await;
    assert_eq!(live.rows().await, once((1..30).map(|n| (n, n))));
    assert_eq!(live.audited("applied").await, 29);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_set_back_is_refused_and_no_audit_is_clean() {
    let live = Live::new("delta");
    live.produce(1..20);
    live.ingest().await;
    let last = live.world.objects_below("live/_delta_log").await.into_iter().max().unwrap();
    live.world.delete(last.strip_prefix("lake/").unwrap_or(&last)).await;
    let error = live.world.run(&["ingest", &live.stream]).await.unwrap_err();
    assert_eq!(error.exit_code(), 4, "{}", with_causes(&error));
    assert!(with_causes(&error).contains("set back"), "{}", with_causes(&error));
    let answer = live.world.run(&["stream", "audit", &live.stream]).await.unwrap();
    assert_eq!(answer.exit_code, 1, "{}", answer.text);
}
