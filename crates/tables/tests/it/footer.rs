//! Footers: hostile files are refused, and what is passed on holds.

use std::sync::Arc;

use deltalake::arrow::array::{
    ArrayRef, Decimal128Array, Float64Array, RecordBatch, TimestampMillisecondArray, TimestampNanosecondArray, UInt32Array,
    UInt64Array,
};
use lakeshift_core::table::TableError;
use lakeshift_core::value::Value;
use lakeshift_tables::footer::{Footer, parse_footer, read_footer, read_footer_with};
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use rstest::rstest;

use crate::builders::{ints, parquet, parquet_with, small_ints, texts};

async fn read(bytes: Vec<u8>) -> Result<Footer, TableError> {
    let (store, path, size) = (InMemory::new(), Path::from("t/f.parquet"), bytes.len() as u64);
    store.put(&path, bytes.into()).await.unwrap();
    read_footer(&store, &path, size).await
}

fn assert_corrupt(result: Result<Footer, TableError>, what: &str) {
    match result {
        Err(TableError::Corrupt { object, .. }) => assert_eq!(object, "t/f.parquet"),
        other => panic!("{what}: {other:?}"),
    }
}

async fn bounds(columns: Vec<(&str, ArrayRef)>) -> Option<(Value, Value)> {
    read(parquet(columns)).await.unwrap().columns[0].bounds.clone()
}

#[tokio::test]
async fn a_file_cut_anywhere_is_corrupt() {
    let whole = parquet(vec![("id", ints(vec![Some(1), None])), ("name", texts(vec!["a", "b"]))]);
    for length in 0..whole.len() {
        assert_corrupt(read(whole[..length].to_vec()).await, &format!("cut to {length} bytes"));
    }
}

#[rstest]
#[case(b"PAR1".to_vec())]
#[case(vec![0; 100])]
#[case([b"PAR1".as_slice(), &[0xff; 40], &u32::MAX.to_le_bytes(), b"PAR1"].concat())]
#[case([b"PAR1".as_slice(), &[0; 40], &30_u32.to_le_bytes(), b"PAR1"].concat())]
#[tokio::test]
async fn bytes_that_are_no_parquet_are_corrupt(#[case] bytes: Vec<u8>) {
    assert_corrupt(read(bytes).await, "nonsense");
}

/// A footer of two fields: the schema (field 2) and the row groups (field 4), each given as Thrift bytes.
fn footer_of(schema: &[u8], row_groups: &[u8]) -> Vec<u8> {
    [&[0x15, 0x02, 0x19], schema, &[0x29], row_groups, &[0x00]].concat()
}

// One element (a struct) with num_children (field 5, i32) as a zigzag varint, then its name (field 4 by long form).
#[rstest]
#[case::children(&[0x1c, 0x55, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0x00], &[0x0c])]
#[case::negative(&[0x1c, 0x55, 0x01, 0x00], &[0x0c])]
#[case::row_groups(&[0x1c, 0x55, 0x00, 0x00], &[0xfc, 0xff, 0xff, 0xff, 0xff, 0x07])]
#[case::elements(&[0xfc, 0xff, 0xff, 0xff, 0xff, 0x07], &[0x0c])]
fn a_claim_of_billions_allocates_nothing(#[case] schema: &[u8], #[case] row_groups: &[u8]) {
    assert_corrupt(parse_footer("t/f.parquet", &footer_of(schema, row_groups), 1 << 40), "claim");
}

#[test]
fn a_schema_of_endless_depth_is_refused() {
    // 5,000 groups, each with the next as its only child.
    let element = [0x55, 0x02, 0x00].repeat(5000);
    let schema = [&[0xfc, 0x88, 0x27], element.as_slice()].concat();
    assert_corrupt(parse_footer("t/f.parquet", &footer_of(&schema, &[0x0c]), 1 << 40), "depth");
}

#[tokio::test]
async fn a_footer_with_any_byte_changed_is_read_or_refused_but_never_ends_the_process() {
    let whole = parquet(vec![("id", ints(vec![Some(1), None])), ("name", texts(vec!["a", "b"]))]);
    let length = u32::from_le_bytes(whole[whole.len() - 8..whole.len() - 4].try_into().unwrap()) as usize;
    let start = whole.len() - 8 - length;
    for position in start..whole.len() - 8 {
        for value in [0x00, 0x01, 0x0f, 0x19, 0x55, 0x7f, 0x80, 0xf9, 0xff] {
            let mut bytes = whole.clone();
            bytes[position] = value;
            let _ = parse_footer("t/f.parquet", &bytes[start..whole.len() - 8], whole.len() as u64);
        }
    }
}

