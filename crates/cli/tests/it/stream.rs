//! Streams from outside: events of a mock Kafka cluster, and of a real one, into real tables, and backfills beside them that are killed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use lakeshift::error::{Error, with_causes};
use lakeshift_core::table::{FileEntry, TableFormat};
use lakeshift_core::value::Value;
use lakeshift_tables::delta::DeltaTable;
use lakeshift_tables::iceberg::IcebergTable;
use lakeshift_tables::storage::Stores;
use lakeshift_testkit::kafka::KafkaServer;
use lakeshift_testkit::{FaultPlan, FaultStore};
use object_store::ObjectStoreExt;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{Message as _, ToBytes};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use rstest::rstest;
use serde_json::{Value as Json, json};

use crate::support::{Target, World};

const TOPIC: &str = "flights";
/// How long a broker may take.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Computes again: a row that is computed twice shows it.
const LATER: &str = "SELECT n, delay + 1000 AS delay, day FROM events";

/// A world with a stream and its Kafka.
struct Live {
    world: World,
    /// `None` where the Kafka is a real one, whose events come by transactions.
    mock: Option<MockCluster<'static, DefaultProducerContext>>,
    bootstrap: String,
    topic: String,
    producer: BaseProducer,
    stream: String,
    format: &'static str,
}

impl Live {
    fn new(format: &'static str) -> Self {
        Self::with(format, "")
    }

    /// With more lines in its file.
    fn with(format: &'static str, more: &str) -> Self {
        let mock = MockCluster::new(1).unwrap();
        mock.create_topic(TOPIC, 2, 1).unwrap();
        let bootstrap = mock.bootstrap_servers();
        let producer = ClientConfig::new().set("bootstrap.servers", &bootstrap).create().unwrap();
        Self::of(format, more, (Some(mock), bootstrap, TOPIC.to_owned(), producer))
    }

