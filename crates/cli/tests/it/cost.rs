//! What dual writing costs: what the plan forecasts, and what the journal keeps by the day.

use std::time::Duration;

use lakeshift_core::migration::Requests;
use rstest::rstest;
use serde_json::Value;

use crate::life::{Step, before};
use crate::support::{Flight, Target, World, day_file, real_moment};

const ROWS: &[Flight] = &[(71, "SEA", Some(7)), (72, "SEA", None)];

async fn status(world: &World, spec: &str) -> Value {
    world.run(&["status", spec]).await.unwrap().json
}

/// The last day's cost.
async fn last_day(world: &World, spec: &str) -> Value {
    status(world, spec).await["dual_write_cost"].as_array().unwrap().last().unwrap().clone()
}

/// One folder that is both tables: a new file is registered, and only metadata is written.
#[rstest]
#[tokio::test]
async fn a_days_cost_counts_the_rounds_of_that_day(#[values(Target::DeltaInPlace, Target::Iceberg)] target: Target) {
    let world = World::in_memory(target);
    world.live(before("validate")).await;
    world.wait(86_400);
    world.put_day(9, "new.parquet", ROWS).await;
    world.live(&[Step::Command(&["mirror", "SPEC"])]).await;
    let status = world.run(&["status", "SPEC"]).await.unwrap();
    let days = status.json["dual_write_cost"].as_array().unwrap().clone();
    let (first, last) = (&days[0], &days[days.len() - 1]);
    assert_ne!(first["day"], last["day"]);
    let size = day_file(9, ROWS).len() as u64;
    assert_eq!((last["source_bytes"].as_u64(), last["rows"].as_u64()), (Some(size), Some(2)), "{last}");
    let written = last["bytes_written"].as_u64().unwrap();
    assert!(written > 0 && last["requests"].as_u64().unwrap() > 3, "{last}");
    assert!(status.text.contains(last["day"].as_str().unwrap()), "{}", status.text);
    // A file of a thousand times the rows: its bytes are read and written only where it is not registered as it is.
    let many: Vec<Flight> = (0..20_000).map(|minute| (minute % 1440, "SEA", Some(minute * 7919 % 100_003))).collect();
    world.put_day(10, "many.parquet", &many).await;
    world.live(&[Step::Command(&["mirror", "SPEC"])]).await;
    let day = last_day(&world, "SPEC").await;
    let more = day["bytes_written"].as_u64().unwrap() - written;
    let large = day_file(10, &many).len() as u64;
    assert_eq!(day["source_bytes"].as_u64(), Some(size + large));
    match target {
        Target::DeltaInPlace => assert!(more < large / 5, "{more} of {large}"),
        _ => assert!(more > large / 2, "{more} of {large}"),
    }
}

#[tokio::test]
async fn looks_that_find_nothing_are_counted_with_their_requests() {
    let world = World::in_memory(Target::Iceberg);
    world.live(before("validate")).await;
    world.wait(86_400);
    for looks in 1..=2 {
        world.live(&[Step::Command(&["mirror", "SPEC"])]).await;
        let day = last_day(&world, "SPEC").await;
        assert_eq!((day["looks"].as_u64(), day["rounds"].as_u64()), (Some(looks), Some(0)), "{day}");
        assert!(day["idle"]["requests"].as_u64().unwrap() >= looks, "{day}");
        assert_eq!(day["requests"], day["idle"]["requests"]);
    }
    let text = world.run(&["status", "SPEC"]).await.unwrap().text;
    assert!(text.contains("2 look(s) found nothing"), "{text}");
}

/// A follower looks every 30 seconds for two days: it leaves an entry a day, not one a look.
#[tokio::test]
async fn a_follower_records_its_looks_once_a_day() {
    let world = World::in_memory(Target::Iceberg);
    world.live(before("validate")).await;
    let entries = async || world.run(&["history", "SPEC"]).await.unwrap().json["entries"].as_array().unwrap().len();
    let at_first = entries().await;
    let (stopper, stop) = lakeshift::stop::channel();
    let follower = world.run_until(stop, &["mirror", "SPEC", "--follow"]);
    let operator = async {
        for _ in 0..2 * 96 {
            world.clock.advance(Duration::from_secs(15 * 60));
            for _ in 0..3 {
                real_moment().await;
            }
        }
        stopper.stop();
        world.clock.advance(Duration::from_secs(30));
    };
    let (followed, ()) = tokio::join!(follower, operator);
    followed.unwrap();
    let days = status(&world, "SPEC").await["dual_write_cost"].as_array().unwrap().clone();
    let looks: Vec<u64> = days.iter().map(|day| day["looks"].as_u64().unwrap()).collect();
    assert!(days.len() >= 3 && looks.iter().all(|looks| *looks > 0), "{looks:?}");
    assert!(looks.iter().sum::<u64>() > 100, "{looks:?}");
    // The lease, two days that ended, and the end.
    assert!(entries().await - at_first <= 5, "{} entries", entries().await - at_first);
    assert!(days.last().unwrap()["control"]["lists"].as_u64().unwrap() > 0, "{days:?}");
}

