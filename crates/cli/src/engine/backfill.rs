//! The backfill: units of S0 in the plan's order, some at a time, committed as they end.
//!
//! Units run in waves. Between waves the mirror looks at the source, so that a file that has changed since is dropped from
//! the units still to come, and is never carried over twice.

use std::collections::HashSet;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use lakeshift_core::equivalence::Fingerprint;
use lakeshift_core::migration::{Phase, Work};
use lakeshift_core::plan::{PlannedFile, Strategy, data_file_stem};
use lakeshift_core::table::{FileEntry, Format, Snapshot, UnitId, deletes_in};
use lakeshift_exec::plan_file::{self, PlanFileError};
use lakeshift_exec::splice::SpliceOutcome;
use lakeshift_tables::storage::side_by_side;

use super::commit::{Delta, commit};
use super::compare::SourceSums;
use super::rows::{RewriteTask, Rows};
use super::tables::Tables;
use super::{carry, mirror, plans};
use crate::error::Error;
use crate::session::Session;

/// How often a unit is run again because its files change while they are read.
const ATTEMPTS_MAX: u32 = 3;

/// Units of one wave, where they are small.
const WAVE_UNITS_MAX: usize = 64;

/// Files that one commit adds, at most, where several units are committed together.
const COMMIT_FILES_MAX: usize = 100_000;

/// Units that are spliced where one would be rewritten: they wait for the store for most of their time.
const SPLICES_FOR_ONE: usize = 3;

/// The files of one unit.
#[derive(Debug, Clone, PartialEq)]
pub struct Unit {
    /// Its id.
    pub id: UnitId,
    /// How its files move.
    pub strategy: Strategy,
    /// Its files.
    pub files: Vec<PlannedFile>,
    /// Units that run at the same time, this one included.
    pub at_once: u32,
}

impl Unit {
    /// The unit of files that stand together in a plan.
    fn of(files: Vec<PlannedFile>) -> Option<Self> {
        let first = files.first()?;
        Some(Self { id: first.unit.clone(), strategy: first.strategy, files, at_once: 1 })
    }

    /// The number in a backfill unit's id.
    fn number(&self) -> Option<u32> {
        self.id.0.strip_prefix('b')?.parse().ok()
    }

    fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size_bytes).sum()
    }
}

/// Runs what is left of the backfill.
///
/// # Errors
/// [`Error::Interrupted`] and every error of reading, writing and committing; what was committed stays.
pub async fn run(session: &mut Session, tables: &Tables, rows: &Rows) -> Result<(), Error> {
    session.wait_while_paused().await?;
    mirror::round(session, tables, rows).await?;
    let Some(boundary) = session.state.boundary.clone() else { return Ok(()) };
    let source = tables.source.snapshot(Some(&boundary.plan.source)).await?;
    let sums = SourceSums::open(session, tables, rows, &source).await?;
    let planned = plans::read(session, &boundary.plan.digest, &boundary.plan.source);
    let mut units = plan_file::units(planned).fuse().boxed();
    let meter = session.context.progress.begin("backfill", boundary.plan.summary.total.bytes);
    while session.state.phase == Phase::Backfill {
        session.context.stop.check()?;
        session.wait_while_paused().await?;
        let gone = gone_since(session, tables, &source).await?;
        let Wave { run, skipped_bytes } = next_wave(session, &mut units, &gone).await?;
        if skipped_bytes > 0 {
            meter.step(skipped_bytes, "done before");
        }
        if run.is_empty() {
            break;
        }
        for done in together(run_wave(session, tables, rows, (&source, sums.as_ref()), run).await?) {
            let message = format!("{}: {} file(s)", done.told, done.delta.add.len());
            commit(session, tables, Work::Backfill { units: done.numbers }, done.delta).await?;
            meter.step(done.source_bytes, &message);
        }
        mirror::round(session, tables, rows).await?;
    }
    meter.finish();
    session.record_idle().await
}

struct Wave {
    run: Vec<Unit>,
    skipped_bytes: u64,
}

