//! Rewriting rows into new Parquet data files: split by target partition, encoded, uploaded as they are written.
//!
//! [`rewrite`] holds a bounded amount of memory however many partitions are open, keeps the order of rows within a
//! partition, and makes a file visible only when it is whole. It commits nothing: its result is what a commit adds.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use lakeshift_core::partition::PartitionSpec;
use lakeshift_core::schema::TableSchema;
use lakeshift_core::storage::{OutsideError, Storage};
use lakeshift_core::table::NewFile;
use parquet::errors::ParquetError;
use tokio::sync::watch;

use crate::partition::{PartitionError, Partitioner};
use crate::types::TypeError;

mod conform;
mod files;
mod path;

use conform::Conform;
use files::Files;
pub(crate) use files::{upload, writer_properties};
pub use path::partition_folder;

/// Rows that are gathered before they are split, at most: few partitions then get few large pieces, many get many small ones.
const CHUNK_ROWS_MAX: usize = 65_536;

/// Whether data files hold the columns that identity partition fields take their values from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionColumns {
    /// They do (Iceberg).
    Keep,
    /// They do not: the values stand in the table's log (Delta) or in the path (Hive).
    Omit,
}

/// Sizes that a rewrite keeps to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RewriteLimits {
    /// A file is closed once it is about this large, in bytes.
    pub target_file_bytes: usize,
    /// A row group is closed once it is about this large, in bytes.
    pub row_group_bytes_max: usize,
    /// Memory for everything that is buffered between the input and the store, in bytes.
    pub memory_bytes: usize,
    /// Target partitions that one call may write.
    pub partitions_max: usize,
    /// The level of Zstandard compression, 1 to 22.
    pub zstd_level: i32,
}

impl Default for RewriteLimits {
    fn default() -> Self {
        Self {
            target_file_bytes: 256 << 20,
            row_group_bytes_max: 128 << 20,
            memory_bytes: 256 << 20,
            partitions_max: 100_000,
            zstd_level: 3,
        }
    }
}

/// What to write, and where.
pub struct RewriteRequest<'a> {
    /// The rows; columns are found by the target's names and may be narrower than the target's.
    pub input: SendableRecordBatchStream,
    /// The target table's location.
    pub storage: &'a Storage,
    /// The target's columns; field ids and physical names go into the files.
    pub schema: &'a TableSchema,
    /// The target's partitioning.
    pub partition: &'a PartitionSpec,
    /// Whether the files hold identity partition columns.
    pub partition_columns: PartitionColumns,
    /// The start of every file's name, such as [`lakeshift_core::plan::data_file_stem`] gives. It must be new for every
    /// attempt: files of an earlier attempt of the same stem are replaced.
    pub file_stem: &'a str,
    /// Sizes.
    pub limits: RewriteLimits,
    /// Set to true to stop; checked between batches.
    pub cancel: Option<watch::Receiver<bool>>,
}

/// What a rewrite came to.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub enum RewriteOutcome {
    /// All rows are in these files, sorted by path; none for an empty input.
    Written(Vec<NewFile>),
    /// The caller cancelled. Open files were given up and never became visible; these are whole, and no table has them.
    Cancelled(Vec<NewFile>),
}

