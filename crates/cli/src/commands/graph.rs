//! `lakeshift graph …`: what is stale, what would run, running it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use chrono::{Days, NaiveTime};
use lakeshift_core::graph::{
    Cause, EntityId, Filter, Graph, GraphPlan, Group, Key, Link, Mark, Staleness, TIMELESS, TableId, Totals, Versions, why,
};
use serde_json::json;

use crate::args::{GraphArg, GraphCommand, GraphFilter};
use crate::context::Context;
use crate::engine::graph::{self, GraphFile, Ledger, RunOptions};
use crate::error::Error;
use crate::output::{Answer, bytes, table};

/// Stale partitions that are listed one by one; the rest is counted.
const LISTED_MAX: usize = 100;

/// Carries out a command on a graph.
pub async fn run(context: &Context, command: &GraphCommand) -> Result<Answer, Error> {
    match command {
        GraphCommand::Show(graph) => Ok(show(&Seen::look(context, graph).await?)),
        GraphCommand::Stale { graph, why } if why.is_empty() => Ok(stale(&Seen::look(context, graph).await?)),
        GraphCommand::Stale { graph, why } => chain(&Seen::look(context, graph).await?, why),
        GraphCommand::Plan { graph, filter } => plan(&Seen::look(context, graph).await?, filter),
        GraphCommand::Export { graph, filter } => export(&Seen::look(context, graph).await?, filter),
        GraphCommand::Logic { graph, table } => logic(&Seen::look(context, graph).await?, table),
        GraphCommand::Run { graph, filter, max_tasks, parallel } => {
            let file = GraphFile::open(context, &graph.graph)?;
            let filter = filter_of(&file.graph, filter)?;
            let options = RunOptions { filter, tasks_max: *max_tasks, parallel: *parallel };
            let report = graph::run(&file, &options).await?;
            let code = if report.failures.is_empty() { 0 } else { 2 };
            Ok(Answer::done(run_text(&report), &report).with_exit_code(code))
        }
    }
}

/// A graph as it stands now; nothing was written.
struct Seen {
    graph: Graph,
    versions: Versions,
    staleness: Staleness,
}

impl Seen {
    async fn look(context: &Context, arg: &GraphArg) -> Result<Self, Error> {
        let file = GraphFile::open(context, &arg.graph)?;
        let ledger = Ledger::open(context, &file.graph, &file.folder).await?;
        let versions = graph::current(&file, &ledger).await?;
        let staleness = Staleness::scan(&file.graph, &versions, &[]);
        Ok(Self { graph: file.graph, versions, staleness })
    }

    fn show(&self, table: TableId, key: Key) -> String {
        self.graph.show(&self.versions, table, key)
    }

    fn plan(&self, filter: &GraphFilter) -> Result<GraphPlan, Error> {
        Ok(GraphPlan::new(&self.graph, &self.versions, &self.staleness, &filter_of(&self.graph, filter)?))
    }

