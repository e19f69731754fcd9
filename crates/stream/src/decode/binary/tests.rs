use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, BooleanBuilder, Decimal128Builder, StringBuilder, TimestampMicrosecondBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};
use arrow_array::{
    Array, ArrayRef, Date32Array, Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, RecordBatch,
};
use arrow_schema::{Field, Schema, SchemaRef, TimeUnit};
use proptest::prelude::*;
use rstest::rstest;

use super::super::tests::{decoder, events};
use super::super::{Decoded, Format};
use super::*;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("day", DataType::Date32, false),
        Field::new("airport", DataType::Utf8, false),
        Field::new("i8", DataType::Int8, true),
        Field::new("i16", DataType::Int16, true),
        Field::new("i32", DataType::Int32, true),
        Field::new("i64", DataType::Int64, true),
        Field::new("f32", DataType::Float32, true),
        Field::new("f64", DataType::Float64, true),
        Field::new("decimal", DataType::Decimal128(20, 2), true),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("late", DataType::Boolean, true),
        Field::new("raw", DataType::Binary, true),
    ]))
}

/// The layout as its documentation says it, column by column, apart from the reader.
fn encode(rows: &RecordBatch, row: usize) -> Vec<u8> {
    let mut nulls = vec![0_u8; rows.num_columns().div_ceil(8)];
    let (mut fixed, mut texts) = (Vec::new(), Vec::new());
    for (at, column) in rows.columns().iter().enumerate() {
        let is_null = column.is_null(row);
        if is_null {
            nulls[at / 8] |= 1 << (at % 8);
        }
        let value: Vec<u8> = match column.data_type() {
            DataType::Date32 => column.as_primitive::<Date32Type>().value(row).to_le_bytes().to_vec(),
            DataType::Int8 => column.as_primitive::<Int8Type>().value(row).to_le_bytes().to_vec(),
            DataType::Int16 => column.as_primitive::<Int16Type>().value(row).to_le_bytes().to_vec(),
            DataType::Int32 => column.as_primitive::<Int32Type>().value(row).to_le_bytes().to_vec(),
            DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_le_bytes().to_vec(),
            DataType::Float32 => column.as_primitive::<Float32Type>().value(row).to_le_bytes().to_vec(),
            DataType::Float64 => column.as_primitive::<Float64Type>().value(row).to_le_bytes().to_vec(),
            DataType::Decimal128(..) => column.as_primitive::<Decimal128Type>().value(row).to_le_bytes().to_vec(),
            DataType::Timestamp(..) => column.as_primitive::<TimestampMicrosecondType>().value(row).to_le_bytes().to_vec(),
            DataType::Boolean => vec![u8::from(column.as_boolean().value(row))],
            DataType::Utf8 | DataType::Binary => {
                let text = match column.data_type() {
                    DataType::Utf8 => column.as_string::<i32>().value(row).as_bytes(),
                    _ => column.as_binary::<i32>().value(row),
                };
                let text = if is_null { &[] } else { text };
                texts.extend_from_slice(text);
                u32::try_from(text.len()).unwrap().to_le_bytes().to_vec()
            }
            other => panic!("{other}"),
        };
        fixed.extend(if is_null { vec![0; value.len()] } else { value });
    }
    [nulls, fixed, texts].concat()
}

fn decode(payloads: Vec<Vec<u8>>) -> Decoded {
    decoder(Format::Binary, schema()).decode(&events(payloads)).unwrap()
}

/// Rows with every extreme, and with nulls.
fn rows() -> RecordBatch {
    let mut texts = StringBuilder::new();
    ["ORD", "", "Zürich ✈"].iter().for_each(|text| texts.append_value(text));
    let mut raw = BinaryBuilder::new();
    raw.append_option(Some([0, 255]));
    raw.append_null();
    raw.append_value([]);
    let mut decimals = Decimal128Builder::new();
    [Some(10_i128.pow(20) - 1), None, Some(1 - 10_i128.pow(20))].iter().for_each(|one| decimals.append_option(*one));
    let mut late = BooleanBuilder::new();
    [Some(true), None, Some(false)].iter().for_each(|one| late.append_option(*one));
    let mut at = TimestampMicrosecondBuilder::new();
    [Some(980_899_200_500_000), None, Some(-1)].iter().for_each(|one| at.append_option(*one));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Date32Array::from(vec![11_353, -719_162, 2_932_896])),
        Arc::new(texts.finish()),
        Arc::new(Int8Array::from(vec![Some(i8::MIN), None, Some(i8::MAX)])),
        Arc::new(Int16Array::from(vec![Some(i16::MIN), None, Some(i16::MAX)])),
        Arc::new(Int32Array::from(vec![Some(i32::MIN), None, Some(i32::MAX)])),
        Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(i64::MAX)])),
        Arc::new(Float32Array::from(vec![Some(-0.0), None, Some(f32::NAN)])),
        Arc::new(Float64Array::from(vec![Some(0.1), None, Some(f64::NEG_INFINITY)])),
        Arc::new(decimals.with_precision_and_scale(20, 2).unwrap().finish()),
        Arc::new(at.finish()),
        Arc::new(late.finish()),
        Arc::new(raw.finish()),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

