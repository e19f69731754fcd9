//! Manifest lists and manifests: reading them with what entries inherit, and writing new ones.
//!
//! The library's writers want its own file abstraction. They get one in memory, and the bytes go to the store from here,
//! so that there is one storage configuration and every write is seen by the fault-injecting store.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use iceberg::io::FileIO;
use iceberg::spec::{
    DataFile, FormatVersion, Manifest, ManifestContentType, ManifestEntry, ManifestFile, ManifestList, ManifestListWriter,
    ManifestMetadata, ManifestStatus, ManifestWriter, ManifestWriterBuilder, PartitionSpec, SchemaRef, SnapshotRef,
    TableMetadata, UNASSIGNED_SEQUENCE_NUMBER,
};
use lakeshift_core::table::TableError;
use object_store::ObjectStoreExt;

use super::fault::{corrupt, damaged, unreadable, unsupported};
use super::location::Places;
use super::{lineage, partition};
use crate::storage::{outside_error, store_error};

/// The longest block or value of a manifest; writers' blocks have some 64 KiB.
const AVRO_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Manifests that are read at one time.
const MANIFESTS_PARALLEL: usize = 8;

/// A manifest with its entries, in which everything that is inherited is filled in.
#[derive(Debug, Clone)]
pub(super) struct Loaded {
    pub file: ManifestFile,
    pub metadata: ManifestMetadata,
    pub entries: Vec<ManifestEntry>,
}

impl Loaded {
    pub fn live(&self) -> impl Iterator<Item = &ManifestEntry> {
        self.entries.iter().filter(|entry| entry.is_alive())
    }

    pub fn is_data(&self) -> bool {
        self.file.content == ManifestContentType::Data
    }
}

/// Every manifest of a snapshot that has live entries, data and deletes, in the list's order.
pub(super) async fn read_snapshot(
    places: &Places,
    version: FormatVersion,
    snapshot: &SnapshotRef,
) -> Result<Vec<Loaded>, TableError> {
    futures::stream::iter(read_list(places, version, snapshot).await?)
        .map(|file| read_manifest(places, file))
        .buffered(MANIFESTS_PARALLEL)
        .try_collect()
        .await
}

/// The specs of a snapshot's live data files, as its manifest list tells.
pub(super) async fn specs_in_use(
    places: &Places,
    version: FormatVersion,
    snapshot: &SnapshotRef,
) -> Result<BTreeSet<i32>, TableError> {
    let list = read_list(places, version, snapshot).await?;
    Ok(list.iter().filter(|file| file.content == ManifestContentType::Data).map(|file| file.partition_spec_id).collect())
}

async fn read_list(
    places: &Places,
    version: FormatVersion,
    snapshot: &SnapshotRef,
) -> Result<Vec<ManifestFile>, TableError> {
    let path = snapshot.manifest_list();
    let bytes = read(places, path).await?;
    let list =
        parse_list(&bytes, version).map_err(|source| damaged(path, "it is no manifest list that can be read", source))?;
    let live = list.consume_entries().into_iter().filter(|file| file.has_added_files() || file.has_existing_files());
    Ok(live.collect())
}

/// A table that was upgraded still has lists that the older version wrote.
fn parse_list(bytes: &[u8], version: FormatVersion) -> Result<ManifestList, iceberg::Error> {
    match guarded(|| ManifestList::parse_with_version(bytes, version)) {
        Err(error) if version != FormatVersion::V1 => {
            let older = if version == FormatVersion::V3 { FormatVersion::V2 } else { FormatVersion::V1 };
            parse_list(bytes, older).map_err(|_| error)
        }
        parsed => parsed,
    }
}

/// The Avro library panics on some schemas (a name that is none), and reserves what a length claims, up to a bound of the whole
/// process; a panic is an error of this object alone.
fn guarded<T>(parse: impl FnOnce() -> Result<T, iceberg::Error> + std::panic::UnwindSafe) -> Result<T, iceberg::Error> {
    apache_avro::util::max_allocation_bytes(AVRO_BYTES_MAX);
    let gave_up = |_| Err(iceberg::Error::new(iceberg::ErrorKind::DataInvalid, "the Avro decoder gave up on it"));
    std::panic::catch_unwind(parse).unwrap_or_else(gave_up)
}

