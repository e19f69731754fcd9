//! What a stream's file may say.

use std::path::Path;

use lakeshift_core::stream::StreamSpec;

#[test]
fn the_json_schema_is_this() {
    insta::assert_json_snapshot!(StreamSpec::json_schema());
}

#[test]
fn the_playbooks_stream_reads() {
    let text = include_str!("../../../../migrations/flights-stream/stream.yaml");
    let spec = StreamSpec::from_yaml(text, Path::new("/project/migrations/flights-stream/stream.yaml")).unwrap();
    assert_eq!(spec.kafka.client_properties(|name| Some(name.to_owned())).unwrap()["bootstrap.servers"], "LAKESHIFT_KAFKA");
    assert_eq!(spec.table.unwrap().location, "file:///project/lake/flights-live");
}
