//! The ledger of accepted differences: what an entry absorbs, and what speaks against it.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, StringArray};
use chrono::NaiveDate;
use lakeshift_core::equivalence::{AcceptRule, DifferenceKind, RowDiff};
use lakeshift_core::migration::Side;
use lakeshift_core::spec::ColumnRule;
use lakeshift_exec::diff::DiffError;
use rstest::rstest;

use crate::support::{DiffOptions, TODAY, Table, row_diff};

fn table(rows: &[(i64, &str, i64)]) -> Table {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0)));
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.1)));
    let sizes: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.2)));
    Table::new(vec![("id", ids), ("Name", names), ("size", sizes)])
}

fn rule(id: &str) -> AcceptRule {
    AcceptRule {
        id: id.to_owned(),
        kind: None,
        columns: Vec::new(),
        filter: None,
        owner: "data team".to_owned(),
        reason: "known".to_owned(),
        expires: TODAY,
        max_rows: 10,
    }
}

/// Row 1 is missing, 2 and 3 changed, 4 is extra, 5 is the same.
fn differences(accept: Vec<AcceptRule>) -> Result<RowDiff, DiffError> {
    let old = table(&[(1, "a", 10), (2, "b", 20), (3, "c", 30), (5, "e", 50)]);
    let new = table(&[(2, "x", 20), (3, "y", 31), (4, "d", 40), (5, "e", 50)]);
    row_diff(&old, &new, &DiffOptions { key: &["id"], accept, ..DiffOptions::default() })
}

fn counts(diff: &RowDiff) -> (u64, u64, u64, u64) {
    (diff.missing, diff.extra, diff.changed, diff.accepted_rows())
}

#[rstest]
#[case::anything(rule("r"), (0, 0, 0, 4))]
#[case::one_kind(AcceptRule { kind: Some(DifferenceKind::Extra), ..rule("r") }, (1, 0, 2, 1))]
#[case::columns(AcceptRule { columns: vec!["Name".into()], ..rule("r") }, (1, 1, 1, 1))]
#[case::more_columns(AcceptRule { columns: vec!["size".into(), "Name".into()], ..rule("r") }, (1, 1, 0, 2))]
#[case::a_condition(AcceptRule { filter: Some("id <= 2".into()), ..rule("r") }, (0, 1, 1, 2))]
#[case::a_condition_on_both_sides(AcceptRule { filter: Some("\"size\" < 31".into()), ..rule("r") }, (0, 1, 1, 2))]
#[case::exact_names(AcceptRule { filter: Some("Name = 'd'".into()), ..rule("r") }, (1, 0, 2, 1))]
#[case::a_condition_that_is_null(AcceptRule { filter: Some("nullif(id, id) = 1".into()), ..rule("r") }, (1, 1, 2, 0))]
#[case::all_together(AcceptRule { kind: Some(DifferenceKind::Changed), columns: vec!["Name".into()], filter: Some("id = 2".into()), ..rule("r") }, (1, 1, 1, 1))]
fn an_entry_absorbs_what_it_fits(#[case] entry: AcceptRule, #[case] expected: (u64, u64, u64, u64)) {
    let diff = differences(vec![entry]).unwrap();
    assert_eq!(counts(&diff), expected);
    let of_columns: Vec<_> = diff.columns.iter().map(|column| column.unequal).collect();
    assert_eq!(of_columns, [0, 2, 1], "columns count accepted rows too");
    let marked = diff.sample.iter().filter(|row| row.accepted_by.as_deref() == Some("r")).count();
    assert_eq!((marked as u64, diff.sample.len()), (expected.3, 4));
    assert!(diff.sample.is_sorted_by_key(|row| row.accepted_by.is_some()), "what is not accepted is shown first");
}

#[test]
fn the_first_entry_that_fits_absorbs_a_row_and_every_entry_is_listed() {
    let changed = AcceptRule { kind: Some(DifferenceKind::Changed), max_rows: 1, ..rule("changed") };
    let none = AcceptRule { filter: Some("id > 100".into()), ..rule("none") };
    let expired = AcceptRule { expires: TODAY.pred_opt().unwrap(), ..rule("rest") };
    let diff = differences(vec![none, changed, expired]).unwrap();
    assert_eq!(counts(&diff), (0, 0, 0, 4));
    let uses: Vec<_> = diff.accepted.iter().map(|used| (used.rule.id.as_str(), used.rows, used.expired)).collect();
    assert_eq!(uses, [("none", 0, false), ("changed", 2, false), ("rest", 2, true)]);
    let objections: Vec<_> = diff.accepted.iter().map(|used| used.objection().is_some()).collect();
    assert_eq!(objections, [false, true, true], "a cap exceeded, a day over");
}

