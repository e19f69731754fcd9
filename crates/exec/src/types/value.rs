//! Single values: an array's element as a [`Value`], a [`Value`] as a DataFusion scalar of a column's type.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{self as arrow_types, ArrowPrimitiveType, DataType as ArrowType, TimeUnit as ArrowUnit};
use datafusion::common::ScalarValue;
use lakeshift_core::value::Value;

use super::TypeError;

/// The element at `row`; `None` where it is null.
///
/// # Errors
/// [`TypeError::Lossy`] for a value that [`Value`] cannot hold exactly (nanoseconds, unsigned above `i64::MAX`) and
/// [`TypeError::NoLogicalType`] for types that are no scalars.
pub fn value_at(array: &dyn Array, row: usize) -> Result<Option<Value>, TypeError> {
    if array.is_null(row) {
        return Ok(None);
    }
    let lossy = |reason| lossy(&array.data_type().to_string(), "a value", reason);
    Ok(Some(match array.data_type() {
        ArrowType::Boolean => Value::Boolean(array.as_boolean().value(row)),
        ArrowType::Int8 => Value::Int(native::<arrow_types::Int8Type>(array, row).into()),
        ArrowType::Int16 => Value::Int(native::<arrow_types::Int16Type>(array, row).into()),
        ArrowType::Int32 => Value::Int(native::<arrow_types::Int32Type>(array, row).into()),
        ArrowType::Int64 => Value::Int(native::<arrow_types::Int64Type>(array, row)),
        ArrowType::UInt8 => Value::Int(native::<arrow_types::UInt8Type>(array, row).into()),
        ArrowType::UInt16 => Value::Int(native::<arrow_types::UInt16Type>(array, row).into()),
        ArrowType::UInt32 => Value::Int(native::<arrow_types::UInt32Type>(array, row).into()),
        ArrowType::UInt64 => {
            let value = native::<arrow_types::UInt64Type>(array, row);
            Value::Int(i64::try_from(value).map_err(|_| lossy("it is above 9223372036854775807"))?)
        }
        ArrowType::Float32 => Value::Float(native::<arrow_types::Float32Type>(array, row).into()),
        ArrowType::Float64 => Value::Float(native::<arrow_types::Float64Type>(array, row)),
        ArrowType::Decimal128(_, scale) => Value::Decimal {
            unscaled: native::<arrow_types::Decimal128Type>(array, row),
            scale: u8::try_from(*scale).map_err(|_| lossy("its scale is negative"))?,
        },
        ArrowType::Date32 => Value::Date(native::<arrow_types::Date32Type>(array, row)),
        ArrowType::Time32(_) | ArrowType::Time64(_) => Value::Time(time_micros(array, row)?),
        ArrowType::Timestamp(unit, _) => Value::Timestamp(timestamp_micros(array, *unit, row)?),
        ArrowType::Utf8 => Value::String(array.as_string::<i32>().value(row).to_owned()),
        ArrowType::LargeUtf8 => Value::String(array.as_string::<i64>().value(row).to_owned()),
        ArrowType::Utf8View => Value::String(array.as_string_view().value(row).to_owned()),
        ArrowType::Binary => Value::Binary(array.as_binary::<i32>().value(row).to_vec()),
        ArrowType::LargeBinary => Value::Binary(array.as_binary::<i64>().value(row).to_vec()),
        ArrowType::BinaryView => Value::Binary(array.as_binary_view().value(row).to_vec()),
        ArrowType::FixedSizeBinary(_) => Value::Binary(array.as_fixed_size_binary().value(row).to_vec()),
        other => return Err(no_scalar(other)),
    }))
}

fn native<T: ArrowPrimitiveType>(array: &dyn Array, row: usize) -> T::Native {
    array.as_primitive::<T>().value(row)
}

fn time_micros(array: &dyn Array, row: usize) -> Result<i64, TypeError> {
    let (value, unit) = match array.data_type() {
        ArrowType::Time32(ArrowUnit::Second) => {
            (native::<arrow_types::Time32SecondType>(array, row).into(), ArrowUnit::Second)
        }
        ArrowType::Time32(_) => (native::<arrow_types::Time32MillisecondType>(array, row).into(), ArrowUnit::Millisecond),
        ArrowType::Time64(ArrowUnit::Nanosecond) => {
            (native::<arrow_types::Time64NanosecondType>(array, row), ArrowUnit::Nanosecond)
        }
        _ => (native::<arrow_types::Time64MicrosecondType>(array, row), ArrowUnit::Microsecond),
    };
    to_micros(value, unit).ok_or_else(|| micros_lost(array.data_type()))
}

