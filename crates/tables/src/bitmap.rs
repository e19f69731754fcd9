//! The serialised form of a deletion vector, which Iceberg has taken over from Delta: length, magic, a portable 64-bit
//! Roaring bitmap, checksum.

use roaring::RoaringTreemap;

const MAGIC: [u8; 4] = [0xD1, 0xD3, 0x39, 0x64];
/// Length and checksum, each of so many bytes.
const NUMBER_BYTES: usize = 4;

/// The vector's bytes.
pub(crate) fn encode(rows: &RoaringTreemap) -> Vec<u8> {
    let size = MAGIC.len() + rows.serialized_size();
    let mut bytes = Vec::with_capacity(size + 2 * NUMBER_BYTES);
    bytes.extend((size as u32).to_be_bytes());
    bytes.extend(MAGIC);
    // Writing to memory cannot fail; a vector that was cut off would not pass its own checksum's length.
    let _ = rows.serialize_into(&mut bytes);
    let checksum = crc32fast::hash(&bytes[NUMBER_BYTES..]);
    bytes.extend(checksum.to_be_bytes());
    bytes
}

/// The rows of a vector; otherwise what is wrong with its bytes.
pub(crate) fn decode(bytes: &[u8]) -> Result<RoaringTreemap, String> {
    let cut_off = || "is cut off".to_owned();
    let (length, rest) = bytes.split_first_chunk::<NUMBER_BYTES>().ok_or_else(cut_off)?;
    let (vector, checksum) = rest.split_last_chunk::<NUMBER_BYTES>().ok_or_else(cut_off)?;
    if usize::try_from(u32::from_be_bytes(*length)) != Ok(vector.len()) {
        return Err("has another length than it says".to_owned());
    }
    if u32::from_be_bytes(*checksum) != crc32fast::hash(vector) {
        return Err("has a wrong checksum".to_owned());
    }
    let bitmap = vector.strip_prefix(&MAGIC).ok_or("does not begin with the magic of a portable bitmap")?;
    RoaringTreemap::deserialize_from(bitmap).map_err(|error| format!("is damaged: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_comes_back_and_a_damaged_one_does_not() {
        let rows: RoaringTreemap = [0, 1, 70_000, (1 << 32) + 5].into_iter().collect();
        let bytes = encode(&rows);
        assert_eq!(decode(&bytes), Ok(rows));
        for position in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[position] ^= 1;
            assert!(decode(&damaged).is_err(), "byte {position}");
            assert!(decode(&bytes[..position]).is_err(), "cut at {position}");
        }
    }

    /// The example of Delta's protocol, framed: rows 3, 4, 7, 11, 18 and 29.
    #[test]
    fn a_known_vector_has_these_bytes() {
        let inline = z85::decode("^Bg9^0rr910000000000iXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L").unwrap();
        let rows: RoaringTreemap = [3, 4, 7, 11, 18, 29].into_iter().collect();
        let bytes = encode(&rows);
        assert_eq!(bytes[4..bytes.len() - 4], inline);
        assert_eq!(bytes[..4], [0, 0, 0, 44]);
    }
}
