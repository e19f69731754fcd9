//! From the input to the lanes: gathering, splitting, and the change to sorted rows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, stream};
use lakeshift_core::schema::TableSchema;
use lakeshift_core::spec::SortColumn;
use lakeshift_core::table::NewFile;
use lakeshift_core::value::Value;
use parquet::arrow::ArrowSchemaConverter;
use parquet::file::metadata::SortingColumn;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::chunk::{self, Gathering, Piece};
use super::conform::Conform;
use super::files::{FileSettings, Files};
use super::lanes::{Failed, Lanes};
use super::{RewriteError, RewriteLimits, RewriteRequest, properties, sorted};
use crate::engine::Engine;
use crate::partition::{GroupId, Partitioner};
use crate::types;

/// The part of the memory that a chunk may take. One is gathered while two are with the lanes.
const CHUNK_SHARE: usize = 12;
/// Chunks that are not open files' memory, of [`CHUNK_SHARE`].
const CHUNKS: usize = 3;
/// Memory that an open file takes for a column before it holds much: the table of a dictionary, and a page.
const COLUMN_BYTES: usize = 64 << 10;
/// Memory is counted in units of this, because a semaphore counts to 2^32 at most.
const PERMIT_BYTES: usize = 1024;

/// How the input ended.
pub(super) enum Ended {
    AtEnd,
    Cancelled,
    LaneFailed,
}

/// Why rows were no longer fanned out.
enum FannedOut {
    Ended(Ended),
    /// More partitions than may be open: these rows, and those of the input that are left, go on sorted.
    TooMany(Vec<RecordBatch>),
}

type Cancel = Option<watch::Receiver<bool>>;

/// Rows on their way to files.
pub(super) struct Rewriter {
    engine: Engine,
    conform: Arc<Conform>,
    partitioner: Arc<Mutex<Partitioner>>,
    keys: HashMap<GroupId, Arc<[Option<Value>]>>,
    lanes: Lanes,
    sort: Vec<SortColumn>,
    chunk_bytes: usize,
    open_max: usize,
    /// What chunks that the lanes have may hold.
    memory: Arc<Semaphore>,
}

impl Rewriter {
    /// Starts the lanes.
    pub(super) fn start(request: &RewriteRequest<'_>) -> Result<Self, RewriteError> {
        let RewriteRequest { engine, schema, partition, limits, .. } = request;
        let conform = Conform::new(&request.input.schema(), schema, partition, request.partition_columns)?;
        let RewriteLimits { target_file_bytes, memory_bytes, partitions_max } = *limits;
        let partitioner = Partitioner::new(schema, partition, partitions_max)?;
        let properties = properties::writer_properties(request.parquet, schema)?;
        let lanes = engine.settings().concurrency;
        let files_bytes = memory_bytes / CHUNK_SHARE * (CHUNK_SHARE - CHUNKS);
        let settings = FileSettings {
            storage: request.storage.clone(),
            schema: conform.file_schema(),
            partition: Arc::new((*partition).clone()),
            stem: request.file_stem.to_owned(),
            properties: properties::with_order(properties, order(schema, &conform, request.sort)?),
            target_file_bytes,
            memory_bytes: files_bytes / lanes,
        };
        let columns = settings.schema.flattened_fields().len();
        let conform = Arc::new(conform);
        let files = (0..lanes).map(|_| Files::new(settings.clone())).collect();
        let chunk_bytes = (memory_bytes / CHUNK_SHARE).max(PERMIT_BYTES);
        Ok(Self {
            engine: Engine::clone(engine),
            lanes: Lanes::new(files, &conform),
            conform,
            partitioner: Arc::new(Mutex::new(partitioner)),
            keys: HashMap::new(),
            sort: request.sort.to_vec(),
            chunk_bytes,
            open_max: (files_bytes / (COLUMN_BYTES * columns.max(1))).max(1),
            memory: Arc::new(Semaphore::new(2 * chunk_bytes / PERMIT_BYTES)),
        })
    }

