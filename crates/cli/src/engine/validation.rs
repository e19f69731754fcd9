//! Comparing old and new: both versions pinned, then a key drawn, both sides read once, the verdict certified and written.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use futures::TryStreamExt;
use lakeshift_core::equivalence::{
    CellSide, Certificate, CertificateParts, ColumnPair, Comparison, Encoding, Fingerprint, FingerprintShape, PinnedSide,
    Readings, Reason, Refinement, RowDiff, SchemaCheck, ValidationKey, common_refinement, compare, compare_schemas,
    coverage,
};
use lakeshift_core::migration::{Event, Side, ValidationRecord};
use lakeshift_core::report::{Method, ReportParts, RunFacts, SideFacts, ValidationReport};
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{FileEntry, Snapshot, TableFormat};
use lakeshift_exec::diff::{DiffRequest, Masking, SideReader, diff};
use lakeshift_exec::fingerprint::{FingerprintRequest, fingerprint};
use lakeshift_journal::Rng;
use object_store::ObjectStoreExt;

use super::rows::Rows;
use super::tables::Tables;
use crate::error::Error;
use crate::session::Session;

/// Cells of a fingerprint at most; above it the refinement's last fields are given up, and the report says so.
const CELLS_MAX: usize = 100_000;

/// A finished validation.
#[derive(Debug, Clone)]
pub struct Validated {
    /// The report.
    pub report: ValidationReport,
    /// Its folder, relative to the migration's.
    pub folder: String,
}

/// One side, pinned and listed.
#[derive(Debug)]
struct Pinned {
    snapshot: Snapshot,
    files: Vec<FileEntry>,
}

/// Compares what the mirror has carried over with the target as it is now.
///
/// # Errors
/// Tables that cannot be read; a difference is no error.
pub async fn run(session: &mut Session, tables: &Tables, rows: &Rows) -> Result<Validated, Error> {
    let started_at = session.context.clock.now();
    let started = session.context.clock.elapsed();
    let applied = session.state.mirror.as_ref().map(|mirror| mirror.applied.clone());
    let old = pin(tables.source.as_ref(), applied.as_ref()).await?;
    let new = pin(tables.target.as_ref(), None).await?;
    let key = draw_key(session.context.rng.as_ref());
    let compared =
        session.while_renewing(session.context.stop.or_drop(compare_sides(session, tables, rows, &old, &new, key)));
    let compared = compared.await???;
    let duration = session.context.clock.elapsed().saturating_sub(started);
    let run = RunFacts {
        migration: session.id().clone(),
        scope: session.spec.scope.as_ref().map(|scope| scope.filter.clone()),
        range: None,
        spec_digest: session.spec.digest(),
        tool_version: tool_version(),
        started_at,
        duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        reproduce: vec![format!("make validate MIGRATION={}", session.id())],
    };
    let report = ValidationReport::new(ReportParts {
        run,
        old: facts(tables.source.as_ref(), &old),
        new: facts(tables.target.as_ref(), &new),
        method: Method { encoding: Encoding::default(), key, refinement: compared.refinement },
        schema: compared.schema,
        cells: coverage(
            &compared.comparison,
            &Readings { now: compared.old.clone(), earlier: Fingerprint::empty(compared.old.shape().clone()) },
            &Readings { now: compared.new.clone(), earlier: Fingerprint::empty(compared.old.shape().clone()) },
        ),
        proven: Vec::new(),
        rules: session.spec.validation.columns.clone(),
        comparison: Some(compared.comparison),
        rows: compared.rows,
        obstacles: compared.obstacles,
    });
    let certificate = Certificate::seal(CertificateParts {
        migration: session.id().clone(),
        source: report.old.pinned.clone(),
        target: report.new.pinned.clone(),
        spec_digest: session.spec.digest(),
        old: &compared.old,
        new: &compared.new,
        verdict: report.verdict.clone(),
        tool_version: tool_version(),
        at: started_at,
    })
    .map_err(|source| Error::Json { object: "the certificate".to_owned(), source })?;
    let report = report.with_certificate(&certificate);
    let folder = write(session, &report, &certificate, [&compared.old, &compared.new], started_at).await?;
    session
        .record(Event::Validated(ValidationRecord {
            verdict: report.verdict.name(),
            source: old.snapshot.version,
            target: new.snapshot.version,
            partial: false,
            spec_digest: session.spec.digest(),
            certificate_digest: certificate.digest.clone(),
            report: folder.clone(),
            at: started_at,
        }))
        .await?;
    Ok(Validated { report, folder })
}

