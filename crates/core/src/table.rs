//! Tables as files and versions: [`TableFormat`], the one trait that every format implements.
//!
//! Nothing here knows record batches: an adapter may sit on another Arrow major than the engine. What a commit can come
//! to is a value ([`CommitOutcome`]), not an error.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use lakeshift_journal::Epoch;
use serde::{Deserialize, Serialize};

use crate::partition::PartitionSpec;
use crate::schema::{Field, TableSchema};
use crate::spec::SortColumn;
use crate::value::Value;

mod deleted;

pub use deleted::DeletedRows;

/// The formats that Lakeshift speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Parquet files in `column=value` directories, no log.
    Hive,
    /// Delta Lake.
    Delta,
    /// Apache Iceberg.
    Iceberg,
    /// Apache Hudi; only a source.
    Hudi,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hive => "hive",
            Self::Delta => "delta",
            Self::Iceberg => "iceberg",
            Self::Hudi => "hudi",
        })
    }
}

/// One immutable state of a table, named by its format: a Delta version, an Iceberg snapshot, the digest of a Hive
/// inventory. Equal texts mean equal states.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TableVersion(pub String);

impl fmt::Display for TableVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names one migration: the spec's `name`. Letters, digits, `-` and `_`, checked when the spec is read.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MigrationId(pub String);

impl fmt::Display for MigrationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names one unit of work within a migration: `b000012` for the backfill, `m0003-000001` for the mirror's third round.
/// It stands in the names of the files that the unit wrote, so that a target file tells where it came from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnitId(pub String);

impl fmt::Display for UnitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A table at one version: what a reader needs before it opens a file.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The version.
    pub version: TableVersion,
    /// The table's root as a URL without a trailing slash.
    pub location: String,
    /// Logical columns, partition columns included.
    pub schema: TableSchema,
    /// How rows are partitioned.
    pub partition: PartitionSpec,
    /// The format's table properties.
    pub properties: BTreeMap<String, String>,
    /// What the rows of files without a column have there, by the top-level column's name; where it says nothing, null.
    pub defaults: BTreeMap<String, Value>,
}

/// Where Delta says how columns are found in files.
const DELTA_COLUMN_MAPPING: &str = "delta.columnMapping.mode";

/// Where the snapshot of a Hive-style table says that INT96 timestamps are instants, as the spec declares.
pub const INT96_INSTANTS: (&str, &str) = ("source.int96", "utc");

impl Snapshot {
    /// Whether INT96 timestamps in the files of this snapshot, of a table of `format`, are instants: Delta's `timestamp` is one
    /// whatever holds it, and a Hive source may be declared so. The files themselves say neither zone nor unit.
    pub fn int96_is_instant(&self, format: Format) -> bool {
        let (property, instants) = INT96_INSTANTS;
        match format {
            Format::Delta => true,
            Format::Hive => self.properties.get(property).is_some_and(|value| value == instants),
            _ => false,
        }
    }

    /// Whether the columns of this snapshot, of a table of `format`, are found in files by field id: Iceberg's are, Delta's
    /// where its property says so, Hive's and Hudi's never.
    pub fn finds_columns_by_id(&self, format: Format) -> bool {
        match format {
            Format::Iceberg => self.schema.fields.iter().any(|field| field.id.is_some()),
            Format::Delta => self.properties.get(DELTA_COLUMN_MAPPING).is_some_and(|mode| mode == "id"),
            Format::Hive | Format::Hudi => false,
        }
    }
}

/// A live data file of a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Relative to the table's root, decoded, `/`-separated; an absolute URL where the file lies elsewhere.
    pub path: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// What the store says of the content: ETag, or modification time where there is none; and the deletes that apply, see
    /// [`with_deletes`].
    pub identity: String,
    /// Last modification, milliseconds since 1970-01-01T00:00:00Z; 0 when the format does not record it.
    pub modified_ms: i64,
    /// Rows of the file that are left after deletes, where known without opening it.
    pub rows: Option<u64>,
    /// A typed value for every field of the snapshot's partition spec, in its order; `None` is null.
    pub partition: Vec<Option<Value>>,
    /// Whether the table has deletes that apply to this file ([`TableFormat::deleted_rows`]); such a file is adopted only
    /// together with them ([`CommitRequest::deletes`]).
    pub has_deletes: bool,
}

/// Stands in an identity before the deletes that apply to the file.
const DELETES_MARK: &str = " with deletes ";

/// The identity of a file to which deletes apply: other deletes, other identity. `deletes` is the adapter's own text.
pub fn with_deletes(identity: &str, deletes: &str) -> String {
    format!("{identity}{DELETES_MARK}{deletes}")
}

/// The deletes in an identity that [`with_deletes`] made; `None` where no deletes apply.
pub fn deletes_in(identity: &str) -> Option<&str> {
    identity.split_once(DELETES_MARK).map(|(_, deletes)| deletes)
}

