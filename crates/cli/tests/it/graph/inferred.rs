//! Mappings that the SQL tells, and tables that read themselves.

use super::*;

#[tokio::test]
async fn the_mapping_that_the_sql_tells_is_shown_as_its() {
    let toy = Toy::new(1).await;
    let answer = toy.world.run(&["graph", "show", &toy.graph]).await.unwrap();
    let told = flat(&answer.text);
    assert!(told.contains("daily (days -2 to +0, all entities, by its SQL)"), "{told}");
    assert!(told.contains("daily (day to month, all entities, by its SQL)"), "{told}");
}

#[tokio::test]
async fn a_mapping_that_leaves_out_what_the_sql_reads_is_refused_before_anything_is_written() {
    let toy = Toy::new(DAYS).await;
    let text = std::fs::read_to_string(&toy.graph).unwrap();
    let narrow = text.replacen(
        "time: {column: day, grain: day}\n    after: {daily: {}}",
        "time: {column: day, grain: day}\n    after: {daily: {time: {back: 1}}}",
        1,
    );
    assert_ne!(narrow, text);
    toy.world.write_file("graph.yaml", narrow);
    let before = toy.world.objects_below("").await;
    let error = toy.world.run(&["graph", "run", &toy.graph]).await.unwrap_err().to_string();
    assert!(
        error.contains("tables.recent.after.daily.time gives days -1 to +0, and the SQL reads days -2 to +0"),
        "{error}"
    );
    assert_eq!(toy.world.objects_below("").await, before);
}

#[tokio::test]
async fn sql_that_does_not_tell_what_it_reads_asks_for_the_mapping() {
    let toy = Toy::new(DAYS).await;
    let ranked = |name: &str, sql: &str| match name {
        "daily" => sql.replace("max(delay) AS worst", "max(sum(delay)) OVER (ORDER BY day ROWS 3 PRECEDING) AS worst"),
        _ => sql.to_owned(),
    };
    toy.rewrite(ranked, "");
    let error = toy.world.run(&["graph", "plan", &toy.graph]).await.unwrap_err().to_string();
    assert!(error.contains("tables.daily.after.flights.time is missing, and the SQL does not tell"), "{error}");
}

/// A running total: every day is the day before and its own flights.
fn running(root: &str, columns: &str) -> String {
    format!(
        "graph: running\ncontrol: {root}/control\ntables:\n  flights: {{format: hive, location: '{root}/flights', time: {{column: day, \
         grain: day}}}}\n  total:\n    format: delta\n    location: {root}/total\n    time: {{column: day, grain: day}}\n    columns: \
         [{columns}]\n    after: {{flights: {{}}, total: {{}}}}\n    sql: |\n      SELECT f.flights + coalesce(t.flights, 0) AS flights, \
         f.day FROM (SELECT count(delay) AS flights, day FROM flights GROUP BY day) f\n      LEFT JOIN total t ON t.day = f.day - INTERVAL \
         '1' DAY\n"
    )
}

#[tokio::test]
async fn a_table_that_reads_itself_goes_from_day_to_day_and_a_change_reaches_all_days_after_it() {
    let toy = Toy::new(5).await;
    toy.world.write_file("graph.yaml", running(&toy.world.root, "flights BIGINT, day DATE"));
    let report = toy.graph("run").await;
    assert_eq!((report["replaced"].as_u64(), report["stale"].as_u64()), (Some(5), Some(0)), "{report}");
    // Two of the three flights of each day have a delay.
    let totals =
        |from: [i64; 5]| from.iter().zip(1..).map(|(total, day)| format!("{total}|2001-01-0{day}")).collect::<Vec<_>>();
    let mut expected = totals([2, 4, 6, 8, 10]);
    expected.sort();
    assert_eq!(toy.rows("total", "delta").await, expected);
    toy.world.put_day(3, "b.parquet", &[(99, "ORD", Some(1))]).await;
    assert_eq!(toy.stale().await, ["total 2001-01-03", "total 2001-01-04", "total 2001-01-05"]);
    let report = toy.graph("run").await;
    assert_eq!((report["replaced"].as_u64(), report["stale"].as_u64()), (Some(3), Some(0)), "{report}");
    let mut expected = totals([2, 4, 7, 9, 11]);
    expected.sort();
    assert_eq!(toy.rows("total", "delta").await, expected);
}

#[tokio::test]
async fn a_table_that_reads_itself_has_the_columns_that_it_is_said_to_have() {
    let toy = Toy::new(1).await;
    toy.world.write_file("graph.yaml", running(&toy.world.root, "flights INT, day DATE"));
    let error = toy.world.run(&["graph", "run", &toy.graph]).await.unwrap_err().to_string();
    assert!(error.contains("the sql of table total gives") && error.contains("write under `columns`"), "{error}");
}
