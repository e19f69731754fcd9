//! One partition transform over one column.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, Date32Array, Int32Array, Int64Array, PrimitiveArray,
    StringArray,
};
use arrow::compute::{DatePart, date_part};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use lakeshift_core::partition::{Transform, TransformError, bucket_hash};

use super::PartitionError;
use crate::types;

const SECONDS_A_HOUR: i64 = 3600;
const SECONDS_A_DAY: i64 = 86_400;

/// `transform` of every element of `array`, in the Arrow type of [`Transform::result_type`]; `column` is for messages.
///
/// # Errors
/// [`PartitionError::Transform`] for a type that the transform does not take, [`PartitionError::Range`] for a value whose
/// result does not fit.
pub fn transform_array(transform: Transform, array: &ArrayRef, column: &str) -> Result<ArrayRef, PartitionError> {
    let range = || PartitionError::Range { column: column.to_owned(), transform };
    let refused = || PartitionError::Transform {
        field: column.to_owned(),
        source: TransformError::Type { transform, data_type: array.data_type().to_string() },
    };
    let result: ArrayRef = match transform {
        Transform::Identity => return Ok(Arc::clone(array)),
        Transform::Bucket(buckets) => bucket(array, buckets, column)?.ok_or_else(refused)?,
        Transform::Truncate(width) => truncate(array, width).ok_or_else(refused)?,
        Transform::Hour => Arc::new(hours(array).ok_or_else(refused)?),
        Transform::Day => Arc::new(days(array).ok_or_else(refused)?),
        Transform::Year => Arc::new(years(&days(array).ok_or_else(refused)?)?),
        Transform::Month => Arc::new(months(&days(array).ok_or_else(refused)?)?),
    };
    // The kernels make null of what does not fit.
    if result.null_count() > array.null_count() { Err(range()) } else { Ok(result) }
}

/// Days since 1970 of dates and timestamps; null where a day does not fit 32 bits.
fn days(array: &ArrayRef) -> Option<Date32Array> {
    match array.data_type() {
        DataType::Date32 => Some(array.as_primitive::<Date32Type>().clone()),
        DataType::Timestamp(unit, _) => Some(timestamps(array, *unit).unary_opt(units(*unit, SECONDS_A_DAY))),
        _ => None,
    }
}

fn hours(array: &ArrayRef) -> Option<Int32Array> {
    match array.data_type() {
        DataType::Timestamp(unit, _) => Some(timestamps(array, *unit).unary_opt(units(*unit, SECONDS_A_HOUR))),
        _ => None,
    }
}

/// Rounds a timestamp down to a count of spans of `seconds`.
fn units(unit: TimeUnit, seconds: i64) -> impl Fn(i64) -> Option<i32> {
    let span = seconds * per_second(unit);
    move |value| i32::try_from(value.div_euclid(span)).ok()
}

fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// A timestamp column's raw counts.
fn timestamps(array: &ArrayRef, unit: TimeUnit) -> Int64Array {
    match unit {
        TimeUnit::Second => array.as_primitive::<TimestampSecondType>().reinterpret_cast(),
        TimeUnit::Millisecond => array.as_primitive::<TimestampMillisecondType>().reinterpret_cast(),
        TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().reinterpret_cast(),
        TimeUnit::Nanosecond => array.as_primitive::<TimestampNanosecondType>().reinterpret_cast(),
    }
}

fn years(days: &Date32Array) -> Result<Int32Array, PartitionError> {
    Ok(date_part(days, DatePart::Year)?.as_primitive::<Int32Type>().unary(|year| year - 1970))
}

fn months(days: &Date32Array) -> Result<Int32Array, PartitionError> {
    let years = years(days)?;
    let months = date_part(days, DatePart::Month)?;
    Ok(arrow::compute::binary(&years, months.as_primitive::<Int32Type>(), |year, month| year * 12 + month - 1)?)
}

