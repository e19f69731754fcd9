//! [`DeletedRows`]: the rows of one file that are gone, as ranges of positions.

use std::ops::Range;

/// Rows of one data file that the table has deleted, by their positions in the file; the first row is 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeletedRows {
    ranges: Vec<Range<u64>>,
    count: u64,
    file_rows: Option<u64>,
}

impl DeletedRows {
    /// Ranges of one file's deleted rows that are held in memory at most, 16 bytes each. Who makes [`DeletedRows`] of a
    /// table's deletes refuses more.
    pub const RANGES_MAX: usize = 16 << 20;

    /// The rows at `positions`; `None` unless they ascend strictly and stay below [`u64::MAX`].
    pub fn from_ascending(positions: impl IntoIterator<Item = u64>) -> Option<Self> {
        let mut rows = Self::default();
        for position in positions {
            let end = position.checked_add(1)?;
            match rows.ranges.last_mut() {
                Some(last) if position < last.end => return None,
                Some(last) if position == last.end => last.end = end,
                _ => rows.ranges.push(position..end),
            }
            rows.count += 1;
        }
        Some(rows)
    }

    /// With the number of rows that the file has in all, deleted ones among them, where the table tells it apart from
    /// [`FileEntry::rows`].
    #[must_use]
    pub fn of_file_with(mut self, rows: u64) -> Self {
        self.file_rows = Some(rows);
        self
    }

    /// How many rows the file has in all, where the table tells.
    pub fn file_rows(&self) -> Option<u64> {
        self.file_rows
    }

    /// The rows that are in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let (mut left, mut right) = (self.ranges.iter().peekable(), other.ranges.iter().peekable());
        let mut ranges: Vec<Range<u64>> = Vec::with_capacity(self.ranges.len() + other.ranges.len());
        loop {
            let first = match (left.peek(), right.peek()) {
                (Some(a), Some(b)) if b.start < a.start => right.next(),
                (Some(_), _) => left.next(),
                (None, _) => right.next(),
            };
            match (first, ranges.last_mut()) {
                (None, _) => break,
                (Some(next), Some(last)) if next.start <= last.end => last.end = last.end.max(next.end),
                (Some(next), _) => ranges.push(next.clone()),
            }
        }
        let count = ranges.iter().map(|range| range.end - range.start).sum();
        Self { ranges, count, file_rows: self.file_rows.or(other.file_rows) }
    }

    /// The rows as ascending ranges that do not touch.
    pub fn ranges(&self) -> &[Range<u64>] {
        &self.ranges
    }

    /// How many rows are deleted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The positions, ascending.
    pub fn positions(&self) -> impl Iterator<Item = u64> + '_ {
        self.ranges.iter().cloned().flatten()
    }

    /// Those of the rows that are not in `earlier`; `None` where `earlier` has rows that these lack: rows do not come back.
    pub fn since(&self, earlier: &Self) -> Option<Self> {
        let mut before = earlier.positions().peekable();
        let new = self.positions().filter(|position| before.next_if_eq(position).is_none());
        let new = Self::from_ascending(new.collect::<Vec<_>>())?;
        (new.count + earlier.count == self.count).then_some(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deleted_rows_are_ranges_and_must_ascend() {
        let rows = DeletedRows::from_ascending([0, 1, 2, 7, 9]).unwrap();
        assert_eq!((rows.ranges(), rows.count()), (&[0..3, 7..8, 9..10][..], 5));
        assert_eq!(DeletedRows::from_ascending([3, 3]), None);
        assert_eq!(DeletedRows::from_ascending([3, 2]), None);
        assert_eq!(DeletedRows::from_ascending([u64::MAX]), None);
    }

    #[test]
    fn rows_deleted_since_are_told_unless_some_came_back() {
        let rows = |positions: &[u64]| DeletedRows::from_ascending(positions.iter().copied()).unwrap();
        let later = rows(&[0, 1, 5, 6, 9]);
        assert_eq!(later.since(&rows(&[])), Some(later.clone()));
        assert_eq!(later.since(&rows(&[1, 6])), Some(rows(&[0, 5, 9])));
        assert_eq!(later.since(&later), Some(rows(&[])));
        assert_eq!(later.since(&rows(&[1, 2])), None);
        assert_eq!(later.since(&rows(&[10])), None);
    }

    #[test]
    fn deleted_rows_of_two_sources_are_merged() {
        let rows = |positions: &[u64]| DeletedRows::from_ascending(positions.iter().copied()).unwrap();
        let union = rows(&[0, 1, 5, 9]).union(&rows(&[1, 2, 3, 4, 10, 20]));
        assert_eq!((union.ranges(), union.count()), (&[0..6, 9..11, 20..21][..], 9));
        let none = DeletedRows::default();
        assert_eq!(none.union(&rows(&[7])), rows(&[7]));
        assert_eq!(rows(&[7]).of_file_with(8).union(&none), rows(&[7]).of_file_with(8));
    }
}
