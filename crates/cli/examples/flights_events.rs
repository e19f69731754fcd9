//! Flights as events, for `make demo-stream`: `flights_events FLIGHTS BOOTSTRAP TOPIC` sends the flights of a Hive-style folder
//! of days to Kafka as JSON; with `mock` in place of the bootstrap address to a cluster in this process's memory.
//!
//! It prints the bootstrap address, and then takes orders from standard input: `days 3` sends the next three days, and prints how
//! many events that were. One flight in fourteen is told late. It ends, and its cluster with it, when standard input does.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

const PARTITIONS: i32 = 6;
const LATE_ONE_IN: usize = 14;
const LATE_BY_DAYS: [usize; 3] = [7, 14, 21];
const ANSWER_MAX: Duration = Duration::from_secs(30);

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, address, topic] = arguments.as_slice() else {
        return Err("say the folder of the flights, a bootstrap address or `mock`, and a topic".into());
    };
    let cluster = if address == "mock" { Some(MockCluster::new(1)?) } else { None };
    if let Some(cluster) = &cluster {
        cluster.create_topic(topic, PARTITIONS, 1)?;
    }
    let bootstrap = match &cluster {
        Some(cluster) => cluster.bootstrap_servers(),
        None => address.clone(),
    };
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &bootstrap).set("compression.type", "lz4").set("linger.ms", "50");
    let producer: BaseProducer = config.create()?;
    let partitions = match cluster {
        Some(_) => PARTITIONS,
        None => {
            let metadata = producer.client().fetch_metadata(Some(topic), ANSWER_MAX)?;
            let found = metadata.topics().iter().find(|found| found.name() == topic);
            i32::try_from(found.map_or(0, |found| found.partitions().len()))?.max(1)
        }
    };
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{bootstrap}")?;
    stdout.flush()?;

    let mut days = days(Path::new(folder))?.into_iter().enumerate();
    let mut late: BTreeMap<usize, Vec<(i32, String)>> = BTreeMap::new();
    for order in std::io::stdin().lock().lines() {
        let order = order?;
        let count: usize = order.strip_prefix("days ").ok_or("the orders are: days NUMBER")?.trim().parse()?;
        let (mut sent, mut last) = (0_u64, String::new());
        for (number, (day, file)) in days.by_ref().take(count) {
            for (partition, event) in late.remove(&number).unwrap_or_default() {
                send(&producer, topic, partition, &event)?;
                sent += 1;
            }
            for (index, (origin, event)) in events(&day, &file)?.into_iter().enumerate() {
                let partition = i32::try_from(origin.bytes().map(u64::from).sum::<u64>() % u64::try_from(partitions)?)?;
                if index % LATE_ONE_IN == 7 {
                    let by = LATE_BY_DAYS[index / LATE_ONE_IN % LATE_BY_DAYS.len()];
                    late.entry(number + by).or_default().push((partition, event));
                    continue;
                }
                send(&producer, topic, partition, &event)?;
                sent += 1;
            }
            last = day;
        }
        producer.flush(ANSWER_MAX)?;
        writeln!(stdout, "{sent} events sent, up to {last}")?;
        stdout.flush()?;
    }
    Ok(())
}

/// The days and the file of each, in order.
fn days(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut days = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if let Some(day) = entry.file_name().to_string_lossy().strip_prefix("flight_date=") {
            days.push((day.to_owned(), entry.path().join("part-0.parquet")));
        }
    }
    days.sort();
    Ok(days)
}

/// A day's flights: origin and JSON.
fn events(day: &str, file: &Path) -> Result<Vec<(String, String)>> {
    let mut events = Vec::new();
    for batch in ParquetRecordBatchReaderBuilder::try_new(File::open(file)?)?.build()? {
        let batch = batch?;
        let column = |name: &str| batch.column_by_name(name).ok_or_else(|| format!("{} has no {name}", file.display()));
        let (date, delay, distance) = (column("date")?, column("delay")?, column("distance")?);
        let date = date.as_primitive::<TimestampMicrosecondType>();
        let (delay, distance) = (delay.as_primitive::<Int64Type>(), distance.as_primitive::<Int64Type>());
        let (origin, destination) = (column("origin")?.as_string::<i32>(), column("destination")?.as_string::<i32>());
        for row in 0..batch.num_rows() {
            let time = date.value_as_datetime(row).ok_or("a time is out of range")?.format("%Y-%m-%dT%H:%M:%S");
            let (origin, destination) = (origin.value(row), destination.value(row));
            let (delay, distance) = (delay.value(row), distance.value(row));
            let event = format!(
                r#"{{"flight_date":"{day}","date":"{time}","delay":{delay},"distance":{distance},"origin":"{origin}","destination":"{destination}"}}"#
            );
            events.push((origin.to_owned(), event));
        }
    }
    Ok(events)
}

fn send(producer: &BaseProducer, topic: &str, partition: i32, event: &str) -> Result<()> {
    loop {
        match producer.send(BaseRecord::<(), str>::to(topic).partition(partition).payload(event)) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                producer.poll(ANSWER_MAX / 30);
            }
            Err((error, _)) => return Err(error.into()),
        }
    }
}
