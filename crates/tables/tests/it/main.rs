//! Behaviour of the table adapters, on real Parquet files.

mod iceberg;
