//! The reverse mirror: what others write to the new table after the cutover is in the old one when readers go back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lakeshift::error::Error;
use lakeshift_testkit::{FaultPlan, FaultStore, Gate};
use rstest::rstest;
use serde_json::Value;

use crate::life::{Step, before};
use crate::support::{Flight, Target, World, flat};

const NEW: &[Flight] = &[(61, "ORD", Some(100)), (62, "ORD", None)];
const NEWER: &[Flight] = &[(63, "ORD", Some(101))];

async fn status(world: &World) -> Value {
    world.run(&["status", "SPEC"]).await.unwrap().json
}

fn command(words: &'static [&'static str]) -> Step {
    Step::Command(words)
}

async fn equal(world: &World, target: Target) -> Vec<String> {
    let (old, new) = (world.source_rows().await, world.target_rows(target).await);
    assert_eq!(old, new);
    new
}

/// Everything but the folder that both share.
const APART: [Target; 4] = [Target::Iceberg, Target::Delta, Target::IcebergAdopted, Target::IcebergSpliced];

#[rstest]
#[tokio::test]
async fn what_others_wrote_to_the_new_table_is_in_the_old_one_after_a_rollback(
    #[values(Target::Iceberg, Target::Delta, Target::IcebergAdopted, Target::IcebergSpliced)] target: Target,
) {
    let world = World::in_memory(target);
    world.live(before("rollback")).await;
    let at_first = equal(&world, target).await;
    world.write_new(target, 1, 3, NEW, &[]).await;
    world.live(&[command(&["mirror", "SPEC"])]).await;
    assert_eq!(equal(&world, target).await.len(), at_first.len() + NEW.len());
    let seen = status(&world).await;
    assert_eq!((&seen["rogues"], &seen["reverse"]["rounds"]), (&serde_json::json!([]), &1.into()), "{seen}");
    // A file of theirs goes, and one comes that no round has seen when readers go back.
    world.write_new(target, 2, 9, NEWER, &["theirs-1.parquet".to_owned()]).await;
    let back = world.run(&["rollback", "SPEC"]).await.unwrap();
    assert!(back.text.contains("with 2 file(s)"), "{}", back.text);
    assert_eq!(equal(&world, target).await.len(), at_first.len() + NEWER.len());
    // Both tables go on from there, in either direction.
    world.put_day(9, "more.parquet", NEW).await;
    world.live(&[command(&["mirror", "SPEC"])]).await;
    assert_eq!(equal(&world, target).await.len(), at_first.len() + NEWER.len() + NEW.len());
    world.live(&[command(&["validate", "SPEC"]), command(&["cutover", "SPEC"])]).await;
    world.write_new(target, 3, 10, NEWER, &[]).await;
    world.live(&[command(&["rollback", "SPEC"]), command(&["validate", "SPEC"])]).await;
    assert_eq!(equal(&world, target).await.len(), at_first.len() + 2 * NEWER.len() + NEW.len());
}

/// The files that the migration itself wrote or registered are compacted, one by one and all into one.
#[rstest]
#[tokio::test]
async fn a_compaction_of_the_new_table_takes_the_old_files_along(
    #[values(Target::Iceberg, Target::Delta, Target::IcebergAdopted, Target::IcebergSpliced)] target: Target,
) {
    let world = World::in_memory(target);
    world.live(before("rollback")).await;
    let mut expected = equal(&world, target).await.len();
    for number in 1.. {
        let files = world.target_files(target).await;
        let Some(first) = files.into_iter().find(|file| !file.contains("theirs")) else { break };
        let before = world.target_rows(target).await.len();
        world.write_new(target, 2 * number, 20, &[], &[first]).await;
        expected -= before - world.target_rows(target).await.len();
        world.write_new(target, 2 * number + 1, 20, NEW, &[]).await;
        expected += NEW.len();
        world.live(&[command(&["mirror", "SPEC"])]).await;
        assert_eq!(equal(&world, target).await.len(), expected, "after {number}");
    }
    let files = world.target_files(target).await;
    world.write_new(target, 1000, 21, NEWER, &files).await;
    world.live(&[command(&["rollback", "SPEC"]), command(&["validate", "SPEC"])]).await;
    assert_eq!(equal(&world, target).await.len(), NEWER.len());
    // The old table's writer replaces what was carried back.
    let names = world.list("flights/day=2001-01-21").await;
    assert_eq!(names.len(), 1, "{names:?}");
    world.put_day(21, &names[0], NEW).await;
    world.put_day(22, "own.parquet", NEWER).await;
    world.live(&[command(&["mirror", "SPEC"]), command(&["validate", "SPEC"])]).await;
    assert_eq!(equal(&world, target).await.len(), NEW.len() + NEWER.len());
}

