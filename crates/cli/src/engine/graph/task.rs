//! Computing one partition: its upstreams scanned, its rows summed on their way into new data files. Commits nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use datafusion::physical_plan::ExecutionPlan;
use lakeshift_core::equivalence::{Encoding, FingerprintShape, ValidationKey};
use lakeshift_core::graph::{EntityId, Fingerprint, Key, TableId};
use lakeshift_core::schema::TableSchema;
use lakeshift_core::spec::ParquetOptions;
use lakeshift_core::table::{Format, NewFile};
use lakeshift_exec::fingerprint::{FingerprintRequest, tee};
use lakeshift_exec::query::{Query, Slice};
use lakeshift_exec::rewrite::{PartitionColumns, RewriteLimits, RewriteOutcome, RewriteRequest, rewrite};

use super::command;
use super::file::{GraphFile, refused};
use super::ledger::unhex;
use super::listing::Listing;
use crate::engine::rows::scan_live;
use crate::error::Error;

/// Files of one task at most, in bytes, and memory of its writer.
const TARGET_FILE_BYTES: usize = 128 << 20;
const WRITER_MEMORY_BYTES: usize = 128 << 20;

/// One partition to compute, with all that it takes.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) table: TableId,
    pub(super) key: Key,
    /// The entity's name; empty for none.
    pub(super) entity: String,
    /// The listings of what it reads, with the entity that it reads, where only one.
    pub(super) upstreams: Vec<(TableId, Arc<Listing>, Option<String>)>,
    /// Bytes of the data files that it reads.
    pub(super) input_bytes: u64,
    /// The unit as JSON, for a command.
    pub(super) unit: String,
    /// The target's columns.
    pub(super) schema: TableSchema,
    /// The versions' sequence when the listings were taken.
    pub(super) read_at: u64,
    /// The start of the new files' names.
    pub(super) stem: String,
    /// The key of the graph's fingerprints.
    pub(super) print: ValidationKey,
}

/// What it came to: files that no table refers to yet.
#[derive(Debug)]
pub(super) struct Computed {
    pub(super) files: Vec<NewFile>,
    pub(super) fingerprint: Fingerprint,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    /// How long it took.
    pub(super) took: Duration,
}

/// Computes a partition.
pub(super) async fn compute(file: &GraphFile, query: &Query, job: &Job) -> Result<Computed, Error> {
    let began = file.context.clock.now();
    let table = file.graph.table(job.table);
    if let Some(command) = &table.spec.command {
        // Until all of it was read.
        let (_scratch, inputs) = command::run(file, query, job, command).await?;
        return computed(file, query, job, inputs, began).await;
    }
    let mut inputs = Vec::with_capacity(job.upstreams.len());
    for ((upstream, listing, entity), edge) in job.upstreams.iter().zip(&table.after) {
        let place = file.place(*upstream);
        let files = listing.reached(edge.mapping.needs(job.key), entity.as_deref());
        place.holds(&file.graph.table(*upstream).name, &files)?;
        let plan = scan_live(&file.engine, place.table.as_ref(), &place.all(), &listing.snapshot, &files).await?;
        inputs.push((file.graph.table(*upstream).name.clone(), plan));
    }
    computed(file, query, job, inputs, began).await
}

