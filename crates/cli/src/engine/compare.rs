//! Comparing two pinned tables: columns paired, files proven or read, sums compared, differing rows named.
//!
//! [`compare_sides`] is what `validate` and `diff` share. Files are read one by one and their sums kept ([`readings`]), so
//! that what was read once is not read again.

mod columns;
mod proof;
mod read;
mod readings;
mod self_test;
mod source_sums;

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use lakeshift_core::equivalence::{
    CellCoverage, CellKey, Certificate, CertificateParts, Comparison, Coverage, Encoding, Fingerprint, FingerprintShape,
    PinnedSide, ProvenFiles, Reason, Refinement, RowDiff, SchemaCheck, SideCoverage, ValidationKey, compare, coverage,
};
use lakeshift_core::migration::Side;
use lakeshift_core::report::{Method, ReportParts, RunFacts, SideFacts, ValidationReport};
use lakeshift_core::spec::Validation;
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{FileEntry, MigrationId, Snapshot, TableFormat};
use lakeshift_exec::diff::{DiffRequest, ExportTarget, Masking, diff};
use lakeshift_exec::engine::Engine;
use lakeshift_exec::logic::LogicSpec;
use lakeshift_journal::Rng;
use object_store::memory::InMemory;
use object_store::path::Path;
use url::Url;

use super::rows::Rows;
use super::tables::Tables;
use crate::error::Error;
use crate::live::Live;
use crate::session::Session;
use read::SideReading;
use readings::Kept;

pub use self_test::{Trial, self_test};
pub use source_sums::SourceSums;

/// Cells of a fingerprint at most; above it the refinement's last fields are given up, and the report says so.
const CELLS_MAX: usize = 100_000;

/// The file of all differing rows, in the report's folder.
pub const EXPORT_FILE: &str = "differences.parquet";

/// One side, pinned and listed.
#[derive(Debug)]
pub struct Pinned<'a> {
    /// The table.
    pub table: &'a dyn TableFormat,
    /// Its version.
    pub snapshot: Snapshot,
    /// Its live files.
    pub files: Vec<FileEntry>,
    /// Where they lie.
    pub storage: &'a Storage,
    /// Where those lie that have an absolute path.
    pub elsewhere: &'a Storage,
    /// What is done to the rows before they are compared.
    pub logic: LogicSpec<'a>,
}

/// How to compare.
#[derive(Debug)]
pub struct Request<'a> {
    /// Reads the rows.
    pub engine: &'a Engine,
    /// The spec's rules.
    pub settings: &'a Validation,
    /// Draws the key, after both sides were pinned.
    pub rng: &'a dyn Rng,
    /// The day on which the ledger's entries must hold.
    pub today: NaiveDate,
    /// Files of a side that are read at a time, and how fast.
    pub live: &'a Live,
    /// Memory for the row difference, in bytes.
    pub memory_bytes: u64,
    /// Where the sums of files are kept.
    pub readings: &'a Storage,
    /// Whether everything is read, whatever is known.
    pub read_all: bool,
    /// Where the differing rows go.
    pub export: &'a Storage,
}

/// What comparing came to.
#[derive(Debug)]
pub struct Compared {
    schema: SchemaCheck,
    refinement: Refinement,
    old: Fingerprint,
    new: Fingerprint,
    comparison: Comparison,
    cells: Vec<CellCoverage>,
    coverage: [SideCoverage; 2],
    proven: Vec<ProvenFiles>,
    rows: Option<RowDiff>,
    /// What stands against a verdict.
    pub obstacles: Vec<Reason>,
}

