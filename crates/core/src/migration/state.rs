//! The fold over the journal.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, Utc};
use lakeshift_journal::Entry;
use serde::{Deserialize, Serialize};

use super::cost::DayCost;
use super::event::{Event, PointerSwitch, Polled, Reconcile, Settled, Side, ValidationRecord, Work};
use super::hook::Owed;
use super::transition::Transition;
use crate::control::Controls;
use crate::plan::PlanRef;
use crate::table::{CommitNumber, TableVersion};

/// Where a migration stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing has been written to any table.
    #[default]
    Planned,
    /// S0 is pinned; changes of the source are carried over.
    DualWrite,
    /// Units of S0 are being committed.
    Backfill,
    /// Every unit is committed; old and new are to be compared.
    Validation,
    /// The alias is about to point to the new table.
    Cutover,
    /// Readers are on the new table; the old one is kept.
    Grace,
    /// The old table's own files are listed for deletion.
    Sunset,
    /// Over.
    Completed,
    /// Given up; what it created is gone or going.
    Aborted,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Planned => "planned",
            Self::DualWrite => "dual_write",
            Self::Backfill => "backfill",
            Self::Validation => "validation",
            Self::Cutover => "cutover",
            Self::Grace => "grace",
            Self::Sunset => "sunset",
            Self::Completed => "completed",
            Self::Aborted => "aborted",
        })
    }
}

/// A set of unit numbers as disjoint ranges, so that a million done units cost a line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnitSet {
    /// First number to last number of each range; ranges neither touch nor overlap.
    ranges: BTreeMap<u32, u32>,
}

impl UnitSet {
    /// Adds one number.
    pub fn insert(&mut self, unit: u32) {
        if self.contains(unit) {
            return;
        }
        let before = self.ranges.range(..unit).next_back().map(|(first, last)| (*first, *last));
        let first = match before {
            Some((first, last)) if last.checked_add(1) == Some(unit) => first,
            _ => unit,
        };
        let last = unit.checked_add(1).and_then(|next| self.ranges.remove(&next)).unwrap_or(unit);
        self.ranges.insert(first, last);
    }

    /// Whether the number is in the set.
    pub fn contains(&self, unit: u32) -> bool {
        self.ranges.range(..=unit).next_back().is_some_and(|(_, last)| *last >= unit)
    }

    /// How many numbers it holds.
    pub fn len(&self) -> u64 {
        self.ranges.iter().map(|(first, last)| u64::from(last - first) + 1).sum()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

/// S0 and what the backfill does with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Boundary {
    /// Its plan, which names S0.
    pub plan: PlanRef,
    /// The old table's own id, where its format has one.
    pub table: Option<String>,
    /// Units that are in the target.
    pub done: UnitSet,
}

/// How far the mirror has come.
#[derive(Debug, Clone, PartialEq)]
pub struct MirrorPosition {
    /// The source version that the target holds, or will hold once every unit of S0 is committed.
    pub applied: TableVersion,
    /// When that round was settled, or S0 pinned.
    pub at: DateTime<Utc>,
    /// The plans of the rounds of both ways, oldest first.
    pub plans: Vec<SavedPlan>,
}

impl MirrorPosition {
    /// Rounds that have carried rows away from a side.
    pub fn rounds(&self, from: Side) -> usize {
        self.plans.iter().filter(|plan| plan.side == from).count()
    }
}

/// How far the reverse mirror has come.
#[derive(Debug, Clone, PartialEq)]
pub struct ReversePosition {
    /// The new table's version that the old one holds.
    pub applied: TableVersion,
    /// When that round was settled, or readers moved.
    pub at: DateTime<Utc>,
}

/// A plan in the migration's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedPlan {
    /// Its digest, which names its file.
    pub digest: String,
    /// The side whose files it lists.
    pub side: Side,
    /// The version of that side whose files it lists.
    pub source: TableVersion,
}

/// A commit that was intended and is not settled.
#[derive(Debug, Clone, PartialEq)]
pub struct PendingCommit {
    /// Its number.
    pub number: CommitNumber,
    /// What it does.
    pub work: Work,
}

/// A group of readers that were not well on the new table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StageFailure {
    /// The group's alias.
    pub alias: String,
    /// What its health command did.
    pub reason: String,
}

/// How far the old table's end has come.
#[derive(Debug, Clone, PartialEq)]
pub struct Sunset {
    /// The manifest of files that may go, relative to the migration's folder.
    pub manifest: String,
    /// When it was written.
    pub at: DateTime<Utc>,
    /// Files in it.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Whether deleting them has begun.
    pub purging: bool,
    /// Whether they have been deleted.
    pub purged: bool,
}

