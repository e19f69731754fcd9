//! Commits to a Hive-style folder, which has no log of its own.
//!
//! A folder has nothing that several files could be swapped by at once. So a commit is an entry of a numbered, create-only
//! log in the hidden folder `_lakeshift/<migration>/commits`: it is done when its entry is there, and then carried out file
//! by file, by whoever comes next where its writer was killed. New files are written whole below `_lakeshift/<migration>`
//! first ([`staging`]), which no reader of the folder lists, and moved to their partitions; then old ones are deleted.
//! A reader that lists the folder meanwhile may see the new file beside the old one that it replaces, never a part of a file
//! and never a partition without its rows.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use lakeshift_core::partition::{HIVE_NULL, hive_text};
use lakeshift_core::schema::Field;
use lakeshift_core::storage::{Storage, identity};
use lakeshift_core::table::{CommitNumber, CommitOutcome, CommitRequest, Marks, MigrationId, NewFile, TableError};
use lakeshift_core::value::Value;
use lakeshift_journal::{Create, Epoch, NumberedLog, RngExt};
use object_store::{Error as StoreError, ObjectStoreExt};
use serde::{Deserialize, Serialize};

use super::{HiveTable, Inventory, Writing};
use crate::footer::{corrupt, footer_bytes, parse_footer, unsupported};
use crate::storage::{outside_error, store_error};

/// The hidden folder of what is not data.
const HIDDEN: &str = "_lakeshift";
/// Files that are moved or deleted at the same time.
const IN_FLIGHT: usize = 16;
/// How often a commit is validated anew because another one was first.
const ATTEMPTS_MAX: usize = 20;
/// Where a migration's data files for the Hive-style table at `table` are written before their commit;
/// [`NewFile::path`] is relative to it.
pub fn staging(table: &Storage, migration: &MigrationId) -> Storage {
    table.child(&format!("{HIDDEN}/{migration}"))
}

/// One commit: a persisted format.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Entry {
    /// The migration's highest commit number, this one's included; a fence has none of its own.
    number: Option<CommitNumber>,
    epoch: Epoch,
    add: Vec<Move>,
    remove: Vec<Gone>,
    /// Makes every entry unlike any other.
    nonce: String,
}

/// A new file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Move {
    /// Relative to [`staging`].
    from: String,
    /// Relative to the table.
    to: String,
}

/// A file to delete.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Gone {
    path: String,
    /// Its content when the commit was made: another one under its name is somebody else's.
    identity: String,
}

/// The log of one migration's commits.
struct CommitLog<'a> {
    table: &'a HiveTable,
    staging: Storage,
    log: NumberedLog,
}

impl<'a> CommitLog<'a> {
    fn new(table: &'a HiveTable, writing: &Writing, migration: &MigrationId) -> Result<Self, TableError> {
        let staging = staging(&table.storage, migration);
        let prefix = staging.resolve("commits").map_err(outside_error)?;
        let log = NumberedLog::new(staging.store().clone(), prefix, writing.clock.clone());
        Ok(Self { table, staging, log })
    }

    /// The last entry with its number in the log.
    async fn last(&self) -> Result<Option<(u64, Entry)>, TableError> {
        let Some(number) = self.log.last().await.map_err(|error| self.failed("list", error))? else { return Ok(None) };
        let bytes = self.log.read(number).await.map_err(|error| self.failed("read", error))?;
        let object = || format!("{}/commits/{number:020}.json", self.staging.location());
        let bytes = bytes.ok_or_else(|| corrupt(&object(), "it was deleted while it was read".to_owned()))?;
        let entry = serde_json::from_slice(&bytes);
        Ok(Some((number, entry.map_err(|error| corrupt(&object(), format!("it is no commit: {error}")))?)))
    }

    fn failed(&self, action: &'static str, source: impl std::error::Error + Send + Sync + 'static) -> TableError {
        TableError::Store { action, object: format!("{}/commits", self.staging.location()), source: Box::new(source) }
    }