#[tokio::test]
async fn after_a_rollback_the_old_tables_deletes_reach_what_others_had_written_to_the_new_one() {
    for target in APART {
        let world = World::in_memory(target);
        world.live(before("rollback")).await;
        let at_first = equal(&world, target).await;
        world.write_new(target, 1, 3, NEW, &[]).await;
        world.live(&[command(&["rollback", "SPEC"])]).await;
        let names = world.list("flights/day=2001-01-03").await;
        let ours = names.iter().find(|name| name.starts_with("ls.")).unwrap();
        world.delete_day(3, ours).await;
        world.live(&[command(&["mirror", "SPEC"]), command(&["validate", "SPEC"])]).await;
        assert_eq!(equal(&world, target).await, at_first, "{target:?}");
    }
}

#[tokio::test]
async fn a_write_that_comes_while_readers_go_back_is_carried_by_another_rollback() {
    let (target, world) = (Target::Delta, World::in_memory(Target::Delta));
    world.live(before("rollback")).await;
    world.live(&[command(&["rollback", "SPEC"])]).await;
    world.write_new(target, 1, 3, NEW, &[]).await;
    assert_eq!(status(&world).await["rogues"].as_array().unwrap().len(), 1);
    let answer = world.run(&["rollback", "SPEC"]).await.unwrap();
    assert!(answer.text.contains("with 1 file(s)"), "{}", answer.text);
    equal(&world, target).await;
    assert_eq!(status(&world).await["rogues"], serde_json::json!([]));
    world.live(&[command(&["validate", "SPEC"]), command(&["cutover", "SPEC"])]).await;
}

/// Nothing may be given up without a word where nothing can be carried back.
#[rstest]
#[case::off("cutover: {alias: flights}", "cutover: {alias: flights, reverse: false}", "cutover.reverse is off")]
#[case::dropped("partitioning: [origin]", "partitioning: [origin]\n  drop: [delay]", "target.drop")]
#[case::computed("apiVersion", "transform: {sql: 'SELECT at, origin, delay, day FROM source'}\napiVersion", "transform.sql")]
#[tokio::test]
async fn where_nothing_can_be_carried_back_a_rollback_that_loses_writes_is_refused(
    #[case] from: &str,
    #[case] to: &str,
    #[case] why: &str,
) {
    let (target, world) = (Target::Delta, World::in_memory(Target::Delta));
    let spec = std::fs::read_to_string(world.spec()).unwrap();
    assert!(spec.contains(from));
    std::fs::write(world.spec(), spec.replace(from, to)).unwrap();
    world.live(before("rollback")).await;
    world.write_new(target, 1, 3, if why == "target.drop" { &[] } else { NEW }, &[]).await;
    let refused = world.run(&["mirror", "SPEC"]).await.unwrap_err();
    assert!(matches!(refused, Error::Irreversible { .. }), "{refused}");
    assert!(refused.to_string().contains(why), "{refused}");
    let refused = world.run(&["rollback", "SPEC"]).await.unwrap_err();
    assert!(refused.to_string().contains("--accept-loss"), "{refused}");
    world.live(&[command(&["rollback", "SPEC", "--accept-loss"])]).await;
}

