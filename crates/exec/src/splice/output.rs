//! The files that chunks are copied into, one after the other.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::ArrayRef;
use bytes::{Buf, Bytes};
use lakeshift_core::spec::ParquetOptions;
use lakeshift_core::table::NewFile;
use object_store::buffered::BufWriter;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::properties::{WriterPropertiesBuilder, WriterPropertiesPtr};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{ColumnDescPtr, SchemaDescPtr, Type};
use tokio::io::AsyncWriteExt;

use super::schema::{Column, Columns, parquet_columns};
use super::{Chunks, SpliceRequest};
use crate::rewrite::{RewriteError, partition_folder, upload, without_page_index, writer_properties};
use crate::types;

/// Parts of one file on their way at the same time.
const PARTS_IN_FLIGHT: usize = 4;

/// A file that is being filled.
struct Open {
    path: String,
    schema: SchemaDescPtr,
    /// Whether its pages are indexed. The library wants an index of every chunk of a file, or of none.
    indexed: bool,
    writer: SerializedFileWriter<Pending>,
    pending: Pending,
    upload: BufWriter,
    rows: u64,
    bytes: u64,
}

/// Files, finished and one open.
pub(super) struct Output<'a> {
    request: &'a SpliceRequest<'a>,
    indexed: WriterPropertiesPtr,
    plain: WriterPropertiesPtr,
    open: Option<Open>,
    files: Vec<NewFile>,
}

impl<'a> Output<'a> {
    pub(super) fn new(request: &'a SpliceRequest<'a>) -> Result<Self, RewriteError> {
        // Whether pages are indexed is the source's to say here.
        let options = ParquetOptions { page_index: true, ..request.parquet.clone() };
        let indexed = writer_properties(&options, request.schema)?;
        let plain = without_page_index(WriterPropertiesBuilder::from(indexed.clone())).build();
        Ok(Self { request, indexed: Arc::new(indexed), plain: Arc::new(plain), open: None, files: Vec::new() })
    }

    /// Appends a row group of a source file.
    pub(super) async fn append(
        &mut self,
        source: &ParquetMetaData,
        group: usize,
        columns: &Columns,
        chunks: &Chunks,
    ) -> Result<(), RewriteError> {
        let indexed = source.offset_index().is_some();
        let fits = |open: &Open| open.indexed == indexed && open.schema.root_schema() == columns.schema.root_schema();
        if self.open.as_ref().is_some_and(|open| !fits(open)) {
            self.close().await?;
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.create(&columns.schema, indexed)?,
        };
        open.pending.reserve(chunks.bytes.len());
        let appended = copy_group(&mut open, source, group, columns, chunks);
        let sent = match appended {
            Ok(()) => open.send().await,
            Err(source) => Err(RewriteError::Write { file: open.path.clone(), source }),
        };
        let full = open.bytes >= self.request.limits.target_file_bytes as u64;
        // Back in its place before an error is told, so that it is given up with the rest.
        self.open = Some(open);
        sent?;
        if full { self.close().await } else { Ok(()) }
    }

    /// Closes the open file and tells all, sorted by path.
    pub(super) async fn finish(mut self) -> Result<Vec<NewFile>, RewriteError> {
        self.close().await?;
        self.files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(self.files)
    }

    /// Gives the open file up.
    pub(super) async fn abort(self) {
        let Some(mut open) = self.open else { return };
        if let Err(error) = open.upload.abort().await {
            tracing::warn!(file = open.path, %error, "an upload could not be aborted; the store expires its parts");
        }
    }

    fn create(&self, schema: &SchemaDescPtr, indexed: bool) -> Result<Open, RewriteError> {
        let SpliceRequest { storage, partition, key, file_stem, .. } = self.request;
        let path = format!("{}/{file_stem}-{:05}.parquet", partition_folder(partition, key), self.files.len() + 1);
        let pending = Pending::default();
        let properties = if indexed { &self.indexed } else { &self.plain };
        let writer = SerializedFileWriter::new(pending.clone(), schema.root_schema_ptr(), Arc::clone(properties));
        let writer = writer.map_err(|source| RewriteError::Write { file: path.clone(), source })?;
        let upload = upload(storage, &path, PARTS_IN_FLIGHT)?;
        Ok(Open { path, schema: Arc::clone(schema), indexed, writer, pending, upload, rows: 0, bytes: 0 })
    }

    async fn close(&mut self) -> Result<(), RewriteError> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        let finished = open.writer.finish().map(drop);
        finished.map_err(|source| RewriteError::Write { file: open.path.clone(), source })?;
        open.send().await?;
        open.upload.shutdown().await.map_err(|error| open.failed(error))?;
        let partition = self.request.key.to_vec();
        self.files.push(NewFile { path: open.path, size_bytes: open.bytes, partition, rows: open.rows });
        Ok(())
    }
}

impl Open {
    /// Sends what was written to the store.
    async fn send(&mut self) -> Result<(), RewriteError> {
        let bytes = self.pending.take();
        self.bytes += bytes.len() as u64;
        self.upload.put(bytes).await.map_err(|error| self.failed(error.into()))
    }

    fn failed(&self, error: std::io::Error) -> RewriteError {
        RewriteError::Write { file: self.path.clone(), source: ParquetError::External(Box::new(error)) }
    }
}

