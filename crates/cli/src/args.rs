//! The command line.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use lakeshift_core::table::Format;

/// Moves a live lakehouse table to another format, partitioning or logic, without stopping its writers and readers.
#[derive(Debug, Parser)]
#[command(name = "lakeshift", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(after_help = "Exit codes: 0 done or PASS, 1 FAIL, 2 error, 3 INCONCLUSIVE, 4 refused, 5 not due or waiting.")]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Flags that every command takes.
    #[command(flatten)]
    pub global: Global,
}

/// Flags that every command takes.
#[derive(Debug, Clone, ClapArgs)]
pub struct Global {
    /// How the answer is written to standard output.
    #[arg(long, global = true, value_enum, default_value = "text", value_name = "FORMAT")]
    pub format: OutputFormat,
    /// Tell more; twice for everything. RUST_LOG overrides.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// No progress and no warnings, only errors.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// How log lines are written to standard error.
    #[arg(long, global = true, value_enum, default_value = "text", value_name = "FORMAT")]
    pub log_format: OutputFormat,
}

/// For people or for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// The migration to work on.
#[derive(Debug, Clone, ClapArgs)]
pub struct SpecArg {
    /// The migration's YAML file, or the folder that holds its migration.yaml.
    #[arg(value_name = "SPEC")]
    pub spec: PathBuf,
}

/// The commands, in the order of a migration's life.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a commented spec for an existing table to standard output.
    Init {
        /// The table's format.
        #[arg(long, value_parser = format, default_value = "hive")]
        source_format: Format,
        /// The table's folder: a path or a URL.
        location: String,
    },
    /// Print the JSON Schema of the spec.
    Schema,
    /// Show what would happen and what it would cost, and save it for approval.
    Plan {
        /// Which migration.
        #[command(flatten)]
        spec: SpecArg,
        /// Write nothing at all.
        #[arg(long)]
        dry_run: bool,
    },
    /// Approve the saved plan.
    Approve {
        /// Which migration.
        #[command(flatten)]
        spec: SpecArg,
        /// The plan's digest, or its first 8 digits or more; the saved plan when absent.
        #[arg(long, value_name = "DIGEST")]
        plan: Option<String>,
        /// Who approves.
        #[arg(long, env = "LAKESHIFT_APPROVER", default_value = "the operator", value_name = "NAME")]
        by: String,
    },
    /// Pin the source's version, create the target, and begin to carry changes over.
    DualWrite(SpecArg),
    /// Carry the source's changes over.
    Mirror {
        /// Which migration.
        #[command(flatten)]
        spec: SpecArg,
        /// Look once and end; the default.
        #[arg(long, conflicts_with = "follow")]
        once: bool,
        /// Go on until stopped, at the spec's interval.
        #[arg(long)]
        follow: bool,
    },
    /// Move the rows that stood in the source when its version was pinned.
    Backfill(SpecArg),
    /// Compare old and new, and write the report.
    Validate {
        /// Which migration.
        #[command(flatten)]
        spec: SpecArg,
        /// Read everything anew: take nothing from earlier readings and nothing for proven by metadata.
        #[arg(long)]
        read_all: bool,
        /// Exit 4 when the verdict is PASS WITH ACCEPTED DIFFERENCES.
        #[arg(long)]
        strict: bool,
        /// Sign the certificate with this ed25519 private key (PKCS#8 PEM).
        #[arg(long, env = "LAKESHIFT_SIGNING_KEY", value_name = "FILE")]
        signing_key: Option<PathBuf>,
        /// Change copies of some rows in memory, and see whether the configured checks find each change.
        #[arg(long)]
        self_test: bool,
    },
    /// Check certificates.
    #[command(subcommand)]
    Certificate(CertificateCommand),
    /// Compare any two tables, without a migration.
    Diff(DiffArgs),
    /// Point the alias to the new table.
    Cutover(SpecArg),
    /// Point the alias back to the old table.
    Rollback {
        /// Which migration.
        #[command(flatten)]
        spec: SpecArg,
        /// Give up commits that only the new table has.
        #[arg(long)]
        accept_loss: bool,
    },
    /// Checks for schedulers, until the old table may go.
    #[command(subcommand)]
    Grace(GraceCommand),
    /// List the old table's own files, and after the wait delete them if the spec says so.
    Sunset(SpecArg),
    /// Drop what this migration created; before cutover only.
    Abort {
        /// Which migration.
        #[command(flatten)]
        spec: SpecArg,
        /// Why, for the journal.
        #[arg(long, default_value = "not given")]
        reason: String,
    },
    /// Show where a migration stands and what to do next.
    Status(SpecArg),
    /// Print where an alias points.
    Resolve {
        /// The alias.
        name: String,
        /// The control root: a path or a URL.
        #[arg(long, env = "LAKESHIFT_CONTROL", value_name = "LOCATION")]
        control: String,
    },
}

/// Checks of certificates.
#[derive(Debug, Subcommand)]
pub enum CertificateCommand {
    /// Exit 0 when the certificate is intact and its verdict follows from what it holds, 1 when not.
    Verify {
        /// The certificate.
        file: PathBuf,
        /// Public keys (PEM) of which one must have signed it.
        #[arg(long, value_name = "FILE")]
        public_key: Vec<PathBuf>,
        /// Read both tables of this migration again at the certificate's versions, under its key.
        #[arg(long, value_name = "SPEC")]
        replay: Option<PathBuf>,
    },
}

/// Two tables, and how they are compared.
#[derive(Debug, Clone, ClapArgs)]
pub struct DiffArgs {
    /// The old table: `delta:/lake/a`, `iceberg:s3://lake/b`, `hive:./c`.
    #[arg(value_name = "FORMAT:LOCATION")]
    pub old: String,
    /// The new table.
    #[arg(value_name = "FORMAT:LOCATION")]
    pub new: String,
    /// Columns that identify a row, so that differences can be told as changed rows.
    #[arg(long, value_delimiter = ',', value_name = "COLUMN,…")]
    pub key: Vec<String>,
    /// Compare only the rows of which this SQL condition on the new table's columns is true.
    #[arg(long = "where", value_name = "CONDITION")]
    pub range: Option<String>,
    /// A file with the section `validation:` of a spec: column rules, ledger.
    #[arg(long, value_name = "FILE")]
    pub rules: Option<PathBuf>,
    /// Show values, not tokens, in the sample.
    #[arg(long)]
    pub show_values: bool,
    /// A folder for the report and the differing rows; without it they are not written.
    #[arg(long, value_name = "FOLDER")]
    pub report: Option<PathBuf>,
    /// Files of each table that are read at a time.
    #[arg(long, default_value_t = 2, value_name = "NUMBER")]
    pub parallel: usize,
    /// Exit 4 when the verdict is PASS WITH ACCEPTED DIFFERENCES.
    #[arg(long)]
    pub strict: bool,
}

/// Checks for schedulers.
#[derive(Debug, Subcommand)]
pub enum GraceCommand {
    /// Exit 0 when the sunset is due, 5 when not yet, 4 when something blocks it.
    Check(SpecArg),
}

fn format(text: &str) -> Result<Format, String> {
    match text {
        "hive" => Ok(Format::Hive),
        "delta" => Ok(Format::Delta),
        "iceberg" => Ok(Format::Iceberg),
        "hudi" => Ok(Format::Hudi),
        _ => Err("write hive, delta, iceberg or hudi".to_owned()),
    }
}
