//! The Iceberg adapter on real Parquet files and a real (or failing) store.

mod commits;
mod deletes;
mod faults;
pub mod fixture;
mod metadata;
mod sources;
mod upkeep;
mod version3;
