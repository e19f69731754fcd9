//! Every way a command can end without success, and its exit code.

use std::time::Duration;

use chrono::{DateTime, Utc};
use datafusion::error::DataFusionError;
use lakeshift_core::control::{ControlError, Hold};
use lakeshift_core::equivalence::{CertificateError, KeyFileError, NotComparable, RuleError};
use lakeshift_core::graph::GraphError;
use lakeshift_core::mapping::Refused as RefusedColumn;
use lakeshift_core::migration::Refusal;
use lakeshift_core::pointer::{Pointer, PointerError};
use lakeshift_core::spec::{MissingVariable, SpecError};
use lakeshift_core::storage::OutsideError;
use lakeshift_core::stream::StreamSpecError;
use lakeshift_core::table::{MigrationId, TableError, TableVersion};
use lakeshift_exec::diff::DiffError;
use lakeshift_exec::engine::EngineError;
use lakeshift_exec::fingerprint::FingerprintError;
use lakeshift_exec::logic::LogicError;
use lakeshift_exec::plan_file::PlanFileError;
use lakeshift_exec::query::QueryError;
use lakeshift_exec::rewrite::RewriteError;
use lakeshift_exec::scan::ScanError;
use lakeshift_exec::shadow::ShadowError;
use lakeshift_journal::{Epoch, JournalError, LeaseError};
use lakeshift_stream::StreamError;
use lakeshift_tables::storage::StorageError;

