//! What recomputing only what is stale saves, over random graphs of 20 and 55 tables, 90 days and 5 regions: every table edited in
//! turn, and single partitions that come late. Partitions are numbers, so that every wave is really run, is really cut off
//! where a number came out as it was, and is compared with a full rebuild.
//! `cargo run --release -p lakeshift-core --example graph_savings [SEED…]`

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "it prints what it measures")]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use lakeshift_core::graph::{
    Comparison, Filter, Fingerprint, Grain, Graph, GraphPlan, GraphSpec, Inferred, Key, LogicId, Outcome, Staleness,
    TableId, Versions,
};
use sha2::{Digest, Sha256};

const FIRST_DAY: &str = "2001-01-01";
const DAYS: i32 = 90;
const REGIONS: [&str; 5] = ["AF", "AP", "EU", "NA", "SA"];
/// Partitions of every source that come late, one at a time.
const LATE: u64 = 25;

fn main() {
    let seeds: Vec<u64> = std::env::args().skip(1).map(|seed| seed.parse().unwrap()).collect();
    let seeds = if seeds.is_empty() { vec![1, 2, 3, 4, 5] } else { seeds };
    for tables in [20, 55] {
        let (mut edits, mut roots, mut late) = (Vec::new(), Vec::new(), Vec::new());
        for seed in &seeds {
            let base = World::new(&mut Dice(*seed), tables);
            for (id, table) in base.graph.ids() {
                if table.is_source() {
                    for nth in 0..LATE {
                        let mut world = base.clone();
                        world.late(id, nth);
                        late.push(world.wave());
                    }
                } else {
                    let mut world = base.clone();
                    world.edit(id);
                    let is_root = table.after.iter().all(|edge| base.graph.table(edge.upstream).is_source());
                    if is_root { &mut roots } else { &mut edits }.push(world.wave());
                }
            }
        }
        println!("{tables} tables, {DAYS} days, {} regions; seeds {seeds:?}", REGIONS.len());
        print("a table edited that reads sources", &roots);
        print("any other table edited", &edits);
        print("one partition late", &late);
    }
}

/// What one change came to, in partitions and rows.
struct Measured {
    ran: (u64, u64),
    planned: (u64, u64),
    others: Comparison,
}

fn print(what: &str, all: &[Measured]) {
    println!("  {what}: {} changes; saved, in percent: least, a tenth below, half below, in all", all.len());
    type Of = fn(&Measured) -> (u64, u64);
    let against: [(&str, Of); 3] = [
        ("the full graph", |one| (one.others.full_graph.tasks, one.others.full_graph.rows)),
        ("descendants, all of the time", |one| (one.others.descendants.tasks, one.others.descendants.rows)),
        ("descendants, affected time", |one| {
            (one.others.descendants_in_interval.tasks, one.others.descendants_in_interval.rows)
        }),
    ];
    for (name, of) in against {
        for (unit, pick) in [("partitions", (|pair| pair.0) as fn((u64, u64)) -> u64), ("rows", |pair| pair.1)] {
            let (with, without) =
                (spread(all, |one| (pick(one.ran), pick(of(one)))), spread(all, |one| (pick(one.planned), pick(of(one)))));
            println!("    {name:<30} {unit:<10} {with}   without early cut-off {without}");
        }
    }
}

fn spread(all: &[Measured], of: impl Fn(&Measured) -> (u64, u64)) -> String {
    let saved = |ran: u64, other: u64| 100.0 * (1.0 - ran as f64 / other.max(1) as f64);
    let mut each: Vec<f64> = all.iter().map(&of).map(|(ran, other)| saved(ran, other)).collect();
    each.sort_by(f64::total_cmp);
    let (ran, other) = all.iter().map(&of).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    let at = |tenth: usize| each[(each.len() - 1) * tenth / 10];
    format!("{:5.1} {:5.1} {:5.1} {:5.1}", at(0), at(1), at(5), saved(ran, other))
}

/// SplitMix64, so that a graph comes back from its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        hash(self.0, 0) % sides
    }
}

