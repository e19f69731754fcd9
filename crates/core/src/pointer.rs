//! Aliases: what readers resolve. `<control>/aliases/<name>/<n>.json`, numbered and create-only; the highest number is
//! where the name points. Switching is creating the next number.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use lakeshift_journal::{Create, LogError, NumberedLog};
use serde::{Deserialize, Serialize};

use crate::migration::{PointerSwitch, Side};
use crate::storage::Storage;
use crate::table::{Format, MigrationId, TableError};

/// What readers ask that do not resolve the alias: an entry of a catalogue, a view. It moves before the alias does.
#[async_trait]
pub trait ReaderPointer: std::fmt::Debug + Send + Sync {
    /// What it is, for people: `the Metastore's table lake.flights`.
    fn name(&self) -> String;

    /// The table that its readers get.
    ///
    /// # Errors
    /// It cannot be read, it names neither table, or somebody has changed it since it was moved.
    async fn named(&self) -> Result<Side, TableError>;

    /// Lets its readers get the table of `side`. Safe to repeat, and killed at any point finished by a repetition.
    ///
    /// # Errors
    /// As [`Self::named`]; its readers get what they got before, or, after a lost answer, [`Self::named`] tells.
    async fn point(&self, side: Side) -> Result<(), TableError>;

    /// Does what [`Self::point`] would, so that no reader sees it.
    ///
    /// # Errors
    /// What would keep [`Self::point`] from it.
    async fn rehearse(&self, side: Side) -> Result<(), TableError>;
}

/// The version of the pointer object's own format.
const FORMAT_VERSION: u32 = 1;

/// Where an alias points.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pointer {
    /// Version of this object's format.
    pub format_version: u32,
    /// The alias.
    pub alias: String,
    /// 1 for the first pointer of the alias.
    pub number: u64,
    /// The table's format.
    pub format: Format,
    /// The table's location.
    pub location: String,
    /// The migration that wrote it.
    pub migration: MigrationId,
    /// Makes it that switch's own.
    pub nonce: String,
    /// When, by the writer's clock.
    pub at: DateTime<Utc>,
}

/// Why a pointer could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum PointerError {
    /// The store failed.
    #[error("alias {alias}")]
    Log {
        /// The alias.
        alias: String,
        /// The log's own error.
        #[source]
        source: LogError,
    },
    /// Nobody has pointed the alias anywhere.
    #[error("alias {alias} points nowhere; `dual-write` sets it to the old table, `cutover` to the new one")]
    Unset {
        /// The alias.
        alias: String,
    },
    /// The object is no pointer of a version that this program reads.
    #[error("pointer {number} of alias {alias} cannot be read; readers keep to the last good one: find out who wrote it")]
    Corrupt {
        /// The alias.
        alias: String,
        /// Its number.
        number: u64,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

/// What a switch came to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum SwitchOutcome {
    /// The alias points there; by this call or an earlier attempt at the same switch.
    Switched,
    /// Another pointer has the number; the alias was left as it was.
    Taken(Pointer),
}

/// One alias under a control root.
#[derive(Debug, Clone)]
pub struct Alias {
    name: String,
    log: NumberedLog,
}

impl Alias {
    /// The alias `name` under the control root. Does no I/O.
    pub fn new(control: &Storage, name: &str, clock: std::sync::Arc<dyn lakeshift_journal::Clock>) -> Self {
        let folder = control.child("aliases").child(name);
        Self { name: name.to_owned(), log: NumberedLog::new(folder.store().clone(), folder.prefix().clone(), clock) }
    }

    /// Where the alias points now; `None` when nobody has set it.
    ///
    /// # Errors
    /// [`PointerError::Log`], [`PointerError::Corrupt`].
    pub async fn current(&self) -> Result<Option<Pointer>, PointerError> {
        match self.log.last().await.map_err(|source| self.log_error(source))? {
            Some(number) => self.read(number).await,
            None => Ok(None),
        }
    }

    /// Where readers find the table: the library call behind `lakeshift resolve`.
    ///
    /// # Errors
    /// As [`Alias::current`], and [`PointerError::Unset`].
    pub async fn resolve(&self) -> Result<Pointer, PointerError> {
        self.current().await?.ok_or_else(|| PointerError::Unset { alias: self.name.clone() })
    }

    /// Carries out a switch. Safe to repeat: the number and the nonce make it the same object.
    ///
    /// # Errors
    /// [`PointerError::Log`], [`PointerError::Corrupt`].
    pub async fn switch(
        &self,
        switch: &PointerSwitch,
        migration: &MigrationId,
        at: DateTime<Utc>,
    ) -> Result<SwitchOutcome, PointerError> {
        let pointer = Pointer {
            format_version: FORMAT_VERSION,
            alias: switch.alias.clone(),
            number: switch.number,
            format: switch.format,
            location: switch.location.clone(),
            migration: migration.clone(),
            nonce: switch.nonce.clone(),
            at,
        };
        let bytes = serde_json::to_vec_pretty(&pointer).map_err(|source| self.corrupt(switch.number, source))?;
        match self.log.create(switch.number, bytes.into()).await.map_err(|source| self.log_error(source))? {
            Create::Created => Ok(SwitchOutcome::Switched),
            Create::Taken => match self.read(switch.number).await? {
                Some(found) if found.nonce != switch.nonce => Ok(SwitchOutcome::Taken(found)),
                _ => Ok(SwitchOutcome::Switched),
            },
        }
    }

    async fn read(&self, number: u64) -> Result<Option<Pointer>, PointerError> {
        let Some(bytes) = self.log.read(number).await.map_err(|source| self.log_error(source))? else { return Ok(None) };
        let pointer: Pointer = serde_json::from_slice(&bytes).map_err(|source| self.corrupt(number, source))?;
        if pointer.format_version != FORMAT_VERSION {
            let newer = serde::de::Error::custom(format!("format version {}", pointer.format_version));
            return Err(self.corrupt(number, newer));
        }
        Ok(Some(pointer))
    }

    fn log_error(&self, source: LogError) -> PointerError {
        PointerError::Log { alias: self.name.clone(), source }
    }

    fn corrupt(&self, number: u64, source: serde_json::Error) -> PointerError {
        PointerError::Corrupt { alias: self.name.clone(), number, source }
    }
}
