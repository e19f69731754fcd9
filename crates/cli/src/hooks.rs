//! Hooks: asked before a transition, which they may refuse, and told after it, at least once.
//!
//! The journal is the outbox. A runner that tells hooks says so when it takes the lease; from then on every transition is
//! owed, until the entry [`Event::HooksTold`] says that it was told. A runner that dies in between leaves it to the next.

mod command;
mod webhook;

use std::future::Future;
use std::time::Duration;

use futures::future::{Either, select};
use lakeshift_core::migration::{
    Command, Event, HOOK_FORMAT_VERSION, HookMoment, HookPayload, Owed, Refusal, Transition, next_steps,
};
use lakeshift_core::spec::{Hook, OnFailure};

pub(crate) use command::run as run_command;

use crate::error::Error;
use crate::session::Session;

/// How often a hook is told in all before its failure is recorded.
const ATTEMPTS_MAX: u32 = 3;

/// Characters of a hook's own words that are shown.
const WORDS_MAX: usize = 200;

/// Asks the hooks that may refuse what `command` is about to do.
///
/// # Errors
/// [`Error::Refused`] when one does, or does not answer in time; nothing was changed.
pub async fn ask(session: &Session, command: Command) -> Result<(), Error> {
    let disposition = session.spec.sunset.disposition;
    // Readers move group by group, and each is asked about by itself.
    if command == Command::Cutover {
        return Ok(());
    }
    match Transition::about_to_happen(command, &session.state, disposition) {
        Some(transition) => ask_about(session, command, transition, &format!("{} is about to happen", command.name())).await,
        None => Ok(()),
    }
}

/// Asks the hooks that may refuse a transition.
///
/// # Errors
/// As [`ask`].
pub async fn ask_about(session: &Session, command: Command, transition: Transition, summary: &str) -> Result<(), Error> {
    let phase = session.state.phase;
    let payload = HookPayload {
        format_version: HOOK_FORMAT_VERSION,
        migration: session.id().clone(),
        transition,
        moment: HookMoment::Before,
        from: phase,
        to: phase,
        sequence: None,
        at: session.context.clock.now(),
        summary: summary.to_owned(),
        teller: session.context.holder.clone(),
        epoch: session.epoch().0,
    };
    for hook in of(session, transition, OnFailure::Abort) {
        if let Err(failure) = session.while_renewing(run(session, &hook, &payload)).await? {
            let reasons = vec![format!("the hook `{}` {failure}", hook.name())];
            let refusal = Refusal { reasons, next_steps: next_steps(&session.state) };
            return Err(Error::Refused { command: command.name(), migration: session.id().clone(), refusal });
        }
    }
    Ok(())
}

/// Tells what is owed.
///
/// # Errors
/// The journal cannot be written. A hook that fails is no error: it is tried again, and then named in the journal.
pub async fn tell(session: &mut Session) -> Result<(), Error> {
    let Some(through) = session.state.owed.last().map(|owed| owed.sequence) else { return Ok(()) };
    let mut failed = Vec::new();
    for owed in session.state.owed.clone() {
        let payload = payload(session, &owed);
        for hook in of(session, owed.transition, OnFailure::Warn) {
            let told = session.while_renewing(run_again(session, &hook, &payload)).await?;
            if let Err(failure) = told {
                let name = hook.name();
                tracing::warn!(hook = name, transition = owed.transition.name(), "the hook {failure}");
                failed.push(name);
            }
        }
    }
    failed.sort_unstable();
    failed.dedup();
    session.record(Event::HooksTold { through, failed }).await
}

fn of(session: &Session, transition: Transition, on_failure: OnFailure) -> Vec<Hook> {
    let concerned = |hook: &&Hook| hook.on_failure == on_failure && hook.on.contain(transition);
    let refusable = on_failure == OnFailure::Warn || transition.can_be_refused();
    session.spec.hooks.iter().filter(concerned).filter(|_| refusable).cloned().collect()
}

fn payload(session: &Session, owed: &Owed) -> HookPayload {
    HookPayload {
        format_version: HOOK_FORMAT_VERSION,
        migration: session.id().clone(),
        transition: owed.transition,
        moment: HookMoment::After,
        from: owed.from,
        to: owed.to,
        sequence: Some(owed.sequence),
        at: owed.at,
        summary: owed.summary.clone(),
        teller: session.context.holder.clone(),
        epoch: session.epoch().0,
    }
}

async fn run_again(session: &Session, hook: &Hook, payload: &HookPayload) -> Result<(), String> {
    let mut last = run(session, hook, payload).await;
    for _ in 1..ATTEMPTS_MAX {
        if last.is_ok() {
            break;
        }
        session.context.clock.sleep(Duration::from_secs(1)).await;
        last = run(session, hook, payload).await;
    }
    last
}

/// Runs one hook; the error says what it did, as the end of a sentence.
async fn run(session: &Session, hook: &Hook, payload: &HookPayload) -> Result<(), String> {
    let text = serde_json::to_string(payload).map_err(|error| format!("got no payload: {error}"))?;
    let ran = async {
        match &hook.webhook {
            Some(address) => webhook::post(address, text).await,
            None => command::run(&hook.command, &variables(session, payload), Some(text)).await,
        }
    };
    within(session, hook.timeout.duration(), ran).await
}

/// What a user's program did, bounded in time and words.
pub(crate) async fn within(
    session: &Session,
    timeout: Duration,
    ran: impl Future<Output = Result<(), String>>,
) -> Result<(), String> {
    match select(std::pin::pin!(ran), session.context.clock.sleep(timeout)).await {
        Either::Left((result, _)) => result.map_err(|words| words.chars().take(WORDS_MAX).collect()),
        Either::Right(_) => Err(format!("did not answer within {} s", timeout.as_secs())),
    }
}

/// The environment of a command, beside the runner's own.
fn variables(session: &Session, payload: &HookPayload) -> Vec<(&'static str, String)> {
    vec![
        ("LAKESHIFT_MIGRATION", payload.migration.0.clone()),
        ("LAKESHIFT_CONTROL", session.control.location().to_owned()),
        ("LAKESHIFT_TRANSITION", payload.transition.name().to_owned()),
        ("LAKESHIFT_MOMENT", payload.moment.name().to_owned()),
        ("LAKESHIFT_PHASE", payload.to.to_string()),
        ("LAKESHIFT_SEQUENCE", payload.sequence.map(|number| number.to_string()).unwrap_or_default()),
    ]
}
