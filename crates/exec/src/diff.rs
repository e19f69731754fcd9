//! The exact row difference of two tables, restricted to the cells whose sums differ.
//!
//! Rows are paired by key, or as whole rows where there is none. What is held in memory is a few words a key: a first
//! pass counts every key's rows on both sides and sums their hashes, a second one looks at the keys that differ. When the
//! keys do not fit, they are divided by their hash and the cells read once more for every part; nothing is spilled.

mod details;
mod keys;
mod sample;
mod scan;

use async_trait::async_trait;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use lakeshift_core::equivalence::{ColumnDiff, Comparison, DiffMode, FingerprintShape, RowDiff, ValidationKey};
use lakeshift_core::migration::Side;

use crate::encode::{EncodeError, Malformed};
use crate::fingerprint::FingerprintError;
use details::Details;
use keys::Keys;
use sample::Sampler;
use scan::{Part, Scanner};

/// Memory a key takes at most while its part is read, tables' growth included; measured upwards.
const KEY_BYTES: u64 = 200;
/// Memory a column takes for every changed key.
const COLUMN_BYTES: u64 = 8;
/// Parts that the keys are divided into at most; every part reads the differing cells up to twice.
const PARTS_MAX: u64 = 64;

/// Opens a side of the comparison; the difference reads each side several times.
#[async_trait]
pub trait SideReader: Send + Sync {
    /// The side's rows at the pinned version, in any order and division. Files that hold no row of a differing cell may be
    /// left out.
    async fn open(&self, side: Side) -> Result<Vec<SendableRecordBatchStream>, DataFusionError>;
}

/// What to compare, and how to show it.
#[derive(Debug, Clone)]
pub struct DiffRequest<'a> {
    /// The shape of the fingerprints.
    pub shape: FingerprintShape,
    /// Where they differ.
    pub comparison: &'a Comparison,
    /// The columns that identify a row, named as in the new table; without any, whole rows are compared as a bag.
    pub key: Vec<String>,
    /// The old side's name of every column in `shape.columns`, in that order.
    pub old_columns: Vec<String>,
    /// The new side's names, likewise.
    pub new_columns: Vec<String>,
    /// Rows that the sample has at most.
    pub sample_rows_max: usize,
    /// Whether the sample shows values.
    pub masking: Masking,
    /// Memory for the keys, in bytes.
    pub memory_bytes: u64,
}

/// How a sample shows values.
#[derive(Debug, Clone, Copy)]
pub enum Masking {
    /// As they are.
    Shown,
    /// As tokens: class, length and eight hex digits of a hash under `secret`. The secret is drawn for one report and
    /// written nowhere; under the validation's own key, which is public, values could be found by trial.
    Tokens {
        /// The secret.
        secret: ValidationKey,
    },
}

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
    /// The key has a column that is not compared.
    #[error("key column {column} is not among the compared columns; correct validation.key in the spec")]
    KeyColumn {
        /// The column.
        column: String,
    },
    /// The keys of the differing cells do not fit, even in parts.
    #[error(
        "{rows} rows lie in the differing cells; to name those that differ takes {memory_needed_bytes} bytes of memory, more than are allowed: allow more, or validate a part of the tables"
    )]
    TooLarge {
        /// Rows of both sides in the differing cells.
        rows: u64,
        /// The least memory with which it could be done.
        memory_needed_bytes: u64,
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

fn side_name(side: Side) -> &'static str {
    match side {
        Side::Old => "old",
        Side::New => "new",
    }
}

/// Counts and samples the rows that differ.
///
/// # Errors
/// [`DiffError`]; the fingerprints' verdict stands all the same.
pub async fn diff(request: &DiffRequest<'_>, reader: &dyn SideReader) -> Result<RowDiff, DiffError> {
    let scanner = Scanner::new(request, reader)?;
    let mut outcome = Outcome::new(request);
    let parts = parts(request)?;
    for index in 0..parts {
        one_part(&scanner, Part { index, of: parts }, &mut outcome).await?;
    }
    outcome.into_row_diff(request, &scanner)
}

/// So many parts that every part's keys fit in memory, even if no two rows share a key.
fn parts(request: &DiffRequest<'_>) -> Result<u64, DiffError> {
    let differences = &request.comparison.differences;
    let rows: u64 = differences.iter().map(|cell| cell.old.rows + cell.new.rows).sum();
    let bytes = rows.saturating_mul(KEY_BYTES + COLUMN_BYTES * request.shape.columns.len() as u64);
    match bytes.div_ceil(request.memory_bytes.max(1)) {
        parts @ 0..=PARTS_MAX => Ok(parts.max(1)),
        _ => Err(DiffError::TooLarge { rows, memory_needed_bytes: bytes.div_ceil(PARTS_MAX) }),
    }
}

async fn one_part(scanner: &Scanner<'_>, part: Part, outcome: &mut Outcome) -> Result<(), DiffError> {
    let mut keys = Keys::default();
    for side in [Side::Old, Side::New] {
        scanner
            .scan(side, part, &mut |row| {
                keys.count(side, &row);
                Ok(())
            })
            .await?;
    }
    if scanner.is_keyed() {
        outcome.diff.duplicate_keys += keys.duplicates();
    }
    let differing = keys.into_differing(scanner.is_keyed());
    let chosen = outcome.sampler.choose(&differing);
    let mut details = Details::new(&differing, &chosen, scanner.columns());
    for side in [Side::Old, Side::New] {
        if !details.is_empty() {
            scanner.scan(side, part, &mut |row| details.see(side, &row, scanner)).await?;
        }
    }
    outcome.count(&differing, &details);
    outcome.sampler.keep(details.into_kept());
    Ok(())
}

/// What the parts have come to so far.
struct Outcome {
    diff: RowDiff,
    unequal: Vec<u64>,
    sampler: Sampler,
}

impl Outcome {
    fn new(request: &DiffRequest<'_>) -> Self {
        let differences = &request.comparison.differences;
        let mode = match request.key.as_slice() {
            [] => DiffMode::Bag,
            columns => DiffMode::Keyed { columns: columns.to_vec() },
        };
        let diff = RowDiff {
            mode,
            old_rows: differences.iter().map(|cell| cell.old.rows).sum(),
            new_rows: differences.iter().map(|cell| cell.new.rows).sum(),
            missing: 0,
            extra: 0,
            changed: 0,
            duplicate_keys: 0,
            tolerated: 0,
            accepted: Vec::new(),
            export: None,
            columns: Vec::new(),
            sample: Vec::new(),
            masked: matches!(request.masking, Masking::Tokens { .. }),
        };
        Self { diff, unequal: vec![0; request.shape.columns.len()], sampler: Sampler::new(request.sample_rows_max) }
    }

    fn count(&mut self, differing: &keys::Differing, details: &Details) {
        let counts = differing.counts();
        let (missing, extra) = details.bag_counts();
        self.diff.missing += counts.missing + missing;
        self.diff.extra += counts.extra + extra;
        self.diff.changed += counts.changed;
        details.add_unequal(&mut self.unequal);
    }

    fn into_row_diff(mut self, request: &DiffRequest<'_>, scanner: &Scanner<'_>) -> Result<RowDiff, DiffError> {
        if scanner.is_keyed() {
            let columns = request.shape.columns.iter().zip(&self.unequal);
            self.diff.columns = columns
                .map(|(column, unequal)| ColumnDiff { column: column.clone(), unequal: *unequal, ..ColumnDiff::default() })
                .collect();
        }
        self.diff.sample = self.sampler.into_rows(request, scanner)?;
        Ok(self.diff)
    }
}
