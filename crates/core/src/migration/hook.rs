//! What hooks are told: [`HookPayload`], a documented and versioned format (docs/hooks.md).

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::state::Phase;
use super::transition::Transition;
use crate::table::MigrationId;

/// Version of the payload. Members are added under the same version; one that is renamed or removed raises it.
pub const HOOK_FORMAT_VERSION: u32 = 1;

/// Whether a transition is still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookMoment {
    /// It is about to happen, and the hook may refuse it.
    Before,
    /// It has happened.
    After,
}

impl HookMoment {
    /// The name in a payload.
    pub fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
        }
    }
}

/// What a hook is told. It holds no row, no credential and no storage option.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookPayload {
    /// [`HOOK_FORMAT_VERSION`].
    pub format_version: u32,
    /// The migration.
    pub migration: MigrationId,
    /// The transition.
    pub transition: Transition,
    /// Whether it is still to come.
    pub moment: HookMoment,
    /// The phase before it.
    pub from: Phase,
    /// The phase after it; before it the same as `from`.
    pub to: Phase,
    /// The journal entry that holds it: with `migration` the key by which a second telling is known. Absent before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// When it happened; before it, when the hook was asked.
    pub at: DateTime<Utc>,
    /// What happened, in a sentence.
    pub summary: String,
    /// The process that tells: `user@host:pid`.
    pub teller: String,
    /// Its fencing epoch.
    pub epoch: u64,
}

/// A transition that hooks have not been told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owed {
    /// Its journal entry.
    pub sequence: u64,
    /// What it was.
    pub transition: Transition,
    /// The phase before it.
    pub from: Phase,
    /// The phase after it.
    pub to: Phase,
    /// When.
    pub at: DateTime<Utc>,
    /// What happened, in a sentence.
    pub summary: String,
}
