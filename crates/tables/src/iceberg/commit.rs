//! Commits: validate against the current metadata, write manifests, swap in the next metadata file; when another writer was
//! first, start again from what it wrote.

use std::collections::{BTreeSet, HashMap};

use iceberg::spec::{
    DEFAULT_SCHEMA_NAME_MAPPING, DataFile, FormatVersion, MAIN_BRANCH, ManifestContentType, ManifestEntry, ManifestFile,
    PartitionSpecRef, Snapshot, Summary, TableMetadata, TableMetadataBuildResult, TableMetadataBuilder,
};
use lakeshift_core::evolution;
use lakeshift_core::schema::Field;
use lakeshift_core::table::{CommitOutcome, CommitRequest, MigrationId, TableError, TableVersion};
use lakeshift_journal::RngExt;
use uuid::Uuid;

use super::catalog::{Base, Next, Published};
use super::change::Change;
use super::create;
use super::fault::{bad_json, damaged, unsupported};
use super::manifests::{self, List, Loaded, Writer};
use super::metrics::Target;
use super::schema::Evolved;
use super::summary::Changes;
use super::{IcebergTable, delete_files, expire, marks, partition, schema, sizing, summary};

/// How often a commit that lost its race is validated and tried anew.
const ATTEMPTS_MAX: usize = 10;

/// New files as metadata describes them, and for which schema and spec.
struct Described {
    target: Target,
    spec: PartitionSpecRef,
    files: Vec<DataFile>,
}

