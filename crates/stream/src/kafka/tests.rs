//! Against librdkafka's mock cluster. Its log keeps 5 MiB a partition, by which retention is tested.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_schema::{DataType, Field, Schema};
use lakeshift_core::graph::Grain;
use lakeshift_core::stream::UnknownFields;
use lakeshift_journal::SystemClock;
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Headers as _;
use rdkafka::mocking::{MockCluster, MockCoordinator};
use rdkafka::producer::DefaultProducerContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::*;
use crate::decode::Format;
use crate::letters::{DeadLetters, Letter};

const TOPIC: &str = "flights";
const PATIENT: Duration = Duration::from_secs(60);

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn cluster(partitions: i32) -> Cluster {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, partitions, 1).unwrap();
    cluster
}

fn source(cluster: &Cluster, change: impl FnOnce(&mut KafkaConfig)) -> KafkaSource {
    let mut config = config(cluster.bootstrap_servers(), TOPIC);
    change(&mut config);
    KafkaSource::new(config)
}

/// All of a topic that is there by now.
pub(super) fn config(bootstrap: String, topic: &str) -> KafkaConfig {
    let columns = vec![Field::new("day", DataType::Date32, false), Field::new("n", DataType::Int64, false)];
    let decoder = Decoder {
        format: Format::Json,
        unknown_fields: UnknownFields::Ignore,
        schema: Arc::new(Schema::new(columns)),
        time: "day".to_owned(),
        grain: Grain::Day,
        entity: None,
    };
    let by_name = [("bootstrap.servers".to_owned(), bootstrap)];
    KafkaConfig {
        properties: Properties { group: "test".to_owned(), by_name: by_name.into() },
        topics: vec![topic.to_owned()],
        decoder,
        rows_max: 1000,
        bytes_max: 64 << 20,
        linger: Duration::ZERO,
        patience: PATIENT,
        stop: watch::channel(false).1,
        clock: Arc::new(SystemClock::new()),
    }
}

pub(super) fn event(n: i64) -> String {
    format!(r#"{{"day": "2001-01-31", "n": {n}}}"#)
}

/// Produces to one partition, each text at the next offset.
fn produce(cluster: &Cluster, partition: i32, texts: impl IntoIterator<Item = String>) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers());
    let producer: BaseProducer = config.create().unwrap();
    for text in texts {
        producer.send(BaseRecord::<(), _>::to(TOPIC).partition(partition).payload(&text)).unwrap();
    }
    producer.flush(Duration::from_secs(30)).unwrap();
}

fn at(partition: i32) -> SourcePartition {
    SourcePartition::new(TOPIC, partition)
}

fn offsets(polled: &Polled<RecordBatch>) -> Vec<(i32, i64)> {
    let of = |record: &crate::Record| (polled.spans[record.span as usize].partition.partition, record.offset);
    let mut offsets: Vec<_> = polled.records.iter().map(of).collect();
    offsets.sort_unstable();
    offsets
}

pub(super) fn numbers(polled: &Polled<RecordBatch>) -> Vec<i64> {
    let mut numbers = polled.rows.column(1).as_primitive::<Int64Type>().values().to_vec();
    numbers.sort_unstable();
    numbers
}

