//! Shadow reads before the cutover, and health by a query after it.

use lakeshift::error::{Error, with_causes};

use crate::life::before;
use crate::support::{Flight, Target, World};

const MORE: &[Flight] = &[(61, "ORD", Some(100)), (62, "ORD", None)];

const QUERIES: &str = "-- what the dashboard asks
SELECT origin, count(*) AS flights, avg(delay) AS delay FROM flights GROUP BY origin;
SELECT day, max(at) AS last FROM flights WHERE origin <> ';' GROUP BY day ORDER BY day;
SELECT count(*) AS flights FROM flights WHERE delay IS NULL";

fn asked(file: &str) -> [&str; 4] {
    ["shadow", "SPEC", "--queries", file]
}

#[tokio::test]
async fn tables_that_hold_the_same_rows_answer_alike_and_nothing_is_written() {
    for target in [Target::Iceberg, Target::Delta, Target::DeltaInPlace, Target::IcebergAdopted] {
        let world = World::in_memory(target);
        world.live(before("cutover")).await;
        let file = world.write_file("queries.sql", QUERIES);
        let objects = world.objects_below("").await;
        // The file that lies beside the spec is the one that is asked.
        for command in [&asked(&file)[..], &["shadow", "SPEC"]] {
            let answer = world.run(command).await.unwrap_or_else(|error| panic!("{}", with_causes(&error)));
            assert_eq!((answer.exit_code, answer.json["differing"].as_u64()), (0, Some(0)), "{target:?} {}", answer.text);
            assert_eq!(answer.json["queries"].as_array().unwrap().len(), 3);
            assert_eq!(answer.json["queries"][0]["rows_old"], 3, "three airports: {}", answer.text);
        }
        assert_eq!(world.objects_below("").await, objects);
    }
}

#[tokio::test]
async fn a_row_too_many_in_the_new_table_shows_in_the_queries_that_it_touches() {
    let world = World::in_memory(Target::Iceberg);
    world.live(before("cutover")).await;
    world.write_new(Target::Iceberg, 1, 2, MORE, &[]).await;
    let queries = "SELECT origin, count(*) AS flights FROM flights GROUP BY origin; SELECT count(*) AS n FROM flights WHERE \
                   origin = 'SFO'; SELECT avg(delay) AS delay FROM flights";
    let file = world.write_file("queries.sql", queries);
    let answer = world.run(&asked(&file)).await.unwrap();
    assert_eq!((answer.exit_code, answer.json["differing"].as_u64()), (1, Some(2)), "{}", answer.text);
    let difference = |index: usize| answer.json["queries"][index]["difference"].as_str().map(str::to_owned);
    assert_eq!(difference(0).as_deref(), Some("rows only old: 1, only new: 1, numbers apart: 0"));
    assert_eq!(difference(1), None);
    assert_eq!(difference(2).as_deref(), Some("rows only old: 0, only new: 0, numbers apart: 1"));
    assert!(!answer.text.contains("ORD") && !answer.text.contains("100"), "no value of a row is told: {}", answer.text);
}

#[tokio::test]
async fn what_the_mirror_has_not_carried_over_is_no_difference() {
    let world = World::in_memory(Target::Iceberg);
    world.live(before("cutover")).await;
    world.put_day(9, "a.parquet", MORE).await;
    let file = world.write_file("queries.sql", QUERIES);
    let answer = world.run(&asked(&file)).await.unwrap();
    assert_eq!(answer.exit_code, 0, "{}", answer.text);
}

#[tokio::test]
async fn a_query_that_cannot_be_run_is_named() {
    let world = World::in_memory(Target::Iceberg);
    world.live(before("cutover")).await;
    for (queries, told) in [
        ("SELECT 1; SELECT nothing FROM flights", "query 2 cannot be run"),
        ("DELETE FROM flights", "query 1 cannot be run"),
        ("-- nothing\n", "holds no query"),
    ] {
        let file = world.write_file("queries.sql", queries);
        let error = world.run(&asked(&file)).await.unwrap_err();
        assert!(with_causes(&error).contains(told), "{}", with_causes(&error));
        assert_eq!(error.exit_code(), 2);
    }
}

fn with_health(world: &World, query: &str) {
    let spec = std::fs::read_to_string(world.spec()).unwrap();
    let cutover = format!("cutover: {{alias: flights, health_query: \"{query}\"}}");
    std::fs::write(world.spec(), spec.replace("cutover: {alias: flights}", &cutover)).unwrap();
}

#[tokio::test]
async fn a_health_query_that_is_true_lets_the_group_stay() {
    let world = World::in_memory(Target::Iceberg);
    with_health(&world, "SELECT count(*) = 8 FROM flights");
    world.live(before("rollback")).await;
    let status = world.run(&["status", "SPEC"]).await.unwrap().json;
    assert_eq!((status["live_side"].as_str(), status["phase"].as_str()), (Some("new"), Some("grace")));
}

#[tokio::test]
async fn a_health_query_that_is_not_takes_every_group_back() {
    for (query, told) in [
        ("SELECT count(*) = 7 FROM flights", "not true"),
        ("SELECT true FROM flights WHERE origin = 'XXX'", "not true"),
        ("SELECT gone FROM flights", "cannot be run"),
    ] {
        let world = World::in_memory(Target::Iceberg);
        with_health(&world, query);
        world.live(before("cutover")).await;
        let error = world.run(&["cutover", "SPEC"]).await.unwrap_err();
        assert!(matches!(error, Error::StageFailed { .. }), "{query}: {error:?}");
        assert!(with_causes(&error).contains(told), "{}", with_causes(&error));
        let status = world.run(&["status", "SPEC"]).await.unwrap().json;
        assert_eq!(status["live_side"], "old", "{query}");
    }
}