async fn read_manifest(places: &Places, file: ManifestFile) -> Result<Loaded, TableError> {
    let path = file.manifest_path.clone();
    if file.key_metadata.is_some() {
        return Err(unsupported(path, "an encrypted manifest", "decrypt the table first"));
    }
    let bytes = read(places, &path).await?;
    let manifest = guarded(|| Manifest::parse_avro(&bytes))
        .map_err(|source| damaged(&path, "it is no manifest that can be read", source))?;
    let (entries, metadata) = manifest.into_parts();
    let entries = entries.into_iter().map(|entry| inherit(std::sync::Arc::unwrap_or_clone(entry), &file)).collect();
    Ok(Loaded { file, metadata, entries })
}

/// Fills in what an entry leaves to its manifest's line in the list.
fn inherit(mut entry: ManifestEntry, file: &ManifestFile) -> ManifestEntry {
    entry.snapshot_id.get_or_insert(file.added_snapshot_id);
    if entry.status == ManifestStatus::Added || file.sequence_number == 0 {
        entry.sequence_number.get_or_insert(file.sequence_number);
        entry.file_sequence_number.get_or_insert(file.sequence_number);
    }
    entry
}

async fn read(places: &Places, metadata_path: &str) -> Result<Bytes, TableError> {
    let place = places.locate(metadata_path)?;
    let failed = |error| unreadable(metadata_path, error);
    place.storage.store().get(&place.path).await.map_err(failed)?.bytes().await.map_err(failed)
}

/// A manifest list that was written.
#[derive(Debug)]
pub(super) struct List {
    /// Its path in metadata spelling.
    pub path: String,
    /// The row ids that it has assigned (version 3): the first, and how many.
    pub row_range: Option<(u64, u64)>,
}

/// Writes the files of one snapshot, and knows what it wrote.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    places: &'a Places,
    scratch: FileIO,
    version: FormatVersion,
    /// The first row id that is free (version 3).
    next_row_id: u64,
    snapshot_id: i64,
    /// Makes the names of this attempt's files unlike any other's.
    nonce: uuid::Uuid,
    written: Vec<String>,
}

impl<'a> Writer<'a> {
    pub fn new(places: &'a Places, before: &TableMetadata, snapshot_id: i64, nonce: uuid::Uuid) -> Self {
        let (version, next_row_id) = (before.format_version(), before.next_row_id());
        let scratch = FileIO::new_with_memory();
        Self { places, scratch, version, next_row_id, snapshot_id, nonce, written: Vec::new() }
    }

    /// Makes names of this attempt's files unlike any other's.
    pub fn nonce(&self) -> uuid::Uuid {
        self.nonce
    }

    /// Whether deleted rows are written as deletion vectors. From version 3 on nothing else is allowed.
    pub fn writes_vectors(&self) -> bool {
        self.version >= FormatVersion::V3
    }

    /// A manifest of new files.
    pub async fn added(
        &mut self,
        content: ManifestContentType,
        schema: SchemaRef,
        spec: &PartitionSpec,
        files: Vec<DataFile>,
    ) -> Result<ManifestFile, TableError> {
        let (name, mut manifest) = self.manifest(content, schema, spec)?;
        for file in files {
            // The sequence number is inherited: it is known only once the commit is.
            manifest.add_file(file, UNASSIGNED_SEQUENCE_NUMBER).map_err(|source| self.refused(&name, source))?;
        }
        self.finish(name, manifest).await
    }

    /// One manifest in place of `group`, whose manifests share content, schema and spec: live entries are carried as they
    /// are, those that `leaves` names are marked as deleted now, those deleted before are dropped.
    pub async fn rewritten(
        &mut self,
        group: &[&Loaded],
        leaves: &impl Fn(&ManifestEntry) -> bool,
    ) -> Result<ManifestFile, TableError> {
        let Some(first) = group.first() else { return Err(corrupt("manifest", "a group of none was to be rewritten")) };
        let (schema, spec) = (first.metadata.schema.clone(), &first.metadata.partition_spec);
        let (name, mut manifest) = self.manifest(first.file.content, schema, spec)?;
        let mut all_have_row_ids = first.is_data() && self.version >= FormatVersion::V3;
        for loaded in group {
            let first_row_ids = lineage::first_row_ids(loaded);
            let live = loaded.entries.iter().zip(first_row_ids).filter(|(entry, _)| entry.is_alive());
            for (entry, first_row_id) in live {
                let (Some(snapshot_id), Some(sequence)) = (entry.snapshot_id, entry.sequence_number) else {
                    let reason = "an existing entry has no snapshot id or sequence number";
                    return Err(corrupt(&loaded.file.manifest_path, reason));
                };
                let file = lineage::with_first_row_id(entry.data_file(), first_row_id)?;
                let carried = match leaves(entry) {
                    true => manifest.add_delete_file(file, sequence, entry.file_sequence_number),
                    false => {
                        all_have_row_ids &= first_row_id.is_some();
                        manifest.add_existing_file(file, snapshot_id, sequence, entry.file_sequence_number)
                    }
                };
                carried.map_err(|source| self.refused(&name, source))?;
            }
        }
        let mut file = self.finish(name, manifest).await?;
        // Without a first row id the list would give the manifest one, and skip as many ids as it has rows.
        file.first_row_id = all_have_row_ids.then_some(self.next_row_id);
        Ok(file)
    }