    /// Hands all rows to the lanes.
    pub(super) async fn run(
        &mut self,
        mut input: SendableRecordBatchStream,
        mut cancel: Cancel,
    ) -> Result<Ended, RewriteError> {
        let waiting = match self.sort.is_empty() {
            true => match self.fan_out(&mut input, &mut cancel).await? {
                FannedOut::Ended(ended) => return Ok(ended),
                FannedOut::TooMany(waiting) => waiting,
            },
            false => Vec::new(),
        };
        self.in_order(waiting, input, &mut cancel).await
    }

    /// Ends the lanes; with `finish` all files become whole.
    pub(super) async fn end(self, finish: bool) -> Result<Vec<NewFile>, RewriteError> {
        self.lanes.end(finish).await
    }

    /// Splits rows as they come, with a file open for every partition.
    async fn fan_out(
        &mut self,
        input: &mut SendableRecordBatchStream,
        cancel: &mut Cancel,
    ) -> Result<FannedOut, RewriteError> {
        let mut gathering = Gathering::default();
        loop {
            let batch = match next(input, cancel).await {
                Next::Batch(batch) => batch.map_err(read)?,
                Next::Cancelled => return Ok(FannedOut::Ended(Ended::Cancelled)),
                Next::End => break,
            };
            let batch = self.conform.to_target(&batch)?;
            let (groups, count) = {
                let mut partitioner = self.partitioner.lock().unwrap_or_else(PoisonError::into_inner);
                (partitioner.assign(&batch)?, partitioner.group_count())
            };
            gathering.add(batch, &groups);
            if count > self.open_max {
                let ended = self.lanes.close_files();
                let waiting = gathering.into_batches();
                return Ok(ended.map_or(FannedOut::Ended(Ended::LaneFailed), |()| FannedOut::TooMany(waiting)));
            }
            if gathering.bytes() >= self.chunk_bytes && self.dispatch(std::mem::take(&mut gathering)).await.is_err() {
                return Ok(FannedOut::Ended(Ended::LaneFailed));
            }
        }
        let ended = self.dispatch(gathering).await;
        Ok(FannedOut::Ended(ended.map_or(Ended::LaneFailed, |()| Ended::AtEnd)))
    }

    /// Hands a chunk to the lanes, when they have room for it.
    async fn dispatch(&mut self, gathering: Gathering) -> Result<(), Failed> {
        let memory = self.reserve(gathering.bytes()).await?;
        for (group, piece) in gathering.into_pieces(memory) {
            self.write(group, piece)?;
        }
        Ok(())
    }

    fn write(&mut self, group: GroupId, piece: Piece) -> Result<(), Failed> {
        let partitioner = &self.partitioner;
        let key = self
            .keys
            .entry(group)
            .or_insert_with(|| partitioner.lock().unwrap_or_else(PoisonError::into_inner).key(group).into());
        self.lanes.write(group, key, piece)
    }

