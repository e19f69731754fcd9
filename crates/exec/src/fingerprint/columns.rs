//! One column's hashes for a range of rows: a loop for each class of arrays, over the same words that
//! [`RowEncoder`](crate::encode::RowEncoder) would write.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes as types;
use arrow::datatypes::{ArrowPrimitiveType, DataType, TimeUnit};
use lakeshift_core::equivalence::{Encoding, FloatZeros};

use super::universal::ColumnKeys;
use crate::encode::{CellEncoder, EncodeError, decimal_parts, float_bits, seconds_parts, tag};

/// Hashes one compared column, batch by batch.
#[derive(Debug)]
pub(super) struct ColumnHasher {
    name: String,
    keys: ColumnKeys,
    encoding: Encoding,
    /// The hashes of the last dictionary's values: batches of one row group share theirs.
    dictionary: Option<(ArrayRef, Vec<u128>)>,
}

impl ColumnHasher {
    /// A hasher of the column that this side calls `name`.
    pub(super) fn new(name: &str, keys: ColumnKeys, encoding: Encoding) -> Self {
        Self { name: name.to_owned(), keys, encoding, dictionary: None }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn keys(&self) -> &ColumnKeys {
        &self.keys
    }

    /// Replaces `out` by the hashes of the array's rows in `rows`; null's is 0.
    ///
    /// # Errors
    /// [`EncodeError::Unsupported`].
    pub(super) fn hash(&mut self, array: &ArrayRef, rows: Range<usize>, out: &mut Vec<u128>) -> Result<(), EncodeError> {
        out.clear();
        if number(&self.keys, array, rows.clone(), self.encoding, out)
            || time(&self.keys, array, rows.clone(), out)
            || bytes(&self.keys, array, rows.clone(), out)
        {
            return Ok(());
        }
        match array.data_type() {
            DataType::Dictionary(..) => self.dictionary(array, rows, out),
            _ => encoded(&self.keys, &self.name, array, rows, self.encoding, out),
        }
    }

    fn dictionary(&mut self, array: &ArrayRef, rows: Range<usize>, out: &mut Vec<u128>) -> Result<(), EncodeError> {
        let dictionary = array.as_any_dictionary();
        let known = self.dictionary.take().filter(|(values, _)| Arc::ptr_eq(values, dictionary.values()));
        let (values, hashes) = match known {
            Some(known) => known,
            None => {
                let mut hashes = Vec::with_capacity(dictionary.values().len());
                self.hash(dictionary.values(), 0..dictionary.values().len(), &mut hashes)?;
                (Arc::clone(dictionary.values()), hashes)
            }
        };
        let keys = dictionary.keys();
        let at = |key: usize| hashes.get(key).copied().unwrap_or(0);
        match dictionary.keys().data_type() {
            DataType::Int32 => {
                let keys = keys.as_primitive::<types::Int32Type>();
                each(keys, rows, out, |keys, row| at(keys.value(row) as usize));
            }
            _ if !values.is_empty() => {
                let normalized = dictionary.normalized_keys();
                out.extend(rows.map(|row| if keys.is_null(row) { 0 } else { at(normalized[row]) }));
            }
            _ => out.extend(rows.map(|_| 0)),
        }
        self.dictionary = Some((values, hashes));
        Ok(())
    }
}

/// Arrays without a loop of their own: each cell is encoded, then hashed.
fn encoded(
    keys: &ColumnKeys,
    name: &str,
    array: &ArrayRef,
    rows: Range<usize>,
    encoding: Encoding,
    out: &mut Vec<u128>,
) -> Result<(), EncodeError> {
    let encoder = CellEncoder::new(name, array.as_ref(), encoding)?;
    let mut cell = Vec::new();
    out.extend(rows.map(|row| {
        cell.clear();
        encoder.encode(row, &mut cell);
        keys.encoded(&cell)
    }));
    Ok(())
}

#[inline(always)]
fn each<A: Array>(array: &A, rows: Range<usize>, out: &mut Vec<u128>, hash: impl Fn(&A, usize) -> u128) -> bool {
    if array.null_count() == 0 {
        out.extend(rows.map(|row| hash(array, row)));
    } else {
        out.extend(rows.map(|row| if array.is_null(row) { 0 } else { hash(array, row) }));
    }
    true
}

#[inline(always)]
fn primitive<T: ArrowPrimitiveType>(
    array: &ArrayRef,
    rows: Range<usize>,
    out: &mut Vec<u128>,
    hash: impl Fn(T::Native) -> u128,
) -> bool {
    each(array.as_primitive::<T>(), rows, out, |array: &PrimitiveArray<T>, row| hash(array.value(row)))
}

/// Hashes integers: the head is the same for all.
#[derive(Clone, Copy)]
struct Integers<'k> {
    keys: &'k ColumnKeys,
    head: u128,
}

