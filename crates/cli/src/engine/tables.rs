//! The two tables of a migration, opened as their formats.

use std::sync::Arc;

use lakeshift_core::migration::Side;
use lakeshift_core::pointer::ReaderPointer;
use lakeshift_core::spec::{Int96, Place, Spec};
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{Disposition, Format, MigrationId, TableFormat, TableVersion};
use lakeshift_tables::delta::DeltaTable;
use lakeshift_tables::hive::metastore::{MetastoreEntry, MetastorePointer};
use lakeshift_tables::hive::{HiveTable, PartitionColumn, staging};
use lakeshift_tables::hudi::HudiTable;
use lakeshift_tables::iceberg::{EntrySwap, IcebergTable};
use serde::Serialize;

use crate::context::Context;
use crate::error::Error;
use crate::live::Live;
use crate::paced::paced;
use crate::session::Session;

/// Old and new.
#[derive(Debug, Clone)]
pub struct Tables {
    /// The table as it is.
    pub source: Arc<dyn TableFormat>,
    /// Where it lies.
    pub source_storage: Storage,
    /// The table as it shall be.
    pub target: Arc<dyn TableFormat>,
    /// Where it lies, or where its data files are written before they are moved in.
    pub target_storage: Storage,
    /// Where the files lie that the source registers by their URL.
    pub elsewhere: Storage,
    hive: Option<HiveTable>,
}

impl Tables {
    /// Opens both; reads nothing yet. `folder` is the migration's own, where pinned inventories are kept; `live` paces the
    /// requests.
    ///
    /// # Errors
    /// A location that no store serves; a variable of a catalogue's credentials that is not set.
    pub fn open(context: &Context, spec: &Spec, folder: &Storage, live: &Live) -> Result<Self, Error> {
        let source_storage = paced(&context.open(spec, Place::Source)?, live);
        let target_storage = paced(&context.open(spec, Place::Target)?, live);
        let hive = (spec.source.format == Format::Hive).then(|| {
            let declared = spec.source.partitions.iter();
            let declared = declared.map(|one| PartitionColumn { name: one.name.clone(), data_type: one.data_type.clone() });
            let hive = HiveTable::new(source_storage.clone())
                .with_inventories(folder.child("inventories"))
                .with_partition_types(declared.collect())
                .with_columns(spec.source.columns.clone())
                .with_writing(context.clock.clone(), context.rng.clone());
            match spec.source.int96 {
                Some(Int96::Utc) => hive.with_int96_instants(),
                None => hive,
            }
        });
        let source: Arc<dyn TableFormat> = match &hive {
            Some(hive) => Arc::new(hive.clone()),
            None if spec.source.format == Format::Hudi => {
                Arc::new(HudiTable::new(source_storage.clone()).with_states(folder.child("inventories")))
            }
            None => open_of(context, spec, Place::Source, source_storage.clone(), &target_storage)?,
        };
        let target = open_of(context, spec, Place::Target, target_storage.clone(), &source_storage)?;
        let elsewhere = target_storage.clone();
        Ok(Self { source, source_storage, target, target_storage, elsewhere, hive })
    }

    /// The way back: the new table is the source.
    #[must_use]
    pub fn turned(&self, migration: &MigrationId) -> Self {
        let target_storage = match self.source.format() {
            Format::Hive => staging(&self.source_storage, migration),
            _ => self.source_storage.clone(),
        };
        Self {
            source: self.target.clone(),
            source_storage: self.target_storage.clone(),
            target: self.source.clone(),
            target_storage,
            elsewhere: self.source_storage.clone(),
            hive: None,
        }
    }

    /// The table of a side, where it lies, and where `writer` writes new files of it.
    pub fn of(&self, side: Side, writer: &MigrationId) -> (Arc<dyn TableFormat>, Storage, Storage) {
        let (table, own) = match side {
            Side::Old => (self.source.clone(), self.source_storage.clone()),
            Side::New => (self.target.clone(), self.target_storage.clone()),
        };
        let new = if table.format() == Format::Hive { staging(&own, writer) } else { own.clone() };
        (table, own, new)
    }

    /// Staged files at `place` as the source, and the table of a side as the target, written by `writer`.
    #[must_use]
    pub fn written(&self, side: Side, writer: &MigrationId, place: &Storage) -> Self {
        let (target, _, target_storage) = self.of(side, writer);
        let source: Arc<dyn TableFormat> = Arc::new(HiveTable::new(place.clone()));
        let (source_storage, elsewhere) = (place.clone(), place.clone());
        Self { source, source_storage, target, target_storage, elsewhere, hive: None }
    }

