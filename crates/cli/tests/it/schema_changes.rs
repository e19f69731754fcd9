//! The old table gets a column while both are written.

use std::sync::Arc;

use lakeshift::error::with_causes;
use lakeshift_testkit::{Counted, FaultPlan, FaultStore};
use rstest::rstest;

use crate::life::before;
use crate::support::{Flight, Target, World};

const WIDE: &[Flight] = &[(61, "ORD", Some(13)), (62, "ATL", None)];
const GATE: &str = "C7";

fn world(target: Target, policy: &str) -> World {
    let world = World::in_memory(target);
    world.write_spec(target, &format!("dual_write: {{schema_changes: {policy}}}\n"));
    world
}

async fn validated(world: &World) {
    world.does(&["validate", "SPEC"]).await;
    let status = world.run(&["status", "SPEC"]).await.unwrap().json;
    assert_eq!(status["validation"]["verdict"], "PASS", "{status}");
}

/// Both tables hold the same rows by a comparison of its own, which knows nothing of the migration.
async fn are_equal(world: &World, target: Target) {
    let new = match target {
        Target::Delta => "delta:ROOT/flights_delta",
        Target::DeltaInPlace => "delta:ROOT/flights",
        _ => "iceberg:ROOT/flights_iceberg",
    };
    world.does(&["diff", &format!("hive:{}/flights", world.root), &new.replace("ROOT", &world.root)]).await;
}

#[rstest]
#[tokio::test]
async fn a_new_column_is_followed_before_and_after_the_backfill_and_back(
    #[values(Target::Iceberg, Target::IcebergAdopted, Target::IcebergSpliced, Target::Delta, Target::DeltaInPlace)]
    target: Target,
) {
    let world = world(target, "follow");
    world.live(before("backfill")).await;
    world.put_wide_day(4, "a.parquet", WIDE, GATE).await;
    world.does(&["mirror", "SPEC"]).await;
    assert!(world.target_columns(target).await.contains(&"gate".to_owned()));
    // Units of the time before the column come after it.
    world.does(&["backfill", "SPEC"]).await;
    world.does(&["mirror", "SPEC"]).await;
    validated(&world).await;
    are_equal(&world, target).await;
    let with_gate = world.target_rows(target).await.iter().filter(|row| row.contains(GATE)).count();
    assert_eq!(with_gate, WIDE.len());
    world.does(&["cutover", "SPEC"]).await;
    if target != Target::DeltaInPlace {
        world.does(&["rollback", "SPEC"]).await;
        world.put_wide_day(5, "a.parquet", WIDE, "D1").await;
        world.does(&["mirror", "SPEC"]).await;
        validated(&world).await;
        are_equal(&world, target).await;
    }
}

#[rstest]
#[tokio::test]
async fn a_new_column_stops_the_mirror_by_name_unless_the_spec_says_otherwise(
    #[values(Target::Iceberg, Target::IcebergAdopted, Target::DeltaInPlace)] target: Target,
) {
    let world = world(target, "stop");
    world.live(before("mirror")).await;
    let rows = world.target_rows(target).await;
    world.put_wide_day(4, "a.parquet", WIDE, GATE).await;
    let error = world.run(&["mirror", "SPEC"]).await.unwrap_err();
    let text = with_causes(&error);
    assert!(text.contains("column gate (string) is new") && text.contains("schema_changes: follow"), "{text}");
    assert_eq!(error.exit_code(), 4);
    assert_eq!(world.target_rows(target).await, rows, "nothing was carried over");
    assert!(!world.target_columns(target).await.contains(&"gate".to_owned()));
    // The operator thinks better of it.
    world.write_spec(target, "dual_write: {schema_changes: follow}\n");
    world.does(&["mirror", "SPEC"]).await;
    validated(&world).await;
    are_equal(&world, target).await;
}

/// Whatever fails while a column is followed, the table gets it once and the rows once.
#[rstest]
#[tokio::test]
async fn a_column_is_followed_through_any_one_failed_operation(
    #[values(Target::IcebergAdopted, Target::Delta)] target: Target,
) {
    let widened = world(target, "follow");
    widened.live(before("mirror")).await;
    widened.put_wide_day(4, "a.parquet", WIDE, GATE).await;
    let lived = async |plan: FaultPlan| {
        let world = widened.copy();
        let faulty = Arc::new(FaultStore::new(world.store.clone(), plan).with_counted(Counted::Mutations));
        if world.run_on(faulty.clone(), &["mirror", "SPEC"]).await.is_err() {
            world.wait(120);
            world.does(&["mirror", "SPEC"]).await;
        }
        assert!(faulty.has_struck() || plan == FaultPlan::None, "{plan:?} was not reached");
        validated(&world).await;
        let names = world.target_columns(target).await;
        assert_eq!(names.iter().filter(|name| *name == "gate").count(), 1, "{plan:?}");
        (world.target_rows(target).await, faulty.mutations())
    };
    let (rows, mutations) = lived(FaultPlan::None).await;
    assert!(mutations > 6, "{mutations}");
    for number in 1..=mutations {
        for plan in [FaultPlan::CrashBefore(number), FaultPlan::CrashAfter(number), FaultPlan::LostResponse(number)] {
            assert_eq!(lived(plan).await.0, rows, "{plan:?}");
        }
    }
}

const NARROW: &[Flight] = &[(5, "JFK", Some(-4)), (9, "ATL", None)];
/// More than 32 bits hold.
const LONG: &[Flight] = &[(61, "ORD", Some(5_000_000_000)), (62, "ATL", None)];