/// All that is known of a migration.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    /// Where it stands.
    pub phase: Phase,
    /// Journal entries so far.
    pub entries: u64,
    /// Whether the present runner tells hooks of its transitions.
    pub tells_hooks: bool,
    /// Transitions that hooks have not been told of, oldest first.
    pub owed: Vec<Owed>,
    /// The requests of operators that runners have honoured.
    pub controls: Controls,
    /// Digest of the spec of the last plan.
    pub spec_digest: Option<String>,
    /// The last plan.
    pub plan: Option<PlanRef>,
    /// The approved plan's digest.
    pub approved: Option<String>,
    /// S0, once pinned.
    pub boundary: Option<Boundary>,
    /// Whether the target exists.
    pub target_created: bool,
    /// The mirror, once S0 is pinned.
    pub mirror: Option<MirrorPosition>,
    /// The reverse mirror, once every group of readers is on the new table; until the next cutover begins.
    pub reverse: Option<ReversePosition>,
    /// The highest commit number that was ever intended.
    pub last_commit: CommitNumber,
    /// A commit whose end nobody has seen.
    pub pending_commit: Option<PendingCommit>,
    /// The last validation.
    pub validation: Option<ValidationRecord>,
    /// Where each alias points, once this migration has switched it.
    pub pointers: BTreeMap<String, PointerSwitch>,
    /// Aliases whose readers have been well on the new table for their bake time.
    pub baked: BTreeSet<String>,
    /// The group whose health command failed, and what it did; until every group is back.
    pub stage_failed: Option<StageFailure>,
    /// Versions of the new table that others have committed, as far as runners have seen them.
    pub foreign: BTreeSet<TableVersion>,
    /// Those of them that an operator has adopted.
    pub adopted: BTreeSet<TableVersion>,
    /// The old table's version whose late writes an operator has rejected.
    pub rejected: Option<TableVersion>,
    /// Whether late writes to the old table have been carried over since the cutover. What the new table's own writers
    /// had committed just before can no longer be told from its marks.
    pub carried_late: bool,
    /// Whether the cutover was rehearsed since readers last moved.
    pub rehearsed: bool,
    /// A switch whose end nobody has seen.
    pub pending_switch: Option<PointerSwitch>,
    /// Since when the user's command holds writers off; absent when it does not.
    pub writers_held: Option<DateTime<Utc>>,
    /// What a reader saw at the last switch.
    pub polled: Option<Polled>,
    /// When readers were last switched to the new table.
    pub cut_over_at: Option<DateTime<Utc>>,
    /// The target version that readers were last switched to.
    pub cut_over_target: Option<TableVersion>,
    /// The old table's end.
    pub sunset: Option<Sunset>,
    /// Whether dropping has begun.
    pub abort_intended: bool,
    /// What the mirrors cost, by the day (UTC) on which a round ended, or looks that found nothing were counted.
    pub costs: BTreeMap<NaiveDate, DayCost>,
    /// Bytes written to the target so far.
    pub bytes_written: u64,
    /// Files added to the target so far.
    pub files_added: u64,
}

impl State {
    /// Folds a journal.
    pub fn fold(entries: &[Entry<Event>]) -> Self {
        let mut state = Self::default();
        for entry in entries {
            state.apply(&entry.event, entry.at);
        }
        state
    }

    /// The number for the next commit.
    pub fn next_commit(&self) -> CommitNumber {
        CommitNumber(self.last_commit.0 + 1)
    }

    /// Whether every unit of S0 is in the target.
    pub fn backfill_is_done(&self) -> bool {
        self.boundary.as_ref().is_some_and(|boundary| boundary.done.len() >= boundary.plan.summary.units)
    }

    /// Commits of others to the new table that nobody has adopted: `now`, which its marks tell, and those seen earlier.
    pub fn rogues(&self, now: &[TableVersion]) -> Vec<TableVersion> {
        let earlier = self.foreign.iter().filter(|version| !now.contains(version));
        earlier.chain(now).filter(|version| !self.adopted.contains(*version)).cloned().collect()
    }

    /// Whether the old table holds nothing but what has been carried over, or was rejected.
    pub fn source_is_at_rest(&self, source: Option<&TableVersion>) -> bool {
        let known = self.mirror.as_ref().map(|mirror| &mirror.applied);
        source == known || (source.is_some() && source == self.rejected.as_ref())
    }

    /// Aliases that point to the new table.
    pub fn on_new(&self) -> impl Iterator<Item = &str> {
        self.pointers.values().filter(|pointer| pointer.side == Side::New).map(|pointer| pointer.alias.as_str())
    }

