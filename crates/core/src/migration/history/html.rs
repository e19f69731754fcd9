//! The timeline as one page that needs nothing else: markup and style alone, no script.

use std::fmt::Write;

use super::{Moment, Timeline};
use crate::migration::Event;
use crate::report::text::{count, cut, markup};

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("../../report/html/style.css");

/// Entries that the page shows at most, the latest ones; the JSON has all.
const ENTRIES_MAX: usize = 20_000;
const TEXT_CHARS_MAX: usize = 400;

impl Timeline {
    /// The timeline as an HTML page. A runner's entries are a section under the command that it ran.
    pub fn to_html(&self) -> String {
        let left_out = self.entries.len().saturating_sub(ENTRIES_MAX);
        let mut line = format!("{} entries of the journal, every hash checked", count(self.entries.len() as u64));
        if left_out > 0 {
            line.push_str(&format!("; the first {} are left out here", count(left_out as u64)));
        }
        let head = self.head.as_ref().map(|head| format!("head {head}")).unwrap_or_default();
        let migration = markup(&self.migration.0);
        // Each place once, in the order of the page: a text that holds another place's name is not looked at again.
        let values = [
            ("{{title}}", format!("history: {migration}")),
            ("{{style}}", STYLE.to_owned()),
            ("{{phase}}", self.phase.to_string()),
            ("{{migration}}", migration),
            ("{{line}}", line),
            ("{{head}}", head),
            ("{{runs}}", runs(&self.entries[left_out..])),
        ];
        let mut out = String::new();
        let mut rest = PAGE;
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

/// A section for each time that a runner took the lease.
fn runs(entries: &[Moment]) -> String {
    let taken = |moment: &Moment| matches!(moment.event, Event::LeaseTaken { .. });
    let mut out = String::new();
    for run in entries.chunk_by(|_, next| !taken(next)) {
        section(&mut out, run);
    }
    out
}

fn section(out: &mut String, run: &[Moment]) {
    let Some(first) = run.first() else { return };
    let command = match &first.event {
        Event::LeaseTaken { command, .. } => command.as_str(),
        _ => "continued",
    };
    let at = first.at.format("%Y-%m-%d %H:%M:%S UTC");
    let (command, writer) = (text(command), text(&first.writer));
    // Writing to a String cannot fail.
    let _ = writeln!(out, "<section><h2>{command} <span class=\"dim\">{at} · {writer} · epoch {}</span></h2>", first.epoch);
    out.push_str("<table class=\"stack\"><thead><tr><th class=\"number\">entry</th><th>time</th><th>event</th>");
    out.push_str("<th>what</th><th>sha256</th></tr></thead><tbody>\n");
    for moment in run {
        let number = moment.sequence;
        let _ = write!(out, "<tr id=\"e{number}\"><td class=\"number\" data-label=\"entry\">{number}</td>");
        let time = moment.at.format("%m-%d %H:%M:%S");
        let _ = write!(out, "<td data-label=\"time\" class=\"state\">{time}</td>");
        let _ = write!(out, "<td data-label=\"event\"><code>{}</code></td>", text(&moment.kind));
        let _ = write!(out, "<td data-label=\"what\">{}</td>", text(&moment.summary));
        let _ = writeln!(
            out,
            "<td data-label=\"sha256\"><code title=\"{0}\">{1}</code></td></tr>",
            moment.digest,
            moment.digest.get(..12).unwrap_or_default()
        );
    }
    out.push_str("</tbody></table></section>\n");
}

fn text(foreign: &str) -> String {
    markup(&cut(foreign, TEXT_CHARS_MAX))
}
