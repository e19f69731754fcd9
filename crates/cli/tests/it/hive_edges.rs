//! Parquet as old and odd writers left it: INT96, lists of two levels, maps of other names, decimals in every physical type,
//! unsigned numbers, columns that other files have narrower. Written value by value, migrated, and read by the parquet crate.

use std::sync::Arc;

use bytes::Bytes;
use lakeshift::error::with_causes;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::{ByteArray, FixedLenByteArray, Int96};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use rstest::rstest;

use crate::round_trip::{Lake, rows_of};
use crate::support::flat;

const OLD: &str = "message old {
    required int32 id;
    optional int96 at;
    optional group two (LIST) { repeated int32 array; }
    optional group tuple (LIST) { repeated group tuple_tuple { optional binary x (UTF8); } }
    optional group m (MAP) { repeated group map { required binary k (UTF8); optional int32 v; } }
    optional int32 d9 (DECIMAL(9,2));
    optional int64 d18 (DECIMAL(18,2));
    optional fixed_len_byte_array(16) d38 (DECIMAL(38,2));
    optional binary db (DECIMAL(20,2));
    optional int32 u (UINT_16);
    optional int32 grown;
    optional group s { optional group inner { optional int32 n; } }
}";

/// Values, definition and repetition levels of one leaf.
enum Leaf {
    Int(Vec<i32>, Vec<i16>, Vec<i16>),
    Long(Vec<i64>, Vec<i16>),
    Bytes(Vec<Vec<u8>>, Vec<i16>, Vec<i16>),
    Fixed(Vec<Vec<u8>>, Vec<i16>),
    Time(Vec<Int96>, Vec<i16>),
}

fn write(message: &str, leaves: Vec<Leaf>) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(message).unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Default::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for leaf in leaves {
        let mut column = group.next_column().unwrap().unwrap();
        let levels = |levels: &Vec<i16>| (!levels.is_empty()).then(|| levels.clone());
        match (column.untyped(), leaf) {
            (ColumnWriter::Int32ColumnWriter(writer), Leaf::Int(values, defined, repeated)) => {
                writer.write_batch(&values, levels(&defined).as_deref(), levels(&repeated).as_deref()).unwrap();
            }
            (ColumnWriter::Int64ColumnWriter(writer), Leaf::Long(values, defined)) => {
                writer.write_batch(&values, levels(&defined).as_deref(), None).unwrap();
            }
            (ColumnWriter::ByteArrayColumnWriter(writer), Leaf::Bytes(values, defined, repeated)) => {
                let values: Vec<ByteArray> = values.into_iter().map(ByteArray::from).collect();
                writer.write_batch(&values, levels(&defined).as_deref(), levels(&repeated).as_deref()).unwrap();
            }
            (ColumnWriter::FixedLenByteArrayColumnWriter(writer), Leaf::Fixed(values, defined)) => {
                let values: Vec<FixedLenByteArray> =
                    values.into_iter().map(|value| FixedLenByteArray::from(ByteArray::from(value))).collect();
                writer.write_batch(&values, levels(&defined).as_deref(), None).unwrap();
            }
            (ColumnWriter::Int96ColumnWriter(writer), Leaf::Time(values, defined)) => {
                writer.write_batch(&values, levels(&defined).as_deref(), None).unwrap();
            }
            _ => panic!("the leaves are not in the order of the message"),
        }
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.into_inner().unwrap()
}

/// Nanoseconds of the day, and the Julian day.
fn int96(nanos: u64, julian: u32) -> Int96 {
    Int96::from(vec![nanos as u32, (nanos >> 32) as u32, julian])
}

/// Two rows: values, and nothing.
fn old_file() -> Vec<u8> {
    let text = |text: &str| text.as_bytes().to_vec();
    write(
        OLD,
        vec![
            Leaf::Int(vec![1, 2], vec![], vec![]),
            Leaf::Time(vec![int96(86_399_999_999_000, 5_373_484)], vec![1, 0]),
            // [7, 8] and [].
            Leaf::Int(vec![7, 8], vec![2, 2, 1], vec![0, 1, 0]),
            // [{x: a}, {x: null}] and null.
            Leaf::Bytes(vec![text("a")], vec![3, 2, 0], vec![0, 1, 0]),
            // {a: 1, b: null} and {}.
            Leaf::Bytes(vec![text("a"), text("b")], vec![2, 2, 1], vec![0, 1, 0]),
            Leaf::Int(vec![1], vec![3, 2, 1], vec![0, 1, 0]),
            Leaf::Int(vec![-999_999_999], vec![1, 0], vec![]),
            Leaf::Long(vec![999_999_999_999_999_999], vec![1, 0]),
            Leaf::Fixed(vec![(-5_i128).to_be_bytes().to_vec()], vec![1, 0]),
            // As few bytes as the value needs.
            Leaf::Bytes(vec![vec![0xff, 0x38]], vec![1, 0], vec![]),
            Leaf::Int(vec![65_535], vec![1, 0], vec![]),
            Leaf::Int(vec![i32::MIN], vec![1, 0], vec![]),
            // {inner: {n: null}} and {inner: null}.
            Leaf::Int(vec![], vec![2, 1], vec![]),
        ],
    )
}

