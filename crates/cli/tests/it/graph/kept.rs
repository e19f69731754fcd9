//! What a graph keeps: the versions as a file that any engine reads, from which the next command goes on.

use super::*;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use object_store::path::Path;

impl Toy {
    async fn versions_files(&self) -> Vec<String> {
        let mut files = self.world.objects_below("control/graphs/toy/versions").await;
        files.sort();
        files
    }

    async fn said_by(&self, commands: &[&[&str]]) -> Vec<Json> {
        let mut all = Vec::new();
        for command in commands {
            let command: Vec<&str> = ["graph", command[0], &self.graph].iter().chain(&command[1..]).copied().collect();
            all.push(self.world.run(&command).await.unwrap().json);
        }
        all
    }
}

const LOOKS: &[&[&str]] = &[
    &["show"],
    &["stale"],
    &["plan"],
    &["logic", "monthly"],
    &["explain", "monthly", "2001-01"],
    &["stale", "--why", "recent", "2001-01-05"],
];

#[tokio::test]
async fn versions_in_a_file_are_those_of_the_journal_and_a_damaged_file_is_passed_over() {
    let toy = Toy::new(DAYS).await;
    toy.graph("run").await;
    let fixed = |name: &str, sql: &str| match name {
        "daily" => sql.replace("count(*)", "count(delay)"),
        _ => sql.to_owned(),
    };
    toy.rewrite(fixed, "");
    toy.said_by(&[&["run", "--table", "daily", "--to", "2001-01-03"], &["run", "--table", "monthly"]]).await;
    let files = toy.versions_files().await;
    assert_eq!(files.len(), 2, "older ones are gone: {files:?}");

    let newest = Path::from(files[1].as_str());
    let bytes = toy.world.store.get(&newest).await.unwrap().bytes().await.unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).unwrap().build().unwrap();
    let rows: Vec<String> = reader.flat_map(|batch| text_rows(&batch.unwrap())).collect();
    let latest = rows.iter().filter(|row| row.split('|').nth(6) == Some("true")).count();
    // Six days of the source and of two tables, a month of two, a year; three days and the month were another before.
    assert_eq!((latest, rows.len()), (3 * DAYS as usize + 3, 3 * DAYS as usize + 3 + 4), "{rows:#?}");

    // The end of a journal that the file covers is not read again.
    let by_file = toy.said_by(LOOKS).await;
    let first = Path::from("control/graphs/toy/journal/00000000000000000001.json");
    let first = Path::from(
        toy.world.objects_below("control").await.into_iter().find(|path| path.ends_with(first.filename().unwrap())).unwrap(),
    );
    let entry = toy.world.store.get(&first).await.unwrap().bytes().await.unwrap();
    toy.world.store.put(&first, "{}".into()).await.unwrap();
    assert_eq!(toy.said_by(LOOKS).await, by_file);
    toy.world.store.put(&first, entry.into()).await.unwrap();

    let mut damaged = bytes.to_vec();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    toy.world.store.put(&newest, damaged.into()).await.unwrap();
    assert_eq!(toy.said_by(LOOKS).await, by_file, "from the file before");
    for file in files {
        toy.world.store.delete(&Path::from(file)).await.unwrap();
    }
    assert_eq!(toy.said_by(LOOKS).await, by_file, "from the journal");
}

/// A version that stands in what was read once must not be drawn again.
#[tokio::test]
async fn a_table_that_leaves_the_graph_takes_no_version_with_it() {
    let toy = Toy::new(2).await;
    toy.graph("run").await;
    // The year comes out different once, and then all days as they were, computed from versions up to the last, which is the year's.
    toy.world.put_day(2, "b.parquet", &[(98, "ORD", Some(70))]).await;
    toy.graph("run").await;
    toy.rewrite(as_it_is, "2");
    toy.graph("run").await;
    let text = std::fs::read_to_string(&toy.graph).unwrap();
    let (without, _) = text.split_once("  yearly:").unwrap();
    for file in toy.versions_files().await {
        toy.world.store.delete(&Path::from(file)).await.unwrap();
    }
    toy.world.write_file("graph.yaml", without);
    toy.world.put_day(1, "b.parquet", &[(99, "ORD", Some(1))]).await;
    assert!(toy.stale().await.contains(&"daily 2001-01-01".to_owned()), "{:?}", toy.stale().await);
    toy.graph("run").await;
    // Of what was put aside the file has one latest version of each partition, however often it was computed.
    let newest = Path::from(toy.versions_files().await.pop().unwrap());
    let bytes = toy.world.store.get(&newest).await.unwrap().bytes().await.unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
    let rows: Vec<String> = reader.flat_map(|batch| text_rows(&batch.unwrap())).collect();
    let of_year =
        |latest| rows.iter().filter(|row| row.starts_with("yearly|") && row.split('|').nth(6) == Some(latest)).count();
    assert_eq!((of_year("true"), of_year("false")), (1, 1), "{rows:#?}");
    // What was put aside is there again with the table, through the file that the run has written.
    toy.world.write_file("graph.yaml", &text);
    assert!(!toy.stale().await.contains(&"yearly 2001".to_owned()), "{:?}", toy.stale().await);
}

#[tokio::test]
async fn a_run_ends_before_it_costs_more_than_it_may_and_costs_are_told_by_the_prices_alone() {
    let toy = Toy::new(DAYS).await;
    let refused = toy.world.run(&["graph", "run", &toy.graph, "--max-cost", "1"]).await.unwrap_err();
    assert!(refused.to_string().contains("graph toy has no prices"), "{refused}");
    let text = std::fs::read_to_string(&toy.graph).unwrap();
    // A hundred for each kibibyte.
    let priced = text.replace("graph: toy", "graph: toy\nprices: {tebibyte_read: 107374182400}");
    toy.world.write_file("graph.yaml", priced);
    let answer = toy.world.run(&["graph", "run", &toy.graph, "--max-cost", "300"]).await.unwrap();
    let (cost, read) = (answer.json["cost"].as_f64().unwrap(), answer.json["read_bytes"].as_f64().unwrap());
    assert!(answer.json["budget_spent"] == true && read > 0.0 && cost <= 300.0, "{}", answer.text);
    assert!((cost - read / 1024.0 * 100.0).abs() < 0.01, "{cost} for {read}");
    let plan = toy.graph("plan").await;
    let (cost, read) = (plan["estimated_cost"].as_f64().unwrap(), plan["read_bytes"].as_f64().unwrap());
    assert!((cost - read / 1024.0 * 100.0).abs() < 0.01, "{cost} for {read}");
    toy.graph("run").await;
    toy.assert_is_a_full_rebuild(toy.source().await, as_it_is).await;
}
