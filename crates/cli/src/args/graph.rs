//! What the commands on graphs take.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use lakeshift_core::graph::Money;
use lakeshift_core::spec::ByteSize;

/// A graph of tables.
#[derive(Debug, Subcommand)]
pub enum GraphCommand {
    /// Show the tables, which is computed from which, and how many partitions of each are stale.
    Show {
        /// Which graph.
        #[command(flatten)]
        graph: GraphArg,
        /// Draw it as a page: tables, what is stale over time, what the last run computed, which logic is where.
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
    },
    /// List every stale partition with its reason; writes nothing.
    Stale {
        /// Which graph.
        #[command(flatten)]
        graph: GraphArg,
        /// Tell the chain of causes of one partition: its table and, where it has them, period and entity.
        #[arg(long, num_args = 1..=3, value_names = ["TABLE", "PERIOD", "ENTITY"])]
        why: Vec<String>,
    },
    /// Show what would run, in which order and why, and what that saves; writes nothing.
    Plan {
        /// Which graph.
        #[command(flatten)]
        graph: GraphArg,
        /// Which partitions.
        #[command(flatten)]
        filter: GraphFilter,
    },
    /// Recompute what is stale.
    Run {
        /// Which graph.
        #[command(flatten)]
        graph: GraphArg,
        /// Which partitions.
        #[command(flatten)]
        filter: GraphFilter,
        /// Compute so many partitions at most.
        #[arg(long, value_name = "NUMBER")]
        max_tasks: Option<u64>,
        /// Read so many bytes of data files at most, such as 10GiB; what is left stays stale.
        #[arg(long, value_name = "SIZE")]
        max_bytes: Option<ByteSize>,
        /// Spend so much at most by the graph's `prices`, such as 12.50; what is left stays stale.
        #[arg(long, value_name = "AMOUNT")]
        max_cost: Option<Money>,
        /// Partitions that are computed at a time.
        #[arg(long, default_value_t = 2, value_name = "NUMBER")]
        parallel: usize,
    },
    /// Print the planned partitions for another scheduler, which runs each by `graph run-unit`; writes nothing.
    Export {
        /// Which graph.
        #[command(flatten)]
        graph: GraphArg,
        /// Which partitions.
        #[command(flatten)]
        filter: GraphFilter,
        /// Self-contained units as JSON, or a Python file that Airflow or Dagster loads.
        #[arg(long = "for", value_enum, default_value = "json", value_name = "SCHEDULER")]
        scheduler: Scheduler,
    },
    /// Compute one partition if it is stale; several may run at once, on several machines.
    RunUnit {
        /// Which graph.
        #[command(flatten)]
        graph: GraphArg,
        /// The unit's id: table and, where it has them, period and entity.
        #[arg(required = true, num_args = 1.., value_names = ["TABLE", "PERIOD", "ENTITY"])]
        unit: Vec<String>,
        /// Seconds to wait for others who are committing.
        #[arg(long, default_value_t = 600, value_name = "SECONDS")]
        wait: u64,
    },
    /// Tell what a partition was computed from, by which logic, and whether that is what a full rebuild would give.
    Explain {
        /// Which graph.
        #[command(flatten)]
        graph: GraphArg,
        /// The table and, where it has them, period and entity.
        #[arg(required = true, num_args = 1..=3, value_names = ["TABLE", "PERIOD", "ENTITY"])]
        partition: Vec<String>,
    },
    /// Show which logic computed which partitions of a table, and which of them mix what several logics computed.
    Logic {
        /// Which graph.
        #[command(flatten)]
        graph: GraphArg,
        /// The table.
        table: String,
        /// Exit with 1 where a partition mixes logics.
        #[arg(long)]
        fail_on_mixed: bool,
    },
}

/// Who runs the units of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scheduler {
    /// Anybody: units as JSON.
    Json,
    /// Apache Airflow 2 or 3.
    Airflow,
    /// Dagster.
    Dagster,
}

/// The graph to work on.
#[derive(Debug, Clone, ClapArgs)]
pub struct GraphArg {
    /// The graph's YAML file, or the folder that holds its graph.yaml.
    #[arg(value_name = "GRAPH")]
    pub graph: PathBuf,
}

/// Which stale partitions; all when nothing is said.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct GraphFilter {
    /// Only these tables.
    #[arg(long, value_name = "NAME")]
    pub table: Vec<String>,
    /// Only partitions that reach to this day or later.
    #[arg(long, value_name = "DATE")]
    pub from: Option<chrono::NaiveDate>,
    /// Only partitions that begin on this day or earlier.
    #[arg(long, value_name = "DATE")]
    pub to: Option<chrono::NaiveDate>,
    /// Only these entities, and what has none.
    #[arg(long, value_name = "NAME")]
    pub entity: Vec<String>,
}