/// An identity that [`with_deletes`] may have made, without the deletes: what the store says of the content.
pub fn without_deletes(identity: &str) -> &str {
    identity.split_once(DELETES_MARK).map_or(identity, |(content, _)| content)
}

/// Delete files that say by value which rows of a data file are deleted: those that are equal to one of their rows in all of
/// [`columns`](Self::columns), null being equal to null.
#[derive(Debug, Clone, PartialEq)]
pub struct EqualityDeletes {
    /// The columns that decide, found by field id in data files and delete files alike; some may be the table's no longer.
    pub columns: Vec<EqualityColumn>,
    /// The delete files.
    pub files: Vec<DeleteFile>,
}

/// A column of [`EqualityDeletes`].
#[derive(Debug, Clone, PartialEq)]
pub struct EqualityColumn {
    /// The column; its type holds the values of all files.
    pub field: Field,
    /// What the rows of data files without the column have there; null where it says nothing.
    pub default: Option<Value>,
}

/// A file of deletes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DeleteFile {
    /// As [`FileEntry::path`].
    pub path: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Its rows.
    pub rows: u64,
}

/// A data file's sound facts, read from its footer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FileFacts {
    /// Rows that are left after deletes; at most so many are left where [`EqualityDeletes`] apply, which are not read for it.
    pub rows: u64,
    /// Columns as the file has them, without partition columns that stand only in the path.
    pub schema: Arc<TableSchema>,
    /// For each top-level column that has sound bounds: least and greatest value. A row group without statistics voids
    /// them, and NaN never appears. A shortened text bound is still a bound: not above the least, not below the greatest value.
    pub bounds: BTreeMap<String, (Value, Value)>,
    /// For each top-level column where every row group tells: the number of nulls.
    pub null_counts: BTreeMap<String, u64>,
    /// Whether [`TableFormat::deleted_rows`] tells every row that the table has deleted from the file. Where a delete names
    /// rows by their values it does not.
    pub deletes_by_position: bool,
    /// A column, dotted where nested, that is a list of two levels in the file, as old writers made them.
    pub two_level_list: Option<String>,
}

/// What is wrong with an object that stands in a table's folder and is not plainly data or plainly not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disposition {
    /// A Parquet file with a readable footer.
    Data,
    /// A name that starts with `_` or `.`, or lies under such a folder.
    Hidden,
    /// Zero bytes.
    Empty,
    /// Ends in `.parquet` but has no readable footer.
    Corrupt,
    /// No Parquet file by name or magic.
    NotParquet,
}

/// Files between two versions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    /// In the later version and not, with this content, in the earlier.
    pub added: Vec<FileEntry>,
    /// In the earlier version and not, with this content, in the later. A replaced file is in both lists.
    pub removed: Vec<FileEntry>,
    /// Commits that led from the earlier to the later, where the format numbers them.
    pub commits: Option<u64>,
    /// When the first of them was made, where the format tells: milliseconds since 1970-01-01T00:00:00Z.
    pub began_ms: Option<i64>,
}

/// What a new table shall be.
#[derive(Debug, Clone)]
pub struct CreateRequest {
    /// The migration on whose behalf.
    pub migration: MigrationId,
    /// The runner's fencing epoch.
    pub epoch: Epoch,
    /// Columns, in order; field ids are assigned by the format where absent.
    pub schema: TableSchema,
    /// Partitioning.
    pub partition: PartitionSpec,
    /// How the rows of a file are to be sorted, for formats that write it down; the most significant column first.
    pub sort: Vec<SortColumn>,
    /// The version of the format, where it has several that are written (Iceberg: 2 or 3); its default when absent.
    pub format_version: Option<u8>,
    /// Table properties to set beside Lakeshift's own.
    pub properties: BTreeMap<String, String>,
}

/// What creating a table came to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum CreateOutcome {
    /// The table is new, at this version.
    Created(TableVersion),
    /// This migration has created it before; it is at this version now.
    AlreadyCreated(TableVersion),
    /// A table that this migration did not create stands there; it was left as it was.
    Foreign {
        /// What was found.
        found: String,
    },
}

/// The migration's commits to one table are numbered 1, 2, 3 …; the number is the idempotency key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CommitNumber(pub u64);

impl fmt::Display for CommitNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A data file to register. The adapter reads its footer, so that what was written is read before it is trusted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewFile {
    /// As [`FileEntry::path`]: relative to the target's root, or an absolute URL (adopted from elsewhere).
    pub path: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// A typed value for every field of the target's partition spec, in its order.
    pub partition: Vec<Option<Value>>,
    /// Rows that the writer or the planner counted; the adapter refuses a footer that says otherwise.
    pub rows: u64,
}