#[tokio::test]
async fn a_footer_longer_than_the_first_read_is_read_whole() {
    let columns: Vec<(String, ArrayRef)> =
        (0..3000).map(|index| (format!("column_{index:05}"), ints(vec![Some(index)]))).collect();
    let footer =
        read(parquet(columns.iter().map(|(name, array)| (name.as_str(), Arc::clone(array))).collect())).await.unwrap();
    assert_eq!(footer.schema.fields.len(), 3000);
    assert_eq!(footer.bounds_of("column_02999"), Some(&(Value::Int(2999), Value::Int(2999))));
}

#[tokio::test]
async fn rows_nulls_bounds_and_offsets_are_told() {
    let first = RecordBatch::try_from_iter([("id", ints(vec![Some(5), None]))]).unwrap();
    let second = RecordBatch::try_from_iter([("id", ints(vec![Some(-1), Some(3)]))]).unwrap();
    let footer = read(parquet_with(WriterProperties::new(), &[first, second])).await.unwrap();
    assert_eq!((footer.rows, footer.columns[0].nulls, footer.columns[0].values), (4, Some(1), 4));
    assert_eq!(footer.columns[0].bounds, Some((Value::Int(-1), Value::Int(5))));
    assert_eq!(footer.split_offsets.len(), 2);
    assert!(footer.split_offsets[0] < footer.split_offsets[1]);
    let facts = footer.facts();
    assert_eq!((facts.rows, facts.null_counts["id"]), (4, 1));
}

/// Two row groups, written by two files' writers, of which the second has no statistics, joined by a footer of both.
#[tokio::test]
async fn a_row_group_without_statistics_voids_bounds_and_null_counts() {
    let bytes = parquet_with(
        WriterProperties::builder().set_statistics_enabled(EnabledStatistics::None).build(),
        &[RecordBatch::try_from_iter([("id", ints(vec![Some(5), None]))]).unwrap()],
    );
    let without = read(bytes.clone()).await.unwrap();
    assert_eq!((&without.columns[0].bounds, without.columns[0].nulls), (&None, None));

    let joined = joined(&parquet(vec![("id", ints(vec![Some(1), None]))]), &bytes);
    let footer = read(joined).await.unwrap();
    assert_eq!((footer.rows, &footer.columns[0].bounds, footer.columns[0].nulls), (4, &None, None));
    assert!(footer.facts().bounds.is_empty() && footer.facts().null_counts.is_empty());
}

fn joined(first: &[u8], second: &[u8]) -> Vec<u8> {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    let readers = [first, second].map(bytes::Bytes::copy_from_slice);
    let metadata: Vec<_> =
        readers.iter().map(|bytes| SerializedFileReader::new(bytes.clone()).unwrap().metadata().clone()).collect();
    let schema = metadata[0].file_metadata().schema_descr().root_schema_ptr();
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(WriterProperties::new())).unwrap();
    for (bytes, metadata) in readers.iter().zip(&metadata) {
        let chunk = metadata.row_group(0).column(0).clone();
        let mut group = writer.next_row_group().unwrap();
        let closed = parquet::column::writer::ColumnCloseResult {
            bytes_written: chunk.compressed_size() as u64,
            rows_written: metadata.row_group(0).num_rows() as u64,
            metadata: chunk,
            bloom_filter: None,
            column_index: None,
            offset_index: None,
        };
        group.append_column(bytes, closed).unwrap();
        group.close().unwrap();
    }
    writer.into_inner().unwrap()
}

#[tokio::test]
async fn a_column_of_nulls_has_no_bounds_but_its_nulls() {
    let footer = read(parquet(vec![("id", ints(vec![None, None]))])).await.unwrap();
    assert_eq!((&footer.columns[0].bounds, footer.columns[0].nulls), (&None, Some(2)));
}

#[tokio::test]
async fn bounds_of_floats_contain_both_zeros_and_no_nan() {
    let floats = |values: Vec<f64>| Arc::new(Float64Array::from(values)) as ArrayRef;
    let (least, greatest) = bounds(vec![("x", floats(vec![0.0, -0.0, f64::NAN]))]).await.unwrap();
    assert!(matches!(least, Value::Float(value) if value == 0.0 && value.is_sign_negative()));
    assert!(matches!(greatest, Value::Float(value) if value == 0.0 && value.is_sign_positive()));
    assert_eq!(bounds(vec![("x", floats(vec![f64::NAN]))]).await, None);
}

