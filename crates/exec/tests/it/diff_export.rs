//! The exported file, read back: it has what was counted, in one order, with values in their own types.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Int32Array, Int64Array, ListArray, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimeUnit};
use async_trait::async_trait;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use lakeshift_core::equivalence::{AcceptRule, DifferenceKind, RowDiff};
use lakeshift_core::migration::Side;
use lakeshift_core::spec::ColumnRule;
use lakeshift_core::storage::Storage;
use lakeshift_exec::diff::{DiffError, ExportTarget, SideReader, diff};
use lakeshift_exec::engine::Engine;
use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::files::{local, memory};
use crate::support::{DiffOptions, TODAY, Table, compared, diff_request, row_diff, run, streams};

pub const FILE: &str = "reports/differences.parquet";

pub fn target(storage: &Storage) -> Option<ExportTarget<'_>> {
    Some(ExportTarget { storage, path: FILE })
}

/// The file's rows; `None` when there is no file.
pub fn exported(storage: &Storage) -> Option<RecordBatch> {
    let path = storage.resolve(FILE).unwrap();
    let bytes = run(async { storage.store().get(&path).await.ok()?.bytes().await.ok() })?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    Some(concat_batches(&batches[0].schema(), &batches).unwrap())
}

fn old() -> Table {
    Table::new(vec![
        ("id", Arc::new(Int32Array::from(vec![Some(1), Some(2), Some(2), None, Some(5), Some(6)])) as ArrayRef),
        ("name", Arc::new(["a", "b", "b", "n", "e", "t"].into_iter().collect::<DictionaryArray<Int32Type>>())),
        ("at", Arc::new(TimestampMicrosecondArray::from(vec![1, 2, 2, 4, 5, 6]).with_timezone("UTC"))),
        ("size", Arc::new(arrow::array::Float64Array::from(vec![1.0, 1.0, 1.0, 1.0, 1.0, 1.0]))),
    ])
}

fn new() -> Table {
    Table::new(vec![
        ("id", Arc::new(Int64Array::from(vec![Some(1), Some(7), None, Some(5), Some(6)])) as ArrayRef),
        ("name", Arc::new(StringArray::from(vec![Some("a"), Some("g"), None, Some("e"), Some("t")]))),
        ("at", Arc::new(TimestampMicrosecondArray::from(vec![1, 7, 40, 5, 6]).with_timezone("UTC"))),
        ("size", Arc::new(arrow::array::Float64Array::from(vec![1.0, 1.0, 1.0, 2.0, 1.25]))),
    ])
}

fn extra_is_known() -> AcceptRule {
    AcceptRule {
        id: "known".into(),
        kind: Some(DifferenceKind::Extra),
        columns: Vec::new(),
        filter: None,
        owner: "o".into(),
        reason: "r".into(),
        expires: TODAY,
        max_rows: 1,
    }
}

fn exported_diff(storage: &Storage) -> RowDiff {
    let options = DiffOptions {
        key: &["id"],
        accept: vec![extra_is_known()],
        tolerances: vec![("size", ColumnRule { absolute: Some(0.5), ..ColumnRule::default() })],
        export: target(storage),
        ..DiffOptions::default()
    };
    row_diff(&old(), &new(), &options).unwrap()
}

fn texts(rows: &RecordBatch, column: &str) -> Vec<Option<String>> {
    rows[column].as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
}

#[test]
fn every_differing_row_is_in_the_file_and_none_that_is_tolerated() {
    let storage = memory();
    let diff = exported_diff(&storage);
    assert_eq!((diff.missing, diff.extra, diff.changed, diff.tolerated, diff.accepted_rows()), (2, 0, 2, 1, 1));
    assert_eq!(diff.export.as_deref(), Some(FILE));
    let rows = exported(&storage).unwrap();
    assert_eq!(rows.num_rows(), 4, "two copies of one missing row are one row");
    assert_eq!(rows["row"].as_primitive::<Int64Type>().values(), &[0, 1, 2, 3]);
    let copies = rows["copies"].as_primitive::<Int64Type>();
    for (kind, count) in [("missing", 2), ("extra", 1), ("changed", 2)] {
        let of_kind = texts(&rows, "kind").into_iter().zip(copies.values());
        let found: i64 = of_kind.filter(|(found, _)| found.as_deref() == Some(kind)).map(|(_, copies)| copies).sum();
        assert_eq!(found, count, "{kind}");
    }
    for (kind, entry) in texts(&rows, "kind").into_iter().zip(texts(&rows, "accepted_by")) {
        assert_eq!(entry.is_some(), kind.as_deref() == Some("extra"));
    }
    assert!(texts(&rows, "cell").iter().all(|cell| cell.as_deref() == Some("all rows")));
}

