//! The rows that the report shows: always the same ones for the same tables and key, masked by default.

use std::collections::BTreeMap;

use lakeshift_core::equivalence::{DifferenceKind, SampleColumn, SampleRow};

use super::context::Context;
use super::join::{Difference, Rows};
use super::{DiffError, Masking};
use crate::encode::{DecodedCell, RowEncoder};
use crate::fingerprint::RowHasher;

/// Characters of a value that a sample keeps.
const VALUE_CHARS_MAX: usize = 200;
/// Rows of one key that a sample shows at most.
const ROWS_OF_KEY_MAX: usize = 8;

/// Keeps the first rows of every kind, accepted ones apart. Differences come in the order of the hashes, so the choice is
/// as good as drawn by lot and never changes.
pub(super) struct Sampler<'a> {
    context: &'a Context<'a>,
    tokens: Option<RowHasher>,
    kept: BTreeMap<(bool, DifferenceKind), Vec<SampleRow>>,
    /// The last key seen, and how many of its rows were kept.
    last_key: Option<(u128, usize)>,
}

impl<'a> Sampler<'a> {
    pub(super) fn new(context: &'a Context<'a>) -> Self {
        let tokens = match context.request.masking {
            Masking::Shown => None,
            Masking::Tokens { secret } => Some(RowHasher::new(secret)),
        };
        Self { context, tokens, kept: BTreeMap::new(), last_key: None }
    }

    /// Keeps some of these rows. `first_row` is the first one's number in the export.
    pub(super) fn see(
        &mut self,
        chunk: &[Difference],
        rows: &Rows,
        accepted: &[Option<&str>],
        cells: &[String],
        first_row: Option<u64>,
    ) -> Result<(), DiffError> {
        let encoders = [self.context.encoder(&rows.old)?, self.context.encoder(&rows.new)?];
        for (row, difference) in chunk.iter().enumerate() {
            if !self.has_room(difference, accepted[row].is_some()) {
                continue;
            }
            let sample = SampleRow {
                kind: difference.kind,
                copies: difference.copies,
                cell: cells[row].clone(),
                row: first_row.map(|first| first + row as u64),
                accepted_by: accepted[row].map(str::to_owned),
                columns: self.columns(difference, &encoders, row)?,
            };
            self.kept.entry((accepted[row].is_some(), difference.kind)).or_default().push(sample);
        }
        Ok(())
    }

    /// The rows to show: of every kind in turn, those that nothing excuses first.
    pub(super) fn into_rows(self) -> Vec<SampleRow> {
        let rows_max = self.context.request.sample_rows_max;
        let mut turns: Vec<_> = self.kept.into_iter().map(|((accepted, _), rows)| (accepted, rows.into_iter())).collect();
        let mut shown = Vec::new();
        for accepted in [false, true] {
            loop {
                let kinds = turns.iter_mut().filter(|(kind, _)| *kind == accepted);
                let turn: Vec<_> = kinds.filter_map(|(_, rows)| rows.next()).collect();
                if turn.is_empty() {
                    break;
                }
                shown.extend(turn);
            }
        }
        shown.truncate(rows_max);
        shown
    }

    fn has_room(&mut self, difference: &Difference, accepted: bool) -> bool {
        let kept = self.kept.get(&(accepted, difference.kind)).map_or(0, Vec::len);
        let of_key = match self.last_key {
            Some((key, rows)) if key == difference.key => rows,
            _ => 0,
        };
        let has_room = kept < self.context.request.sample_rows_max && of_key < ROWS_OF_KEY_MAX;
        self.last_key = Some((difference.key, of_key + usize::from(has_room)));
        has_room
    }

    /// For a changed row the key and what differs, else all columns.
    fn columns(
        &self,
        difference: &Difference,
        encoders: &[RowEncoder<'_>; 2],
        row: usize,
    ) -> Result<Vec<SampleColumn>, DiffError> {
        let key = self.context.key();
        let shown: Vec<usize> = match difference.kind {
            DifferenceKind::Changed => {
                let others = difference.columns.iter().filter(|column| !key.contains(column));
                key.iter().chain(others).copied().collect()
            }
            DifferenceKind::Missing | DifferenceKind::Extra => (0..self.context.columns().len()).collect(),
        };
        let has_old = difference.kind != DifferenceKind::Extra;
        let has_new = difference.kind != DifferenceKind::Missing;
        let column = |column: usize| {
            let text = |encoder: &RowEncoder<'_>| self.text(column, encoder, row);
            Ok(SampleColumn {
                column: self.context.columns()[column].clone(),
                old: has_old.then(|| text(&encoders[0])).transpose()?,
                new: has_new.then(|| text(&encoders[1])).transpose()?,
            })
        };
        shown.into_iter().map(column).collect()
    }

    /// The value, or a token that is equal for equal values of one column.
    fn text(&self, column: usize, encoder: &RowEncoder<'_>, row: usize) -> Result<String, DiffError> {
        let mut encoded = Vec::new();
        encoder.encode_cell(column, row, &mut encoded);
        let value = DecodedCell::read(&mut encoded.as_slice())?;
        let Some(hasher) = &self.tokens else {
            return Ok(value.to_string().chars().take(VALUE_CHARS_MAX).collect());
        };
        if value == DecodedCell::Null {
            return Ok(value.kind());
        }
        let salted: Vec<u8> = column.to_le_bytes().into_iter().chain(encoded).collect();
        Ok(format!("{}#{:08x}", value.kind(), hasher.hash(&salted) >> 96))
    }
}