/// Why rows could not be rewritten. Files that were open became never visible; files that were whole already stay as
/// unreferenced objects under the stem.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// The input has a column that the target lacks.
    #[error("the column {column} is not in the target table; its values would be lost (the target has {target})")]
    Extra {
        /// The column.
        column: String,
        /// What the target has.
        target: String,
    },
    /// The target has a column that the input lacks.
    #[error("the target column {column} is not among the rows' columns ({found}); name it in transform.sql")]
    Missing {
        /// The column.
        column: String,
        /// What there is.
        found: String,
    },
    /// A column's type does not widen to the target's.
    #[error("column {column} is {found} and the target says {expected}; cast it in transform.sql")]
    ColumnType {
        /// The column.
        column: String,
        /// The type of the rows.
        found: String,
        /// The target's type.
        expected: String,
    },
    /// Members below the top level have other names in the target's files.
    #[error(
        "column {column} of the target holds members that are named differently inside its data files; Lakeshift maps names of whole columns only"
    )]
    NestedName {
        /// The top-level column.
        column: String,
    },
    /// A null in a column that may not be null, or a value that does not fit.
    #[error("a row does not fit the target table's columns")]
    Row {
        /// The cause.
        #[source]
        source: ArrowError,
    },
    /// The target's schema has no Arrow image.
    #[error(transparent)]
    Type(#[from] TypeError),
    /// The rows could not be partitioned.
    #[error(transparent)]
    Partition(#[from] PartitionError),
    /// A path that leads outside.
    #[error(transparent)]
    Outside(#[from] OutsideError),
    /// The file's settings are not valid.
    #[error("the Parquet writer refuses its settings")]
    Settings {
        /// The cause.
        #[source]
        source: ParquetError,
    },
    /// The input failed; [`crate::scan::refusal`] tells whether a source file was refused.
    #[error("the rows to rewrite could not be read")]
    Read {
        /// The cause.
        #[source]
        source: DataFusionError,
    },
    /// A source file could not be read.
    #[error("could not read {file}")]
    ReadFile {
        /// The file.
        file: String,
        /// The cause.
        #[source]
        source: ParquetError,
    },
    /// A source file is not the one on record.
    #[error("{file} has {found} rows and {expected} were recorded; it was replaced or damaged, list the table again")]
    Replaced {
        /// The file.
        file: String,
        /// Rows by the footer.
        found: u64,
        /// Rows on record.
        expected: u64,
    },
    /// A file could not be encoded or stored.
    #[error("could not write {file}; it was given up and is not visible")]
    Write {
        /// The file's path, relative to the target.
        file: String,
        /// The cause.
        #[source]
        source: ParquetError,
    },
}

/// Writes all rows of `request.input` and tells the files.
///
/// Dropping the future also leaves no half file visible, but may leave parts of an upload for the store to expire; set
/// `request.cancel` to give uploads up in order.
///
/// # Errors
/// [`RewriteError`]; open uploads are aborted before it returns.
pub async fn rewrite(request: RewriteRequest<'_>) -> Result<RewriteOutcome, RewriteError> {
    let RewriteRequest { mut input, storage, schema, partition, partition_columns, file_stem, limits, mut cancel } = request;
    let conform = Conform::new(&input.schema(), schema, partition, partition_columns)?;
    let partitioner = Partitioner::new(schema, partition, limits.partitions_max)?;
    let files = Files::new(storage.clone(), conform.file_schema(), file_stem.to_owned(), limits)?;
    let mut writer =
        Rewriter { conform, partitioner, files, spec: partition, chunk: Vec::new(), chunk_rows: 0, chunk_bytes: 0, limits };
    let result = writer.run(&mut input, &mut cancel).await;
    match result {
        Ok(Ended::AtEnd) => Ok(RewriteOutcome::Written(writer.files.into_written())),
        Ok(Ended::Cancelled) => {
            writer.files.abort().await;
            Ok(RewriteOutcome::Cancelled(writer.files.into_written()))
        }
        Err(error) => {
            writer.files.abort().await;
            Err(error)
        }
    }
}

enum Ended {
    AtEnd,
    Cancelled,
}

struct Rewriter<'a> {
    conform: Conform,
    partitioner: Partitioner,
    files: Files,
    spec: &'a PartitionSpec,
    chunk: Vec<RecordBatch>,
    chunk_rows: usize,
    chunk_bytes: usize,
    limits: RewriteLimits,
}

impl Rewriter<'_> {
    async fn run(
        &mut self,
        input: &mut SendableRecordBatchStream,
        cancel: &mut Option<watch::Receiver<bool>>,
    ) -> Result<Ended, RewriteError> {
        loop {
            let batch = tokio::select! {
                biased;
                () = cancelled(cancel) => return Ok(Ended::Cancelled),
                batch = input.next() => batch,
            };
            let Some(batch) = batch else { break };
            self.gather(&batch.map_err(|source| RewriteError::Read { source })?)?;
            // A chunk is held about three times while it is split; an eighth leaves the rest to the open files.
            if self.chunk_rows >= CHUNK_ROWS_MAX || self.chunk_bytes >= self.limits.memory_bytes / 8 {
                self.distribute().await?;
            }
        }
        self.distribute().await?;
        self.files.finish_all().await?;
        Ok(Ended::AtEnd)
    }

    fn gather(&mut self, batch: &RecordBatch) -> Result<(), RewriteError> {
        let batch = self.conform.to_target(batch)?;
        self.chunk_rows += batch.num_rows();
        self.chunk_bytes += batch.get_array_memory_size();
        self.chunk.push(batch);
        Ok(())
    }

    async fn distribute(&mut self) -> Result<(), RewriteError> {
        let Some(first) = self.chunk.first() else { return Ok(()) };
        let whole = concat_batches(&first.schema(), &self.chunk).map_err(|source| RewriteError::Row { source })?;
        self.chunk.clear();
        (self.chunk_rows, self.chunk_bytes) = (0, 0);
        for (group, rows) in self.partitioner.split(&whole)? {
            let rows = self.conform.to_file(&rows)?;
            self.files.write(group, &rows, self.partitioner.key(group), self.spec).await?;
        }
        Ok(())
    }
}

/// Completes when the caller cancels; never when it cannot.
async fn cancelled(cancel: &mut Option<watch::Receiver<bool>>) {
    if let Some(receiver) = cancel
        && receiver.wait_for(|stop| *stop).await.is_ok()
    {
        return;
    }
    // Nobody can cancel, or nobody can any more.
    *cancel = None;
    std::future::pending().await
}
