//! The `lakeshift` binary: arguments in, answer and exit code out.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use lakeshift::args::{Args, Global, OutputFormat};
use lakeshift::context::Context;
use lakeshift::output::render_error;
use lakeshift::progress::Progress;
use lakeshift::stop;
use tracing_subscriber::EnvFilter;

// Footers, batches and pages are many small allocations on many threads; docs/performance.md has what it saves.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    log_to_stderr(&args.global);
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
    match lakeshift::commands::run(&Context::system(progress, stop), args.command).await {
        Ok(answer) => {
            // A reader that has gone away (`| head`) is no error of the command.
            let _ = writeln!(std::io::stdout(), "{}", answer.render(format));
            ExitCode::from(answer.exit_code)
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{}", render_error(&error, format));
            ExitCode::from(error.exit_code())
        }
    }
}

fn log_to_stderr(global: &Global) {
    // The Delta kernel calls a folder without a table an error; whether it is one is told by the command.
    let level = match (global.quiet, global.verbose) {
        (true, _) => "error,buoyant_kernel=off",
        (false, 0) => "warn,lakeshift=info,buoyant_kernel=off",
        (false, 1) => "info,lakeshift=debug",
        (false, _) => "debug",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour);
    match global.log_format {
        OutputFormat::Text => builder.without_time().with_target(false).init(),
        OutputFormat::Json => builder.json().init(),
    }
}
