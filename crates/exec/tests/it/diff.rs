//! The exact difference: what is counted, what is shown, and that neither depends on the order of rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, Int32Array, Int64Array, StringArray, StringViewArray};
use arrow::datatypes::Int32Type;
use lakeshift_core::equivalence::{DiffMode, DifferenceKind, RowDiff, SampleRow, ValidationKey};
use lakeshift_core::partition::{PartitionField, Transform};
use lakeshift_exec::diff::{DiffError, Masking};

use crate::support::{DiffOptions, Options, Table, compared, compared_with, row_diff, row_diff_of};

fn table(rows: &[(Option<i64>, &str)]) -> Table {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.0)));
    Table::new(vec![("id", ids), ("name", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.1))))])
}

fn by_id() -> DiffOptions<'static> {
    DiffOptions { key: &["id"], ..DiffOptions::default() }
}

fn counts(diff: &RowDiff) -> (u64, u64, u64) {
    (diff.missing, diff.extra, diff.changed)
}

fn show(row: &SampleRow) -> String {
    let column = |column: &lakeshift_core::equivalence::SampleColumn| {
        format!("{}: {} → {}", column.column, column.old.as_deref().unwrap_or("-"), column.new.as_deref().unwrap_or("-"))
    };
    format!("{} ×{} {}", row.kind, row.copies, row.columns.iter().map(column).collect::<Vec<_>>().join(", "))
}

#[test]
fn rows_are_paired_by_key() {
    let old = table(&[(Some(1), "a"), (Some(2), "b"), (Some(3), "c")]);
    let new = table(&[(Some(3), "c"), (Some(2), "x"), (Some(4), "d")]);
    let diff = row_diff(&old, &new, &by_id()).unwrap();
    assert_eq!(counts(&diff), (1, 1, 1));
    assert_eq!((diff.old_rows, diff.new_rows, diff.duplicate_keys), (3, 3, 0));
    let unequal: Vec<_> = diff.columns.iter().map(|column| (column.column.as_str(), column.unequal)).collect();
    assert_eq!(unequal, [("id", 0), ("name", 1)]);
    let mut shown: Vec<_> = diff.sample.iter().map(show).collect();
    shown.sort();
    assert_eq!(
        shown,
        ["changed ×1 id: 2 → 2, name: b → x", "extra ×1 id: - → 4, name: - → d", "missing ×1 id: 1 → -, name: a → -"]
    );
}

#[test]
fn without_a_key_whole_rows_are_a_bag() {
    let old = table(&[(Some(1), "a"), (Some(1), "a"), (Some(1), "a"), (Some(2), "b")]);
    let new = table(&[(Some(1), "a"), (Some(2), "x")]);
    let diff = row_diff(&old, &new, &DiffOptions::default()).unwrap();
    assert_eq!((diff.mode.clone(), counts(&diff)), (DiffMode::Bag, (3, 1, 0)));
    assert!(diff.columns.is_empty());
    let mut shown: Vec<_> = diff.sample.iter().map(show).collect();
    shown.sort();
    assert_eq!(
        shown,
        ["extra ×1 id: - → 2, name: - → x", "missing ×1 id: 2 → -, name: b → -", "missing ×2 id: 1 → -, name: a → -"]
    );
}

#[test]
fn a_null_key_is_a_key() {
    let diff = row_diff(&table(&[(None, "a"), (Some(1), "b")]), &table(&[(None, "x"), (Some(1), "b")]), &by_id()).unwrap();
    assert_eq!(counts(&diff), (0, 0, 1));
    assert_eq!(show(&diff.sample[0]), "changed ×1 id: NULL → NULL, name: a → x");
}

