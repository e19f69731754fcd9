//! Log records as Arrow: from Avro values, and from the Parquet files that stand in blocks.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Float32Array, Float64Array,
    Int32Array, Int64Array, ListArray, MapArray, RecordBatch, RecordBatchOptions, StringArray, StructArray, new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Fields, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use lakeshift_core::avro::{Logical, Schema, Value};

use crate::scan::mismatch;

/// Casts that lose nothing fail rather than give null.
const STRICT: CastOptions<'static> = CastOptions { safe: false, format_options: arrow::util::display::FormatOptions::new() };
/// Bytes of a decimal, at most.
const DECIMAL_BYTES: usize = 16;

type Result<T> = std::result::Result<T, ArrowError>;
/// The values of a column; none where it is null.
type Column<'v, 'a> = Vec<Option<&'v Value<'a>>>;

/// Records of `schema` as rows of `target`, whose columns are found by name; a column that they lack is null.
pub(super) fn from_avro(records: &[Value<'_>], schema: &Schema, target: &SchemaRef) -> Result<RecordBatch> {
    let rows: Column<'_, '_> = records.iter().map(Some).collect();
    let columns = members(&rows, schema, target.fields())?;
    let options = RecordBatchOptions::new().with_row_count(Some(records.len()));
    RecordBatch::try_new_with_options(Arc::clone(target), columns, &options)
}

/// A batch of a Parquet block as rows of `target`.
pub(super) fn from_batch(batch: &RecordBatch, target: &SchemaRef) -> Result<RecordBatch> {
    let column = |field: &Arc<Field>| {
        let Some((position, found)) = batch.schema_ref().column_with_name(field.name()) else {
            return Ok(new_null_array(field.data_type(), batch.num_rows()));
        };
        if mismatch(found, field).is_some() {
            return Err(unfit(field, &found.data_type().to_string()));
        }
        cast_with_options(batch.column(position), field.data_type(), &STRICT)
    };
    let columns = target.fields().iter().map(column).collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(target), columns, &options)
}

fn unfit(field: &Field, found: &str) -> ArrowError {
    let (name, expected) = (field.name(), field.data_type());
    ArrowError::SchemaError(format!("{name} is {found} in the log and {expected} in the table"))
}

/// A record's members, by name.
fn members(rows: &Column<'_, '_>, schema: &Schema, fields: &Fields) -> Result<Vec<ArrayRef>> {
    let member = |field: &Arc<Field>| {
        let Some(position) = schema.fields().iter().position(|(name, _)| name == field.name()) else {
            return Ok(new_null_array(field.data_type(), rows.len()));
        };
        column(rows.iter().map(|row| nth(*row, position)).collect(), &schema.fields()[position].1, field)
    };
    fields.iter().map(member).collect()
}

/// The member at `position` of a record; none where there is no record.
fn nth<'v, 'a>(record: Option<&'v Value<'a>>, position: usize) -> Option<&'v Value<'a>> {
    match record {
        Some(Value::Record(members)) => members.get(position),
        _ => None,
    }
}

