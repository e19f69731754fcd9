//! Writers held off while readers move: producers that write both tables by their lease, others by the user's command.
//!
//! The command (`cutover.fence`) gets `LAKESHIFT_ACTION` in its environment: `hold` returns when nobody writes either table any
//! more, `release` lets writers go on with the table `LAKESHIFT_SIDE`, `LAKESHIFT_FORMAT` at `LAKESHIFT_LOCATION`. Both must be
//! safe to repeat: that writers are about to be held stands in the journal first, and whoever comes next lets them go. A rehearsal
//! asks for both with `LAKESHIFT_REHEARSAL=1`: the command tells whether it could, and holds nobody.

use std::time::Duration;

use lakeshift_core::migration::{Event, Side};
use lakeshift_core::writes::written_side;

use super::tables::Tables;
use super::writer;
use crate::error::Error;
use crate::hooks;
use crate::session::Session;

/// How long the command may take.
const TIMEOUT: Duration = Duration::from_secs(300);

/// How long a producer's write is waited for: longer than the lease of one that was killed.
const PRODUCER_WAIT: Duration = Duration::from_secs(120);

/// What becomes of the work where writers cannot be held off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unheld {
    /// It is not begun.
    Refuse,
    /// It is done all the same: the way back stays open.
    GoOn,
}

/// Whether there are writers that [`held`] holds off.
///
/// # Errors
/// The control root cannot be read.
pub async fn holds_writers(session: &Session) -> Result<bool, Error> {
    Ok(!session.spec.cutover.fence.is_empty() || writer::is_used(session).await?)
}

/// Runs `work` while nobody writes: what producers had begun is finished before, and they go on after it.
///
/// # Errors
/// [`Error::Producing`], and with [`Unheld::Refuse`] [`Error::WritersNotHeld`], before `work`; [`Error::WritersStillHeld`] after
/// it, and its own.
pub async fn held<T>(
    session: &mut Session,
    tables: &Tables,
    (purpose, unheld): (&str, Unheld),
    work: impl AsyncFnOnce(&mut Session) -> Result<T, Error>,
) -> Result<T, Error> {
    let producer = session.while_renewing(session.context.stop.or_drop(writer::hold(session, purpose, PRODUCER_WAIT)));
    let mut producer = producer.await???;
    let settled = session.while_renewing(producer.settle(session, tables)).await?;
    let result = match settled {
        Ok(()) => producer.while_renewing(commanded(session, tables, unheld, work)).await.flatten(),
        Err(error) => Err(error),
    };
    producer.release().await;
    result
}

async fn commanded<T>(
    session: &mut Session,
    tables: &Tables,
    unheld: Unheld,
    work: impl AsyncFnOnce(&mut Session) -> Result<T, Error>,
) -> Result<T, Error> {
    if session.spec.cutover.fence.is_empty() {
        return Box::pin(work(session)).await;
    }
    session.record(Event::WritersHeld).await?;
    let result = match ask(session, tables, "hold", false).await? {
        Ok(()) => Box::pin(work(session)).await,
        Err(reason) if unheld == Unheld::Refuse => Err(Error::WritersNotHeld { reason }),
        Err(reason) => {
            session.context.progress.say(format!("writers were not held off: the command {reason}; going on without"));
            Box::pin(work(session)).await
        }
    };
    if matches!(result, Err(Error::Fenced { .. })) {
        // Another runner has taken over, and lets them go.
        return result;
    }
    let released = release(session, tables).await?;
    let done = result?;
    released.map_err(|reason| Error::WritersStillHeld { reason })?;
    Ok(done)
}

/// Lets go the writers that a runner held off who was killed. That it fails keeps nobody from a rollback: it is told.
///
/// # Errors
/// The lease is lost, or the runner was stopped.
pub async fn settle_pending(session: &mut Session, tables: &Tables) -> Result<(), Error> {
    if session.state.writers_held.is_none() {
        return Ok(());
    }
    if let Err(reason) = release(session, tables).await? {
        session.context.progress.say(Error::WritersStillHeld { reason }.to_string());
    }
    Ok(())
}

/// Asks whether writers could be held off and let go, where there is a command for it.
///
/// # Errors
/// [`Error::WritersNotHeld`] with what the command did; the lease is lost.
pub async fn rehearse(session: &Session, tables: &Tables) -> Result<(), Error> {
    if session.spec.cutover.fence.is_empty() {
        return Ok(());
    }
    for action in ["hold", "release"] {
        let answer = ask(session, tables, action, true).await?;
        answer.map_err(|reason| Error::WritersNotHeld { reason })?;
    }
    Ok(())
}

async fn release(session: &mut Session, tables: &Tables) -> Result<Result<(), String>, Error> {
    let since = session.state.writers_held.unwrap_or_else(|| session.context.clock.now());
    let answer = ask(session, tables, "release", false).await?;
    if answer.is_ok() {
        let held = session.context.clock.now().signed_duration_since(since);
        let held_ms = u64::try_from(held.num_milliseconds()).unwrap_or(0);
        session.record(Event::WritersReleased { held_ms }).await?;
    }
    Ok(answer)
}

/// The inner error is what the command did.
async fn ask(session: &Session, tables: &Tables, action: &str, rehearsal: bool) -> Result<Result<(), String>, Error> {
    let (side, table) = match written_side(&session.state) {
        Side::Old => ("old", &tables.source),
        Side::New => ("new", &tables.target),
    };
    let variables = [
        ("LAKESHIFT_ACTION", action.to_owned()),
        ("LAKESHIFT_MIGRATION", session.id().0.clone()),
        ("LAKESHIFT_CONTROL", session.control.location().to_owned()),
        ("LAKESHIFT_SIDE", side.to_owned()),
        ("LAKESHIFT_FORMAT", table.format().to_string()),
        ("LAKESHIFT_LOCATION", table.location().to_owned()),
        ("LAKESHIFT_REHEARSAL", if rehearsal { "1" } else { "" }.to_owned()),
    ];
    let command = hooks::run_command(&session.spec.cutover.fence, &variables, None);
    session.while_renewing(hooks::within(session, TIMEOUT, command)).await
}
