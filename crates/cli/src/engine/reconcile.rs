//! Rogue writers: commits of others to the new table before the cutover, writes to the old one after it.
//!
//! They are seen in the tables and named in the journal; an operator decides what becomes of them.

use lakeshift_core::migration::{Event, Phase, Reconcile, Side};
use lakeshift_core::table::TableVersion;

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
        _ => (Side::New, foreign),
    };
    let Decided { decision, reason, by } = decided.clone();
    session.record(Event::Reconciled { side, versions, decision, reason, by }).await
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