/// A column of type `schema` as the column `field`.
fn column(values: Column<'_, '_>, schema: &Schema, field: &Field) -> Result<ArrayRef> {
    use DataType as T;
    let schema = schema.nullable().unwrap_or(schema);
    let values: Column<'_, '_> = values.into_iter().map(|value| value.filter(|value| **value != Value::Null)).collect();
    let unfit = || unfit(field, &format!("{schema:?}"));
    Ok(match (schema, field.data_type()) {
        (Schema::Boolean, T::Boolean) => Arc::new(collect::<BooleanArray, _>(&values, boolean)),
        (Schema::Int, T::Int32) => Arc::new(collect::<Int32Array, _>(&values, int)),
        (Schema::Int | Schema::Long, T::Int64) => Arc::new(collect::<Int64Array, _>(&values, long)),
        (Schema::Float, T::Float32) => Arc::new(collect::<Float32Array, _>(&values, float)),
        (Schema::Float | Schema::Double, T::Float64) => Arc::new(collect::<Float64Array, _>(&values, double)),
        (Schema::String | Schema::Enum(_), T::Utf8) => {
            Arc::new(values.iter().map(|value| value.and_then(|value| text(value, schema))).collect::<StringArray>())
        }
        (Schema::Bytes | Schema::Fixed(_), T::Binary) => {
            Arc::new(values.iter().map(|value| value.and_then(bytes)).collect::<BinaryArray>())
        }
        (Schema::Fixed(length), T::FixedSizeBinary(size)) if i32::try_from(*length) == Ok(*size) => {
            let values = values.iter().map(|value| value.and_then(bytes));
            Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(values, *size)?)
        }
        (Schema::Logical(plain, logical), _) => meant(&values, plain, logical, field)?,
        (Schema::Array(items), T::List(element)) => list(&values, items, element)?,
        (Schema::Map(inner), T::Map(entries, _)) => map(&values, inner, entries).transpose()?.ok_or_else(unfit)?,
        (Schema::Record(_), T::Struct(fields)) => {
            let nulls: NullBuffer = values.iter().map(Option::is_some).collect();
            let members = members(&values, schema, fields)?;
            Arc::new(StructArray::try_new_with_length(fields.clone(), members, Some(nulls), values.len())?)
        }
        _ => return Err(unfit()),
    })
}

fn collect<A: FromIterator<Option<N>>, N>(values: &Column<'_, '_>, one: fn(&Value<'_>) -> Option<N>) -> A {
    values.iter().map(|value| value.and_then(one)).collect()
}

fn boolean(value: &Value<'_>) -> Option<bool> {
    if let Value::Boolean(value) = value { Some(*value) } else { None }
}

fn int(value: &Value<'_>) -> Option<i32> {
    if let Value::Int(value) = value { Some(*value) } else { None }
}

fn long(value: &Value<'_>) -> Option<i64> {
    match value {
        Value::Int(value) => Some((*value).into()),
        Value::Long(value) => Some(*value),
        _ => None,
    }
}

fn float(value: &Value<'_>) -> Option<f32> {
    if let Value::Float(value) = value { Some(*value) } else { None }
}

fn double(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Float(value) => Some((*value).into()),
        Value::Double(value) => Some(*value),
        _ => None,
    }
}

fn text<'a>(value: &Value<'a>, schema: &'a Schema) -> Option<&'a str> {
    match (value, schema) {
        (Value::String(text), _) => Some(*text),
        (Value::Symbol(index), Schema::Enum(symbols)) => symbols.get(*index).map(String::as_str),
        _ => None,
    }
}

fn bytes<'a>(value: &Value<'a>) -> Option<&'a [u8]> {
    if let Value::Bytes(bytes) = value { Some(*bytes) } else { None }
}

/// A type with a meaning, as the same meaning; milliseconds widen to microseconds.
fn meant(values: &Column<'_, '_>, plain: &Schema, logical: &Logical, field: &Field) -> Result<ArrayRef> {
    use DataType as T;
    let unfit = || unfit(field, &format!("{logical:?}"));
    let millis = matches!(logical, Logical::TimestampMillis | Logical::LocalTimestampMillis | Logical::TimeMillis);
    Ok(match (logical, field.data_type()) {
        (Logical::Decimal { precision, scale }, T::Decimal128(digits, fraction)) => {
            let whole = |precision: u8, scale: i16| i16::from(precision) - scale;
            let fits = i16::from(*scale) == i16::from(*fraction)
                && whole(*precision, i16::from(*scale)) <= whole(*digits, i16::from(*fraction));
            if !fits {
                return Err(unfit());
            }
            let decimals = values.iter().map(|value| value.and_then(bytes).map(unscaled).transpose());
            let decimals = decimals.collect::<Result<Decimal128Array>>()?.with_precision_and_scale(*digits, *fraction)?;
            decimals.validate_decimal_precision(*digits)?;
            Arc::new(decimals)
        }
        (Logical::Date, T::Date32) => Arc::new(collect::<Date32Array, _>(values, int)),
        (Logical::Uuid, T::Utf8) => {
            Arc::new(values.iter().map(|value| value.and_then(|value| text(value, plain))).collect::<StringArray>())
        }
        (
            Logical::TimestampMillis
            | Logical::TimestampMicros
            | Logical::LocalTimestampMillis
            | Logical::LocalTimestampMicros,
            T::Timestamp(..),
        )
        | (Logical::TimeMillis | Logical::TimeMicros, T::Time32(_) | T::Time64(_)) => {
            let own = match (logical, millis) {
                (Logical::TimeMillis, _) => T::Time32(TimeUnit::Millisecond),
                (Logical::TimeMicros, _) => T::Time64(TimeUnit::Microsecond),
                (Logical::TimestampMillis, _) => T::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
                (Logical::TimestampMicros, _) => T::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
                (_, true) => T::Timestamp(TimeUnit::Millisecond, None),
                (_, false) => T::Timestamp(TimeUnit::Microsecond, None),
            };
            if mismatch(&Field::new(field.name(), own.clone(), true), &field.clone().with_nullable(true)).is_some() {
                return Err(unfit());
            }
            let numbers: ArrayRef = match own {
                T::Time32(_) => Arc::new(collect::<Int32Array, _>(values, int)),
                _ => Arc::new(collect::<Int64Array, _>(values, long)),
            };
            cast_with_options(&cast_with_options(&numbers, &own, &STRICT)?, field.data_type(), &STRICT)?
        }
        _ => return Err(unfit()),
    })
}

