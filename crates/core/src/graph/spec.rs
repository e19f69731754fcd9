//! [`GraphSpec`]: what a `graph.yaml` may say.
//!
//! Here are its types and how it is read; [`Graph::build`](super::Graph::build) resolves it and refuses what cannot work.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::mapping::EntityMapping;
use super::time::Grain;
use crate::spec::{Location, SPEC_BYTES_MAX};
use crate::table::Format;

/// Tables, and which is computed from which.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GraphSpec {
    /// The graph's name: 1 to 64 letters, digits, `-` and `_`.
    pub graph: String,
    /// The control root, where the graph's journal lies: a path relative to this file, or a URL. Commands need it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<String>,
    /// Pools by name: how many partitions of the tables that name the pool are computed at a time.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pools: BTreeMap<String, u32>,
    /// What computing costs: plans tell it, and runs can be bounded by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prices: Option<Prices>,
    /// The tables by name.
    pub tables: BTreeMap<String, TableSpec>,
}

/// What computing costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// For each tebibyte of data files that is read.
    #[serde(default)]
    pub tebibyte_read: Money,
    /// For each hour that a partition is computed; two partitions at a time are two hours an hour.
    #[serde(default)]
    pub compute_hour: Money,
}

/// An amount of money, to the millionth; the currency is whoever writes it's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "f64", into = "f64")]
#[schemars(with = "f64")]
pub struct Money {
    millionths: u64,
}

/// One table. A table with neither `sql`, `sql_file` nor `command` is a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TableSpec {
    /// Where its files lie, as in a migration spec.
    pub location: String,
    /// Its format.
    pub format: Format,
    /// The other folder where files lie that a source in Iceberg has registered: that of the old table, whose files a migration
    /// has adopted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files_in: Option<String>,
    /// How it is partitioned by time; one partition of all time when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<TimeSpec>,
    /// How it is partitioned by entity; one partition of all entities when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity: Option<EntitySpec>,
    /// A label of the logic's version. Change it when results change though the SQL's text does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logic: Option<String>,
    /// The pool whose limit holds for this table, besides the run's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Tables of higher priority are computed first, with what they are computed from; 0 when absent. After eight partitions
    /// of higher ones a lower one has its turn.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub priority: i32,
    /// The query that computes the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
    /// A file with that query. Who reads it puts its text into `sql` and takes this away, before the graph is built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql_file: Option<String>,
    /// A program and its arguments that compute the table, a partition at a time. It reads the unit as JSON from its standard
    /// input, and writes Parquet files into the folder that `LAKESHIFT_OUTPUT` names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// The columns that the command writes, or that a table has which reads itself: names and SQL types, such as
    /// `flights BIGINT`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// The tables that it is computed from, each with its partition mapping.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub after: BTreeMap<String, EdgeSpec>,
}

/// How a table is partitioned by time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeSpec {
    /// The column, a date or timestamp.
    pub column: String,
    /// How much time a partition covers.
    pub grain: Grain,
}

/// How a table is partitioned by entity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EntitySpec {
    /// The column.
    pub column: String,
    /// Entities that every period has. Others are known once a partition of theirs was recorded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// The partition mapping of one edge; what is absent is inferred where it can be proven.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EdgeSpec {
    /// How periods relate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<TimeRule>,
    /// How entities relate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity: Option<EntityMapping>,
}

/// How periods of two tables relate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected same, roll_up, split, all, {back: N}, {back: N, ahead: N} or {previous: N}")]
pub enum TimeRule {
    /// A rule without numbers.
    Word(TimeWord),
    /// A window about the period.
    Window(Window),
    /// The periods before.
    Previous(Previous),
}

/// A rule without numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimeWord {
    /// The same period; both tables have one grain.
    Same,
    /// All periods of a finer upstream that overlap.
    RollUp,
    /// The periods of a coarser upstream that overlap.
    Split,
    /// All periods.
    All,
}

/// A window about the period, in periods of the downstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Periods before this one.
    #[serde(default)]
    pub back: u32,
    /// Periods after this one.
    #[serde(default)]
    pub ahead: u32,
}

/// The periods before this one, without it: the only rule of a table that is computed from itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Previous {
    /// How many, in periods of the downstream.
    pub previous: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(priority: &i32) -> bool {
    *priority == 0
}

/// Why a graph cannot be used. Nothing has been done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// Not a graph.
    #[error("{file}: {reason}")]
    Syntax {
        /// The file as it was named.
        file: String,
        /// What is wrong, with line and column.
        reason: String,
    },
    /// A value that does not fit; `path` is its place in the file.
    #[error("{path} {problem}; {hint}")]
    Value {
        /// The place, such as `tables.daily.after.flights.time`.
        path: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        hint: String,
    },
    /// Tables that are computed from each other.
    #[error("tables are computed in a circle: {}; remove one of these edges, or merge the tables", path.join(" → "))]
    Cycle {
        /// The tables along the circle; the first again at the end.
        path: Vec<String>,
    },
}

impl GraphSpec {
    /// Reads a graph; `file` names it in errors. Nothing is read from disk.
    ///
    /// # Errors
    /// [`GraphError::Syntax`] for what is no YAML, too large, or has unknown or missing keys.
    pub fn from_yaml(text: &str, file: &str) -> Result<Self, GraphError> {
        let syntax = |reason| GraphError::Syntax { file: file.to_owned(), reason };
        if text.len() > SPEC_BYTES_MAX {
            return Err(syntax(format!("the file has {} bytes, and a graph has {SPEC_BYTES_MAX} at most", text.len())));
        }
        serde_yaml::from_str(text).map_err(|error| syntax(error.to_string()))
    }

