//! Which logic a number rests on, by what was read; what is under migration; budgets and pools.

use super::*;

/// Delays that are not known count no more.
fn fixed(name: &str, sql: &str) -> String {
    match name {
        "daily" => sql.replace("count(*)", "count(delay)"),
        _ => sql.to_owned(),
    }
}

impl Toy {
    async fn said(&self, command: &[&str]) -> (String, u8) {
        let command: Vec<&str> = ["graph", command[0], &self.graph].iter().chain(&command[1..]).copied().collect();
        let answer =
            self.world.run(&command).await.unwrap_or_else(|error| panic!("{}", lakeshift::error::with_causes(&error)));
        (answer.text, answer.exit_code)
    }
}

#[tokio::test]
async fn a_month_mixes_what_it_read_and_not_what_became_of_it_since() {
    let toy = Toy::new(DAYS).await;
    toy.graph("run").await;
    toy.rewrite(fixed, "");
    toy.said(&["run", "--table", "daily", "--from", "2001-01-01", "--to", "2001-01-03"]).await;
    // Three days are mended, and the month read none of them: all that it rests on is the earlier logic.
    let (text, code) = toy.said(&["logic", "monthly", "--fail-on-mixed"]).await;
    assert_eq!(code, 0, "{text}");
    let (text, _) = toy.said(&["explain", "monthly", "2001-01"]).await;
    assert!(text.contains("All that it rests on of daily is by an earlier logic of it."), "{text}");
    assert!(text.contains("monthly 2001-01 was computed before daily 2001-01-0"), "{text}");
    toy.said(&["run", "--table", "monthly"]).await;
    let (text, code) = toy.said(&["logic", "monthly", "--fail-on-mixed"]).await;
    assert!(code == 1 && text.contains("1 mix what several logics computed"), "{text}");
    let (text, _) = toy.said(&["explain", "monthly", "2001-01"]).await;
    let mixes = "It mixes logics of daily: by the logic as it is: 2001-01-01..2001-01-03; by an earlier one: \
                 2001-01-04..2001-01-06.";
    assert!(text.contains(mixes) && text.contains(" 2001-01-01..2001-01-06  a source"), "{text}");
    // What the rest of the days come to is read by the month, and then nothing is mixed, and the days before are what they were.
    toy.graph("run").await;
    let (text, code) = toy.said(&["logic", "monthly", "--fail-on-mixed"]).await;
    assert_eq!(code, 0, "{text}");
    let (text, _) = toy.said(&["explain", "monthly", "2001-01"]).await;
    assert!(text.contains("It is what a full rebuild would give."), "{text}");
    toy.assert_is_a_full_rebuild(toy.source().await, fixed).await;
}

#[tokio::test]
async fn the_page_is_written_where_it_was_asked_for() {
    let toy = Toy::new(DAYS).await;
    toy.graph("run").await;
    let page = toy.world.write_file("graph.html", "");
    toy.said(&["show", "--html", &page]).await;
    let html = std::fs::read_to_string(&page).unwrap();
    assert!(html.contains("6 tables, 21 partitions, 0 stale; the last run computed 15"), "{}", &html[html.len() - 400..]);
}

/// Days by origin, from flights that are not divided by it, and by origin again.
const BY_ORIGIN: &str = "
  origins:
    format: delta
    location: ROOT/origins
    time: {column: day, grain: day}
    entity: {column: origin, values: [JFK, ORD]}
    sql: 'SELECT origin, count(*) AS flights, day FROM flights GROUP BY origin, day'
    after: {flights: {}}
  copies:
    format: delta
    location: ROOT/copies
    time: {column: day, grain: day}
    entity: {column: origin}
    sql: 'SELECT origin, flights, day FROM origins'
    after: {origins: {}}
  total:
    format: iceberg
    location: ROOT/total
    time: {column: month, grain: month}
    sql: >-
      SELECT sum(flights) AS flights, CAST(date_trunc('month', day) AS DATE) AS month FROM copies
      GROUP BY CAST(date_trunc('month', day) AS DATE)
    after: {copies: {}}
";

#[tokio::test]
async fn one_mended_entity_is_told_from_the_others_and_entities_need_no_list_where_an_upstream_has_them() {
    let toy = Toy::new(2).await;
    let head = format!(
        "graph: origins\ncontrol: {0}/control\ntables:\n  flights: {{format: hive, location: '{0}/flights', time: \
         {{column: day, grain: day}}}}\n",
        toy.world.root
    );
    let yaml = format!("{head}{}", BY_ORIGIN.replace("ROOT", &toy.world.root));
    toy.world.write_file("graph.yaml", &yaml);
    let report = toy.graph("run").await;
    assert_eq!((report["replaced"].as_u64(), report["stale"].as_u64()), (Some(2 * 2 * 2 + 1), Some(0)), "{report}");
    toy.world.write_file("graph.yaml", yaml.replace("count(*)", "count(delay)"));
    toy.said(&["run", "--entity", "JFK"]).await;
    let (text, code) = toy.said(&["explain", "total", "2001-01"]).await;
    let mixes = "It mixes logics of origins: by the logic as it is: 2001-01-01..2001-01-02 of JFK; by an earlier one: \
                 2001-01-01..2001-01-02 of ORD.";
    assert!(text.contains(mixes) && code == 0, "{text}");
    toy.graph("run").await;
    let (text, _) = toy.said(&["explain", "total", "2001-01"]).await;
    assert!(text.contains("It is what a full rebuild would give."), "{text}");
}