/// Dual writing has begun, of a table whose delays have 32 bits.
async fn narrow_world(target: Target, policy: &str) -> World {
    let world = world(target, policy);
    world.put_narrow_day(1, "a.parquet", NARROW).await;
    world.put_narrow_day(2, "a.parquet", NARROW).await;
    for command in ["plan", "approve", "dual-write"] {
        world.does(&[command, "SPEC"]).await;
    }
    assert_eq!(world.target_type(target, "delay").await, "int32");
    world
}

#[rstest]
#[tokio::test]
async fn a_wider_type_is_followed_before_and_after_the_backfill_and_back(
    #[values(Target::Iceberg, Target::IcebergAdopted, Target::IcebergSpliced)] target: Target,
) {
    let world = narrow_world(target, "follow").await;
    world.put_day(4, "a.parquet", LONG).await;
    world.does(&["mirror", "SPEC"]).await;
    assert_eq!(world.target_type(target, "delay").await, "int64");
    // Units of the time before come after it.
    world.does(&["backfill", "SPEC"]).await;
    world.put_narrow_day(5, "late.parquet", NARROW).await;
    world.does(&["mirror", "SPEC"]).await;
    validated(&world).await;
    are_equal(&world, target).await;
    assert_eq!(world.target_rows(target).await, world.source_rows().await);
    world.does(&["cutover", "SPEC"]).await;
    world.does(&["rollback", "SPEC"]).await;
    world.put_day(6, "a.parquet", LONG).await;
    world.does(&["mirror", "SPEC"]).await;
    validated(&world).await;
    are_equal(&world, target).await;
    // The wider type goes with the last file that has it; the new table keeps it.
    world.delete_day(4, "a.parquet").await;
    world.delete_day(6, "a.parquet").await;
    world.put_narrow_day(7, "a.parquet", NARROW).await;
    world.does(&["mirror", "SPEC"]).await;
    assert_eq!(world.target_type(target, "delay").await, "int64");
    assert_eq!(world.target_rows(target).await, world.source_rows().await);
}

/// The spec says so, or the new table's format has no wider types that a commit here could keep, or its rows lie by the column.
#[rstest]
#[case(Target::Iceberg, "stop", "schema_changes: follow")]
#[case(Target::Delta, "follow", "typeWidening")]
#[case(Target::DeltaInPlace, "follow", "typeWidening")]
#[tokio::test]
async fn a_wider_type_that_is_not_followed_stops_the_mirror_by_name(
    #[case] target: Target,
    #[case] policy: &str,
    #[case] told: &str,
) {
    let world = narrow_world(target, policy).await;
    world.does(&["backfill", "SPEC"]).await;
    let rows = world.target_rows(target).await;
    world.put_day(4, "a.parquet", LONG).await;
    let error = world.run(&["mirror", "SPEC"]).await.unwrap_err();
    let text = with_causes(&error);
    assert!(text.contains("column delay is int64 and was int32") && text.contains(told), "{text}");
    assert_eq!(error.exit_code(), 4);
    assert_eq!((world.target_rows(target).await, world.target_type(target, "delay").await.as_str()), (rows, "int32"));
    // Taken back, nothing is left of it.
    world.delete_day(4, "a.parquet").await;
    world.does(&["mirror", "SPEC"]).await;
    validated(&world).await;
}

#[tokio::test]
async fn a_wider_type_of_a_column_that_the_new_table_is_partitioned_by_stops_the_mirror_by_name() {
    let world = world(Target::IcebergSpliced, "follow");
    let spec = std::fs::read_to_string(world.spec()).unwrap();
    std::fs::write(world.spec(), spec.replace("[month(at)]", "['bucket(2, delay)']")).unwrap();
    world.put_narrow_day(1, "a.parquet", NARROW).await;
    for command in ["plan", "approve", "dual-write", "backfill"] {
        world.does(&[command, "SPEC"]).await;
    }
    world.put_day(4, "a.parquet", LONG).await;
    let text = with_causes(&world.run(&["mirror", "SPEC"]).await.unwrap_err());
    assert!(text.contains("column delay is int64 and was int32, and the new table is partitioned by it"), "{text}");
}

#[tokio::test]
async fn the_history_tells_the_column() {
    let world = world(Target::Iceberg, "follow");
    world.live(before("mirror")).await;
    world.put_wide_day(4, "a.parquet", WIDE, GATE).await;
    world.does(&["mirror", "SPEC"]).await;
    let history = world.run(&["history", "SPEC"]).await.unwrap();
    assert!(history.text.contains("follows the old one's columns gate"), "{}", history.text);
}

/// The directory has no such column any more; the new table keeps it, and whoever compares is told.
#[tokio::test]
async fn a_column_that_goes_with_the_last_file_that_has_it_stops_nothing_and_is_told_by_the_validation() {
    let world = world(Target::Iceberg, "follow");
    world.live(before("mirror")).await;
    world.put_wide_day(4, "a.parquet", WIDE, GATE).await;
    world.does(&["mirror", "SPEC"]).await;
    world.delete_day(4, "a.parquet").await;
    world.does(&["mirror", "SPEC"]).await;
    assert_eq!(world.target_rows(Target::Iceberg).await.len(), world.source_rows().await.len());
    let told = world.run(&["validate", "SPEC"]).await.unwrap();
    assert_ne!(told.exit_code, 0, "{}", told.text);
    assert!(told.text.contains("gate"), "{}", told.text);
}
