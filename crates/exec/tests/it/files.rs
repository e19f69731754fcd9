//! Tables, files and streams for the tests.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::util::pretty::pretty_format_batches;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::TryStreamExt;
use lakeshift_core::partition::PartitionSpec;
use lakeshift_core::schema::{DataType, Field, TableSchema};
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{FileEntry, Format, Snapshot, TableVersion};
use lakeshift_core::value::Value;
use lakeshift_exec::engine::{Engine, EngineSettings};
use lakeshift_exec::scan::{Deletes, ScanRequest, scan};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use url::Url;

pub fn engine() -> Engine {
    let settings = EngineSettings { concurrency: 2, ..EngineSettings::default() };
    Engine::builder().with_settings(settings).build().unwrap()
}

pub fn memory() -> Storage {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    Storage::new(Url::parse("memory:///lake/table").unwrap(), store, Path::from("lake/table"))
}

pub fn local(folder: &std::path::Path) -> Storage {
    let store: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new());
    let prefix = Path::from_absolute_path(folder).unwrap();
    Storage::new(Url::from_directory_path(folder).unwrap(), store, prefix)
}

pub fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

pub fn schema(fields: Vec<(&str, DataType)>) -> TableSchema {
    TableSchema { fields: fields.into_iter().map(|(name, data_type)| Field::new(name, data_type, true)).collect() }
}

/// Writes one Parquet file and tells what a table would record of it.
pub async fn put(storage: &Storage, path: &str, batch: &RecordBatch, partition: Vec<Option<Value>>) -> FileEntry {
    put_with(storage, path, batch, partition, None).await
}

/// As [`put`], with other properties than the writer's own.
pub async fn put_with(
    storage: &Storage,
    path: &str,
    batch: &RecordBatch,
    partition: Vec<Option<Value>>,
    properties: Option<WriterProperties>,
) -> FileEntry {
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), properties).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    let size_bytes = bytes.len() as u64;
    storage.store().put(&storage.resolve(path).unwrap(), bytes.into()).await.unwrap();
    let rows = Some(batch.num_rows() as u64);
    FileEntry {
        path: path.to_owned(),
        size_bytes,
        identity: String::new(),
        modified_ms: 0,
        rows,
        partition,
        has_deletes: false,
    }
}

pub fn snapshot(storage: &Storage, schema: TableSchema, partition: PartitionSpec) -> Snapshot {
    let version = TableVersion("1".to_owned());
    Snapshot {
        version,
        location: storage.location().to_owned(),
        schema,
        partition,
        properties: Default::default(),
        defaults: Default::default(),
    }
}

pub async fn collect(engine: &Engine, plan: Arc<dyn ExecutionPlan>) -> Result<Vec<RecordBatch>, DataFusionError> {
    engine.execute(plan)?.try_collect().await
}

/// The rows of a scan as a table, sorted.
pub async fn read(
    format: Format,
    storage: &Storage,
    snapshot: &Snapshot,
    files: &[FileEntry],
) -> Result<String, DataFusionError> {
    read_without(format, storage, snapshot, files, no_deletes()).await
}

pub fn no_deletes() -> &'static Deletes {
    static NONE: std::sync::LazyLock<Deletes> = std::sync::LazyLock::new(Deletes::new);
    &NONE
}

/// As [`read`], without the deleted rows.
pub async fn read_without(
    format: Format,
    storage: &Storage,
    snapshot: &Snapshot,
    files: &[FileEntry],
    deletes: &Deletes,
) -> Result<String, DataFusionError> {
    let engine = engine();
    let plan = scan(&engine, &ScanRequest { storage, format, snapshot, files, deletes }).unwrap();
    assert_eq!(plan.schema(), lakeshift_exec::types::arrow_schema(&snapshot.schema).unwrap());
    Ok(sorted(&collect(&engine, plan).await?))
}

pub fn sorted(batches: &[RecordBatch]) -> String {
    let table = pretty_format_batches(batches).unwrap().to_string();
    let mut lines: Vec<&str> = table.lines().filter(|line| line.starts_with('|')).collect();
    if lines.len() > 1 {
        lines[1..].sort_unstable();
    }
    lines.join("\n")
}

pub fn stream(batches: Vec<RecordBatch>) -> SendableRecordBatchStream {
    let schema = batches[0].schema();
    Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter(batches.into_iter().map(Ok))))
}

/// The paths of all objects below a storage, relative, sorted.
pub async fn objects(storage: &Storage) -> Vec<String> {
    let listed: Vec<_> = storage.store().list(Some(storage.prefix())).try_collect().await.unwrap();
    let mut paths: Vec<String> = listed.iter().filter_map(|meta| storage.relative(&meta.location)).collect();
    paths.sort();
    paths
}
