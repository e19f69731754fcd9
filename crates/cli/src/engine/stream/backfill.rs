//! [`backfill`]: a range of the table computed anew beside the stream, by SQL over its own rows, in one commit.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use datafusion::physical_plan::ExecutionPlan;
use futures::future::{Either, select};
use futures::{StreamExt, TryStreamExt};
use lakeshift_core::equivalence::{Encoding, Fingerprint, FingerprintShape, ValidationKey};
use lakeshift_core::plan::{data_file_stem, same_type};
use lakeshift_core::schema::TableSchema;
use lakeshift_core::table::{FileEntry, NewFile, Snapshot};
use lakeshift_core::value::Value;
use lakeshift_exec::fingerprint::{FingerprintRequest, tee};
use lakeshift_exec::query::{Query, Slice};
use lakeshift_journal::RngExt;
use lakeshift_stream::{Ask, Asked, Backfill, BackfillConfig, Boundary, Mode, Place, Positions, Range, StreamError};
use serde::Serialize;

use super::file::{StreamFile, refused};
use super::table_stream::TableStream;
use crate::engine::rows::scan_live;
use crate::error::{Error, with_causes};

/// What SQL calls the table's rows.
const ROWS: &str = "events";

/// What is asked for.
#[derive(Debug, Clone)]
pub struct BackfillRequest {
    /// The backfill's name.
    pub name: String,
    /// What it rewrites.
    pub range: Range,
    /// How the stream behaves meanwhile.
    pub mode: Mode,
    /// The query that computes the range's rows from `events`; `None` gives the range up.
    pub sql: Option<String>,
    /// Up to where the query's rows hold the source, where that is beyond what the stream had read.
    pub read_to: Positions,
    /// How long the stream's commit under way is waited for.
    pub wait: Duration,
}

/// What a backfill came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BackfillReport {
    /// Its name.
    pub name: String,
    /// The range.
    pub range: Range,
    /// How the stream behaved.
    pub mode: Mode,
    /// Rows before.
    pub rows_before: u64,
    /// Rows now.
    pub rows: u64,
    /// Files taken out.
    pub removed: u64,
    /// Files put in.
    pub added: u64,
    /// By what the rows were validated.
    pub evidence: String,
    /// Offsets that the stream has set aside for it so far.
    pub parked: u64,
}

/// Locks the range, rewrites it, validates what was written and lets go. A backfill that was killed goes on when it is asked for
/// again under its name.
///
/// # Errors
/// [`Error::StreamHeld`]; a range that is not free, SQL that does not fit, with nothing locked. Whatever fails after the range was
/// locked leaves it locked, and says so.
pub async fn backfill(file: &StreamFile, request: &BackfillRequest) -> Result<BackfillReport, Error> {
    let file = &file.one_table("stream backfill")?;
    let Some(snapshot) = file.snapshot().await? else {
        let problem = format!("there is no table at {}", file.table.location());
        return Err(refused(problem, "let `lakeshift ingest` make it"));
    };
    let query = match &request.sql {
        Some(sql) => Some(query(file, sql, &snapshot.schema).await?),
        None => None,
    };
    let config = BackfillConfig {
        stream: file.id(),
        table: file.table.clone(),
        locks: lakeshift_stream::locks::open(file.spec.locks.as_ref(), &file.spec.stream, file.leases("locks"))?,
        clock: file.context.clock.clone(),
    };
    let BackfillRequest { name, range, mode, read_to, .. } = request.clone();
    let cut_off = if mode == Mode::Priority { read_to } else { Positions::new() };
    let ask = Ask { name, range, mode, cut_off };
    let locked = match Backfill::lock(config, file.register().await?, &ask).await? {
        Asked::Locked(locked) => locked,
        Asked::Held { holder, expires_in } => {
            return Err(Error::StreamHeld { what: format!("backfill {}", request.name), holder, expires_in });
        }
        Asked::Refused(refusal) => return Err(StreamError::from(refusal).into()),
    };
    let Some(query) = query else {
        let mut report = report(request, &locked);
        locked.abandon().await?;
        report.evidence = "it was abandoned; no row was changed".to_owned();
        return Ok(report);
    };
    let kept = |error: Error| Error::RangeKept { name: request.name.clone(), source: Box::new(error) };
    rewrite_range(file, request, &query, locked).await.map_err(kept)
}

fn report(request: &BackfillRequest, locked: &Backfill) -> BackfillReport {
    let parked = locked.held().map(|lock| locked.register().ledger().parked(lock.id())).unwrap_or_default();
    BackfillReport {
        name: request.name.clone(),
        range: request.range.clone(),
        mode: request.mode,
        rows_before: 0,
        rows: 0,
        removed: 0,
        added: 0,
        evidence: String::new(),
        parked: parked.values().map(lakeshift_stream::OffsetSet::len).sum(),
    }
}