impl<'k> Integers<'k> {
    fn new(keys: &'k ColumnKeys) -> Self {
        Self { keys, head: keys.head(tag::INTEGER, 8) }
    }

    #[inline(always)]
    fn hash(self, value: i64) -> u128 {
        self.head.wrapping_add(self.keys.word_pair(value.cast_unsigned()))
    }
}

fn number(keys: &ColumnKeys, array: &ArrayRef, rows: Range<usize>, encoding: Encoding, out: &mut Vec<u128>) -> bool {
    let integers = Integers::new(keys);
    let float_head = keys.head(tag::FLOAT, 8);
    let zeros_equal = encoding.float_zeros == FloatZeros::Equal;
    let float = |value: f64| float_head.wrapping_add(keys.word_pair(float_bits(value, zeros_equal)));
    match array.data_type() {
        DataType::Boolean => {
            let hashes = [false, true].map(|value| keys.payload(tag::BOOLEAN, &[u8::from(value)]));
            each(array.as_boolean(), rows, out, |array, row| hashes[usize::from(array.value(row))])
        }
        DataType::Int8 => primitive::<types::Int8Type>(array, rows, out, |value| integers.hash(value.into())),
        DataType::Int16 => primitive::<types::Int16Type>(array, rows, out, |value| integers.hash(value.into())),
        DataType::Int32 => primitive::<types::Int32Type>(array, rows, out, |value| integers.hash(value.into())),
        DataType::Int64 => primitive::<types::Int64Type>(array, rows, out, |value| integers.hash(value)),
        DataType::UInt8 => primitive::<types::UInt8Type>(array, rows, out, |value| integers.hash(value.into())),
        DataType::UInt16 => primitive::<types::UInt16Type>(array, rows, out, |value| integers.hash(value.into())),
        DataType::UInt32 => primitive::<types::UInt32Type>(array, rows, out, |value| integers.hash(value.into())),
        DataType::Float32 => primitive::<types::Float32Type>(array, rows, out, |value| float(value.into())),
        DataType::Float64 => primitive::<types::Float64Type>(array, rows, out, float),
        DataType::Decimal32(_, scale) => decimal::<types::Decimal32Type>(integers, array, *scale, rows, out),
        DataType::Decimal64(_, scale) => decimal::<types::Decimal64Type>(integers, array, *scale, rows, out),
        DataType::Decimal128(_, scale) => decimal::<types::Decimal128Type>(integers, array, *scale, rows, out),
        _ => false,
    }
}

/// Decimals whose digits fit in 64 bits take a short way; the others are encoded.
fn decimal<T: ArrowPrimitiveType<Native: Into<i128>>>(
    integers: Integers<'_>,
    array: &ArrayRef,
    scale: i8,
    rows: Range<usize>,
    out: &mut Vec<u128>,
) -> bool {
    let keys = integers.keys;
    let head = keys.head(tag::DECIMAL_128, 18);
    let negative = keys.word(4, u32::MAX).wrapping_add(keys.word(5, 0xffff));
    let fraction = |mantissa: i64, exponent: i32| {
        // The payload is two bytes of exponent, then the mantissa of 128 bits: words that lie across the two.
        let first = (exponent as u32 & 0xffff) | (mantissa as u32) << 16;
        let hash = head.wrapping_add(keys.word(1, first)).wrapping_add(keys.word(2, (mantissa >> 16) as u32));
        let hash = hash.wrapping_add(keys.word(3, (mantissa >> 48) as u32));
        if mantissa < 0 { hash.wrapping_add(negative) } else { hash }
    };
    primitive::<T>(array, rows, out, |value| {
        let value: i128 = value.into();
        match i64::try_from(value).ok().filter(|_| scale >= 0) {
            Some(small) => match decimal_parts(small, scale.unsigned_abs()) {
                (integer, 0) => integers.hash(integer),
                (mantissa, exponent) => fraction(mantissa, exponent),
            },
            None => {
                let mut cell = Vec::new();
                crate::encode::write_decimal_cell(value, scale.into(), &mut cell);
                keys.encoded(&cell)
            }
        }
    })
}

