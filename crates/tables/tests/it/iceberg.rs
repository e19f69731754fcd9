//! The Iceberg adapter on real Parquet files and a real (or failing) store.

mod commits;
mod faults;
pub mod fixture;
mod metadata;
