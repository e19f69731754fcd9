//! A Hudi file slice with log files, as it travels from the adapter that finds it to the engine that merges it: the
//! deletes in a file's identity ([`crate::table::with_deletes`]) are its JSON.
//!
//! Everything that decides the slice's rows stands in it, so that equal identities mean equal rows.

use serde::{Deserialize, Serialize};

/// A base file, or none, and the log files that apply to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedSlice {
    /// Whether the file entry's path is a base file; where there is none it is the first log file.
    pub based: bool,
    /// In the order in which they apply.
    pub logs: Vec<LogFile>,
    /// Instants whose log blocks count, ascending.
    pub instants: Vec<String>,
    /// Instants before this one are archived, which only completed ones are: their log blocks count as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archived_before: Option<String>,
    /// Of those the ones that are in the timeline all the same, and had not completed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub archived_except: Vec<String>,
    /// How the records of one key become one row.
    pub merge: MergeRule,
}

/// One log file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFile {
    /// Relative to the table's root.
    pub path: String,
    /// Bytes that count; a longer file was appended to since.
    pub size_bytes: u64,
    /// What the store says of its content.
    pub identity: String,
    /// The one instant whose blocks it holds (timeline layout 2); without it a file holds blocks of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instant: Option<String>,
}

/// How the records of one key become one row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergeRule {
    /// Which of two records stays.
    pub order: MergeOrder,
    /// The columns whose values order records; the first decides, the next among equals.
    pub ordering: Vec<String>,
    /// Where a row's key is found.
    pub key: RecordKey,
    /// A record whose column has this value is a delete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_marker: Option<(String, String)>,
}

/// Which of two records of one key stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MergeOrder {
    /// The later one.
    CommitTime,
    /// The later one; but releases of Hudi before 1.0 keep, of two log records, the one with the greater ordering value.
    /// Where the two answers differ the slice is refused.
    CommitTimeDisputed,
    /// The one with the greater ordering value, of equals the later one.
    EventTime,
}

/// Where a row's key is found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordKey {
    /// In the column `_hoodie_record_key`.
    Meta,
    /// In this column.
    Column(String),
    /// In these columns, as `name:value,name:value`.
    Columns(Vec<String>),
}

impl LoggedSlice {
    /// Whether log blocks of `instant` count.
    pub fn counts(&self, instant: &str) -> bool {
        let is_archived = self.archived_before.as_deref().is_some_and(|boundary| instant < boundary);
        (is_archived && !self.archived_except.iter().any(|other| other == instant))
            || self.instants.binary_search_by(|known| known.as_str().cmp(instant)).is_ok()
    }
}
