//! `mirror`: one table's changes reach the other, once or on and on. Before the cutover the old table drives the new one,
//! after it the new one drives the old.

use std::path::Path;
use std::time::Duration;

use chrono::Timelike;
use futures::future::{Either, select};
use lakeshift_core::migration::{Command, Phase, Side};

use super::opened::Opened;
use crate::context::Context;
use crate::engine::mirror::{self, Round};
use crate::engine::{readers, reverse};
use crate::error::Error;
use crate::output::Answer;
use crate::session::Session;

/// A day's last second.
const LAST_SECOND: u32 = 86_399;

pub async fn run(context: &Context, path: &Path, follow: bool) -> Result<Answer, Error> {
    let mut opened = Opened::existing(context, path).await?;
    let round = opened
        .act(
            Command::Mirror,
            |evidence| evidence,
            async |opened| {
                if follow {
                    opened.session.wait_while_paused().await?;
                } else {
                    opened.session.refuse_while_paused()?;
                }
                let mut last = round(opened).await?;
                if follow {
                    while wait(opened).await? == Waited::Changed {
                        opened.session.wait_while_paused().await?;
                        last = round(opened).await?;
                    }
                }
                opened.session.record_idle().await?;
                Ok(last)
            },
        )
        .await?;
    let driving = match driving(&opened) {
        Side::Old => "the source",
        Side::New => "the new table",
    };
    let headline = match round {
        Some(Round::Applied { lag, .. }) => format!("carried over {lag} of {driving}"),
        Some(Round::InStep) | None => format!("in step with {driving}"),
    };
    super::status::answer(&opened, &headline).await
}

/// What a follower's wait came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waited {
    /// The driving table has changed.
    Changed,
    /// Somebody wants it to end.
    Stopped,
}

/// Looks until the driving table has changed. What the looks have cost is recorded by the day.
async fn wait(opened: &mut Opened) -> Result<Waited, Error> {
    let side = driving(opened);
    let Opened { session, tables, .. } = opened;
    let Some(applied) = mirror::applied(session, side) else { return Ok(Waited::Stopped) };
    let tail = mirror::tail(session, tables, side);
    loop {
        let (used, looks) = (session.live().used(), tail.looks());
        let wait = async {
            match select(Box::pin(tail.wait(&applied)), session.context.clock.sleep(until_evening(session))).await {
                Either::Left((batch, _)) => Some(batch.map(drop)),
                Either::Right(_) => None,
            }
        };
        let waited = session.while_renewing(session.context.stop.or_drop(wait)).await?;
        // The look that has found something is the round's.
        let found = u64::from(matches!(waited, Ok(Some(Ok(())))));
        session.live().idled((tail.looks() - looks).saturating_sub(found), used);
        match waited {
            Ok(Some(changed)) => return changed.map(|()| Waited::Changed).map_err(Error::from),
            Ok(None) => session.record_idle().await?,
            Err(Error::Interrupted) => return Ok(Waited::Stopped),
            Err(error) => return Err(error),
        }
    }
}

/// Until the day's (UTC) last second, so that what is recorded then is that day's.
fn until_evening(session: &Session) -> Duration {
    let now = session.context.clock.now().num_seconds_from_midnight();
    match LAST_SECOND.saturating_sub(now) {
        0 => Duration::from_secs(86_400),
        left => Duration::from_secs(left.into()),
    }
}

async fn round(opened: &mut Opened) -> Result<Round, Error> {
    let side = driving(opened);
    let Opened { session, tables, rows } = opened;
    match side {
        Side::Old => mirror::round(session, tables, rows).await,
        Side::New => {
            // Readers see new rows by it; the way back does not hang on it.
            if let Err(reason) = readers::follow(session, tables).await? {
                session.context.progress.say(reason);
            }
            reverse::round(session, tables).await
        }
    }
}

/// The side whose changes are carried to the other.
fn driving(opened: &Opened) -> Side {
    if opened.session.state.phase == Phase::Grace { Side::New } else { Side::Old }
}
