//! Live control: requests from another machine reach a runner at work, or the next one.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lakeshift::error::Error;
use lakeshift_journal::Clock;
use lakeshift_testkit::{FaultPlan, FaultStore, Gate, OperationKind};
use object_store::path::Path;
use rstest::rstest;
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::life::{LIFE, before};
use crate::support::{Flight, Target, World, real_moment};

const LATE: &[Flight] = &[(60, "ORD", Some(12))];

/// The kinds of journal entries with what was asked, oldest first.
async fn controlled(world: &World) -> Vec<String> {
    let history = world.run(&["history", "SPEC"]).await.unwrap().json;
    let entries = history["entries"].as_array().unwrap().iter();
    let asked = entries.filter(|entry| entry["kind"] == "controlled");
    asked.map(|entry| entry["event"]["request"]["kind"].as_str().unwrap().to_owned()).collect()
}

async fn status(world: &World) -> Value {
    world.run(&["status", "SPEC"]).await.unwrap().json
}

/// Lets `seconds` pass in small steps, and whoever runs beside go on.
async fn pass(world: &World, seconds: u64) {
    for _ in 0..seconds {
        world.clock.advance(Duration::from_secs(1));
        real_moment().await;
    }
}

/// Also where no row passes through the program: adopted files are held between waves.
#[rstest]
#[tokio::test]
async fn a_paused_backfill_waits_with_its_lease_until_another_machine_lets_it_go_on(
    #[values(Target::Iceberg, Target::DeltaInPlace)] target: Target,
) {
    let world = World::in_memory(target);
    world.live(before("backfill")).await;
    world.run(&["pause", "SPEC", "--reason", "month end", "--by", "ann"]).await.unwrap();
    let paused = status(&world).await;
    assert_eq!((&paused["controls"]["paused"]["by"], &paused["controls_honoured"]), (&"ann".into(), &0.into()));
    let runner = world.run(&["backfill", "SPEC"]);
    let operator = async {
        pass(&world, 300).await;
        let waiting = status(&world).await;
        assert_eq!(waiting["phase"], "backfill", "no unit was moved: {waiting}");
        assert!(waiting["runner"]["holder"].is_string(), "the lease is renewed through five minutes: {waiting}");
        assert_eq!(waiting["controls_honoured"], 1, "the runner has recorded what it honours: {waiting}");
        world.run(&["resume", "SPEC"]).await.unwrap();
        pass(&world, 20).await;
    };
    let (ran, ()) = tokio::join!(runner, operator);
    ran.unwrap();
    assert_eq!(status(&world).await["phase"], "validation");
    assert_eq!(controlled(&world).await, ["pause", "resume"]);
}

#[tokio::test]
async fn a_follower_is_paused_while_it_follows() {
    let world = World::in_memory(Target::Iceberg);
    world.live(before("mirror")).await;
    let (stopper, stop) = lakeshift::stop::channel();
    let follower = world.run_until(stop, &["mirror", "SPEC", "--follow"]);
    let operator = async {
        pass(&world, 40).await;
        world.run(&["pause", "SPEC"]).await.unwrap();
        pass(&world, 20).await;
        let rounds = status(&world).await["mirror"]["rounds"].clone();
        world.put_day(9, "paused.parquet", LATE).await;
        pass(&world, 200).await;
        assert_eq!(status(&world).await["mirror"]["rounds"], rounds, "nothing is carried over while paused");
        world.run(&["resume", "SPEC"]).await.unwrap();
        pass(&world, 80).await;
        assert_ne!(status(&world).await["mirror"]["rounds"], rounds, "it is carried over now");
        stopper.stop();
        pass(&world, 20).await;
    };
    let (followed, ()) = tokio::join!(follower, operator);
    followed.unwrap();
}

#[tokio::test]
async fn a_command_that_looks_once_does_not_wait_for_a_pause_to_end() {
    let world = World::in_memory(Target::Iceberg);
    world.live(before("mirror")).await;
    world.run(&["pause", "SPEC", "--reason", "month end"]).await.unwrap();
    let error = world.run(&["mirror", "SPEC"]).await.unwrap_err();
    assert!(matches!(error, Error::Paused { .. }), "{error}");
    assert_eq!(error.exit_code(), 5);
    assert!(error.to_string().contains("month end"), "{error}");
    world.run(&["resume", "SPEC"]).await.unwrap();
    world.run(&["mirror", "SPEC"]).await.unwrap();
}

