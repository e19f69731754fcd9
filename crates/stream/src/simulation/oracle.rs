//! What must be true in the end, whatever the schedule.

use std::collections::{BTreeMap, BTreeSet};

use lakeshift_core::plan::unit_of_path;
use lakeshift_core::table::MigrationId;

use super::table::{Row, SimTable};
use super::world::{Event, Topic, source_partition};
use crate::lock::Stage;
use crate::{Audit, Ledger, Lock, Mode, Place, Positions, Register, StreamEvent};

/// What happened, over all schedules: so that it is known that the schedules reach it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub fenced: u64,
    pub stopped: u64,
    pub lost: u64,
    pub jumped: u64,
    handed_over: u64,
    raced: u64,
    pub compacted: u64,
    applied: u64,
    superseded: u64,
    skipped: u64,
    dead: u64,
    absent: u64,
    released: u64,
    abandoned: u64,
    taken_over: u64,
    undone: u64,
    replayed: u64,
    entries: u64,
    /// Steps that were done.
    steps: BTreeSet<String>,
    /// Those after which a process has died, before its next one.
    died_after: BTreeSet<String>,
}

impl Seen {
    pub fn add(&mut self, one: &Self) {
        self.fenced += one.fenced;
        self.stopped += one.stopped;
        self.lost += one.lost;
        self.jumped += one.jumped;
        self.handed_over += one.handed_over;
        self.raced += one.raced;
        self.compacted += one.compacted;
        self.applied += one.applied;
        self.superseded += one.superseded;
        self.skipped += one.skipped;
        self.dead += one.dead;
        self.absent += one.absent;
        self.released += one.released;
        self.abandoned += one.abandoned;
        self.taken_over += one.taken_over;
        self.undone += one.undone;
        self.replayed += one.replayed;
        self.entries += one.entries;
        self.steps.extend(one.steps.iter().cloned());
        self.died_after.extend(one.died_after.iter().cloned());
    }

    /// Whether everything that the schedules are for has happened, and a process has died between every step and the next.
    pub fn is_everything(&self) -> bool {
        let all = [self.fenced, self.stopped, self.applied, self.superseded, self.skipped, self.dead, self.absent];
        let more = [self.compacted, self.released, self.abandoned, self.taken_over, self.undone, self.replayed];
        let faults = [self.lost, self.jumped, self.handed_over, self.raced];
        all.iter().chain(&more).chain(&faults).all(|count| *count > 0) && self.steps.is_subset(&self.died_after)
    }
}

pub(super) fn place(row: &Row) -> Place {
    Place { period: row.period, entity: Some(row.entity.as_str().into()) }
}

/// Looks at what is left. `deaths` are the objects after whose change a process has died.
pub(super) async fn judge(
    register: &Register,
    table: &SimTable,
    topic: &Topic,
    mut seen: Seen,
    deaths: &[String],
) -> Result<Seen, String> {
    let (entries, ledger) = (register.journal().entries(), register.ledger());
    let beginnings: Positions = topic.events.keys().map(|number| (source_partition(*number), 0)).collect();
    let audit = Audit::new(entries, &beginnings);
    let left: usize = audit.partitions.iter().map(|one| one.parked.len()).sum();
    if !audit.is_clean() || audit.partitions.len() != topic.events.len() || left > 0 {
        return Err(format!("the audit: {audit:?}"));
    }
    let rows = live_rows(table).await.map_err(|error| error.to_string())?;
    let mut found: Vec<Row> = rows.iter().map(|(_, row)| row.clone()).collect();
    found.sort();
    let mut expected = sequential(ledger, topic);
    expected.sort();
    if found != expected {
        let missing: Vec<_> = expected.iter().filter(|row| !found.contains(row)).collect();
        let extra: Vec<_> = found.iter().filter(|row| !expected.contains(row)).collect();
        let (have, want) = (found.len(), expected.len());
        return Err(format!("{have} rows where {want} should be; missing {missing:?}, not expected {extra:?}"));
    }
    in_order(ledger, &rows)?;
    count(register, &audit, &mut seen);
    seen.died_after = deaths.iter().map(|path| step(path, register)).collect();
    Ok(seen)
}

/// All rows with the number of the stream's commit that wrote them, in the order of the commits.
async fn live_rows(table: &SimTable) -> Result<Vec<(Option<u64>, Row)>, lakeshift_core::table::TableError> {
    let mut rows = Vec::new();
    for path in table.standing().await?.live.keys() {
        let number = number_of(path);
        rows.extend(table.rows(path).await.into_iter().map(|row| (number, row)));
    }
    rows.sort_by_key(|(number, row)| (*number, row.partition));
    Ok(rows)
}

/// The number of the stream's commit that wrote a file.
pub(super) fn number_of(path: &str) -> Option<u64> {
    unit_of_path(&MigrationId("s".to_owned()), path)?.0.strip_prefix('s')?.parse().ok()
}

