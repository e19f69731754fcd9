//! Adopted files and the rows that the source has deleted from them: carried over as deletes, no row is written again.

use std::collections::{BTreeSet, HashMap};

use futures::{StreamExt, TryStreamExt};
use lakeshift_core::plan::PlannedFile;
use lakeshift_core::table::{Changes, DeletedRows, FileEntry, NewFile, TableError, deletes_in, without_deletes};

use super::backfill::entry;
use super::commit::Delta;
use super::tables::Tables;
use crate::error::Error;

/// Files whose deletes are read at the same time.
const DELETES_IN_FLIGHT: usize = 16;

/// Registers planned files as they stand, with their deleted rows.
///
/// # Errors
/// Deletes that the source cannot tell or that contradict themselves.
pub async fn adopt(tables: &Tables, files: &[PlannedFile]) -> Result<Delta, Error> {
    let marked = files.iter().map(entry).filter(|file| file.has_deletes);
    let read = |file: FileEntry| async move {
        let rows = tables.source.deleted_rows(&file).await?;
        if !tables.source.equality_deletes(&file).await?.is_empty() {
            // The plan has found none, and the file's identity is the same.
            return Err(TableError::Unsupported {
                object: file.path,
                feature: "deletes by value of a file that is adopted".to_owned(),
                advice: "report this as a bug, and plan with `backfill.strategy: rewrite`; nothing was committed".to_owned(),
            }
            .into());
        }
        Ok::<_, Error>((adopted_path(tables, &file.path), rows))
    };
    let read = futures::stream::iter(marked.collect::<Vec<_>>()).map(read).buffered(DELETES_IN_FLIGHT);
    let mut delta = Delta { deletes: read.try_collect().await?, ..Delta::default() };
    delta.add.extend(files.iter().map(|file| {
        let path = adopted_path(tables, &file.path);
        let deleted = delta.deletes.get(&path).map_or(0, DeletedRows::count);
        NewFile {
            size_bytes: file.size_bytes,
            partition: file.target_partition.clone().unwrap_or_default(),
            // The plan counted what is left.
            rows: file.rows + deleted,
            path,
        }
    }));
    delta.deletes.retain(|_, rows| rows.count() > 0);
    Ok(delta)
}

/// A source file's path as the target has it.
pub fn adopted_path(tables: &Tables, path: &str) -> String {
    let in_place = tables.source.location() == tables.target.location();
    if in_place { path.to_owned() } else { tables.source_storage.url_of(path) }
}

/// Leaves adopted files where they are that a round takes out and adopts again because rows were deleted from them: only the
/// rows deleted since are deleted. A file whose rows came back is still taken out and adopted anew.
///
/// # Errors
/// As [`adopt`].
pub async fn keep_in_place(tables: &Tables, changes: &Changes, delta: &mut Delta) -> Result<(), Error> {
    let plain = |path: &str| tables.target_storage.plain_url_of(path);
    let before: HashMap<&str, &FileEntry> = changes.removed.iter().map(|file| (file.path.as_str(), file)).collect();
    let leaving: BTreeSet<String> = delta.remove.iter().map(|path| plain(path)).collect();
    let coming: BTreeSet<String> = delta.add.iter().map(|file| plain(&file.path)).collect();
    let mut kept = BTreeSet::new();
    for file in &changes.added {
        let Some(earlier) = before.get(file.path.as_str()).filter(|earlier| differ_by_deletes(earlier, file)) else {
            continue;
        };
        let path = adopted_path(tables, &file.path);
        if !leaving.contains(&plain(&path)) || !coming.contains(&plain(&path)) {
            continue;
        }
        let deleted = match deletes_in(&earlier.identity) {
            Some(_) => tables.source.deleted_rows(earlier).await?,
            None => DeletedRows::default(),
        };
        let now = delta.deletes.get(&path).cloned().unwrap_or_default();
        if let Some(new) = now.since(&deleted) {
            kept.insert(plain(&path));
            match new.count() {
                0 => drop(delta.deletes.remove(&path)),
                _ => drop(delta.deletes.insert(path, new)),
            }
        }
    }
    delta.remove.retain(|path| !kept.contains(&plain(path)));
    delta.add.retain(|file| !kept.contains(&plain(&file.path)));
    Ok(())
}

/// Whether two entries of one path have the same content but for the rows that are deleted from it.
fn differ_by_deletes(earlier: &FileEntry, later: &FileEntry) -> bool {
    earlier.size_bytes == later.size_bytes && without_deletes(&earlier.identity) == without_deletes(&later.identity)
}