/// A later file, in which one column has grown, another is missing, and the order is another.
fn new_file() -> Vec<u8> {
    let message = "message new { optional int64 grown; required int32 id; optional int32 d9 (DECIMAL(9,2)); }";
    write(
        message,
        vec![Leaf::Long(vec![i64::MAX], vec![1]), Leaf::Int(vec![3], vec![], vec![]), Leaf::Int(vec![1], vec![1], vec![])],
    )
}

const EXPECTED: [[&str; 12]; 3] = [
    // `at` in microseconds.
    [
        "253402300799999999",
        "-9999999.99",
        "9999999999999999.99",
        "-0.05",
        "-2.00",
        "-2147483648",
        "1",
        "{a: 1, b: NULL}",
        "{inner: {n: NULL}}",
        "[{x: a}, {x: NULL}]",
        "[7, 8]",
        "65535",
    ],
    ["NULL", "NULL", "NULL", "NULL", "NULL", "NULL", "2", "{}", "{inner: NULL}", "NULL", "[]", "NULL"],
    ["NULL", "0.01", "NULL", "NULL", "NULL", "9223372036854775807", "3", "NULL", "NULL", "NULL", "NULL", "NULL"],
];

fn expected() -> Vec<Vec<(String, String)>> {
    let names = ["at", "d9", "d18", "d38", "db", "grown", "id", "m", "s", "tuple", "two", "u"];
    let row = |values: &[&str; 12]| {
        let mut row: Vec<_> =
            names.iter().zip(values).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        row.sort();
        row
    };
    EXPECTED.iter().map(row).collect()
}

async fn lake() -> Lake {
    let lake = Lake::new();
    lake.put("old/a.parquet", old_file()).await;
    lake.put("old/b.parquet", new_file()).await;
    lake
}

/// Rows of all Parquet files of a folder, in the order of `id`.
async fn rows_below(lake: &Lake, folder: &str) -> Vec<Vec<(String, String)>> {
    use futures::TryStreamExt;
    use object_store::ObjectStore;
    let listed: Vec<object_store::ObjectMeta> = lake.store.list(None).try_collect().await.unwrap();
    let mut rows = Vec::new();
    for object in listed {
        let path = object.location.as_ref().strip_prefix("lake/").unwrap();
        if path.starts_with(folder) && path.ends_with(".parquet") {
            let bytes: Bytes = lake.get(path).await;
            rows.extend(rows_of(bytes));
        }
    }
    for row in &mut rows {
        row.sort();
    }
    let id = |row: &Vec<(String, String)>| row.iter().find(|(name, _)| name == "id").unwrap().1.clone();
    rows.sort_by_key(id);
    rows
}

#[rstest]
#[tokio::test]
async fn what_old_writers_left_arrives_as_it_was_meant(#[values("delta", "iceberg")] format: &str) {
    let lake = lake().await;
    let target = format!("{{format: {format}, location: LAKE/moved}}");
    let source = "{format: hive, location: LAKE/old, int96: utc}";
    let plan = lake.step("plan", &lake.spec("look", source, &target, "auto")).await;
    let reason = match format {
        "iceberg" => "rewrite column two is a list of two levels in the file",
        _ => "rewrite column at is timestamptz[ns] in the file and timestamptz[us] in the target",
    };
    assert!(flat(&plan).contains(reason), "{plan}");
    lake.migrate(&lake.spec("old", source, &target, "rewrite")).await;
    let found = rows_below(&lake, "moved/data/").await;
    for (found, expected) in found.iter().zip(&expected()) {
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!(found, expected);
        }
    }
    assert_eq!(found.len(), 3);
}

#[tokio::test]
async fn int96_that_nobody_declares_is_refused_by_name_with_the_way_out() {
    let lake = lake().await;
    let spec = lake.spec("old", "{format: hive, location: LAKE/old}", "{format: iceberg, location: LAKE/moved}", "auto");
    let error = with_causes(&lake.run("plan", &spec).await.unwrap_err());
    assert!(error.contains("column at") && error.contains("INT96") && error.contains("int96: utc"), "{error}");
}

/// Elements of its own nullability: a list whose elements are never null, beside one where they may be.
#[rstest]
#[tokio::test]
async fn elements_that_may_be_null_in_one_file_may_be_null_in_the_table(#[values("delta", "iceberg")] format: &str) {
    let list = |repetition: &str| {
        format!(
            "message m {{ required int32 id; required group l (LIST) {{ repeated group list {{ {repetition} int32 element; }} }} }}"
        )
    };
    let lake = Lake::new();
    let one = write(&list("required"), vec![Leaf::Int(vec![1], vec![], vec![]), Leaf::Int(vec![5], vec![1], vec![0])]);
    let other = write(&list("optional"), vec![Leaf::Int(vec![2], vec![], vec![]), Leaf::Int(vec![], vec![1], vec![0])]);
    lake.put("old/a.parquet", one).await;
    lake.put("old/b.parquet", other).await;
    let target = format!("{{format: {format}, location: LAKE/moved}}");
    let spec = lake.spec("lists", "{format: hive, location: LAKE/old}", &target, "rewrite");
    lake.migrate(&spec).await;
    let lists: Vec<String> = rows_below(&lake, "moved/data/").await.into_iter().map(|row| row[1].1.clone()).collect();
    assert_eq!(lists, ["[5]", "[NULL]"]);
}