    /// Makes URLs of the locations, relative to the folder of `file`, as a migration's spec does.
    ///
    /// # Errors
    /// [`GraphError::Value`] for the first that is none.
    pub fn resolve_locations(&mut self, file: &Path) -> Result<(), GraphError> {
        let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        let base = file.parent().unwrap_or(&file);
        let control = self.control.iter_mut().map(|control| ("control".to_owned(), control));
        let tables = self.tables.iter_mut().flat_map(|(name, table)| {
            let files_in = table.files_in.iter_mut().map(move |folder| (format!("tables.{name}.files_in"), folder));
            std::iter::once((format!("tables.{name}.location"), &mut table.location)).chain(files_in)
        });
        for (path, text) in control.chain(tables) {
            *text = Location::resolved(text, base).map_err(|error| GraphError::Value {
                path,
                problem: format!("cannot be used: {error}"),
                hint: error.hint().to_owned(),
            })?;
        }
        Ok(())
    }

    /// The JSON Schema of the file, for editors.
    pub fn json_schema() -> serde_json::Value {
        schemars::schema_for!(Self).to_value()
    }
}

impl Prices {
    /// What reading so many bytes and computing for so long costs.
    pub fn cost(&self, read_bytes: u64, computed: Duration) -> Money {
        let share = |price: Money, amount: u128, of: u128| u128::from(price.millionths) * amount / of;
        let bytes = share(self.tebibyte_read, u128::from(read_bytes), 1 << 40);
        let time = share(self.compute_hour, computed.as_nanos(), 3_600_000_000_000);
        Money { millionths: u64::try_from(bytes + time).unwrap_or(u64::MAX) }
    }
}

impl TryFrom<f64> for Money {
    type Error = String;

    fn try_from(amount: f64) -> Result<Self, String> {
        if !(0.0..=1e12).contains(&amount) {
            return Err(format!("{amount} is no price; write a number from 0 to a million millions"));
        }
        Ok(Self { millionths: (amount * 1e6).round() as u64 })
    }
}

impl From<Money> for f64 {
    fn from(money: Money) -> Self {
        money.millionths as Self / 1e6
    }
}

impl std::str::FromStr for Money {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<f64>().map_err(|_| format!("`{text}` is no amount; write a number such as 12.50"))?.try_into()
    }
}

impl std::fmt::Display for Money {
    /// To the hundredth, and what is less to the millionth.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = if self.millionths == 0 || self.millionths >= 10_000 { 2 } else { 6 };
        write!(f, "{:.digits$}", f64::from(*self))
    }
}

impl TableSpec {
    /// Whether nothing computes it.
    pub fn is_source(&self) -> bool {
        self.sql.is_none() && self.sql_file.is_none() && self.command.is_none()
    }

    /// SHA-256, in hexadecimal, of what computes the table: SQL without comments and spacing, or the command, and the
    /// logic's label. `None` for a source.
    pub fn logic_digest(&self) -> Option<String> {
        if self.is_source() {
            return None;
        }
        let sql = self.sql.as_deref().map(normalized_sql);
        // A file's name is no logic; it stands for its text until that was read.
        let unread = self.sql_file.as_ref().filter(|_| sql.is_none());
        let parts = serde_json::json!([sql, unread, self.command, self.logic]);
        Some(hex(&Sha256::digest(parts.to_string())))
    }
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SQL without what means nothing: comments, and all but one space between words. What stands in quotes stays.
fn normalized_sql(sql: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(sql.len()), sql.trim());
    while let Some(c) = rest.chars().next() {
        let comment = if rest.starts_with("--") {
            Some(rest.find('\n').unwrap_or(rest.len()))
        } else if rest.starts_with("/*") {
            Some(rest.find("*/").map_or(rest.len(), |end| end + 2))
        } else {
            c.is_whitespace().then_some(c.len_utf8())
        };
        let taken = match comment {
            Some(taken) => {
                if !out.ends_with(' ') {
                    out.push(' ');
                }
                taken
            }
            None => {
                let quoted = matches!(c, '\'' | '"' | '`').then(|| rest[1..].find(c).map_or(rest.len(), |end| end + 2));
                let taken = quoted.unwrap_or(c.len_utf8());
                out.push_str(&rest[..taken]);
                taken
            }
        };
        rest = &rest[taken..];
    }
    out.trim().trim_end_matches(';').trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logic_is_the_same_whatever_its_spacing_and_comments_and_another_by_its_label() {
        let digest = |sql: &str, logic: Option<&str>| {
            let yaml = "{location: a, format: delta, sql: x}";
            let table: TableSpec = serde_yaml::from_str(yaml).unwrap();
            TableSpec { sql: Some(sql.to_owned()), logic: logic.map(str::to_owned), ..table }.logic_digest()
        };
        let plain = digest("SELECT 'a  b' FROM t", None);
        assert_eq!(plain, digest("SELECT -- what\n 'a  b'\n\tFROM /* where */ t ;\n", None));
        assert_ne!(plain, digest("SELECT 'a b' FROM t", None));
        assert_ne!(plain, digest("SELECT 'a  b' FROM t", Some("2")));
    }
}
