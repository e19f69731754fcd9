//! Equality deletes: the rows that they name by value, found by position.
//!
//! [`equality_deleted`] reads a data file's deciding columns in order and looks each row up among the delete files' rows. What
//! comes of it is [`DeletedRows`] like any other, so that whatever reads the file afterwards knows one kind of deletes only.
//!
//! Rows of delete files are held in memory up to a share of the engine's; when there are more, the data file is read again for
//! the next share.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::row::{RowConverter, SortField};
use datafusion::error::DataFusionError;
use datafusion::physical_plan::ExecutionPlan;
use futures::TryStreamExt;
use lakeshift_core::partition::PartitionSpec;
use lakeshift_core::schema::{Field, TableSchema};
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{DeleteFile, DeletedRows, EqualityDeletes, FileEntry, Format, Snapshot};
use lakeshift_core::value::Value;

use crate::engine::Engine;
use crate::scan::{Absent, Deletes, ScanError, ScanRequest, scan_in_order};
use crate::types;

/// The part of the engine's memory that the rows of delete files may take, for all readers together.
const MEMORY_SHARE: usize = 4;
/// What a row in memory takes beside its bytes.
const ROW_OVERHEAD_BYTES: usize = 48;

/// A data file, and the equality deletes that apply to it.
#[derive(Debug, Clone, Copy)]
pub struct EqualityRequest<'a> {
    /// Where the data file lies.
    pub storage: &'a Storage,
    /// The table's format.
    pub format: Format,
    /// The table.
    pub snapshot: &'a Snapshot,
    /// The data file, of this snapshot.
    pub file: &'a FileEntry,
    /// How many rows it has, deleted ones among them, where the table tells.
    pub rows: Option<u64>,
    /// Where delete files may lie.
    pub places: &'a [&'a Storage],
    /// The deletes.
    pub deletes: &'a [EqualityDeletes],
}

/// The rows of the file that its equality deletes delete.
///
/// # Errors
/// [`ScanError`] for files that cannot be read, or do not have the columns that they should.
pub async fn equality_deleted(engine: &Engine, request: &EqualityRequest<'_>) -> Result<DeletedRows, ScanError> {
    let mut found = Bits::default();
    for deletes in request.deletes {
        let columns = Columns::of(request.snapshot, request.file, deletes);
        find(engine, request, &columns, &deletes.files, &mut found).await?;
    }
    found.rows(request.file)
}

/// Looks up the file's rows among those of delete files, a share of these at a time.
async fn find(
    engine: &Engine,
    request: &EqualityRequest<'_>,
    columns: &Columns,
    files: &[DeleteFile],
    found: &mut Bits,
) -> Result<(), ScanError> {
    let failed = |source| ScanError::Equality { file: request.file.path.clone(), source };
    let settings = engine.settings();
    let bytes_max = settings.memory_bytes / (MEMORY_SHARE * settings.concurrency.max(1));
    let mut keys = Keys::new(&columns.deletes)?;
    for file in files {
        let plan = read(engine, request, &columns.deletes, entry(file), Absent::Refused)?;
        let mut rows = engine.execute(plan).map_err(failed)?;
        while let Some(batch) = rows.try_next().await.map_err(failed)? {
            keys.add(&batch).map_err(failed)?;
            if keys.bytes >= bytes_max {
                probe(engine, request, columns, &keys, found).await?;
                keys.clear();
            }
        }
    }
    probe(engine, request, columns, &keys, found).await
}

/// Marks the file's rows that are among `keys`.
async fn probe(
    engine: &Engine,
    request: &EqualityRequest<'_>,
    columns: &Columns,
    keys: &Keys,
    found: &mut Bits,
) -> Result<(), ScanError> {
    if keys.rows.is_empty() {
        return Ok(());
    }
    let failed = |source| ScanError::Equality { file: request.file.path.clone(), source };
    let file = FileEntry {
        rows: request.rows,
        partition: columns.values(request.file),
        has_deletes: false,
        ..request.file.clone()
    };
    let plan = read(engine, request, &columns.data, file, Absent::Filled)?;
    let mut batches = engine.execute(plan).map_err(failed)?;
    let mut position = 0;
    while let Some(batch) = batches.try_next().await.map_err(failed)? {
        for hit in keys.hits(&batch).map_err(failed)? {
            found.set(position + hit);
        }
        position += batch.num_rows();
    }
    Ok(())
}

/// A plan that reads one file's deciding columns in order.
fn read(
    engine: &Engine,
    request: &EqualityRequest<'_>,
    snapshot: &Snapshot,
    file: FileEntry,
    absent: Absent,
) -> Result<Arc<dyn ExecutionPlan>, ScanError> {
    let beside = request.places.iter().find(|place| place.resolve(&file.path).is_ok());
    let storage = if absent == Absent::Filled { request.storage } else { beside.unwrap_or(&request.storage) };
    let (files, deletes) = ([file], Deletes::new());
    let scan = ScanRequest { storage, format: request.format, snapshot, files: &files, deletes: &deletes };
    scan_in_order(engine, &scan, absent)
}

