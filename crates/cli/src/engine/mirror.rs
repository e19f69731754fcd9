//! The mirror: what has changed in the source since the version that the target holds, in one commit a round.
//!
//! A file that is gone or replaced is *superseded*. If its unit is not in the target yet, the backfill drops the file. If
//! it is, an adopted file is removed, and a rewritten unit is taken out whole and run again on the files that are left. An
//! adopted file from which rows were deleted stays, and its deletes are carried over ([`carry`]).

use std::collections::{BTreeSet, HashMap, HashSet};

use futures::{StreamExt, TryStreamExt};
use lakeshift_core::migration::{SavedPlan, Work};
use lakeshift_core::plan::{PlannedFile, Strategy, unit_of_path};
use lakeshift_core::table::{FileEntry, Snapshot, TableVersion, UnitId};
use lakeshift_stream::{Batch, Lag, Tail};

use super::backfill::{group, run_unit};
use super::commit::{Delta, commit};
use super::planning::plan_files;
use super::rows::Rows;
use super::tables::Tables;
use super::{carry, plans};
use crate::error::Error;
use crate::session::Session;

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

/// The source's tail for this migration.
pub fn tail(session: &Session, tables: &Tables) -> Tail {
    Tail::new(tables.source.clone(), session.context.clock.clone(), session.spec.dual_write.interval.duration())
}

/// Looks once, and carries over what has changed.
///
/// # Errors
/// A source that cannot be read, and every error of a commit; a round is carried over whole or not at all.
pub async fn round(session: &mut Session, tables: &Tables, rows: &Rows) -> Result<Round, Error> {
    let Some(mirror) = session.state.mirror.clone() else { return Ok(Round::InStep) };
    match tail(session, tables).look(&mirror.applied).await? {
        Some(batch) => carry(session, tables, rows, batch).await,
        None => Ok(Round::InStep),
    }
}

/// Carries over what has changed.
///
/// # Errors
/// As [`round`].
pub async fn carry(session: &mut Session, tables: &Tables, rows: &Rows, batch: Batch) -> Result<Round, Error> {
    let rounds = session.state.mirror.as_ref().map_or(0, |mirror| mirror.plans.len());
    let number = rounds as u32 + 1;
    tables.source.pin(&batch.to).await?;
    let superseded = superseded(session, tables, &batch).await?;
    let mut files = batch.changes.added.clone();
    files.extend(remaining(tables, &batch.to, &superseded).await?);
    let planning = plan_files(&session.spec, tables, rows, &batch.to, files, &format!("m{number:04}-")).await?;
    plans::write(session, &planning.plan.digest, &planning.files).await?;
    let mut delta = Delta { remove: superseded.remove, ..Delta::default() };
    let work = async {
        for unit in group(planning.files) {
            let done = run_unit(session, tables, rows, &batch.to, None, unit).await?;
            delta.add.extend(done.add);
            delta.deletes.extend(done.deletes);
            delta.bytes_written += done.bytes_written;
        }
        carry::keep_in_place(tables, &batch.changes, &mut delta).await?;
        Ok::<_, Error>(delta)
    };
    let delta = session.while_renewing(session.context.stop.or_drop(work)).await???;
    let to = batch.to.version.clone();
    let work = Work::Mirror {
        round: number,
        to: to.clone(),
        plan_digest: planning.plan.digest,
        superseded_files: batch.changes.removed.len() as u64,
    };
    commit(session, tables, work, delta).await?;
    let Lag { files, seconds } = batch.lag;
    session.context.progress.say(format!("mirror: carried over {files} changed file(s), the oldest {seconds} s old"));
    Ok(Round::Applied { lag: batch.lag, to })
}

/// What a batch's removed files mean for the target.
#[derive(Debug, Default)]
struct Superseded {
    /// Target files to remove.
    remove: Vec<String>,
    /// Source files of the units that are taken out, as (path, identity).
    of_units: HashSet<(String, String)>,
}

/// A file's unit, and the plan that says so.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Owner {
    plan: usize,
    unit: UnitId,
}

async fn superseded(session: &Session, tables: &Tables, batch: &Batch) -> Result<Superseded, Error> {
    let removed: HashSet<_> = batch.changes.removed.iter().map(key_of_entry).collect();
    let mut superseded = Superseded::default();
    if removed.is_empty() {
        return Ok(superseded);
    }
    let saved = saved_plans(session);
    let owners = owners(session, &saved, &removed).await?;
    let mut units: HashSet<Owner> = HashSet::new();
    for ((path, _), (owner, strategy)) in owners {
        match strategy {
            Strategy::Adopt => superseded.remove.push(carry::adopted_path(tables, &path)),
            Strategy::Splice | Strategy::Rewrite => drop(units.insert(owner)),
        }
    }
    superseded.remove = registered(tables, superseded.remove).await?;
    if !units.is_empty() {
        superseded.remove.extend(files_written_by(session, tables, &units).await?);
        superseded.of_units = files_of(session, &saved, &units, &removed).await?;
    }
    Ok(superseded)
}

