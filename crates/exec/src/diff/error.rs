//! Why rows could not be compared.

use std::io;

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use lakeshift_core::migration::Side;
use lakeshift_core::storage::OutsideError;
use parquet::errors::ParquetError;

use crate::encode::{EncodeError, Malformed};
use crate::fingerprint::FingerprintError;

/// Why the rows could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    /// The scan failed.
    #[error("the rows of the differing cells could not be read")]
    Scan {
        /// The engine's error.
        #[source]
        source: DataFusionError,
    },
    /// A column cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// A row's cell could not be told.
    #[error(transparent)]
    Cell(#[from] FingerprintError),
    /// The encoding contradicts itself.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Rows could not be moved about in memory.
    #[error("the rows of the differing cells could not be rearranged; this is a defect of Lakeshift")]
    Arrow(#[from] ArrowError),
    /// The key has a column that is not compared.
    #[error("key column {column} is not among the compared columns; correct validation.key in the spec")]
    KeyColumn {
        /// The column.
        column: String,
    },
    /// Files of one side have a column in different types.
    #[error("the {} table's column {column} is {found} in one file and {expected} in another; this is a defect of Lakeshift", side_name(*.side))]
    MixedTypes {
        /// The side.
        side: Side,
        /// The column, as the new table names it.
        column: String,
        /// Its type in the first file.
        expected: String,
        /// Its type in a later file.
        found: String,
    },
    /// Temporary files could not be made, written or read.
    #[error(
        "the rows of the differing cells could not be {action} a temporary file; check the spill folder and its free space"
    )]
    Spill {
        /// `written to` or `read from`.
        action: &'static str,
        /// The cause.
        #[source]
        source: SpillError,
    },
    /// A condition of the ledger is no condition.
    #[error("validation.accept, entry {entry}: its `where` cannot be used on the {} table: {reason}", side_name(*.side))]
    Condition {
        /// The entry's id.
        entry: String,
        /// The side whose columns it was planned over.
        side: Side,
        /// What is wrong with it.
        reason: String,
    },
    /// A condition of the ledger failed on a row. The engine's message is left out: it may show values.
    #[error(
        "validation.accept, entry {entry}: its `where` fails on a differing row (a cast of a text that is no number, a division by zero); use try_cast or exclude such rows"
    )]
    ConditionFailed {
        /// The entry's id.
        entry: String,
    },
    /// The export's path is not below its location.
    #[error(transparent)]
    Outside(#[from] OutsideError),
    /// The export could not be written.
    #[error("the differing rows could not be written to {file}; nothing is there")]
    Export {
        /// The file.
        file: String,
        /// The cause.
        #[source]
        source: ParquetError,
    },
    /// A second reading gave other rows than the first.
    #[error(
        "the {} table gave {found} rows in the differing cells where it gave {expected} before; its files changed under a pinned version: validate again",
        side_name(*.side)
    )]
    Unstable {
        /// The side.
        side: Side,
        /// Rows of the fingerprint.
        expected: u64,
        /// Rows read now.
        found: u64,
    },
}

/// The cause of [`DiffError::Spill`].
#[derive(Debug, thiserror::Error)]
pub enum SpillError {
    /// No temporary file could be made.
    #[error(transparent)]
    Create(#[from] DataFusionError),
    /// It could not be opened.
    #[error(transparent)]
    Open(#[from] io::Error),
    /// Its batches could not be written or read.
    #[error(transparent)]
    Batches(#[from] ArrowError),
    /// It is no file of the local disk.
    #[error("the spill folder is not on a local disk")]
    NotLocal,
}

fn side_name(side: Side) -> &'static str {
    match side {
        Side::Old => "old",
        Side::New => "new",
    }
}
