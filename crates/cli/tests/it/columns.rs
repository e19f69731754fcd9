//! `target.columns` through a whole migration, and what the plan says of it.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use lakeshift::error::with_causes;
use rstest::rstest;

use crate::round_trip::Lake;

fn file(ids: Vec<i64>, delays: Vec<Option<i64>>) -> Vec<u8> {
    let origins: Vec<&str> = ids.iter().map(|id| if id % 2 == 0 { "ATL" } else { "ORD" }).collect();
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(Int64Array::from(ids)) as ArrayRef, false),
        ("origin", Arc::new(StringArray::from(origins)), true),
        ("delay", Arc::new(Int64Array::from(delays)), true),
        ("tail", Arc::new(StringArray::from(vec!["N1"; 2])), true),
    ])
    .unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

const COLUMNS: &str = "columns: [{name: key, from: id, type: int32}, {name: airport, from: origin}, \
                       {name: delay, default: 0}, '*', {name: loaded, type: date, default: 2001-01-01}], drop: [tail]";

fn spec(lake: &Lake, columns: &str) -> String {
    lake.spec(
        "columns",
        "{format: hive, location: LAKE/old}",
        &format!("{{format: delta, location: LAKE/new, {columns}}}"),
        "auto",
    )
}

#[tokio::test]
async fn columns_are_renamed_dropped_cast_and_filled_and_validation_knows() {
    let lake = Lake::new();
    lake.put("old/day=1/a.parquet", file(vec![1, 2], vec![Some(-5), None])).await;
    let plan = lake.migrate(&spec(&lake, COLUMNS)).await;
    for line in [
        "key: int32 (from id, cast to int32, exactly or not at all)",
        "airport: string (from origin)",
        "delay: int64 (0 in place of NULL)",
        "loaded: date (new, date, '2001-01-01' in every row)",
        "columns that are not carried over: tail",
        "rewrite",
        "target.columns makes key from id",
    ] {
        assert!(plan.contains(line), "{line}\n{plan}");
    }
    let rows: Vec<String> = lake
        .delta_rows("new")
        .await
        .into_iter()
        .map(|row| row.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        rows,
        ["airport=ATL day=1 delay=0 key=2 loaded=2001-01-01", "airport=ORD day=1 delay=-5 key=1 loaded=2001-01-01",]
    );
}

/// The mirror applies it too, and a value that does not fit stops the round with the file's name and without the value.
#[tokio::test]
async fn a_value_that_does_not_fit_stops_the_unit_and_is_not_shown() {
    let lake = Lake::new();
    lake.put("old/day=1/a.parquet", file(vec![1, 2], vec![Some(-5), None])).await;
    let spec = spec(&lake, COLUMNS);
    for command in ["plan", "approve", "dual-write", "backfill", "mirror"] {
        lake.step(command, &spec).await;
    }
    lake.put("old/day=2/b.parquet", file(vec![3, 4_294_967_296], vec![None, None])).await;
    let error = with_causes(&lake.run("mirror", &spec).await.unwrap_err());
    assert!(error.contains("column key in day=2/b.parquet does not fit") && !error.contains("4294967296"), "{error}");
    assert_eq!(lake.delta_rows("new").await.len(), 2);
    lake.put("old/day=2/b.parquet", file(vec![3, 4], vec![None, None])).await;
    lake.step("mirror", &spec).await;
    lake.step("validate --read-all", &spec).await;
    assert_eq!(lake.delta_rows("new").await.len(), 4);
}

#[rstest]
#[case("columns: [id, nope, {name: delay, type: boolean}]", &["nope is made from nope", "delay is int64 and cannot be made boolean", "no place for origin", "no place for day"])]
#[case("columns: ['*', {name: x, from: origin}], partitioning: [nowhere]", &["nowhere is not among the target's columns"])]
#[tokio::test]
async fn a_plan_names_every_refusal_and_writes_nothing(#[case] columns: &str, #[case] expected: &[&str]) {
    let lake = Lake::new();
    lake.put("old/day=1/a.parquet", file(vec![1, 2], vec![None, None])).await;
    let error = with_causes(&lake.run("plan", &spec(&lake, columns)).await.unwrap_err());
    for part in expected {
        assert!(error.contains(part), "{part}: {error}");
    }
    let listed: Vec<_> =
        futures::TryStreamExt::try_collect(object_store::ObjectStore::list(lake.store.as_ref(), None)).await.unwrap();
    let listed: Vec<object_store::ObjectMeta> = listed;
    assert!(!listed.iter().any(|object| object.location.as_ref().contains("new/")), "{listed:?}");
}

/// Another order alone changes no file.
#[rstest]
#[case("columns: [delay, '*']", "splice")]
#[case("columns: [delay, '*'], drop: [tail]", "rewrite")]
#[tokio::test]
async fn files_are_rewritten_where_more_than_the_order_changes(#[case] columns: &str, #[case] strategy: &str) {
    let lake = Lake::new();
    lake.put("old/day=1/a.parquet", file(vec![1, 2], vec![None, None])).await;
    let plan = lake.migrate(&spec(&lake, &format!("{columns}, partitioning: [day]"))).await;
    assert!(plan.contains(strategy), "{plan}");
}
