//! Files that both tables register: their rows are the same on both sides and need not be read.
//!
//! A data file never changes. Where both tables register the same object, without deletes, read the same columns of it
//! by the same names and types, and give it the same partition values, both show the same rows of it.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;
use lakeshift_core::equivalence::{Amount, ColumnCheck, ProvenFiles, TypeMatch};
use lakeshift_core::partition::Transform;
use lakeshift_core::schema::{Field, TableSchema};
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{FileEntry, Format, Snapshot};
use lakeshift_core::value::Value;

use super::Pinned;
use super::columns::Columns;
use crate::error::Error;

/// What both tables register, and what is left to be read.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) old: Vec<FileEntry>,
    pub(super) new: Vec<FileEntry>,
    pub(super) rest_old: Vec<FileEntry>,
    pub(super) rest_new: Vec<FileEntry>,
}

impl Shared {
    /// Everything is to be read.
    pub(super) fn none(old: &Pinned<'_>, new: &Pinned<'_>) -> Self {
        Self { rest_old: old.files.clone(), rest_new: new.files.clone(), ..Self::default() }
    }

    pub(super) fn amount(&self, files: &[FileEntry]) -> Amount {
        Amount {
            files: files.len() as u64,
            rows: files.iter().filter_map(|file| file.rows).sum(),
            bytes: files.iter().map(|file| file.size_bytes).sum(),
        }
    }

    /// The proven files by the old table's partitions.
    pub(super) fn by_partition(&self, old: &Snapshot) -> Vec<ProvenFiles> {
        let mut partitions: BTreeMap<String, Vec<FileEntry>> = BTreeMap::new();
        for file in &self.old {
            partitions.entry(label(old, file)).or_default().push(file.clone());
        }
        let proven = partitions.into_iter();
        proven.map(|(partition, files)| ProvenFiles { partition, amount: self.amount(&files) }).collect()
    }
}

fn label(snapshot: &Snapshot, file: &FileEntry) -> String {
    let pairs = snapshot.partition.fields.iter().zip(&file.partition);
    let text = pairs.map(|(field, value)| format!("{}={}", field.name, field.transform.display(value.as_ref())));
    let text = text.collect::<Vec<_>>().join(", ");
    if text.is_empty() { "all rows".to_owned() } else { text }
}

/// Divides both sides' files into those that are proven and those that are to be read.
pub(super) async fn shared(old: &Pinned<'_>, new: &Pinned<'_>, columns: &Columns) -> Result<Shared, Error> {
    if !same_reading(old, new, columns) {
        return Ok(Shared::none(old, new));
    }
    let (old_files, new_files) = (by_url(old), by_url(new));
    let constants = constants(&old.snapshot);
    let candidates = old_files.iter().filter_map(|(url, file)| {
        let other = new_files.get(url)?;
        let same = values(&old.snapshot, file) == values(&new.snapshot, other);
        (same && !file.has_deletes && !other.has_deletes && file.size_bytes == other.size_bytes).then_some((*file, *other))
    });
    let mut proven: Vec<(&FileEntry, &FileEntry)> = candidates.collect();
    if new.table.format() == Format::Iceberg && !constants.is_empty() {
        // Iceberg reads a partition column from the file where the file has it.
        proven = without_columns(new, proven, &constants).await;
    }
    let (mut shared, paths) =
        (Shared::default(), proven.iter().map(|(old, new)| (&old.path, &new.path)).collect::<Vec<_>>());
    let old_paths: BTreeSet<&String> = paths.iter().map(|(old, _)| *old).collect();
    let new_paths: BTreeSet<&String> = paths.iter().map(|(_, new)| *new).collect();
    (shared.old, shared.rest_old) = old.files.iter().cloned().partition(|file| old_paths.contains(&file.path));
    (shared.new, shared.rest_new) = new.files.iter().cloned().partition(|file| new_paths.contains(&file.path));
    Ok(shared)
}

/// Whether both sides make the same rows of the same file, but for partition values.
fn same_reading(old: &Pinned<'_>, new: &Pinned<'_>, columns: &Columns) -> bool {
    let untouched = |side: &super::columns::SideColumns| side.select.is_none() && side.range.is_none();
    let no_logic = old.logic.is_empty();
    let exact = |check: &ColumnCheck| match check {
        ColumnCheck::Compared { pair, types, .. } => {
            pair.old == pair.new && matches!(types, TypeMatch::Identical | TypeMatch::Widened)
        }
        _ => false,
    };
    let plain = |schema: &TableSchema| schema.fields.iter().all(has_one_name);
    no_logic
        && untouched(&columns.old)
        && untouched(&columns.new)
        && columns.schema.columns.iter().all(exact)
        && plain(&old.snapshot.schema)
        && plain(&new.snapshot.schema)
        && constants(&old.snapshot) == constants(&new.snapshot)
}

/// A name mapping that names the column itself changes nothing.
fn has_one_name(field: &Field) -> bool {
    field.physical_name.iter().chain(&field.aliases).all(|name| *name == field.name)
}

/// The columns whose values a table gives by partition.
fn constants(snapshot: &Snapshot) -> BTreeSet<String> {
    let identity = snapshot.partition.fields.iter().filter(|field| field.transform == Transform::Identity);
    identity.map(|field| field.column.clone()).collect()
}

fn values(snapshot: &Snapshot, file: &FileEntry) -> BTreeMap<String, Option<Value>> {
    let fields = snapshot.partition.fields.iter().zip(&file.partition);
    let identity = fields.filter(|(field, _)| field.transform == Transform::Identity);
    identity.map(|(field, value)| (field.column.clone(), value.clone())).collect()
}

/// Files by their address; those that a table registers twice are left out.
fn by_url<'a>(side: &'a Pinned<'_>) -> BTreeMap<String, &'a FileEntry> {
    let (mut files, mut twice) = (BTreeMap::new(), BTreeSet::new());
    for file in &side.files {
        let url = url(side.storage, &file.path);
        if files.insert(url.clone(), file).is_some() {
            twice.insert(url);
        }
    }
    files.retain(|url, _| !twice.contains(url));
    files
}

fn url(storage: &Storage, path: &str) -> String {
    if path.contains("://") { path.to_owned() } else { storage.url_of(path) }
}

async fn without_columns<'a>(
    new: &Pinned<'_>,
    pairs: Vec<(&'a FileEntry, &'a FileEntry)>,
    columns: &BTreeSet<String>,
) -> Vec<(&'a FileEntry, &'a FileEntry)> {
    let facts = new.table.facts(pairs.iter().map(|(_, new)| (*new).clone()).collect());
    let keep: Vec<bool> = facts
        .map(|(_, facts)| facts.is_ok_and(|facts| columns.iter().all(|column| facts.schema.field(column).is_none())))
        .collect()
        .await;
    pairs.into_iter().zip(keep).filter(|(_, keep)| *keep).map(|(pair, _)| pair).collect()
}
