//! Random graphs over toy tables, whose partitions are numbers: after a wave they are what a full rebuild gives.

mod lineage;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rstest::rstest;

use super::*;

/// SplitMix64, so that a case replays from its seed.
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

/// A graph with the values of its partitions.
struct World {
    graph: Graph,
    versions: Versions,
    values: BTreeMap<(TableId, Key), u64>,
}

impl World {
    fn new(dice: &mut Dice) -> Self {
        let graph = random_graph(dice);
        let mut world = Self { versions: Versions::new(&graph), graph, values: BTreeMap::new() };
        for _ in 0..40 {
            world.change_source(dice);
        }
        world
    }

    fn change_source(&mut self, dice: &mut Dice) -> (TableId, Key) {
        let sources: Vec<TableId> = self.graph.ids().filter(|(_, table)| table.is_source()).map(|(id, _)| id).collect();
        let id = sources[dice.roll(sources.len() as u64) as usize];
        let table = self.graph.table(id);
        let period = table.grain().map_or(TIMELESS, |grain| grain.at_hours(272_000 + 24 * dice.roll(20) as i64));
        let entity = if table.spec.entity.is_some() { ["a", "b"][dice.roll(2) as usize] } else { "" };
        let key = Key { period, entity: self.versions.entity(entity) };
        let value = dice.roll(4);
        self.values.insert((id, key), value);
        let _ = self.versions.moved(id, key, fingerprint(value), 1, 1);
        (id, key)
    }

    fn change_logic(&mut self, dice: &mut Dice) {
        let computed: Vec<usize> = (0..self.graph.tables.len()).filter(|at| !self.graph.tables[*at].is_source()).collect();
        let table = &mut self.graph.tables[computed[dice.roll(computed.len() as u64) as usize]];
        table.spec.logic = Some(dice.roll(1000).to_string());
        table.logic = table.spec.logic_digest();
    }

    fn compute(&self, values: &BTreeMap<(TableId, Key), u64>, id: TableId, key: Key) -> u64 {
        let table = self.graph.table(id);
        let salt = table.spec.logic.as_deref().map_or(0, |label| label.parse().unwrap());
        let mut sum = hash(salt % 3, u64::from(key.entity.0));
        for edge in &table.after {
            let reach = edge.mapping.needs(key);
            let upstream = values.iter().filter(|((table, key), _)| *table == edge.upstream && reach.contains(*key));
            sum = upstream.fold(sum, |sum, (_, value)| hash(sum, *value));
        }
        // Most tables lose much of what they read, so that waves are cut off.
        if id.0.is_multiple_of(3) { sum } else { sum % 2 }
    }

    fn scan(&self) -> Staleness {
        Staleness::scan(&self.graph, &self.versions, &[])
    }

    fn plan(&self) -> GraphPlan {
        GraphPlan::new(&self.graph, &self.versions, &self.scan(), &Filter::default())
    }

    /// Runs all stale partitions, several at a time, ending in any order; some fail.
    fn run(&mut self, dice: &mut Dice, failing: u64) -> (Wave, BTreeSet<(TableId, Key)>) {
        let mut wave = self.plan().wave(&self.graph);
        let (mut running, mut ran) = (Vec::new(), BTreeSet::new());
        let mut moved: BTreeSet<(TableId, Key)> = BTreeSet::new();
        loop {
            while running.len() < 3 {
                let Some(task) = wave.start_next() else { break };
                let Task { table, key, mark, .. } = wave.tasks()[task];
                let reads_moved = self.graph.table(table).after.iter().any(|edge| {
                    let reach = edge.mapping.needs(key);
                    moved.iter().any(|(table, key)| *table == edge.upstream && reach.contains(*key))
                });
                assert!(mark.must_run() || reads_moved, "the wave was not cut off");
                running.push((task, self.versions.sequence(), self.compute(&self.values, table, key)));
            }
            if running.is_empty() {
                assert_eq!(wave.summary().open, 0);
                return (wave, ran);
            }
            let (task, read_at, value) = running.swap_remove(dice.roll(running.len() as u64) as usize);
            if failing > 0 && dice.roll(failing) == 0 {
                wave.failed(task);
                continue;
            }
            let Task { table, key, .. } = wave.tasks()[task];
            let logic = self.graph.table(table).logic.clone().unwrap();
            let logic = self.versions.logic(&logic);
            let outcome = Outcome { fingerprint: fingerprint(value), rows: 1, bytes: 1, logic, read_at };
            let change = self.versions.record(table, key, outcome);
            self.values.insert((table, key), value);
            ran.insert((table, key));
            if matches!(change, Change::Moved(_)) {
                moved.insert((table, key));
            }
            wave.done(task, moved.contains(&(table, key)));
        }
    }

