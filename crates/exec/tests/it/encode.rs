//! The encoding: unique, and the same for every Arrow type that holds a value.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, Date32Array, Date64Array, Decimal64Array, Decimal128Array,
    Decimal256Array, DictionaryArray, FixedSizeBinaryArray, FixedSizeListArray, Float32Array, Float64Array, Int8Array,
    Int64Array, LargeBinaryArray, LargeListArray, LargeStringArray, ListArray, MapBuilder, NullArray, RecordBatch,
    StringArray, StringBuilder, StringViewArray, StructArray, Time32MillisecondArray, Time64NanosecondArray,
    TimestampMicrosecondArray, TimestampNanosecondArray, TimestampSecondArray, UInt64Array,
};
use arrow::array::{Int32Array, Int64Builder};
use arrow::datatypes::{DataType, Field, Fields, Int32Type, Int64Type, i256};
use lakeshift_core::equivalence::{Encoding, MapOrder};
use lakeshift_exec::encode::{DecodedCell, EncodeError, RowEncoder};
use proptest::prelude::*;
use rstest::rstest;

fn encode_with(array: ArrayRef, encoding: Encoding) -> Result<Vec<Vec<u8>>, EncodeError> {
    let batch = RecordBatch::try_from_iter_with_nullable([("a", array, true)]).unwrap();
    let encoder = RowEncoder::new(&batch, &["a".to_owned()], encoding)?;
    let row = |row| {
        let mut bytes = Vec::new();
        encoder.encode_row(row, &mut bytes);
        bytes
    };
    Ok((0..batch.num_rows()).map(row).collect())
}

fn encode(array: impl Array + 'static) -> Vec<Vec<u8>> {
    encode_with(Arc::new(array), Encoding::default()).unwrap()
}

fn decimal(values: Vec<i128>, scale: i8) -> Decimal128Array {
    Decimal128Array::from(values).with_precision_and_scale(38, scale).unwrap()
}

fn names() -> Vec<Option<&'static str>> {
    vec![Some("a"), None, Some(""), Some("a text of more than twelve bytes")]
}

fn bytes() -> Vec<Option<&'static [u8]>> {
    vec![Some(b"ab"), None, Some(&[0, 255])]
}

#[rstest]
#[case::integers(encode(Int8Array::from(vec![Some(-1), None, Some(7)])), encode(Int64Array::from(vec![Some(-1), None, Some(7)])))]
#[case::unsigned(encode(UInt64Array::from(vec![7])), encode(Int64Array::from(vec![7])))]
#[case::large_unsigned(encode(UInt64Array::from(vec![u64::MAX])), encode(decimal(vec![i128::from(u64::MAX) * 10], 1)))]
#[case::integer_and_decimal(encode(Int64Array::from(vec![0, 100])), encode(decimal(vec![0, 10_000], 2)))]
#[case::scales(encode(decimal(vec![1010, -5], 2)), encode(decimal(vec![10_100, -50], 3)))]
#[case::negative_scale(encode(decimal(vec![12], -2)), encode(decimal(vec![1200], 0)))]
#[case::decimal_widths(encode(Decimal64Array::from(vec![105]).with_precision_and_scale(18, 1).unwrap()), encode(decimal(vec![1050], 2)))]
#[case::wide_decimal(encode(Decimal256Array::from(vec![i256::from_i128(1050)]).with_precision_and_scale(76, 2).unwrap()), encode(decimal(vec![105], 1)))]
#[case::floats(encode(Float32Array::from(vec![1.5, f32::NAN, f32::INFINITY])), encode(Float64Array::from(vec![1.5, -f64::NAN, f64::INFINITY])))]
#[case::times(encode(Time32MillisecondArray::from(vec![5])), encode(Time64NanosecondArray::from(vec![5_000_000])))]
#[case::timestamps(encode(TimestampSecondArray::from(vec![-3])), encode(TimestampNanosecondArray::from(vec![-3_000_000_000])))]
#[case::large_text(encode(StringArray::from(names())), encode(LargeStringArray::from(names())))]
#[case::text_views(encode(StringArray::from(names())), encode(StringViewArray::from(names())))]
#[case::dictionaries(encode(StringArray::from(names())), encode(names().into_iter().collect::<DictionaryArray<Int32Type>>()))]
#[case::nulls(encode(NullArray::new(2)), encode(Int64Array::from(vec![None, None])))]
#[case::large_bytes(encode(BinaryArray::from(bytes())), encode(LargeBinaryArray::from(bytes())))]
#[case::byte_views(encode(BinaryArray::from(bytes())), encode(BinaryViewArray::from(bytes())))]
#[case::fixed_bytes(encode(BinaryArray::from(vec![&b"ab"[..]])), encode(FixedSizeBinaryArray::try_from_iter([b"ab"].into_iter()).unwrap()))]
#[case::large_lists(encode(lists()), encode(LargeListArray::from_iter_primitive::<Int64Type, _, _>(list_values())))]
#[case::fixed_lists(
    encode(ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1), None])])),
    encode(FixedSizeListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1), None])], 2))
)]
fn equal_values_of_other_arrow_types_encode_alike(#[case] one: Vec<Vec<u8>>, #[case] other: Vec<Vec<u8>>) {
    assert_eq!(one, other);
}

