//! Delta Lake: [`DeltaTable`], read and written.
//!
//! Reading is deltalake's (its kernel replays the log). A commit is one object of the log, `_delta_log/N.json`, put
//! create-only by this module: validated against version N−1 and never sent again blindly. The migration's commit number
//! and its epoch stand in the table as `txn` actions, so that a repeated commit and a runner that was replaced are seen in
//! the very snapshot that a commit builds on.

mod actions;
mod commit;
mod live;
mod log;
mod schema;
mod stats;
mod vector;

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{
    Changes, CommitOutcome, CommitRequest, CreateOutcome, CreateRequest, DeletedRows, FileEntry, FileFacts, Format, Marks,
    MigrationId, Snapshot, TableError, TableFormat, TableVersion, deletes_in,
};
use lakeshift_journal::Clock;

use crate::footer::{Footer, Int96, read_footer, read_footer_with};
use crate::storage::{outside_error, side_by_side};
use log::{Loaded, Log};
use vector::Vector;

/// A Delta table, there or yet to be created. Clones are cheap.
#[derive(Debug, Clone)]
pub struct DeltaTable {
    log: Log,
    clock: Arc<dyn Clock>,
}

impl DeltaTable {
    /// The table at `storage`. The clock gives the times that Delta writes into its log; nothing depends on them.
    pub fn new(storage: Storage, clock: Arc<dyn Clock>) -> Self {
        Self { log: Log::new(storage), clock }
    }

    fn storage(&self) -> &Storage {
        self.log.storage()
    }

    fn snapshot_of(&self, loaded: &Loaded) -> Snapshot {
        Snapshot {
            version: version_text(loaded.version),
            location: self.storage().location().to_owned(),
            schema: loaded.schema.clone(),
            partition: loaded.partition.clone(),
            properties: loaded.properties.clone(),
            defaults: std::collections::BTreeMap::new(),
        }
    }

    async fn load(&self, version: &TableVersion) -> Result<Loaded, TableError> {
        let number = version.0.parse().map_err(|_| TableError::VersionGone {
            location: self.storage().location().to_owned(),
            version: version.clone(),
            reason: "a Delta version is a whole number".to_owned(),
        })?;
        self.log.load(Some(number)).await
    }

    async fn entries(&self, snapshot: &Snapshot) -> Result<Vec<FileEntry>, TableError> {
        let loaded = self.load(&snapshot.version).await?;
        let files = live::files(&self.log, &loaded).await?;
        files.iter().map(|file| live::entry(file, &loaded, self.storage())).collect()
    }

    async fn footer(&self, path: &str, size_bytes: u64) -> Result<Footer, TableError> {
        let object = self.storage().resolve(path).map_err(outside_error)?;
        read_footer(self.storage().store().as_ref(), &object, size_bytes).await
    }

    async fn facts_of(&self, file: &FileEntry) -> Result<FileFacts, TableError> {
        let object = self.storage().resolve(&file.path).map_err(outside_error)?;
        let store = self.storage().store().as_ref();
        let mut facts = read_footer_with(store, &object, file.size_bytes, Int96::Instants).await?.facts();
        if let Some(vector) = vector_of(file)? {
            facts.rows = live::remaining(&file.path, Some(facts.rows), vector.cardinality)?.unwrap_or_default();
            // How many of the deleted rows were null is not told, but where none was, none is left.
            facts.null_counts.retain(|_, nulls| *nulls == 0);
            facts.deletes_by_position = true;
        }
        Ok(facts)
    }
}

/// The deletion vector that applies to a file, if there is one.
fn vector_of(file: &FileEntry) -> Result<Option<Vector>, TableError> {
    deletes_in(&file.identity).map(|json| Vector::parse(&file.path, json)).transpose()
}

fn version_text(version: u64) -> TableVersion {
    TableVersion(version.to_string())
}

#[async_trait]
impl TableFormat for DeltaTable {
    fn format(&self) -> Format {
        Format::Delta
    }

    fn location(&self) -> &str {
        self.storage().location()
    }

    async fn identity(&self) -> Result<Option<String>, TableError> {
        Ok(Some(self.log.load(None).await?.id))
    }

    async fn snapshot(&self, version: Option<&TableVersion>) -> Result<Snapshot, TableError> {
        let loaded = match version {
            Some(version) => self.load(version).await?,
            None => self.log.load(None).await?,
        };
        Ok(self.snapshot_of(&loaded))
    }

    async fn parent(&self, version: &TableVersion) -> Result<Option<TableVersion>, TableError> {
        Ok(self.load(version).await?.version.checked_sub(1).map(version_text))
    }

    async fn pin(&self, _snapshot: &Snapshot) -> Result<(), TableError> {
        Ok(())
    }

    fn files<'a>(&'a self, snapshot: &'a Snapshot) -> BoxStream<'a, Result<FileEntry, TableError>> {
        let entries = async { Ok::<_, TableError>(stream::iter(self.entries(snapshot).await?.into_iter().map(Ok))) };
        stream::once(entries).try_flatten().boxed()
    }

    async fn changes(&self, from: &Snapshot, to: &Snapshot) -> Result<Changes, TableError> {
        let number = |snapshot: &Snapshot| snapshot.version.0.parse::<u64>().ok();
        let commits = number(to).zip(number(from)).and_then(|(to, from)| to.checked_sub(from));
        let (from, to) = (self.entries(from).await?, self.entries(to).await?);
        Ok(Changes { commits, ..crate::changes::difference(from, to) })
    }

    fn facts<'a>(&'a self, files: Vec<FileEntry>) -> BoxStream<'a, (FileEntry, Result<FileFacts, TableError>)> {
        let read = move |file: FileEntry| {
            let table = self.clone();
            async move {
                let facts = table.facts_of(&file).await;
                (file, facts)
            }
        };
        side_by_side(self.storage().is_on_disk(), stream::iter(files), read)
    }

    async fn deleted_rows(&self, file: &FileEntry) -> Result<DeletedRows, TableError> {
        match vector_of(file)? {
            Some(vector) => vector.read(&file.path, self.storage()).await,
            None => Ok(DeletedRows::default()),
        }
    }

    async fn create(&self, request: &CreateRequest) -> Result<CreateOutcome, TableError> {
        commit::create(self, request).await
    }

    async fn commit(&self, request: &CommitRequest) -> Result<CommitOutcome, TableError> {
        commit::commit(self, request).await
    }

    async fn marks(&self, migration: &MigrationId) -> Result<Marks, TableError> {
        commit::marks(self, migration).await
    }
}