    fn rebuilt(&self) -> BTreeMap<(TableId, Key), u64> {
        let mut values: BTreeMap<(TableId, Key), u64> =
            self.values.iter().filter(|((id, _), _)| self.graph.table(*id).is_source()).map(|(k, v)| (*k, *v)).collect();
        let scan = self.scan();
        for (id, _) in self.graph.ids().filter(|(_, table)| !table.is_source()) {
            let mut keys: Vec<Key> = scan.partitions(id).map(|(key, _)| key).collect();
            keys.sort();
            for key in keys {
                let value = self.compute(&values, id, key);
                values.insert((id, key), value);
            }
        }
        values
    }

    fn stale(&self) -> BTreeSet<(TableId, Key)> {
        let scan = self.scan();
        self.graph.ids().flat_map(|(id, _)| scan.stale(id).map(move |(key, _)| (id, key)).collect::<Vec<_>>()).collect()
    }
}

fn fingerprint(value: u64) -> Fingerprint {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&value.to_le_bytes());
    Fingerprint(bytes)
}

/// Up to 8 tables; those whose mapping is refused are tried again.
fn random_graph(dice: &mut Dice) -> Graph {
    let mut spec = GraphSpec { graph: "toy".into(), ..GraphSpec::default() };
    let tables = 4 + dice.roll(5) as usize;
    while spec.tables.len() < tables {
        let name = format!("t{}", spec.tables.len());
        let mut table = random_table(dice);
        if spec.tables.len() >= 2 {
            table.sql = Some("x".into());
            for _ in 0..=dice.roll(2) {
                let upstream = format!("t{}", dice.roll(spec.tables.len() as u64));
                table.after.insert(upstream, random_edge(dice));
            }
            if dice.roll(4) == 0 {
                let previous = TimeRule::Previous(Previous { previous: 1 + dice.roll(2) as u32 });
                table.after.insert(name.clone(), EdgeSpec { time: Some(previous), entity: None });
                table.columns = vec!["day DATE".into()];
            }
        }
        let mut tried = spec.clone();
        tried.tables.insert(name, table);
        if Graph::build(&tried, &Inferred::new()).is_ok() {
            spec = tried;
        }
    }
    Graph::build(&spec, &Inferred::new()).unwrap()
}

fn random_table(dice: &mut Dice) -> TableSpec {
    let grain = [Some(Grain::Day), Some(Grain::Day), Some(Grain::Week), Some(Grain::Month), None][dice.roll(5) as usize];
    let values = vec!["a".to_owned(), "b".to_owned()];
    TableSpec {
        location: "lake".into(),
        format: crate::table::Format::Delta,
        files_in: None,
        time: grain.map(|grain| TimeSpec { column: "date".into(), grain }),
        entity: (dice.roll(2) == 0).then(|| EntitySpec { column: "region".into(), values }),
        logic: None,
        pool: None,
        priority: dice.roll(3) as i32,
        sql: None,
        sql_file: None,
        command: None,
        columns: Vec::new(),
        after: BTreeMap::new(),
    }
}

