//! The report as people and programs read it.

pub mod browser;
mod fixtures;

use std::collections::{BTreeMap, BTreeSet};

use lakeshift_core::equivalence::{AcceptedUse, CellKey, Reason, compare_schemas};
use lakeshift_core::partition::{PartitionField, Transform};
use lakeshift_core::report::{CheckResult, MARKDOWN_BYTES_MAX, ReportParts, ValidationReport};
use lakeshift_core::schema::DataType as T;
use lakeshift_core::value::Value;

use fixtures::*;

#[test]
fn a_pass() {
    insta::assert_snapshot!(ValidationReport::new(parts(&whole(31), &whole(31))).to_markdown());
}

#[test]
fn a_fail_by_key() {
    let report = fail_by_key();
    assert_eq!(report.exit_code, 1);
    insta::assert_snapshot!(report.to_markdown());
}

#[test]
fn accepted_differences() {
    let report = accepted();
    assert_eq!(report.exit_code, 0);
    insta::assert_snapshot!(report.to_markdown());
}

#[test]
fn a_second_validation_says_what_it_read_took_over_and_did_not_read() {
    let report = revalidated();
    assert_eq!(report.exit_code, 0);
    insta::assert_snapshot!(report.to_markdown());
}

#[test]
fn an_inconclusive() {
    let schema = compare_schemas(&schema(T::Int32), &schema(T::String), &BTreeMap::new());
    let report = ValidationReport::new(ReportParts { schema, ..parts(&whole(31), &whole(31)) });
    assert_eq!(report.exit_code, 3);
    insta::assert_snapshot!(report.to_markdown());
}

fn interrupted() -> ValidationReport {
    let obstacles = vec![Reason::Incomplete { why: "it was interrupted by Ctrl-C".into() }];
    let parts = parts(&whole(1), &whole(1));
    ValidationReport::new(ReportParts { comparison: None, cells: Vec::new(), obstacles, ..parts })
}

#[test]
fn an_interrupted_validation_says_so_and_skips_the_checks() {
    let report = interrupted();
    assert_eq!(report.exit_code, 3);
    let text = report.to_markdown();
    assert!(text.starts_with("**INCONCLUSIVE**"), "{text}");
    assert!(text.contains("interrupted by Ctrl-C") && text.contains("| fingerprints | skipped |"), "{text}");
}

#[test]
fn a_pass_of_a_range_does_not_read_as_leave_to_cut_over() {
    let mut parts = parts(&whole(3), &whole(3));
    parts.run.range = Some("flight_date >= DATE '2001-01-01'".into());
    let text = ValidationReport::new(parts).to_markdown();
    assert!(!text.contains("may cut over") && text.contains("does not open the cutover"), "{text}");
    assert!(text.contains("no other row was compared"), "{text}");
}

#[test]
fn checks_of_accepted_differences_do_not_fail_unless_an_entry_does_not_hold() {
    let result = |report: &ValidationReport, name: &str| {
        report.checks.iter().find(|check| check.name == name).map(|check| check.result)
    };
    let report = accepted();
    for name in ["row counts", "fingerprints"] {
        assert_eq!(result(&report, name), Some(CheckResult::Excused), "{name}");
    }
    for name in ["rows", "tolerances", "accepted"] {
        assert_eq!(result(&report, name), Some(CheckResult::Pass), "{name}");
    }
    let mut rows = report.rows.clone().unwrap();
    rows.accepted = vec![AcceptedUse { expired: true, ..entry("test-flights", 1010, 2000) }];
    let report = ValidationReport::new(ReportParts { rows: Some(rows), ..parts(&whole(31), &damaged(31)) });
    assert_eq!(result(&report, "fingerprints"), Some(CheckResult::Fail));
    assert_eq!(result(&report, "accepted"), Some(CheckResult::Fail));
    assert_eq!(report.exit_code, 1);
}