/// Just before the pointer moves back, when the last look is over.
#[tokio::test]
async fn what_is_written_in_the_moment_of_the_switch_is_carried_back_by_the_same_rollback() {
    let (target, world) = (Target::Delta, Arc::new(World::in_memory(Target::Delta)));
    world.live(before("rollback")).await;
    let (writer, has_written) = (world.clone(), Arc::new(AtomicBool::new(false)));
    let gate: Gate = Arc::new(move |kind, path| {
        let is_switch = kind.is_mutation() && path.as_ref().contains("/aliases/flights/");
        let writes = is_switch && !has_written.swap(true, Ordering::Relaxed);
        let writer = writer.clone();
        Box::pin(async move {
            if writes {
                writer.write_new(target, 1, 3, NEW, &[]).await;
            }
            None
        })
    });
    let store = Arc::new(FaultStore::new(world.store.clone(), FaultPlan::None).with_gate(gate));
    let back = world.run_on(store, &["rollback", "SPEC"]).await.unwrap();
    assert!(back.text.contains("with 1 file(s)"), "{}", back.text);
    assert!(equal(&world, target).await.iter().any(|row| row.contains("ORD|100")));
    assert_eq!(status(&world).await["rogues"], serde_json::json!([]));
    world.live(&[command(&["validate", "SPEC"]), command(&["cutover", "SPEC"])]).await;
}

/// A column that has another name and type in the new table has its own again in the old one.
#[tokio::test]
async fn renamed_and_narrowed_columns_are_carried_back_as_they_were() {
    let (target, world) = (Target::Delta, World::in_memory(Target::Delta));
    let spec = std::fs::read_to_string(world.spec()).unwrap();
    let columns = "partitioning: [origin]\n  columns: [{name: minutes, from: delay, type: int32}, '*']";
    std::fs::write(world.spec(), spec.replace("partitioning: [origin]", columns)).unwrap();
    world.live(before("rollback")).await;
    let before = world.source_rows().await;
    let first = world.target_files(target).await.remove(0);
    let rows = world.target_rows(target).await.len();
    world.write_new(target, 1, 20, &[], &[first]).await;
    world.live(&[command(&["mirror", "SPEC"]), command(&["validate", "SPEC"])]).await;
    let after = world.source_rows().await;
    assert_eq!(before.len() - after.len(), rows - world.target_rows(target).await.len());
    assert!(!after.is_empty() && after.iter().all(|row| before.contains(row)), "{after:?} of {before:?}");
    assert!(
        world.objects_below("flights").await.iter().any(|path| path.contains("/day=") && path.contains("/ls.flights.r"))
    );
}

/// What a spec adds the old table never had: its rows come back as they were, and the plan tells what stays behind.
#[tokio::test]
async fn a_column_that_the_spec_adds_stays_in_the_new_table_when_rows_are_carried_back() {
    let (target, world) = (Target::Delta, World::in_memory(Target::Delta));
    let spec = std::fs::read_to_string(world.spec()).unwrap();
    let columns = "partitioning: [origin]\n  columns: ['*', {name: one, default: 1}]";
    std::fs::write(world.spec(), spec.replace("partitioning: [origin]", columns)).unwrap();
    world.live(before("plan")).await;
    let plan = world.run(&["plan", "SPEC", "--dry-run"]).await.unwrap();
    let told = flat(&plan.text);
    assert!(told.contains("way back: after the cutover") && told.contains("but the values of one"), "{told}");
    assert_eq!(plan.json["way_back"], serde_json::json!({"possible": true, "reason": null, "left_out": ["one"]}));
    world.live(&before("rollback")[before("plan").len()..]).await;
    let at_first = world.source_rows().await;
    world.write_new(target, 1, 3, NEW, &[]).await;
    world.live(&[command(&["mirror", "SPEC"])]).await;
    let back = world.run(&["rollback", "SPEC"]).await.unwrap();
    assert_eq!(back.json["live_side"], "old");
    let rows = world.source_rows().await;
    assert_eq!(rows.len(), at_first.len() + NEW.len());
    assert!(rows.iter().any(|row| row.contains("ORD|100|2001-01-03")), "{rows:?}");
    // A file that the migration wrote is compacted away by others, and its old files go.
    world.live(&[command(&["mirror", "SPEC"])]).await;
}