async fn rewrite_range(
    file: &TableStream<'_>,
    request: &BackfillRequest,
    query: &Query,
    mut locked: Backfill,
) -> Result<BackfillReport, Error> {
    let (mut before, mut computed) = ((0, 0), None);
    if !locked.is_committed() {
        let boundary = locked.boundary(request.wait).await?;
        if request.mode == Mode::Pause {
            let resume = if request.read_to.is_empty() { boundary.read.clone() } else { request.read_to.clone() };
            locked.resume_at(&resume).await?;
        }
        let snapshot = file.table.snapshot(None).await?;
        let old = in_range(file, &snapshot, &request.range, &boundary).await?;
        before = (old.iter().filter_map(|file| file.rows).sum(), old.len() as u64);
        let (id, unit, epoch) = locked.files_of();
        let work = compute(file, request, query, &snapshot, &old, data_file_stem(&id, &unit, epoch));
        let (add, print, key) = while_renewing(file, &locked, work).await??;
        let remove = old.into_iter().map(|file| file.path).collect();
        if let Err(error) = locked.commit(&boundary, add.clone(), remove).await {
            if matches!(error, StreamError::Conflict { .. } | StreamError::Fenced { .. } | StreamError::NotCovered { .. }) {
                file.sink(snapshot).drop_files(&add).await;
            }
            return Err(error.into());
        }
        computed = Some((print, key));
    }
    let (rows, added, evidence) = while_renewing(file, &locked, validate(file, &locked, computed)).await??;
    locked.validated(&evidence).await?;
    let mut report = report(request, &locked);
    (report.rows_before, report.removed) = before;
    (report.rows, report.added, report.evidence) = (rows, added, evidence);
    locked.release().await?;
    Ok(report)
}

/// The checked query. Its columns are the table's, of the same types.
async fn query(file: &TableStream<'_>, sql: &str, schema: &TableSchema) -> Result<Query, Error> {
    let time = Some(file.spec.time.column.as_str());
    let query = Query::new(&file.engine, &file.spec.stream, sql, &[(ROWS.to_owned(), schema.clone())], time).await?;
    let made = query.output_schema();
    for field in &schema.fields {
        let problem = match made.field(&field.name) {
            None => format!("the sql gives no column {}", field.name),
            Some(found) if !same_type(&found.data_type, &field.data_type) => {
                format!("the sql gives {} as {}, and the table has {}", field.name, found.data_type, field.data_type)
            }
            Some(_) => continue,
        };
        return Err(refused(problem, "select it so, by a cast where need be; nothing was locked"));
    }
    if let Some(more) = made.fields.iter().find(|field| schema.field(&field.name).is_none()) {
        let problem = format!("the sql gives the column {}, which the table has not", more.name);
        return Err(refused(problem, "leave it out; nothing was locked"));
    }
    Ok(query)
}

/// The table's files in the range that are the backfill's to replace.
async fn in_range(
    file: &TableStream<'_>,
    snapshot: &Snapshot,
    range: &Range,
    boundary: &Boundary,
) -> Result<Vec<FileEntry>, Error> {
    let mut files = Vec::new();
    let mut all = file.table.files(snapshot);
    while let Some(entry) = all.try_next().await? {
        let (_, place) = place_of(file, &entry)?;
        if range.contains(&place) && boundary.covers(&entry.path) {
            files.push(entry);
        }
    }
    Ok(files)
}

/// The day whose rows a file has, and their place.
pub(super) fn place_of(file: &TableStream<'_>, entry: &FileEntry) -> Result<(i32, Place), Error> {
    // The stream's partitioning is that of the table, in this order.
    let (time, entity) = (entry.partition.first().cloned().flatten(), entry.partition.get(1).cloned().flatten());
    let Some(Value::Date(day)) = time else {
        let problem = format!("file {} of the table lies in a partition without a date", entry.path);
        return Err(refused(problem, "give its rows a date, or take the file out of the table"));
    };
    let period = file.spec.time.grain.at_hours(i64::from(day) * 24);
    Ok((day, Place { period, entity: entity.map(|entity| entity.to_string().into()) }))
}

type Computed = (Vec<NewFile>, Option<Fingerprint>, ValidationKey);

async fn compute(
    file: &TableStream<'_>,
    request: &BackfillRequest,
    query: &Query,
    snapshot: &Snapshot,
    old: &[FileEntry],
    stem: String,
) -> Result<Computed, Error> {
    let rows = scan_live(&file.engine, file.table.as_ref(), &[file.storage], snapshot, old).await?;
    let plan = query.plan(vec![(ROWS.to_owned(), rows)], &slice(file, &request.range)?).await?;
    let key = ValidationKey::new(file.context.rng.nonce128().to_le_bytes());
    let (input, sums) =
        tee(&file.engine, vec![plan], Some(sums(&snapshot.schema, key))).map_err(|source| Error::Query { source })?;
    let files = file.sink(snapshot.clone()).files(input, &stem).await?;
    Ok((files, sums.take().pop().flatten(), key))
}