/// Writes the part of the query's result over these inputs that is the partition.
async fn computed(
    file: &GraphFile,
    query: &Query,
    job: &Job,
    inputs: Vec<(String, Arc<dyn ExecutionPlan>)>,
    began: DateTime<Utc>,
) -> Result<Computed, Error> {
    let table = file.graph.table(job.table);
    let plan = query.plan(inputs, &slice(file, job)?).await?;
    let mut columns: Vec<String> = query.output_schema().fields.iter().map(|field| field.name.clone()).collect();
    columns.sort();
    let shape =
        FingerprintShape { encoding: Encoding::default(), key: job.print, columns: columns.clone(), fields: Vec::new() };
    let sums = FingerprintRequest { shape, columns, cells_max: 1, parallel_max: 1 };
    let (input, sums) = tee(&file.engine, vec![plan], Some(sums)).map_err(|source| Error::Query { source })?;
    let place = file.place(job.table);
    let request = RewriteRequest {
        engine: &file.engine,
        input,
        storage: &place.storage,
        schema: &job.schema,
        partition: &place.table.snapshot(None).await?.partition,
        partition_columns: match place.table.format() {
            Format::Delta | Format::Hive => PartitionColumns::Omit,
            Format::Iceberg | Format::Hudi => PartitionColumns::Keep,
        },
        file_stem: &job.stem,
        limits: RewriteLimits {
            target_file_bytes: TARGET_FILE_BYTES,
            memory_bytes: WRITER_MEMORY_BYTES,
            ..RewriteLimits::default()
        },
        parquet: &ParquetOptions::default(),
        sort: &[],
        cancel: None,
    };
    let files = match rewrite(request).await? {
        RewriteOutcome::Written(files) => files,
        RewriteOutcome::Cancelled(_) => return Err(Error::Interrupted),
    };
    let print = sums.take().pop().flatten().ok_or_else(|| {
        let problem = format!("the rows of table {} have a column that cannot be fingerprinted", table.name);
        refused(problem, "cast it in the sql to a type that can be compared")
    })?;
    let digest = print.digest().map_err(|source| Error::Json { object: table.name.clone(), source })?;
    let fingerprint = unhex(&digest).ok_or_else(|| refused("a fingerprint has no digest", "report this as a defect"))?;
    let rows = files.iter().map(|file| file.rows).sum();
    let bytes = files.iter().map(|file| file.size_bytes).sum();
    // A clock that was set back tells nothing.
    let took = (file.context.clock.now() - began).to_std().unwrap_or_default();
    Ok(Computed { files, fingerprint, rows, bytes, took })
}

/// The part of the query's result that is the partition.
fn slice(file: &GraphFile, job: &Job) -> Result<Slice, Error> {
    let table = file.graph.table(job.table);
    let time = match &table.spec.time {
        None => None,
        Some(time) => {
            let bounds = time.grain.start(job.key.period).zip(time.grain.start(job.key.period.saturating_add(1)));
            let (from, to) = bounds.ok_or_else(|| {
                refused(
                    format!("a period of table {} is beyond the calendar", table.name),
                    "check the dates of its upstreams",
                )
            })?;
            Some((time.column.clone(), from, to))
        }
    };
    let entity = table.spec.entity.as_ref().filter(|_| job.key.entity != EntityId::NONE);
    Ok(Slice { time, entity: entity.map(|entity| (entity.column.clone(), job.entity.clone())) })
}

/// Deletes files that were written and are not needed; what cannot be deleted is an object that no table refers to.
pub(super) async fn discard(file: &GraphFile, table: TableId, files: &[NewFile]) {
    use object_store::ObjectStoreExt;
    let storage = &file.place(table).storage;
    for written in files {
        let Ok(path) = storage.resolve(&written.path) else { continue };
        if let Err(error) = storage.store().delete(&path).await {
            tracing::warn!(%error, path = written.path, "could not delete a file that is not needed; no table refers to it");
        }
    }
}

/// The listings of a run, taken anew after each commit.
#[derive(Debug, Default)]
pub(super) struct Listings(BTreeMap<TableId, Arc<Listing>>);

impl Listings {
    pub(super) fn new(tables: BTreeMap<TableId, Listing>) -> Self {
        Self(tables.into_iter().map(|(table, listing)| (table, Arc::new(listing))).collect())
    }

    pub(super) async fn get(&mut self, file: &GraphFile, table: TableId) -> Result<Arc<Listing>, Error> {
        if let Some(listing) = self.0.get(&table) {
            return Ok(Arc::clone(listing));
        }
        let listing = Arc::new(Listing::read(file.graph.table(table), file.place(table).table.as_ref()).await?);
        self.0.insert(table, Arc::clone(&listing));
        Ok(listing)
    }

    pub(super) fn forget(&mut self, table: TableId) {
        self.0.remove(&table);
    }
}
