//! The crate's behaviour from outside.

mod equivalence;
mod phases;
mod report;
mod spec;
