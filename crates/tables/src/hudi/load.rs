//! A version's state: from timeline and listing to columns and file entries.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use futures::stream::{self, StreamExt, TryStreamExt};
use lakeshift_core::avro::Schema;
use lakeshift_core::hudi::{LogFile, LoggedSlice, MergeRule};
use lakeshift_core::partition::PartitionSpec;
use lakeshift_core::schema::TableSchema;
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{FileEntry, TableError, TableVersion, with_deletes};
use serde::{Deserialize, Serialize};

use super::commit::{self, Commit, INSTANT_BYTES_MAX};
use super::config::TableConfig;
use super::history;
use super::listing::{self, Found};
use super::names::{FileName, Kind};
use super::slices::{Shown, Slice, slices};
use super::timeline::{Instant, Layout, Timeline, View};
use crate::footer::{corrupt, unsupported};
use crate::storage::store_error;

/// Objects of the timeline that are read at the same time.
const INSTANTS_IN_FLIGHT: usize = 16;
/// Hudi's own columns: its bookkeeping, no data of the table.
const META_COLUMNS: [&str; 5] =
    ["_hoodie_commit_time", "_hoodie_commit_seqno", "_hoodie_record_key", "_hoodie_partition_path", "_hoodie_file_name"];
/// Holds the change that a record was, in tables that Flink keeps as change logs.
const OPERATION: &str = "_hoodie_operation";

/// A table at a version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Loaded {
    pub(super) version: TableVersion,
    pub(super) schema: TableSchema,
    pub(super) partition: PartitionSpec,
    pub(super) properties: BTreeMap<String, String>,
    /// In the order of their paths.
    pub(super) files: Vec<FileEntry>,
    /// The times of the completed writes that it shows and the timeline had, in their order; none in states that older builds
    /// have saved.
    #[serde(default)]
    pub(super) instants: Vec<String>,
}

impl Loaded {
    /// Completed writes that this state shows and `earlier` does not. `None` where the timeline cannot tell: it has archived the
    /// last one that `earlier` shows, and with it perhaps some that came after it.
    pub(super) fn instants_since(&self, earlier: &Self) -> Option<u64> {
        let last = earlier.instants.last()?;
        self.instants.binary_search(last).ok()?;
        let is_new = |time: &&String| earlier.instants.binary_search(time).is_err();
        Some(self.instants.iter().filter(is_new).count() as u64)
    }
}

/// Completed writes that were read before, by object name; such objects never change.
#[derive(Debug, Default)]
pub(super) struct Commits {
    known: Mutex<HashMap<String, Arc<Commit>>>,
}

/// Reads the table at `version`, or now.
///
/// # Errors
/// As [`lakeshift_core::table::TableFormat::snapshot`].
pub(super) async fn load(
    storage: &Storage,
    commits: &Commits,
    version: Option<&TableVersion>,
) -> Result<Loaded, TableError> {
    let config = TableConfig::read(storage).await?;
    let timeline = read_timeline(storage, &config).await?;
    let mut view = match version {
        Some(version) => timeline.at(storage.location(), version)?,
        None => timeline.latest(),
    };
    commits.forget_others(&timeline);
    let known = commits.read(storage, &config, view.instants()).await?;
    let schema = schema(storage.location(), &config, &view, &known)?;
    let partition = config.path_columns.as_ref().map_or_else(PartitionSpec::default, super::config::PathColumns::spec);
    let found = listing::list(storage).await?;
    let is_old_log = |file: &Found| matches!(file.name.kind, Kind::Log { .. }) && view.is_archived(&file.name.instant);
    if config.layout == Layout::Two && found.iter().any(is_old_log) {
        view.archived = history::completions(storage, &config.history).await?;
    }
    let mut missing = unlisted(&known, &found);
    if !view.is_latest {
        missing.extend(cleaned(storage, &config, commits, &timeline, &view, &found).await?);
    }
    let shown = Shown { location: storage.location(), view: &view, commits: &known, found: &found, missing: &missing };
    let slices = slices(&shown)?;
    let rule = match slices.iter().any(|slice| !slice.logs.is_empty()) {
        true => Some(merge_rule(storage.location(), &config, &schema)?),
        false => None,
    };
    let entry = |slice: Slice| entry(storage.location(), &config, &view, &schema, rule.as_ref(), slice);
    let mut files = slices.into_iter().map(entry).collect::<Result<Vec<_>, _>>()?;
    files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    let instants = view.instants().map(|instant| instant.time.clone()).collect();
    Ok(Loaded { version: view.version.clone(), schema, partition, properties: config.properties, files, instants })
}

