//! Readers that ask a Hive Metastore for a table or a view, which the cutover moves; a real one, asked by Apache's own client.

use std::sync::Arc;

use lakeshift::error::{Error, with_causes};
use lakeshift_journal::{RngExt, SystemRng};
use lakeshift_testkit::metastore::{self, MetastoreServer};
use lakeshift_testkit::{Counted, FaultPlan, FaultStore};
use object_store::local::LocalFileSystem;
use rstest::rstest;
use serde_json::{Value, json};

use crate::life::before;
use crate::support::{Target, World};

/// A migration, and the entry by which readers find its table.
struct Lake {
    world: World,
    server: &'static MetastoreServer,
    name: String,
    target: Target,
    _folder: tempfile::TempDir,
}

impl Lake {
    async fn new(name: &str, target: Target, query: Option<&str>) -> Option<Self> {
        let server = metastore::shared().await?;
        let (name, folder) = (format!("{name}_{:x}", SystemRng.nonce()), tempfile::tempdir().unwrap());
        let root = format!("file://{}", folder.path().display());
        let world = World::on(Arc::new(LocalFileSystem::new()), &root, target);
        let lake = Self { world, server, name, target, _folder: folder };
        let entry = match query {
            Some(query) => format!("view: lake.{}, query: '{query}'", lake.name),
            None => format!("table: lake.{}", lake.name),
        };
        let spec = std::fs::read_to_string(lake.world.spec()).unwrap();
        let metastore = format!("{{alias: flights, metastore: {{uri: '{}', {entry}}}", server.uri());
        std::fs::write(lake.world.spec(), spec.replace("{alias: flights", &metastore)).unwrap();
        lake.make(&root, query.is_some());
        Some(lake)
    }

    fn make(&self, root: &str, view: bool) {
        let name = &self.name;
        let kind = match view {
            true => "viewOriginalText='SELECT 1', viewExpandedText='SELECT 1', tableType='VIRTUAL_VIEW', partitionKeys=[]",
            false => "partitionKeys=[FieldSchema('day', 'date', None)], tableType='EXTERNAL_TABLE'",
        };
        let location = if view { String::new() } else { format!("location='{root}/flights',") };
        self.ask(&format!(
            "try: c.create_database(Database('lake', None, 'file:/tmp/lakeshift-no-such-folder/lake.db', {{}}))
except AlreadyExistsException: pass
p = 'org.apache.hadoop.hive.ql.io.parquet.'
c.create_table(Table(tableName={name:?}, dbName='lake', owner='etl', {kind}, parameters={{'EXTERNAL': 'TRUE', 'numRows': '5'}},
  sd=StorageDescriptor(cols=[FieldSchema('at', 'timestamp', None)], {location} inputFormat=p + 'MapredParquetInputFormat',
    outputFormat=p + 'MapredParquetOutputFormat', numBuckets=-1, serdeInfo=SerDeInfo(None, p + 'serde.ParquetHiveSerDe', {{}}))))"
        ));
    }

    fn ask(&self, script: &str) -> String {
        self.server.ask(script).unwrap()
    }

    fn entry(&self) -> Value {
        serde_json::from_str(&self.ask(&format!("shown(c.get_table('lake', {:?}))", self.name))).unwrap()
    }

    fn at(&self) -> String {
        let entry = self.entry();
        entry["sd"]["location"].as_str().unwrap().rsplit_once('/').unwrap().1.to_owned()
    }

    async fn run(&self, words: &[&str]) -> Result<Value, Error> {
        let answer = self.world.run(words).await?;
        assert_eq!(answer.exit_code, 0, "{}", answer.text);
        Ok(answer.json)
    }

    /// Runs a command that dies as planned, and again; whether it died.
    async fn killed(&self, plan: FaultPlan, command: &str) -> bool {
        let faulty = Arc::new(FaultStore::new(self.world.store.clone(), plan).with_counted(Counted::Mutations));
        if self.world.run_on(faulty.clone(), &[command, "SPEC"]).await.is_err() {
            self.world.wait(120);
            self.run(&[command, "SPEC"]).await.unwrap();
        }
        faulty.has_struck()
    }

