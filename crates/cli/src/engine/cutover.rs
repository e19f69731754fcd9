//! The cutover: one group of readers after the other, each moved through every gate by one compare-and-swap, watched for its
//! bake time, and taken back with all others when its health command fails.
//!
//! A runner may be killed between any two steps. The journal says which group is where: the next runner finishes the switch
//! that was begun, watches the group that was not watched to its end again from the start, and goes on.

use std::time::Duration;

use lakeshift_core::migration::{Command, Event, Gate, Phase, Side, Transition, cutover_gates, may_switch};
use lakeshift_core::spec::Stage;

use super::fence::Unheld;
use super::rows::Rows;
use super::tables::Tables;
use super::{evidence, fence, mirror, reverse, shadow, switch, validation};
use crate::error::Error;
use crate::hooks;
use crate::session::Session;

/// How often a health command runs during the bake time.
const HEALTH_INTERVAL: Duration = Duration::from_secs(10);

/// How long a health command may take.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(60);

/// Gates that an operator forces.
#[derive(Debug, Clone)]
pub struct Force {
    /// The gates.
    pub gates: Vec<Gate>,
    /// Why.
    pub reason: String,
    /// Who.
    pub by: String,
}

/// Moves every group that is not on the new table.
///
/// # Errors
/// [`Error::Refused`] by a gate or a hook, with the groups that have moved left where they are; [`Error::StageFailed`] with
/// every group back on the old table.
pub async fn run(session: &mut Session, tables: &Tables, rows: &Rows, force: &Force) -> Result<(), Error> {
    for group in session.spec.cutover.groups() {
        if !session.state.on_new().any(|alias| alias == group.alias) {
            if fence::holds_writers(session).await? {
                // Rows would stand still while nobody may write.
                session.wait_while_paused().await?;
            }
            catch_up(session, tables, rows).await?;
            fence::held(session, tables, ("cutover", Unheld::Refuse), async |session| {
                drain(session, tables, rows, force).await?;
                pass_gates(session, tables, force).await?;
                let summary = format!("readers of {} are about to move to the new table", group.alias);
                hooks::ask_about(session, Command::Cutover, Transition::Cutover, &summary).await?;
                switch::switch(session, tables, &group.alias, Side::New, false).await
            })
            .await?;
        }
        watch(session, tables, rows, &group).await?;
    }
    Ok(())
}

/// Between two groups writers go on with the old table: what came is carried over, and validated.
async fn catch_up(session: &mut Session, tables: &Tables, rows: &Rows) -> Result<(), Error> {
    if session.state.phase != Phase::Cutover {
        return Ok(());
    }
    in_step(session, tables, rows, true).await
}

/// Nobody writes now: what came until writers were held off is carried over, and validated, unless an operator does without.
async fn drain(session: &mut Session, tables: &Tables, rows: &Rows, force: &Force) -> Result<(), Error> {
    match fence::holds_writers(session).await? {
        true => in_step(session, tables, rows, !force.gates.contains(&Gate::Certificate)).await,
        false => Ok(()),
    }
}

async fn in_step(session: &mut Session, tables: &Tables, rows: &Rows, validated: bool) -> Result<(), Error> {
    session.wait_while_paused().await?;
    mirror::round(session, tables, rows).await?;
    let source = tables.source.snapshot(None).await?.version;
    let target = tables.target.snapshot(None).await?.version;
    if validated && session.state.fresh_pass(&source, &target, &session.spec.digest()).is_none() {
        validation::run(session, tables, rows, &validation::Options::default()).await?;
    }
    Ok(())
}

/// Asks every gate. Those that open by force alone stand in the journal before anything moves.
async fn pass_gates(session: &mut Session, tables: &Tables, force: &Force) -> Result<(), Error> {
    let mut now = evidence::gather(session, tables, Command::Cutover).await?;
    now.forced = force.gates.clone();
    may_switch(&session.state, &now).map_err(|refusal| Error::Refused {
        command: Command::Cutover.name(),
        migration: session.id().clone(),
        refusal,
    })?;
    for check in cutover_gates(&session.state, &now).into_iter().filter(|check| check.forced) {
        let (reason, by) = (force.reason.clone(), force.by.clone());
        session.record(Event::Forced { gate: check.gate, shut: check.reasons, reason, by }).await?;
    }
    Ok(())
}

