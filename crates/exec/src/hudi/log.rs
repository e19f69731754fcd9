//! Log files: blocks, one after the other, each with its own length in front and behind (Hudi's technical specification,
//! "Log Format", version 1). Blocks carry no checksum.

use std::collections::BTreeMap;
use std::ops::Range;

use super::error::{HudiError, damaged, unsupported};

const MAGIC: &[u8; 6] = b"#HUDI#";
/// The log format that is read; the first one had no headers.
const FORMAT_VERSION: u32 = 1;
/// Entries of a header or footer, at most; the format knows nine.
const ENTRIES_MAX: u32 = 64;

/// What a block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A command to readers: take an instant's blocks back.
    Command,
    /// Keys of deleted records.
    Delete,
    /// Records in Avro.
    Avro,
    /// Records as a Parquet file.
    Parquet,
}

/// A key of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    /// The instant that wrote the block.
    Instant = 0,
    /// The instant that a rollback takes back.
    Target = 1,
    /// The records' schema, as Avro JSON.
    Schema = 2,
    /// Which command it is.
    Command = 3,
    /// The instants whose blocks this one stands for.
    Compacted = 4,
    /// Where in the base file the records stand; keys tell it as well.
    Positions = 5,
    /// Tells attempts to write one block apart.
    Identifier = 6,
    /// Whether records have only the columns that changed.
    Partial = 7,
    /// Of which base file the positions are.
    PositionsOf = 8,
}

const KEYS: [Key; 9] = [
    Key::Instant,
    Key::Target,
    Key::Schema,
    Key::Command,
    Key::Compacted,
    Key::Positions,
    Key::Identifier,
    Key::Partial,
    Key::PositionsOf,
];

/// One block; its content is a range of the file's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) kind: Result<Kind, &'static str>,
    header: BTreeMap<Key, String>,
    pub(super) content: Range<usize>,
}

impl Block {
    /// A header's text.
    pub(super) fn get(&self, key: Key) -> Option<&str> {
        self.header.get(&key).map(String::as_str)
    }
}

/// The blocks of a log file. Kinds that are not read come with their name: whether they matter is told by their instant.
///
/// # Errors
/// [`HudiError::Damaged`] where lengths contradict each other or the file ends early; [`HudiError::Unsupported`] for another
/// format and for header keys that are not known.
pub(super) fn blocks(file: &str, bytes: &[u8]) -> Result<Vec<Block>, HudiError> {
    let mut blocks = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let (block, end) = block(file, bytes, at)?;
        blocks.push(block);
        at = end;
    }
    Ok(blocks)
}

/// The block that begins at `start`, and where it ends.
fn block(file: &str, bytes: &[u8], start: usize) -> Result<(Block, usize), HudiError> {
    let broken = |what: &str| damaged(file, format!("its block at byte {start} {what}"));
    let mut cursor = Cursor { bytes, at: start, end: bytes.len() };
    let ends = || broken("ends too early");
    if cursor.take(MAGIC.len()).map(|range| &bytes[range]) != Some(&MAGIC[..]) {
        return Err(broken("does not begin with Hudi's magic"));
    }
    let size = cursor.length().ok_or_else(ends)?;
    let end = cursor.at.checked_add(size).filter(|end| *end <= bytes.len()).ok_or_else(ends)?;
    cursor.end = end;
    let version = cursor.number().ok_or_else(ends)?;
    if version != FORMAT_VERSION {
        return Err(unsupported(file, format!("the log format {version}")));
    }
    let kind = match cursor.number().ok_or_else(ends)? {
        0 => Ok(Kind::Command),
        1 => Ok(Kind::Delete),
        2 => Err("a corrupt block"),
        3 => Ok(Kind::Avro),
        4 => Err("an HFile block"),
        5 => Ok(Kind::Parquet),
        6 => Err("a change data block"),
        other => return Err(unsupported(file, format!("log blocks of the type {other}"))),
    };
    let header = cursor.entries(file)?.ok_or_else(ends)?;
    let length = cursor.length().ok_or_else(ends)?;
    let content = cursor.take(length).ok_or_else(ends)?;
    cursor.entries(file)?.ok_or_else(ends)?;
    let total = cursor.length().ok_or_else(ends)?;
    if cursor.at != end || Some(total) != size.checked_add(MAGIC.len()) {
        return Err(broken("does not end where it says"));
    }
    Ok((Block { kind, header, content }, end))
}

/// Reads big-endian numbers and ranges up to `end`.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl Cursor<'_> {
    fn take(&mut self, length: usize) -> Option<Range<usize>> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.end)?;
        let range = self.at..end;
        self.at = end;
        Some(range)
    }

    fn number(&mut self) -> Option<u32> {
        let range = self.take(4)?;
        Some(u32::from_be_bytes(self.bytes[range].try_into().ok()?))
    }

    fn length(&mut self) -> Option<usize> {
        let range = self.take(8)?;
        usize::try_from(i64::from_be_bytes(self.bytes[range].try_into().ok()?)).ok()
    }

    /// A header or footer; `None` where it does not fit.
    fn entries(&mut self, file: &str) -> Result<Option<BTreeMap<Key, String>>, HudiError> {
        let Some(count) = self.number().filter(|count| *count <= ENTRIES_MAX) else { return Ok(None) };
        let mut entries = BTreeMap::new();
        for _ in 0..count {
            let Some(key) = self.number() else { return Ok(None) };
            let Some(length) = self.number().and_then(|length| usize::try_from(length).ok()) else { return Ok(None) };
            let Some(text) = self.take(length).and_then(|range| std::str::from_utf8(&self.bytes[range]).ok()) else {
                return Ok(None);
            };
            let known = usize::try_from(key).ok().and_then(|index| KEYS.get(index));
            let key = known.ok_or_else(|| unsupported(file, format!("the log block header {key}")))?;
            entries.insert(*key, text.to_owned());
        }
        Ok(Some(entries))
    }
}