/// One atomic commit.
#[derive(Debug, Clone)]
pub struct CommitRequest {
    /// The migration on whose behalf.
    pub migration: MigrationId,
    /// Idempotency key: a table that carries this number or a higher one of this migration has this commit already. A
    /// [fence](Self::is_fence) takes none.
    pub number: CommitNumber,
    /// The runner's fencing epoch: a table that carries a higher one refuses.
    pub epoch: Epoch,
    /// Files to add.
    pub add: Vec<NewFile>,
    /// Paths of live files to remove, as [`FileEntry::path`].
    pub remove: Vec<String>,
    /// Rows to delete from files that stay or that this commit adds, by path. Rows that are deleted already stay deleted. An
    /// adapter that cannot write deletes answers [`TableError::Unsupported`].
    pub deletes: BTreeMap<String, DeletedRows>,
    /// The partitioning that the table's other writers use from this commit on. Files that are there stay under theirs, and
    /// the migration's own go on under the one that the table was created with. An adapter whose format cannot do that answers
    /// [`TableError::Unsupported`].
    pub repartition: Option<PartitionSpec>,
    /// Top-level columns that may be null, which the table gets after its own, and columns that it has, which get a wider type
    /// ([`crate::evolution::is_wider`]); what it has already it does not get again. An adapter whose format cannot do that answers
    /// [`TableError::Unsupported`].
    pub evolve: Vec<Field>,
    /// Where each source of a stream is read on from after this commit, by name: written into the same commit, for whoever looks
    /// at the table alone (Delta's `txn`, Iceberg's properties). Empty where there is no stream;
    /// a Hive-style folder has no place for them.
    pub positions: BTreeMap<String, u64>,
    /// What else the commit says of itself to whoever reads the table's history, by names that begin with `lakeshift.` (Delta's
    /// commit info, the summary of Iceberg's snapshot). A Hive-style folder has no place for them.
    pub notes: BTreeMap<String, String>,
}

impl CommitRequest {
    /// A commit that changes nothing but the table's epoch ([`Self::is_fence`]); what another one changes is written over it.
    pub fn fence(migration: MigrationId, number: CommitNumber, epoch: Epoch) -> Self {
        Self {
            migration,
            number,
            epoch,
            add: Vec::new(),
            remove: Vec::new(),
            deletes: BTreeMap::new(),
            repartition: None,
            evolve: Vec::new(),
            positions: BTreeMap::new(),
            notes: BTreeMap::new(),
        }
    }

    /// Whether the commit changes no row.
    pub fn keeps_rows(&self) -> bool {
        self.add.is_empty() && self.remove.is_empty() && self.deletes.is_empty()
    }

    /// Whether the commit changes nothing but the table's epoch, and by that fences older runners. It is made every time that
    /// it is asked for, so that a commit which is still on its way finds its place taken, whatever its epoch.
    pub fn is_fence(&self) -> bool {
        self.keeps_rows() && self.repartition.is_none() && self.evolve.is_empty()
    }
}

/// What a commit came to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum CommitOutcome {
    /// Done, and this is the new version.
    Committed(TableVersion),
    /// The table carries this number already; nothing was done.
    AlreadyCommitted(TableVersion),
    /// Somebody else changed what this commit builds on (a file to remove is gone, the schema moved); nothing was done.
    Conflict {
        /// What was found.
        reason: String,
    },
    /// A runner with a higher epoch has taken over; nothing was done.
    Fenced {
        /// The epoch that the table carries.
        current: Epoch,
    },
}

/// Who committed to a table, read from its current metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// The migration's highest commit number in the table.
    pub number: Option<CommitNumber>,
    /// The highest fencing epoch that the migration has left in the table.
    pub epoch: Option<Epoch>,
    /// Versions since the last commit of the migration that somebody else made, oldest first.
    pub foreign: Vec<TableVersion>,
}

