//! The one reading of a side: its rows in differing cells, with their hashes, into the partitions.

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use lakeshift_core::equivalence::CellDifference;
use lakeshift_core::migration::Side;

use super::DiffError;
use super::context::{Context, MEMO_ENTRIES_MAX, RowId};
use super::partitions::Partitions;
use super::plain::{self, Schemas};
use crate::encode::RowEncoder;
use crate::fingerprint::Memo;

/// Streams that are read at a time: every open file holds decoded rows.
const STREAMS_MAX: usize = 4;

/// Reads a side to its end.
///
/// # Errors
/// [`DiffError::Unstable`] when the differing cells have another number of rows than the fingerprint counted.
pub(super) async fn read(
    context: &Context<'_>,
    side: Side,
    streams: Vec<SendableRecordBatchStream>,
    schemas: &Schemas,
    partitions: &mut Partitions,
) -> Result<(), DiffError> {
    let mut streams = futures::stream::iter(streams).flatten_unordered(STREAMS_MAX);
    let mut intake = Intake { context, side, member: Memo::default(), found: 0 };
    while let Some(batch) = streams.next().await {
        intake.push(&batch.map_err(|source| DiffError::Scan { source })?, schemas, partitions)?;
    }
    let rows = |cell: &CellDifference| match side {
        Side::Old => cell.old.rows,
        Side::New => cell.new.rows,
    };
    let (expected, found) = (context.request.comparison.differences.iter().map(rows).sum(), intake.found);
    if found == expected { Ok(()) } else { Err(DiffError::Unstable { side, expected, found }) }
}

struct Intake<'a> {
    context: &'a Context<'a>,
    side: Side,
    /// Whether rows with these deciding values lie in a differing cell.
    member: Memo<bool>,
    found: u64,
}

impl Intake<'_> {
    fn push(&mut self, batch: &RecordBatch, schemas: &Schemas, partitions: &mut Partitions) -> Result<(), DiffError> {
        let columns = self.context.columns_of(self.side);
        let encoder = RowEncoder::new(batch, columns, self.context.request.shape.encoding)?;
        let (members, ids) = self.members(&encoder, batch.num_rows())?;
        if members.is_empty() {
            return Ok(());
        }
        self.found += members.len() as u64;
        let schema = schemas.get(self.side);
        let members = match members.len() == batch.num_rows() {
            true => plain::rows(batch, columns, &schema, self.side)?,
            false => plain::rows(&take_record_batch(batch, &UInt32Array::from(members))?, columns, &schema, self.side)?,
        };
        partitions.push(self.side, &plain::with_ids(&members, &ids)?)
    }

    /// The rows in differing cells and their hashes.
    fn members(&mut self, encoder: &RowEncoder<'_>, rows: usize) -> Result<(Vec<u32>, Vec<RowId>), DiffError> {
        let (mut members, mut ids, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
        for row in 0..rows {
            if self.member.len() >= MEMO_ENTRIES_MAX {
                self.member.drain();
            }
            self.context.cell_bytes(encoder, row, &mut bytes);
            if *self.member.get_or_insert(&bytes, |bytes| self.context.differs(bytes))? {
                ids.push(self.context.row_id(encoder, row, &mut bytes));
                members.push(u32::try_from(row).unwrap_or(u32::MAX));
            }
        }
        Ok((members, ids))
    }
}
