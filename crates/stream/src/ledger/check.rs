//! What may be written next: [`Ledger::check`] refuses an event that would lose an offset, double one, or act for a lost lock.

use lakeshift_core::table::{CommitNumber, MigrationId};
use lakeshift_journal::Epoch;

use super::Ledger;
use crate::event::{Locking, Mode, Part, Reading, StreamEvent};
use crate::guard::{Guard, is_on};
use crate::lock::{Lock, Stage};
use crate::offsets::{OffsetSet, SourcePartition};

/// Why an event was not written. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another backfill has some of the range.
    #[error("{range} is locked by the backfill {name}; wait for its release, or release it if it is dead")]
    Overlaps {
        /// The range asked for.
        range: String,
        /// Who has it.
        name: String,
    },
    /// The stream has still to replay events that an earlier lock has parked, or has not come to its cut-off.
    #[error("the stream is not past the backfill {name}, which had {range} or a part of it; let the stream run first")]
    Draining {
        /// The range asked for.
        range: String,
        /// Whose.
        name: String,
    },
    /// The lock is not there, or another process acts for it by now.
    #[error("the lock {lock} is lost: epoch {current} acts for it now; stop")]
    LockLost {
        /// The lock.
        lock: Epoch,
        /// The present epoch; the lock's own where it was released.
        current: Epoch,
    },
    /// The step does not follow on what was done.
    #[error("the lock {lock} is {stage:?}, and that does not allow it to be {wanted}")]
    OutOfOrder {
        /// The lock.
        lock: Epoch,
        /// How far it is.
        stage: Stage,
        /// What was asked.
        wanted: &'static str,
    },
    /// A lock came or went since places were judged. Judge again.
    #[error("a lock was taken or released since the events were judged; judge again")]
    LocksMoved,
    /// Parked events come first.
    #[error("events parked under the lock {lock} are to be replayed before the stream reads on")]
    BehindBarrier {
        /// The lock.
        lock: Epoch,
    },
    /// The last commit has no end yet.
    #[error("the commit {number} has no end yet; settle it first")]
    Unsettled {
        /// Its number.
        number: CommitNumber,
    },
    /// Where the stream was, something is open.
    #[error(
        "the stream's file names {to} and the stream has gone to {from}, where {open}; it goes on nowhere else before, and nothing was \
         changed: {next} with the file as it was, then come back with this one"
    )]
    Moving {
        /// Where it is to go.
        to: String,
        /// Where it has gone.
        from: String,
        /// What is open.
        open: String,
        /// What ends it.
        next: String,
    },
    /// The stream writes elsewhere than where the backfill would rewrite.
    #[error(
        "the stream's file names {to} and the stream has gone to {from}; nothing was locked: run `lakeshift ingest --once` with the \
         file as it is, then this again"
    )]
    Elsewhere {
        /// What the file names.
        to: String,
        /// Where the stream is.
        from: String,
    },
    /// Offsets would be lost or doubled.
    #[error("{partition}: {problem}; report this as a bug")]
    Unaccounted {
        /// Where.
        partition: SourcePartition,
        /// What is wrong.
        problem: String,
    },
}

impl Ledger {
    /// Whether `event` may be written next.
    ///
    /// # Errors
    /// The [`Refusal`].
    pub fn check(&self, event: &StreamEvent) -> Result<(), Refusal> {
        match event {
            StreamEvent::Taken => Ok(()),
            StreamEvent::Intended(intent) => {
                if intent.number.0 != self.last_number.0 + 1 {
                    return Err(Refusal::Unsettled { number: self.last_number });
                }
                self.check_reading(&intent.reading)
            }
            StreamEvent::Settled { number, .. } => match &self.pending {
                Some(intent) if intent.number == *number => Ok(()),
                _ => Err(Refusal::Unsettled { number: self.last_number }),
            },
            StreamEvent::Moved { migration } => self.check_move(migration.as_ref()),
            StreamEvent::Noted(reading) => self.check_reading(reading),
            StreamEvent::Locked(locking) => self.check_locking(locking),
            StreamEvent::TakenOver { lock, epoch } => match self.locks.get(lock) {
                Some(found) if found.is_held() && found.epoch < *epoch => Ok(()),
                found => Err(lost(*lock, found)),
            },
            StreamEvent::Bounded { lock, epoch, .. } => {
                let found = self.held(*lock, *epoch)?;
                let fits = found.taken.mode == Mode::Pause && found.stage == Stage::Held;
                expect(found, fits, "bounded")
            }
            StreamEvent::BatchCommitted { lock, epoch, .. } => {
                let found = self.held(*lock, *epoch)?;
                expect(found, found.stage == Stage::Held, "committed")
            }
            StreamEvent::Validated { lock, epoch, .. } => {
                let found = self.held(*lock, *epoch)?;
                expect(found, found.stage == Stage::Committed, "validated")
            }
            StreamEvent::Released { lock, epoch, abandoned } => {
                let found = self.held(*lock, *epoch)?;
                let (ready, wanted) = if *abandoned { (Stage::Held, "abandoned") } else { (Stage::Validated, "released") };
                expect(found, found.stage == ready, wanted)
            }
        }
    }

    /// The next table knows nothing of a commit that is under way, nor of what a backfill rewrites.
    fn check_move(&self, migration: Option<&MigrationId>) -> Result<(), Refusal> {
        let (to, from) = (place(migration), place(self.migration.as_ref()));
        if let Some(intent) = &self.pending {
            let open = format!("its commit {} has no end yet", intent.number);
            return Err(Refusal::Moving { to, from, open, next: "run `lakeshift ingest --once`".to_owned() });
        }
        if let Some(lock) = self.locks.values().find(|lock| lock.is_held()) {
            let open = format!("the backfill {} holds {}", lock.taken.name, lock.taken.range);
            return Err(Refusal::Moving { to, from, open, next: "end it, or give it up with --abandon,".to_owned() });
        }
        Ok(())
    }

