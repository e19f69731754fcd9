//! Creating, committing and reading the migration's marks.
//!
//! Every check of a commit is made in the snapshot that it builds on; when another writer took the next version, all of
//! them are made again on what is there now, a bounded number of times.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::{TryStreamExt, stream};
use lakeshift_core::evolution;
use lakeshift_core::partition::{PartitionField, Transform};
use lakeshift_core::schema::{Field, TableSchema};
use lakeshift_core::table::{
    CommitNumber, CommitOutcome, CommitRequest, CreateOutcome, CreateRequest, Marks, MigrationId, NewFile, TableError,
};
use lakeshift_journal::Epoch;
use serde_json::{Value as Json, json};

use super::actions::{self, Origin};
use super::live::{self, LiveFile};
use super::log::{Loaded, Written};
use super::{DeltaTable, schema, stats, version_text};
use crate::footer::{Footer, corrupt, unsupported};
use crate::storage::{outside_error, side_by_side};
use crate::widen::fits;

/// How often a commit is validated anew because another writer was first.
const ATTEMPTS_MAX: usize = 20;

/// Creates the table, or finds that this migration did.
pub(super) async fn create(table: &DeltaTable, request: &CreateRequest) -> Result<CreateOutcome, TableError> {
    check_partition(table, request)?;
    for _ in 0..ATTEMPTS_MAX {
        if let Some(loaded) = table.log.load_if_any().await? {
            return Ok(standing(&loaded, &request.migration));
        }
        let now_ms = table.clock.now().timestamp_millis();
        let origin =
            Origin { migration: &request.migration, epoch: request.epoch, number: None, now_ms, read_version: None };
        let mut lines = vec![actions::commit_info(&origin, "CREATE TABLE", true, &BTreeMap::new())];
        lines.extend(actions::table(table.storage().location(), request, now_ms)?);
        lines.extend(actions::transactions(&origin));
        match table.log.write(0, joined(&lines).into()).await? {
            Written::Ours => return Ok(CreateOutcome::Created(version_text(0))),
            // Somebody created it between the look and the write: look again at whose it is.
            Written::Taken => {}
        }
    }
    Err(busy(table))
}

/// Whose table stands there.
fn standing(loaded: &Loaded, migration: &MigrationId) -> CreateOutcome {
    match loaded.properties.get(actions::MIGRATION_PROPERTY) {
        Some(owner) if *owner == migration.0 => CreateOutcome::AlreadyCreated(version_text(loaded.version)),
        Some(owner) => CreateOutcome::Foreign { found: format!("a Delta table of the migration {owner}") },
        None => CreateOutcome::Foreign { found: format!("a Delta table at version {}", loaded.version) },
    }
}

fn check_partition(table: &DeltaTable, request: &CreateRequest) -> Result<(), TableError> {
    for field in &request.partition.fields {
        let location = table.storage().location();
        if field.transform != Transform::Identity {
            let advice = "Delta partitions by columns as they are; add a column by transform.sql and partition by it";
            return Err(unsupported(location, format!("partitioning by {} of {}", field.transform, field.column), advice));
        }
        if request.schema.field(&field.column).is_none() {
            return Err(unsupported(
                location,
                format!("partitioning by {}, which is no column", field.column),
                "correct the spec",
            ));
        }
    }
    Ok(())
}

