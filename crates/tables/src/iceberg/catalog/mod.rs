//! Who says which metadata file is the table now: [`Catalog`], with one implementation for each kind of catalogue.
//!
//! - [`filesystem`]: the table's own folder, of which the highest `vN.metadata.json` is the table.
//! - [`fixed`]: one metadata file that the caller names; only read.
//! - [`sql`]: a row of a database that names the metadata file.
//! - [`rest`]: a server that keeps the metadata and writes its files itself.
//!
//! Each has a compare-and-swap of its own, and each tells its own swap from another's after a lost response.

mod filesystem;
mod fixed;
mod folder;
mod rest;
mod sql;

use std::fmt::Debug;

use async_trait::async_trait;
use bytes::Bytes;
use iceberg::TableUpdate;
use iceberg::spec::TableMetadata;
use lakeshift_core::table::{MigrationId, TableError};
use uuid::Uuid;

pub(super) use self::filesystem::Filesystem;
pub(super) use self::fixed::Fixed;
pub(super) use self::folder::Folder;
pub(super) use self::rest::RestCatalog;
pub(super) use self::sql::SqlCatalog;

/// The catalogue of one table.
#[async_trait]
pub(super) trait Catalog: Debug + Send + Sync {
    /// The table now; `None` where there is none.
    async fn current(&self) -> Result<Option<Base>, TableError>;

    /// Puts `next` in the place of `base`, or of nothing, unless another writer was first. An error leaves open what came of
    /// it: the caller finds its own marks in the table, or fences.
    async fn publish(&self, base: Option<&Base>, next: &Next) -> Result<Published, TableError>;

    /// What stands where `migration` wants to create a table, its own table included. May finish what a crash has left.
    async fn occupant(&self, migration: &MigrationId) -> Result<Option<Occupant>, TableError>;

    /// Metadata files in the table's folder by which somebody has committed past this catalogue.
    async fn bypasses(&self) -> Result<Vec<String>, TableError> {
        Ok(Vec::new())
    }

    /// Takes the table out of the catalogue and leaves its files; no error where it is not there.
    async fn forget(&self) -> Result<(), TableError> {
        Ok(())
    }

    /// Refuses a table whose compare-and-swap would not hold.
    fn check_writable(&self, _base: &Base) -> Result<(), TableError> {
        Ok(())
    }

    /// Whether a server applies [`Next::changes`] to what it has, rather than taking [`Next::content`] as a whole. It can then
    /// compare snapshots and ids but no properties, so that a commit which only fences must make a snapshot; and it numbers
    /// the columns of a new table itself.
    fn server_writes_metadata(&self) -> bool {
        false
    }
}

/// One state of the table's metadata.
#[derive(Debug, Clone)]
pub(super) struct Base {
    /// The metadata file as the catalogue spells it.
    pub location: String,
    pub metadata: TableMetadata,
}

/// The state that shall follow a [`Base`], or be a table's first.
#[derive(Debug)]
pub(super) struct Next {
    pub metadata: TableMetadata,
    /// What makes it of the base; empty for a table's first.
    pub changes: Vec<TableUpdate>,
    /// The metadata file.
    pub content: Bytes,
    /// Makes the file's name unlike any other's where the catalogue does not number names.
    pub nonce: Uuid,
}

/// What an attempt to publish came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum Published {
    Ours,
    Taken,
}

/// What stands at a new table's place.
#[derive(Debug)]
pub(super) enum Occupant {
    Table(Box<Base>),
    /// A metadata file of no table that this catalogue knows.
    Stranger(String),
}

/// N of `vN.metadata.json`, `vN.gz.metadata.json` and `N-<uuid>.metadata.json`, at the end of a location.
fn number_of(location: &str) -> Option<u64> {
    let name = location.rsplit('/').next()?.strip_suffix(".metadata.json")?;
    let name = name.strip_suffix(".gz").unwrap_or(name);
    match name.strip_prefix('v') {
        Some(number) => number.parse().ok(),
        None => name.split_once('-')?.0.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::number_of;

    #[test]
    fn a_metadata_file_tells_its_number_in_either_style() {
        assert_eq!(number_of("s3://lake/t/metadata/v12.metadata.json"), Some(12));
        assert_eq!(number_of("v12.gz.metadata.json"), Some(12));
        assert_eq!(number_of("/lake/t/metadata/00012-5c1e-aa.metadata.json"), Some(12));
        assert_eq!(number_of("00012-5c1e.gz.metadata.json"), Some(12));
        assert_eq!(number_of("first.metadata.json"), None);
        assert_eq!(number_of("v12.json"), None);
    }
}
