//! The command line.

mod graph;
mod stream;

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use lakeshift_core::control::{Limit, Limits};
use lakeshift_core::migration::Gate;
use lakeshift_core::partition::PartitionField;
use lakeshift_core::spec::{ByteSize, parse_partition_field};
use lakeshift_core::table::Format;
use lakeshift_core::writes::BATCH_CHARS_MAX;

pub use graph::{GraphArg, GraphCommand, GraphFilter, Scheduler};
pub use stream::{BackfillArgs, BackfillMode, IngestArgs, StreamArg, StreamCommand};

/// Moves a live lakehouse table to another format, partitioning or logic, without stopping its writers and readers.
#[derive(Debug, Parser)]
#[command(name = "lakeshift", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(
    after_help = "Exit codes: 0 done or PASS, 1 FAIL or a blocked sunset, 2 error, 3 INCONCLUSIVE, 4 refused, 5 not due."
)]
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
    /// Write rows to both tables, whichever is written now: for batch jobs, before and after the cutover.
    Write(WriteArgs),
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
    /// Ask both tables the readers' own queries, and compare replies and times; writes nothing.
    Shadow(ShadowArgs),
    /// Point the alias to the new table.
    Cutover(CutoverArgs),
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
    /// Recompute what is stale of tables that are computed from tables, and only that.
    #[command(subcommand)]
    Graph(GraphCommand),
    /// Bring events of Kafka topics into a table, or both tables of a migration, each exactly once.
    Ingest(IngestArgs),
    /// Backfill beside a stream, and account for every event of it.
    #[command(subcommand)]
    Stream(StreamCommand),
    /// List the old table's own files, and after the wait delete them if the spec says so.
    Sunset {
        /// Which migration.
        #[command(flatten)]
        spec: SpecArg,
        /// Keep the old table after all; until the first file is deleted.
        #[arg(long)]
        undo: bool,
        /// Who decides, and why.
        #[command(flatten)]
        asked: Asked,
    },
    /// Decide what becomes of writes to the side that should not be written; `status` names them.
    Reconcile {
        /// Which migration.
        #[command(flatten)]
        spec: SpecArg,
        /// Take them over: from the old table into the new one; in the new one after a validation of them passed.
        #[arg(long, conflicts_with = "reject", required_unless_present = "reject")]
        adopt: bool,
        /// Leave them in the old table, to go when it goes; take files that others added out of the new one.
        #[arg(long)]
        reject: bool,
        /// Who decides, and why.
        #[command(flatten)]
        asked: Asked,
    },
    /// Give the new table's other writers another partitioning (Iceberg): no file is moved, no reader waits.
    Repartition {
        /// Which migration.
        #[command(flatten)]
        spec: SpecArg,
        /// The new partition fields, as in `target.partitioning`, outermost first; none for an unpartitioned table.
        #[arg(long, value_parser = partition_field, num_args = 0.., required = true, value_name = "FIELD")]
        to: Vec<PartitionField>,
    },
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
    /// Ask whoever runs a migration to move no more rows; also from another machine.
    Pause {
        /// Which migration.
        #[command(flatten)]
        spec: SpecArg,
        /// Who asks, and why.
        #[command(flatten)]
        asked: Asked,
    },
    /// Ask it to go on.
    Resume {
        /// Which migration.
        #[command(flatten)]
        spec: SpecArg,
        /// Who asks, and why.
        #[command(flatten)]
        asked: Asked,
    },
    /// Change the limits of a running migration; what is not said stays as it is.
    Throttle(ThrottleArgs),
    /// Hold the cutover until the hold is cleared.
    Postpone {
        /// Which migration.
        #[command(flatten)]
        spec: SpecArg,
        /// Let the cutover go.
        #[arg(long)]
        clear: bool,
        /// Who asks, and why.
        #[command(flatten)]
        asked: Asked,
    },
    /// Show everything that happened to a migration: its journal, every hash checked.
    History {
        /// The migration's YAML file or the folder that holds it; or its name, with --control.
        #[arg(value_name = "NAME|SPEC")]
        migration: String,
        /// The control root: a path or a URL; for a name.
        #[arg(long, env = "LAKESHIFT_CONTROL", value_name = "LOCATION")]
        control: Option<String>,
        /// Write a page for browsers.
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
    },
    /// Print where an alias points.
    Resolve {
        /// The alias.
        name: String,
        /// The control root: a path or a URL.
        #[arg(long, env = "LAKESHIFT_CONTROL", value_name = "LOCATION")]
        control: String,
    },
}

