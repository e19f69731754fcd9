//! One partition in memory: [`Loaded`] rows, told apart by their hashes, and the [`Joiner`] that pairs them.

use std::collections::HashMap;
use std::collections::hash_map::Entry as MapEntry;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array, new_null_array};
use arrow::buffer::NullBuffer;
use arrow::compute::{interleave_record_batch, take_record_batch};
use arrow::datatypes::SchemaRef;
use lakeshift_core::equivalence::{ColumnDiff, DifferenceKind};
use lakeshift_core::migration::Side;

use super::DiffError;
use super::columns::ColumnStats;
use super::context::{Context, RowId};
use super::pairs::{CellPair, Pairs};
use super::partitions::{PAIRED_ROWS_MAX, Partition};
use super::plain::{self, Schemas};

/// A row's place among a side's loaded batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At {
    pub(super) batch: u32,
    pub(super) row: u32,
}

/// A distinct row.
#[derive(Debug)]
struct Entry {
    id: RowId,
    /// How often each side has it.
    counts: [u64; 2],
    /// Where it stands: on the old side, and on the new one where that has more of it.
    at: [Option<At>; 2],
}

/// A partition's distinct rows, in the order of their hashes.
pub(super) struct Loaded {
    batches: [Vec<RecordBatch>; 2],
    entries: Vec<Entry>,
    is_within_key: bool,
}

impl Loaded {
    /// Reads the old side, then the new one, of which only rows stay that the old one has not.
    pub(super) fn read(mut partition: Partition) -> Result<Self, DiffError> {
        let is_within_key = partition.is_within_key();
        let mut loaded = Self { batches: Default::default(), entries: Vec::new(), is_within_key };
        let mut known = HashMap::new();
        for side in [Side::Old, Side::New] {
            for batch in partition.take(side)? {
                loaded.add(side, batch?, &mut known)?;
            }
        }
        loaded.entries.sort_unstable_by_key(|entry| entry.id);
        Ok(loaded)
    }

    fn add(&mut self, side: Side, batch: RecordBatch, known: &mut HashMap<u128, usize>) -> Result<(), DiffError> {
        let side = plain::index(side);
        let (mut kept, place) = (Vec::new(), self.batches[side].len());
        for (row, id) in plain::ids(&batch).enumerate() {
            // A row's hash decides its key's.
            let position = match known.entry(id.row) {
                MapEntry::Occupied(entry) => *entry.get(),
                MapEntry::Vacant(entry) => {
                    self.entries.push(Entry { id, counts: [0; 2], at: [None; 2] });
                    *entry.insert(self.entries.len() - 1)
                }
            };
            let entry = &mut self.entries[position];
            entry.counts[side] += 1;
            let is_wanted = side == 0 || entry.counts[1] > entry.counts[0];
            if is_wanted && entry.at[side].is_none() {
                entry.at[side] = Some(At { batch: small(place), row: small(kept.len()) });
                kept.push(small(row));
            }
        }
        match kept.len() {
            0 => {}
            all if all == batch.num_rows() => self.batches[side].push(batch),
            _ => self.batches[side].push(take_record_batch(&batch, &UInt32Array::from(kept))?),
        }
        Ok(())
    }
}

/// Batches have fewer rows, and partitions fewer batches, than 2^32: their bytes would not fit in memory.
fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// A row that differs.
#[derive(Debug)]
pub(super) struct Difference {
    pub(super) kind: DifferenceKind,
    pub(super) key: u128,
    /// How many more of it one side has; 1 for a changed row.
    pub(super) copies: u64,
    /// The compared columns in which a changed row differs.
    pub(super) columns: Vec<usize>,
    old: Option<At>,
    new: Option<At>,
}

/// In the order of the hashes, of the key first.
pub(super) type Differences = Vec<Difference>;

/// The values of some differing rows, one place each; a side that a row does not have is null throughout.
pub(super) struct Rows {
    pub(super) old: RecordBatch,
    pub(super) new: RecordBatch,
    /// Which rows have an old side.
    pub(super) has_old: NullBuffer,
    /// Which rows have a new side.
    pub(super) has_new: NullBuffer,
}

impl Rows {
    pub(super) fn gather(loaded: &Loaded, chunk: &[Difference], schemas: &Schemas) -> Result<Self, DiffError> {
        let old: Vec<_> = chunk.iter().map(|difference| difference.old).collect();
        let new: Vec<_> = chunk.iter().map(|difference| difference.new).collect();
        let present = |places: &[Option<At>]| places.iter().map(Option::is_some).collect();
        Ok(Self {
            old: gather(&loaded.batches[0], &old, &schemas.get(Side::Old))?,
            new: gather(&loaded.batches[1], &new, &schemas.get(Side::New))?,
            has_old: present(&old),
            has_new: present(&new),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.has_old.len()
    }
}

fn gather(batches: &[RecordBatch], places: &[Option<At>], schema: &SchemaRef) -> Result<RecordBatch, DiffError> {
    let present: Vec<_> = places.iter().flatten().map(|at| (at.batch as usize, at.row as usize)).collect();
    if present.is_empty() {
        let nulls = schema.fields().iter().map(|field| new_null_array(field.data_type(), places.len()));
        return Ok(RecordBatch::try_new(SchemaRef::clone(schema), nulls.collect::<Vec<ArrayRef>>())?);
    }
    let rows = interleave_record_batch(&batches.iter().collect::<Vec<_>>(), &present)?;
    let mut next = 0..;
    let positions: UInt32Array = places.iter().map(|at| at.and_then(|_| next.next())).collect();
    let columns = rows.columns().iter().take(schema.fields().len());
    let columns = columns.map(|column| arrow::compute::take(column, &positions, None)).collect::<Result<_, _>>()?;
    Ok(RecordBatch::try_new(SchemaRef::clone(schema), columns)?)
}

/// Pairs rows, and keeps the counts that are not by row.
pub(super) struct Joiner<'a> {
    context: &'a Context<'a>,
    columns: Vec<ColumnStats>,
    duplicate_keys: u64,
    tolerated: u64,
}

impl<'a> Joiner<'a> {
    pub(super) fn new(context: &'a Context<'a>) -> Self {
        let columns = context.columns().iter().map(|_| ColumnStats::default()).collect();
        Self { context, columns, duplicate_keys: 0, tolerated: 0 }
    }

