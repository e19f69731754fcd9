//! Footers that were read for an inventory and are asked for once more when their files are planned.

use std::collections::HashMap;

use crate::footer::{ColumnMetrics, Footer};

/// Bytes of footers that are kept, at most; those beyond it are read again.
const BYTES_MAX: usize = 256 << 20;

/// Footers by the path and identity of their file.
#[derive(Debug, Default)]
pub(super) struct Footers {
    kept: HashMap<(String, String), Footer>,
    bytes: usize,
}

impl Footers {
    /// Keeps a footer, if there is room.
    pub(super) fn put(&mut self, path: &str, identity: &str, footer: Footer) {
        if self.bytes + bytes(&footer) > BYTES_MAX {
            return;
        }
        self.bytes += bytes(&footer);
        if let Some(before) = self.kept.insert((path.to_owned(), identity.to_owned()), footer) {
            self.bytes -= bytes(&before);
        }
    }

    /// Takes a footer out.
    pub(super) fn take(&mut self, path: &str, identity: &str) -> Option<Footer> {
        let footer = self.kept.remove(&(path.to_owned(), identity.to_owned()))?;
        self.bytes -= bytes(&footer);
        Some(footer)
    }
}

/// About what a footer takes; its schema is shared.
fn bytes(footer: &Footer) -> usize {
    let bounds = |column: &ColumnMetrics| column.bounds.as_ref().map_or(0, |(min, max)| min.heap_bytes() + max.heap_bytes());
    let columns = footer.columns.iter().map(|column| size_of::<ColumnMetrics>() + bounds(column));
    size_of::<Footer>() + size_of_val(&footer.split_offsets[..]) + columns.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn footer(offsets: usize) -> Footer {
        let (schema, split_offsets) = (Default::default(), vec![4; offsets]);
        Footer { rows: 1, schema, columns: Vec::new(), split_offsets, created_by: None, two_level_list: None }
    }

    #[test]
    fn a_footer_is_kept_for_its_content_until_it_is_taken_and_no_more_than_there_is_room_for() {
        let mut footers = Footers::default();
        footers.put("a", "1", footer(1));
        footers.put("a", "1", footer(1));
        footers.put("big", "1", footer(BYTES_MAX / 8));
        assert_eq!((footers.take("a", "2"), footers.take("big", "1")), (None, None));
        assert_eq!(footers.take("a", "1"), Some(footer(1)));
        assert_eq!((footers.take("a", "1"), footers.bytes), (None, 0));
    }
}
