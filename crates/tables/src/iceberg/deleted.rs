//! Reading the rows that positional deletes and deletion vectors delete.
//!
//! A deletion vector is believed only when size, magic, checksum and cardinality agree; a file of positional deletes only when
//! it has the rows and the columns that it should have, and no position is beyond the data file.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use deltalake::arrow::array::{Array, AsArray, Int64Array, RecordBatch, StringArray};
use deltalake::arrow::datatypes::Int64Type;
use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt, TryStreamExt};
use iceberg::metadata_columns::{
    RESERVED_COL_NAME_DELETE_FILE_PATH, RESERVED_COL_NAME_DELETE_FILE_POS, RESERVED_FIELD_ID_DELETE_FILE_PATH,
    RESERVED_FIELD_ID_DELETE_FILE_POS,
};
use lakeshift_core::table::{DeleteFile, DeletedRows, FileEntry, TableError};
use object_store::ObjectStoreExt;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::schema::types::SchemaDescriptor;
use roaring::RoaringTreemap;

use super::IcebergTable;
use super::applied::{Applied, StoredVector};
use super::fault::{corrupt, unreadable, unsupported};
use super::location::Place;
use crate::footer::read_footer;
use crate::vector::{self, SIZE_BYTES_MAX};

/// What a Puffin file begins with.
const PUFFIN_MAGIC: &[u8] = b"PFA1";
/// Rows of a data file whose deletes are read: their bitmap then takes 512 MiB at most.
const ROWS_MAX: u64 = 1 << 32;
/// The largest file of positional deletes that is read, in bytes: a row group of it is held in memory.
const DELETE_FILE_BYTES_MAX: u64 = 1 << 30;
/// Rows that are decoded at a time.
const BATCH_ROWS: usize = 8192;
const COMPACT: &str = "compact the table first, so that no file has deletes";

impl IcebergTable {
    /// The rows that deletion vector or positional deletes delete.
    pub(super) async fn positions(&self, file: &FileEntry, applied: &Applied) -> Result<DeletedRows, TableError> {
        if applied.rows > ROWS_MAX {
            let feature = format!("deletes in a file of {} rows; {ROWS_MAX} are the most", applied.rows);
            return Err(unsupported(&file.path, feature, COMPACT));
        }
        let mut rows = RoaringTreemap::new();
        if let Some(stored) = &applied.vector {
            rows = self.vector(file, stored).await?;
        }
        for delete in &applied.positional {
            self.add_positions(file, applied.rows, delete, &mut rows).await?;
        }
        if let Some(row) = rows.max().filter(|row| *row >= applied.rows) {
            return Err(corrupt(&file.path, format!("the table deletes its row {row}, and it has {}", applied.rows)));
        }
        Ok(vector::ranges(&file.path, rows)?.of_file_with(applied.rows))
    }

    async fn vector(&self, file: &FileEntry, stored: &StoredVector) -> Result<RoaringTreemap, TableError> {
        let damaged = |reason: &str| corrupt(&stored.path, format!("its deletion vector of {} {reason}", file.path));
        let (start, size) = (stored.offset, stored.size_bytes);
        if size > SIZE_BYTES_MAX {
            return Err(damaged(&format!("claims {size} bytes; at most {SIZE_BYTES_MAX} are read")));
        }
        let place = self.place(&stored.path)?;
        let failed = |error| unreadable(&stored.path, error);
        let meta = place.storage.store().head(&place.path).await.map_err(failed)?;
        let end = start.checked_add(size).filter(|end| *end <= meta.size);
        let end = end.ok_or_else(|| damaged(&format!("does not lie within its {} bytes", meta.size)))?;
        let read = place.storage.store().get_ranges(&place.path, &[0..PUFFIN_MAGIC.len() as u64, start..end]).await;
        let read = read.map_err(failed)?;
        let [magic, framed] = &read[..] else { return Err(damaged("was not read whole")) };
        if magic != PUFFIN_MAGIC {
            return Err(corrupt(&stored.path, "it does not begin with the magic of a Puffin file"));
        }
        let rows = vector::unframed(framed).and_then(|vector| vector::rows(vector, stored.rows));
        rows.map_err(|reason| damaged(&reason))
    }

