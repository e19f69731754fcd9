//! hive → delta → iceberg → delta with types at their edges: the last table is read by its log's JSON and the parquet crate
//! alone, and holds what the first files held.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Float32Array, Float64Array,
    Int8Array, Int16Array, Int32Array, Int32Builder, Int64Array, ListBuilder, MapBuilder, RecordBatch, StringArray,
    StringBuilder, StructArray, TimestampMicrosecondArray, TimestampMillisecondArray, UInt8Array, UInt16Array, UInt32Array,
    UInt64Array,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use lakeshift::args::Args;
use lakeshift::context::Context;
use lakeshift::error::{Error, with_causes};
use lakeshift::output::Answer;
use lakeshift::progress::Progress;
use lakeshift::stop::Stop;
use lakeshift_tables::storage::Stores;
use lakeshift_testkit::{ManualClock, SeededRng};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;

const ROOT: &str = "memory:///lake";

/// A store, a clock, and specs that are run one after the other.
pub struct Lake {
    pub store: Arc<InMemory>,
    clock: Arc<ManualClock>,
    folder: tempfile::TempDir,
}

impl Lake {
    pub fn new() -> Self {
        let clock = Arc::new(ManualClock::for_retries());
        Self { store: Arc::new(InMemory::new()), clock, folder: tempfile::tempdir().unwrap() }
    }

    pub async fn put(&self, path: &str, bytes: Vec<u8>) {
        self.store.put(&Path::parse(format!("lake/{path}")).unwrap(), bytes.into()).await.unwrap();
    }

    pub async fn get(&self, path: &str) -> bytes::Bytes {
        self.store.get(&Path::parse(format!("lake/{path}")).unwrap()).await.unwrap().bytes().await.unwrap()
    }

    /// Writes the spec `name`; `source` and `target` are the sections' contents without locations.
    pub fn spec(&self, name: &str, source: &str, target: &str, strategy: &str) -> String {
        let path = self.folder.path().join(format!("{name}.yaml"));
        let text = format!(
            "apiVersion: lakeshift/v1\nname: {name}\ncontrol: {ROOT}/control\nsource: {source}\ntarget: {target}\n\
             cutover: {{alias: {name}}}\nbackfill: {{strategy: {strategy}, concurrency: 1, memory: 64MiB, unit_size: 16MiB, \
             target_file_size: 16MiB}}\n"
        );
        std::fs::write(&path, text.replace("LAKE", ROOT)).unwrap();
        path.display().to_string()
    }

    pub async fn run(&self, command: &str, spec: &str) -> Result<Answer, Error> {
        let store: Arc<dyn ObjectStore> = self.store.clone();
        let context = Context {
            stores: Stores::new().with_store(ROOT.to_owned(), store),
            clock: self.clock.clone(),
            rng: Arc::new(SeededRng::new(1)),
            env: |_| None,
            holder: "test@here:1".to_owned(),
            progress: Progress::Quiet,
            stop: Stop::never(),
        };
        let words = std::iter::once("lakeshift").chain(command.split(' ')).chain([spec]);
        lakeshift::commands::run(&context, <Args as clap::Parser>::try_parse_from(words).unwrap().command).await
    }

    /// The whole way up to the switch, each step with success; the plan's text.
    pub async fn migrate(&self, spec: &str) -> String {
        let plan = self.step("plan", spec).await;
        for command in ["approve", "dual-write", "backfill", "mirror", "validate --read-all", "cutover"] {
            self.step(command, spec).await;
        }
        plan
    }

    /// Runs a command with success; its text.
    pub async fn step(&self, command: &str, spec: &str) -> String {
        let answer = self.run(command, spec).await;
        let answer = answer.unwrap_or_else(|error| panic!("{command}: {}", with_causes(&error)));
        assert_eq!(answer.exit_code, 0, "{command}: {}", answer.text);
        answer.text
    }

    /// The live files of a Delta table by its log: path and partition values.
    pub async fn delta_files(&self, table: &str) -> Vec<(String, BTreeMap<String, Option<String>>)> {
        let (mut live, mut version) = (BTreeMap::new(), 0_u64);
        while let Ok(found) = self.store.get(&Path::from(format!("lake/{table}/_delta_log/{version:020}.json"))).await {
            let bytes = found.bytes().await.unwrap();
            for line in std::str::from_utf8(&bytes).unwrap().lines() {
                let action: serde_json::Value = serde_json::from_str(line).unwrap();
                if let Some(removed) = action["remove"]["path"].as_str() {
                    live.remove(removed);
                }
                if let Some(path) = action["add"]["path"].as_str() {
                    let values = serde_json::from_value(action["add"]["partitionValues"].clone()).unwrap();
                    live.insert(path.to_owned(), values);
                }
            }
            version += 1;
        }
        let decoded = |path: String| percent_decoded(&path);
        live.into_iter().map(|(path, values)| (decoded(path), values)).collect()
    }

