//! Behaviour of the table adapters, on real Parquet files.

mod builders;
mod delta;
mod footer;
mod hive;
mod iceberg;
mod storage;
