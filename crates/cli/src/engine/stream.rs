//! Streams at work: [`StreamFile`] is a `stream.yaml` opened, [`ingest()`] brings its events into the table, [`backfill()`] rewrites
//! a range beside it, [`audit()`] accounts for every offset.
//!
//! What is exact about it is decided by `lakeshift_stream`; here are its table, its Parquet files and its brokers.

mod audit;
mod backfill;
mod compact;
mod file;
mod ingest;
mod sink;

pub use audit::{AuditReport, audit};
pub use backfill::{BackfillReport, BackfillRequest, backfill};
pub use file::StreamFile;
pub use ingest::{CommitMillis, IngestOptions, IngestReport, ingest, ingest_from};
pub use sink::ParquetSink;