/// Commits, see [`lakeshift_core::table::TableFormat::commit`].
pub(super) async fn commit(table: &DeltaTable, request: &CommitRequest) -> Result<CommitOutcome, TableError> {
    if let Some(path) = request.deletes.keys().next() {
        let advice = "rewrite the file without the rows; nothing was committed";
        return Err(unsupported(path, "deleted rows of a file that stays (Lakeshift writes no deletion vectors)", advice));
    }
    if request.repartition.is_some() {
        let advice = "plan a migration to the other partitioning; nothing was committed";
        return Err(unsupported(table.storage().location(), "another partitioning of a live Delta table", advice));
    }
    let request = &with_relative_paths(table, request)?;
    let mut described = None;
    for _ in 0..ATTEMPTS_MAX {
        let loaded = table.log.load(None).await?;
        if let Some(outcome) = settled(table, request, &loaded).await? {
            return Ok(outcome);
        }
        let location = table.storage().location();
        schema::check_writable(location, &loaded.rules(), !request.remove.is_empty())?;
        let evolved = match evolved(location, &loaded, &request.evolve)? {
            Ok(evolved) => evolved,
            Err(reason) => return Ok(CommitOutcome::Conflict { reason }),
        };
        let live = live::files(&table.log, &loaded).await?;
        let removed = match check_files(request, &live) {
            Ok(removed) => removed,
            Err(reason) => return Ok(CommitOutcome::Conflict { reason }),
        };
        let columns = Arc::new(InFiles::new(&loaded));
        let described = match &described {
            Some((as_of, described)) if *as_of == columns => described,
            _ => &described.insert((columns.clone(), describe(table, &request.add, &columns).await?)).1,
        };
        if let Some(reason) = described.iter().find_map(|one| one.as_ref().err()) {
            return Ok(CommitOutcome::Conflict { reason: reason.clone() });
        }
        let version = loaded.version + 1;
        match table.log.write(version, text(table, request, &loaded, (evolved, &removed, described))).await? {
            Written::Ours => {
                table.log.checkpoint_if_due(version, request.add.len() + request.remove.len()).await;
                return Ok(CommitOutcome::Committed(version_text(version)));
            }
            Written::Taken => tracing::debug!(table = location, version, "another writer was first; validating anew"),
        }
    }
    Err(busy(table))
}

/// Every path as the table's own files have it. A file outside of the folder is refused: not every reader of Delta reads
/// what lies elsewhere.
fn with_relative_paths(table: &DeltaTable, request: &CommitRequest) -> Result<CommitRequest, TableError> {
    let storage = table.storage();
    let relative = |path: &String| -> Result<String, TableError> {
        let below = format!("{}/", storage.location());
        if path.contains("://") && !path.starts_with(&below) {
            let advice = "rewrite the file into the table instead of adopting it; nothing was committed";
            return Err(unsupported(path, "a data file outside of the Delta table's folder", advice));
        }
        let resolved = storage.resolve(path).map_err(outside_error)?;
        Ok(storage.relative(&resolved).unwrap_or_else(|| path.clone()))
    };
    let add = request.add.iter().map(|file| Ok(NewFile { path: relative(&file.path)?, ..file.clone() }));
    Ok(CommitRequest {
        add: add.collect::<Result<_, TableError>>()?,
        remove: request.remove.iter().map(relative).collect::<Result<_, _>>()?,
        ..request.clone()
    })
}

/// The outcome that the table's marks alone decide: committed before, or fenced.
async fn settled(table: &DeltaTable, request: &CommitRequest, loaded: &Loaded) -> Result<Option<CommitOutcome>, TableError> {
    let (number, epoch) = read_marks(table, &request.migration, loaded.version).await?;
    if epoch.is_some_and(|epoch| epoch > request.epoch) {
        return Ok(epoch.map(|current| CommitOutcome::Fenced { current }));
    }
    let done = !request.is_fence() && number.is_some_and(|number| number >= request.number);
    Ok(done.then(|| CommitOutcome::AlreadyCommitted(version_text(loaded.version))))
}

async fn read_marks(
    table: &DeltaTable,
    migration: &MigrationId,
    version: u64,
) -> Result<(Option<CommitNumber>, Option<Epoch>), TableError> {
    let applications = [actions::numbers_of(migration), actions::epochs_of(migration)];
    let [number, epoch] = table.log.transactions(version, applications).await?;
    let unsigned = |mark: Option<i64>| mark.and_then(|mark| u64::try_from(mark).ok());
    Ok((unsigned(number).map(CommitNumber), unsigned(epoch).map(Epoch)))
}

