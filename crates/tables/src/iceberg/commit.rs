//! Commits: validate against the current metadata, write manifests, swap in the next metadata file; when another writer was
//! first, start again from what it wrote.

use std::collections::{BTreeSet, HashMap, HashSet};

use iceberg::spec::{
    DataFile, FormatVersion, MAIN_BRANCH, ManifestFile, Snapshot, TableMetadata, TableMetadataBuildResult,
    TableMetadataBuilder,
};
use lakeshift_core::table::{CommitOutcome, CommitRequest, TableError, TableVersion};
use lakeshift_journal::RngExt;
use uuid::Uuid;

use super::catalog::{Base, Next, Published};
use super::fault::{bad_json, damaged, unsupported};
use super::manifests::{self, Loaded, Writer};
use super::metrics::Target;
use super::{IcebergTable, marks, summary};

/// How often a commit that lost its race is validated and tried anew.
const ATTEMPTS_MAX: usize = 10;
/// Data manifests beyond this number are merged.
const MANIFESTS_MAX: usize = 100;
/// Manifests from this size on are not merged.
const MANIFEST_BYTES_TARGET: i64 = 8 * 1024 * 1024;

/// New files as metadata describes them, and for which schema and spec.
struct Described {
    target: Target,
    files: Vec<DataFile>,
}

impl IcebergTable {
    pub(super) async fn commit_files(&self, request: &CommitRequest) -> Result<CommitOutcome, TableError> {
        let added = || request.add.iter().map(|file| self.places.canonical(&file.path));
        let removed = || request.remove.iter().map(|path| self.places.canonical(path));
        if let Some(path) = named_twice(added()).or_else(|| named_twice(removed())) {
            return Ok(CommitOutcome::Conflict { reason: format!("the request names {path} twice; nothing was changed") });
        }
        let mut described = None;
        for _ in 0..ATTEMPTS_MAX {
            let base = self.base().await?;
            if let Some(answer) = marks::answer(self.name(), &base.metadata, request)? {
                return Ok(answer);
            }
            self.check_writable(&base)?;
            let live = self.manifests_of(&base.metadata, request).await?;
            let change = match Change::new(self, request, &live) {
                Ok(change) => change,
                Err(reason) => return Ok(CommitOutcome::Conflict { reason }),
            };
            let files = self.described(&mut described, &base.metadata, request).await?;
            if let Some(version) = self.attempt(request, &base, &live, &change, files).await? {
                return Ok(CommitOutcome::Committed(version));
            }
        }
        let reason = format!("{ATTEMPTS_MAX} attempts lost against other writers; nothing was changed");
        Ok(CommitOutcome::Conflict { reason })
    }

    /// The manifests to validate against; a commit that only fences needs none.
    async fn manifests_of(&self, metadata: &TableMetadata, request: &CommitRequest) -> Result<Vec<Loaded>, TableError> {
        match metadata.current_snapshot() {
            Some(snapshot) if self.makes_snapshot(request) => {
                manifests::read_snapshot(&self.places, metadata.format_version(), snapshot).await
            }
            _ => Ok(Vec::new()),
        }
    }

