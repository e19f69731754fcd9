use std::sync::Arc;

use arrow_array::builder::{Decimal128Builder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Decimal128Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{ArrayRef, Date32Array, Float64Array, Int32Array, RecordBatch};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use lakeshift_core::graph::Grain;
use lakeshift_core::stream::UnknownFields;
use proptest::prelude::*;
use rstest::rstest;

use super::*;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("day", DataType::Date32, false),
        Field::new("airport", DataType::Utf8, false),
        Field::new("small", DataType::Int8, true),
        Field::new("large", DataType::Int64, true),
        Field::new("share", DataType::Float64, true),
        Field::new("single", DataType::Float32, true),
        Field::new("price", DataType::Decimal128(5, 2), true),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        Field::new("local", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("late", DataType::Boolean, true),
    ]))
}

pub(super) fn decoder(format: Format, schema: SchemaRef) -> Decoder {
    let (unknown_fields, time) = (UnknownFields::Refuse, "day".to_owned());
    Decoder { format, unknown_fields, schema, time, grain: Grain::Month, entity: Some("airport".to_owned()) }
}

pub(super) fn events<B: Into<Bytes>>(payloads: impl IntoIterator<Item = B>) -> Vec<Event> {
    let event = |(offset, payload): (i64, B)| Event { span: 0, offset, payload: Some(payload.into()) };
    (0..).zip(payloads).map(event).collect()
}

fn json(fields: &str) -> Decoded {
    let text = format!(r#"{{"day": "2001-01-31", "airport": "ORD"{fields}}}"#);
    decoder(Format::Json, schema()).decode(&events([text])).unwrap()
}

#[test]
fn good_events_become_rows_and_bad_ones_are_set_aside_with_their_offsets() {
    let texts = [
        r#"{"day": "2001-01-31", "airport": "ORD", "large": 9223372036854775807, "price": 12.30, "late": true}"#,
        r#"{"day": "2001-01-31", "airport": "#,
        r#" {"airport":"O\"R\u0044","at":"2001-01-31T01:00:00.5+01:00","day":"2001-02-01","local":"2001-01-31 07:30:00"} "#,
        r#"{"day": "2001-01-02", "airport": "ORD", "small": null, "share": 0.1, "price": "-999.990"}"#,
    ];
    let mut all = events(texts);
    all.push(Event { span: 1, offset: 90, payload: None });
    let decoded = decoder(Format::Json, schema()).decode(&all).unwrap();
    let offsets: Vec<_> = decoded.records.iter().map(|record| record.offset).collect();
    assert_eq!(offsets, [0, 2, 3]);
    assert_eq!(decoded.bad.iter().map(|bad| (bad.span, bad.offset)).collect::<Vec<_>>(), [(0, 1), (1, 90)]);
    assert_eq!(decoded.rows.schema(), schema());
    let column = |name: &str| decoded.rows.column_by_name(name).unwrap().clone();
    assert_eq!(column("large").as_primitive::<Int64Type>().value(0), i64::MAX);
    assert_eq!(column("price").as_primitive::<Decimal128Type>().values()[..], [1230, 0, -99_999]);
    assert_eq!(column("at").as_primitive::<TimestampMicrosecondType>().value(1), 980_899_200_500_000);
    assert_eq!(column("local").as_primitive::<TimestampMicrosecondType>().value(1), 980_926_200_000_000);
    assert_eq!(column("day").as_primitive::<Date32Type>().value(2), 11_324);
    // Two of January and one of another airport in February: by the month.
    let place = |period, entity: &str| Place { period, entity: Some(entity.into()) };
    assert_eq!(decoded.places, [place(372, "ORD"), place(373, "O\"RD")]);
    assert_eq!(decoded.records.iter().map(|record| record.place).collect::<Vec<_>>(), [0, 1, 0]);
}

#[rstest]
#[case::fraction_of_a_whole_number(r#""large": 1.5"#, "large")]
#[case::whole_number_with_a_point(r#""large": 1.0"#, "large")]
#[case::beyond_int64(r#""large": 9223372036854775808"#, "large")]
#[case::beyond_int8(r#""small": 128"#, "small")]
#[case::text_for_a_number(r#""small": "7"#, "no JSON")]
#[case::number_in_quotes(r#""small": "7""#, "small")]
#[case::number_for_a_text(r#""airport2": 1"#, "no column")]
#[case::beyond_2_to_53(r#""share": 9007199254740993"#, "share")]
#[case::infinite(r#""single": 1e39"#, "single")]
#[case::third_digit_of_a_decimal(r#""price": 1.005"#, "price")]
#[case::decimal_too_large(r#""price": 1000"#, "price")]
#[case::decimal_with_exponent(r#""price": 1e1"#, "price")]
#[case::decimal_with_two_signs(r#""price": "--1""#, "price")]
#[case::nanoseconds(r#""at": "2001-01-31T00:00:00.123456789Z""#, "at")]
#[case::picoseconds(r#""at": "2001-01-31T00:00:00.1234560000001Z""#, "at")]
#[case::no_zone(r#""at": "2001-01-31T00:00:00""#, "at")]
#[case::a_zone(r#""local": "2001-01-31T00:00:00Z""#, "local")]
#[case::epoch(r#""at": 980899200"#, "at")]
#[case::leap_second(r#""at": "2016-12-31T23:59:60Z""#, "at")]
#[case::boolean_as_number(r#""late": 1"#, "late")]
#[case::nested(r#""large": [1]"#, "large")]
#[case::twice(r#""large": 1, "large": 2"#, "twice")]
#[case::half_a_pair(r#""late": true, "\ud800": 1"#, "no text")]
fn a_value_that_a_column_does_not_hold_exactly_makes_an_event_bad(#[case] field: &str, #[case] told: &str) {
    let decoded = json(&format!(", {field}"));
    assert_eq!((decoded.rows.num_rows(), decoded.bad.len()), (0, 1), "{field}");
    let reason = &decoded.bad[0].reason;
    assert!(reason.contains(told), "{reason}");
}

#[rstest]
#[case(r#"{"day": "2001-01-31"}"#, "airport")]
#[case(r#"{"day": null, "airport": "ORD"}"#, "null in day")]
#[case(r#"{"day": "2001-02-29", "airport": "ORD"}"#, "day")]
#[case(r#"{"day": "2001-01-31T07:00:00", "airport": "ORD"}"#, "day")]
#[case(r#"{"day": "20010131", "airport": "ORD"}"#, "day")]
#[case(r#"{"day": "2001-01-31", "airport": 7}"#, "airport")]
#[case(r#"["day"]"#, "object")]
#[case("7", "object")]
#[case("", "no JSON")]
#[case(r#"{"day": "2001-01-31", "airport": "ORD"} {"day": "2001-01-31", "airport": "ORD"}"#, "no JSON")]
fn an_event_without_its_place_or_that_is_no_object_is_bad(#[case] text: &str, #[case] told: &str) {
    let decoded = decoder(Format::Json, schema()).decode(&events([text.to_owned()])).unwrap();
    assert_eq!((decoded.rows.num_rows(), decoded.bad.len()), (0, 1), "{text}");
    assert!(decoded.bad[0].reason.contains(told), "{}", decoded.bad[0].reason);
}

#[test]
fn a_reason_tells_nothing_of_the_content() {
    for field in [r#""large": "hunter2""#, r#""hunter2": 1"#, r#""at": "hunter2""#, r#""price": "hunter2""#, "hunter2"] {
        let decoded = json(&format!(", {field}"));
        assert!(!decoded.bad[0].reason.contains("hunter2"), "{}", decoded.bad[0].reason);
    }
}

#[test]
fn unknown_fields_are_left_out_where_the_spec_says_so() {
    let decoder = Decoder { unknown_fields: UnknownFields::Ignore, ..decoder(Format::Json, schema()) };
    let text = r#"{"day": "2001-01-31", "airport": "ORD", "more": {"day": ["}", 1]}, "small": 5}"#;
    let decoded = decoder.decode(&events([text])).unwrap();
    assert_eq!((decoded.rows.num_rows(), decoded.bad.len()), (1, 0));
}

fn message(columns: Vec<(&str, ArrayRef)>) -> Bytes {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), batch.schema_ref()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    writer.into_inner().unwrap().into()
}

