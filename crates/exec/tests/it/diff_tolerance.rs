//! Tolerances: what counts as equal, what does not, and that they apply to paired rows only.

use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, Float64Array, Int64Array, StringArray};
use lakeshift_core::equivalence::RowDiff;
use lakeshift_core::spec::ColumnRule;
use rstest::rstest;

use crate::support::{DiffOptions, Table, row_diff};

fn absolute(limit: f64) -> ColumnRule {
    ColumnRule { absolute: Some(limit), ..ColumnRule::default() }
}

fn table(ids: &[i64], values: ArrayRef) -> Table {
    Table::new(vec![("id", Arc::new(Int64Array::from(ids.to_vec()))), ("value", values)])
}

fn floats(values: &[f64]) -> ArrayRef {
    Arc::new(Float64Array::from(values.to_vec()))
}

fn by_id(tolerance: ColumnRule) -> DiffOptions<'static> {
    DiffOptions { key: &["id"], tolerances: vec![("value", tolerance)], ..DiffOptions::default() }
}

fn one(old: ArrayRef, new: ArrayRef, tolerance: ColumnRule) -> RowDiff {
    row_diff(&table(&[1], old), &table(&[1], new), &by_id(tolerance)).unwrap()
}

#[rstest]
#[case::at_the_limit(absolute(0.25), 1.0, 1.25, true)]
#[case::just_above(absolute(0.25), 1.0, 1.25_f64.next_up(), false)]
#[case::relative(ColumnRule { relative: Some(0.25), ..ColumnRule::default() }, 3.0, 4.0, true)]
#[case::relative_above(ColumnRule { relative: Some(0.25), ..ColumnRule::default() }, 3.0_f64.next_down(), 4.0, false)]
#[case::one_ulp(ColumnRule { ulps: Some(1), ..ColumnRule::default() }, 0.1 + 0.2, 0.3, true)]
#[case::two_ulps(ColumnRule { ulps: Some(1), ..ColumnRule::default() }, 0.3, 0.3_f64.next_up().next_up(), false)]
#[case::nan(absolute(f64::MAX), f64::NAN, 0.0, false)]
fn a_difference_within_its_tolerance_is_no_change(
    #[case] tolerance: ColumnRule,
    #[case] old: f64,
    #[case] new: f64,
    #[case] tolerated: bool,
) {
    let diff = one(floats(&[old]), floats(&[new]), tolerance);
    assert_eq!((diff.tolerated, diff.changed), if tolerated { (1, 0) } else { (0, 1) });
    assert_eq!(diff.total(), u64::from(!tolerated));
    assert_eq!((diff.columns[1].tolerated, diff.columns[1].unequal), if tolerated { (1, 0) } else { (0, 1) });
    assert_eq!(diff.sample.len(), usize::from(!tolerated));
}

#[test]
fn decimals_are_compared_exactly() {
    let decimal =
        |value: i128| -> ArrayRef { Arc::new(Decimal128Array::from(vec![value]).with_precision_and_scale(38, 2).unwrap()) };
    let large = 10_i128.pow(30);
    assert_eq!(one(decimal(large), decimal(large + 1), absolute(0.01)).tolerated, 1);
    assert_eq!(one(decimal(large), decimal(large + 2), absolute(0.01)).changed, 1, "as doubles both are the same");
}

#[test]
fn a_null_is_within_no_tolerance() {
    let diff = one(Arc::new(Float64Array::from(vec![None])), floats(&[0.0]), absolute(f64::MAX));
    assert_eq!((diff.changed, diff.columns[1].null_flips), (1, 1));
}

