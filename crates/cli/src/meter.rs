//! What a runner has asked of the tables' stores.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A count that clones share.
#[derive(Debug, Clone, Default)]
pub struct Meter {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU64,
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
}

/// What was counted up to a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Calls to the stores.
    pub requests: u64,
    /// Bytes of what was read.
    pub bytes_read: u64,
    /// Bytes of what was written.
    pub bytes_written: u64,
}

impl Meter {
    /// Counts one request.
    pub fn request(&self) {
        self.counts.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts bytes that were read.
    pub fn read(&self, bytes: u64) {
        self.counts.bytes_read.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes that were written.
    pub fn written(&self, bytes: u64) {
        self.counts.bytes_written.fetch_add(bytes, Ordering::Relaxed);
    }

    /// All since the runner began.
    pub fn usage(&self) -> Usage {
        let Counts { requests, bytes_read, bytes_written } = self.counts.as_ref();
        Usage {
            requests: requests.load(Ordering::Relaxed),
            bytes_read: bytes_read.load(Ordering::Relaxed),
            bytes_written: bytes_written.load(Ordering::Relaxed),
        }
    }
}
