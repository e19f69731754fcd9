//! Column metrics that hold: a bound is sound or absent, a null count is known or absent.
//!
//! A row group that does not tell voids the column's bounds. Deprecated `min`/`max` fields count only for signed types,
//! whose order was never in doubt. Bounds are outward: −0.0 below, +0.0 above, timestamps floored and ceiled to
//! microseconds, a shortened text as its writer rounded it (`max_value` is defined as an upper bound). Decimals stay
//! integers throughout.

use std::cmp::Ordering;
use std::sync::Arc;

use lakeshift_core::schema::{DataType, TimeUnit};
use lakeshift_core::value::Value;
use parquet::basic::ColumnOrder;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::statistics::Statistics;

use super::schema::Leaf;

/// What a file says of one leaf column.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnMetrics {
    /// Logical path: column, members, and `element`, `key`, `value` inside lists and maps.
    pub path: Arc<[String]>,
    /// The Parquet field id.
    pub field_id: Option<i32>,
    /// The leaf's logical type.
    pub data_type: DataType,
    /// Bytes of the column's chunks as stored; 0 where the footer tells nonsense.
    pub compressed_bytes: u64,
    /// Values, nulls included (for a column inside a list: elements, and empty or null lists).
    pub values: u64,
    /// Nulls, where every row group tells.
    pub nulls: Option<u64>,
    /// No value that is not null (and not NaN) is below the first or above the second.
    pub bounds: Option<(Value, Value)>,
}

impl ColumnMetrics {
    /// The name of a primitive column that is not nested.
    pub fn top_level(&self) -> Option<&str> {
        match &*self.path {
            [name] => Some(name),
            _ => None,
        }
    }
}

/// The metrics of each leaf, in the file's order.
pub(super) fn columns(metadata: &ParquetMetaData, leaves: &[Leaf]) -> Vec<ColumnMetrics> {
    let orders = metadata.file_metadata().column_orders();
    let column = |(index, leaf): (usize, &Leaf)| {
        let order_is_defined = match orders.and_then(|orders| orders.get(index)) {
            Some(ColumnOrder::UNKNOWN) => None,
            Some(ColumnOrder::TYPE_DEFINED_ORDER(_)) => Some(true),
            Some(ColumnOrder::UNDEFINED) | None => Some(false),
        };
        let chunks: Vec<_> = metadata.row_groups().iter().filter_map(|group| group.columns().get(index)).collect();
        let complete = chunks.len() == metadata.num_row_groups();
        let bounds =
            order_is_defined.filter(|_| complete).and_then(|defined| file_bounds(&chunks, &leaf.data_type, defined));
        ColumnMetrics {
            compressed_bytes: chunks.iter().map(|chunk| u64::try_from(chunk.compressed_size()).unwrap_or(0)).sum(),
            values: chunks.iter().map(|chunk| u64::try_from(chunk.num_values()).unwrap_or(0)).sum(),
            nulls: if complete { nulls(&chunks) } else { None },
            bounds,
            path: Arc::clone(&leaf.path),
            field_id: leaf.field_id,
            data_type: leaf.data_type.clone(),
        }
    };
    leaves.iter().enumerate().map(column).collect()
}

/// The nulls of all row groups; `None` as soon as one does not tell, or tells more than it has values.
fn nulls(chunks: &[&ColumnChunkMetaData]) -> Option<u64> {
    chunks.iter().try_fold(0_u64, |sum, chunk| {
        let count = chunk.statistics()?.null_count_opt()?;
        (count <= u64::try_from(chunk.num_values()).ok()?).then(|| sum.checked_add(count)).flatten()
    })
}

fn file_bounds(chunks: &[&ColumnChunkMetaData], data_type: &DataType, order_is_defined: bool) -> Option<(Value, Value)> {
    let mut bounds: Option<(Value, Value)> = None;
    for chunk in chunks {
        let statistics = chunk.statistics()?;
        let all_null = statistics.null_count_opt().is_some_and(|nulls| i64::try_from(nulls) == Ok(chunk.num_values()));
        if all_null {
            continue;
        }
        let found = chunk_bounds(statistics, data_type, order_is_defined)?;
        bounds = Some(match bounds {
            None => found,
            Some((least, greatest)) => {
                (extreme(least, found.0, Ordering::Less)?, extreme(greatest, found.1, Ordering::Greater)?)
            }
        });
    }
    bounds
}

fn extreme(a: Value, b: Value, wanted: Ordering) -> Option<Value> {
    Some(if b.compare(&a)? == wanted { b } else { a })
}

fn chunk_bounds(statistics: &Statistics, data_type: &DataType, order_is_defined: bool) -> Option<(Value, Value)> {
    if statistics.is_min_max_deprecated() && !signed_order(statistics, data_type) {
        return None;
    }
    if !order_is_defined && !signed_order(statistics, data_type) {
        return None;
    }
    let bounds = typed_bounds(statistics, data_type)?;
    // Bounds in the wrong order come from a broken writer; none of it is believed.
    (bounds.0.compare(&bounds.1)? != Ordering::Greater).then_some(bounds)
}

