//! What a query is said to read is held against what it does read: where rows of an upstream are taken away, only rows may
//! change that the proof says are computed from them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Int64Array, RecordBatch, StringArray};
use arrow::util::pretty::pretty_format_batches;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use lakeshift_core::graph::{Grain, Proof, Span};
use lakeshift_exec::engine::Engine;
use lakeshift_exec::query::{PartitionedBy, Query};
use lakeshift_exec::types::table_schema;
use rstest::rstest;

/// 2001-01-01.
const FIRST: i32 = 11_323;
const DAYS: i32 = 75;
const REGIONS: [&str; 2] = ["EU", "NA"];

/// Rows of every region: of every day, of `seen` days after it, and a value, without those of one day and region.
fn rows(seed: i64, without: Option<(i32, &str)>) -> RecordBatch {
    let keys: Vec<(i32, &str)> = (FIRST..FIRST + DAYS)
        .flat_map(|day| REGIONS.map(|region| (day, region)))
        .filter(|key| Some(*key) != without)
        .collect();
    let days: ArrayRef = Arc::new(keys.iter().map(|(day, _)| Some(*day)).collect::<Date32Array>());
    let seen: ArrayRef = Arc::new(keys.iter().map(|(day, _)| Some(day + day % 5)).collect::<Date32Array>());
    let regions: ArrayRef = Arc::new(keys.iter().map(|(_, region)| Some(*region)).collect::<StringArray>());
    let value = |(day, region): &(i32, &str)| Some((i64::from(*day) * seed) % 97 + i64::from(*region == "EU"));
    let values: ArrayRef = Arc::new(keys.iter().map(value).collect::<Int64Array>());
    let columns = [("day", days), ("seen", seen), ("region", regions), ("v", values)];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
}

/// The result's rows as text, with how often each is there.
async fn result(sql: &str, a: RecordBatch, b: RecordBatch) -> BTreeMap<(String, String, String), usize> {
    let mut config = SessionConfig::new().with_target_partitions(1);
    config.options_mut().sql_parser.enable_ident_normalization = false;
    let session = SessionContext::new_with_config(config);
    for (name, batch) in [("a", a), ("b", b)] {
        session.register_table(name, Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]]).unwrap())).unwrap();
    }
    let sql = format!("SELECT CAST(t AS VARCHAR) AS t, e, CAST(v AS VARCHAR) AS v FROM ({sql})");
    let batches = session.sql(&sql).await.unwrap().collect().await.unwrap();
    let mut counts = BTreeMap::new();
    for line in pretty_format_batches(&batches).unwrap().to_string().lines().skip(3).filter(|line| line.starts_with('|')) {
        let cells: Vec<String> = line.split('|').map(|cell| cell.trim().to_owned()).collect();
        *counts.entry((cells[1].clone(), cells[2].clone(), cells[3].clone())).or_default() += 1;
    }
    counts
}

fn period(grain: Grain, day: &str) -> i64 {
    i64::from(grain.at(day.parse::<chrono::NaiveDate>().unwrap().and_hms_opt(0, 0, 0).unwrap()))
}

fn date(day: i32) -> String {
    Grain::Day.format(day)
}

/// A span and whether the entity is the same, as `month -1 +0 same`.
fn told(proof: Option<&Proof>) -> String {
    let Some(proof) = proof else { return "not read".to_owned() };
    let same = if proof.same_entity { " same" } else { "" };
    match proof.span {
        Some(Span { grain, first, last }) => format!("{grain} {first:+} {last:+}{same}"),
        None => format!("anywhere{same}"),
    }
}

