//! How this migration's rows are read and written: the engine, the spec's logic and the throttle, held together.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;
use lakeshift_core::equivalence::Fingerprint;
use lakeshift_core::projection::{Projection, ProjectionSpec};
use lakeshift_core::schema::TableSchema;
use lakeshift_core::spec::{Scope, Spec};
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{FileEntry, Format, NewFile, Snapshot, TableFormat};
use lakeshift_core::value::Value;
use lakeshift_exec::engine::{Engine, EngineSettings};
use lakeshift_exec::equality::{EqualityRequest, equality_deleted};
use lakeshift_exec::fingerprint::{FingerprintRequest, tee};
use lakeshift_exec::logic::{Logic, LogicSpec};
use lakeshift_exec::rewrite::{PartitionColumns, RewriteLimits, RewriteOutcome, RewriteRequest, rewrite};
use lakeshift_exec::scan::{Deletes, ScanRequest, dictionary_columns, scan, scan_compact};
use lakeshift_exec::splice::{SpliceOutcome, SpliceRequest, splice};
use tokio::sync::Mutex;

use super::tables::Tables;
use crate::error::Error;
use crate::live::Live;

/// The part of the memory that writers may hold; the rest is for reading and for what they spill.
const WRITE_SHARE: u64 = 2;

/// Reads and writes rows for one migration.
#[derive(Debug)]
pub struct Rows {
    engine: Engine,
    live: Live,
    spec: Spec,
    /// The target's columns as they were found for a source's.
    target_schema: Mutex<Option<(TableSchema, TableSchema)>>,
}

/// Source files to write anew.
#[derive(Debug)]
pub struct RewriteTask<'a> {
    /// The snapshot that they are of.
    pub source: &'a Snapshot,
    /// The files.
    pub files: Vec<FileEntry>,
    /// The start of the new files' names.
    pub stem: String,
    /// What is summed of every file's rows, if anything.
    pub sums: Option<FingerprintRequest>,
    /// Tasks that may run at the same time, which share the memory.
    pub at_once: u32,
}

/// What was written.
#[derive(Debug)]
pub struct Rewritten {
    /// The target's new files.
    pub files: Vec<NewFile>,
    /// For each source file its sums, where they were taken.
    pub sums: Vec<Option<Fingerprint>>,
}

/// What the spec does to the source's rows.
pub fn logic_of(spec: &Spec) -> LogicSpec<'_> {
    LogicSpec {
        transform: spec.transform.as_ref().map(|transform| transform.sql.as_str()),
        scope: spec.scope.as_ref().map(|scope| scope.filter.as_str()),
        carry_others: spec.scope.as_ref().is_some_and(Scope::carries_others),
        columns: ProjectionSpec { columns: &spec.target.columns, drop: &spec.target.drop },
    }
}

impl Rows {
    /// Starts an engine within the spec's memory.
    ///
    /// # Errors
    /// The engine cannot be started.
    pub fn new(spec: &Spec, live: Live) -> Result<Self, Error> {
        let settings = EngineSettings {
            memory_bytes: usize::try_from(spec.backfill.memory.bytes()).unwrap_or(usize::MAX),
            concurrency: spec.backfill.concurrency as usize,
            ..EngineSettings::default()
        };
        Ok(Self {
            engine: Engine::builder().with_settings(settings).build()?,
            live,
            spec: spec.clone(),
            target_schema: Mutex::default(),
        })
    }

    /// The columns after the spec's logic, and what `target.columns` and `target.drop` make of them.
    ///
    /// # Errors
    /// SQL or columns that do not fit the source.
    pub async fn output(&self, source: &TableSchema) -> Result<(TableSchema, Option<Projection>), Error> {
        let logic = self.logic(source).await?;
        Ok((logic.output_schema().clone(), logic.projection().cloned()))
    }

