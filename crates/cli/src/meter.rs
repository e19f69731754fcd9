//! What a runner has asked of stores.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lakeshift_core::migration::{Requests, RoundCost};

/// A count that clones share.
#[derive(Debug, Clone, Default)]
pub struct Meter {
    counts: Arc<Counts>,
}

/// What a request is charged as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An object or a part of one is written, or copied.
    Put,
    /// An object is read.
    Get,
    /// Objects are listed.
    List,
    /// An object is asked for its size and version alone.
    Head,
    /// An object is deleted.
    Delete,
}

#[derive(Debug, Default)]
struct Counts {
    /// By [`Kind`].
    requests: [AtomicU64; 5],
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
}

/// What was counted of one meter up to a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Calls to the stores.
    pub requests: Requests,
    /// Bytes of what was read.
    pub bytes_read: u64,
    /// Bytes of what was written.
    pub bytes_written: u64,
}

/// What a runner had used up to a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// Of the tables' stores.
    pub tables: Usage,
    /// Of the control root's.
    pub control: Usage,
}

impl Meter {
    /// Counts one request.
    pub fn request(&self, kind: Kind) {
        self.counts.requests[kind as usize].fetch_add(1, Ordering::Relaxed);
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
        let of = |kind: Kind| self.counts.requests[kind as usize].load(Ordering::Relaxed);
        let [puts, gets, lists, heads, deletes] = [Kind::Put, Kind::Get, Kind::List, Kind::Head, Kind::Delete].map(of);
        Usage {
            requests: Requests { puts, gets, lists, heads, deletes },
            bytes_read: self.counts.bytes_read.load(Ordering::Relaxed),
            bytes_written: self.counts.bytes_written.load(Ordering::Relaxed),
        }
    }
}

impl Used {
    /// What has been used since `earlier`, without what it was for.
    pub fn since(self, earlier: Self) -> RoundCost {
        let by_kind = self.tables.requests.since(earlier.tables.requests);
        RoundCost {
            requests: by_kind.total(),
            by_kind,
            control: self.control.requests.since(earlier.control.requests),
            bytes_read: self.tables.bytes_read.saturating_sub(earlier.tables.bytes_read),
            bytes_written: self.tables.bytes_written.saturating_sub(earlier.tables.bytes_written),
            ..RoundCost::default()
        }
    }
}
