//! Readers that do not resolve the alias: the entries of a catalogue, those of a Hive Metastore and a user's own command move
//! them, and tell where they are.
//!
//! Entries (`cutover.exchange_entries`, `cutover.metastore`) move with the last group, before the command is asked.
//!
//! The command gets `LAKESHIFT_ACTION` in its environment: `switch` moves the readers of `LAKESHIFT_ALIAS` to the side
//! `LAKESHIFT_SIDE`, whose table is `LAKESHIFT_FORMAT` at `LAKESHIFT_LOCATION`, and must be safe to repeat; `check` changes
//! nothing and answers by exit code 0 that they are there.

use std::time::Duration;

use lakeshift_core::migration::{PointerSwitch, Side};
use lakeshift_core::pointer::ReaderPointer;

use super::tables::Tables;
use super::{rehearsal, tables};
use crate::error::{Error, with_causes};
use crate::hooks;
use crate::session::Session;

/// How long the command may take.
const TIMEOUT: Duration = Duration::from_secs(300);

/// What the command is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Switch,
    Check,
}

/// Moves the readers of a switch's alias, and asks whether they are there; where they are not, takes back what may have been
/// done. The inner error says what went wrong, and whether readers are where they were.
///
/// # Errors
/// The lease is lost, or the runner was stopped.
pub async fn switch(
    session: &Session,
    tables: &Tables,
    switch: &PointerSwitch,
    rehearsal: bool,
) -> Result<Result<(), String>, Error> {
    // The first pointer moves nobody: readers are on the old table.
    let is_first = switch.side == Side::Old && !session.state.pointers.contains_key(&switch.alias);
    if is_first && !rehearsal {
        return asked(session, tables, switch, rehearsal).await;
    }
    let moved = moved(session, tables, switch, rehearsal).await?;
    let (Err(reason), Some(before)) = (&moved, session.state.pointers.get(&switch.alias).filter(|_| !rehearsal)) else {
        return Ok(moved);
    };
    Ok(Err(match self::moved(session, tables, before, rehearsal).await? {
        Ok(()) => reason.clone(),
        Err(again) => format!("{reason}, and they could not be taken back to the {} table: {again}", name(before.side)),
    }))
}

async fn moved(
    session: &Session,
    tables: &Tables,
    switch: &PointerSwitch,
    rehearsal: bool,
) -> Result<Result<(), String>, Error> {
    for pointer in pointers_of(session, tables, switch, rehearsal)? {
        let point = if rehearsal { pointer.rehearse(switch.side) } else { pointer.point(switch.side) };
        if let Err(error) = session.while_renewing(session.context.stop.or_drop(point)).await?? {
            return Ok(Err(format!("{} was not moved: {}", pointer.name(), with_causes(&Error::from(error)))));
        }
    }
    if !session.spec.cutover.command.is_empty()
        && let Err(reason) = ask(session, Action::Switch, switch, rehearsal).await?
    {
        return Ok(Err(format!("the command that moves readers {reason}")));
    }
    asked(session, tables, switch, rehearsal).await
}

/// What moves with a switch's alias, in its order.
fn pointers_of(
    session: &Session,
    tables: &Tables,
    switch: &PointerSwitch,
    rehearsal: bool,
) -> Result<Vec<Box<dyn ReaderPointer>>, Error> {
    let alias = if rehearsal { rehearsal::rehearsed(&switch.alias) } else { switch.alias.as_str() };
    match alias == session.spec.cutover.alias {
        true => tables::pointers(session, tables),
        false => Ok(Vec::new()),
    }
}

/// Lets entries that name a metadata file of the new table name its present one, where readers are on it: who commits to the
/// table does not know of them.
///
/// # Errors
/// The lease is lost, or the runner was stopped; the inner one is what kept an entry from it.
pub async fn follow(session: &Session, tables: &Tables) -> Result<Result<(), String>, Error> {
    let alias = &session.spec.cutover.alias;
    let Some(pointer) = session.state.pointers.get(alias).filter(|pointer| pointer.side == Side::New) else {
        return Ok(Ok(()));
    };
    if session.spec.cutover.metastore.is_none() || session.state.pending_switch.is_some() {
        return Ok(Ok(()));
    }
    for entry in pointers_of(session, tables, pointer, false)? {
        if let Err(error) = session.while_renewing(session.context.stop.or_drop(entry.point(Side::New))).await?? {
            return Ok(Err(format!("{} does not follow the table: {}", entry.name(), with_causes(&Error::from(error)))));
        }
    }
    Ok(Ok(()))
}

/// Asks whether the readers of a switch's alias are where it points.
async fn asked(
    session: &Session,
    tables: &Tables,
    switch: &PointerSwitch,
    rehearsal: bool,
) -> Result<Result<(), String>, Error> {
    let (alias, side) = (&switch.alias, name(switch.side));
    // A rehearsal has taken back what it did to them.
    let pointers = if rehearsal { Vec::new() } else { pointers_of(session, tables, switch, rehearsal)? };
    for pointer in pointers {
        let what = pointer.name();
        match session.while_renewing(session.context.stop.or_drop(pointer.named())).await?? {
            Ok(named) if named == switch.side => {}
            Ok(named) => return Ok(Err(format!("{what} names the {} table, not the {side} one", name(named)))),
            Err(error) => return Ok(Err(format!("{what} does not tell: {}", with_causes(&Error::from(error))))),
        }
    }
    if session.spec.cutover.command.is_empty() {
        return Ok(Ok(()));
    }
    let there = ask(session, Action::Check, switch, rehearsal).await?;
    Ok(there.map_err(|reason| format!("asked whether readers of {alias} are on the {side} table, the command {reason}")))
}

/// What contradicts the journal; `None` when the readers of `pointer` are where they should be, as far as anybody tells.
///
/// # Errors
/// As [`switch`].
pub async fn elsewhere(session: &Session, tables: &Tables, pointer: &PointerSwitch) -> Result<Option<String>, Error> {
    Ok(asked(session, tables, pointer, false).await?.err())
}

async fn ask(
    session: &Session,
    action: Action,
    switch: &PointerSwitch,
    rehearsal: bool,
) -> Result<Result<(), String>, Error> {
    let action = match action {
        Action::Switch => "switch",
        Action::Check => "check",
    };
    let variables = [
        ("LAKESHIFT_ACTION", action.to_owned()),
        ("LAKESHIFT_MIGRATION", session.id().0.clone()),
        ("LAKESHIFT_CONTROL", session.control.location().to_owned()),
        ("LAKESHIFT_ALIAS", switch.alias.clone()),
        ("LAKESHIFT_SIDE", name(switch.side).to_owned()),
        ("LAKESHIFT_FORMAT", switch.format.to_string()),
        ("LAKESHIFT_LOCATION", switch.location.clone()),
        ("LAKESHIFT_REHEARSAL", if rehearsal { "1" } else { "" }.to_owned()),
    ];
    let command = hooks::run_command(&session.spec.cutover.command, &variables, None);
    let answer = hooks::within(session, TIMEOUT, command);
    session.while_renewing(session.context.stop.or_drop(answer)).await?
}

fn name(side: Side) -> &'static str {
    match side {
        Side::Old => "old",
        Side::New => "new",
    }
}
