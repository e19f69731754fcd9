//! What the journal records.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::cost::RoundCost;
use super::gates::Gate;
use crate::control::ControlEntry;
use crate::plan::PlanRef;
use crate::table::{CommitNumber, Format, TableVersion};

/// One journal entry's event. Variants and fields are a persisted format: add, never rename.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// A runner has taken the migration's lease; its epoch, in the entry, fences all before it.
    LeaseTaken {
        /// The command that it runs.
        command: String,
        /// Whether it tells hooks of the transitions that it makes.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        hooks: bool,
    },
    /// Hooks have been told of every transition up to an entry.
    HooksTold {
        /// That entry.
        through: u64,
        /// Hooks that could not be told, by their commands or addresses; they are not tried again.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        failed: Vec<String>,
    },
    /// A runner honours a request that an operator wrote while it was at work, or before.
    Controlled(ControlEntry),
    /// A plan was made and saved.
    Planned {
        /// The plan.
        plan: PlanRef,
        /// SHA-256 of the canonical spec that it was made from.
        spec_digest: String,
        /// The canonical spec itself, without secrets.
        spec: serde_json::Value,
    },
    /// A person approved a plan by its digest.
    Approved {
        /// The plan's digest.
        plan_digest: String,
        /// Who, by their own word.
        by: String,
    },
    /// The source's version S0 is pinned: the backfill owns its rows, dual write every change after it.
    BoundaryPinned {
        /// S0 and its files.
        plan: PlanRef,
        /// The old table's own id, where its format has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        table: Option<String>,
    },
    /// The target table exists.
    TargetCreated {
        /// Its first version.
        version: TableVersion,
    },
    /// A table commit is about to happen. Until it is settled, nobody knows whether it has.
    CommitIntended {
        /// The commit's number in the table.
        number: CommitNumber,
        /// What it does.
        work: Work,
    },
    /// What an intended commit came to.
    CommitSettled {
        /// The commit's number.
        number: CommitNumber,
        /// Whether it is in the table.
        result: Settled,
    },
    /// What has changed on a side since a mirror looked last is this migration's own doing: there is nothing to carry over.
    Followed {
        /// The side.
        side: Side,
        /// Its version.
        to: TableVersion,
    },
    /// Looks of a mirror that found nothing, since the last such entry or the runner's beginning.
    Looked {
        /// How many.
        looks: u64,
        /// What they cost, with the waits between them.
        cost: RoundCost,
    },
    /// A validation has ended.
    Validated(ValidationRecord),
    /// Somebody else has committed to the new table.
    RogueSeen {
        /// Versions that were not known before, oldest first.
        versions: Vec<TableVersion>,
    },
    /// An operator has decided what becomes of writes to the side that should not be written.
    Reconciled {
        /// The side that was written.
        side: Side,
        /// Its versions: of the new table those of others, of the old one the version that was looked at.
        versions: Vec<TableVersion>,
        /// What becomes of them.
        decision: Reconcile,
        /// Why, by the operator's own word.
        reason: String,
        /// Who decided.
        by: String,
    },
    /// An operator forces a gate of the cutover that was shut.
    Forced {
        /// The gate.
        gate: Gate,
        /// Why it was shut.
        shut: Vec<String>,
        /// Why it is forced, by the operator's own word.
        reason: String,
        /// Who forces it.
        by: String,
    },
    /// The cutover and the way back were rehearsed on aliases that nobody reads.
    Rehearsed {
        /// Milliseconds that the way forward took, gates included.
        forward_ms: u64,
        /// Milliseconds that the way back took.
        back_ms: u64,
        /// Why what others write to the new table could not be carried back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        irreversible: Option<String>,
    },
    /// Writers of both tables are about to be held off, by the user's command.
    WritersHeld,
    /// They may write again.
    WritersReleased {
        /// Milliseconds since they were held off.
        held_ms: u64,
    },
    /// The alias is about to point elsewhere.
    SwitchIntended(PointerSwitch),
    /// The alias points there.
    Switched {
        /// The pointer's number.
        number: u64,
        /// What a reader saw who asked throughout; absent where a runner only found it done, and in older journals.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        readers: Option<Polled>,
    },
    /// A group of readers has been on the new table for its bake time, and its health command never failed.
    StagePassed {
        /// The group's alias.
        alias: String,
    },
    /// A group's health command failed: every group is to go back.
    StageFailed {
        /// The group's alias.
        alias: String,
        /// What the command did.
        reason: String,
    },
    /// The intended switch did not happen: another migration has moved the alias.
    SwitchVoid {
        /// The pointer's number.
        number: u64,
    },
    /// The old table's files that may go are listed.
    Quarantined {
        /// The manifest, relative to the migration's folder.
        manifest: String,
        /// Files in it.
        files: u64,
        /// Their bytes.
        bytes: u64,
        /// Files of the old table that are kept because another table refers to them, or for their rows outside of the scope.
        kept: u64,
    },
    /// The old table stays after all: nothing of what was listed has been deleted.
    SunsetUndone {
        /// Why, by the operator's own word.
        reason: String,
        /// Who decided.
        by: String,
    },
    /// The listed files are about to be deleted: there is no way back from here.
    PurgeIntended,
    /// The listed files are gone.
    Purged {
        /// Files deleted.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// The migration is over.
    Completed,
    /// What this migration created is about to be dropped.
    AbortIntended {
        /// Why, by the operator's own word.
        reason: String,
    },
    /// It has been dropped.
    Aborted,
}

