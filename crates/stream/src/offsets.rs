//! Where events come from: [`SourcePartition`], [`Positions`] in it, and [`OffsetSet`]s of single events.
//!
//! Offsets ascend and have holes (transaction markers, compaction), so nothing here expects the one after `n` to be `n + 1`:
//! what was not there is a set of its own.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One partition of one topic. Its text is `topic/3`; no topic has a `/` in its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourcePartition {
    /// The topic.
    pub topic: String,
    /// Its partition, from 0.
    pub partition: i32,
}

impl SourcePartition {
    /// A partition of a topic.
    pub fn new(topic: impl Into<String>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for SourcePartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

impl FromStr for SourcePartition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.rsplit_once('/').and_then(|(topic, number)| Some(Self::new(topic, number.parse().ok()?)));
        parsed.ok_or_else(|| format!("`{text}` is no partition of a topic; write TOPIC/NUMBER"))
    }
}

impl Serialize for SourcePartition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SourcePartition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// For each partition the offset before which everything counts; a partition that is not there is at its beginning.
pub type Positions = BTreeMap<SourcePartition, i64>;

/// A set of offsets of one partition, as ascending ranges that do not touch. Its JSON is `[[start, end], …]`, ends exclusive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct OffsetSet {
    ranges: Vec<(i64, i64)>,
}

impl OffsetSet {
    /// The offsets from `start` to before `end`.
    pub fn range(start: i64, end: i64) -> Self {
        Self { ranges: if start < end { vec![(start, end)] } else { Vec::new() } }
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many offsets it holds.
    pub fn len(&self) -> u64 {
        self.ranges.iter().map(|(start, end)| end.abs_diff(*start)).sum()
    }

    /// The ranges, ascending, ends exclusive.
    pub fn ranges(&self) -> &[(i64, i64)] {
        &self.ranges
    }

    /// The least offset.
    pub fn first(&self) -> Option<i64> {
        self.ranges.first().map(|(start, _)| *start)
    }

    /// Whether `offset` is in it.
    pub fn contains(&self, offset: i64) -> bool {
        let after = self.ranges.partition_point(|(start, _)| *start <= offset);
        after > 0 && offset < self.ranges[after - 1].1
    }

    /// Adds an offset; cheap when offsets come in ascending order.
    pub fn insert(&mut self, offset: i64) {
        match self.ranges.last_mut() {
            Some(last) if offset == last.1 => last.1 += 1,
            // A record of several rows is named by each.
            Some(last) if last.0 <= offset && offset < last.1 => {}
            Some(last) if offset < last.1 => *self = self.union(&Self::range(offset, offset + 1)),
            _ => self.ranges.push((offset, offset + 1)),
        }
    }

    /// The offsets that are in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        if let (Some(last), Some(first)) = (self.ranges.last(), other.ranges.first())
            && last.1 < first.0
        {
            return Self { ranges: [self.ranges.as_slice(), other.ranges.as_slice()].concat() };
        }
        let mut all: Vec<(i64, i64)> = self.ranges.iter().chain(&other.ranges).copied().collect();
        all.sort_unstable();
        let mut ranges: Vec<(i64, i64)> = Vec::with_capacity(all.len());
        for (start, end) in all {
            match ranges.last_mut() {
                Some(last) if start <= last.1 => last.1 = last.1.max(end),
                _ => ranges.push((start, end)),
            }
        }
        Self { ranges }
    }

    /// The offsets that are in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let (mut ranges, mut at) = (Vec::new(), 0);
        for (start, end) in &self.ranges {
            // Ranges of the other one that end before this one are never needed again.
            at += other.ranges[at..].partition_point(|(_, other_end)| other_end <= start);
            let common = other.ranges[at..].iter().take_while(|(other_start, _)| other_start < end);
            ranges.extend(common.map(|(other_start, other_end)| (*start.max(other_start), *end.min(other_end))));
        }
        Self { ranges }
    }

    /// The offsets that are not in `other`.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let mut ranges = Vec::new();
        for &(start, end) in &self.ranges {
            let mut from = start;
            for &(taken_start, taken_end) in Self::range(start, end).intersection(other).ranges() {
                if from < taken_start {
                    ranges.push((from, taken_start));
                }
                from = taken_end;
            }
            if from < end {
                ranges.push((from, end));
            }
        }
        Self { ranges }
    }

    /// The offsets before `offset`, and the others.
    pub fn split(&self, offset: i64) -> (Self, Self) {
        (self.intersection(&Self::range(i64::MIN, offset)), self.intersection(&Self::range(offset, i64::MAX)))
    }
}

impl<'de> Deserialize<'de> for OffsetSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ranges = Vec::<(i64, i64)>::deserialize(deserializer)?;
        let ascend = ranges.iter().all(|(start, end)| start < end) && ranges.windows(2).all(|two| two[0].1 < two[1].0);
        if ascend { Ok(Self { ranges }) } else { Err(D::Error::custom("ranges of offsets ascend and do not touch")) }
    }
}

impl fmt::Display for OffsetSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (start, end)) in self.ranges.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            match end - start {
                1 => write!(f, "{comma}{start}")?,
                _ => write!(f, "{comma}{start}-{}", end - 1)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use lakeshift_journal::Rng;
    use lakeshift_testkit::SeededRng;

    use super::*;

    fn random(rng: &SeededRng) -> BTreeSet<i64> {
        let mut bytes = [0; 12];
        rng.fill(&mut bytes);
        bytes.iter().map(|byte| i64::from(byte % 24)).collect()
    }

    fn set(offsets: &BTreeSet<i64>) -> OffsetSet {
        let mut set = OffsetSet::default();
        offsets.iter().rev().for_each(|offset| set.insert(*offset));
        set
    }

    #[test]
    fn sets_of_offsets_compute_as_plain_sets_do() {
        for seed in 0..2000 {
            let rng = SeededRng::new(seed);
            let (a, b) = (random(&rng), random(&rng));
            let (left, right) = (set(&a), set(&b));
            assert_eq!(left.union(&right), set(&(&a | &b)), "{seed}");
            assert_eq!(left.intersection(&right), set(&(&a & &b)), "{seed}");
            assert_eq!(left.difference(&right), set(&(&a - &b)), "{seed}");
            assert_eq!(left.len(), a.len() as u64);
            assert!((-1..25).all(|offset| left.contains(offset) == a.contains(&offset)), "{seed}");
            let (before, after) = left.split(12);
            assert_eq!((before.union(&after), before.contains(12)), (left.clone(), false));
            assert_eq!(serde_json::from_value::<OffsetSet>(serde_json::to_value(&left).unwrap()).unwrap(), left);
        }
    }

    #[test]
    fn ranges_that_touch_or_run_back_are_refused_and_a_set_prints_as_people_write_it() {
        for bad in ["[[1,1]]", "[[1,3],[3,4]]", "[[5,6],[1,2]]"] {
            assert!(serde_json::from_str::<OffsetSet>(bad).is_err(), "{bad}");
        }
        assert_eq!(serde_json::from_str::<OffsetSet>("[[1,4],[7,8]]").unwrap().to_string(), "1-3, 7");
    }

    #[test]
    fn a_partition_of_a_topic_reads_as_it_prints() {
        let partition = SourcePartition::new("flights.v1", 12);
        assert_eq!(partition.to_string().parse(), Ok(partition));
        assert!("flights".parse::<SourcePartition>().is_err());
    }
}
