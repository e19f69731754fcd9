//! The plan's file.

use futures::{StreamExt, TryStreamExt, stream};
use lakeshift_core::plan::{PlannedFile, Strategy};
use lakeshift_core::table::{TableVersion, UnitId};
use lakeshift_core::value::Value;
use lakeshift_exec::plan_file::{PlanDigest, PlanFileError, read_plan, units, verified, write_plan};
use object_store::ObjectStoreExt;

use crate::files::{memory, objects};

fn file(number: u64) -> PlannedFile {
    let decimal = Value::Decimal { unscaled: -170_141_183_460_469_231_731, scale: 3 };
    PlannedFile {
        unit: UnitId(format!("b{:06}", number / 3)),
        strategy: if number.is_multiple_of(2) { Strategy::Adopt } else { Strategy::Rewrite },
        reason: format!("reason {number}"),
        path: format!("day={number}/é {number}.parquet"),
        identity: format!("\"etag-{number}\""),
        size_bytes: u64::MAX - number,
        rows: number,
        partition: vec![
            Some(Value::Date(1)),
            None,
            Some(Value::Binary(vec![0, 255])),
            Some(decimal),
            Some(Value::Float(-0.0)),
        ],
        target_partition: (!number.is_multiple_of(5)).then(|| vec![Some(Value::String("\"x\",".into())), None]),
    }
}

fn plan(count: u64) -> impl futures::Stream<Item = Result<PlannedFile, PlanFileError>> + Send {
    stream::iter((0..count).map(|number| Ok(file(number))))
}

fn digest(files: impl IntoIterator<Item = PlannedFile>) -> String {
    let mut digest = start();
    files.into_iter().for_each(|file| digest.add(&file));
    digest.finish()
}

fn start() -> PlanDigest {
    PlanDigest::new("spec", &TableVersion("1".to_owned()))
}

#[tokio::test]
async fn a_plan_reads_back_in_order_with_the_digest_that_was_approved() {
    let storage = memory();
    assert_eq!(write_plan(&storage, "plans/a.parquet", plan(10_000)).await.unwrap(), 10_000);
    let rows = verified(read_plan(&storage, "plans/a.parquet"), start(), "a", &digest((0..10_000).map(file)));
    let rows: Vec<PlannedFile> = rows.try_collect().await.unwrap();
    assert_eq!(rows, (0..10_000).map(file).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_empty_plan_is_a_plan() {
    let storage = memory();
    assert_eq!(write_plan(&storage, "a.parquet", plan(0)).await.unwrap(), 0);
    assert_eq!(read_plan(&storage, "a.parquet").count().await, 0);
}

#[tokio::test]
async fn another_plan_than_the_approved_one_ends_in_an_error() {
    let storage = memory();
    let _ = write_plan(&storage, "a.parquet", plan(3)).await.unwrap();
    let rows = verified(read_plan(&storage, "a.parquet"), start(), "a", &digest((0..4).map(file)));
    let rows: Vec<_> = rows.collect().await;
    assert_eq!(rows.len(), 4);
    assert!(matches!(rows[3], Err(PlanFileError::Digest { .. })));
}

#[test]
fn the_digest_tells_plans_apart_that_differ_in_one_place() {
    let mut other = file(1);
    std::mem::swap(&mut other.reason, &mut other.identity);
    let mut zero = file(1);
    zero.partition[4] = Some(Value::Float(0.0));
    let digests =
        [digest([file(1)]), digest([other]), digest([zero]), digest([file(1), file(1)]), digest([]), digest([file(2)])];
    assert_eq!(digests.iter().collect::<std::collections::HashSet<_>>().len(), digests.len());
    assert_eq!(digests[0], digest([file(1)]));
}

#[tokio::test]
async fn an_error_in_the_middle_leaves_nothing_visible() {
    let storage = memory();
    let rows = plan(5000).chain(stream::iter([Err(PlanFileError::NotFinite { file: "x".into() })]));
    assert!(write_plan(&storage, "a.parquet", rows).await.is_err());
    let infinite = PlannedFile { partition: vec![Some(Value::Float(f64::INFINITY))], ..file(1) };
    let rows = stream::iter([Ok::<_, PlanFileError>(infinite)]);
    assert!(matches!(write_plan(&storage, "a.parquet", rows).await, Err(PlanFileError::NotFinite { .. })));
    assert!(objects(&storage).await.is_empty());
}

#[tokio::test]
async fn what_is_no_plan_is_refused() {
    let storage = memory();
    assert!(read_plan(&storage, "none.parquet").try_next().await.is_err());
    storage.store().put(&storage.resolve("a.parquet").unwrap(), vec![0_u8; 100].into()).await.unwrap();
    assert!(matches!(read_plan(&storage, "a.parquet").try_next().await, Err(PlanFileError::Parquet { .. })));
    let rows = crate::files::batch(vec![(
        "unit",
        std::sync::Arc::new(arrow::array::Int32Array::from(vec![1])) as arrow::array::ArrayRef,
    )]);
    let _ = crate::files::put(&storage, "b.parquet", &rows, vec![]).await;
    assert!(matches!(read_plan(&storage, "b.parquet").try_next().await, Err(PlanFileError::Version { .. })));
}

#[tokio::test]
async fn the_files_of_a_unit_come_together() {
    let grouped: Vec<Vec<PlannedFile>> = units(plan(8).boxed()).try_collect().await.unwrap();
    let shape: Vec<(String, usize)> = grouped.iter().map(|unit| (unit[0].unit.0.clone(), unit.len())).collect();
    assert_eq!(shape, [("b000000".to_owned(), 3), ("b000001".to_owned(), 3), ("b000002".to_owned(), 2)]);
    assert_eq!(units(plan(0).boxed()).count().await, 0);
}
