//! The spec's SQL.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use datafusion::physical_plan::ExecutionPlan;
use lakeshift_core::partition::PartitionSpec;
use lakeshift_core::schema::{DataType, TableSchema};
use lakeshift_core::table::Format;
use lakeshift_exec::engine::Engine;
use lakeshift_exec::logic::{Logic, LogicSpec, output_schema};
use lakeshift_exec::query::{Query, Slice};
use lakeshift_exec::scan::{ScanRequest, scan};
use rstest::rstest;

use crate::files::{batch, collect, engine, memory, put, schema, snapshot, sorted};

fn source() -> TableSchema {
    schema(vec![("n", DataType::Int32), ("Name", DataType::String)])
}

/// A scan of a file with three rows.
async fn scanned(engine: &Engine) -> Arc<dyn ExecutionPlan> {
    let storage = memory();
    let names: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("c")]));
    let file =
        put(&storage, "a.parquet", &batch(vec![("n", Arc::new(Int32Array::from(vec![1, 2, 3]))), ("Name", names)]), vec![])
            .await;
    let (snapshot, files) = (snapshot(&storage, source(), PartitionSpec::default()), [file]);
    let deletes = Default::default();
    let request =
        ScanRequest { storage: &storage, format: Format::Hive, snapshot: &snapshot, files: &files, deletes: &deletes };
    scan(engine, &request).unwrap()
}

async fn run(spec: LogicSpec<'_>) -> String {
    let engine = engine();
    let input = scanned(&engine).await;
    let logic = Logic::new(&engine, &source(), spec).await.unwrap();
    let plan = logic.apply(input, "a.parquet").await.unwrap();
    let rows = collect(&engine, plan).await.unwrap();
    let expected = lakeshift_exec::types::arrow_schema(logic.output_schema()).unwrap();
    let types = |schema: &arrow::datatypes::Schema| {
        schema.fields().iter().map(|f| (f.name().clone(), f.data_type().clone())).collect::<Vec<_>>()
    };
    assert_eq!(types(&rows[0].schema()), types(&expected));
    sorted(&rows)
}

#[tokio::test]
async fn the_scope_filters_source_rows_before_the_transform_and_names_are_exact() {
    let sql = "SELECT CAST(n AS BIGINT) * 10 AS n, upper(\"Name\") AS name, arrow_cast('x', 'Dictionary(Int32, Utf8)') AS d FROM source";
    let text = run(LogicSpec { transform: Some(sql), scope: Some("n >= 2"), ..LogicSpec::default() }).await;
    assert_eq!(text, "| n  | name | d |\n| 20 |      | x |\n| 30 | C    | x |");
    assert_eq!(run(LogicSpec { scope: Some("Name IS NULL"), ..LogicSpec::default() }).await, "| n | Name |\n| 2 |      |");
    assert_eq!(
        run(LogicSpec { transform: Some("SELECT n FROM source WHERE n < 2"), ..LogicSpec::default() }).await,
        "| n |\n| 1 |"
    );
}

/// A scan deals its files out to whoever asks first, and here two ask.
#[tokio::test]
async fn a_table_that_a_query_names_twice_is_read_twice() {
    let engine = engine();
    let sql = "SELECT * FROM source UNION ALL SELECT * FROM source";
    let query = Query::new(&engine, "twice", sql, &[("source".to_owned(), source())], None).await.unwrap();
    let slice = Slice { time: None, entity: None };
    let plan = query.plan(vec![("source".to_owned(), scanned(&engine).await)], &slice).await.unwrap();
    let rows = collect(&engine, plan).await.unwrap();
    assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 6);
}

/// What the condition is not true of comes as it was, whether it is false of it or neither; by name, whatever the order.
#[tokio::test]
async fn others_are_carried_beside_what_the_transform_gives() {
    let transform = Some("SELECT upper(\"Name\") AS \"Name\", CAST(n * 10 AS INT) AS n FROM source WHERE n < 3");
    let spec = LogicSpec { transform, scope: Some("\"Name\" <> 'b'"), carry_others: true, ..LogicSpec::default() };
    assert_eq!(run(spec).await, "| Name | n  |\n|      | 2  |\n| A    | 10 |");
    let others = LogicSpec { scope: Some("n > 1"), ..spec };
    assert_eq!(run(others).await, "| Name | n  |\n|      | 20 |\n| a    | 1  |");
}

