//! Every pair of HAZARDS.md, section Equivalence: what well-known checkers call equal and is not, and what must pass.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, Decimal128Array, DictionaryArray, Float64Array, Int32Array, Int64Array, StringArray,
    StringViewArray, TimestampMicrosecondArray, TimestampNanosecondArray, UInt64Array,
};
use arrow::compute::take_record_batch;
use arrow::datatypes::Int32Type;
use lakeshift_core::equivalence::{Encoding, FloatZeros, Reason, Verdict};
use lakeshift_core::partition::{PartitionField, Transform};
use rstest::rstest;

use crate::support::{DiffOptions, Options, Table, compared, compared_with, row_diff};

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

fn decimals(values: &[i128], precision: u8, scale: i8) -> ArrayRef {
    Arc::new(Decimal128Array::from(values.to_vec()).with_precision_and_scale(precision, scale).unwrap())
}

fn micros(values: &[i64]) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(values.to_vec()))
}

fn one(column: ArrayRef) -> Table {
    Table::new(vec![("a", column)])
}

fn two(a: ArrayRef, b: ArrayRef) -> Table {
    Table::new(vec![("a", a), ("b", b)])
}

const HOUR_MICROS: i64 = 3_600_000_000;

#[rstest]
#[case::separator_in_the_text(two(text(&["x|y"]), text(&["z"])), two(text(&["x"]), text(&["y|z"])))]
#[case::null_and_its_name(one(texts(&[None])), one(text(&["<null>"])))]
#[case::null_and_nothing(one(texts(&[None])), one(text(&[""])))]
#[case::one_duplicate_less(one(text(&["a", "a", "b"])), one(text(&["a", "b"])))]
#[case::pairs_that_cancel_under_xor(one(text(&["x", "x", "z", "z"])), one(text(&["p", "p", "q", "q"])))]
#[case::doubled_rows_and_an_empty_table(one(text(&["a", "a", "b", "b"])), one(text(&[])))]
#[case::swapped_between_rows(two(text(&["aa", "bb"]), text(&["cc", "dd"])), two(text(&["aa", "bb"]), text(&["dd", "cc"])))]
#[case::key_and_value_swapped(two(ints(&[1, 2]), text(&["a", "b"])), two(ints(&[1, 2]), text(&["b", "a"])))]
#[case::beyond_53_bits(one(ints(&[1 << 53])), one(ints(&[(1 << 53) + 1])))]
#[case::beyond_24_bits_in_decimal(one(decimals(&[100_000_000], 18, 0)), one(decimals(&[100_000_003], 18, 0)))]
#[case::last_digit_of_a_decimal(one(decimals(&[12_345_678_901_234_567_801], 38, 2)), one(decimals(&[12_345_678_901_234_567_802], 38, 2)))]
#[case::one_ulp(one(floats(&[0.1 + 0.2])), one(floats(&[0.3])))]
#[case::zeros(one(floats(&[-0.0])), one(floats(&[0.0])))]
#[case::an_hour(one(micros(&[0])), one(micros(&[HOUR_MICROS])))]
#[case::trailing_space(one(text(&["a"])), one(text(&["a "])))]
#[case::rows_with_a_null_key(two(texts(&[None]), text(&["x"])), two(texts(&[None]), text(&["y"])))]
#[case::duplicate_keys(two(ints(&[1, 1]), text(&["x", "y"])), two(ints(&[1, 1]), text(&["x", "x"])))]
fn what_differs_fails(#[case] old: Table, #[case] new: Table) {
    assert!(matches!(compared(&old, &new).verdict, Verdict::Fail { .. }));
    assert!(matches!(compared(&new, &old).verdict, Verdict::Fail { .. }));
    assert!(matches!(compared(&old, &old).verdict, Verdict::Pass), "a table is equal to itself");
    assert!(row_diff(&old, &new, &DiffOptions::default()).unwrap().total() > 0, "and the bag difference names the rows");
}

#[rstest]
#[case::text_and_number(one(text(&["1"])), one(ints(&[1])))]
#[case::float_and_number(one(floats(&[1.0])), one(ints(&[1])))]
#[case::instant_and_reading(one(micros(&[0])), one(Arc::new(TimestampMicrosecondArray::from(vec![0]).with_timezone("UTC"))))]
fn a_column_that_cannot_be_compared_is_named_and_nothing_passes(#[case] old: Table, #[case] new: Table) {
    let beside = ints(&[7]);
    let with_key = |table: &Table| Table::new(vec![("k", beside.clone()), ("a", table.files[0].column(0).clone())]);
    let Verdict::Inconclusive { reasons } = compared(&with_key(&old), &with_key(&new)).verdict else { panic!() };
    assert!(matches!(&reasons[..], [Reason::ColumnNotCompared { column, .. }] if column == "a"), "{reasons:?}");
}

#[test]
fn a_column_that_the_new_table_lacks_fails() {
    let (old, new) = (two(ints(&[1]), ints(&[2])), one(ints(&[1])));
    let Verdict::Fail { reasons } = compared(&old, &new).verdict else { panic!() };
    assert_eq!(reasons, [Reason::ColumnMissing { column: "b".into() }]);
    assert!(matches!(compared(&new, &old).verdict, Verdict::Inconclusive { .. }), "an added one is not compared");
}

