//! Graphs: what a run leaves is what the same SQL gives over all rows at once, whatever changed, crashed or raced before.

mod adopted;
mod inferred;
mod kept;
mod lineage;
mod units;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::RecordBatch;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::TryStreamExt;
use lakeshift::error::Error;
use lakeshift_core::table::{CommitNumber, CommitOutcome, CommitRequest, FileEntry, MigrationId, NewFile, TableFormat};
use lakeshift_journal::Epoch;
use lakeshift_tables::delta::DeltaTable;
use lakeshift_tables::iceberg::IcebergTable;
use lakeshift_tables::storage::Stores;
use lakeshift_testkit::{FaultPlan, FaultStore, Operation};
use object_store::ObjectStoreExt;
use serde_json::{Value as Json, json};

use crate::support::{Flight, Target, World, flat, text_rows};

/// Name, format, column of time, grain, `after`, SQL. The column of time stands last, where the rows of a Delta table get it.
const TABLES: &[(&str, &str, &str, &str, &str, &str)] = &[
    (
        "daily",
        "delta",
        "day",
        "day",
        "{flights: {}}",
        "SELECT origin, count(*) AS flights, max(delay) AS worst, day FROM flights GROUP BY origin, day",
    ),
    (
        "recent",
        "iceberg",
        "day",
        "day",
        // The look-back of two days is in the SQL.
        "{daily: {}}",
        "SELECT d.origin, sum(w.flights) AS flights, d.day FROM daily d JOIN daily w ON w.origin = d.origin AND w.day \
         BETWEEN d.day - INTERVAL '2' DAY AND d.day GROUP BY d.origin, d.day",
    ),
    (
        "monthly",
        "iceberg",
        "month",
        "month",
        "{daily: {}}",
        "SELECT origin, sum(flights) AS flights, CAST(date_trunc('month', day) AS DATE) AS month FROM daily \
         GROUP BY origin, CAST(date_trunc('month', day) AS DATE)",
    ),
    (
        "worst",
        "delta",
        "month",
        "month",
        "{daily: {}}",
        "SELECT max(worst) AS worst, CAST(date_trunc('month', day) AS DATE) AS month FROM daily \
         GROUP BY CAST(date_trunc('month', day) AS DATE)",
    ),
    (
        "yearly",
        "delta",
        "year",
        "year",
        "{worst: {}}",
        "SELECT max(worst) AS worst, CAST(date_trunc('year', month) AS DATE) AS year FROM worst \
         GROUP BY CAST(date_trunc('year', month) AS DATE)",
    ),
];

const DAYS: u32 = 6;

/// A world with a graph and its source.
struct Toy {
    world: World,
    graph: String,
}

impl Toy {
    async fn new(days: u32) -> Self {
        let world = World::in_memory(Target::Iceberg);
        for day in 1..=days {
            let flights: &[Flight] =
                &[(i64::from(day), "ORD", Some(5)), (9, "JFK", Some(40 - i64::from(day))), (10, "JFK", None)];
            world.put_day(day, "a.parquet", flights).await;
        }
        let graph = world.write_file("graph.yaml", yaml(&world.root, |_, sql| sql.to_owned(), ""));
        Self { world, graph }
    }

    /// This toy as it is now, which nothing that happens to either of them reaches in the other.
    fn copy(&self) -> Self {
        let world = self.world.copy();
        let graph = world.write_file("graph.yaml", std::fs::read_to_string(&self.graph).unwrap());
        Self { world, graph }
    }

    /// Writes the graph again with other SQL, or with a label of the logic of `daily`.
    fn rewrite(&self, sql: impl Fn(&str, &str) -> String, label: &str) {
        self.world.write_file("graph.yaml", yaml(&self.world.root, sql, label));
    }

    async fn graph(&self, command: &str) -> Json {
        self.world.does(&["graph", command, &self.graph]).await.json
    }

    async fn stale(&self) -> Vec<String> {
        let stale = self.graph("stale").await;
        let text = |one: &Json| format!("{} {}", one["table"].as_str().unwrap(), one["period"].as_str().unwrap());
        stale["stale"].as_array().unwrap().iter().map(text).collect()
    }

