//! What a command's decision rests on, as the tables and the control root are now.

use lakeshift_core::migration::{Command, Evidence, Phase};
use lakeshift_core::spec::Stage;
use lakeshift_core::table::TableVersion;

use super::tables::Tables;
use super::{fence, mirror, reconcile, reverse, room, switch};
use crate::error::Error;
use crate::session::Session;

/// Looks at what `command` asks for, and at nothing else.
///
/// # Errors
/// A table or the control root that cannot be read.
pub async fn gather(session: &Session, tables: &Tables, command: Command) -> Result<Evidence, Error> {
    let mut evidence = session.evidence();
    let state = &session.state;
    // A purge that was cut off may have left no file of the source to look at.
    let at_the_end = command == Command::Sunset && state.phase == Phase::Grace;
    if matches!(command, Command::Cutover | Command::Reconcile) || at_the_end {
        let version = tables.source.snapshot(None).await?.version;
        evidence.source = Some(match mirror::is_another_table(session, tables).await? {
            true => TableVersion(format!("{version} of another table")),
            false => version,
        });
    }
    if matches!(command, Command::Cutover | Command::Rollback | Command::Reconcile) && state.target_created {
        evidence.target = Some(tables.target.snapshot(None).await?.version);
        evidence.foreign = state.rogues(&tables.target.marks(session.id()).await?.foreign);
    }
    if command == Command::Rollback && state.reverse.is_some() {
        evidence.carries_back = reverse::impossible(session, tables).await?.is_none();
    }
    if command == Command::Cutover {
        evidence.unwatched = session.spec.cutover.groups().iter().any(|group| is_unwatched(session, group));
        evidence.postponed = session.controls().await?.postponed;
        evidence.drains = fence::holds_writers(session).await?;
        evidence.wants_rehearsal = session.spec.cutover.rehearsal;
        evidence.alias_taken = switch::taken(session, tables).await?;
        evidence.no_room = room::lacking(session, tables).await?;
        evidence.freshness = session.spec.validation.freshness.map(|freshness| freshness.duration());
    }
    let asked_after = matches!(command, Command::Sunset | Command::Reconcile) && state.phase == Phase::Grace;
    if asked_after && !state.source_is_at_rest(evidence.source.as_ref()) {
        // Names are a courtesy: that the version is another one is what blocks.
        evidence.source_changes = reconcile::late_writes(session, tables).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "could not tell which files of the old table have changed");
            Vec::new()
        });
    }
    Ok(evidence)
}

/// Whether a group has moved and was not watched to the end of its bake time.
pub fn is_unwatched(session: &Session, group: &Stage) -> bool {
    let has_moved = session.state.on_new().any(|alias| alias == group.alias);
    has_moved && group.is_watched() && !session.state.baked.contains(&group.alias)
}