    /// On a real Kafka, in a topic of its own.
    async fn on_kafka(format: &'static str, topic: &str, server: &KafkaServer) -> Self {
        let bootstrap = server.bootstrap();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &bootstrap);
        let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
        let new = NewTopic::new(topic, 2, TopicReplication::Fixed(1));
        let created = admin.create_topics([&new], &AdminOptions::new()).await.unwrap();
        assert!(created.iter().all(Result::is_ok), "{created:?}");
        let producer: BaseProducer = config.set("transactional.id", topic).create().unwrap();
        producer.init_transactions(ANSWER_MAX).unwrap();
        Self::of(format, "", (None, bootstrap, topic.to_owned(), producer))
    }

    fn of(
        format: &'static str,
        more: &str,
        (mock, bootstrap, topic, producer): (
            Option<MockCluster<'static, DefaultProducerContext>>,
            String,
            String,
            BaseProducer,
        ),
    ) -> Self {
        let world = World::in_memory(Target::Iceberg);
        let root = &world.root;
        let text = format!(
            "stream: live\ncontrol: {root}/control\ntable: {{format: {format}, location: '{root}/live'}}\ncolumns:\n  - {{name: n, \
             type: int64, required: true}}\n  - {{name: delay, type: int64}}\n  - {{name: day, type: date}}\ntime: {{column: day, \
             grain: day}}\nkafka: {{bootstrap: '{bootstrap}', topics: ['{topic}']}}\n{more}"
        );
        let stream = world.write_file("stream.yaml", text);
        Self { world, mock, bootstrap, topic, producer, stream, format }
    }

    fn mock(&self) -> &MockCluster<'static, DefaultProducerContext> {
        self.mock.as_ref().unwrap()
    }

    /// Events of these numbers, each on the day of January after that of its last digit.
    fn produce(&self, numbers: impl IntoIterator<Item = i64>) {
        let send = |n: i64| {
            self.send(n, &json!({"n": n, "delay": n, "day": format!("2001-01-{:02}", n.rem_euclid(10) + 1)}).to_string())
        };
        if self.mock.is_some() {
            numbers.into_iter().for_each(send);
            return self.producer.flush(ANSWER_MAX).unwrap();
        }
        // The offsets of what is aborted, and of the transactions' ends, are holes.
        self.producer.begin_transaction().unwrap();
        (-5..0).for_each(send);
        self.producer.flush(ANSWER_MAX).unwrap();
        self.producer.abort_transaction(ANSWER_MAX).unwrap();
        self.producer.begin_transaction().unwrap();
        numbers.into_iter().for_each(send);
        self.producer.commit_transaction(ANSWER_MAX).unwrap();
    }

    fn send(&self, n: i64, event: &(impl ToBytes + ?Sized)) {
        let partition = i32::try_from(n.rem_euclid(2)).unwrap();
        self.producer
            .send(BaseRecord::<(), _>::to(&self.topic).partition(partition).payload(event))
            .map_err(|(error, _)| error)
            .unwrap();
    }

    /// The keys of what stands in the topic of dead letters.
    fn letters(&self) -> Vec<String> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap).set("group.id", "reader");
        config.set("auto.offset.reset", "earliest").set("enable.partition.eof", "true");
        let consumer: BaseConsumer = config.create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset("dead", 0, Offset::Beginning).unwrap();
        consumer.assign(&list).unwrap();
        let mut keys = Vec::new();
        loop {
            match consumer.poll(Duration::from_secs(30)).expect("the topic's end is told") {
                Ok(message) => keys.push(String::from_utf8(message.key().unwrap().to_vec()).unwrap()),
                Err(KafkaError::PartitionEOF(_)) => return keys,
                Err(error) => panic!("{error}"),
            }
        }
    }

    async fn run(&self, command: &[&str]) -> Json {
        self.world.does(command).await.json
    }

    async fn ingest(&self) -> Json {
        self.run(&["ingest", &self.stream, "--once"]).await
    }

    async fn audit(&self) -> Json {
        self.run(&["stream", "audit", &self.stream]).await
    }

    /// A sum over all partitions of an audit.
    async fn audited(&self, what: &str) -> u64 {
        Self::sum(&self.audit().await, what)
    }

    /// The same of a journal that may have a commit without an end.
    async fn audited_offline(&self, what: &str) -> u64 {
        Self::sum(&self.world.run(&["stream", "audit", &self.stream, "--offline"]).await.unwrap().json, what)
    }

    fn sum(audit: &Json, what: &str) -> u64 {
        let count = |one: &Json| match &one[what] {
            Json::Object(by_name) => by_name.values().filter_map(Json::as_u64).sum(),
            count => count.as_u64().unwrap(),
        };
        audit["partitions"].as_array().unwrap().iter().map(count).sum()
    }

    /// The table's files, and how often each row is there: number and delay.
    async fn files_and_rows(&self) -> (Vec<FileEntry>, BTreeMap<(i64, i64), usize>) {
        let stores = Stores::new().with_store(self.world.root.clone(), self.world.store.clone());
        let storage = stores.open(&format!("{}/live", self.world.root)).unwrap();
        let table: Box<dyn TableFormat> = match self.format {
            "delta" => Box::new(DeltaTable::new(storage.clone(), self.world.clock.clone())),
            _ => Box::new(IcebergTable::new(storage.clone()).with_clock(self.world.clock.clone())),
        };
        let snapshot = table.snapshot(None).await.unwrap();
        let files: Vec<FileEntry> = table.files(&snapshot).try_collect().await.unwrap();
        let mut rows = BTreeMap::new();
        for file in &files {
            let bytes = self.world.store.get(&storage.resolve(&file.path).unwrap()).await.unwrap().bytes().await.unwrap();
            for row in crate::support::rows_of(bytes) {
                let mut cells = row.split('|').map(|cell| cell.parse::<i64>().unwrap_or(-1));
                *rows.entry((cells.next().unwrap(), cells.next().unwrap())).or_default() += 1;
            }
        }
        (files, rows)
    }

    async fn rows(&self) -> BTreeMap<(i64, i64), usize> {
        self.files_and_rows().await.1
    }

    /// The paths of files of the days from the second to the fourth of January, or of all others.
    async fn paths(&self, in_range: bool) -> Vec<String> {
        let is_in_range = |file: &FileEntry| {
            let Some(Value::Date(day)) = file.partition[0] else { panic!("{file:?}") };
            (11_324..=11_326).contains(&day)
        };
        let files = self.files_and_rows().await.0;
        let mut paths: Vec<_> =
            files.into_iter().filter(|file| is_in_range(file) == in_range).map(|file| file.path).collect();
        paths.sort();
        paths
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
    killed_again_and_again(&Live::new(format), mode, 9).await;
}

