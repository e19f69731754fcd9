//! A table's [`Fingerprint`]: one streaming pass over its rows, in memory that does not grow with them.
//!
//! Every row is encoded ([`RowEncoder`]), hashed with the validation's key, and added to the sum of its cell. Streams are
//! read in parallel and their sums added, so neither the order of rows nor their division into files and batches counts.

mod cells;
mod hash;

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::error::DataFusionError;
use futures::{Stream, StreamExt};
use lakeshift_core::equivalence::{CellKey, CellSum, Fingerprint, FingerprintShape, NotComparable};
use lakeshift_core::partition::TransformError;
use tokio::task::{JoinError, JoinSet};

use crate::encode::{EncodeError, Malformed, RowEncoder};

pub(crate) use cells::{CellAssigner, Memo};
pub(crate) use hash::RowHasher;

/// Distinct partition values that one stream remembers before it folds them into cells.
const MEMO_ENTRIES_MAX: usize = 16 * 1024;

/// What to take a fingerprint of, and how.
#[derive(Debug, Clone)]
pub struct FingerprintRequest {
    /// Key, encoding, columns and cells; the same for both sides.
    pub shape: FingerprintShape,
    /// This side's name of every column in `shape.columns`, in that order.
    pub columns: Vec<String>,
    /// Cells that are kept at most; above it the refinement's last fields are given up.
    pub cells_max: usize,
    /// Streams that are read at a time.
    pub parallel_max: usize,
}

/// Why a fingerprint could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum FingerprintError {
    /// The scan failed.
    #[error("the rows could not be read")]
    Scan {
        /// The engine's error.
        #[source]
        source: DataFusionError,
    },
    /// A column cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// A partition field refers to a column that is not compared.
    #[error("cells are divided by column {column}, which is not among the compared columns; this is a defect of Lakeshift")]
    CellColumn {
        /// The column.
        column: String,
    },
    /// A value has no cell.
    #[error("a value of column {column} makes no cell: it is beyond the range of its partition transform")]
    CellValue {
        /// The column.
        column: String,
        /// The transform's own error, where it is one.
        #[source]
        source: Option<TransformError>,
    },
    /// The encoding contradicts itself.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Sums of different shapes met.
    #[error(transparent)]
    NotComparable(#[from] NotComparable),
    /// A reading task panicked.
    #[error("a reading task ended abnormally")]
    Task {
        /// How it ended.
        #[source]
        source: JoinError,
    },
}

/// Reads all streams to their ends, `parallel_max` at a time, and adds their sums. Dropping the future stops them.
///
/// # Errors
/// The first [`FingerprintError`] of any stream; the others are stopped.
pub async fn fingerprint<S>(request: FingerprintRequest, streams: Vec<S>) -> Result<Fingerprint, FingerprintError>
where
    S: Stream<Item = Result<RecordBatch, DataFusionError>> + Send + Unpin + 'static,
{
    let request = Arc::new(request);
    let mut total = Fingerprint::empty(request.shape.clone());
    let mut waiting = streams.into_iter();
    let mut tasks = JoinSet::new();
    loop {
        while tasks.len() < request.parallel_max.max(1) {
            let Some(stream) = waiting.next() else { break };
            tasks.spawn(read(Arc::clone(&request), stream));
        }
        let Some(ended) = tasks.join_next().await else { return Ok(total) };
        total.add(&ended.map_err(|source| FingerprintError::Task { source })??)?;
        total.bound(request.cells_max);
    }
}

async fn read<S>(request: Arc<FingerprintRequest>, mut stream: S) -> Result<Fingerprint, FingerprintError>
where
    S: Stream<Item = Result<RecordBatch, DataFusionError>> + Send + Unpin,
{
    let mut accumulator = Accumulator::new(&request)?;
    while let Some(batch) = stream.next().await {
        accumulator.push(&batch.map_err(|source| FingerprintError::Scan { source })?)?;
    }
    Ok(accumulator.finish())
}

/// One stream's sums so far.
#[derive(Debug)]
pub struct Accumulator<'a> {
    request: &'a FingerprintRequest,
    hasher: RowHasher,
    assigner: CellAssigner,
    /// By the encoded values of the cell columns: finer than cells, so that a transform runs once a distinct value.
    sums: Memo<(CellKey, CellSum)>,
    total: Fingerprint,
    row_bytes: Vec<u8>,
    cell_bytes: Vec<u8>,
}

impl<'a> Accumulator<'a> {
    /// No rows yet.
    ///
    /// # Errors
    /// [`FingerprintError::CellColumn`].
    pub fn new(request: &'a FingerprintRequest) -> Result<Self, FingerprintError> {
        Ok(Self {
            request,
            hasher: RowHasher::new(request.shape.key),
            assigner: CellAssigner::new(&request.shape.fields, &request.shape.columns)?,
            sums: Memo::default(),
            total: Fingerprint::empty(request.shape.clone()),
            row_bytes: Vec::new(),
            cell_bytes: Vec::new(),
        })
    }

    /// Adds a batch's rows.
    ///
    /// # Errors
    /// [`FingerprintError`] for a column that cannot be encoded or a value without a cell.
    pub fn push(&mut self, batch: &RecordBatch) -> Result<(), FingerprintError> {
        let encoder = RowEncoder::new(batch, &self.request.columns, self.request.shape.encoding)?;
        for row in 0..batch.num_rows() {
            self.row_bytes.clear();
            encoder.encode_row(row, &mut self.row_bytes);
            self.assigner.cell_bytes(&encoder, row, &mut self.cell_bytes);
            let hash = self.hasher.hash(&self.row_bytes);
            let assigner = &self.assigner;
            let new_cell = |bytes: &[u8]| Ok::<_, FingerprintError>((assigner.cell(bytes)?, CellSum::default()));
            self.sums.get_or_insert(&self.cell_bytes, new_cell)?.1.add_row(hash);
            if self.sums.len() >= MEMO_ENTRIES_MAX {
                self.fold();
            }
        }
        Ok(())
    }

    /// The sums of all rows pushed.
    pub fn finish(mut self) -> Fingerprint {
        self.fold();
        self.total
    }

    fn fold(&mut self) {
        for (cell, sum) in self.sums.drain() {
            self.total.add_cell(&cell, &lakeshift_core::equivalence::CellPrint { sum, ..Default::default() });
        }
        self.total.bound(self.request.cells_max);
    }
}