#[tokio::test]
async fn a_throttle_reaches_a_backfill_and_takes_its_time() {
    let elapsed = async |limits: &[&str]| {
        let world = World::in_memory(Target::Iceberg);
        world.live(before("backfill")).await;
        if !limits.is_empty() {
            world.run(&[&["throttle", "SPEC"], limits].concat()).await.unwrap();
        }
        let began = world.clock.elapsed();
        let (ran, ()) = tokio::join!(world.run(&["backfill", "SPEC"]), pass(&world, 0));
        ran.unwrap();
        (world.clock.elapsed() - began, world)
    };
    let (fast, _) = elapsed(&[]).await;
    let (slow, world) = elapsed(&["--bytes-per-second", "100B"]).await;
    assert!(fast < Duration::from_secs(2) && slow > Duration::from_secs(10), "{fast:?} {slow:?}");
    assert_eq!(controlled(&world).await, ["throttle"]);
    let (few, _) = elapsed(&["--requests-per-second", "1"]).await;
    assert!(few > Duration::from_secs(10), "{few:?}");
    let (wide, world) = elapsed(&["--concurrency", "2"]).await;
    assert!(wide < Duration::from_secs(2));
    let text = world.run(&["throttle", "SPEC", "--reset"]).await.unwrap().text;
    assert!(text.contains("asked to throttle to the spec's limits (request 2); nobody is at work"), "{text}");
    assert_eq!(world.run(&["throttle", "SPEC"]).await.unwrap_err().exit_code(), 2);
}

/// Data files of the new table that were opened, each once.
fn opened(store: &FaultStore) -> BTreeSet<String> {
    let gets = store.history().into_iter().filter(|operation| is_data(operation.kind, &operation.path));
    gets.map(|get| get.path.to_string()).collect()
}

fn is_data(kind: OperationKind, path: &Path) -> bool {
    let path = path.as_ref();
    kind == OperationKind::Get && path.contains("flights_iceberg") && path.ends_with(".parquet")
}

#[tokio::test]
async fn a_validation_stands_still_while_it_is_paused_and_follows_new_limits() {
    let world = World::in_memory(Target::Iceberg);
    world.live(before("validate")).await;
    world.run(&["throttle", "SPEC", "--bytes-per-second", "1B"]).await.unwrap();
    let store = Arc::new(FaultStore::new(world.store.clone(), FaultPlan::None));
    let runner = world.run_on(store.clone(), &["validate", "SPEC"]);
    let operator = async {
        while opened(&store).is_empty() {
            pass(&world, 1).await;
        }
        world.run(&["pause", "SPEC"]).await.unwrap();
        pass(&world, 20).await;
        let before = opened(&store);
        world.run(&["throttle", "SPEC", "--bytes-per-second", "unlimited"]).await.unwrap();
        pass(&world, 100).await;
        let waiting = status(&world).await;
        assert_eq!((opened(&store), &waiting["validation"]), (before, &Value::Null), "nothing is read: {waiting}");
        assert!(waiting["runner"]["holder"].is_string(), "the lease is renewed: {waiting}");
        world.run(&["resume", "SPEC"]).await.unwrap();
        pass(&world, 20).await;
    };
    let (ran, ()) = tokio::join!(runner, operator);
    ran.unwrap();
    assert!(opened(&store).len() > 2, "{:?}", opened(&store));
    assert_eq!(status(&world).await["validation"]["verdict"], "PASS");
    assert_eq!(controlled(&world).await, ["throttle", "pause", "throttle", "resume"]);
}

#[tokio::test]
async fn a_validation_that_is_paused_before_it_begins_looks_at_the_tables_after_it() {
    let world = World::in_memory(Target::Iceberg);
    world.live(before("validate")).await;
    world.run(&["pause", "SPEC"]).await.unwrap();
    let store = Arc::new(FaultStore::new(world.store.clone(), FaultPlan::None));
    let runner = world.run_on(store.clone(), &["validate", "SPEC"]);
    let operator = async {
        pass(&world, 60).await;
        assert_eq!(opened(&store).len(), 0);
        world.run(&["resume", "SPEC"]).await.unwrap();
        pass(&world, 20).await;
    };
    let (ran, ()) = tokio::join!(runner, operator);
    assert_eq!(ran.unwrap().json["verdict"], "PASS");
}

#[tokio::test]
async fn a_throttle_reaches_a_validation() {
    let validated = async |limits: &[&str]| {
        let world = World::in_memory(Target::Iceberg);
        world.live(before("validate")).await;
        world.run(&[&["throttle", "SPEC"], limits].concat()).await.unwrap();
        let began = world.clock.elapsed();
        // Everything is read, the old table's files too, of which nobody tells how many rows they have.
        let words = ["validate", "SPEC", "--read-all"];
        let ran = world.run(&words).await.unwrap();
        assert_eq!(ran.json["verdict"], "PASS");
        world.clock.elapsed() - began
    };
    let free = validated(&["--bytes-per-second", "unlimited"]).await;
    let slow = validated(&["--bytes-per-second", "100B"]).await;
    assert!(slow > free + Duration::from_secs(20), "{free:?} {slow:?}");
    let few = validated(&["--requests-per-second", "1"]).await;
    assert!(few > free + Duration::from_secs(10), "{free:?} {few:?}");
}