/// Watches a group that has moved, unless it was watched to its end before.
async fn watch(session: &mut Session, tables: &Tables, rows: &Rows, group: &Stage) -> Result<(), Error> {
    if !evidence::is_unwatched(session, group) {
        return Ok(());
    }
    session.context.progress.say(format!("watching the readers of {} for {}", group.alias, group.bake));
    let well = bake(session, tables, rows, group).await?;
    session.record_idle().await?;
    match well {
        Ok(()) => session.record(Event::StagePassed { alias: group.alias.clone() }).await,
        Err(reason) => {
            let (alias, why) = (group.alias.clone(), reason.clone());
            session.record(Event::StageFailed { alias, reason: why }).await?;
            let group = group.name.clone();
            let back = async |session: &mut Session| {
                let now = evidence::gather(session, tables, Command::Rollback).await?;
                if now.carries_back {
                    reverse::roll_back(session, tables).await?;
                } else if now.foreign.is_empty() {
                    switch::back(session, tables, false).await?;
                } else {
                    // The one thing that no program may decide: `rollback` names the commits and wants `--accept-loss`.
                    return Ok(false);
                }
                Ok(true)
            };
            match fence::held(session, tables, ("rollback", Unheld::GoOn), back).await? {
                true => Err(Error::StageFailed { group, reason }),
                false => Err(Error::StageStuck { group, reason }),
            }
        }
    }
}

/// The inner error is what the health command did.
async fn bake(session: &mut Session, tables: &Tables, rows: &Rows, group: &Stage) -> Result<Result<(), String>, Error> {
    let clock = session.context.clock.clone();
    let until = clock.elapsed() + group.bake.duration();
    loop {
        if let Err(reason) = health(session, tables, rows, group).await? {
            return Ok(Err(reason));
        }
        let left = until.saturating_sub(clock.elapsed());
        if left.is_zero() {
            return Ok(Ok(()));
        }
        // Those who moved shall see what is written for those who have not. When all have, the new table is the one that is
        // written.
        if session.state.phase == Phase::Cutover && session.live().paused().is_none() {
            mirror::round(session, tables, rows).await?;
        }
        let wait = clock.sleep(left.min(HEALTH_INTERVAL));
        session.while_renewing(session.context.stop.or_drop(wait)).await??;
    }
}

/// Asks the command, then the query; the inner error is why the group is not well.
async fn health(session: &Session, tables: &Tables, rows: &Rows, group: &Stage) -> Result<Result<(), String>, Error> {
    let commanded = commanded(session, tables, group).await?;
    let (Ok(()), Some(sql)) = (&commanded, &group.health_query) else { return Ok(commanded) };
    let asked = shadow::is_well(session, tables, rows, ("cutover.health_query", sql, &group.alias));
    let asked = session.while_renewing(session.context.stop.or_drop(asked)).await??;
    Ok(match asked {
        Ok(true) => Ok(()),
        Ok(false) => Err("the health query gave no row, or one that is not true".to_owned()),
        // A table that cannot be read is not well.
        Err(error) => Err(format!("the health query failed: {error}")),
    })
}

async fn commanded(session: &Session, tables: &Tables, group: &Stage) -> Result<Result<(), String>, Error> {
    if group.health.is_empty() {
        return Ok(Ok(()));
    }
    let variables = [
        ("LAKESHIFT_MIGRATION", session.id().0.clone()),
        ("LAKESHIFT_CONTROL", session.control.location().to_owned()),
        ("LAKESHIFT_GROUP", group.name.clone()),
        ("LAKESHIFT_ALIAS", group.alias.clone()),
        ("LAKESHIFT_FORMAT", tables.target.format().to_string()),
        ("LAKESHIFT_LOCATION", tables.target.location().to_owned()),
    ];
    let command = hooks::run_command(&group.health, &variables, None);
    let answer = hooks::within(session, HEALTH_TIMEOUT, command);
    session.while_renewing(session.context.stop.or_drop(answer)).await?
}
