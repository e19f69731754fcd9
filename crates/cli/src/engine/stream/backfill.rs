//! [`backfill`]: a range of the table computed anew beside the stream, by SQL over its own rows, in one commit.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use lakeshift_core::equivalence::{Encoding, Fingerprint, FingerprintShape, ValidationKey};
use lakeshift_core::plan::{data_file_stem, same_type};
use lakeshift_core::schema::TableSchema;
use lakeshift_core::table::{FileEntry, NewFile, Snapshot};
use lakeshift_exec::fingerprint::{FingerprintRequest, tee};
use lakeshift_exec::query::Query;
use lakeshift_journal::RngExt;
use lakeshift_stream::{Ask, Asked, Backfill, BackfillConfig, Mode, Positions, Range, Replace, StreamError};
use serde::Serialize;

use super::both_tables::BothTables;
use super::file::{StreamFile, refused};
use super::ground::{Ground, ROWS, Replaced};
use super::ingest::OtherTable;
use crate::error::{Error, with_causes};

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
    /// Whether the other table of a migration has it, too; nothing where there is none, or nothing was rewritten.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_table: Option<OtherTable>,
}

/// Locks the range, rewrites it, validates what was written and lets go. A backfill that was killed goes on when it is asked for
/// again under its name.
///
/// # Errors
/// [`Error::StreamHeld`]; a range that is not free, SQL that does not fit, with nothing locked. Whatever fails after the range was
/// locked leaves it locked, and says so.
pub async fn backfill(file: &StreamFile, request: &BackfillRequest) -> Result<BackfillReport, Error> {
    match file.target() {
        Ok(one) => {
            if one.snapshot().await?.is_none() {
                let problem = format!("there is no table at {}", one.table.location());
                return Err(refused(problem, "let `lakeshift ingest` make it"));
            }
            let ground = one.ground();
            let run = Run { file, request, ground: async |_: &mut _| Ok(ground.clone()) };
            Ok(run.begin(one.table.clone()).await?.0)
        }
        Err(migration) => {
            let both = BothTables::unchecked(file, migration, "stream backfill").await?;
            let run = Run { file, request, ground: async |both: &mut BothTables| both.ground().await };
            let (mut report, both) = run.begin(both).await?;
            if let Some(mut both) = both {
                report.other_table = Some(match both.carry_replaced().await {
                    Ok(carried) => carried.into(),
                    // The range is rewritten and free whatever becomes of this.
                    Err(error) => OtherTable::Later(with_causes(&error)),
                });
            }
            Ok(report)
        }
    }
}

/// A backfill that is asked for.
struct Run<'a, G> {
    file: &'a StreamFile,
    request: &'a BackfillRequest,
    /// The table that is rewritten, as it is when it is asked.
    ground: G,
}

