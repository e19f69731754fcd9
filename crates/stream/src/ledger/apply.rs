//! Folding one event in. It never fails: what does not fit is noted as a double, for the audit to name.

use lakeshift_core::table::CommitNumber;
use lakeshift_journal::Epoch;

use super::Ledger;
use crate::event::{Locking, Mode, Part, Reading, StreamEvent};
use crate::lock::{Lock, Stage};
use crate::offsets::{OffsetSet, Positions};

impl Ledger {
    /// Adds one event.
    pub fn apply(&mut self, event: &StreamEvent) {
        match event {
            StreamEvent::Taken => {}
            StreamEvent::Intended(intent) => {
                self.last_number = intent.number;
                self.pending = Some(intent.clone());
            }
            StreamEvent::Settled { number, done } => {
                let Some(intent) = self.pending.take_if(|intent| intent.number == *number) else { return };
                if *done {
                    self.rows += intent.rows;
                    self.last_done = intent.number;
                    self.last_done_here = Some(intent.number);
                    self.account_for(&intent.reading);
                    self.move_boundaries(intent.number);
                }
            }
            StreamEvent::Moved { migration } => {
                self.migration.clone_from(migration);
                (self.last_done_here, self.has_moved) = (None, true);
            }
            StreamEvent::Noted(reading) => self.account_for(reading),
            StreamEvent::Locked(locking) => self.lock(locking),
            StreamEvent::TakenOver { lock, epoch } => self.change(*lock, |lock| lock.epoch = *epoch),
            StreamEvent::Bounded { lock, resume, .. } => self.change(*lock, |lock| lock.cut_off = resume.clone()),
            StreamEvent::BatchCommitted { lock, .. } => self.change(*lock, |lock| lock.stage = Stage::Committed),
            StreamEvent::Validated { lock, .. } => self.change(*lock, |lock| lock.stage = Stage::Validated),
            StreamEvent::Released { lock, abandoned, .. } => self.release(*lock, *abandoned),
        }
    }

    fn change(&mut self, lock: Epoch, change: impl FnOnce(&mut Lock)) {
        if let Some(lock) = self.locks.get_mut(&lock) {
            change(lock);
        }
        self.locks_seen += 1;
    }

    fn lock(&mut self, locking: &Locking) {
        let mut lock = Lock {
            taken: locking.clone(),
            epoch: locking.epoch,
            stage: Stage::Held,
            at_lock: Positions::new(),
            cut_off: Positions::new(),
            last_commit: self.last_number,
            drain: self.pending.as_ref().map(|intent| intent.number),
        };
        lock.begin_at(&self.positions());
        self.locks.insert(locking.epoch, lock);
        self.locks_seen += 1;
    }

    /// A commit that was under way when a range was locked is in the table: its rows are the backfill's to replace.
    fn move_boundaries(&mut self, number: CommitNumber) {
        let positions = self.positions();
        let waiting = self.locks.values_mut().filter(|lock| lock.drain == Some(number));
        waiting.for_each(|lock| lock.begin_at(&positions));
    }

    fn release(&mut self, id: Epoch, abandoned: bool) {
        self.locks_seen += 1;
        let Some(lock) = self.locks.get_mut(&id) else { return };
        lock.stage = if abandoned { Stage::Abandoned } else { Stage::Released };
        self.end_parked(id);
    }

    /// What is parked under a lock that was released finds its end as the mode says; what is left is replayed.
    fn end_parked(&mut self, id: Epoch) {
        let Some(lock) = self.locks.get(&id).filter(|lock| lock.stage == Stage::Released) else { return };
        let mode = lock.taken.mode;
        for (partition, account) in &mut self.accounts {
            let Some(parked) = account.parked.remove(&id) else { continue };
            let (ended, left) = match mode {
                Mode::Park => (OffsetSet::default(), parked),
                Mode::Skip => (parked, OffsetSet::default()),
                Mode::Pause | Mode::Priority => parked.split(lock.cut_off.get(partition).copied().unwrap_or(i64::MIN)),
            };
            let ends = if mode == Mode::Skip { &mut account.skipped } else { &mut account.superseded };
            add(ends.entry(id).or_default(), &ended);
            account.parked.insert(id, left);
        }
    }

    fn account_for(&mut self, reading: &Reading) {
        for part in &reading.parts {
            match reading.replay {
                Some(lock) => self.replay(lock, part),
                None => self.read_forward(part),
            }
            // The lock may have been released while the commit was under way.
            part.parked.iter().for_each(|(lock, _)| self.end_parked(*lock));
        }
    }

    fn read_forward(&mut self, part: &Part) {
        let account = self.accounts.entry(part.partition.clone()).or_insert_with(|| super::Account {
            first: part.from,
            next: part.from,
            ..Default::default()
        });
        let singles = [(&part.applied, "applied"), (&part.absent, "absent"), (&part.dead, "dead-lettered")];
        let by_lock = part.parked.iter().map(|(_, set)| (set, "parked"));
        let by_lock = by_lock.chain(part.superseded.iter().map(|(_, set)| (set, "superseded")));
        singles.into_iter().chain(by_lock).for_each(|(set, again)| account.note_doubles(set, again));
        add(&mut account.applied, &part.applied);
        add(&mut account.absent, &part.absent);
        add(&mut account.dead, &part.dead);
        part.parked.iter().for_each(|(lock, set)| add(account.parked.entry(*lock).or_default(), set));
        part.superseded.iter().for_each(|(lock, set)| add(account.superseded.entry(*lock).or_default(), set));
        account.next = account.next.max(part.to);
    }

    fn replay(&mut self, lock: Epoch, part: &Part) {
        let Some(account) = self.accounts.get_mut(&part.partition) else { return };
        let parked = account.parked.remove(&lock).unwrap_or_default();
        let strays = part.applied.difference(&parked);
        account.note_doubles(&strays, "replayed");
        add(&mut account.applied, &part.applied);
        account.parked.insert(lock, parked.difference(&part.applied));
    }
}

fn add(set: &mut OffsetSet, more: &OffsetSet) {
    if !more.is_empty() {
        *set = set.union(more);
    }
}