#[rstest]
#[case(TODAY, false)]
#[case(TODAY.pred_opt().unwrap(), true)]
fn an_entry_holds_on_its_last_day(#[case] expires: NaiveDate, #[case] expired: bool) {
    assert_eq!(differences(vec![AcceptRule { expires, ..rule("r") }]).unwrap().accepted[0].expired, expired);
}

#[test]
fn rows_of_duplicate_keys_and_copies_count_one_by_one() {
    let old = table(&[(1, "a", 1), (1, "a", 1), (1, "b", 1)]);
    let new = table(&[(1, "b", 1), (1, "c", 1)]);
    let accept = vec![AcceptRule { filter: Some("Name = 'a'".into()), ..rule("r") }];
    let diff =
        row_diff(&old, &new, &DiffOptions { key: &["id"], accept: accept.clone(), ..DiffOptions::default() }).unwrap();
    assert_eq!(counts(&diff), (0, 1, 0, 2));
    let bag = row_diff(&old, &new, &DiffOptions { accept, ..DiffOptions::default() }).unwrap();
    assert_eq!(counts(&bag), (0, 1, 0, 2));
}

#[test]
fn a_column_within_its_tolerance_is_not_among_those_that_differ() {
    let accept = vec![AcceptRule { columns: vec!["Name".into()], ..rule("r") }];
    let tolerances = vec![("size", ColumnRule { absolute: Some(5.0), ..ColumnRule::default() })];
    let options = DiffOptions { key: &["id"], accept, tolerances, ..DiffOptions::default() };
    let diff = row_diff(&table(&[(1, "a", 1)]), &table(&[(1, "b", 2)]), &options).unwrap();
    assert_eq!(counts(&diff), (0, 0, 0, 1));
}

#[test]
fn a_condition_is_planned_over_each_sides_own_types() {
    let old = Table::new(vec![("id", Arc::new(Int32Array::from(vec![1, 2])) as ArrayRef)]);
    let new = Table::new(vec![("id", Arc::new(Int64Array::from(vec![1 << 40])) as ArrayRef)]);
    let accept = vec![AcceptRule { filter: Some("id >= 2".into()), ..rule("r") }];
    let diff = row_diff(&old, &new, &DiffOptions { accept, ..DiffOptions::default() }).unwrap();
    assert_eq!(counts(&diff), (1, 0, 0, 2));
}

#[rstest]
#[case::syntax("id = = 1", "")]
#[case::unknown_column("nope = 1", "nope")]
#[case::case_of_a_name("name = 'a'", "name")]
#[case::no_condition("id + 1", "it is a Int64")]
#[case::not_repeatable("random() < 0.5", "random()")]
#[case::the_time("now() > '2020-01-01'", "now()")]
#[case::an_aggregate("max(id) = 1", "")]
#[case::a_window("row_number() over () = 1", "")]
#[case::a_subquery("id in (select 1)", "")]
fn what_is_no_condition_over_one_row_is_refused(#[case] filter: &str, #[case] reason_part: &str) {
    let error = differences(vec![AcceptRule { filter: Some(filter.into()), ..rule("r") }]).unwrap_err();
    let DiffError::Condition { entry, side, reason } = &error else { panic!("{error:?}") };
    assert_eq!((entry.as_str(), *side), ("r", Side::Old));
    assert!(reason.contains(reason_part), "{reason}");
}

#[test]
fn a_condition_that_fails_on_a_row_is_an_error_that_shows_no_value() {
    let accept = vec![AcceptRule { filter: Some("cast(\"Name\" as bigint) = 1".into()), ..rule("r") }];
    let error = differences(accept).unwrap_err();
    assert!(matches!(&error, DiffError::ConditionFailed { entry } if entry == "r"), "{error:?}");
    assert!(!format!("{error:?}").contains("'a'"));
}