fn random_edge(dice: &mut Dice) -> EdgeSpec {
    let time = match dice.roll(5) {
        0 => Some(TimeRule::Word(TimeWord::All)),
        1 => Some(TimeRule::Window(Window { back: dice.roll(7) as u32, ahead: dice.roll(2) as u32 })),
        2 => Some(TimeRule::Previous(Previous { previous: 1 + dice.roll(3) as u32 })),
        _ => None,
    };
    let entity = (dice.roll(4) == 0).then_some(EntityMapping::All);
    EdgeSpec { time, entity }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn after_a_wave_every_table_is_what_a_full_rebuild_gives(seed: u64) {
        let mut dice = Dice(seed);
        let mut world = World::new(&mut dice);
        let (_, _) = world.run(&mut dice, 0);
        for _ in 0..4 {
            for _ in 0..=dice.roll(3) {
                if dice.roll(4) == 0 {
                    world.change_logic(&mut dice);
                } else {
                    world.change_source(&mut dice);
                }
            }
            let planned = world.stale();
            let (_, ran) = world.run(&mut dice, 0);
            prop_assert!(ran.is_subset(&planned));
            prop_assert_eq!(&world.values, &world.rebuilt());
            prop_assert_eq!(world.stale(), BTreeSet::new());
        }
    }

    #[test]
    fn what_a_failed_wave_left_is_what_the_next_scan_finds(seed: u64) {
        let mut dice = Dice(seed);
        let mut world = World::new(&mut dice);
        let (wave, _) = world.run(&mut dice, 10);
        let left: BTreeSet<_> = wave.left().map(|task| (task.table, task.key)).collect();
        prop_assert_eq!(&left, &world.stale());
        world.run(&mut dice, 0);
        prop_assert_eq!(&world.values, &world.rebuilt());
    }

    #[test]
    fn a_change_makes_stale_only_what_it_reaches_and_each_tells_why(seed: u64) {
        let mut dice = Dice(seed);
        let mut world = World::new(&mut dice);
        world.run(&mut dice, 0);
        let (table, key) = world.change_source(&mut dice);
        let reached = affected(&world.graph, &world.versions, table, &[key]);
        let scan = world.scan();
        for (id, key) in world.stale() {
            let reaches = |range: &Affected| {
                range.table == id && Reach { from: range.from, to: range.to, entity: range.entity }.contains(key)
            };
            prop_assert!(reached.iter().any(reaches), "{}", world.graph.show(&world.versions, id, key));
            let chain = why(&world.graph, &world.versions, &scan, &[], id, key);
            let last = chain.last();
            prop_assert!(
                matches!(last.map(|link| &link.cause), Some(Cause::UpstreamMoved { .. } | Cause::Missing)),
                "{:?}", chain
            );
        }
    }
}

const FLIGHTS: &str = "
graph: flights
tables:
  flights:
    location: lake/flights
    format: hive
    time: {column: date, grain: day}
    entity: {column: region}
  daily:
    location: lake/daily
    format: delta
    time: {column: date, grain: day}
    entity: {column: region}
    sql: SELECT 1
    after: {flights: {}}
  weekly:
    location: lake/weekly
    format: delta
    time: {column: date, grain: day}
    entity: {column: region}
    sql: SELECT 2
    after: {daily: {time: {back: 6}}}
  monthly:
    location: lake/monthly
    format: delta
    time: {column: month, grain: month}
    sql: SELECT 3
    after: {daily: {}}
";

/// The flights of January in four regions, everything computed.
fn flights() -> World {
    let graph = Graph::build(&GraphSpec::from_yaml(FLIGHTS, "graph.yaml").unwrap(), &Inferred::new()).unwrap();
    let mut world = World { versions: Versions::new(&graph), graph, values: BTreeMap::new() };
    for day in 1..=31 {
        for region in ["AP", "EU", "NA", "SA"] {
            change(&mut world, day, region, 1);
        }
    }
    world.run(&mut Dice(1), 0);
    world
}

fn change(world: &mut World, day: u32, region: &str, value: u64) {
    let period = Grain::Day.parse(&format!("2001-01-{day:02}")).unwrap();
    let key = Key { period, entity: world.versions.entity(region) };
    let flights = world.graph.table_id("flights").unwrap();
    world.values.insert((flights, key), value);
    let _ = world.versions.moved(flights, key, fingerprint(value), 1, 1);
}

