//! Rows of both sides divided by hash, in memory or on disk.

use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use datafusion::execution::disk_manager::DiskManager;
use lakeshift_core::migration::Side;

use super::DiffError;
use super::context::{Context, RowId};
use super::plain;
use super::spill::{Spilled, Spilling};

/// Bits of a hash by which rows are divided once.
const DIGIT_BITS: u32 = 5;
const FAN_OUT: usize = 1 << DIGIT_BITS;
/// Digits of a hash that are used at most; keys that agree in so many are compared together, whatever the memory.
const DIGITS_MAX: u32 = 12;
/// What a loaded row takes beside its values.
const ROW_BYTES: u64 = 160;
/// Rows, and bytes, from which on no more are put together into one batch when they are spilled.
const SPILLED_ROWS: usize = 8192;
const SPILLED_BYTES: u64 = 16 << 20;
/// Rows of one key on both sides together, above which its rows are compared by their hashes alone: they may be divided,
/// and no tolerance applies to them.
pub(super) const PAIRED_ROWS_MAX: u64 = 200;

/// The digit of a hash by which rows are divided; the first is 0. Digits of one hash follow each other from the top, so
/// that partitions follow each other in the order of the hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Digit {
    /// Of the key's hash.
    Key(u32),
    /// Of the row's hash, where all rows have one key.
    Row(u32),
}

impl Digit {
    fn of(self, id: RowId) -> usize {
        let (hash, digit) = match self {
            Self::Key(digit) => (id.key, digit),
            Self::Row(digit) => (id.row, digit),
        };
        (hash << (digit * DIGIT_BITS) >> (u128::BITS - DIGIT_BITS)) as usize
    }
}

/// What to do with a partition.
pub(super) enum Step {
    /// Compare its rows.
    Join,
    /// They do not fit in memory: divide them.
    Divide(Digit),
}

/// One side's rows of a partition.
#[derive(Default)]
struct SideRows {
    pending: Vec<RecordBatch>,
    spilling: Option<Spilling>,
    spilled: Option<Spilled>,
    rows: u64,
    bytes: u64,
}

impl SideRows {
    fn spill(&mut self, disk: &Arc<DiskManager>) -> Result<(), DiffError> {
        let pending = std::mem::take(&mut self.pending);
        let Some(schema) = pending.first().map(RecordBatch::schema) else { return Ok(()) };
        let file = match &mut self.spilling {
            Some(file) => file,
            none => none.insert(Spilling::create(disk, &schema)?),
        };
        let (mut together, mut rows, mut bytes) = (Vec::new(), 0, 0);
        for batch in pending {
            rows += batch.num_rows();
            bytes += plain::batch_bytes(&batch);
            together.push(batch);
            if rows >= SPILLED_ROWS || bytes >= SPILLED_BYTES {
                file.write(&concat_batches(&schema, &std::mem::take(&mut together))?)?;
                (rows, bytes) = (0, 0);
            }
        }
        if rows > 0 { file.write(&concat_batches(&schema, &together)?) } else { Ok(()) }
    }

    fn seal(&mut self) -> Result<(), DiffError> {
        self.spilled = self.spilling.take().map(Spilling::finish).transpose()?;
        Ok(())
    }

    fn into_batches(self) -> Result<impl Iterator<Item = Result<RecordBatch, DiffError>>, DiffError> {
        let spilled = self.spilled.map(Spilled::read).transpose()?;
        Ok(spilled.into_iter().flatten().chain(self.pending.into_iter().map(Ok)))
    }
}

/// The rows whose hashes share some digits.
pub(super) struct Partition {
    /// The last of those digits.
    digit: Digit,
    sides: [SideRows; 2],
    /// The least and the greatest hashes.
    span: Option<[RowId; 2]>,
}

impl Partition {
    fn new(digit: Digit) -> Self {
        Self { digit, sides: Default::default(), span: None }
    }

    fn cover(&mut self, id: RowId) {
        let [least, greatest] = self.span.get_or_insert([id, id]);
        *least = RowId { key: least.key.min(id.key), row: least.row.min(id.row) };
        *greatest = RowId { key: greatest.key.max(id.key), row: greatest.row.max(id.row) };
    }

    /// Whether it is a part of the rows of one key.
    pub(super) fn is_within_key(&self) -> bool {
        matches!(self.digit, Digit::Row(_))
    }

