//! The mirror: what has changed in one table since the version that the other one holds, in one commit a round. Until the
//! cutover the old table drives the new one; after it [`reverse`](super::reverse) turns the tables.
//!
//! A file that is gone or replaced is *superseded*. If its unit is not in the target yet, the backfill drops the file. If
//! it is, an adopted file is removed, and a rewritten unit is taken out whole and run again on the files that are left
//! ([`ownership`]). An adopted file from which rows were deleted stays, and its deletes are carried over ([`carry`]).

use lakeshift_core::evolution;
use lakeshift_core::migration::{Event, Side, Work};
use lakeshift_core::plan::{PlanRef, PlannedFile};
use lakeshift_core::schema::Field;
use lakeshift_core::spec::{SchemaChanges, Spec};
use lakeshift_core::table::{FileEntry, Format, Snapshot, TableError, TableVersion};
use lakeshift_stream::{Batch, Lag, Tail};

use super::backfill::{group, run_unit};
use super::commit::{Begun, Delta, commit};
use super::ownership::Meaning;
use super::planning::{plan_files, target_columns};
use super::rows::Rows;
use super::tables::Tables;
use super::{carry, ownership, plans, reverse};
use crate::error::Error;
use crate::meter::Used;
use crate::session::Session;

/// How often a round is begun anew because a writer replaced or deleted a file between the look and the reading.
const LOOKS_MAX: u32 = 5;

/// What to do about changes that are not followed.
const NOT_FOLLOWED: &str = "only new columns that may be null and wider types are followed: take the change back in the source, or \
                            abort and plan a migration of the table as it is now";
/// What to do about wider types that only the new table's format stands against.
const NOT_WIDENED: &str = "take the change back in the source, or abort and plan a migration of the table as it is now: its \
                           columns are then as wide from the beginning";
/// What to do about changes that can be followed, where the spec says to stop.
const MAY_BE_FOLLOWED: &str = "write `dual_write: {schema_changes: follow}` in the spec to make them in the new table too, and \
                               run mirror again";

/// What a look at the source came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Round {
    /// The target holds what the source has.
    InStep,
    /// Changes were carried over.
    Applied {
        /// How far the target was behind.
        lag: Lag,
        /// The source version that it holds now.
        to: TableVersion,
    },
}

/// One way that rows go: from the source of `tables` to their target, which on the way back are the new and the old table.
#[derive(Debug, Clone, Copy)]
pub struct Way<'a> {
    /// The side that the rows come from.
    pub from: Side,
    /// The tables, turned that way.
    pub tables: &'a Tables,
    /// How rows are read and written that way.
    pub rows: &'a Rows,
}

/// What a look has found.
#[derive(Debug)]
pub struct Found {
    /// Between which versions.
    pub batch: Batch,
    /// What it means for the other side.
    pub meaning: Meaning,
    /// What the runner had used before the look.
    used: Used,
}

/// The tail of a side for this migration.
pub fn tail(session: &Session, tables: &Tables, side: Side) -> Tail {
    let table = match side {
        Side::Old => &tables.source,
        Side::New => &tables.target,
    };
    Tail::new(table.clone(), session.context.clock.clone(), session.spec.dual_write.interval.duration())
}

/// The version of a side that the other one holds; `None` when nothing is carried over from it.
pub fn applied(session: &Session, side: Side) -> Option<TableVersion> {
    match side {
        Side::Old => session.state.mirror.as_ref().map(|mirror| mirror.applied.clone()),
        Side::New => session.state.reverse.as_ref().map(|reverse| reverse.applied.clone()),
    }
}

/// Whether the old table was dropped, and another one created in its place: versions of the two say nothing of each other.
///
/// # Errors
/// The table cannot be read.
pub async fn is_another_table(session: &Session, tables: &Tables) -> Result<bool, Error> {
    let Some(pinned) = session.state.boundary.as_ref().and_then(|boundary| boundary.table.as_ref()) else {
        return Ok(false);
    };
    Ok(tables.source.identity().await?.as_ref() != Some(pinned))
}

