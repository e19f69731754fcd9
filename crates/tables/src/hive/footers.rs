//! Footers that were read for an inventory and are asked for once more when their files are planned.

use std::collections::HashMap;

use bytes::Bytes;

/// Bytes of footers that are kept, at most; those beyond it are read again.
const BYTES_MAX: usize = 256 << 20;

/// Footers by the path and identity of their file.
#[derive(Debug, Default)]
pub(super) struct Footers {
    kept: HashMap<(String, String), Bytes>,
    bytes: usize,
}

impl Footers {
    /// Keeps a footer, if there is room.
    pub(super) fn put(&mut self, path: &str, identity: &str, footer: &Bytes) {
        if self.bytes + footer.len() > BYTES_MAX {
            return;
        }
        // A copy of its own: what was read is longer.
        let footer = Bytes::copy_from_slice(footer);
        self.bytes += footer.len();
        if let Some(before) = self.kept.insert((path.to_owned(), identity.to_owned()), footer) {
            self.bytes -= before.len();
        }
    }

    /// Takes a footer out.
    pub(super) fn take(&mut self, path: &str, identity: &str) -> Option<Bytes> {
        let footer = self.kept.remove(&(path.to_owned(), identity.to_owned()))?;
        self.bytes -= footer.len();
        Some(footer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_footer_is_kept_for_its_content_until_it_is_taken_and_no_more_than_there_is_room_for() {
        let mut footers = Footers::default();
        footers.put("a", "1", &Bytes::from_static(b"footer"));
        footers.put("a", "1", &Bytes::from_static(b"footer"));
        footers.put("big", "1", &Bytes::from(vec![0; BYTES_MAX - 5]));
        assert_eq!((footers.take("a", "2"), footers.take("big", "1")), (None, None));
        assert_eq!(footers.take("a", "1").as_deref(), Some(&b"footer"[..]));
        assert_eq!((footers.take("a", "1"), footers.bytes), (None, 0));
    }
}