#[test]
fn rows_of_duplicate_keys_are_compared_as_bags_and_counted() {
    let old = table(&[(Some(1), "a"), (Some(1), "b"), (Some(1), "b"), (Some(2), "c"), (Some(2), "c")]);
    let new = table(&[(Some(1), "b"), (Some(1), "a"), (Some(1), "z"), (Some(2), "c"), (Some(2), "c")]);
    let diff = row_diff(&old, &new, &by_id()).unwrap();
    assert_eq!((counts(&diff), diff.duplicate_keys), ((1, 1, 0), 2));
    let mut shown: Vec<_> = diff.sample.iter().map(show).collect();
    shown.sort();
    assert_eq!(shown, ["extra ×1 id: - → 1, name: - → z", "missing ×1 id: 1 → -, name: b → -"]);
}

#[test]
fn a_row_that_moved_to_another_cell_is_one_changed_row() {
    let by_name = vec![PartitionField::new("name", Transform::Identity)];
    let old = table(&[(Some(1), "a"), (Some(2), "b"), (Some(3), "c")]).partitioned_by(by_name.clone());
    let new = table(&[(Some(1), "a"), (Some(2), "c"), (Some(3), "c")]).partitioned_by(by_name);
    let diff = row_diff(&old, &new, &by_id()).unwrap();
    assert_eq!(counts(&diff), (0, 0, 1));
    assert_eq!((diff.old_rows, diff.new_rows), (2, 2), "the cell name=a is equal and is not read");
    assert_eq!(diff.sample[0].cell, "name=b");
}

fn many(rows: i64) -> (Table, Table) {
    let name = |id: i64| if id % 10 == 0 { "changed" } else { "kept" };
    let old: Vec<_> = (0..rows).map(|id| (Some(id % (rows - 7)), "kept")).collect();
    let new: Vec<_> = (5..rows).map(|id| (Some(id % (rows - 7)), name(id))).collect();
    (table(&old).split(37), table(&new).split(91))
}

#[test]
fn the_sample_does_not_depend_on_the_order_of_rows_and_keeps_its_bound() {
    let (old, new) = many(500);
    let few = DiffOptions { sample_rows_max: 5, ..by_id() };
    let sample = row_diff(&old, &new, &few).unwrap().sample;
    assert_eq!(sample.len(), 5);
    let reversed = |table: &Table| Table { files: table.files.iter().rev().cloned().collect(), ..table.clone() };
    assert_eq!(row_diff(&reversed(&old), &reversed(&new), &few).unwrap().sample, sample);
    for kind in [DifferenceKind::Missing, DifferenceKind::Changed] {
        assert!(sample.iter().any(|row| row.kind == kind), "{kind}");
    }
}

#[test]
fn a_masked_sample_shows_no_value_and_equal_tokens_for_equal_values() {
    let old = table(&[(Some(1), "secret"), (Some(2), "secret"), (Some(3), "other")]);
    let new = table(&[(Some(1), "public"), (Some(2), "public"), (Some(3), "public")]);
    let masking = Masking::Tokens { secret: ValidationKey::new([7; 16]) };
    let diff = row_diff(&old, &new, &DiffOptions { masking, ..by_id() }).unwrap();
    assert!(diff.masked);
    let text = serde_json::to_string(&diff).unwrap();
    assert!(!text.contains("secret") && !text.contains("public"), "{text}");
    let tokens: std::collections::BTreeSet<_> = diff
        .sample
        .iter()
        .flat_map(|row| &row.columns)
        .filter(|column| column.column == "name")
        .flat_map(|column| [&column.old, &column.new])
        .flatten()
        .collect();
    assert_eq!(tokens.len(), 3, "{tokens:?}");
    assert!(tokens.iter().all(|token| token.starts_with("text(")), "{tokens:?}");
    let other = Masking::Tokens { secret: ValidationKey::new([8; 16]) };
    assert_ne!(row_diff(&old, &new, &DiffOptions { masking: other, ..by_id() }).unwrap().sample, diff.sample);
}

#[test]
fn rows_that_changed_since_the_fingerprint_are_an_error_and_no_difference() {
    let (old, new) = (table(&[(Some(1), "a"), (Some(2), "b")]), table(&[(Some(1), "x")]));
    let before = compared(&old, &new);
    let grown = table(&[(Some(1), "x"), (Some(2), "b")]);
    let error = row_diff_of(&before, &old, &grown, &by_id()).unwrap_err();
    assert!(matches!(error, DiffError::Unstable { expected: 1, found: 2, .. }), "{error}");
}

