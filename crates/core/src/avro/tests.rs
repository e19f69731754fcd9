//! Values against the bytes of the Avro specification's own examples, and damage.

use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::schema::{DataType, TimeUnit};

const RECORD: &str = r#"{"type": "record", "name": "r", "namespace": "n", "fields": [
    {"name": "key", "type": "string"},
    {"name": "at", "type": ["null", {"type": "long", "logicalType": "timestamp-micros"}]},
    {"name": "price", "type": [{"type": "fixed", "name": "money", "size": 2, "logicalType": "decimal", "precision": 4, "scale": 2}, "null"]},
    {"name": "tags", "type": {"type": "array", "items": ["null", "int"]}},
    {"name": "parts", "type": {"type": "map", "values": "money"}}
]}"#;

#[rstest]
#[case(&[0x00], 0)]
#[case(&[0x01], -1)]
#[case(&[0x02], 1)]
#[case(&[0x80, 0x01], 64)]
#[case(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], i64::MIN)]
fn a_long_is_zigzag(#[case] bytes: &[u8], #[case] number: i64) {
    assert_eq!(decode(&Schema::Long, bytes), Ok(Value::Long(number)));
}

#[test]
fn a_record_reads_and_has_logical_types() {
    let schema = Schema::parse(RECORD).unwrap();
    let bytes = [
        6, b'f', b'o', b'o', // key
        2, 2, // at: the second branch, 1
        0, 0x00, 0x05, // price
        3, 6, 0, 2, 54, 0, // tags: a block of two in six bytes, as skipping readers need it
        2, 2, b'a', 1, 2, 0, // parts
    ];
    let record = Value::Record(vec![
        Value::String("foo"),
        Value::Long(1),
        Value::Bytes(&[0, 5]),
        Value::Array(vec![Value::Null, Value::Int(27)]),
        Value::Map(vec![("a", Value::Bytes(&[1, 2]))]),
    ]);
    assert_eq!(decode(&schema, &bytes), Ok(record));
    for end in 0..bytes.len() {
        assert!(decode(&schema, &bytes[..end]).is_err(), "{end}");
    }
    let columns = schema.table_schema().unwrap();
    let types: Vec<(String, bool)> =
        columns.fields.iter().map(|field| (field.data_type.to_string(), field.nullable)).collect();
    let expected = [
        ("string", false),
        ("timestamptz[us]", true),
        ("decimal(4,2)", true),
        ("list<int32>", false),
        ("map<string, decimal(4,2)>", false),
    ];
    assert_eq!(types, expected.map(|(text, nullable)| (text.to_owned(), nullable)));
    assert_eq!(columns.fields[1].data_type, DataType::Timestamp { unit: TimeUnit::Micros, utc: true });
}

#[rstest]
#[case(r#"{"type": "record", "name": "r", "fields": [{"name": "a", "type": "r"}]}"#)]
#[case(r#"{"type": "array"}"#)]
#[case("[")]
fn a_schema_without_sense_is_refused(#[case] json: &str) {
    assert!(matches!(Schema::parse(json), Err(AvroError::Schema(_))));
}

#[test]
fn types_that_multiply_are_refused() {
    let mut fields = vec![r#"{"name": "a0", "type": {"type": "record", "name": "t0", "fields": []}}"#.to_owned()];
    for level in 1..30 {
        let before = level - 1;
        let inner = format!(r#"[{{"name": "x", "type": "t{before}"}}, {{"name": "y", "type": "t{before}"}}]"#);
        let record = format!(r#"{{"type": "record", "name": "t{level}", "fields": {inner}}}"#);
        fields.push(format!(r#"{{"name": "a{level}", "type": {record}}}"#));
    }
    let json = format!(r#"{{"type": "record", "name": "r", "fields": [{}]}}"#, fields.join(","));
    assert!(matches!(Schema::parse(&json), Err(AvroError::Schema(_))));
}

#[test]
fn lengths_that_the_input_cannot_hold_are_refused() {
    let huge = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    for schema in [Schema::Bytes, Schema::String, Schema::Array(Box::new(Schema::Null)), Schema::Fixed(1 << 40)] {
        assert!(decode(&schema, &huge).is_err(), "{schema:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_value_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let schema = Schema::parse(RECORD).unwrap();
        let _ = decode(&schema, &bytes);
        let _ = container(&[b"Obj\x01".as_slice(), &bytes].concat());
    }
}
