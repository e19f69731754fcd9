//! Whether a command may run now. A pure function, so that it is tested for every phase and command.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::event::{Reconcile, Settled, Side};
use super::gates::{Gate, GateCheck, cutover_gates};
use super::state::{Phase, StageFailure, State};
use crate::control::Hold;
use crate::table::TableVersion;

/// What an operator or a scheduler asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    /// Make and save a plan.
    Plan,
    /// Approve the saved plan.
    Approve,
    /// Pin S0, create the target, carry over first changes.
    DualWrite,
    /// Commit units of S0.
    Backfill,
    /// Carry over the source's changes.
    Mirror,
    /// Compare old and new.
    Validate,
    /// Point the alias to the new table.
    Cutover,
    /// Point the alias back to the old table.
    Rollback,
    /// List, and after the wait delete, the old table's own files.
    Sunset,
    /// Keep the old table after all, as long as nothing of it has been deleted.
    UndoSunset,
    /// Decide what becomes of writes to the side that should not be written.
    Reconcile,
    /// Give the new table's other writers another partitioning.
    Repartition,
    /// Drop what this migration created.
    Abort,
}

impl Command {
    /// Every command.
    pub const ALL: [Self; 13] = [
        Self::Plan,
        Self::Approve,
        Self::DualWrite,
        Self::Backfill,
        Self::Mirror,
        Self::Validate,
        Self::Cutover,
        Self::Rollback,
        Self::Sunset,
        Self::UndoSunset,
        Self::Reconcile,
        Self::Repartition,
        Self::Abort,
    ];

    /// The word on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Approve => "approve",
            Self::DualWrite => "dual-write",
            Self::Backfill => "backfill",
            Self::Mirror => "mirror",
            Self::Validate => "validate",
            Self::Cutover => "cutover",
            Self::Rollback => "rollback",
            Self::Sunset => "sunset",
            Self::UndoSunset => "sunset --undo",
            Self::Reconcile => "reconcile",
            Self::Repartition => "repartition",
            Self::Abort => "abort",
        }
    }
}

/// What the caller has seen of the world, as far as the command needs it.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// The time, for periods that must pass. Nothing's safety rests on it.
    pub now: DateTime<Utc>,
    /// Digest of the spec as it is now.
    pub spec_digest: String,
    /// The source's version now.
    pub source: Option<TableVersion>,
    /// The target's version now.
    pub target: Option<TableVersion>,
    /// Files of the old table that came or went since the mirror looked last; asked after the cutover only.
    pub source_changes: Vec<String>,
    /// Target versions that somebody else has committed and nobody has adopted.
    pub foreign: Vec<TableVersion>,
    /// Who holds the cutover.
    pub postponed: Option<Hold>,
    /// Another runner that is at work.
    pub held_by: Option<String>,
    /// Why an alias is not this migration's to move.
    pub alias_taken: Option<String>,
    /// Why what the reverse mirror will bring to the old table may not fit on its disk.
    pub no_room: Option<String>,
    /// Whether the cutover holds writers off, and carries over and validates what came until then.
    pub drains: bool,
    /// Whether the spec wants a rehearsal before readers move.
    pub wants_rehearsal: bool,
    /// Age up to which a PASS opens the cutover; any when absent.
    pub freshness: Option<Duration>,
    /// Gates that the operator forces.
    pub forced: Vec<Gate>,
    /// How long the old table is kept after cutover.
    pub grace: Duration,
    /// How long listed files wait for the purge.
    pub quarantine: Duration,
    /// Whether a group of readers has moved and was not watched to the end of its bake time.
    pub unwatched: bool,
    /// Whether the operator means a cutover that is under way.
    pub resume: bool,
    /// Whether the reverse mirror can carry to the old table what others commit to the new one.
    pub carries_back: bool,
    /// Whether the operator gives up writes that only the new table has.
    pub accept_loss: bool,
    /// What the operator decides about writes to the side that should not be written.
    pub reconcile: Option<Reconcile>,
    /// The digest that the operator names, or its start.
    pub digest_to_approve: Option<String>,
}

