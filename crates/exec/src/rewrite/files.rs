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
use parquet::file::properties::WriterProperties;

use super::{RewriteError, path, properties};
use crate::partition::GroupId;

/// Size of a part of a multipart upload, in bytes: above the 5 MiB that S3 asks for at least.
const PART_BYTES: usize = 6 << 20;
/// Parts of one file on their way at the same time, while the next one fills.
const PARTS_IN_FLIGHT: usize = 1;

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
        let written = self.writer.bytes_written();
        (written / PART_BYTES).min(PARTS_IN_FLIGHT) * PART_BYTES + written % PART_BYTES
    }

    fn memory_bytes(&self) -> usize {
        self.encoding_bytes() + self.uploading_bytes()
    }

    /// About what the file would have if it were closed now.
    fn file_bytes(&self) -> usize {
        self.writer.bytes_written() + self.writer.in_progress_size()
    }
}

/// What the files of a rewrite have in common.
#[derive(Clone)]
pub(super) struct FileSettings {
    pub(super) storage: Storage,
    pub(super) schema: SchemaRef,
    pub(super) partition: Arc<PartitionSpec>,
    pub(super) stem: String,
    pub(super) properties: WriterProperties,
    /// A file is closed once it is about this large, in bytes.
    pub(super) target_file_bytes: usize,
    /// Memory of all open files together, in bytes.
    pub(super) memory_bytes: usize,
}

/// Open and finished files.
pub(super) struct Files {
    settings: FileSettings,
    open: HashMap<GroupId, OpenFile>,
    /// The sum of [`OpenFile::memory_bytes`].
    memory_bytes: usize,
    /// Files of each partition that were begun.
    begun: HashMap<GroupId, u32>,
    written: Vec<NewFile>,
}

impl Files {
    pub(super) fn new(settings: FileSettings) -> Self {
        Self { settings, open: HashMap::new(), memory_bytes: 0, begun: HashMap::new(), written: Vec::new() }
    }

    /// Appends rows to their partition's file; closes it at the target size, and others where memory runs out.
    pub(super) async fn write(
        &mut self,
        group: GroupId,
        rows: &RecordBatch,
        key: &[Option<Value>],
    ) -> Result<(), RewriteError> {
        let mut file = match self.open.remove(&group) {
            Some(file) => file,
            None => self.create(group, key, rows)?,
        };
        let before = file.memory_bytes();
        file.rows += rows.num_rows() as u64;
        let result = file.writer.write(rows).await;
        let (after, full) = (file.memory_bytes(), file.file_bytes() >= self.settings.target_file_bytes);
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

    /// The finished files.
    pub(super) fn into_written(self) -> Vec<NewFile> {
        self.written
    }

    /// A file that begins with `rows`. A partition's first file has the partition's number, later ones a second number.
    fn create(&mut self, group: GroupId, key: &[Option<Value>], rows: &RecordBatch) -> Result<OpenFile, RewriteError> {
        let FileSettings { storage, schema, partition, stem, properties, .. } = &self.settings;
        let begun = self.begun.entry(group).or_default();
        *begun += 1;
        let further = if *begun == 1 { String::new() } else { format!("-{begun}") };
        let folder = path::partition_folder(partition, key);
        let path = format!("{folder}/{stem}-{:05}{further}.parquet", u64::from(group) + 1);
        let upload = upload(storage, &path, PARTS_IN_FLIGHT)?;
        let properties = properties::for_file(properties, rows).map_err(|source| RewriteError::Row { source })?;
        // Arrow's own schema in the footer would only say again what the Parquet schema says.
        let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let writer = AsyncArrowWriter::try_new_with_options(upload, SchemaRef::clone(schema), options);
        let writer = writer.map_err(|source| RewriteError::Write { file: path.clone(), source })?;
        Ok(OpenFile { writer, path, rows: 0, partition: key.to_vec() })
    }

    /// Closes the file of a partition, if it is open.
    pub(super) async fn finish(&mut self, group: GroupId) -> Result<(), RewriteError> {
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
        while self.memory_bytes > self.settings.memory_bytes {
            let largest =
                self.open.iter().max_by_key(|(group, file)| (file.memory_bytes(), **group)).map(|(group, _)| *group);
            let Some(group) = largest else { return Ok(()) };
            let encodes = self.open.get(&group).is_some_and(|file| file.encoding_bytes() >= file.uploading_bytes());
            if encodes {
                self.flush(group).await?;
            } else {
                self.finish(group).await?;
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

/// A new object, uploaded in parts as it is written, so many at the same time; it becomes visible when it is shut down.
pub(crate) fn upload(storage: &Storage, path: &str, parts_in_flight: usize) -> Result<BufWriter, RewriteError> {
    let location = storage.resolve(path)?;
    Ok(BufWriter::with_capacity(Arc::clone(storage.store()), location, PART_BYTES).with_max_concurrency(parts_in_flight))
}
