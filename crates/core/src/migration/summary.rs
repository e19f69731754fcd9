//! Every [`Event`] as one plain sentence: for the audit trail, and for hooks. No row value and no credential is in one.

use super::decide::list;
use super::event::{Event, PointerSwitch, Polled, Reconcile, Settled, Side, VerdictName, Work};
use crate::report::text::{bytes, cut, plural};
use crate::table::TableVersion;

/// Characters of a version, a location or a person's own words that a sentence holds.
const TEXT_CHARS_MAX: usize = 120;
/// Characters of a digest: enough to tell one from the next.
const DIGEST_CHARS: usize = 12;

impl Event {
    /// What happened, in a sentence on one line.
    pub fn summary(&self) -> String {
        let text = match self {
            Self::LeaseTaken { command, .. } => format!("the lease was taken for {command}"),
            Self::HooksTold { through, failed } if failed.is_empty() => {
                format!("hooks were told of everything up to entry {through}")
            }
            Self::HooksTold { through, failed } => {
                format!("hooks were told of everything up to entry {through}, but for {}", word(&failed.join(", ")))
            }
            Self::Controlled(entry) => {
                format!("{}, asked by {}: {}", entry.request, word(&entry.by), word(&entry.reason))
            }
            Self::Planned { plan, .. } => format!(
                "plan {}: {}, {}, {}",
                digest(&plan.digest),
                plural(plan.summary.units, "unit"),
                plural(plan.summary.total.files, "file"),
                bytes(plan.summary.total.bytes)
            ),
            Self::Approved { plan_digest, by } => format!("plan {} was approved by {}", digest(plan_digest), word(by)),
            Self::BoundaryPinned { plan, .. } => {
                format!("S0 is {}, {} to move", version(&plan.source), plural(plan.summary.units, "unit"))
            }
            Self::TargetCreated { version: at } => format!("the new table exists, at {}", version(at)),
            Self::CommitIntended { number, work } => format!("commit {number} is intended: {}", of_work(work)),
            Self::CommitSettled { number, result } => format!("commit {number} {}", of_result(result)),
            Self::Followed { side, to } => {
                format!("the {} table is at {} by this migration's own commits", side_name(*side), version(to))
            }
            Self::Looked { looks, cost } => {
                format!(
                    "{} found nothing, with {}",
                    plural(*looks, "look"),
                    plural(cost.requests + cost.control.total(), "request")
                )
            }
            Self::Validated(record) => format!(
                "{}{}, certificate {}, {}",
                verdict(record.verdict),
                if record.partial { " of a part of the rows" } else { "" },
                digest(&record.certificate_digest),
                record.report
            ),
            Self::RogueSeen { versions } => format!("somebody else has committed to the new table: {}", list(versions)),
            Self::Reconciled { side, versions, decision, reason, by } => format!(
                "{} of others to the {} table {} by {}: {}",
                list(versions),
                side_name(*side),
                if *decision == Reconcile::Adopt { "adopted" } else { "rejected" },
                word(by),
                word(reason)
            ),
            Self::Forced { gate, shut, reason, by } => {
                format!(
                    "gate {} was forced by {}: {} (shut: {})",
                    gate.name(),
                    word(by),
                    word(reason),
                    word(&shut.join("; "))
                )
            }
            Self::Rehearsed { forward_ms, back_ms, irreversible } => {
                let but = irreversible.as_ref().map(|reason| format!("; a rollback would lose writes of others: {reason}"));
                format!("the cutover was rehearsed, {forward_ms} ms forward, {back_ms} ms back{}", but.unwrap_or_default())
            }
            Self::SwitchIntended(switch) => of_switch(switch),
            Self::WritersHeld => "writers are held off".to_owned(),
            Self::WritersReleased { held_ms } => format!("writers may write again, after {held_ms} ms"),
            Self::Switched { number, readers: None } => format!("the alias points there (pointer {number})"),
            Self::Switched { number, readers: Some(Polled { polls, unanswered, longest_ms }) } => format!(
                "the alias points there (pointer {number}); a reader asked {polls} time(s), {unanswered} without an answer, the \
                 longest wait {longest_ms} ms"
            ),
            Self::StagePassed { alias } => format!("readers of {alias} have been well for their bake time"),
            Self::StageFailed { alias, reason } => {
                format!("readers of {alias} are not well, the health command {}", word(reason))
            }
            Self::SwitchVoid { number } => format!("pointer {number} was not written; the switch did not happen"),
            Self::Quarantined { files, bytes: size, kept, .. } => {
                format!("{} of the old table may go, {}; {kept} kept", plural(*files, "file"), bytes(*size))
            }
            Self::SunsetUndone { reason, by } => format!("the old table stays, by {}: {}", word(by), word(reason)),
            Self::PurgeIntended => "the listed files of the old table are about to be deleted".to_owned(),
            Self::Purged { files, bytes: size } => format!("{} deleted, {}", plural(*files, "file"), bytes(*size)),
            Self::Completed => "the migration is over".to_owned(),
            Self::AbortIntended { reason } => format!("what this migration created is to be dropped: {}", word(reason)),
            Self::Aborted => "what this migration created is dropped".to_owned(),
        };
        on_one_line(&text)
    }