impl Evidence {
    /// Evidence of the time and the spec alone.
    pub fn new(now: DateTime<Utc>, spec_digest: impl Into<String>) -> Self {
        Self {
            now,
            spec_digest: spec_digest.into(),
            source: None,
            target: None,
            source_changes: Vec::new(),
            foreign: Vec::new(),
            postponed: None,
            held_by: None,
            alias_taken: None,
            no_room: None,
            drains: false,
            wants_rehearsal: false,
            freshness: None,
            forced: Vec::new(),
            grace: Duration::ZERO,
            quarantine: Duration::ZERO,
            unwatched: false,
            resume: false,
            carries_back: false,
            accept_loss: false,
            reconcile: None,
            digest_to_approve: None,
        }
    }
}

/// Why a command may not run; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Every reason, not only the first.
    pub reasons: Vec<String>,
    /// What to do instead.
    pub next_steps: Vec<String>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Decision {
    /// It may run.
    Proceed,
    /// It has been done; running it again changes nothing.
    AlreadyDone,
    /// It may run later, without anybody's doing.
    NotDue {
        /// When.
        until: DateTime<Utc>,
    },
    /// It may not.
    Refused(Refusal),
}

/// Decides.
pub fn decide(state: &State, command: Command, evidence: &Evidence) -> Decision {
    if let Some(decision) = ended(state, command) {
        return decision;
    }
    let mut reasons = Vec::new();
    // The cutover has a gate for it.
    if matches!(command, Command::DualWrite | Command::Backfill | Command::Mirror | Command::Validate | Command::Sunset) {
        reasons.extend(spec_changed(state, evidence));
    }
    let wait = match command {
        Command::Plan => plan(state, &mut reasons),
        Command::Approve => approve(state, evidence, &mut reasons),
        Command::DualWrite => dual_write(state, &mut reasons),
        Command::Backfill | Command::Mirror => copying(state, command, &mut reasons),
        Command::Validate => validate(state, &mut reasons),
        Command::Cutover => cutover(state, evidence, &mut reasons),
        Command::Rollback => rollback(state, evidence, &mut reasons),
        Command::Sunset => sunset(state, evidence, &mut reasons),
        Command::UndoSunset => undo_sunset(state, &mut reasons),
        Command::Reconcile => reconcile(state, evidence, &mut reasons),
        Command::Repartition => repartition(state, &mut reasons),
        Command::Abort => abort(state, &mut reasons),
    };
    match (reasons.is_empty(), wait) {
        (false, _) => Decision::Refused(Refusal { reasons, next_steps: steps_after_refusal(state, command) }),
        (true, Wait::Until(until)) => Decision::NotDue { until },
        (true, Wait::Done) => Decision::AlreadyDone,
        (true, Wait::No) => Decision::Proceed,
    }
}

/// Whether an allowed command has to wait, or has nothing to do.
enum Wait {
    No,
    Until(DateTime<Utc>),
    Done,
}

fn ended(state: &State, command: Command) -> Option<Decision> {
    let refused =
        |reason: &str| Some(Decision::Refused(Refusal { reasons: vec![reason.to_owned()], next_steps: next_steps(state) }));
    match (state.phase, command) {
        (Phase::Completed, Command::Sunset) | (Phase::Aborted, Command::Abort) => Some(Decision::AlreadyDone),
        (Phase::Completed, _) => refused("the migration is completed"),
        (Phase::Aborted, _) => refused("the migration is aborted; give a new one another name"),
        (_, command) if state.abort_intended && command != Command::Abort => refused("the migration is being aborted"),
        _ => None,
    }
}

pub(super) fn spec_changed(state: &State, evidence: &Evidence) -> Option<String> {
    let changed = state.spec_digest.as_ref().is_some_and(|digest| *digest != evidence.spec_digest);
    changed.then(|| "the spec's source, target or logic has changed since the plan".to_owned())
}

fn plan(state: &State, reasons: &mut Vec<String>) -> Wait {
    if state.phase != Phase::Planned {
        reasons.push("S0 is pinned and has its plan; use `plan --dry-run` to look".to_owned());
    }
    Wait::No
}

