//! Replies made here, and queries run over them.

use arrow::array::{
    Decimal128Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray, TimestampMillisecondArray,
};
use arrow::datatypes::{Field, Schema};
use datafusion::datasource::memory::MemorySourceConfig;

use super::*;

fn reply(columns: Vec<(&str, ArrayRef)>) -> Reply {
    let fields: Vec<_> = columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true)).collect();
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    Reply { rows: RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap() }
}

fn compare(old: &Reply, new: &Reply) -> Option<Difference> {
    let query = ShadowQuery { name: "query 1".to_owned(), sql: String::new() };
    old.compare(new, &query, 1e-9).unwrap()
}

fn carriers(names: &[Option<&str>], flights: &[i64], delays: &[f64]) -> Reply {
    reply(vec![
        ("carrier", Arc::new(StringArray::from(names.to_vec()))),
        ("flights", Arc::new(Int64Array::from(flights.to_vec()))),
        ("delay", Arc::new(Float64Array::from(delays.to_vec()))),
    ])
}

fn rows(only_old: u64, only_new: u64, apart: u64) -> Option<Difference> {
    Some(Difference::Rows { only_old, only_new, apart })
}

#[test]
fn the_order_of_rows_and_the_last_digit_of_a_double_do_not_count() {
    let old = carriers(&[Some("AA"), Some("UA"), None], &[2, 3, 1], &[0.1 + 0.2, f64::NAN, -0.0]);
    let new = carriers(&[None, Some("AA"), Some("UA")], &[1, 2, 3], &[0.0, 0.3, f64::NAN]);
    assert_eq!(compare(&old, &new), None);
}

#[test]
fn a_row_that_is_there_twice_is_not_one_that_is_there_once() {
    let old = carriers(&[Some("AA"), Some("AA"), Some("UA")], &[1, 1, 1], &[0.0; 3]);
    let new = carriers(&[Some("AA"), Some("UA"), Some("UA")], &[1, 1, 1], &[0.0; 3]);
    assert_eq!(compare(&old, &new), rows(1, 1, 0));
}

#[test]
fn null_and_the_empty_text_differ() {
    let old = carriers(&[None], &[1], &[1.0]);
    let new = carriers(&[Some("")], &[1], &[1.0]);
    assert_eq!(compare(&old, &new), rows(1, 1, 0));
}

#[test]
fn integers_have_no_tolerance_and_doubles_a_small_one() {
    let old = carriers(&[Some("AA")], &[(1 << 53) + 1], &[100.0]);
    assert_eq!(compare(&old, &carriers(&[Some("AA")], &[1 << 53], &[100.0])), rows(1, 1, 0));
    assert_eq!(compare(&old, &carriers(&[Some("AA")], &[(1 << 53) + 1], &[100.000_001])), rows(0, 0, 1));
    assert_eq!(compare(&old, &carriers(&[Some("AA")], &[(1 << 53) + 1], &[f64::NAN])), rows(0, 0, 1));
}

#[test]
fn values_swapped_between_two_rows_are_found() {
    let old = carriers(&[Some("AA"), Some("UA")], &[1, 1], &[10.0, 20.0]);
    let new = carriers(&[Some("AA"), Some("UA")], &[1, 1], &[20.0, 10.0]);
    assert_eq!(compare(&old, &new), rows(0, 0, 2));
}

#[test]
fn a_wider_type_holds_the_same_values_and_another_type_does_not() {
    let int = |column: ArrayRef| reply(vec![("n", column)]);
    let narrow = int(Arc::new(Int32Array::from(vec![1, 2])));
    assert_eq!(compare(&narrow, &int(Arc::new(Int64Array::from(vec![2, 1])))), None);
    assert_eq!(compare(&narrow, &int(Arc::new(Int64Array::from(vec![2, 3])))), rows(1, 1, 0));
    let text = int(Arc::new(StringArray::from(vec!["1", "2"])));
    assert!(matches!(compare(&narrow, &text), Some(Difference::Type { column, .. }) if column == "n"));

    let decimal =
        |value, scale| int(Arc::new(Decimal128Array::from(vec![value]).with_precision_and_scale(20, scale).unwrap()));
    assert_eq!(compare(&decimal(7801, 2), &decimal(78_010, 3)), None);
    assert_eq!(compare(&decimal(7801, 2), &decimal(78_011, 3)), rows(1, 1, 0));

    let ms = int(Arc::new(TimestampMillisecondArray::from(vec![1_500])));
    assert_eq!(compare(&ms, &int(Arc::new(TimestampMicrosecondArray::from(vec![1_500_000])))), None);
    assert_eq!(compare(&ms, &int(Arc::new(TimestampMicrosecondArray::from(vec![1_500_001])))), rows(1, 1, 0));
    let instant = int(Arc::new(TimestampMillisecondArray::from(vec![1_500]).with_timezone("UTC")));
    assert!(matches!(compare(&ms, &instant), Some(Difference::Type { .. })));
}

