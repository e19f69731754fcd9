//! The gates of the cutover, shown and forced.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use object_store::local::LocalFileSystem;
use rstest::rstest;
use serde_json::Value;

use crate::life::{LIFE, Step, before};
use crate::support::{Flight, Target, World, flat};

const LATE: &[Flight] = &[(60, "ORD", Some(12))];

fn shut(answer: &Value) -> Vec<&str> {
    let gates = answer["gates"].as_array().unwrap().iter();
    gates.filter(|gate| gate["pass"] == false).map(|gate| gate["gate"].as_str().unwrap()).collect()
}

async fn objects(world: &World) -> usize {
    futures::TryStreamExt::try_collect::<Vec<_>>(world.store.list(None)).await.unwrap().len()
}

#[tokio::test]
async fn a_dry_run_shows_every_gate_and_writes_nothing() {
    let world = World::in_memory(Target::Iceberg);
    world.live(before("cutover")).await;
    let count = objects(&world).await;
    let open = world.run(&["cutover", "SPEC", "--dry-run"]).await.unwrap();
    assert_eq!((open.exit_code, shut(&open.json)), (0, vec![]));
    assert!(flat(&open.text).contains("alias flights to iceberg memory:///lake/flights_iceberg"), "{}", open.text);
    world.put_day(4, "a.parquet", LATE).await;
    world.run(&["postpone", "SPEC", "--by", "ann", "--reason", "quarter end"]).await.unwrap();
    let answer = world.run(&["cutover", "SPEC", "--dry-run"]).await.unwrap();
    assert_eq!((answer.exit_code, shut(&answer.json)), (4, vec!["mirror", "certificate", "postponed"]));
    assert!(answer.text.contains("dry run: 3 gate(s) refuse"), "{}", answer.text);
    assert_eq!(objects(&world).await, count + 2, "the file of the source and the request to postpone");
}

#[tokio::test]
async fn a_gate_that_may_be_forced_is_and_who_and_why_stands_in_the_journal() {
    let world = World::in_memory(Target::Iceberg);
    world.live(before("validate")).await;
    world.run(&["postpone", "SPEC"]).await.unwrap();
    assert_eq!(world.run(&["cutover", "SPEC"]).await.unwrap_err().exit_code(), 4);
    let half = ["cutover", "SPEC", "--force", "certificate", "--reason", "seen by eye", "--by", "ann"];
    let error = world.run(&half).await.unwrap_err();
    assert!(error.to_string().contains("postponed") && !error.to_string().contains("validated"), "{error}");
    world.run(&[&half[..], &["--force", "postponed", "--force", "rogue_writer"]].concat()).await.unwrap();
    let history = world.run(&["history", "SPEC"]).await.unwrap();
    let entries = history.json["entries"].as_array().unwrap().iter();
    let forced: Vec<_> = entries.filter(|entry| entry["kind"] == "forced").map(|entry| entry["event"].clone()).collect();
    let gates: Vec<_> = forced.iter().map(|event| event["gate"].as_str().unwrap()).collect();
    assert_eq!(gates, ["certificate", "postponed"], "the gate of rogue writers was open");
    assert_eq!((&forced[0]["by"], &forced[0]["reason"]), (&"ann".into(), &"seen by eye".into()));
    assert_eq!(forced[0]["shut"][0], "the tables have not been validated");
}

#[tokio::test]
async fn no_force_opens_a_gate_behind_which_rows_would_be_lost() {
    let world = World::in_memory(Target::Iceberg);
    world.live(before("cutover")).await;
    world.put_day(4, "a.parquet", LATE).await;
    for gate in ["mirror", "runner", "commits", "phase", "spec", "alias"] {
        let force = ["cutover", "SPEC", "--force", gate, "--force", "certificate", "--reason", "hurry"];
        let error = world.run(&force).await.unwrap_err();
        assert_eq!(error.exit_code(), 4);
        assert!(error.to_string().contains("cannot be forced"), "{gate}: {error}");
    }
    world.live(&[Step::Command(&["mirror", "SPEC"]), Step::Command(&["validate", "SPEC"])]).await;
    world.run(&["cutover", "SPEC"]).await.unwrap();
}

#[tokio::test]
async fn a_pass_that_is_older_than_the_spec_allows_is_no_pass() {
    let world = World::in_memory(Target::Iceberg);
    world.write_spec(Target::Iceberg, "validation: {freshness: 6h}\n");
    world.live(before("cutover")).await;
    world.wait(6 * 3600 + 60);
    let error = world.run(&["cutover", "SPEC"]).await.unwrap_err();
    assert!(error.to_string().contains("older than validation.freshness allows (360 min)"), "{error}");
    world.run(&["validate", "SPEC"]).await.unwrap();
    world.run(&["cutover", "SPEC"]).await.unwrap();
}

/// Makes a Parquet file as large as it says, though it takes no room: with a hole between its rows and its footer.
fn inflate(file: &Path, bytes: u64) {
    let whole = std::fs::read(file).unwrap();
    let length: [u8; 4] = whole[whole.len() - 8..whole.len() - 4].try_into().unwrap();
    let (rows, footer) = whole.split_at(whole.len() - 8 - u32::from_le_bytes(length) as usize);
    let mut file = File::create(file).unwrap();
    file.write_all(rows).unwrap();
    file.seek(SeekFrom::Start(bytes - footer.len() as u64)).unwrap();
    file.write_all(footer).unwrap();
}

/// A tebibyte came on one day: an old table that is kept for a hundred years gets more than any disk holds.
#[rstest]
#[case::for_an_hour("1h", 1 << 20, true)]
#[case::for_a_hundred_years("36500d", 1 << 40, false)]
#[tokio::test]
async fn a_disk_without_room_for_a_rollback_keeps_readers_where_they_are(
    #[case] grace: &str,
    #[case] bytes: u64,
    #[case] has_room: bool,
) {
    let folder = tempfile::tempdir().unwrap();
    let root = format!("file://{}", folder.path().display());
    let world = World::on(Arc::new(LocalFileSystem::new()), &root, Target::Iceberg);
    let spec = std::fs::read_to_string(world.spec()).unwrap();
    std::fs::write(world.spec(), spec.replace("grace: 1h", &format!("grace: {grace}"))).unwrap();
    world.live(before("mirror")).await;
    world.put_day(4, "large.parquet", LATE).await;
    inflate(&folder.path().join("flights/day=2001-01-04/large.parquet"), bytes);
    world.live(&LIFE[before("mirror").len()..before("cutover").len()]).await;
    let answer = world.run(&["cutover", "SPEC", "--dry-run"]).await.unwrap();
    assert_eq!(shut(&answer.json), if has_room { vec![] } else { vec!["disk"] });
    if has_room {
        return;
    }
    let error = world.run(&["cutover", "SPEC"]).await.unwrap_err();
    assert!(error.exit_code() == 4 && error.to_string().contains("the reverse mirror may bring"), "{error}");
    world.does(&["cutover", "SPEC", "--force", "disk", "--reason", "a larger disk comes tomorrow"]).await;
    assert_eq!(world.does(&["status", "SPEC"]).await.json["live_side"], "new");
}
