//! The phases' work: each module carries one of them out on an opened [`Session`](crate::session::Session).
//!
//! What may happen when is decided by `lakeshift_core::migration`; here it happens, in an order that survives being killed
//! between any two steps.

pub mod abort;
pub mod backfill;
pub mod carry;
pub mod commit;
pub mod compare;
pub mod cutover;
pub mod dual_write;
pub mod evidence;
pub mod fence;
pub mod graph;
pub mod mirror;
pub mod ownership;
pub mod planning;
pub mod plans;
pub mod readers;
pub mod reconcile;
pub mod rehearsal;
pub mod reverse;
pub mod room;
pub mod rows;
pub mod scope;
pub mod shadow;
pub mod stream;
pub mod sunset;
pub mod switch;
pub mod tables;
pub mod validation;
pub mod writer;
