//! [`Inventory`]: the files of a folder at one moment, their schema and partition values, and what is no data.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::TryStreamExt;
use lakeshift_core::schema::{Field, TableSchema};
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{Disposition, FileEntry, Format, TableError, TableVersion};
use sha2::{Digest, Sha256};

use super::Declared;
use super::footers::Footers;
use super::listing::{self, Listed};
use super::partition::{self, PathValues};
use super::union::SchemaUnion;
use crate::footer::{Footer, Int96, footer_bytes, parse_footer_with};
use crate::storage::{outside_error, side_by_side};

/// What stood in a folder, and what it means as a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Inventory {
    /// `hive:` and the digest over path, size and identity of every visible Parquet file and what the spec declares.
    pub version: TableVersion,
    /// Columns of all files, and the partition columns that stand only in the paths.
    pub schema: TableSchema,
    /// Partition columns, outermost first, with their types.
    pub partition_columns: Vec<Field>,
    /// Data files in the order of their paths.
    pub files: Vec<InventoryFile>,
    /// The different schemas of the files; [`InventoryFile::schema`] points into it.
    pub schemas: Vec<TableSchema>,
    /// Every other object, in the order of their paths. A saved inventory does not have the hidden ones.
    pub quarantine: Vec<Quarantined>,
}

/// One data file.
#[derive(Debug, Clone, PartialEq)]
pub struct InventoryFile {
    /// As the table shows it.
    pub entry: FileEntry,
    /// Index of the file's own schema in [`Inventory::schemas`].
    pub schema: usize,
}

/// An object that is not read as data.
#[derive(Debug, Clone, PartialEq)]
pub struct Quarantined {
    /// Relative to the table's root.
    pub path: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// What the store says of its content.
    pub identity: String,
    /// Why it is not data.
    pub disposition: Disposition,
    /// What was found, in words.
    pub reason: String,
}

/// What a footer told: rows and schema.
#[derive(Debug, Clone)]
struct Told {
    rows: u64,
    schema: Arc<TableSchema>,
}

enum Read {
    /// With the footer, where it was read now.
    Data(Listed, Told, Option<Footer>),
    Other(Quarantined),
}

/// Lists the folder, reads meanwhile the footers that no inventory in `known` has, and makes one table of it. `footers` keeps
/// what was read.
pub(super) async fn build(
    storage: &Storage,
    declared: &Declared,
    known: &[Arc<Inventory>],
    footers: &Mutex<Footers>,
) -> Result<Inventory, TableError> {
    let told = remembered(known);
    let int96 = if declared.int96_is_instant { Int96::InstantsAsRead } else { Int96::Refused };
    let read = |object: Result<Listed, TableError>| {
        let found =
            object.as_ref().ok().and_then(|object| told.get(&(object.path.as_str(), object.identity.as_str())).cloned());
        let storage = storage.clone();
        async move {
            match found {
                Some(told) => Ok(Read::Data(object?, told, None)),
                None => read(&storage, int96, object?).await,
            }
        }
    };
    let mut results = side_by_side(storage.is_on_disk(), listing::list(storage), read);
    let mut found = Vec::new();
    while let Some(mut result) = results.try_next().await? {
        if let Read::Data(listed, _, footer) = &mut result
            && let Some(footer) = footer.take()
        {
            footers.lock().unwrap_or_else(PoisonError::into_inner).put(&listed.path, &listed.identity, footer);
        }
        found.push(result);
    }
    found.sort_unstable_by(|a, b| a.path().cmp(b.path()));
    let mut assembly = Assembly::new(declared);
    found.into_iter().try_for_each(|read| assembly.add(read))?;
    assembly.finish(storage)
}

impl Read {
    fn path(&self) -> &str {
        match self {
            Self::Data(listed, ..) => &listed.path,
            Self::Other(other) => &other.path,
        }
    }
}

fn remembered(known: &[Arc<Inventory>]) -> HashMap<(&str, &str), Told> {
    let mut told = HashMap::new();
    for inventory in known {
        let schemas: Vec<_> = inventory.schemas.iter().cloned().map(Arc::new).collect();
        for file in &inventory.files {
            if let Some(rows) = file.entry.rows {
                let key = (file.entry.path.as_str(), file.entry.identity.as_str());
                told.insert(key, Told { rows, schema: Arc::clone(&schemas[file.schema]) });
            }
        }
    }
    told
}

async fn read(storage: &Storage, int96: Int96, object: Listed) -> Result<Read, TableError> {
    if listing::is_hidden(&object.path) {
        return Ok(Read::Other(other(object, Disposition::Hidden, "its name begins with `_` or `.`")));
    }
    if object.size_bytes == 0 {
        return Ok(Read::Other(other(object, Disposition::Empty, "it has no bytes")));
    }
    let path = storage.resolve(&object.path).map_err(outside_error)?;
    let etag = listing::etag(&object.identity);
    let footer = match footer_bytes(storage.store().as_ref(), &path, object.size_bytes, etag).await {
        Ok(bytes) => parse_footer_with(path.as_ref(), &bytes, object.size_bytes, int96),
        Err(error) => Err(error),
    };
    match footer {
        Ok(footer) => {
            let told = Told { rows: footer.rows, schema: without_ids(Arc::clone(&footer.schema)) };
            // Under a declaration a file's own columns are others than the table's.
            Ok(Read::Data(object, told, (int96 == Int96::Refused).then_some(footer)))
        }
        // A name is a promise: what is called .parquet and cannot be read is damage; anything else is just another file.
        Err(TableError::Corrupt { reason, .. }) => {
            let disposition =
                if listing::has_parquet_name(&object.path) { Disposition::Corrupt } else { Disposition::NotParquet };
            Ok(Read::Other(other(object, disposition, &reason)))
        }
        Err(error) => Err(error),
    }
}

