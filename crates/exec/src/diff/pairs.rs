//! Rows of the two sides, compared cell by cell.

use arrow::array::RecordBatch;

use super::DiffError;
use super::context::Context;
use super::join::At;
use super::{number, tolerance};
use crate::encode::{DecodedCell, RowEncoder};

/// A column in which two rows differ.
#[derive(Debug)]
pub(super) struct CellPair {
    /// Its position among the compared columns.
    pub(super) column: usize,
    pub(super) old: DecodedCell,
    pub(super) new: DecodedCell,
    /// Whether the difference is within the column's tolerance.
    pub(super) is_tolerated: bool,
}

/// Compares rows of one partition.
pub(super) struct Pairs<'l> {
    context: &'l Context<'l>,
    encoders: [Vec<RowEncoder<'l>>; 2],
}

impl<'l> Pairs<'l> {
    pub(super) fn new(context: &'l Context<'l>, [old, new]: &'l [Vec<RecordBatch>; 2]) -> Result<Self, DiffError> {
        let encoders = |batches: &'l [RecordBatch]| batches.iter().map(|batch| context.encoder(batch)).collect();
        let encoders: [Result<Vec<_>, DiffError>; 2] = [encoders(old), encoders(new)];
        let [old, new] = encoders;
        Ok(Self { context, encoders: [old?, new?] })
    }

    /// The cells in which the rows differ.
    pub(super) fn compare(&self, old: At, new: At) -> Result<Vec<CellPair>, DiffError> {
        let mut pairs = Vec::new();
        let [mut old_bytes, mut new_bytes] = [Vec::new(), Vec::new()];
        for column in 0..self.context.columns().len() {
            self.encode(0, old, column, &mut old_bytes);
            self.encode(1, new, column, &mut new_bytes);
            if old_bytes != new_bytes {
                let (old, new) = (decode(&old_bytes)?, decode(&new_bytes)?);
                let tolerance = self.context.tolerance(column);
                let is_tolerated = tolerance.is_some_and(|tolerance| tolerance::is_within(tolerance, &old, &new));
                pairs.push(CellPair { column, old, new, is_tolerated });
            }
        }
        Ok(pairs)
    }

    /// Pairs every old row with a new one of its own, such that each pair is equal within the tolerances, and returns the
    /// cells in which the pairs differ. Rows are taken in the order of their tolerant numbers and each gets the first that
    /// fits: with one tolerant column that finds a pairing if there is one, with several it may miss one. `None` then.
    pub(super) fn pair_up(&self, old: &[At], new: &[At]) -> Result<Option<Vec<CellPair>>, DiffError> {
        if old.len() != new.len() {
            return Ok(None);
        }
        let (old, mut new) = (self.sorted(0, old)?, self.sorted(1, new)?);
        let mut cells = Vec::new();
        for row in old {
            let mut found = None;
            for (place, candidate) in new.iter().enumerate() {
                let pairs = self.compare(row, *candidate)?;
                if pairs.iter().all(|pair| pair.is_tolerated) {
                    found = Some((place, pairs));
                    break;
                }
            }
            let Some((place, pairs)) = found else { return Ok(None) };
            new.remove(place);
            cells.extend(pairs);
        }
        Ok(Some(cells))
    }

    fn sorted(&self, side: usize, places: &[At]) -> Result<Vec<At>, DiffError> {
        let tolerant: Vec<usize> =
            (0..self.context.columns().len()).filter(|column| self.context.tolerance(*column).is_some()).collect();
        let mut bytes = Vec::new();
        let mut numbers = |at: At| {
            let number = |column: &usize| {
                self.encode(side, at, *column, &mut bytes);
                Ok(number::approximate(&decode(&bytes)?).unwrap_or(f64::NAN))
            };
            tolerant.iter().map(number).collect::<Result<Vec<f64>, DiffError>>()
        };
        let mut keyed = places.iter().map(|at| Ok((numbers(*at)?, *at))).collect::<Result<Vec<_>, DiffError>>()?;
        keyed.sort_by(|(a, _), (b, _)| {
            let orders = a.iter().zip(b).map(|(a, b)| a.total_cmp(b));
            orders.reduce(std::cmp::Ordering::then).unwrap_or(std::cmp::Ordering::Equal)
        });
        Ok(keyed.into_iter().map(|(_, at)| at).collect())
    }

    fn encode(&self, side: usize, at: At, column: usize, out: &mut Vec<u8>) {
        out.clear();
        if let Some(encoder) = self.encoders[side].get(at.batch as usize) {
            encoder.encode_cell(column, at.row as usize, out);
        }
    }
}

fn decode(mut bytes: &[u8]) -> Result<DecodedCell, DiffError> {
    Ok(DecodedCell::read(&mut bytes)?)
}
