//! `plan`: what would happen and what it would cost.

use std::path::Path;

use lakeshift_core::migration::{Command, Event};
use lakeshift_core::plan::{Assumptions, PlanSummary, RequestForecast, StrategyTotals};
use lakeshift_core::reverse::{Back, columns_back};
use serde_json::json;

use super::opened::Opened;
use crate::context::Context;
use crate::engine::planning::{self, Planning};
use crate::engine::plans;
use crate::engine::scope;
use crate::engine::tables::Quarantined;
use crate::error::Error;
use crate::output::{Answer, bytes, paragraph, seconds, table};
use crate::session::Session;

/// Quarantined objects that the text names; the JSON has all.
const QUARANTINE_SHOWN: usize = 10;

/// What follows for a rollback where the old table cannot follow the new one.
const NO_WAY_BACK: &str = "After the cutover nothing that others write to the new table reaches the old one: from their first write \
                           on `rollback` wants `--accept-loss`, which gives up all that they wrote";

pub async fn run(context: &Context, path: &Path, dry_run: bool) -> Result<Answer, Error> {
    let mut opened = Opened::new(context, path).await?;
    if dry_run {
        return Ok(answer(&opened, &plan(&opened).await?, "dry run: nothing was written"));
    }
    let planned = opened
        .act(
            Command::Plan,
            |evidence| evidence,
            async |opened| {
                let planned = plan(opened).await?;
                let (session, Planning { plan, files, .. }) = (&mut opened.session, &planned.planning);
                plans::write(session, &plan.digest, files).await?;
                let spec = canonical(session)?;
                let spec_digest = session.spec.digest();
                session.record(Event::Planned { plan: plan.clone(), spec_digest, spec }).await?;
                Ok(planned)
            },
        )
        .await?;
    match planned {
        Some(planned) => Ok(answer(&opened, &planned, "saved; read it, then approve it")),
        None => super::status::answer(&opened, "planned before").await,
    }
}

fn canonical(session: &Session) -> Result<serde_json::Value, Error> {
    let text = session.spec.to_canonical_json();
    serde_json::from_str(&text).map_err(|source| Error::Json { object: "the canonical spec".to_owned(), source })
}

/// A plan, and what else people look at before they approve it.
struct Planned {
    planning: Planning,
    quarantine: Vec<Quarantined>,
    /// How rows of the new table come to the old one after the cutover; or why they cannot.
    way_back: Result<Back, String>,
}

async fn plan(opened: &Opened) -> Result<Planned, Error> {
    let (spec, source) = (&opened.session.spec, opened.tables.source.snapshot(None).await?);
    let planning = planning::plan(spec, &opened.tables, &opened.rows, &source).await?;
    let scope = scope::told_by(spec, Some(&planning.plan.summary));
    let way_back = columns_back(spec, scope, &source.schema, &planning.target_schema);
    Ok(Planned { way_back, planning, quarantine: opened.tables.quarantine(&source.version).await? })
}

fn answer(opened: &Opened, planned: &Planned, closing: &str) -> Answer {
    let Planned { planning, quarantine, way_back } = planned;
    let Planning { plan, mappings, assumptions, .. } = planning;
    let (spec, summary) = (&opened.session.spec, &plan.summary);
    let mut text = format!(
        "plan {} of {}\n  from {} {}\n  to   {} {}\n\n",
        &plan.digest[..12],
        spec.name,
        spec.source.format,
        opened.tables.source.location(),
        spec.target.format,
        opened.tables.target.location(),
    );
    text.push_str(&files_text(summary));
    text.push_str("\n\n");
    text.push_str(&columns_text(planning));
    for (name, told) in forecast(summary, assumptions, way_back) {
        text.push_str(&paragraph(name, &told));
        text.push('\n');
    }
    if !quarantine.is_empty() {
        text.push_str(&format!("not carried over, {} unreadable object(s):\n", quarantine.len()));
        for one in quarantine.iter().take(QUARANTINE_SHOWN) {
            text.push_str(&format!("  {}: {}\n", one.path, one.reason));
        }
    }
    text.push_str(closing);
    let columns: Vec<_> = mappings
        .iter()
        .map(|m| json!({"name": m.name, "from": m.from.to_string(), "to": m.to.to_string(), "rule": m.rule, "change": m.change}))
        .collect();
    let json = json!({
        "migration": spec.name, "plan": plan, "columns": columns, "dropped_columns": planning.dropped,
        "quarantine": quarantine,
        "way_back": {
            "possible": way_back.is_ok(), "reason": way_back.as_ref().err(),
            "left_out": way_back.as_ref().map(|back| back.left_out.clone()).unwrap_or_default(),
        },
        "assumptions": assumptions, "saved": closing.starts_with("saved"),
        "next_steps": opened.next_steps(),
    });
    Answer::done(text, json)
}

