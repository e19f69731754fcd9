//! [`FinalRecord`]: what stays of a migration that is over, in one object: what moved, when, by whose word, on which proofs,
//! and what was freed.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use lakeshift_journal::Entry;
use serde::{Deserialize, Serialize};

use super::event::{Event, Side, ValidationRecord};
use super::gates::Gate;
use super::state::State;
use crate::spec::Spec;
use crate::table::{Format, MigrationId};

/// Version of the object's format.
const FORMAT_VERSION: u32 = 1;

/// The object's name in the migration's folder.
pub const RECORD_NAME: &str = "record.json";

/// One of the two tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedTable {
    /// Its format.
    pub format: Format,
    /// Its location.
    pub location: String,
}

/// A gate that was forced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForcedGate {
    /// The gate.
    pub gate: Gate,
    /// Who forced it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FinalRecord {
    /// Version of this format.
    pub format_version: u32,
    /// The migration.
    pub migration: MigrationId,
    /// The old table.
    pub old: RecordedTable,
    /// The new table.
    pub new: RecordedTable,
    /// Digest of the spec.
    pub spec_digest: String,
    /// When S0 was pinned.
    pub began_at: Option<DateTime<Utc>>,
    /// When readers were last moved to the new table.
    pub cut_over_at: Option<DateTime<Utc>>,
    /// When the migration ended.
    pub completed_at: DateTime<Utc>,
    /// Who approved plans, by their own word.
    pub approved_by: Vec<String>,
    /// Processes that ran commands: `user@host:pid`.
    pub runners: Vec<String>,
    /// How often readers were taken back.
    pub rollbacks: u64,
    /// Gates that were forced.
    pub forced: Vec<ForcedGate>,
    /// Every validation, with its certificate's digest and its report.
    pub validations: Vec<ValidationRecord>,
    /// Bytes written to the new table.
    pub bytes_written: u64,
    /// Files of the old table that were deleted.
    pub files_deleted: u64,
    /// Their bytes.
    pub bytes_freed: u64,
    /// SHA-256 of the last journal entry that this tells of.
    pub journal_head: Option<String>,
}

impl FinalRecord {
    /// The record of a journal's entries.
    pub fn new(spec: &Spec, entries: &[Entry<Event>], completed_at: DateTime<Utc>) -> Self {
        let state = State::fold(entries);
        let mut record = Self {
            format_version: FORMAT_VERSION,
            migration: spec.name.clone(),
            old: RecordedTable { format: spec.source.format, location: spec.source.location.to_string() },
            new: RecordedTable { format: spec.target.format, location: spec.target.location.to_string() },
            spec_digest: spec.digest(),
            began_at: None,
            cut_over_at: state.cut_over_at,
            completed_at,
            approved_by: Vec::new(),
            runners: Vec::new(),
            rollbacks: 0,
            forced: Vec::new(),
            validations: Vec::new(),
            bytes_written: state.bytes_written,
            files_deleted: 0,
            bytes_freed: 0,
            journal_head: entries.last().map(|entry| entry.digest.to_string()),
        };
        entries.iter().for_each(|entry| record.add(entry));
        let runners: BTreeSet<&str> = entries.iter().map(|entry| entry.writer.as_str()).collect();
        record.runners = runners.into_iter().map(str::to_owned).collect();
        record
    }

    fn add(&mut self, entry: &Entry<Event>) {
        let at = entry.at;
        match &entry.event {
            Event::BoundaryPinned { .. } => self.began_at = Some(at),
            Event::Approved { by, .. } if !self.approved_by.contains(by) => self.approved_by.push(by.clone()),
            Event::Forced { gate, by, reason, .. } => {
                self.forced.push(ForcedGate { gate: *gate, by: by.clone(), reason: reason.clone(), at });
            }
            Event::SwitchIntended(switch) if switch.side == Side::Old && switch.number > 1 && switch.completes => {
                self.rollbacks += 1;
            }
            Event::Validated(validation) => self.validations.push(validation.clone()),
            Event::Purged { files, bytes } => (self.files_deleted, self.bytes_freed) = (*files, *bytes),
            _ => {}
        }
    }
}
