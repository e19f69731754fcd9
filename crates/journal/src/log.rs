//! [`NumberedLog`]: objects `<prefix>/00000000000000000001.json`, each created once and never overwritten.
//!
//! Of several writers that create the same number, exactly one wins. The winner is decided by what the object holds,
//! not by what the store answered: a conditional PUT that a client library retried after a lost response is told
//! "already exists" about its own write. So on any answer but success the object is read back and compared; this is
//! why the content of every object must be unique to its writer and attempt (put a nonce into it).
//!
//! The log does not know what its objects mean; [`crate::Journal`] and [`crate::LeaseManager`] do.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use thiserror::Error;

use crate::Clock;

/// The largest object that is read, in bytes. A larger one was not written by this crate.
pub const OBJECT_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// How often a failed store operation is tried in all, on top of the store client's own retries.
const ATTEMPTS_MAX: u32 = 4;
/// The wait after the first failed attempt; each further one doubles it.
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
/// Objects that are read at the same time.
const READS_IN_FLIGHT: usize = 32;

/// Why an object of a log could not be created or read.
#[derive(Debug, Error)]
pub enum LogError {
    /// The store refused or failed an operation that changes nothing, or refused a PUT for certain.
    #[error("could not {action} {path}; nothing was changed: check the store and its permissions, then run again")]
    Store {
        /// What was tried, as a verb.
        action: &'static str,
        /// The object or prefix.
        path: Path,
        /// What the store said last.
        source: object_store::Error,
    },
    /// A PUT failed in a way that leaves open whether it took effect, now or later.
    #[error("it is unknown whether {path} was created: read the log again before acting on it")]
    OutcomeUnknown {
        /// The object.
        path: Path,
        /// What the store said last.
        source: object_store::Error,
    },
    /// The object is too large to be one of this log's.
    #[error(
        "{path} has {bytes} bytes, more than the {bytes_max} that an entry may have; it was left alone: \
         find out who wrote it"
    )]
    TooLarge {
        /// The object.
        path: Path,
        /// Its size.
        bytes: u64,
        /// The limit, [`OBJECT_BYTES_MAX`].
        bytes_max: u64,
    },
}

/// What came of creating a number.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Create {
    /// The object holds the given bytes.
    Created,
    /// Someone else's object is there; nothing was changed.
    Taken,
}

/// A log of numbered, create-only objects under one prefix.
#[derive(Debug, Clone)]
pub struct NumberedLog {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    clock: Arc<dyn Clock>,
}

