//! What Delta's deletion vectors and Iceberg's have in common: a 64-bit Roaring bitmap in the portable format, behind a magic,
//! in a frame of size and checksum.
//!
//! A reason says what is wrong with a vector; who knows which file it is of makes the error.

use lakeshift_core::table::{DeletedRows, TableError};
use roaring::RoaringTreemap;

use crate::footer::unsupported;

/// The portable bitmap format.
const MAGIC: [u8; 4] = 1_681_511_377_u32.to_le_bytes();
/// Before a vector stands its size, behind it its CRC-32, big-endian, in bytes each.
const FRAME_BYTES: usize = 4;
/// Both sides of the frame, in bytes.
pub(crate) const FRAMES_BYTES: u64 = 2 * FRAME_BYTES as u64;
/// The longest vector that is read. Writers stay far below it.
pub(crate) const SIZE_BYTES_MAX: u64 = 1 << 30;

/// A vector of these rows in its frame.
pub(crate) fn framed(rows: &RoaringTreemap) -> Vec<u8> {
    let size = MAGIC.len() + rows.serialized_size();
    let mut bytes = Vec::with_capacity(size + 2 * FRAME_BYTES);
    bytes.extend((size as u32).to_be_bytes());
    bytes.extend(MAGIC);
    // Writing to memory cannot fail; a vector that was cut off would not pass for whole: its size is another.
    let _ = rows.serialize_into(&mut bytes);
    let checksum = crc32fast::hash(&bytes[FRAME_BYTES..]);
    bytes.extend(checksum.to_be_bytes());
    bytes
}

/// The vector inside of its frame.
pub(crate) fn unframed(framed: &[u8]) -> Result<&[u8], String> {
    let short = || "is cut off".to_owned();
    let (size, rest) = framed.split_first_chunk::<FRAME_BYTES>().ok_or_else(short)?;
    let (vector, checksum) = rest.split_last_chunk::<FRAME_BYTES>().ok_or_else(short)?;
    if u32::from_be_bytes(*size) as usize != vector.len() {
        return Err("has another size in its file than in the metadata".to_owned());
    }
    if *checksum != crc32fast::hash(vector).to_be_bytes() {
        return Err("has a wrong checksum".to_owned());
    }
    Ok(vector)
}

/// The rows that a vector deletes, of which there must be `cardinality`.
pub(crate) fn rows(vector: &[u8], cardinality: u64) -> Result<RoaringTreemap, String> {
    let (magic, bitmap) = vector.split_first_chunk::<4>().ok_or("is cut off")?;
    if *magic != MAGIC {
        return Err("does not begin with the magic of a portable bitmap".to_owned());
    }
    let rows = RoaringTreemap::deserialize_from(bitmap).map_err(|error| format!("is damaged: {error}"))?;
    match rows.len() {
        found if found == cardinality => Ok(rows),
        found => Err(format!("deletes {found} rows where the metadata says {cardinality}")),
    }
}

/// The rows of `file` as ranges.
///
/// # Errors
/// [`TableError::Unsupported`] for more ranges than are held in memory.
pub(crate) fn ranges(file: &str, rows: RoaringTreemap) -> Result<DeletedRows, TableError> {
    let refused = |feature: String| unsupported(file, feature, "compact the table first, so that fewer rows are deleted");
    let mut before = None;
    let mut begins = |row: u64| Some(row) != std::mem::replace(&mut before, row.checked_add(1));
    if rows.iter().filter(|row| begins(*row)).take(DeletedRows::RANGES_MAX + 1).count() > DeletedRows::RANGES_MAX {
        return Err(refused(format!("deleted rows in more than {} separate ranges", DeletedRows::RANGES_MAX)));
    }
    DeletedRows::from_ascending(rows).ok_or_else(|| refused("deleted rows beyond any file".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_comes_back_and_a_damaged_one_does_not() {
        let deleted: RoaringTreemap = [0, 1, 70_000, (1 << 32) + 5].into_iter().collect();
        let bytes = framed(&deleted);
        let read = |bytes: &[u8]| unframed(bytes).and_then(|vector| rows(vector, 4));
        assert_eq!(read(&bytes), Ok(deleted));
        for position in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[position] ^= 1;
            assert!(read(&damaged).is_err(), "byte {position}");
            assert!(read(&bytes[..position]).is_err(), "cut at {position}");
        }
    }

    /// The example of Delta's protocol: rows 3, 4, 7, 11, 18 and 29.
    #[test]
    fn a_known_vector_has_these_bytes() {
        let inline = z85::decode("^Bg9^0rr910000000000iXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L").unwrap();
        let bytes = framed(&RoaringTreemap::from_iter([3, 4, 7, 11, 18, 29]));
        assert_eq!((unframed(&bytes), &bytes[..4]), (Ok(&inline[..]), &[0, 0, 0, 44][..]));
    }

    #[test]
    fn neighbours_are_one_range() {
        let deleted = ranges("f", RoaringTreemap::from_iter([0, 1, 2, 5, 1 << 40])).unwrap();
        assert_eq!((deleted.ranges(), deleted.count()), (&[0..3, 5..6, 1 << 40..(1 << 40) + 1][..], 5));
    }

    #[test]
    fn more_ranges_than_memory_holds_are_refused() {
        let every_second = |count: usize| RoaringTreemap::from_iter((0..count as u64).map(|row| row * 2));
        assert!(ranges("f", every_second(DeletedRows::RANGES_MAX)).is_ok());
        let error = ranges("f", every_second(DeletedRows::RANGES_MAX + 1)).unwrap_err();
        assert!(matches!(error, TableError::Unsupported { .. }), "{error}");
    }
}