    /// Compares it if it fits in half of the memory or cannot be divided.
    pub(super) fn step(&self, context: &Context<'_>) -> Step {
        let rows: u64 = self.sides.iter().map(|side| side.rows).sum();
        let bytes: u64 = self.sides.iter().map(|side| side.bytes).sum();
        let Some([least, greatest]) = self.span else { return Step::Join };
        let fits = bytes.saturating_add(rows.saturating_mul(ROW_BYTES)) <= context.request.memory_bytes / 2;
        if fits || least.row == greatest.row {
            return Step::Join;
        }
        match self.digit {
            Digit::Key(_) if least.key == greatest.key && rows <= PAIRED_ROWS_MAX => Step::Join,
            Digit::Key(_) if least.key == greatest.key => Step::Divide(Digit::Row(0)),
            Digit::Key(digit) if digit + 1 < DIGITS_MAX => Step::Divide(Digit::Key(digit + 1)),
            Digit::Row(digit) if digit + 1 < DIGITS_MAX => Step::Divide(Digit::Row(digit + 1)),
            _ => Step::Join,
        }
    }

    /// The partitions of the next digit, in the order of the hashes.
    pub(super) fn divide(self, by: Digit, context: &Context<'_>) -> Result<Vec<Self>, DiffError> {
        let mut parts = Partitions::by(by, context);
        let [old, new] = self.sides;
        for (side, rows) in [(Side::Old, old), (Side::New, new)] {
            for batch in rows.into_batches()? {
                parts.push(side, &batch?)?;
            }
        }
        parts.finish()
    }

    /// The side's batches, in no order.
    pub(super) fn take(&mut self, side: Side) -> Result<impl Iterator<Item = Result<RecordBatch, DiffError>>, DiffError> {
        std::mem::take(&mut self.sides[plain::index(side)]).into_batches()
    }
}

/// Partitions that are being filled.
pub(super) struct Partitions {
    digit: Digit,
    parts: Vec<Partition>,
    /// Of all rows that wait in memory.
    pending_bytes: u64,
    pending_bytes_max: u64,
    disk: Arc<DiskManager>,
    has_spilled: bool,
}

impl Partitions {
    pub(super) fn new(context: &Context<'_>) -> Self {
        Self::by(Digit::Key(0), context)
    }

    fn by(digit: Digit, context: &Context<'_>) -> Self {
        Self {
            digit,
            parts: (0..FAN_OUT).map(|_| Partition::new(digit)).collect(),
            pending_bytes: 0,
            pending_bytes_max: context.request.memory_bytes / 2,
            disk: Arc::clone(&context.request.engine.session().runtime_env().disk_manager),
            has_spilled: false,
        }
    }

    /// Adds rows with their hashes, as [`plain::with_ids`] makes them.
    pub(super) fn push(&mut self, side: Side, batch: &RecordBatch) -> Result<(), DiffError> {
        let mut members: Vec<Vec<u32>> = vec![Vec::new(); FAN_OUT];
        for (row, id) in plain::ids(batch).enumerate() {
            let part = self.digit.of(id);
            self.parts[part].cover(id);
            members[part].push(u32::try_from(row).unwrap_or(u32::MAX));
        }
        for (part, members) in self.parts.iter_mut().zip(members).filter(|(_, members)| !members.is_empty()) {
            let rows = take_record_batch(batch, &UInt32Array::from(members))?;
            let (side, bytes) = (&mut part.sides[plain::index(side)], plain::batch_bytes(&rows));
            side.rows += rows.num_rows() as u64;
            side.bytes += bytes;
            side.pending.push(rows);
            self.pending_bytes += bytes;
        }
        if self.pending_bytes > self.pending_bytes_max { self.spill() } else { Ok(()) }
    }

    /// All rows in memory go to disk: large writes, and nothing of one partition stays in the way of another.
    fn spill(&mut self) -> Result<(), DiffError> {
        self.has_spilled = true;
        self.pending_bytes = 0;
        self.parts.iter_mut().flat_map(|part| &mut part.sides).try_for_each(|side| side.spill(&self.disk))
    }

    /// The partitions that have rows, in the order of the hashes: all in memory or all on disk.
    pub(super) fn finish(mut self) -> Result<Vec<Partition>, DiffError> {
        if self.has_spilled {
            self.spill()?;
        }
        self.parts.iter_mut().flat_map(|part| &mut part.sides).try_for_each(SideRows::seal)?;
        Ok(self.parts.into_iter().filter(|part| part.span.is_some()).collect())
    }
}