#[test]
fn the_json_reads_back() {
    for report in [fail_by_key(), accepted(), revalidated(), interrupted(), hostile()] {
        let json = report.to_json().unwrap();
        assert!(json.contains("\"schema_version\": 2") && json.contains("\"verdict\": \""), "{json}");
        assert_eq!(serde_json::from_str::<ValidationReport>(&json).unwrap(), report);
    }
}

/// Every member of every object in `value`.
fn members(value: &serde_json::Value, names: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(map) => {
            for (name, value) in map {
                names.insert(name.clone());
                // Its members are columns.
                if name != "rules" {
                    members(value, names);
                }
            }
        }
        serde_json::Value::Array(all) => all.iter().for_each(|value| members(value, names)),
        _ => {}
    }
}

#[test]
fn the_documentation_names_every_member_of_the_json() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reports.md");
    let documentation = std::fs::read_to_string(path).unwrap();
    let schema = compare_schemas(&schema(T::Int32), &schema(T::String), &BTreeMap::new());
    let refused = ValidationReport::new(ReportParts { schema, ..parts(&whole(3), &damaged(3)) });
    let mut names = BTreeSet::new();
    for report in [fail_by_key(), accepted(), revalidated(), interrupted(), refused] {
        members(&serde_json::to_value(&report).unwrap(), &mut names);
        let rules = serde_json::to_value(&report.rules).unwrap();
        rules.as_object().unwrap().values().for_each(|rule| members(rule, &mut names));
    }
    let missing: Vec<&String> = names.iter().filter(|name| !documentation.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "docs/reports.md does not name {missing:?}");
    assert!(names.len() > 60, "{} members", names.len());
}

#[test]
fn the_markdown_is_bounded_and_names_what_it_leaves_out() {
    let text = monster().to_markdown();
    assert!(text.len() <= MARKDOWN_BYTES_MAX, "{} bytes", text.len());
    assert!(text.starts_with("**FAIL**") && text.contains("### Checks"), "the verdict and the checks are always there");
    assert!(text.contains("Left out for length"), "{}", &text[text.len() - 500..]);
}

#[test]
fn a_table_of_many_cells_fits_with_every_section() {
    let report = ValidationReport::new(parts(&whole(60_000), &damaged(60_000)));
    let text = report.to_markdown();
    assert!(!text.contains("Left out"), "{} bytes", text.len());
    let strip = text.split("```text\n").nth(1).and_then(|text| text.split("\n```").next()).unwrap();
    assert!((2..=30).contains(&strip.lines().count()), "{strip}");
    assert_eq!(strip.matches('X').count(), 1, "one group of neighbours differs: {strip}");
}

#[test]
fn names_and_values_cannot_leave_their_place_in_the_markdown() {
    let text = hostile().to_markdown();
    let mut fenced = false;
    for line in text.lines() {
        fenced ^= line.starts_with("```");
        if fenced || !line.contains("img") {
            continue;
        }
        let unescaped = ["\\`", "\\<", "\\>", "\\|"].iter().fold(line.to_owned(), |line, escape| line.replace(escape, ""));
        assert_eq!(unescaped.matches('`').count() % 2, 0, "{line}");
        let outside: String = unescaped.split('`').step_by(2).collect();
        assert!(!outside.replace("<details><summary>", "").contains('<'), "{line}");
        assert!(!outside.contains("@e"), "a mention: {line}");
    }
}

#[test]
fn junit_of_a_fail() {
    insta::assert_snapshot!(fail_by_key().to_junit());
}

