//! A stream without its brokers, for `make bench-stream`: `stream_bench STREAM ROWS METRICS` ingests events that were made beforehand
//! and lie in this process's memory, so that no generator and no broker is measured, and everything else is what
//! `lakeshift ingest` does.
//!
//! The first ROWS events lie evenly on the ninety days before the last one; after these nearly all are of the last day, and one in fifty
//! is one to three days late. It goes on until Ctrl-C, and prints its report as JSON. METRICS is the address where it answers with
//! metrics. A fourth argument is how many rows become available a second; without it nothing is waited for. With
//! `stream_bench --produce STREAM ROWS BOOTSTRAP` ROWS live events go to Kafka instead.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Date32Array, Int16Array, Int32Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::ipc::writer::StreamWriter;
use async_trait::async_trait;
use bytes::Bytes;
use lakeshift::context::Context;
use lakeshift::engine::stream::{IngestOptions, StreamFile, ingest_from};
use lakeshift::progress::Progress;
use lakeshift_core::stream::EventFormat;
use lakeshift_journal::Clock;
use lakeshift_stream::decode::{Decoded, Decoder, Event};
use lakeshift_stream::{OffsetSet, Polled, Positions, Source, SourcePartition, Span, StreamError};
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const PARTITIONS: i32 = 4;
/// The last day, 2001-04-01; ninety days before it is 2001-01-01.
const LAST_DAY: i32 = 11_413;
const DAYS: i32 = 90;
const LATE_ONE_IN: i64 = 50;
const LATE_DAYS: i64 = 3;
/// Distinct events; they come round again and again.
const POOL: i64 = 50_000;
/// Rows of one event in Arrow's format.
const ARROW_ROWS: i64 = 100;
/// Bytes of an event in JSON, about.
const JSON_BYTES: usize = 1024;
const AIRPORTS: [&str; 5] = ["ORD", "ATL", "DFW", "LAX", "PHX"];

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
/// Makes one message from its number and day.
type Make = fn(i64, i32) -> Result<Vec<u8>>;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (stopper, stop) = lakeshift::stop::channel();
    let context = Context::system(Progress::Quiet, stop);
    match &arguments[..] {
        [produce, stream, rows, bootstrap] if produce == "--produce" => {
            let file = StreamFile::open(&context, Path::new(stream))?;
            send(&Made::new(file.spec.decode.format, 0)?, rows.parse()?, &file.spec.kafka.topics[0], bootstrap)
        }
        [stream, rows, metrics, more @ ..] if more.len() < 2 => {
            tokio::spawn(async move {
                if tokio::signal::ctrl_c().await.is_ok() {
                    stopper.stop();
                }
            });
            let file = StreamFile::open(&context, Path::new(stream))?;
            let made = Made::new(file.spec.decode.format, rows.parse()?)?;
            let rows_max = i64::from(file.spec.commit.rows);
            let pace = more.first().map(|rows| rows.parse()).transpose()?;
            let (decoder, clock) = (Arc::new(file.decoder()?), context.clock.clone());
            let source = Preloaded { made, decoder, rows_max, pace, given: 0, began: clock.elapsed(), clock };
            let options = IngestOptions { follows: true, metrics: Some(metrics.parse()?) };
            let report = ingest_from(&file, source, &options).await?;
            writeln!(std::io::stdout(), "{}", serde_json::to_string(&report)?)?;
            Ok(())
        }
        _ => Err("say a stream, the rows that it has at first, and an address for metrics".into()),
    }
}

/// Events by their number.
struct Made {
    /// Events in which so many rows are, and how many of those come at first.
    rows: i64,
    first: i64,
    early: Vec<Vec<u8>>,
    live: Vec<Vec<u8>>,
}

