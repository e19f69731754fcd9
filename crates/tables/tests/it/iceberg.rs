//! The Iceberg adapter on real Parquet files and a real (or failing) store.

mod commits;
mod faults;
mod fixture;
mod metadata;
mod sources;
