//! [`SeededRng`]: randomness that a seed replays.

use std::sync::{Mutex, PoisonError};

use lakeshift_journal::Rng;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

/// A generator that gives the same bytes for the same seed. Give every simulated process its own seed: two processes
/// with one seed draw the same nonces.
#[derive(Debug)]
pub struct SeededRng(Mutex<StdRng>);

impl SeededRng {
    /// The generator for `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }
}

impl Rng for SeededRng {
    fn fill(&self, buffer: &mut [u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(buffer);
    }
}
