//! The timeline: which instants are completed, and which of them a version shows ([`View`]).
//!
//! Layout 1 names an instant by the time at which it began; two that ran at once may complete in the other order. So a
//! version is the latest instant and the earlier ones that had not completed: `hudi:<instant>!<pending>,<pending>`. From
//! layout 2 an instant has its completion time in its name, and a version is all that had completed by then:
//! `hudi:<instant>_<completion>`.

use std::collections::{BTreeMap, BTreeSet};

use lakeshift_core::table::{TableError, TableVersion};

use crate::footer::{corrupt, unsupported};

/// The version of a table without a completed instant.
const EMPTY: &str = "hudi:empty";
const PREFIX: &str = "hudi:";
/// Instants in a timeline, at most: Hudi archives all but some dozens.
const INSTANTS_MAX: usize = 100_000;
/// Actions that write data, under the names that they have before and after they complete.
const WRITES: [&str; 6] = ["commit", "deltacommit", "replacecommit", "compaction", "logcompaction", "clustering"];
/// Actions that write none.
const OTHERS: [&str; 6] = ["clean", "rollback", "restore", "savepoint", "indexing", "schemacommit"];

/// How instants are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// Table version 6.
    One,
    /// Table versions 8 and 9.
    Two,
}

/// A completed instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Instant {
    /// When it began; its name in files.
    pub(super) time: String,
    /// When it completed, from layout 2.
    pub(super) completion: Option<String>,
    /// The object's name.
    pub(super) name: String,
}

/// What stands in a table's timeline now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Timeline {
    layout: Layout,
    /// Completed writes by time.
    completed: BTreeMap<String, Instant>,
    pending: BTreeSet<String>,
    /// Completed cleans.
    pub(super) cleans: Vec<Instant>,
    /// The first completed write that no savepoint keeps: earlier ones may be archived.
    start: Option<String>,
}

/// A completed instant's object name, as it is written.
struct Parsed<'a> {
    time: &'a str,
    completion: Option<&'a str>,
    action: &'a str,
    completed: bool,
}

impl Timeline {
    /// The timeline of objects of these names.
    ///
    /// # Errors
    /// [`TableError::Unsupported`] for an action that Lakeshift does not know, [`TableError::Corrupt`] for two objects that
    /// contradict each other.
    pub(super) fn new<'a>(
        location: &str,
        layout: Layout,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, TableError> {
        let mut timeline =
            Self { layout, completed: BTreeMap::new(), pending: BTreeSet::new(), cleans: Vec::new(), start: None };
        let mut savepoints = BTreeSet::new();
        for (count, name) in names.into_iter().enumerate() {
            if count > INSTANTS_MAX {
                return Err(corrupt(location, format!("its timeline has more than {INSTANTS_MAX} objects")));
            }
            let Some(parsed) = parse(name) else { continue };
            if !WRITES.contains(&parsed.action) && !OTHERS.contains(&parsed.action) {
                let feature = format!("the timeline action {}", parsed.action);
                return Err(unsupported(
                    location,
                    feature,
                    "this build knows no such action; do not migrate the table with it",
                ));
            }
            if parsed.completed && parsed.completion.is_some() != (layout == Layout::Two) {
                return Err(corrupt(&format!("{location}: {name}"), "its name is of another timeline layout".to_owned()));
            }
            let completion = parsed.completion.map(str::to_owned);
            let instant = Instant { time: parsed.time.to_owned(), completion, name: name.to_owned() };
            match (parsed.action, parsed.completed) {
                (action, false) if WRITES.contains(&action) => drop(timeline.pending.insert(instant.time)),
                (action, true) if WRITES.contains(&action) => {
                    if let Some(other) = timeline.completed.insert(instant.time.clone(), instant) {
                        let reason = format!("its timeline has the instant {} twice", other.time);
                        return Err(corrupt(location, reason));
                    }
                }
                ("clean", true) => timeline.cleans.push(instant),
                ("savepoint", true) => drop(savepoints.insert(instant.time)),
                _ => {}
            }
        }
        timeline.pending.retain(|time| !timeline.completed.contains_key(time));
        timeline.start = timeline.completed.keys().find(|time| !savepoints.contains(*time)).cloned();
        Ok(timeline)
    }

    /// What the table shows now.
    pub(super) fn latest(&self) -> View {
        View {
            layout: self.layout,
            visible: self.completed.clone(),
            hidden: self.pending.clone(),
            start: self.start.clone(),
            version: TableVersion(self.latest_version()),
            is_latest: true,
            archived: BTreeMap::new(),
        }
    }