    /// New as soon as one group of readers sees the new table.
    pub fn live_side(&self) -> Side {
        if self.on_new().next().is_some() { Side::New } else { Side::Old }
    }

    /// Adds one event.
    pub fn apply(&mut self, event: &Event, at: DateTime<Utc>) {
        let (from, switch) = (self.phase, self.pending_switch.clone().filter(|_| matches!(event, Event::Switched { .. })));
        let switched_to = switch.as_ref().map(|switch| switch.side);
        self.entries += 1;
        self.fold_in(event, at);
        if let Some(transition) = Transition::of(event, switched_to, from, self.phase).filter(|_| self.tells_hooks) {
            let summary = switch.map_or_else(|| event.summary(), |switch| switch.outcome());
            let (sequence, to) = (self.entries, self.phase);
            self.owed.push(Owed { sequence, transition, from, to, at, summary });
        }
    }

    fn fold_in(&mut self, event: &Event, at: DateTime<Utc>) {
        match event {
            Event::RogueSeen { versions } => self.foreign.extend(versions.iter().cloned()),
            Event::Reconciled { side: Side::New, versions, decision: Reconcile::Adopt, .. } => {
                self.adopted.extend(versions.iter().cloned());
            }
            Event::Reconciled { side: Side::Old, versions, decision: Reconcile::Reject, .. } => {
                self.rejected = versions.last().cloned();
            }
            // The commit that carried them over has said it all; writes to the new table are not rejected.
            Event::Reconciled { .. } => {}
            // For those who read the journal; nothing follows from it.
            Event::Forced { .. } => {}
            Event::LeaseTaken { hooks, .. } => self.tells_hooks = *hooks,
            Event::HooksTold { through, .. } => self.owed.retain(|owed| owed.sequence > *through),
            Event::Controlled(entry) => self.controls.apply(entry),
            Event::Planned { plan, spec_digest, .. } => {
                self.plan = Some(plan.clone());
                self.spec_digest = Some(spec_digest.clone());
            }
            Event::Approved { plan_digest, .. } => self.approved = Some(plan_digest.clone()),
            Event::BoundaryPinned { plan, table } => self.pin(plan, table.clone(), at),
            Event::TargetCreated { .. } => {
                self.target_created = true;
                self.advance(Phase::Backfill);
                self.finish_backfill();
            }
            Event::CommitIntended { number, work } => {
                self.last_commit = *number;
                self.pending_commit = Some(PendingCommit { number: *number, work: work.clone() });
            }
            Event::CommitSettled { number, result } => self.settle(*number, result, at),
            Event::Followed { side: Side::Old, to } => self.mirror.iter_mut().for_each(|mirror| mirror.applied = to.clone()),
            Event::Followed { side: Side::New, to } => {
                self.reverse.iter_mut().for_each(|reverse| reverse.applied = to.clone());
            }
            Event::Looked { looks, cost } => {
                let day = self.costs.entry(at.date_naive()).or_default();
                day.looks += looks;
                day.idle += *cost;
            }
            Event::Validated(record) => self.validation = Some(record.clone()),
            Event::Rehearsed { .. } => self.rehearsed = true,
            Event::SwitchIntended(switch) => self.pending_switch = Some(switch.clone()),
            Event::WritersHeld => self.writers_held = Some(at),
            Event::WritersReleased { .. } => self.writers_held = None,
            Event::Switched { readers, .. } => {
                self.polled = *readers;
                self.switched(at);
            }
            Event::SwitchVoid { .. } => self.pending_switch = None,
            Event::StagePassed { alias } => drop(self.baked.insert(alias.clone())),
            Event::StageFailed { alias, reason } => {
                self.stage_failed = Some(StageFailure { alias: alias.clone(), reason: reason.clone() });
            }
            Event::Quarantined { manifest, files, bytes, .. } => {
                let (files, bytes, purging, purged) = (*files, *bytes, false, false);
                self.sunset = Some(Sunset { manifest: manifest.clone(), at, files, bytes, purging, purged });
                self.phase = Phase::Sunset;
            }
            Event::SunsetUndone { .. } => {
                self.sunset = None;
                self.phase = Phase::Grace;
            }
            Event::PurgeIntended => self.sunset.iter_mut().for_each(|sunset| sunset.purging = true),
            Event::Purged { .. } => self.sunset.iter_mut().for_each(|sunset| {
                (sunset.purging, sunset.purged) = (true, true);
            }),
            Event::Completed => self.phase = Phase::Completed,
            Event::AbortIntended { .. } => self.abort_intended = true,
            Event::Aborted => self.phase = Phase::Aborted,
        }
    }

