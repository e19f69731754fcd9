//! Every combination of what a validation can find, against an oracle that knows the rules another way: as severities.

use chrono::NaiveDate;
use lakeshift_core::equivalence::{
    AcceptRule, AcceptedUse, Amount, ColumnCheck, ColumnPair, Comparison, DiffMode, Findings, ProvenFiles, Reason, RowDiff,
    SchemaCheck, judge,
};
use lakeshift_core::migration::{Side, VerdictName};

use super::{cell, columns, compare, compare_schemas, print};
use lakeshift_core::schema::DataType as T;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Rows {
    Unread,
    Empty,
    EmptyButProven,
    Agree,
    Differ,
    DifferInNumber,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Diff {
    Absent,
    Tolerated,
    Accepted,
    AtTheCap,
    BeyondTheCap,
    Expired,
    OneOfTwoExpired,
    PartlyUnexcused,
    Unexcused,
    NothingFound,
    OnlyAnIdleEntry,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Columns {
    All,
    Refused,
    Missing,
    Added,
    None,
}

const ROWS: [Rows; 6] = [Rows::Unread, Rows::Empty, Rows::EmptyButProven, Rows::Agree, Rows::Differ, Rows::DifferInNumber];
const DIFFS: [Diff; 11] = [
    Diff::Absent,
    Diff::Tolerated,
    Diff::Accepted,
    Diff::AtTheCap,
    Diff::BeyondTheCap,
    Diff::Expired,
    Diff::OneOfTwoExpired,
    Diff::PartlyUnexcused,
    Diff::Unexcused,
    Diff::NothingFound,
    Diff::OnlyAnIdleEntry,
];
const COLUMNS: [Columns; 5] = [Columns::All, Columns::Refused, Columns::Missing, Columns::Added, Columns::None];

pub(super) fn entry(id: &str, rows: u64, max_rows: u64, expired: bool) -> AcceptedUse {
    let rule = AcceptRule {
        id: id.into(),
        kind: None,
        columns: Vec::new(),
        filter: None,
        owner: "me".into(),
        reason: "known".into(),
        expires: NaiveDate::from_ymd_opt(2000, 1, if expired { 1 } else { 31 }).unwrap(),
        max_rows,
    };
    AcceptedUse { rule, rows, expired }
}

pub(super) fn row_diff() -> RowDiff {
    RowDiff {
        mode: DiffMode::Keyed { columns: vec!["n".into()] },
        old_rows: 9,
        new_rows: 9,
        missing: 0,
        extra: 0,
        changed: 0,
        duplicate_keys: 0,
        tolerated: 0,
        accepted: Vec::new(),
        columns: Vec::new(),
        sample: Vec::new(),
        masked: true,
        export: None,
    }
}

fn diff(kind: Diff) -> Option<RowDiff> {
    let base = row_diff();
    let accepted = |accepted| RowDiff { accepted, ..base.clone() };
    Some(match kind {
        Diff::Absent => return None,
        Diff::Tolerated => RowDiff { tolerated: 2, ..base },
        Diff::Accepted => RowDiff { tolerated: 1, ..accepted(vec![entry("a", 2, 5, false), entry("idle", 0, 5, true)]) },
        Diff::AtTheCap => accepted(vec![entry("a", 5, 5, false)]),
        Diff::BeyondTheCap => accepted(vec![entry("a", 6, 5, false)]),
        Diff::Expired => accepted(vec![entry("a", 2, 5, true)]),
        Diff::OneOfTwoExpired => accepted(vec![entry("a", 2, 5, false), entry("b", 1, 5, true)]),
        Diff::PartlyUnexcused => RowDiff { missing: 1, ..accepted(vec![entry("a", 2, 5, false)]) },
        Diff::Unexcused => RowDiff { changed: 1, extra: 2, ..base },
        Diff::NothingFound => base,
        Diff::OnlyAnIdleEntry => accepted(vec![entry("a", 0, 5, false)]),
    })
}

fn comparison(rows: Rows) -> Option<Comparison> {
    let one = print(&[(cell(1, 0), 2, 5), (cell(2, 0), 3, 6)]);
    let other = match rows {
        Rows::Unread => return None,
        Rows::Empty | Rows::EmptyButProven => return Some(compare(&print(&[]), &print(&[])).unwrap()),
        Rows::Agree => one.clone(),
        Rows::Differ => print(&[(cell(1, 0), 2, 7), (cell(2, 0), 3, 6)]),
        Rows::DifferInNumber => print(&[(cell(1, 0), 1, 7), (cell(2, 0), 3, 6)]),
    };
    Some(compare(&one, &other).unwrap())
}

fn schema(kind: Columns) -> SchemaCheck {
    if kind == Columns::None {
        return SchemaCheck::default();
    }
    let whole = columns(vec![("day", T::Date), ("n", T::Int64)]);
    let mut check = compare_schemas(&whole, &whole, &Default::default());
    let (text, pair) = (String::new, ColumnPair { old: "x".into(), new: "x".into() });
    check.columns.extend(match kind {
        Columns::All | Columns::None => None,
        Columns::Refused => Some(ColumnCheck::Refused { pair, old_type: text(), new_type: text(), reason: "types".into() }),
        Columns::Missing => Some(ColumnCheck::Missing { old: "x".into(), old_type: text() }),
        Columns::Added => Some(ColumnCheck::Added { new: "x".into(), new_type: text() }),
    });
    check
}

/// How bad a single finding is: 0 PASS, 1 accepted, 2 inconclusive, 3 fail. The verdict is the greatest.
fn severity(rows: Rows, diff: Diff, columns: Columns, obstacle: bool) -> u8 {
    let of_columns = match columns {
        Columns::All => 0,
        Columns::Refused | Columns::Added | Columns::None => 2,
        Columns::Missing => 3,
    };
    let of_rows = match (rows, diff) {
        (Rows::Unread | Rows::Empty, _) => 2,
        (Rows::Agree | Rows::EmptyButProven, _) => 0,
        (Rows::Differ, Diff::Tolerated) => 0,
        (Rows::Differ | Rows::DifferInNumber, Diff::Accepted | Diff::AtTheCap) => 1,
        // A tolerated row stands on both sides: it cannot be why a side has more.
        (Rows::DifferInNumber, Diff::Tolerated) => 3,
        (Rows::Differ | Rows::DifferInNumber, _) => 3,
    };
    of_columns.max(of_rows).max(if obstacle { 2 } else { 0 })
}

#[test]
fn every_combination_of_findings_comes_to_the_worst_of_them() {
    let obstacles = [Vec::new(), vec![Reason::NotPinned { side: Side::New }]];
    let proven = [ProvenFiles { partition: "p".into(), amount: Amount { files: 1, rows: 4, bytes: 9 } }];
    let mut seen = std::collections::BTreeSet::new();
    for rows in ROWS {
        for kind in DIFFS {
            for columns in COLUMNS {
                for obstacles in &obstacles {
                    let (schema, comparison, diff) = (schema(columns), comparison(rows), diff(kind));
                    let verdict = judge(&Findings {
                        schema: &schema,
                        comparison: comparison.as_ref(),
                        proven: if rows == Rows::EmptyButProven { &proven } else { &[] },
                        rows: diff.as_ref(),
                        obstacles,
                    });
                    let names = [VerdictName::Pass, VerdictName::Accepted, VerdictName::Inconclusive, VerdictName::Fail];
                    let expected = severity(rows, kind, columns, !obstacles.is_empty());
                    let case = (rows, kind, columns, obstacles.len());
                    assert_eq!(verdict.name(), names[usize::from(expected)], "{case:?}: {verdict:?}");
                    assert_eq!(verdict.reasons().is_empty(), expected == 0, "{case:?}");
                    let named = |reason: &Reason| reason.to_string().contains("column x");
                    let is_named = verdict.reasons().iter().any(named);
                    assert_eq!(is_named, !matches!(columns, Columns::All | Columns::None), "{case:?}: {verdict:?}");
                    seen.insert(expected);
                }
            }
        }
    }
    assert_eq!(seen.len(), 4, "every verdict is met");
}

#[test]
fn an_acceptance_does_not_stand_for_rows_that_were_not_read() {
    let accepted = [Reason::Accepted { id: "a".into(), rows: 1, owner: "me".into() }];
    let schema = schema(Columns::All);
    let findings = Findings { schema: &schema, comparison: None, proven: &[], rows: None, obstacles: &accepted };
    assert_eq!(judge(&findings).name(), VerdictName::Inconclusive);
}

#[test]
fn rows_that_do_not_account_for_the_sums_are_said_to_contradict_them() {
    let (schema, comparison) = (schema(Columns::All), comparison(Rows::DifferInNumber));
    let few = RowDiff { tolerated: 1, ..row_diff() };
    let verdict =
        judge(&Findings { schema: &schema, comparison: comparison.as_ref(), proven: &[], rows: Some(&few), obstacles: &[] });
    let kinds = verdict.reasons();
    assert!(matches!(kinds, [Reason::RowsDiffer { .. }, Reason::Incomplete { .. }]), "{verdict:?}");
}
