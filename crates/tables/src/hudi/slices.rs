//! Which files a version shows: for each file group its latest base file, and the log files written after it.
//!
//! Files that should be there and are not ([`Shown::missing`]) take part as well: a version whose slice needs one of them
//! cannot be read, and is never read without it.

use std::collections::{BTreeMap, BTreeSet};

use lakeshift_core::table::TableError;

use super::commit::Commit;
use super::listing::Found;
use super::names::Kind;
use super::timeline::{Completion, Layout, View};
use crate::footer::{corrupt, unsupported};

/// What is known of a version before its slices are made.
#[derive(Debug)]
pub(super) struct Shown<'a> {
    pub(super) location: &'a str,
    pub(super) view: &'a View,
    /// What the instants that it shows did, by their times.
    pub(super) commits: &'a BTreeMap<String, std::sync::Arc<Commit>>,
    /// The data files that stand in the table's folder.
    pub(super) found: &'a [Found],
    /// Data files that were written or deleted and are not there.
    pub(super) missing: &'a [Found],
}

/// A file group at a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slice {
    pub(super) base: Option<Found>,
    /// In the order in which they apply.
    pub(super) logs: Vec<Found>,
    /// Instants whose log blocks count, ascending.
    pub(super) instants: Vec<String>,
    /// Whether log blocks of archived instants count as well.
    pub(super) archived: bool,
}

/// A candidate file: whether it is there.
#[derive(Debug, Clone, Copy)]
struct Candidate<'a> {
    file: &'a Found,
    is_there: bool,
}

#[derive(Debug, Default)]
struct Group<'a> {
    bases: Vec<Candidate<'a>>,
    logs: Vec<Candidate<'a>>,
}

type GroupId<'a> = (&'a str, &'a str);

/// The slices of every file group that the version shows, in the order of partition and file id.
///
/// # Errors
/// [`TableError::VersionGone`] where a file that it shows is not there, [`TableError::Unsupported`] for base files of
/// another format, [`TableError::Corrupt`] where two base files claim one place.
pub(super) fn slices(shown: &Shown<'_>) -> Result<Vec<Slice>, TableError> {
    let replaced: BTreeSet<GroupId<'_>> = shown.commits.values().flat_map(|commit| &commit.replaced).map(id).collect();
    let named: BTreeSet<&str> =
        shown.commits.values().flat_map(|commit| &commit.writes).map(|write| write.path.as_str()).collect();
    let mut groups: BTreeMap<GroupId<'_>, Group<'_>> = BTreeMap::new();
    let there = shown.found.iter().map(|file| Candidate { file, is_there: true });
    let missing = shown.missing.iter().map(|file| Candidate { file, is_there: false });
    for candidate in there.chain(missing) {
        let file = candidate.file;
        let key = (file.partition.as_str(), file.name.file_id.as_str());
        if replaced.contains(&key) {
            continue;
        }
        match &file.name.kind {
            Kind::Base if is_shown(shown, file, &named) => groups.entry(key).or_default().bases.push(candidate),
            Kind::Log { .. } => groups.entry(key).or_default().logs.push(candidate),
            Kind::OtherBase(format) if shown.view.completion(&file.name.instant).is_some() => {
                let feature = format!("base files of the format {format}");
                return Err(unsupported(&file.path, feature, "rewrite the table with Parquet"));
            }
            Kind::Base | Kind::OtherBase(_) | Kind::ChangeLog => {}
        }
    }
    let touched = touched(shown);
    let none = BTreeSet::new();
    let slices = groups.iter().map(|(key, group)| slice(shown, group, touched.get(key).unwrap_or(&none)));
    slices.filter_map(Result::transpose).collect()
}

fn id(pair: &(String, String)) -> GroupId<'_> {
    (pair.0.as_str(), pair.1.as_str())
}

/// Whether the version shows this base file. One that its instant does not name is left over from an attempt that failed.
fn is_shown(shown: &Shown<'_>, file: &Found, named: &BTreeSet<&str>) -> bool {
    match shown.view.completion(&file.name.instant) {
        None => false,
        Some(Completion::Archived(_)) => true,
        Some(Completion::Untold | Completion::At(_)) => named.contains(file.path.as_str()),
    }
}

