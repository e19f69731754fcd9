//! `lakeshift graph …`: what is stale, what would run, running it.

mod explain;
mod export;

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use chrono::{Days, NaiveTime};
use lakeshift_core::graph::{
    Cause, Edge, EntityId, Filter, Graph, GraphPlan, Group, History, Hold, Key, Link, Mark, Origin, Page, Staleness,
    TIMELESS, TableId, Totals, Versions, why,
};
use serde_json::json;

use crate::args::{GraphArg, GraphCommand, GraphFilter};
use crate::context::Context;
use crate::engine::graph::{self, GraphFile, Ledger, RunOptions, UnitKey};
use crate::error::Error;
use crate::output::{Answer, bytes, seconds, table};

/// Stale partitions that are listed one by one; the rest is counted.
const LISTED_MAX: usize = 100;

/// Carries out a command on a graph.
pub async fn run(context: &Context, command: &GraphCommand) -> Result<Answer, Error> {
    match command {
        GraphCommand::Show { graph, html } => show(&Seen::look(context, graph).await?, html.as_deref()),
        GraphCommand::Stale { graph, why } if why.is_empty() => Ok(stale(&Seen::look(context, graph).await?)),
        GraphCommand::Stale { graph, why } => chain(&Seen::look(context, graph).await?, why),
        GraphCommand::Plan { graph, filter } => plan(&Seen::look(context, graph).await?, filter),
        GraphCommand::Export { graph, filter, scheduler } => {
            let seen = Seen::look(context, graph).await?;
            export::export(&seen, &seen.plan(filter)?, *scheduler, &graph.graph)
        }
        GraphCommand::Logic { graph, table, fail_on_mixed } => {
            explain::logic(&Seen::look(context, graph).await?, table, *fail_on_mixed)
        }
        GraphCommand::Explain { graph, partition } => explain::explain(&Seen::look(context, graph).await?, partition),
        GraphCommand::RunUnit { graph, unit, wait } => {
            let seen = Seen::look(context, graph).await?;
            let unit = unit_of(&seen, &unit.join(" "))?;
            let report = graph::run_unit(&seen.file, &unit, Duration::from_secs(*wait)).await?;
            Ok(Answer::done(unit_text(&report), &report))
        }
        GraphCommand::Run { graph, filter, max_tasks, max_bytes, max_cost, parallel } => {
            let file = GraphFile::open(context, &graph.graph).await?;
            let filter = filter_of(&file.graph, filter)?;
            let bytes_max = max_bytes.map(|size| size.bytes());
            let (tasks_max, cost_max) = (*max_tasks, *max_cost);
            let options = RunOptions { filter, tasks_max, bytes_max, cost_max, parallel: *parallel };
            let report = graph::run(&file, &options).await?;
            let code = if report.failures.is_empty() { 0 } else { 2 };
            Ok(Answer::done(run_text(&report), &report).with_exit_code(code))
        }
    }
}

/// A graph as it stands now; nothing was written.
struct Seen {
    file: GraphFile,
    ledger: Ledger,
    versions: Versions,
    holds: Vec<Hold>,
    staleness: Staleness,
}

impl Seen {
    async fn look(context: &Context, arg: &GraphArg) -> Result<Self, Error> {
        let file = GraphFile::open(context, &arg.graph).await?;
        let ledger = Ledger::open(context, &file.graph, &file.folder).await?;
        let versions = graph::current(&file, &ledger).await?;
        let holds = graph::holds(&file).await?;
        let staleness = Staleness::scan(&file.graph, &versions, &holds);
        Ok(Self { file, ledger, versions, holds, staleness })
    }

    fn graph(&self) -> &Graph {
        &self.file.graph
    }

    fn history(&self) -> &History {
        self.ledger.history()
    }

    fn show(&self, table: TableId, key: Key) -> String {
        self.graph().show(&self.versions, table, key)
    }

    fn plan(&self, filter: &GraphFilter) -> Result<GraphPlan, Error> {
        Ok(GraphPlan::new(self.graph(), &self.versions, &self.staleness, &filter_of(self.graph(), filter)?))
    }

    fn table(&self, name: &str) -> Result<TableId, Error> {
        self.graph().table_id(name).ok_or_else(|| unknown_table(self.graph(), name))
    }
}

