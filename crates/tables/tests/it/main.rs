//! Behaviour of the table adapters, on real Parquet files.

// `cfg(test)` tells clippy that helpers may unwrap too (clippy.toml).
#[cfg(test)]
mod builders;
#[cfg(test)]
mod catalogs;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod delta;
#[cfg(test)]
mod delta_foreign;
#[cfg(test)]
mod delta_mapping;
#[cfg(test)]
mod footer;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod hive;
#[cfg(test)]
mod hive_commit;
#[cfg(test)]
mod hudi;
#[cfg(test)]
mod iceberg;
#[cfg(test)]
mod metastore;
#[cfg(test)]
mod storage;
