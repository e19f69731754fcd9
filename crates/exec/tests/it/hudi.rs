//! File slices with log files: what is merged, what is refused, and that damage is an error.

use std::sync::Arc;

use apache_avro::types::Value as Avro;
use apache_avro::{Schema, to_avro_datum};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use lakeshift_core::hudi::{LogFile, LoggedSlice, MergeOrder, MergeRule, RecordKey};
use lakeshift_core::partition::PartitionSpec;
use lakeshift_core::schema::DataType;
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{FileEntry, Format, deletes_in, with_deletes};
use lakeshift_exec::engine::{Engine, EngineSettings};
use lakeshift_exec::scan::{ScanRequest, refusal, scan, scan_compact};
use object_store::ObjectStoreExt;
use parquet::arrow::ArrowWriter;
use proptest::prelude::*;
use rstest::rstest;

use crate::files::{batch, collect, engine, memory, no_deletes, put, read, schema, snapshot, sorted};

const RECORD: &str = r#"{"type": "record", "name": "r", "fields": [
    {"name": "_hoodie_record_key", "type": ["null", "string"]},
    {"name": "id", "type": ["null", "long"]},
    {"name": "at", "type": ["null", "long"]},
    {"name": "name", "type": ["null", "string"]},
    {"name": "_hoodie_is_deleted", "type": ["null", "boolean"]}
]}"#;
const DELETES: &str = include_str!("../../src/hudi/deletes.avsc");

/// A row: key, ordering value, text.
type Row = (&'static str, i64, &'static str);

fn int(number: u32) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

/// A block as Hudi writes it.
fn block(kind: u32, header: &[(u32, &str)], content: &[u8]) -> Vec<u8> {
    let mut body = [int(1), int(kind), int(header.len() as u32)].concat();
    for (key, text) in header {
        body.extend([int(*key), int(text.len() as u32), text.as_bytes().to_vec()].concat());
    }
    body.extend((content.len() as u64).to_be_bytes());
    body.extend(content);
    body.extend(int(0));
    let size = body.len() as u64 + 8;
    [b"#HUDI#".to_vec(), size.to_be_bytes().to_vec(), body, (size + 6).to_be_bytes().to_vec()].concat()
}

fn some(value: Avro) -> Avro {
    Avro::Union(1, Box::new(value))
}

fn record(row: Row, is_deleted: bool) -> Vec<u8> {
    let fields = [
        ("_hoodie_record_key", Avro::String(row.0.to_owned())),
        ("id", Avro::Long(row.0.len() as i64)),
        ("at", Avro::Long(row.1)),
        ("name", Avro::String(row.2.to_owned())),
        ("_hoodie_is_deleted", Avro::Boolean(is_deleted)),
    ];
    let record = Avro::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), some(value))).collect());
    to_avro_datum(&Schema::parse_str(RECORD).unwrap(), record).unwrap()
}

fn records(instant: &str, rows: &[Vec<u8>]) -> Vec<u8> {
    let rows_bytes = rows.iter().flat_map(|row| [int(row.len() as u32), row.clone()].concat());
    let content = [int(3), int(rows.len() as u32), rows_bytes.collect()].concat();
    block(3, &[(0, instant), (2, RECORD)], &content)
}

fn upserts(instant: &str, rows: &[Row]) -> Vec<u8> {
    records(instant, &rows.iter().map(|row| record(*row, false)).collect::<Vec<_>>())
}

/// Deletes with an ordering value in the union's branch, or none.
fn deletes(instant: &str, keys: &[(&str, Option<(u32, Avro)>)]) -> Vec<u8> {
    let one = |(key, order): &(&str, Option<(u32, Avro)>)| {
        let order = order.clone().map_or(Avro::Union(0, Box::new(Avro::Null)), |(branch, value)| {
            Avro::Union(branch, Box::new(Avro::Record(vec![("value".to_owned(), value)])))
        });
        Avro::Record(vec![
            ("recordKey".to_owned(), some(Avro::String((*key).to_owned()))),
            ("partitionPath".to_owned(), some(Avro::String(String::new()))),
            ("orderingVal".to_owned(), order),
        ])
    };
    let list = Avro::Record(vec![("deleteRecordList".to_owned(), Avro::Array(keys.iter().map(one).collect()))]);
    let bytes = to_avro_datum(&Schema::parse_str(DELETES).unwrap(), list).unwrap();
    block(1, &[(0, instant)], &[int(3), int(bytes.len() as u32), bytes].concat())
}