#[test]
fn values_stand_in_the_file_in_their_own_types() {
    let storage = memory();
    exported_diff(&storage);
    let rows = exported(&storage).unwrap();
    let types = |side: &str| {
        let values = rows[side].as_struct().columns().iter().map(|column| column.data_type().clone());
        values.collect::<Vec<_>>()
    };
    let at = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    assert_eq!(types("old"), [DataType::Int32, DataType::Utf8, at.clone(), DataType::Float64]);
    assert_eq!(types("new"), [DataType::Int64, DataType::Utf8, at, DataType::Float64]);
    for row in 0..rows.num_rows() {
        let kind = rows["kind"].as_string::<i32>().value(row);
        assert_eq!(rows["old"].is_valid(row), kind != "extra");
        assert_eq!(rows["new"].is_valid(row), kind != "missing");
        let columns: &ListArray = rows["columns"].as_list();
        let names: Vec<_> = columns.value(row).as_string::<i32>().iter().flatten().map(str::to_owned).collect();
        let (old, new) = (rows["old"].as_struct(), rows["new"].as_struct());
        match kind {
            "changed" if old["id"].is_null(row) => {
                assert_eq!(names, ["name", "at"]);
                assert_eq!(old["name"].as_string::<i32>().value(row), "n");
                assert!(new["name"].is_null(row) && new["at"].is_valid(row));
            }
            "changed" => assert_eq!(names, ["size"]),
            "missing" => assert_eq!((old["name"].as_string::<i32>().value(row), names.len()), ("b", 0)),
            _ => assert_eq!((new["name"].as_string::<i32>().value(row), names.len()), ("g", 0)),
        }
    }
}

#[test]
fn a_sampled_row_names_its_row_in_the_file() {
    let storage = memory();
    let diff = exported_diff(&storage);
    let rows = exported(&storage).unwrap();
    assert_eq!(diff.sample.len(), 4);
    for sample in &diff.sample {
        let row = usize::try_from(sample.row.unwrap()).unwrap();
        assert_eq!(texts(&rows, "kind")[row], Some(sample.kind.to_string()));
        assert_eq!(texts(&rows, "accepted_by")[row], sample.accepted_by);
        let name = sample.columns.iter().find(|column| column.column == "id").unwrap();
        let side = if sample.kind == DifferenceKind::Extra { "new" } else { "old" };
        let shown = name.old.as_ref().or(name.new.as_ref()).unwrap();
        let ids = arrow::compute::cast(rows[side].as_struct().column(0), &DataType::Utf8).unwrap();
        let id = ids.is_valid(row).then(|| ids.as_string::<i32>().value(row)).unwrap_or("NULL");
        assert_eq!(id, shown);
    }
}

#[test]
fn the_file_does_not_depend_on_the_order_of_rows_or_the_memory() {
    let storage = memory();
    exported_diff(&storage);
    let first = exported(&storage).unwrap();
    let options = DiffOptions {
        key: &["id"],
        accept: vec![extra_is_known()],
        tolerances: vec![("size", ColumnRule { absolute: Some(0.5), ..ColumnRule::default() })],
        export: target(&storage),
        memory_bytes: 0,
        ..DiffOptions::default()
    };
    let backwards = |table: Table| Table { files: table.split(1).files.into_iter().rev().collect(), ..table };
    row_diff(&backwards(old()), &backwards(new()), &options).unwrap();
    assert_eq!(exported(&storage).unwrap(), first);
}

#[test]
fn where_nothing_differs_or_nothing_is_asked_for_there_is_no_file() {
    let storage = memory();
    let wide = ColumnRule { absolute: Some(10.0), ..ColumnRule::default() };
    let table = |value: f64| {
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        Table::new(vec![("id", ids), ("size", Arc::new(arrow::array::Float64Array::from(vec![value])))])
    };
    let options =
        DiffOptions { key: &["id"], tolerances: vec![("size", wide)], export: target(&storage), ..DiffOptions::default() };
    let diff = row_diff(&table(1.0), &table(2.0), &options).unwrap();
    assert_eq!((diff.tolerated, diff.export, exported(&storage)), (1, None, None));
    let diff = row_diff(&table(1.0), &table(20.0), &DiffOptions { export: None, ..options }).unwrap();
    assert_eq!((diff.changed, diff.export, diff.sample[0].row, exported(&storage)), (1, None, None, None));
}

/// Makes the export's folder a file after the old side was read.
struct Spoiled<'a> {
    tables: [&'a Table; 2],
    folder: &'a std::path::Path,
}

#[async_trait]
impl SideReader for Spoiled<'_> {
    async fn open(&self, side: Side) -> Result<Vec<SendableRecordBatchStream>, DataFusionError> {
        if side == Side::New {
            std::fs::write(self.folder.join("reports"), "in the way").unwrap();
        }
        Ok(streams(self.tables[usize::from(side == Side::New)]))
    }
}

#[test]
fn an_export_that_cannot_be_written_is_an_error_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let storage = local(folder.path());
    let (engine, old, new) = (Engine::builder().build().unwrap(), old(), new());
    let compared = compared(&old, &new);
    let request = diff_request(&engine, &compared, &DiffOptions { export: target(&storage), ..DiffOptions::default() });
    let error = run(diff(&request, &Spoiled { tables: [&old, &new], folder: folder.path() })).unwrap_err();
    assert!(matches!(&error, DiffError::Export { file, .. } if file.ends_with(FILE)), "{error:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
