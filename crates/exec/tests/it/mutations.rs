//! Properties: a mutation of any cell, row or multiplicity is found; another layout of the same rows is not a difference.

use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, Float64Array, Int32Array, Int64Array, StringArray, StringViewArray};
use arrow::datatypes::Int32Type;
use lakeshift_core::equivalence::{Fingerprint, FingerprintShape, ValidationKey, Verdict};
use lakeshift_core::partition::{PartitionField, Transform};
use proptest::prelude::*;

use crate::support::{DiffOptions, KEY, Table, compared, row_diff, take};

#[derive(Debug, Clone, PartialEq)]
struct Row {
    id: Option<i32>,
    name: Option<String>,
    score: Option<f64>,
}

fn row() -> impl Strategy<Value = Row> {
    // Few names and ids, so that duplicates and near-duplicates are common.
    let name = prop::option::of(prop_oneof![Just(String::new()), "[ab]{1,2}", any::<String>()]);
    let score = prop::option::of(prop_oneof![Just(0.0), Just(1.5), any::<f64>()]);
    (prop::option::of(-3..4_i32), name, score).prop_map(|(id, name, score)| Row { id, name, score })
}

fn table(rows: &[Row]) -> Table {
    Table::new(vec![
        ("id", Arc::new(Int32Array::from_iter(rows.iter().map(|row| row.id)))),
        ("name", Arc::new(StringArray::from_iter(rows.iter().map(|row| row.name.clone())))),
        ("score", Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.score)))),
    ])
}

/// The same rows in wider and otherwise encoded columns.
fn retyped(rows: &[Row], view: bool) -> Table {
    let names = rows.iter().map(|row| row.name.clone());
    let names: ArrayRef = if view {
        Arc::new(StringViewArray::from_iter(names))
    } else {
        let names: Vec<_> = names.collect();
        Arc::new(names.iter().map(Option::as_deref).collect::<DictionaryArray<Int32Type>>())
    };
    Table::new(vec![
        ("id", Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.id.map(i64::from))))),
        ("name", names),
        ("score", Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.score)))),
    ])
}

#[derive(Debug, Clone)]
enum Mutation {
    Drop(prop::sample::Index),
    Duplicate(prop::sample::Index),
    Id(prop::sample::Index, Option<i32>),
    Name(prop::sample::Index, Option<String>),
    Ulp(prop::sample::Index),
    SwapNames(prop::sample::Index, prop::sample::Index),
    Insert(Row),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        index().prop_map(Mutation::Drop),
        index().prop_map(Mutation::Duplicate),
        (index(), any::<Option<i32>>()).prop_map(|(row, id)| Mutation::Id(row, id)),
        (index(), any::<Option<String>>()).prop_map(|(row, name)| Mutation::Name(row, name)),
        index().prop_map(Mutation::Ulp),
        (index(), index()).prop_map(|(a, b)| Mutation::SwapNames(a, b)),
        row().prop_map(Mutation::Insert),
    ]
}

fn mutate(mut rows: Vec<Row>, mutation: Mutation) -> Vec<Row> {
    let count = rows.len();
    match mutation {
        Mutation::Drop(at) => drop(rows.remove(at.index(count))),
        Mutation::Duplicate(at) => rows.push(rows[at.index(count)].clone()),
        Mutation::Id(at, id) => rows[at.index(count)].id = id,
        Mutation::Name(at, name) => rows[at.index(count)].name = name,
        Mutation::Ulp(at) => {
            let row = &mut rows[at.index(count)];
            row.score = row.score.map(f64::next_up);
        }
        Mutation::SwapNames(a, b) => {
            let (a, b) = (a.index(count), b.index(count));
            let name = rows[b].name.clone();
            rows[b].name = std::mem::replace(&mut rows[a].name, name);
        }
        Mutation::Insert(row) => rows.push(row),
    }
    rows
}

/// Rows as a sorted bag, by text: another way to tell equality than the one under test. NaN prints as NaN.
fn bag(rows: &[Row]) -> Vec<String> {
    let mut bag: Vec<String> = rows.iter().map(|row| format!("{row:?}")).collect();
    bag.sort();
    bag
}

fn partitioned(table: Table) -> Table {
    table.partitioned_by(vec![
        PartitionField::new("id", Transform::Identity),
        PartitionField::new("name", Transform::Truncate(1)),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn a_mutation_is_found_exactly_when_the_bags_differ(rows in prop::collection::vec(row(), 1..30), mutation in mutation()) {
        let mutated = mutate(rows.clone(), mutation);
        let differ = bag(&rows) != bag(&mutated);
        let (old, new) = (partitioned(table(&rows)), table(&mutated));
        let failed = matches!(compared(&old, &new).verdict, Verdict::Fail { .. });
        prop_assert!(failed == differ || mutated.is_empty());
        if differ {
            let bags = row_diff(&old, &new, &DiffOptions::default()).unwrap();
            let keyed = row_diff(&old, &new, &DiffOptions { key: &["id"], ..DiffOptions::default() }).unwrap();
            prop_assert_eq!(bags.missing as i64 - bags.extra as i64, rows.len() as i64 - mutated.len() as i64);
            prop_assert_eq!(bags.missing.max(bags.extra), 1 + u64::from(bags.missing > 1 || bags.extra > 1));
            prop_assert_eq!(keyed.missing as i64 - keyed.extra as i64, rows.len() as i64 - mutated.len() as i64);
            prop_assert_eq!(keyed.missing + keyed.changed, bags.missing);
        }
    }

    #[test]
    fn another_layout_is_no_difference(rows in prop::collection::vec(row(), 1..30), shuffled in any::<prop::sample::Index>(), size in 1_usize..9, view in any::<bool>()) {
        let mut other = rows.clone();
        other.rotate_left(shuffled.index(rows.len()));
        other.reverse();
        let new = retyped(&other, view).split(size);
        prop_assert_eq!(compared(&table(&rows), &partitioned(new)).verdict, Verdict::Pass);
    }

    #[test]
    fn sums_of_parts_add_and_subtract(rows in prop::collection::vec(row(), 2..30), at in any::<prop::sample::Index>()) {
        let (first, second) = rows.split_at(at.index(rows.len() - 1) + 1);
        let print = |rows: &[Row]| take(&table(rows), shape(), shape().columns, 1000).unwrap();
        let mut whole: Fingerprint = print(first);
        whole.add(&print(second)).unwrap();
        prop_assert_eq!(&whole, &print(&rows));
        whole.subtract(&print(second)).unwrap();
        prop_assert_eq!(&whole, &print(first));
    }
}

fn shape() -> FingerprintShape {
    FingerprintShape {
        encoding: lakeshift_core::equivalence::Encoding::default(),
        key: ValidationKey::new(KEY),
        columns: ["id", "name", "score"].map(str::to_owned).to_vec(),
        fields: vec![PartitionField::new("id", Transform::Identity)],
    }
}