fn rollback(instant: &str, target: &str) -> Vec<u8> {
    block(0, &[(0, instant), (1, target), (3, "0")], &[])
}

fn long(value: i64) -> Option<(u32, Avro)> {
    Some((3, Avro::Long(value)))
}

fn rows(rows: &[Row]) -> RecordBatch {
    let keys: Vec<&str> = rows.iter().map(|row| row.0).collect();
    let texts = |values: Vec<&str>| -> ArrayRef { Arc::new(StringArray::from(values)) };
    let longs = |values: Vec<i64>| -> ArrayRef { Arc::new(Int64Array::from(values)) };
    batch(vec![
        ("_hoodie_record_key", texts(keys.clone())),
        ("id", longs(keys.iter().map(|key| key.len() as i64).collect())),
        ("at", longs(rows.iter().map(|row| row.1).collect())),
        ("name", texts(rows.iter().map(|row| row.2).collect())),
    ])
}

fn by(order: MergeOrder) -> MergeRule {
    MergeRule { order, ordering: vec!["at".to_owned()], key: RecordKey::Meta, delete_marker: None }
}

/// A slice's entry: its base file's rows, and the bytes of its log files; instants 1 to 8 count.
async fn slice(storage: &Storage, base: &[Row], logs: &[Vec<u8>], merge: MergeRule) -> FileEntry {
    let mut described = LoggedSlice {
        based: !base.is_empty(),
        logs: Vec::new(),
        instants: (1..9).map(|instant: i32| instant.to_string()).collect(),
        archived_before: None,
        archived_except: Vec::new(),
        merge,
    };
    for (number, bytes) in logs.iter().enumerate() {
        let path = format!(".g_1.log.{number}");
        storage.store().put(&storage.resolve(&path).unwrap(), bytes.clone().into()).await.unwrap();
        described.logs.push(LogFile { path, size_bytes: bytes.len() as u64, identity: String::new(), instant: None });
    }
    let mut entry = put(storage, "g_1.parquet", &rows(base), Vec::new()).await;
    entry.identity = with_deletes("e", &serde_json::to_string(&described).unwrap());
    entry.has_deletes = true;
    entry.rows = None;
    entry
}

fn table(storage: &Storage) -> lakeshift_core::table::Snapshot {
    let columns = schema(vec![("id", DataType::Int64), ("at", DataType::Int64), ("name", DataType::String)]);
    snapshot(storage, columns, PartitionSpec::default())
}

async fn merged_by(merge: MergeRule, base: &[Row], logs: &[Vec<u8>]) -> Result<Vec<String>, String> {
    let storage = memory();
    let entry = slice(&storage, base, logs, merge).await;
    match read(Format::Hudi, &storage, &table(&storage), &[entry]).await {
        Ok(text) => Ok(text.lines().skip(1).map(values).collect()),
        Err(error) => Err(refusal(&error).unwrap_or_else(|| panic!("not a refusal: {error:?}")).to_string()),
    }
}

/// `1 6 a6` of `| 1  | 6  | a6   |`.
fn values(line: &str) -> String {
    line.split('|').map(str::trim).filter(|value| !value.is_empty()).collect::<Vec<_>>().join(" ")
}

async fn merged(order: MergeOrder, base: &[Row], logs: &[Vec<u8>]) -> Vec<String> {
    merged_by(by(order), base, logs).await.unwrap()
}

async fn refused(order: MergeOrder, logs: &[Vec<u8>]) -> String {
    merged_by(by(order), &BASE, logs).await.unwrap_err()
}

const BASE: [Row; 3] = [("a", 5, "a5"), ("bb", 5, "b5"), ("ccc", 5, "c5")];

#[rstest]
#[case::by_event_time(MergeOrder::EventTime, ["1 6 a6", "2 5 b5", "3 5 c'", "4 1 d1"])]
#[case::by_commit_time(MergeOrder::CommitTime, ["1 6 a6", "2 4 b4", "3 5 c'", "4 1 d1"])]
#[tokio::test]
async fn a_log_record_takes_the_place_of_the_base_files_row(#[case] order: MergeOrder, #[case] expected: [&str; 4]) {
    let log = upserts("2", &[("a", 6, "a6"), ("bb", 4, "b4"), ("ccc", 5, "c'"), ("dddd", 1, "d1")]);
    assert_eq!(merged(order, &BASE, &[log]).await, expected);
}

