//! A place on an object store: [`Storage`] is an opened location, with the one rule for turning paths into objects.
//!
//! Which store serves which URL is not decided here; see `lakeshift_tables::storage`.

use std::fmt;
use std::sync::Arc;

use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use url::Url;

use crate::table::TableError;

/// A folder on an object store.
#[derive(Clone)]
pub struct Storage {
    url: Url,
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    on_disk: bool,
}

/// A path that does not stay inside its location.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{path} lies outside of {location}; Lakeshift reads and writes only below the locations that the spec names")]
pub struct OutsideError {
    /// The path as it was given.
    pub path: String,
    /// The location.
    pub location: String,
}

impl Storage {
    /// A location: `url` names it to people and to metadata, `prefix` is its path on `store`.
    pub fn new(url: Url, store: Arc<dyn ObjectStore>, prefix: Path) -> Self {
        Self { url, store, prefix, on_disk: false }
    }

    /// Says that the store answers from the local disk, and needs no async runtime for it.
    #[must_use]
    pub fn on_disk(mut self) -> Self {
        self.on_disk = true;
        self
    }

    /// As [`Storage::on_disk`] has said.
    pub fn is_on_disk(&self) -> bool {
        self.on_disk
    }

    /// The URL without a trailing slash, without credentials.
    pub fn location(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// The URL.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The store. Paths on it are absolute: use [`Storage::resolve`].
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// The location's own path on the store.
    pub fn prefix(&self) -> &Path {
        &self.prefix
    }

    /// The folder `name` below this one (`a/b` for several levels).
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        let mut url = self.url.clone();
        url.set_path(&format!("{}/{name}", self.url.path().trim_end_matches('/')));
        let prefix = name.split('/').filter(|part| !part.is_empty()).fold(self.prefix.clone(), |path, part| path.join(part));
        Self { url, store: Arc::clone(&self.store), prefix, on_disk: self.on_disk }
    }

    /// The path on the store of a decoded path relative to this location, or of an absolute URL below it.
    ///
    /// # Errors
    /// [`OutsideError`] for `..`, empty segments, an absolute path, or a URL that is not below this location.
    pub fn resolve(&self, path: &str) -> Result<Path, OutsideError> {
        let outside = || OutsideError { path: path.to_owned(), location: self.location().to_owned() };
        let relative = match path.contains("://") {
            true => {
                let below =
                    path.strip_prefix(self.location()).and_then(|rest| rest.strip_prefix('/')).ok_or_else(outside)?;
                percent_encoding::percent_decode_str(below).decode_utf8().map_err(|_| outside())?.into_owned()
            }
            false => path.to_owned(),
        };
        let sound = |part: &str| !part.is_empty() && part != "." && part != "..";
        if !relative.split('/').all(sound) {
            return Err(outside());
        }
        let full = if self.prefix.as_ref().is_empty() { relative } else { format!("{}/{relative}", self.prefix) };
        // `Path::parse` keeps the segments as the store spells them; `Path::from` would encode them once more.
        Path::parse(full).map_err(|_| outside())
    }

    /// The URL of a decoded path relative to this location; an absolute URL stays as it is.
    pub fn url_of(&self, path: &str) -> String {
        if path.contains("://") {
            return path.to_owned();
        }
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path.split('/'));
        }
        url.into()
    }

    /// As [`Storage::url_of`] with percent-encoding undone: the same text however the URL was spelled. For comparing, not
    /// for opening.
    pub fn plain_url_of(&self, path: &str) -> String {
        percent_encoding::percent_decode_str(&self.url_of(path)).decode_utf8_lossy().into_owned()
    }

    /// What the store says of one object now, as [`identity`]; `None` when it is gone.
    ///
    /// # Errors
    /// [`TableError::Outside`] and [`TableError::Store`].
    pub async fn identity(&self, path: &str) -> Result<Option<String>, TableError> {
        let object = self.resolve(path)?;
        match self.store.head(&object).await {
            Ok(meta) => Ok(Some(identity(&meta))),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(TableError::Store { action: "look at", object: self.url_of(path), source: Box::new(error) }),
        }
    }

    /// The decoded path relative to this location of an object on the store; `None` when it lies elsewhere.
    pub fn relative(&self, path: &Path) -> Option<String> {
        let rest = path.as_ref().strip_prefix(self.prefix.as_ref())?;
        let rest = if self.prefix.as_ref().is_empty() { rest } else { rest.strip_prefix('/')? };
        (!rest.is_empty()).then(|| rest.to_owned())
    }
}