#[test]
fn other_columns_are_a_difference() {
    let old = reply(vec![("a", Arc::new(Int64Array::from(vec![1])))]);
    let new = reply(vec![("b", Arc::new(Int64Array::from(vec![1])))]);
    assert!(matches!(compare(&old, &new), Some(Difference::Columns { .. })));
}

#[test]
fn a_file_of_queries_is_split_at_semicolons_outside_texts() {
    let queries = split("-- by carrier\nSELECT carrier, ';' FROM flights;\nSELECT count(*) FROM flights;").unwrap();
    assert_eq!(queries.len(), 2);
    assert_eq!(queries[0].sql, "SELECT carrier, ';' FROM flights");
    assert!(matches!(split("GIVE ME 1"), Err(ShadowError::Sql { .. })));
}

async fn asked(sql: &str) -> Result<Reply, ShadowError> {
    let engine = Engine::builder().build().unwrap();
    let table = carriers(&[Some("AA"), Some("UA"), Some("AA")], &[1, 2, 3], &[0.5, 1.5, 2.5]).rows;
    let plan = || -> Arc<dyn ExecutionPlan> {
        MemorySourceConfig::try_new_exec(&[vec![table.clone()]], table.schema(), None).unwrap()
    };
    let query = ShadowQuery { name: "query 1".to_owned(), sql: sql.to_owned() };
    ask(&engine, &query, "flights", vec![plan(), plan()]).await
}

#[tokio::test]
async fn a_query_reads_every_plan_of_the_table() {
    let reply = asked("SELECT carrier, sum(flights) AS flights FROM flights GROUP BY carrier").await.unwrap();
    let wanted = reply_of(&[("AA", 8), ("UA", 4)]);
    assert_eq!(compare(&wanted, &reply), None);
    assert_eq!(reply.rows(), 2);
}

fn reply_of(rows: &[(&str, i64)]) -> Reply {
    reply(vec![
        ("carrier", Arc::new(StringArray::from_iter_values(rows.iter().map(|(carrier, _)| *carrier)))),
        ("flights", Arc::new(Int64Array::from_iter_values(rows.iter().map(|(_, flights)| *flights)))),
    ])
}

#[tokio::test]
async fn a_reply_is_true_when_every_row_of_its_one_column_is() {
    for (sql, is_true) in [
        ("SELECT count(*) = 6 FROM flights", true),
        ("SELECT flights > 0 FROM flights", true),
        ("SELECT flights > 1 FROM flights", false),
        ("SELECT flights > 0 FROM flights WHERE flights > 9", false),
        ("SELECT nullif(flights > 0, flights > 2) FROM flights", false),
        ("SELECT 1 FROM flights", false),
        ("SELECT true AS one, true AS other FROM flights", false),
    ] {
        assert_eq!(asked(sql).await.unwrap().is_true(), is_true, "{sql}");
    }
}

#[tokio::test]
async fn what_is_no_query_is_refused() {
    for sql in ["DROP TABLE flights", "SELECT * FROM elsewhere", "INSERT INTO flights VALUES ('x', 1, 1.0)"] {
        assert!(matches!(asked(sql).await, Err(ShadowError::Sql { .. })), "{sql}");
    }
}

#[tokio::test]
async fn a_value_that_cannot_be_computed_with_is_not_told() {
    for sql in ["SELECT CAST(carrier AS BIGINT) FROM flights", "SELECT arrow_cast(carrier, 'Int8') FROM flights"] {
        let error = asked(sql).await.unwrap_err();
        let told = format!("{error} {error:?}");
        assert!(matches!(error, ShadowError::Run { .. }), "{told}");
        assert!(told.contains("query 1") && !told.contains("AA") && !told.contains("UA"), "{told}");
    }
}