fn unknown_table(graph: &Graph, name: &str) -> Error {
    let known: Vec<_> = graph.tables.iter().map(|table| table.name.as_str()).collect();
    Error::Argument { text: name.to_owned(), reason: format!("the graph has the tables {}", known.join(", ")) }
}

fn filter_of(graph: &Graph, filter: &GraphFilter) -> Result<Filter, Error> {
    if let Some(name) = filter.table.iter().find(|name| graph.table_id(name).is_none()) {
        return Err(unknown_table(graph, name));
    }
    Ok(Filter {
        tables: filter.table.iter().cloned().collect(),
        from: filter.from.map(|day| day.and_time(NaiveTime::MIN)),
        to: filter.to.and_then(|day| day.checked_add_days(Days::new(1))).map(|day| day.and_time(NaiveTime::MIN)),
        entities: filter.entity.iter().cloned().collect(),
    })
}

fn show(seen: &Seen, html: Option<&Path>) -> Result<Answer, Error> {
    let heading = ["table", "format", "partitions", "stale", "rows", "computed from"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    let mut tables = Vec::new();
    for (id, one) in seen.graph().ids() {
        let (partitions, stale) = (seen.staleness.partitions(id).count(), seen.staleness.stale(id).count());
        let known: u64 = seen.versions.partitions(id).map(|(_, state)| state.rows).sum();
        let edge = |edge: &Edge| {
            let proven = if edge.time_from == Origin::Sql { ", by its SQL" } else { "" };
            format!("{} ({}{proven})", seen.graph().table(edge.upstream).name, edge.mapping)
        };
        let after: Vec<String> = one.after.iter().map(edge).collect();
        let from = if one.is_source() { "nothing: a source".to_owned() } else { after.join("; ") };
        let cells = [one.name.clone(), one.spec.format.to_string(), partitions.to_string(), stale.to_string()];
        rows.push(cells.into_iter().chain([known.to_string(), from]).collect());
        tables.push(json!({
            "table": one.name, "format": one.spec.format, "source": one.is_source(), "partitions": partitions,
            "stale": stale, "rows": known, "logic": one.logic, "after": after,
        }));
    }
    let Some(html) = html else {
        return Ok(Answer::done(table(&rows), json!({ "graph": seen.graph().name, "tables": tables })));
    };
    let page = Page::new(seen.graph(), &seen.versions, &seen.staleness, seen.history(), seen.ledger.last_run());
    let path = html.display().to_string();
    std::fs::write(html, page.to_html()).map_err(|source| Error::WriteFile { path: path.clone(), source })?;
    Ok(Answer::done(format!("{} as a page: {path}", seen.graph().name), json!({ "graph": seen.graph().name, "html": path })))
}

fn reason(mark: Mark) -> &'static str {
    match mark {
        mark if mark.any(Mark::MISSING) => "it was never computed",
        mark if mark.any(Mark::FOREIGN) => "somebody else wrote to it",
        mark if mark.any(Mark::LOGIC) => "its logic changed",
        mark if mark.any(Mark::MOVED) => "what it was computed from changed",
        _ => "what it is computed from is stale and may change",
    }
}

fn stale(seen: &Seen) -> Answer {
    let (mut lines, mut all) = (Vec::new(), Vec::new());
    for (id, one) in seen.graph().ids() {
        for (key, mark) in seen.staleness.stale(id) {
            lines.push(vec![seen.show(id, key), reason(mark).to_owned()]);
            all.push(json!({
                "table": one.name, "period": one.grain().map(|grain| grain.format(key.period)),
                "entity": seen.versions.entity_name(key.entity), "because": reason(mark), "must_run": mark.must_run(),
            }));
        }
    }
    let count = lines.len();
    let mut text = match count {
        0 => format!("nothing in {} is stale", seen.graph().name),
        _ => {
            lines.truncate(LISTED_MAX);
            table(&lines)
        }
    };
    if count > LISTED_MAX {
        let _ = write!(text, "\n… and {} more; --format json lists them all", count - LISTED_MAX);
    }
    Answer::done(text, json!({ "graph": seen.graph().name, "stale": all }))
}

