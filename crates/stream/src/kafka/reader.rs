//! [`Reader`]: one consumer a topic, because the end of a partition is told without its topic. Blocking.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use super::Available;
use super::client::{Properties, Quiet, connect, failed, passes};
use super::gather::Gathering;
use crate::error::StreamError;
use crate::offsets::{OffsetSet, Positions, SourcePartition};

/// How long a question to a broker may take.
const ANSWER_MAX: Duration = Duration::from_secs(15);

struct Topic {
    name: String,
    partitions: i32,
    consumer: BaseConsumer<Quiet>,
}

/// The consumers of all topics.
pub(super) struct Reader {
    topics: Vec<Topic>,
    /// What is assigned, and the offset that comes next of it.
    next: Positions,
    /// Assigned partitions that were read to their end.
    ended: BTreeSet<SourcePartition>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("next", &self.next).finish_non_exhaustive()
    }
}

impl Reader {
    /// Consumers without partitions.
    pub fn connect(properties: &Properties, topics: &[String]) -> Result<Self, StreamError> {
        let topic = |name: &String| Ok(Topic { name: name.clone(), partitions: 0, consumer: connect(properties)? });
        let topics = topics.iter().map(topic).collect::<Result<_, StreamError>>()?;
        Ok(Self { topics, next: Positions::new(), ended: BTreeSet::new() })
    }