/// The graph reads the new table of a migration, which has rows before it is known to have the right ones.
#[tokio::test]
async fn what_reads_a_table_that_a_migration_fills_waits_for_its_validation() {
    let toy = Toy::new(2).await;
    let root = &toy.world.root;
    toy.world.write_spec(Target::DeltaInPlace, "");
    toy.world.write_file(
        "graph.yaml",
        format!(
            "graph: new\ncontrol: {root}/control\ntables:\n  flights: {{format: delta, location: '{root}/flights', \
             time: {{column: day, grain: day}}}}\n  daily:\n    format: delta\n    location: {root}/daily\n    time: {{column: \
             day, grain: day}}\n    sql: SELECT count(*) AS flights, day FROM flights GROUP BY day\n    after: {{flights: {{}}}}\n"
        ),
    );
    let spec = toy.world.spec().display().to_string();
    for command in ["plan", "approve", "dual-write", "backfill"] {
        toy.world.run(&[command, &spec]).await.unwrap();
    }
    let plan = toy.graph("plan").await;
    assert_eq!((plan["tasks"].as_array().unwrap().len(), plan["held"].as_u64()), (0, Some(2)), "{plan}");
    let (text, _) = toy.said(&["stale", "--why", "daily", "2001-01-01"]).await;
    assert!(text.contains("waits for the migration flights"), "{text}");
    let (text, code) = toy.said(&["run"]).await;
    assert!(text.contains("2 partitions wait for a migration") && code == 0, "{text}");
    let unit = toy.world.run(&["graph", "run-unit", &toy.graph, "daily 2001-01-01"]).await.unwrap_err();
    assert!(unit.to_string().contains("under migration"), "{unit}");
    toy.world.run(&["validate", &spec]).await.unwrap();
    let report = toy.graph("run").await;
    assert_eq!((report["replaced"].as_u64(), report["held"].as_u64()), (Some(2), Some(0)), "{report}");
}

#[tokio::test]
async fn a_budget_ends_a_run_before_it_is_overdrawn_and_the_next_one_goes_on() {
    let toy = Toy::new(DAYS).await;
    let size = toy.graph("plan").await;
    assert!(size["estimated_seconds"].is_null(), "nothing ran yet: {size}");
    let (text, _) = toy.said(&["run", "--max-bytes", "3KiB", "--parallel", "1"]).await;
    assert!(text.contains("the budget ended the run"), "{text}");
    let report = toy.world.run(&["graph", "run", &toy.graph, "--max-bytes", "3KiB"]).await.unwrap();
    let read = report.json["read_bytes"].as_u64().unwrap();
    assert!((1..=3072).contains(&read), "{}", report.text);
    assert!(report.json["wave"]["open"].as_u64().unwrap() > 0, "{}", report.text);
    toy.graph("run").await;
    toy.assert_is_a_full_rebuild(toy.source().await, as_it_is).await;
    toy.rewrite(as_it_is, "2");
    let plan = toy.graph("plan").await;
    // The clock of these tests stands still.
    assert_eq!(plan["estimated_seconds"].as_f64(), Some(0.0), "{plan}");
}

#[tokio::test]
async fn a_pool_of_one_runs_its_tables_alone_and_all_the_same_to_the_end() {
    let toy = Toy::new(DAYS).await;
    let text = std::fs::read_to_string(&toy.graph).unwrap();
    let pooled = text
        .replace("graph: toy", "graph: toy\npools: {narrow: 1}")
        .replace("format: delta", "format: delta\n    pool: narrow");
    assert_ne!(pooled, text);
    toy.world.write_file("graph.yaml", pooled);
    toy.world.run(&["graph", "run", &toy.graph, "--parallel", "4"]).await.unwrap();
    toy.assert_is_a_full_rebuild(toy.source().await, as_it_is).await;
    assert_eq!(toy.stale().await, Vec::<String>::new());
}

