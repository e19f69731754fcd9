//! Tests of reading, writing and comparing, on real Arrow and Parquet data.

// `cfg(test)` tells clippy that helpers may unwrap too (clippy.toml).
#[cfg(test)]
mod diff;
#[cfg(test)]
mod encode;
#[cfg(test)]
mod files;
#[cfg(test)]
mod hazards;
#[cfg(test)]
mod logic;
#[cfg(test)]
mod mutations;
#[cfg(test)]
mod partition;
#[cfg(test)]
mod plan_file;
#[cfg(test)]
mod rewrite;
#[cfg(test)]
mod scan;
#[cfg(test)]
mod support;
#[cfg(test)]
mod throttle;
#[cfg(test)]
mod types;
