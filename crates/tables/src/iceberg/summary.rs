//! The summary of a snapshot: the operation, what it changed, what there is now, and the migration's name on it.

use std::collections::HashSet;

use iceberg::spec::{DataContentType, DataFile, DataFileFormat, ManifestEntry, Operation, Struct, Summary};
use lakeshift_core::table::CommitRequest;

use super::change::Change;
use super::manifests::Loaded;
use super::marks;

/// Files, rows and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    files: u64,
    rows: u64,
    bytes: u64,
}

impl Tally {
    fn of<'a>(files: impl Iterator<Item = &'a DataFile>) -> Self {
        files.fold(Self::default(), |sum, file| Self {
            files: sum.files + 1,
            rows: sum.rows.saturating_add(file.record_count()),
            bytes: sum.bytes.saturating_add(file.file_size_in_bytes()),
        })
    }
}

/// What a commit changes.
#[derive(Debug)]
pub(super) struct Changes<'a> {
    pub request: &'a CommitRequest,
    /// All that was live before.
    pub live: &'a [Loaded],
    pub change: &'a Change<'a>,
    /// New data files.
    pub added: &'a [DataFile],
    /// New delete files.
    pub deletes: &'a [DataFile],
}

/// The summary of a commit. `previous` is the parent's: the total of equality deletes, which these commits do not write, is
/// carried from it.
pub(super) fn summary(changes: &Changes<'_>, previous: Option<&Summary>) -> Summary {
    let Changes { request, live, change, added, deletes } = changes;
    let live_of = |data: bool| live.iter().filter(move |loaded| loaded.is_data() == data).flat_map(Loaded::live);
    let (plus, minus) = (Tally::of(added.iter()), Tally::of(change.removed.iter().copied()));
    let data = Tally::of(live_of(true).map(ManifestEntry::data_file));
    let positions = |entry: &&ManifestEntry| entry.content_type() == DataContentType::PositionDeletes;
    let leaving = || live_of(false).filter(|entry| change.takes_out(entry)).filter(positions).map(ManifestEntry::data_file);
    let vectors = |file: &&DataFile| file.file_format() == DataFileFormat::Puffin;
    let (new, new_vectors) = (Tally::of(deletes.iter()), Tally::of(deletes.iter().filter(vectors)));
    let (old, old_vectors) = (Tally::of(leaving()), Tally::of(leaving().filter(vectors)));
    let delete_files = Tally::of(live_of(false).map(ManifestEntry::data_file));
    let deleted_rows = Tally::of(live_of(false).filter(positions).map(ManifestEntry::data_file));
    let touched = added.iter().chain(change.removed.iter().copied()).chain(deletes.iter());
    let partitions: HashSet<&Struct> = touched.map(DataFile::partition).collect();
    let counts = [
        ("added-data-files", plus.files),
        ("added-records", plus.rows),
        ("added-files-size", plus.bytes + new.bytes),
        ("deleted-data-files", minus.files),
        ("deleted-records", minus.rows),
        ("removed-files-size", minus.bytes + old.bytes),
        ("added-delete-files", new.files),
        ("added-position-delete-files", new.files - new_vectors.files),
        ("added-dvs", new_vectors.files),
        ("added-position-deletes", new.rows),
        ("removed-delete-files", old.files),
        ("removed-position-delete-files", old.files - old_vectors.files),
        ("removed-dvs", old_vectors.files),
        ("removed-position-deletes", old.rows),
        ("changed-partition-count", partitions.len() as u64),
    ];
    let total = |before: u64, plus: u64, minus: u64| (before + plus).saturating_sub(minus);
    let totals = [
        ("total-data-files", total(data.files, plus.files, minus.files)),
        ("total-records", total(data.rows, plus.rows, minus.rows)),
        ("total-files-size", total(data.bytes + delete_files.bytes, plus.bytes + new.bytes, minus.bytes + old.bytes)),
        ("total-delete-files", total(delete_files.files, new.files, old.files)),
        ("total-position-deletes", total(deleted_rows.rows, new.rows, old.rows)),
    ];
    let equality = "total-equality-deletes";
    let carried = previous.and_then(|summary| summary.additional_properties.get(equality)).cloned();
    let marks = [
        (equality, carried.unwrap_or_else(|| "0".to_owned())),
        (marks::MIGRATION, request.migration.0.clone()),
        (marks::EPOCH, request.epoch.to_string()),
        ("engine-name", "lakeshift".to_owned()),
    ];
    let counts = counts.into_iter().filter(|(_, number)| *number > 0).chain(totals);
    let counts = counts.map(|(key, number)| (key, number.to_string()));
    let number = (!request.is_fence()).then(|| (marks::COMMIT, request.number.to_string()));
    let own = counts.chain(marks).chain(number).map(|(key, value)| (key.to_owned(), value));
    let additional_properties = request.notes.clone().into_iter().chain(own).collect();
    Summary { operation: operation(changes), additional_properties }
}

/// As the reference implementation names them: whoever reads appends only must see no other.
fn operation(changes: &Changes<'_>) -> Operation {
    let takes = !changes.change.removed.is_empty() || !changes.deletes.is_empty();
    match (changes.added.is_empty(), takes) {
        (_, false) => Operation::Append,
        (true, true) => Operation::Delete,
        (false, true) => Operation::Overwrite,
    }
}
