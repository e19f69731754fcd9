//! Which deletes apply to which data file, by the specification's rules for planning a scan.
//!
//! Nothing is read here but manifests. A file that is in the scope of a delete file counts as having deletes, whether or not
//! one of its rows is deleted.

use std::collections::{BTreeMap, HashMap};

use iceberg::metadata_columns::RESERVED_FIELD_ID_DELETE_FILE_PATH;
use iceberg::spec::{DataContentType, DataFile, DataFileFormat, PartitionSpec, PrimitiveLiteral, Schema, StructType};
use lakeshift_core::table::{DeleteFile, TableError};
use lakeshift_core::value::Value;

use super::applied::{Applied, ByColumns, StoredVector};
use super::fault::{corrupt, damaged, unsupported};
use super::location::Places;
use super::manifests::Loaded;
use super::values::from_literal;

/// Delete files that may apply to one data file. A table with more is past reading by anybody: it is refused.
const DELETE_FILES_MAX: usize = 2_000;
const COMPACT: &str = "compact the table first (rewrite_data_files), so that fewer deletes apply to its files";

/// A partition of a spec. Values are compared as core knows them: an integer that was widened since is the same value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Scope {
    spec_id: i32,
    values: String,
}

/// Finds the scopes of one manifest's files.
#[derive(Debug)]
pub(super) struct Scopes<'a> {
    spec: &'a PartitionSpec,
    types: StructType,
}

impl<'a> Scopes<'a> {
    pub fn new(table: &str, spec: &'a PartitionSpec, schema: &Schema) -> Result<Self, TableError> {
        let fits = spec.partition_type(schema);
        let types = fits.map_err(|source| damaged(table, "a partition spec does not fit its schema", source))?;
        Ok(Self { spec, types })
    }

    fn of(&self, file: &DataFile) -> Result<Scope, TableError> {
        let value = |(literal, field): (Option<&iceberg::spec::Literal>, &iceberg::spec::NestedFieldRef)| {
            let Some(literal) = literal else { return Ok(None) };
            let data_type = field.field_type.as_primitive_type();
            let value = literal.as_primitive_literal().zip(data_type).and_then(|(one, kind)| from_literal(&one, kind));
            let refused = || {
                let feature = format!("deletes in partitions by {}, a {}", field.name, field.field_type);
                unsupported(file.file_path(), feature, COMPACT)
            };
            value.map(Some).ok_or_else(refused)
        };
        let literals = file.partition().fields().iter().map(Option::as_ref);
        let values = literals.zip(self.types.fields()).map(value).collect::<Result<Vec<Option<Value>>, _>>()?;
        Ok(Scope { spec_id: self.spec.spec_id(), values: format!("{values:?}") })
    }
}

/// A delete file of a snapshot.
#[derive(Debug, Clone)]
struct Delete<'a> {
    sequence: i64,
    scope: Scope,
    file: &'a DataFile,
}

impl Delete<'_> {
    fn is_vector(&self) -> bool {
        self.file.file_format() == DataFileFormat::Puffin
    }

    fn entry(&self, places: &Places) -> Result<DeleteFile, TableError> {
        let (path, format) = (self.file.file_path(), self.file.file_format());
        if format != DataFileFormat::Parquet {
            return Err(unsupported(path, format!("deletes in the file format {format}"), COMPACT));
        }
        let (size_bytes, rows) = (self.file.file_size_in_bytes(), self.file.record_count());
        Ok(DeleteFile { path: places.to_entry(path), size_bytes, rows })
    }
}

/// The delete files of a snapshot by what they may apply to.
#[derive(Debug, Default)]
pub(super) struct Index<'a> {
    /// Equality deletes of unpartitioned specs apply to every file.
    everywhere: Vec<Delete<'a>>,
    equality: HashMap<Scope, Vec<Delete<'a>>>,
    positional: HashMap<Scope, Vec<Delete<'a>>>,
    /// Positional deletes and deletion vectors that name their one data file, by its path as an entry has it.
    named: HashMap<String, Vec<Delete<'a>>>,
}

impl<'a> Index<'a> {
    pub fn collect(table: &str, places: &Places, manifests: &'a [Loaded]) -> Result<Self, TableError> {
        let mut index = Self::default();
        for loaded in manifests.iter().filter(|loaded| !loaded.is_data()) {
            let spec = &loaded.metadata.partition_spec;
            let scopes = Scopes::new(table, spec, &loaded.metadata.schema)?;
            for entry in loaded.live() {
                let file = entry.data_file();
                let sequence = entry.sequence_number;
                let sequence =
                    sequence.ok_or_else(|| corrupt(file.file_path(), "its manifest entry has no sequence number"))?;
                index.add(places, spec.is_unpartitioned(), Delete { sequence, scope: scopes.of(file)?, file })?;
            }
        }
        Ok(index)
    }

