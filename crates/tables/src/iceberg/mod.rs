//! Apache Iceberg: [`IcebergTable`], by path or in a catalogue.
//!
//! Without a catalogue the table's folder is one: `metadata/vN.metadata.json`, create-only; see [`catalog`]. Reading takes
//! versions 1 to 3 of the format, writing versions 2 and 3. The `iceberg` crate gives the specification's types, parsers and
//! writers; commits, their validation and all I/O are here, over the one storage configuration. A branch or tag is read by
//! [`IcebergTable::with_reference`].

mod applied;
mod catalog;
mod change;
mod commit;
mod compat;
mod create;
mod defaults;
mod delete_files;
mod deleted;
mod deletes;
mod entries;
mod equality;
mod expire;
mod fault;
mod lineage;
mod live;
mod location;
mod manifests;
mod marks;
mod metrics;
mod partition;
mod schema;
mod sizing;
mod summary;
mod values;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use iceberg::spec::{MAIN_BRANCH, SnapshotRef};
use lakeshift_core::schema::Field;
use lakeshift_core::spec::{Catalog as CatalogSpec, CatalogCredentials, CatalogKind, SnapshotRule};
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{
    Changes, CommitOutcome, CommitRequest, CreateOutcome, CreateRequest, DeletedRows, EqualityDeletes, FileEntry, FileFacts,
    Format, Marks, MigrationId, Snapshot, TableError, TableFormat, TableVersion,
};
use lakeshift_journal::{Clock, Rng, SystemClock, SystemRng};

use self::applied::Applied;
use self::catalog::{Base, Catalog, Filesystem, Fixed, RestCatalog, SqlCatalog};
pub use self::entries::EntrySwap;
use self::fault::{corrupt, damaged, unsupported};
use self::location::Places;
use crate::footer::read_footer;
use crate::storage::side_by_side;

/// An Iceberg table at a location, whether it exists yet or not.
#[derive(Debug, Clone)]
pub struct IcebergTable {
    places: Places,
    catalog: Arc<dyn Catalog>,
    snapshots: Option<SnapshotRule>,
    /// The branch or tag that is the table; the main branch where there is none.
    reference: Option<String>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
}