    pub(super) fn duplicate_keys(&self) -> u64 {
        self.duplicate_keys
    }

    pub(super) fn tolerated(&self) -> u64 {
        self.tolerated
    }

    /// Counts a key whose rows are divided; its parts do not count it again.
    pub(super) fn count_duplicate_key(&mut self) {
        self.duplicate_keys += 1;
    }

    /// Every compared column's share; none without a key.
    pub(super) fn into_columns(self) -> Vec<ColumnDiff> {
        let columns = self.context.columns().iter().zip(self.columns);
        let keyed = self.context.is_keyed();
        columns.filter(|_| keyed).map(|(column, stats)| stats.into_column_diff(column.clone())).collect()
    }

    /// The rows that differ beyond the tolerances.
    pub(super) fn differences(&mut self, loaded: &Loaded) -> Result<Differences, DiffError> {
        let pairs = Pairs::new(self.context, &loaded.batches)?;
        let by_key = self.context.is_keyed() && !loaded.is_within_key;
        let mut differences = Vec::new();
        for rows in loaded.entries.chunk_by(|a, b| a.id.key == b.id.key) {
            let totals = [0, 1].map(|side| rows.iter().map(|row| row.counts[side]).sum::<u64>());
            let is_duplicate = by_key && totals.iter().any(|total| *total > 1);
            self.duplicate_keys += u64::from(is_duplicate);
            let surplus: Vec<&Entry> = rows.iter().filter(|row| row.counts[0] != row.counts[1]).collect();
            match surplus.as_slice() {
                [] => {}
                [a, b] if by_key && totals == [1, 1] => differences.extend(self.changed(&pairs, a, b)?),
                _ if is_duplicate && self.is_tolerated(&pairs, &surplus, totals)? => self.tolerated += 1,
                _ => differences.extend(surplus.iter().map(|row| one_sided(row))),
            }
        }
        Ok(differences)
    }

    /// A key with one row on either side; `None` when every difference is within its tolerance.
    fn changed(&mut self, pairs: &Pairs<'_>, a: &Entry, b: &Entry) -> Result<Option<Difference>, DiffError> {
        let (old, new) = (a.at[0].or(b.at[0]), a.at[1].or(b.at[1]));
        let cells = match (old, new) {
            (Some(old), Some(new)) => pairs.compare(old, new)?,
            _ => Vec::new(),
        };
        self.count(&cells);
        let columns: Vec<usize> = cells.iter().filter(|cell| !cell.is_tolerated).map(|cell| cell.column).collect();
        if columns.is_empty() {
            self.tolerated += 1;
            return Ok(None);
        }
        Ok(Some(Difference { kind: DifferenceKind::Changed, key: a.id.key, copies: 1, columns, old, new }))
    }

    /// Whether the rows that a duplicate key has too many of on either side pair up within the tolerances.
    fn is_tolerated(&mut self, pairs: &Pairs<'_>, surplus: &[&Entry], totals: [u64; 2]) -> Result<bool, DiffError> {
        if totals[0] != totals[1] || totals[0] + totals[1] > PAIRED_ROWS_MAX {
            return Ok(false);
        }
        let places = |side: usize| {
            let places = surplus.iter().filter_map(|row| {
                let copies = row.counts[side].checked_sub(row.counts[1 - side])?;
                row.at[side].map(|at| std::iter::repeat_n(at, usize::try_from(copies).unwrap_or(0)))
            });
            places.flatten().collect::<Vec<At>>()
        };
        let Some(cells) = pairs.pair_up(&places(0), &places(1))? else { return Ok(false) };
        self.count(&cells);
        Ok(true)
    }

    fn count(&mut self, cells: &[CellPair]) {
        for cell in cells {
            self.columns[cell.column].see(cell);
        }
    }
}

fn one_sided(row: &Entry) -> Difference {
    let [old, new] = row.counts;
    let (kind, at) = match old > new {
        true => (DifferenceKind::Missing, [row.at[0], None]),
        false => (DifferenceKind::Extra, [None, row.at[1]]),
    };
    Difference { kind, key: row.id.key, copies: old.abs_diff(new), columns: Vec::new(), old: at[0], new: at[1] }
}
