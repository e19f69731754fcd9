//! The rehearsal: the whole cutover and the whole way back, on aliases that nobody reads, timed.

use lakeshift_core::migration::{Command, Event, PointerSwitch, Side, may_switch};
use lakeshift_core::pointer::SwitchOutcome;
use lakeshift_journal::RngExt;

use super::tables::Tables;
use super::{evidence, fence, readers, reverse, switch};
use crate::error::Error;
use crate::session::Session;

/// Ends the name of an alias that is switched for rehearsal.
const SUFFIX: &str = ".rehearsal";

/// The alias that is rehearsed by one of this name.
pub fn rehearsed(alias: &str) -> &str {
    alias.strip_suffix(SUFFIX).unwrap_or(alias)
}

/// How long it took, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Took {
    /// All gates, and every group to the new table.
    pub forward_ms: u64,
    /// What others would have written looked for, and every group back.
    pub back_ms: u64,
}

/// Asks every gate but its own and the command that holds writers off, moves every group's shadow alias forward and back,
/// with the user's command where there is one, and records what it took.
///
/// # Errors
/// A gate that refuses, a command that fails, an alias that another program moved: what would have stopped the cutover.
pub async fn run(session: &mut Session, tables: &Tables) -> Result<Took, Error> {
    let clock = session.context.clock.clone();
    let began = clock.elapsed();
    let mut now = evidence::gather(session, tables, Command::Cutover).await?;
    now.wants_rehearsal = false;
    may_switch(&session.state, &now).map_err(|refusal| Error::Refused {
        command: Command::Cutover.name(),
        migration: session.id().clone(),
        refusal,
    })?;
    let groups: Vec<_> = session.spec.cutover.groups().into_iter().map(|group| group.alias).collect();
    for alias in &groups {
        fence::rehearse(session, tables).await?;
        step(session, tables, alias, Side::New).await?;
    }
    let moved = clock.elapsed();
    // Nobody has written to the new table, so that there is nothing to carry back; whether it could be is looked at.
    let irreversible = reverse::impossible(session, tables).await?;
    for alias in groups.iter().rev() {
        step(session, tables, alias, Side::Old).await?;
    }
    let ms = |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let took = Took { forward_ms: ms(moved.saturating_sub(began)), back_ms: ms(clock.elapsed().saturating_sub(moved)) };
    let Took { forward_ms, back_ms } = took;
    session.record(Event::Rehearsed { forward_ms, back_ms, irreversible }).await?;
    Ok(took)
}

/// Moves the readers of an alias's shadow, as far as they can be moved without anybody seeing it.
///
/// # Errors
/// As [`run`], but for the gates.
pub async fn step(session: &Session, tables: &Tables, alias: &str, side: Side) -> Result<(), Error> {
    let name = format!("{alias}{SUFFIX}");
    let shadow = switch::alias(session, &name);
    let table = if side == Side::New { &tables.target } else { &tables.source };
    let step = PointerSwitch {
        alias: name,
        number: shadow.current().await?.map_or(1, |pointer| pointer.number + 1),
        side,
        format: table.format(),
        location: table.location().to_owned(),
        nonce: format!("{:016x}", session.context.rng.nonce()),
        loses_writes: false,
        completes: false,
    };
    if let Err(reason) = readers::switch(session, tables, &step, true).await? {
        return Err(Error::ReadersNotMoved { alias: step.alias, reason });
    }
    match shadow.switch(&step, session.id(), session.context.clock.now()).await? {
        SwitchOutcome::Switched => Ok(()),
        SwitchOutcome::Taken(found) => Err(Error::AliasTaken { found: Box::new(found) }),
    }
}
