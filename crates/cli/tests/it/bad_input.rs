//! Bad input: an error that names the object, exit code 2, and nothing lost or half-switched.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, TimestampMicrosecondArray};
use lakeshift_journal::Clock;
use lakeshift_testkit::{FaultPlan, FaultStore, Gate};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::arrow::ArrowWriter;

use crate::life::{LIFE, Step, before};
use crate::support::{Flight, Target, World, day_file};

const FLIGHTS: &[Flight] = &[(1, "ATL", Some(1)), (2, "SFO", None)];

async fn planned(target: Target) -> World {
    let world = World::in_memory(target);
    world.put_day(1, "a.parquet", FLIGHTS).await;
    world.run(&["plan", "SPEC"]).await.unwrap();
    world
}

#[tokio::test]
async fn unreadable_files_are_listed_in_the_plan_and_do_not_stop_it() {
    let world = World::in_memory(Target::Iceberg);
    world.put_day(1, "a.parquet", FLIGHTS).await;
    let whole = day_file(1, FLIGHTS);
    let mut hostile = b"PAR1".to_vec();
    hostile.extend_from_slice(&u32::MAX.to_le_bytes());
    hostile.extend_from_slice(b"PAR1");
    for (name, bytes) in [
        ("empty.parquet", Vec::new()),
        ("truncated.parquet", whole[..whole.len() / 2].to_vec()),
        ("hostile.parquet", hostile),
        ("text.parquet", b"this is no Parquet file".to_vec()),
    ] {
        world.store.put(&Path::from(format!("lake/flights/day=2001-01-01/{name}")), bytes.into()).await.unwrap();
    }
    let answer = world.run(&["plan", "SPEC", "--dry-run"]).await.unwrap();
    for name in ["empty.parquet", "truncated.parquet", "hostile.parquet", "text.parquet"] {
        assert!(answer.text.contains(name), "{name} is not named in\n{}", answer.text);
    }
    assert_eq!(answer.json["plan"]["summary"]["total"]["rows"], 2);
}

#[tokio::test]
async fn a_journal_with_a_changed_entry_is_refused_by_name() {
    let world = planned(Target::Iceberg).await;
    let entry = Path::from("lake/control/migrations/flights/journal/00000000000000000001.json");
    let text = world.store.get(&entry).await.unwrap().bytes().await.unwrap();
    let changed = String::from_utf8(text.to_vec()).unwrap().replace("test@here", "evil@here");
    world.store.put(&entry, changed.into()).await.unwrap();
    let error = world.run(&["approve", "SPEC"]).await.unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("0000000000000000000"), "{error}");
}

#[tokio::test]
async fn a_changed_plan_file_is_refused_before_any_row_moves() {
    let world = planned(Target::Iceberg).await;
    for command in ["approve", "dual-write"] {
        world.run(&[command, "SPEC"]).await.unwrap();
    }
    let plans = Path::from("lake/control/migrations/flights/plans");
    let objects: Vec<object_store::ObjectMeta> =
        futures::TryStreamExt::try_collect(world.store.list(Some(&plans))).await.unwrap();
    world.store.put(&objects[0].location, "not a plan".into()).await.unwrap();
    let error = world.run(&["backfill", "SPEC"]).await.unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert_eq!(world.target_rows(Target::Iceberg).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_table_of_somebody_else_at_the_target_is_left_as_it_was() {
    let first = planned(Target::Iceberg).await;
    for command in ["approve", "dual-write", "backfill"] {
        first.run(&[command, "SPEC"]).await.unwrap();
    }
    let rows = first.target_rows(Target::Iceberg).await;
    let spec = std::fs::read_to_string(first.spec()).unwrap();
    std::fs::write(first.spec(), spec.replace("name: flights\n", "name: another\n").replace("alias: flights", "alias: b"))
        .unwrap();
    first.run(&["plan", "SPEC"]).await.unwrap();
    first.run(&["approve", "SPEC"]).await.unwrap();
    let error = first.run(&["dual-write", "SPEC"]).await.unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("flights_iceberg"), "{error}");
    first.run(&["abort", "SPEC"]).await.unwrap();
    assert_eq!(first.target_rows(Target::Iceberg).await, rows);
}

#[tokio::test]
async fn a_source_that_vanishes_stops_the_mirror_by_name_and_loses_nothing() {
    let world = World::in_memory(Target::Iceberg);
    for step in &LIFE[..9] {
        if !matches!(step, Step::Wait(_)) {
            world.step(*step).await.unwrap();
        }
    }
    let rows = world.target_rows(Target::Iceberg).await;
    let flights = Path::from("lake/flights");
    let objects: Vec<object_store::ObjectMeta> =
        futures::TryStreamExt::try_collect(world.store.list(Some(&flights))).await.unwrap();
    for object in objects {
        world.store.delete(&object.location).await.unwrap();
    }
    let error = world.run(&["mirror", "SPEC"]).await.unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("memory:///lake/flights"), "{error}");
    assert_eq!(world.target_rows(Target::Iceberg).await, rows);
}

