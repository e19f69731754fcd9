//! Rogue writers on either side: found, named, in the way, and decided about.

use std::sync::Arc;

use lakeshift_testkit::{Counted, FaultPlan, FaultStore};
use rstest::rstest;
use serde_json::{Value, json};

use crate::life::{Step, before};
use crate::support::{Flight, Target, World, delta_file};

const LATE: &[Flight] = &[(60, "ORD", Some(12))];

async fn status(world: &World) -> Value {
    world.run(&["status", "SPEC"]).await.unwrap().json
}

/// A table of its own, so that a foreign file is not the source's.
fn world() -> World {
    World::in_memory(Target::Delta)
}

/// Somebody else commits rows, or none, to a Delta table that lies elsewhere.
async fn rogue_in_delta(world: &World, flights: &[Flight]) {
    let log = world.list("flights_delta/_delta_log").await;
    let last: u64 = log.iter().filter_map(|name| name.strip_suffix(".json")?.parse().ok()).max().unwrap();
    let mut actions = vec![json!({ "commitInfo": { "timestamp": 5, "operation": "WRITE" } })];
    if let Some((_, origin, _)) = flights.first() {
        let bytes = delta_file(5, flights);
        let name = format!("theirs-{last}.parquet");
        actions.push(json!({ "add": {
            "path": name, "partitionValues": { "origin": origin }, "size": bytes.len(), "modificationTime": 5,
            "dataChange": true, "stats": json!({ "numRecords": flights.len() }).to_string(),
        } }));
        world.put(&format!("flights_delta/{name}"), bytes).await;
    }
    let lines: Vec<_> = actions.iter().map(Value::to_string).collect();
    world.put(&format!("flights_delta/_delta_log/{:020}.json", last + 1), lines.join("\n")).await;
}

#[tokio::test]
async fn a_commit_of_another_to_the_new_table_is_named_and_blocks_even_after_the_mirror_has_committed_on_top() {
    let world = world();
    world.live(before("mirror")).await;
    rogue_in_delta(&world, LATE).await;
    let seen = status(&world).await;
    assert_eq!(seen["rogues"].as_array().unwrap().len(), 1, "{seen}");
    world.live(&[Step::Command(&["mirror", "SPEC"])]).await;
    let still = status(&world).await;
    assert_eq!(
        still["rogues"], seen["rogues"],
        "the mirror's own commit hides it from the table's marks, not from the journal"
    );
    assert_eq!(world.run(&["validate", "SPEC"]).await.unwrap().exit_code, 1, "a row too many");
    let refused = world.run(&["cutover", "SPEC"]).await.unwrap_err();
    assert!(refused.to_string().contains("somebody else has committed to the new table"), "{refused}");
    let refused = world.run(&["reconcile", "SPEC", "--adopt"]).await.unwrap_err();
    assert!(refused.to_string().contains("after a validation"), "{refused}");
}

/// Whatever the mirror has committed on top of it.
#[rstest]
#[tokio::test]
async fn a_commit_of_another_to_the_new_table_is_undone(#[values(Target::Delta, Target::Iceberg)] target: Target) {
    let world = World::in_memory(target);
    world.live(before("mirror")).await;
    world.write_new(target, 1, 5, LATE, &[]).await;
    world.live(&[Step::Command(&["mirror", "SPEC"])]).await;
    world.write_new(target, 2, 6, LATE, &[]).await;
    assert_eq!(status(&world).await["rogues"].as_array().unwrap().len(), 2);
    let done = world.run(&["reconcile", "SPEC", "--reject", "--reason", "a test job", "--by", "ann"]).await.unwrap();
    assert!(done.text.starts_with("rejected: the files"), "{}", done.text);
    assert_eq!(status(&world).await["rogues"], json!([]));
    assert_eq!(world.target_rows(target).await, world.source_rows().await);
    world.live(&[Step::Command(&["validate", "SPEC"]), Step::Command(&["cutover", "SPEC"])]).await;
    let history = world.run(&["history", "SPEC"]).await.unwrap().text;
    // However its lines are broken.
    let words = history.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("a test job") && words.contains("2 commits are taken out of it"), "{history}");
}

/// Its own rows came from there, and what came in their place may hold them.
#[tokio::test]
async fn a_commit_of_another_that_removed_files_is_not_undone() {
    let world = world();
    world.live(before("mirror")).await;
    let first = world.target_files(Target::Delta).await.remove(0);
    world.write_new(Target::Delta, 1, 5, LATE, std::slice::from_ref(&first)).await;
    let rows = world.target_rows(Target::Delta).await;
    let refused = world.run(&["reconcile", "SPEC", "--reject"]).await.unwrap_err();
    assert_eq!(refused.exit_code(), 4);
    assert!(refused.to_string().contains(&first) && refused.to_string().contains("own tools"), "{refused}");
    assert_eq!(world.target_rows(Target::Delta).await, rows);
    assert_eq!(status(&world).await["rogues"].as_array().unwrap().len(), 1, "it is still in the way");
}

