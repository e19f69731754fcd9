//! [`KafkaSource`]: topics of Kafka as a [`Source`], read by librdkafka.
//!
//! All partitions are assigned by hand and read from where the journal says. Brokers are told the group's offsets, for tools that show
//! lag, and never asked for them. What lies between two records (compacted records, markers and aborted records of transactions) is a hole.
//! Where the topic does not have any more what the journal says comes next, reading stops with an error; nothing is skipped.

mod client;
mod gather;
mod letters;
mod reader;
#[cfg(test)]
mod real;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use lakeshift_journal::Clock;
use tokio::sync::watch;

use crate::decode::{Decoded, Decoder};
use crate::error::StreamError;
use crate::offsets::{OffsetSet, Positions, SourcePartition};
use crate::source::{Polled, Source};

pub use client::Properties;
use gather::{Gathering, Limits, Wanted};
pub use letters::TopicLetters;
use reader::Reader;

/// How long one look at the broker takes at most; a source that is dropped ends within it.
const SLICE: Duration = Duration::from_millis(200);
/// How often new partitions are looked for.
const DISCOVER_EVERY: Duration = Duration::from_secs(60);

/// What is read, and how.
#[derive(Debug, Clone)]
pub struct KafkaConfig {
    /// The client's properties; see [`Properties`].
    pub properties: Properties,
    /// The topics.
    pub topics: Vec<String>,
    /// Reads the events.
    pub decoder: Decoder,
    /// Events that are read at once at most.
    pub rows_max: usize,
    /// Bytes of events that are read at once, about.
    pub bytes_max: usize,
    /// How long events are gathered before they are handed over; where it is zero, what is there by now is handed over.
    pub linger: Duration,
    /// How long brokers may be silent before that is an error.
    pub patience: Duration,
    /// When it turns true, what has been gathered by then is handed over, and nothing more is waited for.
    pub stop: watch::Receiver<bool>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// The offsets that a partition has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Available {
    /// The first.
    pub from: i64,
    /// The one after the last that is readable.
    pub to: i64,
}

/// Topics of Kafka.
#[derive(Debug)]
pub struct KafkaSource {
    config: Arc<KafkaConfig>,
    /// Gone while it reads, and after a failure: then it is made anew.
    reader: Option<Reader>,
    discovered: Option<Duration>,
    /// What brokers were told last.
    noted: Positions,
}

impl KafkaSource {
    /// A source; it connects when it is first asked.
    pub fn new(config: KafkaConfig) -> Self {
        Self { config: Arc::new(config), reader: None, discovered: None, noted: Positions::new() }
    }

    /// Which offsets the topics have now.
    ///
    /// # Errors
    /// [`StreamError::Source`].
    pub async fn available(&mut self) -> Result<BTreeMap<SourcePartition, Available>, StreamError> {
        self.with(|reader, _| {
            reader.discover()?;
            reader.available()
        })
        .await
    }