fn entry(file: &DeleteFile) -> FileEntry {
    FileEntry {
        path: file.path.clone(),
        size_bytes: file.size_bytes,
        identity: String::new(),
        modified_ms: 0,
        rows: Some(file.rows),
        partition: Vec::new(),
        has_deletes: false,
    }
}

/// The deciding columns as tables of their own: of data files and of delete files.
struct Columns {
    data: Snapshot,
    deletes: Snapshot,
    /// The positions of the data's partition fields in the table's own spec.
    fields: Vec<usize>,
}

impl Columns {
    fn of(table: &Snapshot, file: &FileEntry, deletes: &EqualityDeletes) -> Self {
        // A dropped column may have the name of one that came later: here the id is the name.
        let name = |id: Option<i32>| format!("field {}", id.unwrap_or_default());
        let column = |field: &Field| Field { name: name(field.id), nullable: true, ..field.clone() };
        let schema = TableSchema { fields: deletes.columns.iter().map(|one| column(&one.field)).collect() };
        let ids: BTreeSet<i32> = schema.fields.iter().filter_map(|field| field.id).collect();
        let (mut partition, mut fields) = (PartitionSpec::default(), Vec::new());
        for (position, field) in table.partition.fields.iter().enumerate().take(file.partition.len()) {
            let source = table.schema.field(&field.column).and_then(|column| column.id).filter(|id| ids.contains(id));
            if let Some(id) = source {
                let mut field = field.clone();
                field.column = name(Some(id));
                partition.fields.push(field);
                fields.push(position);
            }
        }
        let defaults = deletes.columns.iter().filter_map(|column| Some((name(column.field.id), column.default.clone()?)));
        let data = Snapshot { schema, partition, defaults: defaults.collect(), ..table.clone() };
        let (partition, defaults) = (PartitionSpec::default(), Default::default());
        let deletes = Snapshot { partition, defaults, ..data.clone() };
        Self { data, deletes, fields }
    }

    /// The partition values of `file` in the data's own spec.
    fn values(&self, file: &FileEntry) -> Vec<Option<Value>> {
        self.fields.iter().map(|position| file.partition.get(*position).cloned().flatten()).collect()
    }
}

/// Rows of delete files, each as bytes that are equal where the rows are; null is a value like others.
struct Keys {
    converter: RowConverter,
    rows: HashSet<Box<[u8]>>,
    bytes: usize,
}

impl Keys {
    fn new(columns: &Snapshot) -> Result<Self, ScanError> {
        let schema = types::arrow_schema(&columns.schema)?;
        let fields = schema.fields().iter().map(|field| SortField::new(field.data_type().clone()));
        let converter = RowConverter::new(fields.collect()).map_err(|error| ScanError::Plan { source: error.into() })?;
        Ok(Self { converter, rows: HashSet::new(), bytes: 0 })
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<(), DataFusionError> {
        for row in &self.converter.convert_columns(batch.columns())? {
            if !self.rows.contains(row.as_ref()) {
                self.bytes += row.as_ref().len() + ROW_OVERHEAD_BYTES;
                self.rows.insert(row.as_ref().into());
            }
        }
        Ok(())
    }

    /// The positions in `batch` of the rows that are among these.
    fn hits(&self, batch: &RecordBatch) -> Result<Vec<usize>, DataFusionError> {
        let rows = self.converter.convert_columns(batch.columns())?;
        Ok(rows.iter().enumerate().filter(|(_, row)| self.rows.contains(row.as_ref())).map(|(at, _)| at).collect())
    }

    fn clear(&mut self) {
        self.rows.clear();
        self.bytes = 0;
    }
}

/// Row positions, a bit each.
#[derive(Debug, Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn set(&mut self, position: usize) {
        let (word, bit) = (position / 64, position % 64);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << bit;
    }

    fn positions(&self) -> impl Iterator<Item = u64> {
        let words = self.0.iter().enumerate().filter(|(_, word)| **word != 0);
        words.flat_map(|(at, word)| (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| at as u64 * 64 + bit))
    }

    fn rows(&self, file: &FileEntry) -> Result<DeletedRows, ScanError> {
        let mut before = None;
        let begins = |row: &u64| Some(*row) != std::mem::replace(&mut before, row.checked_add(1));
        let refused = |reason| ScanError::Deletes { file: file.path.clone(), reason };
        if self.positions().filter(begins).count() > DeletedRows::RANGES_MAX {
            return Err(refused("they are in more separate ranges than are held in memory"));
        }
        DeletedRows::from_ascending(self.positions()).ok_or_else(|| refused("they are beyond any file"))
    }
}
