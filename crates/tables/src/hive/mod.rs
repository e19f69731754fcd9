//! Parquet files in `column=value` folders without a log: [`HiveTable`], which is read, and written as the old side of a
//! reverse mirror alone.
//!
//! A version is the digest of an [`Inventory`]: every visible file with its size and what the store says of its content.
//! A path is authoritative for its partition columns: where the file has such a column too, the path's value is what the
//! table shows, and comparing the two is left to whoever reads the rows.

mod commit;
mod footers;
mod inventory;
mod listing;
pub mod metastore;
mod partition;
mod saved;
mod union;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use lakeshift_core::partition::{PartitionField, PartitionSpec, Transform};
use lakeshift_core::schema::DataType;
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{
    Changes, CommitOutcome, CommitRequest, CreateOutcome, CreateRequest, FileEntry, FileFacts, Format, INT96_INSTANTS,
    Marks, MigrationId, Snapshot, TableError, TableFormat, TableVersion,
};

use lakeshift_journal::{Clock, Rng};

use crate::footer::{Int96, footer_bytes, parse_footer_with, unsupported};
use crate::storage::{changed_since_listed, outside_error, side_by_side};
use footers::Footers;

pub use commit::staging;
pub use inventory::{Inventory, InventoryFile, Quarantined};

/// Inventories that are kept in memory: the pinned one, the last one and the current one.
const INVENTORIES_KEPT: usize = 3;
/// How often a folder is listed anew when files were replaced while their footers were read.
const LISTINGS_MAX: usize = 5;

/// A partition column whose type the spec declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionColumn {
    /// The name, as in `name=value`.
    pub name: String,
    /// The type of its values.
    pub data_type: DataType,
}

/// What the spec says of the table, because its files do not. It is part of a version's name: another mapping makes
/// another table of the same files.
#[derive(Debug, Clone, Default)]
struct Declared {
    partitions: Vec<PartitionColumn>,
    /// Names in files to names of columns.
    columns: BTreeMap<String, String>,
    int96_is_instant: bool,
}

impl Declared {
    /// One text for each meaning; empty where nothing is declared.
    fn text(&self) -> String {
        let partitions = self.partitions.iter().map(|column| format!("partition {:?} {}\n", column.name, column.data_type));
        let columns = self.columns.iter().map(|(name, column)| format!("column {name:?} {column:?}\n"));
        let int96 = self.int96_is_instant.then(|| "int96 utc\n".to_owned());
        partitions.chain(columns).chain(int96).collect()
    }
}

/// A table of Parquet files in folders. Clones share what they have read.
#[derive(Debug, Clone)]
pub struct HiveTable {
    storage: Storage,
    declared: Declared,
    inventories: Option<Storage>,
    known: Arc<Mutex<VecDeque<Arc<Inventory>>>>,
    footers: Arc<Mutex<Footers>>,
    writing: Option<Writing>,
}

/// What a commit needs beside the folder.
#[derive(Debug, Clone)]
struct Writing {
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
}

impl HiveTable {
    /// The table below `storage`.
    pub fn new(storage: Storage) -> Self {
        let (declared, known, footers) = (Declared::default(), Arc::default(), Arc::default());
        Self { storage, declared, inventories: None, known, footers, writing: None }
    }

    /// Declares the types of partition columns. The others' are proven: a type is taken only where every value prints
    /// back as it stands in the path.
    #[must_use]
    pub fn with_partition_types(mut self, declared: Vec<PartitionColumn>) -> Self {
        self.declared.partitions = declared;
        self
    }

    /// Declares columns that have another name in some files, as name in the files to name of the column.
    #[must_use]
    pub fn with_columns(mut self, columns: BTreeMap<String, String>) -> Self {
        self.declared.columns = columns;
        self
    }

    /// Declares INT96 timestamps to be instants; without it a column of them is refused.
    #[must_use]
    pub fn with_int96_instants(mut self) -> Self {
        self.declared.int96_is_instant = true;
        self
    }

