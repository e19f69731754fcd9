//! [`TableStream`]: a stream that writes one table, which it creates.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use lakeshift_core::plan::same_type;
use lakeshift_core::schema::DataType;
use lakeshift_core::storage::Storage;
use lakeshift_core::stream::StreamSpec;
use lakeshift_core::table::{CreateOutcome, CreateRequest, Snapshot, TableError, TableFormat};
use lakeshift_stream::Ledger;

use super::file::{StreamFile, refused};
use super::ground::Ground;
use super::sink::ParquetSink;
use crate::error::Error;

/// A stream and its table.
#[derive(Debug, Clone, Copy)]
pub struct TableStream<'a> {
    pub(super) file: &'a StreamFile,
    pub(super) table: &'a Arc<dyn TableFormat>,
    pub(super) storage: &'a Storage,
}

impl Deref for TableStream<'_> {
    type Target = StreamFile;

    fn deref(&self) -> &StreamFile {
        self.file
    }
}

impl TableStream<'_> {
    /// The table's present snapshot; `None` where there is none.
    ///
    /// # Errors
    /// It cannot be read, or does not fit the stream.
    pub(super) async fn snapshot(&self) -> Result<Option<Snapshot>, Error> {
        let snapshot = match self.table.snapshot(None).await {
            Ok(snapshot) => snapshot,
            Err(TableError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let location = self.table.location();
        check_columns(&self.spec, location, &snapshot, same_type)?;
        if snapshot.partition.fields != self.spec.partitioning().fields {
            let problem = format!("the table at {location} is not partitioned by the columns of `time` and `entity` alone");
            return Err(refused(problem, "name the columns that it is partitioned by, in their order; nothing was written"));
        }
        Ok(Some(snapshot))
    }

    /// The table, created where it is not there yet.
    ///
    /// # Errors
    /// As [`TableStream::snapshot`]; a table that is gone though the stream has written to it.
    pub(super) async fn create(&self, ledger: &Ledger) -> Result<Snapshot, Error> {
        if let Some(snapshot) = self.snapshot().await? {
            return Ok(snapshot);
        }
        let location = self.table.location();
        if ledger.last_number().0 > 0 {
            let problem = format!("there is no table at {location}, and the stream has written to it");
            return Err(refused(problem, "bring it back, or give the stream another name to read the topics anew"));
        }
        let request = CreateRequest {
            migration: self.id(),
            epoch: lakeshift_journal::Epoch(0),
            schema: self.spec.schema(),
            partition: self.spec.partitioning(),
            sort: Vec::new(),
            format_version: None,
            properties: BTreeMap::new(),
        };
        if let CreateOutcome::Foreign { found } = self.table.create(&request).await? {
            return Err(Error::ForeignTable { location: location.to_owned(), found });
        }
        let gone = || refused(format!("the table at {location} was created and is gone"), "run this again");
        self.snapshot().await?.ok_or_else(gone)
    }

    /// The table as what a backfill rewrites.
    pub(super) fn ground(&self) -> Ground {
        let (table, storage) = (self.table.clone(), self.storage.clone());
        Ground { table, places: vec![storage.clone()], staging: storage, parquet: Default::default(), sort: Vec::new() }
    }

    /// Writes the table's files.
    pub(super) fn sink(&self, snapshot: Snapshot) -> ParquetSink {
        self.ground().sink(self.file, snapshot)
    }
}

/// Whether a table has the stream's columns and no others. `fits` says whether values of a column's type (first) go into the
/// table's (second) as they are.
///
/// # Errors
/// [`Error::StreamRefused`] with the first column that does not fit.
pub(super) fn check_columns(
    spec: &StreamSpec,
    location: &str,
    snapshot: &Snapshot,
    fits: fn(&DataType, &DataType) -> bool,
) -> Result<(), Error> {
    let wanted = spec.schema();
    for field in &wanted.fields {
        let name = &field.name;
        let problem = match snapshot.schema.field(name) {
            None => format!("the table at {location} has no column {name}"),
            Some(found) if !fits(&field.data_type, &found.data_type) => {
                let (there, said) = (&found.data_type, &field.data_type);
                format!("column {name} of the table at {location} is {there}, and `columns` says {said}")
            }
            Some(found) if field.nullable && !found.nullable => {
                format!("column {name} of the table at {location} takes no null, and `columns` does not require it")
            }
            Some(_) => continue,
        };
        return Err(refused(problem, "let `columns` say what the table has; nothing was written"));
    }
    if let Some(more) = snapshot.schema.fields.iter().find(|field| wanted.field(&field.name).is_none()) {
        let problem = format!("the table at {location} has the column {}, which `columns` has not", more.name);
        return Err(refused(problem, "add it to `columns`; nothing was written"));
    }
    Ok(())
}
