//! Readers that do not resolve the alias: a user's own command moves them, and tells where they are.
//!
//! The command gets `LAKESHIFT_ACTION` in its environment: `switch` moves the readers of `LAKESHIFT_ALIAS` to the side
//! `LAKESHIFT_SIDE`, whose table is `LAKESHIFT_FORMAT` at `LAKESHIFT_LOCATION`, and must be safe to repeat; `check` changes
//! nothing and answers by exit code 0 that they are there.

use std::time::Duration;

use lakeshift_core::migration::{PointerSwitch, Side};

use crate::error::Error;
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

/// Moves the readers of a switch's alias, and asks whether they are there; where they are not, takes back what the command may
/// have done. The inner error says what it did, and whether readers are where they were.
///
/// # Errors
/// The lease is lost, or the runner was stopped.
pub async fn switch(session: &Session, switch: &PointerSwitch, rehearsal: bool) -> Result<Result<(), String>, Error> {
    if session.spec.cutover.command.is_empty() {
        return Ok(Ok(()));
    }
    // The first pointer moves nobody: readers are on the old table.
    let is_first = switch.side == Side::Old && !session.state.pointers.contains_key(&switch.alias);
    if is_first && !rehearsal {
        return asked(session, switch, rehearsal).await;
    }
    let moved = moved(session, switch, rehearsal).await?;
    let (Err(reason), Some(before)) = (&moved, session.state.pointers.get(&switch.alias).filter(|_| !rehearsal)) else {
        return Ok(moved);
    };
    Ok(Err(match self::moved(session, before, rehearsal).await? {
        Ok(()) => reason.clone(),
        Err(again) => format!("{reason}, and they could not be taken back to the {} table: {again}", name(before.side)),
    }))
}

async fn moved(session: &Session, switch: &PointerSwitch, rehearsal: bool) -> Result<Result<(), String>, Error> {
    match ask(session, Action::Switch, switch, rehearsal).await? {
        Err(reason) => Ok(Err(format!("the command that moves readers {reason}"))),
        Ok(()) => asked(session, switch, rehearsal).await,
    }
}

/// Asks whether the readers of a switch's alias are where it points.
async fn asked(session: &Session, switch: &PointerSwitch, rehearsal: bool) -> Result<Result<(), String>, Error> {
    let there = ask(session, Action::Check, switch, rehearsal).await?;
    let (alias, side) = (&switch.alias, name(switch.side));
    Ok(there.map_err(|reason| format!("asked whether readers of {alias} are on the {side} table, the command {reason}")))
}

/// Why the command contradicts the journal; `None` when it says that the readers of `pointer` are where they should be.
///
/// # Errors
/// As [`switch`].
pub async fn elsewhere(session: &Session, pointer: &PointerSwitch) -> Result<Option<String>, Error> {
    if session.spec.cutover.command.is_empty() {
        return Ok(None);
    }
    Ok(asked(session, pointer, false).await?.err())
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
