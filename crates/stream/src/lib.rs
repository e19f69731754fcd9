//! What comes in over time, and how it keeps out of the way of what is rewritten meanwhile.
//!
//! - [`Tail`] follows a table's versions and says what changed since one of them.
//! - [`Ingest`] commits events of a [`Source`] to a [`Destination`], exactly once; [`Backfill`] rewrites a range of that table beside it.
//!   Both write to one journal ([`Register`]), whose fold, the [`Ledger`], knows of every offset what became of it; the
//!   [`Audit`] says so.
//! - [`locks`] are the services that grant a backfill's lock; [`EpochMap`] answers from memory what becomes of an event, and
//!   [`judge`] asks it for a whole reading.
//!
//! Coordination knows neither Kafka nor Arrow: records and rows are what the [`Source`] and the [`Sink`] of [`OneTable`] make of them.
//! `kafka::KafkaSource` is the source that comes along (feature `kafka`, which is on); it reads events by a `decode::Decoder`.

mod audit;
mod batch;
#[cfg(feature = "kafka")]
pub mod decode;
mod destination;
mod error;
mod event;
mod guard;
mod ingest;
#[cfg(feature = "kafka")]
pub mod kafka;
mod ledger;
mod letters;
mod lock;
pub mod locks;
pub mod metrics;
mod offsets;
mod range;
mod register;
mod replace;
#[cfg(test)]
mod simulation;
mod source;
pub mod spans;
mod tail;

pub use audit::{Audit, PartitionAudit};
pub use batch::{Ask, Asked, Backfill, BackfillConfig, Boundary};
pub use destination::{Destination, OneTable};
pub use error::StreamError;
pub use event::{Intent, LockName, Locking, Mode, Part, Reading, StreamEvent};
pub use ingest::{Compaction, Ingest, IngestConfig, Judged, Started, Step, judge};
pub use ledger::{Account, Doubled, Ledger, Refusal};
pub use letters::{DeadLetters, Letter, ObjectLetters};
pub use lock::{EpochMap, Fate, Lock, Ruling, Stage};
pub use offsets::{OffsetSet, Positions, SourcePartition};
pub use range::{Place, Range};
pub use register::Register;
pub use replace::{Later, Replace, Replacer};
pub use source::{BadRecord, Polled, Record, Sink, Source, Span};
pub use tail::{Batch, Lag, Tail};
