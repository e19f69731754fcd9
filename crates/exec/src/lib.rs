//! Everything that touches rows: scans, new logic, partitioning, rewriting, the plan's table of files, and the comparison
//! of two tables.
//!
//! [`scan`] reads files of any format in their table's logical schema, [`mod@hudi`] merges what Hudi keeps in logs, and
//! [`equality`] finds the rows that deletes name by value; [`logic`] applies the spec's SQL, and [`mod@scope`] tells which
//! partitions it leaves; [`rewrite`] splits
//! rows by target partition and writes data files; [`mod@splice`] copies column chunks undecoded; [`query`] computes tables of a
//! graph, and [`shadow`] asks two tables the same; [`mod@encode`], [`mod@fingerprint`] and [`mod@diff`] tell whether two
//! tables hold the same rows. Nothing here commits to a table.

pub mod diff;
pub mod encode;
pub mod engine;
pub mod equality;
pub mod fingerprint;
pub mod hudi;
pub mod logic;
pub mod partition;
pub mod plan_file;
pub mod query;
pub mod rewrite;
pub mod scan;
pub mod scope;
pub mod shadow;
pub mod splice;
pub mod throttle;
pub mod types;
