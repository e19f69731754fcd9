//! The exact difference: what is counted, what is shown, and that it holds in little memory.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use lakeshift_core::equivalence::{DiffMode, DifferenceKind, RowDiff, SampleRow, ValidationKey};
use lakeshift_core::partition::{PartitionField, Transform};
use lakeshift_exec::diff::{DiffError, Masking};

use crate::support::{DiffOptions, Table, compared, row_diff, row_diff_of};

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
fn little_memory_gives_the_same_difference() {
    let (old, new) = many(500);
    let at_once = row_diff(&old, &new, &by_id()).unwrap();
    assert!(at_once.changed > 0 && at_once.duplicate_keys > 0 && at_once.missing > 0);
    for memory_bytes in [4_000, 100_000] {
        assert_eq!(row_diff(&old, &new, &DiffOptions { memory_bytes, ..by_id() }).unwrap(), at_once, "{memory_bytes} bytes");
    }
    let error = row_diff(&old, &new, &DiffOptions { memory_bytes: 1000, ..by_id() }).unwrap_err();
    let DiffError::TooLarge { memory_needed_bytes, .. } = error else { panic!("{error}") };
    assert_eq!(row_diff(&old, &new, &DiffOptions { memory_bytes: memory_needed_bytes, ..by_id() }).unwrap(), at_once);
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