/// Why a command did not succeed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each kind is; fields are what they name")]
pub enum Error {
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error(transparent)]
    Variable(#[from] MissingVariable),
    #[error("cannot read {path}; nothing was done")]
    ReadFile { path: String, source: std::io::Error },
    #[error("cannot write {path}; nothing else was done")]
    WriteFile { path: String, source: std::io::Error },
    #[error("cannot read {path}")]
    ReadSpec { path: String, source: std::io::Error },
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Outside(#[from] OutsideError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Lease(#[from] LeaseError),
    #[error(transparent)]
    Pointer(#[from] PointerError),
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("the query engine failed; nothing was committed")]
    Query { source: DataFusionError },
    #[error(transparent)]
    Logic(#[from] LogicError),
    #[error(transparent)]
    Scan(#[from] ScanError),
    #[error(transparent)]
    Rewrite(#[from] RewriteError),
    #[error(transparent)]
    PlanFile(#[from] PlanFileError),
    #[error(transparent)]
    Fingerprint(#[from] FingerprintError),
    #[error(transparent)]
    Diff(#[from] DiffError),
    #[error(transparent)]
    NotComparable(#[from] NotComparable),
    #[error(transparent)]
    Rule(#[from] RuleError),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("{path} cannot be used")]
    KeyFile { path: String, source: KeyFileError },
    #[error("could not {action} {object}; nothing else was changed: check the store, then run the command again")]
    Store { action: &'static str, object: String, source: object_store::Error },
    #[error("{object} cannot be read as JSON; it was left as it is")]
    Json { object: String, source: serde_json::Error },
    #[error("the plan is refused, and nothing was written:\n{}", bullets(reasons))]
    PlanRefused { reasons: Vec<String> },
    #[error("{command} of {migration} is refused, and nothing was changed:\n{}", bullets(&refusal.reasons))]
    Refused { command: &'static str, migration: MigrationId, refusal: Refusal },
    #[error(
        "readers of group {group} were not well on the new table, the health command {reason}; every group is back on the old table"
    )]
    StageFailed { group: String, reason: String },
    #[error(
        "readers of group {group} are not well on the new table, the health command {reason}; nobody was moved back, because others \
         have committed to the new table: `lakeshift rollback` names the commits, and with `--accept-loss` gives them up"
    )]
    StageStuck { group: String, reason: String },
    #[error(
        "{files} file(s) of the old table were replaced or deleted after the cutover, {first} among them; nothing was carried over, \
         because the new table's writers may have rewritten their rows: make the change in the new table, then `reconcile --reject`"
    )]
    LateRemovals { files: usize, first: String },
    #[error(
        "what is written to the new table cannot be carried back to the old one: {reason}; nothing was changed. `rollback \
         --accept-loss` gives up what only the new table has"
    )]
    Irreversible { reason: String },
    #[error(
        "readers are on the old table, but somebody still writes to the new one, faster than {rounds} rounds in a row could carry \
         back: stop that writer, then run `rollback` again"
    )]
    Outrun { rounds: usize },
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error("the migration is paused {hold}; nothing was moved: `lakeshift resume` lets it go on")]
    Paused { hold: Hold },
    #[error("{command} is not due before {}", until.format("%Y-%m-%d %H:%M:%S UTC"))]
    NotDue { command: &'static str, until: DateTime<Utc> },
    #[error(
        "{holder} has been running this migration since {}; nothing was changed. \
         It may be taken over in {} s if that process shows no life",
        since.format("%Y-%m-%d %H:%M:%S UTC"), expires_in.as_secs()
    )]
    Held { holder: String, since: DateTime<Utc>, expires_in: Duration },
    #[error(
        "{holder} has been writing, or holding writers off, since {}; nothing was written: run this again when it has ended",
        since.format("%Y-%m-%d %H:%M:%S UTC")
    )]
    Producing { holder: String, since: DateTime<Utc> },
    #[error(
        "writers were not held off: the command {reason}; readers are where they were, and writers go on. Mend the command \
         (cutover.fence), and run this again"
    )]
    WritersNotHeld { reason: String },
    #[error(
        "writers are still held off: asked to let them write, the command {reason}; readers are where `status` says. Mend the \
         command (cutover.fence); the next command of this migration asks it again"
    )]
    WritersStillHeld { reason: String },
    #[error(
        "{location} cannot be written: {reason}; nothing was written. Let its own writers write, and `mirror` carry it over"
    )]
    NotWritable { location: String, reason: String },
    #[error("{file} cannot be read as rows: {reason}; nothing was written")]
    NotRows { file: String, reason: String },
    #[error("the rows do not fit the table that {migration} writes now, and nothing was written:\n{}", bullets(reasons))]
    RowsDoNotFit { migration: MigrationId, reasons: Vec<String> },
    #[error("another runner (epoch {current}) has taken over this migration; this one stopped before its next write")]
    Fenced { current: Epoch },
    #[error(
        "a table was changed by somebody else while a commit to it was made ready, and the commit was not made: {reason}"
    )]
    Conflict { reason: String },
    #[error(
        "{location} holds a table that this migration did not create ({found}); it was left as it is: choose another location"
    )]
    ForeignTable { location: String, found: String },
    #[error(
        "alias {} was pointed to {} by migration {} meanwhile; it was left so",
        found.alias, found.location, found.migration
    )]
    AliasTaken { found: Box<Pointer> },
    #[error(
        "another table stands at {location} than the one that was planned: it was dropped and created anew; nothing was carried \
         over. Bring the old one back, or `abort` and plan a migration of the new one"
    )]
    AnotherTable { location: String },
    #[error("readers of {alias} were not moved: {reason}; the alias is where it was. Mend the command, then run this again")]
    ReadersNotMoved { alias: String, reason: String },
    #[error(
        "the source has changed {files} file(s) while they were being read, {attempts} times over; run the command again when it is calmer"
    )]
    Restless { files: usize, attempts: u32 },
    #[error("stopped on request; what was committed stays, and running the command again goes on from there")]
    Interrupted,
    #[error("there is no migration {migration} under {control}; run `plan` first")]
    Unknown { migration: MigrationId, control: String },
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error(transparent)]
    GraphQuery(#[from] QueryError),
    #[error(
        "version {version} of {location}, up to which the other table has its rows, cannot be read any more ({reason}), so that nobody \
         can tell what has changed since; nothing was carried over. Put it back from a backup, or abort and plan anew, and let the \
         table keep its versions for longer than the mirror may stand still"
    )]
    AppliedVersionGone { location: String, version: TableVersion, reason: String },
    #[error(
        "commit {version} of somebody else to the new table cannot be undone: {what}; nothing was changed. Set the table back with its \
         own tools, adopt the commit after a validation, or abort"
    )]
    NotUndone { version: TableVersion, what: String },
    #[error(transparent)]
    Shadow(#[from] ShadowError),
    #[error(
        "the columns of {location} have changed by version {version}: {changes}; nothing of it was carried over: {advice}"
    )]
    ColumnsChanged { location: String, version: TableVersion, changes: String, advice: &'static str },
    #[error("{problem}; nothing was computed: {hint}")]
    GraphRefused { problem: String, hint: String },
    #[error(
        "{holder} has been running the graph {graph} since {}; nothing was changed. \
         It may be taken over in {} s if that process shows no life",
        since.format("%Y-%m-%d %H:%M:%S UTC"), expires_in.as_secs()
    )]
    GraphHeld { graph: String, holder: String, since: DateTime<Utc>, expires_in: Duration },
    #[error(transparent)]
    StreamSpec(#[from] StreamSpecError),
    #[error(transparent)]
    Stream(StreamError),
    #[error("{problem}: {hint}")]
    StreamRefused { problem: String, hint: String },
    #[error(
        "{holder} runs {what}; nothing was changed. It may be taken over in {} s if that process shows no life",
        expires_in.as_secs()
    )]
    StreamHeld { what: String, holder: String, expires_in: Duration },
    #[error(
        "the backfill {name} has not come to its end, and its range stays locked: run it again, or give it up with --abandon \
         while its rows are not in the table"
    )]
    RangeKept { name: String, source: Box<Error> },
    #[error("{text} cannot be used: {reason}")]
    Argument { text: String, reason: String },
}

