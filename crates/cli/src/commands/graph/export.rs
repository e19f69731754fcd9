//! `graph export`: the plan's partitions as units, or as a file that another scheduler runs.

use std::path::Path;

use lakeshift_core::graph::GraphPlan;
use serde_json::json;

use super::Seen;
use crate::args::Scheduler;
use crate::error::Error;
use crate::output::Answer;

const AIRFLOW: &str = include_str!("airflow.py");
const DAGSTER: &str = include_str!("dagster.py");

/// The units of a plan, for a scheduler. `file` is the graph's.
pub(super) fn export(seen: &Seen, plan: &GraphPlan, scheduler: Scheduler, file: &Path) -> Result<Answer, Error> {
    let units = plan.units(seen.graph(), &seen.versions);
    let json = json!({ "graph": plan.graph, "sequence": plan.sequence, "units": units });
    let template = match scheduler {
        Scheduler::Json => return Ok(Answer::done(format!("{json:#}"), json)),
        Scheduler::Airflow => AIRFLOW,
        Scheduler::Dagster => DAGSTER,
    };
    let short: Vec<_> = units.iter().map(|unit| json!({ "id": unit.id, "after": unit.after })).collect();
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let python = |value: &serde_json::Value| literal(&value.to_string());
    let text = template
        .replace("{{units}}", &python(&json!(short)))
        .replace("{{file}}", &literal(&file.display().to_string()))
        .replace("{{graph}}", &plan.graph);
    Ok(Answer::done(text.trim_end(), json))
}

/// A text as a Python literal: every JSON string is one, but for the two line separators that only JSON lets stand.
fn literal(text: &str) -> String {
    json!(text).to_string().replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029").replace("{{", "{\\u007b")
}
