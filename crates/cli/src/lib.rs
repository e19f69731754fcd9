//! Lakeshift's commands as a library: what the `lakeshift` binary runs, and what its tests drive over faulty stores.
//!
//! [`commands::run`] carries out one command; [`session::Session`] is an opened migration; [`engine`] does the phases'
//! work; [`writer::DualWriter`] is for producers that write both tables.

pub mod args;
pub mod commands;
pub mod context;
pub mod engine;
pub mod error;
mod hooks;
pub mod lease;
mod live;
mod meter;
pub mod output;
mod paced;
pub mod progress;
pub mod session;
pub mod stop;
pub mod traces;
pub mod writer;
