//! `diff`: do any two tables hold the same rows?

use std::path::Path;
use std::sync::Arc;

use lakeshift_core::spec::Validation;
use lakeshift_core::storage::Storage;
use lakeshift_core::table::{Format, MigrationId, TableFormat};
use lakeshift_exec::engine::{Engine, EngineSettings};
use lakeshift_exec::logic::LogicSpec;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::validate::headline;
use crate::args::DiffArgs;
use crate::commands::init::as_url;
use crate::context::Context;
use crate::engine::compare::{About, Request, compare_sides, conclude, in_memory};
use crate::engine::tables;
use crate::engine::validation::{pin, write};
use crate::error::Error;
use crate::live::Live;
use crate::output::Answer;

/// Memory for the row difference, in bytes.
const MEMORY_BYTES: u64 = 256 * 1024 * 1024;

/// The name that a comparison without a migration has in its report.
const NAME: &str = "diff";

pub async fn run(context: &Context, args: &DiffArgs) -> Result<Answer, Error> {
    let started_at = context.clock.now();
    let started = context.clock.elapsed();
    let settings = settings(args)?;
    let (old_table, old_storage) = open(context, &args.old)?;
    let (new_table, new_storage) = open(context, &args.new)?;
    let (old, new) = (
        pin(old_table.as_ref(), None, [&old_storage, &new_storage], LogicSpec::default()).await?,
        pin(new_table.as_ref(), None, [&new_storage, &old_storage], LogicSpec::default()).await?,
    );
    let memory = in_memory();
    let folder = match &args.report {
        Some(folder) => Some(context.stores.open(&as_url(&folder.display().to_string())?)?),
        None => None,
    };
    let engine = EngineSettings { concurrency: args.parallel.max(1), ..EngineSettings::default() };
    let engine = Engine::builder().with_settings(engine).build()?;
    let request = Request {
        engine: &engine,
        settings: &settings,
        rng: context.rng.as_ref(),
        today: started_at.date_naive(),
        live: &Live::fixed(u32::try_from(args.parallel).unwrap_or(u32::MAX), &context.clock),
        memory_bytes: MEMORY_BYTES,
        readings: &memory,
        read_all: false,
        export: folder.as_ref().unwrap_or(&memory),
    };
    let compared = context.stop.or_drop(compare_sides(&request, &old, &new)).await??;
    let rules = serde_json::to_vec(&settings).map_err(|source| Error::Json { object: "the rules".to_owned(), source })?;
    let about = About {
        migration: MigrationId(NAME.to_owned()),
        scope: None,
        spec_digest: format!("{:x}", Sha256::digest(rules)),
        started_at,
        duration_ms: u64::try_from(context.clock.elapsed().saturating_sub(started).as_millis()).unwrap_or(u64::MAX),
        reproduce: vec![format!("lakeshift diff {} {}", args.old, args.new)],
    };
    let (report, certificate) = conclude(about, &settings, [&old, &new], compared, args.strict)?;
    let exit_code = report.exit_code;
    let mut text = headline(&report);
    if let Some(folder) = &folder {
        write(folder, &report, &certificate).await?;
        let url = folder.location();
        text.push_str(&format!("\nreport: {}/report.html", url.strip_prefix("file://").unwrap_or(url)));
    }
    let json = json!({
        "verdict": report.verdict.name(), "exit_code": exit_code, "report": folder.as_ref().map(Storage::location),
        "rows": report.rows, "old": report.old, "new": report.new,
    });
    Ok(Answer::done(text, json).with_exit_code(exit_code))
}

/// The rules' file, or none, with what the flags say.
fn settings(args: &DiffArgs) -> Result<Validation, Error> {
    let (text, file) = match &args.rules {
        Some(path) => (super::read_text(path)?, path.as_path()),
        None => ("{}".to_owned(), Path::new("the command line")),
    };
    let adjust = |settings: &mut Validation| {
        if !args.key.is_empty() {
            settings.key = args.key.clone();
        }
        if args.range.is_some() {
            settings.range = args.range.clone();
        }
        settings.mask &= !args.show_values;
    };
    Ok(Validation::from_yaml(text, file, adjust)?)
}

/// `delta:/lake/a` as a table.
fn open(context: &Context, text: &str) -> Result<(Arc<dyn TableFormat>, Storage), Error> {
    let wrong = || Error::Argument {
        text: text.to_owned(),
        reason: "write the format before the location: delta:/lake/a, iceberg:s3://lake/b, hive:./c, hudi:./d".to_owned(),
    };
    let (format, location) = text.split_once(':').ok_or_else(wrong)?;
    let format = match format {
        "hive" => Format::Hive,
        "delta" => Format::Delta,
        "iceberg" => Format::Iceberg,
        "hudi" => Format::Hudi,
        _ => return Err(wrong()),
    };
    let storage = context.stores.open(&as_url(location)?)?;
    Ok((tables::open(format, context, storage.clone(), &storage), storage))
}