impl From<StreamError> for Error {
    /// What a destination of this crate has come to is told as it is.
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Destination(inner) => match inner.downcast() {
                Ok(own) => *own,
                Err(other) => Self::Stream(StreamError::Destination(other)),
            },
            error => Self::Stream(error),
        }
    }
}

impl From<Vec<RefusedColumn>> for Error {
    fn from(columns: Vec<RefusedColumn>) -> Self {
        Self::PlanRefused { reasons: columns.iter().map(ToString::to_string).collect() }
    }
}

impl Error {
    /// The process's exit code: 2 error, 4 refused, 5 not due or waiting.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused { .. }
            | Self::Fenced { .. }
            | Self::Conflict { .. }
            | Self::AliasTaken { .. }
            | Self::StageFailed { .. }
            | Self::StageStuck { .. }
            | Self::LateRemovals { .. }
            | Self::Irreversible { .. }
            | Self::Outrun { .. }
            | Self::GraphRefused { .. }
            | Self::ColumnsChanged { .. }
            | Self::NotUndone { .. }
            | Self::StreamRefused { .. }
            | Self::ReadersNotMoved { .. } => 4,
            Self::Stream(error) => stream_code(error),
            Self::RangeKept { source, .. } => source.exit_code(),
            Self::NotDue { .. }
            | Self::Held { .. }
            | Self::GraphHeld { .. }
            | Self::StreamHeld { .. }
            | Self::Producing { .. }
            | Self::Paused { .. }
            | Self::Interrupted => 5,
            _ => 2,
        }
    }

    /// Whether an object was replaced or deleted by somebody else between being listed and being read; looking again helps.
    pub fn is_overtaken(&self) -> bool {
        use object_store::Error as E;
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = next {
            if matches!(error.downcast_ref::<E>(), Some(E::NotFound { .. } | E::Precondition { .. })) {
                return true;
            }
            next = error.source();
        }
        false
    }

    /// What to do next, where there is more to say than the message does.
    pub fn next_steps(&self) -> &[String] {
        match self {
            Self::Refused { refusal, .. } => &refusal.next_steps,
            _ => &[],
        }
    }
}

/// Refused where another process, a lock or a journal says no.
fn stream_code(error: &StreamError) -> u8 {
    match error {
        StreamError::Refused(_)
        | StreamError::Fenced { .. }
        | StreamError::Conflict { .. }
        | StreamError::Contended { .. }
        | StreamError::NotCovered { .. }
        | StreamError::Landed { .. }
        | StreamError::JournalBehind { .. }
        | StreamError::TableBehind { .. }
        | StreamError::UnreadGone { .. }
        | StreamError::TopicReplaced { .. }
        | StreamError::ParkedGone { .. } => 4,
        StreamError::NotDrained { .. } => 5,
        _ => 2,
    }
}

/// The message with its causes, one to a line.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let line = error.to_string();
        if !text.ends_with(&line) {
            text.push_str("\n  because ");
            text.push_str(&line);
        }
        cause = error.source();
    }
    text
}

fn bullets(reasons: &[String]) -> String {
    reasons.iter().map(|reason| format!("  - {reason}")).collect::<Vec<_>>().join("\n")
}