fn copy_group(
    open: &mut Open,
    source: &ParquetMetaData,
    group: usize,
    columns: &Columns,
    chunks: &Chunks,
) -> ParquetResult<()> {
    let from = source.row_group(group);
    let rows = usize::try_from(from.num_rows()).map_err(|error| ParquetError::External(Box::new(error)))?;
    let mut constants = constant_chunks(columns, rows, open.writer.properties())?.into_iter();
    let descriptor = Arc::clone(&open.schema);
    let mut writer = open.writer.next_row_group()?;
    let mut leaf = 0;
    for column in &columns.columns {
        match column {
            Column::Constant { .. } => {
                let chunk = constants.next().ok_or_else(|| ParquetError::General("a constant has a chunk".to_owned()))?;
                chunk.append_to_row_group(&mut writer)?;
                leaf += 1;
            }
            Column::Copied { leaves } => {
                for at in leaves.clone() {
                    let metadata = described(from.column(at), descriptor.column(leaf))?;
                    let close = ColumnCloseResult {
                        bytes_written: u64::try_from(metadata.compressed_size()).unwrap_or(0),
                        rows_written: rows as u64,
                        metadata,
                        bloom_filter: None,
                        column_index: source.column_index().map(|index| index[group][at].clone()),
                        offset_index: source.offset_index().map(|index| index[group][at].clone()),
                    };
                    writer.append_column(chunks, close)?;
                    leaf += 1;
                }
            }
        }
    }
    writer.close()?;
    open.rows += rows as u64;
    Ok(())
}

/// The chunks of the columns that are written, each of one value.
fn constant_chunks(
    columns: &Columns,
    rows: usize,
    properties: &WriterPropertiesPtr,
) -> ParquetResult<Vec<ArrowColumnChunk>> {
    let schema = columns.constants();
    if schema.fields().is_empty() {
        return Ok(Vec::new());
    }
    let root = Type::group_type_builder("schema").with_fields(parquet_columns(&schema)?).build()?;
    // The writers of columns are a file's; what they encode goes into another one.
    let unused = SerializedFileWriter::new(std::io::sink(), Arc::new(root), Arc::clone(properties))?;
    let writers = ArrowRowGroupWriterFactory::new(&unused, Arc::clone(&schema)).create_column_writers(0)?;
    let values = columns.columns.iter().filter_map(|column| match column {
        Column::Constant { field, value } => Some((field, value)),
        Column::Copied { .. } => None,
    });
    let chunk = |((field, value), mut writer): (
        (&arrow::datatypes::FieldRef, &Option<_>),
        parquet::arrow::arrow_writer::ArrowColumnWriter,
    )| {
        let external = |error: Box<dyn std::error::Error + Send + Sync>| ParquetError::External(error);
        let scalar = types::scalar(value.as_ref(), field.data_type()).map_err(|error| external(error.into()))?;
        let array: ArrayRef = scalar.to_array_of_size(rows).map_err(|error| external(error.into()))?;
        for leaf in compute_leaves(field, &array)? {
            writer.write(&leaf)?;
        }
        writer.close()
    };
    values.zip(writers).map(chunk).collect()
}

/// The chunk's metadata under another description.
fn described(chunk: &ColumnChunkMetaData, descriptor: ColumnDescPtr) -> ParquetResult<ColumnChunkMetaData> {
    let mut builder = ColumnChunkMetaData::builder(descriptor)
        .set_compression_codec(chunk.compression_codec())
        .set_encodings_mask(*chunk.encodings_mask())
        .set_total_compressed_size(chunk.compressed_size())
        .set_total_uncompressed_size(chunk.uncompressed_size())
        .set_num_values(chunk.num_values())
        .set_data_page_offset(chunk.data_page_offset())
        .set_dictionary_page_offset(chunk.dictionary_page_offset())
        .set_unencoded_byte_array_data_bytes(chunk.unencoded_byte_array_data_bytes())
        .set_repetition_level_histogram(chunk.repetition_level_histogram().cloned())
        .set_definition_level_histogram(chunk.definition_level_histogram().cloned());
    if let Some(statistics) = chunk.statistics() {
        builder = builder.set_statistics(statistics.clone());
    }
    if let Some(statistics) = chunk.page_encoding_stats() {
        builder = builder.set_page_encoding_stats(statistics.clone());
    }
    builder.build()
}

/// Bytes that wait to be sent.
#[derive(Debug, Clone, Default)]
struct Pending(Arc<Mutex<Vec<u8>>>);

impl Pending {
    fn reserve(&self, bytes: usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).reserve(bytes);
    }

    fn take(&self) -> Bytes {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

impl Write for Pending {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

impl ChunkReader for Chunks {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(self.from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let mut bytes = vec![0; length];
        self.get_read(start)?.read_exact(&mut bytes)?;
        Ok(bytes.into())
    }
}

impl Chunks {
    fn from(&self, start: u64) -> ParquetResult<Bytes> {
        let outside = || ParquetError::EOF(format!("byte {start} is outside of the row group"));
        let skipped = start.checked_sub(self.start).and_then(|skipped| usize::try_from(skipped).ok());
        let skipped = skipped.filter(|skipped| *skipped <= self.bytes.len()).ok_or_else(outside)?;
        Ok(self.bytes.slice(skipped..))
    }
}