/// Begins an identity that is a modification time.
pub const MODIFIED: &str = "modified:";
/// Begins an ETag of Azure's.
const AZURE_ETAG: &str = "0x";

/// What tells one content of an object from the next: its ETag, or its modification time where the store has none. The same
/// text however the store was asked: Azure puts quotes around an ETag when asked for one object, and none in a listing.
pub fn identity(meta: &ObjectMeta) -> String {
    let Some(etag) = &meta.e_tag else { return format!("{MODIFIED}{}", meta.last_modified.timestamp_millis()) };
    let bare = etag.trim_matches('"');
    if bare.starts_with(AZURE_ETAG) { bare.to_owned() } else { etag.clone() }
}

impl From<OutsideError> for TableError {
    fn from(error: OutsideError) -> Self {
        Self::Outside { path: error.path, location: error.location }
    }
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Storage").field(&self.location()).finish()
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;
    use rstest::rstest;

    use super::*;

    fn storage() -> Storage {
        Storage::new(Url::parse("memory:///lake/flights").unwrap(), Arc::new(InMemory::new()), Path::from("lake/flights"))
    }

    #[rstest]
    #[case("day=1/a.parquet", "lake/flights/day=1/a.parquet")]
    #[case("memory:///lake/flights/day=1/a%20b.parquet", "lake/flights/day=1/a b.parquet")]
    #[case("place=a%2Fb/x.parquet", "lake/flights/place=a%2Fb/x.parquet")]
    fn a_path_below_the_location_resolves_and_comes_back(#[case] path: &str, #[case] object: &str) {
        let resolved = storage().resolve(path).unwrap();
        assert_eq!(resolved.as_ref(), object);
        assert_eq!(storage().resolve(&storage().relative(&resolved).unwrap()).unwrap(), resolved);
    }

    #[rstest]
    #[case(Some("\"0x8DCA\""), "0x8DCA")]
    #[case(Some("0x8DCA"), "0x8DCA")]
    #[case(Some("\"9e107d9d\""), "\"9e107d9d\"")]
    #[case(None, "modified:0")]
    fn an_identity_is_the_same_however_the_store_was_asked(#[case] etag: Option<&str>, #[case] expected: &str) {
        let (location, last_modified) = (Path::from("a"), Default::default());
        let meta = ObjectMeta { location, last_modified, size: 1, e_tag: etag.map(str::to_owned), version: None };
        assert_eq!(identity(&meta), expected);
    }

    #[test]
    fn two_spellings_of_one_url_compare_as_one() {
        let storage = storage();
        let spelled = ["a b+c=é%2F.parquet", "memory:///lake/flights/a%20b%2Bc%3D%C3%A9%252F.parquet"];
        assert_eq!(storage.plain_url_of(spelled[0]), storage.plain_url_of(spelled[1]));
        assert_ne!(storage.plain_url_of("a%2Fb"), storage.plain_url_of("a%252Fb"));
    }

    #[rstest]
    #[case("../secrets/a.parquet")]
    #[case("day=1/../../x")]
    #[case("/etc/passwd")]
    #[case("memory:///lake/flights2/a.parquet")]
    #[case("memory:///lake/flights/%2e%2e/a.parquet")]
    #[case("file:///etc/passwd")]
    fn a_path_outside_of_the_location_is_refused(#[case] path: &str) {
        assert!(storage().resolve(path).is_err());
    }
}