/// Killed anywhere, what others added is out of the table in the end, and nothing else.
#[tokio::test]
async fn an_undoing_that_is_killed_anywhere_is_finished() {
    let rejected = world();
    rejected.live(before("cutover")).await;
    rejected.write_new(Target::Delta, 1, 5, LATE, &[]).await;
    let lived = async |plan: FaultPlan| {
        let world = rejected.copy();
        let faulty = Arc::new(FaultStore::new(world.store.clone(), plan).with_counted(Counted::Mutations));
        let command = ["reconcile", "SPEC", "--reject"];
        if world.run_on(faulty.clone(), &command).await.is_err() {
            world.wait(120);
            world.run(&command).await.unwrap();
        }
        assert_eq!(status(&world).await["rogues"], json!([]), "{plan:?}");
        assert_eq!(world.target_rows(Target::Delta).await, world.source_rows().await, "{plan:?}");
        assert!(faulty.has_struck() || plan == FaultPlan::None, "{plan:?} was not reached");
        faulty.mutations()
    };
    for number in 1..=lived(FaultPlan::None).await {
        for plan in [FaultPlan::CrashBefore(number), FaultPlan::CrashAfter(number), FaultPlan::LostResponse(number)] {
            lived(plan).await;
        }
    }
}

/// A commit that changes no rows, as a compaction would be.
#[tokio::test]
async fn a_commit_of_another_that_passes_validation_is_adopted_and_the_cutover_goes_on() {
    let world = world();
    world.live(before("mirror")).await;
    rogue_in_delta(&world, &[]).await;
    world.live(&[Step::Command(&["mirror", "SPEC"]), Step::Command(&["validate", "SPEC"])]).await;
    let refused = world.run(&["cutover", "SPEC"]).await.unwrap_err();
    assert!(refused.to_string().contains("somebody else"), "{refused}");
    let adopted = world.run(&["reconcile", "SPEC", "--adopt", "--reason", "a compaction", "--by", "ann"]).await.unwrap();
    assert!(adopted.text.starts_with("adopted"), "{}", adopted.text);
    assert_eq!(status(&world).await["rogues"], json!([]));
    world.run(&["cutover", "SPEC"]).await.unwrap();
    let history = world.run(&["history", "SPEC"]).await.unwrap().text;
    assert!(history.contains("reconciled") && history.contains("rogue_seen"), "{history}");
}

#[tokio::test]
async fn late_files_of_the_old_table_are_named_block_the_sunset_and_are_carried_over() {
    let world = World::in_memory(Target::Iceberg);
    world.live(before("rollback")).await;
    world.put_day(7, "late.parquet", LATE).await;
    assert_eq!(status(&world).await["rogues"], json!(["old table: +day=2001-01-07/late.parquet"]));
    world.wait(3700);
    let check = world.run(&["grace", "check", "SPEC"]).await.unwrap();
    assert_eq!(check.exit_code, 1);
    assert!(check.text.contains("since the cutover: +day=2001-01-07/late.parquet"), "{}", check.text);
    assert_eq!(world.run(&["sunset", "SPEC"]).await.unwrap_err().exit_code(), 4);
    world.run(&["reconcile", "SPEC", "--adopt", "--reason", "the nightly job was late"]).await.unwrap();
    assert_eq!(world.target_rows(Target::Iceberg).await, world.source_rows().await);
    assert_eq!(status(&world).await["rogues"], json!([]));
    assert_eq!(world.run(&["grace", "check", "SPEC"]).await.unwrap().exit_code, 0);
    world.run(&["rollback", "SPEC"]).await.unwrap();
    assert_eq!(world.target_rows(Target::Iceberg).await, world.source_rows().await);
    world.live(&[Step::Command(&["validate", "SPEC"]), Step::Command(&["cutover", "SPEC"])]).await;
}

#[tokio::test]
async fn late_files_of_the_old_table_may_be_rejected_and_go_with_it() {
    let world = World::in_memory(Target::Iceberg);
    world.live(before("rollback")).await;
    let rows = world.target_rows(Target::Iceberg).await;
    world.put_day(7, "late.parquet", LATE).await;
    world.wait(3700);
    world.run(&["reconcile", "SPEC", "--reject", "--reason", "a test of the old job"]).await.unwrap();
    assert_eq!(world.run(&["grace", "check", "SPEC"]).await.unwrap().exit_code, 0);
    world.put_day(7, "later.parquet", LATE).await;
    assert_eq!(
        world.run(&["sunset", "SPEC"]).await.unwrap_err().exit_code(),
        4,
        "what comes after the decision is not decided"
    );
    world.run(&["reconcile", "SPEC", "--reject"]).await.unwrap();
    world.live(&[Step::Command(&["sunset", "SPEC"]), Step::Wait(3700), Step::Command(&["sunset", "SPEC"])]).await;
    assert_eq!(world.target_rows(Target::Iceberg).await, rows);
}

#[tokio::test]
async fn a_late_replacement_in_the_old_table_is_never_carried_over() {
    let world = World::in_memory(Target::Iceberg);
    world.live(before("rollback")).await;
    let rows = world.target_rows(Target::Iceberg).await;
    world.put_day(1, "a.parquet", LATE).await;
    let refused = world.run(&["reconcile", "SPEC", "--adopt"]).await.unwrap_err();
    assert_eq!(refused.exit_code(), 4);
    assert!(refused.to_string().contains("day=2001-01-01/a.parquet"), "{refused}");
    assert_eq!(world.target_rows(Target::Iceberg).await, rows);
}

#[tokio::test]
async fn where_nobody_has_written_there_is_nothing_to_decide() {
    let world = world();
    world.live(before("cutover")).await;
    let answer = world.run(&["reconcile", "SPEC", "--adopt"]).await.unwrap();
    assert!(answer.text.starts_with("nobody has written"), "{}", answer.text);
    rogue_in_delta(&world, LATE).await;
    assert_eq!(world.run(&["cutover", "SPEC"]).await.unwrap_err().exit_code(), 4);
}
