//! Sums add, subtract and roll up, with their columns, in any order.

use lakeshift_core::equivalence::{CellKey, CellPrint, CellSum, ColumnSums, Fingerprint, compare};
use proptest::prelude::*;

use super::{by_day_and_n, cell};

/// A row of a part: its cell and the hashes of it and of its two columns.
type Row = (i32, i64, u128, [u64; 2]);

fn rows() -> impl Strategy<Value = Vec<Row>> {
    prop::collection::vec((0..3_i32, 0..3_i64, any::<u128>(), any::<[u64; 2]>()), 0..12)
}

fn row_print(row: &Row) -> CellPrint {
    CellPrint { sum: CellSum { rows: 1, sum: row.2 }, columns: ColumnSums(row.3.to_vec()) }
}

fn of(rows: &[Row]) -> Fingerprint {
    let mut print = Fingerprint::empty(by_day_and_n());
    rows.iter().for_each(|row| print.add_cell(&cell(row.0, row.1), &row_print(row)));
    print
}

/// What a cell must hold, by a sum over the rows alone.
fn expected(rows: &[Row], belongs: impl Fn(&Row) -> bool) -> Option<CellPrint> {
    let rows: Vec<&Row> = rows.iter().filter(|row| belongs(row)).collect();
    let columns = |at: usize| rows.iter().fold(0_u64, |sum, row| sum.wrapping_add(row.3[at]));
    let sum = rows.iter().fold(0_u128, |sum, row| sum.wrapping_add(row.2));
    let print =
        CellPrint { sum: CellSum { rows: rows.len() as u64, sum }, columns: ColumnSums(vec![columns(0), columns(1)]) };
    (!rows.is_empty()).then_some(print)
}

proptest! {
    #[test]
    fn subtracting_undoes_adding(a in rows(), b in rows()) {
        let mut both = of(&a);
        both.add(&of(&b)).unwrap();
        both.subtract(&of(&b)).unwrap();
        prop_assert_eq!(&both, &of(&a));
        both.subtract(&of(&a)).unwrap();
        prop_assert!(both.cells().is_empty());
    }

    #[test]
    fn neither_the_order_of_rows_nor_that_of_parts_counts(a in rows(), b in rows(), c in rows()) {
        let all: Vec<Row> = [a.clone(), b.clone(), c.clone()].concat();
        let reversed: Vec<Row> = all.iter().rev().copied().collect();
        let mut parts = of(&c);
        parts.add(&of(&a)).unwrap();
        parts.add(&of(&b)).unwrap();
        prop_assert_eq!(&of(&reversed), &of(&all));
        prop_assert_eq!(&parts, &of(&all));
        for (day, bucket) in (0..3).flat_map(|day| (0..3).map(move |bucket| (day, bucket))) {
            let found = parts.cells().get(&cell(day, bucket)).cloned();
            prop_assert_eq!(found, expected(&all, |row| (row.0, row.1) == (day, bucket)));
        }
    }

    #[test]
    fn a_wider_cell_is_the_sum_of_its_cells(a in rows(), depth in 0..3_usize) {
        let mut coarse = of(&a);
        coarse.coarsen(depth);
        let keys: std::collections::BTreeSet<CellKey> = a.iter().map(|row| cell(row.0, row.1).prefix(depth)).collect();
        prop_assert!(coarse.cells().keys().eq(keys.iter()));
        for key in &keys {
            let inside = expected(&a, |row| cell(row.0, row.1).prefix(depth) == *key);
            prop_assert_eq!(coarse.cells().get(key).cloned(), inside);
        }
    }

    #[test]
    fn parts_of_other_depth_add_and_subtract_in_the_wider_cells(a in rows(), b in rows(), depth in 0..3_usize) {
        let (mut both, mut part) = (of(&a), of(&b));
        part.coarsen(depth);
        both.add(&part).unwrap();
        let mut whole = of(&[a.clone(), b.clone()].concat());
        whole.coarsen(depth);
        prop_assert_eq!(&both, &whole);
        both.subtract(&of(&b)).unwrap();
        let mut rest = of(&a);
        rest.coarsen(depth);
        prop_assert_eq!(&both, &rest);
    }

    #[test]
    fn a_changed_value_is_found_in_its_cell_and_its_column(a in rows(), at in any::<prop::sample::Index>(), column in 0..2_usize, by in 1..u64::MAX) {
        prop_assume!(!a.is_empty());
        let mut other = a.clone();
        let row = at.get(&a);
        let changed = &mut other[at.index(a.len())];
        changed.2 = changed.2.wrapping_add(u128::from(by));
        changed.3[column] = changed.3[column].wrapping_add(by);
        let comparison = compare(&of(&a), &of(&other)).unwrap();
        prop_assert_eq!(comparison.differences.len(), 1);
        prop_assert_eq!(&comparison.differences[0].cell, &cell(row.0, row.1));
        prop_assert_eq!(&comparison.differences[0].columns, &[["day", "n"][column].to_owned()]);
    }

    #[test]
    fn a_lost_or_doubled_row_is_found_whatever_its_hash(a in rows(), at in any::<prop::sample::Index>()) {
        prop_assume!(!a.is_empty());
        let (mut lost, mut doubled) = (a.clone(), a.clone());
        lost.remove(at.index(a.len()));
        doubled.push(*at.get(&a));
        for other in [lost, doubled] {
            prop_assert_eq!(compare(&of(&a), &of(&other)).unwrap().differences.len(), 1);
        }
        let twice = of(&[a.clone(), a.clone()].concat());
        prop_assert!(!compare(&twice, &of(&[])).unwrap().differences.is_empty(), "every row twice is no empty table");
    }
}

#[test]
fn column_sums_read_back_from_json_and_nothing_else_does() {
    let sums = ColumnSums(vec![0, 1, u64::MAX]);
    let json = serde_json::to_string(&sums).unwrap();
    assert_eq!(json, format!("\"{:016x}{:016x}{:016x}\"", 0, 1, u64::MAX));
    assert_eq!(serde_json::from_str::<ColumnSums>(&json).unwrap(), sums);
    for text in ["0", "00000000000000zz", "000000000000000é", "+000000000000001"] {
        assert!(serde_json::from_str::<ColumnSums>(&format!("\"{text}\"")).is_err(), "{text}");
    }
    let sum = |text: &str| serde_json::from_str::<CellSum>(&format!("{{\"rows\":1,\"sum\":\"{text}\"}}"));
    assert_eq!(sum(&"0f".repeat(16)).unwrap().sum, u128::from_be_bytes([15; 16]));
    for text in ["", "f", &"0F".repeat(16), &"f".repeat(33), &format!("+{}", "f".repeat(31))] {
        assert!(sum(text).is_err(), "{text}");
    }
}