impl NumberedLog {
    /// The log under `prefix`. Does no I/O; an absent log is an empty one. `clock` spaces retries.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, prefix: Path, clock: Arc<dyn Clock>) -> Self {
        Self { store, prefix, clock }
    }

    /// The object that holds `number`.
    #[must_use]
    pub fn path(&self, number: u64) -> Path {
        self.prefix.clone().join(format!("{number:020}.json"))
    }

    /// Creates `number` with `bytes`, which must be unique to this call (contain a nonce).
    ///
    /// # Errors
    /// [`LogError::Store`] when the store refused for certain, [`LogError::OutcomeUnknown`] when the object may exist
    /// or come to exist, [`LogError::TooLarge`] when `bytes` or the object found exceed [`OBJECT_BYTES_MAX`].
    pub async fn create(&self, number: u64, bytes: Bytes) -> Result<Create, LogError> {
        let path = self.path(number);
        check_size(&path, bytes.len() as u64)?;
        let mut attempt = 1;
        loop {
            let options = PutOptions::from(PutMode::Create);
            let refused = match self.store.put_opts(&path, bytes.clone().into(), options).await {
                Ok(_) => return Ok(Create::Created),
                // After an earlier attempt that may still land, a refusal of this one decides nothing.
                Err(error) if attempt == 1 && is_permanent(&error) => {
                    return Err(LogError::Store { action: "create", path, source: error });
                }
                Err(error) => error,
            };
            // Also after "already exists": S3 says so (409) of two creations in flight, and then neither may exist.
            match self.read(number).await {
                Ok(Some(found)) if found == bytes => return Ok(Create::Created),
                Ok(Some(_)) => return Ok(Create::Taken),
                Ok(None) if attempt < ATTEMPTS_MAX => self.back_off(&mut attempt).await,
                Ok(None) | Err(LogError::Store { .. }) => {
                    return Err(LogError::OutcomeUnknown { path, source: refused });
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The content of `number`, or nothing when it does not exist.
    ///
    /// # Errors
    /// [`LogError::Store`] and [`LogError::TooLarge`].
    pub async fn read(&self, number: u64) -> Result<Option<Bytes>, LogError> {
        self.read_object(&self.path(number)).await
    }

    /// Reads `numbers` in order, several at a time. A number that does not exist gives `None` in its place.
    pub fn read_range(
        &self,
        numbers: RangeInclusive<u64>,
    ) -> impl Stream<Item = Result<(u64, Option<Bytes>), LogError>> + Send + '_ {
        futures::stream::iter(numbers)
            .map(move |number| async move { Ok((number, self.read(number).await?)) })
            .buffered(READS_IN_FLIGHT)
    }

    /// The highest number, if there is any.
    ///
    /// # Errors
    /// [`LogError::Store`] when listing fails.
    pub async fn last(&self) -> Result<Option<u64>, LogError> {
        self.last_after(0).await
    }

    /// The highest number above `number`, if there is any.
    ///
    /// # Errors
    /// [`LogError::Store`] when listing fails.
    pub async fn last_after(&self, number: u64) -> Result<Option<u64>, LogError> {
        let mut attempt = 1;
        loop {
            let listing = self.store.list_with_offset(Some(&self.prefix), &self.path(number));
            let last = listing
                .try_fold(None, |last: Option<u64>, object| {
                    // Checked here too: a store may list from the beginning whatever it is told (Azurite does).
                    let found = self.number_of(&object.location).filter(|found| *found > number);
                    std::future::ready(Ok(last.max(found)))
                })
                .await;
            match last {
                Ok(last) => return Ok(last),
                // A prefix that was never written to is a missing directory on some stores.
                Err(object_store::Error::NotFound { .. }) => return Ok(None),
                Err(error) if attempt < ATTEMPTS_MAX && !is_permanent(&error) => self.back_off(&mut attempt).await,
                Err(source) => {
                    return Err(LogError::Store { action: "list", path: self.prefix.clone(), source });
                }
            }
        }
    }

    /// Reads any object beside the log with the same bounds and retries.
    pub(crate) async fn read_object(&self, path: &Path) -> Result<Option<Bytes>, LogError> {
        let mut attempt = 1;
        loop {
            match self.read_once(path).await {
                Ok(Some(Read::Bytes(bytes))) => return Ok(Some(bytes)),
                Ok(Some(Read::TooLarge(bytes))) => {
                    return Err(LogError::TooLarge { path: path.clone(), bytes, bytes_max: OBJECT_BYTES_MAX });
                }
                Ok(None) => return Ok(None),
                Err(error) if attempt < ATTEMPTS_MAX && !is_permanent(&error) => self.back_off(&mut attempt).await,
                Err(source) => return Err(LogError::Store { action: "read", path: path.clone(), source }),
            }
        }
    }

    /// Overwrites an object beside the log. Trying again is safe: its only writer is the caller.
    pub(crate) async fn overwrite_object(&self, path: &Path, bytes: Bytes) -> Result<(), LogError> {
        let mut attempt = 1;
        loop {
            match self.store.put(path, bytes.clone().into()).await {
                Ok(_) => return Ok(()),
                Err(error) if attempt < ATTEMPTS_MAX && !is_permanent(&error) => self.back_off(&mut attempt).await,
                Err(source) => return Err(LogError::Store { action: "write", path: path.clone(), source }),
            }
        }
    }

    async fn read_once(&self, path: &Path) -> object_store::Result<Option<Read>> {
        let found = match self.store.get(path).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        if found.meta.size > OBJECT_BYTES_MAX {
            return Ok(Some(Read::TooLarge(found.meta.size)));
        }
        Ok(Some(Read::Bytes(found.bytes().await?)))
    }

    async fn back_off(&self, attempt: &mut u32) {
        self.clock.sleep(BACKOFF_FIRST * 2u32.pow(*attempt - 1)).await;
        *attempt += 1;
    }

    /// The number of an object directly under the prefix; nothing for any other object.
    fn number_of(&self, path: &Path) -> Option<u64> {
        let mut parts = path.prefix_match(&self.prefix)?;
        let name = parts.next()?;
        let digits = name.as_ref().strip_suffix(".json")?;
        let is_number = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
        (is_number && parts.next().is_none()).then(|| digits.parse().ok()).flatten()
    }
}

enum Read {
    Bytes(Bytes),
    TooLarge(u64),
}

fn check_size(path: &Path, bytes: u64) -> Result<(), LogError> {
    if bytes > OBJECT_BYTES_MAX {
        return Err(LogError::TooLarge { path: path.clone(), bytes, bytes_max: OBJECT_BYTES_MAX });
    }
    Ok(())
}

/// Whether trying again cannot help, and the request certainly had no effect.
fn is_permanent(error: &object_store::Error) -> bool {
    use object_store::Error;
    matches!(
        error,
        Error::PermissionDenied { .. }
            | Error::Unauthenticated { .. }
            | Error::NotImplemented { .. }
            | Error::NotSupported { .. }
            | Error::InvalidPath { .. }
            | Error::UnknownConfigurationKey { .. }
    )
}
