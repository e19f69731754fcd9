//! What tests of every Lakeshift crate share. Never a dependency of the program.
//!
//! - [`ManualClock`] and [`SeededRng`]: time and randomness that a test controls.
//! - [`FaultStore`]: any object store, with every operation counted and one of them made to fail.
//! - [`contract`]: the suites that a store must pass before journals and leases may live on it, and (feature `catalogs`) the
//!   ones that a table must pass before a migration may write to it, and whatever readers are moved by.
//! - [`s3`] (feature `s3`): a real S3 server, with a REST catalogue.
//! - [`azure`] (feature `azure`): the Azure Blob API.
//! - [`kafka`] (feature `kafka`): a real Apache Kafka.
//! - [`postgres`] and [`CutProxy`] (feature `catalogs`): a real PostgreSQL, and a proxy that loses one response.
//! - [`etcd`] and [`zookeeper`] (feature `locks`): a real etcd and a real ZooKeeper, and [`CutProxy`] before them.
//! - [`metastore`] (feature `catalogs`): a real Hive Metastore.

#[cfg(feature = "azure")]
pub mod azure;
mod clock;
pub mod contract;
#[cfg(feature = "locks")]
pub mod etcd;
mod fault;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(any(feature = "azure", feature = "catalogs", feature = "kafka", feature = "locks", feature = "s3"))]
mod kept;
#[cfg(feature = "catalogs")]
pub mod metastore;
#[cfg(feature = "catalogs")]
pub mod postgres;
#[cfg(any(feature = "catalogs", feature = "locks"))]
mod proxy;
#[cfg(feature = "locks")]
mod restartable;
mod rng;
#[cfg(feature = "s3")]
pub mod s3;
#[cfg(feature = "locks")]
pub mod zookeeper;

pub use clock::ManualClock;
pub use fault::{Chaos, Counted, FaultPlan, FaultStore, Gate, Operation, OperationKind};
#[cfg(any(feature = "catalogs", feature = "locks"))]
pub use proxy::CutProxy;
#[cfg(feature = "locks")]
pub use restartable::Restartable;
pub use rng::SeededRng;
