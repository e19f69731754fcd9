//! How the deletes of a data file travel with it: as JSON in the file's identity, so that other deletes mean another identity,
//! and whoever has the file can find them again.

use lakeshift_core::table::{DeleteFile, FileEntry, TableError, deletes_in};
use serde::{Deserialize, Serialize};

use super::fault::{bad_json, corrupt};

/// The deletes that apply to one data file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Applied {
    /// Rows of the data file, deleted ones among them.
    pub rows: u64,
    /// The deletion vector, which stands for all positional deletes of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vector: Option<StoredVector>,
    /// Files of positional deletes, of this data file and perhaps of others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub positional: Vec<DeleteFile>,
    /// Files of equality deletes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub equality: Vec<ByColumns>,
}

/// A deletion vector's place in a Puffin file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredVector {
    /// The Puffin file, as [`FileEntry::path`].
    pub path: String,
    pub offset: u64,
    pub size_bytes: u64,
    /// Rows that it deletes.
    pub rows: u64,
}

/// Equality deletes by the same columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ByColumns {
    /// Field ids, ascending.
    pub ids: Vec<i32>,
    pub files: Vec<DeleteFile>,
}

impl Applied {
    /// What the identity of `file` tells; `None` where no deletes apply.
    pub fn of(file: &FileEntry) -> Result<Option<Self>, TableError> {
        let parsed = deletes_in(&file.identity).map(serde_json::from_str).transpose();
        parsed.map_err(|source| TableError::Corrupt {
            object: format!("the list of deletes of {}", file.path),
            reason: "it is not as this version of Lakeshift writes it; make the plan anew".to_owned(),
            source: Some(Box::new(source)),
        })
    }

    /// How it travels.
    pub fn text(&self, file: &str) -> Result<String, TableError> {
        serde_json::to_string(self).map_err(|source| bad_json(file, source))
    }

    /// The rows that are left, where the manifests tell.
    pub fn rows_left(&self, file: &str) -> Result<Option<u64>, TableError> {
        match &self.vector {
            Some(vector) if self.equality.is_empty() => self.without(file, vector.rows).map(Some),
            _ => Ok(None),
        }
    }

    /// The rows that are left when so many are deleted.
    pub fn without(&self, file: &str, deleted: u64) -> Result<u64, TableError> {
        let left = self.rows.checked_sub(deleted);
        left.ok_or_else(|| corrupt(file, format!("the table deletes {deleted} of its {} rows", self.rows)))
    }
}