    /// The new files' descriptions, made once for each schema and spec that the table turns out to have.
    async fn described<'d>(
        &self,
        described: &'d mut Option<Described>,
        metadata: &TableMetadata,
        request: &CommitRequest,
    ) -> Result<&'d [DataFile], TableError> {
        if described.as_ref().is_none_or(|known| !known.target.fits(metadata)) {
            let target = Target::of(metadata);
            let files = target.describe(&self.places, &request.add).await?;
            *described = Some(Described { target, files });
        }
        Ok(described.as_ref().map_or(&[], |known| known.files.as_slice()))
    }

    /// One attempt on top of `base`; `None` when another writer was first.
    async fn attempt(
        &self,
        request: &CommitRequest,
        base: &Base,
        live: &[Loaded],
        change: &Change<'_>,
        files: &[DataFile],
    ) -> Result<Option<TableVersion>, TableError> {
        let metadata = &base.metadata;
        let snapshot_id = self.fresh_snapshot_id(metadata);
        let nonce = self.rng.uuid();
        let now_ms = self.clock.now().timestamp_millis().max(metadata.last_updated_ms() + 1);
        let mut builder = TableMetadataBuilder::new_from_metadata(metadata.clone(), Some(base.location.clone()));
        let mut writer = Writer::new(&self.places, snapshot_id, nonce);
        if self.makes_snapshot(request) {
            let manifests = self.write_manifests(&mut writer, metadata, live, change, files).await?;
            let list = writer.list(metadata.current_snapshot_id(), metadata.last_sequence_number() + 1, manifests).await?;
            let parent = metadata.current_snapshot();
            let summary = summary::summary(request, live, files, &change.removed, parent.map(|snapshot| snapshot.summary()));
            let snapshot = Snapshot::builder()
                .with_snapshot_id(snapshot_id)
                .with_parent_snapshot_id(metadata.current_snapshot_id())
                .with_sequence_number(metadata.last_sequence_number() + 1)
                .with_timestamp_ms(now_ms)
                .with_manifest_list(list)
                .with_summary(summary)
                .with_schema_id(metadata.current_schema_id())
                .build();
            builder = builder.set_branch_snapshot(snapshot, MAIN_BRANCH).map_err(|source| self.refused(source))?;
        }
        let properties = HashMap::from([
            (marks::commit_key(&request.migration), request.number.to_string()),
            (marks::epoch_key(&request.migration), request.epoch.to_string()),
            (marks::nonce_key(&request.migration), nonce.to_string()),
        ]);
        let next = builder
            .set_properties(properties)
            .and_then(TableMetadataBuilder::build)
            .map_err(|source| self.refused(source))?;
        let next = self.next(next, now_ms, nonce)?;
        match self.catalog.publish(Some(base), &next).await? {
            Published::Ours => Ok(Some(marks::version(next.metadata.current_snapshot_id()))),
            Published::Taken => {
                writer.discard().await;
                Ok(None)
            }
        }
    }

    /// The new snapshot's manifests: what is new, then what changed, then the rest as it is.
    async fn write_manifests(
        &self,
        writer: &mut Writer<'_>,
        metadata: &TableMetadata,
        live: &[Loaded],
        change: &Change<'_>,
        files: &[DataFile],
    ) -> Result<Vec<ManifestFile>, TableError> {
        let mut manifests = Vec::new();
        if !files.is_empty() {
            let (schema, spec) = (metadata.current_schema().clone(), metadata.default_partition_spec());
            manifests.push(writer.added(schema, spec, files.to_vec()).await?);
        }
        let paths: HashSet<&str> = change.removed.iter().map(|file| file.file_path()).collect();
        let touched = |loaded: &&Loaded| loaded.is_data() && loaded.live().any(|entry| paths.contains(entry.file_path()));
        let (touched, mut carried): (Vec<&Loaded>, Vec<&Loaded>) = live.iter().partition(touched);
        for loaded in touched {
            manifests.push(writer.rewritten(&[loaded], &paths).await?);
        }
        for group in mergeable(&carried) {
            carried.retain(|loaded| !group.iter().any(|merged| std::ptr::eq(*merged, *loaded)));
            manifests.push(writer.rewritten(&group, &paths).await?);
        }
        manifests.extend(carried.into_iter().map(|loaded| loaded.file.clone()));
        Ok(manifests)
    }

    /// The next metadata, its file with our clock's time where the library put its own, and snapshots in order.
    pub(super) fn next(&self, built: TableMetadataBuildResult, now_ms: i64, nonce: Uuid) -> Result<Next, TableError> {
        let bad = |error| bad_json(self.name(), error);
        let mut json = serde_json::to_value(&built.metadata).map_err(bad)?;
        json["last-updated-ms"] = now_ms.into();
        if let Some(snapshots) = json.get_mut("snapshots").and_then(serde_json::Value::as_array_mut) {
            snapshots.sort_by_key(|snapshot| snapshot["sequence-number"].as_i64());
        }
        let content = serde_json::to_vec_pretty(&json).map_err(bad)?.into();
        Ok(Next { metadata: built.metadata, changes: built.changes, content, nonce })
    }

    fn fresh_snapshot_id(&self, metadata: &TableMetadata) -> i64 {
        loop {
            // Positive: some readers take -1 for "none".
            let id = i64::from_le_bytes(self.rng.nonce().to_le_bytes()) & i64::MAX;
            if id > 0 && metadata.snapshot_by_id(id).is_none() {
                return id;
            }
        }
    }

    /// Writing is refused where the compare-and-swap would not hold or the format has rules that are not kept here.
    fn check_writable(&self, base: &Base) -> Result<(), TableError> {
        self.catalog.check_writable(base)?;
        let version = base.metadata.format_version();
        if version != FormatVersion::V2 {
            return Err(unsupported(
                self.name(),
                format!("format {version}"),
                "Lakeshift writes Iceberg v2 only; upgrade or rewrite the table",
            ));
        }
        Ok(())
    }

    /// A commit that only fences makes a snapshot where the catalogue could not see it otherwise.
    fn makes_snapshot(&self, request: &CommitRequest) -> bool {
        !is_fence(request) || self.catalog.server_writes_metadata()
    }

    pub(super) fn refused(&self, source: iceberg::Error) -> TableError {
        damaged(self.name(), "Iceberg refuses its next metadata; the table was left as it was", source)
    }
}

