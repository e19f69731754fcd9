//! A table that a migration has made is a source as any, also where it has registered the old table's files.

use std::collections::BTreeMap;

use super::*;
use crate::life::before;

const TARGET: Target = Target::IcebergAdopted;

fn yaml(root: &str, files_in: &str) -> String {
    format!(
        "graph: toy\ncontrol: {root}/control\ntables:\n  flights: {{format: iceberg, location: '{root}/flights_iceberg'{files_in}, time: \
         {{column: day, grain: day}}}}\n  daily:\n    format: delta\n    location: {root}/daily\n    time: {{column: day, grain: day}}\n    \
         sql: SELECT count(*) AS flights, day FROM flights GROUP BY day\n    after: {{flights: {{}}}}\n"
    )
}

/// Counts of the new table's rows by day, and a file of its own beside those of the old table.
async fn expected(world: &World) -> Vec<String> {
    let mut days: BTreeMap<String, usize> = BTreeMap::new();
    for row in world.target_rows(TARGET).await {
        *days.entry(row.rsplit('|').next().unwrap().to_owned()).or_default() += 1;
    }
    let mut rows: Vec<_> = days.into_iter().map(|(day, count)| format!("{count}|{day}")).collect();
    rows.sort();
    rows
}

#[tokio::test]
async fn files_of_the_old_table_and_of_the_new_one_are_read_beside_each_other() {
    let world = World::in_memory(TARGET);
    world.live(before("rollback")).await;
    let graph = world.write_file("graph.yaml", yaml(&world.root, &format!(", files_in: '{}/flights'", world.root)));
    let toy = Toy { world, graph };
    toy.graph("run").await;
    assert!(toy.world.target_files(TARGET).await.iter().any(|path| path.contains("/flights/")), "none was adopted");
    assert_eq!(toy.rows("daily", "delta").await, expected(&toy.world).await);
    // Into a day of which the other files lie in the old table's folder, and into one of its own.
    for (number, day) in [(1, 1), (2, 20)] {
        toy.world.write_new(TARGET, number, day, &[(90, "SEA", Some(1)), (91, "SEA", None)], &[]).await;
    }
    assert_eq!(toy.stale().await, ["daily 2001-01-01", "daily 2001-01-20"]);
    toy.graph("run").await;
    let found = toy.rows("daily", "delta").await;
    assert_eq!(found, expected(&toy.world).await);
    assert!(found.contains(&"2|2001-01-20".to_owned()), "{found:?}");

    let without = yaml(&toy.world.root, "").replace("    sql:", "    logic: two\n    sql:");
    toy.world.write_file("graph.yaml", without);
    let told = toy.world.run(&["graph", "run", &toy.graph]).await.unwrap();
    assert_eq!(told.exit_code, 2);
    assert!(
        told.text.contains("of table flights lies outside of its location") && told.text.contains("tables.flights.files_in"),
        "{}",
        told.text
    );
    assert_eq!(toy.rows("daily", "delta").await, found);
}
