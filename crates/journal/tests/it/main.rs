//! Library tests of the journal crate.

mod chain;
mod clocks;
mod contract;
mod crash;
mod faults;
mod interleaving;
mod support;