#[test]
fn rows_are_read_as_they_were_written() {
    let rows = rows();
    let decoded = decode((0..3).map(|row| encode(&rows, row)).collect());
    assert_eq!(decoded.bad, []);
    assert_eq!(format!("{:?}", decoded.rows), format!("{rows:?}"));
    let floats = |rows: &RecordBatch| rows.column(6).as_primitive::<Float32Type>().value(0).to_bits();
    assert_eq!(floats(&decoded.rows), floats(&rows));
}

#[test]
fn the_documented_example_reads() {
    // As `docs/streams.md` has it: day, airport, delay (null), of the columns date, string, int16.
    let columns = Arc::new(Schema::new(vec![
        Field::new("day", DataType::Date32, false),
        Field::new("airport", DataType::Utf8, false),
        Field::new("delay", DataType::Int16, true),
    ]));
    let payload = vec![0x04, 0x59, 0x2C, 0, 0, 3, 0, 0, 0, 0, 0, b'O', b'R', b'D'];
    let decoded = decoder(Format::Binary, columns).decode(&events([payload])).unwrap();
    assert_eq!((decoded.bad.len(), decoded.rows.num_rows()), (0, 1));
    assert_eq!(decoded.rows.column(0).as_primitive::<Date32Type>().value(0), 11_353);
    assert_eq!(decoded.rows.column(1).as_string::<i32>().value(0), "ORD");
    assert!(decoded.rows.column(2).is_null(0));
}

/// Where the columns of [`schema`] lie: 2 bytes of nulls, then each its width.
const AIRPORT: usize = 6;
const AT: usize = 2 + 4 + 4 + 1 + 2 + 4 + 8 + 4 + 8 + 16;

#[rstest]
#[case::null_place(|bytes: &mut Vec<u8>| bytes[0] |= 1, "null with a value")]
#[case::a_bit_beyond(|bytes: &mut Vec<u8>| bytes[1] |= 0x10, "not there")]
#[case::boolean_of_two(|bytes: &mut Vec<u8>| bytes[AT + 8] = 2, "neither 0 nor 1")]
#[case::cut(|bytes: &mut Vec<u8>| { bytes.pop(); }, "too short")]
#[case::longer(|bytes: &mut Vec<u8>| bytes.push(0), "too long")]
#[case::nothing(|bytes: &mut Vec<u8>| bytes.clear(), "too short")]
#[case::a_length_beyond(|bytes: &mut Vec<u8>| bytes[AIRPORT + 3] = 0xFF, "too short")]
#[case::no_utf8(|bytes: &mut Vec<u8>| { let end = bytes.len() - 3; bytes[end] = 0xFF; }, "not UTF-8")]
#[case::year_0(|bytes: &mut Vec<u8>| bytes[2..6].copy_from_slice(&(-719_163_i32).to_le_bytes()), "day is no date")]
#[case::beyond_the_calendar(|bytes: &mut Vec<u8>| bytes[AT..AT + 8].copy_from_slice(&i64::MAX.to_le_bytes()), "at is no timestamp")]
#[case::too_many_digits(|bytes: &mut Vec<u8>| bytes[AT - 16..AT].copy_from_slice(&10_i128.pow(20).to_le_bytes()), "decimal is no decimal")]
fn an_event_that_is_no_row_is_set_aside(#[case] change: fn(&mut Vec<u8>), #[case] told: &str) {
    let sound = encode(&rows(), 0);
    let mut changed = sound.clone();
    change(&mut changed);
    let decoded = decode(vec![sound.clone(), changed, sound]);
    assert_eq!(decoded.records.iter().map(|record| record.offset).collect::<Vec<_>>(), [0, 2]);
    assert_eq!((decoded.bad.len(), decoded.rows.num_rows()), (1, 2));
    assert!(decoded.bad[0].reason.contains(told), "{}", decoded.bad[0].reason);
}

#[test]
fn null_where_the_place_is_told_is_bad_and_so_is_an_event_without_a_value() {
    let mut bytes = encode(&rows(), 0);
    bytes[0] |= 1;
    bytes[2..6].fill(0);
    let mut all = events([bytes]);
    all.push(Event { span: 0, offset: 9, payload: None });
    let decoded = decoder(Format::Binary, schema()).decode(&all).unwrap();
    assert_eq!(decoded.bad.len(), 2);
    assert!(decoded.bad[0].reason.contains("null in day"), "{}", decoded.bad[0].reason);
}

proptest! {
    /// Bytes are a row, which is written back as the same bytes, or they are none.
    #[test]
    fn a_row_has_one_form(at in 0_usize..200, byte in any::<u8>(), row in 0_usize..3) {
        let mut bytes = encode(&rows(), row);
        let length = bytes.len();
        bytes[at % length] = byte;
        let decoded = decode(vec![bytes.clone()]);
        prop_assert_eq!(decoded.rows.num_rows() + decoded.bad.len(), 1);
        if decoded.bad.is_empty() {
            prop_assert_eq!(encode(&decoded.rows, 0), bytes);
        }
    }
}
