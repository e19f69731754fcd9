//! The report as Markdown: the sections in order, as many as fit.

use super::{ValidationReport, sections};

/// Greatest length of the Markdown in bytes. GitHub takes comments of 65,536 characters.
pub const MARKDOWN_BYTES_MAX: usize = 60_000;

/// Room for the line that names what was left out.
const NOTICE_BYTES: usize = 400;

/// Every section is bounded by itself; where all together are too long, the least important ones are left out and named.
pub(super) fn render(report: &ValidationReport) -> String {
    let mut sections = all(report);
    let mut left_out = Vec::new();
    for name in LEAVE_OUT_FIRST {
        if length(&sections) + NOTICE_BYTES <= MARKDOWN_BYTES_MAX {
            break;
        }
        if let Some((name, section)) = sections.iter_mut().find(|(other, section)| *other == name && !section.is_empty()) {
            section.clear();
            left_out.push(*name);
        }
    }
    let texts: Vec<&str> = sections.iter().map(|(_, text)| text.as_str()).filter(|text| !text.is_empty()).collect();
    let mut out = texts.join("\n");
    if !left_out.is_empty() {
        out.push_str(&format!("\nLeft out for length, in full in `report.json`: {}.\n", left_out.join(", ")));
    }
    out
}

/// The verdict and the checks are never left out; both are short.
const LEAVE_OUT_FIRST: [&str; 9] = [
    "schema",
    "sample",
    "differing cells",
    "accepted differences",
    "differing rows",
    "partitions",
    "reproduce",
    "coverage",
    "inputs",
];

fn length(sections: &[(&str, String)]) -> usize {
    sections.iter().map(|(_, text)| text.len() + 1).sum()
}

fn all(report: &ValidationReport) -> [(&'static str, String); 11] {
    [
        ("verdict", sections::verdict(report)),
        ("inputs", sections::inputs(report)),
        ("coverage", sections::coverage(report)),
        ("checks", sections::checks(report)),
        ("partitions", sections::strip(report)),
        ("differing rows", sections::rows(report)),
        ("differing cells", sections::cells(report)),
        ("accepted differences", sections::ledger(report)),
        ("sample", sections::sample(report)),
        ("schema", sections::schema(report)),
        ("reproduce", sections::reproduce(report)),
    ]
}
