//! [`Gathering`]: events of several partitions on their way into one reading, and how far each partition was read.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::decode::Event;
use crate::error::StreamError;
use crate::offsets::{OffsetSet, Positions, SourcePartition};
use crate::source::Span;

/// How much is gathered at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub events: usize,
    pub bytes: usize,
}

/// Which events.
#[derive(Debug)]
pub(super) enum Wanted {
    All,
    These(BTreeMap<SourcePartition, OffsetSet>),
}

/// Events so far.
#[derive(Debug)]
pub(super) struct Gathering {
    spans: Vec<Span>,
    wanted: Wanted,
    limits: Limits,
    events: Vec<Event>,
    bytes: usize,
    seen: u64,
    /// The span that the last event was of, as the next one mostly is.
    last: usize,
    /// Partitions that were read to their end.
    ended: Vec<bool>,
}

impl Gathering {
    /// Nothing yet; partitions are read from `start` on.
    pub fn from(start: Positions, wanted: Wanted, limits: Limits) -> Self {
        let spans: Vec<Span> = start.into_iter().map(|(partition, from)| Span { partition, from, to: from }).collect();
        let ended = vec![false; spans.len()];
        Self { spans, wanted, limits, events: Vec::new(), bytes: 0, seen: 0, last: 0, ended }
    }

    /// Takes an event. What lies between it and the one before is a hole.
    pub fn add(&mut self, partition: &SourcePartition, offset: i64, payload: Option<&[u8]>) {
        if self.spans.get(self.last).is_none_or(|span| span.partition != *partition) {
            let found = self.spans.iter().position(|span| span.partition == *partition);
            let Some(found) = found else { return };
            self.last = found;
        }
        let at = self.last;
        if offset < self.spans[at].to {
            return;
        }
        self.seen += 1;
        self.spans[at].to = offset + 1;
        let is_wanted = match &self.wanted {
            Wanted::All => true,
            Wanted::These(sets) => sets.get(&self.spans[at].partition).is_some_and(|set| set.contains(offset)),
        };
        if is_wanted && let Ok(span) = u32::try_from(at) {
            self.bytes += payload.map_or(0, <[u8]>::len);
            self.events.push(Event { span, offset, payload: payload.map(Bytes::copy_from_slice) });
        }
    }

    /// Notes that a partition has nothing more.
    pub fn end(&mut self, ended: &SourcePartition) {
        if let Some(at) = self.spans.iter().position(|span| span.partition == *ended) {
            self.ended[at] = true;
        }
    }

    /// Events that came by, wanted or not.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Whether there is an event.
    pub fn has_any(&self) -> bool {
        !self.events.is_empty()
    }

    /// Whether only certain events are wanted, so that nothing is waited for at the end.
    pub fn is_exact(&self) -> bool {
        matches!(self.wanted, Wanted::These(_))
    }

    /// Whether no more is taken: it is enough, or everything that is wanted was looked for.
    pub fn is_full(&self) -> bool {
        let full = self.events.len() >= self.limits.events || self.bytes >= self.limits.bytes;
        let found = match &self.wanted {
            Wanted::All => false,
            Wanted::These(sets) => self
                .spans
                .iter()
                .zip(&self.ended)
                .all(|(span, ended)| *ended || last(sets.get(&span.partition)).is_none_or(|last| last < span.to)),
        };
        full || found
    }

    /// Refuses where an offset that is wanted was passed by, or lies behind the end.
    ///
    /// # Errors
    /// [`StreamError::ParkedGone`].
    pub fn check_wanted(&self) -> Result<(), StreamError> {
        let Wanted::These(sets) = &self.wanted else { return Ok(()) };
        for (at, span) in self.spans.iter().enumerate() {
            let Some(set) = sets.get(&span.partition) else { continue };
            let looked_for = if self.ended[at] { set.clone() } else { set.split(span.to).0 };
            let mut found = OffsetSet::default();
            let of_span = self.events.iter().filter(|event| event.span as usize == at);
            of_span.for_each(|event| found.insert(event.offset));
            let offsets = looked_for.difference(&found);
            if !offsets.is_empty() {
                return Err(StreamError::ParkedGone { partition: span.partition.clone(), offsets });
            }
        }
        Ok(())
    }

