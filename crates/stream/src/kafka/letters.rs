//! [`TopicLetters`]: dead letters in a topic of their own.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::try_join_all;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::sync::Mutex;

use super::client::{Properties, Quiet, failed, producer};
use crate::error::StreamError;
use crate::letters::{DeadLetters, Letter};

/// Letters that are on their way at once.
const ON_THE_WAY_MAX: usize = 1000;

/// Produces letters to a topic, and waits until all replicas that are in step have them.
///
/// A letter's value is the event's, its key `topic/partition/offset` of where the event stands; the header `lakeshift.reason` says
/// why it could not be read, `lakeshift.stream` who says so.
pub struct TopicLetters {
    properties: Properties,
    stream: String,
    topic: String,
    patience: Duration,
    /// Made when it is first needed, and anew after a failure.
    producer: Mutex<Option<FutureProducer<Quiet>>>,
}

impl fmt::Debug for TopicLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicLetters").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl TopicLetters {
    /// Letters of `stream` in `topic`. Brokers may be silent for `patience` before that is an error.
    pub fn new(properties: Properties, stream: String, topic: String, patience: Duration) -> Self {
        Self { properties, stream, topic, patience, producer: Mutex::new(None) }
    }

    async fn send(&self, producer: &FutureProducer<Quiet>, letter: &Letter) -> Result<(), StreamError> {
        let key = format!("{}/{}", letter.partition, letter.offset);
        let headers = OwnedHeaders::new()
            .insert(Header { key: "lakeshift.stream", value: Some(&self.stream) })
            .insert(Header { key: "lakeshift.reason", value: Some(&letter.reason) });
        let record = FutureRecord::to(&self.topic).key(&key).payload(&letter.payload[..]).headers(headers);
        match producer.send(record, self.patience).await {
            Ok(_) => Ok(()),
            // The record that comes back holds the event; it is not told.
            Err((error, _)) => Err(match failed(&self.topic, &error) {
                StreamError::Source { object, reason } => StreamError::Letters { to: format!("the topic {object}"), reason },
                other => other,
            }),
        }
    }
}

#[async_trait]
impl DeadLetters for TopicLetters {
    async fn keep(&self, letters: &[Letter], _after: u64) -> Result<String, StreamError> {
        let mut kept = self.producer.lock().await;
        let producer = match kept.take() {
            Some(producer) => producer,
            None => producer(&self.properties, self.patience)?,
        };
        for some in letters.chunks(ON_THE_WAY_MAX) {
            try_join_all(some.iter().map(|letter| self.send(&producer, letter))).await?;
        }
        *kept = Some(producer);
        Ok(format!("topic:{}", self.topic))
    }
}