    /// A table's rows: its adapter lists the files, the parquet crate alone reads them.
    async fn rows(&self, name: &str, format: &str) -> Vec<String> {
        let stores = Stores::new().with_store(self.world.root.clone(), self.world.store.clone());
        let storage = stores.open(&format!("{}/{name}", self.world.root)).unwrap();
        let table: Box<dyn TableFormat> = match format {
            "delta" => Box::new(DeltaTable::new(storage.clone(), self.world.clock.clone())),
            _ => Box::new(IcebergTable::new(storage.clone()).with_clock(self.world.clock.clone())),
        };
        let snapshot = table.snapshot(None).await.unwrap();
        let files: Vec<FileEntry> = table.files(&snapshot).try_collect().await.unwrap();
        let mut rows = Vec::new();
        for file in files {
            let bytes = self.world.store.get(&storage.resolve(&file.path).unwrap()).await.unwrap().bytes().await.unwrap();
            let place = file.partition[0].as_ref().unwrap().to_string();
            rows.extend(crate::support::rows_of(bytes).into_iter().map(|row| match format {
                "delta" => format!("{row}|{place}"),
                _ => row,
            }));
        }
        rows.sort();
        rows
    }

    /// Asserts that every table is what its SQL gives over all rows at once, by DataFusion alone.
    async fn assert_is_a_full_rebuild(&self, source: Vec<RecordBatch>, sql: impl Fn(&str, &str) -> String) {
        let session = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
        let flights = MemTable::try_new(source[0].schema(), vec![source]).unwrap();
        session.register_table("flights", Arc::new(flights)).unwrap();
        for (name, format, .., query) in TABLES {
            let rows = session.sql(&sql(name, query)).await.unwrap().collect().await.unwrap();
            let mut expected: Vec<String> = rows.iter().flat_map(text_rows).collect();
            expected.sort();
            assert_eq!(self.rows(name, format).await, expected, "{name}");
            let schema = rows[0].schema();
            let table = MemTable::try_new(schema, vec![rows]).unwrap();
            session.register_table(*name, Arc::new(table)).unwrap();
        }
    }

    /// All rows of the source, read by the parquet crate.
    async fn source(&self) -> Vec<RecordBatch> {
        let mut batches = Vec::new();
        for path in self.world.objects_below("flights").await {
            let bytes =
                self.world.store.get(&object_store::path::Path::from(path.as_str())).await.unwrap().bytes().await.unwrap();
            let day: i32 = path.split("day=2001-01-").nth(1).unwrap()[..2].parse().unwrap();
            let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(bytes, 1024).unwrap();
            batches.extend(reader.map(|batch| with_day(&batch.unwrap(), 11_322 + day)));
        }
        batches
    }
}