    /// The partitions of which something was read, and the events of these.
    pub fn into_parts(self) -> (Vec<Span>, Vec<Event>) {
        let Self { spans, mut events, .. } = self;
        let (mut kept, mut moved) = (Vec::new(), Vec::with_capacity(spans.len()));
        for span in spans {
            moved.push(u32::try_from(kept.len()).unwrap_or(u32::MAX));
            if span.from < span.to {
                kept.push(span);
            }
        }
        events.iter_mut().for_each(|event| event.span = moved[event.span as usize]);
        (kept, events)
    }
}

fn last(set: Option<&OffsetSet>) -> Option<i64> {
    set?.ranges().last().map(|(_, end)| end - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { events: 100, bytes: 1000 };

    fn start(partitions: &[(i32, i64)]) -> Positions {
        partitions.iter().map(|(partition, from)| (SourcePartition::new("t", *partition), *from)).collect()
    }

    fn set(offsets: &[i64]) -> OffsetSet {
        let mut set = OffsetSet::default();
        offsets.iter().for_each(|offset| set.insert(*offset));
        set
    }

    #[test]
    fn holes_lie_in_a_span_and_a_partition_without_events_has_none() {
        let mut gathering = Gathering::from(start(&[(0, 5), (1, 0), (2, 7)]), Wanted::All, LIMITS);
        for (partition, offset) in [(2, 9), (0, 5), (2, 12), (2, 12), (2, 11), (3, 0)] {
            gathering.add(&SourcePartition::new("t", partition), offset, Some(b"x"));
        }
        gathering.add(&SourcePartition::new("other", 0), 6, Some(b"x"));
        let (spans, events) = gathering.into_parts();
        let told: Vec<_> = spans.iter().map(|span| (span.partition.partition, span.from, span.to)).collect();
        assert_eq!(told, [(0, 5, 6), (2, 7, 13)]);
        assert_eq!(events.iter().map(|event| (event.span, event.offset)).collect::<Vec<_>>(), [(1, 9), (0, 5), (1, 12)]);
    }

    #[test]
    fn it_is_full_by_events_or_by_bytes() {
        let mut gathering = Gathering::from(start(&[(0, 0)]), Wanted::All, Limits { events: 2, bytes: 10 });
        gathering.add(&SourcePartition::new("t", 0), 0, Some(b"12345"));
        assert!(!gathering.is_full());
        gathering.add(&SourcePartition::new("t", 0), 1, None);
        assert!(gathering.is_full());
        let mut gathering = Gathering::from(start(&[(0, 0)]), Wanted::All, Limits { events: 5, bytes: 10 });
        gathering.add(&SourcePartition::new("t", 0), 0, Some(b"1234567890"));
        assert!(gathering.is_full());
    }

    #[test]
    fn of_wanted_events_only_these_are_taken_and_one_that_is_gone_is_named() {
        let wanted = || Wanted::These([(SourcePartition::new("t", 0), set(&[3, 5, 8]))].into());
        let mut gathering = Gathering::from(start(&[(0, 3)]), wanted(), LIMITS);
        for offset in [3, 4, 5] {
            gathering.add(&SourcePartition::new("t", 0), offset, Some(b"x"));
        }
        // What is not reached yet is not gone.
        assert!(!gathering.is_full() && gathering.check_wanted().is_ok());
        gathering.add(&SourcePartition::new("t", 0), 9, Some(b"x"));
        assert!(gathering.is_full());
        let Err(StreamError::ParkedGone { offsets, .. }) = gathering.check_wanted() else { panic!() };
        assert_eq!(offsets, set(&[8]));

        let mut gathering = Gathering::from(start(&[(0, 3)]), wanted(), LIMITS);
        gathering.add(&SourcePartition::new("t", 0), 3, Some(b"x"));
        gathering.end(&SourcePartition::new("t", 0));
        let Err(StreamError::ParkedGone { offsets, .. }) = gathering.check_wanted() else { panic!() };
        assert!(gathering.is_full());
        assert_eq!(offsets, set(&[5, 8]));
    }
}