    /// Asks which partitions there are.
    pub fn discover(&mut self) -> Result<(), StreamError> {
        for topic in &mut self.topics {
            let failed = |error| failed(&topic.name, &error);
            let metadata = topic.consumer.fetch_metadata(Some(&topic.name), ANSWER_MAX).map_err(failed)?;
            let found = metadata.topics().iter().find(|found| found.name() == topic.name);
            let partitions = match found.map(|found| (found.error(), found.partitions().len())) {
                Some((None, count)) if count > 0 => i32::try_from(count).unwrap_or(i32::MAX),
                Some((Some(error), _)) => return Err(failed(KafkaError::MetadataFetch(error.into()))),
                _ => return Err(failed(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopic))),
            };
            if partitions < topic.partitions {
                let partition = SourcePartition::new(&topic.name, partitions);
                return Err(StreamError::TopicReplaced { partition, position: None, end: 0 });
            }
            topic.partitions = partitions;
        }
        Ok(())
    }

    /// Every partition's offsets.
    pub fn available(&self) -> Result<BTreeMap<SourcePartition, Available>, StreamError> {
        self.partitions().map(|(topic, partition)| Ok((partition.clone(), available(topic, &partition)?))).collect()
    }

    fn partitions(&self) -> impl Iterator<Item = (&Topic, SourcePartition)> {
        let of = |topic: &'_ Topic| {
            (0..topic.partitions).map(|number| SourcePartition::new(&topic.name, number)).collect::<Vec<_>>()
        };
        self.topics.iter().flat_map(move |topic| of(topic).into_iter().map(move |partition| (topic, partition)))
    }

    /// Reads on from `positions`, and new partitions from their beginning. Tells from where each partition is read.
    pub fn go_to(&mut self, positions: &Positions) -> Result<Positions, StreamError> {
        let is_there = |partition: &SourcePartition| {
            let topic = self.topics.iter().find(|topic| topic.name == partition.topic);
            topic.is_none_or(|topic| partition.partition < topic.partitions)
        };
        if let Some((partition, position)) = positions.iter().find(|(partition, _)| !is_there(partition)) {
            return Err(StreamError::TopicReplaced { partition: partition.clone(), position: Some(*position), end: 0 });
        }
        let goes_on = self.partitions().all(|(_, partition)| match (self.next.get(&partition), positions.get(&partition)) {
            (Some(next), Some(position)) => next == position,
            (Some(_), None) => true,
            (None, _) => false,
        });
        // What was assigned for reading again is fewer partitions.
        if goes_on && self.next.len() == self.partitions().count() {
            return Ok(self.next.clone());
        }
        let mut start = Positions::new();
        for (topic, partition) in self.partitions() {
            let there = available(topic, &partition)?;
            let from = match positions.get(&partition).copied() {
                None => there.from,
                Some(position) if position > there.to => {
                    let (position, end) = (Some(position), there.to);
                    return Err(StreamError::TopicReplaced { partition, position, end });
                }
                Some(position) if position < there.from => {
                    let first = there.from;
                    return Err(StreamError::UnreadGone { partition, position, first });
                }
                Some(position) => position,
            };
            start.insert(partition, from);
        }
        self.assign(start)?;
        Ok(self.next.clone())
    }

    /// Reads again from the first of these offsets on, where it does not stand before it already.
    pub fn go_back(&mut self, offsets: &BTreeMap<SourcePartition, OffsetSet>) -> Result<Positions, StreamError> {
        let firsts: Positions =
            offsets.iter().filter_map(|(partition, set)| Some((partition.clone(), set.first()?))).collect();
        let stands_before =
            |(partition, first): (&SourcePartition, &i64)| self.next.get(partition).is_some_and(|next| next <= first);
        if firsts.len() == self.next.len() && firsts.iter().all(stands_before) {
            return Ok(self.next.clone());
        }
        for (partition, set) in offsets {
            let topic = self.topics.iter().find(|topic| topic.name == partition.topic);
            // A topic that the spec does not name any more.
            let gone = |offsets| StreamError::ParkedGone { partition: partition.clone(), offsets };
            let topic = topic.ok_or_else(|| gone(set.clone()))?;
            let there = available(topic, partition)?;
            let missing = set.difference(&OffsetSet::range(there.from, there.to));
            if !missing.is_empty() {
                return Err(gone(missing));
            }
        }
        self.assign(firsts)?;
        Ok(self.next.clone())
    }

    fn assign(&mut self, start: Positions) -> Result<(), StreamError> {
        self.next.clear();
        self.ended.clear();
        for topic in &self.topics {
            let mut list = TopicPartitionList::new();
            for (partition, from) in start.iter().filter(|(partition, _)| partition.topic == topic.name) {
                let added = list.add_partition_offset(&topic.name, partition.partition, Offset::Offset(*from));
                added.map_err(|error| failed(partition, &error))?;
            }
            topic.consumer.assign(&list).map_err(|error| failed(&topic.name, &error))?;
        }
        self.next = start;
        Ok(())
    }

    /// Tells brokers the offsets of the group, without waiting for their answer.
    pub fn note(&self, applied: &Positions) -> Result<(), KafkaError> {
        for topic in &self.topics {
            let mut list = TopicPartitionList::new();
            for (partition, next) in applied.iter().filter(|(partition, _)| partition.topic == topic.name) {
                list.add_partition_offset(&topic.name, partition.partition, Offset::Offset(*next))?;
            }
            if list.count() > 0 {
                topic.consumer.commit(&list, CommitMode::Async)?;
            }
        }
        Ok(())
    }

    /// Takes what is there, and waits for it for `wait` at most. Whether all partitions were read to their end.
    pub fn read(&mut self, into: &mut Gathering, wait: Duration) -> Result<bool, StreamError> {
        self.ended.iter().for_each(|partition| into.end(partition));
        let waits = wait / u32::try_from(self.topics.len()).unwrap_or(1).max(1);
        for topic in &self.topics {
            let mut timeout = waits;
            // Messages come by the hundred from one partition: what is noted of it is noted once for all of them.
            let mut from: Option<(SourcePartition, i64)> = None;
            while !into.is_full() {
                let polled = topic.consumer.poll(timeout);
                let number = polled.as_ref().and_then(|polled| polled.as_ref().ok()).map(Message::partition);
                if let Some((partition, next)) = from.take_if(|(partition, _)| Some(partition.partition) != number) {
                    self.next.insert(partition, next);
                }
                match polled {
                    None => break,
                    Some(Ok(message)) => {
                        let (partition, next) = from.get_or_insert_with(|| {
                            let partition = SourcePartition::new(&topic.name, message.partition());
                            self.ended.remove(&partition);
                            (partition, 0)
                        });
                        into.add(partition, message.offset(), message.payload());
                        *next = message.offset() + 1;
                    }
                    Some(Err(KafkaError::PartitionEOF(number))) => {
                        let partition = SourcePartition::new(&topic.name, number);
                        if self.next.contains_key(&partition) {
                            into.end(&partition);
                            self.ended.insert(partition);
                        }
                    }
                    Some(Err(error)) => self.withstand(topic, &error)?,
                }
                timeout = Duration::ZERO;
            }
            self.next.extend(from);
        }
        Ok(self.ended.len() == self.next.len())
    }

    /// Whether an error passes by itself; if not, what it means.
    fn withstand(&self, topic: &Topic, error: &KafkaError) -> Result<(), StreamError> {
        let is_fatal = matches!(error, KafkaError::MessageConsumptionFatal(_));
        match error.rdkafka_error_code() {
            Some(code) if passes(code) && !is_fatal => {
                tracing::debug!(topic = topic.name, %code, "librdkafka goes on trying");
                Ok(())
            }
            // Retention, or another topic of this name, while it was read.
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                for (partition, position) in self.next.iter().filter(|(partition, _)| partition.topic == topic.name) {
                    let (partition, position, there) = (partition.clone(), *position, available(topic, partition)?);
                    if position < there.from {
                        return Err(StreamError::UnreadGone { partition, position, first: there.from });
                    }
                    if position > there.to {
                        return Err(StreamError::TopicReplaced { partition, position: Some(position), end: there.to });
                    }
                }
                Err(failed(&topic.name, error))
            }
            _ => Err(failed(&topic.name, error)),
        }
    }
}

fn available(topic: &Topic, partition: &SourcePartition) -> Result<Available, StreamError> {
    let watermarks = topic.consumer.fetch_watermarks(&topic.name, partition.partition, ANSWER_MAX);
    let (from, to) = watermarks.map_err(|error| failed(partition, &error))?;
    Ok(Available { from, to })
}