/// Reads what is not known of both sides and compares.
///
/// # Errors
/// Tables that cannot be read, rules that cannot be applied; a difference is no error.
pub async fn compare_sides(request: &Request<'_>, old: &Pinned<'_>, new: &Pinned<'_>) -> Result<Compared, Error> {
    let columns = columns::plan(request.engine, request.settings, old, new).await?;
    let shared = match request.read_all {
        true => proof::Shared::none(old, new),
        false => proof::shared(old, new, &columns).await?,
    };
    let kept =
        Kept::open(request.readings, request.read_all, || draw_key(request.rng), |key| columns.shape(request.settings, key))
            .await?;
    let (old_side, new_side) = (
        SideReading::new(request.engine, old.table, old, Side::Old, columns.old.clone()).await?.paced(request.live.bytes()),
        SideReading::new(request.engine, new.table, new, Side::New, columns.new.clone()).await?.paced(request.live.bytes()),
    );
    let known = kept.known(&[&old_side, &new_side], [&shared.rest_old, &shared.rest_new]).await?;
    let [known_old, known_new] = &known;
    let (read_old, read_new) = futures::try_join!(
        read::fingerprints(request, &kept, &old_side, known_old),
        read::fingerprints(request, &kept, &new_side, known_new),
    )?;
    let comparison = compare(&read_old.total()?, &read_new.total()?)?;
    let mut obstacles = Vec::new();
    let rows = match comparison.differences.is_empty() {
        true => None,
        false => {
            let reader =
                read::Again { kept: &kept, old: &old_side, new: &new_side, shared: &shared, comparison: &comparison };
            match differing_rows(request, &columns, kept.shape(), &comparison, &reader).await {
                Ok(rows) => Some(rows),
                // That the sides differ is known; which rows do is not worth losing the verdict for.
                Err(Error::Diff(error)) => {
                    obstacles.push(Reason::Incomplete { why: error.to_string() });
                    None
                }
                Err(error) => return Err(error),
            }
        }
    };
    let amounts = |read: &read::Read, files: &[FileEntry]| SideCoverage {
        now: read.now_amount,
        earlier: read.earlier_amount,
        metadata: shared.amount(files),
    };
    Ok(Compared {
        cells: coverage(&comparison, &read_old.readings, &read_new.readings),
        coverage: [amounts(&read_old, &shared.old), amounts(&read_new, &shared.new)],
        proven: shared.by_partition(&old.snapshot),
        old: read_old.total()?,
        new: read_new.total()?,
        schema: columns.schema,
        refinement: columns.refinement,
        comparison,
        rows,
        obstacles,
    })
}

/// A key that nobody can have known.
pub fn draw_key(rng: &dyn Rng) -> ValidationKey {
    let mut bytes = [0; 16];
    rng.fill(&mut bytes);
    ValidationKey::new(bytes)
}

async fn differing_rows(
    request: &Request<'_>,
    columns: &columns::Columns,
    shape: &FingerprintShape,
    comparison: &Comparison,
    reader: &read::Again<'_>,
) -> Result<RowDiff, Error> {
    let settings = request.settings;
    let masking = match settings.mask {
        true => Masking::Tokens { secret: draw_key(request.rng) },
        false => Masking::Shown,
    };
    let request = DiffRequest {
        engine: request.engine,
        shape: shape.clone(),
        comparison,
        key: settings.key.clone(),
        old_columns: columns.old.names.clone(),
        new_columns: columns.new.names.clone(),
        tolerances: columns.tolerances.clone(),
        accept: settings.accept.clone(),
        today: request.today,
        export: Some(ExportTarget { storage: request.export, path: EXPORT_FILE }),
        sample_rows_max: settings.max_differences_shown as usize,
        masking,
        memory_bytes: request.memory_bytes,
    };
    Ok(diff(&request, reader).await?)
}

/// Reads both tables of a migration again at a certificate's versions and under its key; returns the cells that come to
/// other sums.
///
/// # Errors
/// Versions that are gone, rules that are not the certificate's.
pub async fn replay(
    session: &Session,
    tables: &Tables,
    rows: &Rows,
    certificate: &Certificate,
) -> Result<Vec<CellKey>, Error> {
    let versions = [&certificate.source.version, &certificate.target.version];
    let (old, new) = super::validation::pin_both(session, tables, versions.map(Some)).await?;
    let settings = &session.spec.validation;
    let memory = in_memory();
    let request = Request {
        engine: rows.engine(),
        settings,
        rng: session.context.rng.as_ref(),
        today: certificate.at.date_naive(),
        live: session.live(),
        memory_bytes: session.spec.backfill.memory.bytes(),
        readings: &memory,
        read_all: true,
        export: &memory,
    };
    let columns = columns::plan(request.engine, settings, &old, &new).await?;
    let shared = match certificate.proven.is_empty() {
        true => proof::Shared::none(&old, &new),
        false => proof::shared(&old, &new, &columns).await?,
    };
    let fields = certificate.fields.iter().chain(&certificate.given_up).cloned().collect();
    // A certificate of another version is refused below: this build reads under its own only.
    let (encoding, key) = (Encoding { version: Encoding::VERSION, ..certificate.encoding }, certificate.key);
    let shape = FingerprintShape { encoding, key, columns: columns.names.clone(), fields };
    let kept = Kept::open(&memory, true, || key, |_| shape.clone()).await?;
    let (old_side, new_side) = (
        SideReading::new(request.engine, old.table, &old, Side::Old, columns.old.clone()).await?.paced(request.live.bytes()),
        SideReading::new(request.engine, new.table, &new, Side::New, columns.new.clone()).await?.paced(request.live.bytes()),
    );
    let [old, new] = kept.known(&[&old_side, &new_side], [&shared.rest_old, &shared.rest_new]).await?;
    let (old, new) = futures::try_join!(
        read::fingerprints(&request, &kept, &old_side, &old),
        read::fingerprints(&request, &kept, &new_side, &new),
    )?;
    Ok(certificate.replay(&old.total()?, &new.total()?)?)
}

