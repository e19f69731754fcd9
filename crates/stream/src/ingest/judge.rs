//! What becomes of each record of a reading.

use lakeshift_journal::Epoch;

use crate::event::{Part, Reading};
use crate::lock::{EpochMap, Fate, Ruling};
use crate::offsets::OffsetSet;
use crate::source::Polled;

/// A reading with every offset accounted for, and the rows that it brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The reading.
    pub reading: Reading,
    /// The rows that are written, by their index.
    pub kept: Vec<u32>,
}

/// Judges every record by the locks that `map` knows. Locks are looked at once a distinct place and partition; an event costs a
/// look at its place, and a comparison of its offset with each lock that concerns it.
pub fn judge<R>(polled: &Polled<R>, map: &EpochMap) -> Judged {
    let mut parts: Vec<Part> = polled.spans.iter().map(Part::of).collect();
    let mut kept = Vec::with_capacity(polled.records.len());
    let rule = |place| {
        let of = |span: &crate::source::Span| map.ruling(place, &span.partition);
        (!map.is_free(place)).then(|| polled.spans.iter().map(of).collect())
    };
    let rulings: Vec<Option<Vec<Ruling>>> = polled.places.iter().map(rule).collect();
    for (row, record) in (0_u32..).zip(&polled.records) {
        let part = &mut parts[record.span as usize];
        let ruling = &rulings[record.place as usize];
        let fate = ruling.as_ref().map_or(Fate::Apply, |by_span| by_span[record.span as usize].fate(record.offset));
        match fate {
            Fate::Apply => {
                part.applied.insert(record.offset);
                kept.push(row);
            }
            Fate::Park(lock) => of_lock(&mut part.parked, lock).insert(record.offset),
            Fate::Superseded(lock) => of_lock(&mut part.superseded, lock).insert(record.offset),
        }
    }
    for bad in &polled.bad {
        parts[bad.span as usize].dead.insert(bad.offset);
    }
    for part in &mut parts {
        let by_lock = part.parked.iter().chain(&part.superseded).map(|(_, set)| set);
        let there = by_lock.fold(part.applied.union(&part.dead), |there, set| there.union(set));
        part.absent = OffsetSet::range(part.from, part.to).difference(&there);
    }
    Judged { reading: Reading { replay: None, locks_seen: map.seen(), parts, dead_letters: None }, kept }
}

/// A reading of parked events: all of them apply.
pub(super) fn replayed<R>(polled: &Polled<R>, lock: Epoch, locks_seen: u64) -> (Reading, Vec<u32>) {
    let mut parts: Vec<Part> = polled.spans.iter().map(Part::of).collect();
    for record in &polled.records {
        parts[record.span as usize].applied.insert(record.offset);
    }
    let kept = (0_u32..).zip(&polled.records).map(|(row, _)| row).collect();
    (Reading { replay: Some(lock), locks_seen, parts, dead_letters: None }, kept)
}

fn of_lock(sets: &mut Vec<(Epoch, OffsetSet)>, lock: Epoch) -> &mut OffsetSet {
    let at = sets.iter().position(|(epoch, _)| *epoch == lock).unwrap_or_else(|| {
        sets.push((lock, OffsetSet::default()));
        sets.len() - 1
    });
    &mut sets[at].1
}
