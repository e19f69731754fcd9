//! The crate's behaviour from outside.

mod phases;
mod spec;
