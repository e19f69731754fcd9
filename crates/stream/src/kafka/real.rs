//! Against a real Kafka, for what the mock cluster has not: transactions, records that are deleted, topics made anew.

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};

use super::tests::{after, config, event, letters, numbers, told, topic_letters};
use super::*;
use crate::letters::{DeadLetters, Letter};

const ANSWER_MAX: Duration = Duration::from_secs(60);

fn client(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    config
}

fn admin(bootstrap: &str) -> AdminClient<DefaultClientContext> {
    client(bootstrap).create().unwrap()
}

async fn create(bootstrap: &str, topic: &str) {
    let new = NewTopic::new(topic, 1, TopicReplication::Fixed(1));
    let created = admin(bootstrap).create_topics([&new], &AdminOptions::new()).await.unwrap();
    assert!(created.iter().all(Result::is_ok), "{created:?}");
}

fn produce(producer: &BaseProducer, topic: &str, events: std::ops::Range<i64>) {
    for n in events {
        producer.send(BaseRecord::<(), _>::to(topic).partition(0).payload(&event(n))).unwrap();
    }
    producer.flush(ANSWER_MAX).unwrap();
}

/// Reads to the end: the numbers, and how many offsets the spans hold.
async fn read(source: &mut KafkaSource, positions: &mut Positions) -> (Vec<i64>, i64) {
    let (mut all, mut offsets) = (Vec::new(), 0);
    while let Some(polled) = source.poll(positions).await.unwrap() {
        all.extend(numbers(&polled));
        for span in &polled.spans {
            assert_eq!(span.from, positions.get(&span.partition).copied().unwrap_or(0), "spans have no gap between them");
            offsets += span.to - span.from;
        }
        after(positions, &polled);
    }
    (all, offsets)
}

