//! `validate`: do old and new hold the same rows?

use std::path::{Path, PathBuf};

use lakeshift_core::equivalence::SigningKey;
use lakeshift_core::migration::Command;
use lakeshift_core::report::ValidationReport;
use serde_json::json;

use super::opened::Opened;
use crate::context::Context;
use crate::engine::validation::{self, Options};
use crate::error::Error;
use crate::output::Answer;

/// What the command line says beside the spec.
#[derive(Debug, Default)]
pub struct Flags {
    pub read_all: bool,
    pub strict: bool,
    pub signing_key: Option<PathBuf>,
}

pub async fn run(context: &Context, path: &Path, flags: Flags) -> Result<Answer, Error> {
    let signing_key = flags.signing_key.as_deref().map(read_signing_key).transpose()?;
    let options = Options { read_all: flags.read_all, strict: flags.strict, signing_key };
    let mut opened = Opened::existing(context, path).await?;
    let validated = opened
        .act(
            Command::Validate,
            |evidence| evidence,
            async |opened| validation::run(&mut opened.session, &opened.tables, &opened.rows, &options).await,
        )
        .await?;
    let Some(validated) = validated else { return super::status::answer(&opened, "validated before").await };
    let report = &validated.report;
    let url = opened.session.folder.url_of(&validated.folder);
    let folder = url.strip_prefix("file://").unwrap_or(&url);
    let exit_code = report.exit_code;
    let json = json!({
        "verdict": report.verdict.name(), "report": format!("{url}/report.json"), "markdown": format!("{url}/report.md"),
        "html": format!("{url}/report.html"), "junit": format!("{url}/report.junit.xml"),
        "certificate": format!("{url}/certificate.json"), "exit_code": exit_code, "next_steps": opened.next_steps(),
    });
    Ok(Answer::done(format!("{}\nreport: {folder}/report.html", headline(report)), json).with_exit_code(exit_code))
}

/// The report's first lines: verdict, reasons, advice.
pub(super) fn headline(report: &ValidationReport) -> String {
    let markdown = report.to_markdown();
    let lines = markdown.lines().take_while(|line| !line.starts_with("###"));
    lines.collect::<Vec<_>>().join("\n").trim_end().to_owned()
}

fn read_signing_key(path: &Path) -> Result<SigningKey, Error> {
    let text = super::read_text(path)?;
    SigningKey::from_pem(&text).map_err(|source| Error::KeyFile { path: path.display().to_string(), source })
}