#[test]
fn a_late_day_of_one_region_runs_its_day_its_week_ahead_and_its_month_of_124_upstreams() {
    let mut world = flights();
    change(&mut world, 3, "EU", 2);
    let plan = world.plan();
    let lines: Vec<String> = plan.groups.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    daily: 2001-01-03, EU, because flights moved
    monthly: 2001-01, because daily may change
    weekly: 2001-01-03..2001-01-09, EU, because daily may change
    ");
    assert_eq!((plan.totals.tasks, plan.comparison.full_graph.tasks), (9, 249));
    assert_eq!((plan.comparison.descendants.tasks, plan.comparison.descendants_in_interval.tasks), (249, 9));
    let json = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<GraphPlan>(&json).unwrap(), plan);
    let units = plan.units(&world.graph, &world.versions);
    let (first, month) = (&units[0], units.iter().find(|unit| unit.table == "monthly").unwrap());
    assert_eq!(
        (first.id.as_str(), first.period.as_deref(), first.entity.as_deref()),
        ("daily 2001-01-03 EU", Some("2001-01-03"), Some("EU"))
    );
    assert_eq!((first.after.len(), month.after.as_slice()), (0, &["daily 2001-01-03 EU".to_owned()][..]));
    // The same work later has the same digest.
    change(&mut world, 4, "EU", 2);
    let later = world.plan().units(&world.graph, &world.versions);
    let again = later.iter().find(|unit| unit.id == first.id).unwrap();
    assert_eq!(again.digest, first.digest);
    assert_ne!(again.sequence, first.sequence);
}

#[test]
fn a_hold_keeps_what_is_computed_from_it_out_of_the_plan_and_is_told() {
    let mut world = flights();
    change(&mut world, 3, "EU", 2);
    let daily = world.graph.table_id("daily").unwrap();
    let monthly = world.graph.table_id("monthly").unwrap();
    let holds = [Hold { table: daily, periods: (i32::MIN, i32::MAX), entity: None, by: "daily-to-iceberg".into() }];
    let scan = Staleness::scan(&world.graph, &world.versions, &holds);
    let plan = GraphPlan::new(&world.graph, &world.versions, &scan, &Filter::default());
    assert_eq!((plan.tasks.len(), plan.held), (0, 9));
    let key = Key { period: Grain::Month.parse("2001-01").unwrap(), entity: EntityId::NONE };
    let chain = why(&world.graph, &world.versions, &scan, &holds, monthly, key);
    assert_eq!(chain.last().map(|link| &link.cause), Some(&Cause::Held { by: "daily-to-iceberg".into() }));
}

#[test]
fn a_filtered_plan_leaves_out_what_would_only_run_in_vain() {
    let mut world = flights();
    change(&mut world, 3, "EU", 2);
    let filter = Filter { tables: ["monthly".to_owned()].into(), ..Filter::default() };
    let plan = GraphPlan::new(&world.graph, &world.versions, &world.scan(), &filter);
    assert_eq!(plan.tasks, []);
    let filter = Filter { entities: ["NA".to_owned()].into(), ..Filter::default() };
    assert_eq!(GraphPlan::new(&world.graph, &world.versions, &world.scan(), &filter).tasks, []);
}

