//! What dual writing costs, as the journal keeps it by the day.

use rstest::rstest;

use crate::life::{Step, before};
use crate::support::{Flight, Target, World, day_file};

const ROWS: &[Flight] = &[(71, "SEA", Some(7)), (72, "SEA", None)];

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
    // A look that finds nothing costs no round.
    world.live(&[Step::Command(&["mirror", "SPEC"])]).await;
    let again = world.run(&["status", "SPEC"]).await.unwrap();
    assert_eq!(again.json["dual_write_cost"], status.json["dual_write_cost"]);
    // A file of a thousand times the rows: its bytes are read and written only where it is not registered as it is.
    let many: Vec<Flight> = (0..20_000).map(|minute| (minute % 1440, "SEA", Some(minute * 7919 % 100_003))).collect();
    world.put_day(10, "many.parquet", &many).await;
    world.live(&[Step::Command(&["mirror", "SPEC"])]).await;
    let after = world.run(&["status", "SPEC"]).await.unwrap();
    let day = after.json["dual_write_cost"].as_array().unwrap().last().unwrap().clone();
    let more = day["bytes_written"].as_u64().unwrap() - written;
    let large = day_file(10, &many).len() as u64;
    assert_eq!(day["source_bytes"].as_u64(), Some(size + large));
    match target {
        Target::DeltaInPlace => assert!(more < large / 5, "{more} of {large}"),
        _ => assert!(more > large / 2, "{more} of {large}"),
    }
}
