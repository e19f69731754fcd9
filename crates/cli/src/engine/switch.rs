//! Moving the alias. The intent in the journal is complete, so that any runner can finish a switch that was begun.

use lakeshift_core::migration::{Event, PointerSwitch, Side};
use lakeshift_core::pointer::{Alias, SwitchOutcome};
use lakeshift_journal::RngExt;

use super::tables::Tables;
use crate::error::Error;
use crate::session::Session;

/// The migration's alias.
pub fn alias(session: &Session) -> Alias {
    Alias::new(&session.control, &session.spec.cutover.alias, session.context.clock.clone())
}

/// Points the alias to a side.
///
/// # Errors
/// [`Error::AliasTaken`] when another migration has moved it; [`Error::Fenced`].
pub async fn switch(session: &mut Session, tables: &Tables, side: Side, loses_writes: bool) -> Result<(), Error> {
    let table = match side {
        Side::Old => &tables.source,
        Side::New => &tables.target,
    };
    let current = alias(session).current().await?;
    if let Some(found) = current.as_ref().filter(|pointer| pointer.migration != *session.id())
        && found.location != tables.source.location()
    {
        return Err(Error::AliasTaken { found: Box::new(found.clone()) });
    }
    let intent = PointerSwitch {
        alias: session.spec.cutover.alias.clone(),
        number: current.map_or(1, |pointer| pointer.number + 1),
        side,
        format: table.format(),
        location: table.location().to_owned(),
        nonce: format!("{:016x}", session.context.rng.nonce()),
        loses_writes,
    };
    session.record(Event::SwitchIntended(intent)).await?;
    settle_pending(session).await
}

/// Finishes a switch that was begun.
///
/// # Errors
/// As [`switch`].
pub async fn settle_pending(session: &mut Session) -> Result<(), Error> {
    let Some(intent) = session.state.pending_switch.clone() else { return Ok(()) };
    let at = session.context.clock.now();
    match alias(session).switch(&intent, session.id(), at).await? {
        SwitchOutcome::Switched => session.record(Event::Switched { number: intent.number }).await,
        SwitchOutcome::Taken(found) => {
            session.record(Event::SwitchVoid { number: intent.number }).await?;
            Err(Error::AliasTaken { found: Box::new(found) })
        }
    }
}
