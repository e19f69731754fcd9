//! Everything that touches rows: scans, new logic, partitioning, rewriting, and the plan's table of files.
//!
//! [`scan`] reads files of any format in their table's logical schema; [`logic`] applies the spec's SQL; [`rewrite`] splits
//! rows by target partition and writes data files. Nothing here commits to a table.

pub mod engine;
pub mod logic;
pub mod partition;
pub mod plan_file;
pub mod rewrite;
pub mod scan;
pub mod throttle;
pub mod types;
