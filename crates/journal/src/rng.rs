//! The one place that draws random bytes: [`Rng`], its sugar [`RngExt`], and the real [`SystemRng`].

use std::fmt::Debug;

use rand::RngCore;
use uuid::Uuid;

/// A source of random bytes.
pub trait Rng: Debug + Send + Sync {
    /// Fills `buffer` with random bytes.
    fn fill(&self, buffer: &mut [u8]);
}

/// Values drawn from an [`Rng`].
pub trait RngExt: Rng {
    /// 64 random bits.
    fn nonce(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// 128 random bits: unique among all processes for any practical purpose.
    fn nonce128(&self) -> u128 {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        u128::from_le_bytes(bytes)
    }

    /// A version-4 UUID, for names of data files and tables.
    fn uuid(&self) -> Uuid {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }
}

impl<R: Rng + ?Sized> RngExt for R {}

/// The thread's cryptographically secure generator, seeded by the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRng;

impl Rng for SystemRng {
    #[expect(clippy::disallowed_methods, reason = "this is the source that all others take randomness from")]
    fn fill(&self, buffer: &mut [u8]) {
        rand::rng().fill_bytes(buffer);
    }
}

/// A nonce as written into objects: 32 hexadecimal digits, because readers of JSON may hold numbers as doubles.
pub(crate) fn nonce_text(rng: &dyn Rng) -> String {
    format!("{:032x}", rng.nonce128())
}