    /// Objects in the source's folder that are named like data and could not be read as such in that version, in the order of
    /// their paths.
    ///
    /// # Errors
    /// The version is not known any more.
    pub async fn quarantine(&self, version: &TableVersion) -> Result<Vec<Quarantined>, Error> {
        let Some(hive) = &self.hive else { return Ok(Vec::new()) };
        let inventory = hive.at(version).await?;
        let visible = inventory.quarantine.iter().filter(|object| object.disposition != Disposition::Hidden);
        Ok(visible.map(|object| Quarantined { path: object.path.clone(), reason: object.reason.clone() }).collect())
    }
}

/// An object that is named like data and cannot be read as such.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Quarantined {
    /// The object, relative to the source's location.
    pub path: String,
    /// What is wrong with it.
    pub reason: String,
}

/// One of a spec's tables, with all that the spec says of it; an Iceberg table by its folder or in its catalogue.
fn open_of(
    context: &Context,
    spec: &Spec,
    place: Place,
    storage: Storage,
    other: &Storage,
) -> Result<Arc<dyn TableFormat>, Error> {
    let format = if place == Place::Source { spec.source.format } else { spec.target.format };
    if format != Format::Iceberg {
        return Ok(open(format, context, storage, other));
    }
    let mut table = iceberg(context, storage, other);
    if let Some(catalog) = spec.catalog(place) {
        let credentials = spec.catalog_credentials(place, context.env)?;
        let other = if place == Place::Source { Place::Target } else { Place::Source };
        let other = spec.catalog(other).filter(|_| spec.cutover.exchange_entries);
        table = match other {
            Some(other) => table.with_exchanged_catalog(catalog, &other.table, &credentials),
            None => table.with_catalog(catalog, &credentials),
        };
    }
    match place {
        Place::Source => {
            if let Some(name) = &spec.source.reference {
                table = table.with_reference(name);
            }
        }
        _ => {
            if let Some(rule) = spec.target.snapshots {
                table = table.with_snapshot_rule(rule);
            }
        }
    }
    Ok(Arc::new(table))
}

/// What moves, besides the alias and by the migration itself, when readers of a spec's alias move.
///
/// # Errors
/// A variable of the catalogue's credentials that is not set.
pub fn pointers(session: &Session, tables: &Tables) -> Result<Vec<Box<dyn ReaderPointer>>, Error> {
    let (context, spec) = (&session.context, &session.spec);
    let mut pointers: Vec<Box<dyn ReaderPointer>> = Vec::new();
    if let (true, Some(source), Some(target)) = (spec.cutover.exchange_entries, &spec.source.catalog, &spec.target.catalog) {
        let credentials = spec.catalog_credentials(Place::Source, context.env)?;
        let folders = [tables.source_storage.clone(), tables.target_storage.clone()];
        pointers.push(Box::new(EntrySwap::new(folders, [source, target], &credentials)));
    }
    if let Some(metastore) = &spec.cutover.metastore {
        let ((host, port), (database, table)) = (metastore.address(), metastore.entry());
        let (database, table) = (database.to_owned(), table.to_owned());
        let entry = MetastoreEntry { host, port, database, table, query: metastore.query.clone() };
        let both = [tables.source.clone(), tables.target.clone()];
        let kept = session.folder.child("metastore");
        pointers.push(Box::new(MetastorePointer::new(entry, both, kept, session.id(), context.clock.clone())));
    }
    Ok(pointers)
}

/// The table at `storage`. `other` is where the migration's other table lies: its files may be registered in this one.
pub fn open(format: Format, context: &Context, storage: Storage, other: &Storage) -> Arc<dyn TableFormat> {
    match format {
        Format::Hive => Arc::new(HiveTable::new(storage)),
        Format::Hudi => Arc::new(HudiTable::new(storage)),
        Format::Delta => Arc::new(DeltaTable::new(storage, context.clock.clone())),
        Format::Iceberg => Arc::new(iceberg(context, storage, other)),
    }
}

fn iceberg(context: &Context, storage: Storage, other: &Storage) -> IcebergTable {
    IcebergTable::new(storage).with_files_in(other.clone()).with_clock(context.clock.clone()).with_rng(context.rng.clone())
}