/// The same with what a mock cluster has not: transactions, aborted ones among them.
#[tokio::test(flavor = "multi_thread")]
async fn the_three_modes_on_a_real_kafka_end_with_a_clean_audit() {
    let Some(server) = lakeshift_testkit::kafka::shared().await else { return };
    for (mode, format) in [("park", "iceberg"), ("priority", "delta"), ("pause", "delta")] {
        let live = Live::on_kafka(format, &format!("modes-{mode}"), server).await;
        killed_again_and_again(&live, mode, 31).await;
        let audit = live.audit().await;
        assert!(Live::sum(&audit, "absent") > 0, "{audit}");
    }
}

/// Kills at every operation that `step` reaches, and lets the next one go on.
async fn killed_again_and_again(live: &Live, mode: &str, step: usize) {
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
    for n in (1..400).step_by(step) {
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

/// An event in Lakeshift's own layout: n, delay and day.
fn binary(n: i64, delay: Option<i64>) -> Vec<u8> {
    let day = i32::try_from(11_323 + n % 10).unwrap();
    let nulls = if delay.is_none() { 0b010 } else { 0 };
    [&[nulls][..], &n.to_le_bytes(), &delay.unwrap_or(0).to_le_bytes(), &day.to_le_bytes()].concat()
}

/// The same in Avro.
fn avro(n: i64, delay: Option<i64>) -> Vec<u8> {
    let zigzag = |number: i64| {
        let (mut rest, mut bytes) = (((number << 1) ^ (number >> 63)).cast_unsigned(), Vec::new());
        while rest > 0x7f {
            bytes.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
            rest >>= 7;
        }
        bytes.push(u8::try_from(rest).unwrap());
        bytes
    };
    let delay = delay.map_or_else(|| zigzag(0), |delay| [zigzag(1), zigzag(delay)].concat());
    [zigzag(11_323 + n % 10), zigzag(n), delay].concat()
}

const SCHEMA: &str = r#"{"type": "record", "name": "Flight", "fields": [
    {"name": "day", "type": {"type": "int", "logicalType": "date"}},
    {"name": "n", "type": "long"},
    {"name": "delay", "type": ["null", "long"]}
]}"#;