/// The live files to remove, or why this commit no longer fits.
fn check_files<'a>(request: &CommitRequest, live: &'a [LiveFile]) -> Result<Vec<&'a LiveFile>, String> {
    let by_path: HashMap<&str, &LiveFile> = live.iter().map(|file| (file.path.as_str(), file)).collect();
    let removed = request.remove.iter().map(|path| {
        let gone = || format!("{path}, which is to be removed, is not in the table any more");
        by_path.get(path.as_str()).copied().ok_or_else(gone)
    });
    let removed = removed.collect::<Result<Vec<_>, _>>()?;
    let leaving: HashSet<&str> = request.remove.iter().map(String::as_str).collect();
    let doubled =
        request.add.iter().find(|file| by_path.contains_key(file.path.as_str()) && !leaving.contains(file.path.as_str()));
    match doubled {
        Some(file) => Err(format!("{}, which is to be added, is in the table already", file.path)),
        None => Ok(removed),
    }
}

/// The action that adds a file, or why the file is not of this table any more.
type Described = Result<String, String>;

/// Reads every new file's footer: what was written is read before it is trusted.
async fn describe(table: &DeltaTable, files: &[NewFile], columns: &Arc<InFiles>) -> Result<Vec<Described>, TableError> {
    let now_ms = table.clock.now().timestamp_millis();
    let one = |file: NewFile| {
        let (table, columns) = (table.clone(), Arc::clone(columns));
        async move {
            let footer = table.footer(&file.path, file.size_bytes).await?;
            if footer.rows != file.rows {
                let (found, counted) = (footer.rows, file.rows);
                let reason = format!("its footer has {found} rows where {counted} were counted; nothing was committed");
                return Err(corrupt(&file.path, reason));
            }
            if let Some(reason) = columns.conflict(&file, &footer) {
                return Ok(Err(reason));
            }
            let stats = stats::text(&footer, &columns.schema, |name| columns.is_partition(name));
            Ok(Ok(actions::add(&file, &columns.partition, stats, now_ms)?.to_string()))
        }
    };
    side_by_side(table.storage().is_on_disk(), stream::iter(files.to_vec()), one).try_collect().await
}

/// A table's columns by the names that files, partition values and statistics know them by.
#[derive(PartialEq)]
struct InFiles {
    schema: TableSchema,
    partition: Vec<PartitionField>,
}

impl InFiles {
    fn new(loaded: &Loaded) -> Self {
        let physical = |column: &str| {
            let field = loaded.schema.field(column);
            field.and_then(|field| field.physical_name.clone()).unwrap_or_else(|| column.to_owned())
        };
        let partition = loaded.partition.fields.iter();
        let partition = partition.map(|field| PartitionField { column: physical(&field.column), ..field.clone() }).collect();
        Self { schema: schema::in_files(&loaded.schema), partition }
    }

    fn is_partition(&self, name: &str) -> bool {
        self.partition.iter().any(|field| field.column == name)
    }

    /// Why a file is not of this table: its schema moved, or the file was made for another one.
    fn conflict(&self, file: &NewFile, footer: &Footer) -> Option<String> {
        let mut columns = self.schema.fields.iter().filter(|field| !self.is_partition(&field.name));
        columns.find_map(|column| match footer.schema.field(&column.name) {
            Some(own) if fits(&own.data_type, &column.data_type) => None,
            Some(own) => {
                Some(format!("{} has {} as {} where the table has {}", file.path, own.name, own.data_type, column.data_type))
            }
            None if column.nullable => None,
            None => Some(format!("{} lacks the column {}, which the table requires", file.path, column.name)),
        })
    }
}