fn approve(state: &State, evidence: &Evidence, reasons: &mut Vec<String>) -> Wait {
    match (&state.plan, &evidence.digest_to_approve) {
        _ if state.phase != Phase::Planned => return Wait::Done,
        (None, _) => reasons.push("there is no saved plan".to_owned()),
        (Some(plan), Some(digest)) if !plan.digest.starts_with(digest.as_str()) || digest.len() < 8 => {
            reasons.push(format!("the saved plan is {}, not {digest}", short(&plan.digest)));
        }
        (Some(plan), _) if state.approved.as_ref() == Some(&plan.digest) => return Wait::Done,
        _ => reasons.extend(spec_changed(state, evidence)),
    }
    Wait::No
}

fn dual_write(state: &State, reasons: &mut Vec<String>) -> Wait {
    if state.phase > Phase::DualWrite || (state.boundary.is_some() && state.target_created) {
        return Wait::Done;
    }
    match (&state.plan, &state.approved) {
        (None, _) => reasons.push("there is no saved plan".to_owned()),
        (Some(plan), approved) if approved.as_ref() != Some(&plan.digest) => {
            reasons.push(format!("the plan {} is not approved", short(&plan.digest)));
        }
        _ => {}
    }
    Wait::No
}

fn copying(state: &State, command: Command, reasons: &mut Vec<String>) -> Wait {
    match state.phase {
        Phase::Planned | Phase::DualWrite => reasons.push("dual write has not started".to_owned()),
        Phase::Backfill => {}
        // Until every group has moved, the old table is the one that is written.
        Phase::Validation | Phase::Cutover if command == Command::Mirror => {}
        Phase::Validation => return Wait::Done,
        // From the cutover to the sunset the new table drives the old one.
        Phase::Grace if command == Command::Mirror => {}
        _ => reasons.push("readers are on the new table; the old one no longer drives it".to_owned()),
    }
    Wait::No
}

fn validate(state: &State, reasons: &mut Vec<String>) -> Wait {
    match state.phase {
        Phase::Planned | Phase::DualWrite => reasons.push("there is no target to compare".to_owned()),
        Phase::Backfill => reasons.push("the backfill is not complete".to_owned()),
        Phase::Sunset => reasons.push("the old table is being removed".to_owned()),
        _ => {}
    }
    Wait::No
}

fn cutover(state: &State, evidence: &Evidence, reasons: &mut Vec<String>) -> Wait {
    if let Some(StageFailure { alias, reason }) = &state.stage_failed {
        reasons.push(format!(
            "readers of {alias} were not well, the health command {reason}; `rollback` takes every group back"
        ));
    }
    if state.phase == Phase::Grace {
        return if evidence.unwatched { Wait::No } else { Wait::Done };
    }
    let under_way =
        state.phase == Phase::Cutover || state.pending_switch.as_ref().is_some_and(|switch| switch.side == Side::New);
    if evidence.resume && !under_way {
        reasons.push("no cutover is under way".to_owned());
    }
    for gate in evidence.forced.iter().filter(|gate| !gate.can_be_forced()) {
        reasons.push(format!("the gate `{}` cannot be forced: it keeps rows from being lost", gate.name()));
    }
    let shut = cutover_gates(state, evidence).into_iter().filter(GateCheck::refuses);
    let shut = shut.filter(|check| !check.gate.opens_on_the_way(state, evidence));
    reasons.extend(shut.flat_map(|check| check.reasons));
    Wait::No
}

/// Whether the next group of readers may be moved now: every gate, whatever the phase.
///
/// # Errors
/// A [`Refusal`] with every reason.
pub fn may_switch(state: &State, evidence: &Evidence) -> Result<(), Refusal> {
    if let Some(Decision::Refused(refusal)) = ended(state, Command::Cutover) {
        return Err(refusal);
    }
    let shut = cutover_gates(state, evidence).into_iter().filter(GateCheck::refuses);
    let mut reasons: Vec<_> = shut.flat_map(|check| check.reasons).collect();
    if state.stage_failed.is_some() {
        reasons.push("a group of readers was not well".to_owned());
    }
    match reasons.is_empty() {
        true => Ok(()),
        false => Err(Refusal { reasons, next_steps: steps_after_refusal(state, Command::Cutover) }),
    }
}

