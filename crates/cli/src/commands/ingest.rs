//! `lakeshift ingest`: events into a table.

use crate::args::IngestArgs;
use crate::context::Context;
use crate::engine::stream::{self, IngestOptions, OtherTable, StreamFile};
use crate::error::Error;
use crate::output::Answer;

/// Reads what is there, or goes on until stopped.
pub async fn run(context: &Context, args: &IngestArgs) -> Result<Answer, Error> {
    let file = StreamFile::open(context, &args.stream.stream)?;
    let options = IngestOptions { follows: args.follow, metrics: args.metrics };
    let report = Box::pin(stream::ingest(&file, &options)).await?;
    let mut text = format!("{} rows committed", report.rows);
    if report.replayed > 0 {
        text.push_str(&format!(", {} of them replayed after a backfill", report.replayed));
    }
    if report.held_back > 0 {
        text.push_str(&format!("; {} held back: `stream audit` says why", report.held_back));
    }
    if report.compacted > 0 {
        text.push_str(&format!("\n{} fewer files by compaction", report.compacted));
    }
    text.push_str(&format!("\n{} rows of the stream in all", report.rows_in_all));
    let (other, exit_code) = report.other_table.as_ref().map(OtherTable::line).unwrap_or_default();
    if !other.is_empty() {
        text.push_str(&format!("\n{other}"));
    }
    Ok(Answer::done(text, report).with_exit_code(exit_code))
}
