//! Spans of a step of `ingest`, for whoever collects traces: its parts, how long they took, and what they came to in numbers.
//!
//! No span holds a value of an event, a path or a text of an error. They have a target of their own, [`TARGET`], and the level that logs
//! leave out: where nobody asks for them none is made, and no line of a log names one.

use std::collections::BTreeSet;

use lakeshift_core::table::{CommitNumber, MigrationId, NewFile};
use tracing::{Instrument, Span};

use crate::error::StreamError;
use crate::ingest::{Judged, Step};
use crate::source::Polled;

/// The target of all spans.
pub const TARGET: &str = "lakeshift::spans";

/// A span of this name with the attributes given, and those that are known when it ends.
macro_rules! span {
    ($name:literal, $id:expr $(, $field:literal $(= $value:expr)?)*) => {
        tracing::trace_span!(target: TARGET, $name, "lakeshift.stream" = $id.0.as_str(), "otel.status_code" = tracing::field::Empty
            $(, $field = span!(@ $($value)?))*)
    };
    (@ $value:expr) => { $value };
    (@) => { tracing::field::Empty };
}

/// A whole step: what was read, and what became of it.
pub(crate) async fn step(
    id: &MigrationId,
    step: impl Future<Output = Result<Option<Step>, StreamError>>,
) -> Result<Option<Step>, StreamError> {
    let span = span!("ingest.step", id, "lakeshift.records", "lakeshift.rows", "lakeshift.replayed", "lakeshift.held_back");
    within(span, step, |span, done| {
        let done = done.unwrap_or_default();
        span.record("lakeshift.records", number(done.records));
        span.record("lakeshift.rows", number(done.rows));
        span.record("lakeshift.replayed", number(done.replayed));
        span.record("lakeshift.held_back", number(done.held_back));
    })
    .await
}

/// What a reading came to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Found {
    records: usize,
    dead_letters: usize,
    /// Of topics.
    partitions: usize,
}

impl Found {
    pub fn of<R>(polled: &Polled<R>) -> Self {
        let dead_letters = polled.bad.len();
        Self { records: polled.records.len() + dead_letters, dead_letters, partitions: polled.spans.len() }
    }

    pub fn of_any<R>(polled: &Option<Polled<R>>) -> Self {
        polled.as_ref().map(Self::of).unwrap_or_default()
    }
}

/// Reading from the source.
pub(crate) async fn read<T>(
    id: &MigrationId,
    reading: impl Future<Output = Result<T, StreamError>>,
    found: impl FnOnce(&T) -> Found,
) -> Result<T, StreamError> {
    let span = span!("ingest.read", id, "lakeshift.records", "lakeshift.dead_letters", "lakeshift.partitions");
    within(span, reading, |span, answer| {
        let Found { records, dead_letters, partitions } = found(answer);
        span.record("lakeshift.records", number(records));
        span.record("lakeshift.dead_letters", number(dead_letters));
        span.record("lakeshift.partitions", number(partitions));
    })
    .await
}

/// Asking of every record whether a backfill has its range.
pub(crate) fn judge(id: &MigrationId, judge: impl FnOnce() -> Judged) -> Judged {
    let span = span!("ingest.judge", id, "lakeshift.rows");
    let judged = span.in_scope(judge);
    span.record("lakeshift.rows", number(judged.kept.len()));
    judged
}

/// Writing the files of a commit; its partitions are those of the table.
pub(crate) async fn write(
    id: &MigrationId,
    commit: CommitNumber,
    writing: impl Future<Output = Result<Vec<NewFile>, StreamError>>,
) -> Result<Vec<NewFile>, StreamError> {
    let span = span!(
        "ingest.write",
        id,
        "lakeshift.commit" = number(commit.0),
        "lakeshift.rows",
        "lakeshift.bytes",
        "lakeshift.files",
        "lakeshift.partitions"
    );
    within(span, writing, |span, files: &Vec<NewFile>| {
        span.record("lakeshift.rows", number(files.iter().map(|file| file.rows).sum::<u64>()));
        span.record("lakeshift.bytes", number(files.iter().map(|file| file.size_bytes).sum::<u64>()));
        span.record("lakeshift.files", number(files.len()));
        span.record("lakeshift.partitions", number(partitions(files)));
    })
    .await
}

/// Entering a commit into the journal before it is made.
pub(crate) async fn intend(
    id: &MigrationId,
    commit: CommitNumber,
    entering: impl Future<Output = Result<(), StreamError>>,
) -> Result<(), StreamError> {
    within(span!("ingest.intend", id, "lakeshift.commit" = number(commit.0)), entering, |_, ()| {}).await
}

/// The table's own commit.
pub(crate) async fn commit(
    id: &MigrationId,
    commit: CommitNumber,
    making: impl Future<Output = Result<(), StreamError>>,
) -> Result<(), StreamError> {
    within(span!("ingest.commit", id, "lakeshift.commit" = number(commit.0)), making, |_, ()| {}).await
}

/// Entering into the journal how a commit has ended.
pub(crate) async fn settle(
    id: &MigrationId,
    commit: CommitNumber,
    entering: impl Future<Output = Result<(), StreamError>>,
) -> Result<(), StreamError> {
    within(span!("ingest.settle", id, "lakeshift.commit" = number(commit.0)), entering, |_, ()| {}).await
}

/// Carries out what belongs to a span. A refusal by the journal is no error: what was read is judged again.
async fn within<T>(
    span: Span,
    part: impl Future<Output = Result<T, StreamError>>,
    record: impl FnOnce(&Span, &T),
) -> Result<T, StreamError> {
    let outcome = part.instrument(span.clone()).await;
    match &outcome {
        _ if span.is_disabled() => {}
        Ok(value) => record(&span, value),
        Err(StreamError::Refused(_)) => {}
        Err(_) => {
            span.record("otel.status_code", "ERROR");
        }
    }
    outcome
}

/// In how many partitions of the table there are new files.
fn partitions(files: &[NewFile]) -> usize {
    // Values have no order and no hash; their text stays here.
    files.iter().map(|file| format!("{:?}", file.partition)).collect::<BTreeSet<_>>().len()
}

/// As collectors count: they know no unsigned numbers.
fn number(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
