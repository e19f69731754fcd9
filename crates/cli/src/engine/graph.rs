//! Graphs at work: [`GraphFile`] is a `graph.yaml` opened, [`Ledger`] its journal of versions and its lease, [`run()`] what
//! computes stale partitions.
//!
//! What is stale and in which order it runs is decided by `lakeshift_core::graph`; here tables are looked at, computed and
//! committed to, in an order that survives being killed between any two steps.

mod checkpoint;
mod command;
mod file;
mod holds;
mod ledger;
mod listing;
mod run;
mod settle;
mod task;
mod unit;

pub use file::GraphFile;
pub use holds::holds;
pub use ledger::Ledger;
pub use listing::{Listing, current};
pub use run::{Failure, RunOptions, RunReport, run};
pub use unit::{UnitKey, UnitOutcome, UnitReport, run_unit};