/// For each file group the instants of the timeline that wrote log blocks to it.
fn touched<'a>(shown: &Shown<'a>) -> BTreeMap<GroupId<'a>, BTreeSet<&'a str>> {
    let mut touched: BTreeMap<GroupId<'_>, BTreeSet<&str>> = BTreeMap::new();
    for (time, commit) in shown.commits {
        for write in &commit.writes {
            let is_log = Found::of_path(&write.path).is_some_and(|file| matches!(file.name.kind, Kind::Log { .. }));
            if is_log {
                touched.entry((write.partition.as_str(), write.file_id.as_str())).or_default().insert(time);
            }
        }
    }
    touched
}

fn slice(shown: &Shown<'_>, group: &Group<'_>, touched: &BTreeSet<&str>) -> Result<Option<Slice>, TableError> {
    let base = latest_base(group)?;
    let after = base.map(|base| base.file.name.instant.as_str());
    let mut logs = Vec::new();
    for candidate in &group.logs {
        let applies = match shown.view.layout {
            Layout::One => applies_one(shown, candidate.file, after),
            Layout::Two => applies_two(shown, candidate.file, after)?,
        };
        if applies {
            logs.push(*candidate);
        }
    }
    logs.sort_by(|a, b| log_order(a.file).cmp(&log_order(b.file)));
    let (instants, archived) = match shown.view.layout {
        Layout::One => {
            let since = |time: &&&str| after.is_none_or(|after| **time > after);
            let instants = touched.iter().filter(since).map(|time| (*time).to_owned()).collect();
            // A slice that began in the timeline has no block of an archived instant.
            (instants, logs.iter().any(|log| shown.view.is_archived(&log.file.name.instant)))
        }
        Layout::Two => {
            let instants: BTreeSet<&String> = logs.iter().map(|log| &log.file.name.instant).collect();
            (instants.into_iter().cloned().collect::<Vec<_>>(), false)
        }
    };
    if instants.is_empty() && !archived {
        logs.clear();
    }
    if let Some(gone) = base.iter().chain(&logs).find(|candidate| !candidate.is_there) {
        return Err(TableError::VersionGone {
            location: shown.location.to_owned(),
            version: shown.view.version.clone(),
            reason: format!("its file {} is not there any more", gone.file.path),
        });
    }
    let owned = |candidate: Candidate<'_>| candidate.file.clone();
    let slice = Slice { base: base.map(owned), logs: logs.into_iter().map(owned).collect(), instants, archived };
    Ok((slice.base.is_some() || !slice.logs.is_empty()).then_some(slice))
}

fn latest_base<'a>(group: &Group<'a>) -> Result<Option<Candidate<'a>>, TableError> {
    let Some(latest) = group.bases.iter().max_by_key(|base| (&base.file.name.instant, base.is_there)) else {
        return Ok(None);
    };
    let same = |other: &&Candidate<'_>| other.file.name.instant == latest.file.name.instant && other.is_there;
    match group.bases.iter().filter(same).count() {
        0 | 1 => Ok(Some(*latest)),
        // Its instant is archived, which does not name its files any more.
        _ => Err(corrupt(&latest.file.path, "two base files of its file group are of one instant".to_owned())),
    }
}

/// Layout 1: a log file is named by the base file that it belongs to, or by a compaction that is to write it. Which of its
/// blocks count is told by their instants.
fn applies_one(shown: &Shown<'_>, log: &Found, after: Option<&str>) -> bool {
    let of = log.name.instant.as_str();
    after.is_none_or(|after| of >= after) && shown.view.last_time().is_some_and(|last| of <= last)
}

/// Layout 2: a log file is named by the instant that wrote it, and belongs to the base file that began last before that
/// instant completed.
fn applies_two(shown: &Shown<'_>, log: &Found, after: Option<&str>) -> Result<bool, TableError> {
    let time = log.name.instant.as_str();
    match (shown.view.completion(time), after) {
        (None, _) => Ok(false),
        (Some(_), None) => Ok(true),
        (Some(Completion::At(completion) | Completion::Archived(Some(completion))), Some(after)) => Ok(completion >= after),
        (Some(Completion::Archived(None) | Completion::Untold), Some(after)) if time >= after => Ok(true),
        (Some(Completion::Archived(None) | Completion::Untold), Some(after)) => Err(unsupported(
            &log.path,
            format!(
                "a log file of an archived instant beside the base file of {after}, of which the timeline's history does not tell when it completed"
            ),
            "let Hudi clean the table, so that log files go when they are compacted",
        )),
    }
}

fn log_order(log: &Found) -> (&str, u32, &str) {
    match &log.name.kind {
        Kind::Log { version, token } => (&log.name.instant, *version, token),
        _ => (&log.name.instant, 0, ""),
    }
}
