//! Reader groups: moved one after the other, watched, taken back, and found where they are after any crash.

use std::sync::Arc;

use lakeshift::error::{Error, with_causes};
use lakeshift_testkit::{Counted, FaultPlan, FaultStore};
use serde_json::{Value, json};

use crate::life::before;
use crate::support::{Flight, Target, World, real_moment};

const LATE: &[Flight] = &[(60, "ORD", Some(12))];

/// Three groups; the health command of `batch` is `health`. FILE is a file of the world, whose path is given.
fn world(health: &str, bake: &str) -> (World, String) {
    let world = World::in_memory(Target::Iceberg);
    let file = world.write_file("health.txt", "");
    world.write_spec(Target::Iceberg, "");
    let spec = std::fs::read_to_string(world.spec()).unwrap();
    let cutover = format!(
        "cutover:\n  alias: flights\n  stages:\n    - {{name: canary, alias: flights.canary, bake: {bake}}}\n    - {{name: batch, \
         alias: flights.batch, bake: {bake}, health: [sh, -c, '{}']}}\n",
        health.replace("FILE", &file)
    );
    std::fs::write(world.spec(), spec.replace("cutover: {alias: flights}\n", &cutover)).unwrap();
    (world, file)
}

async fn status(world: &World) -> Value {
    world.run(&["status", "SPEC"]).await.unwrap().json
}

async fn sides(world: &World) -> Vec<String> {
    let status = status(world).await;
    let groups = status["groups"].as_array().unwrap().iter();
    groups.map(|group| format!("{} {}", group["name"].as_str().unwrap(), group["side"].as_str().unwrap())).collect()
}

async fn resolved(world: &World, alias: &str) -> String {
    let control = format!("{}/control", world.root);
    world.run(&["resolve", alias, "--control", &control]).await.unwrap().text
}

/// Waits until the first group has moved.
async fn until_the_canary_moved(world: &World) {
    while sides(world).await[0] != "canary new" {
        real_moment().await;
    }
}

#[tokio::test]
async fn groups_move_in_order_and_are_told_in_status_and_dry_run() {
    let (world, file) = world("echo $LAKESHIFT_GROUP $LAKESHIFT_ALIAS $LAKESHIFT_FORMAT $LAKESHIFT_LOCATION >> FILE", "0s");
    world.live(before("cutover")).await;
    assert_eq!(resolved(&world, "flights.canary").await, format!("{}/flights", world.root), "dual write points every alias");
    let dry = world.run(&["cutover", "SPEC", "--dry-run"]).await.unwrap();
    assert_eq!(dry.json["steps"].as_array().unwrap().len(), 4, "three switches and a watch: {}", dry.text);
    world.run(&["cutover", "SPEC"]).await.unwrap();
    assert_eq!(sides(&world).await, ["canary new", "batch new", "all new"]);
    for alias in ["flights.canary", "flights.batch", "flights"] {
        assert_eq!(resolved(&world, alias).await, format!("{}/flights_iceberg", world.root));
    }
    let told = std::fs::read_to_string(file).unwrap();
    assert_eq!(told, format!("batch flights.batch iceberg {}/flights_iceberg\n", world.root));
    world.run(&["rollback", "SPEC"]).await.unwrap();
    assert_eq!(sides(&world).await, ["canary old", "batch old", "all old"]);
    assert_eq!(status(&world).await["phase"], "validation");
}

#[tokio::test]
async fn a_group_that_is_not_well_takes_every_group_back() {
    let (world, file) = world("echo x >> FILE; test $(wc -l < FILE) -lt 2 || { echo slow queries >&2; exit 1; }", "60s");
    world.live(before("cutover")).await;
    let error = world.while_time_passes(world.run(&["cutover", "SPEC"])).await.unwrap_err();
    assert_eq!(error.exit_code(), 4);
    assert!(matches!(error, Error::StageFailed { .. }) && error.to_string().contains("slow queries"), "{error}");
    assert_eq!(std::fs::read_to_string(file).unwrap().lines().count(), 2, "well at once, and not well later");
    assert_eq!(sides(&world).await, ["canary old", "batch old", "all old"]);
    let status = status(&world).await;
    assert_eq!((&status["phase"], &status["stage_failed"]), (&"validation".into(), &Value::Null));
    let history = world.run(&["history", "SPEC"]).await.unwrap().text;
    assert!(history.contains("stage_passed") && history.contains("stage_failed"), "{history}");
}