fn list_values() -> Vec<Option<Vec<Option<i64>>>> {
    vec![Some(vec![Some(1), None]), None, Some(vec![]), Some(vec![None, Some(1)])]
}

fn lists() -> ListArray {
    ListArray::from_iter_primitive::<Int64Type, _, _>(list_values())
}

fn pairs(rows: Vec<Option<(Option<i64>, Option<&str>)>>) -> StructArray {
    let fields = Fields::from(vec![Field::new("x", DataType::Int64, true), Field::new("y", DataType::Utf8, true)]);
    let x = Int64Array::from_iter(rows.iter().map(|row| row.and_then(|row| row.0)));
    let y = StringArray::from_iter(rows.iter().map(|row| row.and_then(|row| row.1)));
    let nulls = rows.iter().map(Option::is_some).collect::<Vec<_>>().into();
    StructArray::new(fields, vec![Arc::new(x), Arc::new(y)], Some(nulls))
}

fn map(entries: &[(&str, i64)]) -> ArrayRef {
    let mut builder = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    for (key, value) in entries {
        builder.keys().append_value(key);
        builder.values().append_value(*value);
    }
    builder.append(true).unwrap();
    Arc::new(builder.finish())
}

/// One row of everything that must not be confused with anything else.
#[test]
fn values_that_differ_encode_differently() {
    let utc = TimestampMicrosecondArray::from(vec![0]).with_timezone("UTC");
    let all: Vec<Vec<u8>> = [
        encode(BooleanArray::from(vec![None, Some(false), Some(true)])),
        encode(Int64Array::from(vec![0, 1, -1, i64::MAX, i64::MIN])),
        encode(UInt64Array::from(vec![u64::MAX, u64::MAX - 1])),
        encode(decimal(vec![1, -1, i128::MAX, i128::MIN + 1], 1)),
        encode(decimal(vec![i128::MAX], 2)),
        encode(Decimal256Array::from(vec![i256::MAX, i256::MIN]).with_precision_and_scale(76, 2).unwrap()),
        encode(Float64Array::from(vec![0.0, -0.0, 1.0, f64::NAN, f64::INFINITY, 0.1 + 0.2, 0.3])),
        encode(Date32Array::from(vec![0, 1, -1])),
        encode(Time32MillisecondArray::from(vec![0, 1])),
        encode(TimestampMicrosecondArray::from(vec![0, 1, -1, i64::MAX, i64::MIN])),
        encode(TimestampSecondArray::from(vec![i64::MAX])),
        encode(utc),
        encode(StringArray::from(vec!["", "a", "a ", "A", "0", "NULL", "é", "e\u{301}"])),
        encode(BinaryArray::from(vec![&b""[..], b"a"])),
        encode(ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![]), Some(vec![None]), Some(vec![Some(1)])])),
        encode(pairs(vec![Some((None, None)), Some((Some(1), None)), Some((None, Some("1")))])),
    ]
    .into_iter()
    .flatten()
    .chain(encode_with(map(&[("a", 1), ("b", 2)]), Encoding::default()).unwrap())
    .chain(encode_with(map(&[("b", 2), ("a", 1)]), Encoding::default()).unwrap())
    .chain(encode_with(map(&[("a", 2), ("b", 1)]), Encoding::default()).unwrap())
    .collect();
    let distinct: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len());
}

#[test]
fn a_null_struct_is_not_a_struct_of_nulls() {
    let encoded = encode(pairs(vec![None, Some((None, None))]));
    assert_ne!(encoded[0], encoded[1]);
}

#[test]
fn the_order_of_map_entries_counts_unless_the_policy_says_otherwise() {
    let bags = Encoding { map_order: MapOrder::Ignored, ..Encoding::default() };
    let (one, other) = (map(&[("a", 1), ("b", 2)]), map(&[("b", 2), ("a", 1)]));
    assert_eq!(encode_with(one.clone(), bags), encode_with(other.clone(), bags));
    assert_ne!(encode_with(one, Encoding::default()), encode_with(other, Encoding::default()));
    let swapped = map(&[("a", 2), ("b", 1)]);
    assert_ne!(encode_with(map(&[("a", 1), ("b", 2)]), bags), encode_with(swapped, bags));
}

