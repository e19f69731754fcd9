//! Every pair of HAZARDS.md, section Equivalence, through the row difference: what it counts with and without a key.

use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray};
use rstest::rstest;

use crate::support::{DiffOptions, Table, row_diff};

type Counts = (u64, u64, u64);

fn texts(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn text(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn ints(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn floats(values: &[f64]) -> ArrayRef {
    Arc::new(Float64Array::from(values.to_vec()))
}

fn decimals(values: &[i128]) -> ArrayRef {
    Arc::new(Decimal128Array::from(values.to_vec()).with_precision_and_scale(38, 2).unwrap())
}

fn micros(values: &[i64]) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(values.to_vec()))
}

/// A row number `k` beside the columns.
fn keyed(columns: Vec<ArrayRef>) -> Table {
    let rows = i64::try_from(columns[0].len()).unwrap();
    let mut named = vec![("k", ints(&(0..rows).collect::<Vec<_>>()))];
    named.extend(["a", "b"].into_iter().zip(columns));
    Table::new(named)
}

fn one(column: ArrayRef) -> Table {
    keyed(vec![column])
}

fn two(a: ArrayRef, b: ArrayRef) -> Table {
    keyed(vec![a, b])
}

#[rstest]
#[case::separator_in_the_text(two(text(&["x|y"]), text(&["z"])), two(text(&["x"]), text(&["y|z"])), (0, 0, 1), (1, 1, 0))]
#[case::null_and_its_name(one(texts(&[None])), one(text(&["<null>"])), (0, 0, 1), (1, 1, 0))]
#[case::null_and_nothing(one(texts(&[None])), one(text(&[""])), (0, 0, 1), (1, 1, 0))]
#[case::pairs_that_cancel_under_xor(one(text(&["x", "x", "z", "z"])), one(text(&["p", "p", "q", "q"])), (0, 0, 4), (4, 4, 0))]
#[case::rows_and_an_empty_table(one(text(&["a", "a"])), one(text(&[])), (2, 0, 0), (2, 0, 0))]
#[case::swapped_between_rows(one(text(&["aa", "bb"])), one(text(&["bb", "aa"])), (0, 0, 2), (2, 2, 0))]
#[case::beyond_53_bits(one(ints(&[1 << 53])), one(ints(&[(1 << 53) + 1])), (0, 0, 1), (1, 1, 0))]
#[case::beyond_24_bits_in_decimal(one(decimals(&[10_000_000_000])), one(decimals(&[10_000_000_300])), (0, 0, 1), (1, 1, 0))]
#[case::last_digit_of_a_decimal(one(decimals(&[12_345_678_901_234_567_801])), one(decimals(&[12_345_678_901_234_567_802])), (0, 0, 1), (1, 1, 0))]
#[case::one_ulp(one(floats(&[0.1 + 0.2])), one(floats(&[0.3])), (0, 0, 1), (1, 1, 0))]
#[case::zeros(one(floats(&[-0.0])), one(floats(&[0.0])), (0, 0, 1), (1, 1, 0))]
#[case::an_hour(one(micros(&[0])), one(micros(&[3_600_000_000])), (0, 0, 1), (1, 1, 0))]
#[case::trailing_space(one(text(&["a"])), one(text(&["a "])), (0, 0, 1), (1, 1, 0))]
fn rows_differ(#[case] old: Table, #[case] new: Table, #[case] by_key: Counts, #[case] as_bag: Counts) {
    let keyed = DiffOptions { key: &["k"], ..DiffOptions::default() };
    for (options, (missing, extra, changed)) in [(keyed, by_key), (DiffOptions::default(), as_bag)] {
        let diff = row_diff(&old, &new, &options).unwrap();
        assert_eq!((diff.missing, diff.extra, diff.changed), (missing, extra, changed), "{:?}", options.key);
        let back = row_diff(&new, &old, &options).unwrap();
        assert_eq!((back.missing, back.extra, back.changed), (extra, missing, changed), "{:?}", options.key);
        assert!(row_diff(&old, &old, &options).unwrap().total() == 0);
    }
}

#[rstest]
#[case::one_duplicate_less(text(&["a", "a", "b"]), text(&["a", "b"]), (1, 0))]
#[case::doubled_rows_and_an_empty_table(text(&["a", "a", "b", "b"]), text(&[]), (4, 0))]
#[case::every_row_doubled(text(&["a", "b"]), text(&["a", "a", "b", "b"]), (0, 2))]
fn multiplicities_count(#[case] old: ArrayRef, #[case] new: ArrayRef, #[case] (missing, extra): (u64, u64)) {
    let (old, new) = (Table::new(vec![("a", old)]), Table::new(vec![("a", new)]));
    for key in [&[][..], &["a"]] {
        let diff = row_diff(&old, &new, &DiffOptions { key, ..DiffOptions::default() }).unwrap();
        assert_eq!((diff.missing, diff.extra, diff.changed), (missing, extra, 0), "{key:?}");
    }
}

#[test]
fn rows_of_null_and_of_duplicate_keys_are_not_left_out() {
    let keys = texts(&[None, Some("d"), Some("d")]);
    let old = Table::new(vec![("k", keys.clone()), ("a", text(&["x", "p", "q"]))]);
    let new = Table::new(vec![("k", keys), ("a", text(&["y", "p", "p"]))]);
    let diff = row_diff(&old, &new, &DiffOptions { key: &["k"], ..DiffOptions::default() }).unwrap();
    assert_eq!((diff.missing, diff.extra, diff.changed, diff.duplicate_keys), (1, 1, 1, 1));
}

#[test]
fn keys_and_values_that_swap_places_differ() {
    let old = Table::new(vec![("k", ints(&[1, 2])), ("a", text(&["a", "b"]))]);
    let new = Table::new(vec![("k", ints(&[1, 2])), ("a", text(&["b", "a"]))]);
    let diff = row_diff(&old, &new, &DiffOptions { key: &["k"], ..DiffOptions::default() }).unwrap();
    assert_eq!((diff.total(), diff.changed), (2, 2));
}
