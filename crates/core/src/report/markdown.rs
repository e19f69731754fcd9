//! The report as Markdown: the sections in order, as many as fit.

use super::{ValidationReport, sections};

/// Greatest length of the Markdown in bytes. GitHub takes comments of 65,536 characters.
pub const MARKDOWN_BYTES_MAX: usize = 60_000;

/// Room for the line that names what was left out.
const NOTICE_BYTES: usize = 400;

/// Every section is bounded by itself; one that does not fit any more is left out and named, the ones after it are tried.
pub(super) fn render(report: &ValidationReport) -> String {
    let mut out = String::new();
    let mut left_out = Vec::new();
    for (name, section) in all(report) {
        if section.is_empty() {
            continue;
        }
        if out.len() + section.len() + NOTICE_BYTES > MARKDOWN_BYTES_MAX {
            left_out.push(name);
            continue;
        }
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&section);
    }
    if !left_out.is_empty() {
        out.push_str(&format!("\nLeft out for length, in full in `report.json`: {}.\n", left_out.join(", ")));
    }
    out
}

fn all(report: &ValidationReport) -> [(&'static str, String); 9] {
    [
        ("verdict", sections::verdict(report)),
        ("inputs", sections::inputs(report)),
        ("coverage", sections::coverage(report)),
        ("checks", sections::checks(report)),
        ("reproduce", sections::reproduce(report)),
        ("differing columns", sections::columns(report)),
        ("differing cells", sections::cells(report)),
        ("sample", sections::sample(report)),
        ("schema", sections::schema(report)),
    ]
}
