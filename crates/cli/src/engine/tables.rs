//! The two tables of a migration, opened as their formats.

use std::sync::Arc;

use lakeshift_core::spec::{Place, Spec};
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{Format, TableFormat};
use lakeshift_tables::delta::DeltaTable;
use lakeshift_tables::hive::HiveTable;
use lakeshift_tables::iceberg::IcebergTable;

use crate::context::Context;
use crate::error::Error;

/// Old and new.
#[derive(Debug, Clone)]
pub struct Tables {
    /// The table as it is.
    pub source: Arc<dyn TableFormat>,
    /// Where it lies.
    pub source_storage: Storage,
    /// The table as it shall be.
    pub target: Arc<dyn TableFormat>,
    /// Where it lies.
    pub target_storage: Storage,
}

impl Tables {
    /// Opens both; reads nothing yet. `folder` is the migration's own, where pinned inventories are kept.
    ///
    /// # Errors
    /// A location that no store serves.
    pub fn open(context: &Context, spec: &Spec, folder: &Storage) -> Result<Self, Error> {
        let source_storage = context.open(spec, Place::Source)?;
        let target_storage = context.open(spec, Place::Target)?;
        let source: Arc<dyn TableFormat> = match spec.source.format {
            Format::Hive => {
                let declared = spec.source.partitions.iter().map(|one| (one.name.clone(), one.data_type.clone()));
                Arc::new(
                    HiveTable::new(source_storage.clone())
                        .with_inventories(folder.child("inventories"))
                        .with_partition_types(declared.collect())
                        .with_columns(spec.source.columns.clone()),
                )
            }
            other => open(other, context, source_storage.clone()),
        };
        let target = open(spec.target.format, context, target_storage.clone());
        Ok(Self { source, source_storage, target, target_storage })
    }
}

fn open(format: Format, context: &Context, storage: Storage) -> Arc<dyn TableFormat> {
    match format {
        Format::Hive => Arc::new(HiveTable::new(storage)),
        Format::Delta => Arc::new(DeltaTable::new(storage, context.clock.clone(), context.rng.clone())),
        Format::Iceberg => Arc::new(IcebergTable::new(storage, context.clock.clone(), context.rng.clone())),
    }
}