/// The next units that are not in the target, without the files that are gone.
async fn next_wave(
    session: &Session,
    units: &mut BoxStream<'_, Result<Vec<PlannedFile>, PlanFileError>>,
    gone: &HashSet<(String, String)>,
) -> Result<Wave, Error> {
    let mut wave = Wave { run: Vec::new(), skipped_bytes: 0 };
    let concurrency = session.live().concurrency() as usize;
    let (unit_bytes, mut bytes, mut files_taken) = (session.spec.backfill.unit_size.bytes(), 0, 0);
    let small = |units, bytes, files| units < WAVE_UNITS_MAX && bytes < unit_bytes && files < COMMIT_FILES_MAX;
    while wave.run.len() < concurrency * 2 || small(wave.run.len(), bytes, files_taken) {
        let Some(files) = units.try_next().await? else { break };
        let Some(mut unit) = Unit::of(files) else { continue };
        let done = session.state.boundary.as_ref().map(|boundary| &boundary.done);
        if unit.number().is_some_and(|number| done.is_some_and(|done| done.contains(number))) {
            wave.skipped_bytes += unit.bytes();
            continue;
        }
        unit.files.retain(|file| !gone.contains(&(file.path.clone(), file.identity.clone())));
        // Deleted rows are held in memory until their commit: a unit with some fills its wave.
        let deletes = unit.files.iter().any(|file| deletes_in(&file.identity).is_some());
        (bytes, files_taken) = (bytes + if deletes { unit_bytes } else { unit.bytes() }, files_taken + unit.files.len());
        wave.run.push(unit);
    }
    Ok(wave)
}

/// Files of S0 that the source no longer has, as far as the mirror has come.
async fn gone_since(session: &Session, tables: &Tables, s0: &Snapshot) -> Result<HashSet<(String, String)>, Error> {
    let Some(mirror) = session.state.mirror.as_ref().filter(|mirror| mirror.applied != s0.version) else {
        return Ok(HashSet::new());
    };
    let now = tables.source.snapshot(Some(&mirror.applied)).await?;
    let changes = tables.source.changes(s0, &now).await?;
    Ok(changes.removed.into_iter().map(|file| (file.path, file.identity)).collect())
}

/// Units that have run and are ready to be committed.
struct Finished {
    /// Strategies and ids, for people.
    told: String,
    numbers: Vec<u32>,
    source_bytes: u64,
    delta: Delta,
}

/// Units that end together are committed together: what a table knows of its past grows with every commit.
fn together(units: Vec<Finished>) -> Vec<Finished> {
    let mut commits: Vec<Finished> = Vec::new();
    for unit in units {
        match commits.last_mut() {
            // Deleted rows are held until their commit, and a unit's share of them fills it.
            Some(last)
                if last.delta.add.len() + unit.delta.add.len() <= COMMIT_FILES_MAX
                    && last.delta.deletes.is_empty()
                    && unit.delta.deletes.is_empty() =>
            {
                last.told = format!("{}, {}", last.told, unit.told);
                last.numbers.extend(unit.numbers);
                last.source_bytes += unit.source_bytes;
                last.delta.add.extend(unit.delta.add);
                last.delta.remove.extend(unit.delta.remove);
                last.delta.bytes_written += unit.delta.bytes_written;
            }
            _ => commits.push(unit),
        }
    }
    commits
}

