//! [`LeaseError`]: why a lease could not be judged, taken, renewed or released.

use object_store::path::Path;
use thiserror::Error;

use crate::{Epoch, LogError};

/// Why a lease operation failed. Nothing was changed, except possibly under [`LogError::OutcomeUnknown`].
#[derive(Debug, Error)]
pub enum LeaseError {
    /// The store failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// An object is not a lease or a heartbeat.
    #[error(
        "{path} is not a lease object of Lakeshift; nothing was changed: restore it from the bucket's versions; only \
         when no runner is alive, it may be deleted instead"
    )]
    Garbled {
        /// The object.
        path: Path,
        /// Where in it decoding stopped.
        source: serde_json::Error,
    },
    /// An object was written in a format of another version of Lakeshift.
    #[error(
        "the lease object {path} has format version {found}, and this program reads version {supported}; nothing was \
         changed: use the version of Lakeshift that wrote it, or a later one"
    )]
    UnknownFormat {
        /// The object.
        path: Path,
        /// Its version.
        found: u32,
        /// The version that is read.
        supported: u32,
    },
    /// A lease says that it belongs elsewhere.
    #[error(
        "the lease {path} calls itself epoch {found}, not {expected}; nothing was changed: it was renamed or copied, \
         restore it from the bucket's versions; only when no runner is alive, it may be deleted instead"
    )]
    WrongEpoch {
        /// The object.
        path: Path,
        /// The epoch by its name.
        expected: Epoch,
        /// The epoch by its content.
        found: Epoch,
    },
    /// A lease was listed and could not be read.
    #[error("the lease {path} was listed and is gone; nothing was changed: someone is deleting leases, stop them")]
    Gone {
        /// The object.
        path: Path,
    },
    /// Lease after lease was taken and let go by others while this process asked.
    #[error("lost the race for {path} after {attempts} attempts; nothing was changed: run again")]
    Contended {
        /// The object last tried.
        path: Path,
        /// How often it was tried.
        attempts: u32,
    },
    /// A lock service does not answer, or answers what is no lock.
    #[error(
        "{service} did not answer for the lock {name}; no row was changed. If it has granted the lock all the same, that ends \
         by itself: see that the service can be reached, and run again"
    )]
    Service {
        /// Which.
        service: &'static str,
        /// The lock.
        name: String,
        /// What it said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What lies where a lock service keeps a lock is none.
    #[error(
        "what {service} has at {place} is no lock of Lakeshift; nothing was changed: see who wrote it; only when no backfill is \
         alive, it may be deleted instead"
    )]
    Foreign {
        /// Which.
        service: &'static str,
        /// The key or node.
        place: String,
    },
}
