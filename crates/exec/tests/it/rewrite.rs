//! Writing data files.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, AsArray, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType as ArrowType, Int64Type};
use bytes::Bytes;
use datafusion::error::DataFusionError;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use lakeshift_core::partition::{PartitionField, PartitionSpec, Transform};
use lakeshift_core::schema::{DataType, Field, TableSchema};
use lakeshift_core::spec::{ByteSize, Compression, ParquetOptions, SortColumn};
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{FileEntry, Format, NewFile};
use lakeshift_core::value::Value;
use lakeshift_exec::engine::Engine;
use lakeshift_exec::rewrite::{PartitionColumns, RewriteError, RewriteLimits, RewriteOutcome, RewriteRequest, rewrite};
use object_store::ObjectStoreExt;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::ReaderProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::serialized_reader::ReadOptionsBuilder;
use tokio::sync::watch;

use crate::files::{batch, engine, local, memory, objects, put, read, schema, snapshot, stream};

static ENGINE: LazyLock<Engine> = LazyLock::new(engine);
static PARQUET: LazyLock<ParquetOptions> = LazyLock::new(ParquetOptions::default);

fn table() -> TableSchema {
    schema(vec![("n", DataType::Int64), ("s", DataType::String)])
}

fn by_s() -> PartitionSpec {
    PartitionSpec { fields: vec![PartitionField::new("s", Transform::Identity)] }
}

/// Rows `(n, s)` with n counting up and s from a cycle of `values`.
fn rows(count: i32, values: &[Option<&str>]) -> RecordBatch {
    let texts = (0..count as usize).map(|row| values[row % values.len()]).collect::<StringArray>();
    batch(vec![("n", Arc::new(Int32Array::from_iter_values(0..count)) as ArrayRef), ("s", Arc::new(texts))])
}

fn request<'a>(
    storage: &'a Storage,
    schema: &'a TableSchema,
    partition: &'a PartitionSpec,
    batches: Vec<RecordBatch>,
) -> RewriteRequest<'a> {
    RewriteRequest {
        engine: &ENGINE,
        input: stream(batches),
        storage,
        schema,
        partition,
        partition_columns: PartitionColumns::Keep,
        file_stem: "ls.m.b000001.e1",
        limits: RewriteLimits::default(),
        parquet: &PARQUET,
        sort: &[],
        cancel: None,
    }
}

async fn written(request: RewriteRequest<'_>) -> Vec<NewFile> {
    match rewrite(request).await.unwrap() {
        RewriteOutcome::Written(files) => files,
        RewriteOutcome::Cancelled(_) => panic!("nobody cancelled"),
    }
}

async fn footer(storage: &Storage, path: &str) -> (ParquetMetaData, Bytes) {
    let bytes = storage.store().get(&storage.resolve(path).unwrap()).await.unwrap().bytes().await.unwrap();
    (SerializedFileReader::new(bytes.clone()).unwrap().metadata().clone(), bytes)
}

fn entries(files: &[NewFile]) -> Vec<FileEntry> {
    let entry = |file: &NewFile| FileEntry {
        path: file.path.clone(),
        size_bytes: file.size_bytes,
        identity: String::new(),
        modified_ms: 0,
        rows: Some(file.rows),
        partition: file.partition.clone(),
        has_deletes: false,
    };
    files.iter().map(entry).collect()
}