#[rstest]
#[case("after: {flights: {}}", "after: {weekly: {}}", "tables are computed in a circle: daily → weekly → daily")]
#[case("after: {flights: {}}", "after: {flight: {}}", "tables.daily.after.flight is no table of this graph")]
#[case("{back: 6}", "{back: 0}", "tables.weekly.after.daily.time is a window of no width")]
#[case("{back: 6}", "roll_up", "tables.weekly.after.daily.time is `roll_up` from day to day")]
#[case("after: {daily: {}}", "after: {daily: {time: same}}", "tables.monthly.after.daily.time is `same` from day to month")]
#[case(
    "after: {daily: {}}",
    "after: {daily: {entity: same}}",
    "tables.monthly.after.daily.entity is `same`, and monthly has no"
)]
#[case(
    "after: {daily: {}}",
    "after: {daily: {}, monthly: {}}\n    columns: [month DATE]",
    "tables.monthly.after.monthly.time is missing"
)]
#[case(
    "after: {daily: {}}",
    "after: {daily: {}, monthly: {time: {back: 1}}}\n    columns: [month DATE]",
    "lets a partition be computed from itself"
)]
#[case("after: {daily: {}}", "after: {daily: {}, monthly: {time: {previous: 1}}}", "tables.monthly.columns are missing")]
#[case("after: {daily: {}}", "after: {daily: {time: {bak: 1}}}", "expected same, roll_up, split, all, {back: N}")]
#[case("after: {daily: {}}", "after: {daily: {time: all}}", "tables.monthly.after has no upstream that tells which periods")]
#[case("sql: SELECT 1", "sql: SELECT 1\n    command: [run]", "tables.daily is computed in two ways")]
#[case("sql: SELECT 1", "command: [run]", "tables.daily.columns are missing, and a command computes the table")]
#[case("sql: SELECT 1", "sql: SELECT 1\n    columns: [a INT]", "tables.daily.columns are those that the SQL gives")]
#[case("sql: SELECT 1", "command: [run]\n    columns: [a]", "tables.daily.columns has `a`; write a name and a SQL type")]
#[case("sql: SELECT 1", "sql: SELECT 1\n    pool: heavy", "tables.daily.pool names heavy, which is no pool")]
#[case("graph: flights", "graph: flights\npools: {heavy: 0}", "pools.heavy lets nothing run")]
#[case("sql: SELECT 1", "sql: SELECT 1\n    files_in: old", "tables.daily.files_in is not on a source in iceberg")]
#[case("sql: SELECT 1", "", "tables.daily.after is on a table that nothing computes")]
#[case(
    "entity: {column: region}\n    sql: SELECT 1",
    "entity: {column: origin}\n    sql: SELECT 1",
    "cannot be inferred from the columns region and origin"
)]
fn a_graph_that_cannot_work_is_refused_with_its_path(#[case] from: &str, #[case] to: &str, #[case] message: &str) {
    let yaml = FLIGHTS.replacen(from, to, 1);
    let built = GraphSpec::from_yaml(&yaml, "graph.yaml").and_then(|spec| Graph::build(&spec, &Inferred::new()));
    let error = built.unwrap_err().to_string();
    assert!(error.contains(message), "{error}");
}

#[test]
fn what_the_grains_prove_is_inferred_and_marked_so() {
    let world = flights();
    let edge = |name: &str| world.graph.table(world.graph.table_id(name).unwrap()).after[0].clone();
    let shown = |name| edge(name).mapping.to_string();
    assert_eq!(shown("daily"), "same day, same entity");
    assert_eq!(shown("weekly"), "days -6 to +0, same entity");
    assert_eq!(shown("monthly"), "day to month, all entities");
    assert_eq!((edge("weekly").time_from, edge("weekly").entity_from), (Origin::Stated, Origin::Partitioning));
}

/// The flights' graph, where the SQL of `down` proves this of what it reads of `up`.
fn proven(from: &str, to: &str, down: &str, up: &str, proof: Proof) -> Result<Edge, GraphError> {
    let spec = GraphSpec::from_yaml(&FLIGHTS.replacen(from, to, 1), "graph.yaml")?;
    let inferred = Inferred::from([((down.to_owned(), up.to_owned()), proof)]);
    let graph = Graph::build(&spec, &inferred)?;
    Ok(graph.table(graph.table_id(down).unwrap()).after[0].clone())
}

#[test]
fn what_the_sql_proves_goes_before_the_grains_and_no_statement_may_leave_it_out() {
    let week = Proof { span: Span::DATE.days_before(-6, 0), same_entity: true };
    let edge = proven("{time: {back: 6}}", "{}", "weekly", "daily", week).unwrap();
    assert_eq!(edge.mapping.to_string(), "days -6 to +0, same entity");
    assert_eq!((edge.time_from, edge.entity_from), (Origin::Sql, Origin::Sql));
    let wider = proven("{time: {back: 6}}", "{time: {back: 9}}", "weekly", "daily", week).unwrap();
    assert_eq!((wider.mapping.to_string().as_str(), wider.time_from), ("days -9 to +0, same entity", Origin::Stated));
    let narrow = proven("{time: {back: 6}}", "{time: {back: 5}}", "weekly", "daily", week).unwrap_err().to_string();
    let told = "tables.weekly.after.daily.time gives days -5 to +0, and the SQL reads days -6 to +0";
    assert!(narrow.contains(told), "{narrow}");
}

