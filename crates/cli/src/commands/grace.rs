//! `grace check`: for schedulers, until the old table may go.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};
use futures::TryStreamExt;
use lakeshift_core::access_log::{self, Line, OWN_AGENT};
use lakeshift_core::migration::{Command, Decision, Phase, Side, decide};
use lakeshift_core::table::MigrationId;
use serde::Serialize;
use serde_json::json;

use super::opened::Opened;
use super::read_text;
use crate::args::GraceArgs;
use crate::context::Context;
use crate::engine::{mirror, reverse, validation};
use crate::error::{Error, with_causes};
use crate::output::{Answer, seconds};

/// Exit code: something blocks the sunset.
const BLOCKED: u8 = 1;
/// Exit code: nothing does, and it is too early.
const NOT_YET: u8 = 5;

/// Where a migration stands between the cutover and the end of the old table.
#[derive(Debug, Serialize)]
struct Check {
    migration: String,
    phase: Option<Phase>,
    /// 0 due, 5 not yet, 1 blocked.
    exit_code: u8,
    /// In a few words.
    verdict: String,
    due_at: Option<DateTime<Utc>>,
    seconds_left: Option<u64>,
    /// What the last certificate is worth now.
    certificate: Option<String>,
    /// How far the old table follows the new one.
    reverse: Option<String>,
    /// The last read of the old table's own files, where an access log was given.
    last_read: Option<String>,
    blockers: Vec<String>,
    next_steps: Vec<String>,
}

pub async fn run(context: &Context, args: &GraceArgs) -> Result<Answer, Error> {
    let specs = specs(args)?;
    let mut checks = Vec::with_capacity(specs.len());
    for path in &specs {
        let check = match Box::pin(check(context, path, args)).await {
            // One migration that cannot be looked at hides no other.
            Err(error) if args.all => Check::failed(path, &error),
            checked => checked?,
        };
        checks.push(check);
    }
    if args.all {
        checks.retain(|check| check.phase.is_none_or(|phase| matches!(phase, Phase::Grace | Phase::Sunset)));
    }
    let exit_code = worst(&checks);
    let text = match (args.markdown, checks.is_empty()) {
        (_, true) => "no migration is in its grace period".to_owned(),
        (true, false) => markdown(&checks),
        (false, false) => checks.iter().map(Check::text).collect::<Vec<_>>().join("\n\n"),
    };
    let json = match checks.as_slice() {
        [check] if !args.all => json!(check),
        checks => json!({ "exit_code": exit_code, "migrations": checks }),
    };
    Ok(Answer::done(text, json).with_exit_code(exit_code))
}

/// One that is blocked outweighs one that is due, and that one those that have to wait.
fn worst(checks: &[Check]) -> u8 {
    let any = |code: u8| checks.iter().any(|check| check.exit_code == code);
    if any(BLOCKED) {
        BLOCKED
    } else if any(0) {
        0
    } else {
        NOT_YET
    }
}

/// The specs to check: the one that is named, or those of every folder in a folder of migrations.
fn specs(args: &GraceArgs) -> Result<Vec<PathBuf>, Error> {
    let Some(folder) = args.folder() else { return Ok(args.spec.iter().cloned().collect()) };
    let failed = |source| Error::ReadFile { path: folder.display().to_string(), source };
    let mut specs = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let is_yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if path.join("migration.yaml").is_file() || (path.is_file() && is_yaml) {
            specs.push(path);
        }
    }
    specs.sort();
    Ok(specs)
}

async fn check(context: &Context, path: &Path, args: &GraceArgs) -> Result<Check, Error> {
    let mut opened = match Opened::existing(context, path).await {
        Ok(opened) => opened,
        Err(Error::Unknown { migration, .. }) if args.all => return Ok(Check::not_begun(&migration)),
        Err(error) => return Err(error),
    };
    if args.renew && opened.session.state.phase == Phase::Grace {
        renew(&mut opened).await?;
    }
    let evidence = opened.evidence(Command::Sunset).await?;
    let state = &opened.session.state;
    let mut check = Check::new(&opened);
    match decide(state, Command::Sunset, &evidence) {
        Decision::Proceed => check.verdict = "the sunset is due".to_owned(),
        Decision::AlreadyDone => check.verdict = "the migration is completed".to_owned(),
        Decision::NotDue { until } => check.wait(until, evidence.now),
        Decision::Refused(_) if state.phase < Phase::Grace => {
            (check.verdict, check.exit_code) = ("readers are not on the new table yet".to_owned(), NOT_YET);
        }
        Decision::Refused(refusal) => check.blockers = refusal.reasons,
    }
    if state.phase == Phase::Grace {
        check.certificate = Some(certificate(&opened, &mut check.blockers).await?);
        check.reverse = Some(follows(&opened, &mut check.blockers).await?);
    }
    if !args.access_log.is_empty() && matches!(state.phase, Phase::Grace | Phase::Sunset) {
        let last = last_read(&opened, &args.access_log).await?;
        check.last_read = Some(read_so_far(&last, evidence.now, args.quiet_days, &mut check.blockers));
    }
    if !check.blockers.is_empty() {
        (check.verdict, check.exit_code) = ("blocked".to_owned(), BLOCKED);
    }
    Ok(check)
}