/// In place a new file would count as one of the source's, and its rows twice.
#[tokio::test]
async fn a_migration_in_place_is_refused_where_a_file_cannot_stay_as_it_is() {
    let world = World::in_memory(Target::DeltaInPlace);
    world.put_day(1, "a.parquet", FLIGHTS).await;
    let narrow = RecordBatch::try_from_iter_with_nullable([
        ("at", Arc::new(TimestampMicrosecondArray::from_iter_values([0])) as ArrayRef, true),
        ("delay", Arc::new(Int32Array::from_iter_values([1])), true),
    ]);
    let narrow = narrow.unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), narrow.schema(), None).unwrap();
    writer.write(&narrow).unwrap();
    world.put("flights/day=2001-01-02/narrow.parquet", writer.into_inner().unwrap()).await;
    let error = world.run(&["plan", "SPEC"]).await.unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
    let text = lakeshift::error::with_causes(&error);
    assert!(text.contains("1 file(s) cannot be adopted: column delay is int32 in the file and int64"), "{text}");
}

/// A writer that begins to use other folders in the middle.
#[tokio::test]
async fn a_source_that_changes_its_partitioning_stops_the_mirror_by_name_and_loses_nothing() {
    let world = World::in_memory(Target::Iceberg);
    for step in &LIFE[..9] {
        world.step(*step).await.unwrap();
    }
    let rows = world.target_rows(Target::Iceberg).await;
    world.put("flights/year=2001/month=1/a.parquet", day_file(1, FLIGHTS)).await;
    let error = world.run(&["mirror", "SPEC"]).await.unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("year=2001/month=1/a.parquet uses the partition folders [year/month]"), "{error}");
    assert_eq!(world.target_rows(Target::Iceberg).await, rows);
    world.delete("flights/year=2001/month=1/a.parquet").await;
    world.live(&[Step::Command(&["mirror", "SPEC"]), Step::Command(&["validate", "SPEC"])]).await;
}

/// The disk of the control root is full: every write to it fails, and reads go on.
#[tokio::test]
async fn a_control_root_that_cannot_be_written_refuses_by_name_and_leaves_no_half_of_anything() {
    let world = planned(Target::Iceberg).await;
    for command in ["approve", "dual-write", "backfill", "mirror", "validate"] {
        let full: Gate = Arc::new(|kind, path| {
            let is_full = kind.is_mutation() && path.as_ref().starts_with("lake/control");
            Box::pin(std::future::ready(is_full.then_some("No space left on device (os error 28)")))
        });
        let store = Arc::new(FaultStore::new(world.store.clone(), FaultPlan::None).with_gate(full));
        let error = world.run_on(store, &[command, "SPEC"]).await.unwrap_err();
        let told = lakeshift::error::with_causes(&error);
        assert_eq!(error.exit_code(), 2, "{command}: {told}");
        assert!(told.contains("lake/control/migrations/flights") && told.contains("No space left"), "{command}: {told}");
        world
            .live(&[Step::Command(match command {
                "approve" => &["approve", "SPEC"],
                "dual-write" => &["dual-write", "SPEC"],
                "backfill" => &["backfill", "SPEC"],
                "mirror" => &["mirror", "SPEC"],
                _ => &["validate", "SPEC"],
            })])
            .await;
    }
    assert_eq!(world.target_rows(Target::Iceberg).await, world.source_rows().await);
}

/// Clocks of machines differ, and are set back: periods are judged by them, nobody's rows are.
#[tokio::test]
async fn a_clock_that_jumps_shortens_no_safety_and_loses_no_row() {
    let world = World::in_memory(Target::Iceberg);
    let at = Step::Command;
    world.live(before("backfill")).await;
    let day = chrono::TimeDelta::days(1);
    world.clock.jump_to(world.clock.now() - day);
    world.live(&[at(&["backfill", "SPEC"])]).await;
    world.clock.jump_to(world.clock.now() + day * 3);
    world.put_day(8, "late.parquet", &[(60, "ORD", Some(12))]).await;
    world.live(&[at(&["mirror", "SPEC"])]).await;
    world.clock.jump_to(world.clock.now() - day * 5);
    world.live(&[at(&["validate", "SPEC"]), at(&["cutover", "SPEC"])]).await;
    // Set back, the grace period has not begun; it is not over, and nothing may go.
    world.clock.jump_to(world.clock.now() - day);
    let early = world.run(&["sunset", "SPEC"]).await.unwrap_err();
    assert!(matches!(early, lakeshift::error::Error::NotDue { .. }), "{early}");
    world.live(&[at(&["rollback", "SPEC"]), at(&["validate", "SPEC"]), at(&["cutover", "SPEC"])]).await;
    assert_eq!(world.source_rows().await, world.target_rows(Target::Iceberg).await);
    // Far ahead, the old table is listed, and still waits for its purge.
    world.clock.jump_to(world.clock.now() + day * 400);
    world.live(&[at(&["sunset", "SPEC"])]).await;
    let waiting = world.run(&["sunset", "SPEC"]).await.unwrap_err();
    assert!(matches!(waiting, lakeshift::error::Error::NotDue { .. }), "{waiting}");
    world.clock.jump_to(world.clock.now() - day * 900);
    let waiting = world.run(&["sunset", "SPEC"]).await.unwrap_err();
    assert!(matches!(waiting, lakeshift::error::Error::NotDue { .. }), "{waiting}");
    assert_eq!(world.source_rows().await, world.target_rows(Target::Iceberg).await);
}
