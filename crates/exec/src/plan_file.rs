//! The plan's table of files, `plans/<digest>.parquet`: written and read as a stream, so that a plan of a million files is
//! never whole in memory.
//!
//! [`write_plan`] and [`read_plan`] keep the order of rows. [`PlanDigest`] is over the rows and what they were planned
//! from, not over the Parquet bytes; [`verified`] checks it while a plan is read. [`units`] gathers the rows of each unit.

use std::sync::Arc;

use arrow::error::ArrowError;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::datasource::physical_plan::parquet::DefaultParquetFileReaderFactory;
use datafusion::error::DataFusionError;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt, TryStreamExt};
use lakeshift_core::plan::PlannedFile;
use lakeshift_core::storage::{OutsideError, Storage};
use object_store::ObjectStoreExt;
use object_store::buffered::BufWriter;
use parquet::arrow::AsyncArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

mod digest;
mod rows;

pub use digest::PlanDigest;

/// The version of this file format; it stands in the file's metadata.
pub const PLAN_FORMAT_VERSION: u32 = 1;
const VERSION_KEY: &str = "lakeshift.plan.version";
/// Rows that are encoded or decoded at once.
const BATCH_ROWS: usize = 4096;
/// Rows in a row group.
const ROW_GROUP_ROWS: usize = 131_072;
/// Size of a part of the upload, in bytes.
const PART_BYTES: usize = 6 << 20;

/// Why a plan could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum PlanFileError {
    /// A path that leads outside.
    #[error(transparent)]
    Outside(#[from] OutsideError),
    /// A float partition value that is no number; JSON cannot hold it.
    #[error("{file} has a partition value that is not a finite number; such a table cannot be planned yet")]
    NotFinite {
        /// The source file.
        file: String,
    },
    /// The store or the Parquet library failed.
    #[error("could not {action} the plan {path}")]
    Parquet {
        /// read or write.
        action: &'static str,
        /// The plan's path.
        path: String,
        /// The cause.
        #[source]
        source: ParquetError,
    },
    /// Arrow refused a batch.
    #[error("could not encode the plan {path}")]
    Arrow {
        /// The plan's path.
        path: String,
        /// The cause.
        #[source]
        source: ArrowError,
    },
    /// A file of another version or none of ours.
    #[error("{path} is a plan of version {found}, and this Lakeshift reads version {PLAN_FORMAT_VERSION}; plan again")]
    Version {
        /// The plan's path.
        path: String,
        /// What its metadata says.
        found: String,
    },
    /// A row that does not read back.
    #[error("row {row} of the plan {path} is not valid: {reason}; the plan was changed or damaged, plan again")]
    Row {
        /// The plan's path.
        path: String,
        /// The row, from 0.
        row: u64,
        /// What is wrong.
        reason: String,
    },
    /// The rows are not those that were approved.
    #[error("the plan {path} has the digest {found} and {expected} was approved; it was changed, plan and approve again")]
    Digest {
        /// The plan's path.
        path: String,
        /// The digest of the rows as read.
        found: String,
        /// The digest on record.
        expected: String,
    },
}

/// Writes a plan below `storage`; it becomes visible when it is whole. Returns the number of rows.
///
/// # Errors
/// [`PlanFileError`]; nothing is visible then. The stream's own errors are passed on.
pub async fn write_plan<S, E>(storage: &Storage, path: &str, files: S) -> Result<u64, E>
where
    S: Stream<Item = Result<PlannedFile, E>> + Send,
    E: From<PlanFileError>,
{
    let mut writer = open_writer(storage, path)?;
    match write_rows(&mut writer, path, files).await {
        Ok(rows) => {
            writer.finish().await.map_err(|source| parquet_error("write", path, source))?;
            Ok(rows)
        }
        Err(error) => {
            if let Err(failed) = writer.into_inner().abort().await {
                tracing::warn!(path, error = %failed, "an upload could not be aborted; the store expires its parts");
            }
            Err(error)
        }
    }
}

async fn write_rows<S, E>(writer: &mut AsyncArrowWriter<BufWriter>, path: &str, files: S) -> Result<u64, E>
where
    S: Stream<Item = Result<PlannedFile, E>> + Send,
    E: From<PlanFileError>,
{
    let mut chunks = std::pin::pin!(files.try_chunks(BATCH_ROWS));
    let mut rows = 0_u64;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|partial| partial.1)?;
        let batch = rows::encode(&chunk, path)?;
        writer.write(&batch).await.map_err(|source| parquet_error("write", path, source))?;
        rows += chunk.len() as u64;
    }
    writer.flush().await.map_err(|source| parquet_error("write", path, source))?;
    Ok(rows)
}

