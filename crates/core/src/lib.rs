//! What Lakeshift decides, without doing it: the migration's spec, phases, plan, mirror rules, equivalence and report, and
//! the one trait ([`table::TableFormat`]) that formats implement.
//!
//! Nothing here reads a Parquet file or knows an engine; it builds and tests in seconds.

pub mod access_log;
pub mod avro;
pub mod control;
pub mod equivalence;
pub mod evolution;
pub mod graph;
pub mod hudi;
pub mod mapping;
pub mod migration;
pub mod partition;
pub mod plan;
pub mod pointer;
pub mod projection;
pub mod report;
pub mod reverse;
pub mod schema;
pub mod spec;
pub mod storage;
pub mod stream;
pub mod table;
pub mod value;
pub mod writes;
