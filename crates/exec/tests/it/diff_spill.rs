//! Spilling: the same result in no memory as in much, one reading of each side, and no file left behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{ArrayRef, Float64Array, Int32Array, Int64Array, ListArray, StringArray};
use arrow::datatypes::Int64Type;
use async_trait::async_trait;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use lakeshift_core::equivalence::{AcceptRule, DifferenceKind, RowDiff};
use lakeshift_core::migration::Side;
use lakeshift_core::spec::ColumnRule;
use lakeshift_exec::diff::{DiffError, SideReader, diff};
use lakeshift_exec::engine::Engine;
use proptest::prelude::*;

use crate::diff_export::{exported, target};
use crate::files::memory;
use crate::support::{DiffOptions, TODAY, Table, compared, diff_request, row_diff, run, streams};

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Row {
    id: Option<i32>,
    name: Option<String>,
    /// Quarters.
    score: Option<i32>,
}

fn row() -> impl Strategy<Value = Row> {
    let name = prop::option::of(prop_oneof![Just(String::new()), "[ab]{1,2}"]);
    (prop::option::of(0..8_i32), name, prop::option::of(0..4_i32)).prop_map(|(id, name, score)| Row { id, name, score })
}

fn table(rows: &[Row]) -> Table {
    let score = |row: &Row| row.score.map(|quarters| f64::from(quarters) / 4.0);
    Table::new(vec![
        ("id", Arc::new(Int32Array::from_iter(rows.iter().map(|row| row.id)))),
        ("name", Arc::new(StringArray::from_iter(rows.iter().map(|row| row.name.clone())))),
        ("score", Arc::new(Float64Array::from_iter(rows.iter().map(score)))),
    ])
}

/// Counts of a row difference, told in another way than the one under test: by lists of rows and their equality.
#[derive(Debug, PartialEq, Default)]
struct Counts {
    missing: u64,
    extra: u64,
    changed: u64,
    duplicate_keys: u64,
    tolerated: u64,
}

fn surplus(of: &[&Row], over: &[&Row]) -> u64 {
    let mut rest = over.to_vec();
    of.iter().filter(|row| rest.iter().position(|other| other == *row).map(|at| rest.swap_remove(at)).is_none()).count()
        as u64
}

fn close(a: &Row, b: &Row) -> bool {
    let near = match (a.score, b.score) {
        (Some(a), Some(b)) => a.abs_diff(b) <= 1,
        (a, b) => a == b,
    };
    near && a.name == b.name
}

fn counted(old: &[Row], new: &[Row]) -> Counts {
    let mut keys: Vec<Option<i32>> = old.iter().chain(new).map(|row| row.id).collect();
    keys.sort();
    keys.dedup();
    let mut counts = Counts::default();
    for key in keys {
        let old: Vec<&Row> = old.iter().filter(|row| row.id == key).collect();
        let new: Vec<&Row> = new.iter().filter(|row| row.id == key).collect();
        counts.duplicate_keys += u64::from(old.len() > 1 || new.len() > 1);
        match (&old[..], &new[..]) {
            ([a], [b]) if a == b => {}
            ([a], [b]) if close(a, b) => counts.tolerated += 1,
            ([_], [_]) => counts.changed += 1,
            _ => {
                counts.missing += surplus(&old, &new);
                counts.extra += surplus(&new, &old);
            }
        }
    }
    counts
}

fn options(tolerant: bool) -> DiffOptions<'static> {
    let quarter = ColumnRule { absolute: Some(0.25), ..ColumnRule::default() };
    let known = AcceptRule {
        id: "known".into(),
        kind: Some(DifferenceKind::Missing),
        columns: Vec::new(),
        filter: Some("id = 3".into()),
        owner: "o".into(),
        reason: "r".into(),
        expires: TODAY,
        max_rows: 1,
    };
    DiffOptions {
        key: &["id"],
        tolerances: if tolerant { vec![("score", quarter)] } else { Vec::new() },
        accept: vec![known],
        memory_bytes: 1 << 24,
        ..DiffOptions::default()
    }
}