/// How files move, and why.
fn files_text(summary: &PlanSummary) -> String {
    let mut rows = vec![["files", "rows", "bytes", "how", "why"].map(str::to_owned).to_vec()];
    for (reason, totals) in &summary.by_reason {
        let (how, why) = reason.split_once(": ").unwrap_or((reason, ""));
        rows.push(vec![
            totals.files.to_string(),
            totals.rows.to_string(),
            bytes(totals.bytes),
            how.to_owned(),
            why.to_owned(),
        ]);
    }
    table(&rows)
}

/// What it takes, what it costs, and whether there is a way back: names, and what is told under them.
fn forecast(
    summary: &PlanSummary,
    assumptions: &Assumptions,
    way_back: &Result<Back, String>,
) -> Vec<(&'static str, String)> {
    let work = format!(
        "{} unit(s) over {} partition(s), reads {}, writes {}, about {}",
        summary.units,
        summary.partitions,
        bytes(summary.read_bytes),
        bytes(summary.write_bytes),
        seconds(summary.duration_s),
    );
    let StrategyTotals { files, bytes: size, .. } = &summary.outside;
    let outside =
        format!("{files} file(s), {}, by their partitions; they are not read, and no sunset deletes them", bytes(*size));
    let cost = format!(
        "${:.2} a month more storage until sunset (at ${}/GB); dual write adds {:.0} bytes per 100 written",
        summary.storage_usd_per_month, assumptions.storage_usd_per_gb_month, summary.dual_write_percent,
    );
    let back = match way_back {
        Ok(back) => format!("after the cutover the old table follows the new one, and {}", back.told()),
        Err(reason) => format!("none without loss. {reason}. {NO_WAY_BACK}"),
    };
    let mut told = vec![("work", work)];
    if *files > 0 {
        told.push(("outside of the scope", outside));
    }
    told.push(("cost", cost));
    told.extend(summary.requests.as_ref().map(|requests| ("requests", requests_text(requests, assumptions))));
    told.push(("way back", back));
    told
}

/// What dual writing asks of stores.
fn requests_text(requests: &RequestForecast, assumptions: &Assumptions) -> String {
    let RequestForecast { round, file, look, looks_per_day, idle_usd_per_day, usd_per_round, .. } = requests;
    let Assumptions { put_usd_per_1000: put, get_usd_per_1000: get, .. } = assumptions;
    format!(
        "a round of one file: {round} (${:.2} a thousand)\n\
         each further file: {file}; a look in vain: {look}\n\
         mirror --follow: {looks_per_day} looks a day, ${idle_usd_per_day:.2} with the control root's\n\
         (a thousand PUT or LIST cost ${put}, GET or HEAD ${get})",
        usd_per_round * 1000.0,
    )
}

/// Every column that does not come over as it is, and why.
fn columns_text(planning: &Planning) -> String {
    let changed = planning.mappings.iter().filter_map(|mapping| {
        let reasons: Vec<&str> = mapping.change.as_deref().into_iter().chain(mapping.rule).collect();
        let types = match mapping.from == mapping.to {
            true => mapping.to.to_string(),
            false => format!("{} → {}", mapping.from, mapping.to),
        };
        (!reasons.is_empty()).then(|| format!("  {}: {types} ({})\n", mapping.name, reasons.join("; ")))
    });
    let changed: Vec<String> = changed.collect();
    let same = planning.mappings.len() - changed.len();
    let mut text = match changed.is_empty() {
        true => "columns: all types stay as they are\n".to_owned(),
        false => format!("columns: {same} as they are, and\n{}", changed.concat()),
    };
    if !planning.dropped.is_empty() {
        text.push_str(&format!("columns that are not carried over: {}\n", planning.dropped.join(", ")));
    }
    text
}
