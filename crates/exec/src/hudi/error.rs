//! What can be wrong with a slice's log files.

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;

/// Why a file slice with log files could not be read. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum HudiError {
    /// Bytes that are not what Hudi writes.
    #[error("{file} is not valid: {reason}; the table's writer can restore it, or compact it away")]
    Damaged {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Something that is not merged here; it is refused, not skipped.
    #[error(
        "{file} uses {feature}, which Lakeshift does not merge: run a full compaction of the table first, so that no file slice has log files"
    )]
    Unsupported {
        /// The file.
        file: String,
        /// The feature's own name.
        feature: String,
    },
    /// The records of one slice's log files are held in memory while its base file streams past.
    #[error(
        "the log files of {file} do not fit into the memory that is left: compact the table first, or give it more memory"
    )]
    Memory {
        /// The slice.
        file: String,
        /// The pool's answer.
        #[source]
        source: DataFusionError,
    },
    /// The store did not answer as it should.
    #[error("could not read {file}")]
    Store {
        /// The file.
        file: String,
        /// The store's own error.
        #[source]
        source: object_store::Error,
    },
    /// Records that do not become rows of the table.
    #[error("records of {file} cannot be made rows of the table")]
    Row {
        /// The file.
        file: String,
        /// The cause.
        #[source]
        source: ArrowError,
    },
}

/// An error of `file`.
pub(super) fn damaged(file: &str, reason: impl Into<String>) -> HudiError {
    HudiError::Damaged { file: file.to_owned(), reason: reason.into() }
}

/// A refusal of `file`.
pub(super) fn unsupported(file: &str, feature: impl Into<String>) -> HudiError {
    HudiError::Unsupported { file: file.to_owned(), feature: feature.into() }
}

/// A row error of `file`.
pub(super) fn row(file: &str) -> impl Fn(ArrowError) -> HudiError {
    move |source| HudiError::Row { file: file.to_owned(), source }
}
