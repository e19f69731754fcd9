//! The plan: which files move how, in which units, and why.
//!
//! [`choose`] decides for one file; [`into_units`] orders the decided files and cuts them into units; a [`PlanSummary`]
//! is what people approve. All of it is pure: the caller brings files and footer facts.

mod choose;
mod estimate;
mod requests;
mod unit;

pub use choose::{ChooseContext, choose, same_type};
pub use estimate::{Assumptions, PlanSummary, StrategyTotals, summarize};
pub use requests::{DualWriteShape, RequestForecast, forecast};
pub use unit::{UnitLimits, data_file_stem, into_units, unit_of_path};

use serde::{Deserialize, Serialize};

use crate::table::{TableVersion, UnitId};
use crate::value::Value;

/// How a file moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// The new table registers the file where it lies; no byte moves.
    Adopt,
    /// The file's column chunks are copied, undecoded, into larger files of the new table.
    Splice,
    /// The rows are decoded, transformed, partitioned and encoded into new files.
    Rewrite,
}

impl std::fmt::Display for Strategy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Adopt => "adopt",
            Self::Splice => "splice",
            Self::Rewrite => "rewrite",
        })
    }
}

/// One source file of a plan: a row of `plans/<digest>.parquet`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedFile {
    /// The unit that moves it. Files of one unit stand next to each other.
    pub unit: UnitId,
    /// How it moves; the same for all files of a unit.
    pub strategy: Strategy,
    /// Why this strategy and no cheaper one.
    pub reason: String,
    /// As [`FileEntry::path`](crate::table::FileEntry::path).
    pub path: String,
    /// As [`FileEntry::identity`](crate::table::FileEntry::identity).
    pub identity: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Rows.
    pub rows: u64,
    /// Typed values of the source's partition fields.
    pub partition: Vec<Option<Value>>,
    /// Typed values of the target's partition fields, where the file is proven to lie in one partition.
    pub target_partition: Option<Vec<Option<Value>>>,
}

/// A plan as the journal refers to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanRef {
    /// SHA-256 (hex) over the spec's digest, the source version and every planned file, in order.
    pub digest: String,
    /// The source version whose files it lists.
    pub source: TableVersion,
    /// What it comes to.
    pub summary: PlanSummary,
}
