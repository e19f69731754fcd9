//! What a plan comes to, for the people who approve it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{PlannedFile, RequestForecast, Strategy};

/// What estimates rest on; printed with them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Assumptions {
    /// Source bytes that one worker rewrites in a second.
    pub rewrite_bytes_per_second: u64,
    /// Source bytes that one worker copies in a second.
    pub splice_bytes_per_second: u64,
    /// Files that a commit registers in a second.
    pub adopt_files_per_second: u64,
    /// Units that run at a time.
    pub concurrency: u32,
    /// The spec's throttle, bytes per second.
    pub throttle_bytes_per_second: Option<u64>,
    /// Price of a gigabyte stored for a month, in U.S. dollars.
    pub storage_usd_per_gb_month: f64,
    /// Price of a thousand PUT, COPY or LIST requests, in U.S. dollars.
    pub put_usd_per_1000: f64,
    /// Price of a thousand GET or HEAD requests, in U.S. dollars.
    pub get_usd_per_1000: f64,
}

impl Default for Assumptions {
    /// Rates as measured on two cores with the flights data; the prices of a large provider's standard class.
    fn default() -> Self {
        Self {
            rewrite_bytes_per_second: 12 << 20,
            splice_bytes_per_second: 200 << 20,
            adopt_files_per_second: 2_000,
            concurrency: 2,
            throttle_bytes_per_second: None,
            storage_usd_per_gb_month: 0.023,
            put_usd_per_1000: 0.005,
            get_usd_per_1000: 0.0004,
        }
    }
}

/// Files, rows and bytes of one strategy and reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StrategyTotals {
    /// Files.
    pub files: u64,
    /// Rows.
    pub rows: u64,
    /// Source bytes.
    pub bytes: u64,
}

impl StrategyTotals {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// A plan in numbers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PlanSummary {
    /// Units of work.
    pub units: u64,
    /// Source partitions that hold data.
    pub partitions: u64,
    /// All data files.
    pub total: StrategyTotals,
    /// Totals by `strategy: reason`.
    pub by_reason: BTreeMap<String, StrategyTotals>,
    /// Bytes that the backfill reads.
    pub read_bytes: u64,
    /// Bytes that it writes, taken as the bytes of the files that it splices and rewrites.
    pub write_bytes: u64,
    /// Seconds that it takes.
    pub duration_s: u64,
    /// Further storage until the old table is purged, in U.S. dollars a month.
    pub storage_usd_per_month: f64,
    /// Bytes that dual writing writes for each 100 bytes written to the old table alone.
    pub dual_write_percent: f64,
    /// Whether `scope.where` is of partition columns alone, so that files outside of it are in no unit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub scoped_by_partitions: bool,
    /// Files of partitions that `scope.where` leaves out.
    #[serde(default, skip_serializing_if = "StrategyTotals::is_none")]
    pub outside: StrategyTotals,
    /// Requests that dual writing makes; absent from plans of older builds and of a mirror's rounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<RequestForecast>,
}

impl PlanSummary {
    /// How most bytes move.
    pub fn main_strategy(&self) -> Strategy {
        let of = |strategy: Strategy| {
            let prefix = format!("{strategy}: ");
            self.by_reason
                .iter()
                .filter(|(reason, _)| reason.starts_with(&prefix))
                .map(|(_, totals)| totals.bytes)
                .sum::<u64>()
        };
        let strategies = [Strategy::Adopt, Strategy::Splice, Strategy::Rewrite];
        strategies.into_iter().max_by_key(|strategy| of(*strategy)).unwrap_or(Strategy::Rewrite)
    }
}

/// Adds a plan up. `files` stand in the order of their units.
pub fn summarize<'a>(files: impl IntoIterator<Item = &'a PlannedFile>, assumptions: &Assumptions) -> PlanSummary {
    let mut summary = PlanSummary::default();
    let mut partitions = std::collections::BTreeSet::new();
    let mut last_unit = None;
    let (mut adopted_files, mut spliced_bytes) = (0_u64, 0_u64);
    for file in files {
        if last_unit != Some(&file.unit) {
            summary.units += 1;
            last_unit = Some(&file.unit);
        }
        partitions.insert(file.path.rsplit_once('/').map(|(folder, _)| folder.to_owned()));
        let by_reason = summary.by_reason.entry(format!("{}: {}", file.strategy, file.reason)).or_default();
        for totals in [&mut summary.total, by_reason] {
            totals.files += 1;
            totals.rows += file.rows;
            totals.bytes += file.size_bytes;
        }
        match file.strategy {
            Strategy::Adopt => adopted_files += 1,
            Strategy::Splice => {
                spliced_bytes += file.size_bytes;
                summary.read_bytes += file.size_bytes;
            }
            Strategy::Rewrite => summary.read_bytes += file.size_bytes,
        }
    }
    summary.partitions = partitions.len() as u64;
    summary.write_bytes = summary.read_bytes;
    summary.duration_s = seconds([summary.read_bytes - spliced_bytes, spliced_bytes], adopted_files, assumptions);
    summary.storage_usd_per_month = summary.write_bytes as f64 / 1e9 * assumptions.storage_usd_per_gb_month;
    if summary.total.bytes > 0 {
        summary.dual_write_percent = 100.0 * summary.write_bytes as f64 / summary.total.bytes as f64;
    }
    summary
}

fn seconds([rewritten, spliced]: [u64; 2], adopted_files: u64, assumptions: &Assumptions) -> u64 {
    let workers = u64::from(assumptions.concurrency.max(1));
    let time = |bytes: u64, rate: u64| {
        let rate = assumptions.throttle_bytes_per_second.unwrap_or(u64::MAX).min(rate.saturating_mul(workers));
        bytes.div_ceil(rate.max(1))
    };
    time(rewritten, assumptions.rewrite_bytes_per_second)
        + time(spliced, assumptions.splice_bytes_per_second)
        + adopted_files.div_ceil(assumptions.adopt_files_per_second.max(1))
}