/// The rows of a run in which nothing happens at the same time: the stream applies all events but those skipped, and each
/// backfill in turn writes its own value for all events of its range that it has read.
fn sequential(ledger: &Ledger, topic: &Topic) -> Vec<Row> {
    let mut rows = Vec::new();
    for event in topic.events.values().flat_map(BTreeMap::values) {
        let Event::Row(row) = event else { continue };
        let partition = source_partition(row.partition);
        let done = |lock: &&Lock| lock.stage == Stage::Released && lock.taken.range.contains(&place(row));
        let covering = ledger.locks().values().filter(done).rfind(|lock| {
            let coverage = match lock.taken.mode {
                Mode::Pause | Mode::Priority => &lock.cut_off,
                Mode::Park | Mode::Skip => &lock.at_lock,
            };
            coverage.get(&partition).is_some_and(|to| row.offset < *to)
        });
        let skipped = ledger.accounts()[&partition].skipped.values().any(|set| set.contains(row.offset));
        match covering {
            Some(lock) => rows.push(Row { value: lock.id().0, ..row.clone() }),
            None if skipped => {}
            None => rows.push(row.clone()),
        }
    }
    rows
}

/// In each place, the stream's rows of one partition stand in the order of their offsets. A priority backfill that was abandoned
/// is the one exception: newer events have applied by then.
fn in_order(ledger: &Ledger, rows: &[(Option<u64>, Row)]) -> Result<(), String> {
    let excepted = |row: &Row| {
        let mut locks = ledger.locks().values();
        locks.any(|lock| {
            (lock.stage, lock.taken.mode) == (Stage::Abandoned, Mode::Priority) && lock.taken.range.contains(&place(row))
        })
    };
    let mut last: BTreeMap<(i32, i32, &str), i64> = BTreeMap::new();
    // A compacted file may have rows of a backfill beside the stream's.
    let own = |number: &Option<u64>, row: &Row| number.is_some() && row.value == 0;
    for (_, row) in rows.iter().filter(|(number, row)| own(number, row) && !excepted(row)) {
        let before = last.insert((row.partition, row.period, &row.entity), row.offset);
        if let Some(before) = before.filter(|before| *before >= row.offset) {
            return Err(format!("{row:?} was applied after offset {before}"));
        }
    }
    Ok(())
}

/// What the change of an object was a step of: an event of the journal by its name, else the folder and what the object is.
fn step(path: &str, register: &Register) -> String {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    match folder {
        "stream/journal" => {
            let number: usize = name.trim_end_matches(".json").parse().unwrap();
            register.journal().entries().get(number - 1).map_or_else(String::new, |entry| event_name(&entry.event))
        }
        // Below it are folders of places, and of locks.
        _ if folder.starts_with("table/data") => "data file".to_owned(),
        _ if folder.starts_with("stream/leases/locks") => format!("lock.{}", name.rsplit('.').next().unwrap()),
        _ => format!("{folder}.{}", name.rsplit('.').next().unwrap()),
    }
}

fn event_name(event: &StreamEvent) -> String {
    serde_json::to_value(event).unwrap()["event"].as_str().unwrap().to_owned()
}

/// Replays during which another lock was taken or let go.
fn raced(register: &Register) -> u64 {
    use crate::StreamEvent::{Intended, Released};
    let (mut since, mut raced) = (BTreeMap::new(), 0);
    for (at, entry) in register.journal().entries().iter().enumerate() {
        match &entry.event {
            Released { lock, .. } => drop(since.insert(*lock, at)),
            Intended(intent) => {
                let of = intent.reading.replay.and_then(|lock| Some((lock, *since.get(&lock)?)));
                let Some((replayed, released)) = of else { continue };
                let between = &register.journal().entries()[released + 1..at];
                let moves = |event: &StreamEvent| match event {
                    StreamEvent::Locked(_) | StreamEvent::TakenOver { .. } => true,
                    Released { lock, .. } => *lock != replayed,
                    _ => false,
                };
                raced += u64::from(between.iter().any(|entry| moves(&entry.event)));
            }
            _ => {}
        }
    }
    raced
}

fn count(register: &Register, audit: &Audit, seen: &mut Seen) {
    use crate::StreamEvent::{Intended, Released, Settled, Taken, TakenOver};
    seen.raced = raced(register);
    let objects = ["lock.json", "lock.heartbeat", "stream/leases/ingest.json", "stream/leases/ingest.heartbeat"];
    seen.steps.extend(objects.map(str::to_owned));
    seen.steps.extend(["data file", "table/log.json", "stream/dead.json"].map(str::to_owned));
    for one in &audit.partitions {
        seen.applied += one.applied;
        seen.superseded += one.superseded.values().sum::<u64>();
        seen.skipped += one.skipped.values().sum::<u64>();
        seen.dead += one.dead_lettered;
        seen.absent += one.absent;
    }
    for entry in register.journal().entries() {
        seen.entries += 1;
        seen.steps.insert(event_name(&entry.event));
        match &entry.event {
            Released { abandoned: true, .. } => seen.abandoned += 1,
            Released { .. } => seen.released += 1,
            TakenOver { .. } => seen.taken_over += 1,
            Taken => seen.handed_over += u64::from(entry.sequence.0 > 1),
            Settled { done: false, .. } => seen.undone += 1,
            Intended(intent) if intent.reading.replay.is_some() => seen.replayed += intent.rows,
            _ => {}
        }
    }
}