fn chain(seen: &Seen, partition: &[String]) -> Result<Answer, Error> {
    let id = seen.table(&partition[0])?;
    let key = key_of(seen, id, &partition[1..])?;
    let links = why(seen.graph(), &seen.versions, &seen.staleness, &seen.holds, id, key);
    let mut text = String::new();
    if links.is_empty() {
        let known = seen.staleness.mark(id, key).is_some();
        let what = if known { "is not stale" } else { "is no partition of this graph: its upstreams have nothing for it" };
        let _ = write!(text, "{} {what}", seen.show(id, key));
    }
    for (depth, link) in links.iter().enumerate() {
        let indent = "  ".repeat(depth);
        let newline = if depth == 0 { "" } else { "\n" };
        let _ = write!(text, "{newline}{indent}{} {}", seen.show(link.table, link.key), told(seen, link));
    }
    let links: Vec<_> = links
        .iter()
        .map(|link| json!({ "partition": seen.show(link.table, link.key), "because": told(seen, link) }))
        .collect();
    Ok(Answer::done(text, json!({ "partition": seen.show(id, key), "chain": links })))
}

fn key_of(seen: &Seen, id: TableId, rest: &[String]) -> Result<Key, Error> {
    let one = seen.graph().table(id);
    let mut rest = rest.iter();
    let mut next = |what: &str| {
        let missing = || Error::Argument { text: one.name.clone(), reason: format!("say also which {what}") };
        rest.next().ok_or_else(missing)
    };
    let period = match one.grain() {
        None => TIMELESS,
        Some(grain) => {
            let text = next(&format!("{grain}"))?;
            grain.parse(text).map_err(|error| Error::Argument { text: text.clone(), reason: error.to_string() })?
        }
    };
    let entity = match &one.spec.entity {
        None => EntityId::NONE,
        Some(entity) => {
            let name = next(&entity.column)?;
            seen.versions.entity_id(name).ok_or_else(|| Error::Argument {
                text: name.clone(),
                reason: format!("no partition has this {}", entity.column),
            })?
        }
    };
    Ok(Key { period, entity })
}

/// The partition of a unit's id, as [`Graph::show`] writes it: of a table, a period and an entity only the last may have spaces.
fn unit_of(seen: &Seen, unit: &str) -> Result<UnitKey, Error> {
    let table = seen.table(unit.split(' ').next().unwrap_or(unit))?;
    let words = if seen.graph().table(table).grain().is_some() { 3 } else { 2 };
    let words: Vec<String> = unit.splitn(words, ' ').map(str::to_owned).collect();
    let key = key_of(seen, table, &words[1..])?;
    Ok(UnitKey { table, period: key.period, entity: seen.versions.entity_name(key.entity).to_owned() })
}

fn told(seen: &Seen, link: &Link) -> String {
    let short = |digest: &str| digest.chars().take(8).collect::<String>();
    match &link.cause {
        Cause::Missing => "was never computed".to_owned(),
        Cause::Foreign => "was written to by somebody else".to_owned(),
        Cause::LogicChanged { from, to } => {
            format!("was computed by logic {}, and the logic is {} now", short(from), short(to))
        }
        Cause::UpstreamMoved { table, partition, .. } => {
            format!("was computed before {} changed", seen.show(*table, *partition))
        }
        Cause::UpstreamStale { table, partition } => {
            format!("may change, because {} is stale:", seen.show(*table, *partition))
        }
        Cause::Held { by } => format!("waits for the migration {by}"),
    }
}

fn amount(totals: &Totals) -> String {
    let unknown = match totals.unsized_tasks {
        0 => String::new(),
        count if count == totals.tasks => return format!("{} of unknown size", partitions(totals.tasks)),
        count => format!(" and {count} of unknown size"),
    };
    format!("{}, {} rows, {}{unknown}", partitions(totals.tasks), totals.rows, bytes(totals.bytes))
}