/// The plans that own files, oldest first: S0's, then each round's.
fn saved_plans(session: &Session) -> Vec<SavedPlan> {
    let state = &session.state;
    let s0 = state
        .boundary
        .iter()
        .map(|boundary| SavedPlan { digest: boundary.plan.digest.clone(), source: boundary.plan.source.clone() });
    s0.chain(state.mirror.iter().flat_map(|mirror| mirror.plans.clone())).collect()
}

/// The units in the target that hold the removed files. The latest plan that lists a file owns it.
async fn owners(
    session: &Session,
    saved: &[SavedPlan],
    removed: &HashSet<(String, String)>,
) -> Result<HashMap<(String, String), (Owner, Strategy)>, Error> {
    let mut owners = HashMap::new();
    for (plan, one) in saved.iter().enumerate() {
        let mut files = plans::read(session, &one.digest, &one.source);
        while let Some(file) = files.try_next().await? {
            let key = key(&file);
            if removed.contains(&key) && in_target(session, plan, &file.unit) {
                owners.insert(key, (Owner { plan, unit: file.unit }, file.strategy));
            }
        }
    }
    Ok(owners)
}

/// Units of a round are committed with it; units of S0 one by one.
fn in_target(session: &Session, plan: usize, unit: &UnitId) -> bool {
    let number = unit.0.strip_prefix('b').and_then(|digits| digits.parse().ok());
    match (plan, number, &session.state.boundary) {
        (0, Some(number), Some(boundary)) => boundary.done.contains(number),
        (plan, ..) => plan > 0,
    }
}

/// Those of the adopted files that the target has, as it spells them. One that changed just before its unit was committed is not there.
async fn registered(tables: &Tables, adopted: Vec<String>) -> Result<Vec<String>, Error> {
    if adopted.is_empty() {
        return Ok(adopted);
    }
    let plain = |path: &str| tables.target_storage.plain_url_of(path);
    let adopted: HashSet<String> = adopted.iter().map(|path| plain(path)).collect();
    let snapshot = tables.target.snapshot(None).await?;
    let live = tables
        .target
        .files(&snapshot)
        .try_filter_map(|file| std::future::ready(Ok(adopted.contains(&plain(&file.path)).then_some(file.path))));
    Ok(live.try_collect().await?)
}

async fn files_written_by(session: &Session, tables: &Tables, units: &HashSet<Owner>) -> Result<Vec<String>, Error> {
    let units: HashSet<&UnitId> = units.iter().map(|owner| &owner.unit).collect();
    let snapshot = tables.target.snapshot(None).await?;
    let files = tables.target.files(&snapshot).try_filter_map(|file| {
        let ours = unit_of_path(session.id(), &file.path).is_some_and(|unit| units.contains(&unit));
        std::future::ready(Ok(ours.then_some(file.path)))
    });
    Ok(files.try_collect().await?)
}

/// The source files of units, without the removed ones.
async fn files_of(
    session: &Session,
    saved: &[SavedPlan],
    units: &HashSet<Owner>,
    removed: &HashSet<(String, String)>,
) -> Result<HashSet<(String, String)>, Error> {
    let mut found = HashSet::new();
    let concerned: BTreeSet<usize> = units.iter().map(|owner| owner.plan).collect();
    for plan in concerned {
        let mut files = plans::read(session, &saved[plan].digest, &saved[plan].source);
        while let Some(file) = files.try_next().await? {
            let owner = Owner { plan, unit: file.unit.clone() };
            if units.contains(&owner) && !removed.contains(&key(&file)) {
                found.insert(key(&file));
            }
        }
    }
    Ok(found)
}

/// The entries of the taken-out units' files in the source as it is now.
async fn remaining(tables: &Tables, now: &Snapshot, superseded: &Superseded) -> Result<Vec<FileEntry>, Error> {
    if superseded.of_units.is_empty() {
        return Ok(Vec::new());
    }
    let mut files = tables.source.files(now);
    let mut remaining = Vec::with_capacity(superseded.of_units.len());
    while let Some(file) = files.next().await.transpose()? {
        if superseded.of_units.contains(&key_of_entry(&file)) {
            remaining.push(file);
        }
    }
    Ok(remaining)
}

fn key(file: &PlannedFile) -> (String, String) {
    (file.path.clone(), file.identity.clone())
}

fn key_of_entry(file: &FileEntry) -> (String, String) {
    (file.path.clone(), file.identity.clone())
}
