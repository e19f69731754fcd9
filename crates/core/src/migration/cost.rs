//! What dual writing costs: requests by what a store charges for, and bytes; of rounds that carried something over, and of
//! looks that found nothing.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// Requests to stores, by what they are charged as. A listing's pages and what a store makes of a ranged read are not seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Requests {
    /// Objects written, parts of uploads and copies.
    pub puts: u64,
    /// Objects read, whole or in ranges.
    pub gets: u64,
    /// Listings.
    pub lists: u64,
    /// Objects asked for their size and version alone.
    pub heads: u64,
    /// Objects deleted.
    pub deletes: u64,
}

impl Requests {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.puts + self.gets + self.lists + self.heads + self.deletes
    }

    /// Whether there are none.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// So many times as many.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        self.each(|requests| requests.saturating_mul(count))
    }

    /// What has come since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        let Self { puts, gets, lists, heads, deletes } = earlier;
        Self {
            puts: self.puts.saturating_sub(puts),
            gets: self.gets.saturating_sub(gets),
            lists: self.lists.saturating_sub(lists),
            heads: self.heads.saturating_sub(heads),
            deletes: self.deletes.saturating_sub(deletes),
        }
    }

    fn each(self, change: impl Fn(u64) -> u64) -> Self {
        let Self { puts, gets, lists, heads, deletes } = self;
        let [puts, gets, lists, heads, deletes] = [puts, gets, lists, heads, deletes].map(change);
        Self { puts, gets, lists, heads, deletes }
    }
}

impl AddAssign for Requests {
    fn add_assign(&mut self, other: Self) {
        self.puts += other.puts;
        self.gets += other.gets;
        self.lists += other.lists;
        self.heads += other.heads;
        self.deletes += other.deletes;
    }
}

impl std::fmt::Display for Requests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kinds =
            [("PUT", self.puts), ("GET", self.gets), ("LIST", self.lists), ("HEAD", self.heads), ("DELETE", self.deletes)];
        let told: Vec<String> =
            kinds.iter().filter(|(_, count)| *count > 0).map(|(kind, count)| format!("{count} {kind}")).collect();
        if told.is_empty() { f.write_str("none") } else { f.write_str(&told.join(", ")) }
    }
}

/// What was used: of one round of a mirror from its look at the one table to its commit to the other, or of looks that found
/// nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundCost {
    /// Requests to the stores of both tables: calls, of which a store may make several.
    pub requests: u64,
    /// The same by what they are charged as; none in older journals.
    #[serde(default, skip_serializing_if = "Requests::is_none")]
    pub by_kind: Requests,
    /// Requests to the control root: the journal, the lease, what operators ask for.
    #[serde(default, skip_serializing_if = "Requests::is_none")]
    pub control: Requests,
    /// Bytes read from the tables, metadata included.
    pub bytes_read: u64,
    /// Bytes written to them, metadata included.
    pub bytes_written: u64,
    /// Bytes of the files that came to the table that was written: what its writer paid without a migration.
    pub source_bytes: u64,
    /// Rows of these files, as far as they are known.
    pub rows: u64,
}

impl AddAssign for RoundCost {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.by_kind += other.by_kind;
        self.control += other.control;
        self.bytes_read += other.bytes_read;
        self.bytes_written += other.bytes_written;
        self.source_bytes += other.source_bytes;
        self.rows += other.rows;
    }
}

impl RoundCost {
    /// Bytes written for every 100 that the writer wrote; `None` when it wrote none.
    pub fn percent(&self) -> Option<f64> {
        (self.source_bytes > 0).then(|| self.bytes_written as f64 * 100.0 / self.source_bytes as f64)
    }
}

/// A day's dual writing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct DayCost {
    /// Rounds that carried something over.
    pub rounds: u64,
    /// What they cost.
    pub carried: RoundCost,
    /// Looks that found nothing.
    pub looks: u64,
    /// What these cost, with the waits between them.
    pub idle: RoundCost,
}

impl DayCost {
    /// All of it.
    pub fn total(&self) -> RoundCost {
        let mut total = self.carried;
        total += self.idle;
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_by_kind_and_a_day_is_the_sum_of_its_parts() {
        let requests = Requests { puts: 2, lists: 1, ..Requests::default() };
        assert_eq!((requests.to_string().as_str(), requests.total()), ("2 PUT, 1 LIST", 3));
        assert_eq!(requests.times(3).since(requests), requests.times(2));
        assert_eq!(Requests::default().to_string(), "none");
        let one = RoundCost { requests: 3, by_kind: requests, bytes_written: 5, source_bytes: 10, ..RoundCost::default() };
        let idle = RoundCost { requests: 4, bytes_written: 1, ..RoundCost::default() };
        let total = DayCost { rounds: 1, carried: one, looks: 2, idle }.total();
        assert_eq!((total.requests, total.by_kind, total.percent()), (7, requests, Some(60.0)));
    }

    /// What builds before this one have written.
    #[test]
    fn the_cost_of_an_older_journal_loads() {
        let old = r#"{"requests": 7, "bytes_read": 1, "bytes_written": 2, "source_bytes": 3, "rows": 4}"#;
        let cost: RoundCost = serde_json::from_str(old).unwrap();
        assert_eq!((cost.requests, cost.by_kind, cost.rows), (7, Requests::default(), 4));
        let text = serde_json::to_string(&cost).unwrap();
        assert!(!text.contains("by_kind") && !text.contains("control"), "{text}");
    }
}