    /// Carries out the last entry, if nobody has.
    async fn finish(&self, last: Option<&(u64, Entry)>) -> Result<(), TableError> {
        let Some((number, entry)) = last else { return Ok(()) };
        let marker = self.staging.resolve("applied").map_err(outside_error)?;
        let applied = match self.staging.store().get(&marker).await {
            Ok(found) => found.bytes().await.map_err(|error| store_error("read", marker.as_ref(), error))?,
            Err(StoreError::NotFound { .. }) => Bytes::new(),
            Err(error) => return Err(store_error("read", marker.as_ref(), error)),
        };
        if std::str::from_utf8(&applied).ok().and_then(|text| text.parse().ok()).is_some_and(|done: u64| done >= *number) {
            return Ok(());
        }
        let moves = futures::stream::iter(entry.add.clone()).map(|file| async move { self.move_in(&file).await });
        moves.buffer_unordered(IN_FLIGHT).try_collect::<()>().await?;
        let gone = futures::stream::iter(entry.remove.clone()).map(|file| async move { self.delete(&file).await });
        gone.buffer_unordered(IN_FLIGHT).try_collect::<()>().await?;
        let done = Bytes::from(number.to_string());
        self.staging
            .store()
            .put(&marker, done.into())
            .await
            .map_err(|error| store_error("write", marker.as_ref(), error))?;
        Ok(())
    }

    async fn move_in(&self, file: &Move) -> Result<(), TableError> {
        let from = self.staging.resolve(&file.from).map_err(outside_error)?;
        let to = self.table.storage.resolve(&file.to).map_err(outside_error)?;
        match self.staging.store().rename(&from, &to).await {
            // Moved before, by this runner or by one that was killed.
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(store_error("move in", &file.to, error)),
        }
    }

    async fn delete(&self, file: &Gone) -> Result<(), TableError> {
        if self.table.storage.identity(&file.path).await?.as_ref() != Some(&file.identity) {
            return Ok(());
        }
        let path = self.table.storage.resolve(&file.path).map_err(outside_error)?;
        match self.table.storage.store().delete(&path).await {
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(store_error("delete", &file.path, error)),
        }
    }

    /// Checks the new files by what was written, and says where each goes. The inner error is the conflict's reason.
    async fn incoming(
        &self,
        inventory: &Inventory,
        request: &CommitRequest,
    ) -> Result<Result<Vec<Move>, String>, TableError> {
        let check = |file: NewFile| async move {
            let from = self.staging.resolve(&file.path).map_err(outside_error)?;
            let meta = match self.staging.store().head(&from).await {
                Ok(meta) => meta,
                Err(StoreError::NotFound { .. }) => return Ok(Err(format!("{from}, which is to be added, is not there"))),
                Err(error) => return Err(store_error("look at", from.as_ref(), error)),
            };
            let etag = identity(&meta);
            let footer = footer_bytes(self.staging.store().as_ref(), &from, meta.size, super::listing::etag(&etag)).await?;
            let rows = parse_footer(from.as_ref(), &footer, meta.size)?.rows;
            if rows != file.rows {
                let counted = file.rows;
                let reason = format!("its footer has {rows} rows where {counted} were counted; nothing was committed");
                return Err(corrupt(from.as_ref(), reason));
            }
            let name = file.path.rsplit('/').next().unwrap_or(&file.path);
            let to = match folder(inventory, &file.partition)? {
                folder if folder.is_empty() => name.to_owned(),
                folder => format!("{folder}/{name}"),
            };
            Ok(Ok(Move { from: file.path.clone(), to }))
        };
        let checked = futures::stream::iter(request.add.clone()).map(check).buffered(IN_FLIGHT);
        let checked: Vec<Result<Move, String>> = checked.try_collect().await?;
        Ok(checked.into_iter().collect())
    }

    /// The files to delete as they are now. The inner error is the conflict's reason.
    async fn outgoing(&self, request: &CommitRequest) -> Result<Result<Vec<Gone>, String>, TableError> {
        let look = |path: String| async move {
            Ok::<_, TableError>(match self.table.storage.identity(&path).await? {
                Some(identity) => Ok(Gone { path, identity }),
                None => Err(format!("{path}, which is to be removed, is not in the table any more")),
            })
        };
        let looked = futures::stream::iter(request.remove.clone()).map(look).buffered(IN_FLIGHT);
        let looked: Vec<Result<Gone, String>> = looked.try_collect().await?;
        Ok(looked.into_iter().collect())
    }
}

