//! The live data files of a snapshot as [`FileEntry`]s; the deletes that apply to a file are part of its identity.

use std::collections::{BTreeMap, HashSet};

use iceberg::spec::{DataFileFormat, ManifestEntry, SnapshotRef, TableMetadata};
use lakeshift_core::table::{Changes, FileEntry, TableError, with_deletes};

use super::deletes::{Index, Scopes};
use super::fault::{corrupt, unsupported};
use super::location::Places;
use super::manifests::Loaded;
use super::partition::{self, Columns};

/// The live data files of a snapshot whose manifests are `manifests`, in the order of their paths.
pub(super) fn entries(
    table: &str,
    places: &Places,
    metadata: &TableMetadata,
    manifests: &[Loaded],
) -> Result<Vec<FileEntry>, TableError> {
    let deletes = Index::collect(table, places, manifests)?;
    let used = manifests.iter().filter(|loaded| loaded.is_data()).map(|loaded| loaded.file.partition_spec_id).collect();
    let fields = partition::shared(metadata, &used);
    let mut entries = Vec::new();
    for loaded in manifests.iter().filter(|loaded| loaded.is_data()) {
        let written = &loaded.metadata.partition_spec;
        let columns = Columns::find(table, &fields, written, &loaded.metadata.schema)?;
        let scopes = Scopes::new(table, written, &loaded.metadata.schema)?;
        for entry in loaded.live() {
            entries.push(file_entry(places, &columns, &scopes, entry, &deletes)?);
        }
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}

fn file_entry(
    places: &Places,
    columns: &Columns,
    scopes: &Scopes<'_>,
    entry: &ManifestEntry,
    deletes: &Index<'_>,
) -> Result<FileEntry, TableError> {
    let file = entry.data_file();
    if file.file_format() != DataFileFormat::Parquet {
        return Err(unsupported(
            file.file_path(),
            format!("the file format {}", file.file_format()),
            "rewrite the table to Parquet first",
        ));
    }
    columns.check(file)?;
    let sequence =
        entry.sequence_number.ok_or_else(|| corrupt(file.file_path(), "its manifest entry has no sequence number"))?;
    let path = places.to_entry(file.file_path());
    let (identity, applied) = (identity(entry, sequence), deletes.applied(places, scopes, file, sequence)?);
    let (identity, rows) = match &applied {
        Some(applied) => (with_deletes(&identity, &applied.text(&path)?), applied.rows_left(&path)?),
        None => (identity, Some(file.record_count())),
    };
    Ok(FileEntry {
        size_bytes: file.file_size_in_bytes(),
        identity,
        modified_ms: 0,
        rows,
        partition: columns.values(file.file_path(), file.partition())?,
        has_deletes: applied.is_some(),
        path,
    })
}

/// Data files are immutable, but a path may be removed and added anew, by a later commit. Version 1 of the format does not
/// number its commits.
fn identity(entry: &ManifestEntry, sequence: i64) -> String {
    match (entry.file_sequence_number.unwrap_or(sequence), entry.snapshot_id) {
        (0, Some(snapshot)) => format!("snapshot {snapshot}"),
        (number, _) => format!("sequence {number}"),
    }
}

/// What the later files have and the earlier do not, and the other way round, by path and identity. A file to which
/// deletes began to apply in between is in both lists: its rows are no longer the same.
pub(super) fn difference(earlier: Vec<FileEntry>, later: Vec<FileEntry>) -> Changes {
    let key = |entry: &FileEntry| (entry.path.clone(), entry.identity.clone(), entry.has_deletes);
    let before: HashSet<_> = earlier.iter().map(key).collect();
    let after: BTreeMap<_, _> = later.iter().map(|entry| (key(entry), ())).collect();
    let removed = earlier.into_iter().filter(|entry| !after.contains_key(&key(entry))).collect();
    let added = later.into_iter().filter(|entry| !before.contains(&key(entry))).collect();
    Changes { added, removed, ..Changes::default() }
}

/// How many snapshots lead from one to another, and when the first was made, in milliseconds since 1970; `None` where the
/// later does not come from the earlier, or snapshots between them are gone.
pub(super) fn commits_between(
    metadata: &TableMetadata,
    from: Option<&SnapshotRef>,
    to: Option<&SnapshotRef>,
) -> Option<(u64, Option<i64>)> {
    let from = from.map(|snapshot| snapshot.snapshot_id());
    let (mut commits, mut began_ms, mut at) = (0, None, to);
    while at.map(|snapshot| snapshot.snapshot_id()) != from {
        let snapshot = at?;
        (commits, began_ms) = (commits + 1, Some(snapshot.timestamp_ms()));
        at = match snapshot.parent_snapshot_id() {
            Some(parent) => Some(metadata.snapshot_by_id(parent)?),
            None => None,
        };
    }
    Some((commits, began_ms))
}