fn open_writer(storage: &Storage, path: &str) -> Result<AsyncArrowWriter<BufWriter>, PlanFileError> {
    let location = storage.resolve(path)?;
    let properties = WriterProperties::builder()
        .set_created_by(format!("lakeshift version {}", env!("CARGO_PKG_VERSION")))
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_key_value_metadata(Some(vec![KeyValue::new(VERSION_KEY.to_owned(), PLAN_FORMAT_VERSION.to_string())]))
        .build();
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let upload = BufWriter::with_capacity(Arc::clone(storage.store()), location, PART_BYTES);
    AsyncArrowWriter::try_new_with_options(upload, rows::schema(), options)
        .map_err(|source| parquet_error("write", path, source))
}

/// The rows of a plan, in order.
pub fn read_plan(storage: &Storage, path: &str) -> BoxStream<'static, Result<PlannedFile, PlanFileError>> {
    let (storage, path) = (storage.clone(), path.to_owned());
    stream::once(async move { open_reader(&storage, path).await }).try_flatten().boxed()
}

async fn open_reader(
    storage: &Storage,
    path: String,
) -> Result<BoxStream<'static, Result<PlannedFile, PlanFileError>>, PlanFileError> {
    let reader = file_reader(storage, &path).await?;
    let builder =
        ParquetRecordBatchStreamBuilder::new(reader).await.map_err(|source| parquet_error("read", &path, source))?;
    check_version(builder.metadata().file_metadata().key_value_metadata(), &path)?;
    let batches = builder.with_batch_size(BATCH_ROWS).build().map_err(|source| parquet_error("read", &path, source))?;
    let mut first_row = 0;
    let rows = batches.map(move |batch| -> Result<_, PlanFileError> {
        let batch = batch.map_err(|source| parquet_error("read", &path, source))?;
        let files = rows::decode(&batch, first_row, &path)?;
        first_row += files.len() as u64;
        Ok(stream::iter(files.into_iter().map(Ok)))
    });
    Ok(rows.try_flatten().boxed())
}

async fn file_reader(storage: &Storage, path: &str) -> Result<Box<dyn AsyncFileReader>, PlanFileError> {
    let failed = |error: DataFusionError| parquet_error("read", path, ParquetError::External(Box::new(error)));
    let meta = storage.store().head(&storage.resolve(path)?).await.map_err(|error| failed(error.into()))?;
    let readers = DefaultParquetFileReaderFactory::new(Arc::clone(storage.store()));
    let reader = readers.create_reader(0, PartitionedFile::new_from_meta(meta), None, &ExecutionPlanMetricsSet::new());
    Ok(reader.map_err(failed)?)
}

fn check_version(metadata: Option<&Vec<KeyValue>>, path: &str) -> Result<(), PlanFileError> {
    let entry = metadata.into_iter().flatten().find(|entry| entry.key == VERSION_KEY);
    let found = entry.and_then(|entry| entry.value.as_deref());
    if found == Some(PLAN_FORMAT_VERSION.to_string().as_str()) {
        return Ok(());
    }
    Err(PlanFileError::Version { path: path.to_owned(), found: found.unwrap_or("unknown").to_owned() })
}

fn parquet_error(action: &'static str, path: &str, source: ParquetError) -> PlanFileError {
    PlanFileError::Parquet { action, path: path.to_owned(), source }
}

/// The same rows, followed by an error when their digest is not `expected`. `digest` is the beginning of it: what
/// [`PlanDigest::new`] was given when the plan was made.
pub fn verified<'a>(
    rows: BoxStream<'a, Result<PlannedFile, PlanFileError>>,
    digest: PlanDigest,
    path: &str,
    expected: &str,
) -> BoxStream<'a, Result<PlannedFile, PlanFileError>> {
    let (path, expected) = (path.to_owned(), expected.to_owned());
    let state = Some((rows, digest));
    let checked = stream::unfold(state, move |state| {
        let (path, expected) = (path.clone(), expected.clone());
        async move {
            let (mut rows, mut digest) = state?;
            match rows.next().await {
                Some(Ok(file)) => {
                    digest.add(&file);
                    Some((Ok(file), Some((rows, digest))))
                }
                Some(Err(error)) => Some((Err(error), None)),
                None => {
                    let found = digest.finish();
                    (found != expected).then(|| (Err(PlanFileError::Digest { path, found, expected }), None))
                }
            }
        }
    });
    checked.boxed()
}

/// The rows of each unit together, units in order. One unit is in memory at a time.
pub fn units<'a, E: Send + 'a>(rows: BoxStream<'a, Result<PlannedFile, E>>) -> BoxStream<'a, Result<Vec<PlannedFile>, E>> {
    // The last unit asks once more after the end.
    let rows = rows.fuse().boxed();
    let gathered = stream::try_unfold((rows, None), |(mut rows, first): (_, Option<PlannedFile>)| async move {
        let mut unit: Vec<PlannedFile> = first.into_iter().collect();
        loop {
            let next = rows.try_next().await?;
            let same = |file: &PlannedFile| unit.first().is_none_or(|first| first.unit == file.unit);
            match next {
                Some(file) if same(&file) => unit.push(file),
                None if unit.is_empty() => return Ok(None),
                next => return Ok(Some((unit, (rows, next)))),
            }
        }
    });
    gathered.boxed()
}