impl IcebergTable {
    pub(super) async fn commit_files(&self, request: &CommitRequest) -> Result<CommitOutcome, TableError> {
        let added = || request.add.iter().map(|file| self.places.canonical(&file.path));
        let removed = || request.remove.iter().map(|path| self.places.canonical(path));
        let marked = request.deletes.keys().map(|path| self.places.canonical(path));
        if let Some(path) = named_twice(added()).or_else(|| named_twice(removed())).or_else(|| named_twice(marked)) {
            return Ok(CommitOutcome::Conflict { reason: format!("the request names {path} twice; nothing was changed") });
        }
        let mut described = None;
        for _ in 0..ATTEMPTS_MAX {
            let base = self.base().await?;
            if let Some(answer) = marks::answer(self.name(), &base.metadata, request)? {
                return Ok(answer);
            }
            self.check_writable(&base)?;
            let spec = match own_spec(&base.metadata, &request.migration) {
                Ok(spec) => spec,
                Err(reason) => return Ok(CommitOutcome::Conflict { reason }),
            };
            let columns = match self.evolved(&base.metadata, &request.evolve)? {
                Ok(columns) => columns,
                Err(reason) => return Ok(CommitOutcome::Conflict { reason }),
            };
            let live = self.manifests_of(&base.metadata, request).await?;
            let change = match Change::new(self, request, &base.metadata, &live)? {
                Ok(change) => change,
                Err(reason) => return Ok(CommitOutcome::Conflict { reason }),
            };
            let described = self.described(&mut described, &base.metadata, spec, request).await?;
            if let Some(version) = self.attempt(request, &base, &live, (&change, columns), described).await? {
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
        spec: &PartitionSpecRef,
        request: &CommitRequest,
    ) -> Result<&'d Described, TableError> {
        let known = described.take().filter(|known| known.target.fits(metadata, spec));
        let now = match known {
            Some(known) => known,
            None => {
                let target = Target::new(self.name(), metadata, spec)?;
                let files = target.describe(&self.places, &request.add).await?;
                Described { target, spec: spec.clone(), files }
            }
        };
        Ok(described.insert(now))
    }

    /// One attempt on top of `base`; `None` when another writer was first.
    async fn attempt(
        &self,
        request: &CommitRequest,
        base: &Base,
        live: &[Loaded],
        (change, columns): (&Change<'_>, Option<Evolved>),
        new: &Described,
    ) -> Result<Option<TableVersion>, TableError> {
        let metadata = &base.metadata;
        let snapshot_id = self.fresh_snapshot_id(metadata);
        let nonce = self.rng.uuid();
        let now_ms = self.clock.now().timestamp_millis().max(metadata.last_updated_ms() + 1);
        let mut builder = TableMetadataBuilder::new_from_metadata(metadata.clone(), Some(base.location.clone()));
        let mut writer = Writer::new(&self.places, metadata, snapshot_id, nonce);
        let mut properties = HashMap::new();
        let mut schema_id = metadata.current_schema_id();
        if let Some(Evolved { schema, name_mapping }) = columns {
            schema_id = schema.schema_id();
            builder = builder.add_current_schema(schema).map_err(|source| self.refused(source))?;
            properties.extend(name_mapping.map(|mapping| (DEFAULT_SCHEMA_NAME_MAPPING.to_owned(), mapping)));
        }
        if self.makes_snapshot(request) {
            let written = self.write_files(&mut writer, request, metadata, live, change, new).await?;
            let snapshot = Snapshot::builder()
                .with_snapshot_id(snapshot_id)
                .with_parent_snapshot_id(metadata.current_snapshot_id())
                .with_sequence_number(metadata.last_sequence_number() + 1)
                .with_timestamp_ms(now_ms)
                .with_manifest_list(written.list.path)
                .with_summary(written.summary)
                .with_schema_id(schema_id);
            let snapshot = match written.list.row_range {
                Some((first_row_id, added_rows)) => snapshot.with_row_range(first_row_id, added_rows).build(),
                None => snapshot.build(),
            };
            builder = builder.set_branch_snapshot(snapshot, MAIN_BRANCH).map_err(|source| self.refused(source))?;
            if let Some(rule) = &self.snapshots {
                builder = expire::apply(builder, self.name(), metadata, rule, now_ms)?;
            }
        }
        if let Some(partition) = &request.repartition {
            let spec = partition::unbound(self.name(), partition, metadata.current_schema())?;
            builder = builder.add_default_partition_spec(spec).map_err(|source| self.refused(source))?;
        }
        properties.insert(marks::epoch_key(&request.migration), request.epoch.to_string());
        properties.insert(marks::nonce_key(&request.migration), nonce.to_string());
        if !request.is_fence() {
            properties.insert(marks::commit_key(&request.migration), request.number.to_string());
        }
        let positions = request.positions.iter();
        properties.extend(positions.map(|(name, next)| (marks::position_key(&request.migration, name), next.to_string())));
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

    /// Writes all that the new snapshot refers to, up to its manifest list.
    async fn write_files(
        &self,
        writer: &mut Writer<'_>,
        request: &CommitRequest,
        metadata: &TableMetadata,
        live: &[Loaded],
        change: &Change<'_>,
        new: &Described,
    ) -> Result<Written, TableError> {
        let schema = metadata.current_schema();
        let Described { spec, files, .. } = new;
        let marked = change.marked(&self.places, request, files, spec)?;
        let (deletes, delete_manifests) = delete_files::write(writer, &self.places, request, schema, &marked).await?;
        let mut manifests = Vec::new();
        for group in sizing::split(files) {
            manifests.push(writer.added(ManifestContentType::Data, schema.clone(), spec, group.to_vec()).await?);
        }
        manifests.extend(delete_manifests);
        manifests.extend(carry_on(writer, live, change).await?);
        let parent = metadata.current_snapshot();
        let changes = Changes { request, live, change, added: files, deletes: &deletes };
        let summary = summary::summary(&changes, parent.map(|snapshot| snapshot.summary()));
        let sequence = metadata.last_sequence_number() + 1;
        let list = writer.list(metadata.current_snapshot_id(), sequence, manifests).await?;
        Ok(Written { list, summary })
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
        if version < FormatVersion::V2 {
            let advice = "Lakeshift writes Iceberg v2 and v3; upgrade or rewrite the table";
            return Err(unsupported(self.name(), format!("format {version}"), advice));
        }
        if base.metadata.encryption_keys_iter().len() > 0 {
            return Err(unsupported(self.name(), "encryption keys", "decrypt the table first"));
        }
        if let Some(column) = schema::with_default(base.metadata.current_schema()) {
            let feature = format!("a default value of column {column}, which files without the column would show");
            return Err(unsupported(self.name(), feature, "drop the default by the table's own writer first"));
        }
        Ok(())
    }

    /// A commit that changes no row makes a snapshot where the catalogue could not see it otherwise, and where columns change:
    /// a version has those of its snapshot.
    fn makes_snapshot(&self, request: &CommitRequest) -> bool {
        !request.keeps_rows() || !request.evolve.is_empty() || self.catalog.server_writes_metadata()
    }

    /// The table's columns with new ones and wider types; `None` where it has them. The inner error is the conflict's reason.
    fn evolved(&self, metadata: &TableMetadata, columns: &[Field]) -> Result<Result<Option<Evolved>, String>, TableError> {
        let current = schema::from_iceberg(metadata.current_schema());
        match evolution::missing(&current, columns) {
            Ok(missing) if missing.is_empty() => Ok(Ok(None)),
            Ok(missing) => Evolved::new(self.name(), metadata, missing).map(|evolved| Ok(Some(evolved))),
            Err(reason) => Ok(Err(reason)),
        }
    }

    pub(super) fn refused(&self, source: iceberg::Error) -> TableError {
        damaged(self.name(), "Iceberg refuses its next metadata; the table was left as it was", source)
    }
}

/// What an attempt has written for its snapshot.
struct Written {
    list: List,
    summary: Summary,
}

/// The manifests of the files that stay: those that changed and those to be merged anew, the rest as it is.
async fn carry_on(writer: &mut Writer<'_>, live: &[Loaded], change: &Change<'_>) -> Result<Vec<ManifestFile>, TableError> {
    let takes_out = |entry: &ManifestEntry| change.takes_out(entry);
    let touched = |loaded: &&Loaded| loaded.live().any(takes_out);
    let (touched, mut carried): (Vec<&Loaded>, Vec<&Loaded>) = live.iter().partition(touched);
    let mut manifests = Vec::new();
    for loaded in touched {
        manifests.push(writer.rewritten(&[loaded], &takes_out).await?);
    }
    for group in sizing::mergeable(&carried) {
        carried.retain(|loaded| !group.iter().any(|merged| std::ptr::eq(*merged, *loaded)));
        manifests.push(writer.rewritten(&group, &takes_out).await?);
    }
    manifests.extend(carried.into_iter().map(|loaded| loaded.file.clone()));
    Ok(manifests)
}

/// The spec that a migration's files are of, whatever has become the default for other writers since: in a table that it
/// created that of its plan. The inner error is the conflict's reason.
fn own_spec<'m>(metadata: &'m TableMetadata, migration: &MigrationId) -> Result<&'m PartitionSpecRef, String> {
    if !marks::is_created_by(metadata, migration) {
        return Ok(metadata.default_partition_spec());
    }
    metadata.partition_spec_by_id(create::SPEC_ID).ok_or_else(|| {
        format!(
            "somebody has removed partition spec {} from the table, which the migration's files are of; nothing was changed. Abort \
             and plan a migration to the present partitioning",
            create::SPEC_ID
        )
    })
}

fn named_twice(mut paths: impl Iterator<Item = String>) -> Option<String> {
    let mut seen = BTreeSet::new();
    paths.find(|path| !seen.insert(path.clone()))
}
