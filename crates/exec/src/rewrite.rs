//! Rewriting rows into new Parquet data files: split by target partition, encoded, uploaded as they are written.
//!
//! Rows are gathered in chunks, split by partition, and encoded in lanes side by side, each with the open files of its
//! partitions. Where the spec asks for an order, or more partitions are open than the memory has room for, rows are first
//! sorted by partition (on disk where they are many), so that few files are open at a time.
//!
//! [`rewrite`] holds a bounded amount of memory however many partitions there are, and makes a file visible only when it is
//! whole. It commits nothing: its result is what a commit adds.

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use lakeshift_core::partition::PartitionSpec;
use lakeshift_core::schema::TableSchema;
use lakeshift_core::spec::{ParquetOptions, SortColumn};
use lakeshift_core::storage::{OutsideError, Storage};
use lakeshift_core::table::NewFile;
use parquet::errors::ParquetError;
use tokio::sync::watch;

use crate::engine::Engine;
use crate::partition::PartitionError;
use crate::types::TypeError;

mod chunk;
mod conform;
mod files;
mod lanes;
mod path;
mod properties;
mod run;
mod sorted;

pub(crate) use files::upload;
pub use path::partition_folder;
pub(crate) use properties::{without_page_index, writer_properties};
use run::{Ended, Rewriter};

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
    /// Memory for everything that is buffered between the input and the store, in bytes.
    pub memory_bytes: usize,
    /// Target partitions that one call may write.
    pub partitions_max: usize,
}

impl Default for RewriteLimits {
    fn default() -> Self {
        Self { target_file_bytes: 256 << 20, memory_bytes: 256 << 20, partitions_max: 100_000 }
    }
}

/// What to write, and where.
pub struct RewriteRequest<'a> {
    /// Sorts, and says how many lanes there are.
    pub engine: &'a Engine,
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
    /// How the files are written.
    pub parquet: &'a ParquetOptions,
    /// The order of the rows within a partition: across its files and within each. Rows keep the order of the input where
    /// this is empty and few enough partitions are open.
    pub sort: &'a [SortColumn],
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
    /// A setting names a column that the target lacks.
    #[error("{setting} names the column {column}, which the target table does not have as a column of single values")]
    NoColumn {
        /// The spec's key.
        setting: &'static str,
        /// The column.
        column: String,
    },
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
    let mut rewriter = Rewriter::start(&request)?;
    let result = rewriter.run(request.input, request.cancel).await;
    let written = rewriter.end(matches!(result, Ok(Ended::AtEnd))).await;
    match result? {
        Ended::Cancelled => Ok(RewriteOutcome::Cancelled(written?)),
        Ended::AtEnd => Ok(RewriteOutcome::Written(written?)),
        // It has told why; if not, rows are missing all the same.
        Ended::LaneFailed => Err(written.err().unwrap_or_else(|| RewriteError::Read {
            source: DataFusionError::Internal("a lane ended before its rows did".to_owned()),
        })),
    }
}