    async fn reserve(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Failed> {
        let permits = bytes.min(2 * self.chunk_bytes) / PERMIT_BYTES;
        let permits = u32::try_from(permits).unwrap_or(u32::MAX);
        Arc::clone(&self.memory).acquire_many_owned(permits).await.map_err(|_| Failed)
    }

    /// Sorts rows by partition, and within it as the spec says; then one partition's file is open in a lane at a time.
    async fn in_order(
        &mut self,
        waiting: Vec<RecordBatch>,
        input: SendableRecordBatchStream,
        cancel: &mut Cancel,
    ) -> Result<Ended, RewriteError> {
        let input = self.grouped(waiting, input);
        let mut rows = sorted::sorted(&self.engine, input, &self.sort).map_err(reclaimed)?;
        let mut last = None;
        loop {
            let batch = match next(&mut rows, cancel).await {
                Next::Batch(batch) => batch.map_err(reclaimed)?,
                Next::Cancelled => return Ok(Ended::Cancelled),
                Next::End => return Ok(Ended::AtEnd),
            };
            if self.write_runs(&batch, &mut last).await?.is_err() {
                return Ok(Ended::LaneFailed);
            }
        }
    }

    /// Hands the runs of a sorted batch to the lanes, and closes the file of every partition that is over. `last` is the
    /// partition that came last.
    async fn write_runs(
        &mut self,
        batch: &RecordBatch,
        last: &mut Option<GroupId>,
    ) -> Result<Result<(), Failed>, RewriteError> {
        let Ok(memory) = self.reserve(batch.get_array_memory_size()).await else { return Ok(Err(Failed)) };
        let (rows, runs) = sorted::runs(batch).map_err(read)?;
        for (group, piece) in chunk::runs(rows, runs, memory) {
            let over = last.replace(group).filter(|last| *last != group);
            let closed = over.map_or(Ok(()), |over| self.lanes.close(over));
            if closed.and_then(|()| self.write(group, piece)).is_err() {
                return Ok(Err(Failed));
            }
        }
        Ok(Ok(()))
    }

    /// `waiting`, and then the input, in the target's columns with their groups.
    fn grouped(&self, waiting: Vec<RecordBatch>, input: SendableRecordBatchStream) -> SendableRecordBatchStream {
        let schema = sorted::grouped_schema(self.conform.target_schema());
        let (conform, partitioner) = (Arc::clone(&self.conform), Arc::clone(&self.partitioner));
        let conformed = input.map(move |batch| conform.to_target(&batch?).map_err(external));
        let of = Arc::clone(&schema);
        let grouped = stream::iter(waiting.into_iter().map(Ok)).chain(conformed).map(move |batch| {
            let batch = batch?;
            let groups = partitioner.lock().unwrap_or_else(PoisonError::into_inner).assign(&batch);
            sorted::grouped(&batch, groups.map_err(|error| external(error.into()))?, &of)
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, grouped))
    }
}

enum Next {
    Batch(Result<RecordBatch, DataFusionError>),
    Cancelled,
    End,
}

async fn next(input: &mut SendableRecordBatchStream, cancel: &mut Cancel) -> Next {
    tokio::select! {
        biased;
        () = cancelled(cancel) => Next::Cancelled,
        batch = input.next() => batch.map_or(Next::End, Next::Batch),
    }
}

/// Completes when the caller cancels; never when it cannot.
async fn cancelled(cancel: &mut Cancel) {
    if let Some(receiver) = cancel
        && receiver.wait_for(|stop| *stop).await.is_ok()
    {
        return;
    }
    // Nobody can cancel, or nobody can any more.
    *cancel = None;
    std::future::pending().await
}

fn read(source: DataFusionError) -> RewriteError {
    RewriteError::Read { source }
}

/// An error of ours on its way through DataFusion; [`reclaimed`] takes it out again.
fn external(error: RewriteError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

fn reclaimed(error: DataFusionError) -> RewriteError {
    match error {
        DataFusionError::External(inner) => match inner.downcast::<RewriteError>() {
            Ok(ours) => *ours,
            Err(other) => read(DataFusionError::External(other)),
        },
        other => read(other),
    }
}

/// The order as the files' footers note it, as far as its columns stand in them as a single leaf.
fn order(schema: &TableSchema, conform: &Conform, sort: &[SortColumn]) -> Result<Vec<SortingColumn>, RewriteError> {
    let parquet = ArrowSchemaConverter::new().with_coerce_types(true).convert(&conform.file_schema());
    let parquet = parquet.map_err(|source| RewriteError::Settings { source })?;
    let mut order = Vec::new();
    for column in sort {
        let none = || RewriteError::NoColumn { setting: "target.sort", column: column.column.clone() };
        let name = types::physical_name(schema.field(&column.column).ok_or_else(none)?);
        let leaf = parquet.columns().iter().position(|leaf| leaf.path().parts() == [name]);
        // A column that the files omit has one value in each.
        let Some(leaf) = leaf.and_then(|leaf| i32::try_from(leaf).ok()) else { continue };
        let options = sorted::options(column);
        order.push(SortingColumn { column_idx: leaf, descending: options.descending, nulls_first: options.nulls_first });
    }
    Ok(order)
}
