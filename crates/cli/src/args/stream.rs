//! What the commands on streams take.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use lakeshift_stream::SourcePartition;

/// The stream to work on.
#[derive(Debug, Clone, ClapArgs)]
pub struct StreamArg {
    /// The stream's YAML file, or the folder that holds its stream.yaml.
    #[arg(value_name = "STREAM")]
    pub stream: PathBuf,
}

/// How events are brought in.
#[derive(Debug, Clone, ClapArgs)]
pub struct IngestArgs {
    /// Which stream.
    #[command(flatten)]
    pub stream: StreamArg,
    /// Read what is there by now and end; the default.
    #[arg(long, conflicts_with = "follow")]
    pub once: bool,
    /// Go on until stopped.
    #[arg(long)]
    pub follow: bool,
    /// Answer `GET /metrics` there, for Prometheus, as long as this runs: an address and a port.
    #[arg(long, value_name = "ADDRESS")]
    pub metrics: Option<SocketAddr>,
}

/// A stream.
#[derive(Debug, Subcommand)]
pub enum StreamCommand {
    /// Rewrite a range of the table in one commit, while the stream goes on beside it.
    Backfill(BackfillArgs),
    /// Tell of every offset what became of it; exit 1 when one is accounted for nowhere or twice. Writes nothing.
    Audit {
        /// Which stream.
        #[command(flatten)]
        stream: StreamArg,
        /// Ask no broker which offsets there are.
        #[arg(long)]
        offline: bool,
    },
    /// Print the JSON Schema of a stream's file.
    Schema,
}

/// Which range is rewritten, how, and how the stream behaves meanwhile.
#[derive(Debug, Clone, ClapArgs)]
pub struct BackfillArgs {
    /// Which stream.
    #[command(flatten)]
    pub stream: StreamArg,
    /// A name for this backfill: asked for again under it, one that was killed goes on.
    #[arg(long, value_name = "NAME", value_parser = lock_name)]
    pub name: String,
    /// The first period, as the stream's grain has it: 2001-01-31, 2001-W05, 2001-01 …
    #[arg(long, value_name = "PERIOD")]
    pub from: String,
    /// The last period; it is in the range.
    #[arg(long, value_name = "PERIOD")]
    pub to: String,
    /// Only this value of the stream's column of entities.
    #[arg(long, value_name = "VALUE")]
    pub entity: Option<String>,
    /// How the stream behaves in the range meanwhile.
    #[arg(long, value_enum, value_name = "MODE")]
    pub mode: BackfillMode,
    /// SELECT over `events`, the table's rows in the range: what it gives for the range replaces them.
    #[arg(long, value_name = "QUERY", required_unless_present_any = ["sql_file", "abandon"], conflicts_with = "sql_file")]
    pub sql: Option<String>,
    /// A file with that query.
    #[arg(long, value_name = "FILE")]
    pub sql_file: Option<PathBuf>,
    /// With pause and priority: the query's rows hold the source up to here; `TOPIC/PARTITION=OFFSET`, once a partition. What
    /// the stream had read when absent.
    #[arg(long, value_parser = position, value_name = "POSITION")]
    pub read_to: Vec<(SourcePartition, i64)>,
    /// Give up a backfill of this name that was begun and not committed: the stream replays what it has set aside.
    #[arg(long, conflicts_with_all = ["sql", "sql_file", "read_to"])]
    pub abandon: bool,
    /// Seconds to wait for the end of a commit of the stream that is under way.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub wait: u64,
}

/// How a stream behaves in a range that is rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BackfillMode {
    /// It pauses there, and resumes from where the backfill has read the source.
    Pause,
    /// What the backfill has read of the source is superseded, and newer events are written meanwhile.
    Priority,
    /// It sets events aside, and replays them in order afterwards.
    Park,
    /// It sets events aside, and leaves them out afterwards.
    Skip,
}

fn lock_name(text: &str) -> Result<String, String> {
    let sound = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    match (1..=64).contains(&text.len()) && text.chars().all(sound) {
        true => Ok(text.to_owned()),
        false => Err("write 1 to 64 letters, digits, `-` and `_`".to_owned()),
    }
}

fn position(text: &str) -> Result<(SourcePartition, i64), String> {
    let wanted = || "write TOPIC/PARTITION=OFFSET".to_owned();
    let (partition, offset) = text.split_once('=').ok_or_else(wanted)?;
    let offset = offset.parse().ok().filter(|offset| *offset >= 0).ok_or_else(wanted)?;
    Ok((partition.parse().map_err(|_| wanted())?, offset))
}