impl Made {
    fn new(format: EventFormat, rows: i64) -> Result<Self> {
        let (per_event, make): (i64, Make) = match format {
            EventFormat::Binary => (1, binary),
            EventFormat::Json => (1, json),
            EventFormat::Arrow => (ARROW_ROWS, arrow),
            EventFormat::Avro => return Err("there is no benchmark of Avro".into()),
        };
        let pool = (POOL / per_event).max(i64::from(DAYS));
        let early = |n: i64| -> Result<(i64, i32)> { Ok((n, LAST_DAY - DAYS + i32::try_from(n % i64::from(DAYS))?)) };
        let live = |n: i64| -> Result<(i64, i32)> {
            let late = if n % LATE_ONE_IN == 7 { 1 + n / LATE_ONE_IN % LATE_DAYS } else { 0 };
            Ok((n, LAST_DAY - i32::try_from(late)?))
        };
        let all = |day: &dyn Fn(i64) -> Result<(i64, i32)>| {
            (0..pool).map(|n| day(n).and_then(|(n, day)| make(n, day))).collect::<Result<Vec<_>>>()
        };
        let rows_first = rows / per_event / i64::from(PARTITIONS);
        Ok(Self { rows: per_event, first: rows_first, early: all(&early)?, live: all(&live)? })
    }

    fn at(&self, partition: i32, offset: i64) -> &[u8] {
        let number = offset * i64::from(PARTITIONS) + i64::from(partition);
        let pool = if offset < self.first { &self.early } else { &self.live };
        &pool[usize::try_from(number % pool.len() as i64).unwrap_or(0)]
    }
}

fn airport(n: i64) -> &'static str {
    AIRPORTS[usize::try_from(n % 5).unwrap_or(0)]
}

/// Day, airport, flight, delay, time of departure: 26 bytes.
fn binary(n: i64, day: i32) -> Result<Vec<u8>> {
    let (flight, delay) = (i32::try_from(n)?, i16::try_from(n % 300 - 60)?);
    let at = i64::from(day) * 86_400_000_000 + n * 1_000_003 % 86_400_000_000;
    let airport = airport(n).as_bytes();
    let length = u32::try_from(airport.len())?;
    let parts: [&[u8]; 7] = [
        &[0],
        &day.to_le_bytes(),
        &length.to_le_bytes(),
        &flight.to_le_bytes(),
        &delay.to_le_bytes(),
        &at.to_le_bytes(),
        airport,
    ];
    Ok(parts.concat())
}

fn arrow(n: i64, day: i32) -> Result<Vec<u8>> {
    let numbers: Vec<i64> = (n * ARROW_ROWS..(n + 1) * ARROW_ROWS).collect();
    let flights: Vec<i32> = numbers.iter().map(|n| i32::try_from(*n)).collect::<std::result::Result<_, _>>()?;
    let delays: Vec<i16> = numbers.iter().map(|n| i16::try_from(n % 300 - 60)).collect::<std::result::Result<_, _>>()?;
    let times = numbers.iter().map(|n| i64::from(day) * 86_400_000_000 + n * 1_000_003 % 86_400_000_000);
    let columns: [(&str, ArrayRef); 5] = [
        ("day", Arc::new(Date32Array::from_value(day, numbers.len()))),
        ("airport", Arc::new(StringArray::from_iter_values(numbers.iter().map(|n| airport(*n))))),
        ("flight", Arc::new(Int32Array::from(flights))),
        ("delay", Arc::new(Int16Array::from(delays))),
        ("at", Arc::new(TimestampMicrosecondArray::from_iter_values(times))),
    ];
    let batch = RecordBatch::try_from_iter(columns)?;
    let mut writer = StreamWriter::try_new(Vec::new(), batch.schema_ref())?;
    writer.write(&batch)?;
    Ok(writer.into_inner()?)
}

fn json(n: i64, day: i32) -> Result<Vec<u8>> {
    let days = day - 11_323;
    let (month, day) = [(1, 31), (2, 28), (3, 31), (4, 30)]
        .into_iter()
        .scan(days, |left, (month, length)| {
            let this = *left;
            *left -= length;
            Some((month, this, length))
        })
        .find_map(|(month, this, length)| (this < length).then_some((month, this + 1)))
        .ok_or("a day beyond April")?;
    let (hour, minute, second) = (n % 24, n % 60, n * 7 % 60);
    let mut text = format!(
        r#"{{"day":"2001-{month:02}-{day:02}","airport":"{}","flight":{n},"delay":{},"at":"2001-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}","note":""#,
        airport(n),
        n % 300 - 60
    );
    let mut word = n.unsigned_abs();
    while text.len() < JSON_BYTES - 2 {
        word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!("{:x} ", word >> 40));
    }
    text.push_str("\"}");
    Ok(text.into_bytes())
}

/// A source that never ends.
struct Preloaded {
    made: Made,
    decoder: Arc<Decoder>,
    rows_max: i64,
    /// Rows a second, rows so far, and since when.
    pace: Option<i64>,
    given: i64,
    began: Duration,
    clock: Arc<dyn Clock>,
}