    /// The manifest list.
    pub async fn list(
        &mut self,
        parent: Option<i64>,
        sequence: i64,
        manifests: Vec<ManifestFile>,
    ) -> Result<List, TableError> {
        let name = format!("metadata/snap-{}-1-{}.avro", self.snapshot_id, self.nonce);
        let refused = |source| self.refused(&name, source);
        let output = self.scratch.new_output(&name).map_err(refused)?.writer().await.map_err(refused)?;
        let first_row_id = (self.version >= FormatVersion::V3).then_some(self.next_row_id);
        let mut list = match first_row_id {
            Some(_) => ManifestListWriter::v3(output, self.snapshot_id, parent, sequence, first_row_id),
            None => ManifestListWriter::v2(output, self.snapshot_id, parent, sequence),
        };
        list.add_manifests(manifests.into_iter()).map_err(refused)?;
        let row_range = first_row_id.zip(list.next_row_id()).map(|(first, next)| (first, next - first));
        list.close().await.map_err(refused)?;
        self.upload(&name).await?;
        Ok(List { path: self.places.below_root(&name), row_range })
    }

    /// Deletes what was written, as far as the store lets it: for an attempt that is known to have lost.
    pub async fn discard(self) {
        for name in &self.written {
            let Ok(path) = self.places.root().resolve(name) else { continue };
            if let Err(error) = self.places.root().store().delete(&path).await {
                tracing::debug!(file = name, %error, "could not delete a manifest of an attempt that lost its race");
            }
        }
    }

    fn manifest(
        &self,
        content: ManifestContentType,
        schema: SchemaRef,
        spec: &PartitionSpec,
    ) -> Result<(String, ManifestWriter), TableError> {
        let name = format!("metadata/{}-m{}.avro", self.nonce, self.written.len());
        let output = self.scratch.new_output(&name).map_err(|source| self.refused(&name, source))?;
        let spec = partition::in_avro(spec, &schema).map_err(|source| self.refused(&name, source))?;
        let builder = ManifestWriterBuilder::new(output, Some(self.snapshot_id), schema, spec);
        let writer = match (self.version >= FormatVersion::V3, content) {
            (false, ManifestContentType::Data) => builder.build_v2_data(),
            (false, ManifestContentType::Deletes) => builder.build_v2_deletes(),
            (true, ManifestContentType::Data) => builder.build_v3_data(),
            (true, ManifestContentType::Deletes) => builder.build_v3_deletes(),
        };
        Ok((name, writer))
    }

    async fn finish(&mut self, name: String, manifest: ManifestWriter) -> Result<ManifestFile, TableError> {
        let mut file = manifest.write_manifest_file().await.map_err(|source| self.refused(&name, source))?;
        self.upload(&name).await?;
        file.manifest_path = self.places.below_root(&name);
        Ok(file)
    }

    async fn upload(&mut self, name: &str) -> Result<(), TableError> {
        let refused = |source| self.refused(name, source);
        let bytes = self.scratch.new_input(name).map_err(refused)?.read().await.map_err(refused)?;
        self.scratch.delete(name).await.map_err(refused)?;
        self.put(name, bytes).await
    }

    /// Writes a file of the snapshot; `name` is relative to the table's root.
    pub async fn put(&mut self, name: &str, bytes: Bytes) -> Result<(), TableError> {
        let path = self.places.root().resolve(name).map_err(outside_error)?;
        let put = self.places.root().store().put(&path, bytes.into()).await;
        put.map_err(|error| store_error("write", &self.places.below_root(name), error))?;
        self.written.push(name.to_owned());
        Ok(())
    }

    fn refused(&self, name: &str, source: iceberg::Error) -> TableError {
        damaged(self.places.below_root(name), "Iceberg's writer refuses its content; the table was left as it was", source)
    }
}