impl<G> Run<'_, G> {
    /// Locks the range and rewrites it, or gives it up: then the table is not given back.
    async fn begin<T: Replace>(&self, mut table: T) -> Result<(BackfillReport, Option<T>), Error>
    where
        G: AsyncFn(&mut T) -> Result<Ground, Error>,
    {
        let (file, request) = (self.file, self.request);
        if let Some(sql) = &request.sql {
            let ground = (self.ground)(&mut table).await?;
            let snapshot = ground.table.snapshot(None).await?;
            ground.extent(file, &snapshot, &request.range)?;
            query(file, sql, &snapshot.schema).await?;
        }
        let config = BackfillConfig {
            stream: file.id(),
            table,
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
        let Some(sql) = &request.sql else {
            let mut report = report(request, &locked);
            locked.abandon().await?;
            report.evidence = "it was abandoned; no row was changed".to_owned();
            return Ok((report, None));
        };
        let kept = |error: Error| Error::RangeKept { name: request.name.clone(), source: Box::new(error) };
        self.rewrite(sql, locked).await.map(|(report, table)| (report, Some(table))).map_err(kept)
    }

    async fn rewrite<T: Replace>(&self, sql: &str, mut locked: Backfill<T>) -> Result<(BackfillReport, T), Error>
    where
        G: AsyncFn(&mut T) -> Result<Ground, Error>,
    {
        let Self { file, request, ground } = self;
        let (mut before, mut computed) = ((0, 0), None);
        let ground = ground(locked.table_mut()).await?;
        if !locked.is_committed() {
            let boundary = locked.boundary(request.wait).await?;
            if request.mode == Mode::Pause {
                let resume = if request.read_to.is_empty() { boundary.read.clone() } else { request.read_to.clone() };
                locked.resume_at(&resume).await?;
            }
            let snapshot = ground.table.snapshot(None).await?;
            let query = query(file, sql, &snapshot.schema).await?;
            let old = ground.replaced(file, &snapshot, &request.range, &boundary).await?;
            let (id, unit, epoch) = locked.files_of();
            let work = compute(file, request, (&ground, &query), &snapshot, &old, data_file_stem(&id, &unit, epoch));
            let (add, print, key) = locked.while_renewing(work).await??;
            before = (old.files.iter().filter_map(|file| file.rows).sum(), old.files.len() as u64);
            let remove = old.files.into_iter().map(|file| file.path).collect();
            if let Err(error) = locked.commit(&boundary, add.clone(), remove).await {
                if matches!(
                    error,
                    StreamError::Conflict { .. } | StreamError::Fenced { .. } | StreamError::NotCovered { .. }
                ) {
                    ground.sink(file, snapshot).drop_files(&add).await;
                }
                return Err(error.into());
            }
            computed = Some((print, key));
        }
        let (rows, added, evidence) = locked.while_renewing(validate(file, &ground, &locked, computed)).await??;
        locked.validated(&evidence).await?;
        let mut report = report(request, &locked);
        (report.rows_before, report.removed) = before;
        (report.rows, report.added, report.evidence) = (rows, added, evidence);
        Ok((report, locked.release().await?))
    }
}

fn report<T: Replace>(request: &BackfillRequest, locked: &Backfill<T>) -> BackfillReport {
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
        other_table: None,
    }
}

/// The checked query. Its columns are the table's, of the same types.
async fn query(file: &StreamFile, sql: &str, schema: &TableSchema) -> Result<Query, Error> {
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

type Computed = (Vec<NewFile>, Option<Fingerprint>, ValidationKey);

async fn compute(
    file: &StreamFile,
    request: &BackfillRequest,
    (ground, query): (&Ground, &Query),
    snapshot: &Snapshot,
    old: &Replaced,
    stem: String,
) -> Result<Computed, Error> {
    let plan = ground.rewritten(file, query, snapshot, old, &request.range).await?;
    let key = ValidationKey::new(file.context.rng.nonce128().to_le_bytes());
    let (input, sums) =
        tee(&file.engine, vec![plan], Some(sums(&snapshot.schema, key))).map_err(|source| Error::Query { source })?;
    let files = ground.sink(file, snapshot.clone()).files(input, &stem).await?;
    Ok((files, sums.take().pop().flatten(), key))
}

/// The fingerprint of all rows and columns.
pub(super) fn sums(schema: &TableSchema, key: ValidationKey) -> FingerprintRequest {
    let mut columns: Vec<String> = schema.fields.iter().map(|field| field.name.clone()).collect();
    columns.sort();
    let shape = FingerprintShape { encoding: Encoding::default(), key, columns: columns.clone(), fields: Vec::new() };
    FingerprintRequest { shape, columns, cells_max: 1, parallel_max: 1 }
}

/// Reads the committed files back from the table. Rows, files, and what that proves.
async fn validate<T: Replace>(
    file: &StreamFile,
    ground: &Ground,
    locked: &Backfill<T>,
    computed: Option<(Option<Fingerprint>, ValidationKey)>,
) -> Result<(u64, u64, String), Error> {
    let (id, unit, _) = locked.files_of();
    let snapshot = ground.table.snapshot(None).await?;
    let all: Vec<FileEntry> = ground.table.files(&snapshot).try_collect().await?;
    let is_ours = |file: &FileEntry| lakeshift_core::plan::unit_of_path(&id, &file.path).as_ref() == Some(&unit);
    let ours: Vec<FileEntry> = all.into_iter().filter(is_ours).collect();
    let on_record: u64 = ours.iter().filter_map(|file| file.rows).sum();
    let key =
        computed.as_ref().map_or_else(|| ValidationKey::new(file.context.rng.nonce128().to_le_bytes()), |(_, key)| *key);
    let (mut rows, mut print) = (0, None);
    if !ours.is_empty() {
        let plan = ground.scan(file, &snapshot, &ours).await?;
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
