//! Against events that apache-avro writes.

use std::sync::Arc;

use apache_avro::types::Value as Avro;
use apache_avro::{Decimal, GenericSingleObjectWriter, to_avro_datum};
use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Decimal128Type, Float64Type, Int8Type, Int64Type, TimestampMicrosecondType};
use arrow_schema::{Field, SchemaRef};
use proptest::prelude::*;
use rstest::rstest;

use super::super::tests::{decoder, events};
use super::super::{Decoded, Format};
use super::*;

const SCHEMA: &str = r#"{"type": "record", "name": "Flight", "namespace": "air", "fields": [
    {"name": "price", "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 3}], "default": null},
    {"name": "day", "type": {"type": "int", "logicalType": "date"}},
    {"name": "airport", "type": "string"},
    {"name": "small", "type": ["int", "null"]},
    {"name": "large", "type": "long"},
    {"name": "share", "type": ["null", "float"]},
    {"name": "at", "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}]},
    {"name": "state", "type": {"type": "enum", "name": "State", "symbols": ["LATE", "EARLY"]}},
    {"name": "late", "type": ["null", "boolean"]},
    {"name": "raw", "type": ["null", {"type": "fixed", "name": "Raw", "size": 2}]}
]}"#;

fn columns() -> SchemaRef {
    Arc::new(ArrowSchema::new(vec![
        Field::new("day", DataType::Date32, false),
        Field::new("airport", DataType::Utf8, false),
        Field::new("small", DataType::Int8, true),
        Field::new("large", DataType::Int64, true),
        Field::new("share", DataType::Float64, true),
        Field::new("price", DataType::Decimal128(5, 2), true),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        Field::new("state", DataType::Utf8, true),
        Field::new("late", DataType::Boolean, true),
        Field::new("raw", DataType::Binary, true),
    ]))
}

fn reader(schema: &str, framing: AvroFraming, unknown: UnknownFields) -> Result<AvroEvents, StreamError> {
    AvroEvents::new(schema, framing, Some(7), &columns(), unknown)
}

fn decode(framing: AvroFraming, payloads: Vec<Vec<u8>>) -> Decoded {
    let avro = reader(SCHEMA, framing, UnknownFields::Refuse).unwrap();
    decoder(Format::Avro(Arc::new(avro)), columns()).decode(&events(payloads)).unwrap()
}

fn some(branch: u32, value: Avro) -> Avro {
    Avro::Union(branch, Box::new(value))
}

/// A flight with other values in some of its fields.
fn flight(changed: &[(&str, Avro)]) -> Avro {
    let fields = [
        ("price", some(1, Avro::Decimal(Decimal::from(12_300_i64.to_be_bytes())))),
        ("day", Avro::Date(11_353)),
        ("airport", Avro::String("ORD".to_owned())),
        ("small", some(0, Avro::Int(-7))),
        ("large", Avro::Long(i64::MIN)),
        ("share", some(1, Avro::Float(0.1))),
        ("at", some(1, Avro::TimestampMillis(980_899_200_500))),
        ("state", Avro::Enum(1, "EARLY".to_owned())),
        ("late", some(1, Avro::Boolean(true))),
        ("raw", some(1, Avro::Fixed(2, vec![0, 255]))),
    ];
    let value = |(name, value): (&str, Avro)| {
        let other = changed.iter().find(|(other, _)| *other == name).map(|(_, other)| other.clone());
        (name.to_owned(), other.unwrap_or(value))
    };
    Avro::Record(fields.into_iter().map(value).collect())
}

fn bare(value: Avro) -> Vec<u8> {
    to_avro_datum(&apache_avro::Schema::parse_str(SCHEMA).unwrap(), value).unwrap()
}

#[test]
fn records_become_rows_whatever_the_order_of_their_fields() {
    let nothing = ["price", "share", "at", "late", "raw"].map(|name| (name, some(0, Avro::Null)));
    let mut payloads = vec![bare(flight(&[])), bare(flight(&nothing)), bare(flight(&[("small", some(1, Avro::Null))]))];
    payloads.push(bare(flight(&[("price", some(1, Avro::Decimal(Decimal::from((-999_990_i64).to_be_bytes()))))])));
    let decoded = decode(AvroFraming::Bare, payloads);
    assert_eq!(decoded.bad, []);
    assert_eq!(decoded.rows.schema(), columns());
    let column = |name: &str| decoded.rows.column_by_name(name).unwrap().clone();
    assert_eq!(column("day").as_primitive::<Date32Type>().values()[..], [11_353; 4]);
    assert_eq!(column("airport").as_string::<i32>().value(3), "ORD");
    assert_eq!(column("small").as_primitive::<Int8Type>().iter().collect::<Vec<_>>(), [Some(-7), Some(-7), None, Some(-7)]);
    assert_eq!(column("large").as_primitive::<Int64Type>().value(0), i64::MIN);
    let shares: Vec<_> = column("share").as_primitive::<Float64Type>().iter().collect();
    assert_eq!(shares[..2], [Some(f64::from(0.1_f32)), None]);
    let prices: Vec<_> = column("price").as_primitive::<Decimal128Type>().iter().collect();
    assert_eq!(prices, [Some(1230), None, Some(1230), Some(-99_999)]);
    assert_eq!(column("at").as_primitive::<TimestampMicrosecondType>().value(0), 980_899_200_500_000);
    assert_eq!(column("state").as_string::<i32>().value(1), "EARLY");
    assert!(column("late").as_boolean().value(0));
    assert_eq!(column("raw").as_binary::<i32>().value(0), [0, 255]);
}