    /// The event's name in the journal.
    pub fn kind(&self) -> String {
        let json = serde_json::to_value(self).unwrap_or_default();
        json["kind"].as_str().unwrap_or("unknown").to_owned()
    }
}

fn verdict(verdict: VerdictName) -> &'static str {
    match verdict {
        VerdictName::Pass => "PASS",
        VerdictName::Accepted => "ACCEPTED",
        VerdictName::Fail => "FAIL",
        VerdictName::Inconclusive => "INCONCLUSIVE",
    }
}

impl PointerSwitch {
    /// What has happened when it is done, in a sentence on one line.
    pub(super) fn outcome(&self) -> String {
        format!("readers of {} are on the {} table", self.alias, side_name(self.side))
    }
}

fn side_name(side: Side) -> &'static str {
    match side {
        Side::Old => "old",
        Side::New => "new",
    }
}

fn of_work(work: &Work) -> String {
    match work {
        Work::Backfill { units } => match units.as_slice() {
            [one] => format!("backfill, unit {one}"),
            many => format!("backfill, {}", plural(many.len() as u64, "unit")),
        },
        Work::Mirror { round, to, superseded_files, .. } => {
            format!("mirror, round {round}, up to {}, {} superseded", version(to), plural(*superseded_files, "source file"))
        }
        Work::Reverse { round, to, superseded_files, .. } => {
            format!("reverse mirror, round {round}, up to {}, {} superseded", version(to), plural(*superseded_files, "file"))
        }
        Work::Repartition { fields } if fields.is_empty() => "the new table's other writers partition no more".to_owned(),
        Work::Repartition { fields } => {
            format!("the new table's other writers partition by {}", word(&fields.join(", ")))
        }
        Work::Undo { versions } => {
            format!(
                "files that others added to the new table in {} are taken out of it",
                plural(versions.len() as u64, "commit")
            )
        }
        Work::Evolve { columns } => format!("the new table follows the old one's columns {}", word(&columns.join(", "))),
    }
}

fn of_result(result: &Settled) -> String {
    match result {
        Settled::Done { version: at, files, bytes: size, .. } => {
            format!("is in the table at {}: {} added, {} written", version(at), plural(*files, "file"), bytes(*size))
        }
        Settled::Void => "is not in the table, and can no longer come".to_owned(),
    }
}

fn of_switch(switch: &PointerSwitch) -> String {
    let PointerSwitch { alias, format, .. } = switch;
    let loss = if switch.loses_writes { "; commits that only the new table has are given up" } else { "" };
    format!("alias {alias} is to point to the {} table, {format} {}{loss}", side_name(switch.side), word(&switch.location))
}

fn digest(text: &str) -> &str {
    text.get(..DIGEST_CHARS).unwrap_or(text)
}

/// Of a Hive inventory's digest the start is enough.
fn version(version: &TableVersion) -> String {
    match version.0.split_once(':') {
        Some((kind, hex)) if hex.len() == 64 => format!("{kind}:{}", digest(hex)),
        None if version.0.len() == 64 => digest(&version.0).to_owned(),
        _ => word(&version.0),
    }
}

fn word(text: &str) -> String {
    cut(text.trim(), TEXT_CHARS_MAX)
}

/// Foreign text may hold what a terminal would obey.
fn on_one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