/// What others have changed on a side since the other one was in step with it; `None` when its version is the same.
/// `tables` as they were opened.
///
/// # Errors
/// A table or a plan that cannot be read.
pub async fn look(session: &Session, tables: &Tables, side: Side) -> Result<Option<Found>, Error> {
    let Some(applied) = applied(session, side) else { return Ok(None) };
    let used = session.live().used();
    if side == Side::Old && is_another_table(session, tables).await? {
        return Err(Error::AnotherTable { location: tables.source.location().to_owned() });
    }
    let looked = tail(session, tables, side).look(&applied).await.map_err(|error| match error {
        TableError::VersionGone { location, version, reason } if version == applied => {
            Error::AppliedVersionGone { location, version, reason }
        }
        error => error.into(),
    });
    let Some(mut batch) = looked? else { return Ok(None) };
    let meaning = ownership::meaning(session, tables, side, &batch).await?;
    batch.changes.added.clone_from(&meaning.added);
    batch.changes.removed.clone_from(&meaning.removed);
    Ok(Some(Found { batch, meaning, used }))
}

/// Looks at the old table once, and carries over what has changed.
///
/// # Errors
/// A source that cannot be read, and every error of a commit; a round is carried over whole or not at all.
pub async fn round(session: &mut Session, tables: &Tables, rows: &Rows) -> Result<Round, Error> {
    for _ in 1..LOOKS_MAX {
        match round_once(session, tables, rows).await {
            Err(error) if tables.source.format() == Format::Hive && error.is_overtaken() => {
                tracing::info!("a file of the old table was replaced while it was looked at; looking again");
            }
            result => return result,
        }
    }
    round_once(session, tables, rows).await
}

async fn round_once(session: &mut Session, tables: &Tables, rows: &Rows) -> Result<Round, Error> {
    let used = session.live().used();
    match look(session, tables, Side::Old).await? {
        Some(found) => carry(session, Way { from: Side::Old, tables, rows }, found).await,
        None => {
            session.live().idled(1, used);
            Ok(Round::InStep)
        }
    }
}

/// Carries over what a look has found.
///
/// # Errors
/// As [`round`].
pub async fn carry(session: &mut Session, way: Way<'_>, found: Found) -> Result<Round, Error> {
    let Found { batch, meaning, used } = found;
    let (tables, to) = (way.tables, batch.to.version.clone());
    tables.source.pin(&batch.to).await?;
    if way.from == Side::Old {
        follow_columns(session, way, &batch).await?;
    }
    if meaning.is_empty() {
        session.record(Event::Followed { side: way.from, to }).await?;
        return Ok(Round::InStep);
    }
    let round = session.state.mirror.as_ref().map_or(0, |mirror| mirror.rounds(way.from)) as u32 + 1;
    let files = meaning.added.into_iter().chain(meaning.again).collect();
    let (plan, files) = plan(session, way, &batch.to, files, round).await?;
    plans::write(session, &plan.digest, &files).await?;
    let source_bytes = batch.changes.added.iter().map(|file| file.size_bytes).sum();
    let begun = Some(Begun { used, source_bytes, rows: batch.lag.rows });
    let mut delta = Delta { remove: meaning.remove, begun, ..Delta::default() };
    let work = async {
        for unit in group(files) {
            let done = run_unit(session, tables, way.rows, &batch.to, None, unit).await?;
            delta.add.extend(done.add);
            delta.deletes.extend(done.deletes);
            delta.bytes_written += done.bytes_written;
        }
        if way.from == Side::Old {
            carry::keep_in_place(tables, &batch.changes, &mut delta).await?;
        }
        Ok::<_, Error>(delta)
    };
    let delta = session.while_renewing(session.context.stop.or_drop(work)).await???;
    let (plan_digest, superseded_files) = (plan.digest, batch.changes.removed.len() as u64);
    let work = match way.from {
        Side::Old => Work::Mirror { round, to: to.clone(), plan_digest, superseded_files },
        Side::New => Work::Reverse { round, to: to.clone(), plan_digest, superseded_files },
    };
    let mirror = if work.is_on_old() { "reverse mirror" } else { "mirror" };
    commit(session, tables, work, delta).await?;
    let (lag, Lag { seconds, rows, .. }) = (batch.lag, batch.lag);
    session.context.progress.say(format!("{mirror}: carried over {lag}, {rows} row(s), the oldest {seconds} s old"));
    Ok(Round::Applied { lag: batch.lag, to })
}

