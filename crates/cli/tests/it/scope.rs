//! New logic for some rows, while all others are carried over as they are.

use rstest::rstest;

use crate::life::{LIFE, before};
use crate::support::{Target, World};

const LATER: &str = "transform: {sql: 'SELECT at, origin, delay + 1000 AS delay, day FROM source'}\n";

/// What the new table shall hold: rows of `source` of which `inside` is true are late by a thousand minutes more.
fn expected(source: Vec<String>, inside: impl Fn(&[&str]) -> bool) -> Vec<String> {
    let row = |row: String| {
        let cells: Vec<&str> = row.split('|').collect();
        match cells[2].parse::<i64>() {
            Ok(delay) if inside(&cells) => format!("{}|{}|{}|{}", cells[0], cells[1], delay + 1000, cells[3]),
            _ => row,
        }
    };
    let mut rows: Vec<String> = source.into_iter().map(row).collect();
    rows.sort_unstable();
    rows
}

/// The condition cuts through files, and is not true of a flight without a delay. Nothing is left in the old table alone, so that a
/// purge takes all of it.
#[tokio::test]
async fn a_condition_of_rows_changes_those_and_carries_the_others() {
    let world = World::in_memory(Target::Iceberg);
    let scope = "scope: {where: \"origin = 'ATL' AND delay > 0\", others: carry}\n";
    world.write_spec(Target::Iceberg, &format!("{LATER}{scope}"));
    let (until, rest) = LIFE.split_at(before("cutover").len());
    world.live(until).await;
    let rows = expected(world.source_rows().await, |cells| cells[1] == "ATL" && cells[2] != "0");
    assert_eq!(rows.iter().filter(|row| row.contains("|100")).count(), 4, "{rows:?}");
    assert_eq!(world.target_rows(Target::Iceberg).await, rows);
    let validated = world.run(&["validate", "SPEC"]).await.unwrap();
    assert!(validated.text.contains("**PASS** · `flights` · all rows"), "{}", validated.text);
    world.live(rest).await;
    assert_eq!(world.target_rows(Target::Iceberg).await, rows);
    assert_eq!(world.source_rows().await, Vec::<String>::new());
}

/// The condition is of partitions: files of the others are adopted where they lie, though there is new logic.
#[tokio::test]
async fn a_condition_of_partitions_leaves_the_files_of_the_others_untouched() {
    let target = Target::IcebergAdopted;
    let world = World::in_memory(target);
    world.write_spec(target, &format!("{LATER}scope: {{where: \"day = DATE '2001-01-01'\", others: carry}}\n"));
    world.live(before("approve")).await;
    let plan = world.run(&["plan", "SPEC"]).await.unwrap();
    assert!(!plan.text.contains("outside of the scope"), "{}", plan.text);
    world.live(&LIFE[before("approve").len()..before("cutover").len()]).await;
    let rows = expected(world.source_rows().await, |cells| cells[3] == "2001-01-01");
    assert_eq!(world.target_rows(target).await, rows);
    let files = world.target_files(target).await;
    let adopted: Vec<&String> = files.iter().filter(|path| path.contains("://")).collect();
    assert!(adopted.len() >= 2 && adopted.len() < files.len(), "{files:?}");
    assert!(adopted.iter().all(|path| !path.contains("day=2001-01-01")), "{adopted:?}");
}

/// Rows that are carried over stand beside the transform's, in the same columns.
#[rstest]
#[case::another_type("SELECT at, origin, CAST(delay AS DOUBLE) AS delay, day FROM source", "cast it to that")]
#[case::a_column_less("SELECT at, origin, day FROM source", "leaves delay out")]
#[case::a_column_more("SELECT *, 1 AS one FROM source", "gives a column one")]
#[tokio::test]
async fn a_transform_that_gives_other_columns_is_refused_by_name(#[case] sql: &str, #[case] told: &str) {
    let world = World::in_memory(Target::Iceberg);
    let scope = "scope: {where: \"origin = 'ATL'\", others: carry}\n";
    world.write_spec(Target::Iceberg, &format!("transform: {{sql: '{sql}'}}\n{scope}"));
    world.live(&LIFE[..3]).await;
    let error = world.run(&["plan", "SPEC"]).await.unwrap_err();
    let text = lakeshift::error::with_causes(&error);
    assert!(text.contains("scope.others: carry") && text.contains(told), "{text}");
}

#[tokio::test]
async fn others_are_carried_only_beside_new_logic() {
    let world = World::in_memory(Target::Iceberg);
    world.write_spec(Target::Iceberg, "scope: {where: \"origin = 'ATL'\", others: carry}\n");
    let error = world.run(&["plan", "SPEC"]).await.unwrap_err();
    assert!(error.to_string().contains("`others: carry` brings the rows outside over"), "{error}");
}
