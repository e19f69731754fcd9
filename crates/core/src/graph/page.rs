//! [`Page`]: a graph as one HTML page that needs nothing else: markup, style and drawings, no script.

mod drawing;
mod strips;

use std::collections::HashMap;

use super::lineage::{History, Lineage};
use super::mapping::Key;
use super::stale::{Mark, Staleness};
use super::versions::Versions;
use super::{Graph, TableId};
use crate::report::text::{count, markup};

const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("../report/html/style.css");
const OWN_STYLE: &str = include_str!("page/style.css");

/// What the page shows.
#[derive(Debug)]
pub struct Page<'a> {
    graph: &'a Graph,
    versions: &'a Versions,
    staleness: &'a Staleness,
    lineage: Lineage,
    /// When the last run computed a partition: 0 is first.
    ran: HashMap<(TableId, Key), usize>,
}

impl<'a> Page<'a> {
    /// A page of a graph as a scan found it. `last_run` are the partitions that the last run computed, in order.
    pub fn new(
        graph: &'a Graph,
        versions: &'a Versions,
        staleness: &'a Staleness,
        history: &History,
        last_run: &[(TableId, Key)],
    ) -> Self {
        let ran = last_run.iter().enumerate().map(|(at, partition)| (*partition, at)).collect();
        Self { graph, versions, staleness, lineage: Lineage::new(graph, history), ran }
    }

    /// The page. At most some 30,000 tiles, whatever the graph's size: neighbours then share one, which shows the worst.
    pub fn to_html(&self) -> String {
        let total = |of: &dyn Fn(TableId) -> usize| -> u64 { self.graph.ids().map(|(id, _)| of(id) as u64).sum() };
        let stale = total(&|id| self.staleness.stale(id).count());
        let line = format!(
            "{} tables, {} partitions, {} stale; the last run computed {}",
            self.graph.tables.len(),
            count(total(&|id| self.staleness.partitions(id).count())),
            count(stale),
            count(self.ran.len() as u64)
        );
        let values = [
            ("{{title}}", markup(&format!("graph: {}", self.graph.name))),
            ("{{style}}", format!("{STYLE}{OWN_STYLE}")),
            ("{{name}}", markup(&self.graph.name)),
            ("{{line}}", line),
            ("{{tables}}", drawing::draw(self)),
            ("{{states}}", legend(&Condition::ALL.map(|one| (one.class(), one.words())))),
            ("{{stale}}", strips::draw(self, &|table, key| condition(self, table, key))),
            ("{{logics}}", legend(&Logic::ALL.map(|one| (one.class(), one.words())))),
            ("{{logic}}", strips::draw(self, &|table, key| logic(self, table, key))),
        ];
        // Each place once, in the order of the page: a text that holds another place's name is not looked at again.
        let (mut out, mut rest) = (String::new(), PAGE);
        for (place, value) in values {
            if let Some((before, after)) = rest.split_once(place) {
                out.push_str(before);
                out.push_str(&value);
                rest = after;
            }
        }
        out + rest
    }
}

fn legend(entries: &[(&str, &str)]) -> String {
    let entry = |(class, words): &(&str, &str)| {
        let square = format!("<svg viewBox=\"0 0 10 10\"><rect width=\"10\" height=\"10\" class=\"{class}\"/></svg>");
        format!("<span class=\"swatch\">{square}{words}</span>")
    };
    entries.iter().map(entry).collect()
}

/// What a tile shows: a class of the style, and words.
trait Tile: Copy + Ord {
    fn class(self) -> &'static str;
    fn words(self) -> &'static str;
}

/// What is the matter with a partition; of several, the first in this order stands for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Condition {
    Missing,
    MustRun,
    MayChange,
    Held,
    Fresh,
    Source,
}

impl Condition {
    const ALL: [Self; 6] = [Self::Missing, Self::MustRun, Self::MayChange, Self::Held, Self::Fresh, Self::Source];
}

impl Tile for Condition {
    fn class(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::MustRun => "must",
            Self::MayChange => "may",
            Self::Held => "held",
            Self::Fresh => "fresh",
            Self::Source => "source",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Missing => "never computed",
            Self::MustRun => "stale: its logic or what it read changed",
            Self::MayChange => "may change: something that it reads is stale",
            Self::Held => "waits for a migration",
            Self::Fresh => "as a full rebuild would give it",
            Self::Source => "a source",
        }
    }
}

/// Which logic computed a partition and what it rests on; of several, the first in this order stands for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Logic {
    Mixed,
    Earlier,
    Current,
    Source,
}

impl Logic {
    const ALL: [Self; 4] = [Self::Mixed, Self::Earlier, Self::Current, Self::Source];
}

impl Tile for Logic {
    fn class(self) -> &'static str {
        match self {
            Self::Mixed => "mixed",
            Self::Earlier => "earlier",
            Self::Current => "current",
            Self::Source => "source",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Mixed => "rests on several logics of one table",
            Self::Earlier => "an earlier logic, or somebody else's",
            Self::Current => "the logic as it is",
            Self::Source => "a source",
        }
    }
}

fn condition(page: &Page<'_>, table: TableId, key: Key) -> Option<Condition> {
    let mark = page.staleness.mark(table, key)?;
    Some(match mark {
        mark if mark.any(Mark::MISSING) => Condition::Missing,
        mark if mark.any(Mark::HELD) => Condition::Held,
        mark if mark.must_run() => Condition::MustRun,
        mark if mark.is_stale() => Condition::MayChange,
        _ if page.graph.table(table).is_source() => Condition::Source,
        _ => Condition::Fresh,
    })
}

fn logic(page: &Page<'_>, table: TableId, key: Key) -> Option<Logic> {
    let state = page.versions.get(table, key)?;
    let current = page.graph.table(table).logic.as_deref();
    Some(match current {
        None => Logic::Source,
        Some(_) if !page.lineage.mixes(table, key).is_empty() => Logic::Mixed,
        Some(current) if page.versions.logic_digest(state.logic) == current => Logic::Current,
        Some(_) => Logic::Earlier,
    })
}
