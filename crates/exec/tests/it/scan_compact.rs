//! The quick way to read gives the rows of the plain one, whatever the files' encodings and layouts; so do large files,
//! which several readers share.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryViewArray, DictionaryArray, FixedSizeBinaryArray, Int32Array, Int64Array,
    LargeStringArray, RecordBatch, StringArray, StringViewArray, StructArray,
};
use arrow::datatypes::{DataType as ArrowType, Field as ArrowField, Int8Type, Int64Type};
use datafusion::physical_plan::{ExecutionPlanProperties, displayable};
use futures::TryStreamExt;
use lakeshift_core::equivalence::Encoding;
use lakeshift_core::partition::{PartitionField, PartitionSpec, Transform};
use lakeshift_core::schema::{DataType, Field};
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{FileEntry, Format, Snapshot};
use lakeshift_core::value::Value;
use lakeshift_exec::encode::RowEncoder;
use lakeshift_exec::scan::{ScanRequest, dictionary_columns, scan, scan_compact};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use proptest::prelude::*;

use crate::files::{batch, collect, engine, memory, no_deletes, put, put_with, schema, snapshot};
use crate::support::run;

fn properties() -> WriterPropertiesBuilder {
    WriterProperties::builder()
}

/// The canonical bytes of all rows, sorted.
fn rows(batches: &[RecordBatch]) -> Vec<Vec<u8>> {
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<String> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
        let encoder = RowEncoder::new(batch, &columns, Encoding::default()).unwrap();
        rows.extend((0..batch.num_rows()).map(|row| {
            let mut bytes = Vec::new();
            encoder.encode_row(row, &mut bytes);
            bytes
        }));
    }
    rows.sort();
    rows
}

fn request<'a>(storage: &'a Storage, snapshot: &'a Snapshot, files: &'a [FileEntry]) -> ScanRequest<'a> {
    ScanRequest { storage, format: Format::Hive, snapshot, files, deletes: no_deletes() }
}

async fn plainly(request: &ScanRequest<'_>) -> Vec<RecordBatch> {
    let engine = engine();
    collect(&engine, scan(&engine, request).unwrap()).await.unwrap()
}

async fn compactly(request: &ScanRequest<'_>, dictionaries: &BTreeSet<String>) -> Vec<RecordBatch> {
    let engine = engine();
    collect(&engine, scan_compact(&engine, request, dictionaries).unwrap()).await.unwrap()
}

fn names(columns: &[&str]) -> BTreeSet<String> {
    columns.iter().map(|&column| column.to_owned()).collect()
}

/// Every way in which a writer may lay out the same texts.
fn texts(values: &[Option<String>], layout: usize) -> ArrayRef {
    let values = values.iter().map(Option::as_deref);
    match layout {
        0 => Arc::new(StringArray::from_iter(values)),
        1 => Arc::new(LargeStringArray::from_iter(values)),
        2 => Arc::new(StringViewArray::from_iter(values)),
        _ => Arc::new(values.collect::<DictionaryArray<Int8Type>>()),
    }
}

fn bytes(values: &[Option<String>], layout: usize) -> ArrayRef {
    let values = values.iter().map(|value| value.as_ref().map(String::as_bytes));
    match layout {
        0 | 1 => Arc::new(BinaryArray::from_iter(values)),
        _ => Arc::new(BinaryViewArray::from_iter(values)),
    }
}

fn value() -> impl Strategy<Value = Option<String>> {
    // Few different ones, of which some are longer than the 12 bytes that a view holds itself.
    let text = prop_oneof![Just(String::new()), "[ab]{1,2}", Just("a text of more than 12 bytes".to_owned()), "\\PC{0,20}"];
    prop::option::weighted(0.8, text)
}

#[derive(Debug, Clone)]
struct File {
    values: Vec<Option<String>>,
    layout: usize,
    dictionary: bool,
    group_rows: usize,
    dictionary_bytes: usize,
}

fn file() -> impl Strategy<Value = File> {
    let values = prop::collection::vec(value(), 1..60);
    (values, 0_usize..4, any::<bool>(), 1_usize..40, prop_oneof![Just(8_usize), Just(1 << 20)]).prop_map(
        |(values, layout, dictionary, group_rows, dictionary_bytes)| File {
            values,
            layout,
            dictionary,
            group_rows,
            dictionary_bytes,
        },
    )
}

