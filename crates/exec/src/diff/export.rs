//! The Parquet file of all differing rows, for a person with a query engine. Values stand in it as they are: it belongs
//! into the control root and into no report.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, ListBuilder, RecordBatch, StringArray, StringBuilder, StructArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use lakeshift_core::migration::Side;
use object_store::buffered::BufWriter;
use parquet::arrow::AsyncArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use super::join::{Difference, Rows};
use super::plain::Schemas;
use super::{DiffError, ExportTarget};

/// Size of a row group: what the writer holds in memory.
const ROW_GROUP_BYTES: usize = 8 << 20;

/// The file: made with its first row, complete after [`finish`](Self::finish).
pub(super) struct Export<'a> {
    target: Option<ExportTarget<'a>>,
    schema: SchemaRef,
    writer: Option<AsyncArrowWriter<BufWriter>>,
    rows: u64,
}

impl<'a> Export<'a> {
    pub(super) fn new(target: Option<ExportTarget<'a>>, schemas: &Schemas) -> Self {
        let text = |name, nullable| Field::new(name, DataType::Utf8, nullable);
        let values = |name, side| Field::new(name, DataType::Struct(schemas.get(side).fields().clone()), true);
        let columns = DataType::List(Arc::new(Field::new("element", DataType::Utf8, false)));
        let schema = Schema::new(vec![
            Field::new("row", DataType::Int64, false),
            text("kind", false),
            text("accepted_by", true),
            text("cell", false),
            Field::new("copies", DataType::Int64, false),
            Field::new("columns", columns, false),
            values("old", Side::Old),
            values("new", Side::New),
        ]);
        Self { target, schema: Arc::new(schema), writer: None, rows: 0 }
    }

    /// The number of the next row; `None` when nothing is exported.
    pub(super) fn next_row(&self) -> Option<u64> {
        self.target.map(|_| self.rows)
    }

    /// The rows as the file has them, numbered; `None` when nothing is exported.
    pub(super) fn batch(
        &mut self,
        chunk: &[Difference],
        rows: &Rows,
        accepted: &[Option<&str>],
        cells: &[String],
    ) -> Result<Option<RecordBatch>, DiffError> {
        if self.target.is_none() {
            return Ok(None);
        }
        let first = self.rows;
        self.rows += chunk.len() as u64;
        let columns: Vec<ArrayRef> = vec![
            Arc::new((first..self.rows).map(u64::cast_signed).collect::<Int64Array>()),
            Arc::new(StringArray::from_iter_values(chunk.iter().map(|difference| difference.kind.to_string()))),
            Arc::new(StringArray::from_iter(accepted.iter().copied())),
            Arc::new(StringArray::from_iter_values(cells)),
            Arc::new(chunk.iter().map(|difference| difference.copies.cast_signed()).collect::<Int64Array>()),
            names(chunk, &rows.new.schema()),
            values(&rows.old, &rows.has_old)?,
            values(&rows.new, &rows.has_new)?,
        ];
        Ok(Some(RecordBatch::try_new(Arc::clone(&self.schema), columns)?))
    }

    pub(super) async fn write(&mut self, rows: &RecordBatch) -> Result<(), DiffError> {
        let Some(target) = self.target else { return Ok(()) };
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => none.insert(create(target, &self.schema)?),
        };
        writer.write(rows).await.map_err(|source| not_written(target, source))
    }

    /// Completes the file and returns its path; `None` when no row was written.
    pub(super) async fn finish(self) -> Result<Option<String>, DiffError> {
        let Some((target, writer)) = self.target.zip(self.writer) else { return Ok(None) };
        writer.close().await.map_err(|source| not_written(target, source))?;
        Ok(Some(target.path.to_owned()))
    }

    /// Gives up a file that was begun.
    pub(super) async fn abort(&mut self) {
        let Some(writer) = self.writer.take() else { return };
        if let Err(error) = writer.into_inner().abort().await {
            tracing::warn!(%error, "the upload of the differing rows could not be aborted; the store expires its parts");
        }
    }
}

fn not_written(target: ExportTarget<'_>, source: ParquetError) -> DiffError {
    DiffError::Export { file: target.storage.url_of(target.path), source }
}

fn create(target: ExportTarget<'_>, schema: &SchemaRef) -> Result<AsyncArrowWriter<BufWriter>, DiffError> {
    let upload = BufWriter::new(Arc::clone(target.storage.store()), target.storage.resolve(target.path)?);
    let properties = WriterProperties::builder()
        .set_created_by(format!("lakeshift version {}", env!("CARGO_PKG_VERSION")))
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
        .build();
    let writer = AsyncArrowWriter::try_new(upload, SchemaRef::clone(schema), Some(properties));
    writer.map_err(|source| not_written(target, source))
}

/// The names of the columns in which each row differs.
fn names(chunk: &[Difference], schema: &Schema) -> ArrayRef {
    let element = Arc::new(Field::new("element", DataType::Utf8, false));
    let mut names = ListBuilder::new(StringBuilder::new()).with_field(element);
    for difference in chunk {
        difference.columns.iter().for_each(|column| names.values().append_value(schema.field(*column).name()));
        names.append(true);
    }
    Arc::new(names.finish())
}

fn values(rows: &RecordBatch, present: &NullBuffer) -> Result<ArrayRef, DiffError> {
    let fields = rows.schema().fields().clone();
    Ok(Arc::new(StructArray::try_new(fields, rows.columns().to_vec(), Some(present.clone()))?))
}