/// Big-endian two's complement.
pub(super) fn unscaled(bytes: &[u8]) -> Result<i128> {
    let invalid = || ArrowError::CastError("a decimal has no bytes, or more than 16".to_owned());
    let first = bytes.first().filter(|_| bytes.len() <= DECIMAL_BYTES).ok_or_else(invalid)?;
    let mut whole = [if first & 0x80 == 0 { 0 } else { 0xff }; DECIMAL_BYTES];
    whole[DECIMAL_BYTES - bytes.len()..].copy_from_slice(bytes);
    Ok(i128::from_be_bytes(whole))
}

fn list(values: &Column<'_, '_>, items: &Schema, element: &Arc<Field>) -> Result<ArrayRef> {
    let of = |value: &Option<&_>| match value {
        Some(Value::Array(items)) => items.len(),
        _ => 0,
    };
    let offsets = OffsetBuffer::from_lengths(values.iter().map(of));
    let nulls: NullBuffer = values.iter().map(Option::is_some).collect();
    let all = values.iter().flatten().flat_map(|value| match value {
        Value::Array(items) => items.iter(),
        _ => [].iter(),
    });
    let elements = column(all.map(Some).collect(), items, element)?;
    Ok(Arc::new(ListArray::try_new(Arc::clone(element), offsets, elements, Some(nulls))?))
}

/// `None` where `entries` is no map's.
fn map(values: &Column<'_, '_>, inner: &Schema, entries: &Arc<Field>) -> Option<Result<ArrayRef>> {
    let DataType::Struct(fields) = entries.data_type() else { return None };
    let [key, value] = &fields[..] else { return None };
    let pairs = |value: &Value<'_>| if let Value::Map(pairs) = value { pairs.len() } else { 0 };
    let offsets = OffsetBuffer::from_lengths(values.iter().map(|value| value.map_or(0, pairs)));
    let nulls: NullBuffer = values.iter().map(Option::is_some).collect();
    let all = || {
        values.iter().flatten().flat_map(|value| match value {
            Value::Map(pairs) => pairs.iter(),
            _ => [].iter(),
        })
    };
    let build = || -> Result<ArrayRef> {
        if *key.data_type() != DataType::Utf8 {
            return Err(unfit(key, "text"));
        }
        let keys: StringArray = all().map(|(name, _)| Some(*name)).collect();
        let values = column(all().map(|(_, value)| Some(value)).collect(), inner, value)?;
        let pairs =
            StructArray::try_new_with_length(fields.clone(), vec![Arc::new(keys) as ArrayRef, values], None, all().count())?;
        Ok(Arc::new(MapArray::try_new(Arc::clone(entries), offsets, pairs, Some(nulls), false)?))
    };
    Some(build())
}
