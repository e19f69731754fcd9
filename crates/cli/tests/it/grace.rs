//! What a scheduler asks every day, and how it is answered.

use serde_json::Value;

use crate::life::{Step, before};
use crate::support::{Flight, Target, World};

const NEW: &[Flight] = &[(61, "ORD", Some(100))];

async fn check(world: &World, more: &[&str]) -> (u8, String, Value) {
    let words: Vec<&str> = ["grace", "check", "SPEC"].into_iter().chain(more.iter().copied()).collect();
    let answer = world.run(&words).await.unwrap();
    (answer.exit_code, answer.text, answer.json)
}

#[tokio::test]
async fn the_exit_code_says_not_yet_then_due_and_blocked_when_somebody_wrote_to_the_old_table() {
    let world = World::in_memory(Target::Iceberg);
    world.live(before("cutover")).await;
    let (code, text, _) = check(&world, &[]).await;
    assert_eq!((code, text.lines().next().unwrap()), (5, "flights: readers are not on the new table yet"), "{text}");
    world.live(&[Step::Command(&["cutover", "SPEC"])]).await;
    let (code, text, json) = check(&world, &[]).await;
    assert_eq!(code, 5);
    assert!(text.starts_with("flights: not due for 1 h 0 min"), "{text}");
    assert_eq!((&json["seconds_left"], &json["exit_code"]), (&3600.into(), &5.into()));
    assert!(text.contains("holds for both present versions") && text.contains("in step with the new one"), "{text}");
    world.wait(3600);
    assert_eq!(check(&world, &[]).await.0, 0);
    world.put_day(7, "late.parquet", NEW).await;
    let (code, text, _) = check(&world, &[]).await;
    assert_eq!(code, 1);
    assert!(text.contains("- somebody has written to the old table"), "{text}");
}

#[tokio::test]
async fn what_the_new_table_has_more_is_told_and_renewed() {
    let world = World::in_memory(Target::Iceberg);
    world.live(before("rollback")).await;
    world.write_new(Target::Iceberg, 1, 3, NEW, &[]).await;
    let (code, text, _) = check(&world, &[]).await;
    assert!(text.contains("lacks 1 changed file(s)") && text.contains("for earlier versions"), "{text}");
    assert_eq!(code, 5);
    let (code, text, _) = check(&world, &["--renew"]).await;
    assert!(text.contains("in step with the new one") && text.contains("holds for both present versions"), "{text}");
    assert_eq!(code, 5);
    assert_eq!(world.source_rows().await, world.target_rows(Target::Iceberg).await);
}

/// What a validation in the grace period has found does not wait for somebody to read its report.
#[tokio::test]
async fn a_difference_blocks_until_it_is_gone() {
    let world = World::in_memory(Target::Iceberg);
    world.live(before("rollback")).await;
    world.write_new(Target::Iceberg, 1, 3, NEW, &[]).await;
    assert_eq!(world.run(&["validate", "SPEC"]).await.unwrap().exit_code, 1);
    let (code, text, _) = check(&world, &[]).await;
    assert!(text.contains("did not pass"), "{text}");
    assert_eq!(code, 1);
    assert_eq!(check(&world, &["--renew"]).await.0, 5);
}

#[tokio::test]
async fn a_read_of_the_old_table_in_the_access_log_blocks_until_it_is_long_ago() {
    let world = World::in_memory(Target::IcebergAdopted);
    world.live(before("rollback")).await;
    world.write_new(Target::IcebergAdopted, 1, 3, NEW, &[]).await;
    world.live(&[Step::Command(&["mirror", "SPEC"])]).await;
    let own = world.list("flights/day=2001-01-03").await.into_iter().find(|name| name.starts_with("ls.")).unwrap();
    let line = |time: &str, path: &str, agent: &str| format!("{time},memory:///lake/flights/{path},{agent}\n");
    let carried = format!("day=2001-01-03/{own}");
    // Time begins with 2026 here; the cutover was in its first minutes.
    let quiet = [
        "time,path,agent\n".to_owned(),
        line("2025-12-31T00:00:00Z", &carried, "before the cutover"),
        line("2026-01-01T02:00:00Z", "day=2001-01-01/late.parquet", "a reader of the new table, which has this file"),
        line("2026-01-01T02:00:00Z", &carried, "lakeshift/0.1"),
        "2026-01-01T02:00:00Z,memory:///lake/elsewhere/x.parquet,spark\n".to_owned(),
    ];
    let log = world.write_file("quiet.csv", quiet.concat());
    let (code, text, _) = check(&world, &["--access-log", &log]).await;
    assert!(text.contains("none since readers moved"), "{text}");
    assert_eq!(code, 5);
    // Another spelling of the scheme is no other place.
    let busy = line("2026-01-01T02:00:00Z", &carried, "spark").replace("memory://", "s3a://");
    let log = world.write_file("busy.csv", [quiet.concat(), busy].concat());
    world.wait(4 * 3600);
    let (code, text, _) = check(&world, &["--access-log", &log]).await;
    assert!(text.contains("was read at 2026-01-01 02:00 UTC by `spark`, less than 7 day(s) ago"), "{text}");
    assert_eq!(code, 1);
    world.wait(2 * 86_400);
    assert_eq!(check(&world, &["--access-log", &log, "--quiet-days", "2"]).await.0, 0);
    let log = world.write_file("nginx.log", "127.0.0.1 - - [10/Oct/2026:13:55:36 -0700] \"GET /a HTTP/1.0\" 200 23\n");
    let (code, text, _) = check(&world, &["--access-log", &log]).await;
    assert_eq!(code, 1, "a log that cannot be read is no silence");
    assert!(text.contains("1 of 1 line(s)"), "{text}");
}

#[tokio::test]
async fn all_migrations_of_a_folder_are_checked_and_one_that_cannot_be_looked_at_hides_no_other() {
    let world = World::in_memory(Target::Iceberg);
    world.live(before("cutover")).await;
    let folder = world.spec().parent().unwrap().join("migrations");
    std::fs::create_dir_all(folder.join("one")).unwrap();
    std::fs::copy(world.spec(), folder.join("one/migration.yaml")).unwrap();
    let all = folder.display().to_string();
    let answer = world.run(&["grace", "check", "--all", &all]).await.unwrap();
    assert_eq!((answer.exit_code, answer.text.as_str()), (5, "no migration is in its grace period"));
    world.live(&[Step::Command(&["cutover", "SPEC"])]).await;
    world.wait(3600);
    let answer = world.run(&["grace", "check", "--all", &all, "--markdown"]).await.unwrap();
    assert_eq!(answer.exit_code, 0);
    assert!(answer.text.contains("| `flights` | ✅ the sunset is due |"), "{}", answer.text);
    std::fs::create_dir_all(folder.join("two")).unwrap();
    std::fs::write(folder.join("two/migration.yaml"), "apiVersion: nothing\n").unwrap();
    let answer = world.run(&["grace", "check", "--all", &all, "--markdown"]).await.unwrap();
    assert_eq!(answer.exit_code, 1);
    assert!(answer.text.contains("two** is blocked") && answer.text.contains("| `flights` | ✅"), "{}", answer.text);
    assert_eq!(answer.json["migrations"].as_array().unwrap().len(), 2);
}
