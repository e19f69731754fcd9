//! Tests of reading, writing and comparing, on real Arrow and Parquet data.

mod diff;
mod encode;
mod files;
mod flights;
mod hazards;
mod logic;
mod mutations;
mod partition;
mod plan_file;
mod rewrite;
mod scan;
mod support;
mod throttle;
mod types;