    /// Every row of a Delta table: column to text, partition values among them.
    pub async fn delta_rows(&self, table: &str) -> BTreeSet<Vec<(String, String)>> {
        let mut rows = BTreeSet::new();
        for (path, values) in self.delta_files(table).await {
            for row in rows_of(self.get(&format!("{table}/{path}")).await) {
                let partition = values.iter().map(|(name, value)| (name.clone(), value.clone().unwrap_or("NULL".into())));
                let mut row: Vec<_> = row.into_iter().chain(partition).collect();
                row.sort();
                assert!(rows.insert(row), "every row is there once");
            }
        }
        rows
    }
}

/// The path that a URI stands for.
fn percent_decoded(uri: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = uri.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first == b'%' {
            let (digits, tail) = tail.split_at(2);
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap());
            rest = tail;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// The rows of a Parquet file: column to text.
pub fn rows_of(bytes: bytes::Bytes) -> Vec<Vec<(String, String)>> {
    let reader = ParquetRecordBatchReader::try_new(bytes, 1024).unwrap();
    reader.flat_map(|batch| text_rows(&batch.unwrap())).collect()
}

fn text_rows(batch: &RecordBatch) -> Vec<Vec<(String, String)>> {
    let options = FormatOptions::default().with_null("NULL");
    let schema = batch.schema();
    let cell = |column: usize, row: usize| {
        let array = batch.column(column);
        let text = match array.data_type() {
            _ if array.is_null(row) => "NULL".to_owned(),
            // Years beyond those that calendars print.
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                array.as_primitive::<TimestampMicrosecondType>().value(row).to_string()
            }
            DataType::Timestamp(TimeUnit::Millisecond, _) => {
                (array.as_primitive::<TimestampMillisecondType>().value(row) * 1000).to_string()
            }
            _ => ArrayFormatter::try_new(array.as_ref(), &options).unwrap().value(row).to_string(),
        };
        (schema.field(column).name().clone(), text)
    };
    (0..batch.num_rows()).map(|row| (0..batch.num_columns()).map(|column| cell(column, row)).collect()).collect()
}

/// Four rows of edges: the least, the greatest, the odd, NULL.
fn edges() -> RecordBatch {
    let (least, greatest) = (i128::pow(10, 38) - 1, i128::pow(10, 38) - 1);
    let decimal = |values: [Option<i128>; 4], precision, scale| {
        Arc::new(Decimal128Array::from(values.to_vec()).with_precision_and_scale(precision, scale).unwrap()) as ArrayRef
    };
    // 0001-01-01 and 9999-12-31.
    let days = [Some(-719_162), Some(2_932_896), Some(-1), None];
    let micros = [Some(i64::MIN), Some(i64::MAX), Some(-1), None];
    let millis = [Some(-62_135_596_800_000), Some(253_402_300_799_999), Some(-1), None];
    let mut lists = ListBuilder::new(Int32Builder::new());
    lists.append_value([Some(i32::MIN), None, Some(i32::MAX)]);
    lists.append_value([] as [Option<i32>; 0]);
    lists.append_value([None::<i32>]);
    lists.append_null();
    let mut maps = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    for (index, entries) in [vec![("", Some(0)), ("é", None)], vec![], vec![("k", Some(-1))], vec![]].into_iter().enumerate()
    {
        for (key, value) in entries {
            maps.keys().append_value(key);
            maps.values().append_option(value);
        }
        maps.append(index != 3).unwrap();
    }
    let members = vec![
        Arc::new(Int32Array::from(vec![Some(1), None, Some(3), None])) as ArrayRef,
        Arc::new(StringArray::from(vec![Some(""), None, Some("x"), None])),
    ];
    let fields = vec![Field::new("n", DataType::Int32, true), Field::new("Text", DataType::Utf8, true)];
    let structs = StructArray::new(fields.into(), members, Some(NullBuffer::from(vec![true, true, true, false])));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int32Array::from(vec![1, 2, 3, 4]))),
        ("bool", Arc::new(arrow::array::BooleanArray::from(vec![Some(true), Some(false), Some(true), None]))),
        ("i8", Arc::new(Int8Array::from(vec![Some(i8::MIN), Some(i8::MAX), Some(0), None]))),
        ("i16", Arc::new(Int16Array::from(vec![Some(i16::MIN), Some(i16::MAX), Some(0), None]))),
        ("i32", Arc::new(Int32Array::from(vec![Some(i32::MIN), Some(i32::MAX), Some(0), None]))),
        ("i64", Arc::new(Int64Array::from(vec![Some(i64::MIN), Some(i64::MAX), Some((1 << 53) + 1), None]))),
        ("u8", Arc::new(UInt8Array::from(vec![Some(0), Some(u8::MAX), Some(1), None]))),
        ("u16", Arc::new(UInt16Array::from(vec![Some(0), Some(u16::MAX), Some(1), None]))),
        ("u32", Arc::new(UInt32Array::from(vec![Some(0), Some(u32::MAX), Some(1), None]))),
        ("u64", Arc::new(UInt64Array::from(vec![Some(0), Some(u64::MAX), Some(1), None]))),
        ("f32", Arc::new(Float32Array::from(vec![Some(f32::NEG_INFINITY), Some(f32::MAX), Some(f32::NAN), None]))),
        ("f64", Arc::new(Float64Array::from(vec![Some(f64::INFINITY), Some(-0.0), Some(f64::NAN), None]))),
        ("tiny", Arc::new(Float64Array::from(vec![Some(f64::MIN_POSITIVE), Some(5e-324), Some(0.1), None]))),
        ("d9", decimal([Some(-999_999_999), Some(999_999_999), Some(0), None], 9, 9)),
        ("d18", decimal([Some(-(i128::pow(10, 18) - 1)), Some(i128::pow(10, 18) - 1), Some(1), None], 18, 2)),
        ("d38", decimal([Some(-least), Some(greatest), Some(-1), None], 38, 10)),
        ("day", Arc::new(Date32Array::from(days.to_vec()))),
        ("wall", Arc::new(TimestampMicrosecondArray::from(micros.to_vec()))),
        ("instant", Arc::new(TimestampMicrosecondArray::from(micros.to_vec()).with_timezone("UTC"))),
        ("millis", Arc::new(TimestampMillisecondArray::from(millis.to_vec()).with_timezone("UTC"))),
        ("text", Arc::new(StringArray::from(vec![Some(""), Some("NULL"), Some("a\u{0}b 🙂 \u{202e}"), None]))),
        ("bytes", Arc::new(BinaryArray::from(vec![Some(&b""[..]), Some(&[0, 255][..]), Some(&b"x"[..]), None]))),
        (
            "fixed",
            Arc::new(
                FixedSizeBinaryArray::try_from_sparse_iter_with_size(
                    [Some([0, 0]), Some([255, 255]), None, None].into_iter(),
                    2,
                )
                .unwrap(),
            ),
        ),
        ("list", Arc::new(lists.finish())),
        ("map", Arc::new(maps.finish())),
        ("struct", Arc::new(structs)),
        ("Name, of {all}", Arc::new(StringArray::from(vec![Some("a=b"), Some(";"), Some("\t"), None]))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, name != "id"))).unwrap()
}

