//! [`JournalError`]: every way in which a journal cannot be read or written on.

use object_store::path::Path;
use thiserror::Error;

use crate::{Epoch, LogError, Sequence};

/// Why a journal cannot be used. Nothing was changed, except possibly under [`LogError::OutcomeUnknown`].
#[derive(Debug, Error)]
pub enum JournalError {
    /// The store failed, or an object is too large to be an entry.
    #[error(transparent)]
    Log(#[from] LogError),
    /// An entry is not there although a later one is.
    #[error(
        "the journal entry {path} is missing, but entries up to {last} exist; nothing was changed: restore the \
         object from the bucket's versions or a backup"
    )]
    Missing {
        /// The object that should exist.
        path: Path,
        /// Its position.
        sequence: Sequence,
        /// The last position found.
        last: Sequence,
    },
    /// An entry that this process has read before is gone, and so is everything after it.
    #[error(
        "the journal entry {path} was there and is gone; nothing was changed: stop every runner, and restore the \
         object from the bucket's versions or a backup"
    )]
    Truncated {
        /// The object that was there.
        path: Path,
        /// Its position.
        sequence: Sequence,
    },
    /// An object is not a journal entry.
    #[error("{path} is not a journal entry; nothing was changed: restore the object from the bucket's versions or a backup")]
    Garbled {
        /// The object.
        path: Path,
        /// Where in it decoding stopped.
        source: serde_json::Error,
    },
    /// An entry was written in a format of another version of Lakeshift.
    #[error(
        "the journal entry {path} has format version {found}, and this program reads version {supported}; nothing \
         was changed: use the version of Lakeshift that wrote it, or a later one"
    )]
    UnknownFormat {
        /// The object.
        path: Path,
        /// Its version.
        found: u32,
        /// The version that is read.
        supported: u32,
    },
    /// An entry holds an event that this program does not know.
    #[error(
        "the journal entry {path} holds an event that this program does not know; nothing was changed: use the \
         version of Lakeshift that wrote it, or a later one"
    )]
    UnknownEvent {
        /// The object.
        path: Path,
        /// What was not understood.
        source: serde_json::Error,
    },
    /// An entry says that it belongs elsewhere.
    #[error(
        "the journal entry {path} calls itself number {found}, not {expected}; nothing was changed: it was renamed or \
         copied, restore the object from the bucket's versions or a backup"
    )]
    WrongSequence {
        /// The object.
        path: Path,
        /// The position by its name.
        expected: Sequence,
        /// The position by its content.
        found: Sequence,
    },
    /// An entry does not carry the hash of the one before.
    #[error(
        "the journal entry {path} does not continue {previous}: one of the two was altered after it was written; \
         nothing was changed: restore them from the bucket's versions or a backup"
    )]
    BrokenChain {
        /// The object whose hash of its predecessor does not match.
        path: Path,
        /// The predecessor (number 0 when `path` is the first entry).
        previous: Path,
        /// The position of `path`.
        sequence: Sequence,
    },
    /// An entry was written under a lower epoch than the one before it.
    #[error(
        "the journal entry {path} was written under epoch {found} after an entry of epoch {before}; nothing was \
         changed: a writer bypassed fencing, report this as a bug with both objects"
    )]
    EpochWentBack {
        /// The object.
        path: Path,
        /// Its epoch.
        found: Epoch,
        /// The epoch of the entry before it.
        before: Epoch,
    },
    /// An event has no JSON form, or one that does not read back.
    #[error("the event for {path} cannot be written as JSON and read back; nothing was changed: report this as a bug")]
    Encode {
        /// The object that would have been created.
        path: Path,
        /// Why.
        source: serde_json::Error,
    },
}