#[rstest]
#[case::by_event_time(MergeOrder::EventTime, "1 8 a8")]
#[case::by_commit_time(MergeOrder::CommitTime, "1 7 a7")]
#[tokio::test]
async fn of_two_log_records_one_stays(#[case] order: MergeOrder, #[case] expected: &str) {
    let logs = [upserts("2", &[("a", 8, "a8")]), upserts("3", &[("a", 7, "a7")])];
    assert_eq!(merged(order, &BASE, &logs).await[0], expected);
}

#[tokio::test]
async fn deletes_apply_by_their_ordering_values_or_by_arrival() {
    let by_arrival = deletes("2", &[("a", None), ("bb", Some((2, Avro::Int(0)))), ("zz", None)]);
    assert_eq!(merged(MergeOrder::EventTime, &BASE, &[by_arrival]).await, ["3 5 c5"]);
    let by_value = deletes("2", &[("a", long(5)), ("bb", long(4)), ("ccc", long(9))]);
    assert_eq!(merged(MergeOrder::EventTime, &BASE, std::slice::from_ref(&by_value)).await, ["2 5 b5"]);
    assert_eq!(merged(MergeOrder::CommitTime, &BASE, &[by_value]).await, Vec::<String>::new());
    // A row that comes after a delete by arrival is there again; one that is older than a delete's value is not.
    let logs = [deletes("2", &[("a", None), ("bb", long(9))]), upserts("3", &[("a", 6, "a6"), ("bb", 8, "b8")])];
    assert_eq!(merged(MergeOrder::EventTime, &BASE, &logs).await, ["1 6 a6", "3 5 c5"]);
    // One that is ordered before the deleted row is there or not, as a compaction came between or not.
    let text = refused(MergeOrder::EventTime, &[deletes("2", &[("a", None)]), upserts("3", &[("a", 1, "a1")])]).await;
    assert!(text.contains("came after a delete"), "{text}");
    assert_eq!(
        merged(MergeOrder::CommitTime, &BASE, &[deletes("2", &[("a", None)]), upserts("3", &[("a", 1, "a1")])]).await[0],
        "1 1 a1"
    );
}

#[tokio::test]
async fn records_may_be_deletes_by_flag_or_by_marker() {
    let log = records("2", &[record(("a", 6, "x"), true), record(("bb", 4, "x"), true), record(("ccc", 9, "gone"), false)]);
    assert_eq!(merged(MergeOrder::EventTime, &BASE, std::slice::from_ref(&log)).await, ["2 5 b5", "3 9 gone"]);
    let marker = Some(("name".to_owned(), "gone".to_owned()));
    let rule = MergeRule { delete_marker: marker, ..by(MergeOrder::EventTime) };
    assert_eq!(merged_by(rule, &BASE, &[log]).await.unwrap(), ["2 5 b5"]);
}

#[tokio::test]
async fn a_parquet_block_is_read_like_an_avro_block() {
    let mut file = Vec::new();
    let rows = rows(&[("a", 6, "a6"), ("dddd", 1, "d1")]);
    let mut writer = ArrowWriter::try_new(&mut file, rows.schema(), None).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
    let log = block(5, &[(0, "2"), (2, RECORD)], &file);
    assert_eq!(merged(MergeOrder::EventTime, &BASE, &[log]).await, ["1 6 a6", "2 5 b5", "3 5 c5", "4 1 d1"]);
}

#[tokio::test]
async fn blocks_of_instants_that_do_not_count_and_of_rolled_back_ones_are_not_read() {
    let uncommitted = upserts("9", &[("a", 9, "no")]);
    let hfile = block(4, &[(0, "9")], b"anything");
    let logs = [uncommitted, hfile, upserts("3", &[("bb", 9, "no")]), rollback("4", "3"), upserts("5", &[("ccc", 9, "c9")])];
    assert_eq!(merged(MergeOrder::EventTime, &BASE, &logs).await, ["1 5 a5", "2 5 b5", "3 9 c9"]);
}

