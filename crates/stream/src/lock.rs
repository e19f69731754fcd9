//! [`Lock`]s as the stream sees them, and [`EpochMap`]: what becomes of an event, answered from memory.

use lakeshift_core::table::CommitNumber;
use lakeshift_journal::Epoch;

use crate::event::{Locking, Mode};
use crate::guard::{Guard, is_on};
use crate::offsets::{Positions, SourcePartition};
use crate::range::{Place, Range};

/// How far a backfill has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It holds the range.
    Held,
    /// Its rows are in the table.
    Committed,
    /// And they are right.
    Validated,
    /// It has let go after that.
    Released,
    /// It has let go without rows.
    Abandoned,
}

/// A lock, folded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// As it was taken. Its epoch names the lock.
    pub taken: Locking,
    /// The epoch of whoever may act for it now.
    pub epoch: Epoch,
    /// How far it is.
    pub stage: Stage,
    /// What the stream had read when it was taken: the backfill owns what is before.
    pub at_lock: Positions,
    /// Events before these are superseded once the backfill is done.
    pub cut_off: Positions,
    /// The stream's last commit at that time. Files of later ones are not the backfill's to replace.
    pub last_commit: CommitNumber,
    /// A commit of the stream that was under way at that time.
    pub drain: Option<CommitNumber>,
}

impl Lock {
    /// The lock's name: the epoch under which it was taken.
    pub fn id(&self) -> Epoch {
        self.taken.epoch
    }

    /// Whether the backfill has the range.
    pub fn is_held(&self) -> bool {
        matches!(self.stage, Stage::Held | Stage::Committed | Stage::Validated)
    }

    /// What the stream has read up to here is the backfill's.
    pub(crate) fn begin_at(&mut self, positions: &Positions) {
        self.at_lock.clone_from(positions);
        if self.taken.mode == Mode::Priority {
            self.cut_off = self.at_least(&self.taken.cut_off);
        }
    }

    /// These positions, none before what the stream had read when the lock was taken.
    pub(crate) fn at_least(&self, positions: &Positions) -> Positions {
        let mut later = positions.clone();
        for (partition, read) in &self.at_lock {
            let position = later.entry(partition.clone()).or_insert(*read);
            *position = (*position).max(*read);
        }
        later
    }
}

/// What becomes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is written.
    Apply,
    /// It is set aside under this lock, until that is released.
    Park(Epoch),
    /// This lock's backfill has covered it.
    Superseded(Epoch),
}

/// The locks at one moment, for asking about many events. The stream makes a new one whenever its journal tells of a lock; what
/// was judged by an old one is refused at the commit.
#[derive(Debug, Clone, Default)]
pub struct EpochMap {
    locks: Vec<Rule>,
    seen: u64,
}

/// A lock as the map has it.
#[derive(Debug, Clone)]
struct Rule {
    range: Range,
    lock: Lock,
    /// Whether events that it has set aside wait to be replayed.
    has_backlog: bool,
}

impl EpochMap {
    /// The map of these locks, each with whether something is parked under it. `seen` is how many events of locks led to them.
    pub fn new<'a>(locks: impl Iterator<Item = (&'a Lock, bool)>, seen: u64) -> Self {
        let rule =
            |(lock, has_backlog): (&Lock, bool)| Rule { range: lock.taken.range.clone(), lock: lock.clone(), has_backlog };
        let mut locks: Vec<Rule> = locks.map(rule).collect();
        // What a backfill has covered stays covered, whoever holds the range now.
        locks.sort_by_key(|rule| rule.lock.is_held());
        Self { locks, seen }
    }

    /// How many events of locks it knows of.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Whether no lock concerns this place: the answer for almost every event, without asking anybody.
    #[inline]
    pub fn is_free(&self, place: &Place) -> bool {
        self.locks.iter().all(|rule| !rule.range.contains(place))
    }

    /// What becomes of the event at `offset` of `partition`, whose row belongs to `place`.
    pub fn fate(&self, place: &Place, partition: &SourcePartition, offset: i64) -> Fate {
        self.ruling(place, partition).fate(offset)
    }

    /// What becomes of the events of `partition` whose rows belong to `place`, for asking about many of them.
    pub fn ruling(&self, place: &Place, partition: &SourcePartition) -> Ruling {
        let rules = self.locks.iter().filter(|rule| rule.range.contains(place));
        Ruling(rules.map(|rule| rule.of(partition)).collect())
    }
}