    /// Adds what a file of positional deletes has of `file`. A row may be deleted more than once.
    async fn add_positions(
        &self,
        file: &FileEntry,
        rows: u64,
        delete: &DeleteFile,
        into: &mut RoaringTreemap,
    ) -> Result<(), TableError> {
        if delete.size_bytes > DELETE_FILE_BYTES_MAX {
            let feature = format!("{} bytes of positional deletes; {DELETE_FILE_BYTES_MAX} are the most", delete.size_bytes);
            return Err(unsupported(&delete.path, feature, COMPACT));
        }
        let place = self.place(&delete.path)?;
        let footer = read_footer(place.storage.store().as_ref(), &place.path, delete.size_bytes).await?;
        if footer.rows != delete.rows {
            let reason = format!("it has {} rows where the table says {}", footer.rows, delete.rows);
            return Err(corrupt(&delete.path, reason));
        }
        let failed = |error: ParquetError| TableError::Corrupt {
            object: delete.path.clone(),
            reason: "its positional deletes cannot be read".to_owned(),
            source: Some(Box::new(error)),
        };
        let Some((builder, [paths, positions])) = open(delete, &place).await.map_err(failed)? else {
            return Err(corrupt(&delete.path, "it lacks the columns file_path and pos of positional deletes"));
        };
        let mask = ProjectionMask::leaves(builder.parquet_schema(), [paths, positions]);
        let first = usize::from(paths > positions);
        let mut batches = builder.with_projection(mask).with_batch_size(BATCH_ROWS).build().map_err(failed)?;
        let mut matcher = Matcher { table: self, file: &file.path, last: None };
        while let Some(batch) = batches.try_next().await.map_err(failed)? {
            let (paths, positions) = typed(&batch, first).ok_or_else(|| {
                corrupt(&delete.path, "its columns file_path and pos are not the text and the number that they should be")
            })?;
            for row in 0..batch.num_rows() {
                if !matcher.is_file(paths.value(row)) {
                    continue;
                }
                let position = u64::try_from(positions.value(row)).ok().filter(|position| *position < rows);
                let beyond = || corrupt(&delete.path, format!("it deletes a row of {} that it does not have", file.path));
                into.insert(position.ok_or_else(beyond)?);
            }
        }
        Ok(())
    }

    fn place(&self, entry_path: &str) -> Result<Place, TableError> {
        self.places.locate(&self.places.to_metadata(entry_path)?)
    }
}

/// Reads ranges of one object.
struct ObjectReader {
    place: Place,
    size_bytes: u64,
}

impl AsyncFileReader for ObjectReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        let read = async { self.place.storage.store().get_range(&self.place.path, range).await };
        read.map_err(|error| ParquetError::External(Box::new(error))).boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        let size_bytes = self.size_bytes;
        async move {
            let reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Skip);
            Ok(Arc::new(reader.load_and_finish(self, size_bytes).await?))
        }
        .boxed()
    }
}

type Builder = ParquetRecordBatchStreamBuilder<ObjectReader>;

/// A file of positional deletes whose metadata is read, with the leaves of path and position; `None` where it lacks one.
async fn open(delete: &DeleteFile, place: &Place) -> Result<Option<(Builder, [usize; 2])>, ParquetError> {
    let reader = ObjectReader { place: place.clone(), size_bytes: delete.size_bytes };
    // Types are those of Parquet, whatever a writer noted of its own.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let builder = ParquetRecordBatchStreamBuilder::new_with_options(reader, options).await?;
    let schema = builder.parquet_schema();
    let paths = leaf(schema, RESERVED_FIELD_ID_DELETE_FILE_PATH, RESERVED_COL_NAME_DELETE_FILE_PATH);
    let positions = leaf(schema, RESERVED_FIELD_ID_DELETE_FILE_POS, RESERVED_COL_NAME_DELETE_FILE_POS);
    Ok(paths.zip(positions).map(|(paths, positions)| (builder, [paths, positions])))
}

/// A top-level column by its field id, or by its name where it has no id.
fn leaf(schema: &SchemaDescriptor, id: i32, name: &str) -> Option<usize> {
    let found = |column: &parquet::schema::types::ColumnDescPtr| {
        let (info, top) = (column.self_type().get_basic_info(), column.path().parts().len() == 1);
        top && if info.has_id() { info.id() == id } else { info.name() == name }
    };
    schema.columns().iter().position(found)
}

/// Path and position of a batch of two columns, of which the path is the one at `first`.
fn typed(batch: &RecordBatch, first: usize) -> Option<(&StringArray, &Int64Array)> {
    let paths = batch.columns().get(first)?.as_string_opt::<i32>()?;
    let positions = batch.columns().get(1 - first)?.as_primitive_opt::<Int64Type>()?;
    (paths.null_count() == 0 && positions.null_count() == 0).then_some((paths, positions))
}

/// Tells the rows of one data file; they are sorted, so the last answer mostly holds.
struct Matcher<'a> {
    table: &'a IcebergTable,
    /// As an entry has it: the spellings of one object are one.
    file: &'a str,
    last: Option<(String, bool)>,
}

impl Matcher<'_> {
    fn is_file(&mut self, path: &str) -> bool {
        if let Some((_, answer)) = self.last.as_ref().filter(|(last, _)| last == path) {
            return *answer;
        }
        let answer = self.table.places.to_entry(path) == self.file;
        self.last = Some((path.to_owned(), answer));
        answer
    }
}
