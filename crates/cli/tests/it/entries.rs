//! Readers and writers that ask a SQL catalogue for a name, which the cutover gives to the other table.

use std::sync::Arc;

use futures::TryStreamExt;
use lakeshift::error::{Error, with_causes};
use lakeshift_core::spec::{CatalogCredentials, Spec};
use lakeshift_core::table::{CommitNumber, CommitRequest, FileEntry, MigrationId, TableError, TableFormat};
use lakeshift_journal::Epoch;
use lakeshift_tables::iceberg::IcebergTable;
use lakeshift_tables::storage::Stores;
use lakeshift_testkit::{Counted, FaultPlan, FaultStore};
use rstest::rstest;
use serde_json::json;

use crate::life::{Step, before};
use crate::support::{Target, World};

/// A first migration makes an Iceberg table at `prod.lake.flights`; the second, which is the test's, moves it on.
struct Lake {
    world: World,
}

const STEPS: [&[&str]; 6] = [
    &["plan", "SPEC"],
    &["approve", "SPEC"],
    &["dual-write", "SPEC"],
    &["backfill", "SPEC"],
    &["mirror", "SPEC"],
    &["validate", "SPEC"],
];

impl Lake {
    async fn new(more: &str) -> Self {
        let world = World::in_memory(Target::Iceberg);
        let root = world.root.clone();
        let catalog = |table: &str| {
            let file = world.spec().with_file_name("catalog.db");
            format!("{{type: sql, uri: \"sqlite:///{}\", name: prod, table: {table}}}", file.display())
        };
        let spec = std::fs::read_to_string(world.spec()).unwrap();
        let location = format!("  location: {root}/flights_iceberg\n");
        let first = spec.replace(&location, &format!("{location}  catalog: {}\n", catalog("lake.flights")));
        std::fs::write(world.spec(), first.replace(", disposition: purge", "").replace(", quarantine: 1h", "")).unwrap();
        world.live(before("rollback")).await;
        let spec = format!(
            "apiVersion: lakeshift/v1\nname: onward\ncontrol: {root}/control\nsource:\n  format: iceberg\n  location: \
             {root}/flights_iceberg\n  catalog: {}\ntarget:\n  format: iceberg\n  location: {root}/flights_next\n  catalog: \
             {}\n  partitioning: [origin]\ncutover: {{alias: onward, exchange_entries: true{more}}}\nbackfill: {{strategy: \
             rewrite, concurrency: 1}}\nsunset: {{grace: 1h}}\n",
            catalog("lake.flights"),
            catalog("lake.flights_next"),
        );
        std::fs::write(world.spec(), spec).unwrap();
        Self { world }
    }

    /// The location of the table that the catalogue has by a name, asked by its own rows.
    async fn at(&self, name: &str) -> String {
        let file = self.world.spec().with_file_name("catalog.db");
        let sql = format!("SELECT metadata_location FROM iceberg_tables WHERE table_name = '{name}'");
        let script = "import sqlite3,sys; print(sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchone()[0])";
        let out = std::process::Command::new("python3").args(["-c", script]).arg(file).arg(sql).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let text = String::from_utf8(out.stdout).unwrap();
        text.trim().rsplit_once("/metadata/").unwrap().0.to_owned()
    }

    /// A reader that knows nothing but the catalogue's name and the folder that the catalogue tells it.
    async fn reader(&self, name: &str) -> IcebergTable {
        let spec = Spec::from_yaml(std::fs::read(self.world.spec()).unwrap(), &self.world.spec()).unwrap();
        let mut catalog = spec.source.catalog.clone().unwrap();
        catalog.table = format!("lake.{name}");
        let stores = Stores::new().with_store(self.world.root.clone(), self.world.store.clone());
        let storage = stores.open(&self.at(name).await).unwrap();
        IcebergTable::new(storage).with_catalog(&catalog, &CatalogCredentials::default())
    }

    async fn files(&self, name: &str) -> usize {
        let table = self.reader(name).await;
        let snapshot = table.snapshot(None).await.unwrap();
        let files: Vec<FileEntry> = table.files(&snapshot).try_collect().await.unwrap();
        files.len()
    }

    async fn run(&self, words: &[&str]) -> Result<(), Error> {
        self.world.run(words).await.map(|answer| assert_eq!(answer.exit_code, 0, "{}", answer.text))
    }

    async fn until_validated(&self) {
        self.world.live(&STEPS.map(Step::Command)).await;
    }
}

fn old(lake: &Lake) -> String {
    format!("{}/flights_iceberg", lake.world.root)
}

fn new(lake: &Lake) -> String {
    format!("{}/flights_next", lake.world.root)
}

#[tokio::test]
async fn the_cutover_gives_the_name_to_the_new_table_and_the_rollback_gives_it_back() {
    let lake = Lake::new("").await;
    lake.until_validated().await;
    assert_eq!((lake.at("flights").await, lake.at("flights_next").await), (old(&lake), new(&lake)));
    lake.run(&["cutover", "SPEC"]).await.unwrap();
    assert_eq!((lake.at("flights").await, lake.at("flights_next").await), (new(&lake), old(&lake)));
    assert!(lake.files("flights").await > 0 && lake.files("flights_next").await > 0);
    // Each command finds both tables where they are.
    for command in [&["status", "SPEC"][..], &["mirror", "SPEC"], &["validate", "SPEC"]] {
        lake.run(command).await.unwrap();
    }
    lake.run(&["rollback", "SPEC"]).await.unwrap();
    assert_eq!((lake.at("flights").await, lake.at("flights_next").await), (old(&lake), new(&lake)));
    lake.run(&["validate", "SPEC"]).await.unwrap();
    lake.run(&["cutover", "SPEC"]).await.unwrap();
    lake.world.wait(3700);
    lake.run(&["sunset", "SPEC"]).await.unwrap();
    assert_eq!(lake.at("flights").await, new(&lake));
}

