//! Apache Iceberg, read and written by path: [`IcebergTable`] over the filesystem catalogue.
//!
//! The catalogue is `metadata/vN.metadata.json`, create-only; see [`catalog`]. Reading takes versions 1 to 3 of the format,
//! writing is version 2. The `iceberg` crate gives the specification's types, parsers and writers; commits, their
//! validation and all I/O are here, over the one storage configuration. A table that a catalogue keeps is read at a metadata
//! file named by [`IcebergTable::with_metadata_file`].

mod catalog;
mod commit;
mod compat;
mod create;
mod fault;
mod live;
mod location;
mod manifests;
mod marks;
mod metrics;
mod partition;
mod schema;
mod summary;
mod values;

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use iceberg::spec::{DEFAULT_SCHEMA_NAME_MAPPING, SnapshotRef};
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{
    Changes, CommitOutcome, CommitRequest, CreateOutcome, CreateRequest, FileEntry, FileFacts, Format, Marks, MigrationId,
    Snapshot, TableError, TableFormat, TableVersion,
};
use lakeshift_journal::{Clock, Rng, SystemClock, SystemRng};

use self::catalog::{Base, Catalog};
use self::fault::{damaged, unsupported};
use self::location::Places;
use crate::footer::{read_footer, side_by_side};

/// An Iceberg table at a location, whether it exists yet or not.
#[derive(Debug, Clone)]
pub struct IcebergTable {
    places: Places,
    catalog: Catalog,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
}

impl IcebergTable {
    /// The table whose folder is `root`. Nothing is read yet.
    pub fn new(root: Storage) -> Self {
        Self {
            places: Places::new(root.clone()),
            catalog: Catalog::new(root),
            clock: Arc::new(SystemClock::new()),
            rng: Arc::new(SystemRng),
        }
    }

    /// Allows files of `other` in the table: the location of the old table whose files are adopted. Without it a file
    /// outside of the table's folder is refused.
    #[must_use]
    pub fn with_files_in(mut self, other: Storage) -> Self {
        self.places.add(other);
        self
    }

    /// Reads the table at this metadata file, relative to the root (`metadata/00003-….metadata.json`), whatever else stands
    /// in the folder: for tables of a catalogue. Such a table is only read.
    #[must_use]
    pub fn with_metadata_file(mut self, file: impl Into<String>) -> Self {
        self.catalog.fix(file.into());
        self
    }

    /// Takes the time of commits from `clock`.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Takes table UUIDs, snapshot ids and the names of metadata files from `rng`.
    #[must_use]
    pub fn with_rng(mut self, rng: Arc<dyn Rng>) -> Self {
        self.rng = rng;
        self
    }

    /// The current metadata file's path as Iceberg spells it, for readers that take one.
    ///
    /// # Errors
    /// As [`TableFormat::snapshot`].
    pub async fn metadata_location(&self) -> Result<String, TableError> {
        Ok(self.places.below_root(&self.base().await?.file))
    }

    fn name(&self) -> &str {
        self.places.root().location()
    }

    async fn base(&self) -> Result<Base, TableError> {
        let missing = || TableError::NotFound { format: Format::Iceberg, location: self.name().to_owned() };
        self.catalog.current().await?.ok_or_else(missing)
    }

    /// The snapshot of a version; `None` is the empty table before its first.
    fn find<'b>(&self, base: &'b Base, version: &TableVersion) -> Result<Option<&'b SnapshotRef>, TableError> {
        let gone = |reason: &str| TableError::VersionGone {
            location: self.name().to_owned(),
            version: version.clone(),
            reason: reason.to_owned(),
        };
        match version.0.strip_prefix("iceberg:") {
            Some("none") => Ok(None),
            Some(id) => {
                let id = id.parse().map_err(|_| gone("it is no snapshot id"))?;
                let snapshot = base.metadata.snapshot_by_id(id);
                snapshot.map(Some).ok_or_else(|| gone("the table's metadata no longer has this snapshot (expired?)"))
            }
            None => Err(gone("it is no version of an Iceberg table")),
        }
    }

    async fn live(&self, version: &TableVersion) -> Result<Vec<FileEntry>, TableError> {
        let base = self.base().await?;
        let Some(snapshot) = self.find(&base, version)? else { return Ok(Vec::new()) };
        let manifests = manifests::read_snapshot(&self.places, base.metadata.format_version(), snapshot).await?;
        live::entries(self.name(), &self.places, &base.metadata, &manifests)
    }

    async fn facts_of(&self, file: &FileEntry) -> Result<FileFacts, TableError> {
        let place = self.places.locate(&self.places.to_metadata(&file.path)?)?;
        Ok(read_footer(place.storage.store().as_ref(), &place.path, file.size_bytes).await?.facts())
    }
}

