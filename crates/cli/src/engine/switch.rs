//! Moving aliases. The intent in the journal is complete, so that any runner can finish a switch that was begun.

use std::future::Future;
use std::time::Duration;

use futures::future::{Either, select};
use lakeshift_core::migration::{Event, PointerSwitch, Polled, Side};
use lakeshift_core::pointer::{Alias, Pointer, SwitchOutcome};
use lakeshift_journal::RngExt;

use super::readers;
use super::tables::Tables;
use crate::error::Error;
use crate::session::Session;

/// Pause between two questions of the reader that is asked for while an alias moves.
const POLL: Duration = Duration::from_millis(5);

/// An alias of the migration.
pub fn alias(session: &Session, name: &str) -> Alias {
    Alias::new(&session.control, name, session.context.clock.clone())
}

/// Points one alias to a side, by one compare-and-swap.
///
/// # Errors
/// [`Error::AliasTaken`] when another migration has moved it; [`Error::Fenced`].
pub async fn switch(
    session: &mut Session,
    tables: &Tables,
    name: &str,
    side: Side,
    loses_writes: bool,
) -> Result<(), Error> {
    let table = match side {
        Side::Old => &tables.source,
        Side::New => &tables.target,
    };
    let current = alias(session, name).current().await?;
    if let Some(found) = current.as_ref().filter(|pointer| is_taken(session, tables, pointer)) {
        return Err(Error::AliasTaken { found: Box::new(found.clone()) });
    }
    // Also where the alias's objects are gone: a number that was given once is not given again.
    let known = session.state.pointers.get(name).map_or(0, |pointer| pointer.number);
    let intent = PointerSwitch {
        alias: name.to_owned(),
        number: current.map_or(known, |pointer| pointer.number.max(known)) + 1,
        side,
        format: table.format(),
        location: table.location().to_owned(),
        nonce: format!("{:016x}", session.context.rng.nonce()),
        loses_writes,
        completes: completes(session, name, side),
    };
    session.record(Event::SwitchIntended(intent)).await?;
    settle_pending(session, tables).await
}

/// Whether every other group of readers is on that side already.
fn completes(session: &Session, name: &str, side: Side) -> bool {
    let state = &session.state;
    match side {
        Side::Old => state.on_new().all(|alias| alias == name),
        Side::New => {
            let is_there = |alias: &str| alias == name || state.on_new().any(|other| other == alias);
            session.spec.cutover.groups().iter().all(|group| is_there(&group.alias))
        }
    }
}

/// Takes every group of readers back to the old table, the last that moved first.
///
/// # Errors
/// As [`switch`].
pub async fn back(session: &mut Session, tables: &Tables, loses_writes: bool) -> Result<(), Error> {
    let order: Vec<_> = session.spec.cutover.groups().into_iter().map(|group| group.alias).collect();
    let mut there: Vec<_> = session.state.on_new().map(str::to_owned).collect();
    // An alias that the spec no longer names moved in a time that it did; it goes back too.
    there.sort_by_key(|alias| std::cmp::Reverse(order.iter().position(|other| other == alias)));
    for alias in there {
        switch(session, tables, &alias, Side::Old, loses_writes).await?;
    }
    Ok(())
}

/// Whether another migration has pointed the alias to somewhere else than this one's old table.
fn is_taken(session: &Session, tables: &Tables, pointer: &Pointer) -> bool {
    pointer.migration != *session.id() && pointer.location != tables.source.location()
}

/// Why an alias is not this migration's to move; `None` when all are.
///
/// # Errors
/// One cannot be read.
pub async fn taken(session: &Session, tables: &Tables) -> Result<Option<String>, Error> {
    for group in session.spec.cutover.groups() {
        let current = alias(session, &group.alias).current().await?;
        if let Some(found) = current.filter(|pointer| is_taken(session, tables, pointer)) {
            let Pointer { alias, location, migration, .. } = found;
            return Ok(Some(format!("alias {alias} points to {location}, by migration {migration}")));
        }
        // While a switch is pending nobody knows where they are.
        let pending = session.state.pending_switch.as_ref().is_some_and(|switch| switch.alias == group.alias);
        if let Some(pointer) = session.state.pointers.get(&group.alias).filter(|_| !pending)
            && let Some(reason) = readers::elsewhere(session, tables, pointer).await?
        {
            return Ok(Some(reason));
        }
    }
    Ok(None)
}

/// Finishes a switch that was begun: first the catalogue's entries and the user's command, where there are any, then the alias.
///
/// # Errors
/// As [`switch`]; [`Error::ReadersNotMoved`] with the alias where it was.
pub async fn settle_pending(session: &mut Session, tables: &Tables) -> Result<(), Error> {
    let Some(intent) = session.state.pending_switch.clone() else { return Ok(()) };
    if let Err(reason) = readers::switch(session, tables, &intent, false).await? {
        session.record(Event::SwitchVoid { number: intent.number }).await?;
        return Err(Error::ReadersNotMoved { alias: intent.alias, reason });
    }
    let at = session.context.clock.now();
    let pointer = alias(session, &intent.alias);
    let (switched, readers) = polled(session, &pointer, pointer.switch(&intent, session.id(), at)).await;
    match switched? {
        SwitchOutcome::Switched => {
            // The first pointer moves nobody.
            let readers = (intent.number > 1).then_some(readers);
            session.record(Event::Switched { number: intent.number, readers }).await
        }
        SwitchOutcome::Taken(found) => {
            session.record(Event::SwitchVoid { number: intent.number }).await?;
            Err(Error::AliasTaken { found: Box::new(found) })
        }
    }
}

/// Resolves an alias again and again while `work` moves it, and once after that, as a reader would.
async fn polled<T>(session: &Session, alias: &Alias, work: impl Future<Output = T>) -> (T, Polled) {
    let clock = &session.context.clock;
    let (mut polled, mut answered) = (Polled::default(), clock.elapsed());
    let mut ask = async || {
        let answer = alias.resolve().await;
        let now = clock.elapsed();
        polled.polls += 1;
        match answer {
            Ok(_) => {
                let waited = u64::try_from(now.saturating_sub(answered).as_millis()).unwrap_or(u64::MAX);
                polled.longest_ms = polled.longest_ms.max(waited);
                answered = now;
            }
            Err(_) => polled.unanswered += 1,
        }
    };
    let mut work = Box::pin(work);
    let done = loop {
        match select(work, Box::pin(clock.sleep(POLL))).await {
            Either::Left((done, _)) => break done,
            Either::Right(((), unfinished)) => work = unfinished,
        }
        ask().await;
    };
    ask().await;
    (done, polled)
}
