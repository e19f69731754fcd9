//! `status`: where a migration stands, at a glance.

use std::path::Path;

use lakeshift_core::control::{Controls, Hold};
use lakeshift_core::migration::{Command, Phase, Polled, Requests, Side, State};
use lakeshift_core::plan::RequestForecast;
use lakeshift_core::spec::Stage;
use serde_json::json;

use super::opened::Opened;
use crate::context::Context;
use crate::error::Error;
use crate::output::{Answer, bytes, table};

/// The phases of a migration that goes well.
const PATH: [Phase; 7] =
    [Phase::Planned, Phase::DualWrite, Phase::Backfill, Phase::Validation, Phase::Grace, Phase::Sunset, Phase::Completed];

/// Rogue writes that the text names; the JSON has all.
const ROGUES_SHOWN: usize = 5;

pub async fn run(context: &Context, path: &Path) -> Result<Answer, Error> {
    let opened = Opened::existing(context, path).await?;
    // A table that cannot be read is no reason to say nothing of the rest.
    let rogues = match rogues(&opened).await {
        Ok(rogues) => rogues,
        Err(error) => vec![format!("could not be looked for: {error}")],
    };
    told(&opened, "", &rogues).await
}

/// Writes to the side that should not be written, as the tables are now.
async fn rogues(opened: &Opened) -> Result<Vec<String>, Error> {
    let (session, state) = (&opened.session, &opened.session.state);
    match state.phase {
        Phase::Backfill | Phase::Validation | Phase::Cutover => {
            let now = opened.tables.target.marks(session.id()).await?.foreign;
            Ok(state.rogues(&now).iter().map(|version| format!("new table: {version}")).collect())
        }
        Phase::Grace => {
            let evidence = opened.evidence(Command::Sunset).await?;
            if state.source_is_at_rest(evidence.source.as_ref()) {
                return Ok(Vec::new());
            }
            let files = evidence.source_changes.iter().map(|file| format!("old table: {file}"));
            Ok(if evidence.source_changes.is_empty() { vec!["old table: changed".to_owned()] } else { files.collect() })
        }
        _ => Ok(Vec::new()),
    }
}

/// The status under a headline: the answer of every command that acts. Of rogue writers it tells what the journal knows.
pub async fn answer(opened: &Opened, headline: &str) -> Result<Answer, Error> {
    let state = &opened.session.state;
    let known = if state.live_side() == Side::Old { state.rogues(&[]) } else { Vec::new() };
    let rogues: Vec<_> = known.iter().map(|version| format!("new table: {version}")).collect();
    told(opened, headline, &rogues).await
}

async fn told(opened: &Opened, headline: &str, rogues: &[String]) -> Result<Answer, Error> {
    let (session, state) = (&opened.session, &opened.session.state);
    let runner = session.runner().await?;
    let controls = session.controls().await?;
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
        let rounds = mirror.rounds(Side::Old);
        rows.push(row("mirror", format!("{rounds} round(s), in step at {}", mirror.at.format("%Y-%m-%d %H:%M:%S UTC"))));
    }
    rows.extend(cost_rows(state));
    if let Some(reverse) = state.reverse.as_ref().filter(|_| state.live_side() == Side::New) {
        let rounds = state.mirror.as_ref().map_or(0, |mirror| mirror.rounds(Side::New));
        let at = reverse.at.format("%Y-%m-%d %H:%M:%S UTC");
        rows.push(row("reverse", format!("{rounds} round(s), old table in step at {at}")));
    }
    if let Some(validation) = &state.validation {
        let verdict = format!("{:?}", validation.verdict).to_uppercase();
        rows.push(row("validation", format!("{verdict} {}", report_path(opened, &validation.report))));
    }
    let live = place(opened, state.live_side());
    let groups = session.spec.cutover.groups();
    match groups.as_slice() {
        [_] => rows.push(row("readers on", live.clone())),
        several => rows.extend(several.iter().map(|group| row("readers", of_group(opened, group)))),
    }
    if let Some(since) = &state.writers_held {
        rows.push(row("writers", format!("held off since {}", since.format("%Y-%m-%d %H:%M:%S UTC"))));
    }
    if let Some(Polled { polls, unanswered, longest_ms }) = &state.polled {
        let answered =
            if *unanswered == 0 { "always answered".to_owned() } else { format!("{unanswered} without an answer") };
        rows.push(row("pause", format!("a reader asked {polls} time(s), {answered}, longest wait {longest_ms} ms")));
    }
    if let Some(failed) = &state.stage_failed {
        rows.push(row("not well", format!("readers of {}: the health command {}", failed.alias, failed.reason)));
    }
    rows.extend(rogues.iter().take(ROGUES_SHOWN).map(|rogue| row("rogue write", rogue.clone())));
    if rogues.len() > ROGUES_SHOWN {
        rows.push(row("rogue write", format!("and {} more", rogues.len() - ROGUES_SHOWN)));
    }
    if let Some(runner) = held {
        let since = runner.since.format("%H:%M:%S UTC");
        rows.push(row("running", format!("{} since {since}", runner.holder)));
    }
    rows.extend(control_rows(&controls, state));
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
            "applied": mirror.applied, "at": mirror.at, "rounds": mirror.rounds(Side::Old),
        })),
        "reverse": state.reverse.as_ref().map(|reverse| json!({
            "applied": reverse.applied, "at": reverse.at,
            "rounds": state.mirror.as_ref().map_or(0, |mirror| mirror.rounds(Side::New)),
        })),
        "validation": state.validation, "live_side": state.live_side(),
        "alias": session.spec.cutover.alias, "readers_on": location(opened, state.live_side()),
        "groups": groups.iter().map(|group| json!({
            "name": group.name, "alias": group.alias, "side": side_of(state, &group.alias),
            "watched": state.baked.contains(&group.alias),
        })).collect::<Vec<_>>(),
        "dual_write_cost": state.costs.iter().map(|(day, cost)| {
            let total = cost.total();
            json!({
                "day": day, "requests": total.requests, "bytes_read": total.bytes_read, "bytes_written": total.bytes_written,
                "source_bytes": total.source_bytes, "rows": total.rows, "percent": total.percent(),
                "by_kind": total.by_kind, "control": total.control, "rounds": cost.rounds, "looks": cost.looks,
                "carried": cost.carried, "idle": cost.idle,
            })
        }).collect::<Vec<_>>(),
        "dual_write_forecast": forecast(state),
        "writers_held": state.writers_held, "pause": state.polled,
        "stage_failed": state.stage_failed, "rogues": rogues,
        "runner": held.map(|runner| json!({"holder": runner.holder, "since": runner.since})),
        "controls": controls, "controls_honoured": state.controls.last,
        "next_steps": next,
    });
    Ok(Answer::done(text, json))
}