#[tokio::test]
async fn rows_are_split_by_partition_in_their_order_and_read_back_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let storage = local(folder.path());
    let (table, spec) = (table(), by_s());
    let input = rows(10, &[Some("a/b"), None, Some("é ")]);
    let files = written(request(&storage, &table, &spec, vec![input.slice(0, 4), input.slice(4, 6)])).await;
    let told: Vec<(&str, u64)> = files.iter().map(|file| (file.path.as_str(), file.rows)).collect();
    assert_eq!(
        told,
        [
            ("data/s=%C3%A9%20/ls.m.b000001.e1-00003.parquet", 3),
            ("data/s=__HIVE_DEFAULT_PARTITION__/ls.m.b000001.e1-00002.parquet", 3),
            ("data/s=a%2Fb/ls.m.b000001.e1-00001.parquet", 4),
        ]
    );
    assert_eq!(files[1].partition, [None]);
    assert_eq!(objects(&storage).await, told.iter().map(|(path, _)| (*path).to_owned()).collect::<Vec<_>>());
    for file in &files {
        let (metadata, bytes) = footer(&storage, &file.path).await;
        assert_eq!(metadata.file_metadata().num_rows(), file.rows as i64);
        assert_eq!(bytes.len() as u64, file.size_bytes);
        let numbers: Vec<i64> = parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(bytes, 100)
            .unwrap()
            .flat_map(|batch| {
                batch.unwrap().column(0).as_any().downcast_ref::<arrow::array::Int64Array>().unwrap().values().to_vec()
            })
            .collect();
        assert!(numbers.is_sorted(), "{numbers:?}");
    }
    let snapshot = snapshot(&storage, table.clone(), spec.clone());
    let back = read(Format::Iceberg, &storage, &snapshot, &entries(&files)).await.unwrap();
    let before = put(&storage, "before.parquet", &input, vec![None]).await;
    assert_eq!(back, read(Format::Iceberg, &storage, &snapshot, &[before]).await.unwrap());
}

#[tokio::test]
async fn field_ids_statistics_and_spec_names_stand_in_the_footer() {
    let storage = memory();
    let mut list = Field::new(
        "l",
        DataType::List { element: Box::new(Field { id: Some(4), ..Field::new("element", DataType::Int32, true) }) },
        true,
    );
    list.id = Some(3);
    let mut table = schema(vec![("n", DataType::Int64)]);
    table.fields[0].id = Some(1);
    table.fields.push(list);
    let lists =
        arrow::array::ListArray::from_iter_primitive::<arrow::datatypes::Int32Type, _, _>(vec![Some(vec![Some(1)]), None]);
    let input = batch(vec![("n", Arc::new(Int32Array::from(vec![Some(-7), None])) as ArrayRef), ("l", Arc::new(lists))]);
    let files = written(request(&storage, &table, &PartitionSpec::default(), vec![input])).await;
    assert_eq!(files[0].path, "data/ls.m.b000001.e1-00001.parquet");
    let (metadata, _) = footer(&storage, &files[0].path).await;
    let mut text = Vec::new();
    parquet::schema::printer::print_schema(&mut text, metadata.file_metadata().schema());
    insta::assert_snapshot!(String::from_utf8(text).unwrap(), @r"
    message arrow_schema {
      OPTIONAL INT64 n [1];
      OPTIONAL group l [3] (LIST) {
        REPEATED group list {
          OPTIONAL INT32 element [4];
        }
      }
    }
    ");
    let statistics = metadata.row_group(0).column(0).statistics().unwrap();
    assert_eq!(statistics.null_count_opt(), Some(1));
    assert_eq!(statistics.min_bytes_opt(), Some(&(-7_i64).to_le_bytes()[..]));
    assert!(metadata.file_metadata().key_value_metadata().is_none());
}

#[tokio::test]
async fn delta_files_omit_identity_partition_columns_and_an_empty_input_writes_nothing() {
    let storage = memory();
    let (table, spec) = (table(), by_s());
    let omit = |batch| RewriteRequest {
        partition_columns: PartitionColumns::Omit,
        ..request(&storage, &table, &spec, vec![batch])
    };
    let files = written(omit(rows(2, &[Some("a")]))).await;
    let (metadata, _) = footer(&storage, &files[0].path).await;
    assert_eq!(metadata.file_metadata().schema_descr().num_columns(), 1);
    let text =
        read(Format::Delta, &storage, &snapshot(&storage, table.clone(), spec.clone()), &entries(&files)).await.unwrap();
    assert_eq!(text, "| n | s |\n| 0 | a |\n| 1 | a |");
    let empty = memory();
    assert!(written(request(&empty, &table, &spec, vec![rows(0, &[None])])).await.is_empty());
    assert!(objects(&empty).await.is_empty());
}

/// Text that does not compress.
fn noise(row: u64) -> String {
    let mut state = row.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let word = |state: &mut u64| {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        format!("{state:016x}")
    };
    (0..8).map(|_| word(&mut state)).collect()
}

fn noisy(count: u64, partitions: i32) -> RecordBatch {
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..count).map(noise)));
    batch(vec![
        ("n", Arc::new(Int32Array::from_iter_values((0..count).map(|row| row as i32 % partitions))) as ArrayRef),
        ("s", texts),
    ])
}