#[test]
fn another_column_that_differs_makes_the_row_changed_and_is_the_only_one_named() {
    let table = |name: &str, value: f64| {
        let names: ArrayRef = Arc::new(StringArray::from(vec![name]));
        Table::new(vec![
            ("id", Arc::new(Int64Array::from(vec![1])) as ArrayRef),
            ("name", names),
            ("value", floats(&[value])),
        ])
    };
    let diff = row_diff(&table("a", 1.0), &table("b", 1.1), &by_id(absolute(0.5))).unwrap();
    assert_eq!((diff.changed, diff.tolerated), (1, 0));
    let counts: Vec<_> = diff.columns.iter().map(|column| (column.unequal, column.tolerated)).collect();
    assert_eq!(counts, [(0, 0), (1, 0), (0, 1)]);
    let shown: Vec<_> = diff.sample[0].columns.iter().map(|column| column.column.as_str()).collect();
    assert_eq!(shown, ["id", "name"]);
}

#[test]
fn without_a_key_no_tolerance_applies() {
    let options = DiffOptions { key: &[], ..by_id(absolute(1.0)) };
    let diff = row_diff(&table(&[1], floats(&[1.0])), &table(&[1], floats(&[1.1])), &options).unwrap();
    assert_eq!((diff.missing, diff.extra, diff.tolerated), (1, 1, 0));
}

#[rstest]
#[case::each_has_its_own(&[1.0, 2.0, 3.0], &[3.1, 1.1, 2.1], (0, 0, 1))]
#[case::a_chain_that_a_careless_pairing_misses(&[1.5, 1.0], &[1.25, 2.0], (0, 0, 1))]
#[case::one_partner_for_two(&[1.0, 1.1], &[1.05, 9.0], (2, 2, 0))]
#[case::one_more(&[1.0, 1.1], &[1.05], (2, 1, 0))]
#[case::copies(&[1.0, 1.0, 5.0], &[1.1, 1.1, 5.0], (0, 0, 1))]
fn duplicate_keys_are_tolerated_only_if_every_row_has_a_partner(
    #[case] old: &[f64],
    #[case] new: &[f64],
    #[case] (missing, extra, tolerated): (u64, u64, u64),
) {
    let (old, new) = (table(&vec![1; old.len()], floats(old)), table(&vec![1; new.len()], floats(new)));
    let diff = row_diff(&old, &new, &by_id(absolute(0.5))).unwrap();
    assert_eq!((diff.missing, diff.extra, diff.tolerated), (missing, extra, tolerated));
    assert_eq!((diff.changed, diff.duplicate_keys), (0, 1));
}

#[test]
fn rows_of_a_duplicate_key_have_partners_only_where_all_other_columns_are_equal() {
    let table = |names: [&str; 2], values: [f64; 2]| {
        let names: ArrayRef = Arc::new(StringArray::from(names.to_vec()));
        Table::new(vec![
            ("id", Arc::new(Int64Array::from(vec![1, 1])) as ArrayRef),
            ("name", names),
            ("value", floats(&values)),
        ])
    };
    let old = table(["a", "b"], [1.0, 1.2]);
    let swapped = row_diff(&old, &table(["b", "a"], [1.1, 1.1]), &by_id(absolute(0.5))).unwrap();
    assert_eq!((swapped.total(), swapped.tolerated), (0, 1));
    let other = row_diff(&old, &table(["a", "a"], [1.1, 1.1]), &by_id(absolute(0.5))).unwrap();
    assert_eq!((other.missing, other.extra, other.tolerated), (2, 2, 0));
}

#[test]
fn a_key_of_too_many_rows_is_not_tolerated_whatever_the_memory() {
    let ids = vec![1; 101];
    let values = |shift: f64| floats(&(0..101).map(|row| f64::from(row) + shift).collect::<Vec<_>>());
    let (old, new) = (table(&ids, values(0.0)), table(&ids, values(0.1)));
    let few = |table: &Table| Table { files: vec![table.files[0].slice(0, 100)], ..table.clone() };
    for memory_bytes in [0, 1 << 24] {
        let options = DiffOptions { memory_bytes, ..by_id(absolute(0.5)) };
        assert_eq!(row_diff(&few(&old), &few(&new), &options).unwrap().tolerated, 1);
        let diff = row_diff(&old, &new, &options).unwrap();
        assert_eq!((diff.missing, diff.extra, diff.tolerated, diff.duplicate_keys), (101, 101, 0, 1));
    }
}