#[rstest]
#[case::beyond_int8(("small", some(0, Avro::Int(128))), "small is no int8")]
#[case::third_digit(("price", some(1, Avro::Decimal(Decimal::from(12_301_i64.to_be_bytes())))), "price has more digits")]
#[case::too_large(("price", some(1, Avro::Decimal(Decimal::from(1_000_000_i64.to_be_bytes())))), "price is no decimal(5,2)")]
#[case::beyond_the_calendar(("at", some(1, Avro::TimestampMillis(i64::MAX))), "at is too large")]
#[case::year_10000(("day", Avro::Date(2_932_897)), "day is no date")]
fn a_value_that_a_column_does_not_hold_exactly_makes_an_event_bad(#[case] changed: (&str, Avro), #[case] told: &str) {
    let decoded = decode(AvroFraming::Bare, vec![bare(flight(&[])), bare(flight(&[changed])), bare(flight(&[]))]);
    assert_eq!(decoded.records.iter().map(|record| record.offset).collect::<Vec<_>>(), [0, 2]);
    assert_eq!((decoded.rows.num_rows(), decoded.bad[0].offset), (2, 1));
    assert!(decoded.bad[0].reason.contains(told), "{}", decoded.bad[0].reason);
}

#[test]
fn bytes_that_are_cut_left_over_or_of_another_schema_are_no_rows() {
    let whole = bare(flight(&[]));
    let cuts = (0..whole.len()).map(|length| whole[..length].to_vec());
    let longer = [whole.clone(), vec![0]].concat();
    let count = whole.len() + 2;
    let mut all = events(cuts.chain([longer]));
    all.push(Event { span: 0, offset: 1000, payload: None });
    let avro = reader(SCHEMA, AvroFraming::Bare, UnknownFields::Refuse).unwrap();
    let decoded = decoder(Format::Avro(Arc::new(avro)), columns()).decode(&all).unwrap();
    assert_eq!((decoded.rows.num_rows(), decoded.bad.len()), (0, count));
}

#[test]
fn single_objects_have_the_fingerprint_that_other_writers_give_them() {
    let schema = apache_avro::Schema::parse_str(SCHEMA).unwrap();
    let mut good = Vec::new();
    let mut writer = GenericSingleObjectWriter::new_with_capacity(&schema, 64).unwrap();
    writer.write_value_ref(&flight(&[]), &mut good).unwrap();
    let mut other = good.clone();
    other[5] ^= 1;
    let decoded = decode(AvroFraming::SingleObject, vec![good, other, bare(flight(&[])), vec![]]);
    assert_eq!(decoded.records.iter().map(|record| record.offset).collect::<Vec<_>>(), [0]);
    assert_eq!(decoded.bad.len(), 3);
    assert!(decoded.bad[0].reason.contains("mark of its Avro schema"), "{}", decoded.bad[0].reason);
}

#[test]
fn a_prefix_of_a_registry_has_the_one_id_that_the_file_is_of() {
    let event = |prefix: [u8; 5]| [&prefix[..], &bare(flight(&[]))].concat();
    let events = vec![event([0, 0, 0, 0, 7]), event([0, 0, 0, 0, 8]), event([1, 0, 0, 0, 7]), event([0, 7, 0, 0, 0])];
    let decoded = decode(AvroFraming::Confluent, events);
    assert_eq!(decoded.records.iter().map(|record| record.offset).collect::<Vec<_>>(), [0]);
    assert_eq!(decoded.bad.len(), 3);
}

