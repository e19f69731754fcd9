//! Streams at work: [`StreamFile`] is a `stream.yaml` opened, [`ingest()`] brings its events into the table or both tables of a
//! migration, [`backfill()`] rewrites a range beside it, [`audit()`] accounts for every offset.
//!
//! What is exact about it is decided by `lakeshift_stream`; here are its table, its Parquet files and its brokers.

mod audit;
mod backfill;
mod both_rewritten;
mod both_tables;
mod compact;
mod file;
mod ground;
mod ingest;
mod sink;
mod table_stream;
mod upkeep;

pub use audit::{AuditReport, audit};
pub use backfill::{BackfillReport, BackfillRequest, backfill};
pub use file::StreamFile;
pub use ingest::{CommitMillis, IngestOptions, IngestReport, OtherTable, ingest, ingest_from};
pub use sink::ParquetSink;
