//! Validating a migration: both versions pinned, compared, the verdict certified, reported and journaled.

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use lakeshift_core::equivalence::{Certificate, Reason, SigningKey};
use lakeshift_core::migration::{Event, ValidationRecord};
use lakeshift_core::report::ValidationReport;
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{TableFormat, TableVersion};
use lakeshift_exec::logic::LogicSpec;
use object_store::ObjectStoreExt;

use super::compare::{self, About, Pinned, Request, Trial, compare_sides, conclude, in_memory};
use super::rows::{Rows, logic_of};
use super::tables::Tables;
use crate::error::Error;
use crate::session::Session;

/// How to validate, besides what the spec says.
#[derive(Debug, Default)]
pub struct Options {
    /// Whether everything is read, whatever is known from earlier readings and metadata.
    pub read_all: bool,
    /// Whether accepted differences are no success.
    pub strict: bool,
    /// Signs the certificate.
    pub signing_key: Option<SigningKey>,
}

/// A finished validation.
#[derive(Debug, Clone)]
pub struct Validated {
    /// The report.
    pub report: ValidationReport,
    /// Its folder, relative to the migration's.
    pub folder: String,
}

/// Compares what the mirror has carried over with the target as it is now. A pause, a limit and a number of files at once that
/// operators ask for hold here as in a backfill.
///
/// # Errors
/// Tables that cannot be read; a difference is no error.
pub async fn run(session: &mut Session, tables: &Tables, rows: &Rows, options: &Options) -> Result<Validated, Error> {
    // Before the versions are looked at: they would be old ones when it ends.
    session.wait_while_paused().await?;
    let started_at = session.context.clock.now();
    let folder = format!("reports/{}-e{}", started_at.format("%Y%m%dT%H%M%SZ"), session.epoch().0);
    let work = validate(session, tables, rows, options, (started_at, &folder));
    let validated = session.while_renewing(session.context.stop.or_drop(work)).await???;
    let (report, certificate) = validated;
    write(&session.folder.child(&folder), &report, &certificate).await?;
    session
        .record(Event::Validated(ValidationRecord {
            verdict: report.verdict.name(),
            source: certificate.source.version.clone(),
            target: certificate.target.version.clone(),
            partial: certificate.range.is_some(),
            spec_digest: session.spec.digest(),
            certificate_digest: certificate.digest.clone(),
            report: folder.clone(),
            at: started_at,
        }))
        .await?;
    Ok(Validated { report, folder })
}

async fn validate(
    session: &Session,
    tables: &Tables,
    rows: &Rows,
    options: &Options,
    (started_at, folder): (DateTime<Utc>, &str),
) -> Result<(ValidationReport, Certificate), Error> {
    let started = session.context.clock.elapsed();
    let applied = session.state.mirror.as_ref().map(|mirror| &mirror.applied);
    let (old, new) = pin_both(session, tables, [applied, None]).await?;
    let settings = &session.spec.validation;
    let request = Request {
        engine: rows.engine(),
        settings,
        rng: session.context.rng.as_ref(),
        today: started_at.date_naive(),
        live: session.live(),
        memory_bytes: session.spec.backfill.memory.bytes(),
        readings: &session.folder,
        read_all: options.read_all,
        export: &session.folder.child(folder),
    };
    let mut compared = compare_sides(&request, &old, &new).await?;
    compared.obstacles.extend(moved(tables, &old).await?);
    let about = About {
        migration: session.id().clone(),
        // Where the others are carried over, all rows are compared.
        scope: session.spec.scope.as_ref().filter(|scope| !scope.carries_others()).map(|scope| scope.filter.clone()),
        spec_digest: session.spec.digest(),
        started_at,
        duration_ms: u64::try_from(session.context.clock.elapsed().saturating_sub(started).as_millis()).unwrap_or(u64::MAX),
        reproduce: vec![format!("make validate MIGRATION={}", session.id())],
    };
    let (report, certificate) = conclude(about, settings, [&old, &new], compared, options.strict)?;
    let certificate = match &options.signing_key {
        Some(key) => certificate.signed(key),
        None => certificate,
    };
    Ok((report, certificate))
}

/// Both sides, each at a version or as it is now.
pub(super) async fn pin_both<'a>(
    session: &'a Session,
    tables: &'a Tables,
    [source, target]: [Option<&TableVersion>; 2],
) -> Result<(Pinned<'a>, Pinned<'a>), Error> {
    let old = pin(tables.source.as_ref(), source, [&tables.source_storage; 2], logic_of(&session.spec)).await?;
    let storages = [&tables.target_storage, &tables.source_storage];
    let new = pin(tables.target.as_ref(), target, storages, LogicSpec::default()).await?;
    Ok((old, new))
}

/// A table at a version, listed. Its files lie at the first storage, those with absolute paths below the second.
///
/// # Errors
/// A table that cannot be read.
pub async fn pin<'a>(
    table: &'a dyn TableFormat,
    version: Option<&TableVersion>,
    [storage, elsewhere]: [&'a Storage; 2],
    logic: LogicSpec<'a>,
) -> Result<Pinned<'a>, Error> {
    let snapshot = table.snapshot(version).await?;
    let files = table.files(&snapshot).try_collect().await?;
    Ok(Pinned { table, snapshot, files, storage, elsewhere, logic })
}

/// Whether the configured checks find changes that are made to copies of rows.
///
/// # Errors
/// Tables that cannot be read.
pub async fn self_test(session: &Session, tables: &Tables, rows: &Rows) -> Result<Vec<Trial>, Error> {
    let applied = session.state.mirror.as_ref().map(|mirror| &mirror.applied);
    let (old, new) = pin_both(session, tables, [applied, None]).await?;
    let memory = in_memory();
    let request = Request {
        engine: rows.engine(),
        settings: &session.spec.validation,
        rng: session.context.rng.as_ref(),
        today: session.context.clock.now().date_naive(),
        live: session.live(),
        memory_bytes: session.spec.backfill.memory.bytes(),
        readings: &memory,
        read_all: true,
        export: &memory,
    };
    compare::self_test(&request, &old, &new).await
}

/// Files of the old side that were replaced or deleted while it was read: what was read is then not what was pinned.
async fn moved(tables: &Tables, old: &Pinned<'_>) -> Result<Vec<Reason>, Error> {
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

/// Writes the certificate and the report in all its forms.
///
/// # Errors
/// The store fails.
pub async fn write(folder: &Storage, report: &ValidationReport, certificate: &Certificate) -> Result<(), Error> {
    let json = report.to_json().map_err(|source| Error::Json { object: "the report".to_owned(), source })?;
    let html = report.to_html().map_err(|source| Error::Json { object: "the page".to_owned(), source })?;
    let objects = [
        ("certificate.json", certificate.to_json()?),
        ("report.json", json),
        ("report.junit.xml", report.to_junit()),
        ("report.html", html),
        ("report.md", report.to_markdown()),
    ];
    for (name, text) in objects {
        let object = folder.url_of(name);
        let put = folder.store().put(&folder.resolve(name)?, text.into_bytes().into()).await;
        put.map_err(|source| Error::Store { action: "write", object, source })?;
    }
    Ok(())
}