async fn write(storage: &Storage, number: usize, file: &File) -> FileEntry {
    // A dictionary that outgrows its limit is followed by plain pages.
    let properties = properties()
        .set_dictionary_enabled(file.dictionary)
        .set_max_row_group_row_count(Some(file.group_rows))
        .set_dictionary_page_size_limit(file.dictionary_bytes)
        .set_data_page_row_count_limit(5)
        .set_write_batch_size(5)
        .build();
    let rows = batch(vec![
        ("n", Arc::new(Int32Array::from_iter_values(0..file.values.len() as i32))),
        ("text", texts(&file.values, file.layout)),
        ("bytes", bytes(&file.values, file.layout)),
    ]);
    put_with(storage, &format!("place=p{number}/a.parquet"), &rows, place(number), Some(properties)).await
}

fn place(number: usize) -> Vec<Option<Value>> {
    vec![Some(Value::String(format!("p{number}")))]
}

fn places() -> PartitionSpec {
    PartitionSpec { fields: vec![PartitionField::new("place", Transform::Identity)] }
}

fn table(storage: &Storage) -> Snapshot {
    let columns = vec![
        ("n", DataType::Int64),
        ("text", DataType::String),
        ("bytes", DataType::Binary),
        ("absent", DataType::String),
        ("place", DataType::String),
    ];
    snapshot(storage, schema(columns), places())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_quick_way_reads_the_rows_of_the_plain_one(files in prop::collection::vec(file(), 1..4)) {
        run(async {
            let storage = memory();
            let mut entries = Vec::new();
            for (number, file) in files.iter().enumerate() {
                entries.push(write(&storage, number, file).await);
            }
            let snapshot = table(&storage);
            let request = request(&storage, &snapshot, &entries);
            let expected = rows(&plainly(&request).await);
            assert_eq!(expected.len(), files.iter().map(|file| file.values.len()).sum::<usize>());
            let all = names(&["n", "text", "bytes", "absent", "place"]);
            for dictionaries in [BTreeSet::new(), dictionary_columns(&request).await, all] {
                assert_eq!(rows(&compactly(&request, &dictionaries).await), expected, "dictionaries: {dictionaries:?}");
            }
        });
    }
}