fn plan(seen: &Seen, filter: &GraphFilter) -> Result<Answer, Error> {
    let plan = seen.plan(filter)?;
    if plan.tasks.is_empty() {
        let text = match plan.held {
            0 => format!("nothing to run in {}: what was asked for is up to date", plan.graph),
            held => format!("nothing to run in {}: {} wait for a migration", plan.graph, partitions(held)),
        };
        return Ok(Answer::done(text, &plan));
    }
    let group = |group: &Group| format!("  {group} ({})", partitions(group.totals.tasks));
    let groups: Vec<String> = plan.groups.iter().map(group).collect();
    let mut text = format!("would recompute, upstreams first:\n{}\n", groups.join("\n"));
    let _ = write!(text, "in all {}; sizes are those of the last run", amount(&plan.totals));
    let estimate = seen.ledger.estimate(&plan.tasks);
    let _ = write!(text, "\nreads {}", bytes(plan.read_bytes));
    if let Some(time) = estimate {
        let _ = write!(text, ", about {} of computing by the times of earlier runs", seconds(time.as_secs().max(1)));
    }
    let cost = seen.graph().prices.map(|prices| prices.cost(plan.read_bytes, estimate.unwrap_or_default()));
    if let Some(cost) = cost {
        let _ = write!(text, "; it costs about {cost} by the graph's prices");
    }
    for (name, others) in [
        ("the whole graph", plan.comparison.full_graph),
        ("everything that is computed from these tables", plan.comparison.descendants),
        ("the same, in this range of time", plan.comparison.descendants_in_interval),
    ] {
        let saved = 100.0 * (1.0 - plan.totals.tasks as f64 / others.tasks.max(1) as f64);
        let _ = write!(text, "\n  against {name}: {} ({:.0} % fewer partitions)", amount(&others), saved.max(0.0));
    }
    if plan.totals.tasks > plan.tasks.iter().filter(|task| task.mark.must_run()).count() as u64 {
        text.push_str("\n“may change” runs only where what it is computed from comes out different");
    }
    if plan.held > 0 {
        let _ = write!(text, "\n{} more wait for a migration; `graph stale --why` tells which", partitions(plan.held));
    }
    let _ = write!(text, "\nnothing was written; `lakeshift graph run` with the same arguments runs it");
    let mut answer = Answer::done(text, &plan);
    answer.json["estimated_seconds"] = json!(estimate.map(|time| time.as_secs_f64()));
    answer.json["estimated_cost"] = json!(cost);
    Ok(answer)
}

fn unit_text(report: &graph::UnitReport) -> String {
    match report.outcome {
        graph::UnitOutcome::Replaced => format!("{}: {} rows, {}", report.partition, report.rows, bytes(report.bytes)),
        graph::UnitOutcome::Unchanged => format!("{}: {} rows, as before", report.partition, report.rows),
        graph::UnitOutcome::UpToDate => format!("{} is up to date; nothing was computed", report.partition),
    }
}

fn run_text(report: &graph::RunReport) -> String {
    let mut text = format!(
        "{} of {} planned partitions ran: {} replaced ({} rows, {}), {} came out as they were and were left alone",
        report.wave.done,
        report.planned,
        report.replaced,
        report.rows,
        bytes(report.bytes),
        report.unchanged
    );
    if report.wave.up_to_date > 0 {
        let _ = write!(text, "\n{} did not have to run, because what they read came out as it was", report.wave.up_to_date);
    }
    for failure in &report.failures {
        let _ = write!(text, "\nfailed: {}: {}", failure.partition, failure.error);
    }
    if report.wave.skipped > 0 {
        let _ = write!(text, "\n{} were skipped, because something that they read failed", report.wave.skipped);
    }
    if report.budget_spent {
        let _ = write!(
            text,
            "\nthe budget ended the run: it read {}, and the next partition would go beyond it",
            bytes(report.read_bytes)
        );
    }
    if let Some(cost) = report.cost {
        let _ = write!(text, "\nit cost {cost} by the graph's prices");
    }
    if report.held > 0 {
        let _ = write!(text, "\n{} wait for a migration to be validated", partitions(report.held));
    }
    match report.stale {
        0 => text.push_str("\nnothing is stale"),
        count => {
            let _ = write!(text, "\n{} stale; `lakeshift graph run` again runs exactly those", partitions(count));
        }
    }
    text
}

fn partitions(count: u64) -> String {
    if count == 1 { "1 partition".to_owned() } else { format!("{count} partitions") }
}
