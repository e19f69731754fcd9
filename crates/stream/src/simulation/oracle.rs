//! What must be true in the end, whatever the schedule.

use std::collections::BTreeMap;

use lakeshift_core::plan::unit_of_path;
use lakeshift_core::table::MigrationId;

use super::table::{Row, SimTable};
use super::world::{Event, Topic, source_partition};
use crate::lock::Stage;
use crate::{Audit, Ledger, Lock, Mode, Place, Positions, Register};

/// What happened, over all schedules: so that it is known that the schedules reach it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub fenced: u64,
    pub stopped: u64,
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
}

impl Seen {
    pub fn add(&mut self, one: &Self) {
        self.fenced += one.fenced;
        self.stopped += one.stopped;
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
    }

    pub fn is_everything(&self) -> bool {
        let all = [self.fenced, self.stopped, self.applied, self.superseded, self.skipped, self.dead, self.absent];
        let more = [self.compacted, self.released, self.abandoned, self.taken_over, self.undone, self.replayed];
        all.iter().chain(&more).all(|count| *count > 0)
    }
}

pub(super) fn place(row: &Row) -> Place {
    Place { period: row.period, entity: Some(row.entity.as_str().into()) }
}

pub(super) async fn judge(register: &Register, table: &SimTable, topic: &Topic, mut seen: Seen) -> Result<Seen, String> {
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

fn count(register: &Register, audit: &Audit, seen: &mut Seen) {
    use crate::StreamEvent::{Intended, Released, Settled, TakenOver};
    for one in &audit.partitions {
        seen.applied += one.applied;
        seen.superseded += one.superseded.values().sum::<u64>();
        seen.skipped += one.skipped.values().sum::<u64>();
        seen.dead += one.dead_lettered;
        seen.absent += one.absent;
    }
    for entry in register.journal().entries() {
        seen.entries += 1;
        match &entry.event {
            Released { abandoned: true, .. } => seen.abandoned += 1,
            Released { .. } => seen.released += 1,
            TakenOver { .. } => seen.taken_over += 1,
            Settled { done: false, .. } => seen.undone += 1,
            Intended(intent) if intent.reading.replay.is_some() => seen.replayed += intent.rows,
            _ => {}
        }
    }
}
