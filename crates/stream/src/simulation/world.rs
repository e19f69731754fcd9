//! The topic, the processes, and how they live.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use lakeshift_core::plan::data_file_stem;
use lakeshift_core::table::MigrationId;
use lakeshift_journal::{JournalConfig, LeaseConfig, LeaseManager, ObjectLocks};
use lakeshift_testkit::{Chaos, FaultPlan, FaultStore, ManualClock, SeededRng};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::path::Path;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng};

use super::oracle::{self, Seen};
use super::table::{Row, SimSink, SimTable};
use crate::{
    Ask, Asked, Backfill, BackfillConfig, BadRecord, Ingest, IngestConfig, Mode, ObjectLetters, OffsetSet, OneTable, Place,
    Polled, Positions, Range, Record, Register, Sink, Source, SourcePartition, Span, Started, StreamError,
};

const TTL: Duration = Duration::from_secs(60);
const TOPIC: &str = "t";
pub(super) const PARTITIONS: i32 = 2;
const OFFSETS: i64 = 48;
const PERIODS: i32 = 4;
const ENTITIES: [&str; 2] = ["x", "y"];
const LIVES: usize = 12;
const BACKFILLS: usize = 3;
/// Backfills that a second process runs as well, which takes over from one that stalls.
const RIVALS: usize = 2;

/// An event as it stands in the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    Row(Row),
    Bad,
}

/// The topic: by partition, the offsets that exist, and up to where they are there yet.
#[derive(Debug)]
pub(super) struct Topic {
    pub events: BTreeMap<i32, BTreeMap<i64, Event>>,
    visible: Mutex<i64>,
    rng: Mutex<StdRng>,
}

impl Topic {
    fn new(rng: &mut StdRng) -> Self {
        let mut events: BTreeMap<i32, BTreeMap<i64, Event>> = BTreeMap::new();
        for partition in 0..PARTITIONS {
            let of = events.entry(partition).or_default();
            for offset in 0..OFFSETS {
                let place = (rng.random_range(0..PERIODS), ENTITIES[rng.random_range(0..2)]);
                match rng.random_range(0..10) {
                    0 => {}
                    1 => drop(of.insert(offset, Event::Bad)),
                    _ => {
                        let (period, entity) = (place.0, place.1.to_owned());
                        of.insert(offset, Event::Row(Row { partition, offset, period, entity, value: 0 }));
                    }
                }
            }
        }
        Self { events, visible: Mutex::new(6), rng: Mutex::new(StdRng::seed_from_u64(rng.random())) }
    }

    fn grow(&self, by: i64) -> i64 {
        let mut visible = self.visible.lock().unwrap();
        *visible = (*visible + by).min(OFFSETS);
        *visible
    }

    fn draw(&self, below: i64) -> i64 {
        self.rng.lock().unwrap().random_range(0..below)
    }
}

pub(super) fn source_partition(partition: i32) -> SourcePartition {
    SourcePartition::new(TOPIC, partition)
}

#[derive(Debug, Clone)]
struct SimSource(Arc<Topic>);

impl SimSource {
    fn polled(&self, spans: Vec<Span>, wanted: impl Fn(&SourcePartition, i64) -> bool) -> Polled<Vec<Row>> {
        let mut polled = Polled { spans, records: vec![], places: vec![], bad: vec![], rows: vec![] };
        for (index, span) in (0_u32..).zip(&polled.spans) {
            let events = &self.0.events[&span.partition.partition];
            for (&offset, event) in events.range(span.from..span.to).filter(|(offset, _)| wanted(&span.partition, **offset))
            {
                let Event::Row(row) = event else {
                    let (reason, payload) = ("no JSON".to_owned(), "?".into());
                    polled.bad.push(BadRecord { span: index, offset, reason, payload });
                    continue;
                };
                let place = Place { period: row.period, entity: Some(row.entity.as_str().into()) };
                let at = polled.places.iter().position(|known| *known == place).unwrap_or_else(|| {
                    polled.places.push(place);
                    polled.places.len() - 1
                });
                polled.records.push(Record { span: index, place: u32::try_from(at).unwrap(), offset });
                polled.rows.push(row.clone());
            }
        }
        polled
    }
}

