//! What is counted of one column over all changed rows.

use lakeshift_core::equivalence::ColumnDiff;

use super::causes::Causes;
use super::number;
use super::pairs::CellPair;
use crate::encode::DecodedCell;

/// A column's counts so far.
#[derive(Debug, Default)]
pub(super) struct ColumnStats {
    unequal: u64,
    null_flips: u64,
    tolerated: u64,
    largest_absolute: Option<f64>,
    largest_relative: Option<f64>,
    causes: Causes,
}

impl ColumnStats {
    /// Adds a pair of values that are not the same; tolerated ones count towards the largest differences too.
    pub(super) fn see(&mut self, pair: &CellPair) {
        if let Some(distance) = number::distance(&pair.old, &pair.new) {
            self.largest_absolute = larger(self.largest_absolute, Some(distance.absolute));
            self.largest_relative = larger(self.largest_relative, distance.relative);
        }
        if pair.is_tolerated {
            self.tolerated += 1;
            return;
        }
        self.unequal += 1;
        self.null_flips += u64::from([&pair.old, &pair.new].contains(&&DecodedCell::Null));
        self.causes.see(&pair.old, &pair.new);
    }

    pub(super) fn into_column_diff(self, column: String) -> ColumnDiff {
        ColumnDiff {
            column,
            unequal: self.unequal,
            null_flips: self.null_flips,
            tolerated: self.tolerated,
            largest_absolute: self.largest_absolute,
            largest_relative: self.largest_relative,
            cause: self.causes.plain_one(),
        }
    }
}

fn larger(known: Option<f64>, other: Option<f64>) -> Option<f64> {
    match (known, other) {
        (Some(known), Some(other)) => Some(known.max(other)),
        (known, other) => known.or(other),
    }
}
