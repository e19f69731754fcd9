//! The Iceberg adapter on real Parquet files and a real (or failing) store.

mod commits;
mod deletes;
mod faults;
mod fixture;
mod metadata;
mod sources;
mod upkeep;
mod version3;
