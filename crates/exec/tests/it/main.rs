//! Tests of reading, writing and comparing, on real Arrow and Parquet data.

// `cfg(test)` tells clippy that helpers may unwrap too (clippy.toml).
#[cfg(test)]
mod columns;
#[cfg(test)]
mod diff;
#[cfg(test)]
mod diff_columns;
#[cfg(test)]
mod diff_export;
#[cfg(test)]
mod diff_hazards;
#[cfg(test)]
mod diff_ledger;
#[cfg(test)]
mod diff_memory;
#[cfg(test)]
mod diff_spill;
#[cfg(test)]
mod diff_tolerance;
#[cfg(test)]
mod encode;
#[cfg(test)]
mod equality;
#[cfg(test)]
mod files;
#[cfg(test)]
mod hazards;
#[cfg(test)]
mod hudi;
#[cfg(test)]
mod logic;
#[cfg(test)]
mod mutations;
#[cfg(test)]
mod partition;
#[cfg(test)]
mod plan_file;
#[cfg(test)]
mod query_proof;
#[cfg(test)]
mod rewrite;
#[cfg(test)]
mod scan;
#[cfg(test)]
mod scan_compact;
#[cfg(test)]
mod splice;
#[cfg(test)]
mod support;
#[cfg(test)]
mod throttle;
#[cfg(test)]
mod types;
