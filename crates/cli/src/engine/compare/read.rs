//! Reading a side, file by file.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::TryStreamExt;
use futures::stream::FuturesUnordered;
use lakeshift_core::equivalence::{
    Amount, Comparison, Fingerprint, FingerprintShape, LiveFile, Readings, metadata_digest as digest,
};
use lakeshift_core::migration::Side;
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{FileEntry, Format, Snapshot, TableFormat};
use lakeshift_exec::diff::SideReader;
use lakeshift_exec::engine::Engine;
use lakeshift_exec::fingerprint::{FingerprintRequest, fingerprint};
use lakeshift_exec::logic::{Logic, LogicSpec};
use lakeshift_exec::scan::{Deletes, ScanRequest, dictionary_columns, scan, scan_compact};
use lakeshift_exec::throttle::Throttle;
use sha2::{Digest, Sha256};

use super::columns::SideColumns;
use super::proof::Shared;
use super::readings::{Kept, Known, Record};
use super::{CELLS_MAX, Pinned, Request};
use crate::engine::rows::deletes_of;
use crate::error::Error;

/// Files whose sums are kept together.
const FILES_KEPT_AT_ONCE: usize = 64;
/// Bytes that are read before sums are kept: what an interruption loses.
const BYTES_KEPT_AT_ONCE: u64 = 1 << 30;

/// How one side's rows come out of its files.
#[derive(Debug)]
pub struct SideReading<'a> {
    engine: Engine,
    table: &'a dyn TableFormat,
    snapshot: Snapshot,
    format: Format,
    storage: Storage,
    elsewhere: Storage,
    /// The spec's logic, the rules' query and the range, as far as there are any.
    stages: Vec<Logic>,
    columns: Vec<String>,
    dictionaries: BTreeSet<String>,
    /// Paces what is read; nothing does where it is absent.
    throttle: Option<Throttle>,
    /// Stands for all of this in the keys of files.
    digest: String,
}

impl<'a> SideReading<'a> {
    /// How the compared columns of `pinned`, a version of `table`, are read.
    pub(super) async fn new(
        engine: &Engine,
        table: &'a dyn TableFormat,
        pinned: &Pinned<'_>,
        side: Side,
        columns: SideColumns,
    ) -> Result<Self, Error> {
        let mut stages = Vec::new();
        let mut schema = pinned.snapshot.schema.clone();
        let rules = LogicSpec { transform: columns.select.as_deref(), ..LogicSpec::default() };
        let range = LogicSpec { scope: columns.range.as_deref(), ..LogicSpec::default() };
        for (name, spec) in [("", pinned.logic), ("validation.columns", rules), ("validation.range", range)] {
            if spec.is_empty() {
                continue;
            }
            let named = |error: lakeshift_exec::logic::LogicError| if name.is_empty() { error } else { error.named(name) };
            let stage = Logic::new(engine, &schema, spec).await.map_err(named)?;
            schema = stage.output_schema().clone();
            stages.push(stage);
        }
        let mut reading = Self {
            engine: engine.clone(),
            table,
            snapshot: pinned.snapshot.clone(),
            format: pinned.table.format(),
            storage: pinned.storage.clone(),
            elsewhere: pinned.elsewhere.clone(),
            stages,
            dictionaries: BTreeSet::new(),
            throttle: None,
            digest: reading_digest(pinned, side, &columns),
            columns: columns.names,
        };
        if reading.stages.is_empty() {
            reading.dictionaries = reading.find_dictionaries(&pinned.files).await;
        }
        Ok(reading)
    }

    /// The same, with its rows let pass as the runner's limit on bytes allows, and held while it is paused.
    pub(super) fn paced(self, throttle: &Throttle) -> Self {
        Self { throttle: Some(throttle.clone()), ..self }
    }

    async fn find_dictionaries(&self, files: &[FileEntry]) -> BTreeSet<String> {
        let Some(first) = files.first() else { return BTreeSet::new() };
        let storage = self.storage_of(first);
        let beside: Vec<FileEntry> =
            files.iter().filter(|file| file.path.contains("://") == first.path.contains("://")).cloned().collect();
        dictionary_columns(&self.request(storage, &beside, &Deletes::new())).await
    }

    fn storage_of(&self, file: &FileEntry) -> &Storage {
        if file.path.contains("://") { &self.elsewhere } else { &self.storage }
    }

    fn request<'r>(&'r self, storage: &'r Storage, files: &'r [FileEntry], deletes: &'r Deletes) -> ScanRequest<'r> {
        ScanRequest { storage, format: self.format, snapshot: &self.snapshot, files, deletes }
    }

    async fn deletes(&self, storage: &Storage, files: &[FileEntry]) -> Result<Deletes, Error> {
        let (none, places) = (Deletes::new(), [&self.storage, &self.elsewhere]);
        deletes_of(&self.engine, self.table, &self.request(storage, files, &none), &places).await
    }

