//! `mirror`: the source's changes reach the target, once or on and on.

use std::path::Path;

use lakeshift_core::migration::Command;

use super::opened::Opened;
use crate::context::Context;
use crate::engine::mirror::{self, Round};
use crate::error::Error;
use crate::output::Answer;

pub async fn run(context: &Context, path: &Path, follow: bool) -> Result<Answer, Error> {
    let mut opened = Opened::existing(context, path).await?;
    let round = opened
        .act(
            Command::Mirror,
            |evidence| evidence,
            async |opened| {
                let Opened { session, tables, rows } = opened;
                if follow {
                    session.wait_while_paused().await?;
                } else {
                    session.refuse_while_paused()?;
                }
                let mut round = mirror::round(session, tables, rows).await?;
                if !follow {
                    return Ok(round);
                }
                while let Some(applied) = session.state.mirror.as_ref().map(|mirror| mirror.applied.clone()) {
                    let tail = mirror::tail(session, tables);
                    let waited = session.while_renewing(session.context.stop.or_drop(tail.wait(&applied))).await?;
                    match waited {
                        Ok(batch) => drop(batch?),
                        Err(Error::Interrupted) => break,
                        Err(error) => return Err(error),
                    }
                    session.wait_while_paused().await?;
                    round = mirror::round(session, tables, rows).await?;
                }
                Ok(round)
            },
        )
        .await?;
    let headline = match round {
        Some(Round::Applied { lag, .. }) => format!("carried over {} changed file(s)", lag.files),
        Some(Round::InStep) | None => "in step with the source".to_owned(),
    };
    super::status::answer(&opened, &headline).await
}