fn hash(a: u64, b: u64) -> u64 {
    let mut x = a ^ b.rotate_left(32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

type Values = Vec<BTreeMap<Key, u64>>;

#[derive(Clone)]
struct World {
    graph: Graph,
    versions: Versions,
    values: Values,
}

impl World {
    fn new(dice: &mut Dice, tables: usize) -> Self {
        let graph =
            Graph::build(&GraphSpec::from_yaml(&yaml(dice, tables), "graph.yaml").unwrap(), &Inferred::new()).unwrap();
        let values = vec![BTreeMap::new(); graph.tables.len()];
        let mut world = Self { versions: Versions::new(&graph), graph, values };
        let first = Grain::Day.parse(FIRST_DAY).unwrap();
        let sources: Vec<TableId> = world.graph.ids().filter(|(_, table)| table.is_source()).map(|(id, _)| id).collect();
        for id in sources {
            for period in first..first + DAYS {
                for region in REGIONS {
                    let key = Key { period, entity: world.versions.entity(region) };
                    world.put(id, key, dice.roll(u64::MAX));
                }
            }
        }
        world.wave();
        world
    }

    fn put(&mut self, id: TableId, key: Key, value: u64) {
        self.values[id.index()].insert(key, value);
        let _ = self.versions.moved(id, key, fingerprint(value), 100_000, 1_000_000);
    }

    fn late(&mut self, id: TableId, nth: u64) {
        let keys: Vec<Key> = self.values[id.index()].keys().copied().collect();
        let key = keys[hash(nth, u64::from(id.0)) as usize % keys.len()];
        self.put(id, key, hash(nth, 1));
    }

    fn edit(&mut self, id: TableId) {
        let table = &mut self.graph.tables[id.index()];
        table.spec.logic = Some("edited".into());
        table.logic = Some(hex(&Sha256::digest(format!("{} edited", table.name))));
    }

    /// What a partition comes to. Every third table tells little of what it reads, as a flag or a bucket does.
    fn compute(&self, values: &Values, id: TableId, key: Key) -> u64 {
        let table = self.graph.table(id);
        let mut sum = hash(u64::from(id.0), table.spec.logic.as_ref().map_or(0, |_| 1));
        for edge in &table.after {
            let reach = edge.mapping.needs(key);
            let first = Key { period: reach.from, entity: lakeshift_core::graph::EntityId::NONE };
            let read = values[edge.upstream.index()].range(first..).take_while(|(key, _)| key.period <= reach.to);
            sum = read.filter(|(key, _)| reach.contains(**key)).fold(sum, |sum, (_, value)| hash(sum, *value));
        }
        if id.0.is_multiple_of(3) { sum % 2 } else { sum }
    }

    /// Runs what is stale, and checks that all is then as a full rebuild gives it.
    fn wave(&mut self) -> Measured {
        let scan = Staleness::scan(&self.graph, &self.versions, &[]);
        let plan = GraphPlan::new(&self.graph, &self.versions, &scan, &Filter::default());
        let mut wave = plan.wave(&self.graph);
        let mut ran = (0, 0);
        while let Some(at) = wave.start_next() {
            let task = wave.tasks()[at];
            let value = self.compute(&self.values, task.table, task.key);
            let logic = self.versions.logic(&self.graph.table(task.table).logic.clone().unwrap());
            let (rows, read_at) = (self.rows(task.table), self.versions.sequence());
            let changed = self.values[task.table.index()].insert(task.key, value) != Some(value);
            let outcome = Outcome { fingerprint: fingerprint(value), rows, bytes: rows * 10, logic, read_at };
            let _ = self.versions.record(task.table, task.key, outcome);
            assert_ne!(logic, LogicId::NONE);
            ran = (ran.0 + 1, ran.1 + rows);
            wave.done(at, changed);
        }
        self.assert_is_a_full_rebuild();
        Measured { ran, planned: (plan.totals.tasks, plan.totals.rows), others: plan.comparison }
    }

    fn rows(&self, id: TableId) -> u64 {
        let table = self.graph.table(id);
        let coarser = match table.grain() {
            Some(Grain::Day) => 1,
            Some(Grain::Week) => 3,
            _ => 8,
        };
        if table.spec.entity.is_some() { 20_000 * coarser } else { 50_000 * coarser }
    }

    fn assert_is_a_full_rebuild(&self) {
        let mut rebuilt: Values = vec![BTreeMap::new(); self.graph.tables.len()];
        let scan = Staleness::scan(&self.graph, &self.versions, &[]);
        for (id, table) in self.graph.ids() {
            if table.is_source() {
                rebuilt[id.index()] = self.values[id.index()].clone();
                continue;
            }
            let mut keys: Vec<Key> = scan.partitions(id).map(|(key, _)| key).collect();
            keys.sort_unstable();
            for key in keys {
                let value = self.compute(&rebuilt, id, key);
                rebuilt[id.index()].insert(key, value);
            }
        }
        assert_eq!(self.values, rebuilt, "a wave left something else than a full rebuild");
    }
}

fn fingerprint(value: u64) -> Fingerprint {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&value.to_le_bytes());
    Fingerprint(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A tenth sources; most tables by day and region, some by day, week or month; one to three upstreams, with windows, roll-ups,
/// fan-in over regions (so that a month reads 155 partitions and more), and tables that read themselves.
fn yaml(dice: &mut Dice, tables: usize) -> String {
    let sources = tables / 10;
    let mut yaml = "graph: savings\ntables:\n".to_owned();
    let mut kinds: Vec<(Grain, bool)> = Vec::new();
    for at in 0..tables {
        let (grain, by_region) = match dice.roll(20) {
            _ if at < sources => (Grain::Day, true),
            0..=10 => (Grain::Day, true),
            11..=13 => (Grain::Day, false),
            14 => (Grain::Week, true),
            15..=17 => (Grain::Month, true),
            _ => (Grain::Month, false),
        };
        kinds.push((grain, by_region));
        let _ = writeln!(
            yaml,
            "  t{at:02}:\n    location: lake/t{at}\n    format: delta\n    time: {{column: date, grain: {grain}}}"
        );
        if by_region {
            let _ = writeln!(yaml, "    entity: {{column: region, values: [{}]}}", REGIONS.join(", "));
        }
        if at < sources {
            continue;
        }
        let _ = writeln!(yaml, "    sql: SELECT {at}\n    after:");
        // Nothing finer is computed from what is coarser, and nothing by region from what has none.
        let fits = |up: usize| kinds[up].0 <= grain && (kinds[up].1 || !by_region);
        let fitting: Vec<usize> = (0..at).filter(|up| fits(*up)).collect();
        let mut chosen: Vec<usize> = (0..=dice.roll(3))
            .map(|_| fitting[fitting.len() - 1 - dice.roll(fitting.len().min(8) as u64) as usize])
            .collect();
        chosen.sort_unstable();
        chosen.dedup();
        for up in chosen {
            let window = kinds[up].0 == Grain::Day && grain == Grain::Day && dice.roll(4) == 0;
            let rule =
                if window { format!("{{time: {{back: {}}}}}", [6, 27][dice.roll(2) as usize]) } else { "{}".to_owned() };
            let _ = writeln!(yaml, "      t{up:02}: {rule}");
        }
        if dice.roll(20) == 0 {
            let _ = writeln!(yaml, "      t{at:02}: {{time: {{previous: 1}}}}\n    columns: [date DATE]");
        }
    }
    yaml
}