    /// This side's names of the compared columns.
    pub(super) fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Names a file with its content and the way it is read: equal keys mean equal rows.
    pub(super) fn key_of(&self, file: &FileEntry) -> String {
        let mut hash = Sha256::new();
        let parts = [self.digest.as_str(), self.storage_of(file).location(), &file.path, &file.identity];
        parts.iter().for_each(|part| hash.update(format!("{} {part}\n", part.len())));
        hash.update(format!("{} {} {:?}", file.size_bytes, file.has_deletes, file.partition));
        format!("{:x}", hash.finalize())
    }

    async fn streams(&self, files: &[FileEntry], compact: bool) -> Result<Vec<SendableRecordBatchStream>, Error> {
        let (far, near): (Vec<FileEntry>, Vec<FileEntry>) =
            files.iter().cloned().partition(|file| file.path.contains("://"));
        let mut streams = Vec::new();
        for (storage, files) in [(&self.storage, near), (&self.elsewhere, far)] {
            if !files.is_empty() {
                let bytes_per_row = self.turn(&files).await;
                let read = self.execute(self.plan(storage, &files, compact).await?)?;
                streams.extend(read.into_iter().map(|rows| match &self.throttle {
                    Some(throttle) => throttle.pace(rows, bytes_per_row),
                    None => rows,
                }));
            }
        }
        Ok(streams)
    }

    /// What a row of these files is to be booked with. Where nobody tells how many rows they have, their bytes are booked
    /// here, before any is read.
    async fn turn(&self, files: &[FileEntry]) -> f64 {
        let bytes: u64 = files.iter().map(|file| file.size_bytes).sum();
        match files.iter().map(|file| file.rows).sum::<Option<u64>>() {
            Some(rows) if rows > 0 => bytes as f64 / rows as f64,
            _ => {
                if let Some(throttle) = &self.throttle {
                    throttle.take(bytes).await;
                }
                0.0
            }
        }
    }

    /// Some files' rows as they stand in the table, before the spec's rules.
    pub(super) async fn raw(&self, files: &[FileEntry]) -> Result<Vec<SendableRecordBatchStream>, Error> {
        let Some(first) = files.first() else { return Ok(Vec::new()) };
        let storage = self.storage_of(first);
        let deletes = self.deletes(storage, files).await?;
        let plan = scan(&self.engine, &self.request(storage, files, &deletes))?;
        self.execute(plan)
    }

    /// The file that some rows come from, or the table, for errors.
    fn origin<'f>(&'f self, files: &'f [FileEntry]) -> &'f str {
        match files {
            [file] => &file.path,
            _ => &self.snapshot.location,
        }
    }

    /// Rows as they would be read, with the spec's rules applied.
    pub(super) async fn staged(&self, rows: RecordBatch) -> Result<Vec<SendableRecordBatchStream>, Error> {
        let schema = rows.schema();
        let memory = MemorySourceConfig::try_new_exec(&[vec![rows]], schema, None);
        let mut plan: Arc<dyn ExecutionPlan> = memory.map_err(|source| Error::Query { source })?;
        for stage in &self.stages {
            plan = stage.apply(plan, self.origin(&[])).await?;
        }
        self.execute(plan)
    }

    async fn plan(&self, storage: &Storage, files: &[FileEntry], compact: bool) -> Result<Arc<dyn ExecutionPlan>, Error> {
        let deletes = self.deletes(storage, files).await?;
        let request = self.request(storage, files, &deletes);
        let mut plan = match compact && self.stages.is_empty() {
            true => scan_compact(&self.engine, &request, &self.dictionaries)?,
            false => scan(&self.engine, &request)?,
        };
        for stage in &self.stages {
            plan = stage.apply(plan, self.origin(files)).await?;
        }
        Ok(plan)
    }

    fn execute(&self, plan: Arc<dyn ExecutionPlan>) -> Result<Vec<SendableRecordBatchStream>, Error> {
        let context = self.engine.session().task_ctx();
        let execute = |partition| plan.execute(partition, context.clone()).map_err(|source| Error::Query { source });
        (0..plan.output_partitioning().partition_count()).map(execute).collect()
    }

    async fn print(&self, shape: &FingerprintShape, file: &FileEntry, parallel: usize) -> Result<Fingerprint, Error> {
        let streams = self.streams(std::slice::from_ref(file), true).await?;
        let columns = self.columns.clone();
        let request = FingerprintRequest { shape: shape.clone(), columns, cells_max: CELLS_MAX, parallel_max: parallel };
        Ok(fingerprint(request, streams).await?)
    }
}

