//! `lakeshift stream …`: backfills beside a stream, and its audit.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use lakeshift_core::graph::Grain;
use lakeshift_core::stream::StreamSpec;
use lakeshift_stream::{Mode, PartitionAudit, Positions, Range};

use crate::args::{BackfillArgs, BackfillMode, StreamCommand};
use crate::context::Context;
use crate::engine::stream::{self, AuditReport, BackfillReport, BackfillRequest, OtherTable, StreamFile};
use crate::error::Error;
use crate::output::{Answer, table};

/// Carries out a command on a stream.
pub async fn run(context: &Context, command: &StreamCommand) -> Result<Answer, Error> {
    match command {
        StreamCommand::Schema => Ok(Answer::done(format!("{:#}", StreamSpec::json_schema()), StreamSpec::json_schema())),
        StreamCommand::Audit { stream, offline } => {
            let file = StreamFile::open(context, &stream.stream)?;
            let report = stream::audit(&file, !offline).await?;
            let code = if report.is_clean() { 0 } else { 1 };
            Ok(Answer::done(audit_text(&report), &report).with_exit_code(code))
        }
        StreamCommand::Backfill(args) => {
            let file = StreamFile::open(context, &args.stream.stream)?;
            let request = request(args, &file.spec)?;
            let grain = file.spec.time.grain;
            let report = Box::pin(stream::backfill(&file, &request)).await?;
            let (other, exit_code) = report.other_table.as_ref().map(OtherTable::line).unwrap_or_default();
            let text = backfill_text(&report, grain) + if other.is_empty() { "" } else { "\n" } + &other;
            Ok(Answer::done(text, &report).with_exit_code(exit_code))
        }
    }
}

fn request(args: &BackfillArgs, spec: &StreamSpec) -> Result<BackfillRequest, Error> {
    let wrong = |text: &str, reason: String| Error::Argument { text: text.to_owned(), reason };
    let grain = spec.time.grain;
    let period = |text: &str| grain.parse(text).map_err(|error| wrong(text, error.to_string()));
    let (from, to) = (period(&args.from)?, period(&args.to)?);
    if to < from {
        return Err(wrong(&args.to, format!("it is before {}", args.from)));
    }
    if args.entity.is_some() && spec.entity.is_none() {
        return Err(wrong("--entity", "the stream's file has no `entity`".to_owned()));
    }
    let sql = match (&args.sql, &args.sql_file) {
        (Some(sql), _) => Some(sql.clone()),
        (None, Some(file)) => Some(super::read_text(file)?),
        (None, None) => None,
    };
    let mode = match args.mode {
        BackfillMode::Pause => Mode::Pause,
        BackfillMode::Priority => Mode::Priority,
        BackfillMode::Park => Mode::Park,
        BackfillMode::Skip => Mode::Skip,
    };
    if !args.read_to.is_empty() && matches!(mode, Mode::Park | Mode::Skip) {
        return Err(wrong("--read-to", "it has a meaning in the modes pause and priority only".to_owned()));
    }
    let read_to: Positions = args.read_to.iter().cloned().collect();
    let range = Range { from, to, entity: args.entity.clone() };
    Ok(BackfillRequest { name: args.name.clone(), range, mode, sql, read_to, wait: Duration::from_secs(args.wait) })
}

fn backfill_text(report: &BackfillReport, grain: Grain) -> String {
    let Range { from, to, entity } = &report.range;
    let entity = entity.as_ref().map(|entity| format!(" of {entity}")).unwrap_or_default();
    let mut text = format!("{}: {} to {}{entity}", report.name, grain.format(*from), grain.format(*to));
    let _ = write!(
        text,
        "\n{} rows in {} files replaced by {} rows in {} files in one commit",
        report.rows_before, report.removed, report.rows, report.added
    );
    let _ = write!(text, "\nvalidated: {}", report.evidence);
    if report.parked > 0 {
        let _ = write!(text, "\n{} events had been set aside when it was validated", report.parked);
        text.push_str(match report.mode {
            Mode::Park => "; the stream replays them before it reads on",
            Mode::Skip => "; they are left out, as asked",
            Mode::Pause | Mode::Priority => "; those that the backfill has read are superseded, the others are replayed",
        });
    }
    text.push_str("\nthe range is free");
    text
}

fn audit_text(report: &AuditReport) -> String {
    let heading = ["partition", "offsets", "applied", "superseded", "skipped", "parked", "dead", "absent", "unread"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    let sum = |counts: &BTreeMap<String, u64>| counts.values().sum::<u64>().to_string();
    for one in &report.audit.partitions {
        let PartitionAudit { partition, first, next, applied, superseded, skipped, parked, dead_lettered, absent, .. } = one;
        let offsets = if first == next { "none".to_owned() } else { format!("{first}-{}", next - 1) };
        let unread = report
            .unread
            .as_ref()
            .map_or("not asked".to_owned(), |unread| unread.get(partition).map_or("gone".to_owned(), ToString::to_string));
        let counts =
            [applied.to_string(), sum(superseded), sum(skipped), sum(parked), dead_lettered.to_string(), absent.to_string()];
        rows.push([partition.to_string(), offsets].into_iter().chain(counts).chain([unread]).collect());
    }
    let mut text = table(&rows);
    for (what, of) in [
        ("superseded by", (|one| &one.superseded) as fn(&PartitionAudit) -> &BTreeMap<String, u64>),
        ("skipped by", |one| &one.skipped),
        ("parked for", |one| &one.parked),
    ] {
        let mut by_name: BTreeMap<&str, u64> = BTreeMap::new();
        for (name, count) in report.audit.partitions.iter().flat_map(of) {
            *by_name.entry(name).or_default() += count;
        }
        for (name, count) in by_name {
            let _ = write!(text, "\n{what} {name}: {count}");
        }
    }
    for one in &report.audit.partitions {
        for (what, offsets) in [("accounted for nowhere", &one.gaps), ("accounted for twice", &one.doubles)] {
            if !offsets.is_empty() {
                let _ = write!(text, "\n{}: {what}: {offsets}", one.partition);
            }
        }
    }
    if report.audit.unsettled {
        text.push_str("\na commit has no end yet: run `lakeshift ingest --once`, then this again");
    }
    if !report.agrees() {
        let table = report.table_commit.map_or("none".to_owned(), |number| number.to_string());
        let _ = write!(text, "\nthe table has the stream's commit {table} and the journal has {}", report.journal_commit);
    }
    text.push_str(if report.is_clean() { "\nclean: every offset is accounted for exactly once" } else { "\nNOT CLEAN" });
    text
}