#[rstest]
#[case::binary("binary", "decode: {format: binary}", binary)]
#[case::avro("avro", "decode: {format: avro, avro: {schema: flight.avsc}}", avro)]
#[tokio::test(flavor = "multi_thread")]
async fn events_of_other_formats_come_in_and_damaged_ones_are_dead_letters(
    #[case] format: &str,
    #[case] decode: &str,
    #[case] event: fn(i64, Option<i64>) -> Vec<u8>,
) {
    let live = Live::with("delta", decode);
    if format == "avro" {
        // A schema that is not there is refused before anything is done.
        let error = live.world.run(&["ingest", &live.stream]).await.unwrap_err();
        assert!(with_causes(&error).contains("flight.avsc"), "{}", with_causes(&error));
        assert!(live.world.objects_below("control/streams").await.is_empty());
        live.world.write_file("flight.avsc", SCHEMA);
    }
    for n in 1..30 {
        live.send(n, &event(n, (n % 3 != 0).then_some(n)));
    }
    let mut cut = event(31, Some(31));
    cut.pop();
    live.send(31, &cut);
    live.producer.flush(Duration::from_secs(30)).unwrap();
    let report = live.ingest().await;
    assert_eq!((&report["rows"], &report["dead_letters"]), (&json!(29), &json!(1)));
    let expected = (1..30).map(|n| (n, if n % 3 == 0 { -1 } else { n }));
    assert_eq!(live.rows().await, once(expected));
    assert_eq!(live.audited("dead_lettered").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_is_in_its_topic_before_its_offset_is_accounted_for_wherever_an_ingest_is_killed() {
    let live = Live::with("delta", "dead_letters: {topic: dead}");
    live.mock().create_topic("dead", 1, 1).unwrap();
    let mut bad = BTreeSet::new();
    for (round, n) in (1..60).step_by(4).enumerate() {
        let round = i64::try_from(round).unwrap();
        live.send(1, "no event");
        // Each round sends one bad event and two good ones to the second partition.
        bad.insert(format!("{TOPIC}/1/{}", round * 3));
        live.produce([round * 20 + 3, round * 20 + 5]);
        let faulty = Arc::new(FaultStore::new(live.world.store.clone(), FaultPlan::CrashBefore(n)));
        let _ = live.world.run_on(faulty, &["ingest", &live.stream]).await;
        let accounted = live.audited_offline("dead_lettered").await;
        let there: BTreeSet<_> = live.letters().into_iter().collect();
        assert!(there.len() as u64 >= accounted, "{accounted} are accounted for, and there are {there:?}");
        live.world.wait(300);
    }
    live.ingest().await;
    // Some came more than once; their keys tell that.
    assert_eq!(live.letters().into_iter().collect::<BTreeSet<_>>(), bad);
    assert_eq!(live.audited("dead_lettered").await, bad.len() as u64);
    assert_eq!(live.rows().await.len(), 2 * bad.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_that_no_broker_takes_hold_the_stream_back_and_nothing_of_the_reading_is_committed() {
    let live = Live::with("delta", "dead_letters: {topic: dead}");
    live.mock().create_topic("dead", 1, 1).unwrap();
    live.produce(1..10);
    live.send(1, "no event");
    live.producer.flush(Duration::from_secs(30)).unwrap();
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    live.mock().request_errors(RDKafkaApiKey::Produce, &[denied]);
    let error = live.world.run(&["ingest", &live.stream]).await.unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(with_causes(&error).contains("could not keep dead letters in the topic dead"), "{}", with_causes(&error));
    assert_eq!((live.audited_offline("dead_lettered").await, live.audited_offline("applied").await), (0, 0));
    live.world.wait(300);
    assert_eq!(live.ingest().await["rows"], 9);
    assert_eq!(live.letters(), [format!("{TOPIC}/1/5")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingest_that_goes_on_tells_its_metrics_and_ends_when_it_is_asked_with_what_it_has_read() {
    let live = Live::with("delta", "commit: {rows: 10, every: 1h}");
    live.produce(1..21);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let (stopper, stop) = lakeshift::stop::channel();
    let command = ["ingest", &live.stream, "--follow", "--metrics", &address];
    let asking = async {
        loop {
            let answer = reqwest::get(format!("http://{address}/metrics")).await;
            let text = match answer {
                Ok(answer) => answer.text().await.unwrap(),
                Err(_) => String::new(),
            };
            if text.contains("lakeshift_stream_rows_total{stream=\"live\"} 20") {
                // No time passes here, so what comes now is waited for until somebody asks it to end.
                live.produce(21..26);
                stopper.stop();
                return text;
            }
            crate::support::real_moment().await;
        }
    };
    let (answer, text) = tokio::join!(live.world.run_until(stop, &command), asking);
    assert!(text.contains("lakeshift_stream_commit_seconds_count{stream=\"live\"} 2"), "{text}");
    let rows = answer.unwrap().json["rows"].as_u64().unwrap();
    assert!((20..=25).contains(&rows), "{rows}");
    assert!(reqwest::get(format!("http://{address}/metrics")).await.is_err());
    live.ingest().await;
    assert_eq!(live.rows().await, once((1..26).map(|n| (n, n))));
    let error = live.world.run(&["ingest", &live.stream, "--metrics", "203.0.113.1:1"]).await.unwrap_err();
    assert!(with_causes(&error).contains("203.0.113.1:1"), "{}", with_causes(&error));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn small_files_become_one_and_no_row_changes_wherever_an_ingest_is_killed(
    #[values("delta", "iceberg")] format: &'static str,
) {
    let live = Live::with(format, "compact: {files: 3}");
    let (mut next, mut compacted) = (1, 0);
    for (round, n) in (1..160).step_by(7).enumerate() {
        live.produce(next..next + 10);
        next += 10;
        let plan = if round % 2 == 0 { FaultPlan::CrashBefore(n) } else { FaultPlan::LostResponse(n) };
        let faulty = Arc::new(FaultStore::new(live.world.store.clone(), plan));
        let _ = live.world.run_on(faulty, &["ingest", &live.stream]).await;
        live.world.wait(300);
        if round % 3 == 2 {
            compacted += live.ingest().await["compacted"].as_u64().unwrap();
            assert_eq!(live.rows().await, once((1..next).map(|n| (n, n))), "{plan:?}");
        }
    }
    live.produce(next..next + 10);
    live.ingest().await;
    let (files, rows) = live.files_and_rows().await;
    assert_eq!(rows, once((1..next + 10).map(|n| (n, n))));
    // Ten days, each with two files at most that are not three yet.
    assert!(compacted > 0 && files.len() <= 20, "{compacted} {}", files.len());
    assert_eq!(live.audited("applied").await, u64::try_from(next + 9).unwrap());
    assert_eq!(live.ingest().await["compacted"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_backfill_has_locked_is_not_compacted_and_the_backfill_replaces_all_of_it() {
    let live = Live::new("delta");
    for next in (0..50).step_by(10) {
        live.produce(next + 1..next + 11);
        live.ingest().await;
    }
    let mut command =
        vec!["stream", "backfill", &live.stream, "--name", "later", "--from", "2001-01-02", "--to", "2001-01-04"];
    command.extend(["--mode", "park", "--sql"]);
    let failing = [&command[..], &["SELECT n, delay / (n - n) AS delay, day FROM events"]].concat();
    assert!(matches!(live.world.run(&failing).await.unwrap_err(), Error::RangeKept { .. }));
    live.world.wait(300);

    let text = std::fs::read_to_string(&live.stream).unwrap();
    std::fs::write(&live.stream, format!("{text}compact: {{files: 3}}\n")).unwrap();
    let (before, others) = (live.paths(true).await, live.paths(false).await);
    live.produce(51..61);
    assert!(live.ingest().await["compacted"].as_u64().unwrap() > 0);
    assert_eq!(live.paths(true).await, before);
    assert!(live.paths(false).await.len() < others.len());

    live.run(&[&command[..], &[LATER]].concat()).await;
    live.ingest().await;
    let in_range = |n: i64| (2..=4).contains(&(n % 10 + 1));
    // Those of the last ten were parked, and came after the backfill.
    let expected = (1..61).map(|n| (n, if in_range(n) && n < 51 { n + 1000 } else { n }));
    assert_eq!(live.rows().await, once(expected));
    // The range is free again.
    for next in (60..100).step_by(10) {
        live.produce(next + 1..next + 11);
        live.ingest().await;
    }
    assert!(live.paths(true).await.len() <= 6);
    assert_eq!(live.rows().await.len(), 100);
}