/// Whatever decides, beside the file itself, which rows come out of it.
fn reading_digest(pinned: &Pinned<'_>, side: Side, columns: &SideColumns) -> String {
    let mut hash = Sha256::new();
    let mut schema = serde_json::to_string(&pinned.snapshot.schema).unwrap_or_default();
    if !pinned.snapshot.defaults.is_empty() {
        schema.push_str(&format!("{:?}", pinned.snapshot.defaults));
    }
    let partition = format!("{:?}", pinned.snapshot.partition);
    let texts = [
        Some(format!("{side:?} {}", pinned.table.format())),
        Some(schema),
        Some(partition),
        pinned.logic.transform.map(str::to_owned),
        pinned.logic.scope.map(|scope| format!("{scope}{}", if pinned.logic.carry_others { "\u{0}carry" } else { "" })),
        Some(format!("{:?}", pinned.logic.columns)),
        columns.select.clone(),
        columns.range.clone(),
        Some(columns.names.join("\u{0}")),
    ];
    for text in texts {
        let text = text.map_or_else(|| "-".to_owned(), |text| format!("{} {text}\n", text.len()));
        hash.update(text);
    }
    format!("{:x}", hash.finalize())
}

/// One side as it was read.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) readings: Readings,
    pub(super) now_amount: Amount,
    pub(super) earlier_amount: Amount,
}

impl Read {
    pub(super) fn total(&self) -> Result<Fingerprint, Error> {
        let mut total = self.readings.now.clone();
        total.add(&self.readings.earlier)?;
        total.bound(CELLS_MAX);
        Ok(total)
    }
}

fn amount(files: &[FileEntry], rows: u64) -> Amount {
    Amount { files: files.len() as u64, rows, bytes: files.iter().map(|file| file.size_bytes).sum() }
}

/// Reads the files of a side whose sums are not known, and keeps their sums.
pub(super) async fn fingerprints(
    request: &Request<'_>,
    kept: &Kept,
    side: &SideReading<'_>,
    known: &Known,
) -> Result<Read, Error> {
    let mut now = Fingerprint::empty(kept.shape().clone());
    let one = |file: FileEntry, parallel: usize| async move {
        let print = side.print(kept.shape(), &file, parallel).await?;
        Ok::<_, Error>((file, print))
    };
    let (mut waiting, mut reading) = (known.unread.iter().cloned(), FuturesUnordered::new());
    let (mut records, mut bytes) = (Vec::new(), 0);
    loop {
        // Asked anew for every file: an operator may change it meanwhile.
        let parallel = request.live.concurrency() as usize;
        while reading.len() < parallel
            && let Some(file) = waiting.next()
        {
            reading.push(one(file, parallel));
        }
        let Some((file, print)) = reading.try_next().await? else { break };
        now.add(&print)?;
        now.bound(CELLS_MAX);
        bytes += file.size_bytes;
        records.push(Record::new(side.key_of(&file), &print));
        if records.len() >= FILES_KEPT_AT_ONCE || bytes >= BYTES_KEPT_AT_ONCE {
            kept.keep(&records).await?;
            (records, bytes) = (Vec::new(), 0);
        }
    }
    if !records.is_empty() {
        kept.keep(&records).await?;
    }
    Ok(Read {
        now_amount: amount(&known.unread, now.total().rows),
        earlier_amount: amount(&known.files, known.sums.total().rows),
        readings: Readings { now, earlier: known.sums.clone() },
    })
}

/// Opens the files again that have rows in differing cells.
pub(super) struct Again<'a> {
    pub(super) kept: &'a Kept,
    pub(super) old: &'a SideReading<'a>,
    pub(super) new: &'a SideReading<'a>,
    pub(super) shared: &'a Shared,
    pub(super) comparison: &'a Comparison,
}

#[async_trait]
impl SideReader for Again<'_> {
    async fn open(&self, side: Side) -> Result<Vec<SendableRecordBatchStream>, DataFusionError> {
        let (reading, files) = match side {
            Side::Old => (self.old, &self.shared.rest_old),
            Side::New => (self.new, &self.shared.rest_new),
        };
        let cells = self.comparison.differences.iter().map(|difference| difference.cell.clone()).collect();
        let open = async {
            let holders = self.kept.holders(&cells, self.comparison.fields.len()).await?;
            let files: Vec<FileEntry> =
                files.iter().filter(|file| holders.contains(&reading.key_of(file))).cloned().collect();
            reading.streams(&files, false).await
        };
        open.await.map_err(|error: Error| DataFusionError::External(Box::new(error)))
    }
}

/// Binds a certificate to the files of a version.
pub(super) fn metadata_digest(side: &Pinned<'_>) -> String {
    let partitions: Vec<String> = side.files.iter().map(|file| format!("{:?}", file.partition)).collect();
    digest(side.files.iter().zip(&partitions).map(|(file, partition)| LiveFile {
        path: &file.path,
        size_bytes: file.size_bytes,
        identity: &file.identity,
        deletes: if file.has_deletes { "deletes" } else { "" },
        partition,
    }))
}