    fn pin(&mut self, plan: &PlanRef, table: Option<String>, at: DateTime<Utc>) {
        self.boundary = Some(Boundary { plan: plan.clone(), table, done: UnitSet::default() });
        self.mirror = Some(MirrorPosition { applied: plan.source.clone(), at, plans: Vec::new() });
        self.phase = Phase::DualWrite;
    }

    fn settle(&mut self, number: CommitNumber, result: &Settled, at: DateTime<Utc>) {
        let Some(pending) = self.pending_commit.take_if(|pending| pending.number == number) else { return };
        let Settled::Done { files, bytes, cost, .. } = result else { return };
        if let Some(cost) = cost {
            let day = self.costs.entry(at.date_naive()).or_default();
            day.rounds += 1;
            day.carried += *cost;
        }
        if !pending.work.is_on_old() {
            self.bytes_written += bytes;
            self.files_added += files;
        }
        match (pending.work, &mut self.boundary, &mut self.mirror) {
            (Work::Backfill { units }, Some(boundary), _) => units.iter().for_each(|unit| boundary.done.insert(*unit)),
            (Work::Mirror { to, plan_digest, .. }, _, Some(mirror)) => {
                mirror.applied = to.clone();
                mirror.at = at;
                self.carried_late |= self.phase == Phase::Grace;
                mirror.plans.push(SavedPlan { digest: plan_digest, side: Side::Old, source: to });
            }
            (Work::Reverse { to, plan_digest, .. }, _, Some(mirror)) => {
                mirror.plans.push(SavedPlan { digest: plan_digest, side: Side::New, source: to.clone() });
                self.reverse = Some(ReversePosition { applied: to, at });
            }
            (Work::Undo { versions }, ..) => self.foreign.retain(|version| !versions.contains(version)),
            _ => {}
        }
        self.finish_backfill();
    }

    fn finish_backfill(&mut self) {
        if self.phase == Phase::Backfill && self.backfill_is_done() {
            self.advance(Phase::Validation);
        }
    }

    fn advance(&mut self, phase: Phase) {
        self.phase = self.phase.max(phase);
    }

    fn switched(&mut self, at: DateTime<Utc>) {
        let Some(switch) = self.pending_switch.take() else { return };
        self.baked.remove(&switch.alias);
        match switch.side {
            Side::New if switch.completes => {
                self.phase = Phase::Grace;
                self.cut_over_at = Some(at);
                self.cut_over_target = self.validation.as_ref().map(|validation| validation.target.clone());
                self.reverse = self.cut_over_target.clone().map(|applied| ReversePosition { applied, at });
            }
            // Some groups are on one side, some on the other, on the way there or back.
            Side::New => {
                self.phase = Phase::Cutover;
                self.reverse = None;
            }
            Side::Old if self.phase >= Phase::Cutover && !switch.completes => {
                self.phase = Phase::Cutover;
                self.cut_over_at = None;
            }
            // The pointer's first value, and a rollback. What readers may have written to the new table meanwhile
            // makes the certificate worthless: it is bound to versions, so it needs no rule of its own.
            Side::Old if self.phase >= Phase::Cutover => {
                self.phase = Phase::Validation;
                self.rehearsed = false;
                self.cut_over_at = None;
                self.stage_failed = None;
            }
            Side::Old => {}
        }
        self.pointers.insert(switch.alias.clone(), switch);
    }

    /// The last validation, if it says PASS of exactly these versions and this spec.
    pub fn fresh_pass(&self, source: &TableVersion, target: &TableVersion, spec_digest: &str) -> Option<&ValidationRecord> {
        self.validation.as_ref().filter(|record| {
            record.verdict.passes()
                && !record.partial
                && record.source == *source
                && record.target == *target
                && record.spec_digest == spec_digest
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_unit_set_holds_exactly_what_was_inserted(units in proptest::collection::vec(0_u32..40, 0..60)) {
            let mut set = UnitSet::default();
            units.iter().for_each(|unit| set.insert(*unit));
            let reference: std::collections::BTreeSet<_> = units.into_iter().collect();
            prop_assert_eq!(set.len(), reference.len() as u64);
            prop_assert!((0..41).all(|unit| set.contains(unit) == reference.contains(&unit)));
            let firsts: Vec<_> = set.ranges.iter().collect();
            prop_assert!(firsts.windows(2).all(|pair| pair[0].1 + 1 < *pair[1].0), "ranges touch: {:?}", firsts);
        }
    }
}