/// The fingerprint of all rows and columns.
pub(super) fn sums(schema: &TableSchema, key: ValidationKey) -> FingerprintRequest {
    let mut columns: Vec<String> = schema.fields.iter().map(|field| field.name.clone()).collect();
    columns.sort();
    let shape = FingerprintShape { encoding: Encoding::default(), key, columns: columns.clone(), fields: Vec::new() };
    FingerprintRequest { shape, columns, cells_max: 1, parallel_max: 1 }
}

/// The part of the query's result that is the range.
fn slice(file: &TableStream<'_>, range: &Range) -> Result<Slice, Error> {
    let grain = file.spec.time.grain;
    let bounds = grain.start(range.from).zip(range.to.checked_add(1).and_then(|next| grain.start(next)));
    let (from, to) = bounds.ok_or_else(|| refused("the range is beyond the calendar", "name periods that there are"))?;
    let entity = file.spec.entity.as_ref().zip(range.entity.as_ref());
    let entity = entity.map(|(column, value)| (column.column.clone(), value.clone()));
    Ok(Slice { time: Some((file.spec.time.column.clone(), from, to)), entity })
}

/// Reads the committed files back from the table. Rows, files, and what that proves.
async fn validate(
    file: &TableStream<'_>,
    locked: &Backfill,
    computed: Option<(Option<Fingerprint>, ValidationKey)>,
) -> Result<(u64, u64, String), Error> {
    let (id, unit, _) = locked.files_of();
    let snapshot = file.table.snapshot(None).await?;
    let all: Vec<FileEntry> = file.table.files(&snapshot).try_collect().await?;
    let is_ours = |file: &FileEntry| lakeshift_core::plan::unit_of_path(&id, &file.path).as_ref() == Some(&unit);
    let ours: Vec<FileEntry> = all.into_iter().filter(is_ours).collect();
    let on_record: u64 = ours.iter().filter_map(|file| file.rows).sum();
    let key =
        computed.as_ref().map_or_else(|| ValidationKey::new(file.context.rng.nonce128().to_le_bytes()), |(_, key)| *key);
    let (mut rows, mut print) = (0, None);
    if !ours.is_empty() {
        let plan: Arc<dyn ExecutionPlan> =
            scan_live(&file.engine, file.table.as_ref(), &[file.storage], &snapshot, &ours).await?;
        let (mut read, sums) =
            tee(&file.engine, vec![plan], Some(sums(&snapshot.schema, key))).map_err(|source| Error::Query { source })?;
        while let Some(batch) = read.next().await {
            rows += batch.map_err(|source| Error::Query { source })?.num_rows() as u64;
        }
        print = sums.take().pop().flatten();
    }
    let differs = |what: &str| refused(what, "do not use the range; report this with the store's and the table's history");
    if rows != on_record {
        return Err(differs("the backfill's files have other rows than the table says"));
    }
    let digest = |print: &Option<Fingerprint>| {
        let digest = print.as_ref().map(Fingerprint::digest).transpose();
        digest.map_err(|source| Error::Json { object: "a fingerprint".to_owned(), source })
    };
    let evidence = match computed {
        None => format!("{rows} rows in {} files were read back", ours.len()),
        Some((written, _)) => match (digest(&written)?, digest(&print)?) {
            (Some(written), Some(read)) if written != read => {
                return Err(differs("rows that were read back are not those that were written"));
            }
            (Some(_), Some(_)) => {
                format!("{rows} rows in {} files were read back; their fingerprint is that of what was computed", ours.len())
            }
            _ => format!("{rows} rows in {} files were read back; they cannot be fingerprinted", ours.len()),
        },
    };
    let distinct: BTreeSet<_> = ours.iter().map(|file| &file.path).collect();
    Ok((rows, distinct.len() as u64, evidence))
}

/// Runs `work`, and shows meanwhile that the backfill is alive.
async fn while_renewing<T>(file: &TableStream<'_>, locked: &Backfill, work: impl Future<Output = T>) -> Result<T, Error> {
    let mut work = Box::pin(work);
    loop {
        match select(work, file.context.clock.sleep(locked.ttl() / 3)).await {
            Either::Left((output, _)) => return Ok(output),
            Either::Right(((), unfinished)) => work = unfinished,
        }
        match locked.renew().await {
            Ok(()) => {}
            Err(error @ StreamError::Fenced { .. }) => return Err(error.into()),
            Err(error) => tracing::warn!(error = with_causes(&error), "could not renew the backfill's lease"),
        }
    }
}
