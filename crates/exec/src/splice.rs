//! Moving rows without decoding them: column chunks are copied as they are into files of the target's.
//!
//! For files whose rows all lie in one target partition and whose columns need no change. [`splice`] copies row group after
//! row group, gives the columns the target's field ids, and writes the columns that stood only in the path; it fills files
//! up to the target's size. Statistics and page indexes of the chunks go with them. It holds one row group's bytes at a time.
//! What it cannot copy it says before a file is visible, and the rows are rewritten instead.

mod output;
mod schema;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::datasource::physical_plan::parquet::DefaultParquetFileReaderFactory;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use lakeshift_core::partition::{PartitionSpec, Transform};
use lakeshift_core::schema::TableSchema;
use lakeshift_core::spec::ParquetOptions;
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{FileEntry, Format, NewFile, Snapshot};
use lakeshift_core::value::Value;
use object_store::ObjectMeta;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};

use crate::rewrite::{PartitionColumns, RewriteError, RewriteLimits};
use crate::scan::Names;
use crate::throttle::Throttle;
use output::Output;
use schema::Columns;

/// First read at a file's end, in bytes: most footers fit.
const FOOTER_READ_BYTES: usize = 64 * 1024;

/// What to copy, and where to.
#[derive(Debug, Clone)]
pub struct SpliceRequest<'a> {
    /// Where the source's files lie.
    pub source: &'a Storage,
    /// The source's format; it decides how columns are found.
    pub format: Format,
    /// The source.
    pub snapshot: &'a Snapshot,
    /// Its files; all their rows lie in the target partition `key`.
    pub files: &'a [FileEntry],
    /// The target's location.
    pub storage: &'a Storage,
    /// The target's columns.
    pub schema: &'a TableSchema,
    /// The target's partitioning.
    pub partition: &'a PartitionSpec,
    /// A value for every field of `partition`.
    pub key: &'a [Option<Value>],
    /// Whether data files hold the columns that identity partition fields take their values from.
    pub partition_columns: PartitionColumns,
    /// As [`crate::rewrite::RewriteRequest::file_stem`].
    pub file_stem: &'a str,
    /// Of these the target size.
    pub limits: RewriteLimits,
    /// Of these the compression of columns that are written anew.
    pub parquet: &'a ParquetOptions,
    /// Limits the bytes that are read in a second.
    pub throttle: &'a Throttle,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub enum SpliceOutcome {
    /// All rows are in these files, sorted by path.
    Written(Vec<NewFile>),
    /// A file's columns are laid out otherwise than the target's. Nothing became visible but files that no table has.
    NotPossible {
        /// The file.
        file: String,
        /// What differs.
        reason: String,
    },
}

/// Copies all rows of `request.files` and tells the new files.
///
/// # Errors
/// [`RewriteError`] for a file that cannot be read, is not the one on record, or cannot be written; open uploads are given
/// up before it returns.
pub async fn splice(request: &SpliceRequest<'_>) -> Result<SpliceOutcome, RewriteError> {
    let mut output = Output::new(request)?;
    match copy_all(request, &mut output).await {
        Ok(None) => Ok(SpliceOutcome::Written(output.finish().await?)),
        Ok(Some((file, reason))) => {
            output.abort().await;
            Ok(SpliceOutcome::NotPossible { file, reason })
        }
        Err(error) => {
            output.abort().await;
            Err(error)
        }
    }
}

async fn copy_all(request: &SpliceRequest<'_>, output: &mut Output<'_>) -> Result<Option<(String, String)>, RewriteError> {
    for file in request.files {
        if file.has_deletes {
            return Ok(Some((file.path.clone(), "rows of it are deleted".to_owned())));
        }
        let mut source = Source::open(request, file).await?;
        let columns = match Columns::of(request, &source.metadata, &constants(request, file)) {
            Ok(columns) => columns,
            Err(reason) => return Ok(Some((file.path.clone(), reason))),
        };
        for group in 0..source.metadata.num_row_groups() {
            let chunks = source.row_group(group, &columns, request.throttle).await?;
            output.append(&source.metadata, group, &columns, &chunks).await?;
        }
    }
    Ok(None)
}

/// The values of the columns that stand in the file's path.
fn constants(request: &SpliceRequest<'_>, file: &FileEntry) -> BTreeMap<String, Option<Value>> {
    let fields = request.snapshot.partition.fields.iter().zip(&file.partition);
    let identity = fields.filter(|(field, _)| field.transform == Transform::Identity);
    identity.map(|(field, value)| (field.column.clone(), value.clone())).collect()
}

/// An open source file.
struct Source {
    path: String,
    reader: Box<dyn AsyncFileReader + Send>,
    metadata: Arc<ParquetMetaData>,
}

/// Bytes of a source file, and where they began.
pub(crate) struct Chunks {
    start: u64,
    bytes: Bytes,
}

impl Source {
    async fn open(request: &SpliceRequest<'_>, file: &FileEntry) -> Result<Self, RewriteError> {
        let location = request.source.resolve(&file.path)?;
        let (e_tag, version) = (None, None);
        let meta = ObjectMeta { location, last_modified: Default::default(), size: file.size_bytes, e_tag, version };
        let readers = DefaultParquetFileReaderFactory::new(Arc::clone(request.source.store()));
        let (object, metrics) = (PartitionedFile::new_from_meta(meta), ExecutionPlanMetricsSet::new());
        let reader = readers.create_reader(0, object, Some(FOOTER_READ_BYTES), &metrics);
        let mut reader = reader.map_err(|source| RewriteError::Read { source })?;
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let metadata = reader.get_metadata(Some(&options)).await.map_err(|source| unreadable(&file.path, source))?;
        let names = Names::new(request.format, request.snapshot);
        let metadata = names.resolve(&file.path, metadata).map_err(|source| unreadable(&file.path, source))?;
        let rows = u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(0);
        match file.rows {
            Some(expected) if expected != rows => {
                Err(RewriteError::Replaced { file: file.path.clone(), found: rows, expected })
            }
            _ => Ok(Self { path: file.path.clone(), reader, metadata }),
        }
    }

    /// The bytes of the row group's copied chunks, with what lies between them.
    async fn row_group(&mut self, group: usize, columns: &Columns, throttle: &Throttle) -> Result<Chunks, RewriteError> {
        let chunks = columns.copied().map(|leaf| self.metadata.row_group(group).column(leaf).byte_range());
        let ends = chunks.map(|(start, length)| start..start.saturating_add(length));
        let whole = ends.reduce(|a, b| Range { start: a.start.min(b.start), end: a.end.max(b.end) }).unwrap_or(0..0);
        let start = whole.start;
        throttle.take(whole.end - whole.start).await;
        let bytes = self.reader.get_bytes(whole).await.map_err(|source| unreadable(&self.path, source))?;
        Ok(Chunks { start, bytes })
    }
}

fn unreadable(file: &str, source: ParquetError) -> RewriteError {
    RewriteError::ReadFile { file: file.to_owned(), source }
}
