//! The audit trail: a migration's journal as a [`Timeline`], for people ([`Timeline::to_text`], [`Timeline::to_html`]) and
//! for programs (its JSON form).
//!
//! The entries come from an opened [`lakeshift_journal::Journal`], which has checked every hash. Cutting off a journal's
//! end cannot be seen from within; so a timeline tells the head's digest, to be noted elsewhere and compared.

mod html;
mod text;

use chrono::{DateTime, Utc};
use lakeshift_journal::Entry;
use serde::Serialize;

use super::event::Event;
use super::state::{Phase, State};
use crate::table::MigrationId;

/// Version of the JSON form.
const FORMAT_VERSION: u32 = 1;

/// What happened to a migration, oldest first.
#[derive(Debug, Clone, Serialize)]
pub struct Timeline {
    /// Version of this form.
    pub format_version: u32,
    /// The migration.
    pub migration: MigrationId,
    /// Where it stands.
    pub phase: Phase,
    /// SHA-256 of the last entry's object; every entry before it is bound by it. `None` when there is no entry.
    pub head: Option<String>,
    /// The entries.
    pub entries: Vec<Moment>,
}

/// One entry.
#[derive(Debug, Clone, Serialize)]
pub struct Moment {
    /// Its number.
    pub sequence: u64,
    /// When, by its writer's clock.
    pub at: DateTime<Utc>,
    /// The fencing epoch of its writer.
    pub epoch: u64,
    /// The process that wrote it: `user@host:pid`.
    pub writer: String,
    /// The event's name.
    pub kind: String,
    /// The event in a sentence.
    pub summary: String,
    /// Where the migration stood after it.
    pub phase: Phase,
    /// SHA-256 of its object.
    pub digest: String,
    /// The event as it was recorded.
    pub event: Event,
}

impl Timeline {
    /// The timeline of a journal's entries.
    pub fn new(migration: &MigrationId, entries: &[Entry<Event>]) -> Self {
        let mut state = State::default();
        let moments = entries.iter().map(|entry| {
            state.apply(&entry.event, entry.at);
            Moment {
                sequence: entry.sequence.0,
                at: entry.at,
                epoch: entry.epoch.0,
                writer: entry.writer.clone(),
                kind: entry.event.kind(),
                summary: entry.event.summary(),
                phase: state.phase,
                digest: entry.digest.to_string(),
                event: entry.event.clone(),
            }
        });
        let entries: Vec<_> = moments.collect();
        Self {
            format_version: FORMAT_VERSION,
            migration: migration.clone(),
            phase: state.phase,
            head: entries.last().map(|moment| moment.digest.clone()),
            entries,
        }
    }
}