/// The test cases by outcome, as a reader of XML sees them: (name, `failure`, `error`, `skipped` or `system-out`, message).
fn cases(xml: &str) -> Vec<(String, String, String)> {
    use quick_xml::events::{BytesStart, Event};
    let attribute = |tag: &BytesStart<'_>, name: &str| {
        let value = tag.try_get_attribute(name).unwrap();
        value.map(|value| value.unescape_value().unwrap().into_owned()).unwrap_or_default()
    };
    let mut reader = quick_xml::Reader::from_str(xml);
    reader.config_mut().check_end_names = true;
    let mut cases = Vec::new();
    let mut depth = 0;
    loop {
        match reader.read_event().unwrap() {
            Event::Start(tag) => {
                depth += 1;
                match tag.name().as_ref() {
                    b"testcase" => cases.push((attribute(&tag, "name"), String::new(), String::new())),
                    b"testsuites" | b"testsuite" => {}
                    b"system-out" => cases.last_mut().unwrap().1 = "system-out".into(),
                    other => panic!("<{}>", String::from_utf8_lossy(other)),
                }
            }
            Event::Empty(tag) => {
                let case = cases.last_mut().unwrap();
                case.1 = String::from_utf8(tag.name().as_ref().to_vec()).unwrap();
                case.2 = attribute(&tag, "message");
            }
            Event::End(_) => depth -= 1,
            Event::Eof => break,
            _ => {}
        }
    }
    assert_eq!(depth, 0);
    cases
}

#[test]
fn the_junit_of_any_report_is_xml_and_bounded() {
    for report in [fail_by_key(), accepted(), revalidated(), interrupted(), hostile(), monster()] {
        let xml = report.to_junit();
        let allowed = |c: char| !c.is_control() || c == '\n';
        assert!(xml.chars().all(allowed), "a character that XML forbids");
        let cases = cases(&xml);
        assert!(cases.len() < 520, "{} cases", cases.len());
        let bad = |kind: &str| cases.iter().filter(|(_, outcome, _)| outcome == kind).count();
        assert_eq!(bad("failure") > 0, report.exit_code == 1, "{cases:?}");
        assert!(report.exit_code != 3 || bad("error") > 0, "what is not proven must not look green: {cases:?}");
        assert!(report.exit_code != 0 || bad("error") == 0, "{cases:?}");
    }
    let cases = cases(&hostile().to_junit());
    let said = |text: &str| cases.iter().any(|(_, _, message)| message.contains(text));
    assert!(said("<script>window.hacked=1</script>"), "the message says it as text: {cases:?}");
}

#[test]
fn junit_has_a_case_for_each_day() {
    let cases = cases(&fail_by_key().to_junit());
    let outcome = |name: &str| cases.iter().find(|case| case.0 == name).map(|case| case.1.as_str());
    assert_eq!(outcome("flight_date=2001-01-03"), Some("failure"));
    assert_eq!(outcome("flight_date=2001-01-04"), Some("system-out"));
    assert_eq!(outcome("check: schema"), Some("system-out"));
}

#[test]
fn tables_of_the_same_files_pass_without_reading_and_the_checks_say_so() {
    let nothing = table(0, |_| None);
    let parts = ReportParts { proven: revalidated().proven, ..parts(&nothing, &nothing) };
    let report = ValidationReport::new(parts);
    assert_eq!(report.exit_code, 0);
    let text = report.to_markdown();
    assert!(text.contains("| same files | PASS | 10 files with 10,000 rows in 10 partitions |"), "{text}");
    assert!(text.contains("| fingerprints | skipped |") && text.contains("░░░░░░░░░░"), "{text}");
    assert!(cases(&report.to_junit()).iter().any(|case| case.0 == "check: same files" && case.1 == "system-out"));
}

#[test]
fn cells_that_are_no_calendar_stand_in_their_order_with_null_first() {
    let cells = |days: i32| table(days, |day| if day == 60 { None } else { print(10, day, false) });
    let mut parts = parts(&whole(61), &cells(61));
    let field = PartitionField::new("origin", Transform::Truncate(1));
    parts.comparison.as_mut().unwrap().fields = vec![field];
    for (index, cell) in parts.cells.iter_mut().enumerate() {
        let value = (index > 0).then(|| Value::String(format!("{index:03}")));
        cell.cell = CellKey::new(vec![value]);
    }
    let text = ValidationReport::new(parts).to_markdown();
    let strip: Vec<&str> = text.split("```text\n").nth(1).unwrap().lines().take(2).collect();
    assert_eq!(strip, [format!("origin_trunc=null  {}", "X".repeat(60)), "origin_trunc=060   O".to_owned()], "{text}");
}