    fn latest_version(&self) -> String {
        match self.layout {
            Layout::One => {
                let Some(last) = self.completed.keys().next_back() else { return EMPTY.to_owned() };
                let pending: Vec<&str> = self.pending.range(..last.clone()).map(String::as_str).collect();
                let mark = if pending.is_empty() { "" } else { "!" };
                format!("{PREFIX}{last}{mark}{}", pending.join(","))
            }
            Layout::Two => {
                let last = self.completed.values().max_by_key(|instant| (&instant.completion, &instant.time));
                let Some(last) = last else { return EMPTY.to_owned() };
                format!("{PREFIX}{}_{}", last.time, last.completion.as_deref().unwrap_or_default())
            }
        }
    }

    /// What the table showed at `version`.
    ///
    /// # Errors
    /// [`TableError::VersionGone`].
    pub(super) fn at(&self, location: &str, version: &TableVersion) -> Result<View, TableError> {
        if self.latest_version() == version.0 {
            return Ok(self.latest());
        }
        let gone = |reason: &str| TableError::VersionGone {
            location: location.to_owned(),
            version: version.clone(),
            reason: reason.to_owned(),
        };
        let mut view = View { version: version.clone(), is_latest: false, ..self.latest() };
        if version.0 == EMPTY {
            return match self.completed.keys().next() {
                Some(_) => Err(gone("the table has been written to since, and its first instants may be archived")),
                None => Ok(view),
            };
        }
        let text = version.0.strip_prefix(PREFIX).ok_or_else(|| gone("a Hudi version is `hudi:` and an instant"))?;
        let unknown = || gone("the timeline has no such instant any more: it was archived or rolled back");
        match self.layout {
            Layout::One => {
                let (time, pending) = text.split_once('!').unwrap_or((text, ""));
                self.completed.get(time).ok_or_else(unknown)?;
                view.hidden.extend(pending.split(',').filter(|time| !time.is_empty()).map(str::to_owned));
                let hidden = &view.hidden;
                view.visible.retain(|other, _| other.as_str() <= time && !hidden.contains(other));
            }
            Layout::Two => {
                let (time, completion) = text.split_once('_').ok_or_else(unknown)?;
                let known = self.completed.get(time).and_then(|instant| instant.completion.as_deref());
                if known != Some(completion) {
                    return Err(unknown());
                }
                view.visible.retain(|_, instant| instant.completion.as_deref().is_some_and(|other| other <= completion));
            }
        }
        let visible = &view.visible;
        view.hidden.extend(self.completed.keys().filter(|time| !visible.contains_key(*time)).cloned());
        Ok(view)
    }

    /// The object names of the completed writes.
    pub(super) fn names(&self) -> BTreeSet<&str> {
        self.completed.values().map(|instant| instant.name.as_str()).collect()
    }

    /// Completed writes that `view` does not show.
    pub(super) fn later<'a>(&'a self, view: &'a View) -> impl Iterator<Item = &'a Instant> {
        self.completed.values().filter(|instant| !view.visible.contains_key(&instant.time))
    }
}

/// The instants that one version shows.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) layout: Layout,
    pub(super) version: TableVersion,
    /// Whether nothing has completed since.
    pub(super) is_latest: bool,
    visible: BTreeMap<String, Instant>,
    /// Not completed then, or not yet.
    hidden: BTreeSet<String>,
    start: Option<String>,
    /// When archived instants completed, as far as it was looked up.
    pub(super) archived: BTreeMap<String, String>,
}

