//! The persisted forms: [`LeaseObject`], created once, and [`Heartbeat`], overwritten by its holder.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use object_store::path::Path;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::LeaseError;
use crate::Epoch;

/// The format that this version writes, and the only one that it reads.
pub(super) const FORMAT_VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LeaseObject {
    pub format_version: u32,
    pub epoch: Epoch,
    pub holder: String,
    pub at: DateTime<Utc>,
    pub ttl_ms: u64,
    pub nonce: String,
}

impl LeaseObject {
    pub fn decode(path: &Path, bytes: &Bytes, epoch: Epoch) -> Result<Self, LeaseError> {
        let lease: Self = decode(path, bytes)?;
        if lease.epoch != epoch {
            return Err(LeaseError::WrongEpoch { path: path.clone(), expected: epoch, found: lease.epoch });
        }
        Ok(lease)
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Heartbeat {
    pub format_version: u32,
    pub at: DateTime<Utc>,
    pub released: bool,
    pub nonce: String,
}

impl Heartbeat {
    pub fn decode(path: &Path, bytes: &Bytes) -> Result<Self, LeaseError> {
        decode(path, bytes)
    }
}

pub(super) fn encode<T: Serialize>(path: &Path, object: &T) -> Result<Bytes, LeaseError> {
    let encoded = serde_json::to_vec(object);
    encoded.map(Bytes::from).map_err(|source| LeaseError::Garbled { path: path.clone(), source })
}

fn decode<T: DeserializeOwned>(path: &Path, bytes: &Bytes) -> Result<T, LeaseError> {
    #[derive(Deserialize)]
    struct Version {
        format_version: u32,
    }
    let garbled = |source| LeaseError::Garbled { path: path.clone(), source };
    let Version { format_version } = serde_json::from_slice(bytes).map_err(garbled)?;
    if format_version != FORMAT_VERSION {
        return Err(LeaseError::UnknownFormat { path: path.clone(), found: format_version, supported: FORMAT_VERSION });
    }
    serde_json::from_slice(bytes).map_err(garbled)
}
