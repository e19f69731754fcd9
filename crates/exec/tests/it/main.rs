//! Tests of the engine's reading and writing, on real Parquet.

mod logic;
mod partition;
mod plan_file;
mod rewrite;
mod scan;
mod support;
mod throttle;
mod types;