/// A second migration, whose source is the new table of the first.
fn onward(world: &World, source: &str, target: &str) -> String {
    let root = &world.root;
    world.write_file(
        "onward.yaml",
        format!(
            "apiVersion: lakeshift/v1\nname: onward\ncontrol: {root}/control\nsource: {source}\ntarget: {target}\n\
             cutover: {{alias: onward}}\nbackfill: {{concurrency: 1, memory: 64MiB, unit_size: 16MiB, target_file_size: 16MiB}}\n"
        ),
    )
}

/// Requests of kinds, as the plan and the journal tell them.
fn requests(json: &Value) -> Requests {
    serde_json::from_value(json.clone()).unwrap_or_else(|error| panic!("{error}: {json}"))
}

/// A round of one file, and a look that finds nothing, in a new process each.
async fn measured(world: &World, spec: &str, write: impl AsyncFnOnce(&World)) -> [Requests; 2] {
    world.wait(86_400);
    write(world).await;
    world.run(&["mirror", spec]).await.unwrap();
    world.run(&["mirror", spec]).await.unwrap();
    let day = last_day(world, spec).await;
    assert_eq!((day["rounds"].as_u64(), day["looks"].as_u64()), (Some(1), Some(1)), "{day}");
    [requests(&day["carried"]["by_kind"]), requests(&day["idle"]["by_kind"])]
}

/// Whether each kind is as forecast, but for one request or a fourth: how many a round asks hangs on how much a table has behind it.
fn close(measured: Requests, planned: Requests) -> bool {
    let kinds = |requests: Requests| [requests.puts, requests.gets, requests.lists, requests.heads, requests.deletes];
    let pairs = kinds(measured).into_iter().zip(kinds(planned));
    pairs.into_iter().all(|(measured, planned)| measured.abs_diff(planned) <= 1 + planned / 4)
}

async fn as_forecast(world: &World, spec: &str, write: impl AsyncFnOnce(&World)) {
    let [round, look] = measured(world, spec, write).await;
    let plan = status(world, spec).await["dual_write_forecast"].clone();
    let (planned_round, planned_look) = (requests(&plan["round"]), requests(&plan["look"]));
    assert!(close(round, planned_round), "a round: {round}, planned {planned_round}");
    assert!(close(look, planned_look), "a look: {look}, planned {planned_look}");
}

#[rstest]
#[tokio::test]
async fn a_round_and_a_look_at_a_directory_ask_what_the_plan_has_said(
    #[values(Target::Iceberg, Target::IcebergAdopted, Target::IcebergSpliced, Target::Delta, Target::DeltaInPlace)]
    target: Target,
) {
    let world = World::in_memory(target);
    world.live(before("validate")).await;
    as_forecast(&world, "SPEC", async |world| world.put_day(20, "one.parquet", ROWS).await).await;
}

#[rstest]
#[case::delta_adopted(
    Target::Delta,
    "delta",
    "flights_delta",
    "{format: iceberg, location: ROOT/onward, partitioning: [origin]}"
)]
#[case::delta_rewritten(
    Target::Delta,
    "delta",
    "flights_delta",
    "{format: iceberg, location: ROOT/onward, partitioning: [month(at)]}"
)]
#[case::iceberg_rewritten(
    Target::IcebergSpliced,
    "iceberg",
    "flights_iceberg",
    "{format: delta, location: ROOT/onward, partitioning: [origin]}"
)]
#[tokio::test]
async fn a_round_and_a_look_at_a_table_with_a_log_ask_what_the_plan_has_said(
    #[case] first: Target,
    #[case] format: &str,
    #[case] folder: &str,
    #[case] target: &str,
) {
    let world = World::in_memory(first);
    world.live(before("validate")).await;
    let source = format!("{{format: {format}, location: {}/{folder}}}", world.root);
    let spec = onward(&world, &source, &target.replace("ROOT", &world.root));
    for command in ["plan", "approve", "dual-write", "backfill", "mirror"] {
        world.does(&[command, &spec]).await;
    }
    as_forecast(&world, &spec, async |world| world.write_new(first, 1, 20, ROWS, &[]).await).await;
}
