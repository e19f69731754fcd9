//! [`ConfinedFiles`]: the local disk, but only below the locations that were admitted.
//!
//! object_store's `LocalFileSystem` follows symlinks wherever they lead. Here each path is resolved first, and refused
//! where it ends outside of every admitted location that it began in.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use lakeshift_core::storage::OutsideError;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

use super::local_path;

/// The local file system below the admitted folders.
#[derive(Debug, Default)]
pub(super) struct ConfinedFiles {
    inner: LocalFileSystem,
    roots: Roots,
}

/// The admitted folders, canonical.
#[derive(Debug, Clone, Default)]
struct Roots(Arc<RwLock<BTreeSet<PathBuf>>>);

impl ConfinedFiles {
    /// Serves what lies below this canonical folder from now on.
    pub(super) fn admit(&self, root: PathBuf) {
        self.roots.0.write().unwrap_or_else(PoisonError::into_inner).insert(root);
    }
}

/// `path` with every symlink resolved; the part that does not exist yet is kept as it is.
pub(super) fn canonical(path: &FilePath) -> io::Result<PathBuf> {
    match path.canonicalize() {
        Ok(resolved) => Ok(resolved),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // A broken symlink exists without its target: where it leads to is not known to be inside.
            if path.symlink_metadata().is_ok() {
                return Err(error);
            }
            match (path.parent(), path.file_name()) {
                (Some(parent), Some(name)) => Ok(canonical(parent)?.join(name)),
                _ => Err(error),
            }
        }
        Err(error) => Err(error),
    }
}

impl Roots {
    /// Refuses a path that resolves to somewhere outside of the admitted folders that it lies in.
    fn check(&self, path: &Path) -> Result<()> {
        let lexical = local_path(path);
        let resolved = canonical(&lexical).map_err(|source| refused(path, Box::new(source)))?;
        self.inside(path, &lexical, &resolved)
    }

    fn inside(&self, path: &Path, lexical: &FilePath, resolved: &FilePath) -> Result<()> {
        let roots = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let around: Vec<_> = roots.iter().filter(|root| lexical.starts_with(root)).collect();
        if around.iter().any(|root| resolved.starts_with(root)) {
            return Ok(());
        }
        let location = around.last().map_or_else(|| "every opened location".to_owned(), |root| root.display().to_string());
        Err(refused(path, Box::new(OutsideError { path: lexical.display().to_string(), location })))
    }

    /// As [`Roots::check`] for a listed file; `folders` remembers the folders that were resolved.
    fn check_listed(&self, path: &Path, folders: &mut HashMap<PathBuf, PathBuf>) -> Result<()> {
        let lexical = local_path(path);
        let is_link = lexical.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink());
        let (Some(folder), Some(name), false) = (lexical.parent(), lexical.file_name(), is_link) else {
            return self.check(path);
        };
        if !folders.contains_key(folder) {
            let resolved = canonical(folder).map_err(|source| refused(path, Box::new(source)))?;
            folders.insert(folder.to_owned(), resolved);
        }
        self.inside(path, &lexical, &folders[folder].join(name))
    }

    fn check_all(&self, listing: BoxStream<'static, Result<ObjectMeta>>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (roots, mut folders) = (self.clone(), HashMap::new());
        listing
            .map(move |item| item.and_then(|meta| roots.check_listed(&meta.location, &mut folders).map(|()| meta)))
            .boxed()
    }
}

fn refused(path: &Path, source: Box<dyn std::error::Error + Send + Sync>) -> object_store::Error {
    object_store::Error::PermissionDenied { path: format!("/{path}"), source }
}

impl fmt::Display for ConfinedFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("local files")
    }
}

#[async_trait]
impl ObjectStore for ConfinedFiles {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.roots.check(location)?;
        self.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.roots.check(location)?;
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.roots.check(location)?;
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.roots.check(location)?;
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let roots = self.roots.clone();
        let checked = locations.map(move |item| item.and_then(|path| roots.check(&path).map(|()| path)));
        self.inner.delete_stream(checked.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.roots.check_all(self.inner.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.roots.check_all(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        if let Some(prefix) = prefix {
            self.roots.check(prefix)?;
        }
        let listed = self.inner.list_with_delimiter(prefix).await?;
        listed.objects.iter().try_for_each(|meta| self.roots.check(&meta.location))?;
        Ok(listed)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.roots.check(from)?;
        self.roots.check(to)?;
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.roots.check(from)?;
        self.roots.check(to)?;
        self.inner.rename_opts(from, to, options).await
    }
}
