//! The gates of a cutover: each passes, or says why it does not. A pure function of state and evidence, as all decisions.
//!
//! A gate can be forced where what it guards against is a risk that an operator can judge. It cannot where forcing would
//! lose rows, or would let two runners or two migrations work against each other.

use serde::{Deserialize, Serialize};

use super::decide::{Evidence, list, spec_changed};
use super::event::ValidationRecord;
use super::state::{Phase, State};

/// A gate, in the order in which they are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// The backfill is complete, and the old table is not on its way out.
    Phase,
    /// The spec is the one that was planned.
    Spec,
    /// No other runner is at work.
    Runner,
    /// No commit to the new table is without an end.
    Commits,
    /// Every change of the old table is in the new one.
    Mirror,
    /// A PASS of all rows of exactly the present versions.
    Certificate,
    /// Nobody else has committed to the new table.
    RogueWriter,
    /// The alias is this migration's to move.
    Alias,
    /// The cutover was rehearsed, where the spec wants it.
    Rehearsal,
    /// The old table's disk has room for what the reverse mirror will bring there.
    Disk,
    /// Nobody holds the cutover.
    Postponed,
}

impl Gate {
    /// Every gate, in order.
    pub const ALL: [Self; 11] = [
        Self::Phase,
        Self::Spec,
        Self::Runner,
        Self::Commits,
        Self::Mirror,
        Self::Certificate,
        Self::RogueWriter,
        Self::Alias,
        Self::Rehearsal,
        Self::Disk,
        Self::Postponed,
    ];

    /// The name on the command line and in the journal.
    pub fn name(self) -> &'static str {
        match self {
            Self::Phase => "phase",
            Self::Spec => "spec",
            Self::Runner => "runner",
            Self::Commits => "commits",
            Self::Mirror => "mirror",
            Self::Certificate => "certificate",
            Self::RogueWriter => "rogue_writer",
            Self::Alias => "alias",
            Self::Rehearsal => "rehearsal",
            Self::Disk => "disk",
            Self::Postponed => "postponed",
        }
    }

    /// What it asks for.
    pub fn demand(self) -> &'static str {
        match self {
            Self::Phase => "every row of S0 has been moved",
            Self::Spec => "the spec is the one that was planned",
            Self::Runner => "no other runner is at work",
            Self::Commits => "every commit to the new table has come to its end",
            Self::Mirror => "every change of the old table is in the new one",
            Self::Certificate => "a fresh PASS of all rows of both present versions",
            Self::RogueWriter => "nobody else has committed to the new table",
            Self::Alias => "the alias is this migration's to move",
            Self::Rehearsal => "a rehearsal, where the spec wants one",
            Self::Disk => "room for a rollback on the old table's disk",
            Self::Postponed => "nobody holds the cutover",
        }
    }

    /// Whether the cutover itself sees to it: on the way from one group of readers to the next, what is open is settled, and
    /// changes of the old table are carried over and validated, before the gate is asked again. So it does before the first
    /// group where it holds writers off, if the tables have passed a validation before.
    pub fn opens_on_the_way(self, state: &State, evidence: &Evidence) -> bool {
        let passed = |record: &ValidationRecord| {
            record.verdict.passes() && !record.partial && record.spec_digest == evidence.spec_digest
        };
        match self {
            Self::Commits | Self::Mirror | Self::Certificate => {
                let drains = evidence.drains && state.validation.as_ref().is_some_and(passed);
                state.phase == Phase::Cutover || (state.phase == Phase::Validation && drains)
            }
            _ => false,
        }
    }

    /// Whether an operator may take the risk.
    pub fn can_be_forced(self) -> bool {
        matches!(self, Self::Certificate | Self::RogueWriter | Self::Rehearsal | Self::Disk | Self::Postponed)
    }
}

/// What a gate says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GateCheck {
    /// The gate.
    pub gate: Gate,
    /// Why it is shut; it is open when there is no reason.
    pub reasons: Vec<String>,
    /// Whether it is shut and the operator forces it.
    pub forced: bool,
}