fn other(object: Listed, disposition: Disposition, reason: &str) -> Quarantined {
    let Listed { path, size_bytes, identity, .. } = object;
    Quarantined { path, size_bytes, identity, disposition, reason: reason.to_owned() }
}

/// Files of one folder come from many writers; their field ids do not name the same columns.
fn without_ids(mut schema: Arc<TableSchema>) -> Arc<TableSchema> {
    use lakeshift_core::schema::DataType as T;
    fn has_ids(field: &Field) -> bool {
        field.id.is_some()
            || match &field.data_type {
                T::Struct { fields } => fields.iter().any(has_ids),
                T::List { element } => has_ids(element),
                T::Map { key, value } => has_ids(key) || has_ids(value),
                _ => false,
            }
    }
    fn clear(field: &mut Field) {
        field.id = None;
        match &mut field.data_type {
            T::Struct { fields } => fields.iter_mut().for_each(clear),
            T::List { element } => clear(element),
            T::Map { key, value } => {
                clear(key);
                clear(value);
            }
            _ => {}
        }
    }
    if schema.fields.iter().any(has_ids) {
        Arc::make_mut(&mut schema).fields.iter_mut().for_each(clear);
    }
    schema
}

/// The inventory while footers arrive, in the order of the paths.
struct Assembly<'a> {
    declared: &'a Declared,
    files: Vec<(Listed, u64, usize, PathValues)>,
    schemas: Vec<Arc<TableSchema>>,
    union: SchemaUnion<'a>,
    quarantine: Vec<Quarantined>,
}

impl<'a> Assembly<'a> {
    fn new(declared: &'a Declared) -> Self {
        let union = SchemaUnion::new(&declared.columns);
        Self { declared, files: Vec::new(), schemas: Vec::new(), union, quarantine: Vec::new() }
    }

    fn add(&mut self, read: Read) -> Result<(), TableError> {
        match read {
            Read::Other(other) => self.quarantine.push(other),
            Read::Data(listed, told, _) => {
                let schema =
                    match self.schemas.iter().position(|schema| Arc::ptr_eq(schema, &told.schema) || *schema == told.schema)
                    {
                        Some(index) => index,
                        None => {
                            self.union.add(&listed.path, &told.schema)?;
                            self.schemas.push(told.schema);
                            self.schemas.len() - 1
                        }
                    };
                let values = partition::of_path(&listed.path)?;
                self.files.push((listed, told.rows, schema, values));
            }
        }
        Ok(())
    }

    fn finish(self, storage: &Storage) -> Result<Inventory, TableError> {
        if self.files.is_empty() {
            return Err(TableError::NotFound { format: Format::Hive, location: storage.location().to_owned() });
        }
        let version = version(&self.files, &self.quarantine, self.declared);
        let in_files = self.union.finish();
        let paths = self.files.iter().map(|(listed, _, _, values)| (listed.path.as_str(), values));
        let columns = partition::columns(paths, &self.declared.partitions, &in_files)?;
        let files = self.files.into_iter().map(|(listed, rows, schema, values)| {
            let partition = partition::typed(&listed.path, &values, &columns)?;
            let Listed { path, size_bytes, identity, modified_ms } = listed;
            let entry =
                FileEntry { path, size_bytes, identity, modified_ms, rows: Some(rows), partition, has_deletes: false };
            Ok(InventoryFile { entry, schema })
        });
        let files = files.collect::<Result<Vec<_>, TableError>>()?;
        let schema = partition::with_columns(in_files, &columns)?;
        let schemas = self.schemas.iter().map(|schema| (**schema).clone()).collect();
        Ok(Inventory { version, schema, partition_columns: columns, files, schemas, quarantine: self.quarantine })
    }
}

/// The digest over everything that is, or claims to be, data, and over what the spec says of it.
fn version(files: &[(Listed, u64, usize, PathValues)], quarantine: &[Quarantined], declared: &Declared) -> TableVersion {
    let files = files.iter().map(|(listed, ..)| (listed.path.as_str(), listed.size_bytes, listed.identity.as_str()));
    digest(files, quarantine, &declared.text())
}

/// As [`version`], of any inventory's parts.
pub(super) fn digest<'a>(
    files: impl Iterator<Item = (&'a str, u64, &'a str)>,
    quarantine: &'a [Quarantined],
    declared: &str,
) -> TableVersion {
    let corrupt = quarantine.iter().filter(|other| other.disposition == Disposition::Corrupt);
    let corrupt = corrupt.map(|other| (other.path.as_str(), other.size_bytes, other.identity.as_str()));
    let mut all: Vec<_> = files.chain(corrupt).collect();
    all.sort_unstable();
    let mut hash = Sha256::new();
    for (path, size_bytes, identity) in all {
        // Lengths first: no two lists of files have one text.
        hash.update(format!("{} {path} {size_bytes} {} {identity}\n", path.len(), identity.len()));
    }
    hash.update(declared);
    TableVersion(format!("hive:{:x}", hash.finalize()))
}