pub(super) fn after(positions: &mut Positions, polled: &Polled<RecordBatch>) {
    positions.extend(polled.spans.iter().map(|span| (span.partition.clone(), span.to)));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_partitions_are_read_once_by_the_positions_that_are_given() {
    let cluster = cluster(3);
    for partition in 0..3 {
        produce(&cluster, partition, (0..4).map(|n| event(i64::from(partition) * 10 + n)));
    }
    let mut source = source(&cluster, |config| config.rows_max = 5);
    let (mut positions, mut all) = (Positions::new(), Vec::new());
    while let Some(polled) = source.poll(&positions).await.unwrap() {
        assert!(polled.records.len() <= 5);
        all.extend(numbers(&polled));
        after(&mut positions, &polled);
    }
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23]);

    // An older position is gone back to, whatever the consumer had read.
    positions.insert(at(1), 2);
    let polled = source.poll(&positions).await.unwrap().unwrap();
    assert_eq!(offsets(&polled), [(1, 2), (1, 3)]);
    after(&mut positions, &polled);
    assert!(source.poll(&positions).await.unwrap().is_none());
    produce(&cluster, 0, [event(99), "no event".to_owned()]);
    let polled = source.poll(&positions).await.unwrap().unwrap();
    assert_eq!((numbers(&polled), polled.bad.len(), polled.bad[0].offset), (vec![99], 1, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_offsets_are_read_again_and_then_the_stream_goes_on_where_it_was() {
    let cluster = cluster(2);
    produce(&cluster, 0, (0..40).map(event));
    produce(&cluster, 1, (100..104).map(event));
    let mut source = source(&cluster, |config| config.rows_max = 20);
    let positions: Positions = [(at(0), 30), (at(1), 4)].into();
    assert_eq!(source.poll(&positions).await.unwrap().unwrap().records.len(), 10);
    let mut parked: BTreeMap<_, _> = [(at(0), OffsetSet::range(3, 24)), (at(1), OffsetSet::range(1, 2))].into();
    let mut all = Vec::new();
    while parked.values().any(|set| !set.is_empty()) {
        let polled = source.reread(&parked).await.unwrap();
        assert!(!polled.records.is_empty());
        for (partition, offset) in offsets(&polled) {
            let set = parked.get_mut(&at(partition)).unwrap();
            assert!(set.contains(offset));
            *set = set.difference(&OffsetSet::range(offset, offset + 1));
        }
        all.extend(numbers(&polled));
    }
    all.sort_unstable();
    assert_eq!(all, (3..24).chain([101]).collect::<Vec<_>>());
    assert_eq!(numbers(&source.poll(&positions).await.unwrap().unwrap()), (30..40).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_ends_before_the_position_or_lacks_a_partition_is_refused() {
    let cluster = cluster(1);
    produce(&cluster, 0, (0..5).map(event));
    let poll = async |positions: Positions| source(&cluster, |_| {}).poll(&positions).await;
    assert!(matches!(poll([(at(0), 5)].into()).await, Ok(None)));
    let error = poll([(at(0), 6)].into()).await.unwrap_err();
    assert!(matches!(&error, StreamError::TopicReplaced { position: Some(6), end: 5, .. }), "{error}");
    let error = poll([(at(0), 0), (at(1), 3)].into()).await.unwrap_err();
    assert!(matches!(&error, StreamError::TopicReplaced { partition, .. } if *partition == at(1)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_retention_has_deleted_is_never_skipped() {
    let cluster = cluster(1);
    // About 12 MiB, of which 5 stay.
    let padded = |n: i64| format!(r#"{{"day": "2001-01-31", "n": {n}, "pad": "{}"}}"#, "x".repeat(60_000));
    produce(&cluster, 0, (0..200).map(padded));
    let mut source = source(&cluster, |_| {});
    let there = source.available().await.unwrap()[&at(0)];
    assert!(there.from > 2 && there.to == 200, "{there:?}");

    // A new stream begins with what there is.
    let polled = source.poll(&Positions::new()).await.unwrap().unwrap();
    assert_eq!((polled.spans[0].from, polled.spans[0].to), (there.from, 200));
    assert_eq!(polled.records.len() as i64, 200 - there.from);

    let error = source.poll(&[(at(0), there.from - 1)].into()).await.unwrap_err();
    assert!(matches!(error, StreamError::UnreadGone { first, .. } if first == there.from), "{error}");
    let parked = [(at(0), OffsetSet::range(there.from - 2, there.from + 2))].into();
    let error = source.reread(&parked).await.unwrap_err();
    let StreamError::ParkedGone { offsets, .. } = error else { panic!("{error}") };
    assert_eq!(offsets, OffsetSet::range(there.from - 2, there.from));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_down_is_an_error_and_once_it_is_up_nothing_is_lost() {
    let cluster = cluster(1);
    produce(&cluster, 0, (0..3).map(event));
    let mut source = source(&cluster, |config| config.patience = Duration::from_secs(2));
    let mut positions = Positions::new();
    let polled = source.poll(&positions).await.unwrap().unwrap();
    after(&mut positions, &polled);
    produce(&cluster, 0, (3..6).map(event));
    cluster.broker_down(1).unwrap();
    let error = source.poll(&Positions::from([(at(0), 0)])).await.unwrap_err();
    assert!(matches!(error, StreamError::Source { .. }), "{error}");
    cluster.broker_up(1).unwrap();
    let polled = source.poll(&positions).await.unwrap().unwrap();
    assert_eq!(offsets(&polled), [(0, 3), (0, 4), (0, 5)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_fail_are_tried_again_and_no_event_comes_twice() {
    let cluster = cluster(2);
    produce(&cluster, 0, (0..50).map(event));
    produce(&cluster, 1, (50..100).map(event));
    let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;
    cluster.request_errors(RDKafkaApiKey::Fetch, &[error; 3]);
    cluster.request_errors(RDKafkaApiKey::ListOffsets, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT]);
    let mut source = source(&cluster, |config| config.rows_max = 7);
    let (mut positions, mut all) = (Positions::new(), Vec::new());
    for _ in 0..100 {
        match source.poll(&positions).await {
            Ok(Some(polled)) => {
                all.extend(numbers(&polled));
                after(&mut positions, &polled);
            }
            Ok(None) => break,
            Err(StreamError::Source { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    all.sort_unstable();
    assert_eq!(all, (0..100).collect::<Vec<_>>());
}

/// What brokers have been told of a partition of the group that [`config`] names.
pub(super) fn told(bootstrap: &str, topic: &str, partition: i32) -> Offset {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", "test");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut asked = TopicPartitionList::new();
    asked.add_partition(topic, partition);
    consumer.committed_offsets(asked, PATIENT).unwrap().elements()[0].offset()
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_are_told_how_far_the_stream_is_and_are_not_believed() {
    let cluster = cluster(2);
    produce(&cluster, 0, (0..5).map(event));
    produce(&cluster, 1, (5..8).map(event));
    let mut source_of_all = source(&cluster, |_| {});
    // A source that has not read yet has no connection to tell it by.
    source_of_all.note(&[(at(0), 9)].into());
    assert_eq!(source_of_all.poll(&Positions::new()).await.unwrap().unwrap().records.len(), 8);
    source_of_all.note(&[(at(0), 4), (SourcePartition::new("another", 0), 7)].into());
    source_of_all.note(&[(at(0), 5), (at(1), 2)].into());
    // Ends when brokers have answered.
    drop(source_of_all);
    let bootstrap = cluster.bootstrap_servers();
    assert_eq!([0, 1].map(|partition| told(&bootstrap, TOPIC, partition)), [Offset::Offset(5), Offset::Offset(2)]);
    let polled = source(&cluster, |_| {}).poll(&[(at(1), 3)].into()).await.unwrap().unwrap();
    assert_eq!(numbers(&polled), [0, 1, 2, 3, 4], "the journal decides, partition by partition");
}

/// What comes next. A broker may take a moment to tell of it.
async fn go_on(source: &mut KafkaSource, positions: &mut Positions) -> Vec<i64> {
    for _ in 0..100 {
        if let Some(polled) = source.poll(positions).await.unwrap() {
            after(positions, &polled);
            return numbers(&polled);
        }
    }
    panic!("nothing came");
}

/// Tells brokers after each of four readings how far it is; `before` is what befalls them first. All events come, in order.
async fn read_and_told(cluster: &Cluster, before: impl Fn(usize)) {
    let (mut source, mut positions, mut all) = (source(cluster, |_| {}), Positions::new(), Vec::new());
    for round in 0..4 {
        before(round);
        produce(cluster, 0, (0..10).map(|n| event(round as i64 * 10 + n)));
        all.extend(go_on(&mut source, &mut positions).await);
        source.note(&positions);
    }
    assert_eq!(all, (0..40).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_moves_disturbs_no_reading() {
    let cluster = MockCluster::new(3).unwrap();
    cluster.create_topic(TOPIC, 1, 3).unwrap();
    let moves = |round: usize| {
        cluster.coordinator(MockCoordinator::Group("test".to_owned()), [1, 2, 3, 1][round]).unwrap();
        cluster.request_errors(RDKafkaApiKey::OffsetCommit, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_COORDINATOR]);
    };
    read_and_told(&cluster, moves).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_this_client_may_not_use_stops_nothing() {
    let cluster = cluster(1);
    let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
    cluster.request_errors(RDKafkaApiKey::FindCoordinator, &[error; 3]);
    cluster.request_errors(RDKafkaApiKey::OffsetCommit, &[error; 3]);
    read_and_told(&cluster, |_| {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_property_that_is_refused_is_named_without_its_value() {
    let cluster = cluster(1);
    for (property, value) in [("socket.timeout.ms", "hunter2"), ("no.such.property", "hunter2")] {
        let mut source = source(&cluster, |config| {
            config.properties.by_name.insert(property.to_owned(), value.to_owned());
        });
        let error = source.available().await.unwrap_err();
        let told = format!("{error} {error:?} {source:?}");
        assert!(told.contains(property) && !told.contains(value), "{told}");
    }
}

/// What stands in a topic: key, value and the header of the reason, by key.
pub(super) fn letters(bootstrap: &str, topic: &str, count: usize) -> Vec<(String, Vec<u8>, String)> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", "reader");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut all = TopicPartitionList::new();
    all.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&all).unwrap();
    let mut found = Vec::new();
    while found.len() < count {
        // An answer without a message is an event of the client's own.
        let message = (0..60).find_map(|_| consumer.poll(Duration::from_millis(500))?.ok()).expect("a letter is missing");
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let headers = message.headers().unwrap();
        let reason = headers.iter().find(|header| header.key == "lakeshift.reason").unwrap().value.unwrap();
        found.push((text(message.key().unwrap()), message.payload().unwrap_or_default().to_vec(), text(reason)));
    }
    assert!(consumer.poll(Duration::from_millis(500)).is_none(), "there is a letter more");
    found.sort();
    found
}

fn letter(offset: i64, payload: &'static [u8]) -> Letter {
    let payload = bytes::Bytes::from_static(payload);
    Letter { partition: at(1), offset, reason: format!("reason {offset}"), payload }
}

pub(super) fn topic_letters(bootstrap: String, patience: Duration) -> TopicLetters {
    // What would undo the order or the single arrival of letters is not taken over from the stream's own properties.
    let by_name = [("bootstrap.servers", bootstrap.as_str()), ("acks", "0"), ("enable.idempotence", "false")];
    let by_name = by_name.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    TopicLetters::new(Properties { group: "test".to_owned(), by_name }, "live".to_owned(), "dead".to_owned(), patience)
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_stand_in_their_topic_when_they_are_kept_whatever_fails_on_the_way() {
    let cluster = cluster(2);
    cluster.create_topic("dead", 1, 1).unwrap();
    let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;
    cluster.request_errors(RDKafkaApiKey::Produce, &[error; 2]);
    let dead = topic_letters(cluster.bootstrap_servers(), PATIENT);
    let kept = dead.keep(&[letter(7, b"no event"), letter(9, b"\xff\x00"), letter(12, b"")], 1).await.unwrap();
    assert_eq!(kept, "topic:dead");
    let there = letters(&cluster.bootstrap_servers(), "dead", 3);
    let found: Vec<_> = there.iter().map(|(key, value, reason)| (key.as_str(), &value[..], reason.as_str())).collect();
    assert_eq!(
        found,
        [
            ("flights/1/12", &b""[..], "reason 12"),
            ("flights/1/7", b"no event", "reason 7"),
            ("flights/1/9", b"\xff\x00", "reason 9"),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_that_no_broker_takes_are_an_error_and_the_next_attempt_keeps_them() {
    let cluster = cluster(2);
    cluster.create_topic("dead", 1, 1).unwrap();
    let dead = topic_letters(cluster.bootstrap_servers(), Duration::from_secs(2));
    cluster.broker_down(1).unwrap();
    let error = dead.keep(&[letter(7, b"hunter2")], 1).await.unwrap_err();
    let told = format!("{error} {error:?}");
    assert!(matches!(error, StreamError::Letters { .. }) && !told.contains("hunter2"), "{told}");
    cluster.broker_up(1).unwrap();
    // The first one is given up; it does not arrive behind the second attempt's back.
    let patient = topic_letters(cluster.bootstrap_servers(), PATIENT);
    patient.keep(&[letter(7, b"hunter2")], 1).await.unwrap();
    assert_eq!(letters(&cluster.bootstrap_servers(), "dead", 1)[0].0, "flights/1/7");
    assert!(dead.keep(&[letter(8, b"hunter2")], 1).await.is_ok());
    assert_eq!(letters(&cluster.bootstrap_servers(), "dead", 2)[1].0, "flights/1/8");
}

#[rstest::rstest]
#[case("gzip")]
#[case("snappy")]
#[case("lz4")]
#[case("zstd")]
#[tokio::test(flavor = "multi_thread")]
async fn compressed_events_are_read(#[case] codec: &str) {
    if codec == "zstd" && !cfg!(feature = "kafka-zstd") {
        return;
    }
    let cluster = cluster(1);
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers()).set("compression.codec", codec).set("linger.ms", "200");
    let producer: BaseProducer = config.create().unwrap();
    for n in 0..1000 {
        producer.send(BaseRecord::<(), _>::to(TOPIC).partition(0).payload(&event(n))).unwrap();
    }
    producer.flush(Duration::from_secs(30)).unwrap();
    let polled = source(&cluster, |_| {}).poll(&Positions::new()).await.unwrap().unwrap();
    assert_eq!((numbers(&polled), polled.bad.len()), ((0..1000).collect::<Vec<_>>(), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_asked_to_stop_hands_over_what_it_has_instead_of_lingering() {
    let cluster = cluster(1);
    produce(&cluster, 0, (0..3).map(event));
    let (stopper, stop) = watch::channel(false);
    let mut source = source(&cluster, |config| (config.linger, config.stop) = (Duration::from_secs(3600), stop));
    let polling = tokio::spawn(async move {
        let polled = source.poll(&Positions::new()).await.unwrap().map(|polled| numbers(&polled));
        (polled, source)
    });
    stopper.send_replace(true);
    let (polled, mut source) = polling.await.unwrap();
    // It may have been asked before the first event came.
    assert!(polled.is_none_or(|numbers| numbers.iter().copied().eq(0..i64::try_from(numbers.len()).unwrap())));
    // What waits for nothing is not asked to hurry: parked events are read to the last.
    let parked = [(at(0), OffsetSet::range(0, 3))].into();
    assert_eq!(numbers(&source.reread(&parked).await.unwrap()), [0, 1, 2]);
}
