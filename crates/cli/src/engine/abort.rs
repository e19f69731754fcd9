//! Giving up before cutover: only what this migration created is dropped.

use futures::TryStreamExt;
use lakeshift_core::migration::Event;
use lakeshift_core::plan::unit_of_path;
use lakeshift_core::table::{Format, TableError};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::tables::Tables;
use crate::error::Error;
use crate::session::Session;

/// The table property in which a migration leaves its name when it creates a table.
const CREATOR_PROPERTY: &str = "lakeshift.migration";

/// What was dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Dropped {
    /// Objects deleted.
    pub objects: u64,
}

/// Drops the target, if this migration created it and nobody else has committed to it.
///
/// # Errors
/// [`Error::Conflict`] when somebody has; nothing is dropped then.
pub async fn run(session: &mut Session, tables: &Tables, reason: &str) -> Result<Dropped, Error> {
    let standing = creator(tables).await?;
    let drops = match &standing {
        Some(creator) if creator.as_ref() == Some(&session.id().0) => true,
        Some(_) if session.state.target_created => {
            let found = "its properties do not name this migration".to_owned();
            return Err(Error::ForeignTable { location: tables.target.location().to_owned(), found });
        }
        Some(_) => false,
        // Killed while dropping: what is left has no metadata any more.
        None => session.state.target_created,
    };
    if drops && standing.is_some() {
        let foreign = tables.target.marks(session.id()).await?.foreign;
        if let Some(version) = foreign.first() {
            return Err(Error::Conflict {
                reason: format!("{version} of {} is not this migration's; save it first", tables.target.location()),
            });
        }
    }
    if !session.state.abort_intended {
        session.record(Event::AbortIntended { reason: reason.to_owned() }).await?;
    }
    let dropped = if drops { drop_target(session, tables).await? } else { Dropped::default() };
    session.record(Event::Aborted).await?;
    Ok(dropped)
}

/// Who created the table that stands at the target; `None` when there is none.
async fn creator(tables: &Tables) -> Result<Option<Option<String>>, Error> {
    match tables.target.snapshot(None).await {
        Ok(snapshot) => Ok(Some(snapshot.properties.get(CREATOR_PROPERTY).cloned())),
        Err(TableError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Data files first, metadata last: a table that is half dropped is still recognised as this migration's. One of a
/// catalogue leaves that before all else, so that it never names what is gone.
async fn drop_target(session: &Session, tables: &Tables) -> Result<Dropped, Error> {
    tables.target.forget().await?;
    let storage = &tables.target_storage;
    let metadata = match tables.target.format() {
        Format::Delta => "_delta_log/",
        Format::Iceberg => "metadata/",
        Format::Hive | Format::Hudi => return Ok(Dropped::default()),
    };
    let list_error = |source| Error::Store { action: "list", object: storage.location().to_owned(), source };
    let objects: Vec<Path> = storage
        .store()
        .list(Some(storage.prefix()))
        .map_ok(|object| object.location)
        .try_collect()
        .await
        .map_err(list_error)?;
    let (mut data, mut log) = (Vec::new(), Vec::new());
    for object in objects {
        let Some(path) = storage.relative(&object) else { continue };
        if unit_of_path(session.id(), &path).is_some() {
            data.push(object);
        } else if path.starts_with(metadata) {
            log.push(object);
        }
    }
    // Oldest metadata last: its first version carries the name of the creator.
    log.sort_unstable_by(|a, b| b.cmp(a));
    let mut dropped = Dropped::default();
    for object in data.into_iter().chain(log) {
        match storage.store().delete(&object).await {
            Ok(()) => dropped.objects += 1,
            Err(object_store::Error::NotFound { .. }) => {}
            Err(source) => return Err(Error::Store { action: "delete", object: object.to_string(), source }),
        }
    }
    Ok(dropped)
}