    /// Lets files be added and removed; without it the table is only read.
    #[must_use]
    pub fn with_writing(mut self, clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> Self {
        self.writing = Some(Writing { clock, rng });
        self
    }

    /// Where [`TableFormat::pin`] saves inventories, as `<digest>.parquet`.
    #[must_use]
    pub fn with_inventories(mut self, inventories: Storage) -> Self {
        self.inventories = Some(inventories);
        self
    }

    /// What is in the folder now, every object with its disposition. Footers of files that an inventory in memory has
    /// with the same content are not read again.
    ///
    /// # Errors
    /// [`TableError::NotFound`] where no data file stands; [`TableError::Unsupported`] for layouts and types that cannot
    /// be one table; [`TableError::Store`] also when files keep changing while they are read.
    pub async fn inventory(&self) -> Result<Arc<Inventory>, TableError> {
        let mut attempt = 1;
        loop {
            match inventory::build(&self.storage, &self.declared, &self.kept(), &self.footers).await {
                Ok(inventory) => return Ok(self.keep(inventory)),
                Err(error) if changed_since_listed(&error) && attempt < LISTINGS_MAX => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// The inventory of a version: from memory, saved, or because the folder still is as it was.
    ///
    /// # Errors
    /// [`TableError::VersionGone`], and as [`Self::inventory`].
    pub async fn at(&self, version: &TableVersion) -> Result<Arc<Inventory>, TableError> {
        if let Some(found) = self.kept().into_iter().find(|inventory| inventory.version == *version) {
            return Ok(found);
        }
        if let Some(inventories) = &self.inventories
            && let Some(inventory) = saved::load(inventories, version, &self.declared).await?
        {
            return Ok(self.keep(inventory));
        }
        let current = self.inventory().await?;
        match current.version == *version {
            true => Ok(current),
            false => Err(TableError::VersionGone {
                location: self.storage.location().to_owned(),
                version: version.clone(),
                reason: "its inventory was not saved and the folder has changed since".to_owned(),
            }),
        }
    }

    fn kept(&self) -> Vec<Arc<Inventory>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn keep(&self, inventory: Inventory) -> Arc<Inventory> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|kept| kept.version != inventory.version);
        known.truncate(INVENTORIES_KEPT - 1);
        known.push_front(Arc::new(inventory));
        Arc::clone(&known[0])
    }

    fn snapshot_of(&self, inventory: &Inventory) -> Snapshot {
        let fields = inventory.partition_columns.iter();
        let int96 = self.declared.int96_is_instant.then_some(INT96_INSTANTS);
        Snapshot {
            version: inventory.version.clone(),
            location: self.storage.location().to_owned(),
            schema: inventory.schema.clone(),
            partition: PartitionSpec {
                fields: fields.map(|column| PartitionField::new(column.name.clone(), Transform::Identity)).collect(),
            },
            properties: int96.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            defaults: std::collections::BTreeMap::new(),
        }
    }

    async fn file_facts(&self, file: &FileEntry) -> Result<FileFacts, TableError> {
        let path = self.storage.resolve(&file.path).map_err(outside_error)?;
        let kept = self.footers.lock().unwrap_or_else(PoisonError::into_inner).take(&file.path, &file.identity);
        if let Some(footer) = kept {
            return Ok(footer.facts());
        }
        // A file's own type: what is converted as it is read is never adopted.
        let int96 = if self.declared.int96_is_instant { Int96::Instants } else { Int96::Refused };
        let bytes =
            footer_bytes(self.storage.store().as_ref(), &path, file.size_bytes, listing::etag(&file.identity)).await?;
        Ok(parse_footer_with(path.as_ref(), &bytes, file.size_bytes, int96)?.facts())
    }

    fn writing(&self) -> Result<&Writing, TableError> {
        self.writing.as_ref().ok_or_else(|| self.read_only())
    }

    fn read_only(&self) -> TableError {
        unsupported(self.storage.location(), "writing to a Hive-style folder", "name a Delta or Iceberg table as the target")
    }
}

#[async_trait]
impl TableFormat for HiveTable {
    fn format(&self) -> Format {
        Format::Hive
    }

    fn location(&self) -> &str {
        self.storage.location()
    }

    async fn snapshot(&self, version: Option<&TableVersion>) -> Result<Snapshot, TableError> {
        let inventory = match version {
            Some(version) => self.at(version).await?,
            None => self.inventory().await?,
        };
        Ok(self.snapshot_of(&inventory))
    }

    async fn pin(&self, snapshot: &Snapshot) -> Result<(), TableError> {
        let Some(inventories) = &self.inventories else {
            let advice = "open the table with a place for its inventories";
            return Err(unsupported(self.storage.location(), "pinning without a place for the inventory", advice));
        };
        let inventory = self.at(&snapshot.version).await?;
        saved::save(inventories, &inventory, &self.declared).await
    }

    fn files<'a>(&'a self, snapshot: &'a Snapshot) -> BoxStream<'a, Result<FileEntry, TableError>> {
        let entries = async {
            let inventory = self.at(&snapshot.version).await?;
            let count = inventory.files.len();
            Ok::<_, TableError>(stream::iter((0..count).map(move |index| Ok(inventory.files[index].entry.clone()))))
        };
        stream::once(entries).try_flatten().boxed()
    }

    async fn changes(&self, from: &Snapshot, to: &Snapshot) -> Result<Changes, TableError> {
        let (from, to) = (self.at(&from.version).await?, self.at(&to.version).await?);
        let entries = |inventory: &Inventory| inventory.files.iter().map(|file| file.entry.clone()).collect::<Vec<_>>();
        Ok(crate::changes::difference(entries(&from), entries(&to)))
    }

    fn facts<'a>(&'a self, files: Vec<FileEntry>) -> BoxStream<'a, (FileEntry, Result<FileFacts, TableError>)> {
        let read = move |file: FileEntry| {
            let table = self.clone();
            async move {
                let facts = table.file_facts(&file).await;
                (file, facts)
            }
        };
        side_by_side(self.storage.is_on_disk(), stream::iter(files), read)
    }

    async fn create(&self, _request: &CreateRequest) -> Result<CreateOutcome, TableError> {
        Err(self.read_only())
    }

    async fn commit(&self, request: &CommitRequest) -> Result<CommitOutcome, TableError> {
        commit::commit(self, self.writing()?, request).await
    }

    async fn marks(&self, migration: &MigrationId) -> Result<Marks, TableError> {
        commit::marks(self, self.writing()?, migration).await
    }
}