async fn read_timeline(storage: &Storage, config: &TableConfig) -> Result<Timeline, TableError> {
    let folder = storage.child(&config.timeline);
    let listed = folder.store().list_with_delimiter(Some(folder.prefix())).await;
    let listed = listed.map_err(|error| store_error("list", folder.location(), error))?;
    let names: Vec<&str> = listed.objects.iter().filter_map(|meta| meta.location.filename()).collect();
    Timeline::new(storage.location(), config.layout, names)
}

impl Commits {
    /// What these instants did, by their times.
    async fn read<'a>(
        &self,
        storage: &Storage,
        config: &TableConfig,
        instants: impl Iterator<Item = &'a Instant>,
    ) -> Result<BTreeMap<String, Arc<Commit>>, TableError> {
        let read = stream::iter(instants.cloned().collect::<Vec<_>>()).map(|instant| async move {
            let commit = match self.known(&instant.name) {
                Some(commit) => commit,
                None => self.keep(instant.name.clone(), read_commit(storage, config, &instant).await?),
            };
            Ok::<_, TableError>((instant.time, commit))
        });
        read.buffered(INSTANTS_IN_FLIGHT).try_collect().await
    }

    /// Forgets instants that the timeline has no more: a mirror looks for weeks.
    fn forget_others(&self, timeline: &Timeline) {
        let names = timeline.names();
        self.known.lock().unwrap_or_else(PoisonError::into_inner).retain(|name, _| names.contains(name.as_str()));
    }

    fn known(&self, name: &str) -> Option<Arc<Commit>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn keep(&self, name: String, commit: Commit) -> Arc<Commit> {
        let commit = Arc::new(commit);
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(name, Arc::clone(&commit));
        commit
    }
}

async fn read_commit(storage: &Storage, config: &TableConfig, instant: &Instant) -> Result<Commit, TableError> {
    let (object, bytes) = read_instant(storage, config, instant).await?;
    Commit::parse(&object, &bytes)
}

async fn read_instant(
    storage: &Storage,
    config: &TableConfig,
    instant: &Instant,
) -> Result<(String, bytes::Bytes), TableError> {
    let object = format!("{}/{}", config.timeline, instant.name);
    let bytes = super::read_object(storage, &object, INSTANT_BYTES_MAX).await?;
    // Archived or rolled back since it was listed.
    let bytes = bytes.ok_or_else(|| corrupt(&storage.url_of(&object), "it is gone; look again".to_owned()))?;
    Ok((storage.url_of(&object), bytes))
}

/// The table's columns: those of the last write that can change them, else those that it was created with.
fn schema(
    location: &str,
    config: &TableConfig,
    view: &View,
    commits: &BTreeMap<String, Arc<Commit>>,
) -> Result<TableSchema, TableError> {
    let newest = view.newest_first().into_iter().filter_map(|instant| commits.get(&instant.time));
    if newest.clone().any(|commit| commit.has_column_ids) {
        let advice = "write the table anew without hoodie.schema.on.read.enable";
        return Err(unsupported(location, "schema evolution on read, which finds columns by ids of Hudi's own", advice));
    }
    let parse = |json: &str| {
        let parsed = Schema::parse(json).and_then(|schema| schema.table_schema());
        parsed.map_err(|error| unsupported(location, error.to_string(), "write the table with types that Lakeshift knows"))
    };
    let created = config.create_schema.as_deref();
    let mut written = newest.filter_map(|commit| commit.schema.as_deref());
    let json = written.next().or(created).ok_or_else(|| {
        let advice = "write to the table once more, so that its timeline has the schema";
        unsupported(location, "neither a schema in its timeline nor one in its properties", advice)
    })?;
    let mut schema = parse(json)?;
    schema.fields.retain(|field| !META_COLUMNS.contains(&field.name.as_str()));
    if schema.field(OPERATION).is_some() {
        let advice = "write the table anew without changelog mode";
        return Err(unsupported(location, format!("the column {OPERATION}, by which records are changes"), advice));
    }
    match &config.path_columns {
        None => Ok(schema),
        Some(columns) => {
            let created = created.map(parse).transpose()?;
            Ok(columns.complete(schema, created.as_ref()))
        }
    }
}

/// The rule, checked against the columns that it names.
fn merge_rule(location: &str, config: &TableConfig, schema: &TableSchema) -> Result<MergeRule, TableError> {
    use lakeshift_core::hudi::RecordKey;
    let rule = config.merge_rule()?;
    let keys: Vec<&String> = match &rule.key {
        RecordKey::Meta => Vec::new(),
        RecordKey::Column(name) => vec![name],
        RecordKey::Columns(names) => names.iter().collect(),
    };
    let marker = rule.delete_marker.as_ref().map(|(name, _)| name);
    match rule.ordering.iter().chain(keys).chain(marker).find(|name| schema.field(name).is_none()) {
        None => Ok(rule),
        Some(name) => {
            let feature = format!("{name} in the place of a column, by which records are merged and which is none");
            Err(unsupported(location, feature, "run a full compaction, so that no file slice has log files"))
        }
    }
}