fn timestamp_micros(array: &dyn Array, unit: ArrowUnit, row: usize) -> Result<i64, TypeError> {
    let value = match unit {
        ArrowUnit::Second => native::<arrow_types::TimestampSecondType>(array, row),
        ArrowUnit::Millisecond => native::<arrow_types::TimestampMillisecondType>(array, row),
        ArrowUnit::Microsecond => native::<arrow_types::TimestampMicrosecondType>(array, row),
        ArrowUnit::Nanosecond => native::<arrow_types::TimestampNanosecondType>(array, row),
    };
    to_micros(value, unit).ok_or_else(|| micros_lost(array.data_type()))
}

/// Exact microseconds; `None` where a fraction or an overflow would be lost.
fn to_micros(value: i64, unit: ArrowUnit) -> Option<i64> {
    match unit {
        ArrowUnit::Second => value.checked_mul(1_000_000),
        ArrowUnit::Millisecond => value.checked_mul(1000),
        ArrowUnit::Microsecond => Some(value),
        ArrowUnit::Nanosecond => (value % 1000 == 0).then_some(value / 1000),
    }
}

/// Exact `unit`s; `None` where a fraction or an overflow would be lost.
fn from_micros(micros: i64, unit: ArrowUnit) -> Option<i64> {
    match unit {
        ArrowUnit::Second => (micros % 1_000_000 == 0).then_some(micros / 1_000_000),
        ArrowUnit::Millisecond => (micros % 1000 == 0).then_some(micros / 1000),
        ArrowUnit::Microsecond => Some(micros),
        ArrowUnit::Nanosecond => micros.checked_mul(1000),
    }
}

/// `value` (or null) as a scalar of the column type `to`.
///
/// # Errors
/// [`TypeError::Lossy`] where `to` cannot hold the value exactly or is of another kind.
pub fn scalar(value: Option<&Value>, to: &ArrowType) -> Result<ScalarValue, TypeError> {
    let Some(value) = value else {
        return ScalarValue::try_from(to).map_err(|_| no_scalar(to));
    };
    let refused = |reason| lossy(kind(value), &to.to_string(), reason);
    match value {
        Value::Boolean(value) if *to == ArrowType::Boolean => Ok(ScalarValue::Boolean(Some(*value))),
        Value::Int(value) => integer(*value, to).ok_or_else(|| refused("it is out of range or of another kind")),
        Value::Float(value) => float(*value, to).ok_or_else(|| refused("it is no number of that width")),
        Value::Decimal { unscaled, scale } => {
            decimal(*unscaled, *scale, to).ok_or_else(|| refused("precision or scale differ"))
        }
        Value::Date(days) if *to == ArrowType::Date32 => Ok(ScalarValue::Date32(Some(*days))),
        Value::Time(micros) => time(*micros, to).ok_or_else(|| refused("the unit is too coarse")),
        Value::Timestamp(micros) => timestamp(*micros, to).ok_or_else(|| refused("the unit is too coarse or too fine")),
        Value::String(text) => string(text, to).ok_or_else(|| refused("it is of another kind")),
        Value::Binary(bytes) => binary(bytes, to).ok_or_else(|| refused("its length or kind differs")),
        _ => Err(refused("it is of another kind")),
    }
}

fn integer(value: i64, to: &ArrowType) -> Option<ScalarValue> {
    Some(match to {
        ArrowType::Int8 => ScalarValue::Int8(Some(value.try_into().ok()?)),
        ArrowType::Int16 => ScalarValue::Int16(Some(value.try_into().ok()?)),
        ArrowType::Int32 => ScalarValue::Int32(Some(value.try_into().ok()?)),
        ArrowType::Int64 => ScalarValue::Int64(Some(value)),
        ArrowType::UInt8 => ScalarValue::UInt8(Some(value.try_into().ok()?)),
        ArrowType::UInt16 => ScalarValue::UInt16(Some(value.try_into().ok()?)),
        ArrowType::UInt32 => ScalarValue::UInt32(Some(value.try_into().ok()?)),
        ArrowType::UInt64 => ScalarValue::UInt64(Some(value.try_into().ok()?)),
        _ => return None,
    })
}