#[rstest]
#[case("SELECT day AS t, region AS e, sum(v) AS v FROM a GROUP BY day, region", "day +0 +0 same", "not read")]
#[case("SELECT DISTINCT day AS t, region AS e, v FROM a WHERE v > 9", "day +0 +0 same", "not read")]
#[case("SELECT seen AS t, region AS e, sum(v) AS v FROM a GROUP BY seen, region", "anywhere same", "not read")]
#[case("SELECT day + INTERVAL '3' DAY AS t, region AS e, v FROM a", "day -3 -3 same", "not read")]
#[case(
    "SELECT CAST(date_trunc('month', day) AS DATE) AS t, region AS e, sum(v) AS v FROM a GROUP BY 1, 2",
    "month +0 +0 same",
    "not read"
)]
#[case(
    "SELECT CAST(date_trunc('week', day) AS DATE) AS t, 'all' AS e, sum(v) AS v FROM a GROUP BY date_trunc('week', day)",
    "week +0 +0",
    "not read"
)]
#[case(
    "SELECT x.day AS t, x.region AS e, sum(y.v) AS v FROM a x JOIN b y ON y.region = x.region AND y.day BETWEEN x.day - \
     INTERVAL '6' DAY AND x.day GROUP BY x.day, x.region",
    "day +0 +0 same",
    "day -6 +0 same"
)]
#[case(
    "SELECT x.day AS t, x.region AS e, sum(y.v) AS v FROM a x, a y WHERE y.region = x.region AND y.day < x.day AND x.day <= \
     y.day + INTERVAL '3' DAY GROUP BY x.day, x.region",
    "day -3 +0 same",
    "not read"
)]
#[case(
    "SELECT x.day AS t, x.region AS e, sum(y.v) AS v FROM a x LEFT JOIN b y ON y.region = x.region AND y.day < x.day AND \
     y.day > x.day - INTERVAL '3' DAY GROUP BY x.day, x.region",
    "day +0 +0 same",
    "day -2 -1 same"
)]
#[case(
    "SELECT x.day AS t, x.region AS e, x.v - y.v AS v FROM a x JOIN b y ON y.day = x.day - INTERVAL '1' DAY AND y.region = 'EU'",
    "day +0 +0 same",
    "day -1 -1"
)]
#[case(
    "SELECT x.day AS t, y.region AS e, x.v FROM a x LEFT JOIN b y ON y.day = CAST(date_trunc('month', x.day) AS DATE)",
    "day +0 +0",
    "month +0 +0 same"
)]
#[case(
    "SELECT y.day AS t, y.region AS e, sum(x.v) AS v FROM a x JOIN b y ON y.day = CAST(date_trunc('month', x.day) AS DATE) AND \
     y.region = x.region GROUP BY y.day, y.region",
    "month +0 +0 same",
    "day +0 +0 same"
)]
#[case(
    "SELECT coalesce(x.day, y.day) AS t, coalesce(x.region, y.region) AS e, x.v FROM a x FULL JOIN b y ON x.day = y.day AND \
     x.region = y.region",
    "day +0 +0 same",
    "day +0 +0 same"
)]
#[case(
    "SELECT day AS t, region AS e, v FROM a UNION ALL SELECT day + INTERVAL '1' DAY, region, v FROM b",
    "day +0 +0 same",
    "day -1 -1 same"
)]
#[case(
    "SELECT day AS t, region AS e, count(*) AS v FROM (SELECT day, region FROM a UNION ALL SELECT day, region FROM b) GROUP BY 1, 2",
    "day +0 +0 same",
    "day +0 +0 same"
)]
#[case(
    "SELECT day AS t, region AS e, 1 AS v FROM a EXCEPT SELECT day, region, 1 FROM b WHERE v > 50",
    "day +0 +0 same",
    "day +0 +0 same"
)]
#[case(
    "SELECT day AS t, region AS e, v FROM a x WHERE NOT EXISTS (SELECT 1 FROM b y WHERE y.day = x.day AND y.v > 50)",
    "day +0 +0 same",
    "anywhere"
)]
#[case("SELECT day AS t, region AS e, v FROM a WHERE v > (SELECT avg(v) FROM a)", "anywhere", "not read")]
#[case(
    "SELECT x.t, x.e, x.v - y.v AS v FROM (SELECT CAST(date_trunc('month', day) AS DATE) AS t, region AS e, sum(v) AS v FROM a \
     GROUP BY 1, 2) x JOIN (SELECT CAST(date_trunc('month', day) AS DATE) AS t, region AS e, sum(v) AS v FROM b GROUP BY 1, 2) y \
     ON y.t = x.t - INTERVAL '1' MONTH AND y.e = x.e",
    "month +0 +0 same",
    "month -1 -1 same"
)]
#[case(
    "SELECT day AS t, region AS e, sum(v) OVER (PARTITION BY region ORDER BY day RANGE BETWEEN INTERVAL '6' DAY PRECEDING AND \
     CURRENT ROW) AS v FROM a",
    "day -6 +0 same",
    "not read"
)]
#[case(
    "SELECT day AS t, region AS e, sum(v) OVER (ORDER BY day DESC RANGE BETWEEN INTERVAL '2' DAY PRECEDING AND INTERVAL '1' DAY \
     FOLLOWING) AS v FROM a",
    "day -1 +2",
    "not read"
)]
#[case(
    "SELECT day AS t, region AS e, sum(v) OVER (PARTITION BY region ORDER BY day RANGE BETWEEN INTERVAL '6' DAY PRECEDING AND \
     CURRENT ROW) + max(v) OVER (PARTITION BY region ORDER BY day RANGE BETWEEN INTERVAL '6' DAY PRECEDING AND CURRENT ROW) + \
     count(*) OVER (PARTITION BY region ORDER BY day RANGE BETWEEN CURRENT ROW AND INTERVAL '2' DAY FOLLOWING) AS v FROM a",
    "day -6 +2 same",
    "not read"
)]
#[case(
    "SELECT day AS t, region AS e, sum(w) OVER (PARTITION BY region ORDER BY day RANGE BETWEEN INTERVAL '6' DAY PRECEDING AND \
     CURRENT ROW) AS v FROM (SELECT day, region, sum(v) OVER (PARTITION BY region ORDER BY day RANGE BETWEEN INTERVAL '2' DAY \
     PRECEDING AND CURRENT ROW) AS w FROM a)",
    "day -8 +0 same",
    "not read"
)]
#[case(
    "SELECT day AS t, region AS e, row_number() OVER (PARTITION BY region ORDER BY day RANGE BETWEEN INTERVAL '6' DAY PRECEDING \
     AND CURRENT ROW) AS v FROM a",
    "anywhere same",
    "not read"
)]
#[case(
    "SELECT day AS t, region AS e, sum(v) OVER (PARTITION BY region ORDER BY day ROWS 6 PRECEDING) AS v FROM a",
    "anywhere same",
    "not read"
)]
#[case("SELECT day AS t, region AS e, rank() OVER (PARTITION BY day ORDER BY v) AS v FROM a", "day +0 +0", "not read")]
#[case(
    "SELECT m AS t, region AS e, v - avg(v) OVER (PARTITION BY m, region) AS v FROM (SELECT CAST(date_trunc('month', day) AS \
     DATE) AS m, region, v FROM a)",
    "month +0 +0 same",
    "not read"
)]
#[case("SELECT day AS t, region AS e, v FROM a ORDER BY v, day, region LIMIT 20", "anywhere", "not read")]
#[case(
    "WITH daily AS (SELECT day, region, sum(v) AS v FROM a GROUP BY day, region) SELECT x.day AS t, x.region AS e, x.v - y.v AS v \
     FROM daily x JOIN daily y ON x.day = y.day + INTERVAL '7' DAY AND x.region = y.region",
    "day -7 +0 same",
    "not read"
)]
#[case(
    "SELECT x.day AS t, x.region AS e, x.v FROM a x LEFT JOIN b y ON x.day = y.day AND x.seen = y.day",
    "day +0 +0 same",
    "day +0 +0"
)]
#[case(
    "SELECT x.seen AS t, x.region AS e, x.v + y.v AS v FROM a x JOIN b y ON x.day = y.day AND x.seen = y.day AND y.region = x.region",
    "day +0 +0 same",
    "day +0 +0 same"
)]
#[case(
    "SELECT x.seen AS t, x.region AS e, x.v FROM a x LEFT JOIN b y ON x.day = y.day AND x.seen = y.day AND y.region = x.region",
    "anywhere same",
    "day +0 +0 same"
)]
#[tokio::test]
async fn rows_that_go_change_no_row_that_is_not_said_to_be_computed_from_them(
    #[case] sql: &str,
    #[case] of_a: &str,
    #[case] of_b: &str,
) {
    let engine = Engine::builder().build().unwrap();
    let by = |time: &str, entity: &str| PartitionedBy { time: Some(time.into()), entity: Some(entity.into()) };
    let (a, b) = (rows(31, None), rows(57, None));
    let schema = table_schema(&a.schema()).unwrap();
    let upstreams = ["a", "b"].map(|name| (name.to_owned(), schema.clone()));
    let query = Query::new(&engine, "c", sql, &upstreams, None).await.unwrap();
    let proofs = query.proofs(&by("t", "e"), &["a", "b"].map(|name| (name.to_owned(), by("day", "region"))));
    assert_eq!((told(proofs.get("a")).as_str(), told(proofs.get("b")).as_str()), (of_a, of_b), "{proofs:?}");

    let whole = result(sql, a.clone(), b.clone()).await;
    assert!(whole.len() > 3, "{whole:?}");
    let mut changed = 0;
    for (name, seed) in [("a", 31), ("b", 57)] {
        let Some(proof) = proofs.get(name) else { continue };
        for (day, region) in (FIRST + 20..FIRST + 55).step_by(7).flat_map(|day| REGIONS.map(|region| (day, region))) {
            let less = rows(seed, Some((day, region)));
            let (a, b) = if name == "a" { (less, b.clone()) } else { (a.clone(), less) };
            let after = result(sql, a, b).await;
            let keys: Vec<_> = whole.keys().chain(after.keys()).filter(|key| whole.get(key) != after.get(key)).collect();
            for (t, e, _) in keys.into_iter().filter(|(t, ..)| !t.is_empty()) {
                changed += 1;
                if let Some(Span { grain, first, last }) = proof.span {
                    let away = period(grain, &date(day)) - period(grain, t);
                    assert!((first..=last).contains(&away), "{name} {} {region} changed {t} {e}", date(day));
                }
                assert!(!proof.same_entity || e == region, "{name} {} {region} changed {t} {e}", date(day));
            }
        }
    }
    assert!(changed > 0, "no row hangs on any");
}
