//! Small Parquet files and folders for the tests of this crate.

use std::sync::Arc;

use deltalake::arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{Snapshot, TableFormat};
use lakeshift_tables::storage::Stores;
use object_store::ObjectStoreExt;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use tempfile::TempDir;

/// A folder on the local disk, opened as a storage.
pub struct Folder {
    pub dir: TempDir,
    pub storage: Storage,
}

pub fn folder() -> Folder {
    let dir = TempDir::new().unwrap();
    let storage = open(dir.path());
    Folder { dir, storage }
}

pub fn open(path: &std::path::Path) -> Storage {
    Stores::new().open(url::Url::from_file_path(path).unwrap().as_str()).unwrap()
}

/// A Parquet file of one row group of these columns, with whole bounds of texts.
pub fn parquet(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let properties = WriterProperties::builder().set_statistics_truncate_length(None).build();
    parquet_with(properties, &[RecordBatch::try_from_iter(columns).unwrap()])
}

/// A Parquet file with a row group for each batch.
pub fn parquet_with(properties: WriterProperties, batches: &[RecordBatch]) -> Vec<u8> {
    let mut writer = ArrowWriter::try_new(Vec::new(), batches[0].schema(), Some(properties)).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
        writer.flush().unwrap();
    }
    writer.into_inner().unwrap()
}

pub fn ints(values: Vec<Option<i64>>) -> ArrayRef {
    Arc::new(Int64Array::from(values))
}

pub fn small_ints(values: Vec<i32>) -> ArrayRef {
    Arc::new(Int32Array::from(values))
}

pub fn texts(values: Vec<&str>) -> ArrayRef {
    Arc::new(StringArray::from(values))
}

/// A file of one column `id` with the numbers from `first`, `rows` of them.
pub fn numbers(first: i64, rows: i64) -> Vec<u8> {
    parquet(vec![("id", ints((first..first + rows).map(Some).collect()))])
}

pub async fn put(storage: &Storage, path: &str, bytes: Vec<u8>) {
    storage.store().put(&storage.resolve(path).unwrap(), bytes.into()).await.unwrap();
}

pub async fn delete(storage: &Storage, path: &str) {
    storage.store().delete(&storage.resolve(path).unwrap()).await.unwrap();
}

/// The paths of a snapshot's files.
pub async fn paths(table: &dyn TableFormat, snapshot: &Snapshot) -> Vec<String> {
    entries(table, snapshot).await.into_iter().map(|entry| entry.path).collect()
}

/// The files of a snapshot.
pub async fn entries(table: &dyn TableFormat, snapshot: &Snapshot) -> Vec<lakeshift_core::table::FileEntry> {
    use futures::TryStreamExt;
    table.files(snapshot).try_collect().await.unwrap()
}
