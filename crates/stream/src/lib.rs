//! What comes in over time. Today: [`Tail`], which follows a table's versions and says what changed since one of them.
//!
//! It reads only; carrying changes over is its caller's.

mod tail;

pub use tail::{Batch, Lag, Tail};