fn sum(diff: &RowDiff) -> (u64, u64) {
    (diff.missing + diff.accepted_rows(), diff.extra)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn no_memory_gives_the_difference_of_much_memory(
        old in prop::collection::vec(row(), 1..40),
        new in prop::collection::vec(row(), 1..40),
        size in 1_usize..9,
        tolerant in any::<bool>(),
        is_keyed in any::<bool>(),
    ) {
        let (old_table, new_table) = (table(&old), table(&new));
        let (much, none) = (memory(), memory());
        let options = DiffOptions { key: if is_keyed { &["id"] } else { &[] }, ..options(tolerant) };
        let at_once = row_diff(&old_table, &new_table, &DiffOptions { export: target(&much), ..options.clone() }).unwrap();
        let spilled = DiffOptions { export: target(&none), memory_bytes: 0, ..options };
        prop_assert_eq!(&row_diff(&old_table.split(size), &new_table.split(size), &spilled).unwrap(), &at_once);
        prop_assert_eq!(exported(&much), exported(&none));
    }

    #[test]
    fn counts_are_those_of_a_nested_loop(old in prop::collection::vec(row(), 1..25), new in prop::collection::vec(row(), 1..25)) {
        let exact = row_diff(&table(&old), &table(&new), &options(false)).unwrap();
        let oracle = Counts { tolerated: 0, ..counted(&old, &new) };
        let changed = oracle.changed + counted(&old, &new).tolerated;
        prop_assert_eq!((sum(&exact), exact.changed), ((oracle.missing, oracle.extra), changed));
        let bag = row_diff(&table(&old), &table(&new), &DiffOptions { key: &[], ..options(false) }).unwrap();
        let (all_old, all_new): (Vec<&Row>, Vec<&Row>) = (old.iter().collect(), new.iter().collect());
        prop_assert_eq!(sum(&bag), (surplus(&all_old, &all_new), surplus(&all_new, &all_old)));
    }
}

#[test]
fn tolerances_of_single_rows_are_those_of_a_nested_loop() {
    let rows = |shift: i32| (0..60).map(move |id| Row { id: Some(id), name: Some("n".into()), score: Some(id % 5 * shift) });
    let (old, new): (Vec<Row>, Vec<Row>) = (rows(1).collect(), rows(2).collect());
    let diff = row_diff(&table(&old), &table(&new), &DiffOptions { accept: Vec::new(), ..options(true) }).unwrap();
    let oracle = counted(&old, &new);
    assert_eq!((diff.missing, diff.extra, diff.changed, diff.tolerated), (0, 0, oracle.changed, oracle.tolerated));
    assert!(oracle.changed > 0 && oracle.tolerated > 0);
}

/// Counts how often a side is opened, and the temporary files when the old side was read.
struct Watching<'a> {
    tables: [&'a Table; 2],
    engine: &'a Engine,
    opened: AtomicUsize,
    files_between: AtomicUsize,
    fails_at: Option<Side>,
}

#[async_trait]
impl SideReader for Watching<'_> {
    async fn open(&self, side: Side) -> Result<Vec<SendableRecordBatchStream>, DataFusionError> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        if side == Side::New {
            self.files_between.store(files(self.engine), Ordering::Relaxed);
        }
        if self.fails_at == Some(side) {
            return Err(DataFusionError::Execution("the store is away".into()));
        }
        Ok(streams(self.tables[usize::from(side == Side::New)]))
    }
}

fn files(engine: &Engine) -> usize {
    engine.session().runtime_env().spilling_progress().active_files_count
}