#[tokio::test]
async fn bounds_of_timestamps_are_rounded_outward_to_microseconds() {
    let nanos = Arc::new(TimestampNanosecondArray::from(vec![-1, 1_001])) as ArrayRef;
    assert_eq!(bounds(vec![("t", nanos)]).await, Some((Value::Timestamp(-1), Value::Timestamp(2))));
    let millis = Arc::new(TimestampMillisecondArray::from(vec![-1, 7])) as ArrayRef;
    assert_eq!(bounds(vec![("t", millis)]).await, Some((Value::Timestamp(-1000), Value::Timestamp(7000))));
}

// Stored as INT32, INT64 and FIXED_LEN_BYTE_ARRAY; the last two beyond what a double can hold.
#[rstest]
#[case(9, 2, -12_345, 999_999_999)]
#[case(18, 2, -9_007_199_254_740_993, 9_007_199_254_740_993)]
#[case(38, 4, -10_000_000_000_000_000_000_000_000_000_000_000_001, 123_456_789_012_345_678_901_234_567_890)]
#[tokio::test]
async fn bounds_of_decimals_are_exact(
    #[case] precision: u8,
    #[case] scale: u8,
    #[case] least: i128,
    #[case] greatest: i128,
) {
    let array = Decimal128Array::from(vec![greatest, least, 0]).with_precision_and_scale(precision, scale as i8).unwrap();
    let decimal = |unscaled| Value::Decimal { unscaled, scale };
    assert_eq!(bounds(vec![("d", Arc::new(array))]).await, Some((decimal(least), decimal(greatest))));
}

#[tokio::test]
async fn bounds_of_unsigned_integers_are_unsigned_or_absent() {
    let small = Arc::new(UInt32Array::from(vec![1, u32::MAX])) as ArrayRef;
    assert_eq!(bounds(vec![("u", small)]).await, Some((Value::Int(1), Value::Int(i64::from(u32::MAX)))));
    let large = Arc::new(UInt64Array::from(vec![1, u64::MAX])) as ArrayRef;
    assert_eq!(bounds(vec![("u", large)]).await, None);
}

#[tokio::test]
async fn a_shortened_text_bound_still_bounds() {
    let long = "é".repeat(200);
    let batch = RecordBatch::try_from_iter([("s", texts(vec![long.as_str(), "m"]))]).unwrap();
    let properties = WriterProperties::builder().set_statistics_truncate_length(Some(9)).build();
    let footer = read(parquet_with(properties, &[batch])).await.unwrap();
    match footer.columns[0].bounds.as_ref().unwrap() {
        (Value::String(least), Value::String(greatest)) => {
            assert_eq!(least, "m");
            assert!(greatest.as_bytes() >= long.as_bytes() && greatest.len() < 20, "{greatest}");
        }
        other => panic!("{other:?}"),
    }
}

fn empty_file(message: &str) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(message).unwrap());
    let writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(WriterProperties::new())).unwrap();
    writer.into_inner().unwrap()
}

async fn types(message: &str) -> String {
    let footer = read(empty_file(message)).await.unwrap();
    let fields = footer.schema.fields.iter();
    fields
        .map(|field| format!("{}{} {}", field.name, if field.nullable { "?" } else { "" }, field.data_type))
        .collect::<Vec<_>>()
        .join("\n")
}

#[tokio::test]
async fn every_parquet_type_has_its_name() {
    insta::assert_snapshot!(
        types(
            "message t {
            required boolean a; optional int32 b; required int64 c; required float d; required double e;
            required binary f; required binary g (UTF8); required binary h (JSON); required binary i (ENUM);
            required int32 j (INTEGER(8,true)); required int32 k (INTEGER(16,false)); required int64 l (INTEGER(64,false));
            required int32 m (DATE); required int32 n (DECIMAL(9,2)); required binary o (DECIMAL(30,3));
            required int32 p (TIME(MILLIS,true)); required int64 q (TIMESTAMP(NANOS,false));
            required int64 r (TIMESTAMP_MILLIS); required fixed_len_byte_array(16) s (UUID);
            required fixed_len_byte_array(3) u;
        }"
        )
        .await
    );
}