impl IcebergTable {
    /// The table whose folder is `root`. Nothing is read yet.
    pub fn new(root: Storage) -> Self {
        Self {
            places: Places::new(root.clone()),
            catalog: Arc::new(Filesystem::new(root)),
            snapshots: None,
            reference: None,
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
    /// in the folder. Such a table is only read.
    #[must_use]
    pub fn with_metadata_file(mut self, file: impl Into<String>) -> Self {
        self.catalog = Arc::new(Fixed::new(self.places.root().clone(), file.into()));
        self
    }

    /// Reads and writes the table through this catalogue alone, which waits by the clock that was set before.
    #[must_use]
    pub fn with_catalog(mut self, catalog: &CatalogSpec, credentials: &CatalogCredentials) -> Self {
        let root = self.places.root().clone();
        self.catalog = match catalog.kind {
            CatalogKind::Sql => Arc::new(SqlCatalog::new(root, catalog, credentials)),
            CatalogKind::Rest => Arc::new(RestCatalog::new(root, catalog, credentials, self.clock.clone())),
        };
        self
    }

    /// As [`Self::with_catalog`] of a SQL catalogue, in which a cutover may have exchanged the table's entry with that of
    /// `other`: it is at one of the two.
    #[must_use]
    pub fn with_exchanged_catalog(mut self, catalog: &CatalogSpec, other: &str, credentials: &CatalogCredentials) -> Self {
        let root = self.places.root().clone();
        self.catalog = Arc::new(SqlCatalog::new(root, catalog, credentials).or_at(catalog, other, credentials));
        self
    }

    /// Drops snapshots from the metadata by `rule` whenever one is added. Without it all stay.
    #[must_use]
    pub fn with_snapshot_rule(mut self, rule: SnapshotRule) -> Self {
        self.snapshots = Some(rule);
        self
    }

    /// Reads the table as the branch or tag of this name has it. Only the main branch is written.
    #[must_use]
    pub fn with_reference(mut self, name: impl Into<String>) -> Self {
        self.reference = Some(name.into()).filter(|name| name != MAIN_BRANCH);
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
        Ok(self.base().await?.location)
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

    /// The snapshot that is the table now; `None` for the empty table before its first.
    fn head<'b>(&self, base: &'b Base) -> Result<Option<&'b SnapshotRef>, TableError> {
        let Some(name) = &self.reference else { return Ok(base.metadata.current_snapshot()) };
        let found = base.metadata.snapshot_for_ref(name);
        found.map(Some).ok_or_else(|| TableError::VersionGone {
            location: self.name().to_owned(),
            version: TableVersion(name.clone()),
            reason: "the table has no branch or tag of this name".to_owned(),
        })
    }

    async fn live(&self, base: &Base, version: &TableVersion) -> Result<Vec<FileEntry>, TableError> {
        let Some(snapshot) = self.find(base, version)? else { return Ok(Vec::new()) };
        let manifests = manifests::read_snapshot(&self.places, base.metadata.format_version(), snapshot).await?;
        live::entries(self.name(), &self.places, &base.metadata, &manifests)
    }

    async fn facts_of(&self, file: &FileEntry) -> Result<FileFacts, TableError> {
        let place = self.places.locate(&self.places.to_metadata(&file.path)?)?;
        let mut facts = read_footer(place.storage.store().as_ref(), &place.path, file.size_bytes).await?.facts();
        if let Some(applied) = Applied::of(file)? {
            if facts.rows != applied.rows {
                let reason = format!("its footer has {} rows where the table says {}", facts.rows, applied.rows);
                return Err(corrupt(&file.path, reason));
            }
            let deleted = match &applied.vector {
                Some(vector) => vector.rows,
                None => self.positions(file, &applied).await?.count(),
            };
            facts.rows = applied.without(&file.path, deleted)?;
            // How many of the deleted rows were null is not told, but where none was, none is left.
            facts.null_counts.retain(|_, nulls| *nulls == 0);
            facts.deletes_by_position = applied.equality.is_empty();
        }
        Ok(facts)
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

    async fn identity(&self) -> Result<Option<String>, TableError> {
        Ok(Some(self.base().await?.metadata.uuid().to_string()))
    }

    async fn snapshot(&self, version: Option<&TableVersion>) -> Result<Snapshot, TableError> {
        let base = self.base().await?;
        let snapshot = match version {
            Some(version) => self.find(&base, version)?,
            None => self.head(&base)?,
        };
        let written = snapshot.map(|snapshot| snapshot.schema(&base.metadata)).transpose();
        let schema = written
            .map_err(|source| damaged(self.name(), "the snapshot's schema is missing", source))?
            .unwrap_or_else(|| base.metadata.current_schema().clone());
        let columns = schema::from_metadata(self.name(), &base.metadata, &schema)?;
        let used = match snapshot {
            // Most tables have had one spec.
            Some(snapshot) if base.metadata.partition_specs_iter().len() > 1 => {
                manifests::specs_in_use(&self.places, base.metadata.format_version(), snapshot).await?
            }
            _ => BTreeSet::new(),
        };
        let defaults = defaults::of(self, &base, &schema).await?;
        let default = |field: &Field| Some((field.name.clone(), defaults.get(&field.id?)?.clone()));
        Ok(Snapshot {
            version: marks::version(snapshot.map(|snapshot| snapshot.snapshot_id())),
            location: self.name().to_owned(),
            partition: partition::from_iceberg(self.name(), &partition::shared(&base.metadata, &used), &schema)?,
            defaults: columns.fields.iter().filter_map(default).collect(),
            schema: columns,
            properties: base.metadata.properties().clone().into_iter().collect(),
        })
    }

    async fn parent(&self, version: &TableVersion) -> Result<Option<TableVersion>, TableError> {
        let base = self.base().await?;
        Ok(self.find(&base, version)?.map(|snapshot| marks::version(snapshot.parent_snapshot_id())))
    }

    async fn pin(&self, _snapshot: &Snapshot) -> Result<(), TableError> {
        // Snapshots stay readable until somebody expires them, which `gc.enabled=false` forbids.
        Ok(())
    }

    fn files<'a>(&'a self, snapshot: &'a Snapshot) -> BoxStream<'a, Result<FileEntry, TableError>> {
        let live = async { self.live(&self.base().await?, &snapshot.version).await };
        futures::stream::once(live)
            .map_ok(|entries| futures::stream::iter(entries.into_iter().map(Ok)))
            .try_flatten()
            .boxed()
    }

    async fn changes(&self, from: &Snapshot, to: &Snapshot) -> Result<Changes, TableError> {
        let base = self.base().await?;
        let (earlier, later) = (self.live(&base, &from.version).await?, self.live(&base, &to.version).await?);
        let mut changes = live::difference(earlier, later);
        let (from, to) = (self.find(&base, &from.version)?, self.find(&base, &to.version)?);
        if let Some((commits, began_ms)) = live::commits_between(&base.metadata, from, to) {
            (changes.commits, changes.began_ms) = (Some(commits), began_ms);
        }
        Ok(changes)
    }

    fn facts<'a>(&'a self, files: Vec<FileEntry>) -> BoxStream<'a, (FileEntry, Result<FileFacts, TableError>)> {
        let one = move |file: FileEntry| {
            let table = self.clone();
            async move {
                let facts = table.facts_of(&file).await;
                (file, facts)
            }
        };
        side_by_side(self.places.are_on_disk(), stream::iter(files), one)
    }

    async fn deleted_rows(&self, file: &FileEntry) -> Result<DeletedRows, TableError> {
        match Applied::of(file)? {
            Some(applied) => self.positions(file, &applied).await,
            None => Ok(DeletedRows::default()),
        }
    }

    async fn equality_deletes(&self, file: &FileEntry) -> Result<Vec<EqualityDeletes>, TableError> {
        match Applied::of(file)? {
            Some(applied) => self.by_equality(file, &applied).await,
            None => Ok(Vec::new()),
        }
    }

    async fn create(&self, request: &CreateRequest) -> Result<CreateOutcome, TableError> {
        self.create_table(request).await
    }

    async fn commit(&self, request: &CommitRequest) -> Result<CommitOutcome, TableError> {
        if let Some(name) = &self.reference {
            let advice = "leave `ref` out of the spec to write the main branch";
            return Err(unsupported(self.name(), format!("the branch or tag {name}, which is only read"), advice));
        }
        self.commit_files(request).await
    }

    async fn metadata_file(&self) -> Result<Option<String>, TableError> {
        self.metadata_location().await.map(Some)
    }

    async fn marks(&self, migration: &MigrationId) -> Result<Marks, TableError> {
        let base = self.base().await?;
        let mut marks = marks::marks(self.name(), &base.metadata, migration)?;
        if marks::is_created_by(&base.metadata, migration) {
            // Who committed past the catalogue has a table of his own in the folder, which its readers do not see.
            let bypasses = self.catalog.bypasses().await?;
            marks.foreign.extend(bypasses.into_iter().map(|file| TableVersion(format!("iceberg:{file}"))));
        }
        Ok(marks)
    }

    async fn forget(&self) -> Result<(), TableError> {
        self.catalog.forget().await
    }
}
