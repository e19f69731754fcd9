//! The report as JUnit XML: a test case for each check and for each group of cells.
//!
//! What could not be told is an `<error>`: CI servers count `<skipped>` as good, and nothing was proven.

use std::fmt::Write;

use super::heat_map::{CellState, Tile, groups};
use super::text::{count, cut, markup, plural};
use super::{Check, CheckResult, ValidationReport};

/// Groups of cells at most.
const GROUPS_MAX: usize = 500;

/// Characters of a name or message at most.
const TEXT_CHARS_MAX: usize = 400;

/// One test case.
struct Case {
    name: String,
    outcome: Outcome,
    message: String,
}

enum Outcome {
    Passed,
    Failure,
    Error,
    Skipped,
}

pub(super) fn render(report: &ValidationReport) -> String {
    let checks: Vec<Case> = report.checks.iter().map(of_check).chain([of_verdict(report)]).collect();
    let cells: Vec<Case> = groups(report, GROUPS_MAX).iter().map(of_group).collect();
    let migration = &report.run.migration.0;
    let suites = [suite(migration, "checks", &checks, report), suite(migration, "cells", &cells, report)];
    let all = || checks.iter().chain(&cells);
    let (failures, errors) = (number(all(), Outcome::is_failure), number(all(), Outcome::is_error));
    let name = attribute(&format!("lakeshift validate {migration}"));
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"{name}\" tests=\"{}\" failures=\"{failures}\" errors=\"{errors}\">\n{}</testsuites>\n",
        all().count(),
        suites.concat()
    )
}

impl Outcome {
    fn is_failure(&self) -> bool {
        matches!(self, Self::Failure)
    }

    fn is_error(&self) -> bool {
        matches!(self, Self::Error)
    }

    fn is_skipped(&self) -> bool {
        matches!(self, Self::Skipped)
    }
}

fn number<'a>(cases: impl Iterator<Item = &'a Case>, wanted: fn(&Outcome) -> bool) -> usize {
    cases.filter(|case| wanted(&case.outcome)).count()
}

fn of_check(check: &Check) -> Case {
    let outcome = match check.result {
        CheckResult::Pass | CheckResult::Excused => Outcome::Passed,
        CheckResult::Fail => Outcome::Failure,
        CheckResult::Inconclusive => Outcome::Error,
        CheckResult::Skipped => Outcome::Skipped,
    };
    let message = format!("{} (a PASS proves: {})", check.detail, check.proves);
    Case { name: format!("check: {}", check.name), outcome, message }
}

/// The last case carries what no check has: an interruption, for instance.
fn of_verdict(report: &ValidationReport) -> Case {
    let outcome = match report.exit_code {
        0 => Outcome::Passed,
        1 => Outcome::Failure,
        _ => Outcome::Error,
    };
    let reasons: Vec<String> = report.verdict.reasons().iter().take(10).map(ToString::to_string).collect();
    Case { name: "verdict".to_owned(), outcome, message: format!("{}: {}", report.verdict, reasons.join("; ")) }
}

fn of_group(tile: &Tile) -> Case {
    let outcome = if tile.state.is_difference() { Outcome::Failure } else { Outcome::Passed };
    let differing = match tile.state {
        state if !state.is_difference() => String::new(),
        _ => format!("{} of {}: ", count(tile.differing), plural(tile.cells, "cell")),
    };
    let (old, new) = (count(tile.old_rows), count(tile.new_rows));
    let message = format!("{differing}{}; {old} rows old, {new} new", CellState::words(tile.state));
    Case { name: tile.label.clone(), outcome, message }
}

fn suite(migration: &str, name: &str, cases: &[Case], report: &ValidationReport) -> String {
    let [failures, errors, skipped] =
        [Outcome::is_failure, Outcome::is_error, Outcome::is_skipped].map(|wanted| number(cases.iter(), wanted));
    let time = std::time::Duration::from_millis(report.run.duration_ms).as_secs_f64();
    let at = report.run.started_at.format("%Y-%m-%dT%H:%M:%S");
    let mut out = format!(
        "  <testsuite name=\"{name}\" tests=\"{}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\" timestamp=\"{at}\" time=\"{time}\">\n",
        cases.len()
    );
    let class = attribute(&format!("{migration}.{name}"));
    for case in cases {
        let (name, message) = (attribute(&case.name), attribute(&case.message));
        let body = match case.outcome {
            Outcome::Passed => format!("<system-out>{message}</system-out>"),
            Outcome::Failure => format!("<failure message=\"{message}\"/>"),
            Outcome::Error => format!("<error message=\"{message}\"/>"),
            Outcome::Skipped => format!("<skipped message=\"{message}\"/>"),
        };
        // Writing to a `String` cannot fail.
        let _ = writeln!(out, "    <testcase classname=\"{class}\" name=\"{name}\">{body}</testcase>");
    }
    out.push_str("  </testsuite>\n");
    out
}

fn attribute(text: &str) -> String {
    let line: String = cut(text, TEXT_CHARS_MAX).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    markup(&line)
}
