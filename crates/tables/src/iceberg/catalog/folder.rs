//! [`Folder`]: the metadata files of a table's folder, which every kind of catalogue reads and most write.

use bytes::Bytes;
use futures::TryStreamExt;
use iceberg::io::FileIO;
use iceberg::spec::TableMetadata;
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{Format, MigrationId, TableError};
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutMode, PutOptions};

use super::super::fault::{damaged, unreadable};
use super::super::location::{Places, same_folder};
use super::super::marks;
use super::{Base, Published};
use crate::storage::{outside_error, store_error};

const METADATA: &str = "metadata";

/// A table's folder. Files are named relative to it.
#[derive(Debug, Clone)]
pub(in super::super) struct Folder {
    places: Places,
}

impl Folder {
    pub fn new(root: Storage) -> Self {
        Self { places: Places::new(root) }
    }

    /// The folder as people know it.
    pub fn name(&self) -> &str {
        self.places.root().location()
    }

    /// A file as Iceberg spells it.
    pub fn location(&self, file: &str) -> String {
        self.places.below_root(file)
    }

    /// The table at a metadata file of this folder.
    pub async fn base(&self, file: &str) -> Result<Base, TableError> {
        let missing = || TableError::NotFound { format: Format::Iceberg, location: self.location(file) };
        let content = self.get(file).await?.ok_or_else(missing)?;
        Ok(Base { location: self.location(file), metadata: self.parse(file, content).await? })
    }

    /// The table at a metadata file that a catalogue names, which must lie in this folder, and be of a table that does.
    /// `table` names it in errors.
    pub async fn base_at(&self, table: &str, location: &str) -> Result<Base, TableError> {
        let elsewhere = |_| self.elsewhere(table, location.rsplit_once("/metadata/").map_or(location, |(root, _)| root));
        let place = self.places.locate(location).map_err(elsewhere)?;
        let failed = |error| unreadable(location, error);
        let content = place.storage.store().get(&place.path).await.map_err(failed)?.bytes().await.map_err(failed)?;
        let base = Base { location: location.to_owned(), metadata: self.parse(location, content).await? };
        self.check_location(table, &base.metadata)?;
        Ok(base)
    }

    /// Refuses a table that lies in another folder.
    pub fn check_location(&self, table: &str, metadata: &TableMetadata) -> Result<(), TableError> {
        match same_folder(metadata.location(), &self.places.root_in_metadata()) {
            true => Ok(()),
            false => Err(self.elsewhere(table, metadata.location())),
        }
    }

    fn elsewhere(&self, table: &str, found: &str) -> TableError {
        TableError::Elsewhere { table: table.to_owned(), found: found.to_owned(), location: self.name().to_owned() }
    }

    /// Every metadata file, in the order of names.
    pub async fn list(&self) -> Result<Vec<String>, TableError> {
        let folder = self.path(METADATA)?;
        let failed = |source| store_error("list", &format!("{}/{METADATA}", self.name()), source);
        let objects = self.places.root().store().list(Some(&folder));
        let names = objects.map_ok(|object| object.location.filename().map(str::to_owned));
        let names: Vec<Option<String>> = names.try_collect().await.map_err(failed)?;
        let metadata = names.into_iter().flatten().filter(|name| name.ends_with(".metadata.json"));
        let mut files: Vec<String> = metadata.map(|name| format!("{METADATA}/{name}")).collect();
        files.sort();
        Ok(files)
    }

    /// A metadata file that is not of a table which `migration` began to create.
    pub async fn stranger(&self, migration: &MigrationId) -> Result<Option<String>, TableError> {
        for file in self.list().await? {
            match self.base(&file).await {
                Ok(base) if marks::is_created_by(&base.metadata, migration) => {}
                // Deleted since it was listed.
                Err(TableError::NotFound { .. }) => {}
                _ => return Ok(Some(file)),
            }
        }
        Ok(None)
    }

    pub async fn exists(&self, file: &str) -> Result<bool, TableError> {
        match self.places.root().store().head(&self.path(file)?).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(source) => Err(store_error("look for", &self.location(file), source)),
        }
    }

    pub async fn get(&self, file: &str) -> Result<Option<Bytes>, TableError> {
        let failed = |source| store_error("read", &self.location(file), source);
        match self.places.root().store().get(&self.path(file)?).await {
            Ok(found) => Ok(Some(found.bytes().await.map_err(failed)?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(failed(source)),
        }
    }

    /// Creates a file, unless it is there with other content.
    pub async fn create(&self, file: &str, content: &Bytes) -> Result<Published, TableError> {
        let options = PutOptions::from(PutMode::Create);
        let put = self.places.root().store().put_opts(&self.path(file)?, content.clone().into(), options).await;
        let Err(error) = put else { return Ok(Published::Ours) };
        // The write may have taken effect all the same: only what stands there tells.
        match self.get(file).await? {
            Some(found) if found == content => Ok(Published::Ours),
            Some(_) => Ok(Published::Taken),
            None => Err(store_error("create", &self.location(file), error)),
        }
    }

    /// Writes a file over what stands there.
    pub async fn put(&self, file: &str, content: String) -> Result<(), TableError> {
        let put = self.places.root().store().put(&self.path(file)?, content.into_bytes().into()).await;
        put.map(|_| ()).map_err(|source| store_error("write", &self.location(file), source))
    }

    /// Deletes a file that nothing refers to, as far as the store lets it.
    pub async fn discard(&self, file: &str) {
        let Ok(path) = self.path(file) else { return };
        if let Err(error) = self.places.root().store().delete(&path).await {
            tracing::debug!(file, %error, "could not delete a metadata file of an attempt that lost its race");
        }
    }

    fn path(&self, file: &str) -> Result<Path, TableError> {
        self.places.root().resolve(file).map_err(outside_error)
    }

    async fn parse(&self, file: &str, content: Bytes) -> Result<TableMetadata, TableError> {
        let location = if file.contains("://") { file.to_owned() } else { self.location(file) };
        parse(content).await.map_err(|source| damaged(location, "it is not table metadata that can be read", source))
    }
}

/// Parses metadata, compressed or not: the library tells them apart by their first bytes, but reads only files.
async fn parse(bytes: Bytes) -> Result<TableMetadata, iceberg::Error> {
    let scratch = FileIO::new_with_memory();
    scratch.new_output("metadata")?.write(bytes).await?;
    TableMetadata::read_from(&scratch, "metadata").await
}
