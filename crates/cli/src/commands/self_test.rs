//! `validate --self-test`: would the configured checks find a change?

use std::path::Path;

use serde_json::json;

use super::opened::Opened;
use crate::context::Context;
use crate::engine::compare::Trial;
use crate::engine::validation;
use crate::error::Error;
use crate::output::{Answer, table};

pub async fn run(context: &Context, path: &Path) -> Result<Answer, Error> {
    let opened = Opened::existing(context, path).await?;
    let trials = validation::self_test(&opened.session, &opened.tables, &opened.rows).await?;
    let missed = trials.iter().filter(|trial| trial.is_missed()).count();
    let headline = match missed {
        0 => "PASS: every change was found".to_owned(),
        missed => format!("FAIL: {missed} of the changes would pass as equal; tighten validation.columns or its ledger"),
    };
    let rows = trials.iter().map(row);
    let heading = ["change", "column", "found by"].map(str::to_owned).to_vec();
    let text = format!("{headline}\n\n{}", table(&std::iter::once(heading).chain(rows).collect::<Vec<_>>()));
    let exit_code = u8::from(missed > 0);
    Ok(Answer::done(text, json!({ "missed": missed, "trials": trials })).with_exit_code(exit_code))
}

fn row(trial: &Trial) -> Vec<String> {
    let found = match &trial.caught_by {
        None => "not tried: no such values".to_owned(),
        Some(checks) if checks.is_empty() => "NOTHING".to_owned(),
        Some(checks) => checks.join(", "),
    };
    vec![trial.mutation.to_owned(), trial.column.clone().unwrap_or_default(), found]
}