#[tokio::test]
async fn files_are_closed_near_their_target_size() {
    let storage = memory();
    let (table, spec) = (table(), PartitionSpec::default());
    let input = noisy(400_000, 1);
    let batches = (0..400).map(|part| input.slice(part * 1000, 1000)).collect();
    let limits = RewriteLimits { target_file_bytes: 4 << 20, memory_bytes: 8 << 20, ..RewriteLimits::default() };
    let files = written(RewriteRequest { limits, ..request(&storage, &table, &spec, batches) }).await;
    assert!(files.len() > 3);
    assert_eq!(files.iter().map(|file| file.rows).sum::<u64>(), 400_000);
    // One file has what was left in the end.
    let mut sizes: Vec<u64> = files.iter().map(|file| file.size_bytes).collect();
    sizes.sort_unstable();
    for size in &sizes[1..] {
        assert!((2_800_000..6_000_000).contains(size), "{sizes:?}");
    }
}

/// Numbers of the first column in the order of a file's rows.
fn numbers(bytes: Bytes) -> Vec<Option<i64>> {
    let batches = parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(bytes, 1000).unwrap();
    batches
        .flat_map(|batch| {
            let batch = batch.unwrap();
            batch.column(0).as_primitive::<Int64Type>().iter().collect::<Vec<_>>()
        })
        .collect()
}

#[tokio::test]
async fn five_thousand_partitions_under_a_small_budget_make_one_whole_file_each() {
    let storage = memory();
    let table = table();
    let spec = PartitionSpec { fields: vec![PartitionField::new("n", Transform::Identity)] };
    let limits = RewriteLimits { memory_bytes: 8 << 20, ..RewriteLimits::default() };
    // Too much for the budget, and every partition's rows come in every batch.
    let input = noisy(100_000, 5000);
    let batches = (0..10).map(|part| input.slice(part * 10_000, 10_000)).collect();
    let files = written(RewriteRequest { limits, ..request(&storage, &table, &spec, batches) }).await;
    assert_eq!(files.len(), 5000);
    assert!(files.iter().all(|file| file.rows == 20));
    for file in files.iter().step_by(500) {
        let (metadata, bytes) = footer(&storage, &file.path).await;
        assert_eq!(metadata.num_row_groups(), 1);
        let Some(Value::Int(partition)) = file.partition[0] else { panic!("{file:?}") };
        assert_eq!(numbers(bytes), vec![Some(partition); 20]);
    }
}

#[tokio::test]
async fn partitions_that_become_too_many_on_the_way_lose_no_row_and_stay_few_files() {
    let storage = memory();
    let table = table();
    let spec = PartitionSpec { fields: vec![PartitionField::new("n", Transform::Identity)] };
    let limits = RewriteLimits { memory_bytes: 4 << 20, ..RewriteLimits::default() };
    let (few, many) = (noisy(20_000, 5), noisy(20_000, 1000));
    let files = written(RewriteRequest { limits, ..request(&storage, &table, &spec, vec![few, many]) }).await;
    assert_eq!(files.iter().map(|file| file.rows).sum::<u64>(), 40_000);
    assert!((1000..=1005).contains(&files.len()), "{}", files.len());
}

