//! What a commit does to the files that are live, and whether it still fits them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use iceberg::spec::{DataContentType, DataFile, DataFileFormat, FormatVersion, ManifestEntry, PartitionSpec, TableMetadata};
use lakeshift_core::table::{CommitRequest, DeletedRows, TableError};

use super::IcebergTable;
use super::delete_files::Marked;
use super::fault::unsupported;
use super::location::Places;
use super::manifests::Loaded;
use super::marks;

/// Positional delete files of one data file beyond which they become one.
const POSITIONAL_FILES_MAX: usize = 10;

/// A request against the live files of one snapshot.
#[derive(Debug)]
pub(super) struct Change<'a> {
    /// Data files that leave.
    pub removed: Vec<&'a DataFile>,
    /// Live data files from which rows are deleted.
    marked: Vec<Marked<'a>>,
    /// Their paths, in metadata spelling.
    removed_paths: HashSet<&'a str>,
    /// Paths of data files whose own delete files leave.
    released: HashSet<String>,
}

impl<'a> Change<'a> {
    /// Checks a request against the live files; the inner error is the conflict's reason.
    pub fn new(
        table: &IcebergTable,
        request: &'a CommitRequest,
        metadata: &TableMetadata,
        live: &'a [Loaded],
    ) -> Result<Result<Self, String>, TableError> {
        let wanted = Wanted::new(&table.places, request);
        let mut marked = Vec::new();
        let (mut gone, mut unmarked) = (wanted.remove.clone(), wanted.deletes.clone());
        unmarked.retain(|path, _| !wanted.add.contains(path));
        let mut removed_of_spec = Vec::new();
        for loaded in live.iter().filter(|loaded| loaded.is_data()) {
            let spec = &loaded.metadata.partition_spec;
            for entry in loaded.live() {
                let (path, file) = (table.places.to_entry(entry.file_path()), entry.data_file());
                if wanted.remove.contains(&path) {
                    gone.remove(&path);
                    removed_of_spec.push((spec.spec_id(), file));
                } else if wanted.add.contains(&path) {
                    return Ok(Err(format!("{path} is in the table already; nothing was changed")));
                } else if let Some(rows) = unmarked.remove(&path) {
                    marked.push(Marked { file, spec, rows, sequence: entry.sequence_number, earlier: Vec::new() });
                }
            }
        }
        if let Some(path) = gone.iter().min().or_else(|| unmarked.keys().min()) {
            let (what, others) = match gone.len() {
                0 => ("rows of which were", unmarked.len()),
                others => ("which was", others),
            };
            return Ok(Err(format!(
                "{path}, {what} to be removed, is no longer in the table ({others} such files); nothing was changed"
            )));
        }
        let since = marks::last_sequence(metadata, &request.migration);
        if let Some(reason) = since.and_then(|since| overtaken(&table.places, since, &removed_of_spec, live)) {
            return Ok(Err(reason));
        }
        let removed: Vec<&DataFile> = removed_of_spec.into_iter().map(|(_, file)| file).collect();
        let removed_paths: HashSet<&str> = removed.iter().map(|file| file.file_path()).collect();
        // What an earlier file of a path left behind is none of the new one's.
        let added = request.add.iter().map(|file| table.places.to_metadata(&file.path));
        let mut released = added.collect::<Result<HashSet<_>, _>>()?;
        released.extend(removed_paths.iter().map(|path| (*path).to_owned()));
        let mut change = Self { removed, removed_paths, marked, released };
        change.find_earlier(live, metadata.format_version())?;
        Ok(Ok(change))
    }

