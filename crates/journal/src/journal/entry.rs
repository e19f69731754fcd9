//! The persisted form of a journal entry, and [`Entry`], its verified form in memory.

use std::fmt;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use object_store::path::Path;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use super::JournalError;
use crate::{Epoch, Sequence};

/// The format that this version writes, and the only one that it reads.
pub(super) const FORMAT_VERSION: u32 = 1;

/// A SHA-256, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// What the first entry names as the one before it.
    pub(super) fn genesis() -> Self {
        Self::of(b"lakeshift journal genesis v1")
    }

    fn parse(text: &str) -> Option<Self> {
        if text.len() != 64 || text.bytes().any(|byte| !matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        let mut digest = [0; 32];
        for (byte, digits) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(Self(digest))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Digest({self})")
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("a digest is 64 lower-case hexadecimal digits"))
    }
}

/// One verified entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<E> {
    /// Its position.
    pub sequence: Sequence,
    /// The epoch of the lease under which it was written.
    pub epoch: Epoch,
    /// When its writer's clock said it was written. For people only; it may run backwards.
    pub at: DateTime<Utc>,
    /// The process that wrote it.
    pub writer: String,
    /// The digest of the object before it.
    pub previous: Digest,
    /// The digest of its own object.
    pub digest: Digest,
    /// What happened.
    pub event: E,
}

/// The object as written: compact JSON with the fields in this order. The chain hashes these exact bytes, so nothing
/// depends on encoding an entry a second time.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Envelope<E> {
    pub format_version: u32,
    pub sequence: Sequence,
    pub previous: Digest,
    pub epoch: Epoch,
    pub at: DateTime<Utc>,
    pub writer: String,
    pub nonce: String,
    pub event: E,
}

impl<E: Serialize> Envelope<E> {
    pub fn encode(&self) -> Result<Bytes, serde_json::Error> {
        serde_json::to_vec(self).map(Bytes::from)
    }
}

/// Only this much is read before it is known that the rest has the expected form.
#[derive(Deserialize)]
struct Version {
    format_version: u32,
}

/// Decodes an object without looking at its neighbours.
pub(super) fn decode<E: DeserializeOwned>(path: &Path, bytes: &Bytes) -> Result<Entry<E>, JournalError> {
    let garbled = |source| JournalError::Garbled { path: path.clone(), source };
    let Version { format_version } = serde_json::from_slice(bytes).map_err(garbled)?;
    if format_version != FORMAT_VERSION {
        return Err(JournalError::UnknownFormat { path: path.clone(), found: format_version, supported: FORMAT_VERSION });
    }
    let envelope: Envelope<serde_json::Value> = serde_json::from_slice(bytes).map_err(garbled)?;
    let event = serde_json::from_value(envelope.event)
        .map_err(|source| JournalError::UnknownEvent { path: path.clone(), source })?;
    Ok(Entry {
        sequence: envelope.sequence,
        epoch: envelope.epoch,
        at: envelope.at,
        writer: envelope.writer,
        previous: envelope.previous,
        digest: Digest::of(bytes),
        event,
    })
}
