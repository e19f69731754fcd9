//! A file's `stats` in the log: the row count always, bounds and null counts only where they hold for every reader.

use std::collections::BTreeMap;

use lakeshift_core::schema::{DataType, TableSchema};
use lakeshift_core::value::Value;
use serde::Serialize;
use serde_json::Value as Json;

use crate::footer::{ColumnMetrics, Footer};

/// Delta's default number of columns with statistics.
const COLUMNS_MAX: usize = 32;
/// A longer text is left out rather than shortened.
const TEXT_BYTES_MAX: usize = 256;
/// Decimals of more digits do not survive readers that parse JSON numbers as doubles.
const EXACT_IN_DOUBLE: u128 = 1_000_000_000_000_000;
/// 0001-01-01 and 9999-12-31 in days since 1970-01-01: what every reader's calendar has.
const DAYS: std::ops::RangeInclusive<i64> = -719_162..=2_932_896;
const DAY_MILLIS: i64 = 86_400_000;

/// As the protocol spells it.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Stats<'a> {
    max_values: BTreeMap<&'a str, Json>,
    min_values: BTreeMap<&'a str, Json>,
    null_count: BTreeMap<&'a str, u64>,
    num_records: u64,
}

#[derive(Clone, Copy)]
enum Side {
    Least,
    Greatest,
}

/// The `stats` text of a file in a table of this schema.
pub(super) fn text(footer: &Footer, schema: &TableSchema, is_partition: impl Fn(&str) -> bool) -> String {
    let mut stats = Stats { num_records: footer.rows, ..Stats::default() };
    let columns = footer.columns.iter().filter_map(|column| Some((column.top_level()?, column)));
    for (name, column) in columns.filter(|(name, _)| !is_partition(name)).take(COLUMNS_MAX) {
        let Some(field) = schema.field(name) else { continue };
        if let Some((min, max)) = bounds(column, &field.data_type) {
            stats.min_values.insert(name, min);
            stats.max_values.insert(name, max);
        }
        if let Some(count) = column.nulls {
            stats.null_count.insert(name, count);
        }
    }
    // Texts and numbers always are JSON; without statistics would be sound too.
    serde_json::to_string(&stats).unwrap_or_else(|_| "{}".to_owned())
}

/// Both bounds or none. Floats have none: a NaN, which some readers order above every number, is not in Parquet's bounds.
fn bounds(column: &ColumnMetrics, data_type: &DataType) -> Option<(Json, Json)> {
    let (min, max) = column.bounds.as_ref()?;
    Some((json(min, data_type, Side::Least)?, json(max, data_type, Side::Greatest)?))
}

fn json(value: &Value, data_type: &DataType, side: Side) -> Option<Json> {
    use DataType as T;
    match (value, data_type) {
        (Value::Int(value), T::Int8 | T::Int16 | T::Int32 | T::Int64) => Some((*value).into()),
        (Value::Date(days), T::Date) if DAYS.contains(&i64::from(*days)) => Some(value.to_string().into()),
        (Value::Timestamp(micros), T::Timestamp { utc, .. }) => timestamp(*micros, *utc, side),
        (Value::String(text), T::String) if text.len() <= TEXT_BYTES_MAX => Some(text.as_str().into()),
        (Value::Decimal { unscaled, scale }, T::Decimal { scale: own, .. })
            if scale == own && unscaled.unsigned_abs() < EXACT_IN_DOUBLE =>
        {
            value.to_string().parse::<f64>().ok().map(Json::from)
        }
        _ => None,
    }
}

/// Milliseconds, as the protocol has them: the least rounded down, the greatest up.
fn timestamp(micros: i64, utc: bool, side: Side) -> Option<Json> {
    let millis = match side {
        Side::Least => micros.div_euclid(1000),
        Side::Greatest => micros.div_euclid(1000) + i64::from(micros.rem_euclid(1000) != 0),
    };
    if !DAYS.contains(&millis.div_euclid(DAY_MILLIS)) {
        return None;
    }
    let text = chrono::DateTime::from_timestamp_millis(millis)?.format("%Y-%m-%dT%H:%M:%S%.3f").to_string();
    Some(if utc { format!("{text}Z") } else { text }.into())
}