#[async_trait]
impl TableFormat for IcebergTable {
    fn format(&self) -> Format {
        Format::Iceberg
    }

    fn location(&self) -> &str {
        self.name()
    }

    async fn snapshot(&self, version: Option<&TableVersion>) -> Result<Snapshot, TableError> {
        let base = self.base().await?;
        let snapshot = match version {
            Some(version) => self.find(&base, version)?,
            None => base.metadata.current_snapshot(),
        };
        let written = snapshot.map(|snapshot| snapshot.schema(&base.metadata)).transpose();
        let schema = written
            .map_err(|source| damaged(self.name(), "the snapshot's schema is missing", source))?
            .unwrap_or_else(|| base.metadata.current_schema().clone());
        if let Some(column) = schema::with_default(&schema) {
            let (feature, advice) =
                (format!("a default value of column {column}"), "rewrite the files that lack the column");
            return Err(unsupported(self.name(), feature, advice));
        }
        let mut columns = schema::from_iceberg(&schema);
        if let Some(mapping) = base.metadata.properties().get(DEFAULT_SCHEMA_NAME_MAPPING) {
            let mapping = serde_json::from_str(mapping).map_err(|source| TableError::Corrupt {
                object: self.name().to_owned(),
                reason: format!("its property {DEFAULT_SCHEMA_NAME_MAPPING} is no name mapping"),
                source: Some(Box::new(source)),
            })?;
            schema::add_names(&mut columns, &mapping);
        }
        Ok(Snapshot {
            version: marks::version(snapshot.map(|snapshot| snapshot.snapshot_id())),
            location: self.name().to_owned(),
            partition: partition::from_iceberg(self.name(), base.metadata.default_partition_spec(), &schema)?,
            schema: columns,
            properties: base.metadata.properties().clone().into_iter().collect(),
        })
    }

    async fn pin(&self, _snapshot: &Snapshot) -> Result<(), TableError> {
        // Snapshots stay readable until somebody expires them, which `gc.enabled=false` forbids.
        Ok(())
    }

    fn files<'a>(&'a self, snapshot: &'a Snapshot) -> BoxStream<'a, Result<FileEntry, TableError>> {
        let live = self.live(&snapshot.version);
        futures::stream::once(live)
            .map_ok(|entries| futures::stream::iter(entries.into_iter().map(Ok)))
            .try_flatten()
            .boxed()
    }

    async fn changes(&self, from: &Snapshot, to: &Snapshot) -> Result<Changes, TableError> {
        Ok(live::difference(self.live(&from.version).await?, self.live(&to.version).await?))
    }

    fn facts<'a>(&'a self, files: Vec<FileEntry>) -> BoxStream<'a, (FileEntry, Result<FileFacts, TableError>)> {
        let one = move |file: FileEntry| {
            let table = self.clone();
            async move {
                let facts = table.facts_of(&file).await;
                (file, facts)
            }
        };
        side_by_side(files, one).boxed()
    }

    async fn create(&self, request: &CreateRequest) -> Result<CreateOutcome, TableError> {
        self.create_table(request).await
    }

    async fn commit(&self, request: &CommitRequest) -> Result<CommitOutcome, TableError> {
        self.commit_files(request).await
    }

    async fn marks(&self, migration: &MigrationId) -> Result<Marks, TableError> {
        let base = self.base().await?;
        let mut marks = marks::marks(self.name(), &base.metadata, migration)?;
        if marks::is_created_by(&base.metadata, migration) && !self.catalog.is_fixed() {
            // A catalogue that committed to this folder has a table of its own there, which readers by path do not see.
            let catalogued = self.catalog.list().await?.catalogued;
            marks.foreign.extend(catalogued.into_iter().map(|file| TableVersion(format!("iceberg:{file}"))));
        }
        Ok(marks)
    }
}
