//! Comparison, schema check, verdict, certificate, rules for columns.

mod algebra;
mod certificate;
mod judging;
mod rules;

use std::collections::BTreeMap;

use lakeshift_core::equivalence::{
    CellKey, CellPrint, CellSide, CellSum, ColumnCheck, ColumnSums, Encoding, Findings, Fingerprint, FingerprintShape,
    NotComparable, Nullability, Reason, SchemaCheck, TypeMatch, ValidationKey, Verdict, common_refinement, compare,
    compare_schemas, judge,
};
use lakeshift_core::migration::{Side, VerdictName};
use lakeshift_core::partition::{PartitionField, PartitionSpec, Transform};
use lakeshift_core::schema::{DataType as T, Field, TableSchema, TimeUnit};
use lakeshift_core::value::Value;
use rstest::rstest;

fn shape(fields: Vec<PartitionField>) -> FingerprintShape {
    FingerprintShape {
        encoding: Encoding::default(),
        key: ValidationKey::new([1; 16]),
        columns: vec!["day".into(), "n".into()],
        fields,
    }
}

fn by_day_and_n() -> FingerprintShape {
    shape(vec![PartitionField::new("day", Transform::Identity), PartitionField::new("n", Transform::Bucket(4))])
}

fn cell(day: i32, bucket: i64) -> CellKey {
    CellKey::new(vec![Some(Value::Date(day)), Some(Value::Int(bucket))])
}

/// Column sums that belong to the row sum.
fn cell_print(rows: u64, sum: u128) -> CellPrint {
    let columns = ColumnSums(vec![rows.wrapping_mul(3), u64::try_from(sum & u128::from(u64::MAX)).unwrap()]);
    CellPrint { sum: CellSum { rows, sum }, columns }
}

fn print(cells: &[(CellKey, u64, u128)]) -> Fingerprint {
    let mut print = Fingerprint::empty(by_day_and_n());
    for (cell, rows, sum) in cells {
        print.add_cell(cell, &cell_print(*rows, *sum));
    }
    print
}

fn columns(fields: Vec<(&str, T)>) -> TableSchema {
    TableSchema { fields: fields.into_iter().map(|(name, data_type)| Field::new(name, data_type, true)).collect() }
}

fn check(old: T, new: T) -> ColumnCheck {
    compare_schemas(&columns(vec![("a", old)]), &columns(vec![("a", new)]), &BTreeMap::new()).columns.remove(0)
}

fn verdict_of(schema: &SchemaCheck, old: &Fingerprint, new: &Fingerprint, obstacles: &[Reason]) -> Verdict {
    judge(&Findings { schema, comparison: Some(&compare(old, new).unwrap()), proven: &[], rows: None, obstacles })
}

fn same_columns() -> SchemaCheck {
    let schema = columns(vec![("day", T::Date), ("n", T::Int64)]);
    compare_schemas(&schema, &schema, &BTreeMap::new())
}

#[test]
fn cells_that_differ_in_rows_or_sum_or_are_on_one_side_are_named() {
    let old = print(&[(cell(1, 0), 2, 5), (cell(1, 1), 2, 6), (cell(2, 0), 1, 7), (cell(3, 0), 1, 8)]);
    let new = print(&[(cell(1, 0), 2, 5), (cell(1, 1), 2, 60), (cell(2, 0), 2, 7), (cell(4, 0), 1, 8)]);
    let comparison = compare(&old, &new).unwrap();
    let differing: Vec<_> = comparison.differences.iter().map(|difference| difference.cell.clone()).collect();
    assert_eq!(differing, [cell(1, 1), cell(2, 0), cell(3, 0), cell(4, 0)]);
    assert_eq!((comparison.cells, comparison.old.rows, comparison.new.rows), (5, 6, 7));
    let Verdict::Fail { reasons } = verdict_of(&same_columns(), &old, &new, &[]) else { panic!() };
    assert_eq!(reasons, [Reason::RowsDiffer { cells: 4, of: 5, old_rows: 6, new_rows: 7 }]);
}

