//! `certificate verify`: is a certificate what it says it is?

use std::path::{Path, PathBuf};

use lakeshift_core::equivalence::{Certificate, Signer, Verification, VerifyingKey};
use serde_json::json;

use super::opened::Opened;
use crate::context::Context;
use crate::engine::compare;
use crate::error::Error;
use crate::output::Answer;

pub async fn verify(
    context: &Context,
    file: &Path,
    public_keys: &[PathBuf],
    replay: Option<&Path>,
) -> Result<Answer, Error> {
    let keys = public_keys.iter().map(|path| read_key(path)).collect::<Result<Vec<_>, _>>()?;
    let certificate = Certificate::read(super::read_text(file)?.as_bytes())?;
    let verification = certificate.verify(&keys);
    let signer = match verification {
        Verification::Broken { faults } => {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            let text = format!("BROKEN {}\n{}", file.display(), bullets(&faults));
            return Ok(Answer::done(text, json!({ "intact": false, "faults": faults })).with_exit_code(1));
        }
        Verification::Intact { signer } => signer,
    };
    let trusted = keys.is_empty() || matches!(signer, Signer::Named { .. });
    let mut lines = vec![
        format!("{} {}", if trusted { "INTACT" } else { "NOT TRUSTED" }, file.display()),
        format!("verdict: {} of {} on {}", certificate.verdict, certificate.migration, certificate.at),
        format!("old: {} {} at {}", certificate.source.format, certificate.source.location, certificate.source.version),
        format!("new: {} {} at {}", certificate.target.format, certificate.target.location, certificate.target.version),
        format!("signature: {signer}"),
    ];
    let mut answer = json!({
        "intact": true, "trusted": trusted, "verdict": certificate.verdict.name(), "digest": certificate.digest,
        "signature": signer.to_string(),
    });
    let mut exit_code = u8::from(!trusted);
    if let Some(spec) = replay {
        let opened = Opened::existing(context, spec).await?;
        let differing = compare::replay(&opened.session, &opened.tables, &opened.rows, &certificate).await?;
        let labels: Vec<String> = differing.iter().map(|cell| cell.label(&certificate.fields)).collect();
        lines.push(match labels.len() {
            0 => "replay: both tables give the certificate's sums in every cell".to_owned(),
            count => format!("replay: {count} cells come to other sums\n{}", bullets(&labels)),
        });
        answer["replayed_cells_that_differ"] = json!(labels);
        exit_code = exit_code.max(u8::from(!labels.is_empty()));
    }
    Ok(Answer::done(lines.join("\n"), answer).with_exit_code(exit_code))
}

fn read_key(path: &Path) -> Result<VerifyingKey, Error> {
    let text = super::read_text(path)?;
    VerifyingKey::from_pem(&text).map_err(|source| Error::KeyFile { path: path.display().to_string(), source })
}

fn bullets(lines: &[String]) -> String {
    lines.iter().take(20).map(|line| format!("  - {line}")).collect::<Vec<_>>().join("\n")
}