/// The folder of a partition: the one that files of it are in already, or one of the same columns.
fn folder(inventory: &Inventory, key: &[Option<Value>]) -> Result<String, TableError> {
    let columns = &inventory.partition_columns;
    if key.len() != columns.len() {
        let feature = format!("{} partition values where the table has {} folders", key.len(), columns.len());
        return Err(unsupported("the new file", feature, "report this as a bug; nothing was committed"));
    }
    let known = inventory.files.iter().find(|file| file.entry.partition == key);
    if let Some(known) = known {
        return Ok(known.entry.path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned());
    }
    let segment = |(column, value): (&Field, &Option<Value>)| {
        let text = match value {
            None => HIVE_NULL.to_owned(),
            Some(value) => hive_text(&value.to_string()).to_string(),
        };
        if text.is_empty() || (value.is_some() && text == HIVE_NULL) {
            let feature = format!("a value of partition column {} that has no folder", column.name);
            let advice = "an empty text, or one that reads like null, cannot stand in a path; nothing was committed";
            return Err(unsupported("the new file", feature, advice));
        }
        Ok(format!("{}={text}", hive_text(&column.name)))
    };
    Ok(columns.iter().zip(key).map(segment).collect::<Result<Vec<_>, _>>()?.join("/"))
}

/// See [`lakeshift_core::table::TableFormat::commit`].
pub(super) async fn commit(
    table: &HiveTable,
    writing: &Writing,
    request: &CommitRequest,
) -> Result<CommitOutcome, TableError> {
    if request.repartition.is_some() || !request.deletes.is_empty() || !request.evolve.is_empty() {
        let feature = "deletes of single rows, another partitioning or new columns in a Hive-style folder";
        return Err(unsupported(table.storage.location(), feature, "rewrite the files; nothing was committed"));
    }
    let log = CommitLog::new(table, writing, &request.migration)?;
    for _ in 0..ATTEMPTS_MAX {
        let last = log.last().await?;
        if let Some((_, entry)) = &last {
            if entry.epoch > request.epoch {
                return Ok(CommitOutcome::Fenced { current: entry.epoch });
            }
            log.finish(last.as_ref()).await?;
            if !request.is_fence() && entry.number.is_some_and(|number| number >= request.number) {
                return Ok(CommitOutcome::AlreadyCommitted(table.inventory().await?.version.clone()));
            }
        }
        let inventory = table.inventory().await?;
        let (add, remove) = match (log.incoming(&inventory, request).await?, log.outgoing(request).await?) {
            (Ok(add), Ok(remove)) => (add, remove),
            (Err(reason), _) | (_, Err(reason)) => return Ok(CommitOutcome::Conflict { reason }),
        };
        if add.is_empty()
            && !remove.is_empty()
            && inventory.files.iter().all(|file| request.remove.contains(&file.entry.path))
        {
            let advice = "a folder without files has no columns and is no table; nothing was committed";
            return Err(unsupported(table.storage.location(), "removing the last file of a Hive-style folder", advice));
        }
        let earlier = last.as_ref().and_then(|(_, entry)| entry.number);
        let entry = Entry {
            number: if request.is_fence() { earlier } else { Some(request.number) },
            epoch: request.epoch,
            add,
            remove,
            nonce: format!("{:016x}", writing.rng.nonce()),
        };
        let at = last.map_or(1, |(number, _)| number + 1);
        let bytes = serde_json::to_vec(&entry).map_err(|error| log.failed("encode", error))?;
        match log.log.create(at, bytes.into()).await.map_err(|error| log.failed("write", error))? {
            Create::Created => {
                log.finish(Some(&(at, entry))).await?;
                return Ok(CommitOutcome::Committed(table.inventory().await?.version.clone()));
            }
            Create::Taken => {}
        }
    }
    let reason = format!("{ATTEMPTS_MAX} attempts lost against other runners; nothing was changed");
    Ok(CommitOutcome::Conflict { reason })
}

/// See [`lakeshift_core::table::TableFormat::marks`]. A folder cannot tell who wrote a file: nothing is foreign here.
pub(super) async fn marks(table: &HiveTable, writing: &Writing, migration: &MigrationId) -> Result<Marks, TableError> {
    let log = CommitLog::new(table, writing, migration)?;
    let last = log.last().await?;
    log.finish(last.as_ref()).await?;
    Ok(last.map_or_else(Marks::default, |(_, entry)| Marks {
        number: entry.number,
        epoch: Some(entry.epoch),
        foreign: Vec::new(),
    }))
}
