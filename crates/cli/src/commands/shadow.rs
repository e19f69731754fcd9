//! `shadow`: the readers' own queries, asked of both tables.

use lakeshift_exec::shadow::{Difference, split};
use serde_json::{Value, json};

use super::opened::Opened;
use crate::args::ShadowArgs;
use crate::context::Context;
use crate::engine::shadow::{self, Shadowed};
use crate::error::Error;
use crate::output::{Answer, table};

/// Characters of a version that are shown.
const VERSION_CHARS: usize = 28;

/// The file beside the spec that is read where no other is named.
const FILE: &str = "queries.sql";

pub async fn run(context: &Context, args: &ShadowArgs) -> Result<Answer, Error> {
    let opened = Opened::existing(context, &args.spec.spec).await?;
    let spec = &args.spec.spec;
    let beside = || if spec.is_dir() { spec.join(FILE) } else { spec.with_file_name(FILE) };
    let file = args.queries.clone().unwrap_or_else(beside);
    let queries = split(&super::read_text(&file)?)?;
    if queries.is_empty() {
        let reason = "it holds no query; write SELECT statements with a semicolon after each".to_owned();
        return Err(Error::Argument { text: file.display().to_string(), reason });
    }
    let how = (args.runs, args.tolerance);
    let asked = shadow::run(&opened.session, &opened.tables, &opened.rows, &queries, how);
    let shadow = context.stop.or_drop(asked).await??;
    let differing = shadow.queries.iter().filter(|query| query.difference.is_some()).count();
    let headline = match differing {
        0 => format!("{} queries: old and new table answer alike", shadow.queries.len()),
        _ => format!("{differing} of {} queries: the new table answers otherwise", shadow.queries.len()),
    };
    let [old, new] = &shadow.versions;
    let heading = ["query", "rows", "old", "new", "new/old", "result"].map(str::to_owned).to_vec();
    let lines: Vec<_> = [heading].into_iter().chain(shadow.queries.iter().map(line)).collect();
    // The digest of a Hive inventory is long; the JSON has all of it.
    let short = |version: &str| version.chars().take(VERSION_CHARS).collect::<String>();
    let text = format!("{headline}\nold version {}, new version {}\n\n{}", short(old), short(new), table(&lines));
    let queries: Vec<_> = shadow.queries.iter().map(as_json).collect();
    let json = json!({ "differing": differing, "old_version": old, "new_version": new, "queries": queries });
    Ok(Answer::done(text, json).with_exit_code(u8::from(differing > 0)))
}

fn line(query: &Shadowed) -> Vec<String> {
    let [old, new] = query.took.map(|took| took.as_secs_f64());
    let rows = match query.rows {
        [old, new] if old == new => old.to_string(),
        [old, new] => format!("{old} / {new}"),
    };
    let result = query.difference.as_ref().map_or_else(|| "same".to_owned(), told);
    vec![query.query.clone(), rows, ms(old), ms(new), format!("{:.2}", new / old.max(1e-6)), result]
}

fn ms(seconds: f64) -> String {
    format!("{:.0} ms", seconds * 1000.0)
}

fn told(difference: &Difference) -> String {
    match difference {
        Difference::Columns { old, new } => format!("columns {} became {}", old.join(", "), new.join(", ")),
        Difference::Type { column, old, new } => format!("column {column} is {old} in the old reply, {new} in the new one"),
        Difference::Rows { only_old, only_new, apart } => {
            format!("rows only old: {only_old}, only new: {only_new}, numbers apart: {apart}")
        }
    }
}

fn as_json(query: &Shadowed) -> Value {
    let [old, new] = query.took.map(|took| took.as_secs_f64() * 1000.0);
    json!({
        "query": query.query, "rows_old": query.rows[0], "rows_new": query.rows[1],
        "median_ms_old": old, "median_ms_new": new, "difference": query.difference.as_ref().map(told),
    })
}