/// What the plan of S0 expects dual writing to ask of stores.
fn forecast(state: &State) -> Option<&RequestForecast> {
    state.boundary.as_ref().map(|boundary| &boundary.plan).or(state.plan.as_ref())?.summary.requests.as_ref()
}

/// The last day's dual writing, and beside it what the plan has said.
fn cost_rows(state: &State) -> Vec<Vec<String>> {
    let Some((day, cost)) = state.costs.last_key_value() else { return Vec::new() };
    let total = cost.total();
    let percent = total.percent().map_or_else(String::new, |percent| format!(", {percent:.1} % of what its writers wrote"));
    let (read, written) = (bytes(total.bytes_read), bytes(total.bytes_written));
    let requests = total.requests;
    let mut rows = vec![row("dual write", format!("{day}: {requests} request(s), {read} read, {written} written{percent}"))];
    let forecast = forecast(state);
    let planned = |requests: Option<Requests>| match requests {
        Some(requests) => format!(" (plan: {})", requests.total()),
        None => String::new(),
    };
    if let Some(each) = cost.carried.requests.checked_div(cost.rounds) {
        let planned = planned(forecast.map(|forecast| forecast.round));
        rows.push(row("", format!("{} round(s), {each} request(s) each{planned}", cost.rounds)));
    }
    if let Some(each) = cost.idle.requests.checked_div(cost.looks) {
        let planned = planned(forecast.map(|forecast| forecast.look));
        rows.push(row("", format!("{} look(s) found nothing, {each} request(s) each{planned}", cost.looks)));
    }
    if !total.control.is_none() {
        rows.push(row("", format!("and at the control root {}", total.control)));
    }
    rows
}

/// What operators have asked for and not taken back.
fn control_rows(controls: &Controls, state: &State) -> Vec<Vec<String>> {
    let honoured = |number: u64| if number > state.controls.last { " (no runner has seen it yet)" } else { "" };
    let held = |name: &str, hold: &Hold| row(name, format!("{hold}{}", honoured(hold.number)));
    let mut rows = Vec::new();
    rows.extend(controls.paused.as_ref().map(|hold| held("paused", hold)));
    rows.extend(controls.postponed.as_ref().map(|hold| held("postponed", hold)));
    if !controls.limits.is_empty() {
        let unseen = if controls.limits == state.controls.limits { "" } else { honoured(controls.last) };
        rows.push(row("throttle", format!("{}{unseen}", controls.limits)));
    }
    rows
}

fn location(opened: &Opened, side: Side) -> &str {
    match side {
        Side::Old => opened.tables.source.location(),
        Side::New => opened.tables.target.location(),
    }
}

fn place(opened: &Opened, side: Side) -> String {
    let (name, format) = match side {
        Side::Old => ("old", opened.tables.source.format()),
        Side::New => ("new", opened.tables.target.format()),
    };
    format!("{name}: {format} {}", location(opened, side))
}

fn side_of(state: &State, alias: &str) -> Side {
    if state.on_new().any(|other| other == alias) { Side::New } else { Side::Old }
}

fn of_group(opened: &Opened, group: &Stage) -> String {
    let state = &opened.session.state;
    let watched = match (side_of(state, &group.alias), state.baked.contains(&group.alias)) {
        (Side::New, true) => ", watched to the end",
        (Side::New, false) if group.is_watched() => ", not watched to the end",
        _ => "",
    };
    format!("{} ({}) on {}{watched}", group.name, group.alias, place(opened, side_of(state, &group.alias)))
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
