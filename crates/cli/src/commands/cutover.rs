//! `cutover`: readers move to the new table, through gates that `--dry-run` shows.

use lakeshift_core::migration::{Command, Evidence, GateCheck, cutover_gates};
use lakeshift_journal::LeaseStatus;
use serde_json::json;

use super::opened::Opened;
use crate::args::CutoverArgs;
use crate::context::Context;
use crate::engine::cutover::{self, Force};
use crate::engine::rehearsal;
use crate::error::Error;
use crate::output::{Answer, table};

pub async fn run(context: &Context, args: &CutoverArgs) -> Result<Answer, Error> {
    let mut opened = Opened::existing(context, &args.spec.spec).await?;
    let asked = |evidence: Evidence| Evidence { forced: args.force.clone(), resume: args.resume, ..evidence };
    if args.dry_run {
        let evidence = asked(opened.evidence(Command::Cutover).await?);
        return dry_run(&opened, evidence).await;
    }
    if args.rehearse {
        return rehearse(&mut opened).await;
    }
    let force = Force {
        gates: args.force.clone(),
        reason: args.reason.clone().unwrap_or_default(),
        by: args.by.clone().unwrap_or_else(|| context.holder.clone()),
    };
    let moved = opened
        .act(Command::Cutover, asked, async |opened| {
            let Opened { session, tables, rows } = opened;
            cutover::run(session, tables, rows, &force).await
        })
        .await?;
    let headline = if moved.is_some() { "readers are on the new table" } else { "readers were on the new table before" };
    super::status::answer(&opened, headline).await
}

/// The whole way forward and back, where nobody reads.
async fn rehearse(opened: &mut Opened) -> Result<Answer, Error> {
    let asked = |evidence: Evidence| Evidence { wants_rehearsal: false, ..evidence };
    let work = async |opened: &mut Opened| rehearsal::run(&mut opened.session, &opened.tables).await;
    let took = opened.act(Command::Cutover, asked, work).await?;
    let headline = match took {
        Some(took) => format!("rehearsed: {} ms forward, {} ms back; no reader was moved", took.forward_ms, took.back_ms),
        None => "readers are on the new table; there is nothing to rehearse".to_owned(),
    };
    super::status::answer(opened, &headline).await
}

/// Every gate and every step in order. Nothing is written, not even a lease.
async fn dry_run(opened: &Opened, mut evidence: Evidence) -> Result<Answer, Error> {
    let session = &opened.session;
    evidence.held_by = session.runner().await?.filter(LeaseStatus::is_held).map(|runner| runner.holder);
    let gates = cutover_gates(&session.state, &evidence);
    let on_the_way = |check: &GateCheck| check.refuses() && check.gate.opens_on_the_way(&session.state, &evidence);
    let refused = gates.iter().filter(|check| check.refuses() && !on_the_way(check)).count();
    let mut rows = Vec::new();
    for check in &gates {
        let result = match (check.refuses(), check.forced) {
            (true, _) if on_the_way(check) => "first",
            (true, _) => "refuse",
            (false, true) => "forced",
            (false, false) => "pass",
        };
        let told = if check.reasons.is_empty() { check.gate.demand().to_owned() } else { check.reasons.join("; ") };
        rows.push(vec![(rows.len() + 1).to_string(), check.gate.name().to_owned(), result.to_owned(), told]);
    }
    let steps = steps(opened);
    for step in &steps {
        let result = if refused == 0 { "would" } else { "not yet" };
        rows.push(vec![(rows.len() + 1).to_string(), "step".to_owned(), result.to_owned(), step.clone()]);
    }
    let headline = match refused {
        0 => "dry run: the cutover would go ahead; nothing was written".to_owned(),
        _ => format!("dry run: {refused} gate(s) refuse; nothing was written"),
    };
    let exit_code = if refused == 0 { 0 } else { 4 };
    let gates: Vec<_> = gates
        .iter()
        .map(|check| {
            json!({ "gate": check.gate, "pass": check.reasons.is_empty(), "forced": check.forced, "reasons": check.reasons,
                "can_be_forced": check.gate.can_be_forced() })
        })
        .collect();
    let json = json!({
        "migration": session.id(), "phase": session.state.phase, "dry_run": true, "gates": gates, "steps": steps,
        "exit_code": exit_code, "next_steps": opened.next_steps(),
    });
    Ok(Answer::done(format!("{headline}\n{}", table(&rows)), json).with_exit_code(exit_code))
}

/// What would be done, one sentence a step.
fn steps(opened: &Opened) -> Vec<String> {
    let (state, target) = (&opened.session.state, &opened.tables.target);
    let fence = &opened.session.spec.cutover.fence;
    let mut steps = Vec::new();
    for group in opened.session.spec.cutover.groups() {
        if !state.on_new().any(|alias| alias == group.alias) {
            if !fence.is_empty() {
                steps.push(format!("group {}: writers held off by {}, what came carried over", group.name, fence.join(" ")));
            }
            let to = format!("{} {}", target.format(), target.location());
            steps.push(format!("group {}: alias {} to {to}", group.name, group.alias));
        }
        if !state.baked.contains(&group.alias) && group.is_watched() {
            let command = (!group.health.is_empty()).then(|| group.health.join(" "));
            let query = group.health_query.is_some().then(|| "a query".to_owned());
            let by: Vec<String> = command.into_iter().chain(query).collect();
            let by = if by.is_empty() { "nothing".to_owned() } else { by.join(" and ") };
            steps.push(format!("group {}: watched for {} by {by}", group.name, group.bake));
        }
    }
    steps
}
