//! What tests of every Lakeshift crate share. Never a dependency of the program.
//!
//! - [`ManualClock`] and [`SeededRng`]: time and randomness that a test controls.
//! - [`FaultStore`]: any object store, with every operation counted and one of them made to fail.
//! - [`contract`]: the suites that a store must pass before journals and leases may live on it.
//! - [`s3`] (feature `s3`): a real S3 server.

mod clock;
pub mod contract;
mod fault;
mod rng;
#[cfg(feature = "s3")]
pub mod s3;

pub use clock::ManualClock;
pub use fault::{Counted, FaultPlan, FaultStore, Operation, OperationKind};
pub use rng::SeededRng;