    /// Does blocking work with the reader. It is kept when the work succeeds.
    async fn with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Reader, &KafkaConfig) -> Result<T, StreamError> + Send + 'static,
    ) -> Result<T, StreamError> {
        let (config, reader) = (self.config.clone(), self.reader.take());
        let job = move || {
            let mut reader = match reader {
                Some(reader) => reader,
                None => Reader::connect(&config.properties, &config.topics)?,
            };
            let done = work(&mut reader, &config)?;
            Ok((reader, done))
        };
        let ended = tokio::task::spawn_blocking(job).await;
        let (reader, done) = ended.unwrap_or_else(|error| {
            Err(StreamError::Source { object: "Kafka".to_owned(), reason: format!("the reading thread ended: {error}") })
        })?;
        self.reader = Some(reader);
        Ok(done)
    }

    /// Gathers until `gathering` says that it is enough, or time is up.
    async fn gather(&mut self, mut gathering: Gathering, linger: Duration) -> Result<Gathering, StreamError> {
        let began = self.config.clock.elapsed();
        let mut heard = began;
        loop {
            let before = gathering.seen();
            let (at_end, more) = self
                .with(move |reader, _| {
                    let at_end = reader.read(&mut gathering, SLICE)?;
                    Ok((at_end, gathering))
                })
                .await?;
            gathering = more;
            let now = self.config.clock.elapsed();
            if at_end || gathering.seen() > before {
                heard = now;
            }
            let waited = now.saturating_sub(began) >= linger;
            // Without a time to linger all that is there is gathered, as much as fits.
            let timed_out = waited && !linger.is_zero() && gathering.has_any();
            let stopped = *self.config.stop.borrow() && (gathering.has_any() || !gathering.is_exact());
            if gathering.is_full() || (at_end && (waited || gathering.is_exact())) || timed_out || stopped {
                return Ok(gathering);
            }
            if now.saturating_sub(heard) >= self.config.patience {
                self.reader = None;
                let reason = format!("no broker has answered for {} s", self.config.patience.as_secs());
                return Err(StreamError::Source { object: self.config.topics.join(", "), reason });
            }
        }
    }

    /// Turns what was gathered into rows, away from the threads that must not wait.
    async fn decoded(&mut self, gathering: Gathering) -> Result<Polled<RecordBatch>, StreamError> {
        let (spans, events) = gathering.into_parts();
        let Decoded { rows, records, places, bad } = self.with(move |_, config| config.decoder.decode(&events)).await?;
        Ok(Polled { spans, records, places, bad, rows })
    }

    fn limits(&self) -> Limits {
        Limits { events: self.config.rows_max.max(1), bytes: self.config.bytes_max.max(1) }
    }
}

#[async_trait]
impl Source for KafkaSource {
    type Rows = RecordBatch;

    async fn poll(&mut self, positions: &Positions) -> Result<Option<Polled<RecordBatch>>, StreamError> {
        let now = self.config.clock.elapsed();
        let discovers = self.reader.is_none() || self.discovered.is_none_or(|at| now.saturating_sub(at) >= DISCOVER_EVERY);
        let (limits, positions) = (self.limits(), positions.clone());
        let start = self
            .with(move |reader, _| {
                if discovers {
                    reader.discover()?;
                }
                reader.go_to(&positions)
            })
            .await?;
        if discovers {
            self.discovered = Some(now);
        }
        let gathered = self.gather(Gathering::from(start, Wanted::All, limits), self.config.linger).await?;
        match gathered.has_any() {
            true => self.decoded(gathered).await.map(Some),
            false => Ok(None),
        }
    }

    async fn ends(&mut self) -> Result<Positions, StreamError> {
        Ok(self.available().await?.into_iter().map(|(partition, there)| (partition, there.to)).collect())
    }

    fn note(&mut self, applied: &Positions) {
        let Some(reader) = self.reader.as_ref().filter(|_| self.noted != *applied) else { return };
        match reader.note(applied) {
            Ok(()) => self.noted.clone_from(applied),
            Err(error) => tracing::debug!(%error, "brokers could not be told the group's offsets"),
        }
    }

    async fn reread(&mut self, offsets: &BTreeMap<SourcePartition, OffsetSet>) -> Result<Polled<RecordBatch>, StreamError> {
        let wanted: BTreeMap<SourcePartition, OffsetSet> = offsets
            .iter()
            .filter(|(_, set)| !set.is_empty())
            .map(|(partition, set)| (partition.clone(), set.clone()))
            .collect();
        let (limits, places) = (self.limits(), wanted.clone());
        let start = self.with(move |reader, _| reader.go_back(&places)).await?;
        let gathered = self.gather(Gathering::from(start, Wanted::These(wanted), limits), Duration::ZERO).await?;
        gathered.check_wanted()?;
        let polled = self.decoded(gathered).await?;
        match polled.bad.first() {
            None => Ok(polled),
            Some(bad) => Err(StreamError::Source {
                object: polled.spans[bad.span as usize].partition.to_string(),
                reason: format!(
                    "the event at offset {} was readable when it was parked and is not now ({}); nothing was changed: undo the \
                     last change of `columns` or `decode`",
                    bad.offset, bad.reason
                ),
            }),
        }
    }
}