/// Partitions outside of the scope are in no unit: whatever becomes of the new table, their files stay as they are.
#[rstest]
#[tokio::test]
async fn a_scope_of_partitions_has_a_way_back_that_does_not_touch_the_other_partitions(
    #[values(Target::Delta, Target::Iceberg)] target: Target,
) {
    let world = World::in_memory(target);
    world.write_spec(target, "scope: {where: \"day >= DATE '2001-01-02'\"}\n");
    world.live(before("plan")).await;
    let plan = world.run(&["plan", "SPEC", "--dry-run"]).await.unwrap();
    assert!(plan.text.contains("outside of the scope: 2 file(s)"), "{}", plan.text);
    assert!(flat(&plan.text).contains("way back: after the cutover the old table follows"), "{}", plan.text);
    world.live(&before("rollback")[before("plan").len()..]).await;
    let outside = async || {
        let rows = world.source_rows().await;
        rows.into_iter().filter(|row| row.ends_with("2001-01-01")).collect::<Vec<_>>()
    };
    let files = async || {
        let mut files = world.objects_below("flights/day=2001-01-01").await;
        files.sort();
        files
    };
    let (rows_before, files_before) = (outside().await, files().await);
    assert_eq!(rows_before.len(), 4, "{rows_before:?}");
    // Others compact all that the migration wrote, and write what no scope asks of them.
    let all = world.target_files(target).await;
    world.write_new(target, 1, 21, NEWER, &all).await;
    world.write_new(target, 2, 1, NEW, &[]).await;
    world.live(&[command(&["rollback", "SPEC"])]).await;
    let (old, new) = (world.source_rows().await, world.target_rows(target).await);
    let mut expected: Vec<String> = [new, rows_before.clone()].concat();
    expected.sort_unstable();
    assert_eq!(old, expected, "every row of the new table, and those that were never in it");
    let still = files().await;
    assert!(files_before.iter().all(|file| still.contains(file)), "{files_before:?} {still:?}");
}

/// Before anybody approves: nobody shall believe in a way back that there is not.
#[rstest]
#[case::off("cutover: {alias: flights}", "cutover: {alias: flights, reverse: false}", "cutover.reverse is off")]
#[case::dropped("partitioning: [origin]", "partitioning: [origin]\n  drop: [delay]", "column delay (target.drop)")]
#[case::filled(
    "partitioning: [origin]",
    "partitioning: [origin]\n  columns: [{name: delay, default: 0}, '*']",
    "default in place of NULL in delay"
)]
#[case::computed(
    "apiVersion",
    "transform: {sql: 'SELECT at, origin, delay, day FROM source'}\napiVersion",
    "transform.sql computes"
)]
#[case::scoped("apiVersion", "scope: {where: 'delay > 0'}\napiVersion", "scope.where moves a part of the rows")]
#[tokio::test]
async fn a_plan_tells_that_there_is_no_way_back_and_what_a_rollback_then_loses(
    #[case] from: &str,
    #[case] to: &str,
    #[case] why: &str,
) {
    let world = World::in_memory(Target::Delta);
    let spec = std::fs::read_to_string(world.spec()).unwrap();
    std::fs::write(world.spec(), spec.replace(from, to)).unwrap();
    world.live(before("plan")).await;
    let plan = world.run(&["plan", "SPEC"]).await.unwrap();
    let told = flat(&plan.text);
    assert!(told.contains("way back: none without loss") && told.contains(why), "{told}");
    assert!(told.contains("--accept-loss"), "{told}");
    assert_eq!(plan.json["way_back"]["possible"], false);
    assert!(plan.json["way_back"]["reason"].as_str().unwrap().contains(why));
}

#[tokio::test]
async fn a_plan_in_place_tells_that_there_is_no_way_back() {
    let world = World::in_memory(Target::DeltaInPlace);
    world.live(before("plan")).await;
    let plan = world.run(&["plan", "SPEC"]).await.unwrap();
    let plan = flat(&plan.text);
    assert!(plan.contains("way back: none without loss. both tables share one folder"), "{plan}");
}

/// Then nothing says which commits to the new table came after the switch.
#[tokio::test]
async fn readers_that_were_moved_by_force_without_any_validation_have_no_reverse_mirror() {
    let world = World::in_memory(Target::Delta);
    world.live(before("validate")).await;
    world.run(&["cutover", "SPEC", "--force", "certificate", "--reason", "a test"]).await.unwrap();
    let refused = world.run(&["mirror", "SPEC"]).await.unwrap_err();
    assert!(refused.to_string().contains("moved without any validation"), "{refused}");
    let told = world.run(&["grace", "check", "SPEC"]).await.unwrap().text;
    assert!(told.contains("moved without any validation"), "{told}");
    world.write_new(Target::Delta, 1, 3, NEW, &[]).await;
    let refused = world.run(&["rollback", "SPEC"]).await.unwrap_err();
    assert!(refused.to_string().contains("--accept-loss"), "{refused}");
}