/// Gives the target the columns and the wider types that the source has got, or stops, as the spec says. A target that was
/// given them before a runner died is not given them again.
async fn follow_columns(session: &mut Session, way: Way<'_>, batch: &Batch) -> Result<(), Error> {
    if batch.from.schema == batch.to.schema {
        return Ok(());
    }
    let spec = session.spec.clone();
    let mut before = Box::pin(target_columns(&spec, way.rows, &batch.from)).await?.schema;
    let now = Box::pin(target_columns(&spec, way.rows, &batch.to)).await?.schema;
    if spec.source.format == Format::Hive {
        // A directory has the columns of the files that are in it: one goes with the last file that has it, and so does a wider
        // type. The new table keeps both.
        before.fields.retain(|field| now.field(&field.name).is_some());
        for field in &mut before.fields {
            let narrower = now.field(&field.name).filter(|now| evolution::is_wider(&now.data_type, &field.data_type));
            if let Some(narrower) = narrower {
                field.data_type = narrower.data_type.clone();
            }
        }
    }
    let stopped = |changes: Vec<String>, advice| Error::ColumnsChanged {
        location: way.tables.source.location().to_owned(),
        version: batch.to.version.clone(),
        changes: changes.join("; "),
        advice,
    };
    let wanted = evolution::followable(&before, &now).map_err(|changes| {
        let renamed = evolution::renamed(&batch.from.schema, &batch.to.schema).into_iter();
        let renamed = renamed.map(|(before, now)| format!("column {before} is called {now} now"));
        stopped(renamed.chain(changes).collect(), NOT_FOLLOWED)
    })?;
    if wanted.is_empty() {
        return Ok(());
    }
    let there = way.tables.target.snapshot(None).await?.schema;
    let missing = evolution::missing(&there, &wanted).map_err(|reason| stopped(vec![reason], NOT_FOLLOWED))?;
    if missing.is_empty() {
        return Ok(());
    }
    if let Some(reason) = missing.iter().find_map(|field| not_widened(&spec, there.field(&field.name)?, field)) {
        return Err(stopped(vec![reason], NOT_WIDENED));
    }
    let told = |field: &Field| match there.field(&field.name) {
        Some(before) => evolution::changed_type(before, field),
        None => format!("column {} ({}) is new", field.name, field.data_type),
    };
    if spec.dual_write.schema_changes == SchemaChanges::Stop {
        return Err(stopped(missing.iter().map(told).collect(), MAY_BE_FOLLOWED));
    }
    let told: Vec<String> = missing.iter().map(told).collect();
    session.context.progress.say(format!("mirror: followed in the new table: {}", told.join("; ")));
    let columns = missing.iter().map(|field| field.name.clone()).collect();
    commit(session, way.tables, Work::Evolve { columns }, Delta { evolve: missing, ..Delta::default() }).await.map(drop)
}

/// Why a column of the new table cannot get a wider type.
fn not_widened(spec: &Spec, there: &Field, wanted: &Field) -> Option<String> {
    let change = evolution::changed_type(there, wanted);
    let partitions = || spec.target.partitioning.fields.iter().any(|field| field.column == wanted.name);
    match spec.target.format {
        Format::Iceberg if partitions() => Some(format!("{change}, and the new table is partitioned by it")),
        Format::Iceberg => None,
        format => Some(format!(
            "{change}, and {format} tables have wider types only by a feature (typeWidening) that Lakeshift's commits do not keep"
        )),
    }
}

async fn plan(
    session: &Session,
    way: Way<'_>,
    source: &Snapshot,
    files: Vec<FileEntry>,
    round: u32,
) -> Result<(PlanRef, Vec<PlannedFile>), Error> {
    match way.from {
        Side::Old => {
            let prefix = format!("m{round:04}-");
            let planning = plan_files(&session.spec, way.tables, way.rows, source, files, &prefix).await?;
            Ok((planning.plan, planning.files))
        }
        Side::New => reverse::plan(session, way.tables, source, files, &format!("r{round:04}-")).await,
    }
}
