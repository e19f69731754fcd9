//! The `lakeshift` binary: arguments in, answer and exit code out.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use lakeshift::args::{Args, Global, OutputFormat};
use lakeshift::context::Context;
use lakeshift::output::render_error;
use lakeshift::progress::Progress;
use lakeshift::stop;
use lakeshift::traces::{BoxedLayer, Traces};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

// Footers, batches and pages are many small allocations on many threads; docs/performance.md has what it saves.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let (traces, spans) = Traces::begin(&args.command);
    log_to_stderr(&args.global, spans);
    traces.tell();
    let progress = if args.global.quiet { Progress::Quiet } else { Progress::detect() };
    let (stopper, stop) = stop::channel();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stopper.stop();
        }
        // A second Ctrl-C does not wait for the commit under way; it is settled by the next run.
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(130);
        }
    });
    let format = args.global.format;
    let code = match lakeshift::commands::run(&Context::system(progress, stop), args.command).await {
        Ok(answer) => {
            // A reader that has gone away (`| head`) is no error of the command.
            let _ = writeln!(std::io::stdout(), "{}", answer.render(format));
            ExitCode::from(answer.exit_code)
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{}", render_error(&error, format));
            ExitCode::from(error.exit_code())
        }
    };
    traces.end().await;
    code
}

fn log_to_stderr(global: &Global, spans: Option<BoxedLayer>) {
    // The Delta kernel calls a folder without a table an error; whether it is one is told by the command.
    let level = match (global.quiet, global.verbose) {
        (true, _) => "error,buoyant_kernel=off",
        (false, 0) => "warn,lakeshift=info,buoyant_kernel=off",
        (false, 1) => "info,lakeshift=debug",
        (false, _) => "debug",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colour);
    let lines: BoxedLayer = match global.log_format {
        OutputFormat::Text => lines.without_time().with_target(false).with_filter(filter).boxed(),
        OutputFormat::Json => lines.json().with_filter(filter).boxed(),
    };
    let layers: Vec<BoxedLayer> = spans.into_iter().chain([lines]).collect();
    tracing_subscriber::registry().with(layers).init();
}