#[tokio::test(flavor = "multi_thread")]
async fn committed_transactions_are_read_with_their_markers_as_holes_and_open_ones_are_waited_for() {
    let Some(kafka) = lakeshift_testkit::kafka::shared().await else { return };
    let (bootstrap, topic) = (kafka.bootstrap(), "transactions");
    create(&bootstrap, topic).await;
    let transactional: BaseProducer = client(&bootstrap).set("transactional.id", "t").create().unwrap();
    transactional.init_transactions(ANSWER_MAX).unwrap();
    let plain: BaseProducer = client(&bootstrap).create().unwrap();
    let transaction = |events: std::ops::Range<i64>, commits: bool| {
        transactional.begin_transaction().unwrap();
        produce(&transactional, topic, events);
        match commits {
            true => transactional.commit_transaction(ANSWER_MAX).unwrap(),
            false => transactional.abort_transaction(ANSWER_MAX).unwrap(),
        }
    };
    transaction(0..5, true);
    transaction(100..105, false);
    transaction(5..8, true);
    let mut source = KafkaSource::new(KafkaConfig { rows_max: 3, ..config(bootstrap.clone(), topic) });
    let mut positions = Positions::new();
    let (all, offsets) = read(&mut source, &mut positions).await;
    // 8 events, 5 that were aborted, 2 markers between; the last marker has nothing behind it yet.
    assert_eq!((all, offsets), ((0..8).collect::<Vec<_>>(), 8 + 5 + 2));

    // An open transaction, and an event behind it that is nobody's.
    transactional.begin_transaction().unwrap();
    produce(&transactional, topic, 8..10);
    produce(&plain, topic, 10..11);
    assert_eq!(read(&mut source, &mut positions).await, (vec![], 0));
    transactional.commit_transaction(ANSWER_MAX).unwrap();
    assert_eq!(read(&mut source, &mut positions).await, (vec![8, 9, 10], 1 + 3));

    // Parked on both sides of a hole; and one that never was there is told as gone.
    let at = SourcePartition::new(topic, 0);
    let parked = OffsetSet::range(3, 5).union(&OffsetSet::range(12, 14));
    let mut source = KafkaSource::new(config(bootstrap, topic));
    assert_eq!(numbers(&source.reread(&[(at.clone(), parked)].into()).await.unwrap()), [3, 4, 5, 6]);
    let error = source.reread(&[(at, OffsetSet::range(4, 6))].into()).await.unwrap_err();
    assert!(matches!(&error, StreamError::ParkedGone { offsets, .. } if *offsets == OffsetSet::range(5, 6)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_group_has_the_offsets_that_it_is_told_and_no_members() {
    let Some(kafka) = lakeshift_testkit::kafka::shared().await else { return };
    let (bootstrap, topic) = (kafka.bootstrap(), "told");
    create(&bootstrap, topic).await;
    let producer: BaseProducer = client(&bootstrap).create().unwrap();
    produce(&producer, topic, 0..10);
    let (mut source, mut positions) = (KafkaSource::new(config(bootstrap.clone(), topic)), Positions::new());
    assert_eq!(read(&mut source, &mut positions).await.1, 10);
    source.note(&positions);
    drop(source);
    assert_eq!(told(&bootstrap, topic, 0), Offset::Offset(10));
    let reader: BaseConsumer = client(&bootstrap).set("group.id", "reader").create().unwrap();
    let groups = reader.fetch_group_list(Some("test"), ANSWER_MAX).unwrap();
    assert!(groups.groups().iter().all(|group| group.members().is_empty()), "nobody joins it");
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_records_and_a_topic_made_anew_are_refused_by_name() {
    let Some(kafka) = lakeshift_testkit::kafka::shared().await else { return };
    let (bootstrap, topic) = (kafka.bootstrap(), "anew");
    create(&bootstrap, topic).await;
    let producer: BaseProducer = client(&bootstrap).create().unwrap();
    produce(&producer, topic, 0..10);
    let (at, options) = (SourcePartition::new(topic, 0), AdminOptions::new());
    let mut source = KafkaSource::new(config(bootstrap.clone(), topic));
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(topic, 0, Offset::Offset(4)).unwrap();
    admin(&bootstrap).delete_records(&before, &options).await.unwrap();
    let error = source.poll(&[(at.clone(), 2)].into()).await.unwrap_err();
    assert!(matches!(error, StreamError::UnreadGone { position: 2, first: 4, .. }), "{error}");
    let error = source.reread(&[(at.clone(), OffsetSet::range(2, 6))].into()).await.unwrap_err();
    assert!(matches!(&error, StreamError::ParkedGone { offsets, .. } if *offsets == OffsetSet::range(2, 4)), "{error}");
    assert_eq!(numbers(&source.poll(&[(at.clone(), 4)].into()).await.unwrap().unwrap()), (4..10).collect::<Vec<_>>());

    admin(&bootstrap).delete_topics(&[topic], &options).await.unwrap();
    create(&bootstrap, topic).await;
    produce(&producer, topic, 0..3);
    let mut source = KafkaSource::new(config(bootstrap, topic));
    let error = source.poll(&[(at, 10)].into()).await.unwrap_err();
    assert!(matches!(error, StreamError::TopicReplaced { position: Some(10), end: 3, .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_arrive_once_each_also_where_they_are_more_than_are_sent_at_once() {
    let Some(kafka) = lakeshift_testkit::kafka::shared().await else { return };
    let bootstrap = kafka.bootstrap();
    create(&bootstrap, "dead").await;
    let letters_of = |offsets: std::ops::Range<i64>| {
        let letter = |offset| Letter {
            partition: SourcePartition::new("flights", 0),
            offset,
            reason: "no JSON".to_owned(),
            payload: bytes::Bytes::from_static(b"no event"),
        };
        offsets.map(letter).collect::<Vec<_>>()
    };
    // More than are on their way at once.
    let dead = topic_letters(bootstrap.clone(), ANSWER_MAX);
    dead.keep(&letters_of(0..1500), 1).await.unwrap();
    dead.keep(&letters_of(1500..1502), 2).await.unwrap();
    let found: std::collections::BTreeSet<_> = letters(&bootstrap, "dead", 1502).into_iter().map(|(key, ..)| key).collect();
    assert_eq!(found, (0..1502).map(|offset| format!("flights/0/{offset}")).collect());
}

#[rstest::rstest]
#[case("gzip", true)]
#[case("lz4", true)]
#[case("snappy", true)]
#[case("zstd", cfg!(feature = "kafka-zstd"))]
#[tokio::test(flavor = "multi_thread")]
async fn what_a_broker_compresses_is_read_and_what_cannot_be_is_never_skipped(
    #[case] codec: &str,
    #[case] is_built_in: bool,
) {
    let Some(kafka) = lakeshift_testkit::kafka::shared().await else { return };
    let (bootstrap, topic) = (kafka.bootstrap(), format!("compressed-{codec}"));
    let new = NewTopic::new(&topic, 1, TopicReplication::Fixed(1)).set("compression.type", codec);
    admin(&bootstrap).create_topics([&new], &AdminOptions::new()).await.unwrap();
    let producer: BaseProducer = client(&bootstrap).create().unwrap();
    produce(&producer, &topic, 0..500);
    let mut source = KafkaSource::new(KafkaConfig { patience: Duration::from_secs(20), ..config(bootstrap, &topic) });
    let mut positions = Positions::new();
    if is_built_in {
        assert_eq!(read(&mut source, &mut positions).await, ((0..500).collect(), 500));
    } else {
        let error = source.poll(&positions).await.unwrap_err();
        assert!(matches!(error, StreamError::Source { .. }), "{error}");
    }
}