/// A place for sums that nobody needs afterwards.
pub fn in_memory() -> Storage {
    let url = Url::parse("memory:///").unwrap_or_else(|_| unreachable!("the text is a URL"));
    Storage::new(url, Arc::new(InMemory::new()), Path::default())
}

/// What a report and a certificate say besides what was compared.
#[derive(Debug)]
pub struct About {
    /// The migration.
    pub migration: MigrationId,
    /// The spec's `scope.where`.
    pub scope: Option<String>,
    /// SHA-256 (hex) of the spec.
    pub spec_digest: String,
    /// When the comparison began.
    pub started_at: DateTime<Utc>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Commands that repeat it.
    pub reproduce: Vec<String>,
}

/// The report and the certificate of a comparison; when `strict`, accepted differences are no success.
///
/// # Errors
/// A part that cannot be written as JSON.
pub fn conclude(
    about: About,
    settings: &Validation,
    [old, new]: [&Pinned<'_>; 2],
    compared: Compared,
    strict: bool,
) -> Result<(ValidationReport, Certificate), Error> {
    let sides = [pinned_side(old), pinned_side(new)];
    let [source, target] = sides.clone();
    let certificate = Certificate::seal(CertificateParts {
        migration: about.migration.clone(),
        source,
        target,
        spec_digest: about.spec_digest.clone(),
        range: settings.range.clone(),
        schema: &compared.schema,
        old: &compared.old,
        new: &compared.new,
        coverage: Coverage { source: compared.coverage[0], target: compared.coverage[1] },
        proven: &compared.proven,
        rows: compared.rows.as_ref(),
        obstacles: &compared.obstacles,
        tool_version: tool_version(),
        engine_versions: engine_versions(),
        at: about.started_at,
    })?;
    let [source, target] = sides;
    let facts = |pinned: PinnedSide, side: &Pinned<'_>, coverage| SideFacts {
        pinned,
        files: side.files.len() as u64,
        bytes: side.files.iter().map(|file| file.size_bytes).sum(),
        coverage,
    };
    let mut report = ValidationReport::new(ReportParts {
        run: RunFacts {
            migration: about.migration,
            scope: about.scope,
            range: settings.range.clone(),
            spec_digest: about.spec_digest,
            tool_version: tool_version(),
            started_at: about.started_at,
            duration_ms: about.duration_ms,
            reproduce: about.reproduce,
        },
        old: facts(source, old, compared.coverage[0]),
        new: facts(target, new, compared.coverage[1]),
        method: Method { encoding: certificate.encoding, key: certificate.key, refinement: compared.refinement },
        schema: compared.schema,
        comparison: Some(compared.comparison),
        cells: compared.cells,
        proven: compared.proven,
        rules: settings.columns.clone(),
        rows: compared.rows,
        obstacles: compared.obstacles,
    });
    if strict {
        report.exit_code = report.verdict.strict_exit_code();
    }
    Ok((report.with_certificate(&certificate), certificate))
}

fn pinned_side(side: &Pinned<'_>) -> PinnedSide {
    PinnedSide {
        format: side.table.format(),
        location: side.table.location().to_owned(),
        version: side.snapshot.version.clone(),
        metadata_digest: read::metadata_digest(side),
    }
}

/// This program, with its version.
pub fn tool_version() -> String {
    format!("lakeshift {}", env!("CARGO_PKG_VERSION"))
}

fn engine_versions() -> BTreeMap<String, String> {
    lakeshift_exec::engine::versions().into_iter().map(|(name, version)| (name.to_owned(), version.to_owned())).collect()
}
