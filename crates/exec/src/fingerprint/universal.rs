//! The universal hash of a cell: keyed 128-bit multilinear hashing of its canonical encoding.
//!
//! A cell is a tag and a payload (`docs/equivalence.md`). Its words are `tag | length << 8`, then the payload in
//! little-endian words of 32 bits, padded with zeros; its hash is `Σ key[i] · word[i] mod 2^128` under keys of 128 bits
//! that belong to the column. Payloads longer than [`PAYLOAD_BYTES_MAX`] stand for themselves by their SipHash.
//!
//! Multilinear hashing is from Carter and Wegman (*Universal classes of hash functions*, 1979). Two different cells have
//! hashes with a given difference with probability at most 2^-97: some word differs, by less than 2^32, so its product
//! with a random key takes every value at most 2^31 times.

use crate::encode::{cell_parts, tag};

use super::hash::RowHasher;

/// Payloads up to this length are hashed word by word.
const PAYLOAD_BYTES_MAX: usize = 256;
/// Keys a column has: one for the first word, and one for every word of a payload.
const KEYS: usize = 1 + PAYLOAD_BYTES_MAX / 4;
const BLOCK_WORDS: usize = 4;
const BLOCK_BYTES: usize = 4 * BLOCK_WORDS;
/// Marks, in the first word, a payload that is given by its SipHash.
const LONG: u32 = 1 << 31;

/// The keys of one compared column.
#[derive(Debug, Clone)]
pub(super) struct ColumnKeys {
    words: [u128; KEYS],
    mixers: Mixers,
    long: RowHasher,
}

impl ColumnKeys {
    /// The keys of the `column`-th compared column.
    pub(super) fn new(hasher: &RowHasher, column: usize) -> Self {
        let keys = hasher.derived(&format!("lakeshift universal: column {column}"));
        let key = |index: usize| keys.hash(&(index as u64).to_le_bytes());
        let mixer = key(KEYS);
        Self {
            words: std::array::from_fn(key),
            mixers: Mixers([mixer as u64, (mixer >> 64) as u64]),
            long: keys.derived("lakeshift universal: long payloads"),
        }
    }

    /// The part of a cell's hash that its tag and its payload's length decide.
    pub(super) fn head(&self, tag: u8, length: usize) -> u128 {
        self.word(0, u32::from(tag) | (length as u32) << 8)
    }

    /// The key of the `index`-th word.
    #[inline(always)]
    pub(super) fn key(&self, index: usize) -> u128 {
        self.words[index]
    }

    /// The part of the `index`-th word.
    #[inline(always)]
    pub(super) fn word(&self, index: usize, word: u32) -> u128 {
        part(self.key(index), word)
    }

    /// What [`mixed`](Mixers::mixed) a column's hashes.
    pub(super) fn mixers(&self) -> Mixers {
        self.mixers
    }

    /// The hash of a cell of `tag` with this payload.
    #[inline(always)]
    pub(super) fn payload(&self, tag: u8, payload: &[u8]) -> u128 {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return self.long_payload(tag, payload);
        }
        // Four words at a time. What the last ones have too many of is zero, and has no part in the sum.
        let (blocks, rest) = payload.as_chunks::<BLOCK_BYTES>();
        let (keys, _) = self.words[1..].as_chunks::<BLOCK_WORDS>();
        let block = |hash: u128, (keys, block): (&[u128; BLOCK_WORDS], u128)| {
            let words = [0, 32, 64, 96].map(|shift| (block >> shift) as u32);
            keys.iter().zip(words).fold(hash, |hash, (key, word)| hash.wrapping_add(part(*key, word)))
        };
        let whole = keys.iter().zip(blocks.iter().map(|bytes| u128::from_le_bytes(*bytes)));
        let hash = whole.fold(self.head(tag, payload.len()), block);
        match keys.get(blocks.len()) {
            Some(keys) if !rest.is_empty() => block(hash, (keys, last_block(payload, rest))),
            _ => hash,
        }
    }

    /// The hash of a cell by its canonical encoding.
    pub(super) fn encoded(&self, cell: &[u8]) -> u128 {
        match cell_parts(cell) {
            None | Some((tag::NULL, _)) => 0,
            Some((tag, payload)) => self.payload(tag, payload),
        }
    }

    fn long_payload(&self, tag: u8, payload: &[u8]) -> u128 {
        let digest = self.long.hash(payload);
        let words = (1..=4).map(|index| self.word(index, (digest >> (32 * (index - 1))) as u32));
        words.fold(self.word(0, u32::from(tag) | LONG), u128::wrapping_add)
    }
}

/// The bytes at the end of a payload that make no whole block, filled up with zeros.
#[inline(always)]
fn last_block(payload: &[u8], rest: &[u8]) -> u128 {
    match payload.last_chunk() {
        // Read with bytes before them, which are shifted out: quicker than to copy just these.
        Some(last) => u128::from_le_bytes(*last) >> (8 * (BLOCK_BYTES - rest.len())),
        None => {
            let mut block = [0; BLOCK_BYTES];
            block[..rest.len()].copy_from_slice(rest);
            u128::from_le_bytes(block)
        }
    }
}

/// A word's part in a hash.
#[inline(always)]
pub(super) fn part(key: u128, word: u32) -> u128 {
    key.wrapping_mul(u128::from(word))
}

/// The keys of a column's sums.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mixers([u64; 2]);

impl Mixers {
    /// A cell's part in its column's sum, from its hash: one multiplication more, so that values whose hashes add up to the
    /// same do not cancel. It names columns; no verdict rests on it.
    #[inline(always)]
    pub(super) fn mixed(self, hash: u128) -> u64 {
        let product = u128::from(hash as u64 ^ self.0[0]).wrapping_mul(u128::from((hash >> 64) as u64 ^ self.0[1]));
        (product >> 64) as u64 ^ product as u64
    }
}
