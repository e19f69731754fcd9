//! The keyed hash of encoded rows: SipHash-2-4 with 128 bits of key and of output.

use lakeshift_core::equivalence::ValidationKey;
use siphasher::sip128::SipHasher24;

/// A pseudo-random function from bytes to 128 bits.
#[derive(Debug, Clone)]
pub(crate) struct RowHasher(SipHasher24);

impl RowHasher {
    /// The function of this key.
    pub(crate) fn new(key: ValidationKey) -> Self {
        Self(SipHasher24::new_with_key(key.as_bytes()))
    }

    /// Another function of the same key, independent of it and of every other purpose.
    pub(crate) fn derived(&self, purpose: &str) -> Self {
        Self(SipHasher24::new_with_key(&self.hash(purpose.as_bytes()).to_le_bytes()))
    }

    /// The hash of `bytes`.
    pub(crate) fn hash(&self, bytes: &[u8]) -> u128 {
        self.0.hash(bytes).into()
    }
}