fn rollback(state: &State, evidence: &Evidence, reasons: &mut Vec<String>) -> Wait {
    match state.phase {
        Phase::Sunset if state.sunset.as_ref().is_some_and(|sunset| sunset.purging) => {
            reasons.push("the old table has been purged; recovery rolls forward".to_owned());
        }
        Phase::Grace | Phase::Cutover => {}
        Phase::Sunset => {
            reasons
                .push("the old table is in quarantine; `sunset --undo` takes it out, and then readers go back".to_owned());
        }
        _ if state.pending_switch.as_ref().is_some_and(|switch| switch.side == Side::New) => {}
        // Written to the new table just as readers left it: a rollback that was cut off, or a writer that came late.
        Phase::Validation if state.reverse.is_some() && evidence.carries_back && !evidence.foreign.is_empty() => {}
        _ => return Wait::Done,
    }
    if state.reverse.is_some() && evidence.carries_back {
        // What others have committed to the new table is carried to the old one before readers go there.
        return Wait::No;
    }
    if !evidence.foreign.is_empty() && !evidence.accept_loss {
        reasons.push(format!(
            "the new table has commits that the old one lacks ({}); `--accept-loss` gives them up",
            list(&evidence.foreign)
        ));
    } else if state.carried_late && !evidence.accept_loss && state.phase == Phase::Grace {
        reasons.push(
            "late writes to the old table were carried over, and commits of others to the new table just before that can no \
             longer be told; `--accept-loss` gives them up"
                .to_owned(),
        );
    }
    Wait::No
}

/// Before the cutover the new table should have no other writer, after it the old one.
fn reconcile(state: &State, evidence: &Evidence, reasons: &mut Vec<String>) -> Wait {
    let adopt = evidence.reconcile != Some(Reconcile::Reject);
    match state.phase {
        Phase::Backfill | Phase::Validation | Phase::Cutover => {
            if evidence.foreign.is_empty() {
                return Wait::Done;
            }
            let now = (evidence.source.as_ref(), evidence.target.as_ref());
            let passed = match now {
                (Some(source), Some(target)) => state.fresh_pass(source, target, &evidence.spec_digest).is_some(),
                _ => false,
            };
            let commits = list(&evidence.foreign);
            if adopt && !passed {
                reasons.push(format!(
                    "commits of others ({commits}) are adopted after a validation of both present versions has passed"
                ));
            }
        }
        Phase::Grace if state.source_is_at_rest(evidence.source.as_ref()) => return Wait::Done,
        Phase::Grace => {}
        Phase::Planned | Phase::DualWrite => reasons.push("there is no second table yet".to_owned()),
        Phase::Sunset => reasons.push("the old table is being removed".to_owned()),
        Phase::Completed | Phase::Aborted => {}
    }
    Wait::No
}

fn repartition(state: &State, reasons: &mut Vec<String>) -> Wait {
    if !state.target_created {
        reasons.push("there is no new table yet; write its partitioning into the spec".to_owned());
    }
    Wait::No
}

fn sunset(state: &State, evidence: &Evidence, reasons: &mut Vec<String>) -> Wait {
    let since = match (state.phase, &state.sunset, state.cut_over_at) {
        (Phase::Grace, _, Some(at)) => at.checked_add_signed(delta(evidence.grace)),
        (Phase::Sunset, Some(sunset), _) => sunset.at.checked_add_signed(delta(evidence.quarantine)),
        _ => {
            reasons.push("readers are not on the new table".to_owned());
            return Wait::No;
        }
    };
    if state.phase == Phase::Grace && !state.source_is_at_rest(evidence.source.as_ref()) {
        let files = named(&evidence.source_changes);
        reasons.push(format!("somebody has written to the old table since the cutover{files}"));
    }
    match since {
        Some(due) if evidence.now >= due => Wait::No,
        Some(due) => Wait::Until(due),
        None => Wait::Until(DateTime::<Utc>::MAX_UTC),
    }
}

