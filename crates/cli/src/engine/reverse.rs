//! The reverse mirror: from the cutover to the sunset, what others write to the new table reaches the old one, so that a
//! rollback loses nothing.
//!
//! It is the mirror with the tables turned. Every new file is rewritten into the old table's layout, as a unit of its own;
//! where a file that the migration had written is removed from the new table, the old files that its rows came from go, and
//! what is left of its unit is carried back with the next round's files.

use futures::StreamExt;
use lakeshift_core::migration::{Event, Reconcile, Side};
use lakeshift_core::partition::PartitionSpec;
use lakeshift_core::plan::{Assumptions, PlanRef, PlannedFile, Strategy, UnitLimits, into_units, summarize};
use lakeshift_core::reverse::{Back, columns_back, possible};
use lakeshift_core::spec::Spec;
use lakeshift_core::table::{FileEntry, Snapshot, UnitId};

use super::mirror::{self, Round, Way};
use super::rows::Rows;
use super::tables::Tables;
use super::{plans, scope, switch};
use crate::error::Error;
use crate::session::Session;

/// Rounds in a row; a table may be written faster than it is carried back.
const ROUNDS_MAX: usize = 20;

/// In the journal, why commits of others to the new table are no longer rogue.
const CARRIED_BACK: &str = "the reverse mirror has carried them to the old table";

/// Readers were moved by force, and nothing tells what has been written since.
pub const NO_BASE: &str = "readers moved without any validation, so that nothing tells what has been written since";

/// Why the old table cannot follow the new one; `None` when it can.
///
/// # Errors
/// A table that cannot be read.
pub async fn impossible(session: &Session, tables: &Tables) -> Result<Option<String>, Error> {
    let scope = scope::of(session);
    if let Err(reason) = possible(&session.spec, scope) {
        return Ok(Some(reason));
    }
    let (old, new) = (tables.source.snapshot(None).await?, tables.target.snapshot(None).await?);
    Ok(columns_back(&session.spec, scope, &old.schema, &new.schema).err())
}

/// What [`catch_up`] came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CaughtUp {
    /// Changed files that were carried back.
    pub files: u64,
    /// Whether the old table holds what the new one has.
    pub in_step: bool,
}

/// Carries back what others have committed to the new table, until there is no more or for a bounded number of rounds.
///
/// # Errors
/// [`Error::Irreversible`], and as [`mirror::round`].
pub async fn catch_up(session: &mut Session, tables: &Tables) -> Result<CaughtUp, Error> {
    let mut files = 0;
    for _ in 0..ROUNDS_MAX {
        match round(session, tables).await? {
            Round::InStep => return Ok(CaughtUp { files, in_step: true }),
            Round::Applied { lag, .. } => files += lag.files,
        }
    }
    Ok(CaughtUp { files, in_step: false })
}

/// Takes every group of readers back to the old table: what others have written to the new one is carried there first, and
/// once more when readers are there. The result is how many changed files were carried.
///
/// # Errors
/// As [`catch_up`]; a pointer that cannot be moved; [`Error::Outrun`] with readers on the old table.
pub async fn roll_back(session: &mut Session, tables: &Tables) -> Result<u64, Error> {
    let before = catch_up(session, tables).await?;
    switch::back(session, tables, false).await?;
    // Whoever wrote to the new table until this moment was told that it is safe.
    let foreign = tables.target.marks(session.id()).await?.foreign;
    let after = catch_up(session, tables).await?;
    if !after.in_step {
        return Err(Error::Outrun { rounds: ROUNDS_MAX });
    }
    let versions = session.state.rogues(&foreign);
    if !versions.is_empty() {
        let (side, decision, reason) = (Side::New, Reconcile::Adopt, CARRIED_BACK.to_owned());
        let by = session.context.holder.clone();
        session.record(Event::Reconciled { side, versions, decision, reason, by }).await?;
    }
    Ok(before.files + after.files)
}

/// Looks at the new table once, and carries back what others have changed.
///
/// # Errors
/// As [`catch_up`].
pub async fn round(session: &mut Session, tables: &Tables) -> Result<Round, Error> {
    if session.state.reverse.is_none() {
        return Err(Error::Irreversible { reason: NO_BASE.to_owned() });
    }
    let used = session.live().used();
    let Some(found) = mirror::look(session, tables, Side::New).await? else {
        follow(session, tables).await?;
        session.live().idled(1, used);
        return Ok(Round::InStep);
    };
    let turned = tables.turned(session.id());
    let spec = spec_back(session, tables, &found.batch.to).await?;
    let rows = Rows::new(&spec, session.live().clone())?;
    let way = Way { from: Side::New, tables: &turned, rows: &rows };
    let round = Box::pin(mirror::carry(session, way, found)).await?;
    follow(session, tables).await?;
    Ok(round)
}

/// Notes the old table's version where nothing but what was carried back has changed it, so that writes of others stand out.
async fn follow(session: &mut Session, tables: &Tables) -> Result<(), Error> {
    if let Some(found) = mirror::look(session, tables, Side::Old).await?.filter(|found| found.meaning.is_empty()) {
        let to = found.batch.to;
        tables.source.pin(&to).await?;
        let to = to.version;
        session.record(Event::Followed { side: Side::Old, to }).await?;
    }
    Ok(())
}

/// The spec of the way back: into the old table's partitioning and columns, every file rewritten.
async fn spec_back(session: &Session, tables: &Tables, new: &Snapshot) -> Result<Spec, Error> {
    let old = tables.source.snapshot(None).await?;
    let back = columns_back(&session.spec, scope::of(session), &old.schema, &new.schema);
    let Back { columns, left_out } = back.map_err(|reason| Error::Irreversible { reason })?;
    let mut spec = session.spec.clone();
    (spec.source.format, spec.target.format) = (spec.target.format, spec.source.format);
    spec.target.partitioning = PartitionSpec { fields: old.partition.fields };
    spec.target.sort = Vec::new();
    spec.target.parquet = Default::default();
    // Where columns are as they were, rows pass as they are read.
    let names = old.schema.fields.iter().map(|field| &field.name).eq(new.schema.fields.iter().map(|field| &field.name));
    let changed = columns.iter().any(|column| column.from.is_some() || column.data_type.is_some());
    spec.target.columns = if names && !changed { Vec::new() } else { columns };
    spec.target.drop = left_out;
    // What others have written outside of the scope is theirs to have again, too.
    spec.scope = None;
    Ok(spec)
}

/// Plans files of the new table for the old one: each is a unit, so that what its removal takes along is itself alone.
///
/// # Errors
/// A file that cannot be read.
pub async fn plan(
    session: &Session,
    turned: &Tables,
    source: &Snapshot,
    files: Vec<FileEntry>,
    prefix: &str,
) -> Result<(PlanRef, Vec<PlannedFile>), Error> {
    let mut planned = Vec::with_capacity(files.len());
    let mut facts = turned.source.facts(files);
    while let Some((file, facts)) = facts.next().await {
        planned.push(PlannedFile {
            unit: UnitId(String::new()),
            strategy: Strategy::Rewrite,
            reason: "the old table has a layout of its own".to_owned(),
            path: file.path,
            identity: file.identity,
            size_bytes: file.size_bytes,
            rows: facts?.rows,
            partition: file.partition,
            target_partition: None,
        });
    }
    let files = into_units(planned, false, UnitLimits { rewrite_bytes_max: 0, adopt_files_max: 1 }, prefix);
    let digest = plans::digest(&session.spec.digest(), &source.version, &files);
    let summary = summarize(&files, &Assumptions::default());
    Ok((PlanRef { digest, source: source.version.clone(), summary }, files))
}