fn time(keys: &ColumnKeys, array: &ArrayRef, rows: Range<usize>, out: &mut Vec<u128>) -> bool {
    let zone_tag = |zone: bool| if zone { tag::TIMESTAMP_UTC } else { tag::TIMESTAMP };
    match array.data_type() {
        DataType::Date32 => {
            let head = keys.head(tag::DATE, 4);
            primitive::<types::Date32Type>(array, rows, out, |days| head.wrapping_add(keys.word(1, days.cast_unsigned())))
        }
        DataType::Time32(TimeUnit::Second) => seconds::<types::Time32SecondType, 1>(keys, tag::TIME, array, rows, out),
        DataType::Time32(_) => seconds::<types::Time32MillisecondType, 1_000>(keys, tag::TIME, array, rows, out),
        DataType::Time64(TimeUnit::Microsecond) => {
            seconds::<types::Time64MicrosecondType, 1_000_000>(keys, tag::TIME, array, rows, out)
        }
        DataType::Time64(_) => seconds::<types::Time64NanosecondType, 1_000_000_000>(keys, tag::TIME, array, rows, out),
        DataType::Timestamp(unit, zone) => {
            let tag = zone_tag(zone.is_some());
            match unit {
                TimeUnit::Second => seconds::<types::TimestampSecondType, 1>(keys, tag, array, rows, out),
                TimeUnit::Millisecond => seconds::<types::TimestampMillisecondType, 1_000>(keys, tag, array, rows, out),
                TimeUnit::Microsecond => seconds::<types::TimestampMicrosecondType, 1_000_000>(keys, tag, array, rows, out),
                TimeUnit::Nanosecond => {
                    seconds::<types::TimestampNanosecondType, 1_000_000_000>(keys, tag, array, rows, out)
                }
            }
        }
        _ => false,
    }
}

/// `PER_SECOND` is a constant so that the division is a multiplication.
fn seconds<T: ArrowPrimitiveType<Native: Into<i64>>, const PER_SECOND: i64>(
    keys: &ColumnKeys,
    tag: u8,
    array: &ArrayRef,
    rows: Range<usize>,
    out: &mut Vec<u128>,
) -> bool {
    let head = keys.head(tag, 12);
    primitive::<T>(array, rows, out, |value| {
        let (seconds, nanos) = seconds_parts(value.into(), PER_SECOND);
        head.wrapping_add(keys.word_pair(seconds.cast_unsigned())).wrapping_add(keys.word(3, nanos))
    })
}

fn bytes(keys: &ColumnKeys, array: &ArrayRef, rows: Range<usize>, out: &mut Vec<u128>) -> bool {
    let text = |text: &str| keys.payload(tag::TEXT, text.as_bytes());
    let data = |data: &[u8]| keys.payload(tag::BYTES, data);
    match array.data_type() {
        DataType::Utf8 => each(array.as_string::<i32>(), rows, out, |array, row| text(array.value(row))),
        DataType::LargeUtf8 => each(array.as_string::<i64>(), rows, out, |array, row| text(array.value(row))),
        DataType::Utf8View => each(array.as_string_view(), rows, out, |array, row| text(array.value(row))),
        DataType::Binary => each(array.as_binary::<i32>(), rows, out, |array, row| data(array.value(row))),
        DataType::LargeBinary => each(array.as_binary::<i64>(), rows, out, |array, row| data(array.value(row))),
        DataType::BinaryView => each(array.as_binary_view(), rows, out, |array, row| data(array.value(row))),
        DataType::FixedSizeBinary(_) => each(array.as_fixed_size_binary(), rows, out, |array, row| data(array.value(row))),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
