//! What stands in the folder: every object, sorted, with what its name alone says of it.

use futures::{Stream, TryStreamExt};
use lakeshift_core::storage::{MODIFIED, Storage, identity};
use lakeshift_core::table::TableError;
use object_store::ObjectMeta;

use crate::storage::store_error;

/// One object of the folder.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    /// Relative to the table's root.
    pub(super) path: String,
    pub(super) size_bytes: u64,
    pub(super) identity: String,
    pub(super) modified_ms: i64,
}

/// Every object below the root, as the store comes to them.
pub(super) fn list(storage: &Storage) -> impl Stream<Item = Result<Listed, TableError>> + Send + '_ {
    let prefix = (!storage.prefix().as_ref().is_empty()).then(|| storage.prefix());
    let objects = storage.store().list(prefix).map_err(|error| store_error("list", storage.location(), error));
    // A store may list the folder's own marker; it is not below the folder.
    objects.try_filter_map(async |meta| Ok(storage.relative(&meta.location).map(|path| entry(path, &meta))))
}

fn entry(path: String, meta: &ObjectMeta) -> Listed {
    Listed { path, size_bytes: meta.size, identity: identity(meta), modified_ms: meta.last_modified.timestamp_millis() }
}

/// The ETag that an identity is, if it is one.
pub(super) fn etag(identity: &str) -> Option<&str> {
    (!identity.starts_with(MODIFIED)).then_some(identity)
}

/// Whether a segment of the path says that this is no data: `_SUCCESS`, `_delta_log/…`, `.part-0.crc`.
/// A partition column may begin so (`_year=2001`): such a segment is not hidden.
pub(super) fn is_hidden(path: &str) -> bool {
    let (folders, name) = path.rsplit_once('/').map_or(("", path), |(folders, name)| (folders, name));
    let hidden = |segment: &str| segment.starts_with(['_', '.']);
    let partition = |segment: &str| segment.starts_with('_') && segment.contains('=');
    hidden(name) || folders.split('/').any(|folder| hidden(folder) && !partition(folder))
}

/// Whether the name says Parquet.
pub(super) fn has_parquet_name(path: &str) -> bool {
    let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
    ["parquet", "parq", "pq"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}
