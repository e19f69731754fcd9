//! One module a command: what it asks of the engine, and how it answers.

mod abort;
mod approve;
mod backfill;
mod certificate;
mod control;
mod cutover;
mod diff;
mod dual_write;
mod grace;
mod graph;
mod history;
mod ingest;
mod init;
mod mirror;
pub(crate) mod opened;
mod plan;
mod reconcile;
mod repartition;
mod resolve;
mod rollback;
mod self_test;
mod shadow;
mod status;
mod stream;
mod sunset;
mod validate;
mod write;

use lakeshift_core::control::ControlRequest;
use lakeshift_core::migration::Reconcile;
use lakeshift_core::spec::Spec;

use crate::args::{CertificateCommand, Command, GraceCommand};
use crate::context::Context;
use crate::error::Error;
use crate::output::Answer;

/// Carries out one command.
///
/// # Errors
/// Whatever keeps it from its answer; [`Error::exit_code`] is the process's.
pub async fn run(context: &Context, command: Command) -> Result<Answer, Error> {
    // On the heap: the future is as large as the largest command's, and threads' stacks are not.
    Box::pin(dispatch(context, command)).await
}

async fn dispatch(context: &Context, command: Command) -> Result<Answer, Error> {
    match command {
        Command::Init { source_format, location } => init::run(context, source_format, &location).await,
        Command::Schema => Ok(Answer::done(format!("{:#}", Spec::json_schema()), Spec::json_schema())),
        Command::Plan { spec, dry_run } => plan::run(context, &spec.spec, dry_run).await,
        Command::Approve { spec, plan, by } => approve::run(context, &spec.spec, plan, by).await,
        Command::DualWrite(spec) => dual_write::run(context, &spec.spec).await,
        Command::Mirror { spec, follow, .. } => mirror::run(context, &spec.spec, follow).await,
        Command::Backfill(spec) => backfill::run(context, &spec.spec).await,
        Command::Validate { spec, self_test: true, .. } => self_test::run(context, &spec.spec).await,
        Command::Validate { spec, read_all, strict, signing_key, .. } => {
            validate::run(context, &spec.spec, validate::Flags { read_all, strict, signing_key }).await
        }
        Command::Certificate(CertificateCommand::Verify { file, public_key, replay }) => {
            certificate::verify(context, &file, &public_key, replay.as_deref()).await
        }
        Command::Diff(args) => diff::run(context, &args).await,
        Command::Shadow(args) => shadow::run(context, &args).await,
        Command::Cutover(args) => cutover::run(context, &args).await,
        Command::Rollback { spec, accept_loss } => rollback::run(context, &spec.spec, accept_loss).await,
        Command::Grace(GraceCommand::Check(args)) => grace::run(context, &args).await,
        Command::Graph(command) => graph::run(context, &command).await,
        Command::Ingest(args) => ingest::run(context, &args).await,
        Command::Stream(command) => stream::run(context, &command).await,
        Command::Sunset { spec, undo: true, asked } => sunset::undo(context, &spec.spec, &asked).await,
        Command::Sunset { spec, .. } => sunset::run(context, &spec.spec).await,
        Command::Reconcile { spec, adopt, asked, .. } => {
            let decision = if adopt { Reconcile::Adopt } else { Reconcile::Reject };
            reconcile::run(context, &spec.spec, decision, &asked).await
        }
        Command::Repartition { spec, to } => repartition::run(context, &spec.spec, to).await,
        Command::Abort { spec, reason } => abort::run(context, &spec.spec, &reason).await,
        Command::Write(args) => write::run(context, &args).await,
        Command::Status(spec) => status::run(context, &spec.spec).await,
        Command::Pause { spec, asked } => control::run(context, &spec.spec, ControlRequest::Pause, &asked).await,
        Command::Resume { spec, asked } => control::run(context, &spec.spec, ControlRequest::Resume, &asked).await,
        Command::Throttle(args) => control::run(context, &args.spec.spec, control::throttle(&args)?, &args.asked).await,
        Command::Postpone { spec, clear, asked } => {
            let request = if clear { ControlRequest::ClearPostpone } else { ControlRequest::Postpone };
            control::run(context, &spec.spec, request, &asked).await
        }
        Command::History { migration, control, html } => {
            history::run(context, &migration, control.as_deref(), html.as_deref()).await
        }
        Command::Resolve { name, control } => resolve::run(context, &name, &control).await,
    }
}

/// A file that the command line names.
fn read_text(path: &std::path::Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::ReadFile { path: path.display().to_string(), source })
}