#[tokio::test]
async fn texts_come_as_dictionaries_where_asked_and_as_views_elsewhere() {
    let storage = memory();
    let values: Vec<_> = ["x", "y", "x"].map(|value| Some(value.to_owned())).to_vec();
    let file = File { values, layout: 0, dictionary: true, group_rows: 2, dictionary_bytes: 1 << 20 };
    let files = [write(&storage, 0, &file).await];
    let snapshot = table(&storage);
    let request = request(&storage, &snapshot, &files);
    let types = |batches: &[RecordBatch]| -> Vec<String> {
        let schema = batches[0].schema();
        let one = |field: &Arc<ArrowField>| format!("{}: {}", field.name(), field.data_type());
        schema.fields().iter().map(one).collect()
    };
    let asked = compactly(&request, &names(&["text", "n", "place"])).await;
    insta::assert_snapshot!(types(&asked).join("\n"), @r"
    n: Int64
    text: Dictionary(Int32, Utf8)
    bytes: BinaryView
    absent: Utf8View
    place: Utf8
    ");
    // The page's own dictionary, not one made of its values anew: three rows in two row groups, two values and one.
    let values: usize = asked.iter().map(|batch| batch["text"].as_any_dictionary().values().len()).max().unwrap();
    assert_eq!(values, 2);
    let unasked = compactly(&request, &BTreeSet::new()).await;
    assert_eq!(unasked[0]["text"].data_type(), &ArrowType::Utf8View);
}

#[tokio::test]
async fn a_column_counts_as_a_dictionary_where_every_page_of_the_first_and_the_largest_file_is_one() {
    let storage = memory();
    let few = |rows: i64| Arc::new(StringArray::from_iter_values((0..rows).map(|row| format!("value {}", row % 3))));
    let many = |rows: i64| Arc::new(StringArray::from_iter_values((0..rows).map(|row| format!("value {row}"))));
    let table = |rows: i64| batch(vec![("few", few(rows)), ("many", many(rows)), ("plain", few(rows))]);
    let limited = properties()
        .set_column_dictionary_enabled("plain".into(), false)
        .set_dictionary_page_size_limit(512)
        .set_write_batch_size(64);
    let files = [
        put_with(&storage, "a.parquet", &table(10), vec![], Some(properties().build())).await,
        put_with(&storage, "b.parquet", &table(2_000), vec![], Some(limited.build())).await,
        // Neither the first nor the largest: not looked at.
        put_with(&storage, "c.parquet", &table(20), vec![], Some(properties().set_dictionary_enabled(false).build())).await,
    ];
    let columns = ["few", "many", "plain"].map(|name| (name, DataType::String)).to_vec();
    let snapshot = snapshot(&storage, schema(columns), PartitionSpec::default());
    let found = |files: Vec<FileEntry>| {
        let (storage, snapshot) = (&storage, &snapshot);
        async move { dictionary_columns(&request(storage, snapshot, &files)).await }
    };
    assert_eq!(found(files.to_vec()).await, names(&["few"]));
    assert_eq!(found(files[..1].to_vec()).await, names(&["few", "many", "plain"]));
    assert_eq!(found(files[2..].to_vec()).await, names(&[]));
    let gone = FileEntry { path: "gone.parquet".to_owned(), ..files[0].clone() };
    assert_eq!(found(vec![gone]).await, names(&[]), "a footer that cannot be read is left to the scan");
    let expected = rows(&plainly(&request(&storage, &snapshot, &files)).await);
    assert_eq!(rows(&compactly(&request(&storage, &snapshot, &files), &names(&["few"])).await), expected);
}

#[tokio::test]
async fn renamed_nested_and_fixed_columns_read_alike_both_ways() {
    let storage = memory();
    let inner = batch(vec![("text", Arc::new(StringArray::from(vec![Some("x"), None])))]);
    let fixed = FixedSizeBinaryArray::try_from_iter([[1_u8, 2], [3, 4]].into_iter()).unwrap();
    let file = batch(vec![
        ("old_name", Arc::new(StringArray::from(vec![Some("a"), None]))),
        ("s", Arc::new(StructArray::from(inner))),
        ("fixed", Arc::new(fixed)),
    ]);
    let files = [put(&storage, "a.parquet", &file, vec![]).await];
    let member = Field::new("text", DataType::String, true);
    let columns =
        vec![("name", DataType::String), ("s", DataType::Struct { fields: vec![member] }), ("fixed", DataType::Binary)];
    let mut columns = schema(columns);
    columns.fields[0].aliases = vec!["old_name".to_owned()];
    let snapshot = snapshot(&storage, columns, PartitionSpec::default());
    let request = request(&storage, &snapshot, &files);
    let expected = rows(&plainly(&request).await);
    assert_eq!(expected.len(), 2);
    for dictionaries in [names(&[]), names(&["name", "s", "fixed"])] {
        assert_eq!(rows(&compactly(&request, &dictionaries).await), expected, "{dictionaries:?}");
    }
}

/// 160 MiB in row groups of about 2 MiB, so that the file is divided; and a small one beside it.
#[tokio::test]
async fn every_row_of_a_large_file_is_read_once_by_whoever_shares_it() {
    const ROWS: i64 = 2_560;
    let storage = memory();
    let payload = vec![7_u8; 64 * 1024];
    let large = batch(vec![
        ("n", Arc::new(Int64Array::from_iter_values(0..ROWS))),
        ("payload", Arc::new(BinaryArray::from_iter_values((0..ROWS).map(|_| &payload[..])))),
    ]);
    let groups = properties().set_dictionary_enabled(false).set_max_row_group_row_count(Some(33)).build();
    let small = batch(vec![("n", Arc::new(Int64Array::from_iter_values(ROWS..ROWS + 10)))]);
    let files = [
        put_with(&storage, "large.parquet", &large, vec![], Some(groups)).await,
        put(&storage, "small.parquet", &small, vec![]).await,
    ];
    assert!(files[0].size_bytes > 150 << 20);
    let snapshot = snapshot(&storage, schema(vec![("n", DataType::Int64)]), PartitionSpec::default());
    let engine = engine();
    let plan = scan(&engine, &request(&storage, &snapshot, &files)).unwrap();
    let shown = displayable(plan.as_ref()).indent(true).to_string();
    assert_eq!(shown.matches("large.parquet:").count(), 3, "the file is not divided: {shown}");
    let partitions = (0..plan.output_partitioning().partition_count()).map(|partition| {
        let stream = plan.execute(partition, engine.session().task_ctx()).unwrap();
        stream.try_collect::<Vec<RecordBatch>>()
    });
    let batches = futures::future::try_join_all(partitions).await.unwrap().concat();
    let mut all: Vec<i64> =
        batches.iter().flat_map(|batch| batch["n"].as_primitive::<Int64Type>().values().to_vec()).collect();
    all.sort_unstable();
    assert!(all.iter().copied().eq(0..ROWS + 10), "{} rows, or not each of them once", all.len());
}
