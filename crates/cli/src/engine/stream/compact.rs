//! [`compact`]: small files of a partition become one, as the stream's file says.
//!
//! The new files are read back before anything is replaced, and must have the fingerprint of the rows that were read from the old ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::physical_plan::ExecutionPlan;
use futures::{StreamExt, TryStreamExt};
use lakeshift_core::equivalence::{Fingerprint, ValidationKey};
use lakeshift_core::plan::data_file_stem;
use lakeshift_core::stream::CompactSpec;
use lakeshift_core::table::{FileEntry, NewFile, Snapshot};
use lakeshift_core::value::Value;
use lakeshift_exec::fingerprint::tee;
use lakeshift_exec::scan::{Deletes, ScanRequest, scan};
use lakeshift_journal::RngExt;
use lakeshift_stream::{Ingest, OneTable, Place, Source};

use super::backfill::sums;
use super::file::refused;
use super::sink::ParquetSink;
use super::table_stream::TableStream;
use crate::engine::rows::scan_live;
use crate::error::Error;

/// Partitions that are compacted in one commit at most; the stream waits meanwhile.
const PARTITIONS_MAX: usize = 8;

/// Compacts once, as much as goes into one commit. Files that there are no more; 0 where there is nothing to do.
///
/// # Errors
/// Files that cannot be read or written, or that were not read back as they were written; nothing was replaced then. What the
/// table and the journal may come to.
pub(super) async fn compact<S>(
    file: &TableStream<'_>,
    ingest: &mut Ingest<S, OneTable<ParquetSink>>,
    policy: &CompactSpec,
) -> Result<u64, Error>
where
    S: Source<Rows = RecordBatch>,
{
    let snapshot = file.table.snapshot(None).await?;
    let (places, old) = small_files(file, ingest, &snapshot, policy).await?;
    let Some(compaction) = ingest.may_compact(&places).filter(|_| !old.is_empty()) else { return Ok(0) };
    let (unit, epoch) = compaction.files_of();
    let stem = data_file_stem(&file.id(), &unit, epoch);
    // Dropped in the middle it leaves objects that no table refers to.
    let Ok(written) = file.context.stop.or_drop(rewritten(file, &snapshot, &old, &stem)).await else { return Ok(0) };
    let (add, before) = (written?, old.len());
    let after = add.len();
    let remove = old.into_iter().map(|file| file.path).collect();
    let done = ingest.compact(&compaction, add, remove).await?;
    Ok(if done { before.saturating_sub(after) as u64 } else { 0 })
}

/// Small files of partitions that have enough of them and that no lock concerns.
async fn small_files<S>(
    file: &TableStream<'_>,
    ingest: &Ingest<S, OneTable<ParquetSink>>,
    snapshot: &Snapshot,
    policy: &CompactSpec,
) -> Result<(Vec<Place>, Vec<FileEntry>), Error>
where
    S: Source<Rows = RecordBatch>,
{
    let size = policy.file_size.bytes();
    let mut partitions: BTreeMap<(i32, Place), Vec<FileEntry>> = BTreeMap::new();
    let mut all = file.table.files(snapshot);
    while let Some(entry) = all.try_next().await? {
        if entry.size_bytes < size / 2 {
            partitions.entry(place_of(file, &entry)?).or_default().push(entry);
        }
    }
    let (mut places, mut chosen) = (Vec::new(), Vec::new());
    for ((_, place), mut files) in partitions {
        files.sort_by_key(|file| file.size_bytes);
        let mut left = size;
        let fits = |file: &FileEntry| {
            let before = left;
            left = left.saturating_sub(file.size_bytes);
            file.size_bytes <= before
        };
        let files: Vec<FileEntry> = files.into_iter().take_while(fits).collect();
        let enough = files.len() >= usize::try_from(policy.files).unwrap_or(usize::MAX);
        if enough && places.len() < PARTITIONS_MAX && ingest.may_compact(std::slice::from_ref(&place)).is_some() {
            places.push(place);
            chosen.extend(files);
        }
    }
    Ok((places, chosen))
}

/// The day whose rows a file has, and their place.
fn place_of(file: &TableStream<'_>, entry: &FileEntry) -> Result<(i32, Place), Error> {
    // The stream's partitioning is that of the table, in this order.
    let (time, entity) = (entry.partition.first().cloned().flatten(), entry.partition.get(1).cloned().flatten());
    let Some(Value::Date(day)) = time else {
        let problem = format!("file {} of the table lies in a partition without a date", entry.path);
        return Err(refused(problem, "give its rows a date, or take the file out of the table"));
    };
    let period = file.spec.time.grain.at_hours(i64::from(day) * 24);
    Ok((day, Place { period, entity: entity.map(|entity| entity.to_string().into()) }))
}

/// The rows of old files in new ones, which were read back.
async fn rewritten(
    file: &TableStream<'_>,
    snapshot: &Snapshot,
    old: &[FileEntry],
    stem: &str,
) -> Result<Vec<NewFile>, Error> {
    let key = ValidationKey::new(file.context.rng.nonce128().to_le_bytes());
    let plan = scan_live(&file.engine, file.table.as_ref(), &[file.storage], snapshot, old).await?;
    let failed = |source| Error::Query { source };
    let (input, read) = tee(&file.engine, vec![plan], Some(sums(&snapshot.schema, key))).map_err(failed)?;
    let sink = file.sink(snapshot.clone());
    let new = sink.files(input, stem).await?;
    let there = read_back(file, snapshot, &new, key).await;
    let read = read.take().pop().flatten();
    let digest =
        |print: &Fingerprint| print.digest().map_err(|source| Error::Json { object: "a fingerprint".to_owned(), source });
    let equal = match (there, &read) {
        (Ok(Some(there)), Some(read)) => digest(&there).and_then(|there| Ok(there == digest(read)?)),
        (Ok(_), _) => Ok(false),
        (Err(error), _) => Err(error),
    };
    match equal {
        Ok(true) => Ok(new),
        Ok(false) => {
            sink.drop_files(&new).await;
            let problem = "compacted files do not have the fingerprint of the rows that were read for them";
            Err(refused(problem, "nothing was replaced; take `compact` away, and report this with the table's history"))
        }
        Err(error) => {
            sink.drop_files(&new).await;
            Err(error)
        }
    }
}

/// The fingerprint of files that no table refers to yet.
async fn read_back(
    file: &TableStream<'_>,
    snapshot: &Snapshot,
    new: &[NewFile],
    key: ValidationKey,
) -> Result<Option<Fingerprint>, Error> {
    let entry = |new: &NewFile| FileEntry {
        path: new.path.clone(),
        size_bytes: new.size_bytes,
        identity: String::new(),
        modified_ms: 0,
        rows: Some(new.rows),
        partition: new.partition.clone(),
        has_deletes: false,
    };
    let (files, none): (Vec<_>, _) = (new.iter().map(entry).collect(), Deletes::new());
    let request =
        ScanRequest { storage: file.storage, format: file.table.format(), snapshot, files: &files, deletes: &none };
    let plan: Arc<dyn ExecutionPlan> = scan(&file.engine, &request)?;
    let failed = |source| Error::Query { source };
    let (mut read, print) = tee(&file.engine, vec![plan], Some(sums(&snapshot.schema, key))).map_err(failed)?;
    while let Some(batch) = read.next().await {
        batch.map_err(failed)?;
    }
    Ok(print.take().pop().flatten())
}