/// A file of rows of several days, which a command gives for each of them; the graph takes the day's own.
#[tokio::test]
async fn a_table_that_a_command_computes_is_the_partitions_of_what_it_writes() {
    let toy = Toy::new(2).await;
    let folder = std::path::Path::new(&toy.graph).parent().unwrap();
    let days: arrow::array::ArrayRef = Arc::new(arrow::array::Date32Array::from(vec![11_323, 11_323, 11_324, 11_400]));
    let counts: arrow::array::ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![1, 2, 3, 4]));
    let rows = RecordBatch::try_from_iter([("flights", counts), ("day", days)]).unwrap();
    let mut bytes = Vec::new();
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, rows.schema(), None).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
    let (rows, unit) = (toy.world.write_file("rows.parquet", bytes), folder.join("unit.json").display().to_string());
    let graph = |command: &str, columns: &str| {
        let root = &toy.world.root;
        let head = format!(
            "graph: commands\ncontrol: {root}/control\ntables:\n  flights: {{format: hive, location: '{root}/flights', "
        );
        format!(
            "{head}time: {{column: day, grain: day}}}}\n  made:\n    format: delta\n    location: {root}/made\n    time: {{column: \
             day, grain: day}}\n    command: [sh, -c, '{command}']\n    columns: [{columns}]\n    after: {{flights: {{}}}}\n"
        )
    };
    let copy = format!("cat > {unit}; cp {rows} $LAKESHIFT_OUTPUT/");
    // What is not as it was announced is refused, and what was not written too.
    for (command, columns, problem) in [
        (copy.as_str(), "flights INT, day DATE", "column flights of what the command of table made wrote is"),
        (copy.as_str(), "late BIGINT, day DATE", "column late of what the command of table made wrote is missing"),
        ("true", "flights BIGINT, day DATE", "wrote cannot be read"),
        ("echo broken >&2; exit 3", "flights BIGINT, day DATE", "the command of table made"),
    ] {
        // Each has columns of its own, so a graph and a table of its own.
        let named = graph(command, columns).replace("/made\n", &format!("/made-{}\n", problem.len()));
        let named = named.replace("graph: commands", &format!("graph: commands-{}", problem.len()));
        toy.world.write_file("graph.yaml", named);
        let answer = toy.world.run(&["graph", "run", &toy.graph]).await.unwrap();
        assert!(answer.exit_code == 2 && answer.text.contains(problem), "{}", answer.text);
    }
    toy.world.write_file("graph.yaml", graph(&copy, "flights BIGINT, day DATE"));
    let report = toy.graph("run").await;
    assert_eq!((report["replaced"].as_u64(), report["rows"].as_u64()), (Some(2), Some(3)), "{report}");
    assert_eq!(toy.rows("made", "delta").await, ["1|2001-01-01", "2|2001-01-01", "3|2001-01-02"]);
    let unit: Json = serde_json::from_slice(&std::fs::read(&unit).unwrap()).unwrap();
    assert_eq!((unit["table"].as_str(), unit["reads"][0]["table"].as_str()), (Some("made"), Some("flights")), "{unit}");
    assert_eq!(unit["reads"][0]["from"], unit["period"], "{unit}");
}

/// Whoever reads a table alone sees which partition a commit replaced, and that it mixes logics.
#[tokio::test]
async fn a_commit_tells_its_partition_and_what_it_mixes() {
    let toy = Toy::new(DAYS).await;
    toy.graph("run").await;
    toy.rewrite(fixed, "");
    toy.said(&["run", "--table", "daily", "--to", "2001-01-03", "--parallel", "1"]).await;
    toy.said(&["run", "--table", "monthly"]).await;
    let mut log = toy.world.objects_below("daily/_delta_log").await;
    log.retain(|path| path.ends_with(".json"));
    log.sort();
    let last = toy.world.store.get(&object_store::path::Path::from(log.last().unwrap().as_str())).await.unwrap();
    let text = String::from_utf8(last.bytes().await.unwrap().to_vec()).unwrap();
    let info: Json = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let note: Json = serde_json::from_str(info["commitInfo"]["lakeshift.graph.partitions"].as_str().unwrap()).unwrap();
    // Three days in one commit.
    let days: Vec<&str> = note.as_array().unwrap().iter().map(|one| one["partition"].as_str().unwrap()).collect();
    assert_eq!(days, ["daily 2001-01-03", "daily 2001-01-02", "daily 2001-01-01"]);
    assert_eq!(note[0]["mixes_logics_of"], serde_json::json!([]), "{note}");
    let metadata = toy.world.objects_below("monthly/metadata").await;
    let mut metadata: Vec<_> = metadata.iter().filter(|path| path.ends_with(".metadata.json")).collect();
    metadata.sort();
    let last = toy.world.store.get(&object_store::path::Path::from(metadata.last().unwrap().as_str())).await.unwrap();
    let table: Json = serde_json::from_slice(&last.bytes().await.unwrap()).unwrap();
    let summary = &table["snapshots"].as_array().unwrap().last().unwrap()["summary"];
    let note: Json = serde_json::from_str(summary["lakeshift.graph.partitions"].as_str().unwrap()).unwrap();
    assert_eq!(note[0]["partition"], "monthly 2001-01", "{note}");
    assert_eq!(note[0]["mixes_logics_of"], serde_json::json!(["daily"]), "{note}");
}
