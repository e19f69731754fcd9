//! [`Scope`]: which rows a migration is about, and what becomes of the others.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which rows migrate, or which of them the new logic is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// A SQL condition on the source's columns: `date >= DATE '2001-01-01'`.
    #[serde(rename = "where")]
    pub filter: String,
    /// What becomes of all other rows.
    #[serde(default, skip_serializing_if = "Others::is_leave")]
    pub others: Others,
}

/// What becomes of the rows that `scope.where` does not name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Others {
    /// They stay in the old table alone.
    #[default]
    Leave,
    /// They come over as they are: `transform` is for the rows inside alone.
    Carry,
}

impl Others {
    fn is_leave(&self) -> bool {
        *self == Self::Leave
    }
}

impl Scope {
    /// Whether the rows outside come over as they are.
    pub fn carries_others(&self) -> bool {
        self.others == Others::Carry
    }
}