/// A commit that changes no file: it writes its marks and by that fences older runners.
fn is_fence(request: &CommitRequest) -> bool {
    request.add.is_empty() && request.remove.is_empty()
}

fn named_twice(mut paths: impl Iterator<Item = String>) -> Option<String> {
    let mut seen = BTreeSet::new();
    paths.find(|path| !seen.insert(path.clone()))
}

/// What a commit does to the files that are live.
struct Change<'a> {
    removed: Vec<&'a DataFile>,
}

impl<'a> Change<'a> {
    /// Checks a request against the live files; the error is the conflict's reason.
    fn new(table: &IcebergTable, request: &CommitRequest, live: &'a [Loaded]) -> Result<Self, String> {
        let remove: HashSet<String> = request.remove.iter().map(|path| table.places.canonical(path)).collect();
        let add: HashSet<String> = request.add.iter().map(|file| table.places.canonical(&file.path)).collect();
        let (mut removed, mut gone) = (Vec::new(), remove.clone());
        for entry in live.iter().filter(|loaded| loaded.is_data()).flat_map(Loaded::live) {
            let path = table.places.to_entry(entry.file_path());
            if remove.contains(&path) {
                gone.remove(&path);
                removed.push(entry.data_file());
            } else if add.contains(&path) {
                return Err(format!("{path} is in the table already; nothing was changed"));
            }
        }
        match gone.iter().min() {
            Some(path) => Err(format!(
                "{path}, which was to be removed, is no longer in the table ({} such files); nothing was changed",
                gone.len()
            )),
            None => Ok(Self { removed }),
        }
    }
}

/// Groups of small data manifests of one spec and schema to merge, when there are too many.
fn mergeable<'a>(carried: &[&'a Loaded]) -> Vec<Vec<&'a Loaded>> {
    let small = |loaded: &&&Loaded| loaded.is_data() && loaded.file.manifest_length < MANIFEST_BYTES_TARGET;
    let small: Vec<&Loaded> = carried.iter().filter(small).copied().collect();
    if small.len() <= MANIFESTS_MAX {
        return Vec::new();
    }
    let mut groups: Vec<(i64, Vec<&Loaded>)> = Vec::new();
    for loaded in small {
        let alike = |first: &&Loaded| {
            first.file.partition_spec_id == loaded.file.partition_spec_id
                && first.metadata.schema_id == loaded.metadata.schema_id
        };
        let open =
            |(bytes, group): &&mut (i64, Vec<&Loaded>)| *bytes < MANIFEST_BYTES_TARGET && group.first().is_some_and(&alike);
        match groups.iter_mut().find(open) {
            Some((bytes, group)) => {
                *bytes += loaded.file.manifest_length;
                group.push(loaded);
            }
            None => groups.push((loaded.file.manifest_length, vec![loaded])),
        }
    }
    groups.into_iter().map(|(_, group)| group).filter(|group| group.len() > 1).collect()
}
