//! A table's [`Fingerprint`]: one streaming pass over its rows, in memory that does not grow with them.
//!
//! Every cell of a batch is hashed by a universal hash of its canonical encoding, column by column; a row's hash is the
//! sum of its cells', enciphered; and rows are added to the sums of their cell. Streams are read in parallel and their sums
//! added, so neither the order of rows nor their division into files and batches counts.

mod cells;
mod columns;
mod hash;
mod rows;
mod sums;
mod tee;
mod universal;

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use datafusion::error::DataFusionError;
use futures::{Stream, StreamExt};
use lakeshift_core::equivalence::{Fingerprint, FingerprintShape, NotComparable};
use lakeshift_core::partition::TransformError;
use tokio::task::{JoinError, JoinSet};

use crate::encode::{EncodeError, Malformed, RowEncoder};

use columns::{Added, ColumnHasher};
use rows::RowCipher;
use sums::{InCells, InOneCell, Sums};
use universal::ColumnKeys;

pub(crate) use cells::{CellAssigner, Memo};
pub(crate) use hash::RowHasher;
pub use tee::{TeeSums, tee};

/// Distinct cell-deciding values that one stream remembers before it folds its sums.
const MEMO_ENTRIES_MAX: usize = 64 * 1024;
/// Rows that are hashed column by column before the next ones: their hashes stay in the processor's cache.
const CHUNK_ROWS: usize = 1024;

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
    columns: Vec<ColumnHasher>,
    cipher: RowCipher,
    assigner: CellAssigner,
    sums: Sums,
    total: Fingerprint,
    work: Work,
}

/// Buffers of one chunk of rows.
#[derive(Debug, Default)]
struct Work {
    /// The rows' hashes: first of the columns that decide the cell, then of all.
    rows: Vec<u128>,
    /// Every row's cell.
    positions: Vec<usize>,
    cell_bytes: Vec<u8>,
}

impl<'a> Accumulator<'a> {
    /// No rows yet.
    ///
    /// # Errors
    /// [`FingerprintError::CellColumn`].
    pub fn new(request: &'a FingerprintRequest) -> Result<Self, FingerprintError> {
        let hasher = RowHasher::new(request.shape.key);
        let column = |(index, name): (usize, &String)| {
            ColumnHasher::new(name, ColumnKeys::new(&hasher, index), request.shape.encoding)
        };
        Ok(Self {
            request,
            columns: request.columns.iter().enumerate().map(column).collect(),
            cipher: RowCipher::new(&hasher),
            assigner: CellAssigner::new(&request.shape.fields, &request.shape.columns)?,
            sums: Sums::new(request.columns.len()),
            total: Fingerprint::empty(request.shape.clone()),
            work: Work::default(),
        })
    }

    /// Adds a batch's rows.
    ///
    /// # Errors
    /// [`FingerprintError`] for a column that cannot be encoded or a value without a cell.
    pub fn push(&mut self, batch: &RecordBatch) -> Result<(), FingerprintError> {
        let array = |column: &ColumnHasher| {
            let no_column = || EncodeError::NoColumn { column: column.name().to_owned() };
            batch.column_by_name(column.name()).cloned().ok_or_else(no_column)
        };
        let arrays = self.columns.iter().map(array).collect::<Result<Vec<_>, _>>()?;
        let mut start = 0;
        while start < batch.num_rows() {
            let end = batch.num_rows().min(start + CHUNK_ROWS);
            self.place(batch, &arrays, start..end)?;
            self.add(&arrays, start..end)?;
            start = end;
        }
        Ok(())
    }

    /// Finds the cells of the chunk's rows.
    fn place(&mut self, batch: &RecordBatch, arrays: &[ArrayRef], rows: Range<usize>) -> Result<(), FingerprintError> {
        if self.sums.len() >= MEMO_ENTRIES_MAX {
            self.fold();
        }
        let work = &mut self.work;
        work.rows.clear();
        work.rows.resize(rows.len(), 0);
        for column in self.assigner.columns() {
            self.columns[*column].hash(&arrays[*column], rows.clone(), &mut Added(&mut work.rows))?;
        }
        work.positions.clear();
        let mut encoder = None;
        for (row, hash) in rows.zip(&work.rows) {
            if let Some(position) = self.sums.recent(*hash) {
                work.positions.push(position);
                continue;
            }
            let cell = || {
                let encoder = match &encoder {
                    Some(encoder) => encoder,
                    None => encoder.insert(RowEncoder::new(batch, &self.request.columns, self.request.shape.encoding)?),
                };
                self.assigner.cell_bytes(encoder, row, &mut work.cell_bytes);
                self.assigner.cell(&work.cell_bytes)
            };
            work.positions.push(self.sums.position(*hash, cell)?);
        }
        Ok(())
    }

    /// Hashes the chunk's rows and adds them to their cells.
    fn add(&mut self, arrays: &[ArrayRef], rows: Range<usize>) -> Result<(), FingerprintError> {
        let work = &mut self.work;
        work.rows.fill(0);
        let one_cell = match work.positions.as_slice() {
            [first, rest @ ..] if rest.iter().all(|position| position == first) => Some(*first),
            _ => None,
        };
        for (index, (column, array)) in self.columns.iter_mut().zip(arrays).enumerate() {
            let (mixers, sums, rows_of) = (column.mixers(), self.sums.column(index), &mut work.rows);
            match one_cell {
                Some(position) => {
                    let sum = &mut sums[position];
                    column.hash(array, rows.clone(), &mut InOneCell { mixers, rows: rows_of, sum })?;
                }
                None => {
                    let positions = &work.positions;
                    column.hash(array, rows.clone(), &mut InCells { mixers, rows: rows_of, positions, sums })?;
                }
            }
        }
        self.cipher.permute(&mut work.rows);
        self.sums.add_rows(&work.positions, &work.rows);
        Ok(())
    }

    /// The sums of all rows pushed.
    pub fn finish(mut self) -> Fingerprint {
        self.fold();
        self.total
    }

    fn fold(&mut self) {
        self.sums.fold_into(&mut self.total);
        self.total.bound(self.request.cells_max);
    }
}

#[cfg(test)]
mod tests;