fn arrow_decoder() -> Decoder {
    decoder(
        Format::Arrow,
        Arc::new(Schema::new(vec![
            Field::new("day", DataType::Date32, false),
            Field::new("airport", DataType::Utf8, false),
            Field::new("price", DataType::Decimal128(5, 2), true),
        ])),
    )
}

fn text(values: &[Option<&str>]) -> ArrayRef {
    let mut builder = StringBuilder::new();
    values.iter().for_each(|value| builder.append_option(*value));
    Arc::new(builder.finish())
}

fn prices(values: &[i128]) -> ArrayRef {
    let mut builder = Decimal128Builder::new().with_precision_and_scale(5, 2).unwrap();
    values.iter().for_each(|value| builder.append_value(*value));
    Arc::new(builder.finish())
}

fn days(values: &[i32]) -> ArrayRef {
    Arc::new(Date32Array::from(values.to_vec()))
}

#[test]
fn arrow_messages_become_rows_of_one_place_each_and_others_are_bad() {
    let (ord, two) = (text(&[Some("ORD")]), text(&[Some("ORD"), Some("ORD")]));
    let messages = [
        message(vec![("airport", two.clone()), ("price", prices(&[1, 2])), ("day", days(&[11_353, 11_353]))]),
        message(vec![("airport", two.clone()), ("price", prices(&[1, 2])), ("day", days(&[11_353, 11_390]))]),
        message(vec![("airport", text(&[None])), ("price", prices(&[1])), ("day", days(&[11_353]))]),
        message(vec![
            ("airport", ord.clone()),
            ("price", Arc::new(Float64Array::from(vec![1.0]))),
            ("day", days(&[11_353])),
        ]),
        message(vec![("airport", ord.clone()), ("day", days(&[11_353]))]),
        message(vec![
            ("airport", ord.clone()),
            ("price", prices(&[1])),
            ("day", days(&[1])),
            ("x", Arc::new(Int32Array::from(vec![1]))),
        ]),
        message(vec![("airport", text(&[])), ("price", prices(&[])), ("day", days(&[]))]),
        Bytes::from_static(b"no stream"),
        message(vec![("airport", ord), ("price", prices(&[3])), ("day", days(&[11_353]))]),
    ];
    let decoded = arrow_decoder().decode(&events(messages)).unwrap();
    assert_eq!(decoded.records.iter().map(|record| record.offset).collect::<Vec<_>>(), [0, 0, 8]);
    assert_eq!(decoded.rows.column(2).as_primitive::<Decimal128Type>().values()[..], [1, 2, 3]);
    let reasons: Vec<_> = decoded.bad.iter().map(|bad| bad.reason.as_str()).collect();
    let told =
        ["more than one partition", "null in airport", "price is no", "no column price", "has not", "no row", "no Arrow"];
    assert_eq!(reasons.len(), told.len());
    for (reason, told) in reasons.iter().zip(told) {
        assert!(reason.contains(told), "{reason}: {told}");
    }
}