/// Units of the comparison are files: so many of a side are open at once.
/// Every read of a data file is held until nothing else comes, and then one of them is let go.
#[tokio::test]
async fn a_validation_reads_as_many_files_at_once_as_is_asked_for() {
    for (concurrency, wanted) in [("1", 1), ("3", 3)] {
        let world = World::in_memory(Target::Iceberg);
        world.live(before("validate")).await;
        world.run(&["throttle", "SPEC", "--concurrency", concurrency]).await.unwrap();
        let (held, permits) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Semaphore::new(0)));
        let (holding, let_go) = (held.clone(), permits.clone());
        let gate: Gate = Arc::new(move |kind, path: &Path| {
            let (path, holding, let_go) = (path.clone(), holding.clone(), let_go.clone());
            Box::pin(async move {
                if is_data(kind, &path) {
                    holding.lock().unwrap().push(path.clone());
                    let_go.acquire().await.unwrap().forget();
                    let mut holding = holding.lock().unwrap();
                    let at = holding.iter().position(|one| *one == path).unwrap();
                    holding.remove(at);
                }
                None
            })
        });
        let store = Arc::new(FaultStore::new(world.store.clone(), FaultPlan::None).with_gate(gate));
        let mut runner = Box::pin(world.run_on(store.clone(), &["validate", "SPEC"]));
        let (mut most, mut before, mut still) = (0, 0, 0);
        let ran = loop {
            tokio::select! {
                ran = &mut runner => break ran,
                () = real_moment() => {}
            }
            let files: BTreeSet<_> = held.lock().unwrap().iter().cloned().collect();
            most = most.max(files.len());
            let operations = store.operations();
            still = if operations == before && !files.is_empty() { still + 1 } else { 0 };
            before = operations;
            if still == 10 {
                permits.add_permits(1);
                still = 0;
            }
        };
        assert_eq!((ran.unwrap().exit_code, most), (0, wanted), "{:#?}", store.history());
        assert!(opened(&store).len() >= 3, "too few files for a limit of three");
    }
}

#[tokio::test]
async fn a_postponed_cutover_is_refused_until_the_hold_is_cleared() {
    let world = World::in_memory(Target::DeltaInPlace);
    world.live(before("cutover")).await;
    world.run(&["postpone", "SPEC", "--reason", "quarter end", "--by", "ann"]).await.unwrap();
    let error = world.run(&["cutover", "SPEC"]).await.unwrap_err();
    assert_eq!(error.exit_code(), 4);
    assert!(error.to_string().contains("postponed by ann") && error.to_string().contains("quarter end"), "{error}");
    world.run(&["postpone", "SPEC", "--clear"]).await.unwrap();
    world.run(&["cutover", "SPEC"]).await.unwrap();
    assert_eq!(controlled(&world).await, ["postpone", "clear_postpone"]);
}

#[tokio::test]
async fn a_request_that_is_gone_or_garbled_stops_a_runner_and_is_named() {
    let world = World::in_memory(Target::DeltaInPlace);
    world.live(before("backfill")).await;
    world.run(&["pause", "SPEC"]).await.unwrap();
    let object = "control/migrations/flights/control/00000000000000000001.json";
    let pause = world.get(&format!("{}/{object}", world.root)).await;
    let garbled = String::from_utf8(pause.to_vec()).unwrap().replace("\"pause\"", "\"stop\"");
    world.put(object, garbled).await;
    for run in [["backfill", "SPEC"], ["status", "SPEC"]] {
        let error = world.run(&run).await.unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
        assert!(error.to_string().contains("00000000000000000001.json"), "{error}");
    }
    world.put(object, pause).await;
    world.run(&["resume", "SPEC"]).await.unwrap();
    world.delete(object).await;
    let error = world.run(&["backfill", "SPEC"]).await.unwrap_err();
    assert!(error.to_string().contains("is missing"), "{error}");
}

#[tokio::test]
async fn what_is_over_takes_no_requests() {
    let world = World::in_memory(Target::DeltaInPlace);
    world.live(LIFE).await;
    assert_eq!(world.run(&["pause", "SPEC"]).await.unwrap_err().exit_code(), 4);
}