fn watched(old: &Table, new: &Table, memory_bytes: u64, fails_at: Option<Side>) -> (Result<RowDiff, DiffError>, usize) {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::builder().with_spill_dir(folder.path()).build().unwrap();
    let compared = compared(old, new);
    let request = diff_request(&engine, &compared, &DiffOptions { memory_bytes, ..options(false) });
    let (opened, files_between) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let reader = Watching { tables: [old, new], engine: &engine, opened, files_between, fails_at };
    let result = run(diff(&request, &reader));
    assert_eq!(reader.opened.into_inner(), 2, "either side is read once");
    assert_eq!(files(&engine), 0, "no temporary file is left");
    let left =
        std::fs::read_dir(folder.path()).unwrap().flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    assert_eq!(left.count(), 0);
    (result, reader.files_between.into_inner())
}

fn numbered(rows: i32, name: &str) -> Table {
    table(&(0..rows).map(|id| Row { id: Some(id), name: Some(name.into()), score: Some(id) }).collect::<Vec<_>>())
}

#[test]
fn rows_are_spilled_only_when_they_do_not_fit_and_files_are_gone_in_the_end() {
    let (old, new) = (numbered(1000, "a").split(100), numbered(1000, "b").split(100));
    let (in_memory, files) = watched(&old, &new, 1 << 24, None);
    assert_eq!(files, 0);
    let (spilled, files) = watched(&old, &new, 20_000, None);
    assert!(files > 0);
    assert_eq!(spilled.unwrap(), in_memory.unwrap());
}

#[test]
fn files_are_gone_after_an_error() {
    let (old, new) = (numbered(1000, "a").split(100), numbered(1000, "b"));
    let (result, files) = watched(&old, &new, 20_000, Some(Side::New));
    assert!(matches!(result, Err(DiffError::Scan { .. })));
    assert!(files > 0);
}

/// Under one key: 600 rows on the old side, of which the new one lacks some and has others twice.
fn one_key() -> (Table, Table) {
    let row = |score: i32| Row { id: Some(1), name: None, score: Some(score) };
    let old: Vec<Row> = (0..600).map(row).collect();
    let mut new: Vec<Row> = (50..600).chain(100..170).map(row).collect();
    new.push(Row { id: Some(2), ..row(1) });
    (table(&old), table(&new))
}

#[test]
fn one_key_with_more_rows_than_memory_is_compared_by_parts() {
    let (old, new) = one_key();
    let mut results = Vec::new();
    for memory_bytes in [1 << 24, 10_000, 0] {
        let diff = watched(&old.split(37), &new.split(91), memory_bytes, None).0.unwrap();
        assert_eq!((diff.missing, diff.extra, diff.changed, diff.duplicate_keys), (50, 71, 0, 1), "{memory_bytes} bytes");
        results.push(diff);
    }
    results.dedup();
    assert_eq!(results.len(), 1, "samples too");
}

#[test]
fn one_row_more_often_than_memory_holds_is_counted() {
    let rows = |count: usize| table(&vec![Row { id: Some(1), name: Some("a".into()), score: None }; count]);
    let diff = watched(&rows(5000).split(500), &rows(2000).split(500), 1000, None).0.unwrap();
    assert_eq!((diff.missing, diff.extra, diff.duplicate_keys, diff.sample[0].copies), (3000, 0, 1, 3000));
}

#[test]
fn nested_values_are_spilled_too() {
    let lists = |add: i64| -> ArrayRef {
        let list = |id: i64| (id % 7 != 0).then(|| vec![Some(id), None, Some(id + if id % 5 == 0 { add } else { 0 })]);
        Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>((0..300).map(list)))
    };
    let table = |add| Table::new(vec![("id", Arc::new((0..300).collect::<Int64Array>()) as ArrayRef), ("list", lists(add))]);
    let (old, new) = (table(0), table(1));
    let counts = [1 << 24, 0].map(|memory_bytes| {
        let options = DiffOptions { memory_bytes, accept: Vec::new(), ..options(false) };
        row_diff(&old.split(50), &new.split(50), &options).unwrap().changed
    });
    assert_eq!(counts, [51, 51]);
}
