//! [`Kept`]: states of entries before they were moved, each under its digest, which stands in the moved entry.

use lakeshift_core::storage::Storage;
use object_store::{ObjectStoreExt, PutMode, PutOptions};
use serde::{Deserialize, Serialize};

use lakeshift_core::table::TableError;

use super::entry::Entry;
use super::error::MetastoreError;
use super::value::Value;
use crate::storage::store_error;

/// The version of the object's own format.
const FORMAT_VERSION: u32 = 1;

/// One object. `thrift` is what is restored; the rest is for people.
#[derive(Debug, Serialize, Deserialize)]
struct Object {
    format_version: u32,
    entry: String,
    table_type: String,
    location: Option<String>,
    query: Option<String>,
    /// The service's struct `Table` in the binary protocol, in hexadecimal digits.
    thrift: String,
}

/// The folder of the objects.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    folder: Storage,
}

impl Kept {
    pub fn new(folder: Storage) -> Self {
        Self { folder }
    }

    /// Where the state of a digest is kept.
    pub fn place(&self, digest: &str) -> String {
        self.folder.url_of(&file(digest))
    }

    /// Keeps a state, and returns its digest. Safe to repeat.
    pub async fn keep(&self, name: &str, entry: &Entry) -> Result<String, TableError> {
        let digest = entry.digest().map_err(|error| self.unkept(name, "", error.to_string()))?;
        let bytes = entry.clone().into_value().to_bytes().map_err(|error| self.unkept(name, &digest, error.to_string()))?;
        let object = Object {
            format_version: FORMAT_VERSION,
            entry: name.to_owned(),
            table_type: entry.table_type().to_owned(),
            location: entry.location().map(str::to_owned),
            query: entry.query().map(str::to_owned),
            thrift: bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        let json = serde_json::to_vec_pretty(&object).map_err(|error| self.unkept(name, &digest, error.to_string()))?;
        let path = self.folder.resolve(&file(&digest))?;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.folder.store().put_opts(&path, json.into(), options).await {
            Ok(_) => Ok(digest),
            // Who wrote it may have been cut off where a store lets that be seen.
            Err(object_store::Error::AlreadyExists { .. }) => self.state(name, &digest).await.map(|_| digest),
            Err(error) => Err(store_error("write", &self.place(&digest), error)),
        }
    }

    /// The state of a digest, which it must have.
    pub async fn state(&self, name: &str, digest: &str) -> Result<Entry, TableError> {
        let bad = |reason: &str| self.unkept(name, digest, reason.to_owned());
        if digest.len() != 64 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(bad("what the entry says of it is no digest"));
        }
        let path = self.folder.resolve(&file(digest))?;
        let bytes = match self.folder.store().get(&path).await {
            Ok(found) => found.bytes().await.map_err(|error| store_error("read", &self.place(digest), error))?,
            Err(object_store::Error::NotFound { .. }) => return Err(bad("it is not there")),
            Err(error) => return Err(store_error("read", &self.place(digest), error)),
        };
        let object: Object = serde_json::from_slice(&bytes).map_err(|_| bad("it is not what was written"))?;
        if object.format_version != FORMAT_VERSION {
            return Err(bad("it is of another version of Lakeshift"));
        }
        let bytes = unhex(&object.thrift).ok_or_else(|| bad("it is not what was written"))?;
        let entry = Value::struct_of(&bytes).ok().and_then(Entry::of).ok_or_else(|| bad("it is not what was written"))?;
        match entry.digest() {
            Ok(found) if found == digest => Ok(entry),
            _ => Err(bad("it is not what was written: its digest is another one")),
        }
    }

    fn unkept(&self, name: &str, digest: &str, reason: String) -> TableError {
        let kept = self.place(digest);
        let source = Box::new(MetastoreError::Kept { entry: name.to_owned(), kept, reason });
        TableError::Store { action: "restore", object: name.to_owned(), source }
    }
}

fn file(digest: &str) -> String {
    format!("{digest}.json")
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
