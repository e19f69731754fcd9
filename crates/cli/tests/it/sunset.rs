//! The old table's end, and the way back from it until the first file is deleted.

use std::sync::Arc;

use lakeshift_testkit::{FaultPlan, FaultStore, OperationKind};
use rstest::rstest;

use crate::life::{LIFE, Step, before};
use crate::support::{Flight, Target, World};

const NEW: &[Flight] = &[(61, "ORD", Some(100))];

fn command(words: &'static [&'static str]) -> Step {
    Step::Command(words)
}

async fn phase(world: &World) -> String {
    world.run(&["status", "SPEC"]).await.unwrap().json["phase"].as_str().unwrap().to_owned()
}

/// The life up to the purge.
fn before_purge() -> &'static [Step] {
    &LIFE[..LIFE.len() - 1]
}

#[tokio::test]
async fn a_sunset_is_undone_and_readers_go_back_to_all_that_was_written_since() {
    let world = World::in_memory(Target::Iceberg);
    world.live(before_purge()).await;
    assert_eq!(phase(&world).await, "sunset");
    world.write_new(Target::Iceberg, 1, 3, NEW, &[]).await;
    let refused = world.run(&["rollback", "SPEC"]).await.unwrap_err();
    assert!(refused.to_string().contains("sunset --undo"), "{refused}");
    world.live(&[command(&["sunset", "SPEC", "--undo", "--reason", "a reader is left"])]).await;
    assert_eq!(phase(&world).await, "grace");
    let again = world.run(&["sunset", "SPEC", "--undo"]).await.unwrap();
    assert!(again.text.starts_with("the old table is not in quarantine"), "{}", again.text);
    world.live(&[command(&["rollback", "SPEC"]), command(&["validate", "SPEC"])]).await;
    assert_eq!(world.source_rows().await, world.target_rows(Target::Iceberg).await);
    assert!(world.run(&["history", "SPEC"]).await.unwrap().text.contains("a reader is left"));
}

/// Files that were carried back after an undo are listed by the next sunset.
#[tokio::test]
async fn after_an_undo_the_next_sunset_lists_anew() {
    let world = World::in_memory(Target::Iceberg);
    world.live(before_purge()).await;
    world.live(&[command(&["sunset", "SPEC", "--undo"])]).await;
    world.write_new(Target::Iceberg, 1, 3, NEW, &[]).await;
    world.live(&[command(&["mirror", "SPEC"]), command(&["sunset", "SPEC"]), Step::Wait(3700)]).await;
    world.live(&[command(&["sunset", "SPEC"])]).await;
    assert_eq!(world.source_rows().await, Vec::<String>::new());
    assert_eq!(phase(&world).await, "completed");
}

#[tokio::test]
async fn once_a_file_may_be_gone_there_is_no_way_back_but_the_way_on() {
    let world = World::in_memory(Target::Iceberg);
    world.live(before_purge()).await;
    // Up to the first deletion, counted on a twin.
    let twin = World::in_memory(Target::Iceberg);
    twin.live(before_purge()).await;
    let counted = Arc::new(FaultStore::new(twin.store.clone(), FaultPlan::None));
    twin.run_on(counted.clone(), &["sunset", "SPEC"]).await.unwrap();
    let is_data = |path: &str| path.contains("/flights/day=");
    let at = counted.history().iter().position(|done| done.kind == OperationKind::Delete && is_data(done.path.as_ref()));
    let faulty = Arc::new(FaultStore::new(world.store.clone(), FaultPlan::CrashAfter(at.unwrap() as u64 + 1)));
    world.run_on(faulty, &["sunset", "SPEC"]).await.unwrap_err();
    world.wait(120);
    for words in [&["sunset", "SPEC", "--undo"][..], &["rollback", "SPEC"]] {
        let refused = world.run(words).await.unwrap_err();
        assert_eq!(refused.exit_code(), 4, "{refused}");
        assert!(refused.to_string().contains("recovery rolls forward"), "{refused}");
    }
    world.live(&[command(&["sunset", "SPEC"])]).await;
    assert_eq!((phase(&world).await.as_str(), world.source_rows().await.len()), ("completed", 0));
}

#[tokio::test]
async fn a_record_of_it_all_stays() {
    let world = World::in_memory(Target::Iceberg);
    world.live(LIFE).await;
    let record = world.json("memory:///lake/control/migrations/flights/record.json").await;
    assert_eq!((&record["migration"], &record["rollbacks"]), (&"flights".into(), &1.into()));
    assert_eq!(record["validations"].as_array().unwrap().len(), 2);
    assert!(record["validations"][0]["certificate_digest"].is_string());
    assert!(record["bytes_freed"].as_u64().unwrap() > 1000 && record["files_deleted"].as_u64().unwrap() == 4, "{record}");
    assert_eq!(record["approved_by"], serde_json::json!(["the operator"]));
    assert!(record["began_at"].is_string() && record["cut_over_at"].is_string() && record["completed_at"].is_string());
}

#[rstest]
#[case::by_default("")]
#[case::in_quarantine(", disposition: quarantine")]
#[tokio::test]
async fn nothing_is_deleted_where_the_spec_does_not_ask_for_it(#[case] disposition: &str) {
    let world = World::in_memory(Target::Iceberg);
    let spec = std::fs::read_to_string(world.spec()).unwrap();
    let asked = spec.replace(", quarantine: 1h, disposition: purge", disposition);
    assert_ne!(asked, spec);
    std::fs::write(world.spec(), asked).unwrap();
    world.live(before("sunset")).await;
    let (files, rows) = (world.list("flights").await, world.source_rows().await);
    world.live(&LIFE[before("sunset").len()..LIFE.len() - 1]).await;
    if !disposition.is_empty() {
        assert_eq!(phase(&world).await, "sunset");
        world.live(&[Step::Wait(8 * 86_400), command(&["sunset", "SPEC"])]).await;
    }
    assert_eq!(phase(&world).await, "completed");
    assert_eq!((world.list("flights").await, world.source_rows().await), (files, rows));
}

/// Rows that the scope leaves out are in no other table: a purge of the old table leaves every file that may hold some.
#[rstest]
#[case::by_partitions("day >= DATE '2001-01-02'", 4, "2001-01-01")]
#[case::by_rows("delay > 0", 8, "")]
#[tokio::test]
async fn a_purge_leaves_what_is_outside_of_the_scope(#[case] scope: &str, #[case] left: usize, #[case] day: &str) {
    let world = World::in_memory(Target::Iceberg);
    world.write_spec(Target::Iceberg, &format!("scope: {{where: \"{scope}\"}}\n"));
    world.live(crate::life::LIFE).await;
    let status = world.run(&["status", "SPEC"]).await.unwrap().json;
    assert_eq!(status["phase"], "completed");
    let rows = world.source_rows().await;
    assert_eq!(rows.len(), left, "{rows:?}");
    assert!(rows.iter().all(|row| row.ends_with(day)), "{rows:?}");
}