fn float(value: f64, to: &ArrowType) -> Option<ScalarValue> {
    #[expect(clippy::cast_possible_truncation, reason = "the next line checks that nothing was lost")]
    let narrow = value as f32;
    let exact = value.is_nan() || f64::from(narrow).to_bits() == value.to_bits();
    match to {
        ArrowType::Float64 => Some(ScalarValue::Float64(Some(value))),
        ArrowType::Float32 if exact => Some(ScalarValue::Float32(Some(narrow))),
        _ => None,
    }
}

fn decimal(unscaled: i128, scale: u8, to: &ArrowType) -> Option<ScalarValue> {
    let ArrowType::Decimal128(precision, to_scale) = to else { return None };
    let fits = 10_u128.checked_pow(u32::from(*precision)).is_none_or(|bound| unscaled.unsigned_abs() < bound);
    (fits && i8::try_from(scale) == Ok(*to_scale)).then_some(ScalarValue::Decimal128(Some(unscaled), *precision, *to_scale))
}

fn time(micros: i64, to: &ArrowType) -> Option<ScalarValue> {
    match to {
        ArrowType::Time32(unit @ ArrowUnit::Millisecond) => {
            Some(ScalarValue::Time32Millisecond(Some(from_micros(micros, *unit)?.try_into().ok()?)))
        }
        ArrowType::Time64(ArrowUnit::Microsecond) => Some(ScalarValue::Time64Microsecond(Some(micros))),
        ArrowType::Time64(unit @ ArrowUnit::Nanosecond) => {
            Some(ScalarValue::Time64Nanosecond(Some(from_micros(micros, *unit)?)))
        }
        _ => None,
    }
}

fn timestamp(micros: i64, to: &ArrowType) -> Option<ScalarValue> {
    let ArrowType::Timestamp(unit, zone) = to else { return None };
    let (value, zone) = (Some(from_micros(micros, *unit)?), zone.clone());
    Some(match unit {
        ArrowUnit::Second => ScalarValue::TimestampSecond(value, zone),
        ArrowUnit::Millisecond => ScalarValue::TimestampMillisecond(value, zone),
        ArrowUnit::Microsecond => ScalarValue::TimestampMicrosecond(value, zone),
        ArrowUnit::Nanosecond => ScalarValue::TimestampNanosecond(value, zone),
    })
}

fn string(text: &str, to: &ArrowType) -> Option<ScalarValue> {
    let text = Some(text.to_owned());
    match to {
        ArrowType::Utf8 => Some(ScalarValue::Utf8(text)),
        ArrowType::LargeUtf8 => Some(ScalarValue::LargeUtf8(text)),
        ArrowType::Utf8View => Some(ScalarValue::Utf8View(text)),
        _ => None,
    }
}

fn binary(bytes: &[u8], to: &ArrowType) -> Option<ScalarValue> {
    let value = Some(bytes.to_vec());
    match to {
        ArrowType::Binary => Some(ScalarValue::Binary(value)),
        ArrowType::LargeBinary => Some(ScalarValue::LargeBinary(value)),
        ArrowType::BinaryView => Some(ScalarValue::BinaryView(value)),
        ArrowType::FixedSizeBinary(length) if i32::try_from(bytes.len()) == Ok(*length) => {
            Some(ScalarValue::FixedSizeBinary(*length, value))
        }
        _ => None,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Boolean(_) => "boolean",
        Value::Int(_) => "integer",
        Value::Float(_) => "float",
        Value::Decimal { .. } => "decimal",
        Value::Date(_) => "date",
        Value::Time(_) => "time",
        Value::Timestamp(_) => "timestamp",
        Value::String(_) => "string",
        Value::Binary(_) => "binary",
    }
}

fn lossy(from: &str, to: &str, reason: &'static str) -> TypeError {
    TypeError::Lossy { from: from.to_owned(), to: to.to_owned(), reason }
}

fn micros_lost(from: &ArrowType) -> TypeError {
    lossy(&from.to_string(), "microseconds", "a fraction of a microsecond would be lost, or it is out of range")
}

fn no_scalar(data_type: &ArrowType) -> TypeError {
    let advice = "use a column of a scalar type for partition values and keys";
    TypeError::NoLogicalType { column: "value".to_owned(), found: data_type.to_string(), advice }
}
