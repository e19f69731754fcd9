//! Rogue writers: commits of others to the new table before the cutover, writes to the old one after it.
//!
//! They are seen in the tables and named in the journal; an operator decides what becomes of them.

use std::collections::HashSet;

use futures::StreamExt;
use lakeshift_core::migration::{Event, Phase, Reconcile, Side, Work};
use lakeshift_core::plan::unit_of_path;
use lakeshift_core::table::{FileEntry, TableVersion};

use super::commit::{Delta, commit};
use super::mirror::{self, Way};
use super::rows::Rows;
use super::tables::Tables;
use crate::error::Error;
use crate::session::Session;

/// Who decides, and why.
#[derive(Debug, Clone)]
pub struct Decided {
    /// What becomes of the writes.
    pub decision: Reconcile,
    /// Why.
    pub reason: String,
    /// Who.
    pub by: String,
}

/// Records commits of others that no runner has seen. This migration's own next commit hides them from the table's marks,
/// so it is asked before every commit.
///
/// # Errors
/// The table cannot be read.
pub async fn note_foreign(session: &mut Session, tables: &Tables) -> Result<(), Error> {
    let found = tables.target.marks(session.id()).await?.foreign;
    let state = &session.state;
    let known = |version: &TableVersion| state.foreign.contains(version) || state.adopted.contains(version);
    let versions: Vec<_> = found.into_iter().filter(|version| !known(version)).collect();
    if versions.is_empty() {
        return Ok(());
    }
    tracing::warn!(
        count = versions.len(),
        "somebody else has committed to the new table; `lakeshift status` names the versions"
    );
    session.record(Event::RogueSeen { versions }).await
}

/// Files of the old table that came (`+`) or went (`-`) since the mirror looked last.
///
/// # Errors
/// The table cannot be read.
pub async fn late_writes(session: &Session, tables: &Tables) -> Result<Vec<String>, Error> {
    let Some(found) = mirror::look(session, tables, Side::Old).await? else { return Ok(Vec::new()) };
    let added = found.batch.changes.added.iter().map(|file| format!("+{}", file.path));
    let removed = found.batch.changes.removed.iter().map(|file| format!("-{}", file.path));
    Ok(added.chain(removed).collect())
}

/// Carries out what was decided, which [`lakeshift_core::migration::decide`] has admitted.
///
/// # Errors
/// [`Error::LateRemovals`]; every error of a round of the mirror.
pub async fn run(
    session: &mut Session,
    tables: &Tables,
    rows: &Rows,
    foreign: Vec<TableVersion>,
    decided: &Decided,
) -> Result<(), Error> {
    let (side, versions) = match (session.state.phase, decided.decision) {
        (Phase::Grace, Reconcile::Adopt) => (Side::Old, vec![carry_over(session, tables, rows).await?]),
        (Phase::Grace, Reconcile::Reject) => (Side::Old, vec![tables.source.snapshot(None).await?.version]),
        (_, Reconcile::Adopt) => (Side::New, foreign),
        (_, Reconcile::Reject) => return undo(session, tables, foreign, decided).await,
    };
    record(session, side, versions, decided).await
}

async fn record(session: &mut Session, side: Side, versions: Vec<TableVersion>, decided: &Decided) -> Result<(), Error> {
    let Decided { decision, reason, by } = decided.clone();
    session.record(Event::Reconciled { side, versions, decision, reason, by }).await
}

/// Takes the files out of the new table that others have added. What they removed or deleted rows from is not put back: the
/// mirror has gone on since, and may have done without it.
async fn undo(session: &mut Session, tables: &Tables, foreign: Vec<TableVersion>, decided: &Decided) -> Result<(), Error> {
    let refused = |version: &TableVersion, what: String| Error::NotUndone { version: version.clone(), what };
    let mut added = HashSet::new();
    for version in &foreign {
        if tables.source.location() == tables.target.location() {
            return Err(refused(version, "it shares its folder with the old one, and so do their files".to_owned()));
        }
        let Some(parent) = tables.target.parent(version).await? else {
            return Err(refused(version, "what was before it cannot be told".to_owned()));
        };
        let before = tables.target.snapshot(Some(&parent)).await?;
        let changes = tables.target.changes(&before, &tables.target.snapshot(Some(version)).await?).await?;
        if let Some(file) = changes.removed.first() {
            return Err(refused(version, format!("it removed or replaced {}", file.path)));
        }
        let is_ours = |file: &&FileEntry| file.path.contains("://") || unit_of_path(session.id(), &file.path).is_some();
        if let Some(file) = changes.added.iter().find(is_ours) {
            return Err(refused(version, format!("it brought back {}, a file of the migration", file.path)));
        }
        added.extend(changes.added.into_iter().map(|file| (file.path, file.identity)));
    }
    let snapshot = tables.target.snapshot(None).await?;
    let mut remove = Vec::new();
    let mut files = tables.target.files(&snapshot);
    while let Some(file) = files.next().await.transpose()? {
        let key = (file.path, file.identity);
        if added.contains(&key) {
            remove.push(key.0);
        }
    }
    drop(files);
    // What their commits bring to light must be known before this one hides it.
    note_foreign(session, tables).await?;
    record(session, Side::New, foreign.clone(), decided).await?;
    commit(session, tables, Work::Undo { versions: foreign }, Delta { remove, ..Delta::default() }).await.map(drop)
}

/// Adds the rows of files that came late to the new table. A file that went or was replaced is not carried over: the new
/// table's own writers may have rewritten the rows that came from it, and nothing would tell which they are.
async fn carry_over(session: &mut Session, tables: &Tables, rows: &Rows) -> Result<TableVersion, Error> {
    let Some(found) = mirror::look(session, tables, Side::Old).await? else {
        return Ok(tables.source.snapshot(None).await?.version);
    };
    if let Some(first) = found.meaning.removed.first() {
        return Err(Error::LateRemovals { files: found.meaning.removed.len(), first: first.path.clone() });
    }
    let to = found.batch.to.version.clone();
    mirror::carry(session, Way { from: Side::Old, tables, rows }, found).await?;
    Ok(to)
}