    fn held(&self, lock: Epoch, epoch: Epoch) -> Result<&Lock, Refusal> {
        match self.locks.get(&lock) {
            Some(found) if found.is_held() && found.epoch == epoch => Ok(found),
            found => Err(lost(lock, found)),
        }
    }

    fn check_locking(&self, locking: &Locking) -> Result<(), Refusal> {
        if locking.migration != self.migration {
            let (to, from) = (place(locking.migration.as_ref()), place(self.migration.as_ref()));
            return Err(Refusal::Elsewhere { to, from });
        }
        let range = locking.range.to_string();
        for lock in self.locks.values().filter(|lock| lock.taken.range.overlaps(&locking.range)) {
            let name = lock.taken.name.clone();
            if lock.is_held() {
                return Err(Refusal::Overlaps { range, name });
            }
            if self.is_unfinished(lock) {
                return Err(Refusal::Draining { range, name });
            }
        }
        let current = self.last_lock_epoch();
        if locking.epoch <= current { Err(Refusal::LockLost { lock: locking.epoch, current }) } else { Ok(()) }
    }

    fn check_reading(&self, reading: &Reading) -> Result<(), Refusal> {
        if let Some(intent) = &self.pending {
            return Err(Refusal::Unsettled { number: intent.number });
        }
        if reading.locks_seen != self.locks_seen {
            return Err(Refusal::LocksMoved);
        }
        match (reading.replay, self.draining()) {
            (None, Some(lock)) if is_on(Guard::Barrier) => return Err(Refusal::BehindBarrier { lock: lock.id() }),
            _ => {}
        }
        reading.parts.iter().try_for_each(|part| {
            let wrong = |problem| Refusal::Unaccounted { partition: part.partition.clone(), problem };
            self.check_part(reading.replay, part).map_err(wrong)
        })
    }

    fn check_part(&self, replay: Option<Epoch>, part: &Part) -> Result<(), String> {
        let account = self.accounts.get(&part.partition);
        if let Some(lock) = replay {
            let parked = account.and_then(|account| account.parked.get(&lock)).cloned().unwrap_or_default();
            let strays = part.applied.difference(&parked);
            return if strays.is_empty() { Ok(()) } else { Err(format!("offsets {strays} are not parked")) };
        }
        if let Some(account) = account.filter(|account| account.next != part.from) {
            return Err(format!("reading begins at {} and not at {}", part.from, account.next));
        }
        let by_lock = part.parked.iter().chain(&part.superseded).map(|(_, set)| set);
        let (mut all, mut count) = (OffsetSet::default(), 0);
        for set in [&part.applied, &part.absent, &part.dead].into_iter().chain(by_lock) {
            (all, count) = (all.union(set), count + set.len());
        }
        if count != all.len() || all != OffsetSet::range(part.from, part.to) {
            return Err(format!("of offsets {} to {} some are missing or there twice", part.from, part.to - 1));
        }
        Ok(())
    }
}

fn place(migration: Option<&MigrationId>) -> String {
    migration.map_or_else(|| "a table".to_owned(), |migration| format!("the migration {migration}"))
}

fn lost(lock: Epoch, found: Option<&Lock>) -> Refusal {
    Refusal::LockLost { lock, current: found.map_or(lock, |found| found.epoch) }
}

fn expect(lock: &Lock, fits: bool, wanted: &'static str) -> Result<(), Refusal> {
    if fits { Ok(()) } else { Err(Refusal::OutOfOrder { lock: lock.id(), stage: lock.stage, wanted }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Intent;
    use crate::offsets::Positions;
    use crate::range::Range;

    fn ledger(events: &[StreamEvent]) -> Ledger {
        let mut ledger = Ledger::default();
        for event in events {
            ledger.check(event).unwrap();
            ledger.apply(event);
        }
        ledger
    }

    fn locked(migration: Option<MigrationId>) -> StreamEvent {
        let (name, range, mode) = ("later".to_owned(), Range { from: 1, to: 2, entity: None }, Mode::Park);
        StreamEvent::Locked(Locking { epoch: Epoch(1), name, range, mode, cut_off: Positions::new(), migration })
    }

    #[test]
    fn a_stream_goes_elsewhere_when_nothing_is_open_and_backfills_lock_only_where_it_is() {
        let flights = Some(MigrationId("flights".to_owned()));
        let moved = StreamEvent::Moved { migration: flights.clone() };
        let intended = StreamEvent::Intended(Intent { number: CommitNumber(1), rows: 1, reading: Reading::default() });
        for open in [intended.clone(), locked(None)] {
            assert!(matches!(ledger(&[open]).check(&moved), Err(Refusal::Moving { .. })));
        }
        let settled = StreamEvent::Settled { number: CommitNumber(1), done: true };
        let ledger = ledger(&[intended, settled, moved]);
        assert_eq!((ledger.last_done(), ledger.last_done_here(), ledger.has_moved()), (CommitNumber(1), None, true));
        assert!(matches!(ledger.check(&locked(None)), Err(Refusal::Elsewhere { .. })));
        assert_eq!(ledger.check(&locked(flights)), Ok(()));
        assert_eq!(ledger.check(&StreamEvent::Moved { migration: None }), Ok(()));
    }
}
