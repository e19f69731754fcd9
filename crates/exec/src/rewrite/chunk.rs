//! Rows that are gathered before they are split: with many at once, every partition's share of them is large enough to be
//! encoded in one go, and each row is copied once.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayData, RecordBatch};
use arrow::compute::interleave_record_batch;
use arrow::error::ArrowError;
use tokio::sync::OwnedSemaphorePermit;

use crate::partition::GroupId;

/// Batches, with their rows by group.
#[derive(Default)]
pub(super) struct Gathering {
    batches: Vec<RecordBatch>,
    /// For each group the batch and the row within it of each of its rows.
    rows: Vec<Vec<(usize, usize)>>,
    groups: usize,
    bytes: usize,
    seen: HashSet<usize>,
}

impl Gathering {
    /// Adds a batch whose rows fall into `groups`.
    pub(super) fn add(&mut self, batch: RecordBatch, groups: &[GroupId]) {
        for (row, group) in groups.iter().enumerate() {
            let group = *group as usize;
            if group >= self.rows.len() {
                self.rows.resize_with(group + 1, Vec::new);
            }
            self.groups += usize::from(self.rows[group].is_empty());
            self.rows[group].push((self.batches.len(), row));
        }
        for column in batch.columns() {
            self.bytes += new_bytes(&column.to_data(), &mut self.seen);
        }
        self.bytes += std::mem::size_of_val(groups) * 4;
        self.batches.push(batch);
    }

    /// Memory that the batches hold; what several share counts once.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The batches as they came.
    pub(super) fn into_batches(self) -> Vec<RecordBatch> {
        self.batches
    }

    /// The rows of each group, groups in ascending number. `memory` is given back when the last piece is gone.
    pub(super) fn into_pieces(self, memory: OwnedSemaphorePermit) -> impl Iterator<Item = (GroupId, Piece)> {
        let whole = self.groups == 1;
        let chunk = Arc::new(Chunk { batches: self.batches, _memory: memory });
        let numbered = (0..).zip(self.rows).filter(|(_, rows)| !rows.is_empty());
        numbered.map(move |(group, rows)| {
            let rows = if whole { Rows::All } else { Rows::Picked(rows) };
            (group, Piece { chunk: Arc::clone(&chunk), rows })
        })
    }
}

/// Bytes of buffers that are not in `seen` yet. Batches of views share the buffers with their texts.
fn new_bytes(data: &ArrayData, seen: &mut HashSet<usize>) -> usize {
    let nulls = data.nulls().map(|nulls| nulls.buffer());
    let own = data.buffers().iter().chain(nulls);
    let own: usize =
        own.filter(|buffer| seen.insert(buffer.data_ptr().as_ptr().addr())).map(|buffer| buffer.capacity()).sum();
    own + data.child_data().iter().map(|child| new_bytes(child, seen)).sum::<usize>()
}

/// Batches that several pieces share.
struct Chunk {
    batches: Vec<RecordBatch>,
    _memory: OwnedSemaphorePermit,
}

/// Some rows of a chunk, in their order.
pub(super) struct Piece {
    chunk: Arc<Chunk>,
    rows: Rows,
}

enum Rows {
    All,
    /// Batch and row of each.
    Picked(Vec<(usize, usize)>),
    /// Neighbours in the only batch.
    Run(Range<usize>),
}

/// The runs of a batch as pieces. `memory` is given back when the last is gone.
pub(super) fn runs(
    batch: RecordBatch,
    runs: Vec<(GroupId, Range<usize>)>,
    memory: OwnedSemaphorePermit,
) -> impl Iterator<Item = (GroupId, Piece)> {
    let chunk = Arc::new(Chunk { batches: vec![batch], _memory: memory });
    runs.into_iter().map(move |(group, run)| (group, Piece { chunk: Arc::clone(&chunk), rows: Rows::Run(run) }))
}

impl Piece {
    /// How many rows.
    pub(super) fn row_count(&self) -> usize {
        match &self.rows {
            Rows::All => self.chunk.batches.iter().map(RecordBatch::num_rows).sum(),
            Rows::Picked(rows) => rows.len(),
            Rows::Run(run) => run.len(),
        }
    }

    /// The rows, copied out of the chunk only where they are picked.
    pub(super) fn batches(&self) -> Result<Vec<RecordBatch>, ArrowError> {
        let batches = &self.chunk.batches;
        Ok(match &self.rows {
            Rows::All => batches.clone(),
            Rows::Picked(rows) => vec![interleave_record_batch(&batches.iter().collect::<Vec<_>>(), rows)?],
            Rows::Run(run) => batches.iter().map(|batch| batch.slice(run.start, run.len())).collect(),
        })
    }
}