impl Rule {
    fn of(&self, partition: &SourcePartition) -> Halves {
        let lock = &self.lock;
        let cut_off = lock.cut_off.get(partition).filter(|_| is_on(Guard::CutOff)).copied().unwrap_or(i64::MIN);
        let parks = Some(Fate::Park(lock.id()));
        let waits = parks.filter(|_| self.has_backlog && is_on(Guard::Barrier));
        let (before, after) = match (lock.stage, lock.taken.mode) {
            (Stage::Released, _) => (Some(Fate::Superseded(lock.id())), waits),
            (Stage::Abandoned, _) => (waits, waits),
            (_, Mode::Priority) => (parks, None),
            _ => (parks, parks),
        };
        Halves { cut_off, before, after }
    }
}

/// What one lock says of one partition's events in its range: before its cut-off and after it, where it says anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Halves {
    cut_off: i64,
    before: Option<Fate>,
    after: Option<Fate>,
}

/// What the locks that concern one place say of one partition's events there. The first that says anything counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ruling(Vec<Halves>);

impl Ruling {
    /// What becomes of the event at `offset`.
    #[inline]
    pub fn fate(&self, offset: i64) -> Fate {
        let says = |halves: &Halves| if offset < halves.cut_off { halves.before } else { halves.after };
        self.0.iter().find_map(says).unwrap_or(Fate::Apply)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const ID: Epoch = Epoch(7);

    fn lock(stage: Stage, mode: Mode) -> Lock {
        let range = Range { from: 3, to: 5, entity: Some("x".to_owned()) };
        let taken = Locking { epoch: ID, name: "b".to_owned(), range, mode, cut_off: Positions::new(), migration: None };
        let cut_off = Positions::from([(SourcePartition::new("t", 0), 10)]);
        Lock { taken, epoch: ID, stage, at_lock: Positions::new(), cut_off, last_commit: CommitNumber(0), drain: None }
    }

    fn fate(map: &EpochMap, partition: i32, offset: i64) -> Fate {
        map.fate(&Place { period: 4, entity: Some("x".into()) }, &SourcePartition::new("t", partition), offset)
    }

    #[rstest]
    #[case(Stage::Held, Mode::Park, false, Fate::Park(ID), Fate::Park(ID))]
    #[case(Stage::Committed, Mode::Pause, false, Fate::Park(ID), Fate::Park(ID))]
    #[case(Stage::Validated, Mode::Skip, false, Fate::Park(ID), Fate::Park(ID))]
    #[case(Stage::Held, Mode::Priority, false, Fate::Park(ID), Fate::Apply)]
    #[case(Stage::Released, Mode::Priority, false, Fate::Superseded(ID), Fate::Apply)]
    #[case(Stage::Released, Mode::Pause, true, Fate::Superseded(ID), Fate::Park(ID))]
    #[case(Stage::Abandoned, Mode::Priority, false, Fate::Apply, Fate::Apply)]
    #[case(Stage::Abandoned, Mode::Priority, true, Fate::Park(ID), Fate::Park(ID))]
    fn a_lock_decides_by_its_stage_and_mode_before_its_cut_off_and_after(
        #[case] stage: Stage,
        #[case] mode: Mode,
        #[case] has_backlog: bool,
        #[case] before: Fate,
        #[case] after: Fate,
    ) {
        let lock = lock(stage, mode);
        let map = EpochMap::new([(&lock, has_backlog)].into_iter(), 1);
        assert_eq!((fate(&map, 0, 9), fate(&map, 0, 10)), (before, after));
        assert_eq!(fate(&map, 1, 0), after, "a partition that the backfill has not read has no cut-off");
        for (period, entity) in [(2, "x"), (6, "x"), (4, "y")] {
            let place = Place { period, entity: Some(entity.into()) };
            assert!(map.is_free(&place));
            assert_eq!(map.fate(&place, &SourcePartition::new("t", 0), 9), Fate::Apply);
        }
    }

    #[test]
    fn what_an_ended_backfill_has_covered_stays_covered_under_the_next_lock() {
        let (ended, next) = (lock(Stage::Released, Mode::Priority), lock(Stage::Held, Mode::Park));
        let next = Lock { taken: Locking { epoch: Epoch(8), ..next.taken }, epoch: Epoch(8), ..next };
        let map = EpochMap::new([(&next, false), (&ended, false)].into_iter(), 2);
        assert_eq!((fate(&map, 0, 9), fate(&map, 0, 10)), (Fate::Superseded(ID), Fate::Park(Epoch(8))));
    }
}
