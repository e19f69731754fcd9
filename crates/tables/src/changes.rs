//! What differs between two lists of files.

use std::cmp::Ordering;

use lakeshift_core::table::{Changes, FileEntry};

/// The merge of two lists that are sorted by path. A file of one path and another content is in both lists.
pub(crate) fn difference(from: impl IntoIterator<Item = FileEntry>, to: impl IntoIterator<Item = FileEntry>) -> Changes {
    let mut changes = Changes::default();
    let (mut old, mut new) = (from.into_iter().peekable(), to.into_iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return changes,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.path.cmp(&new.path),
        };
        let before = if order.is_le() { old.next() } else { None };
        let after = if order.is_ge() { new.next() } else { None };
        let same = |before: &FileEntry, after: &FileEntry| {
            before.size_bytes == after.size_bytes && before.identity == after.identity
        };
        if before.as_ref().zip(after.as_ref()).is_some_and(|(before, after)| same(before, after)) {
            continue;
        }
        changes.removed.extend(before);
        changes.added.extend(after);
    }
}
