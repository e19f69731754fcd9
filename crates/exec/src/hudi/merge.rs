//! One slice: its log records, and the base file's rows as they stream past them.

use std::sync::Arc;

use arrow::array::{RecordBatch, UInt64Array};
use arrow::compute::{concat_batches, interleave_record_batch, take_record_batch};
use arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use lakeshift_core::hudi::LoggedSlice;
use lakeshift_core::storage::Storage;
use object_store::ObjectStoreExt;

use super::columns::keys;
use super::error::{HudiError, damaged, row, unsupported};
use super::log::blocks;
use super::order::counted;
use super::ordering::{Pair, Ranks, Stays, stays};
use super::records::{Place, Records, Rules};
use crate::scan::ScanError;

/// Rows of a batch that the log files alone make.
const ROWS: usize = 8192;
/// The largest log file that is read, in bytes.
const LOG_BYTES_MAX: u64 = 1 << 30;

/// A slice and how its base file is read.
#[derive(Debug)]
pub(super) struct Merge {
    /// The file entry's path: what errors name.
    pub(super) file: String,
    pub(super) slice: LoggedSlice,
    pub(super) rules: Arc<Rules>,
    /// Reads the base file in all columns; none where there is none.
    pub(super) base: Option<Arc<dyn ExecutionPlan>>,
    pub(super) storage: Storage,
    /// The table's columns in Arrow.
    pub(super) schema: SchemaRef,
}

/// The slice's rows, in the table's columns and in no particular order.
pub(super) fn rows(
    merge: Arc<Merge>,
    context: Arc<TaskContext>,
) -> impl Stream<Item = Result<RecordBatch, DataFusionError>> + Send + 'static {
    let running = async move {
        let running = Running::start(merge, &context).await?;
        Ok::<_, DataFusionError>(stream::try_unfold(running, |mut running| async move {
            Ok(running.next().await?.map(|batch| (batch, running)))
        }))
    };
    stream::once(running).try_flatten()
}

fn refused(error: HudiError) -> DataFusionError {
    DataFusionError::External(Box::new(ScanError::Hudi(error)))
}

struct Running {
    merge: Arc<Merge>,
    records: Records,
    base: Vec<SendableRecordBatchStream>,
    /// What no row of the base file has met, once that is read.
    left: Option<std::vec::IntoIter<Place>>,
}

impl Running {
    async fn start(merge: Arc<Merge>, context: &Arc<TaskContext>) -> Result<Self, DataFusionError> {
        let memory = MemoryConsumer::new("log records of a Hudi slice").register(context.memory_pool());
        let mut records = Records::new(Arc::clone(&merge.rules), memory);
        read_logs(&merge, &mut records).await.map_err(refused)?;
        let base = match &merge.base {
            None => Vec::new(),
            Some(plan) => {
                let partitions = 0..plan.output_partitioning().partition_count();
                partitions.map(|partition| plan.execute(partition, Arc::clone(context))).collect::<Result<_, _>>()?
            }
        };
        Ok(Self { merge, records, base, left: None })
    }

    async fn next(&mut self) -> Result<Option<RecordBatch>, DataFusionError> {
        while let Some(base) = self.base.last_mut() {
            match base.next().await.transpose()? {
                None => drop(self.base.pop()),
                Some(batch) => {
                    let merged = self.past(&batch).map_err(refused)?;
                    if merged.num_rows() > 0 {
                        return Ok(Some(merged));
                    }
                }
            }
        }
        let records = &self.records;
        let left = self.left.get_or_insert_with(|| {
            let unused = records.by_key.values().filter(|record| !record.is_used);
            let mut places: Vec<Place> = unused.filter_map(|record| record.place).collect();
            places.sort_unstable();
            places.into_iter()
        });
        let places: Vec<Place> = left.take(ROWS).collect();
        if places.is_empty() { Ok(None) } else { self.log_rows(&places).map(Some).map_err(refused) }
    }

    /// A batch of the base file, merged: rows that the logs do not know, and what the logs make of the others.
    fn past(&mut self, batch: &RecordBatch) -> Result<RecordBatch, HudiError> {
        let Merge { file, rules, .. } = &*self.merge;
        let (keys, ranks) = (keys(file, &rules.rule, batch)?, Ranks::new(file, &rules.rule, batch)?);
        let (mut kept, mut replaced): (Vec<u64>, Vec<Place>) = (Vec::new(), Vec::new());
        for row in 0..batch.num_rows() {
            let Some(record) = self.records.by_key.get_mut(keys.value(row)) else {
                kept.push(row as u64);
                continue;
            };
            if std::mem::replace(&mut record.is_used, true) {
                // Hudi's readers and its compaction do not agree on what becomes of the second one.
                return Err(unsupported(file, "a base file that has a key twice to which log records apply"));
            }
            let older = ranks.of(row, false)?;
            match (stays(file, rules.rule.order, Pair::BaseAndLog, &older, &record.rank)?, record.place) {
                // Whether the row was deleted then depends on whether a compaction came between.
                (Stays::Older, _) if record.is_revived => {
                    return Err(unsupported(
                        file,
                        "a log record that came after a delete and is ordered before the deleted row",
                    ));
                }
                (Stays::Older, _) => kept.push(row as u64),
                (Stays::Newer, Some(place)) => replaced.push(place),
                (Stays::Newer, None) => {}
            }
        }
        let own = rules.columns.own(batch).map_err(row(file))?;
        let kept = if kept.len() == own.num_rows() {
            own
        } else {
            take_record_batch(&own, &UInt64Array::from(kept)).map_err(row(file))?
        };
        if replaced.is_empty() {
            return Ok(kept);
        }
        concat_batches(&self.merge.schema, [&kept, &self.log_rows(&replaced)?]).map_err(row(file))
    }

    fn log_rows(&self, places: &[Place]) -> Result<RecordBatch, HudiError> {
        let batches: Vec<&RecordBatch> = self.records.batches.iter().collect();
        interleave_record_batch(&batches, places).map_err(row(&self.merge.file))
    }
}

/// Reads the slice's log files and applies the blocks that count.
async fn read_logs(merge: &Merge, records: &mut Records) -> Result<(), HudiError> {
    let (mut contents, mut found) = (Vec::new(), Vec::new());
    for log in &merge.slice.logs {
        if log.size_bytes > LOG_BYTES_MAX {
            return Err(unsupported(&log.path, format!("a log file of {} bytes", log.size_bytes)));
        }
        records.grow(&merge.file, usize::try_from(log.size_bytes).unwrap_or(usize::MAX))?;
        let path = merge.storage.resolve(&log.path).map_err(|error| damaged(&log.path, error.to_string()))?;
        let bytes = match log.size_bytes {
            0 => bytes::Bytes::new(),
            size => merge
                .storage
                .store()
                .get_range(&path, 0..size)
                .await
                .map_err(|source| HudiError::Store { file: log.path.clone(), source })?,
        };
        if bytes.len() as u64 != log.size_bytes {
            return Err(damaged(&log.path, format!("it has {} bytes and {} were listed", bytes.len(), log.size_bytes)));
        }
        found.push(blocks(&log.path, &bytes)?);
        contents.push(bytes);
    }
    for block in counted(&merge.slice, found)? {
        records.apply(&merge.slice.logs[block.file].path, block.kind, &block.block, &contents[block.file])?;
    }
    Ok(())
}
