//! The old table's end: its own files are listed, wait, and are deleted if the spec says so. Nothing that another table
//! refers to is ever listed, nor a file with rows that the spec's scope has left out, and every file is looked at once more
//! before it goes.

use std::collections::HashSet;

use futures::{StreamExt, TryStreamExt};
use lakeshift_core::migration::{Event, Phase, RECORD_NAME, State};
use lakeshift_core::reverse::ScopedBy;
use lakeshift_core::spec::{Catalog, Spec, SunsetDisposition};
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{Format, MigrationId, TableFormat, TableVersion};
use object_store::ObjectStoreExt;
use serde::{Deserialize, Serialize};

use super::rows::Rows;
use super::scope::{self, Divided};
use super::tables::Tables;
use crate::error::Error;
use crate::session::Session;

/// Files deleted at the same time.
const DELETES_IN_FLIGHT: usize = 16;
/// Files looked at at the same time.
const LOOKS_IN_FLIGHT: usize = 64;

/// Where a sunset stands after a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub enum Stage {
    /// The manifest is written; its files wait.
    Quarantined {
        /// Files listed.
        files: u64,
        /// Their bytes.
        bytes: u64,
        /// Files kept, because another table refers to them, or because they hold rows outside of the scope.
        kept: u64,
    },
    /// The migration is over.
    Completed {
        /// Files deleted.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
}

/// What may be deleted, as it was shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this object's format.
    pub format_version: u32,
    /// The migration.
    pub migration: MigrationId,
    /// The old table.
    pub location: String,
    /// Its version.
    pub version: TableVersion,
    /// The files.
    pub files: Vec<ManifestFile>,
}

/// One file of a [`Manifest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Relative to the old table's location.
    pub path: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// What the store said of its content.
    pub identity: String,
}

/// Takes the sunset as far as it may go now.
///
/// # Errors
/// A table under the control root that cannot be read: what it refers to is then unknown, and nothing is deleted.
pub async fn run(session: &mut Session, tables: &Tables, rows: &Rows) -> Result<Stage, Error> {
    if session.spec.sunset.disposition == SunsetDisposition::Keep {
        complete(session).await?;
        return Ok(Stage::Completed { files: 0, bytes: 0 });
    }
    match session.state.sunset.clone() {
        None => quarantine(session, tables, rows).await,
        Some(sunset) if sunset.purged || session.spec.sunset.disposition == SunsetDisposition::Quarantine => {
            let (files, bytes) = if sunset.purged { (sunset.files, sunset.bytes) } else { (0, 0) };
            complete(session).await?;
            Ok(Stage::Completed { files, bytes })
        }
        Some(sunset) => {
            if !sunset.purging {
                session.record(Event::PurgeIntended).await?;
            }
            let (files, bytes) = purge(session, tables, &sunset.manifest).await?;
            session.record(Event::Purged { files, bytes }).await?;
            complete(session).await?;
            Ok(Stage::Completed { files, bytes })
        }
    }
}

/// Keeps the old table after all. Nothing was moved, so that nothing has to be moved back.
///
/// # Errors
/// The journal cannot be written.
pub async fn undo(session: &mut Session, reason: String, by: String) -> Result<(), Error> {
    session.record(Event::SunsetUndone { reason, by }).await
}

/// Leaves the record of the whole migration, and ends it.
async fn complete(session: &mut Session) -> Result<(), Error> {
    put_json(&session.folder, RECORD_NAME, &session.final_record().await).await?;
    session.record(Event::Completed).await
}

async fn quarantine(session: &mut Session, tables: &Tables, rows: &Rows) -> Result<Stage, Error> {
    let source = tables.source.snapshot(None).await?;
    let referred = referred(session, tables).await?;
    let all = tables.source.files(&source).try_collect().await?;
    let Divided { inside, outside, by } = scope::left_out(rows, &session.spec, &source, all).await?;
    // Rows outside of the scope are in no other table.
    let (candidates, outside) = match by {
        ScopedBy::Nothing | ScopedBy::Partitions => (inside, outside),
        ScopedBy::Rows => (Vec::new(), inside),
    };
    let (mut files, mut kept) = (Vec::new(), outside.len() as u64);
    for file in candidates {
        if referred.contains(&tables.source_storage.plain_url_of(&file.path)) {
            kept += 1;
        } else {
            files.push(ManifestFile { path: file.path, size_bytes: file.size_bytes, identity: file.identity });
        }
    }
    let files = as_stored(tables, files).await?;
    let manifest = Manifest {
        format_version: 1,
        migration: session.id().clone(),
        location: tables.source.location().to_owned(),
        version: source.version,
        files,
    };
    // Named by the epoch: a runner that was killed here leaves a manifest that nobody refers to.
    let name = format!("sunset/manifest-e{}.json", session.epoch().0);
    put_json(&session.folder, &name, &manifest).await?;
    let (files, bytes) = (manifest.files.len() as u64, manifest.files.iter().map(|file| file.size_bytes).sum());
    session.record(Event::Quarantined { manifest: name, files, bytes, kept }).await?;
    Ok(Stage::Quarantined { files, bytes, kept })
}

