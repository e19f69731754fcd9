//! A small partitioned table and its files: the columns `id`, `day` (an identity partition that the files lack), `name`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use ::iceberg::spec::{DataFile, FormatVersion, Manifest, ManifestContentType, ManifestFile, ManifestList};
use deltalake::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use futures::TryStreamExt;
use lakeshift_core::partition::{PartitionField, PartitionSpec, Transform};
use lakeshift_core::schema::{DataType, Field, TableSchema};
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{
    CommitNumber, CommitOutcome, CommitRequest, CreateOutcome, CreateRequest, DeletedRows, FileEntry, MigrationId, NewFile,
    TableFormat, TableVersion,
};
use lakeshift_core::value::Value;
use lakeshift_journal::Epoch;
use lakeshift_tables::iceberg::IcebergTable;
use lakeshift_tables::storage::Stores;
use lakeshift_testkit::{ManualClock, SeededRng};
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ArrowWriter;
use tempfile::TempDir;

pub const DAY: i32 = 11_323;

/// A folder on the local disk with a table location in it.
pub struct Lake {
    pub dir: TempDir,
    pub storage: Storage,
}

impl Lake {
    pub fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let storage = open(&dir.path().join("table"));
        Self { dir, storage }
    }

    /// The adapter as one process would make it.
    pub fn table(&self, seed: u64) -> IcebergTable {
        adapter(self.storage.clone(), seed)
    }

    /// The same location behind another store.
    pub fn behind(&self, store: Arc<dyn ObjectStore>) -> Storage {
        Storage::new(self.storage.url().clone(), store, self.storage.prefix().clone())
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join("table").join(relative)
    }

    /// The metadata file of a version, as JSON.
    pub fn metadata(&self, number: u64) -> serde_json::Value {
        let bytes = std::fs::read(self.path(&format!("metadata/v{number}.metadata.json"))).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    /// The manifests of the newest snapshot of a version, as Iceberg's own parser reads them, with their lines in the list.
    pub fn manifests(&self, number: u64) -> Vec<(ManifestFile, Manifest)> {
        let read = |url: &str| std::fs::read(url.strip_prefix("file://").unwrap()).unwrap();
        let metadata = self.metadata(number);
        let snapshot = metadata["snapshots"].as_array().unwrap().last().unwrap();
        let version = if metadata["format-version"] == 3 { FormatVersion::V3 } else { FormatVersion::V2 };
        let list = read(snapshot["manifest-list"].as_str().unwrap());
        let list = ManifestList::parse_with_version(&list, version).unwrap();
        let parse = |file: ManifestFile| {
            let manifest = Manifest::parse_avro(&read(&file.manifest_path)).unwrap();
            (file, manifest)
        };
        list.consume_entries().into_iter().map(parse).collect()
    }

    /// The live data files (or delete files) of a version, with their manifests' lines in the list.
    pub fn files_in(&self, number: u64, content: ManifestContentType) -> Vec<(ManifestFile, DataFile)> {
        let manifests = self.manifests(number).into_iter().filter(|(file, _)| file.content == content);
        let live = |(file, manifest): (ManifestFile, Manifest)| {
            let entries = manifest.entries().iter().filter(|entry| entry.is_alive());
            entries.map(|entry| (file.clone(), entry.data_file().clone())).collect::<Vec<_>>()
        };
        manifests.flat_map(live).collect()
    }

    /// Writes a file of rows (id, name) and describes it as one of `day`.
    pub async fn file(&self, path: &str, day: Option<i32>, rows: &[(i64, Option<&str>)]) -> NewFile {
        new_file(&self.storage, path, day, rows).await
    }
}

pub fn open(path: &std::path::Path) -> Storage {
    Stores::new().open(url::Url::from_file_path(path).unwrap().as_str()).unwrap()
}

pub fn adapter(storage: Storage, seed: u64) -> IcebergTable {
    IcebergTable::new(storage).with_clock(Arc::new(ManualClock::new())).with_rng(Arc::new(SeededRng::new(seed)))
}

pub async fn new_file(storage: &Storage, path: &str, day: Option<i32>, rows: &[(i64, Option<&str>)]) -> NewFile {
    let bytes = parquet(rows);
    let size_bytes = bytes.len() as u64;
    storage.store().put(&storage.resolve(path).unwrap(), bytes.into()).await.unwrap();
    NewFile { path: path.to_owned(), size_bytes, partition: vec![day.map(Value::Date)], rows: rows.len() as u64 }
}

pub fn parquet(rows: &[(i64, Option<&str>)]) -> Vec<u8> {
    let ids: ArrayRef = Arc::new(rows.iter().map(|row| Some(row.0)).collect::<Int64Array>());
    let names: ArrayRef = Arc::new(rows.iter().map(|row| row.1).collect::<StringArray>());
    let batch = RecordBatch::try_from_iter_with_nullable([("id", ids, true), ("name", names, true)]).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

pub fn migration() -> MigrationId {
    MigrationId("flights".to_owned())
}

pub fn create_request() -> CreateRequest {
    let field = |name: &str, data_type, nullable| Field::new(name, data_type, nullable);
    CreateRequest {
        migration: migration(),
        epoch: Epoch(1),
        schema: TableSchema {
            fields: vec![
                field("id", DataType::Int64, false),
                field("day", DataType::Date, true),
                field("name", DataType::String, true),
            ],
        },
        partition: PartitionSpec { fields: vec![PartitionField::new("day", Transform::Identity)] },
        sort: Vec::new(),
        format_version: None,
        properties: BTreeMap::new(),
    }
}

/// Commit `number` of epoch 1.
pub fn request(number: u64, add: Vec<NewFile>, remove: &[&str]) -> CommitRequest {
    let remove = remove.iter().map(|path| (*path).to_owned()).collect();
    CommitRequest { add, remove, ..CommitRequest::fence(migration(), CommitNumber(number), Epoch(1)) }
}

/// As [`request`], but for deleting rows at positions in files.
pub fn deleting(number: u64, deletes: &[(&str, &[u64])]) -> CommitRequest {
    let rows = |positions: &[u64]| DeletedRows::from_ascending(positions.iter().copied()).unwrap();
    let deletes = deletes.iter().map(|(path, positions)| ((*path).to_owned(), rows(positions))).collect();
    CommitRequest { deletes, ..request(number, vec![], &[]) }
}

/// A lake with the created, empty table.
pub async fn created() -> (Lake, IcebergTable) {
    created_as(None).await
}

/// As [`created`], of a version of the format.
pub async fn created_as(format_version: Option<u8>) -> (Lake, IcebergTable) {
    let lake = Lake::new();
    let table = lake.table(1);
    let outcome = table.create(&CreateRequest { format_version, ..create_request() }).await.unwrap();
    assert_eq!(outcome, CreateOutcome::Created(TableVersion("iceberg:none".to_owned())));
    (lake, table)
}

/// Commits, and insists on it.
pub async fn committed(table: &IcebergTable, request: &CommitRequest) -> TableVersion {
    match table.commit(request).await.unwrap() {
        CommitOutcome::Committed(version) => version,
        other => panic!("not committed: {other:?}"),
    }
}

/// The live files now.
pub async fn live(table: &dyn TableFormat) -> Vec<FileEntry> {
    let snapshot = table.snapshot(None).await.unwrap();
    table.files(&snapshot).try_collect().await.unwrap()
}

pub async fn paths(table: &dyn TableFormat) -> Vec<String> {
    live(table).await.into_iter().map(|entry| entry.path).collect()
}