/// A length that is damaged may claim more memory than any machine has.
#[test]
fn a_message_that_is_damaged_in_any_byte_ends_no_process() {
    let sound = message(vec![("airport", text(&[Some("ORD")])), ("price", prices(&[1])), ("day", days(&[11_353]))]);
    let damaged = |(at, byte): (usize, u8)| {
        let mut damaged = sound.to_vec();
        damaged[at] = byte;
        Bytes::from(damaged)
    };
    let all = (0..sound.len()).flat_map(|at| [0, 1, 0x7f, 0x80, 0xff].map(|byte| (at, byte)));
    let messages: Vec<Bytes> = all.map(damaged).collect();
    let count = messages.len();
    let decoded = arrow_decoder().decode(&events(messages)).unwrap();
    assert_eq!(decoded.records.len() + decoded.bad.len(), count);
    assert!(decoded.bad.len() > 100 && decoded.records.len() > 100, "{}", decoded.bad.len());
}

proptest! {
    /// Whatever is read is one of both, and no neighbour suffers.
    #[test]
    fn damaged_messages_end_no_process_and_lose_no_neighbour(at in 0_usize..600, byte in any::<u8>(), cut in 0_usize..600) {
        let sound = message(vec![("airport", text(&[Some("ORD")])), ("price", prices(&[1])), ("day", days(&[11_353]))]);
        let mut damaged = sound.to_vec();
        let length = damaged.len();
        damaged[at % length] = byte;
        damaged.truncate(length - cut % length);
        let decoded = arrow_decoder().decode(&events([sound.clone(), damaged.into(), sound])).unwrap();
        let offsets: Vec<_> = decoded.records.iter().map(|record| record.offset).collect();
        prop_assert!(offsets.contains(&0) && offsets.contains(&2));
        prop_assert!(offsets.contains(&1) != decoded.bad.iter().any(|bad| bad.offset == 1));
    }

    /// A number that is taken stands in the row as it stood in the text.
    #[test]
    fn a_decimal_that_is_taken_is_the_one_that_was_written(sign in "-?", whole in 0_u32..1200, fraction in "[0-9]{0,4}") {
        let point = if fraction.is_empty() { "" } else { "." };
        let decoded = json(&format!(r#", "price": {sign}{whole}{point}{fraction}"#));
        let exact: i128 = format!("{whole}{fraction:0<4}").parse().unwrap();
        let fits = whole < 1000 && exact % 100 == 0;
        prop_assert_eq!(decoded.rows.num_rows(), usize::from(fits));
        if fits {
            let read = decoded.rows.column_by_name("price").unwrap().as_primitive::<Decimal128Type>().value(0);
            prop_assert_eq!(read, if sign.is_empty() { exact / 100 } else { -exact / 100 });
        }
    }

    /// Any text at all is read or set aside, and what follows it is read.
    #[test]
    fn any_text_leaves_its_neighbour_alone(garbage in ".{0,60}") {
        let sound = r#"{"day": "2001-01-31", "airport": "ORD"}"#.to_owned();
        let decoded = decoder(Format::Json, schema()).decode(&events([garbage, sound])).unwrap();
        prop_assert_eq!(decoded.records.len() + decoded.bad.len(), 2);
        prop_assert_eq!(decoded.records.last().map(|record| record.offset), Some(1));
    }
}
