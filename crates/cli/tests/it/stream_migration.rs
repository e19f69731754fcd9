//! A stream that writes both tables of a migration: across cutover and rollback, killed and stalled anywhere, and refused by name.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lakeshift::error::{Error, with_causes};
use lakeshift::stop;
use lakeshift_testkit::{FaultPlan, FaultStore, Operation};
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};
use rstest::rstest;
use serde_json::{Value as Json, json};

use crate::life::{LIFE, Step, before};
use crate::support::{Target, World, real_moment};
use crate::writer::stalling;

const TOPIC: &str = "departures";
const MOVE: &[Step] = &[Step::Command(&["validate", "SPEC"]), Step::Command(&["cutover", "SPEC"])];
pub const COLUMNS: &str = "
  - {name: at, type: timestamp}
  - {name: origin, type: string}
  - {name: delay, type: int64}
  - {name: day, type: date}
";
/// Rows of the tables that are no event.
const AT_FIRST: usize = 8;

/// A migration, and a stream that writes its tables.
pub struct Both {
    pub world: World,
    pub kafka: Rc<Kafka>,
    pub target: Target,
    pub stream: String,
}

pub struct Kafka {
    cluster: MockCluster<'static, DefaultProducerContext>,
    producer: BaseProducer,
}

impl Kafka {
    pub fn new() -> Self {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic(TOPIC, 2, 1).unwrap();
        let producer = ClientConfig::new().set("bootstrap.servers", cluster.bootstrap_servers()).create().unwrap();
        Self { cluster, producer }
    }

    /// Events of these numbers, which are their delays.
    pub fn produce(&self, numbers: impl IntoIterator<Item = i64>) {
        for n in numbers {
            let day = format!("2001-01-{:02}", n % 9 + 1);
            let event = json!({"at": format!("{day}T12:00:00"), "origin": "EVT", "delay": n, "day": day}).to_string();
            let record = BaseRecord::<(), _>::to(TOPIC).partition(i32::try_from(n % 2).unwrap()).payload(&event);
            self.producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        self.producer.flush(Duration::from_secs(30)).unwrap();
    }
}

impl Both {
    /// The migration up to a command.
    pub async fn before(command: &str, target: Target) -> Self {
        let both = Self::of(World::in_memory(target), Rc::new(Kafka::new()), target);
        both.world.live(before(command)).await;
        both
    }

    pub fn of(world: World, kafka: Rc<Kafka>, target: Target) -> Self {
        let both = Self { world, kafka, target, stream: String::new() };
        let stream = both.name("migration: .", COLUMNS, "commit: {rows: 4}");
        Self { stream, ..both }
    }

    /// The same events and everything as it is now; nothing that happens in either reaches the other.
    pub fn copy(&self) -> Self {
        Self::of(self.world.copy(), self.kafka.clone(), self.target)
    }

    /// Writes the stream's file.
    pub fn name(&self, to: &str, columns: &str, more: &str) -> String {
        let (root, bootstrap) = (&self.world.root, self.kafka.cluster.bootstrap_servers());
        let text = format!(
            "stream: live\ncontrol: {root}/control\n{to}\ncolumns: {columns}\ntime: {{column: day, grain: day}}\nkafka: {{bootstrap: \
             '{bootstrap}', topics: [{TOPIC}]}}\n{more}\n"
        );
        self.world.write_file("stream.yaml", text)
    }

    pub async fn run(&self, command: &[&str]) -> Json {
        self.world.does(command).await.json
    }

    pub async fn ingest(&self) -> Json {
        self.run(&["ingest", &self.stream]).await
    }

    /// An ingest that is refused, and what it says.
    async fn refused(&self) -> String {
        let error = self.world.run(&["ingest", &self.stream]).await.unwrap_err();
        assert_eq!(error.exit_code(), 4, "{}", with_causes(&error));
        with_causes(&error)
    }

    /// The numbers of the events in a table, and how often each is there.
    pub fn events(rows: &[String]) -> BTreeMap<i64, usize> {
        let mut events = BTreeMap::new();
        for row in rows.iter().filter(|row| row.contains("|EVT|")) {
            *events.entry(row.split('|').nth(2).unwrap().parse().unwrap()).or_default() += 1;
        }
        events
    }