async fn run_wave(
    session: &Session,
    tables: &Tables,
    rows: &Rows,
    (source, sums): (&Snapshot, Option<&SourceSums<'_>>),
    units: Vec<Unit>,
) -> Result<Vec<Finished>, Error> {
    let mut concurrency = session.live().concurrency() as usize;
    if units.iter().all(|unit| unit.strategy == Strategy::Splice) {
        concurrency *= SPLICES_FOR_ONE;
    }
    let at_once = units.len().min(concurrency) as u32;
    let finished = futures::stream::iter(units)
        .map(|mut unit| async move {
            unit.at_once = at_once;
            let told = format!("{} {}", unit.strategy, unit.id);
            let (numbers, source_bytes) = (unit.number().into_iter().collect(), unit.bytes());
            let delta = run_unit(session, tables, rows, source, sums, unit).await?;
            Ok::<_, Error>(Finished { told, numbers, source_bytes, delta })
        })
        .buffered(concurrency)
        .try_collect();
    session.while_renewing(session.context.stop.or_drop(finished)).await??
}

/// Moves the files of one unit, up to but without the commit. A file that changes meanwhile is left out: the mirror will
/// find it changed and carry it over. With `sums` what was read is summed for the validation.
///
/// # Errors
/// [`Error::Restless`]; a file that cannot be read or written.
pub async fn run_unit(
    session: &Session,
    tables: &Tables,
    rows: &Rows,
    source: &Snapshot,
    sums: Option<&SourceSums<'_>>,
    mut unit: Unit,
) -> Result<Delta, Error> {
    let mut changed = 0;
    for _ in 0..ATTEMPTS_MAX {
        let result = match unit.strategy {
            Strategy::Adopt => carry::adopt(tables, &unit.files).await.map(|delta| (delta, Read::default())),
            Strategy::Splice => splice(session, tables, rows, source, sums, &unit).await,
            Strategy::Rewrite => rewrite(session, tables, rows, source, sums, &unit).await,
        };
        let still = unchanged(tables, &unit.files).await?;
        if still.len() == unit.files.len() {
            let (delta, read) = result?;
            if let Some(sums) = sums {
                sums.keep(&read.files, read.sums).await?;
            }
            return Ok(delta);
        }
        changed = unit.files.len() - still.len();
        unit.files = still;
    }
    Err(Error::Restless { files: changed, attempts: ATTEMPTS_MAX })
}

/// Source files with their sums.
#[derive(Default)]
struct Read {
    files: Vec<FileEntry>,
    sums: Vec<Option<Fingerprint>>,
}

/// Copies the unit's column chunks; where a file's layout does not allow it, its rows are rewritten.
async fn splice(
    session: &Session,
    tables: &Tables,
    rows: &Rows,
    source: &Snapshot,
    sums: Option<&SourceSums<'_>>,
    unit: &Unit,
) -> Result<(Delta, Read), Error> {
    let task = task(session, source, None, unit);
    let Some(key) = unit.files.first().and_then(|file| file.target_partition.as_deref()) else {
        return Ok(Default::default());
    };
    match rows.splice(tables, &task, key).await? {
        SpliceOutcome::Written(add) => {
            let bytes_written = add.iter().map(|file| file.size_bytes).sum();
            Ok((Delta { add, bytes_written, ..Delta::default() }, Read::default()))
        }
        SpliceOutcome::NotPossible { file, reason } => {
            tracing::info!(unit = unit.id.0, file, reason, "the unit cannot be spliced and is rewritten");
            rewrite(session, tables, rows, source, sums, unit).await
        }
    }
}

fn task<'a>(session: &Session, source: &'a Snapshot, sums: Option<&SourceSums<'_>>, unit: &Unit) -> RewriteTask<'a> {
    RewriteTask {
        source,
        files: unit.files.iter().map(entry).collect(),
        stem: data_file_stem(session.id(), &unit.id, session.epoch()),
        sums: sums.map(SourceSums::request),
        at_once: unit.at_once,
    }
}

async fn rewrite(
    session: &Session,
    tables: &Tables,
    rows: &Rows,
    source: &Snapshot,
    sums: Option<&SourceSums<'_>>,
    unit: &Unit,
) -> Result<(Delta, Read), Error> {
    if unit.files.is_empty() {
        return Ok(Default::default());
    }
    let task = task(session, source, sums, unit);
    let written = rows.rewrite(tables, &task).await?;
    let bytes_written = written.files.iter().map(|file| file.size_bytes).sum();
    let delta = Delta { add: written.files, bytes_written, ..Delta::default() };
    Ok((delta, Read { files: task.files, sums: written.sums }))
}

/// A planned file as its table lists it.
pub(super) fn entry(file: &PlannedFile) -> FileEntry {
    FileEntry {
        path: file.path.clone(),
        size_bytes: file.size_bytes,
        identity: file.identity.clone(),
        modified_ms: 0,
        rows: Some(file.rows),
        partition: file.partition.clone(),
        has_deletes: deletes_in(&file.identity).is_some(),
    }
}

/// The files that the store still has with the content that was planned. Those of a table with a log or metadata never
/// change.
async fn unchanged(tables: &Tables, files: &[PlannedFile]) -> Result<Vec<PlannedFile>, Error> {
    if tables.source.format() != Format::Hive {
        return Ok(files.to_vec());
    }
    let storage = &tables.source_storage;
    let look = |file: PlannedFile| {
        let storage = storage.clone();
        async move { Ok::<_, Error>((storage.identity(&file.path).await?.as_ref() == Some(&file.identity)).then_some(file)) }
    };
    let looked = side_by_side(storage.is_on_disk(), futures::stream::iter(files.to_vec()), look);
    looked.try_filter_map(|file| std::future::ready(Ok(file))).try_collect().await
}

/// Planned files by unit; a unit's files stand next to each other.
pub fn group(files: Vec<PlannedFile>) -> Vec<Unit> {
    let groups = files.chunk_by(|a, b| a.unit == b.unit);
    groups.filter_map(|files| Unit::of(files.to_vec())).collect()
}