fn with_day(batch: &RecordBatch, day: i32) -> RecordBatch {
    let days: arrow::array::ArrayRef = Arc::new(arrow::array::Date32Array::from_value(day, batch.num_rows()));
    let schema = batch.schema();
    let mut columns: Vec<(&str, arrow::array::ArrayRef, bool)> =
        schema.fields().iter().zip(batch.columns()).map(|(field, one)| (field.name().as_str(), one.clone(), true)).collect();
    columns.push(("day", days, true));
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn yaml(root: &str, sql: impl Fn(&str, &str) -> String, label: &str) -> String {
    let mut text = format!(
        "graph: toy\ncontrol: {root}/control\ntables:\n  flights: {{format: hive, location: '{root}/flights', time: \
         {{column: day, grain: day}}}}\n"
    );
    for (name, format, column, grain, after, query) in TABLES {
        text += &format!(
            "  {name}:\n    format: {format}\n    location: {root}/{name}\n    time: {{column: {column}, grain: {grain}}}\n    \
             after: {after}\n    sql: |\n      {}\n",
            sql(name, query)
        );
        if *name == "daily" && !label.is_empty() {
            text += &format!("    logic: '{label}'\n");
        }
    }
    text
}

fn as_it_is(_: &str, sql: &str) -> String {
    sql.to_owned()
}

#[tokio::test]
async fn a_run_gives_what_a_full_rebuild_gives_and_leaves_nothing_stale() {
    let toy = Toy::new(DAYS).await;
    assert_eq!(toy.stale().await.len(), 2 * DAYS as usize + 3);
    let report = toy.graph("run").await;
    assert_eq!((report["replaced"].as_u64(), report["stale"].as_u64()), (Some(15), Some(0)), "{report}");
    toy.assert_is_a_full_rebuild(toy.source().await, as_it_is).await;
    assert_eq!(toy.stale().await, Vec::<String>::new());
    assert_eq!(toy.graph("run").await["planned"], 0);
}

#[tokio::test]
async fn a_changed_day_recomputes_what_it_reaches_and_stops_where_the_rows_are_the_same() {
    let toy = Toy::new(DAYS).await;
    toy.graph("run").await;
    toy.world.put_day(3, "b.parquet", &[(99, "ORD", Some(1))]).await;
    let stale = [
        "daily 2001-01-03",
        "monthly 2001-01",
        "recent 2001-01-03",
        "recent 2001-01-04",
        "recent 2001-01-05",
        "worst 2001-01",
        "yearly 2001",
    ];
    assert_eq!(toy.stale().await, stale);
    // What only looks writes nothing, and sees the same again.
    let before = toy.world.objects_below("").await;
    let plan = toy.graph("plan").await;
    assert_eq!(plan["tasks"].as_array().unwrap().len(), stale.len());
    assert_eq!(toy.world.objects_below("").await, before);
    let report = toy.graph("run").await;
    // The day's worst delay is what it was: the month of it is computed in vain, and the year not at all.
    assert_eq!((report["replaced"].as_u64(), report["unchanged"].as_u64()), (Some(5), Some(1)), "{report}");
    assert_eq!(report["wave"]["up_to_date"], 1, "{report}");
    assert_eq!(report["stale"], 0);
    toy.assert_is_a_full_rebuild(toy.source().await, as_it_is).await;
}

#[tokio::test]
async fn a_day_that_is_gone_from_the_source_is_gone_from_what_is_computed() {
    let toy = Toy::new(DAYS).await;
    toy.graph("run").await;
    toy.world.delete_day(2, "a.parquet").await;
    toy.graph("run").await;
    toy.assert_is_a_full_rebuild(toy.source().await, as_it_is).await;
    assert_eq!(toy.stale().await, Vec::<String>::new());
}

#[tokio::test]
async fn new_logic_with_the_same_rows_commits_nothing_and_other_rows_reach_all_that_is_below() {
    let toy = Toy::new(DAYS).await;
    toy.graph("run").await;
    toy.rewrite(as_it_is, "2");
    let report = toy.graph("run").await;
    assert_eq!((report["replaced"].as_u64(), report["unchanged"].as_u64()), (Some(0), Some(u64::from(DAYS))), "{report}");
    assert_eq!((report["wave"]["up_to_date"].as_u64(), report["stale"].as_u64()), (Some(9), Some(0)), "{report}");
    let fixed = |name: &str, sql: &str| match name {
        "daily" => sql.replace("count(*)", "count(delay)"),
        _ => sql.to_owned(),
    };
    toy.rewrite(fixed, "2");
    toy.graph("run").await;
    toy.assert_is_a_full_rebuild(toy.source().await, fixed).await;
}

#[tokio::test]
async fn two_runners_at_once_compute_every_partition_once() {
    let toy = Toy::new(DAYS).await;
    let command = ["graph", "run", toy.graph.as_str()];
    let (first, second) = futures::join!(toy.world.run(&command), toy.world.run(&command));
    let mut replaced = 0;
    for result in [first, second] {
        match result {
            Ok(answer) => replaced += answer.json["replaced"].as_u64().unwrap(),
            Err(error) => assert!(matches!(error, Error::GraphHeld { .. }) && error.exit_code() == 5, "{error}"),
        }
    }
    assert_eq!(replaced, 15);
    toy.assert_is_a_full_rebuild(toy.source().await, as_it_is).await;
}

#[tokio::test]
async fn what_cannot_be_computed_is_told_and_the_rest_runs_and_a_resumed_run_takes_what_failed() {
    let toy = Toy::new(DAYS).await;
    // No number of day 4 is divided by zero once its file is gone.
    let broken = |name: &str, sql: &str| match name {
        "daily" => sql.replace("max(delay)", "max(delay / (delay - 36))"),
        _ => sql.to_owned(),
    };
    toy.rewrite(broken, "");
    let answer = toy.world.run(&["graph", "run", &toy.graph]).await.unwrap();
    assert_eq!(answer.exit_code, 2);
    assert_eq!(answer.json["failures"].as_array().unwrap().len(), 1, "{}", answer.text);
    assert_eq!(answer.json["failures"][0]["partition"], "daily 2001-01-04");
    assert_eq!(answer.json["wave"]["done"], 5 + 3, "{}", answer.text);
    toy.world.put_day(4, "a.parquet", &[(1, "ORD", Some(5))]).await;
    toy.graph("run").await;
    toy.assert_is_a_full_rebuild(toy.source().await, broken).await;
}

#[tokio::test]
async fn a_table_of_somebody_else_is_left_as_it_was() {
    let toy = Toy::new(1).await;
    toy.graph("run").await;
    let text = std::fs::read_to_string(&toy.graph).unwrap();
    let other = toy.world.write_file("other.yaml", text.replace("graph: toy", "graph: other"));
    let before = toy.rows("daily", "delta").await;
    let error = toy.world.run(&["graph", "run", &other]).await.unwrap_err();
    assert!(matches!(error, Error::ForeignTable { .. }), "{error}");
    assert_eq!(toy.rows("daily", "delta").await, before);
}

#[tokio::test]
async fn a_table_that_is_gone_is_refused_and_no_empty_one_takes_its_place() {
    let toy = Toy::new(2).await;
    toy.graph("run").await;
    for object in toy.world.objects_below("worst").await {
        toy.world.store.delete(&object_store::path::Path::from(object.as_str())).await.unwrap();
    }
    for _ in 0..2 {
        let error = toy.world.run(&["graph", "run", &toy.graph]).await.unwrap_err();
        assert!(matches!(error, Error::GraphRefused { .. }) && error.to_string().contains("worst"), "{error}");
        assert_eq!(toy.world.objects_below("worst").await, Vec::<String>::new());
    }
}

/// The partition that somebody took out, or wrote to, is stale by itself, and what reads it with it.
#[tokio::test]
async fn what_others_commit_to_a_computed_table_is_noticed_and_undone() {
    let toy = Toy::new(3).await;
    toy.graph("run").await;
    // Out of one day, into another, and into one that is none of the graph's.
    let log = toy.world.list("daily/_delta_log").await;
    let version = log.iter().filter(|name| name.ends_with(".json")).count();
    let files = toy.world.objects_below("daily").await;
    let of_day = |day: &str| files.iter().find(|path| path.contains(day) && path.ends_with(".parquet")).unwrap().clone();
    let path = of_day("day=2001-01-01").split("daily/").nth(1).unwrap().to_owned();
    let remove = json!({ "remove": { "path": path, "deletionTimestamp": 0, "dataChange": true } });
    let bytes = toy.world.store.get(&of_day("day=2001-01-02").into()).await.unwrap().bytes().await.unwrap();
    let add = |day: &str| {
        json!({ "add": { "path": format!("day={day}/theirs.parquet"), "partitionValues": { "day": day }, "size": bytes.len(),
            "modificationTime": 0, "dataChange": true } })
    };
    let adds = ["2001-01-02", "2001-01-09"].map(add);
    for day in ["2001-01-02", "2001-01-09"] {
        toy.world.put(&format!("daily/day={day}/theirs.parquet"), bytes.clone()).await;
    }
    let commit = [&remove, &adds[0], &adds[1]].map(Json::to_string).join("\n");
    toy.world.put(&format!("daily/_delta_log/{version:020}.json"), commit).await;

    let stale = toy.graph("stale").await;
    let because = |period: &str| {
        let all = stale["stale"].as_array().unwrap().iter();
        all.filter(|one| one["table"] == "daily" && one["period"] == period).map(|one| one["because"].clone()).next()
    };
    for day in ["2001-01-01", "2001-01-02", "2001-01-09"] {
        assert_eq!(because(day), Some("somebody else wrote to it".into()), "{stale:#}");
    }
    assert_eq!(because("2001-01-03"), None, "nobody touched it");
    let told = toy.world.run(&["graph", "stale", &toy.graph, "--why", "daily", "2001-01-09"]).await.unwrap().text;
    assert_eq!(told, "daily 2001-01-09 was written to by somebody else");
    let told = toy.world.run(&["graph", "explain", &toy.graph, "daily", "2001-01-02"]).await.unwrap().text;
    assert!(told.contains("Somebody else wrote to it"), "{told}");
    toy.graph("run").await;
    toy.assert_is_a_full_rebuild(toy.source().await, as_it_is).await;
    assert_eq!(toy.stale().await, Vec::<String>::new());
}

/// A date is in no hour: every partition would come out empty.
#[tokio::test]
async fn a_table_that_is_computed_by_the_hour_is_refused() {
    let toy = Toy::new(1).await;
    let text = std::fs::read_to_string(&toy.graph).unwrap();
    let hourly = "time: {column: day, grain: hour}\n    after: {flights";
    let text = text.replacen("time: {column: day, grain: day}\n    after: {flights", hourly, 1);
    toy.world.write_file("graph.yaml", text);
    let error = toy.world.run(&["graph", "run", &toy.graph]).await.unwrap_err();
    assert!(matches!(error, Error::GraphRefused { .. }) && error.to_string().contains("by the hour"), "{error}");
}

/// A run of all, or one after a day changed, the store failing by `plan`; the operator runs it again.
async fn run_with(toy: &Toy, plan: FaultPlan) -> Vec<Operation> {
    let faulty = Arc::new(FaultStore::new(toy.world.store.clone(), plan));
    let command = ["graph", "run", &toy.graph, "--parallel", "1"];
    let first = toy.world.run_on(faulty.clone(), &command).await;
    if !first.is_ok_and(|answer| answer.exit_code == 0) {
        assert!(faulty.has_struck(), "{plan:?}");
        // The dead runner's lease runs out.
        toy.world.wait(120);
        let again = toy.world.run(&command).await;
        let again = again.unwrap_or_else(|error| panic!("{plan:?}: {}", lakeshift::error::with_causes(&error)));
        assert_eq!(again.exit_code, 0, "{plan:?}: {}", again.text);
    }
    assert!(faulty.has_struck() || plan == FaultPlan::None, "{plan:?} was not reached");
    toy.assert_is_a_full_rebuild(toy.source().await, as_it_is).await;
    assert_eq!(toy.stale().await, Vec::<String>::new(), "{plan:?}");
    faulty.history()
}

#[test]
fn a_run_that_dies_at_any_operation_is_finished_by_the_next_one() {
    let new = block_on(Toy::new(2));
    let run = |toy: Toy, plan| async move { run_with(&toy, plan).await };
    every_fault("graph crash matrix, first run", &new, run);
    block_on(new.graph("run"));
    block_on(new.world.put_day(1, "a.parquet", &[(3, "ORD", Some(70))]));
    every_fault("graph crash matrix, a day changed", &new, run);
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// Lives `life` in copies of `toy` under every fault at every operation that it has, and tells how many.
fn every_fault<L>(name: &str, toy: &Toy, life: impl Fn(Toy, FaultPlan) -> L + Sync)
where
    L: Future<Output = Vec<Operation>>,
{
    let history = block_on(life(toy.copy(), FaultPlan::None));
    let plans = FaultPlan::every(&history);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(plan) = plans.get(next.fetch_add(1, Ordering::Relaxed)) {
                    block_on(life(toy.copy(), *plan));
                }
            });
        }
    });
    let told = format!("{name}: {} store operations, {} fault points, all end alike", history.len(), plans.len());
    std::io::Write::write_all(&mut std::io::stderr(), format!("{told}\n").as_bytes()).unwrap();
}
