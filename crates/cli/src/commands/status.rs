//! `status`: where a migration stands, at a glance.

use std::path::Path;

use chrono::NaiveDate;
use lakeshift_core::control::{Controls, Hold};
use lakeshift_core::migration::{Command, DayCost, Phase, Polled, Requests, Side, State};
use lakeshift_core::plan::RequestForecast;
use lakeshift_core::spec::Stage;
use lakeshift_journal::LeaseStatus;
use serde_json::{Value, json};

use super::opened::Opened;
use crate::context::Context;
use crate::error::Error;
use crate::output::{Answer, bytes, table};

/// The phases of a migration that goes well.
const PATH: [Phase; 7] =
    [Phase::Planned, Phase::DualWrite, Phase::Backfill, Phase::Validation, Phase::Grace, Phase::Sunset, Phase::Completed];

/// How a moment is written.
const TIME: &str = "%Y-%m-%d %H:%M:%S UTC";

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

/// What a status is told from.
struct Status<'a> {
    opened: &'a Opened,
    /// The runner at work.
    runner: Option<LeaseStatus>,
    controls: Controls,
    groups: Vec<Stage>,
    rogues: &'a [String],
    next: Vec<String>,
}

async fn told(opened: &Opened, headline: &str, rogues: &[String]) -> Result<Answer, Error> {
    let session = &opened.session;
    let status = Status {
        opened,
        runner: session.runner().await?.filter(LeaseStatus::is_held),
        controls: session.controls().await?,
        groups: session.spec.cutover.groups(),
        rogues,
        next: opened.next_steps(),
    };
    let rows = table(&status.rows());
    let text = if headline.is_empty() { rows } else { format!("{headline}\n{rows}") };
    Ok(Answer::done(text, status.json(headline)))
}

impl Status<'_> {
    fn state(&self) -> &State {
        &self.opened.session.state
    }

    /// A row for everything that there is something to say of.
    fn rows(&self) -> Vec<Vec<String>> {
        let mut rows = vec![row("migration", self.opened.session.id().to_string()), row("phase", phases(self.state()))];
        rows.extend(self.work_rows());
        rows.extend(self.reader_rows());
        rows.extend(self.rogues.iter().take(ROGUES_SHOWN).map(|rogue| row("rogue write", rogue.clone())));
        if self.rogues.len() > ROGUES_SHOWN {
            rows.push(row("rogue write", format!("and {} more", self.rogues.len() - ROGUES_SHOWN)));
        }
        if let Some(runner) = &self.runner {
            let since = runner.since.format("%H:%M:%S UTC");
            rows.push(row("running", format!("{} since {since}", runner.holder)));
        }
        rows.extend(control_rows(&self.controls, self.state()));
        if !self.next.is_empty() {
            rows.push(row("next", self.next.join(" | ")));
        }
        rows
    }

    /// Plan, backfill, mirrors and validation.
    fn work_rows(&self) -> Vec<Vec<String>> {
        let (state, mut rows) = (self.state(), Vec::new());
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
            rows.push(row("mirror", format!("{rounds} round(s), in step at {}", mirror.at.format(TIME))));
        }
        rows.extend(cost_rows(state));
        if let Some(reverse) = state.reverse.as_ref().filter(|_| state.live_side() == Side::New) {
            let rounds = state.mirror.as_ref().map_or(0, |mirror| mirror.rounds(Side::New));
            rows.push(row("reverse", format!("{rounds} round(s), old table in step at {}", reverse.at.format(TIME))));
        }
        if let Some(validation) = &state.validation {
            let verdict = format!("{:?}", validation.verdict).to_uppercase();
            rows.push(row("validation", format!("{verdict} {}", report_path(self.opened, &validation.report))));
        }
        rows
    }

    /// Which side readers are on, and how their switch went.
    fn reader_rows(&self) -> Vec<Vec<String>> {
        let (state, mut rows) = (self.state(), Vec::new());
        match self.groups.as_slice() {
            [_] => rows.push(row("readers on", place(self.opened, state.live_side()))),
            several => rows.extend(several.iter().map(|group| row("readers", of_group(self.opened, group)))),
        }
        if let Some(since) = &state.writers_held {
            rows.push(row("writers", format!("held off since {}", since.format(TIME))));
        }
        if let Some(Polled { polls, unanswered, longest_ms }) = &state.polled {
            let answered =
                if *unanswered == 0 { "always answered".to_owned() } else { format!("{unanswered} without an answer") };
            rows.push(row("pause", format!("a reader asked {polls} time(s), {answered}, longest wait {longest_ms} ms")));
        }
        if let Some(failed) = &state.stage_failed {
            rows.push(row("not well", format!("readers of {}: the health command {}", failed.alias, failed.reason)));
        }
        rows
    }

    fn json(&self, headline: &str) -> Value {
        let (session, state) = (&self.opened.session, self.state());
        let rounds = |side| state.mirror.as_ref().map_or(0, |mirror| mirror.rounds(side));
        let group = |group: &Stage| {
            let (side, watched) = (side_of(state, &group.alias), state.baked.contains(&group.alias));
            json!({"name": group.name, "alias": group.alias, "side": side, "watched": watched})
        };
        json!({
            "headline": headline, "migration": session.id(), "phase": state.phase,
            "plan": state.plan, "approved": state.approved,
            "units_done": state.boundary.as_ref().map(|boundary| boundary.done.len()),
            "units": state.boundary.as_ref().map(|boundary| boundary.plan.summary.units),
            "bytes_written": state.bytes_written, "files_added": state.files_added,
            "mirror": state.mirror.as_ref().map(|mirror| json!({
                "applied": mirror.applied, "at": mirror.at, "rounds": rounds(Side::Old),
            })),
            "reverse": state.reverse.as_ref().map(|reverse| json!({
                "applied": reverse.applied, "at": reverse.at, "rounds": rounds(Side::New),
            })),
            "validation": state.validation, "live_side": state.live_side(),
            "alias": session.spec.cutover.alias, "readers_on": location(self.opened, state.live_side()),
            "groups": self.groups.iter().map(group).collect::<Vec<_>>(),
            "dual_write_cost": costs_json(state), "dual_write_forecast": forecast(state),
            "writers_held": state.writers_held, "pause": state.polled,
            "stage_failed": state.stage_failed, "rogues": self.rogues,
            "runner": self.runner.as_ref().map(|runner| json!({"holder": runner.holder, "since": runner.since})),
            "controls": self.controls, "controls_honoured": state.controls.last,
            "next_steps": self.next,
        })
    }
}

/// Every day's dual writing.
fn costs_json(state: &State) -> Vec<Value> {
    let of_day = |(day, cost): (&NaiveDate, &DayCost)| {
        let total = cost.total();
        json!({
            "day": day, "requests": total.requests, "bytes_read": total.bytes_read, "bytes_written": total.bytes_written,
            "source_bytes": total.source_bytes, "rows": total.rows, "percent": total.percent(),
            "by_kind": total.by_kind, "control": total.control, "rounds": cost.rounds, "looks": cost.looks,
            "carried": cost.carried, "idle": cost.idle,
        })
    };
    state.costs.iter().map(of_day).collect()
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
