//! Units, as another scheduler runs them: one process each, several at a time.

use std::process::Command;

use super::*;

impl Toy {
    /// Ids of the plan's units with the ids that they come after.
    async fn units(&self) -> Vec<(String, Vec<String>)> {
        let plan = self.graph("export").await;
        let text = |one: &Json| one.as_str().unwrap().to_owned();
        let unit = |unit: &Json| (text(&unit["id"]), unit["after"].as_array().unwrap().iter().map(text).collect());
        plan["units"].as_array().unwrap().iter().map(unit).collect()
    }

    async fn unit(&self, id: &str) -> Result<Json, Error> {
        Ok(self.world.run(&["graph", "run-unit", &self.graph, id]).await?.json)
    }

    /// As a scheduler runs it, with retries: whoever waits for a lease moves these tests' clock, until it has run out.
    async fn retried(&self, id: &str) -> Json {
        for _ in 0..100 {
            match self.unit(id).await {
                Ok(json) => return json,
                Err(Error::Fenced { .. } | Error::GraphHeld { .. }) => {}
                Err(error) => panic!("{id}: {}", lakeshift::error::with_causes(&error)),
            }
        }
        panic!("{id} was fenced a hundred times");
    }
}

#[tokio::test]
async fn units_one_after_the_other_are_a_run_and_a_second_time_nothing_is_left_to_do() {
    let toy = Toy::new(DAYS).await;
    let units = toy.units().await;
    assert_eq!(units.len(), 15);
    let month = units.iter().find(|(id, _)| id == "monthly 2001-01").unwrap();
    assert_eq!(month.1.len(), DAYS as usize);
    let early = toy.unit("monthly 2001-01").await.unwrap_err();
    assert!(early.exit_code() == 4 && early.to_string().contains("reads what is stale itself"), "{early}");
    for (id, _) in &units {
        assert_eq!(toy.unit(id).await.unwrap()["outcome"], "replaced", "{id}");
    }
    toy.assert_is_a_full_rebuild(toy.source().await, as_it_is).await;
    assert_eq!(toy.units().await, []);
    assert_eq!(toy.unit("daily 2001-01-03").await.unwrap()["outcome"], "up_to_date");
    // Typed as words.
    let words = ["graph", "run-unit", toy.graph.as_str(), "daily", "2001-01-03"];
    assert_eq!(toy.world.run(&words).await.unwrap().json["outcome"], "up_to_date");
}

#[tokio::test]
async fn units_of_one_table_run_at_the_same_time() {
    let toy = Toy::new(DAYS).await;
    let ids: Vec<String> = (1..=DAYS).map(|day| format!("daily 2001-01-{day:02}")).collect();
    futures::future::join_all(ids.iter().map(|id| toy.retried(id))).await;
    let report = toy.graph("run").await;
    assert_eq!(report["planned"].as_u64(), Some(15 - u64::from(DAYS)), "the days are done: {report}");
    toy.assert_is_a_full_rebuild(toy.source().await, as_it_is).await;
}

/// The same partition twice: both compute it, one commits it.
#[tokio::test]
async fn a_unit_that_runs_twice_at_once_is_committed_once() {
    let toy = Toy::new(1).await;
    futures::join!(toy.retried("daily 2001-01-01"), toy.retried("daily 2001-01-01"));
    let log = toy.world.list("daily/_delta_log").await;
    let mut adding = 0;
    for name in log.iter().filter(|name| name.ends_with(".json")) {
        let text = toy.world.get(&format!("{}/daily/_delta_log/{name}", toy.world.root)).await;
        adding += String::from_utf8_lossy(&text).matches("\"add\":").count();
    }
    assert_eq!(adding, 1, "one commit has rows");
    toy.graph("run").await;
    toy.assert_is_a_full_rebuild(toy.source().await, as_it_is).await;
}