#[test]
fn sums_that_cancel_across_cells_do_not_hide_a_difference() {
    let old = print(&[(cell(1, 0), 1, 5), (cell(2, 0), 1, 6)]);
    let new = print(&[(cell(1, 0), 1, 6), (cell(2, 0), 1, 5)]);
    assert_eq!(old.total(), new.total());
    assert_eq!(compare(&old, &new).unwrap().differences.len(), 2);
}

#[test]
fn coarser_cells_are_the_sums_of_finer_ones_and_compare_with_them() {
    let fine = print(&[(cell(1, 0), 2, u128::MAX), (cell(1, 1), 3, 2), (cell(2, 0), 1, 7)]);
    let mut coarse = fine.clone();
    coarse.bound(2);
    let day = CellKey::new(vec![Some(Value::Date(1))]);
    let expected = CellPrint { sum: CellSum { rows: 5, sum: 1 }, columns: ColumnSums(vec![15, 1]) };
    assert_eq!(coarse.cells()[&day], expected);
    assert_eq!((coarse.fields().len(), coarse.given_up().len()), (1, 1));
    let comparison = compare(&fine, &coarse).unwrap();
    assert!(comparison.differences.is_empty());
    assert_eq!((comparison.cells, comparison.given_up.len()), (2, 1));
    coarse.bound(0);
    assert_eq!(coarse.cells().len(), 1, "one cell is left at least");
}

#[test]
fn subtracting_what_was_never_added_is_refused_and_changes_nothing() {
    let mut whole = print(&[(cell(1, 0), 2, 10), (cell(2, 0), 1, 4)]);
    let before = whole.clone();
    for part in [print(&[(cell(1, 0), 3, 10)]), print(&[(cell(3, 0), 1, 1)]), print(&[(cell(2, 0), 1, 5)])] {
        assert!(matches!(whole.subtract(&part), Err(NotComparable::NotPart { .. })));
        assert_eq!(whole, before);
    }
    whole.subtract(&print(&[(cell(2, 0), 1, 4), (cell(1, 0), 1, 3)])).unwrap();
    assert_eq!(whole, print(&[(cell(1, 0), 1, 7)]));
}

#[test]
fn fingerprints_of_other_keys_columns_encodings_or_cells_are_not_compared() {
    let base = by_day_and_n();
    let others = [
        FingerprintShape { key: ValidationKey::new([2; 16]), ..base.clone() },
        FingerprintShape { encoding: Encoding { version: Encoding::VERSION + 1, ..Encoding::default() }, ..base.clone() },
        FingerprintShape { columns: vec!["day".into()], ..base.clone() },
        shape(Vec::new()),
    ];
    for other in others {
        let outcome = compare(&Fingerprint::empty(base.clone()), &Fingerprint::empty(other));
        assert!(matches!(outcome, Err(NotComparable::Shape { .. })), "{outcome:?}");
    }
}

#[test]
fn a_fingerprint_reads_back_from_json() {
    let decimal = CellKey::new(vec![Some(Value::Decimal { unscaled: i128::MAX, scale: 2 }), None]);
    let fingerprint = print(&[(cell(1, 0), 2, u128::MAX), (decimal, 1, 0)]);
    let json = serde_json::to_string(&fingerprint).unwrap();
    assert_eq!(serde_json::from_str::<Fingerprint>(&json).unwrap(), fingerprint);
    assert_ne!(fingerprint.digest().unwrap(), print(&[(cell(1, 0), 2, 1)]).digest().unwrap());
}

#[rstest]
#[case(1, -94)]
#[case(2, -93)]
#[case(3, -92)]
#[case(1 << 20, -74)]
#[case(3_000_000, -72)]
#[case(u64::MAX, -30)]
fn the_collision_bound_is_the_rows_of_both_sides_over_2_to_the_95(#[case] rows: u64, #[case] log2: i32) {
    let table = print(&[(cell(1, 0), rows, 1)]);
    assert_eq!(compare(&table, &table).unwrap().collision_bound_log2(), log2);
}