#[test]
fn a_key_that_is_not_compared_is_refused() {
    let options = DiffOptions { key: &["nope"], ..DiffOptions::default() };
    let error = row_diff(&table(&[(Some(1), "a")]), &table(&[]), &options).unwrap_err();
    assert!(matches!(error, DiffError::KeyColumn { ref column } if column == "nope"), "{error}");
}

#[test]
fn a_composite_key_is_all_its_columns() {
    let three = |rows: &[(Option<i64>, Option<&str>, i64)]| {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.0)));
        let names: ArrayRef = Arc::new(StringArray::from_iter(rows.iter().map(|row| row.1)));
        let values: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.2)));
        Table::new(vec![("id", ids), ("name", names), ("n", values)])
    };
    let old = three(&[(Some(1), None, 1), (Some(1), Some(""), 2), (None, Some("a"), 3), (None, None, 4)]);
    let new = three(&[(Some(1), Some(""), 2), (Some(1), None, 9), (None, None, 4), (Some(3), Some("a"), 3)]);
    let both = DiffOptions { key: &["id", "name"], ..DiffOptions::default() };
    let diff = row_diff(&old, &new, &both).unwrap();
    assert_eq!((counts(&diff), diff.duplicate_keys), ((1, 1, 1), 0));
    let one = row_diff(&old, &new, &by_id()).unwrap();
    assert_eq!((counts(&one), one.duplicate_keys), ((2, 2, 0), 2), "id alone stands twice, null too");
}

#[test]
fn a_duplicate_key_on_one_side_only_is_counted_and_its_rows_are_missing() {
    let old = table(&[(Some(1), "a"), (Some(1), "a"), (Some(2), "b")]);
    let diff = row_diff(&old, &table(&[(Some(2), "b")]), &by_id()).unwrap();
    assert_eq!((counts(&diff), diff.duplicate_keys), ((2, 0, 0), 1));
    assert_eq!(show(&diff.sample[0]), "missing ×2 id: 1 → -, name: a → -");
}

#[test]
fn columns_of_another_name_and_type_on_the_old_side_are_compared_by_value() {
    let old = Table::new(vec![
        ("number", Arc::new(Int32Array::from(vec![1, 2, 3])) as ArrayRef),
        ("name", Arc::new(["a", "b", "c"].into_iter().collect::<DictionaryArray<Int32Type>>())),
    ]);
    let new = Table::new(vec![
        ("id", Arc::new(Int64Array::from(vec![3, 2, 1])) as ArrayRef),
        ("name", Arc::new(StringViewArray::from(vec!["c", "a text of more than twelve bytes", "a"]))),
    ]);
    let renamed = Options { renames: [("number".to_owned(), "id".to_owned())].into(), ..Options::default() };
    let diff = row_diff_of(&compared_with(&old, &new, &renamed), &old, &new, &by_id()).unwrap();
    assert_eq!(counts(&diff), (0, 0, 1));
    assert_eq!(show(&diff.sample[0]), "changed ×1 id: 2 → 2, name: b → a text of more than twelve bytes");
}

#[test]
fn a_side_without_files_is_missing_or_extra_throughout() {
    let (some, none) = (table(&[(Some(1), "a"), (Some(2), "b")]), table(&[]));
    let compared = compared(&some, &none);
    let no_files = Table { files: Vec::new(), ..none };
    assert_eq!(counts(&row_diff_of(&compared, &some, &no_files, &by_id()).unwrap()), (2, 0, 0));
}

#[test]
fn one_key_fills_the_sample_with_few_of_its_rows() {
    let names: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    let mut rows: Vec<_> = names.iter().map(|name| (Some(1), name.as_str())).collect();
    rows.push((Some(2), "other"));
    let diff = row_diff(&table(&rows), &table(&[(Some(3), "c")]), &by_id()).unwrap();
    assert_eq!((counts(&diff), diff.sample.len()), ((51, 1, 0), 10));
}