#[tokio::test]
async fn what_is_written_while_a_group_is_watched_reaches_it_and_is_validated_before_the_next_moves() {
    let (world, _) = world("true", "300s");
    world.live(before("cutover")).await;
    let writer = async {
        until_the_canary_moved(&world).await;
        assert_eq!(sides(&world).await[1], "batch old");
        world.put_day(8, "bake.parquet", LATE).await;
    };
    let (answer, ()) = tokio::join!(world.while_time_passes(world.run(&["cutover", "SPEC"])), writer);
    answer.unwrap_or_else(|error| panic!("{}", with_causes(&error)));
    assert_eq!(sides(&world).await, ["canary new", "batch new", "all new"]);
    assert_eq!(world.target_rows(Target::Iceberg).await, world.source_rows().await);
}

#[tokio::test]
async fn a_postponement_between_two_groups_holds_the_second_and_resume_goes_on() {
    let (world, _) = world("true", "300s");
    world.live(before("cutover")).await;
    let operator = async {
        until_the_canary_moved(&world).await;
        world.run(&["postpone", "SPEC", "--reason", "wait"]).await.unwrap();
    };
    let (answer, ()) = tokio::join!(world.while_time_passes(world.run(&["cutover", "SPEC"])), operator);
    assert_eq!(answer.unwrap_err().exit_code(), 4);
    assert_eq!(sides(&world).await, ["canary new", "batch old", "all old"]);
    let between = status(&world).await;
    assert_eq!((&between["phase"], &between["next_steps"][0]), (&"cutover".into(), &"cutover --resume".into()));
    world.run(&["postpone", "SPEC", "--clear"]).await.unwrap();
    world.while_time_passes(world.run(&["cutover", "SPEC", "--resume"])).await.unwrap();
    assert_eq!(sides(&world).await, ["canary new", "batch new", "all new"]);
    let error = world.run(&["rollback", "SPEC"]).await.and(world.run(&["cutover", "SPEC", "--resume"]).await).unwrap_err();
    assert!(error.to_string().contains("no cutover is under way"), "{error}");
}

/// The process dies before and after every mutation of a cutover in three groups, and of the way back when a group is not
/// well. After each, status says where every group reads, as the aliases do; and one command ends it.
#[tokio::test]
async fn a_cutover_that_dies_anywhere_is_told_truly_and_ends_forward_or_back() {
    for (health, end) in [("true", "new"), ("false", "old")] {
        let mut points = 0;
        let (waiting, _) = world(health, "0s");
        waiting.live(before("cutover")).await;
        'points: for point in 1.. {
            for fault in [FaultPlan::CrashBefore(point), FaultPlan::CrashAfter(point)] {
                let world = waiting.copy();
                let store = FaultStore::new(world.store.clone(), fault).with_counted(Counted::Mutations);
                let store = Arc::new(store);
                let _ = world.run_on(store.clone(), &["cutover", "SPEC"]).await;
                if !store.has_struck() {
                    break 'points;
                }
                points += 1;
                world.wait(120);
                told_truly(&world, fault).await;
                ended(&world, end, fault).await;
            }
        }
        assert!(points > 20, "{points} points");
    }
}

/// What the journal says of the groups is what the aliases say, but for a switch that is still pending.
async fn told_truly(world: &World, fault: FaultPlan) {
    let mut differing = 0;
    for (group, alias) in sides(world).await.iter().zip(["flights.canary", "flights.batch", "flights"]) {
        let is_new = resolved(world, alias).await.ends_with("_iceberg");
        differing += usize::from(group.ends_with("new") != is_new);
    }
    assert!(differing <= 1, "{fault:?}");
}

async fn ended(world: &World, end: &str, fault: FaultPlan) {
    match world.run(&["cutover", "SPEC"]).await {
        Ok(_) => assert_eq!(end, "new", "{fault:?}"),
        Err(error) => {
            assert_eq!((end, error.exit_code()), ("old", 4), "{fault:?}: {}", with_causes(&error));
            world.run(&["rollback", "SPEC"]).await.unwrap();
        }
    }
    let groups = ["canary", "batch", "all"].map(|group| format!("{group} {end}"));
    assert_eq!(sides(world).await, groups, "{fault:?}");
    told_truly(world, fault).await;
    assert_eq!(status(world).await["stage_failed"], json!(null), "{fault:?}");
    let rows = world.target_rows(Target::Iceberg).await;
    assert_eq!(rows, world.source_rows().await, "{fault:?}");
}