#[test]
fn what_the_sql_does_not_tell_has_to_be_stated() {
    let nothing = Proof::default();
    let error = proven("{time: {back: 6}}", "{}", "weekly", "daily", nothing).unwrap_err().to_string();
    assert!(error.contains("tables.weekly.after.daily.time is missing, and the SQL does not tell"), "{error}");
    let endless = Proof { span: Span::DATE.days_before(-200_000, 0), same_entity: true };
    let error = proven("{time: {back: 6}}", "{}", "weekly", "daily", endless).unwrap_err().to_string();
    assert!(error.contains("tables.weekly.after.daily.time is missing, and the SQL does not tell"), "{error}");
    let day = Proof { span: Some(Span::DATE), same_entity: false };
    let error = proven("{time: {back: 6}}", "{}", "weekly", "daily", day).unwrap_err().to_string();
    assert!(error.contains("tables.weekly.after.daily.entity is missing, and the SQL does not tell"), "{error}");
    let stated = proven("{time: {back: 6}}", "{time: same, entity: same}", "weekly", "daily", nothing).unwrap();
    assert_eq!((stated.time_from, stated.entity_from), (Origin::Stated, Origin::Stated));
}

#[test]
fn a_higher_priority_goes_first_with_what_it_is_computed_from_and_a_lower_one_has_its_turn() {
    let yaml = "graph: turns\ntables:\n  flights: {location: a, format: hive, time: {column: day, grain: day}}\n".to_owned()
        + &["daily: flights 0", "report: daily 5", "history: flights 0"]
            .map(|table| {
                let [name, up, priority] = table.split(' ').collect::<Vec<_>>()[..] else { unreachable!() };
                format!(
                    "  {name} {{location: {up}, format: delta, time: {{column: day, grain: day}}, priority: {priority}, sql: x, \
                     after: {{{up}: {{}}}}}}\n"
                )
            })
            .concat();
    let graph = Graph::build(&GraphSpec::from_yaml(&yaml, "graph.yaml").unwrap(), &Inferred::new()).unwrap();
    let mut versions = Versions::new(&graph);
    for period in 0..18 {
        let _ =
            versions.moved(graph.table_id("flights").unwrap(), Key { period, entity: EntityId::NONE }, fingerprint(1), 1, 1);
    }
    let scan = Staleness::scan(&graph, &versions, &[]);
    let plan = GraphPlan::new(&graph, &versions, &scan, &Filter::default());
    let order: Vec<&str> = plan.tasks.iter().map(|task| graph.table(task.table).name.as_str()).collect();
    assert_eq!(order[..8], ["daily", "report"].repeat(4)[..]);
    assert_eq!(
        order.iter().take(45).enumerate().filter(|(_, name)| **name == "history").map(|(at, _)| at).collect::<Vec<_>>(),
        [8, 17, 26, 35, 40, 41, 42, 43, 44]
    );
}

#[test]
fn a_plan_tells_what_its_tasks_read() {
    let world = flights();
    let plan = world.plan();
    assert_eq!((plan.tasks.len(), plan.read_bytes), (0, 0));
    let mut world = flights();
    change(&mut world, 3, "EU", 2);
    let plan = world.plan();
    let read = |task: &Task| -> u64 {
        let edges = &world.graph.table(task.table).after;
        let reached = |edge: &Edge| {
            let reach = edge.mapping.needs(task.key);
            let there = world.versions.partitions(edge.upstream).filter(|(key, _)| reach.contains(*key));
            there.map(|(_, state)| state.bytes).sum::<u64>()
        };
        edges.iter().map(reached).sum()
    };
    let expected: u64 = plan.tasks.iter().map(read).sum();
    assert!(expected > 0 && plan.read_bytes == expected, "{} {expected}", plan.read_bytes);
}

#[rstest]
#[case("{tebibyte_read: 5, compute_hour: 0.4}", 1 << 39, 1800, "2.70")]
#[case("{tebibyte_read: 5}", 1 << 30, 1800, "0.004882")]
#[case("{}", 1 << 50, 1800, "0.00")]
fn money_is_bytes_and_hours_by_their_prices(
    #[case] yaml: &str,
    #[case] bytes: u64,
    #[case] seconds: u64,
    #[case] cost: &str,
) {
    let prices: Prices = serde_yaml::from_str(yaml).unwrap();
    assert_eq!(prices.cost(bytes, std::time::Duration::from_secs(seconds)).to_string(), cost);
}
