//! Coordination on nothing but an object store: a numbered create-only log, a hash-chained [`Journal`] on top of it,
//! leases whose number is a fencing [`Epoch`], and the [`Clock`] and [`Rng`] that everything else takes its time and
//! randomness from.
//!
//! This crate knows nothing of tables. It needs one property of the store: [`object_store::PutMode::Create`] lets
//! exactly one writer create an object. Clocks serve liveness only; safety comes from the numbers.
//!
//! - [`NumberedLog`]: `<prefix>/00000000000000000001.json`, each object created once and never overwritten.
//! - [`Journal`]: events in such a log, each entry carrying the hash of the one before and the epoch of its writer.
//! - [`LeaseManager`] and [`Lease`]: who may act; taking over is creating the next number.
//! - [`LockService`]: the same by name, so that another service than the object store can grant it.

mod clock;
mod ids;
mod journal;
mod lease;
mod log;
mod rng;
mod service;

pub use clock::{Clock, SystemClock};
pub use ids::{Epoch, Sequence};
pub use journal::{Append, Digest, Entry, Journal, JournalConfig, JournalError, Position};
pub use lease::{Acquire, Lease, LeaseConfig, LeaseError, LeaseManager, LeaseStatus, Previous, Standing};
pub use log::{Create, LogError, NumberedLog, OBJECT_BYTES_MAX};
pub use rng::{Rng, RngExt, SystemRng};
pub use service::{Grant, HeldLock, LockService, ObjectLocks};
