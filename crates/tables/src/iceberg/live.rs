//! The live data files of a snapshot as [`FileEntry`]s, with the deletes that apply to them known by number, not by row.

use std::collections::{BTreeMap, HashMap, HashSet};

use iceberg::spec::{DataContentType, DataFileFormat, ManifestEntry, Struct, TableMetadata};
use lakeshift_core::table::{Changes, FileEntry, TableError, with_deletes};

use super::fault::{corrupt, unsupported};
use super::location::Places;
use super::manifests::Loaded;
use super::partition::Columns;

/// The live data files of a snapshot whose manifests are `manifests`, in the order of their paths.
pub(super) fn entries(
    table: &str,
    places: &Places,
    metadata: &TableMetadata,
    manifests: &[Loaded],
) -> Result<Vec<FileEntry>, TableError> {
    let deletes = Deletes::collect(manifests);
    let mut entries = Vec::new();
    for loaded in manifests.iter().filter(|loaded| loaded.is_data()) {
        let written = &loaded.metadata.partition_spec;
        let columns = Columns::find(table, metadata.default_partition_spec(), written, &loaded.metadata.schema)?;
        for entry in loaded.live() {
            entries.push(file_entry(places, &columns, written.spec_id(), entry, &deletes)?);
        }
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}

fn file_entry(
    places: &Places,
    columns: &Columns,
    spec_id: i32,
    entry: &ManifestEntry,
    deletes: &Deletes,
) -> Result<FileEntry, TableError> {
    let file = entry.data_file();
    if file.file_format() != DataFileFormat::Parquet {
        return Err(unsupported(
            file.file_path(),
            format!("the file format {}", file.file_format()),
            "rewrite the table to Parquet first",
        ));
    }
    let sequence =
        entry.sequence_number.ok_or_else(|| corrupt(file.file_path(), "its manifest entry has no sequence number"))?;
    let (identity, has_deletes) = (identity(entry, sequence), deletes.apply(spec_id, entry, sequence));
    Ok(FileEntry {
        path: places.to_entry(file.file_path()),
        size_bytes: file.file_size_in_bytes(),
        identity: if has_deletes { with_deletes(&identity, "of the manifests") } else { identity },
        modified_ms: 0,
        rows: Some(file.record_count()),
        partition: columns.values(file.file_path(), file.partition())?,
        has_deletes,
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

/// The highest sequence number of the deletes in each scope. A file that is in scope counts as having deletes, whether or
/// not one of its rows is deleted.
#[derive(Debug, Default)]
struct Deletes {
    /// Equality deletes of unpartitioned specs apply to every file.
    everywhere: Option<i64>,
    equality: HashMap<(i32, Struct), i64>,
    position: HashMap<(i32, Struct), i64>,
    /// Positional deletes and deletion vectors that name their file.
    named: HashMap<String, i64>,
}

impl Deletes {
    fn collect(manifests: &[Loaded]) -> Self {
        let mut deletes = Self::default();
        for loaded in manifests.iter().filter(|loaded| !loaded.is_data()) {
            let spec = &loaded.metadata.partition_spec;
            for entry in loaded.live() {
                // Without a number the delete counts as the newest: it applies to everything in its scope.
                let sequence = entry.sequence_number.unwrap_or(i64::MAX);
                deletes.add(spec.spec_id(), spec.is_unpartitioned(), entry, sequence);
            }
        }
        deletes
    }

    fn add(&mut self, spec_id: i32, unpartitioned: bool, entry: &ManifestEntry, sequence: i64) {
        let file = entry.data_file();
        let scope = (spec_id, file.partition().clone());
        let slot = match (entry.content_type(), file.referenced_data_file()) {
            (DataContentType::EqualityDeletes, _) if unpartitioned => self.everywhere.get_or_insert(sequence),
            (DataContentType::EqualityDeletes, _) => self.equality.entry(scope).or_insert(sequence),
            (_, Some(named)) => self.named.entry(named).or_insert(sequence),
            (_, None) => self.position.entry(scope).or_insert(sequence),
        };
        *slot = sequence.max(*slot);
    }

    /// Positional deletes apply to files of their own commit, equality deletes only to older ones.
    fn apply(&self, spec_id: i32, entry: &ManifestEntry, sequence: i64) -> bool {
        let file = entry.data_file();
        let scope = (spec_id, file.partition().clone());
        let positional = self.named.get(file.file_path()).into_iter().chain(self.position.get(&scope));
        let equality = self.everywhere.iter().chain(self.equality.get(&scope));
        positional.into_iter().any(|delete| sequence <= *delete) || equality.into_iter().any(|delete| sequence < *delete)
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
    Changes { added, removed }
}

#[cfg(test)]
mod tests {
    use iceberg::spec::{DataFile, DataFileBuilder, Literal, ManifestStatus};
    use rstest::rstest;

    use super::*;

    fn file(content: DataContentType, path: &str, day: Option<i32>) -> DataFile {
        let partition = Struct::from_iter(day.map(|day| Some(Literal::date(day))));
        let named = (content == DataContentType::PositionDeletes && path.starts_with("of ")).then(|| path[3..].to_owned());
        DataFileBuilder::default()
            .content(content)
            .file_path(path.to_owned())
            .file_format(DataFileFormat::Parquet)
            .partition(partition)
            .record_count(1)
            .file_size_in_bytes(1)
            .referenced_data_file(named)
            .build()
            .unwrap()
    }

    fn entry(file: DataFile, sequence: i64) -> ManifestEntry {
        ManifestEntry::builder()
            .status(ManifestStatus::Added)
            .snapshot_id(1)
            .sequence_number(sequence)
            .file_sequence_number(sequence)
            .data_file(file)
            .build()
    }

    // A delete of sequence 5 against a data file `a` of day 1.
    #[rstest]
    #[case::position_of_its_own_commit(DataContentType::PositionDeletes, "d", Some(1), 5, true)]
    #[case::position_before_the_file(DataContentType::PositionDeletes, "d", Some(1), 6, false)]
    #[case::position_of_another_partition(DataContentType::PositionDeletes, "d", Some(2), 4, false)]
    #[case::position_that_names_the_file(DataContentType::PositionDeletes, "of a", Some(1), 5, true)]
    #[case::position_that_names_another(DataContentType::PositionDeletes, "of b", Some(1), 4, false)]
    #[case::equality_after_the_file(DataContentType::EqualityDeletes, "d", Some(1), 4, true)]
    #[case::equality_of_its_own_commit(DataContentType::EqualityDeletes, "d", Some(1), 5, false)]
    #[case::equality_of_another_partition(DataContentType::EqualityDeletes, "d", Some(2), 4, false)]
    #[case::equality_everywhere(DataContentType::EqualityDeletes, "d", None, 4, true)]
    fn a_delete_applies_as_the_specification_says(
        #[case] content: DataContentType,
        #[case] path: &str,
        #[case] day: Option<i32>,
        #[case] sequence: i64,
        #[case] applies: bool,
    ) {
        let mut deletes = Deletes::default();
        // A delete file of another spec is only in scope when that spec is unpartitioned.
        let spec = if day.is_some() { 0 } else { 1 };
        deletes.add(spec, day.is_none(), &entry(file(content, path, day), 5), 5);
        let data = entry(file(DataContentType::Data, "a", Some(1)), sequence);
        assert_eq!(deletes.apply(0, &data, sequence), applies);
    }
}