/// `None` for a type that does not hash.
fn bucket(array: &ArrayRef, buckets: u32, column: &str) -> Result<Option<ArrayRef>, PartitionError> {
    let bucket = |hash: u32| (hash & 0x7fff_ffff) % buckets.max(1);
    let bytes = |mut bytes: &[u8]| murmur3::murmur3_32(&mut bytes, 0).ok().map(bucket);
    let result: Vec<Option<u32>> = match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().iter().map(|text| bytes(text?.as_bytes())).collect(),
        DataType::Binary => array.as_binary::<i32>().iter().map(|value| bytes(value?)).collect(),
        DataType::FixedSizeBinary(_) => array.as_fixed_size_binary().iter().map(|value| bytes(value?)).collect(),
        DataType::Boolean | DataType::Float32 | DataType::Float64 => return Ok(None),
        _ => {
            let inexact = |source| PartitionError::Value { column: column.to_owned(), source };
            let hash = |row| types::value_at(array, row).map_err(inexact);
            let hash = |row| Ok::<_, PartitionError>(hash(row)?.as_ref().and_then(bucket_hash).map(bucket));
            (0..array.len()).map(hash).collect::<Result<_, _>>()?
        }
    };
    // A bucket's number is below 2^31.
    Ok(Some(Arc::new(result.into_iter().map(|bucket| bucket.map(u32::cast_signed)).collect::<Int32Array>())))
}

/// `None` for a type that is not truncated.
fn truncate(array: &ArrayRef, width: u32) -> Option<ArrayRef> {
    let width = width.max(1);
    let characters = width as usize;
    Some(match array.data_type() {
        DataType::Int8 => Arc::new(round_down::<Int8Type>(array, width)),
        DataType::Int16 => Arc::new(round_down::<Int16Type>(array, width)),
        DataType::Int32 => Arc::new(round_down::<Int32Type>(array, width)),
        DataType::Int64 => Arc::new(round_down::<Int64Type>(array, width)),
        DataType::Decimal128(_, _) => {
            let rounded = round_down::<Decimal128Type>(array, width);
            Arc::new(rounded.with_data_type(array.data_type().clone()))
        }
        DataType::Utf8 => Arc::new(
            array.as_string::<i32>().iter().map(|text| text.map(|text| prefix(text, characters))).collect::<StringArray>(),
        ),
        DataType::Binary => {
            let cut = |bytes: &'_ [u8]| bytes.len().min(characters);
            Arc::new(
                array
                    .as_binary::<i32>()
                    .iter()
                    .map(|value| value.map(|value| &value[..cut(value)]))
                    .collect::<BinaryArray>(),
            )
        }
        _ => return None,
    })
}

fn round_down<T>(array: &ArrayRef, width: u32) -> PrimitiveArray<T>
where
    T: ArrowPrimitiveType,
    T::Native: Into<i128> + TryFrom<i128>,
{
    array.as_primitive::<T>().unary_opt(|value| {
        let value: i128 = value.into();
        value.checked_sub(value.rem_euclid(i128::from(width)))?.try_into().ok()
    })
}

/// The first `characters` characters.
fn prefix(text: &str, characters: usize) -> &str {
    text.char_indices().nth(characters).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_truncation_that_overflows_is_an_error_and_null_stays_null() {
        let array: ArrayRef = Arc::new(arrow::array::Int8Array::from(vec![Some(-128), None]));
        assert!(matches!(transform_array(Transform::Truncate(100), &array, "a"), Err(PartitionError::Range { .. })));
        let array: ArrayRef = Arc::new(arrow::array::Int8Array::from(vec![Some(-1), None]));
        let result = transform_array(Transform::Truncate(100), &array, "a").unwrap();
        assert_eq!(result.as_primitive::<Int8Type>().iter().collect::<Vec<_>>(), [Some(-100), None]);
    }

    #[test]
    fn a_day_outside_of_the_calendar_is_an_error() {
        let array: ArrayRef = Arc::new(Date32Array::from(vec![i32::MAX]));
        assert!(matches!(transform_array(Transform::Month, &array, "a"), Err(PartitionError::Range { .. })));
    }
}