#[tokio::test]
async fn lists_and_maps_of_every_age_are_recognised() {
    insta::assert_snapshot!(
        types(
            "message t {
            optional group three (LIST) { repeated group list { optional int32 element; } }
            optional group two (LIST) { repeated int32 array; }
            optional group tuple (LIST) { repeated group tuple_tuple { required int32 x; } }
            optional group many (LIST) { repeated group element { required int32 x; required int32 y; } }
            repeated int32 bare;
            optional group map (MAP) { repeated group key_value { required binary key (UTF8); optional int32 value; } }
            optional group old (MAP_KEY_VALUE) { repeated group map { required int32 key; required int32 value; } }
            required group struct { optional group inner { required int32 x; } }
        }"
        )
        .await
    );
}

#[tokio::test]
async fn lists_of_two_levels_are_told_wherever_they_stand() {
    let list = |inner: &str| format!("message t {{ optional group s {{ optional group l (LIST) {{ {inner} }} }} }}");
    let of = |message: String| async move { read(empty_file(&message)).await.unwrap().facts().two_level_list };
    assert_eq!(of(list("repeated group list { optional int32 element; }")).await, None);
    assert_eq!(of(list("repeated int32 array;")).await.as_deref(), Some("s.l"));
    assert_eq!(of("message t { repeated int32 bare; }".to_owned()).await.as_deref(), Some("bare"));
}

#[tokio::test]
async fn nested_leaves_have_logical_paths_and_field_ids() {
    let footer = read(empty_file(
        "message t {
            required int32 a = 7;
            optional group m (MAP) = 8 { repeated group key_value { required binary key (UTF8) = 9;
              optional group value (LIST) = 10 { repeated group list { optional group element = 11 { required int32 x = 12; } } } } }
        }",
    ))
    .await
    .unwrap();
    let leaves: Vec<_> = footer.columns.iter().map(|column| (column.path.join("."), column.field_id)).collect();
    assert_eq!(leaves, [("a".into(), Some(7)), ("m.key".into(), Some(9)), ("m.value.element.x".to_owned(), Some(12))]);
    assert_eq!(footer.schema.fields[1].id, Some(8));
}

#[tokio::test]
async fn int96_is_refused_with_its_column_and_advice() {
    let error = read(empty_file("message t { optional int96 seen; }")).await.unwrap_err();
    assert!(matches!(&error, TableError::Unsupported { .. }));
    let text = error.to_string();
    assert!(text.contains("column seen") && text.contains("INT96") && text.contains("TIMESTAMP_MICROS"), "{text}");
}

#[tokio::test]
async fn statistics_of_int96_are_never_used() {
    use parquet::data_type::{Int96, Int96Type};
    let schema = Arc::new(parse_message_type("message t { required int96 at; }").unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(WriterProperties::new())).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let day = |julian| Int96::from(vec![0, 0, julian]);
    column.typed::<Int96Type>().write_batch(&[day(2_440_588), day(2_440_589)], None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    let bytes = writer.into_inner().unwrap();
    let metadata = parquet::file::reader::SerializedFileReader::new(bytes::Bytes::from(bytes.clone())).unwrap();
    let chunk = parquet::file::reader::FileReader::metadata(&metadata).row_group(0).column(0).clone();
    assert!(chunk.statistics().is_some(), "the file has some");
    let (store, path, size) = (InMemory::new(), Path::from("t/f.parquet"), bytes.len() as u64);
    store.put(&path, bytes.into()).await.unwrap();
    let footer = read_footer_with(&store, &path, size, lakeshift_tables::footer::Int96::Instants).await.unwrap();
    assert_eq!((&footer.columns[0].bounds, footer.rows), (&None, 2));
}

#[tokio::test]
async fn a_file_that_is_shorter_than_listed_is_corrupt() {
    let bytes = parquet(vec![("id", small_ints(vec![1]))]);
    let (store, path) = (InMemory::new(), Path::from("t/f.parquet"));
    let size = bytes.len() as u64;
    store.put(&path, bytes.into()).await.unwrap();
    assert_corrupt(read_footer(&store, &path, size + 10).await, "shorter than listed");
}

#[tokio::test]
async fn a_file_that_is_gone_is_an_error_of_the_store() {
    let error = read_footer(&InMemory::new(), &Path::from("t/f.parquet"), 100).await.unwrap_err();
    assert!(matches!(error, TableError::Store { .. }), "{error:?}");
}