/// Carries back what others have written, and compares what has changed.
async fn renew(opened: &mut Opened) -> Result<(), Error> {
    let work = async |opened: &mut Opened| {
        let Opened { session, tables, rows } = opened;
        if session.state.reverse.is_some() && reverse::impossible(session, tables).await?.is_none() {
            reverse::catch_up(session, tables).await?;
        }
        let (old, new) = (tables.source.snapshot(None).await?.version, tables.target.snapshot(None).await?.version);
        let digest = session.spec.digest();
        if session.state.fresh_pass(&old, &new, &digest).is_none() {
            validation::run(session, tables, rows, &validation::Options::default()).await?;
        }
        Ok(())
    };
    opened.act(Command::Validate, |evidence| evidence, work).await.map(drop)
}

async fn certificate(opened: &Opened, blockers: &mut Vec<String>) -> Result<String, Error> {
    let (session, tables) = (&opened.session, &opened.tables);
    let Some(record) = &session.state.validation else { return Ok("there is none".to_owned()) };
    if !record.verdict.passes() {
        blockers.push(format!("the last validation, of {}, did not pass", record.at.format("%Y-%m-%d %H:%M UTC")));
        return Ok("does not hold".to_owned());
    }
    let (old, new) = (tables.source.snapshot(None).await?.version, tables.target.snapshot(None).await?.version);
    let at = record.at.format("%Y-%m-%d %H:%M UTC");
    Ok(match session.state.fresh_pass(&old, &new, &session.spec.digest()) {
        Some(_) => format!("of {at}, holds for both present versions"),
        None => format!("of {at}, for earlier versions; `grace check --renew` compares what has changed"),
    })
}

async fn follows(opened: &Opened, blockers: &mut Vec<String>) -> Result<String, Error> {
    let (session, tables) = (&opened.session, &opened.tables);
    let absent = session.state.reverse.is_none().then(|| reverse::NO_BASE.to_owned());
    if let Some(reason) = absent.or(reverse::impossible(session, tables).await?) {
        return Ok(format!("the old table does not follow the new one: {reason}"));
    }
    Ok(match mirror::look(session, tables, Side::New).await {
        Ok(None) => "the old table is in step with the new one".to_owned(),
        Ok(Some(found)) if found.meaning.is_empty() => "the old table is in step with the new one".to_owned(),
        Ok(Some(found)) => {
            let lag = found.batch.lag;
            format!("the old table lacks {lag}, the oldest {}", seconds(lag.seconds))
        }
        Err(error) => {
            blockers.push(format!("what is written to the new table cannot be followed: {}", with_causes(&error)));
            "unknown".to_owned()
        }
    })
}

/// What access logs say of the old table's own files.
#[derive(Debug, Default)]
struct Reads {
    last: Option<access_log::Read>,
    lines: u64,
    unknown: u64,
}

/// The last read of a file below the old location that the new table does not hold as well, since readers moved.
async fn last_read(opened: &Opened, logs: &[PathBuf]) -> Result<Reads, Error> {
    let (state, tables) = (&opened.session.state, &opened.tables);
    let storage = &tables.source_storage;
    let snapshot = tables.target.snapshot(None).await?;
    let in_place = tables.source.location() == tables.target.location();
    let files = tables.target.files(&snapshot).try_filter_map(|file| {
        let shared = in_place || file.path.contains("://");
        std::future::ready(Ok(shared.then(|| storage.plain_url_of(&file.path))))
    });
    let shared: BTreeSet<String> = files.map_ok(|url| bare(&url).to_owned()).try_collect().await?;
    let below = format!("{}/", bare(&storage.plain_url_of(storage.location())));
    let mut reads = Reads::default();
    for log in logs {
        for line in read_text(log)?.lines() {
            reads.lines += 1;
            let read = match access_log::parse(line) {
                Line::Read(read) => read,
                Line::Other => continue,
                Line::Unknown => {
                    reads.unknown += 1;
                    continue;
                }
            };
            let object = storage.plain_url_of(read.path.trim_start_matches('/'));
            let object = bare(&object);
            let counts = object.starts_with(&below) && !shared.contains(object) && !read.agent.contains(OWN_AGENT);
            let after = state.cut_over_at.is_none_or(|moved| read.at > moved);
            if counts && after && reads.last.as_ref().is_none_or(|last| read.at > last.at) {
                reads.last = Some(read);
            }
        }
    }
    Ok(reads)
}

