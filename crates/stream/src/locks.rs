//! Who grants a backfill's lock: the object store that the journal lies on, or etcd (feature `etcd`), or ZooKeeper (feature
//! `zookeeper`). [`open`] takes the one that a stream's file names.
//!
//! All keep to the contract of [`LockService`]. Which range a backfill has is settled in the stream's journal, by the epoch.

#[cfg(feature = "etcd")]
mod etcd;
#[cfg(any(feature = "etcd", feature = "zookeeper"))]
mod slot;
#[cfg(test)]
mod tests;
#[cfg(feature = "zookeeper")]
mod zookeeper;

use std::sync::Arc;

use lakeshift_core::stream::LocksSpec;
use lakeshift_journal::{LeaseConfig, LockService, ObjectLocks};

use crate::error::StreamError;

#[cfg(feature = "etcd")]
pub use etcd::EtcdLocks;
#[cfg(any(feature = "etcd", feature = "zookeeper"))]
pub use slot::LockConfig;
#[cfg(feature = "zookeeper")]
pub use zookeeper::ZookeeperLocks;

/// The lock service of the stream of this name. `config` says where locks lie on the object store, which is the default, and who
/// asks, for how long and by which clock.
///
/// # Errors
/// [`StreamError::NotBuilt`]; nothing was asked.
pub fn open(spec: Option<&LocksSpec>, stream: &str, config: LeaseConfig) -> Result<Arc<dyn LockService>, StreamError> {
    match spec {
        None => Ok(Arc::new(ObjectLocks::new(config))),
        Some(LocksSpec { etcd: Some(endpoints), .. }) => open_etcd(endpoints, stream, config),
        Some(LocksSpec { zookeeper: Some(cluster), .. }) => open_zookeeper(cluster, stream, config),
        // What the file says was checked: it names one.
        Some(LocksSpec { etcd: None, zookeeper: None }) => Ok(Arc::new(ObjectLocks::new(config))),
    }
}

#[cfg(feature = "etcd")]
fn open_etcd(endpoints: &[String], stream: &str, config: LeaseConfig) -> Result<Arc<dyn LockService>, StreamError> {
    Ok(Arc::new(EtcdLocks::new(endpoints.to_vec(), stream, LockConfig::from(config))))
}

#[cfg(not(feature = "etcd"))]
fn open_etcd(_: &[String], _: &str, _: LeaseConfig) -> Result<Arc<dyn LockService>, StreamError> {
    Err(StreamError::NotBuilt { service: "etcd" })
}

#[cfg(feature = "zookeeper")]
fn open_zookeeper(cluster: &str, stream: &str, config: LeaseConfig) -> Result<Arc<dyn LockService>, StreamError> {
    Ok(Arc::new(ZookeeperLocks::new(cluster, stream, LockConfig::from(config))))
}

#[cfg(not(feature = "zookeeper"))]
fn open_zookeeper(_: &str, _: &str, _: LeaseConfig) -> Result<Arc<dyn LockService>, StreamError> {
    Err(StreamError::NotBuilt { service: "zookeeper" })
}