/// Also in Iceberg, and by a unit that another scheduler runs.
#[tokio::test]
async fn a_unit_takes_out_what_others_put_into_its_partition() {
    let toy = Toy::new(2).await;
    toy.graph("run").await;
    let stores = Stores::new().with_store(toy.world.root.clone(), toy.world.store.clone());
    let storage = stores.open(&format!("{}/monthly", toy.world.root)).unwrap();
    let table = IcebergTable::new(storage.clone()).with_clock(toy.world.clock.clone());
    let snapshot = table.snapshot(None).await.unwrap();
    let theirs: FileEntry = table.files(&snapshot).try_next().await.unwrap().unwrap();
    let bytes = toy.world.store.get(&storage.resolve(&theirs.path).unwrap()).await.unwrap().bytes().await.unwrap();
    toy.world.store.put(&storage.resolve("theirs.parquet").unwrap(), bytes.into()).await.unwrap();
    let file = NewFile {
        path: "theirs.parquet".to_owned(),
        size_bytes: theirs.size_bytes,
        partition: theirs.partition.clone(),
        rows: theirs.rows.unwrap(),
    };
    let request = CommitRequest {
        add: vec![file],
        ..CommitRequest::fence(MigrationId("somebody".to_owned()), CommitNumber(1), Epoch(1))
    };
    assert!(matches!(table.commit(&request).await.unwrap(), CommitOutcome::Committed(_)));
    assert_eq!(toy.stale().await, ["monthly 2001-01"]);
    toy.retried("monthly 2001-01").await;
    toy.assert_is_a_full_rebuild(toy.source().await, as_it_is).await;
    assert_eq!(toy.stale().await, Vec::<String>::new());
}

/// The Python files are Python, and say the units with what they come after.
#[tokio::test]
async fn what_is_exported_for_airflow_and_dagster_is_python_with_every_unit() {
    let toy = Toy::new(2).await;
    let units = toy.units().await;
    for scheduler in ["airflow", "dagster"] {
        let answer = toy.world.run(&["graph", "export", &toy.graph, "--for", scheduler]).await.unwrap();
        let file = toy.world.write_file(&format!("{scheduler}.py"), &answer.text);
        let reads = "import ast, json, sys\n\
            tree = ast.parse(open(sys.argv[1]).read())\n\
            units = next(n.value for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == 'UNITS')\n\
            graph = next(n.value for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == 'GRAPH')\n\
            print(json.dumps([ast.literal_eval(graph.args[1]), json.loads(ast.literal_eval(units.args[0]))]))";
        let output = Command::new("python3").args(["-c", reads, &file]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let read: Json = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(read[0], toy.graph);
        let expected: Vec<Json> = units.iter().map(|(id, after)| serde_json::json!({ "id": id, "after": after })).collect();
        assert_eq!(read[1], Json::Array(expected));
    }
}

/// Runs one unit, the store failing by `plan`; the scheduler tries it again after the dead one's lease has run out. What is
/// computed after it finds what it left.
async fn unit_with(toy: &Toy, id: &str, plan: FaultPlan) -> Vec<Operation> {
    let faulty = Arc::new(FaultStore::new(toy.world.store.clone(), plan));
    let first = toy.world.run_on(faulty.clone(), &["graph", "run-unit", &toy.graph, id]).await;
    assert!(faulty.has_struck() || plan == FaultPlan::None, "{plan:?}: {id} was not reached");
    toy.world.wait(120);
    if first.is_err() {
        let again = toy.unit(id).await;
        again.unwrap_or_else(|error| panic!("{plan:?}: {id}: {}", lakeshift::error::with_causes(&error)));
    }
    let stale = toy.stale().await;
    assert!(!stale.iter().any(|partition| partition == id), "{plan:?}: {id} is among {stale:?}");
    toy.graph("run").await;
    toy.assert_is_a_full_rebuild(toy.source().await, as_it_is).await;
    faulty.history()
}

#[test]
fn a_unit_that_dies_at_any_operation_is_done_when_it_is_tried_again() {
    let toy = block_on(Toy::new(1));
    // One of a Delta table, which reads a source, and one of an Iceberg table.
    for id in ["daily 2001-01-01", "monthly 2001-01"] {
        let run = |toy: Toy, plan| async move { unit_with(&toy, id, plan).await };
        every_fault(&format!("crash matrix of the unit {id}"), &toy, run);
        block_on(toy.retried(id));
    }
}