/// Bucket and path of a URL: a log says `s3` where a spec may say `s3a`.
fn bare(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, rest)| rest)
}

fn read_so_far(reads: &Reads, now: DateTime<Utc>, quiet_days: u32, blockers: &mut Vec<String>) -> String {
    if reads.unknown > 0 || reads.lines == 0 {
        let (unknown, lines) = (reads.unknown, reads.lines);
        blockers.push(format!("{unknown} of {lines} line(s) of the access log are of no known form; see docs/playbook.md"));
    }
    let Some(read) = &reads.last else { return "none since readers moved".to_owned() };
    let at = read.at.format("%Y-%m-%d %H:%M UTC");
    if now - read.at < TimeDelta::days(i64::from(quiet_days)) {
        blockers.push(format!("the old table was read at {at} by `{}`, less than {quiet_days} day(s) ago", read.agent));
    }
    format!("{at} by `{}`", read.agent)
}

impl Check {
    fn new(opened: &Opened) -> Self {
        let (session, next_steps) = (&opened.session, opened.next_steps());
        Self { exit_code: 0, next_steps, ..Self::empty(session.id().to_string(), Some(session.state.phase)) }
    }

    fn empty(migration: String, phase: Option<Phase>) -> Self {
        Self {
            migration,
            phase,
            exit_code: NOT_YET,
            verdict: String::new(),
            due_at: None,
            seconds_left: None,
            certificate: None,
            reverse: None,
            last_read: None,
            blockers: Vec::new(),
            next_steps: Vec::new(),
        }
    }

    fn not_begun(migration: &MigrationId) -> Self {
        Self { verdict: "has not begun".to_owned(), ..Self::empty(migration.to_string(), Some(Phase::Planned)) }
    }

    fn failed(path: &Path, error: &Error) -> Self {
        let (verdict, blockers) = ("blocked".to_owned(), vec![with_causes(error)]);
        Self { exit_code: BLOCKED, verdict, blockers, ..Self::empty(path.display().to_string(), None) }
    }

    fn wait(&mut self, until: DateTime<Utc>, now: DateTime<Utc>) {
        let left = (until - now).num_seconds().max(0).cast_unsigned();
        (self.due_at, self.seconds_left, self.exit_code) = (Some(until), Some(left), NOT_YET);
        self.verdict = format!("not due for {}", seconds(left));
    }

    /// Name and value of what is known beside the verdict.
    fn facts(&self) -> Vec<(&'static str, String)> {
        let facts = [
            ("due", self.due_at.map(|at| at.format("%Y-%m-%d %H:%M UTC").to_string())),
            ("certificate", self.certificate.clone()),
            ("old table", self.reverse.clone()),
            ("last read", self.last_read.clone()),
            ("next", (!self.next_steps.is_empty()).then(|| self.next_steps.join(" | "))),
        ];
        facts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    fn text(&self) -> String {
        let blockers: String = self.blockers.iter().map(|reason| format!("\n  - {reason}")).collect();
        let colon = if blockers.is_empty() { "" } else { ":" };
        let facts: String = self.facts().iter().map(|(name, value)| format!("\n  {name:<12} {value}")).collect();
        format!("{}: {}{colon}{blockers}{facts}", self.migration, self.verdict)
    }
}

/// One table for all, and what blocks below it.
fn markdown(checks: &[Check]) -> String {
    let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
    let mut lines = vec![
        "| migration | verdict | due | certificate | old table | last read |".to_owned(),
        "|---|---|---|---|---|---|".to_owned(),
    ];
    for check in checks {
        let mark = match check.exit_code {
            0 => "✅",
            BLOCKED => "⛔",
            _ => "⏳",
        };
        let due = check.due_at.map_or_else(String::new, |at| at.format("%Y-%m-%d %H:%M UTC").to_string());
        let told = [&check.certificate, &check.reverse, &check.last_read].map(|text| cell(text.as_deref().unwrap_or("")));
        let [certificate, reverse, read] = told;
        let (name, verdict) = (cell(&check.migration), cell(&check.verdict));
        lines.push(format!("| `{name}` | {mark} {verdict} | {due} | {certificate} | {reverse} | {read} |"));
    }
    for check in checks.iter().filter(|check| !check.blockers.is_empty()) {
        lines.push(format!("\n**{}** is blocked:\n", check.migration));
        lines.extend(check.blockers.iter().map(|reason| format!("- {}", reason.replace('\n', " "))));
    }
    lines.join("\n")
}