    async fn refused(&self, words: &[&str]) -> String {
        with_causes(&self.run(words).await.unwrap_err())
    }

    fn new_name(&self) -> &'static str {
        if self.target == Target::Delta { "flights_delta" } else { "flights_iceberg" }
    }
}

#[rstest]
#[case(Target::Iceberg)]
#[case(Target::Delta)]
#[tokio::test]
async fn the_cutover_gives_the_entry_to_the_new_table_and_the_rollback_gives_it_back(#[case] target: Target) {
    let Some(lake) = Lake::new("moved", target, None).await else { return };
    let before_all = lake.entry();
    lake.world.live(before("cutover")).await;
    assert_eq!(lake.entry(), before_all, "nothing moves before the cutover");
    for _ in 0..2 {
        lake.run(&["cutover", "SPEC"]).await.unwrap();
        assert_eq!(lake.at(), lake.new_name());
        for command in [&["status", "SPEC"][..], &["mirror", "SPEC"], &["validate", "SPEC"]] {
            lake.run(command).await.unwrap();
        }
        lake.run(&["rollback", "SPEC"]).await.unwrap();
        assert_eq!(lake.entry(), before_all);
        lake.run(&["validate", "SPEC"]).await.unwrap();
    }
}

/// Whoever commits to an Iceberg table by its folder does not know of the entry, which names one metadata file.
#[tokio::test]
async fn the_entry_of_an_iceberg_table_follows_it_with_every_round_of_the_mirror() {
    let Some(lake) = Lake::new("followed", Target::Iceberg, None).await else { return };
    let before_all = lake.entry();
    lake.world.live(before("rollback")).await;
    let first = lake.entry()["parameters"]["metadata_location"].clone();
    assert!(first.as_str().unwrap().contains("/flights_iceberg/metadata/"), "{first}");
    lake.world.write_new(lake.target, 900, 7, &[(1, "XYZ", Some(3))], &[]).await;
    assert_eq!(lake.entry()["parameters"]["metadata_location"], first);
    lake.run(&["mirror", "SPEC"]).await.unwrap();
    let parameters = lake.entry()["parameters"].clone();
    assert_ne!(parameters["metadata_location"], first);
    assert_eq!(parameters["previous_metadata_location"], first);
    lake.run(&["rollback", "SPEC"]).await.unwrap();
    assert_eq!(lake.entry(), before_all);
}

#[tokio::test]
async fn the_text_of_a_view_is_moved_and_restored() {
    let Some(lake) = Lake::new("seen", Target::Iceberg, Some("SELECT * FROM lake.flights_new")).await else { return };
    let before_all = lake.entry();
    lake.world.live(before("rollback")).await;
    assert_eq!(lake.entry()["viewExpandedText"], json!("SELECT * FROM lake.flights_new"));
    lake.run(&["rollback", "SPEC"]).await.unwrap();
    assert_eq!(lake.entry(), before_all);
}

#[tokio::test]
async fn a_rehearsal_moves_no_entry() {
    let Some(lake) = Lake::new("rehearsed", Target::Delta, None).await else { return };
    let spec = std::fs::read_to_string(lake.world.spec()).unwrap();
    std::fs::write(lake.world.spec(), spec.replace("{alias: flights", "{rehearsal: true, alias: flights")).unwrap();
    let before_all = lake.entry();
    lake.world.live(before("cutover")).await;
    lake.run(&["cutover", "SPEC", "--rehearse"]).await.unwrap();
    assert_eq!(lake.entry(), before_all);
    assert_eq!(lake.ask(&format!("shown(c.get_tables('lake', '{}*'))", lake.name)), format!("[\"{}\"]", lake.name));
    lake.run(&["cutover", "SPEC"]).await.unwrap();
    assert_eq!(lake.at(), lake.new_name());
}

