use rstest::rstest;

use super::*;

const GOOD: &str = "
stream: flights
control: ../control
table: {format: delta, location: ../lake/flights}
columns:
  - {name: day, type: date}
  - {name: origin, type: string, required: true}
  - {name: delay, type: 'decimal(10,2)'}
time: {column: day, grain: day}
kafka: {bootstrap: '${KAFKA}', topics: [flights], properties: {sasl.password: '${PASSWORD}', client.id: lakeshift}}
";

fn read(text: &str) -> Result<StreamSpec, StreamSpecError> {
    StreamSpec::from_yaml(text, Path::new("/project/migrations/stream.yaml"))
}

#[test]
fn a_stream_is_read_with_its_defaults_and_its_places_are_urls() {
    let spec = read(GOOD).unwrap();
    assert_eq!((spec.control.as_str(), spec.commit.rows), ("file:///project/control", 500_000));
    let nullable: Vec<_> = spec.schema().fields.iter().map(|field| field.nullable).collect();
    assert_eq!(nullable, [false, false, true]);
    assert_eq!(spec.partitioning().fields.len(), 1);
}

const TABLE: &str = "table: {format: delta, location: ../lake/flights}";

#[test]
fn a_stream_may_name_a_migration_in_place_of_its_table() {
    let spec = read(&GOOD.replace(TABLE, "migration: ../flights")).unwrap();
    assert_eq!((spec.table, spec.migration.as_deref()), (None, Some("../flights")));
}

#[test]
fn dead_letters_go_to_a_folder_or_to_a_topic() {
    let with = |text: &str| read(&GOOD.replace("kafka:", &format!("dead_letters: {text}\nkafka:"))).unwrap().dead_letters;
    assert_eq!(with("../dead"), Some(DeadLetterSpec::Folder("file:///project/dead".to_owned())));
    assert_eq!(with("{topic: dead}"), Some(DeadLetterSpec::Topic(DeadLetterTopic { topic: "dead".to_owned() })));
}

#[test]
fn what_the_environment_holds_reaches_the_client_and_no_text_of_the_spec() {
    let spec = read(GOOD).unwrap();
    let properties = spec.kafka.client_properties(|name| Some(format!("value of {name}"))).unwrap();
    assert_eq!(properties["sasl.password"], "value of PASSWORD");
    assert_eq!(properties["bootstrap.servers"], "value of KAFKA");
    assert!(!format!("{spec:?}").contains("PASSWORD"));
    assert_eq!(
        spec.kafka.client_properties(|_| None).unwrap_err().option,
        "client.id".replace("client.id", "sasl.password")
    );
}

#[rstest]
#[case("stream: flights", "stream: a/b", "stream is no name")]
#[case("name: delay", "name: DAY", "names DAY twice")]
#[case("column: day", "column: hour", "not among the columns")]
#[case("{column: day", "{column: origin", "which is a string")]
#[case("grain: day", "grain: hour", "time.grain is hour")]
#[case("type: 'decimal(10,2)'", "type: binary", "JSON has no form for")]
#[case("type: 'decimal(10,2)'", "type: money", "decimal(precision,scale)")]
#[case("topics: [flights]", "topics: ['^f.*']", "kafka.topics")]
#[case("topics: [flights]", "topics: []", "kafka.topics")]
#[case("'${PASSWORD}'", "hunter2", "holds a credential")]
#[case("client.id: lakeshift", "ssl.key.pem: x", "holds a credential")]
#[case("client.id", "group.id", "is set by the stream itself")]
#[case("format: delta", "format: hive", "hive")]
#[case("control: ../control", "controls: ../control", "unknown field")]
#[case("stream: flights", "stream: flights\nlocks: {etcd: ['https://a:b@etcd:2379']}", "locks.etcd is no list of endpoints")]
#[case("stream: flights", "stream: flights\nlocks: {etcd: []}", "locks.etcd is no list of endpoints")]
#[case("stream: flights", "stream: flights\nlocks: {etcd: ['etcd']}", "locks.etcd is no list of endpoints")]
#[case("stream: flights", "stream: flights\nlocks: {zookeeper: 'zk:0'}", "locks.zookeeper is no list of servers")]
#[case("stream: flights", "stream: flights\nlocks: {zookeeper: 'zk:2181/a//b'}", "locks.zookeeper is no list of servers")]
#[case("stream: flights", "stream: flights\nlocks: {zookeeper: 'zk:2181', etcd: ['e:1']}", "names two services")]
#[case("stream: flights", "stream: flights\nlocks: {}", "names no service")]
#[case("stream: flights", "stream: flights\nlocks: {consul: x}", "unknown field")]
#[case("kafka:", "compact: {files: 1}\nkafka:", "compact.files is less than 2")]
#[case(TABLE, "", "table is not there")]
#[case("kafka:", "migration: ../flights\nkafka:", "migration is there beside a table")]
#[case(TABLE, "migration: s3://lake/flights", "migration is no path")]
#[case(TABLE, "migration: ../flights\ncompact: {files: 2}", "compact is there, and the stream writes both tables")]
#[case("kafka:", "decode: {format: avro}\nkafka:", "decode.avro is not there")]
#[case("kafka:", "decode: {avro: {schema: a.avsc}}\nkafka:", "the format is another")]
#[case("kafka:", "decode: {format: avro, avro: {schema: a.avsc, framing: confluent}}\nkafka:", "schema_id is not there")]
#[case("kafka:", "decode: {format: avro, avro: {schema: a.avsc, schema_id: 1}}\nkafka:", "without a registry's prefix")]
#[case("kafka:", "dead_letters: {topic: flights}\nkafka:", "is flights, which is read")]
#[case("kafka:", "dead_letters: {topic: 'a b'}\nkafka:", "is no name of a topic")]
#[case("kafka:", "dead_letters: {topics: dead}\nkafka:", "write a folder, or {topic: NAME}")]
fn what_cannot_work_is_refused_with_its_place(#[case] good: &str, #[case] bad: &str, #[case] told: &str) {
    let text = GOOD.replace(good, bad);
    assert_ne!(text, GOOD);
    let error = read(&text).unwrap_err().to_string();
    assert!(error.contains(told) && error.contains("stream.yaml"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}

#[rstest]
#[case("etcd: ['10.0.0.1:2379', '[::1]:2379']")]
#[case("zookeeper: 'zk-1.example.org:2181,zk-2:2181/teams/lake'")]
#[case("zookeeper: 'localhost:2181'")]
fn a_lock_service_is_named_by_its_servers(#[case] locks: &str) {
    let spec = read(&format!("{GOOD}locks: {{{locks}}}\n")).unwrap();
    let locks = spec.locks.unwrap();
    assert!(locks.etcd.is_some() != locks.zookeeper.is_some());
}

#[test]
fn a_file_of_properties_is_read_and_its_values_stay_out_of_errors() {
    let read = read_properties("# brokers\n\nsasl.username = a\nsasl.password=b=c\n").unwrap();
    assert_eq!(read["sasl.password"], "b=c");
    let error = read_properties("sasl.password: hunter2").unwrap_err();
    assert!(error.contains("line 1") && !error.contains("hunter2"));
    assert!(read_properties("isolation.level=read_uncommitted").unwrap_err().contains("set by the stream"));
}