async fn pin(table: &dyn TableFormat, version: Option<&lakeshift_core::table::TableVersion>) -> Result<Pinned, Error> {
    let snapshot = table.snapshot(version).await?;
    let files = table.files(&snapshot).try_collect().await?;
    Ok(Pinned { snapshot, files })
}

fn draw_key(rng: &dyn Rng) -> ValidationKey {
    let mut bytes = [0; 16];
    rng.fill(&mut bytes);
    ValidationKey::new(bytes)
}

fn facts(table: &dyn TableFormat, pinned: &Pinned) -> SideFacts {
    SideFacts {
        pinned: PinnedSide {
            format: table.format(),
            location: table.location().to_owned(),
            version: pinned.snapshot.version.clone(),
        },
        files: pinned.files.len() as u64,
        bytes: pinned.files.iter().map(|file| file.size_bytes).sum(),
        coverage: Default::default(),
    }
}

/// What reading both sides came to.
struct Compared {
    schema: SchemaCheck,
    refinement: Refinement,
    old: Fingerprint,
    new: Fingerprint,
    comparison: Comparison,
    rows: Option<RowDiff>,
    obstacles: Vec<Reason>,
}

async fn compare_sides(
    session: &Session,
    tables: &Tables,
    rows: &Rows,
    old: &Pinned,
    new: &Pinned,
    key: ValidationKey,
) -> Result<Compared, Error> {
    let old_schema = rows.output_schema(&old.snapshot.schema).await?;
    let schema = compare_schemas(&old_schema, &new.snapshot.schema, &std::collections::BTreeMap::new());
    let columns = schema.compared();
    let refinement = common_refinement(
        CellSide { schema: &old_schema, partition: &old.snapshot.partition },
        CellSide { schema: &new.snapshot.schema, partition: &new.snapshot.partition },
        &columns,
    );
    let shape = FingerprintShape {
        encoding: Encoding::default(),
        key,
        columns: names(&columns, |pair| &pair.new),
        fields: refinement.fields.clone(),
    };
    let request = |side: fn(&ColumnPair) -> &String| FingerprintRequest {
        shape: shape.clone(),
        columns: names(&columns, side),
        cells_max: CELLS_MAX,
        parallel_max: session.spec.backfill.concurrency as usize,
    };
    let old_streams = rows.old(tables, &old.snapshot, &old.files).await?;
    let new_streams = rows.new_rows(tables, &new.snapshot, &new.files)?;
    let (old_print, new_print) = futures::try_join!(
        fingerprint(request(|pair| &pair.old), old_streams),
        fingerprint(request(|pair| &pair.new), new_streams),
    )?;
    let comparison = compare(&old_print, &new_print)?;
    let mut obstacles = moved(tables, old).await?;
    let rows = match comparison.differences.is_empty() {
        true => None,
        false => match differing_rows(session, tables, rows, (old, new), &shape, &columns, &comparison).await {
            Ok(rows) => Some(rows),
            // That the sides differ is known; which rows do is not worth losing the verdict for.
            Err(Error::Diff(error)) => {
                obstacles.push(Reason::Incomplete { why: error.to_string() });
                None
            }
            Err(error) => return Err(error),
        },
    };
    Ok(Compared { schema, refinement, old: old_print, new: new_print, comparison, rows, obstacles })
}

fn names(columns: &[ColumnPair], side: fn(&ColumnPair) -> &String) -> Vec<String> {
    columns.iter().map(|pair| side(pair).clone()).collect()
}

