//! What a difference tells of each column: counts, largest differences, and the cause where the pattern is plain.

use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray};
use lakeshift_core::equivalence::{Cause, ColumnDiff};
use rstest::rstest;

use crate::support::{DiffOptions, Table, row_diff};

fn rows(values: ArrayRef) -> Table {
    let ids: ArrayRef = Arc::new((0..values.len() as i64).collect::<Int64Array>());
    Table::new(vec![("id", ids), ("a", values)])
}

fn column(old: ArrayRef, new: ArrayRef) -> ColumnDiff {
    let options = DiffOptions { key: &["id"], ..DiffOptions::default() };
    let mut columns = row_diff(&rows(old), &rows(new), &options).unwrap().columns;
    assert_eq!(columns[0], ColumnDiff { column: "id".into(), ..ColumnDiff::default() });
    columns.remove(1)
}

fn texts(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn decimals(values: &[i128], scale: i8) -> ArrayRef {
    Arc::new(Decimal128Array::from(values.to_vec()).with_precision_and_scale(20, scale).unwrap())
}

fn times(values: &[i64]) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(values.to_vec()))
}

#[test]
fn differences_are_counted_and_measured() {
    let old: ArrayRef =
        Arc::new(Float64Array::from(vec![Some(1.0), Some(10.0), None, Some(0.0), Some(5.0), Some(f64::NAN)]));
    let new: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.5), Some(9.0), Some(3.0), Some(7.0), Some(5.0), Some(1.0)]));
    let column = column(old, new);
    assert_eq!((column.unequal, column.null_flips, column.tolerated), (5, 1, 0));
    assert_eq!((column.largest_absolute, column.largest_relative), (Some(7.0), Some(0.5)));
    assert_eq!(column.cause, None);
}

#[test]
fn integers_are_measured_exactly_and_times_in_seconds() {
    let ints = |value: i64| -> ArrayRef { Arc::new(Int64Array::from(vec![value])) };
    assert_eq!(column(ints((1 << 60) + 1), ints(1 << 60)).largest_absolute, Some(1.0));
    let late = column(times(&[0]), times(&[1_500_000]));
    assert_eq!((late.largest_absolute, late.largest_relative), (Some(1.5), None));
}

#[rstest]
#[case::zone(times(&[0, 1]), times(&[-7_200_000_000, -7_199_999_999]), Some(Cause::TimeShift { seconds: -7200 }))]
#[case::space(texts(&[Some("a"), Some("b ")]), texts(&[Some("a "), Some("b")]), Some(Cause::TrailingSpace))]
#[case::case(texts(&[Some("a"), Some("B")]), texts(&[Some("A"), Some("b")]), Some(Cause::LetterCase))]
#[case::scale(decimals(&[105, 200], 2), decimals(&[10_500, 20_000], 2), Some(Cause::Scale { exponent: 2 }))]
#[case::precision(decimals(&[12_345, 67_891], 4), decimals(&[12_300, 67_800], 4), Some(Cause::TruncatedPrecision))]
#[case::unit(times(&[1_234_567, 7_654_321]), times(&[1_234_000, 7_654_000]), Some(Cause::TruncatedPrecision))]
#[case::empty(texts(&[None, Some("")]), texts(&[Some(""), None]), Some(Cause::NullAgainstEmpty))]
#[case::lost(texts(&[Some("a"), Some("b")]), texts(&[None, None]), Some(Cause::ValuesLost))]
#[case::no_pattern(texts(&[Some("a"), Some("b")]), texts(&[Some("a "), Some("B")]), None)]
fn a_plain_pattern_is_named(#[case] old: ArrayRef, #[case] new: ArrayRef, #[case] cause: Option<Cause>) {
    assert_eq!(column(old, new).cause, cause);
}

#[test]
fn a_pattern_that_one_row_breaks_is_not_named() {
    let shifted = |last: i64| times(&[3_600_000_000, 3_600_000_001, 3_600_000_002, last]);
    let old = times(&[0, 1, 2, 3]);
    assert_eq!(
        column(Arc::clone(&old), shifted(3)).cause,
        Some(Cause::TimeShift { seconds: 3600 }),
        "equal rows do not count"
    );
    assert_eq!(column(old, shifted(4)).cause, None);
}

#[test]
fn rows_that_only_one_side_has_do_not_count_for_columns() {
    let old = rows(texts(&[Some("a"), Some("b"), Some("c")]));
    let new = Table { files: vec![old.files[0].slice(0, 2)], ..old.clone() };
    let diff = row_diff(&old, &new, &DiffOptions { key: &["id"], ..DiffOptions::default() }).unwrap();
    assert_eq!((diff.missing, diff.columns.iter().map(|column| column.unequal).sum::<u64>()), (1, 0));
}