/// What becomes of writes to the side that should not be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reconcile {
    /// They are this migration's from now on. Of the old table they are carried over; those of the new one must have passed
    /// a validation.
    Adopt,
    /// They are not wanted. Those of the old table stay in it, and go when it goes; those of the new one are taken out of it.
    Reject,
}

/// What an intended commit does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "work", rename_all = "snake_case")]
pub enum Work {
    /// Backfill units of S0's plan, by their numbers.
    Backfill {
        /// Unit numbers.
        units: Vec<u32>,
    },
    /// One round of the mirror.
    Mirror {
        /// The round's number, from 1.
        round: u32,
        /// The source version that the target holds afterwards.
        to: TableVersion,
        /// Digest of the round's own plan: files added, and files of superseded units that remain.
        plan_digest: String,
        /// Source files of S0 or of earlier rounds that are gone or replaced.
        superseded_files: u64,
    },
    /// One round of the reverse mirror: what others have committed to the new table since the cutover, carried to the old one.
    Reverse {
        /// The round's number, from 1.
        round: u32,
        /// The new table's version that the old one holds afterwards.
        to: TableVersion,
        /// Digest of the round's own plan: files added, and files of superseded units that remain.
        plan_digest: String,
        /// Files of the new table that are gone or replaced.
        superseded_files: u64,
    },
    /// The new table gets a partitioning for its other writers; no row moves.
    Repartition {
        /// Its fields, in the spec's notation.
        fields: Vec<String>,
    },
    /// Files that others have added to the new table are taken out of it.
    Undo {
        /// The versions that they were added in.
        versions: Vec<TableVersion>,
    },
    /// The new table gets columns that the old one has got, or wider types of some; no row moves.
    Evolve {
        /// Their names.
        columns: Vec<String>,
    },
}

impl Work {
    /// Whether it is done in the old table.
    pub fn is_on_old(&self) -> bool {
        matches!(self, Self::Reverse { .. })
    }
}

/// What an intended commit came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Settled {
    /// It is in the table.
    Done {
        /// The version in which it, or a later commit, was seen.
        version: TableVersion,
        /// Files it added; 0 where a resumed runner only found it done.
        files: u64,
        /// Bytes written for it.
        bytes: u64,
        /// What it cost to carry over; of rounds of a mirror only, and absent where a resumed runner only found it done.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cost: Option<RoundCost>,
    },
    /// It is not, and can no longer come: an empty commit of a higher epoch came first.
    Void,
}

/// A side of the migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The source.
    Old,
    /// The target.
    New,
}

/// One switch of the alias, complete, so that any runner can finish it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointerSwitch {
    /// The alias.
    pub alias: String,
    /// The pointer's number: one more than the pointer that it replaces.
    pub number: u64,
    /// Where it points afterwards.
    pub side: Side,
    /// That table's format.
    pub format: Format,
    /// That table's location.
    pub location: String,
    /// Makes the pointer object this switch's own.
    pub nonce: String,
    /// Whether commits to the new table that the old one lacks are given up by this (rollback only).
    pub loses_writes: bool,
    /// Whether with it every group of readers is on that side. Of journals that knew one group only, always.
    #[serde(default = "only_group", skip_serializing_if = "Clone::clone")]
    pub completes: bool,
}

/// What a reader saw who resolved an alias again and again while it was switched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Polled {
    /// How often it asked.
    pub polls: u64,
    /// How often it got no answer.
    pub unanswered: u64,
    /// The longest that it waited from one answer to the next, in milliseconds: the pause.
    pub longest_ms: u64,
}

fn only_group() -> bool {
    true
}

/// A validation's outcome as a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum VerdictName {
    /// Old and new hold the same rows.
    Pass,
    /// They differ only in what the ledger accepts.
    Accepted,
    /// They do not.
    Fail,
    /// It could not be told.
    Inconclusive,
}

impl VerdictName {
    /// Whether a cutover may follow.
    pub fn passes(self) -> bool {
        matches!(self, Self::Pass | Self::Accepted)
    }
}

/// A validation, as the journal refers to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ValidationRecord {
    /// The verdict.
    pub verdict: VerdictName,
    /// The old side's version.
    pub source: TableVersion,
    /// The new side's version.
    pub target: TableVersion,
    /// Whether only the rows of `validation.range` were compared.
    #[serde(default)]
    pub partial: bool,
    /// Digest of the spec that was validated.
    pub spec_digest: String,
    /// Digest of the certificate.
    pub certificate_digest: String,
    /// Folder of the report, relative to the migration's folder.
    pub report: String,
    /// When.
    pub at: DateTime<Utc>,
}
