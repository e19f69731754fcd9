//! [`ParquetSink`]: rows of a stream as data files of its table, by the engine's one Parquet writer.

use async_trait::async_trait;
use datafusion::arrow::array::{RecordBatch, UInt32Array};
use datafusion::arrow::compute::take_record_batch;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use lakeshift_core::partition::PartitionSpec;
use lakeshift_core::plan::data_file_stem;
use lakeshift_core::schema::TableSchema;
use lakeshift_core::spec::{ParquetOptions, SortColumn};
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{Format, MigrationId, NewFile, UnitId};
use lakeshift_exec::engine::Engine;
use lakeshift_exec::rewrite::{PartitionColumns, RewriteLimits, RewriteOutcome, RewriteRequest, rewrite};
use lakeshift_journal::Epoch;
use lakeshift_stream::{Sink, StreamError};
use object_store::ObjectStoreExt;

use crate::error::Error;

/// Files of one commit at most, in bytes, and memory of its writer.
const TARGET_FILE_BYTES: usize = 128 << 20;
const WRITER_MEMORY_BYTES: usize = 128 << 20;

/// Writes data files that nothing refers to until they are committed.
#[derive(Debug)]
pub struct ParquetSink {
    pub(super) engine: Engine,
    pub(super) storage: Storage,
    pub(super) format: Format,
    pub(super) stream: MigrationId,
    pub(super) schema: TableSchema,
    pub(super) partition: PartitionSpec,
    pub(super) parquet: ParquetOptions,
    pub(super) sort: Vec<SortColumn>,
}

impl ParquetSink {
    /// Writes rows as files whose names begin with `stem`.
    pub(super) async fn files(&self, input: SendableRecordBatchStream, stem: &str) -> Result<Vec<NewFile>, Error> {
        let request = RewriteRequest {
            engine: &self.engine,
            input,
            storage: &self.storage,
            schema: &self.schema,
            partition: &self.partition,
            partition_columns: match self.format {
                Format::Delta | Format::Hive => PartitionColumns::Omit,
                Format::Iceberg | Format::Hudi => PartitionColumns::Keep,
            },
            file_stem: stem,
            limits: RewriteLimits {
                target_file_bytes: TARGET_FILE_BYTES,
                memory_bytes: WRITER_MEMORY_BYTES,
                ..RewriteLimits::default()
            },
            parquet: &self.parquet,
            sort: &self.sort,
            cancel: None,
        };
        match rewrite(request).await? {
            RewriteOutcome::Written(files) => Ok(files),
            RewriteOutcome::Cancelled(_) => Err(Error::Interrupted),
        }
    }

    /// Deletes files that no table refers to; what cannot be deleted stays as such.
    pub(super) async fn drop_files(&self, files: &[NewFile]) {
        for written in files {
            let Ok(path) = self.storage.resolve(&written.path) else { continue };
            if let Err(error) = self.storage.store().delete(&path).await {
                tracing::warn!(%error, path = written.path, "could not delete a file that is not needed; no table refers to it");
            }
        }
    }
}

/// The rows whose index is in `kept`.
pub(super) fn kept_rows(rows: &RecordBatch, kept: &[u32]) -> Result<RecordBatch, StreamError> {
    match kept.len() == rows.num_rows() {
        true => Ok(rows.clone()),
        false => {
            let failed = |source| StreamError::Sink(Box::new(DataFusionError::from(source)));
            take_record_batch(rows, &UInt32Array::from(kept.to_vec())).map_err(failed)
        }
    }
}

#[async_trait]
impl Sink for ParquetSink {
    type Rows = RecordBatch;

    async fn write(
        &self,
        rows: &RecordBatch,
        kept: &[u32],
        unit: &UnitId,
        epoch: Epoch,
    ) -> Result<Vec<NewFile>, StreamError> {
        let rows = kept_rows(rows, kept)?;
        let step = self.engine.settings().batch_rows_max;
        let slices: Vec<_> =
            (0..rows.num_rows()).step_by(step).map(|from| Ok(rows.slice(from, step.min(rows.num_rows() - from)))).collect();
        let input = RecordBatchStreamAdapter::new(rows.schema(), futures::stream::iter(slices));
        let files = self.files(Box::pin(input), &data_file_stem(&self.stream, unit, epoch)).await;
        files.map_err(|source| StreamError::Sink(Box::new(source)))
    }

    async fn discard(&self, files: &[NewFile]) {
        self.drop_files(files).await;
    }
}