#[test]
fn decimal_cells_are_equal_at_any_scale() {
    let decimal = |unscaled, scale| CellKey::new(vec![Some(Value::Decimal { unscaled, scale })]);
    assert_eq!(decimal(1010, 2), decimal(101, 1));
    assert_ne!(decimal(1010, 2), decimal(1010, 1));
}

#[rstest]
#[case(T::Int32, T::Int32, TypeMatch::Identical)]
#[case(T::Int32, T::Int64, TypeMatch::Widened)]
#[case(T::Int64, T::Int32, TypeMatch::Narrowed)]
#[case(T::UInt8, T::Int16, TypeMatch::Widened)]
#[case(T::UInt8, T::Int8, TypeMatch::Narrowed)]
#[case(T::UInt64, T::Decimal { precision: 20, scale: 0 }, TypeMatch::Widened)]
#[case(T::Decimal { precision: 10, scale: 2 }, T::Decimal { precision: 18, scale: 2 }, TypeMatch::Widened)]
#[case(T::Decimal { precision: 10, scale: 2 }, T::Decimal { precision: 10, scale: 4 }, TypeMatch::Narrowed)]
#[case(T::Float32, T::Float64, TypeMatch::Widened)]
#[case(T::Timestamp { unit: TimeUnit::Millis, utc: true }, T::Timestamp { unit: TimeUnit::Micros, utc: true }, TypeMatch::Widened)]
#[case(T::Timestamp { unit: TimeUnit::Nanos, utc: true }, T::Timestamp { unit: TimeUnit::Micros, utc: true }, TypeMatch::Narrowed)]
#[case(T::Fixed { length: 16 }, T::Uuid, TypeMatch::Widened)]
#[case(T::Binary, T::Fixed { length: 4 }, TypeMatch::Narrowed)]
fn comparable_types_are_told_apart(#[case] old: T, #[case] new: T, #[case] expected: TypeMatch) {
    let found = check(old.clone(), new.clone());
    assert!(matches!(found, ColumnCheck::Compared { types, .. } if types == expected), "{found:?}");
    let list = |element| T::List { element: Box::new(Field::new("element", element, true)) };
    let nested = check(list(old), list(new));
    assert!(matches!(nested, ColumnCheck::Compared { types, .. } if types == expected), "{nested:?}");
}

#[rstest]
#[case(T::Int32, T::String)]
#[case(T::Int32, T::Float64)]
#[case(T::Date, T::Timestamp { unit: TimeUnit::Micros, utc: false })]
#[case(T::Timestamp { unit: TimeUnit::Micros, utc: true }, T::Timestamp { unit: TimeUnit::Micros, utc: false })]
#[case(T::String, T::Binary)]
#[case(T::Struct { fields: vec![Field::new("x", T::Int32, true)] }, T::Struct { fields: vec![Field::new("y", T::Int32, true)] })]
fn types_without_common_values_are_refused(#[case] old: T, #[case] new: T) {
    for found in [check(old.clone(), new.clone()), check(new, old)] {
        assert!(matches!(found, ColumnCheck::Refused { .. }), "{found:?}");
    }
}

#[test]
fn nullability_and_renames_are_seen() {
    let old = TableSchema { fields: vec![Field::new("a", T::Int32, false), Field::new("b", T::Int32, true)] };
    let new = TableSchema { fields: vec![Field::new("b", T::Int32, false), Field::new("c", T::Int32, true)] };
    let found = compare_schemas(&old, &new, &[("a".to_owned(), "c".to_owned())].into());
    let seen = found.columns.iter().map(|column| match column {
        ColumnCheck::Compared { pair, nullability, .. } => (pair.old.as_str(), pair.new.as_str(), *nullability),
        other => panic!("{other:?}"),
    });
    assert_eq!(seen.collect::<Vec<_>>(), [("a", "c", Nullability::Relaxed), ("b", "b", Nullability::Tightened)]);
}