impl Preloaded {
    /// Copies events as a client that got them from a broker must, and decodes them.
    async fn polled(
        &self,
        wanted: BTreeMap<SourcePartition, Vec<i64>>,
    ) -> std::result::Result<Polled<RecordBatch>, StreamError> {
        let (mut spans, mut events) = (Vec::new(), Vec::new());
        for (span, (partition, offsets)) in (0_u32..).zip(wanted) {
            let (Some(first), Some(last)) = (offsets.first(), offsets.last()) else { continue };
            for offset in &offsets {
                let payload = Some(Bytes::copy_from_slice(self.made.at(partition.partition, *offset)));
                events.push(Event { span, offset: *offset, payload });
            }
            spans.push(Span { partition, from: *first, to: last + 1 });
        }
        let decoder = self.decoder.clone();
        let decoded = tokio::task::spawn_blocking(move || decoder.decode(&events)).await;
        let failed = |error| StreamError::Source { object: "the preloaded events".to_owned(), reason: format!("{error}") };
        let Decoded { rows, records, places, bad } = decoded.map_err(failed)??;
        Ok(Polled { spans, records, places, bad, rows })
    }

    /// Events of one partition that fit into a commit.
    fn share(&self) -> i64 {
        (self.rows_max / self.made.rows / i64::from(PARTITIONS)).max(1)
    }

    /// Events of one partition that are due: those of a second at least.
    async fn due(&mut self) -> i64 {
        let Some(pace) = self.pace else { return self.share() };
        loop {
            let seconds = self.clock.elapsed().saturating_sub(self.began).as_secs_f64();
            let rows = (seconds * pace as f64) as i64 - self.given;
            if rows >= pace {
                let due = (rows / self.made.rows / i64::from(PARTITIONS)).clamp(1, self.share());
                self.given += due * self.made.rows * i64::from(PARTITIONS);
                return due;
            }
            self.clock.sleep(Duration::from_secs_f64(1.0 - rows as f64 / pace as f64)).await;
        }
    }
}

#[async_trait]
impl Source for Preloaded {
    type Rows = RecordBatch;

    async fn poll(&mut self, positions: &Positions) -> std::result::Result<Option<Polled<RecordBatch>>, StreamError> {
        let due = self.due().await;
        let wanted = (0..PARTITIONS).map(|number| {
            let partition = SourcePartition::new("bench", number);
            let from = positions.get(&partition).copied().unwrap_or(0);
            // What comes at first ends with a commit.
            let end = if from < self.made.first { self.made.first } else { i64::MAX };
            (partition, (from..end.min(from + due)).collect())
        });
        let wanted = wanted.collect();
        self.polled(wanted).await.map(Some)
    }

    async fn ends(&mut self) -> std::result::Result<Positions, StreamError> {
        Ok(Positions::new())
    }

    async fn reread(
        &mut self,
        offsets: &BTreeMap<SourcePartition, OffsetSet>,
    ) -> std::result::Result<Polled<RecordBatch>, StreamError> {
        let share = usize::try_from(self.share()).unwrap_or(usize::MAX);
        let wanted = offsets.iter().map(|(partition, set)| {
            let all = set.ranges().iter().flat_map(|(start, end)| *start..*end);
            (partition.clone(), all.take(share).collect())
        });
        let wanted = wanted.collect();
        self.polled(wanted).await
    }
}

/// Sends live events to Kafka, and waits until they are there.
fn send(made: &Made, rows: i64, topic: &str, bootstrap: &str) -> Result<()> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("compression.type", "lz4").set("linger.ms", "50");
    config.set("batch.size", "1000000").set("queue.buffering.max.messages", "1000000");
    let producer: BaseProducer = config.create()?;
    for offset in 0..rows / made.rows / i64::from(PARTITIONS) {
        for partition in 0..PARTITIONS {
            let payload = made.at(partition, offset);
            while let Err((error, _)) = producer.send(BaseRecord::<(), _>::to(topic).partition(partition).payload(payload)) {
                match error {
                    KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) => producer.poll(Duration::from_millis(100)),
                    error => return Err(error.into()),
                };
            }
        }
    }
    producer.flush(Duration::from_secs(60))?;
    Ok(())
}
