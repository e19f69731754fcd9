//! The open data files of a rewrite: one a partition, within one memory budget.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use lakeshift_core::partition::PartitionSpec;
use lakeshift_core::storage::Storage;
use lakeshift_core::table::NewFile;
use lakeshift_core::value::Value;
use object_store::buffered::BufWriter;
use parquet::arrow::AsyncArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::{RewriteError, RewriteLimits, path};
use crate::partition::GroupId;

/// Size of a part of a multipart upload, in bytes: above the 5 MiB that S3 asks for at least.
const PART_BYTES: usize = 6 << 20;
/// Parts of one file on their way at the same time.
const PARTS_IN_FLIGHT: usize = 2;

struct OpenFile {
    writer: AsyncArrowWriter<BufWriter>,
    path: String,
    rows: u64,
    partition: Vec<Option<Value>>,
}

impl OpenFile {
    /// Memory of the row group that is being encoded.
    fn encoding_bytes(&self) -> usize {
        self.writer.memory_size()
    }

    /// Memory of encoded bytes that wait for their upload, about.
    fn uploading_bytes(&self) -> usize {
        self.writer.bytes_written().min(PART_BYTES * PARTS_IN_FLIGHT)
    }

    fn memory_bytes(&self) -> usize {
        self.encoding_bytes() + self.uploading_bytes()
    }

    /// About what the file would have if it were closed now.
    fn file_bytes(&self) -> usize {
        self.writer.bytes_written() + self.writer.in_progress_size()
    }
}

/// Open and finished files.
pub(super) struct Files {
    storage: Storage,
    schema: SchemaRef,
    stem: String,
    limits: RewriteLimits,
    properties: WriterProperties,
    open: HashMap<GroupId, OpenFile>,
    /// The sum of [`OpenFile::memory_bytes`].
    memory_bytes: usize,
    file_count: u32,
    written: Vec<NewFile>,
}

impl Files {
    pub(super) fn new(
        storage: Storage,
        schema: SchemaRef,
        stem: String,
        limits: RewriteLimits,
    ) -> Result<Self, RewriteError> {
        let properties = writer_properties(&limits)?;
        Ok(Self {
            storage,
            schema,
            stem,
            limits,
            properties,
            open: HashMap::new(),
            memory_bytes: 0,
            file_count: 0,
            written: Vec::new(),
        })
    }

    /// Appends rows to their partition's file; closes it at the target size, and others where memory runs out.
    pub(super) async fn write(
        &mut self,
        group: GroupId,
        rows: &RecordBatch,
        key: &[Option<Value>],
        spec: &PartitionSpec,
    ) -> Result<(), RewriteError> {
        let mut file = match self.open.remove(&group) {
            Some(file) => file,
            None => self.create(key, spec)?,
        };
        let before = file.memory_bytes();
        file.rows += rows.num_rows() as u64;
        let result = file.writer.write(rows).await;
        let (after, full) = (file.memory_bytes(), file.file_bytes() >= self.limits.target_file_bytes);
        self.memory_bytes = (self.memory_bytes + after).saturating_sub(before);
        // Back in its place before an error is told, so that it is aborted with the others.
        let path = file.path.clone();
        self.open.insert(group, file);
        result.map_err(|source| RewriteError::Write { file: path, source })?;
        if full {
            self.finish(group).await?;
        }
        self.keep_within_memory().await
    }

    /// Closes every open file.
    pub(super) async fn finish_all(&mut self) -> Result<(), RewriteError> {
        let mut groups: Vec<GroupId> = self.open.keys().copied().collect();
        groups.sort_unstable();
        for group in groups {
            self.finish(group).await?;
        }
        Ok(())
    }

    /// Gives up every open file.
    pub(super) async fn abort(&mut self) {
        for (_, file) in self.open.drain() {
            if let Err(error) = file.writer.into_inner().abort().await {
                tracing::warn!(file = file.path, %error, "an upload could not be aborted; the store expires its parts");
            }
        }
    }