    fn table(&self, name: &str) -> Result<TableId, Error> {
        self.graph.table_id(name).ok_or_else(|| unknown_table(&self.graph, name))
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

fn show(seen: &Seen) -> Answer {
    let heading = ["table", "format", "partitions", "stale", "rows", "computed from"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    let mut tables = Vec::new();
    for (id, one) in seen.graph.ids() {
        let (partitions, stale) = (seen.staleness.partitions(id).count(), seen.staleness.stale(id).count());
        let known: u64 = seen.versions.partitions(id).map(|(_, state)| state.rows).sum();
        let edge =
            |edge: &lakeshift_core::graph::Edge| format!("{} ({})", seen.graph.table(edge.upstream).name, edge.mapping);
        let after: Vec<String> = one.after.iter().map(edge).collect();
        let from = if one.is_source() { "nothing: a source".to_owned() } else { after.join("; ") };
        let cells = [one.name.clone(), one.spec.format.to_string(), partitions.to_string(), stale.to_string()];
        rows.push(cells.into_iter().chain([known.to_string(), from]).collect());
        tables.push(json!({
            "table": one.name, "format": one.spec.format, "source": one.is_source(), "partitions": partitions,
            "stale": stale, "rows": known, "logic": one.logic, "after": after,
        }));
    }
    Answer::done(table(&rows), json!({ "graph": seen.graph.name, "tables": tables }))
}

fn reason(mark: Mark) -> &'static str {
    match mark {
        mark if mark.any(Mark::MISSING) => "it was never computed",
        mark if mark.any(Mark::LOGIC) => "its logic changed",
        mark if mark.any(Mark::MOVED) => "what it was computed from changed",
        _ => "what it is computed from is stale and may change",
    }
}

fn stale(seen: &Seen) -> Answer {
    let (mut lines, mut all) = (Vec::new(), Vec::new());
    for (id, one) in seen.graph.ids() {
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
        0 => format!("nothing in {} is stale", seen.graph.name),
        _ => {
            lines.truncate(LISTED_MAX);
            table(&lines)
        }
    };
    if count > LISTED_MAX {
        let _ = write!(text, "\n… and {} more; --format json lists them all", count - LISTED_MAX);
    }
    Answer::done(text, json!({ "graph": seen.graph.name, "stale": all }))
}

fn chain(seen: &Seen, partition: &[String]) -> Result<Answer, Error> {
    let id = seen.table(&partition[0])?;
    let key = key_of(seen, id, &partition[1..])?;
    let links = why(&seen.graph, &seen.versions, &seen.staleness, &[], id, key);
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
    let one = seen.graph.table(id);
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

fn told(seen: &Seen, link: &Link) -> String {
    let short = |digest: &str| digest.chars().take(8).collect::<String>();
    match &link.cause {
        Cause::Missing => "was never computed".to_owned(),
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
        let text = format!("nothing to run in {}: what was asked for is up to date", plan.graph);
        return Ok(Answer::done(text, &plan));
    }
    let group = |group: &Group| format!("  {group} ({})", partitions(group.totals.tasks));
    let groups: Vec<String> = plan.groups.iter().map(group).collect();
    let mut text = format!("would recompute, upstreams first:\n{}\n", groups.join("\n"));
    let _ = write!(text, "in all {}; sizes are those of the last run", amount(&plan.totals));
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
    let _ = write!(text, "\nnothing was written; `lakeshift graph run` with the same arguments runs it");
    Ok(Answer::done(text, &plan))
}

fn export(seen: &Seen, filter: &GraphFilter) -> Result<Answer, Error> {
    let plan = seen.plan(filter)?;
    let units: Vec<_> = plan.tasks.iter().map(|task| plan.unit(&seen.graph, &seen.versions, task)).collect();
    let json = json!({ "graph": plan.graph, "sequence": plan.sequence, "units": units });
    Ok(Answer::done(format!("{json:#}"), json))
}

/// Which logic digests a partition rests on, by table: those of itself and of everything upstream.
fn logics_below(
    seen: &Seen,
    id: TableId,
    key: Key,
    memo: &mut BTreeMap<(TableId, Key), BTreeMap<TableId, BTreeSet<String>>>,
) -> BTreeMap<TableId, BTreeSet<String>> {
    if let Some(known) = memo.get(&(id, key)) {
        return known.clone();
    }
    let mut below: BTreeMap<TableId, BTreeSet<String>> = BTreeMap::new();
    let one = seen.graph.table(id);
    if let (Some(state), false) = (seen.versions.get(id, key), one.is_source()) {
        below.entry(id).or_default().insert(seen.versions.logic_digest(state.logic).to_owned());
    }
    for edge in one.after.iter().filter(|edge| edge.upstream != id) {
        let reach = edge.mapping.needs(key);
        let read: Vec<Key> =
            seen.versions.partitions(edge.upstream).map(|(key, _)| key).filter(|key| reach.contains(*key)).collect();
        for upstream in read {
            for (table, digests) in logics_below(seen, edge.upstream, upstream, memo) {
                below.entry(table).or_default().extend(digests);
            }
        }
    }
    memo.insert((id, key), below.clone());
    below
}

fn logic(seen: &Seen, name: &str) -> Result<Answer, Error> {
    let id = seen.table(name)?;
    let one = seen.graph.table(id);
    let heading = ["partition", "logic", "mixes"].map(str::to_owned).to_vec();
    let (mut rows, mut all, mut memo) = (vec![heading], Vec::new(), BTreeMap::new());
    for (key, state) in seen.versions.partitions(id) {
        let digest = seen.versions.logic_digest(state.logic).to_owned();
        let current = one.logic.as_deref() == Some(&digest);
        let below = logics_below(seen, id, key, &mut memo);
        let mixed: Vec<&str> = below
            .iter()
            .filter(|(_, digests)| digests.len() > 1)
            .map(|(table, _)| seen.graph.table(*table).name.as_str())
            .collect();
        let short: String = digest.chars().take(8).collect();
        let word = match (one.is_source(), current) {
            (true, _) => "a source".to_owned(),
            (_, true) => format!("{short} (as it is now)"),
            (_, false) => format!("{short} (an earlier one)"),
        };
        rows.push(vec![seen.show(id, key), word, mixed.join(", ")]);
        all.push(json!({ "partition": seen.show(id, key), "logic": digest, "current": current, "mixes": mixed }));
    }
    Ok(Answer::done(table(&rows), json!({ "table": name, "partitions": all })))
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
