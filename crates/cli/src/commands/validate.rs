//! `validate`: do old and new hold the same rows?

use std::path::Path;

use lakeshift_core::migration::Command;
use serde_json::json;

use super::opened::Opened;
use crate::context::Context;
use crate::engine::validation;
use crate::error::Error;
use crate::output::Answer;

pub async fn run(context: &Context, path: &Path) -> Result<Answer, Error> {
    let mut opened = Opened::existing(context, path).await?;
    let validated = opened
        .act(
            Command::Validate,
            |evidence| evidence,
            async |opened| validation::run(&mut opened.session, &opened.tables, &opened.rows).await,
        )
        .await?;
    let Some(validated) = validated else { return super::status::answer(&opened, "validated before").await };
    let report = &validated.report;
    let markdown = report.to_markdown();
    let headline = markdown.lines().take_while(|line| !line.starts_with("###")).collect::<Vec<_>>().join("\n");
    let url = opened.session.folder.url_of(&validated.folder);
    let folder = url.strip_prefix("file://").unwrap_or(&url);
    let json = json!({
        "verdict": report.verdict.name(), "report": format!("{url}/report.json"), "markdown": format!("{url}/report.md"),
        "exit_code": report.exit_code, "next_steps": opened.next_steps(),
    });
    Ok(Answer::done(format!("{}\nreport: {folder}/report.md", headline.trim_end()), json).with_exit_code(report.exit_code))
}