/// Files of the old side that were replaced or deleted while it was read: what was read is then not what was pinned.
async fn moved(tables: &Tables, old: &Pinned) -> Result<Vec<Reason>, Error> {
    let now = tables.source.snapshot(None).await?;
    if now.version == old.snapshot.version {
        return Ok(Vec::new());
    }
    let removed = tables.source.changes(&old.snapshot, &now).await?.removed;
    Ok(match removed.first() {
        None => Vec::new(),
        Some(file) => vec![Reason::Incomplete {
            why: format!(
                "{} file(s) of the old table were replaced or deleted since they were mirrored, {} among them; run mirror, then validate again",
                removed.len(),
                file.path
            ),
        }],
    })
}

/// Opens both sides again for the row difference.
struct Reader<'a> {
    tables: &'a Tables,
    rows: &'a Rows,
    old: &'a Pinned,
    new: &'a Pinned,
}

#[async_trait]
impl SideReader for Reader<'_> {
    async fn open(&self, side: Side) -> Result<Vec<SendableRecordBatchStream>, DataFusionError> {
        let streams = match side {
            Side::Old => self.rows.old(self.tables, &self.old.snapshot, &self.old.files).await,
            Side::New => self.rows.new_rows(self.tables, &self.new.snapshot, &self.new.files),
        };
        streams.map_err(|error| DataFusionError::External(Box::new(error)))
    }
}

async fn differing_rows(
    session: &Session,
    tables: &Tables,
    rows: &Rows,
    (old, new): (&Pinned, &Pinned),
    shape: &FingerprintShape,
    columns: &[ColumnPair],
    comparison: &Comparison,
) -> Result<RowDiff, Error> {
    let settings = &session.spec.validation;
    let masking = match settings.mask {
        true => Masking::Tokens { secret: draw_key(session.context.rng.as_ref()) },
        false => Masking::Shown,
    };
    let request = DiffRequest {
        shape: shape.clone(),
        comparison,
        key: settings.key.clone(),
        old_columns: names(columns, |pair| &pair.old),
        new_columns: names(columns, |pair| &pair.new),
        sample_rows_max: settings.max_differences_shown as usize,
        masking,
        memory_bytes: session.spec.backfill.memory.bytes(),
    };
    Ok(diff(&request, &Reader { tables, rows, old, new }).await?)
}

fn tool_version() -> String {
    format!("lakeshift {}", env!("CARGO_PKG_VERSION"))
}

/// Writes the report, the certificate and the sums that it is bound to. The folder is named by the time, and by the epoch where two would fall together.
async fn write(
    session: &Session,
    report: &ValidationReport,
    certificate: &Certificate,
    [old, new]: [&Fingerprint; 2],
    at: DateTime<Utc>,
) -> Result<String, Error> {
    let folder = format!("reports/{}-e{}", at.format("%Y%m%dT%H%M%SZ"), session.epoch().0);
    let json = |object: &str, result: Result<String, serde_json::Error>| {
        result.map_err(|source| Error::Json { object: object.to_owned(), source })
    };
    let objects = [
        ("fingerprint-old.json", json("the old side's fingerprint", serde_json::to_string(old))?),
        ("fingerprint-new.json", json("the new side's fingerprint", serde_json::to_string(new))?),
        ("certificate.json", json("the certificate", serde_json::to_string_pretty(certificate))?),
        ("report.json", json("the report", report.to_json())?),
        ("report.md", report.to_markdown()),
    ];
    for (name, text) in objects {
        put(&session.folder, &format!("{folder}/{name}"), text).await?;
    }
    Ok(folder)
}

async fn put(folder: &Storage, path: &str, text: String) -> Result<(), Error> {
    let object = folder.url_of(path);
    let store_path = folder.resolve(path)?;
    let put = folder.store().put(&store_path, text.into_bytes().into()).await;
    put.map(drop).map_err(|source| Error::Store { action: "write", object, source })
}