fn parquet(batch: &RecordBatch) -> Vec<u8> {
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.into_inner().unwrap()
}

/// Folders of the first table, and the values that they stand for.
const PLACES: [(&str, &str); 5] = [
    ("__HIVE_DEFAULT_PARTITION__", "NULL"),
    ("a%2Fb%25 c", "a/b% c"),
    ("São+Paulo=x", "São+Paulo=x"),
    ("00", "00"),
    ("%5F_HIVE_DEFAULT_PARTITION__x", "__HIVE_DEFAULT_PARTITION__x"),
];

#[tokio::test]
async fn every_type_at_its_edges_comes_back_after_three_migrations() {
    let (lake, rows) = (Lake::new(), edges());
    let mut expected = BTreeSet::new();
    for (number, (folder, value)) in PLACES.iter().enumerate() {
        let ids = Int32Array::from_iter_values((0..4).map(|row| row + 4 * number as i32));
        let mut columns = rows.columns().to_vec();
        columns[0] = Arc::new(ids);
        let rows = RecordBatch::try_new(rows.schema(), columns).unwrap();
        lake.put(&format!("first/place={folder}/{number}.parquet"), parquet(&rows)).await;
        for mut row in text_rows(&rows) {
            row.push(("place".to_owned(), (*value).to_owned()));
            row.sort();
            expected.insert(row);
        }
    }
    let target =
        |format: &str, location: &str| format!("{{format: {format}, location: LAKE/{location}, partitioning: [place]}}");
    let source = |format: &str, location: &str| format!("{{format: {format}, location: LAKE/{location}}}");
    let plan = lake.migrate(&lake.spec("one", &source("hive", "first"), &target("delta", "second"), "auto")).await;
    for rule in ["u64: uint64 → decimal(20,0)", "fixed: fixed(2) → binary", "Name, of {all}: string (the name needs Delta"]
    {
        assert!(plan.contains(rule), "{plan}");
    }
    lake.migrate(&lake.spec("two", &source("delta", "second"), &target("iceberg", "third"), "auto")).await;
    lake.migrate(&lake.spec("three", &source("iceberg", "third"), &target("delta", "fourth"), "auto")).await;
    for table in ["second", "fourth"] {
        let found = lake.delta_rows(table).await;
        assert_eq!(found.len(), expected.len(), "{table}");
        for (found, expected) in found.iter().zip(&expected) {
            for (found, expected) in found.iter().zip(expected) {
                assert_eq!(found, expected, "{table}");
            }
            assert_eq!(found.len(), expected.len(), "{table}");
        }
    }
    // The protocol is no higher than names and timestamps without a zone need.
    let log = lake.get("fourth/_delta_log/00000000000000000000.json").await;
    let log = String::from_utf8(log.to_vec()).unwrap();
    assert!(log.contains(r#""minReaderVersion":3"#) && log.contains(r#"["timestampNtz","columnMapping"]"#), "{log}");
}