/// When an instant that a view shows completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Completion<'a> {
    /// Layout 1 does not say.
    Untold,
    /// At this time.
    At(&'a str),
    /// It is archived; at this time, where that is known.
    Archived(Option<&'a str>),
}

impl View {
    /// When the instant of this time completed, if the version shows it. What is older than the timeline is archived,
    /// and only completed instants are.
    pub(super) fn completion(&self, time: &str) -> Option<Completion<'_>> {
        if let Some(instant) = self.visible.get(time) {
            return Some(instant.completion.as_deref().map_or(Completion::Untold, Completion::At));
        }
        let archived = self.archived.get(time).map(String::as_str);
        (self.is_archived(time) && !self.hidden.contains(time)).then_some(Completion::Archived(archived))
    }

    /// Whether the instant of this time is older than the timeline.
    pub(super) fn is_archived(&self, time: &str) -> bool {
        self.start.as_deref().is_some_and(|start| time < start)
    }

    /// The first instant that is not archived.
    pub(super) fn start(&self) -> Option<&str> {
        self.start.as_deref()
    }

    /// Instants older than that which it does not show.
    pub(super) fn hidden_before_start(&self) -> Vec<String> {
        self.hidden.iter().filter(|time| self.is_archived(time)).cloned().collect()
    }

    /// The completed writes that it shows, in the order of their times.
    pub(super) fn instants(&self) -> impl Iterator<Item = &Instant> {
        self.visible.values()
    }

    /// The completed writes that it shows, the one that completed last first.
    pub(super) fn newest_first(&self) -> Vec<&Instant> {
        let mut instants: Vec<&Instant> = self.visible.values().collect();
        instants.sort_by(|a, b| (&b.completion, &b.time).cmp(&(&a.completion, &a.time)));
        instants
    }

    /// The latest time among them.
    pub(super) fn last_time(&self) -> Option<&str> {
        self.visible.keys().next_back().map(String::as_str)
    }
}

/// `20250331030642808.deltacommit.inflight`, `20250713010139392_20250713010140981.commit`; `None` for what is no instant.
fn parse(name: &str) -> Option<Parsed<'_>> {
    let (times, rest) = name.split_once('.')?;
    let digits = |text: &str| text.len() >= 14 && text.bytes().all(|byte| byte.is_ascii_digit());
    let (time, completion) = match times.split_once('_') {
        Some((time, completion)) => (time, Some(completion)),
        None => (times, None),
    };
    if !digits(time) || !completion.is_none_or(digits) {
        return None;
    }
    let (action, state) = rest.split_once('.').unwrap_or((rest, ""));
    match (action, state) {
        // Layout 1 names a commit in flight by its state alone.
        ("inflight", "") => Some(Parsed { time, completion, action: "commit", completed: false }),
        (action, "") => Some(Parsed { time, completion, action, completed: true }),
        (action, "requested" | "inflight") => Some(Parsed { time, completion, action, completed: false }),
        // A checksum's file, or one that is being written.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline(layout: Layout, names: &[&str]) -> Timeline {
        Timeline::new("memory:///t", layout, names.iter().copied()).unwrap()
    }

    #[test]
    fn a_version_of_layout_one_names_what_had_not_completed() {
        let names = ["20240101000001000.commit", "20240101000003000.commit", "20240101000002000.inflight"];
        let before = timeline(Layout::One, &names);
        let version = before.latest().version;
        assert_eq!(version.0, "hudi:20240101000003000!20240101000002000");
        let after = timeline(Layout::One, &[&names[..], &["20240101000002000.commit"]].concat());
        assert_eq!(after.latest().version.0, "hudi:20240101000003000");
        let view = after.at("memory:///t", &version).unwrap();
        assert_eq!(view.completion("20240101000002000"), None);
        assert_eq!(view.completion("20240101000003000"), Some(Completion::Untold));
    }

    #[test]
    fn a_version_of_layout_two_is_what_had_completed_by_then() {
        let names = ["20240101000002000_20240101000003000.commit", "20240101000001000_20240101000004000.deltacommit"];
        let timeline = timeline(Layout::Two, &names);
        assert_eq!(timeline.latest().version.0, "hudi:20240101000001000_20240101000004000");
        let view = timeline.at("memory:///t", &TableVersion("hudi:20240101000002000_20240101000003000".into())).unwrap();
        // Older than the timeline's start would be archived; this one is not, it completed later.
        assert_eq!(view.completion("20240101000001000"), None);
        assert_eq!(view.completion("20230101000000000"), Some(Completion::Archived(None)));
        let gone = timeline.at("memory:///t", &TableVersion("hudi:20240101000002000_20240101000009000".into()));
        assert!(matches!(gone, Err(TableError::VersionGone { .. })));
    }

    #[test]
    fn an_instant_that_a_savepoint_keeps_does_not_begin_the_timeline() {
        let names = ["20230101000000000.commit", "20230101000000000.savepoint", "20240101000001000.commit"];
        let view = timeline(Layout::One, &names).latest();
        assert_eq!(view.start(), Some("20240101000001000"));
        assert_eq!(view.completion("20230601000000000"), Some(Completion::Archived(None)));
    }

    #[test]
    fn an_unknown_action_is_refused_by_name() {
        let error = Timeline::new("memory:///t", Layout::One, ["20230101000000000.teleport"]).unwrap_err();
        assert!(error.to_string().contains("teleport"), "{error}");
    }
}
