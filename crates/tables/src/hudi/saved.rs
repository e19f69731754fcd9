//! Pinned states on storage: `<digest of the version>.json`, create-only. The timeline forgets an instant after some
//! dozens of others; a migration takes longer.

use lakeshift_core::storage::Storage;
use lakeshift_core::table::{TableError, TableVersion};
use object_store::path::Path;
use object_store::{ObjectStore, PutMode, PutOptions};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::load::Loaded;
use crate::footer::corrupt;
use crate::storage::{outside_error, store_error};

const FORMAT_VERSION: u32 = 1;
/// The largest state that is read, in bytes.
const STATE_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

#[derive(Serialize, Deserialize)]
struct Saved<T> {
    format_version: u32,
    location: String,
    state: T,
}

/// Saves a state; one that is there already stays.
pub(super) async fn save(storage: &Storage, location: &str, state: &Loaded) -> Result<(), TableError> {
    let path = object(storage, &state.version)?;
    let saved = Saved { format_version: FORMAT_VERSION, location: location.to_owned(), state };
    let bytes = serde_json::to_vec(&saved).map_err(|error| damaged(&path, "it could not be written as JSON", error))?;
    let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    match storage.store().put_opts(&path, bytes.into(), options).await {
        Ok(_) | Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {}
        Err(error) => return Err(store_error("write", path.as_ref(), error)),
    }
    match load(storage, location, &state.version).await? {
        Some(read) if read.files.len() == state.files.len() => Ok(()),
        _ => Err(corrupt(path.as_ref(), "the state reads back otherwise than it was written".to_owned())),
    }
}

/// The saved state of a version; `None` when none was saved.
pub(super) async fn load(storage: &Storage, location: &str, version: &TableVersion) -> Result<Option<Loaded>, TableError> {
    let path = object(storage, version)?;
    let name = name(version);
    let Some(bytes) = super::read_object(storage, &name, STATE_BYTES_MAX).await? else { return Ok(None) };
    let saved: Saved<Loaded> =
        serde_json::from_slice(&bytes).map_err(|error| damaged(&path, "the state cannot be read", error))?;
    if saved.format_version != FORMAT_VERSION || saved.state.version != *version || saved.location != location {
        return Err(corrupt(path.as_ref(), "the state is not the one that its name says".to_owned()));
    }
    Ok(Some(saved.state))
}

fn name(version: &TableVersion) -> String {
    format!("hudi-{:x}.json", Sha256::digest(version.0.as_bytes()))
}

fn object(storage: &Storage, version: &TableVersion) -> Result<Path, TableError> {
    storage.resolve(&name(version)).map_err(outside_error)
}

fn damaged(path: &Path, reason: &str, error: serde_json::Error) -> TableError {
    TableError::Corrupt { object: path.to_string(), reason: reason.to_owned(), source: Some(Box::new(error)) }
}