    /// Every data file from which rows are deleted: live ones, and those that the commit adds, as described in `files` under
    /// the partition spec `spec`.
    pub fn marked<'m>(
        &'m self,
        places: &Places,
        request: &'m CommitRequest,
        files: &'m [DataFile],
        spec: &'m PartitionSpec,
    ) -> Result<Vec<Marked<'m>>, TableError> {
        let deletes = Wanted::new(places, request).deletes;
        let new = files.iter().filter_map(|file| {
            let rows = *deletes.get(&places.to_entry(file.file_path()))?;
            Some(Marked { file, spec, rows, sequence: None, earlier: Vec::new() })
        });
        let marked: Vec<Marked<'m>> = self.marked.iter().cloned().chain(new).collect();
        marked.iter().try_for_each(Marked::check)?;
        Ok(marked)
    }

    /// Whether a live entry leaves by this change: a removed data file, or a delete file that is of one and of no other.
    pub fn takes_out(&self, entry: &ManifestEntry) -> bool {
        match entry.content_type() {
            DataContentType::Data => self.removed_paths.contains(entry.file_path()),
            _ => entry.data_file().referenced_data_file().is_some_and(|path| self.released.contains(&path)),
        }
    }

    /// Finds the delete files of marked files that the new ones shall stand for as well: in version 3 the deletion vector, as
    /// a data file has one at most, in version 2 positional delete files once they are many.
    fn find_earlier(&mut self, live: &'a [Loaded], version: FormatVersion) -> Result<(), TableError> {
        let (vectors, mut replaced) = (version >= FormatVersion::V3, Vec::new());
        let places: HashMap<&str, usize> =
            self.marked.iter().enumerate().map(|(index, marked)| (marked.file.file_path(), index)).collect();
        for loaded in live.iter().filter(|loaded| !loaded.is_data()) {
            let spec = &loaded.metadata.partition_spec;
            let is_positional = |entry: &&ManifestEntry| entry.content_type() == DataContentType::PositionDeletes;
            for (entry, delete) in loaded.live().filter(is_positional).map(|entry| (entry, entry.data_file())) {
                let named = delete.referenced_data_file().and_then(|path| places.get(path.as_str()).copied());
                let is_vector = delete.file_format() == DataFileFormat::Puffin;
                if let Some(index) = named.filter(|_| is_vector == vectors) {
                    let marked = &mut self.marked[index];
                    // An older one was of an earlier file of this path.
                    if entry.sequence_number >= marked.sequence {
                        marked.earlier.push(delete);
                    }
                    replaced.extend(vectors.then(|| marked.file.file_path().to_owned()));
                } else if vectors && !is_vector {
                    self.refuse_hidden(delete, spec)?;
                }
            }
        }
        for marked in self.marked.iter_mut().filter(|_| !vectors) {
            match marked.earlier.len() < POSITIONAL_FILES_MAX {
                true => marked.earlier.clear(),
                false => replaced.push(marked.file.file_path().to_owned()),
            }
        }
        self.released.extend(replaced);
        Ok(())
    }

    /// Readers skip the positional deletes of a file that has a vector. Those of a table that was upgraded to version 3 would
    /// have to be written into it, which is not done here.
    fn refuse_hidden(&self, delete: &DataFile, spec: &PartitionSpec) -> Result<(), TableError> {
        let hidden = |marked: &&Marked<'_>| applies(delete, spec, marked.spec.spec_id(), marked.file);
        match self.marked.iter().find(hidden) {
            Some(marked) => {
                let feature = format!("the positional deletes {} beside a deletion vector", delete.file_path());
                let advice = "compact the table's deletes by its own writer first; nothing was changed";
                Err(unsupported(marked.file.file_path(), feature, advice))
            }
            None => Ok(()),
        }
    }
}

/// A request's paths in one spelling.
struct Wanted<'a> {
    add: BTreeSet<String>,
    remove: BTreeSet<String>,
    deletes: BTreeMap<String, &'a DeletedRows>,
}

impl<'a> Wanted<'a> {
    fn new(places: &Places, request: &'a CommitRequest) -> Self {
        Self {
            add: request.add.iter().map(|file| places.canonical(&file.path)).collect(),
            remove: request.remove.iter().map(|path| places.canonical(path)).collect(),
            deletes: request.deletes.iter().map(|(path, rows)| (places.canonical(path), rows)).collect(),
        }
    }
}

/// Why files cannot leave: after the migration's last commit somebody has deleted rows from one of them, and whatever takes
/// its place was made without knowing that.
fn overtaken(places: &Places, since: i64, removed: &[(i32, &DataFile)], live: &[Loaded]) -> Option<String> {
    for loaded in live.iter().filter(|loaded| !loaded.is_data()) {
        let spec = &loaded.metadata.partition_spec;
        // An entry without a number counts as the newest.
        for delete in loaded.live().filter(|entry| entry.sequence_number.is_none_or(|number| number > since)) {
            let hit = removed.iter().find(|(spec_id, file)| applies(delete.data_file(), spec, *spec_id, file));
            if let Some((_, file)) = hit {
                return Some(format!(
                    "somebody has deleted rows of {}, which was to be removed, after the migration's last commit ({}); nothing \
                     was changed",
                    places.to_entry(file.file_path()),
                    places.to_entry(delete.file_path())
                ));
            }
        }
    }
    None
}

/// Whether a delete file of the spec `of` may hit rows of a data file, as far as manifests tell.
fn applies(delete: &DataFile, of: &PartitionSpec, spec_id: i32, file: &DataFile) -> bool {
    match delete.referenced_data_file() {
        Some(path) => path == file.file_path(),
        None if delete.content_type() == DataContentType::EqualityDeletes && of.is_unpartitioned() => true,
        None => of.spec_id() == spec_id && delete.partition() == file.partition(),
    }
}