#[rstest]
#[case::no_column_of_that_name(r#""name": "airport""#, r#""name": "port""#, "no field airport")]
#[case::another_type(
    r#"{"name": "airport", "type": "string"}"#,
    r#"{"name": "airport", "type": "bytes"}"#,
    "airport is no text"
)]
#[case::a_date_as_a_number(r#"{"type": "int", "logicalType": "date"}"#, r#""int""#, "day is no date")]
#[case::a_time_as_a_number(
    r#""large", "type": "long""#,
    r#""large", "type": {"type": "long", "logicalType": "timestamp-micros"}"#,
    "large is no int64"
)]
#[case::local_for_utc("timestamp-millis", "local-timestamp-millis", "at is no timestamp with a zone")]
#[case::a_double_for_a_decimal(
    r#"{"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 3}"#,
    r#""double""#,
    "price is no decimal"
)]
#[case::a_union_of_two(r#"["null", "float"]"#, r#"["null", "float", "double"]"#, "share is no float64")]
#[case::more_fields(
    r#"{"name": "airport","#,
    r#"{"name": "more", "type": "int"}, {"name": "airport","#,
    "has the field more"
)]
#[case::no_record(SCHEMA, r#""int""#, "no record")]
#[case::no_schema(SCHEMA, "{", "not valid")]
fn a_schema_that_does_not_fit_the_columns_is_refused_before_any_event(
    #[case] from: &str,
    #[case] to: &str,
    #[case] told: &str,
) {
    let schema = SCHEMA.replace(from, to);
    assert_ne!(schema, SCHEMA);
    // A field more is the same with `ignore`, and the rest is not.
    let unknown = if told.contains("has the field") { UnknownFields::Refuse } else { UnknownFields::Ignore };
    let error = reader(&schema, AvroFraming::Bare, unknown).unwrap_err().to_string();
    assert!(error.contains(told), "{error}");
}

#[test]
fn fields_that_are_no_columns_are_passed_over_where_the_spec_says_so() {
    let nested = r#"{"name": "more", "type": {"type": "array", "items": ["null", "long", "string"]}}, {"name": "airport","#;
    let schema = SCHEMA.replace(r#"{"name": "airport","#, nested);
    let parsed = apache_avro::Schema::parse_str(&schema).unwrap();
    let Avro::Record(mut fields) = flight(&[]) else { panic!() };
    let items = vec![some(1, Avro::Long(5)), some(0, Avro::Null), some(2, Avro::String("x".to_owned()))];
    fields.insert(2, ("more".to_owned(), Avro::Array(items)));
    let payload = to_avro_datum(&parsed, Avro::Record(fields)).unwrap();
    let avro = reader(&schema, AvroFraming::Bare, UnknownFields::Ignore).unwrap();
    let decoded = decoder(Format::Avro(Arc::new(avro)), columns()).decode(&events([payload])).unwrap();
    assert_eq!((decoded.rows.num_rows(), decoded.bad.len()), (1, 0));
    assert_eq!(decoded.rows.column_by_name("airport").unwrap().as_string::<i32>().value(0), "ORD");
}

#[rstest]
#[case(&[0x00], Ok(0))]
#[case(&[0xFF], Ok(-1))]
#[case(&[0x00, 0x80], Ok(128))]
#[case(&[0x80], Ok(-128))]
#[case(&[0xFF; 20], Ok(-1))]
#[case(&[0x7F, 0xFF], Ok(32_767))]
fn a_decimals_bytes_are_a_signed_number(#[case] bytes: &[u8], #[case] number: Result<i128, &'static str>) {
    assert_eq!(signed(bytes), number);
}

#[test]
fn a_decimal_of_no_bytes_or_of_more_than_128_bits_is_none() {
    assert!(signed(&[]).is_err());
    assert!(signed(&[[0x00].as_slice(), &[0xFF; 16]].concat()).is_err());
    assert!(signed(&[[0x01].as_slice(), &[0; 16]].concat()).is_err());
    assert!(signed(&[[0xFF].as_slice(), &[0; 16]].concat()).is_err());
}

proptest! {
    /// Whatever comes is a row or a letter, and no neighbour suffers.
    #[test]
    fn damaged_records_end_no_process_and_lose_no_neighbour(at in 0_usize..200, byte in any::<u8>(), cut in 0_usize..200) {
        let sound = bare(flight(&[]));
        let mut damaged = sound.clone();
        let length = damaged.len();
        damaged[at % length] = byte;
        damaged.truncate(length - cut % length);
        let decoded = decode(AvroFraming::Bare, vec![sound.clone(), damaged, sound]);
        let offsets: Vec<_> = decoded.records.iter().map(|record| record.offset).collect();
        prop_assert!(offsets.contains(&0) && offsets.contains(&2));
        prop_assert!(offsets.contains(&1) != decoded.bad.iter().any(|bad| bad.offset == 1));
        prop_assert_eq!(decoded.rows.num_rows(), offsets.len());
    }

    /// A decimal that is taken is the one that was written.
    #[test]
    fn a_decimal_keeps_its_value_through_both_scales(thousandths in -2_000_000_i64..2_000_000) {
        let price = some(1, Avro::Decimal(Decimal::from(thousandths.to_be_bytes())));
        let decoded = decode(AvroFraming::Bare, vec![bare(flight(&[("price", price)]))]);
        let fits = thousandths % 10 == 0 && thousandths.abs() < 1_000_000;
        prop_assert_eq!(decoded.rows.num_rows(), usize::from(fits));
        if fits {
            let read = decoded.rows.column_by_name("price").unwrap().as_primitive::<Decimal128Type>().value(0);
            prop_assert_eq!(read, i128::from(thousandths / 10));
        }
    }
}