fn undo_sunset(state: &State, reasons: &mut Vec<String>) -> Wait {
    match (&state.sunset, state.phase) {
        (Some(sunset), _) if sunset.purging => {
            reasons.push("files of the old table are being deleted; recovery rolls forward".to_owned());
        }
        (Some(_), Phase::Sunset) => {}
        (None, Phase::Grace) => return Wait::Done,
        _ => reasons.push("the old table is not in quarantine".to_owned()),
    }
    Wait::No
}

fn abort(state: &State, reasons: &mut Vec<String>) -> Wait {
    if matches!(state.phase, Phase::Grace | Phase::Sunset | Phase::Cutover) {
        reasons.push("readers are on the new table; roll back first".to_owned());
    }
    Wait::No
}

fn delta(duration: Duration) -> chrono::TimeDelta {
    chrono::TimeDelta::from_std(duration).unwrap_or(chrono::TimeDelta::MAX)
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

pub(super) fn list(versions: &[TableVersion]) -> String {
    let shown: Vec<_> = versions.iter().take(3).map(ToString::to_string).collect();
    let more = versions.len().saturating_sub(3);
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}

fn named(changes: &[String]) -> String {
    let shown: Vec<_> = changes.iter().take(3).map(String::as_str).collect();
    match changes.len().saturating_sub(3) {
        _ if changes.is_empty() => String::new(),
        0 => format!(": {}", shown.join(", ")),
        more => format!(": {} and {more} more", shown.join(", ")),
    }
}

/// A stale certificate wants what the mirror has to carry over, and another look.
fn steps_after_refusal(state: &State, command: Command) -> Vec<String> {
    let passed = state.validation.as_ref().is_some_and(|record| record.verdict.passes());
    match (command, state.phase) {
        (Command::Cutover, Phase::Validation) if passed => {
            ["mirror --once", "validate", "cutover"].map(str::to_owned).to_vec()
        }
        (Command::Sunset, Phase::Grace) => {
            ["mirror --once", "reconcile --adopt", "reconcile --reject", "rollback"].map(str::to_owned).to_vec()
        }
        (Command::Reconcile, Phase::Validation) => {
            ["mirror --once", "validate", "reconcile --adopt", "reconcile --reject"].map(str::to_owned).to_vec()
        }
        _ => next_steps(state),
    }
}

/// What an operator would do now, in order, as commands without the binary's name and the spec.
pub fn next_steps(state: &State) -> Vec<String> {
    let steps: &[&str] = match state.phase {
        _ if state.abort_intended && state.phase != Phase::Aborted => &["abort"],
        Phase::Planned if state.plan.is_none() => &["plan"],
        Phase::Planned if state.approved.as_ref() != state.plan.as_ref().map(|plan| &plan.digest) => &["approve", "abort"],
        Phase::Planned => &["dual-write", "abort"],
        Phase::DualWrite => &["dual-write", "abort"],
        Phase::Backfill => &["backfill", "mirror --once", "abort"],
        Phase::Cutover if state.stage_failed.is_some() => &["rollback"],
        Phase::Cutover => &["cutover --resume", "rollback"],
        Phase::Validation => match state.validation.as_ref().map(|record| record.verdict) {
            Some(verdict) if verdict.passes() => &["cutover", "validate", "mirror --once", "abort"],
            _ => &["mirror --once", "validate", "abort"],
        },
        Phase::Grace => &["grace check", "mirror --once", "rollback", "sunset"],
        Phase::Sunset if state.sunset.as_ref().is_some_and(|sunset| sunset.purging) => &["sunset"],
        Phase::Sunset => &["sunset", "sunset --undo"],
        Phase::Completed | Phase::Aborted => &[],
    };
    steps.iter().map(|step| (*step).to_owned()).collect()
}

impl Settled {
    /// Whether the commit is in the table.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done { .. })
    }
}