/// What is written, and to which migration's tables.
#[derive(Debug, Clone, ClapArgs)]
pub struct WriteArgs {
    /// The migration's YAML file, or the folder that holds its migration.yaml.
    #[arg(long, value_name = "SPEC")]
    pub to: PathBuf,
    /// A name for this write: a write of a name that has been written is not made again, so that a job may be repeated.
    #[arg(long, value_name = "NAME", value_parser = batch_name)]
    pub id: Option<String>,
    /// Seconds to wait for another writer, or for a cutover that holds writers off.
    #[arg(long, default_value_t = 120, value_name = "SECONDS")]
    pub wait: u64,
    /// Parquet files with all columns of the table that is written now.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
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

/// Which queries are asked, and how their replies are compared.
#[derive(Debug, Clone, ClapArgs)]
pub struct ShadowArgs {
    /// Which migration.
    #[command(flatten)]
    pub spec: SpecArg,
    /// SELECT statements over a table that has the alias' name; `queries.sql` beside the spec when absent.
    #[arg(long, value_name = "FILE")]
    pub queries: Option<PathBuf>,
    /// Times that each table is asked each query; the median time is told.
    #[arg(long, default_value_t = 3, value_name = "NUMBER")]
    pub runs: u32,
    /// Difference of two floating-point numbers, relative to the larger of both, up to which they are the same.
    #[arg(long, default_value_t = 1e-9, value_name = "NUMBER")]
    pub tolerance: f64,
}

/// How readers are moved.
#[derive(Debug, Clone, ClapArgs)]
pub struct CutoverArgs {
    /// Which migration.
    #[command(flatten)]
    pub spec: SpecArg,
    /// Show every gate and every step, and write nothing at all.
    #[arg(long)]
    pub dry_run: bool,
    /// Do all of it on aliases that nobody reads, forward and back, and tell how long it took.
    #[arg(long, conflicts_with_all = ["dry_run", "resume", "force"])]
    pub rehearse: bool,
    /// Go on with a cutover that is under way, and begin none.
    #[arg(long, conflicts_with = "dry_run")]
    pub resume: bool,
    /// Go through a gate that is shut: certificate, rogue_writer, rehearsal, disk, postponed. It stands in the journal.
    #[arg(long, value_parser = gate, requires = "reason", value_name = "GATE")]
    pub force: Vec<Gate>,
    /// Why a gate is forced.
    #[arg(long)]
    pub reason: Option<String>,
    /// Who forces it; `user@host:pid` when absent.
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
}

/// Who asks for something, and why; it stands in the journal.
#[derive(Debug, Clone, ClapArgs)]
pub struct Asked {
    /// Why, for the journal and for those who find it so.
    #[arg(long, default_value = "not given")]
    pub reason: String,
    /// Who asks; `user@host:pid` when absent.
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
}

/// New limits of a running migration.
#[derive(Debug, Clone, ClapArgs)]
pub struct ThrottleArgs {
    /// Which migration.
    #[command(flatten)]
    pub spec: SpecArg,
    /// Bytes of the source that are read each second at most: `50MiB`, or `unlimited`.
    #[arg(long, value_parser = bytes_limit, value_name = "SIZE")]
    pub bytes_per_second: Option<Limit>,
    /// Requests to the stores of both tables each second at most, or `unlimited`.
    #[arg(long, value_parser = requests_limit, value_name = "NUMBER")]
    pub requests_per_second: Option<Limit>,
    /// Units that run at once, 1 to 256; from the next wave on.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=256), value_name = "NUMBER")]
    pub concurrency: Option<u32>,
    /// The spec's limits again.
    #[arg(long, conflicts_with_all = ["bytes_per_second", "requests_per_second", "concurrency"])]
    pub reset: bool,
    /// Who asks, and why.
    #[command(flatten)]
    pub asked: Asked,
}

impl ThrottleArgs {
    /// The limits that are said.
    pub fn limits(&self) -> Limits {
        Limits {
            bytes_per_second: self.bytes_per_second,
            requests_per_second: self.requests_per_second,
            concurrency: self.concurrency,
        }
    }
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
    /// Exit 0 when the sunset is due, 5 when not yet, 1 when something blocks it.
    Check(GraceArgs),
}

/// Which migrations are checked, and by what.
#[derive(Debug, Clone, ClapArgs)]
pub struct GraceArgs {
    /// The migration's YAML file or its folder; with --all the folder of all migrations, `migrations` when absent.
    #[arg(value_name = "SPEC", required_unless_present = "all")]
    pub spec: Option<PathBuf>,
    /// Check every migration that is in its grace period or on the way out.
    #[arg(long)]
    pub all: bool,
    /// Before that, carry back to the old table what others wrote to the new one, and compare what has changed.
    #[arg(long)]
    pub renew: bool,
    /// A log of who read the old table: S3's server access log, or a CSV of `time,path,agent`.
    #[arg(long, value_name = "FILE")]
    pub access_log: Vec<PathBuf>,
    /// Days since its last read for which the old table is in use.
    #[arg(long, default_value_t = 7, requires = "access_log", value_name = "NUMBER")]
    pub quiet_days: u32,
    /// Write the text as Markdown.
    #[arg(long)]
    pub markdown: bool,
}

impl GraceArgs {
    /// The folder of all migrations, where all are checked.
    pub fn folder(&self) -> Option<&std::path::Path> {
        self.all.then(|| self.spec.as_deref().unwrap_or_else(|| std::path::Path::new("migrations")))
    }
}

fn batch_name(text: &str) -> Result<String, String> {
    let printable = !text.is_empty() && text.chars().all(|c| !c.is_control());
    match printable && text.chars().count() <= BATCH_CHARS_MAX {
        true => Ok(text.to_owned()),
        false => Err(format!("write 1 to {BATCH_CHARS_MAX} printable characters")),
    }
}

fn gate(text: &str) -> Result<Gate, String> {
    Gate::ALL.into_iter().find(|gate| gate.name() == text).ok_or_else(|| {
        let names: Vec<_> = Gate::ALL.map(Gate::name).to_vec();
        format!("the gates are {}", names.join(", "))
    })
}

fn bytes_limit(text: &str) -> Result<Limit, String> {
    match text {
        "unlimited" => Ok(Limit::Unlimited),
        _ => text.parse::<ByteSize>().map(|size| Limit::At(size.bytes())).map_err(|error| error.to_string()),
    }
}

fn requests_limit(text: &str) -> Result<Limit, String> {
    match (text, text.parse::<u64>()) {
        ("unlimited", _) => Ok(Limit::Unlimited),
        (_, Ok(rate)) if rate > 0 => Ok(Limit::At(rate)),
        _ => Err("write a whole number of at least 1, or unlimited".to_owned()),
    }
}

fn partition_field(text: &str) -> Result<PartitionField, String> {
    let wanted = "write a column, or year, month, day or hour of one, bucket(N, column) or truncate(N, column)";
    parse_partition_field(text).ok_or_else(|| wanted.to_owned())
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