#[tokio::test]
async fn blocks_of_archived_instants_count_but_for_those_that_had_not_completed() {
    let storage = memory();
    let logs = [upserts("01", &[("a", 9, "a9")]), upserts("02", &[("bb", 9, "no")]), upserts("03", &[("ccc", 9, "no")])];
    let mut entry = slice(&storage, &BASE, &logs, by(MergeOrder::EventTime)).await;
    let mut described: LoggedSlice = serde_json::from_str(deletes_in(&entry.identity).unwrap()).unwrap();
    (described.archived_before, described.archived_except) = (Some("03".to_owned()), vec!["02".to_owned()]);
    entry.identity = with_deletes("e", &serde_json::to_string(&described).unwrap());
    let text = read(Format::Hudi, &storage, &table(&storage), &[entry]).await.unwrap();
    assert_eq!(text.lines().skip(1).map(values).collect::<Vec<_>>(), ["1 9 a9", "2 5 b5", "3 5 c5"]);
}

#[tokio::test]
async fn a_compacted_block_stands_where_its_newest_instant_was() {
    let compacted = |rows: &[Row]| {
        let bytes = rows.iter().map(|row| record(*row, false));
        let bytes: Vec<u8> = bytes.flat_map(|row| [int(row.len() as u32), row].concat()).collect();
        let content = [int(3), int(rows.len() as u32), bytes].concat();
        block(3, &[(0, "6"), (2, RECORD), (4, "2,3")], &content)
    };
    let logs = [
        upserts("2", &[("a", 1, "a2")]),
        upserts("3", &[("a", 1, "a3")]),
        upserts("4", &[("a", 1, "a4")]),
        compacted(&[("a", 1, "a23"), ("bb", 1, "b23")]),
    ];
    assert_eq!(merged(MergeOrder::CommitTime, &BASE, &logs).await, ["1 1 a4", "2 1 b23", "3 5 c5"]);
    let alone = refused(MergeOrder::CommitTime, &[compacted(&[("a", 1, "a")])]).await;
    assert!(alone.contains("compacted log blocks without"), "{alone}");
}

#[tokio::test]
async fn a_slice_of_log_files_alone_has_their_rows() {
    let logs = [upserts("2", &[("a", 1, "a1"), ("bb", 1, "b1")]), deletes("3", &[("bb", None)])];
    assert_eq!(merged(MergeOrder::EventTime, &[], &logs).await, ["1 1 a1"]);
}

#[rstest]
#[case::hfile(block(4, &[(0, "2")], b""), "an HFile block")]
#[case::changes(block(6, &[(0, "2")], b""), "a change data block")]
#[case::corrupt(block(2, &[(0, "2")], b""), "a corrupt block")]
#[case::unknown(block(9, &[(0, "2")], b""), "log blocks of the type 9")]
#[case::header(block(3, &[(0, "2"), (17, "x")], b""), "log block header 17")]
#[case::partial(block(3, &[(0, "2"), (2, RECORD), (7, "true")], b""), "partial updates")]
#[case::command(block(0, &[(0, "2"), (1, "1"), (3, "7")], b""), "log command 7")]
#[case::java(block(1, &[(0, "2")], &[0, 0, 0, 2, 0, 0, 0, 0]), "delete blocks of the version 2")]
#[case::class(deletes("2", &[("a", Some((2, Avro::Int(4))))]), "ordering value is of another type")]
#[case::text(deletes("2", &[("a", Some((7, Avro::String("x".into()))))]), "no Int64")]
#[tokio::test]
async fn what_is_not_merged_is_refused_by_name(#[case] log: Vec<u8>, #[case] told: &str) {
    let text = refused(MergeOrder::EventTime, &[log]).await;
    assert!(text.contains(told) && text.contains(".g_1.log.0") | text.contains("g_1.parquet"), "{text}");
}

#[tokio::test]
async fn where_two_releases_of_hudi_disagree_the_slice_is_refused() {
    let later_is_less = [upserts("2", &[("a", 8, "a8")]), upserts("3", &[("a", 7, "a7")])];
    let text = refused(MergeOrder::CommitTimeDisputed, &later_is_less).await;
    assert!(text.contains("came later and are ordered before"), "{text}");
    let agreed = [upserts("2", &[("a", 3, "a3")]), upserts("3", &[("a", 4, "a4")])];
    assert_eq!(merged(MergeOrder::CommitTimeDisputed, &BASE, &agreed).await[0], "1 4 a4");
}