/// Files that instants wrote and that are not listed.
fn unlisted(commits: &BTreeMap<String, Arc<Commit>>, found: &[Found]) -> Vec<Found> {
    let writes = commits.values().flat_map(|commit| &commit.writes);
    let unlisted = writes.filter(|write| !is_listed(found, &write.path)).filter_map(|write| Found::of_path(&write.path));
    unlisted.collect()
}

fn is_listed(found: &[Found], path: &str) -> bool {
    found.binary_search_by(|file| file.path.as_str().cmp(path)).is_ok()
}

/// Files that an earlier version may have shown and that are not there: what cleans deleted, and what later instants say
/// that they wrote over.
async fn cleaned(
    storage: &Storage,
    config: &TableConfig,
    commits: &Commits,
    timeline: &Timeline,
    view: &View,
    found: &[Found],
) -> Result<Vec<Found>, TableError> {
    let mut missing = Vec::new();
    for instant in &timeline.cleans {
        let (object, bytes) = read_instant(storage, config, instant).await?;
        for (partition, name) in commit::deleted(&object, &bytes)? {
            let path = if partition.is_empty() { name } else { format!("{partition}/{name}") };
            missing.extend(Found::of_path(&path).filter(|_| !is_listed(found, &path)));
        }
    }
    let later = commits.read(storage, config, timeline.later(view)).await?;
    let before = later.values().flat_map(|commit| &commit.writes).filter_map(|write| {
        let instant = write.before.clone().filter(|instant| view.completion(instant).is_some())?;
        let is_there = found.iter().any(|file| {
            file.partition == write.partition
                && file.name.file_id == write.file_id
                && file.name.kind == Kind::Base
                && file.name.instant == instant
        });
        let is_log = Found::of_path(&write.path).is_some_and(|file| matches!(file.name.kind, Kind::Log { .. }));
        // From layout 2 a log file's stat names its own instant there.
        let skip = is_there || (is_log && config.layout == Layout::Two);
        let name = FileName { file_id: write.file_id.clone(), instant, kind: Kind::Base };
        (!skip).then(|| Found { name, ..unnamed(&write.partition) })
    });
    missing.extend(before);
    Ok(missing)
}

fn unnamed(partition: &str) -> Found {
    let name = FileName { file_id: String::new(), instant: String::new(), kind: Kind::Base };
    let path = format!("{partition}/ (an earlier base file)");
    Found { partition: partition.to_owned(), path, name, size_bytes: 0, identity: String::new(), modified_ms: 0 }
}

fn entry(
    location: &str,
    config: &TableConfig,
    view: &View,
    schema: &TableSchema,
    rule: Option<&MergeRule>,
    slice: Slice,
) -> Result<FileEntry, TableError> {
    let first = slice.base.as_ref().or(slice.logs.first());
    let first = first.ok_or_else(|| corrupt(location, "a file group has neither base nor log file".to_owned()))?;
    let partition = match &config.path_columns {
        None => Vec::new(),
        Some(columns) => columns.values(&first.partition, schema)?,
    };
    let files = slice.base.iter().chain(&slice.logs);
    let mut entry = FileEntry {
        path: first.path.clone(),
        size_bytes: first.size_bytes,
        identity: first.identity.clone(),
        modified_ms: files.map(|file| file.modified_ms).max().unwrap_or_default(),
        rows: None,
        partition,
        has_deletes: false,
    };
    if let Some(rule) = rule.filter(|_| !slice.logs.is_empty()) {
        let logged = logged(view, rule, &slice);
        let json = serde_json::to_string(&logged).map_err(|error| corrupt(&entry.path, error.to_string()))?;
        entry.identity = with_deletes(&entry.identity, &json);
        entry.has_deletes = true;
    }
    Ok(entry)
}

fn logged(view: &View, rule: &MergeRule, slice: &Slice) -> LoggedSlice {
    let log = |file: &Found| LogFile {
        path: file.path.clone(),
        size_bytes: file.size_bytes,
        identity: file.identity.clone(),
        instant: (view.layout == Layout::Two).then(|| file.name.instant.clone()),
    };
    LoggedSlice {
        based: slice.base.is_some(),
        logs: slice.logs.iter().map(log).collect(),
        instants: slice.instants.clone(),
        archived_before: slice.archived.then(|| view.start().map(str::to_owned)).flatten(),
        archived_except: if slice.archived { view.hidden_before_start() } else { Vec::new() },
        merge: rule.clone(),
    }
}
