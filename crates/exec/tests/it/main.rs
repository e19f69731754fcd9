//! The crate's behaviour from outside.

mod diff;
mod encode;
mod hazards;
mod mutations;
mod support;