#[test]
fn two_tables_without_rows_prove_nothing() {
    let empty = one(ints(&[]));
    let Verdict::Inconclusive { reasons } = compared(&empty, &empty).verdict else { panic!() };
    assert!(matches!(&reasons[..], [Reason::NothingCompared { .. }]));
}

fn numbered() -> Table {
    let days: Vec<i32> = (0..100).map(|row| 11_323 + row / 10).collect();
    let names: Vec<String> = (0..100).map(|row| format!("name {}", row % 7)).collect();
    Table::new(vec![
        ("day", Arc::new(Date32Array::from(days))),
        ("name", Arc::new(StringArray::from(names))),
        ("n", ints(&(0..100).collect::<Vec<_>>())),
    ])
}

#[test]
fn another_order_of_rows_passes() {
    let (old, mut new) = (numbered(), numbered());
    let backwards = arrow::array::UInt32Array::from_iter_values((0..100).rev());
    new.files = vec![take_record_batch(&new.files[0], &backwards).unwrap()];
    assert_ne!(old.files, new.files);
    assert_eq!(compared(&old, &new).verdict, Verdict::Pass);
}

#[rstest]
fn other_files_pass(#[values(1, 7, 33)] rows: usize) {
    assert_eq!(compared(&numbered(), &numbered().split(rows)).verdict, Verdict::Pass);
}

#[test]
fn another_partitioning_passes_and_is_compared_in_the_cells_of_both() {
    let old = numbered().partitioned_by(vec![PartitionField::new("day", Transform::Identity)]);
    let by = vec![PartitionField::new("day", Transform::Month), PartitionField::new("name", Transform::Bucket(4))];
    let new = numbered().partitioned_by(by);
    let compared = compared(&old, &new);
    assert_eq!(compared.verdict, Verdict::Pass);
    assert_eq!(compared.comparison.fields.len(), 3);
    assert!(compared.comparison.cells > 10, "{}", compared.comparison.cells);
}

#[test]
fn too_many_cells_are_widened_and_the_rows_still_compared() {
    let by = vec![PartitionField::new("day", Transform::Identity), PartitionField::new("n", Transform::Identity)];
    let old = numbered().partitioned_by(by);
    let few = Options { cells_max: 20, ..Options::default() };
    let same = compared_with(&old, &numbered().split(9), &few);
    assert_eq!((same.verdict, same.comparison.cells), (Verdict::Pass, 10));
    assert_eq!(same.comparison.given_up, [PartitionField::new("n", Transform::Identity)]);
}

#[rstest]
#[case::int32_as_int64(one(Arc::new(Int32Array::from(vec![Some(1), None, Some(-7)]))), one(Arc::new(Int64Array::from(vec![Some(1), None, Some(-7)]))))]
#[case::uint64_as_decimal(one(Arc::new(UInt64Array::from(vec![5, u64::MAX]))), one(decimals(&[5, u64::MAX.into()], 20, 0)))]
#[case::wider_decimal(one(decimals(&[1010, -5, 0], 10, 2)), one(decimals(&[1010, -5, 0], 18, 2)))]
#[case::finer_decimal(one(decimals(&[1010, -5, 0], 10, 2)), one(decimals(&[101_000, -500, 0], 18, 4)))]
#[case::dictionary(one(text(&["a", "b", "a"])), one(Arc::new(["a", "b", "a"].into_iter().collect::<DictionaryArray<Int32Type>>())))]
#[case::string_view(one(text(&["a", "a text of more than twelve bytes"])), one(Arc::new(StringViewArray::from(vec!["a", "a text of more than twelve bytes"]))))]
#[case::finer_timestamp(one(micros(&[-1, 5])), one(Arc::new(TimestampNanosecondArray::from(vec![-1000, 5000]))))]
#[case::wider_float(one(Arc::new(arrow::array::Float32Array::from(vec![0.1, f32::NAN, -0.0]))), one(floats(&[f64::from(0.1_f32), f64::NAN, -0.0])))]
fn the_same_values_in_another_type_pass(#[case] old: Table, #[case] new: Table) {
    assert_eq!(compared(&old, &new).verdict, Verdict::Pass);
    assert_eq!(compared(&new, &old).verdict, Verdict::Pass);
}

#[test]
fn a_rename_of_the_spec_passes_and_without_it_fails() {
    let (old, new) = (one(ints(&[1, 2])), Table::new(vec![("b", ints(&[2, 1]))]));
    let renamed = Options { renames: [("a".to_owned(), "b".to_owned())].into(), ..Options::default() };
    assert_eq!(compared_with(&old, &new, &renamed).verdict, Verdict::Pass);
    assert!(matches!(compared(&old, &new).verdict, Verdict::Fail { .. }));
}

#[test]
fn zeros_are_equal_if_the_policy_says_so() {
    let encoding = Encoding { float_zeros: FloatZeros::Equal, ..Encoding::default() };
    let equal = Options { encoding, ..Options::default() };
    assert_eq!(compared_with(&one(floats(&[-0.0])), &one(floats(&[0.0])), &equal).verdict, Verdict::Pass);
}
