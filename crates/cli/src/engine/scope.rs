//! What the spec's `scope.where` leaves of the old table, file by file where its partitions tell.

use std::collections::HashMap;

use lakeshift_core::plan::PlanSummary;
use lakeshift_core::reverse::ScopedBy;
use lakeshift_core::spec::Spec;
use lakeshift_core::table::{FileEntry, Snapshot};
use lakeshift_exec::scope::partitions_inside;

use super::rows::Rows;
use crate::error::Error;
use crate::session::Session;

/// Files of the old table, divided.
#[derive(Debug)]
pub struct Divided {
    /// Files that may have rows inside of the scope: all of them are, where the partitions tell.
    pub inside: Vec<FileEntry>,
    /// Files without any row inside.
    pub outside: Vec<FileEntry>,
    /// What tells.
    pub by: ScopedBy,
}

/// Divides files of a version of the old table.
///
/// # Errors
/// The engine cannot evaluate the condition.
pub async fn divide(rows: &Rows, spec: &Spec, source: &Snapshot, files: Vec<FileEntry>) -> Result<Divided, Error> {
    let Some(scope) = &spec.scope else {
        return Ok(Divided { inside: files, outside: Vec::new(), by: ScopedBy::Nothing });
    };
    let (mut places, mut partitions) = (HashMap::new(), Vec::new());
    let of = files.iter().map(|file| {
        *places.entry(format!("{:?}", file.partition)).or_insert_with(|| {
            partitions.push(file.partition.clone());
            partitions.len() - 1
        })
    });
    let of: Vec<usize> = of.collect();
    let table = (&source.schema, &source.partition);
    let Some(told) = Box::pin(partitions_inside(rows.engine(), table, &scope.filter, &partitions)).await? else {
        return Ok(Divided { inside: files, outside: Vec::new(), by: ScopedBy::Rows });
    };
    let (inside, outside): (Vec<_>, Vec<_>) = files.into_iter().zip(of).partition(|(_, partition)| told[*partition]);
    let files = |pairs: Vec<(FileEntry, usize)>| pairs.into_iter().map(|(file, _)| file).collect();
    Ok(Divided { inside: files(inside), outside: files(outside), by: ScopedBy::Partitions })
}

/// As [`divide`], by what is in the old table alone: nothing where the others are carried over.
///
/// # Errors
/// As [`divide`].
pub async fn left_out(rows: &Rows, spec: &Spec, source: &Snapshot, files: Vec<FileEntry>) -> Result<Divided, Error> {
    match &spec.scope {
        Some(scope) if scope.carries_others() => Ok(Divided { inside: files, outside: Vec::new(), by: ScopedBy::Nothing }),
        _ => divide(rows, spec, source, files).await,
    }
}

/// What tells the scope of a migration, as the plan of S0 has found it. Units of a plan that an older build made may mix files of
/// both sides.
pub fn of(session: &Session) -> ScopedBy {
    let plan = session.state.boundary.as_ref().map(|boundary| &boundary.plan).or(session.state.plan.as_ref());
    told_by(&session.spec, plan.map(|plan| &plan.summary))
}

/// What tells a spec's scope by a plan of it.
pub fn told_by(spec: &Spec, plan: Option<&PlanSummary>) -> ScopedBy {
    match (&spec.scope, plan.is_some_and(|plan| plan.scoped_by_partitions)) {
        (None, _) => ScopedBy::Nothing,
        (Some(scope), _) if scope.carries_others() => ScopedBy::Nothing,
        (Some(_), true) => ScopedBy::Partitions,
        (Some(_), false) => ScopedBy::Rows,
    }
}