impl GateCheck {
    /// Whether it keeps readers where they are.
    pub fn refuses(&self) -> bool {
        !self.reasons.is_empty() && !self.forced
    }
}

/// Asks every gate, in order.
pub fn cutover_gates(state: &State, evidence: &Evidence) -> Vec<GateCheck> {
    let check = |gate: Gate| {
        let reasons = reasons(gate, state, evidence);
        let forced = !reasons.is_empty() && gate.can_be_forced() && evidence.forced.contains(&gate);
        GateCheck { gate, reasons, forced }
    };
    Gate::ALL.map(check).to_vec()
}

fn reasons(gate: Gate, state: &State, evidence: &Evidence) -> Vec<String> {
    match gate {
        Gate::Phase => phase(state),
        Gate::Spec => spec_changed(state, evidence).into_iter().collect(),
        Gate::Runner => evidence.held_by.iter().map(|holder| format!("{holder} is running this migration")).collect(),
        Gate::Commits => match &state.pending_commit {
            Some(_) => vec!["a commit to the new table is not settled".to_owned()],
            None => Vec::new(),
        },
        Gate::Mirror => match &state.mirror {
            Some(mirror) if evidence.source.as_ref() != Some(&mirror.applied) => {
                vec!["changes of the old table have not been carried over".to_owned()]
            }
            _ => Vec::new(),
        },
        Gate::Certificate => certificate(state, evidence),
        Gate::RogueWriter if evidence.foreign.is_empty() => Vec::new(),
        Gate::RogueWriter => {
            vec![format!("somebody else has committed to the new table: {}", list(&evidence.foreign))]
        }
        Gate::Alias => evidence.alias_taken.iter().cloned().collect(),
        Gate::Rehearsal if evidence.wants_rehearsal && !state.rehearsed => {
            vec!["the cutover has not been rehearsed; `cutover --rehearse` does it".to_owned()]
        }
        Gate::Rehearsal => Vec::new(),
        Gate::Disk => evidence.no_room.iter().cloned().collect(),
        Gate::Postponed => {
            let hold = evidence.postponed.iter();
            hold.map(|hold| format!("it is postponed {hold}; `postpone --clear` lets it go")).collect()
        }
    }
}

fn phase(state: &State) -> Vec<String> {
    let reason = match state.phase {
        Phase::Validation | Phase::Cutover | Phase::Grace => return Vec::new(),
        Phase::Sunset => "the old table is being removed",
        Phase::Completed => "the migration is completed",
        Phase::Aborted => "the migration is aborted",
        Phase::Planned | Phase::DualWrite | Phase::Backfill => "the backfill is not complete",
    };
    vec![reason.to_owned()]
}

fn certificate(state: &State, evidence: &Evidence) -> Vec<String> {
    let Some(record) = &state.validation else { return vec!["the tables have not been validated".to_owned()] };
    let mut reasons = Vec::new();
    if !record.verdict.passes() {
        reasons.push("the last validation did not pass".to_owned());
    }
    if record.partial {
        reasons.push("the last validation compared a part of the rows only (validation.range)".to_owned());
    }
    if record.spec_digest != evidence.spec_digest {
        reasons.push("the last validation was of another spec".to_owned());
    }
    if evidence.source.as_ref() != Some(&record.source) {
        reasons.push("the old table has changed since the validation".to_owned());
    }
    if evidence.target.as_ref() != Some(&record.target) {
        reasons.push("the new table has changed since the validation".to_owned());
    }
    let age = evidence.now.signed_duration_since(record.at).to_std().unwrap_or_default();
    if let Some(freshness) = evidence.freshness.filter(|freshness| age > *freshness) {
        let minutes = freshness.as_secs() / 60;
        reasons.push(format!("the last validation is older than validation.freshness allows ({minutes} min)"));
    }
    reasons
}