/// Whether the order is that of the signed physical type, in which every writer agrees.
fn signed_order(statistics: &Statistics, data_type: &DataType) -> bool {
    use DataType as T;
    let unsigned = matches!(data_type, T::UInt8 | T::UInt16 | T::UInt32 | T::UInt64);
    let physical = matches!(
        statistics,
        Statistics::Boolean(_) | Statistics::Int32(_) | Statistics::Int64(_) | Statistics::Float(_) | Statistics::Double(_)
    );
    physical && !unsigned
}

fn typed_bounds(statistics: &Statistics, data_type: &DataType) -> Option<(Value, Value)> {
    match statistics {
        Statistics::Boolean(s) => Some((Value::Boolean(*s.min_opt()?), Value::Boolean(*s.max_opt()?))),
        Statistics::Int32(s) => integers(i64::from(*s.min_opt()?), i64::from(*s.max_opt()?), data_type),
        Statistics::Int64(s) => integers(*s.min_opt()?, *s.max_opt()?, data_type),
        Statistics::Float(s) => floats(f64::from(*s.min_opt()?), f64::from(*s.max_opt()?)),
        Statistics::Double(s) => floats(*s.min_opt()?, *s.max_opt()?),
        // INT96 was ordered wrongly by several writers.
        Statistics::Int96(_) => None,
        Statistics::ByteArray(_) | Statistics::FixedLenByteArray(_) => {
            bytes(statistics.min_bytes_opt()?, statistics.max_bytes_opt()?, data_type)
        }
    }
}

fn floats(min: f64, max: f64) -> Option<(Value, Value)> {
    let outward = |value: f64, zero: f64| if value == 0.0 { zero } else { value };
    (!min.is_nan() && !max.is_nan()).then(|| (Value::Float(outward(min, -0.0)), Value::Float(outward(max, 0.0))))
}

fn integers(min: i64, max: i64, data_type: &DataType) -> Option<(Value, Value)> {
    use DataType as T;
    let both = |value: fn(i64) -> Value| Some((value(min), value(max)));
    match data_type {
        T::Int8 | T::Int16 | T::Int32 | T::Int64 => both(Value::Int),
        T::UInt8 | T::UInt16 | T::UInt32 => {
            // Stored as INT32, whose bits are the unsigned number's.
            let unsigned = |value: i64| i32::try_from(value).ok().map(|value| Value::Int(i64::from(value.cast_unsigned())));
            Some((unsigned(min)?, unsigned(max)?))
        }
        // Above i64::MAX a value does not fit; the bits are then negative.
        T::UInt64 => (min >= 0 && max >= 0).then_some((Value::Int(min), Value::Int(max))),
        T::Date => Some((Value::Date(i32::try_from(min).ok()?), Value::Date(i32::try_from(max).ok()?))),
        T::Decimal { scale, .. } => {
            let decimal = |value: i64| Value::Decimal { unscaled: i128::from(value), scale: *scale };
            Some((decimal(min), decimal(max)))
        }
        T::Time { unit } => Some((Value::Time(floor(min, *unit)?), Value::Time(ceil(max, *unit)?))),
        T::Timestamp { unit, .. } => Some((Value::Timestamp(floor(min, *unit)?), Value::Timestamp(ceil(max, *unit)?))),
        _ => None,
    }
}

fn floor(value: i64, unit: TimeUnit) -> Option<i64> {
    match unit {
        TimeUnit::Millis => value.checked_mul(1000),
        TimeUnit::Micros => Some(value),
        TimeUnit::Nanos => Some(value.div_euclid(1000)),
    }
}

fn ceil(value: i64, unit: TimeUnit) -> Option<i64> {
    match unit {
        TimeUnit::Nanos => Some(value.div_euclid(1000) + i64::from(value.rem_euclid(1000) != 0)),
        other => floor(value, other),
    }
}

fn bytes(min: &[u8], max: &[u8], data_type: &DataType) -> Option<(Value, Value)> {
    use DataType as T;
    match data_type {
        T::String => {
            // A bound cut inside a character is no text; it is left out rather than repaired.
            let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(|text| Value::String(text.to_owned()));
            Some((text(min)?, text(max)?))
        }
        T::Binary => Some((Value::Binary(min.to_vec()), Value::Binary(max.to_vec()))),
        T::Fixed { length } => fixed(min, max, *length as usize),
        T::Uuid => fixed(min, max, 16),
        T::Decimal { scale, .. } => {
            let decimal = |bytes| Some(Value::Decimal { unscaled: big_endian(bytes)?, scale: *scale });
            Some((decimal(min)?, decimal(max)?))
        }
        _ => None,
    }
}

/// A shortened bound of a fixed-length value is no value of its type.
fn fixed(min: &[u8], max: &[u8], length: usize) -> Option<(Value, Value)> {
    (min.len() == length && max.len() == length).then(|| (Value::Binary(min.to_vec()), Value::Binary(max.to_vec())))
}

/// A big-endian two's complement of up to 16 bytes (longer ones only where the rest is sign).
fn big_endian(bytes: &[u8]) -> Option<i128> {
    let negative = bytes.first()? & 0x80 != 0;
    let fill = if negative { 0xff } else { 0 };
    let (surplus, last) = bytes.split_at(bytes.len().saturating_sub(16));
    let mut buffer = [fill; 16];
    buffer[16 - last.len()..].copy_from_slice(last);
    let value = i128::from_be_bytes(buffer);
    (surplus.iter().all(|byte| *byte == fill) && (value < 0) == negative).then_some(value)
}