/// The table's `metaData` with new columns; `None` where it has them. The inner error is the conflict's reason.
fn evolved(location: &str, loaded: &Loaded, columns: &[Field]) -> Result<Result<Option<Json>, String>, TableError> {
    let columns = match evolution::missing(&loaded.schema, columns) {
        Ok(columns) if columns.is_empty() => return Ok(Ok(None)),
        Ok(columns) => columns,
        Err(reason) => return Ok(Err(reason)),
    };
    if let Some(wider) = columns.iter().find(|column| loaded.schema.field(&column.name).is_some()) {
        let feature = format!("column {}, which would get the wider type {} (typeWidening)", wider.name, wider.data_type);
        return Err(unsupported(location, feature, "keep the column's type; nothing was changed"));
    }
    let schema_string = schema::evolved(location, &loaded.rules(), &columns)?;
    let mut metadata = loaded.metadata.clone();
    metadata["schemaString"] = schema_string.into();
    Ok(Ok(Some(json!({ "metaData": metadata }))))
}

/// The commit's text: `evolved` is the table's new `metaData`, `added` are the lines of the files to add.
fn text(
    table: &DeltaTable,
    request: &CommitRequest,
    loaded: &Loaded,
    (evolved, removed, added): (Option<Json>, &[&LiveFile], &[Described]),
) -> Bytes {
    let now_ms = table.clock.now().timestamp_millis();
    let origin = Origin {
        migration: &request.migration,
        epoch: request.epoch,
        number: (!request.is_fence()).then_some(request.number),
        now_ms,
        read_version: Some(loaded.version),
    };
    let operation = if evolved.is_some() { "ADD COLUMNS" } else { "WRITE" };
    let is_append = request.remove.is_empty() && evolved.is_none();
    let mut lines = vec![actions::commit_info(&origin, operation, is_append, &request.notes)];
    lines.extend(evolved);
    lines.extend(actions::transactions(&origin));
    lines.extend(actions::positions(&request.migration, &request.positions));
    // The protocol forbids removing and adding one path in a commit; the later add takes the earlier one's place.
    let replaced: HashSet<&str> = request.add.iter().map(|file| file.path.as_str()).collect();
    let gone = removed.iter().filter(|file| !replaced.contains(file.path.as_str()));
    lines.extend(gone.map(|file| actions::remove(file, now_ms)));
    let mut text = joined(&lines);
    text.reserve_exact(added.iter().flatten().map(|line| line.len() + 1).sum());
    for line in added.iter().flatten() {
        text.push_str(line);
        text.push('\n');
    }
    text.into()
}

fn joined(lines: &[Json]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn busy(table: &DeltaTable) -> TableError {
    TableError::Store {
        action: "commit to",
        object: table.storage().location().to_owned(),
        source: format!("other writers were first {ATTEMPTS_MAX} times; nothing was committed; try again").into(),
    }
}

/// What a migration has left in the table.
pub(super) async fn marks(table: &DeltaTable, migration: &MigrationId) -> Result<Marks, TableError> {
    let loaded = table.log.load(None).await?;
    let (number, epoch) = read_marks(table, migration, loaded.version).await?;
    let mut foreign = Vec::new();
    if number.is_some() || epoch.is_some() {
        let ours = [actions::numbers_of(migration), actions::epochs_of(migration)];
        for version in (0..=loaded.version).rev() {
            match table.log.commit_bytes(version).await? {
                Some(bytes) if !carries(&bytes, &ours) => foreign.push(version_text(version)),
                // Ours, or cleaned up: what was before is older than the last commit of the migration that is on record.
                _ => break,
            }
        }
    }
    foreign.reverse();
    Ok(Marks { number, epoch, foreign })
}

/// Whether a commit has a `txn` of one of these applications.
fn carries(commit: &[u8], applications: &[String]) -> bool {
    // A commit of many files is not parsed whole.
    let named = commit.split(|byte| *byte == b'\n').filter(|line| memchr::memmem::find(line, b"\"txn\"").is_some());
    let lines = named.filter_map(|line| serde_json::from_slice::<Json>(line).ok());
    lines.filter_map(|action| action["txn"]["appId"].as_str().map(str::to_owned)).any(|id| applications.contains(&id))
}
