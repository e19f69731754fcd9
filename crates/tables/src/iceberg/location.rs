//! Paths in three spellings, and [`Places`], which turns one into another.
//!
//! - *metadata*: what stands in Iceberg's files, a scheme and the object's key as it is (`s3://lake/t/a%2Fb.parquet` is
//!   the key `t/a%2Fb.parquet`); every Iceberg reader opens it without decoding.
//! - *entry*: what [`FileEntry::path`](lakeshift_core::table::FileEntry) holds, the decoded path relative to the table's
//!   root, or a percent-encoded URL for a file elsewhere.
//! - *object*: a storage and the path on its store.

use lakeshift_core::storage::{OutsideError, Storage};
use lakeshift_core::table::TableError;
use object_store::path::Path;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::fault::corrupt;
use crate::storage::outside_error as outside;

/// What a URL's path cannot hold as it is. `/` stays: it separates.
const ENCODED: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>').add(b'?').add(b'`').add(b'{').add(b'}').add(b'%').add(b'^');

/// The table's root and the other locations whose files the table may name.
#[derive(Debug, Clone)]
pub(super) struct Places {
    root: Storage,
    others: Vec<Storage>,
}

/// An object: which storage serves it, and its path there.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub storage: Storage,
    pub path: Path,
}

impl Places {
    pub fn new(root: Storage) -> Self {
        Self { root, others: Vec::new() }
    }

    pub fn add(&mut self, other: Storage) {
        self.others.push(other);
    }

    pub fn root(&self) -> &Storage {
        &self.root
    }

    /// Whether every location lies on the local disk.
    pub fn are_on_disk(&self) -> bool {
        self.root.is_on_disk() && self.others.iter().all(Storage::is_on_disk)
    }

    /// The root in metadata spelling.
    pub fn root_in_metadata(&self) -> String {
        raw(&self.root)
    }

    /// The metadata spelling of a path relative to the root.
    pub fn below_root(&self, relative: &str) -> String {
        format!("{}/{relative}", raw(&self.root))
    }

    /// The object that metadata names.
    pub fn locate(&self, metadata_path: &str) -> Result<Place, TableError> {
        let normal = normalise(metadata_path);
        for storage in self.all() {
            if let Some(relative) = below(&normal, &raw(storage)) {
                let path = storage.resolve(relative).map_err(outside)?;
                return Ok(Place { storage: storage.clone(), path });
            }
        }
        Err(outside(OutsideError { path: metadata_path.to_owned(), location: self.root.location().to_owned() }))
    }

    /// The entry spelling of a path in metadata.
    pub fn to_entry(&self, metadata_path: &str) -> String {
        let normal = normalise(metadata_path);
        match below(&normal, &raw(&self.root)) {
            Some(relative) => relative.to_owned(),
            None => encoded(&normal),
        }
    }

    /// The metadata spelling of an entry's path, which must lie below one of the places.
    pub fn to_metadata(&self, entry_path: &str) -> Result<String, TableError> {
        if !entry_path.contains("://") {
            self.root.resolve(entry_path).map_err(outside)?;
            return Ok(self.below_root(entry_path));
        }
        let decoded = percent_decode_str(entry_path)
            .decode_utf8()
            .map_err(|_| corrupt(entry_path, "its percent-encoding is not UTF-8"))?
            .into_owned();
        self.locate(&decoded)?;
        Ok(decoded)
    }

    /// The one entry spelling of a path that a caller gives, wherever it leads: to compare, not to open.
    pub fn canonical(&self, entry_path: &str) -> String {
        match entry_path.contains("://") {
            true => self.to_entry(&percent_decode_str(entry_path).decode_utf8_lossy()),
            false => entry_path.to_owned(),
        }
    }

    fn all(&self) -> impl Iterator<Item = &Storage> {
        std::iter::once(&self.root).chain(&self.others)
    }
}

/// A location in metadata spelling.
fn raw(storage: &Storage) -> String {
    normalise(&percent_decode_str(storage.location()).decode_utf8_lossy())
}

/// Whether two folders in metadata spelling are one, however their scheme and end are written.
pub(super) fn same_folder(one: &str, other: &str) -> bool {
    let plain = |text: &str| normalise(text).trim_end_matches('/').to_owned();
    plain(one) == plain(other)
}

fn below<'a>(path: &'a str, root: &str) -> Option<&'a str> {
    path.strip_prefix(root)?.strip_prefix('/')
}

/// One spelling for the schemes that writers use for the same thing.
fn normalise(path: &str) -> String {
    if path.starts_with('/') {
        return format!("file://{path}");
    }
    if let Some(rest) = path.strip_prefix("file:/").filter(|rest| !rest.starts_with('/')) {
        return format!("file:///{rest}");
    }
    match path.strip_prefix("s3a://").or_else(|| path.strip_prefix("s3n://")) {
        Some(rest) => format!("s3://{rest}"),
        None => path.to_owned(),
    }
}

fn encoded(path: &str) -> String {
    match path.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", utf8_percent_encode(rest, ENCODED)),
        None => utf8_percent_encode(path, ENCODED).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;
    use rstest::rstest;
    use url::Url;

    use super::*;

    fn places(root: &str, other: &str) -> Places {
        let storage = |url: &str| {
            let url = Url::parse(url).unwrap();
            let prefix = Path::from_url_path(url.path()).unwrap();
            Storage::new(url, Arc::new(InMemory::new()), prefix)
        };
        let mut places = Places::new(storage(root));
        places.add(storage(other));
        places
    }

    #[rstest]
    #[case("data/a.parquet", "file:///lake/new table/data/a.parquet", "lake/new table/data/a.parquet")]
    #[case("place=a%2Fb/x.parquet", "file:///lake/new table/place=a%2Fb/x.parquet", "lake/new table/place=a%2Fb/x.parquet")]
    #[case("file:///old/place=a%252Fb/x%20y.parquet", "file:///old/place=a%2Fb/x y.parquet", "old/place=a%2Fb/x y.parquet")]
    fn the_three_spellings_lead_to_one_object(#[case] entry: &str, #[case] metadata: &str, #[case] object: &str) {
        let places = places("file:///lake/new%20table", "file:///old");
        assert_eq!(places.to_metadata(entry).unwrap(), metadata);
        assert_eq!(places.to_entry(metadata), entry);
        assert_eq!(places.locate(metadata).unwrap().path.as_ref(), object);
    }

    #[rstest]
    #[case("/lake/t/a.parquet")]
    #[case("file:/lake/t/a.parquet")]
    #[case("file:///lake/t/a.parquet")]
    fn the_spellings_of_other_writers_are_understood(#[case] metadata: &str) {
        assert_eq!(places("file:///lake/t", "s3://b").to_entry(metadata), "a.parquet");
    }

    #[test]
    fn a_path_below_no_place_is_refused() {
        let places = places("file:///lake/t", "s3://bucket/old");
        for path in ["file:///lake/t2/a.parquet", "/lake/t/../secret", "s3://bucket/other/a.parquet"] {
            assert!(matches!(places.locate(path), Err(TableError::Outside { .. })), "{path}");
        }
        assert!(matches!(places.to_metadata("../a.parquet"), Err(TableError::Outside { .. })));
        assert_eq!(places.locate("s3a://bucket/old/a.parquet").unwrap().path.as_ref(), "old/a.parquet");
    }
}
