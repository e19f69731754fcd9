//! The data files that stand in the table's folders, whatever wrote them.

use futures::stream::{self, StreamExt, TryStreamExt};
use lakeshift_core::storage::{Storage, identity};
use lakeshift_core::table::TableError;
use object_store::ObjectMeta;

use super::config::FOLDER;
use super::names::{self, FileName};
use crate::storage::store_error;

/// Folders that are listed at the same time.
const LISTINGS_IN_FLIGHT: usize = 16;

/// A data file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// The folder relative to the table; empty for the table's own.
    pub(super) partition: String,
    /// Relative to the table.
    pub(super) path: String,
    pub(super) name: FileName,
    pub(super) size_bytes: u64,
    pub(super) identity: String,
    pub(super) modified_ms: i64,
}

impl Found {
    /// The file of this path if its name is a data file's; without size and identity.
    pub(super) fn of_path(path: &str) -> Option<Self> {
        let (partition, name) = path.rsplit_once('/').unwrap_or(("", path));
        Some(Self {
            partition: partition.to_owned(),
            path: path.to_owned(),
            name: names::parse(name)?,
            size_bytes: 0,
            identity: String::new(),
            modified_ms: 0,
        })
    }
}

/// Every data file below the table's folder, but for its own `.hoodie`: that one's indexes are tables of their own.
pub(super) async fn list(storage: &Storage) -> Result<Vec<Found>, TableError> {
    let store = storage.store();
    let failed = |error| store_error("list", storage.location(), error);
    let prefix = (!storage.prefix().as_ref().is_empty()).then(|| storage.prefix());
    let top = store.list_with_delimiter(prefix).await.map_err(failed)?;
    let folders = top.common_prefixes.into_iter().filter(|folder| folder.filename() != Some(FOLDER));
    let listed =
        stream::iter(folders.collect::<Vec<_>>()).map(|folder| {
            let objects = store.list(Some(&folder));
            async move {
                objects.try_filter_map(|meta| std::future::ready(Ok(found(storage, &meta)))).try_collect::<Vec<_>>().await
            }
        });
    let mut all: Vec<Found> = top.objects.iter().filter_map(|meta| found(storage, meta)).collect();
    let mut listed = listed.buffered(LISTINGS_IN_FLIGHT);
    while let Some(files) = listed.try_next().await.map_err(failed)? {
        all.extend(files);
    }
    all.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(all)
}

fn found(storage: &Storage, meta: &ObjectMeta) -> Option<Found> {
    let found = Found::of_path(&storage.relative(&meta.location)?)?;
    // Folders of other tools below a partition (`.hoodie` of a nested table, `_temporary`) are none of the table's.
    if found.partition.split('/').any(|folder| folder.starts_with('.')) {
        return None;
    }
    let modified_ms = meta.last_modified.timestamp_millis();
    Some(Found { size_bytes: meta.size, identity: identity(meta), modified_ms, ..found })
}