#[tokio::test]
async fn the_output_schema_is_known_without_data() {
    let sql = "WITH x AS (SELECT * FROM source) SELECT n, CAST(n AS DECIMAL(10,2)) AS price, \"Name\" FROM x";
    let output = output_schema(&engine(), &source(), sql).await.unwrap();
    let types: Vec<String> = output.fields.iter().map(|field| format!("{} {}", field.name, field.data_type)).collect();
    assert_eq!(types, ["n int32", "price decimal(10,2)", "Name string"]);
}

#[rstest]
#[case("SELECT n FROM source; DROP TABLE source", "single SQL statement")]
#[case("DROP TABLE source", "changes something")]
#[case("INSERT INTO source SELECT * FROM source", "changes something")]
#[case("COPY source TO '/tmp/x.parquet'", "changes something")]
#[case("CREATE TABLE t AS SELECT * FROM source", "changes something")]
#[case("SET datafusion.execution.batch_size = 1", "changes something")]
#[case("EXPLAIN SELECT n FROM source", "no SELECT")]
#[case("SELECT 1 AS n", "rows of its own")]
#[case("SELECT * FROM other", "other")]
#[case("SELECT * FROM '/etc/passwd'", "passwd")]
#[case("SELECT value AS n FROM generate_series(1, 3)", "generate_series")]
#[case("SELECT count(*) AS n FROM source", "aggregate")]
#[case("SELECT DISTINCT n FROM source", "DISTINCT")]
#[case("SELECT n FROM source ORDER BY n", "ORDER BY")]
#[case("SELECT n FROM source LIMIT 1", "LIMIT")]
#[case("SELECT n FROM source UNION ALL SELECT n FROM source", "UNION")]
#[case("SELECT a.n FROM source a JOIN source b ON a.n = b.n", "join")]
#[case("SELECT row_number() OVER () AS n FROM source", "window")]
#[case("SELECT n FROM source WHERE n IN (SELECT n FROM source)", "subquery")]
#[case("SELECT (SELECT max(n) FROM source) AS n FROM source", "subquery")]
#[case("SELECT unnest(make_array(n, n)) AS n FROM source", "unnest")]
#[case("SELECT random() AS r FROM source", "random()")]
#[case("SELECT n FROM source WHERE now() > to_timestamp(n)", "now()")]
#[case("SELECT uuid() AS id FROM source", "uuid()")]
#[case("SELECT current_date() AS d FROM source", "current_date()")]
#[case("SELECT n + 1 FROM source", "AS name")]
#[case("SELECT NULL AS n FROM source", "cannot be a table")]
#[case("SELECT nn FROM source", "line 1, column 8")]
#[case("SELECT name FROM source", "n, Name")]
#[case("SELECT FROM WHERE", "transform.sql")]
#[tokio::test]
async fn sql_that_is_wrong_or_not_row_wise_or_not_repeatable_is_refused(#[case] sql: &str, #[case] expected: &str) {
    let error = output_schema(&engine(), &source(), sql).await.unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
}

#[rstest]
#[case("n")]
#[case("n > 1; SELECT 1")]
#[case("random() < 0.5")]
#[case("n = (SELECT max(n) FROM source)")]
#[case("sum(n) > 1")]
#[case("m = 1")]
#[tokio::test]
async fn a_scope_that_is_no_row_wise_condition_is_refused(#[case] condition: &str) {
    let spec = LogicSpec { scope: Some(condition), ..LogicSpec::default() };
    let error = Logic::new(&engine(), &source(), spec).await.unwrap_err().to_string();
    assert!(error.starts_with("scope.where"), "{error}");
}
