//! [`Transition`]: the moments of a migration's life that hooks are asked about before and told of after.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::decide::Command;
use super::event::{Event, Side};
use super::state::{Phase, State};
use crate::control::ControlRequest;
use crate::spec::SunsetDisposition;

/// A transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Transition {
    /// A plan is saved.
    Plan,
    /// The plan is approved.
    Approve,
    /// S0 is pinned and the target exists.
    DualWrite,
    /// Every unit of S0 is in the target; before: units are about to be moved.
    Backfill,
    /// The tables have been compared, whatever the verdict.
    Validate,
    /// A group of readers is on the new table.
    Cutover,
    /// A group of readers is back on the old table.
    Rollback,
    /// The old table's files that may go are listed.
    Sunset,
    /// They are deleted.
    Purge,
    /// The migration is over.
    Complete,
    /// What the migration created is dropped.
    Abort,
    /// Writes to the side that should not be written are adopted or rejected.
    Reconcile,
    /// A runner honours a pause.
    Pause,
    /// A runner goes on.
    Resume,
    /// A runner works under other limits.
    Throttle,
    /// The cutover is held.
    Postpone,
    /// The cutover is let go.
    PostponeClear,
}

impl Transition {
    /// Every transition.
    pub const ALL: [Self; 17] = [
        Self::Plan,
        Self::Approve,
        Self::DualWrite,
        Self::Backfill,
        Self::Validate,
        Self::Cutover,
        Self::Rollback,
        Self::Sunset,
        Self::Purge,
        Self::Complete,
        Self::Abort,
        Self::Reconcile,
        Self::Pause,
        Self::Resume,
        Self::Throttle,
        Self::Postpone,
        Self::PostponeClear,
    ];

    /// The name in a spec and in a payload.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Approve => "approve",
            Self::DualWrite => "dual_write",
            Self::Backfill => "backfill",
            Self::Validate => "validate",
            Self::Cutover => "cutover",
            Self::Rollback => "rollback",
            Self::Sunset => "sunset",
            Self::Purge => "purge",
            Self::Complete => "complete",
            Self::Abort => "abort",
            Self::Reconcile => "reconcile",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Throttle => "throttle",
            Self::Postpone => "postpone",
            Self::PostponeClear => "postpone_clear",
        }
    }

    /// Whether a hook may refuse it. What an operator has asked for by live control is a fact when a runner sees it.
    pub fn can_be_refused(self) -> bool {
        !matches!(self, Self::Pause | Self::Resume | Self::Throttle | Self::Postpone | Self::PostponeClear)
    }

    /// What `command` is about to do in `state`; `None` for a command that is no transition.
    pub fn about_to_happen(command: Command, state: &State, disposition: SunsetDisposition) -> Option<Self> {
        Some(match command {
            Command::Plan => Self::Plan,
            Command::Approve => Self::Approve,
            Command::DualWrite => Self::DualWrite,
            Command::Backfill => Self::Backfill,
            Command::Mirror | Command::Repartition | Command::UndoSunset => return None,
            Command::Validate => Self::Validate,
            Command::Cutover => Self::Cutover,
            Command::Rollback => Self::Rollback,
            Command::Reconcile => Self::Reconcile,
            Command::Abort => Self::Abort,
            Command::Sunset => match (&state.sunset, disposition) {
                (_, SunsetDisposition::Keep) => Self::Complete,
                (None, _) => Self::Sunset,
                (Some(sunset), SunsetDisposition::Purge) if !sunset.purged => Self::Purge,
                (Some(_), _) => Self::Complete,
            },
        })
    }

    /// What `event` was, which took a migration from phase `from` to phase `to`; `None` for an event that is a step of
    /// something larger.
    pub(super) fn of(event: &Event, switched_to: Option<Side>, from: Phase, to: Phase) -> Option<Self> {
        Some(match event {
            Event::Planned { .. } => Self::Plan,
            Event::Approved { .. } => Self::Approve,
            Event::TargetCreated { .. } => Self::DualWrite,
            Event::CommitSettled { .. } if from == Phase::Backfill && to == Phase::Validation => Self::Backfill,
            Event::Validated(_) => Self::Validate,
            Event::Switched { .. } => match switched_to? {
                Side::New => Self::Cutover,
                // The pointer's first value is part of dual write.
                Side::Old if from >= Phase::Cutover => Self::Rollback,
                Side::Old => return None,
            },
            Event::Quarantined { .. } => Self::Sunset,
            Event::Purged { .. } => Self::Purge,
            Event::Completed => Self::Complete,
            Event::Reconciled { .. } => Self::Reconcile,
            Event::Aborted => Self::Abort,
            Event::Controlled(entry) => match entry.request {
                ControlRequest::Pause => Self::Pause,
                ControlRequest::Resume => Self::Resume,
                ControlRequest::Throttle(_) | ControlRequest::Unthrottle => Self::Throttle,
                ControlRequest::Postpone => Self::Postpone,
                ControlRequest::ClearPostpone => Self::PostponeClear,
            },
            _ => return None,
        })
    }
}
