//! The rows that the report shows: always the same ones for the same tables and key, masked by default.

use std::collections::BTreeSet;

use lakeshift_core::equivalence::{DifferenceKind, SampleColumn, SampleRow};

use super::details::{KeptKey, KeptRow};
use super::keys::{Differing, KeyKind};
use super::scan::{Scanner, split};
use super::{DiffError, DiffRequest, Masking};
use crate::encode::DecodedCell;
use crate::fingerprint::RowHasher;

/// Characters of a value that a sample keeps.
const VALUE_CHARS_MAX: usize = 200;

/// Chooses the keys of least hash of every kind.
pub(super) struct Sampler {
    rows_max: usize,
    kept: Vec<KeptKey>,
}

impl Sampler {
    pub(super) fn new(rows_max: usize) -> Self {
        Self { rows_max, kept: Vec::new() }
    }

    /// The keys to keep of a part. Parts come in the order of the hashes, so that earlier choices stand.
    pub(super) fn choose(&self, differing: &Differing) -> BTreeSet<u128> {
        let mut chosen = BTreeSet::new();
        for kind in KeyKind::ALL {
            let room = self.rows_max.saturating_sub(self.kept.iter().filter(|kept| kept.kind == kind).count());
            let mut least = BTreeSet::new();
            for (key, _) in differing.kinds().filter(|(_, other)| *other == kind) {
                least.insert(key);
                if least.len() > room {
                    least.pop_last();
                }
            }
            chosen.append(&mut least);
        }
        chosen
    }

    pub(super) fn keep(&mut self, keys: Vec<KeptKey>) {
        self.kept.extend(keys);
    }

    /// The rows to show: of every kind in turn, at most `rows_max`.
    pub(super) fn into_rows(
        mut self,
        request: &DiffRequest<'_>,
        scanner: &Scanner<'_>,
    ) -> Result<Vec<SampleRow>, DiffError> {
        self.kept.sort_by_key(|kept| (kept.kind, kept.key));
        let mut turns: Vec<_> = KeyKind::ALL.iter().map(|kind| self.kept.iter().filter(|kept| kept.kind == *kind)).collect();
        let painter = Painter::new(request, scanner);
        let mut rows = Vec::new();
        loop {
            let turn: Vec<_> = turns.iter_mut().filter_map(Iterator::next).collect();
            if turn.is_empty() || rows.len() >= self.rows_max {
                rows.truncate(self.rows_max);
                return Ok(rows);
            }
            for kept in turn {
                rows.extend(painter.rows(kept)?);
            }
        }
    }
}

/// Turns encoded rows into what is shown.
struct Painter<'a> {
    request: &'a DiffRequest<'a>,
    scanner: &'a Scanner<'a>,
    tokens: Option<RowHasher>,
}

impl<'a> Painter<'a> {
    fn new(request: &'a DiffRequest<'a>, scanner: &'a Scanner<'a>) -> Self {
        let tokens = match request.masking {
            Masking::Shown => None,
            Masking::Tokens { secret } => Some(RowHasher::new(secret)),
        };
        Self { request, scanner, tokens }
    }

    fn rows(&self, kept: &KeptKey) -> Result<Vec<SampleRow>, DiffError> {
        if kept.kind == KeyKind::Changed {
            let old = kept.rows.values().find(|row| row.old > 0);
            let new = kept.rows.values().find(|row| row.new > 0);
            return old.zip(new).map(|(old, new)| self.changed(old, new)).into_iter().collect();
        }
        kept.rows.values().filter(|row| row.old != row.new).map(|row| self.one_sided(row)).collect()
    }

    fn one_sided(&self, row: &KeptRow) -> Result<SampleRow, DiffError> {
        let cells = split(&row.bytes, self.scanner.columns())?;
        let missing = row.old > row.new;
        let column = |(index, cell): (usize, &&[u8])| {
            let text = Some(self.text(index, cell)?);
            let (old, new) = if missing { (text, None) } else { (None, text) };
            Ok(SampleColumn { column: self.request.shape.columns[index].clone(), old, new })
        };
        Ok(SampleRow {
            kind: if missing { DifferenceKind::Missing } else { DifferenceKind::Extra },
            copies: row.old.abs_diff(row.new),
            cell: self.scanner.cell_label(&cells)?,
            row: None,
            accepted_by: None,
            columns: cells.iter().enumerate().map(column).collect::<Result<_, DiffError>>()?,
        })
    }

    fn changed(&self, old: &KeptRow, new: &KeptRow) -> Result<SampleRow, DiffError> {
        let (old, new) = (split(&old.bytes, self.scanner.columns())?, split(&new.bytes, self.scanner.columns())?);
        let differ = (0..old.len()).filter(|index| old[*index] != new[*index]);
        let shown = self.scanner.key().iter().copied().chain(differ.filter(|index| !self.scanner.key().contains(index)));
        let column = |index: usize| {
            Ok(SampleColumn {
                column: self.request.shape.columns[index].clone(),
                old: Some(self.text(index, old[index])?),
                new: Some(self.text(index, new[index])?),
            })
        };
        Ok(SampleRow {
            kind: DifferenceKind::Changed,
            copies: 1,
            cell: self.scanner.cell_label(&old)?,
            row: None,
            accepted_by: None,
            columns: shown.map(column).collect::<Result<_, DiffError>>()?,
        })
    }

    /// The value, or a token that is equal for equal values of one column.
    fn text(&self, column: usize, mut bytes: &[u8]) -> Result<String, DiffError> {
        let encoded = bytes;
        let value = DecodedCell::read(&mut bytes)?;
        let Some(hasher) = &self.tokens else {
            return Ok(value.to_string().chars().take(VALUE_CHARS_MAX).collect());
        };
        if value == DecodedCell::Null {
            return Ok(value.kind());
        }
        let salted: Vec<u8> = column.to_le_bytes().into_iter().chain(encoded.iter().copied()).collect();
        Ok(format!("{}#{:08x}", value.kind(), hasher.hash(&salted) >> 96))
    }
}