#[test]
fn the_refinement_has_both_partitionings_once_under_the_new_names() {
    let old_schema = columns(vec![("day", T::Date), ("price", T::Decimal { precision: 9, scale: 2 }), ("x", T::Float64)]);
    let new_schema = columns(vec![("date", T::Date), ("price", T::Decimal { precision: 9, scale: 2 }), ("x", T::Float64)]);
    let pairs = compare_schemas(&old_schema, &new_schema, &[("day".to_owned(), "date".to_owned())].into()).compared();
    let field = PartitionField::new;
    let old = PartitionSpec { fields: vec![field("day", Transform::Identity), field("x", Transform::Identity)] };
    let new = PartitionSpec {
        fields: vec![
            field("date", Transform::Month),
            field("date", Transform::Identity),
            field("price", Transform::Truncate(5)),
        ],
    };
    let old = CellSide { schema: &old_schema, partition: &old };
    let found = common_refinement(old, CellSide { schema: &new_schema, partition: &new }, &pairs);
    let fields: Vec<_> =
        found.fields.iter().map(|field| (field.name.as_str(), field.column.as_str(), field.transform)).collect();
    assert_eq!(fields, [("day", "date", Transform::Identity), ("date_month", "date", Transform::Month)]);
    let dropped: Vec<_> = found.dropped.iter().map(|dropped| dropped.field.column.as_str()).collect();
    assert_eq!(dropped, ["x", "price"], "a float's and a decimal's partition values may differ for equal values");
}

#[test]
fn the_worst_verdict_wins_and_every_reason_is_kept() {
    let unpinned = Reason::NotPinned { side: Side::Old };
    let missing = Reason::ColumnMissing { column: "a".into() };
    let inconclusive = Verdict::of(vec![unpinned.clone()]);
    let fail = Verdict::of(vec![missing.clone()]);
    let accepted = Verdict::of(vec![Reason::Accepted { id: "a".into(), rows: 1, owner: "me".into() }]);
    assert_eq!(Verdict::Pass.and(inconclusive.clone()), inconclusive);
    assert_eq!(accepted.clone().and(Verdict::Pass), accepted);
    assert_eq!(accepted.clone().and(inconclusive.clone()).name(), VerdictName::Inconclusive);
    assert_eq!(inconclusive.clone().and(fail.clone()), Verdict::Fail { reasons: vec![unpinned, missing] });
    let codes: Vec<_> = [Verdict::Pass, accepted, fail, inconclusive]
        .iter()
        .map(|verdict| (verdict.name(), verdict.exit_code(), verdict.strict_exit_code()))
        .collect();
    use VerdictName as V;
    assert_eq!(codes, [(V::Pass, 0, 0), (V::Accepted, 0, 4), (V::Fail, 1, 1), (V::Inconclusive, 3, 3)]);
}

#[test]
fn equal_sums_do_not_pass_when_a_side_was_not_pinned_or_nothing_was_read() {
    let table = print(&[(cell(1, 0), 2, 5)]);
    assert_eq!(verdict_of(&same_columns(), &table, &table, &[]), Verdict::Pass);
    let unpinned = verdict_of(&same_columns(), &table, &table, &[Reason::NotPinned { side: Side::New }]);
    assert!(matches!(unpinned, Verdict::Inconclusive { .. }));
    let unread = judge(&Findings { schema: &same_columns(), comparison: None, proven: &[], rows: None, obstacles: &[] });
    assert!(matches!(unread, Verdict::Inconclusive { .. }));
    let empty = print(&[]);
    assert!(matches!(verdict_of(&same_columns(), &empty, &empty, &[]), Verdict::Inconclusive { .. }));
    assert!(matches!(verdict_of(&SchemaCheck::default(), &table, &table, &[]), Verdict::Inconclusive { .. }));
}

#[test]
fn a_key_reads_back_as_it_prints_and_nothing_else_is_a_key() {
    let key = ValidationKey::new(*b"\x00\x01234567890abcd\xff");
    assert_eq!(key.to_string().parse::<ValidationKey>().unwrap(), key);
    for text in ["", "00", "+0000000000000000000000000000001", "0000000000000000000000000000000G"] {
        assert!(text.parse::<ValidationKey>().is_err(), "{text}");
    }
}