#[tokio::test]
async fn what_others_do_to_the_entry_shuts_the_gate_and_stops_the_rollback_by_name() {
    let Some(lake) = Lake::new("meddled", Target::Delta, None).await else { return };
    lake.world.live(before("cutover")).await;
    let name = &lake.name;
    let alter =
        |change: &str| lake.ask(&format!("t = c.get_table('lake', {name:?})\n{change}\nc.alter_table('lake', {name:?}, t)"));
    let good = lake.entry()["sd"]["location"].clone();
    alter("t.sd.location = 'file:/nowhere'");
    let text = lake.refused(&["cutover", "SPEC"]).await;
    assert!(text.contains("neither the old nor the new table") && text.contains(name), "{text}");
    alter(&format!("t.sd.location = {good}"));
    lake.run(&["cutover", "SPEC"]).await.unwrap();
    alter("t.parameters['theirs'] = 'x'");
    let text = lake.refused(&["rollback", "SPEC"]).await;
    assert!(text.contains("somebody has changed") && text.contains("/metastore/"), "{text}");
    assert_eq!(
        (lake.at().as_str(), &lake.run(&["status", "SPEC"]).await.unwrap()["live_side"]),
        (lake.new_name(), &json!("new"))
    );
    alter("del t.parameters['theirs']");
    lake.run(&["rollback", "SPEC"]).await.unwrap();
    assert_eq!(lake.at(), "flights");
}

#[tokio::test]
async fn a_metastore_that_is_not_there_leaves_the_alias_where_it_is() {
    let Some(lake) = Lake::new("away", Target::Delta, None).await else { return };
    let spec = std::fs::read_to_string(lake.world.spec()).unwrap();
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let away = spec.replace(&lake.server.uri(), &format!("thrift://127.0.0.1:{unused}"));
    std::fs::write(lake.world.spec(), away).unwrap();
    let error = {
        let steps = before("dual-write");
        lake.world.live(steps).await;
        lake.run(&["dual-write", "SPEC"]).await.unwrap_err()
    };
    let text = with_causes(&error);
    assert!(text.contains("did not answer") && text.contains(&format!("127.0.0.1:{unused}")), "{text}");
    assert_eq!(lake.at(), "flights");
}

/// Killed anywhere, the next run ends with the entry moved once. One migration goes there and back again for every point.
#[tokio::test]
async fn a_cutover_and_a_rollback_that_are_killed_anywhere_are_finished() {
    for command in ["cutover", "rollback"] {
        let Some(lake) = Lake::new(&format!("killed_{command}"), Target::Delta, None).await else { return };
        let before_all = lake.entry();
        lake.world.live(before("cutover")).await;
        let mut points = 0;
        loop {
            let mut struck = false;
            for plan in [FaultPlan::CrashBefore(points + 1), FaultPlan::CrashAfter(points + 1)] {
                if command == "rollback" {
                    lake.run(&["cutover", "SPEC"]).await.unwrap();
                }
                struck |= lake.killed(plan, command).await;
                let side = if command == "cutover" { "new" } else { "old" };
                match command {
                    "cutover" => assert_eq!(lake.at(), lake.new_name(), "{plan:?}"),
                    _ => assert_eq!(lake.entry(), before_all, "{plan:?}"),
                }
                assert_eq!(lake.run(&["status", "SPEC"]).await.unwrap()["live_side"], json!(side), "{command} {plan:?}");
                if command == "cutover" {
                    lake.run(&["rollback", "SPEC"]).await.unwrap();
                    assert_eq!(lake.entry(), before_all, "{plan:?}");
                }
                lake.run(&["validate", "SPEC"]).await.unwrap();
            }
            if !struck {
                break;
            }
            points += 1;
        }
        assert!(points > 3, "{command}: {points}");
    }
}