#[tokio::test]
async fn a_key_that_the_base_file_has_twice_is_refused_where_it_matters() {
    let twice = [("a", 5, "a5"), ("a", 5, "a'"), ("bb", 5, "b5")];
    let other = upserts("2", &[("bb", 6, "b6")]);
    assert_eq!(merged(MergeOrder::EventTime, &twice, &[other]).await, ["1 5 a'", "1 5 a5", "2 6 b6"]);
    let text = merged_by(by(MergeOrder::EventTime), &twice, &[upserts("2", &[("a", 6, "a6")])]).await.unwrap_err();
    assert!(text.contains("a key twice"), "{text}");
}

#[tokio::test]
async fn keys_may_be_made_of_columns() {
    let key = |key| MergeRule { key, ..by(MergeOrder::EventTime) };
    let log = [upserts("2", &[("a", 6, "a6")]), deletes("3", &[("3", None), ("id:2,name:b5", None)])];
    let one = merged_by(key(RecordKey::Column("id".into())), &BASE, &log).await.unwrap();
    assert_eq!(one, ["1 6 a6", "2 5 b5"]);
    let two = merged_by(key(RecordKey::Columns(vec!["id".into(), "name".into()])), &BASE, &log).await.unwrap();
    assert_eq!(two, ["1 5 a5", "1 6 a6", "3 5 c5"]);
}

#[tokio::test]
async fn a_compact_scan_and_files_without_logs_are_read_together() {
    let storage = memory();
    let merged = slice(&storage, &BASE, &[upserts("2", &[("a", 6, "a6")])], by(MergeOrder::EventTime)).await;
    let plain = put(&storage, "h_1.parquet", &rows(&[("ffffff", 1, "f1")]), Vec::new()).await;
    let (snapshot, files) = (table(&storage), [merged, plain]);
    let request =
        ScanRequest { storage: &storage, format: Format::Hudi, snapshot: &snapshot, files: &files, deletes: no_deletes() };
    let engine = engine();
    let plan = scan_compact(&engine, &request, &["name".to_owned()].into()).unwrap();
    let text = sorted(&collect(&engine, plan).await.unwrap());
    insta::assert_snapshot!(text, @r"
    | id | at | name |
    | 1  | 6  | a6   |
    | 2  | 5  | b5   |
    | 3  | 5  | c5   |
    | 6  | 1  | f1   |
    ");
}

#[tokio::test]
async fn log_records_beyond_the_memory_are_refused() {
    let storage = memory();
    let log = upserts("2", &vec![("a", 6, "a text that is long enough to add up"); 4000]);
    let entry = slice(&storage, &BASE, &[log], by(MergeOrder::EventTime)).await;
    let settings = EngineSettings { memory_bytes: 300_000, concurrency: 1, ..EngineSettings::default() };
    let engine = Engine::builder().with_settings(settings).build().unwrap();
    let (snapshot, files) = (table(&storage), [entry]);
    let request =
        ScanRequest { storage: &storage, format: Format::Hudi, snapshot: &snapshot, files: &files, deletes: no_deletes() };
    let error = collect(&engine, scan(&engine, &request).unwrap()).await.unwrap_err();
    let text = refusal(&error).unwrap_or_else(|| panic!("not a refusal: {error:?}")).to_string();
    assert!(text.contains("do not fit into the memory") && text.contains("compact"), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn a_damaged_log_is_an_error_or_other_rows(
        flips in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..4),
        cut in proptest::option::of(any::<usize>()),
        parquet in any::<bool>(),
    ) {
        let mut bytes = [
            upserts("2", &[("a", 6, "a6"), ("dddd", 1, "d1")]),
            deletes("3", &[("bb", None), ("ccc", long(9))]),
        ].concat();
        if parquet {
            let mut file = Vec::new();
            let rows = rows(&[("a", 6, "a6"), ("dddd", 1, "d1")]);
            let mut writer = ArrowWriter::try_new(&mut file, rows.schema(), None).unwrap();
            writer.write(&rows).unwrap();
            writer.close().unwrap();
            bytes.extend(block(5, &[(0, "4"), (2, RECORD)], &file));
        }
        for (at, bits) in flips {
            let at = at % bytes.len();
            bytes[at] ^= bits;
        }
        bytes.truncate(cut.map_or(bytes.len(), |cut| cut % bytes.len()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _ = runtime.block_on(merged_by(by(MergeOrder::EventTime), &BASE, &[bytes]));
    }
}
