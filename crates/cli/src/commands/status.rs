//! `status`: where a migration stands, at a glance.

use std::path::Path;

use lakeshift_core::migration::{Phase, Side, State};
use serde_json::json;

use super::opened::Opened;
use crate::context::Context;
use crate::error::Error;
use crate::output::{Answer, bytes, table};

/// The phases of a migration that goes well.
const PATH: [Phase; 7] =
    [Phase::Planned, Phase::DualWrite, Phase::Backfill, Phase::Validation, Phase::Grace, Phase::Sunset, Phase::Completed];

pub async fn run(context: &Context, path: &Path) -> Result<Answer, Error> {
    let opened = Opened::existing(context, path).await?;
    answer(&opened, "").await
}

/// The status under a headline: the answer of every command that acts.
pub async fn answer(opened: &Opened, headline: &str) -> Result<Answer, Error> {
    let (session, state) = (&opened.session, &opened.session.state);
    let runner = session.runner().await?;
    let held = runner.as_ref().filter(|runner| runner.is_held());
    let mut rows = vec![row("migration", session.id().to_string()), row("phase", phases(state))];
    if let Some(plan) = &state.plan {
        let approved = if state.approved.as_ref() == Some(&plan.digest) { "approved" } else { "not approved" };
        rows.push(row("plan", format!("{} {approved}", &plan.digest[..12])));
    }
    if let Some(boundary) = &state.boundary {
        let units = format!("{} of {} units", boundary.done.len(), boundary.plan.summary.units);
        rows.push(row("backfill", format!("{units}, {} written", bytes(state.bytes_written))));
    }
    if let Some(mirror) = &state.mirror {
        let rounds = mirror.plans.len();
        rows.push(row("mirror", format!("{rounds} round(s), in step at {}", mirror.at.format("%Y-%m-%d %H:%M:%S UTC"))));
    }
    if let Some(validation) = &state.validation {
        let verdict = format!("{:?}", validation.verdict).to_uppercase();
        rows.push(row("validation", format!("{verdict} {}", report_path(opened, &validation.report))));
    }
    let live = match state.live_side() {
        Side::Old => ("old", opened.tables.source.format(), opened.tables.source.location()),
        Side::New => ("new", opened.tables.target.format(), opened.tables.target.location()),
    };
    rows.push(row("readers on", format!("{}: {} {}", live.0, live.1, live.2)));
    if let Some(runner) = held {
        let since = runner.since.format("%H:%M:%S UTC");
        rows.push(row("running", format!("{} since {since}", runner.holder)));
    }
    let next = opened.next_steps();
    if !next.is_empty() {
        rows.push(row("next", next.join(" | ")));
    }
    let text = if headline.is_empty() { table(&rows) } else { format!("{headline}\n{}", table(&rows)) };
    let json = json!({
        "headline": headline, "migration": session.id(), "phase": state.phase,
        "plan": state.plan, "approved": state.approved,
        "units_done": state.boundary.as_ref().map(|boundary| boundary.done.len()),
        "units": state.boundary.as_ref().map(|boundary| boundary.plan.summary.units),
        "bytes_written": state.bytes_written, "files_added": state.files_added,
        "mirror": state.mirror.as_ref().map(|mirror| json!({
            "applied": mirror.applied, "at": mirror.at, "rounds": mirror.plans.len(),
        })),
        "validation": state.validation, "live_side": state.live_side(),
        "alias": session.spec.cutover.alias, "readers_on": live.2,
        "runner": held.map(|runner| json!({"holder": runner.holder, "since": runner.since})),
        "next_steps": next,
    });
    Ok(Answer::done(text, json))
}

fn row(name: &str, value: String) -> Vec<String> {
    vec![name.to_owned(), value]
}

fn phases(state: &State) -> String {
    if !PATH.contains(&state.phase) {
        return state.phase.to_string();
    }
    let name = |phase: &Phase| if *phase == state.phase { format!("[{phase}]") } else { phase.to_string() };
    PATH.iter().map(name).collect::<Vec<_>>().join(" › ")
}

fn report_path(opened: &Opened, report: &str) -> String {
    let url = opened.session.folder.url_of(report);
    url.strip_prefix("file://").map(str::to_owned).unwrap_or(url)
}