#[test]
fn a_slice_encodes_as_its_rows() {
    for array in [Arc::new(lists()) as ArrayRef, Arc::new(pairs(vec![None, Some((Some(1), Some("x"))), Some((None, None))]))]
    {
        let whole = encode_with(array.clone(), Encoding::default()).unwrap();
        assert_eq!(encode_with(array.slice(1, 2), Encoding::default()).unwrap(), whole[1..3]);
    }
}

#[test]
fn a_type_without_canonical_form_is_refused_by_name() {
    let error = encode_with(Arc::new(Date64Array::from(vec![0])), Encoding::default()).unwrap_err();
    assert_eq!(error, EncodeError::Unsupported { column: "a".into(), data_type: "Date64".into() });
    let batch = RecordBatch::try_from_iter([("a", Arc::new(Int32Array::from(vec![1])) as ArrayRef)]).unwrap();
    let absent = RowEncoder::new(&batch, &["b".to_owned()], Encoding::default()).err();
    assert_eq!(absent, Some(EncodeError::NoColumn { column: "b".into() }));
}

/// One cell of every class, with what reading it back must give.
fn cell() -> impl Strategy<Value = (ArrayRef, DecodedCell)> {
    let some = |array: ArrayRef, cell| (array, cell);
    prop_oneof![
        any::<bool>().prop_map(move |v| some(Arc::new(BooleanArray::from(vec![v])), DecodedCell::Boolean(v))),
        any::<i64>().prop_map(move |v| some(Arc::new(Int64Array::from(vec![v])), DecodedCell::Integer(v))),
        any::<f64>().prop_map(move |v| some(
            Arc::new(Float64Array::from(vec![v])),
            DecodedCell::Float(if v.is_nan() { 0x7ff8 << 48 } else { v.to_bits() })
        )),
        any::<i32>().prop_map(move |v| some(Arc::new(Date32Array::from(vec![v])), DecodedCell::Date(v))),
        any::<String>().prop_map(move |v| some(Arc::new(StringArray::from(vec![v.clone()])), DecodedCell::Text(v))),
        any::<Vec<u8>>().prop_map(move |v| some(Arc::new(BinaryArray::from(vec![&v[..]])), DecodedCell::Bytes(v))),
        any::<i64>().prop_map(move |v| {
            let cell = DecodedCell::Timestamp {
                seconds: v.div_euclid(1_000_000_000),
                nanos: v.rem_euclid(1_000_000_000) as u32,
                utc: false,
            };
            some(Arc::new(TimestampNanosecondArray::from(vec![v])), cell)
        }),
        prop::collection::vec(any::<Option<i64>>(), 0..200).prop_map(move |v| {
            let cells = v.iter().map(|v| v.map_or(DecodedCell::Null, DecodedCell::Integer)).collect();
            some(Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([Some(v)])), DecodedCell::List(cells))
        }),
    ]
}

proptest! {
    /// What can be read back is unique: no two values share their bytes, alone or side by side in a row.
    #[test]
    fn a_row_reads_back_as_its_values(cells in prop::collection::vec(cell(), 1..6)) {
        let columns: Vec<String> = (0..cells.len()).map(|index| format!("c{index}")).collect();
        let named = columns.iter().zip(&cells).map(|(name, (array, _))| (name, array.clone()));
        let batch = RecordBatch::try_from_iter(named).unwrap();
        let mut bytes = Vec::new();
        RowEncoder::new(&batch, &columns, Encoding::default()).unwrap().encode_row(0, &mut bytes);
        let mut rest = bytes.as_slice();
        for (_, expected) in &cells {
            prop_assert_eq!(&DecodedCell::read(&mut rest).unwrap(), expected);
        }
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn decimals_are_equal_exactly_when_their_values_are(a in -100_000_i128..100_000, s in 0_i8..6, b in -100_000_i128..100_000, t in 0_i8..6) {
        let same = a * 10_i128.pow(t as u32) == b * 10_i128.pow(s as u32);
        prop_assert_eq!(encode(decimal(vec![a], s)) == encode(decimal(vec![b], t)), same);
    }

    #[test]
    fn a_decimal_is_itself_at_any_scale(mantissa in any::<i64>(), scale in 0_i8..8, more in 0_u32..12) {
        let (mantissa, finer) = (i128::from(mantissa), i128::from(mantissa) * 10_i128.pow(more));
        let one = encode(decimal(vec![mantissa], scale));
        prop_assert_eq!(&one, &encode(decimal(vec![finer], scale + more as i8)));
        let wide = Decimal256Array::from(vec![i256::from_i128(finer)]).with_precision_and_scale(76, scale + more as i8).unwrap();
        prop_assert_eq!(&one, &encode(wide));
    }
}