#[tokio::test]
async fn sorted_rows_are_in_order_within_and_across_the_files_of_a_partition() {
    let storage = memory();
    let (table, spec) = (table(), by_s());
    let shuffled = (0..30_000).map(|row| (row % 7 != 0).then_some((row * 7919) % 30_000));
    let texts = StringArray::from_iter_values((0..30_000).map(|row| if row % 2 == 0 { "a" } else { "b" }));
    let input = batch(vec![("n", Arc::new(shuffled.collect::<Int32Array>()) as ArrayRef), ("s", Arc::new(texts))]);
    let batches = (0..30).map(|part| input.slice(part * 1000, 1000)).collect();
    let sort =
        [SortColumn { column: "n".to_owned(), descending: true }, SortColumn { column: "s".to_owned(), descending: false }];
    let limits = RewriteLimits { target_file_bytes: 1, ..RewriteLimits::default() };
    let files = written(RewriteRequest { sort: &sort, limits, ..request(&storage, &table, &spec, batches) }).await;
    let mut of_a = Vec::new();
    let mut paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).filter(|path| path.contains("s=a")).collect();
    paths.sort_by_key(|path| (path.len(), *path));
    assert!(paths.len() > 1, "{files:?}");
    for path in paths {
        let (metadata, bytes) = footer(&storage, path).await;
        let order = metadata.row_group(0).sorting_columns().unwrap();
        let told = order.iter().map(|column| (column.column_idx, column.descending, column.nulls_first));
        assert_eq!(told.collect::<Vec<_>>(), [(0, true, false), (1, false, true)]);
        of_a.extend(numbers(bytes));
    }
    assert_eq!(of_a.len(), 15_000);
    let descends = |pair: &[Option<i64>]| match (pair[0], pair[1]) {
        (Some(a), Some(b)) => a >= b,
        (a, b) => a.is_some() || b.is_none(),
    };
    assert!(of_a.windows(2).all(descends));
}

#[tokio::test]
async fn files_are_written_as_the_spec_says() {
    let (table, spec) = (table(), PartitionSpec::default());
    let input = rows(10_000, &[Some("a"), Some("b"), None]);
    let default = memory();
    let files = written(request(&default, &table, &spec, vec![input.clone()])).await;
    let (metadata, _) = footer(&default, &files[0].path).await;
    let column = metadata.row_group(0).column(1);
    assert!(format!("{:?}", column.compression_codec()).starts_with("ZSTD"));
    assert!(column.offset_index_offset().is_some() && column.column_index_offset().is_some());
    assert!(column.bloom_filter_offset().is_none() && metadata.row_group(0).sorting_columns().is_none());
    let options = ParquetOptions {
        compression: Compression::Snappy,
        bloom_filters: vec!["s".to_owned()],
        page_index: false,
        ..ParquetOptions::default()
    };
    let other = memory();
    let files = written(RewriteRequest { parquet: &options, ..request(&other, &table, &spec, vec![input]) }).await;
    let (metadata, bytes) = footer(&other, &files[0].path).await;
    let column = metadata.row_group(0).column(1);
    assert_eq!(column.compression_codec(), parquet::basic::Compression::SNAPPY.into());
    assert!(column.offset_index_offset().is_none() && column.column_index_offset().is_none());
    assert_eq!(column.statistics().unwrap().max_bytes_opt(), Some(&b"b"[..]));
    assert!(metadata.row_group(0).column(0).bloom_filter_offset().is_none());
    let read = ReaderProperties::builder().set_read_bloom_filter(true).build();
    let read = ReadOptionsBuilder::new().with_reader_properties(read).build();
    let reader = SerializedFileReader::new_with_options(bytes, read).unwrap();
    let group = reader.get_row_group(0).unwrap();
    let filter = group.get_column_bloom_filter(1).unwrap();
    assert!(filter.check("a") && filter.check("b") && !filter.check("c"));
}

#[tokio::test]
async fn settings_that_name_no_column_of_single_values_are_refused() {
    let storage = memory();
    let (table, spec) = (table(), PartitionSpec::default());
    let parquet = ParquetOptions { bloom_filters: vec!["x".to_owned()], ..ParquetOptions::default() };
    let refused =
        rewrite(RewriteRequest { parquet: &parquet, ..request(&storage, &table, &spec, vec![rows(1, &[None])]) }).await;
    assert!(matches!(refused, Err(RewriteError::NoColumn { column, .. }) if column == "x"));
    let sort = [SortColumn { column: "y".to_owned(), descending: false }];
    let refused = rewrite(RewriteRequest { sort: &sort, ..request(&storage, &table, &spec, vec![rows(1, &[None])]) }).await;
    assert!(matches!(refused, Err(RewriteError::NoColumn { column, .. }) if column == "y"));
}

