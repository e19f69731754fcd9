//! The summary of a snapshot: the operation, what it changed, what there is now, and the migration's name on it.

use std::collections::{HashMap, HashSet};

use iceberg::spec::{DataFile, Operation, Struct, Summary};
use lakeshift_core::table::CommitRequest;

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

/// The summary of a commit that adds `added` and removes `removed` from what `before` holds. `previous` is the parent's:
/// the totals of delete files, which these commits do not touch, are carried from it.
pub(super) fn summary(
    request: &CommitRequest,
    before: &[Loaded],
    added: &[DataFile],
    removed: &[&DataFile],
    previous: Option<&Summary>,
) -> Summary {
    let (plus, minus) = (Tally::of(added.iter()), Tally::of(removed.iter().copied()));
    let live =
        Tally::of(before.iter().filter(|loaded| loaded.is_data()).flat_map(Loaded::live).map(|entry| entry.data_file()));
    let partitions: HashSet<&Struct> = added.iter().chain(removed.iter().copied()).map(DataFile::partition).collect();
    let changes = [
        ("added-data-files", plus.files),
        ("added-records", plus.rows),
        ("added-files-size", plus.bytes),
        ("deleted-data-files", minus.files),
        ("deleted-records", minus.rows),
        ("removed-files-size", minus.bytes),
        ("changed-partition-count", partitions.len() as u64),
    ];
    let totals = [
        ("total-data-files", (live.files + plus.files).saturating_sub(minus.files)),
        ("total-records", (live.rows + plus.rows).saturating_sub(minus.rows)),
        ("total-files-size", (live.bytes + plus.bytes).saturating_sub(minus.bytes)),
    ];
    let deletes = ["total-delete-files", "total-position-deletes", "total-equality-deletes"];
    let carried = deletes.map(|key| {
        let before = previous.and_then(|summary| summary.additional_properties.get(key));
        (key, before.cloned().unwrap_or_else(|| "0".to_owned()))
    });
    let marks = [
        (marks::MIGRATION, request.migration.0.clone()),
        (marks::COMMIT, request.number.to_string()),
        (marks::EPOCH, request.epoch.to_string()),
        ("engine-name", "lakeshift".to_owned()),
    ];
    let changes = changes.into_iter().filter(|(_, number)| *number > 0);
    let counts = changes.chain(totals).map(|(key, number)| (key, number.to_string()));
    let properties: HashMap<_, _> = counts.chain(carried).chain(marks).map(|(key, value)| (key.to_owned(), value)).collect();
    Summary { operation: operation(added, removed), additional_properties: properties }
}

fn operation(added: &[DataFile], removed: &[&DataFile]) -> Operation {
    match (added.is_empty(), removed.is_empty()) {
        (_, true) => Operation::Append,
        (true, false) => Operation::Delete,
        (false, false) => Operation::Overwrite,
    }
}