    fn add(&mut self, places: &Places, unpartitioned: bool, delete: Delete<'a>) -> Result<(), TableError> {
        let file = delete.file;
        match (file.content_type(), named(file)) {
            (DataContentType::Data, _) => return Err(corrupt(file.file_path(), "it is data in a manifest of deletes")),
            (DataContentType::EqualityDeletes, _) if unpartitioned => self.everywhere.push(delete),
            (DataContentType::EqualityDeletes, _) => self.equality.entry(delete.scope.clone()).or_default().push(delete),
            (DataContentType::PositionDeletes, Some(path)) => {
                self.named.entry(places.to_entry(&path)).or_default().push(delete);
            }
            (DataContentType::PositionDeletes, None) if delete.is_vector() => {
                return Err(corrupt(file.file_path(), "it has a deletion vector that does not name its data file"));
            }
            (DataContentType::PositionDeletes, None) => {
                self.positional.entry(delete.scope.clone()).or_default().push(delete);
            }
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.everywhere.is_empty() && self.equality.is_empty() && self.positional.is_empty() && self.named.is_empty()
    }

    /// What applies to a data file of this sequence number: positional deletes of its own commit and of later ones,
    /// equality deletes of later ones only.
    pub fn applied(
        &self,
        places: &Places,
        scopes: &Scopes<'_>,
        file: &DataFile,
        sequence: i64,
    ) -> Result<Option<Applied>, TableError> {
        if self.is_empty() {
            return Ok(None);
        }
        let scope = scopes.of(file)?;
        let named = self.named(&places.to_entry(file.file_path()), &scope, sequence)?;
        let vectors: Vec<&Delete<'_>> = named.iter().copied().filter(|delete| delete.is_vector()).collect();
        let in_scope = of(&self.positional, &scope).filter(|delete| sequence <= delete.sequence);
        let mut applied = Applied { rows: file.record_count(), ..Applied::default() };
        match vectors[..] {
            [] => {
                applied.positional =
                    named.into_iter().chain(in_scope).map(|delete| delete.entry(places)).collect::<Result<_, _>>()?;
                applied.positional.sort();
            }
            [vector] => applied.vector = Some(stored(places, vector.file)?),
            _ => return Err(corrupt(file.file_path(), "two deletion vectors apply to it, and one alone may")),
        }
        let equality = self.everywhere.iter().chain(of(&self.equality, &scope));
        applied.equality = by_columns(places, equality.filter(|delete| sequence < delete.sequence))?;
        let files = applied.positional.len() + applied.equality.iter().map(|group| group.files.len()).sum::<usize>();
        match files {
            0 if applied.vector.is_none() => Ok(None),
            0..=DELETE_FILES_MAX => Ok(Some(applied)),
            _ => {
                let feature = format!("{files} files of deletes, of which {DELETE_FILES_MAX} are read at most");
                Err(unsupported(file.file_path(), feature, COMPACT))
            }
        }
    }

    /// Those that name a file of this scope. Readers disagree on one that is of another partition than the file it names.
    fn named(&self, path: &str, scope: &Scope, sequence: i64) -> Result<Vec<&Delete<'a>>, TableError> {
        let named = self.named.get(path).into_iter().flatten().filter(|delete| sequence <= delete.sequence);
        let named: Vec<&Delete<'a>> = named.collect();
        match named.iter().find(|delete| delete.scope != *scope) {
            None => Ok(named),
            Some(other) => {
                let reason = format!("it holds deletes of {path}, which is of another partition");
                Err(corrupt(other.file.file_path(), reason))
            }
        }
    }
}

fn of<'i, 'a>(scoped: &'i HashMap<Scope, Vec<Delete<'a>>>, scope: &Scope) -> impl Iterator<Item = &'i Delete<'a>> {
    scoped.get(scope).into_iter().flatten()
}

/// The one data file that positional deletes are of: named outright, or by bounds of the paths that are one and the same
/// (a shortened upper bound never equals its lower bound).
fn named(file: &DataFile) -> Option<String> {
    if let Some(named) = file.referenced_data_file() {
        return Some(named);
    }
    let [lower, upper] =
        [file.lower_bounds(), file.upper_bounds()].map(|bounds| bounds.get(&RESERVED_FIELD_ID_DELETE_FILE_PATH));
    match (lower?.literal(), upper?.literal()) {
        (PrimitiveLiteral::String(lower), PrimitiveLiteral::String(upper)) if lower == upper => Some(lower.clone()),
        _ => None,
    }
}

fn stored(places: &Places, file: &DataFile) -> Result<StoredVector, TableError> {
    let number = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
    let (Some(offset), Some(size_bytes)) = (number(file.content_offset()), number(file.content_size_in_bytes())) else {
        return Err(corrupt(file.file_path(), "the manifest does not tell where its deletion vector stands"));
    };
    Ok(StoredVector { path: places.to_entry(file.file_path()), offset, size_bytes, rows: file.record_count() })
}

fn by_columns<'i, 'a: 'i>(
    places: &Places,
    deletes: impl Iterator<Item = &'i Delete<'a>>,
) -> Result<Vec<ByColumns>, TableError> {
    let mut groups: BTreeMap<Vec<i32>, Vec<DeleteFile>> = BTreeMap::new();
    for delete in deletes {
        let mut ids = delete.file.equality_ids().unwrap_or_default();
        if ids.is_empty() {
            return Err(corrupt(delete.file.file_path(), "it holds equality deletes by no column"));
        }
        ids.sort_unstable();
        ids.dedup();
        groups.entry(ids).or_default().push(delete.entry(places)?);
    }
    let sorted = |(ids, mut files): (Vec<i32>, Vec<DeleteFile>)| {
        files.sort();
        ByColumns { ids, files }
    };
    Ok(groups.into_iter().map(sorted).collect())
}

#[cfg(test)]
mod tests;