    /// The finished files by path.
    pub(super) fn into_written(mut self) -> Vec<NewFile> {
        self.written.sort_by(|a, b| a.path.cmp(&b.path));
        self.written
    }

    fn create(&mut self, key: &[Option<Value>], spec: &PartitionSpec) -> Result<OpenFile, RewriteError> {
        self.file_count += 1;
        let path = format!("{}/{}-{:05}.parquet", path::partition_folder(spec, key), self.stem, self.file_count);
        let upload = upload(&self.storage, &path)?;
        // Arrow's own schema in the footer would only say again what the Parquet schema says.
        let options = ArrowWriterOptions::new().with_properties(self.properties.clone()).with_skip_arrow_metadata(true);
        let writer = AsyncArrowWriter::try_new_with_options(upload, SchemaRef::clone(&self.schema), options);
        let writer = writer.map_err(|source| RewriteError::Write { file: path.clone(), source })?;
        Ok(OpenFile { writer, path, rows: 0, partition: key.to_vec() })
    }

    async fn finish(&mut self, group: GroupId) -> Result<(), RewriteError> {
        self.flush(group).await?;
        let Some(mut file) = self.open.remove(&group) else { return Ok(()) };
        self.memory_bytes = self.memory_bytes.saturating_sub(file.memory_bytes());
        // On an error from here on the upload has aborted itself, and a writer that was shut down must not be aborted again.
        let finished = file.writer.finish().await;
        finished.map_err(|source| RewriteError::Write { file: file.path.clone(), source })?;
        let size_bytes = file.writer.bytes_written() as u64;
        self.written.push(NewFile { path: file.path, size_bytes, partition: file.partition, rows: file.rows });
        Ok(())
    }

    /// While too much is buffered: ends the row group of the largest file, or closes that file where uploads hold the
    /// memory.
    async fn keep_within_memory(&mut self) -> Result<(), RewriteError> {
        while self.memory_bytes > self.limits.memory_bytes {
            let largest =
                self.open.iter().max_by_key(|(group, file)| (file.memory_bytes(), **group)).map(|(group, _)| *group);
            let Some(group) = largest else { return Ok(()) };
            match self.open.get(&group) {
                Some(file) if file.encoding_bytes() >= file.uploading_bytes() => self.flush(group).await?,
                _ => self.finish(group).await?,
            }
        }
        Ok(())
    }

    /// Ends the row group of a file.
    async fn flush(&mut self, group: GroupId) -> Result<(), RewriteError> {
        let Some(file) = self.open.get_mut(&group) else { return Ok(()) };
        let before = file.memory_bytes();
        let flushed = file.writer.flush().await;
        self.memory_bytes = (self.memory_bytes + file.memory_bytes()).saturating_sub(before);
        flushed.map_err(|source| RewriteError::Write { file: file.path.clone(), source })
    }
}

/// A new object, uploaded in parts as it is written; it becomes visible when it is shut down.
pub(crate) fn upload(storage: &Storage, path: &str) -> Result<BufWriter, RewriteError> {
    let location = storage.resolve(path)?;
    Ok(BufWriter::with_capacity(Arc::clone(storage.store()), location, PART_BYTES).with_max_concurrency(PARTS_IN_FLIGHT))
}

/// How data files are written.
pub(crate) fn writer_properties(limits: &RewriteLimits) -> Result<WriterProperties, RewriteError> {
    let level = ZstdLevel::try_new(limits.zstd_level).map_err(|source| RewriteError::Settings { source })?;
    Ok(WriterProperties::builder()
        .set_created_by(format!("lakeshift version {}", env!("CARGO_PKG_VERSION")))
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_bytes(Some(limits.row_group_bytes_max.max(1)))
        // The names that the Parquet specification gives to the levels of lists and maps.
        .set_coerce_types(true)
        .build())
}