    /// Both tables have the events of these numbers once, and the journal accounts for them.
    async fn have(&self, numbers: std::ops::Range<i64>, when: &str) {
        let (old, new) = (self.world.source_rows().await, self.world.target_rows(self.target).await);
        let events = Self::events(&old);
        let expected: BTreeMap<i64, usize> = numbers.clone().map(|n| (n, 1)).collect();
        assert_eq!(events, expected, "{when}");
        assert_eq!((&old, old.len()), (&new, AT_FIRST + expected.len()), "{when}");
        let audit = self.run(&["stream", "audit", &self.stream]).await;
        let applied: u64 = audit["partitions"].as_array().unwrap().iter().filter_map(|one| one["applied"].as_u64()).sum();
        assert_eq!(applied, expected.len() as u64, "{when}: {audit}");
        assert_eq!((&audit["table_commit"], &audit["unsettled"]), (&audit["journal_commit"], &json!(false)), "{when}");
    }

    pub async fn rogues(&self) -> Json {
        self.run(&["status", "SPEC"]).await["rogues"].clone()
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn events_are_in_both_tables_once_across_a_cutover_and_a_rollback(
    #[values(Target::Delta, Target::Iceberg)] target: Target,
) {
    let both = Both::before("cutover", target).await;
    both.kafka.produce(1..20);
    let report = both.ingest().await;
    assert_eq!((&report["rows"], &report["other_table"]), (&json!(19), &json!("done")));
    both.have(1..20, "before the cutover").await;
    assert_eq!(both.ingest().await["rows"], 0);

    both.world.live(MOVE).await;
    both.kafka.produce(20..40);
    assert_eq!(both.ingest().await["other_table"], "done");
    both.have(1..40, "after it").await;
    if target == Target::Delta {
        let mut positions = Vec::new();
        for name in both.world.list("flights_delta/_delta_log").await {
            let bytes = both.world.get(&format!("{}/flights_delta/_delta_log/{name}", both.world.root)).await;
            let text = String::from_utf8_lossy(&bytes).into_owned();
            positions
                .extend(text.lines().filter(|line| line.contains(&format!("/at/stream-live/{TOPIC}"))).map(str::to_owned));
        }
        let ends = positions.iter().filter(|line| line.contains("\"version\":20")).count();
        assert!(ends > 0, "the table's commits say where reading goes on: {positions:?}");
    }

    both.world.live(&[Step::Command(&["rollback", "SPEC"])]).await;
    both.kafka.produce(40..50);
    both.ingest().await;
    both.have(1..50, "after the rollback").await;
    both.world.live(MOVE).await;
    both.kafka.produce(50..60);
    both.ingest().await;
    both.have(1..60, "at the end").await;
    assert_eq!(both.rogues().await, json!([]), "nobody has written behind the readers");
    let staged = both.world.objects_below("control").await.into_iter().filter(|object| object.contains("/written/"));
    assert_eq!(staged.collect::<Vec<_>>(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingest_that_goes_on_writes_the_other_table_after_each_switch_and_loses_nothing() {
    let both = Both::before("cutover", Target::Iceberg).await;
    both.name("migration: .", COLUMNS, "commit: {rows: 6, every: 1h}");
    let (stopper, stop) = stop::channel();
    let command = ["ingest", &both.stream, "--follow"];
    let settled = async |numbers: std::ops::Range<i64>| {
        // The next round of the mirror is due.
        both.world.wait(40);
        both.kafka.produce(numbers.clone());
        let everywhere = async || {
            let (old, new) = (both.world.source_rows().await, both.world.target_rows(both.target).await);
            [old, new].iter().all(|rows| Both::events(rows).len() >= usize::try_from(numbers.end - 1).unwrap())
        };
        while !everywhere().await {
            real_moment().await;
        }
    };
    let switch = async |command: &[&'static str]| {
        // The stream may be about to give the migration's lease back.
        while let Err(error) = both.world.run(&[command, &["SPEC"]].concat()).await {
            assert!(matches!(error, Error::Held { .. } | Error::Producing { .. }), "{}", with_causes(&error));
            real_moment().await;
        }
    };
    let operator = async {
        settled(1..7).await;
        switch(&["validate"]).await;
        switch(&["cutover"]).await;
        settled(7..13).await;
        switch(&["rollback"]).await;
        settled(13..19).await;
        both.kafka.produce(19..21);
        stopper.stop();
    };
    let (answer, ()) = tokio::join!(both.world.run_until(stop, &command), operator);
    answer.unwrap_or_else(|error| panic!("{}", with_causes(&error)));
    both.ingest().await;
    both.have(1..21, "at the end").await;
}

/// One ingest that `plan` kills; what it did.
async fn killed(both: &Both, plan: FaultPlan) -> Vec<Operation> {
    let faulty = Arc::new(FaultStore::new(both.world.store.clone(), plan));
    let ran = both.world.run_on(faulty.clone(), &["ingest", &both.stream]).await;
    assert!(ran.is_ok() || faulty.has_struck(), "{plan:?}: {:?}", ran.err());
    if faulty.has_struck() {
        both.world.wait(300);
    }
    faulty.history()
}

/// The death of an ingest after its second entry in the stream's journal: the first says that it has taken over, the second is the end of
/// a commit that another process has left, or an intent. `copy` is for trying.
async fn after_second_entry(copy: Both) -> FaultPlan {
    let is_entry =
        |operation: &&Operation| operation.kind.is_mutation() && operation.path.as_ref().contains("streams/live/journal");
    let history = killed(&copy, FaultPlan::None).await;
    history.iter().filter(is_entry).nth(1).map_or(FaultPlan::None, |entry| FaultPlan::CrashAfter(entry.number))
}

/// Before the cutover and after it. What the dead process left is finished by the next ingest, or by a cutover or rollback that comes
/// first.
#[rstest]
#[case::before_the_cutover("cutover", &["cutover", "SPEC"])]
#[case::after_it("rollback", &["rollback", "SPEC"])]
#[tokio::test(flavor = "multi_thread")]
async fn an_ingest_that_is_killed_anywhere_is_finished_by_the_next(
    #[case] until: &str,
    #[case] switch: &'static [&'static str],
) {
    let start = Both::before(until, Target::Delta).await;
    start.kafka.produce(1..7);
    let history = killed(&start.copy(), FaultPlan::None).await;
    let mutations: Vec<_> = history.into_iter().filter(|operation| operation.kind.is_mutation()).collect();
    assert!(mutations.len() > 40, "{}", mutations.len());
    for (at, plan) in FaultPlan::every(&mutations).into_iter().enumerate() {
        let both = start.copy();
        killed(&both, plan).await;
        if at % 4 == 3 {
            both.world.while_time_passes(both.world.live(&[Step::Command(switch)])).await;
        }
        both.ingest().await;
        both.have(1..7, &format!("{plan:?}")).await;
    }
}

/// A process stalls before one of its requests, past its leases; another takes over, before or after a cutover, and may die when it has
/// settled what the first one left; then that one wakes.
#[tokio::test(flavor = "multi_thread")]
async fn an_ingest_that_stalls_anywhere_and_wakes_after_another_took_over_doubles_nothing() {
    let start = Both::before("cutover", Target::Delta).await;
    start.kafka.produce(1..7);
    let (mut fenced, mut at) = (0, 0);
    loop {
        at += 1;
        let both = start.copy();
        let (store, stalled, release) = stalling(&both.world, at);
        let command = ["ingest", &both.stream];
        let ended = AtomicBool::new(false);
        let first = async {
            let ran = both.world.run_on(store, &command).await;
            ended.store(true, Ordering::SeqCst);
            ran
        };
        let second = async {
            while !stalled.load(Ordering::SeqCst) && !ended.load(Ordering::SeqCst) {
                real_moment().await;
            }
            if stalled.load(Ordering::SeqCst) {
                both.world.wait(300);
                if at % 2 == 0 {
                    both.world.live(&[Step::Command(&["cutover", "SPEC"])]).await;
                }
                if at % 3 == 0 {
                    killed(&both, after_second_entry(both.copy()).await).await;
                } else {
                    both.ingest().await;
                    both.have(1..7, &format!("{at}: taken over")).await;
                }
                release.send_replace(true);
            }
        };
        let (ran, ()) = tokio::join!(first, second);
        if !stalled.load(Ordering::SeqCst) {
            break;
        }
        fenced += usize::from(ran.is_err());
        both.world.wait(300);
        both.ingest().await;
        both.have(1..7, &format!("{at}: awake")).await;
        assert_eq!(both.rogues().await, json!([]), "{at}");
    }
    assert!(at > 40 && fenced > 20, "{at} {fenced}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_work_with_two_tables_is_refused_by_name_and_nothing_is_written() {
    let both = Both::of(World::in_memory(Target::Iceberg), Rc::new(Kafka::new()), Target::Iceberg);
    both.kafka.produce(1..5);
    let error = both.world.run(&["ingest", &both.stream]).await.unwrap_err();
    assert!(matches!(error, Error::Unknown { .. }), "{}", with_causes(&error));
    both.world.live(before("cutover")).await;

    both.name("migration: .", &COLUMNS.replace("type: int64", "type: string"), "");
    let told = both.refused().await;
    assert!(told.contains("column delay of the table at") && told.contains("`columns` says string"), "{told}");
    both.name("migration: .", &COLUMNS.replace("  - {name: delay, type: int64}\n", ""), "");
    assert!(both.refused().await.contains("has the column delay, which `columns` has not"));
    both.name("migration: .", &format!("{COLUMNS}  - {{name: gate, type: string}}"), "");
    assert!(both.refused().await.contains("has no column gate"));

    let written = async |folder: &str| both.world.objects_below(folder).await;
    assert_eq!(written("control/streams").await, Vec::<String>::new());
    assert_eq!(written("control/migrations/flights/writes").await, Vec::<String>::new());

    let over = both.copy();
    over.world.live(&LIFE[before("cutover").len()..]).await;
    let told = over.refused().await;
    assert!(told.contains("is completed, and the new table is left"), "{told}");
    both.run(&["abort", "SPEC", "--reason", "a test"]).await;
    let told = both.refused().await;
    assert!(told.contains("is aborted, and the old table is left"), "{told}");
    assert_eq!(written("control/streams").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_where_it_was_when_its_file_names_a_migration_and_a_table_again() {
    let both = Both::before("cutover", Target::Iceberg).await;
    let table = format!("table: {{format: delta, location: '{}/live'}}", both.world.root);
    both.name(&table, COLUMNS, "");
    both.kafka.produce(1..5);
    both.ingest().await;
    // A commit that is under way finds its end where it was begun.
    both.kafka.produce(5..7);
    let copy = both.copy();
    copy.name(&table, COLUMNS, "");
    killed(&both, after_second_entry(copy).await).await;
    both.name("migration: .", COLUMNS, "");
    let told = both.refused().await;
    assert!(told.contains("its commit 2 has no end yet") && told.contains("ingest --once"), "{told}");

    both.name(&table, COLUMNS, "");
    both.ingest().await;
    both.name("migration: .", COLUMNS, "");
    both.run(&["stream", "audit", &both.stream]).await;
    both.kafka.produce(7..11);
    assert_eq!(both.ingest().await["rows"], 4);
    let (old, new) = (both.world.source_rows().await, both.world.target_rows(both.target).await);
    assert_eq!((Both::events(&old), &old), ((7..11).map(|n| (n, 1)).collect(), &new));
    both.run(&["stream", "audit", &both.stream]).await;

    both.name(&table, COLUMNS, "");
    both.kafka.produce(11..13);
    let report = both.ingest().await;
    assert_eq!((&report["rows"], &report["rows_in_all"]), (&json!(2), &json!(12)));
    both.run(&["stream", "audit", &both.stream]).await;
    assert_eq!(both.world.source_rows().await, old);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_the_two_that_was_set_back_is_refused_and_no_audit_is_clean() {
    let both = Both::before("rollback", Target::Delta).await;
    both.kafka.produce(1..5);
    both.ingest().await;
    let log = both.world.objects_below("flights_delta/_delta_log").await;
    let last = log.into_iter().filter(|object| object.ends_with(".json")).max().unwrap();
    both.world.delete(last.strip_prefix("lake/").unwrap_or(&last)).await;
    let told = both.refused().await;
    assert!(told.contains("was set back") && told.contains("flights_delta"), "{told}");
    let answer = both.world.run(&["stream", "audit", &both.stream]).await.unwrap();
    assert_eq!(answer.exit_code, 1, "{}", answer.text);
}
