//! From the cells' hashes to a row's: their sum, then a pseudo-random permutation of it.

use aes::Aes128;
use aes::cipher::generic_array::GenericArray;
use aes::cipher::{BlockEncrypt, KeyInit};

use super::hash::RowHasher;

/// Blocks that are enciphered together: the processor works on several at a time.
const BLOCKS: usize = 64;

/// AES-128 under a key of its own.
pub(super) struct RowCipher(Aes128);

impl RowCipher {
    pub(super) fn new(hasher: &RowHasher) -> Self {
        let key = hasher.hash(b"lakeshift universal: rows").to_le_bytes();
        Self(Aes128::new(&GenericArray::from(key)))
    }

    /// Replaces every row's universal hash by its image.
    pub(super) fn permute(&self, rows: &mut [u128]) {
        let mut blocks = [aes::Block::default(); BLOCKS];
        for chunk in rows.chunks_mut(BLOCKS) {
            let blocks = &mut blocks[..chunk.len()];
            for (block, row) in blocks.iter_mut().zip(chunk.iter()) {
                block.copy_from_slice(&row.to_le_bytes());
            }
            self.0.encrypt_blocks(blocks);
            for (block, row) in blocks.iter().zip(chunk.iter_mut()) {
                *row = u128::from_le_bytes((*block).into());
            }
        }
    }
}

impl std::fmt::Debug for RowCipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowCipher").finish_non_exhaustive()
    }
}
