//! [`ControlLog`]: the requests as objects.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use lakeshift_journal::{Clock, Create, LogError, NumberedLog};

use super::{ControlEntry, ControlRequest, Controls};
use crate::storage::Storage;

/// The version of the object's own format.
const FORMAT_VERSION: u32 = 1;

/// How often a number is lost to another operator's request before giving up.
const RACES_MAX: u32 = 16;

/// Why requests could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The store failed.
    #[error("control requests under {folder}")]
    Log {
        /// Their folder.
        folder: String,
        /// The log's own error.
        #[source]
        source: LogError,
    },
    /// A request is gone although a later one is there.
    #[error(
        "the control request {object} is missing, but later ones exist; nothing was changed: it may have been a pause, \
         restore it from the bucket's versions, or write it anew under its number"
    )]
    Missing {
        /// The object.
        object: String,
    },
    /// The object is no request that this program knows.
    #[error("the control request {object} cannot be read; nothing was changed: find out who wrote it")]
    Corrupt {
        /// The object.
        object: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// Others kept writing at the same time.
    #[error("{RACES_MAX} other requests came first under {folder}; nothing was written: ask again")]
    Contended {
        /// The folder.
        folder: String,
    },
}

/// The requests to one migration.
#[derive(Debug, Clone)]
pub struct ControlLog {
    folder: Storage,
    log: NumberedLog,
}

impl ControlLog {
    /// The requests under a migration's folder. Does no I/O.
    pub fn new(migration: &Storage, clock: Arc<dyn Clock>) -> Self {
        let folder = migration.child("control");
        let log = NumberedLog::new(folder.store().clone(), folder.prefix().clone(), clock);
        Self { folder, log }
    }

    /// The requests above number `after`, oldest first.
    ///
    /// # Errors
    /// [`ControlError`], but never [`ControlError::Contended`].
    pub async fn after(&self, after: u64) -> Result<Vec<ControlEntry>, ControlError> {
        let last = self.log.last_after(after).await.map_err(|source| self.log_error(source))?;
        let Some(last) = last else { return Ok(Vec::new()) };
        let objects = self.log.read_range(after + 1..=last).map_err(|source| self.log_error(source));
        let entries = objects.and_then(|(number, bytes)| std::future::ready(self.decode(number, bytes.as_deref())));
        entries.try_collect().await
    }

    /// What all requests come to.
    ///
    /// # Errors
    /// As [`ControlLog::after`].
    pub async fn current(&self) -> Result<Controls, ControlError> {
        let mut controls = Controls::default();
        self.after(0).await?.iter().for_each(|entry| controls.apply(entry));
        Ok(controls)
    }

    /// Writes a request. `nonce` must be drawn for this call.
    ///
    /// # Errors
    /// [`ControlError`]; after [`LogError::OutcomeUnknown`] the request may have been written.
    pub async fn ask(
        &self,
        request: ControlRequest,
        [by, reason]: [&str; 2],
        at: DateTime<Utc>,
        nonce: &str,
    ) -> Result<ControlEntry, ControlError> {
        let mut last = self.log.last().await.map_err(|source| self.log_error(source))?.unwrap_or(0);
        for _ in 0..RACES_MAX {
            let entry = ControlEntry {
                format_version: FORMAT_VERSION,
                number: last + 1,
                request,
                by: by.to_owned(),
                reason: reason.to_owned(),
                at,
                nonce: nonce.to_owned(),
            };
            let bytes = serde_json::to_vec_pretty(&entry).map_err(|source| self.corrupt(entry.number, source))?;
            match self.log.create(entry.number, bytes.into()).await.map_err(|source| self.log_error(source))? {
                Create::Created => return Ok(entry),
                Create::Taken => last += 1,
            }
        }
        Err(ControlError::Contended { folder: self.folder.location().to_owned() })
    }

    fn decode(&self, number: u64, bytes: Option<&[u8]>) -> Result<ControlEntry, ControlError> {
        let bytes = bytes.ok_or_else(|| ControlError::Missing { object: self.object(number) })?;
        let entry: ControlEntry = serde_json::from_slice(bytes).map_err(|source| self.corrupt(number, source))?;
        if (entry.format_version, entry.number) != (FORMAT_VERSION, number) {
            let found = format!("format version {}, number {}", entry.format_version, entry.number);
            return Err(self.corrupt(number, serde::de::Error::custom(found)));
        }
        Ok(entry)
    }

    fn object(&self, number: u64) -> String {
        self.folder.url_of(&format!("{number:020}.json"))
    }

    fn log_error(&self, source: LogError) -> ControlError {
        ControlError::Log { folder: self.folder.location().to_owned(), source }
    }

    fn corrupt(&self, number: u64, source: serde_json::Error) -> ControlError {
        ControlError::Corrupt { object: self.object(number), source }
    }
}
