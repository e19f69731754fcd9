//! What the lineage says a partition rests on is what it was really computed from.

use super::*;

/// The logics that really went into a partition.
type Went = BTreeSet<(TableId, LogicId)>;

/// Partitions computed in any order, each from what there is; contents tell all that went into them.
struct Lived {
    world: World,
    history: History,
    went: BTreeMap<(TableId, Key), Went>,
}

impl Lived {
    fn new(dice: &mut Dice) -> Self {
        let world = World::new(dice);
        let (mut history, mut went) = (History::default(), BTreeMap::new());
        for (id, _) in world.graph.ids() {
            for (key, state) in world.versions.partitions(id) {
                history.record(id, key, state);
                went.insert((id, key), Went::new());
            }
        }
        Self { world, history, went }
    }

    fn change_source(&mut self, dice: &mut Dice) {
        let (id, key) = self.world.change_source(dice);
        self.history.record(id, key, self.world.versions.get(id, key).unwrap());
        self.went.insert((id, key), Went::new());
    }

    fn compute_one(&mut self, dice: &mut Dice) {
        let graph = &self.world.graph;
        let computed: Vec<TableId> = graph.ids().filter(|(_, table)| !table.is_source()).map(|(id, _)| id).collect();
        let id = computed[dice.roll(computed.len() as u64) as usize];
        let keys: Vec<Key> = self.world.scan().partitions(id).map(|(key, _)| key).collect();
        if keys.is_empty() {
            return;
        }
        let key = keys[dice.roll(keys.len() as u64) as usize];
        let table = graph.table(id);
        let logic = self.world.versions.logic(table.logic.as_deref().unwrap());
        let (mut content, mut went) = (hash(u64::from(logic.0), u64::from(key.entity.0)), Went::from([(id, logic)]));
        for edge in &table.after {
            let reach = edge.mapping.needs(key);
            for ((upstream, key), value) in &self.world.values {
                if *upstream == edge.upstream && reach.contains(*key) {
                    content = hash(content, *value);
                    went.extend(&self.went[&(*upstream, *key)]);
                }
            }
        }
        let read_at = self.world.versions.sequence();
        let outcome = Outcome { fingerprint: fingerprint(content), rows: 1, bytes: 1, logic, read_at };
        let announced = self.history.mixes_of(graph, id, key, logic, read_at);
        let tables: Vec<TableId> = went.iter().map(|(table, _)| *table).collect();
        let mixed: BTreeSet<TableId> = tables.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
        assert_eq!(announced, mixed);
        let _ = self.world.versions.record(id, key, outcome);
        self.world.values.insert((id, key), content);
        self.history.record(id, key, self.world.versions.get(id, key).unwrap());
        self.went.insert((id, key), went);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_partition_rests_on_the_logics_that_went_into_it_whatever_became_of_its_upstreams(seed: u64) {
        let mut dice = Dice(seed);
        let mut lived = Lived::new(&mut dice);
        for _ in 0..120 {
            match dice.roll(8) {
                0 => lived.world.change_logic(&mut dice),
                1 => lived.change_source(&mut dice),
                _ => lived.compute_one(&mut dice),
            }
        }
        let graph = &lived.world.graph;
        let lineage = Lineage::new(graph, &lived.history);
        for ((id, key), went) in &lived.went {
            let mut mixes: BTreeMap<TableId, Vec<LogicId>> = BTreeMap::new();
            went.iter().for_each(|(table, logic)| mixes.entry(*table).or_default().push(*logic));
            mixes.retain(|_, logics| logics.len() > 1);
            prop_assert_eq!(lineage.mixes(*id, *key), mixes);
            let read = lived.history.read_by(graph, *id, *key);
            prop_assert_eq!((read[0].table, read[0].key), (*id, *key));
            let computed = read.iter().filter(|reading| !graph.table(reading.table).is_source());
            let logics: Went = computed.map(|reading| (reading.table, reading.logic)).collect();
            prop_assert_eq!(&logics, went);
        }
    }
}

/// One day, computed by one logic and read, then by another with the same rows: the month need not run, and mixes nothing.
#[test]
fn rows_that_came_out_as_they_were_are_the_later_logics_as_well() {
    let mut world = flights();
    let (daily, monthly) = (world.graph.table_id("daily").unwrap(), world.graph.table_id("monthly").unwrap());
    let mut history = History::default();
    let record = |world: &World, history: &mut History, id: TableId| {
        world.versions.partitions(id).for_each(|(key, state)| history.record(id, key, state));
    };
    world.graph.ids().for_each(|(id, _)| record(&world, &mut history, id));
    let month = Key { period: Grain::Month.parse("2001-01").unwrap(), entity: EntityId::NONE };
    let mixes = |world: &World, history: &History| Lineage::new(&world.graph, history).mixes(monthly, month).len();
    assert_eq!(mixes(&world, &history), 0);
    let again = |world: &mut World, value: Option<u64>, days: usize| {
        let logic = world.versions.logic("later");
        let all: Vec<_> = world.versions.partitions(daily).take(days).map(|(key, state)| (key, *state)).collect();
        for (key, state) in all {
            let fingerprint = value.map_or(state.fingerprint, fingerprint);
            let read_at = world.versions.sequence();
            let _ = world.versions.record(daily, key, Outcome { fingerprint, rows: 1, bytes: 1, logic, read_at });
        }
    };
    // Half of the days by the later logic, with the same rows: the rows are of both, the later stands for them.
    again(&mut world, None, 62);
    record(&world, &mut history, daily);
    assert_eq!(mixes(&world, &history), 1);
    again(&mut world, None, 124);
    record(&world, &mut history, daily);
    assert_eq!(mixes(&world, &history), 0);
    // Other rows: the month read the earlier ones, all of one logic, whatever the days are now.
    again(&mut world, Some(77), 62);
    record(&world, &mut history, daily);
    assert_eq!(mixes(&world, &history), 0);
}

#[test]
fn what_was_read_is_told_by_ranges_and_entities() {
    let world = flights();
    let mut history = History::default();
    for (id, _) in world.graph.ids() {
        world.versions.partitions(id).for_each(|(key, state)| history.record(id, key, state));
    }
    let monthly = world.graph.table_id("monthly").unwrap();
    let month = Key { period: Grain::Month.parse("2001-01").unwrap(), entity: EntityId::NONE };
    let mut readings = history.read_by(&world.graph, monthly, month);
    let other = LogicId(99);
    let (daily, eu) = (world.graph.table_id("daily").unwrap(), world.versions.entity_id("EU").unwrap());
    let tenth = Grain::Day.parse("2001-01-10").unwrap();
    for reading in readings.iter_mut().filter(|reading| reading.table == daily && reading.key.entity == eu) {
        if reading.key.period != tenth {
            reading.logic = other;
        }
    }
    let day = |text: &str| Grain::Day.parse(text).unwrap();
    let of_daily: Vec<Part> = parts(&readings).into_iter().filter(|part| part.table == daily).collect();
    let (kept, mended) = (&of_daily[0], &of_daily[1]);
    assert_eq!((kept.partitions, mended.partitions), (3 * 31 + 1, 30));
    let spans: Vec<_> = kept.spans.iter().map(|span| (span.from, span.to, span.entities.len())).collect();
    assert_eq!(spans, [(day("2001-01-01"), day("2001-01-31"), 3), (tenth, tenth, 1)]);
    let spans: Vec<_> = mended.spans.iter().map(|span| (span.from, span.to, span.entities.clone())).collect();
    assert_eq!(spans, [(day("2001-01-01"), tenth - 1, vec![eu]), (tenth + 1, day("2001-01-31"), vec![eu])]);
    assert_eq!(parts(&readings).iter().map(|part| part.table).collect::<Vec<_>>()[0], monthly);
}