    async fn logic(&self, source: &TableSchema) -> Result<Logic, Error> {
        Ok(Box::pin(Logic::new(&self.engine, source, logic_of(&self.spec))).await?)
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// For each file a plan that reads it and applies the logic.
    async fn old_plans(&self, tables: &Tables, task: &RewriteTask<'_>) -> Result<Vec<Arc<dyn ExecutionPlan>>, Error> {
        let logic = self.logic(&task.source.schema).await?;
        // SQL is planned over plain types; rows that pass unchanged go in those that are quickest.
        let compact = logic.is_identity();
        let dictionaries = match compact {
            true => dictionary_columns(&scan_request(tables, task, &task.files, &Deletes::new())).await,
            false => BTreeSet::new(),
        };
        let mut plans = Vec::with_capacity(task.files.len());
        for file in &task.files {
            let file_slice = std::slice::from_ref(file);
            let places = [&tables.source_storage, &tables.elsewhere];
            let bare = Deletes::new();
            let request = scan_request(tables, task, file_slice, &bare);
            let deletes = deletes_of(&self.engine, tables.source.as_ref(), &request, &places).await?;
            let request = ScanRequest { deletes: &deletes, ..request };
            plans.push(match compact {
                true => scan_compact(&self.engine, &request, &dictionaries)?,
                false => logic.apply(scan(&self.engine, &request)?, &file.path).await?,
            });
        }
        Ok(plans)
    }

    /// Reads files, applies the logic, and writes the target's data files. Nothing refers to them yet. With `task.sums` the
    /// rows of every file are summed as they pass.
    ///
    /// # Errors
    /// Rows that cannot be read or written; whole files may be left over, which no table refers to.
    pub async fn rewrite(&self, tables: &Tables, task: &RewriteTask<'_>) -> Result<Rewritten, Error> {
        let schema = &self.target_schema(tables, task.source).await?;
        let plans = self.old_plans(tables, task).await?;
        let (input, sums) = tee(&self.engine, plans, task.sums.clone()).map_err(|source| Error::Query { source })?;
        let request = RewriteRequest {
            engine: &self.engine,
            input: self.live.bytes().pace(input, bytes_per_row(&task.files)),
            storage: &tables.target_storage,
            schema,
            partition: &self.spec.target.partitioning,
            partition_columns: partition_columns(tables),
            file_stem: &task.stem,
            limits: self.limits(task.at_once),
            parquet: &self.spec.target.parquet,
            sort: &self.spec.target.sort,
            cancel: None,
        };
        match rewrite(request).await? {
            RewriteOutcome::Written(files) => Ok(Rewritten { files, sums: sums.take() }),
            RewriteOutcome::Cancelled(_) => Err(Error::Interrupted),
        }
    }

    /// Copies the column chunks of files whose rows all lie in the target partition `key`. Nothing refers to the new files yet.
    ///
    /// # Errors
    /// As [`Self::rewrite`].
    pub async fn splice(
        &self,
        tables: &Tables,
        task: &RewriteTask<'_>,
        key: &[Option<Value>],
    ) -> Result<SpliceOutcome, Error> {
        let request = SpliceRequest {
            source: &tables.source_storage,
            format: tables.source.format(),
            snapshot: task.source,
            files: &task.files,
            storage: &tables.target_storage,
            schema: &self.target_schema(tables, task.source).await?,
            partition: &self.spec.target.partitioning,
            key,
            partition_columns: partition_columns(tables),
            file_stem: &task.stem,
            limits: self.limits(task.at_once),
            parquet: &self.spec.target.parquet,
            throttle: self.live.bytes(),
        };
        Ok(splice(&request).await?)
    }

    /// The target's columns, but for those that it has got since `source`: rows of that version have none of them, and neither
    /// have the files that they are written to.
    async fn target_schema(&self, tables: &Tables, source: &Snapshot) -> Result<TableSchema, Error> {
        let (output, _) = self.output(&source.schema).await?;
        let mut known = self.target_schema.lock().await;
        if known.as_ref().is_none_or(|(of, _)| *of != source.schema) {
            *known = Some((source.schema.clone(), tables.target.snapshot(None).await?.schema));
        }
        let mut schema = known.as_ref().map(|(_, schema)| schema.clone()).unwrap_or_default();
        schema.fields.retain(|field| output.field(&field.name).is_some());
        Ok(schema)
    }

    fn limits(&self, at_once: u32) -> RewriteLimits {
        let bytes = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        let memory = self.spec.backfill.memory.bytes() / u64::from(at_once.max(1)) / WRITE_SHARE;
        RewriteLimits {
            target_file_bytes: bytes(self.spec.backfill.target_file_size.bytes()),
            memory_bytes: bytes(memory),
            ..RewriteLimits::default()
        }
    }
}

/// The deleted rows of those files of `request` that have any: the positions that the table tells, and the rows that equal
/// one of its delete files', which are looked for now. Delete files lie below one of `places`.
///
/// # Errors
/// Deletes that the adapter cannot tell or that contradict themselves.
pub async fn deletes_of(
    engine: &Engine,
    table: &dyn TableFormat,
    request: &ScanRequest<'_>,
    places: &[&Storage],
) -> Result<Deletes, Error> {
    let mut deletes = Deletes::new();
    for file in request.files.iter().filter(|file| file.has_deletes) {
        let mut rows = table.deleted_rows(file).await?;
        let by_value = table.equality_deletes(file).await?;
        if !by_value.is_empty() {
            let request = EqualityRequest {
                storage: request.storage,
                format: request.format,
                snapshot: request.snapshot,
                file,
                rows: rows.file_rows(),
                places,
                deletes: &by_value,
            };
            rows = rows.union(&equality_deleted(engine, &request).await?);
        }
        deletes.insert(file.path.clone(), rows);
    }
    Ok(deletes)
}

/// The rows that live in files of a table, in its logical schema. Its files lie below `places`, the first of which is its own.
///
/// # Errors
/// Deletes that cannot be applied; files that cannot be read as the table says.
pub async fn scan_live(
    engine: &Engine,
    table: &dyn TableFormat,
    places: &[&Storage],
    snapshot: &Snapshot,
    files: &[FileEntry],
) -> Result<Arc<dyn ExecutionPlan>, Error> {
    let mut by_place: Vec<Vec<FileEntry>> = vec![Vec::new(); places.len()];
    for file in files {
        // What lies nowhere is told by the scan.
        let at = places.iter().position(|place| place.resolve(&file.path).is_ok()).unwrap_or(0);
        by_place[at].push(file.clone());
    }
    let (none, mut plans) = (Deletes::new(), Vec::new());
    for (at, (storage, here)) in places.iter().zip(&by_place).enumerate() {
        // No files at all are no rows of the first place.
        if here.is_empty() && (at > 0 || !files.is_empty()) {
            continue;
        }
        let request = ScanRequest { storage, format: table.format(), snapshot, files: here, deletes: &none };
        let deletes = deletes_of(engine, table, &request, places).await?;
        plans.push(scan(engine, &ScanRequest { deletes: &deletes, ..request })?);
    }
    match <[_; 1]>::try_from(plans) {
        Ok([plan]) => Ok(plan),
        Err(plans) => UnionExec::try_new(plans).map_err(|source| Error::Query { source }),
    }
}

fn scan_request<'a>(
    tables: &'a Tables,
    task: &RewriteTask<'a>,
    files: &'a [FileEntry],
    deletes: &'a Deletes,
) -> ScanRequest<'a> {
    let far = files.first().is_some_and(|file| tables.elsewhere.resolve(&file.path).is_ok() && file.path.contains("://"));
    let storage = if far { &tables.elsewhere } else { &tables.source_storage };
    let format = tables.source.format();
    ScanRequest { storage, format, snapshot: task.source, files, deletes }
}

fn partition_columns(tables: &Tables) -> PartitionColumns {
    match tables.target.format() {
        Format::Delta | Format::Hive => PartitionColumns::Omit,
        Format::Iceberg | Format::Hudi => PartitionColumns::Keep,
    }
}

fn bytes_per_row(files: &[FileEntry]) -> f64 {
    let bytes: u64 = files.iter().map(|file| file.size_bytes).sum();
    let rows: u64 = files.iter().filter_map(|file| file.rows).sum();
    bytes as f64 / rows.max(1) as f64
}