/// A writer that had looked at the old table before the cutover and commits after it is refused, as after any lost race.
#[tokio::test]
async fn a_commit_that_was_begun_before_the_cutover_does_not_reach_the_old_table_after_it() {
    let lake = Lake::new("").await;
    lake.until_validated().await;
    let writer = lake.reader("flights").await;
    let before = writer.snapshot(None).await.unwrap().version;
    lake.run(&["cutover", "SPEC"]).await.unwrap();
    let files: Vec<FileEntry> = {
        let table = lake.reader("flights_next").await;
        let snapshot = table.snapshot(None).await.unwrap();
        assert_eq!(snapshot.version, before);
        table.files(&snapshot).try_collect().await.unwrap()
    };
    let request = CommitRequest {
        remove: vec![files[0].path.clone()],
        ..CommitRequest::fence(MigrationId("somebody".to_owned()), CommitNumber(1), Epoch(1))
    };
    // By its name the catalogue has another table now, which lies elsewhere.
    match writer.commit(&request).await {
        Err(TableError::Elsewhere { .. }) => {}
        other => panic!("{other:?}"),
    }
    let table = lake.reader("flights_next").await;
    assert_eq!(table.snapshot(None).await.unwrap().version, before, "the old table is as it was");
}

#[tokio::test]
async fn a_rehearsal_moves_no_name_and_finds_what_would_keep_it() {
    let lake = Lake::new(", rehearsal: true").await;
    lake.until_validated().await;
    let refused = lake.run(&["cutover", "SPEC"]).await.unwrap_err();
    assert!(with_causes(&refused).contains("rehears"), "{}", with_causes(&refused));
    lake.run(&["cutover", "SPEC", "--rehearse"]).await.unwrap();
    assert_eq!((lake.at("flights").await, lake.at("flights_next").await), (old(&lake), new(&lake)));
    lake.run(&["cutover", "SPEC"]).await.unwrap();
    assert_eq!(lake.at("flights").await, new(&lake));
}

#[tokio::test]
async fn a_name_that_somebody_else_has_moved_is_found_by_the_gate() {
    let lake = Lake::new("").await;
    lake.until_validated().await;
    let file = lake.world.spec().with_file_name("catalog.db");
    let script = "import sqlite3,sys; c=sqlite3.connect(sys.argv[1]); c.execute(\"UPDATE iceberg_tables SET table_name = \
                  table_name || '_gone' WHERE table_name = 'flights'\"); c.commit()";
    assert!(std::process::Command::new("python3").args(["-c", script]).arg(file).status().unwrap().success());
    let error = lake.run(&["cutover", "SPEC"]).await.unwrap_err();
    let text = with_causes(&error);
    assert!(text.contains("lake.flights") || text.contains("flights_iceberg"), "{text}");
    assert_eq!(lake.at("flights_next").await, new(&lake));
}

#[rstest]
#[case("type: sql", "type: rest", "sql")]
#[case("name: prod, table: lake.flights_next", "name: other, table: lake.flights_next", "one catalogue")]
#[tokio::test]
async fn entries_of_two_catalogues_are_refused(#[case] from: &str, #[case] to: &str, #[case] told: &str) {
    let lake = Lake::new("").await;
    let spec = std::fs::read_to_string(lake.world.spec()).unwrap();
    let other = match from {
        "type: sql" => spec.replace("sqlite:///", "https://catalog.example").replace("name: prod, ", "").replace(from, to),
        _ => spec.replace(from, to),
    };
    std::fs::write(lake.world.spec(), other).unwrap();
    let error = lake.run(&["plan", "SPEC"]).await.unwrap_err();
    let text = with_causes(&error);
    assert!(text.contains("exchange_entries") && text.contains(told), "{text}");
}

/// Killed anywhere, the next run ends with both names exchanged once.
#[tokio::test]
async fn a_cutover_and_a_rollback_that_are_killed_anywhere_are_finished() {
    let lived = async |plan: FaultPlan, command: &'static str| {
        let lake = Lake::new("").await;
        lake.until_validated().await;
        if command == "rollback" {
            lake.run(&["cutover", "SPEC"]).await.unwrap();
        }
        let faulty = Arc::new(FaultStore::new(lake.world.store.clone(), plan).with_counted(Counted::Mutations));
        if lake.world.run_on(faulty.clone(), &[command, "SPEC"]).await.is_err() {
            lake.world.wait(120);
            lake.run(&[command, "SPEC"]).await.unwrap();
        }
        let status = lake.world.run(&["status", "SPEC"]).await.unwrap().json;
        let names = if command == "cutover" { [new(&lake), old(&lake)] } else { [old(&lake), new(&lake)] };
        assert_eq!([lake.at("flights").await, lake.at("flights_next").await], names, "{command} {plan:?}");
        assert_eq!(status["live_side"], json!(if command == "cutover" { "new" } else { "old" }), "{command} {plan:?}");
        assert!(faulty.has_struck() || plan == FaultPlan::None, "{command} {plan:?} was not reached");
        faulty.mutations()
    };
    for command in ["cutover", "rollback"] {
        let mutations = lived(FaultPlan::None, command).await;
        assert!(mutations > 3, "{mutations}");
        for number in 1..=mutations {
            for plan in [FaultPlan::CrashBefore(number), FaultPlan::CrashAfter(number)] {
                lived(plan, command).await;
            }
        }
    }
}