/// Why a table could not be read or written. Each kind asks for another reaction.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// There is no table there.
    #[error("no {format} table at {location}; check the location in the spec")]
    NotFound {
        /// The format that was looked for.
        format: Format,
        /// Where.
        location: String,
    },
    /// The version is gone (vacuumed, expired) or never was.
    #[error("version {version} of {location} cannot be read: {reason}")]
    VersionGone {
        /// The table.
        location: String,
        /// The version.
        version: TableVersion,
        /// What is missing.
        reason: String,
    },
    /// The table or a file uses something that Lakeshift does not understand; it is refused, not skipped.
    #[error("{object} uses {feature}, which Lakeshift does not support: {advice}")]
    Unsupported {
        /// Table, file or column.
        object: String,
        /// The feature's own name.
        feature: String,
        /// What to do.
        advice: String,
    },
    /// Metadata or a file is damaged or contradicts itself.
    #[error("{object} is not valid: {reason}")]
    Corrupt {
        /// The object.
        object: String,
        /// What is wrong with it.
        reason: String,
        /// The cause, where a library found it.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// A catalogue keeps a table of this name at another location.
    #[error(
        "{table} lies at {found} by its catalogue, not at {location}; write that location or another table in the spec: \
         nothing was changed"
    )]
    Elsewhere {
        /// The table and its catalogue.
        table: String,
        /// Its location in the catalogue.
        found: String,
        /// The location in the spec.
        location: String,
    },
    /// A path leads outside of the table's location.
    #[error("{path} lies outside of {location}; Lakeshift reads and writes only below the locations that the spec names")]
    Outside {
        /// The path.
        path: String,
        /// The location.
        location: String,
    },
    /// The store did not answer as it should; trying again may help.
    #[error("could not {action} {object}")]
    Store {
        /// read, write, list, delete …
        action: &'static str,
        /// The object.
        object: String,
        /// The store's own error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// One table of one format at one location. Object-safe; speaks of files and versions, never of rows.
#[async_trait]
pub trait TableFormat: fmt::Debug + Send + Sync {
    /// The format.
    fn format(&self) -> Format;

    /// The table's root as a URL without a trailing slash.
    fn location(&self) -> &str;

    /// What tells the table from another one that is created in its place later: Delta's and Iceberg's own id. `None` where the
    /// format has none, and another table shows by its files.
    async fn identity(&self) -> Result<Option<String>, TableError> {
        Ok(None)
    }

    /// The table at `version`, or now.
    async fn snapshot(&self, version: Option<&TableVersion>) -> Result<Snapshot, TableError>;

    /// The version that `version` was committed on; `None` where the format does not tell, or there is none.
    ///
    /// # Errors
    /// The table or the version cannot be read.
    async fn parent(&self, version: &TableVersion) -> Result<Option<TableVersion>, TableError> {
        let _ = version;
        Ok(None)
    }

    /// Makes a version readable later where the format alone does not (a Hive inventory is saved; others do nothing).
    async fn pin(&self, snapshot: &Snapshot) -> Result<(), TableError>;

    /// The live files of a snapshot, in the order of their paths.
    fn files<'a>(&'a self, snapshot: &'a Snapshot) -> BoxStream<'a, Result<FileEntry, TableError>>;

    /// The files added and removed between two versions.
    async fn changes(&self, from: &Snapshot, to: &Snapshot) -> Result<Changes, TableError>;

    /// Reads footers; results in the order of `files`, bounded in parallel. The error of one file does not hide the
    /// others: a caller decides what a corrupt file means.
    fn facts<'a>(&'a self, files: Vec<FileEntry>) -> BoxStream<'a, (FileEntry, Result<FileFacts, TableError>)>;

    /// The rows of `file` that the table has deleted, read and verified now; asked only of files that have deletes.
    ///
    /// # Errors
    /// [`TableError::Unsupported`] from an adapter that cannot tell them, as here.
    async fn deleted_rows(&self, file: &FileEntry) -> Result<DeletedRows, TableError> {
        Err(TableError::Unsupported {
            object: file.path.clone(),
            feature: format!("deletes of the {} table", self.format()),
            advice: "compact the table first, so that no file has deletes".to_owned(),
        })
    }

    /// The deletes of `file` that only its rows' values tell; they are not among [`Self::deleted_rows`].
    ///
    /// # Errors
    /// Deletes that cannot be applied.
    async fn equality_deletes(&self, file: &FileEntry) -> Result<Vec<EqualityDeletes>, TableError> {
        let _ = file;
        Ok(Vec::new())
    }

    /// Creates the table.
    async fn create(&self, request: &CreateRequest) -> Result<CreateOutcome, TableError>;

    /// Adds and removes files in one atomic commit. Conflicts are found by validation against the current version, never
    /// by blind retry: a commit that raced with another is validated anew, a bounded number of times.
    async fn commit(&self, request: &CommitRequest) -> Result<CommitOutcome, TableError>;

    /// Takes the table out of the catalogue that keeps it, before its files are deleted; where the table's own folder is the
    /// catalogue there is nothing to do. A table that is not there is no error.
    async fn forget(&self) -> Result<(), TableError> {
        Ok(())
    }

    /// The metadata file of the present version, as catalogues name it; `None` where the format has no such file.
    ///
    /// # Errors
    /// As [`Self::snapshot`].
    async fn metadata_file(&self) -> Result<Option<String>, TableError> {
        Ok(None)
    }

    /// What `migration` has left in the table's current metadata.
    async fn marks(&self, migration: &MigrationId) -> Result<Marks, TableError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_tells_its_deletes() {
        assert_eq!(deletes_in(&with_deletes("modified:5", "{}")), Some("{}"));
        assert_eq!(deletes_in("modified:5"), None);
        assert_eq!(without_deletes(&with_deletes("modified:5", "{}")), without_deletes("modified:5"));
    }
}