/// The files with what the store says of their content, which the purge asks for again. A table with a log or metadata has its
/// own word for it.
async fn as_stored(tables: &Tables, files: Vec<ManifestFile>) -> Result<Vec<ManifestFile>, Error> {
    if tables.source.format() == Format::Hive {
        return Ok(files);
    }
    let looked = futures::stream::iter(files).map(|file| async move {
        let stored = tables.source_storage.identity(&file.path).await?;
        Ok::<_, Error>(stored.map(|identity| ManifestFile { identity, ..file }))
    });
    looked.buffered(LOOKS_IN_FLIGHT).try_filter_map(|file| std::future::ready(Ok(file))).try_collect().await
}

async fn purge(session: &Session, tables: &Tables, manifest: &str) -> Result<(u64, u64), Error> {
    let manifest: Manifest = get_json(&session.folder, manifest).await?;
    let referred = referred(session, tables).await?;
    let storage = &tables.source_storage;
    let files = manifest.files.iter().filter(|file| !referred.contains(&storage.plain_url_of(&file.path)));
    let deleted = futures::stream::iter(files.cloned().collect::<Vec<_>>()).map(|file| async move {
        // Someone may have put other content there since; that is not this migration's to delete.
        match storage.identity(&file.path).await? {
            Some(found) if found != file.identity => return Ok((0, 0)),
            None => return Ok((1, file.size_bytes)),
            Some(_) => {}
        }
        let object = storage.resolve(&file.path)?;
        match storage.store().delete(&object).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok((1, file.size_bytes)),
            Err(source) => Err(Error::Store { action: "delete", object: storage.url_of(&file.path), source }),
        }
    });
    let sum = |(files, bytes), (more_files, more_bytes)| std::future::ready(Ok((files + more_files, bytes + more_bytes)));
    let deleted = deleted.buffer_unordered(DELETES_IN_FLIGHT).try_fold((0_u64, 0_u64), sum);
    session.while_renewing(deleted).await?
}

/// Plain URLs of every file that a table under the control root refers to, but for this migration's old table.
async fn referred(session: &Session, tables: &Tables) -> Result<HashSet<String>, Error> {
    let mut referred = HashSet::new();
    collect(&mut referred, tables.target.as_ref(), &tables.target_storage).await?;
    for (spec, folder) in other_migrations(session).await? {
        let other = Tables::open(&session.context, &spec, &folder, session.live())?;
        for (table, storage) in [(&other.source, &other.source_storage), (&other.target, &other.target_storage)] {
            let is_the_old_one = table.location() == tables.source.location() && table.format() == tables.source.format();
            if !is_the_old_one {
                collect(&mut referred, table.as_ref(), storage).await?;
            }
        }
    }
    Ok(referred)
}

async fn collect(referred: &mut HashSet<String>, table: &dyn TableFormat, storage: &Storage) -> Result<(), Error> {
    let snapshot = match table.snapshot(None).await {
        Ok(snapshot) => snapshot,
        Err(lakeshift_core::table::TableError::NotFound { .. }) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let mut files = table.files(&snapshot);
    while let Some(file) = files.next().await.transpose()? {
        referred.insert(storage.plain_url_of(&file.path));
    }
    Ok(())
}

/// The specs of the other migrations under the control root that are not aborted.
async fn other_migrations(session: &Session) -> Result<Vec<(Spec, Storage)>, Error> {
    let folder = session.control.child("migrations");
    let object = folder.location().to_owned();
    let listed = folder.store().list_with_delimiter(Some(folder.prefix())).await.map_err(|source| Error::Store {
        action: "list",
        object,
        source,
    })?;
    let mut others = Vec::new();
    for path in listed.common_prefixes {
        let Some(name) = path.filename().filter(|name| *name != session.id().0) else { continue };
        let folder = folder.child(name);
        let (state, spec) = crate::session::read_only(&session.context, &folder).await?;
        match spec {
            Some(mut spec) if !matches!(state, State { phase: Phase::Aborted, .. }) => {
                // Its journal has no credentials; those of this migration reach the same stores or fail.
                spec.storage = session.spec.storage.clone();
                spec.source.storage.clear();
                spec.target.storage.clear();
                let own = &session.spec;
                for catalog in [&mut spec.source.catalog, &mut spec.target.catalog].into_iter().flatten() {
                    let of = |other: &&Catalog| other.uri == catalog.uri;
                    let same = own.source.catalog.as_ref().filter(of).or(own.target.catalog.as_ref());
                    catalog.take_credentials(same);
                }
                others.push((spec, folder));
            }
            _ => {}
        }
    }
    Ok(others)
}

async fn put_json<T: Serialize>(folder: &Storage, name: &str, value: &T) -> Result<(), Error> {
    let object = folder.url_of(name);
    let bytes = serde_json::to_vec_pretty(value).map_err(|source| Error::Json { object: object.clone(), source })?;
    let path = folder.resolve(name)?;
    folder.store().put(&path, bytes.into()).await.map_err(|source| Error::Store { action: "write", object, source })?;
    Ok(())
}

async fn get_json<T: serde::de::DeserializeOwned>(folder: &Storage, name: &str) -> Result<T, Error> {
    let object = folder.url_of(name);
    let path = folder.resolve(name)?;
    let store_error = |source| Error::Store { action: "read", object: object.clone(), source };
    let bytes = folder.store().get(&path).await.map_err(store_error)?.bytes().await.map_err(store_error)?;
    serde_json::from_slice(&bytes).map_err(|source| Error::Json { object, source })
}
