//! Library tests of the journal crate.

// `cfg(test)` tells clippy that helpers may unwrap too (clippy.toml).
#[cfg(test)]
mod chain;
#[cfg(test)]
mod clocks;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod interleaving;
#[cfg(test)]
mod support;
