//! Another partitioning for the other writers of a live table, in the middle of a migration.

use std::collections::BTreeMap;
use std::sync::Arc;

use lakeshift_testkit::{FaultPlan, FaultStore};
use serde_json::{Value, json};

use crate::life::{LIFE, before};
use crate::support::{Target, World};

const REPARTITION: &[&str] = &["repartition", "SPEC", "--to", "day(at)", "origin"];

/// The newest metadata of the target.
async fn metadata(world: &World) -> Value {
    let names = world.list("flights_iceberg/metadata").await;
    let numbers =
        names.iter().filter_map(|name| name.strip_prefix('v')?.strip_suffix(".metadata.json")?.parse::<u32>().ok());
    let newest = numbers.max().unwrap();
    world.json(&format!("{}/flights_iceberg/metadata/v{newest}.metadata.json", world.root)).await
}

/// The default partition spec's transforms, and how many specs there are.
async fn default_spec(world: &World) -> (Vec<Value>, usize) {
    let metadata = metadata(world).await;
    let specs = metadata["partition-specs"].as_array().unwrap();
    let default = specs.iter().find(|spec| spec["spec-id"] == metadata["default-spec-id"]).unwrap();
    let transforms = default["fields"].as_array().unwrap().iter().map(|field| field["transform"].clone());
    (transforms.collect(), specs.len())
}

/// By its id, each partition field's column and transform. An id is of one field in all specs, and the table remembers the greatest.
fn partition_ids(metadata: &Value) -> BTreeMap<u64, (Value, Value)> {
    let mut ids = BTreeMap::new();
    for field in metadata["partition-specs"].as_array().unwrap().iter().flat_map(|spec| spec["fields"].as_array().unwrap()) {
        let is = (field["source-id"].clone(), field["transform"].clone());
        let first = ids.entry(field["field-id"].as_u64().unwrap()).or_insert_with(|| is.clone());
        assert_eq!(*first, is, "{metadata:#}");
    }
    assert_eq!(metadata["last-partition-id"].as_u64(), ids.keys().last().copied());
    ids
}

#[tokio::test]
async fn a_migration_goes_on_after_its_live_table_was_repartitioned() {
    let world = World::in_memory(Target::Iceberg);
    let backfill = before("backfill").len();
    let cutover = before("cutover").len();
    world.live(&LIFE[..backfill]).await;
    world.run(REPARTITION).await.unwrap();
    assert_eq!(default_spec(&world).await, (vec![json!("day"), json!("identity")], 2));
    world.live(&LIFE[backfill..cutover]).await;
    // Between the certificate and the cutover too: no row moves, so that the certificate still holds.
    world.run(&["repartition", "SPEC", "--to", "hour(at)"]).await.unwrap();
    world.live(&LIFE[cutover..]).await;
    assert_eq!(default_spec(&world).await, (vec![json!("hour")], 3));
    assert_eq!(partition_ids(&metadata(&world).await).len(), 5, "month, bucket, day, origin, hour");
    assert_eq!(world.target_rows(Target::Iceberg).await.len(), 8);
    let history = world.run(&["history", "SPEC"]).await.unwrap().json.to_string();
    assert!(history.contains("the new table's other writers partition by day(at), origin"), "{history}");
}

#[tokio::test]
async fn what_a_table_cannot_be_partitioned_by_is_refused_and_changes_nothing() {
    let world = World::in_memory(Target::Iceberg);
    world.live(before("backfill")).await;
    let metadata_before = metadata(&world).await;
    for (to, what) in [("gone", "gone"), ("day(delay)", "int64"), ("month(origin)", "string")] {
        let error = world.run(&["repartition", "SPEC", "--to", to]).await.unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(what), "{error}");
    }
    assert_eq!(metadata(&world).await, metadata_before);
    let delta = World::in_memory(Target::Delta);
    delta.live(before("backfill")).await;
    let error = delta.run(&["repartition", "SPEC", "--to", "day"]).await.unwrap_err();
    assert!(error.to_string().contains("a live delta table has one partitioning"), "{error}");
}

/// Killed at any operation of the store, and run again: once, and nothing is left open.
#[tokio::test]
async fn a_repartitioning_that_was_cut_off_is_done_once() {
    let waiting = World::in_memory(Target::Iceberg);
    waiting.live(before("backfill")).await;
    let sound = Arc::new(FaultStore::new(waiting.copy().store.clone(), FaultPlan::None));
    waiting.run_on(sound.clone(), REPARTITION).await.unwrap();
    assert!(sound.operations() > 10, "{} operations are too few to be all", sound.operations());
    for plan in FaultPlan::every(&sound.history()) {
        let world = waiting.copy();
        let faulty = Arc::new(FaultStore::new(world.store.clone(), plan));
        if world.run_on(faulty.clone(), REPARTITION).await.is_err() {
            world.wait(120);
        }
        assert!(faulty.has_struck(), "{plan:?} was not reached");
        world.run(REPARTITION).await.unwrap();
        assert_eq!(default_spec(&world).await, (vec![json!("day"), json!("identity")], 2), "{plan:?}");
        let status = world.run(&["status", "SPEC"]).await.unwrap().json;
        assert_eq!(status["phase"], "backfill");
    }
}
