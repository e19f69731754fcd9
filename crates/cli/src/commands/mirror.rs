//! `mirror`: one table's changes reach the other, once or on and on. Before the cutover the old table drives the new one,
//! after it the new one drives the old.

use std::path::Path;

use lakeshift_core::migration::{Command, Phase, Side};

use super::opened::Opened;
use crate::context::Context;
use crate::engine::mirror::{self, Round};
use crate::engine::{readers, reverse};
use crate::error::Error;
use crate::output::Answer;

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
                if !follow {
                    return Ok(last);
                }
                loop {
                    let side = driving(opened);
                    let Opened { session, tables, .. } = &mut *opened;
                    let Some(applied) = mirror::applied(session, side) else { break };
                    let tail = mirror::tail(session, tables, side);
                    let waited = session.while_renewing(session.context.stop.or_drop(tail.wait(&applied))).await?;
                    match waited {
                        Ok(batch) => drop(batch?),
                        Err(Error::Interrupted) => break,
                        Err(error) => return Err(error),
                    }
                    session.wait_while_paused().await?;
                    last = round(opened).await?;
                }
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
