//! When archived instants completed, from layout 2's history: Parquet files of instants, `<timeline>/history/*.parquet`.
//!
//! Read only where a log file of an archived instant lies beside a base file: which of the two came first is told there.

use std::collections::BTreeMap;

use bytes::Bytes;
use deltalake::arrow::array::{Array, RecordBatch, StringArray};
use futures::stream::{self, StreamExt, TryStreamExt};
use lakeshift_core::storage::Storage;
use lakeshift_core::table::TableError;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::storage::store_error;

/// Files that are read at the same time.
const FILES_IN_FLIGHT: usize = 4;
/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 30;
const TIME: &str = "instantTime";
const COMPLETION: &str = "completionTime";

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The completion times of archived instants. Files that a later one has taken in say the same once more.
pub(super) async fn completions(storage: &Storage, folder: &str) -> Result<BTreeMap<String, String>, TableError> {
    let history = storage.child(folder);
    let listed = history.store().list_with_delimiter(Some(history.prefix())).await;
    let listed = listed.map_err(|error| store_error("list", history.location(), error))?;
    let names = listed.objects.iter().filter_map(|meta| meta.location.filename().map(str::to_owned));
    let files: Vec<String> = names.filter(|name| name.ends_with(".parquet")).collect();
    let read = stream::iter(files).map(|name| async move {
        // One that is gone was taken into another meanwhile, and its instants then are not known: the caller refuses.
        let path = format!("{folder}/{name}");
        let Some(bytes) = super::read_object(storage, &path, FILE_BYTES_MAX).await? else { return Ok(Vec::new()) };
        pairs(bytes).map_err(|source| TableError::Corrupt {
            object: storage.url_of(&path),
            reason: "it is no file of a timeline's history".to_owned(),
            source: Some(source),
        })
    });
    let read: Vec<Vec<(String, String)>> = read.buffered(FILES_IN_FLIGHT).try_collect().await?;
    Ok(read.into_iter().flatten().collect())
}

/// The decoder asserts on some malformed files; such a file is an error of its own and nothing else's.
fn pairs(bytes: Bytes) -> Result<Vec<(String, String)>, BoxError> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| decode(bytes)))
        .unwrap_or_else(|_| Err("the decoder gave up on it".into()))
}

fn decode(bytes: Bytes) -> Result<Vec<(String, String)>, BoxError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), [TIME, COMPLETION]);
    let mut pairs = Vec::new();
    for batch in builder.with_projection(mask).build()? {
        let batch = batch?;
        let (times, completions) = (column(&batch, TIME)?, column(&batch, COMPLETION)?);
        let known = (0..batch.num_rows()).filter(|row| times.is_valid(*row) && completions.is_valid(*row));
        pairs.extend(known.map(|row| (times.value(row).to_owned(), completions.value(row).to_owned())));
    }
    Ok(pairs)
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a StringArray, BoxError> {
    let found = batch.column_by_name(name).and_then(|column| column.as_any().downcast_ref::<StringArray>());
    found.ok_or_else(|| format!("its column {name} is missing or no text").into())
}
