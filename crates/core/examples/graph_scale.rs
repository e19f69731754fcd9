//! A graph of 50 tables and 1,000,000 partitions: how long a scan, one change and a plan take, in this process, on this
//! machine. `cargo run --release -p lakeshift-core --example graph_scale`

#![expect(clippy::print_stdout, clippy::disallowed_methods, clippy::unwrap_used, reason = "it measures time and prints it")]

use std::fmt::Write as _;
use std::time::Instant;

use lakeshift_core::graph::{
    Affected, Filter, Fingerprint, Grain, Graph, GraphPlan, GraphSpec, Inferred, Key, Outcome, Staleness, Versions, affected,
};

const TABLES: usize = 50;
const DAYS: i32 = 4000;
const REGIONS: usize = 5;

fn main() {
    let graph = Graph::build(&GraphSpec::from_yaml(&yaml(), "graph.yaml").unwrap(), &Inferred::new()).unwrap();
    let mut versions = timed("fill", || filled(&graph));
    let count: usize = graph.ids().map(|(id, _)| versions.partitions(id).count()).sum();
    println!("{count} partitions of {} tables", graph.tables.len());
    let scan = timed("scan, all fresh", || Staleness::scan(&graph, &versions, &[]));
    let stale = |scan: &Staleness| graph.ids().map(|(id, _)| scan.stale(id).count()).sum::<usize>();
    println!("  {} stale", stale(&scan));
    timed("plan, all fresh", || GraphPlan::new(&graph, &versions, &scan, &Filter::default()));

    let source = graph.table_id("t00").unwrap();
    let key = Key { period: 11_000, entity: versions.entity("r1") };
    let _ = versions.moved(source, key, Fingerprint([9; 32]), 1, 1);
    let reached: Vec<Affected> = timed("one change propagated", || affected(&graph, &versions, source, &[key]));
    println!("  {} ranges", reached.len());
    let scan = timed("scan after one change", || Staleness::scan(&graph, &versions, &[]));
    println!("  {} stale", stale(&scan));
    let plan = timed("plan after one change", || GraphPlan::new(&graph, &versions, &scan, &Filter::default()));
    println!("  {} tasks in {} groups", plan.tasks.len(), plan.groups.len());

    for day in 0..DAYS {
        for region in 0..REGIONS {
            let key = Key { period: 9000 + day, entity: versions.entity(&format!("r{region}")) };
            let _ = versions.moved(source, key, Fingerprint([8; 32]), 1, 1);
        }
    }
    let scan = timed("scan, the root moved", || Staleness::scan(&graph, &versions, &[]));
    println!("  {} stale", stale(&scan));
    let plan = timed("plan, the root moved", || GraphPlan::new(&graph, &versions, &scan, &Filter::default()));
    println!("  {} tasks in {} groups", plan.tasks.len(), plan.groups.len());
    let mut wave = plan.wave(&graph);
    timed("wave, all changed", || {
        while let Some(task) = wave.start_next() {
            wave.done(task, true);
        }
    });
    println!("  {:?}", wave.summary());
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        status.lines().filter(|line| line.starts_with("VmHWM")).for_each(|line| println!("{line}"));
    }
}

fn timed<T>(what: &str, run: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = run();
    println!("{what}: {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    result
}

/// One root; every other table reads two before it, by the same day, a look-back or all regions; every tenth, itself.
fn yaml() -> String {
    let mut yaml = "graph: scale\ntables:\n".to_owned();
    for at in 0..TABLES {
        let _ = writeln!(yaml, "  t{at:02}:\n    location: lake/t{at}\n    format: delta");
        let _ = writeln!(yaml, "    time: {{column: date, grain: day}}\n    entity: {{column: region}}");
        if at == 0 {
            continue;
        }
        let near = at - 1;
        let rule = ["{}", "{time: {back: 6}}", "{entity: all}", "{time: {back: 27}, entity: all}"][at % 4];
        let _ = writeln!(yaml, "    sql: SELECT {at}\n    after:\n      t{near:02}: {{}}");
        if at / 2 != near {
            let _ = writeln!(yaml, "      t{:02}: {rule}", at / 2);
        }
        if at % 10 == 9 {
            let _ = writeln!(yaml, "      t{at:02}: {{time: {{previous: 1}}}}\n    columns: [date DATE]");
        }
    }
    yaml
}

fn filled(graph: &Graph) -> Versions {
    let mut versions = Versions::new(graph);
    let regions: Vec<_> = (0..REGIONS).map(|region| versions.entity(&format!("r{region}"))).collect();
    assert_eq!(Grain::Day.format(9000), "1994-08-23");
    for (id, table) in graph.ids() {
        let logic = table.logic.as_deref().map_or(lakeshift_core::graph::LogicId::NONE, |logic| versions.logic(logic));
        for period in 9000..9000 + DAYS {
            for entity in &regions {
                let read_at = versions.sequence();
                let outcome = Outcome { fingerprint: Fingerprint([1; 32]), rows: 1000, bytes: 10_000, logic, read_at };
                let _ = versions.record(id, Key { period, entity: *entity }, outcome);
            }
        }
    }
    versions
}