#[async_trait]
impl Source for SimSource {
    type Rows = Vec<Row>;

    async fn poll(&mut self, positions: &Positions) -> Result<Option<Polled<Vec<Row>>>, StreamError> {
        tokio::task::yield_now().await;
        let visible = self.0.grow(self.0.draw(4));
        // The topic gets its last partition late.
        let partitions = if visible < OFFSETS / 3 { PARTITIONS - 1 } else { PARTITIONS };
        let spans = (0..partitions).filter_map(|number| {
            let partition = source_partition(number);
            let from = positions.get(&partition).copied().unwrap_or(0);
            let to = (from + 1 + self.0.draw(8)).min(visible);
            (from < to).then_some(Span { partition, from, to })
        });
        let spans: Vec<Span> = spans.collect();
        Ok((!spans.is_empty()).then(|| self.polled(spans, |_, _| true)))
    }

    async fn ends(&mut self) -> Result<Positions, StreamError> {
        Ok((0..PARTITIONS).map(|number| (source_partition(number), OFFSETS)).collect())
    }

    async fn reread(&mut self, offsets: &BTreeMap<SourcePartition, OffsetSet>) -> Result<Polled<Vec<Row>>, StreamError> {
        tokio::task::yield_now().await;
        let at_most = 1 + self.0.draw(6);
        let spans = offsets.iter().filter_map(|(partition, set)| {
            let from = set.first()?;
            Some(Span { partition: partition.clone(), from, to: from + at_most })
        });
        Ok(self.polled(spans.collect(), |partition, offset| offsets[partition].contains(offset)))
    }
}

/// Everything that the processes share.
pub(super) struct World {
    seed: u64,
    inner: Arc<dyn ObjectStore>,
    clock: Arc<ManualClock>,
    pub topic: Arc<Topic>,
    running: Cell<usize>,
    /// What happened so far.
    seen: RefCell<Seen>,
    /// The objects after whose change a process has died.
    deaths: RefCell<Vec<String>>,
}

/// One process's view.
#[derive(Debug, Clone)]
pub(super) struct Process {
    pub store: Arc<dyn ObjectStore>,
    /// What goes wrong in its life, and how it can be told afterwards.
    pub faults: Option<(FaultPlan, Arc<FaultStore>)>,
    pub clock: Arc<ManualClock>,
    pub rng: Arc<SeededRng>,
    pub name: String,
}

impl Process {
    pub fn table(&self) -> SimTable {
        SimTable { store: self.store.clone(), clock: self.clock.clone(), rng: self.rng.clone() }
    }

    async fn register(&self) -> Result<Register, StreamError> {
        Register::open(JournalConfig {
            store: self.store.clone(),
            prefix: Path::from("stream/journal"),
            clock: self.clock.clone(),
            rng: self.rng.clone(),
            writer: self.name.clone(),
        })
        .await
    }

    fn leases(&self, folder: &str) -> LeaseConfig {
        LeaseConfig {
            store: self.store.clone(),
            prefix: Path::from(format!("stream/leases/{folder}")),
            clock: self.clock.clone(),
            rng: self.rng.clone(),
            holder: self.name.clone(),
            ttl: TTL,
        }
    }

    pub fn sink(&self) -> SimSink {
        SimSink { table: self.table(), stream: stream() }
    }

    pub async fn ingest<S, K>(&self, source: S, sink: K) -> Result<Started<S, OneTable<K>>, StreamError>
    where
        S: Source<Rows = Vec<Row>>,
        K: Sink<Rows = Vec<Row>>,
    {
        let config = IngestConfig {
            id: stream(),
            destination: OneTable { id: stream(), table: Arc::new(self.table()), sink },
            leases: LeaseManager::new(self.leases("ingest")),
            dead_letters: Arc::new(ObjectLetters {
                store: self.store.clone(),
                folder: Path::from("stream/dead"),
                rng: self.rng.clone(),
            }),
            clock: self.clock.clone(),
        };
        Ingest::start(config, self.register().await?, source).await
    }