#[tokio::test]
async fn only_columns_that_repeat_their_values_get_a_dictionary_and_layouts_make_no_difference() {
    let (table, spec) = (table(), PartitionSpec::default());
    let plain = rows(5000, &[Some("a text of some length"), Some("b"), None]);
    let as_type = |data_type: &ArrowType| {
        let texts = arrow::compute::cast(plain.column(1), data_type).unwrap();
        batch(vec![("n", Arc::clone(plain.column(0))), ("s", texts)])
    };
    let dictionary = ArrowType::Dictionary(Box::new(ArrowType::Int32), Box::new(ArrowType::Utf8));
    let mut found = Vec::new();
    for input in [plain.clone(), as_type(&ArrowType::Utf8View), as_type(&dictionary)] {
        let storage = memory();
        let files = written(request(&storage, &table, &spec, vec![input])).await;
        let (metadata, bytes) = footer(&storage, &files[0].path).await;
        let columns = metadata.row_group(0).columns();
        let dictionaries: Vec<bool> = columns.iter().map(|column| column.dictionary_page_offset().is_some()).collect();
        assert_eq!(dictionaries, [false, true]);
        found.push(bytes);
    }
    assert_eq!(found[0], found[1]);
    assert_eq!(found[0], found[2]);
}

#[tokio::test]
async fn an_error_of_the_input_leaves_no_file_visible() {
    let folder = tempfile::tempdir().unwrap();
    let storage = local(folder.path());
    let table = table();
    let limits = RewriteLimits { memory_bytes: 64 << 20, ..RewriteLimits::default() };
    let parquet = ParquetOptions { row_group_size: ByteSize::mib(1), ..ParquetOptions::default() };
    // Enough for parts of an upload to be on their way.
    let texts = noisy(150_000, 1);
    let schema = texts.schema();
    let batches = (0..15).map(move |part| Ok(texts.slice(part * 10_000, 10_000)));
    let failing = batches.chain([Err(DataFusionError::Execution("the disk is gone".to_owned()))]);
    let input = Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter(failing)));
    let flat = PartitionSpec::default();
    let request =
        RewriteRequest { input, limits, parquet: &parquet, ..request(&storage, &table, &flat, vec![rows(1, &[None])]) };
    assert!(matches!(rewrite(request).await, Err(RewriteError::Read { .. })));
    assert_eq!(std::fs::read_dir(folder.path().join("data")).map(Iterator::count).unwrap_or(0), 0);
}

#[tokio::test]
async fn a_cancelled_rewrite_gives_up_what_is_open() {
    let storage = memory();
    let (table, spec) = (table(), by_s());
    let (stop, cancel) = watch::channel(false);
    let schema = rows(1, &[Some("a")]).schema();
    let batches = futures::stream::unfold((0, stop), |(part, stop)| async move {
        if part == 20 {
            stop.send(true).unwrap();
        }
        Some((Ok(rows(5000, &[Some("a"), Some("b")])), (part + 1, stop)))
    });
    let input = Box::pin(RecordBatchStreamAdapter::new(schema, batches));
    let request = RewriteRequest { input, cancel: Some(cancel), ..request(&storage, &table, &spec, vec![rows(1, &[None])]) };
    assert_eq!(rewrite(request).await.unwrap(), RewriteOutcome::Cancelled(Vec::new()));
    assert!(objects(&storage).await.is_empty());
}

#[tokio::test]
async fn columns_that_do_not_fit_the_target_are_refused_by_name() {
    let storage = memory();
    let spec = PartitionSpec::default();
    let failure = |table: TableSchema, input: RecordBatch| {
        let (storage, spec) = (&storage, &spec);
        async move { rewrite(request(storage, &table, spec, vec![input])).await.unwrap_err() }
    };
    let input = rows(2, &[None]);
    assert!(
        matches!(failure(schema(vec![("n", DataType::Int64)]), input.clone()).await, RewriteError::Extra { column, .. } if column == "s")
    );
    let mut wider = table();
    wider.fields.push(Field::new("m", DataType::Date, true));
    assert!(matches!(failure(wider, input.clone()).await, RewriteError::Missing { column, .. } if column == "m"));
    let narrow = schema(vec![("n", DataType::Int16), ("s", DataType::String)]);
    assert!(matches!(failure(narrow, input.clone()).await, RewriteError::ColumnType { column, .. } if column == "n"));
    let mut strict = table();
    strict.fields[1].nullable = false;
    assert!(matches!(failure(strict, input).await, RewriteError::Row { .. }));
    assert!(objects(&storage).await.is_empty());
}