    pub async fn lock(&self, ask: &Ask) -> Result<Asked<Arc<SimTable>>, StreamError> {
        let config = BackfillConfig {
            stream: stream(),
            table: Arc::new(self.table()),
            locks: Arc::new(ObjectLocks::new(self.leases("locks"))),
            clock: self.clock.clone(),
        };
        Backfill::lock(config, self.register().await?, ask).await
    }
}

fn stream() -> MigrationId {
    MigrationId("s".to_owned())
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        Self {
            seed,
            inner: Arc::new(InMemory::new()),
            clock: Arc::new(ManualClock::new()),
            topic: Arc::new(Topic::new(&mut rng)),
            running: Cell::new(2 + BACKFILLS + RIVALS),
            seen: RefCell::default(),
            deaths: RefCell::default(),
        }
    }

    fn rng(&self, of: u64) -> StdRng {
        StdRng::seed_from_u64(self.seed * 1000 + of)
    }

    /// A process on a bad day, which dies before or after one of its operations.
    fn process(&self, rng: &mut StdRng) -> Process {
        let plan = match rng.random_range(0..4) {
            0 => FaultPlan::CrashBefore(rng.random_range(1..120)),
            1 => FaultPlan::CrashAfter(rng.random_range(1..120)),
            2 => FaultPlan::LostResponse(rng.random_range(1..120)),
            _ => FaultPlan::None,
        };
        let chaos = Arc::new(Chaos::new(rng.random(), self.clock.clone()));
        let store = Arc::new(FaultStore::new(self.inner.clone(), plan).with_chaos(chaos));
        Process { store: store.clone(), faults: Some((plan, store)), ..self.sound(rng) }
    }

    fn sound(&self, rng: &mut StdRng) -> Process {
        let seed: u64 = rng.random();
        let name = format!("p{seed:x}");
        let (clock, rng) = (self.clock.clone(), Arc::new(SeededRng::new(seed)));
        Process { store: self.inner.clone(), faults: None, clock, rng, name }
    }

    /// Notes after which step a process has died, and whether an answer was lost to it.
    fn note_end(&self, process: &Process) {
        let Some((plan, store)) = &process.faults else { return };
        if !store.has_struck() {
            return;
        }
        let mut history = store.history();
        match plan {
            FaultPlan::LostResponse(_) => self.seen.borrow_mut().lost += 1,
            FaultPlan::CrashBefore(_) => drop(history.pop()),
            _ => {}
        }
        let last = history.iter().rfind(|operation| operation.kind.is_mutation());
        if let (FaultPlan::CrashBefore(_) | FaultPlan::CrashAfter(_), Some(last)) = (plan, last) {
            self.deaths.borrow_mut().push(last.path.to_string());
        }
    }

    /// A process that ingests is started again whenever it died, or lost its lease, or finds another at it.
    async fn ingest(&self, of: u64) {
        let mut rng = self.rng(of);
        for _ in 0..LIVES {
            let process = self.process(&mut rng);
            if let Ok(Started::Running(mut ingest)) = process.ingest(SimSource(self.topic.clone()), process.sink()).await {
                for _ in 0..rng.random_range(1..12) {
                    let stepped = match rng.random_ratio(1, 4) {
                        true => self.compact(&process, &mut ingest, &mut rng).await,
                        false => ingest.step().await.map(|_| ()),
                    };
                    match stepped {
                        Ok(()) => {}
                        Err(StreamError::Fenced { .. }) => {
                            self.seen.borrow_mut().fenced += 1;
                            break;
                        }
                        Err(_) => break,
                    }
                }
                if rng.random_ratio(1, 3) {
                    let _ = ingest.stop().await;
                }
            }
            self.note_end(&process);
        }
        self.running.set(self.running.get() - 1);
    }

    /// Makes one file of all that one place has.
    async fn compact(
        &self,
        process: &Process,
        ingest: &mut Ingest<SimSource, OneTable<SimSink>>,
        rng: &mut StdRng,
    ) -> Result<(), StreamError> {
        let mut by_place: BTreeMap<(i32, String), Vec<String>> = BTreeMap::new();
        for (path, period) in process.table().standing().await?.live {
            let entity = path.split('/').nth(1).unwrap_or_default().to_owned();
            by_place.entry((period, entity)).or_default().push(path);
        }
        let several: Vec<_> = by_place.into_iter().filter(|(_, paths)| paths.len() > 1).collect();
        let Some(((period, entity), mut paths)) = several.get(rng.random_range(0..several.len().max(1))).cloned() else {
            return Ok(());
        };
        let place = Place { period, entity: Some(entity.into()) };
        let Some(compaction) = ingest.may_compact(&[place]) else { return Ok(()) };
        // In the order of the commits, so that the oracle sees in which order events have applied.
        paths.sort_by_key(|path| oracle::number_of(path));
        let (mut rows, here) = (Vec::new(), SimTable { store: self.inner.clone(), ..process.table() });
        for path in &paths {
            rows.extend(here.rows(path).await);
        }
        for _ in 0..rng.random_range(0..20) {
            tokio::task::yield_now().await;
        }
        let (unit, epoch) = compaction.files_of();
        let files = process.table().write(rows, &data_file_stem(&stream(), &unit, epoch)).await;
        let files = files.map_err(|source| StreamError::Sink(Box::new(source)))?;
        if ingest.compact(&compaction, files, paths).await? {
            self.seen.borrow_mut().compacted += 1;
        }
        Ok(())
    }

    fn ask(&self, name: &str, rng: &mut StdRng) -> Ask {
        let from = rng.random_range(0..PERIODS);
        let to = rng.random_range(from..PERIODS);
        let entity = rng.random_ratio(1, 3).then(|| ENTITIES[rng.random_range(0..2)].to_owned());
        let mode = [Mode::Pause, Mode::Priority, Mode::Park, Mode::Skip][rng.random_range(0..4)];
        let mut cut_off = Positions::new();
        if mode == Mode::Priority && rng.random() {
            cut_off.insert(source_partition(0), rng.random_range(0..OFFSETS / 2));
        }
        Ask { name: name.to_owned(), range: Range { from, to, entity }, mode, cut_off }
    }

    async fn backfill(&self, number: u64, rival: u64) {
        let ask = self.ask(&format!("b{number}"), &mut self.rng(10 + number));
        let mut rng = self.rng(20 + 10 * rival + number);
        for _ in 0..rng.random_range(0..300) {
            tokio::task::yield_now().await;
        }
        for _ in 0..LIVES {
            let abandons = rng.random_ratio(1, 8);
            let process = self.process(&mut rng);
            let ended = self.run_backfill(&process, &ask, abandons, &mut rng).await;
            self.note_end(&process);
            match ended {
                Ok(true) => break,
                Ok(false) => {}
                Err(StreamError::Fenced { .. } | StreamError::Refused(_)) => self.seen.borrow_mut().stopped += 1,
                Err(_) => {}
            }
            for _ in 0..rng.random_range(0..100) {
                tokio::task::yield_now().await;
            }
        }
        self.running.set(self.running.get() - 1);
    }

    /// Whether it came to its end.
    async fn run_backfill(
        &self,
        process: &Process,
        ask: &Ask,
        abandons: bool,
        rng: &mut StdRng,
    ) -> Result<bool, StreamError> {
        let mut backfill = match process.lock(ask).await? {
            Asked::Locked(backfill) => backfill,
            Asked::Held { .. } | Asked::Refused(_) => return Ok(false),
        };
        if abandons && !backfill.is_committed() {
            backfill.abandon().await?;
            return Ok(true);
        }
        let boundary = backfill.boundary(Duration::from_secs(5)).await?;
        if !backfill.is_committed() {
            let coverage = match ask.mode {
                Mode::Priority => boundary.cut_off.clone(),
                Mode::Park | Mode::Skip => boundary.read.clone(),
                Mode::Pause => {
                    let visible = self.topic.grow(0);
                    let read = |number| (source_partition(number), rng.random_range(0..=visible));
                    let resume: Positions = (0..PARTITIONS).map(read).collect();
                    backfill.resume_at(&resume).await?;
                    backfill.held().unwrap().cut_off.clone()
                }
            };
            let table = process.table();
            let standing = table.standing().await?;
            let in_range = |path: &str| {
                let (period, rest) = path.split_once('/').unwrap();
                let entity = rest.split_once('/').unwrap().0;
                ask.range.contains(&Place { period: period.parse().unwrap(), entity: Some(entity.into()) })
            };
            let paths = standing.live.keys().filter(|path| in_range(path) && boundary.covers(path));
            let remove: Vec<String> = paths.cloned().collect();
            let lock = backfill.held().unwrap().id().0;
            let (id, unit, epoch) = backfill.files_of();
            let rows = self.corrected(&ask.range, &coverage, lock);
            let sink = |source| StreamError::Sink(Box::new(source));
            let add = table.write(rows, &data_file_stem(&id, &unit, epoch)).await.map_err(sink)?;
            stall(rng).await;
            backfill.commit(&boundary, add, remove).await?;
        }
        stall(rng).await;
        backfill.validated("it was looked at").await?;
        backfill.release().await?;
        Ok(true)
    }

    fn corrected(&self, range: &Range, coverage: &Positions, lock: u64) -> Vec<Row> {
        let rows = self.topic.events.values().flat_map(BTreeMap::values).filter_map(|event| match event {
            Event::Row(row) => Some(Row { value: lock, ..row.clone() }),
            Event::Bad => None,
        });
        let covered = |row: &Row| coverage.get(&source_partition(row.partition)).is_some_and(|to| row.offset < *to);
        rows.filter(|row| covered(row) && range.contains(&oracle::place(row))).collect()
    }

    /// Time passes by itself, too fast for some leases, and the wall clock jumps.
    async fn pass_time(&self) {
        let mut rng = self.rng(4);
        while self.running.get() > 0 {
            self.clock.advance(Duration::from_millis(rng.random_range(0..400)));
            if rng.random_ratio(1, 500) {
                use lakeshift_journal::Clock as _;
                let jump = chrono::TimeDelta::seconds(rng.random_range(-300..300));
                self.clock.jump_to(self.clock.now() + jump);
                self.seen.borrow_mut().jumped += 1;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Alone, on a sound store: what was begun is ended, and the topic read to its end.
    async fn settle(&self) -> Result<(), StreamError> {
        let mut rng = self.rng(5);
        self.topic.grow(OFFSETS);
        for _ in 0..20 {
            self.clock.advance(TTL * 10);
            let process = self.sound(&mut rng);
            // The lease of a process that died is watched before it is taken over.
            let Started::Running(mut ingest) = process.ingest(SimSource(self.topic.clone()), process.sink()).await? else {
                continue;
            };
            while ingest.step().await?.is_some() {}
            ingest.stop().await?;
            let held: Vec<_> = {
                let register = process.register().await?;
                register.ledger().locks().values().filter(|lock| lock.is_held()).map(|lock| lock.taken.clone()).collect()
            };
            if held.is_empty() {
                return Ok(());
            }
            for taken in held {
                let ask = Ask { name: taken.name, range: taken.range, mode: taken.mode, cut_off: taken.cut_off };
                self.run_backfill(&process, &ask, false, &mut rng).await?;
            }
        }
        Err(StreamError::Conflict { reason: "nothing has settled".to_owned() })
    }

    /// Lives the schedule, and looks at what is left.
    pub async fn live(self) -> Result<Seen, String> {
        tokio::join!(
            self.ingest(1),
            self.ingest(2),
            self.backfill(0, 0),
            self.backfill(0, 1),
            self.backfill(1, 0),
            self.backfill(1, 1),
            self.backfill(2, 0),
            self.pass_time()
        );
        self.settle().await.map_err(|error| format!("on a sound store: {error}"))?;
        let process = self.sound(&mut self.rng(6));
        let register = process.register().await.map_err(|error| error.to_string())?;
        let seen = self.seen.borrow().clone();
        let deaths = self.deaths.borrow().clone();
        oracle::judge(&register, &process.table(), &self.topic, seen, &deaths).await
    }
}

/// Now and then a process stops for longer than its lease lives, and wakes up.
async fn stall(rng: &mut StdRng) {
    if rng.random_ratio(1, 6) {
        for _ in 0..500 {
            tokio::task::yield_now().await;
        }
    }
}
