//! One column's hashes for a range of rows: a loop for each class of arrays, over the same words that
//! [`RowEncoder`](crate::encode::RowEncoder) would write.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes as types;
use arrow::datatypes::{ArrowPrimitiveType, DataType, TimeUnit};
use lakeshift_core::equivalence::{Encoding, FloatZeros};

use super::universal::{ColumnKeys, Mixers, part};
use crate::encode::{CellEncoder, EncodeError, decimal_parts, float_bits, seconds_parts, tag};

/// What becomes of the hashes of a chunk's rows. They are never stored in between: a chunk's loop hashes a value and adds
/// the hash where it belongs.
pub(super) trait Sink {
    /// Takes the hash of every row, in order; null's is 0.
    fn take(&mut self, hashes: impl Iterator<Item = u128>);
}

/// Adds the hashes to those that are there.
pub(super) struct Added<'a>(pub(super) &'a mut [u128]);

impl Sink for Added<'_> {
    #[inline(always)]
    fn take(&mut self, hashes: impl Iterator<Item = u128>) {
        for (row, hash) in self.0.iter_mut().zip(hashes) {
            *row = row.wrapping_add(hash);
        }
    }
}

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

    pub(super) fn mixers(&self) -> Mixers {
        self.keys.mixers()
    }

    /// Gives the hashes of the array's rows in `rows` to `sink`.
    ///
    /// # Errors
    /// [`EncodeError::Unsupported`].
    pub(super) fn hash(&mut self, array: &ArrayRef, rows: Range<usize>, sink: &mut impl Sink) -> Result<(), EncodeError> {
        match array.data_type() {
            DataType::Dictionary(..) => self.dictionary(array, rows, sink),
            _ => plain(&self.keys, &self.name, array, rows, self.encoding, sink),
        }
    }

    fn dictionary(&mut self, array: &ArrayRef, rows: Range<usize>, sink: &mut impl Sink) -> Result<(), EncodeError> {
        let dictionary = array.as_any_dictionary();
        let known = self.dictionary.take().filter(|(values, _)| Arc::ptr_eq(values, dictionary.values()));
        let (values, hashes) = match known {
            Some(known) => known,
            None => {
                let values = dictionary.values();
                let mut hashes = vec![0; values.len()];
                plain(&self.keys, &self.name, values, 0..values.len(), self.encoding, &mut Added(&mut hashes))?;
                (Arc::clone(values), hashes)
            }
        };
        let keys = dictionary.keys();
        let at = |key: usize| hashes.get(key).copied().unwrap_or(0);
        match dictionary.keys().data_type() {
            DataType::Int32 => {
                let keys = keys.as_primitive::<types::Int32Type>();
                each(keys, rows, sink, |keys, row| at(keys.value(row) as usize));
            }
            _ if !values.is_empty() => {
                let normalized = dictionary.normalized_keys();
                sink.take(rows.map(|row| if keys.is_null(row) { 0 } else { at(normalized[row]) }));
            }
            _ => sink.take(rows.map(|_| 0)),
        }
        self.dictionary = Some((values, hashes));
        Ok(())
    }
}

/// Arrays that are no dictionaries; for those without a loop of their own, each cell is encoded, then hashed.
fn plain(
    keys: &ColumnKeys,
    name: &str,
    array: &ArrayRef,
    rows: Range<usize>,
    encoding: Encoding,
    sink: &mut impl Sink,
) -> Result<(), EncodeError> {
    if number(keys, array, rows.clone(), encoding, sink)
        || time(keys, array, rows.clone(), sink)
        || bytes(keys, array, rows.clone(), sink)
    {
        return Ok(());
    }
    let encoder = CellEncoder::new(name, array.as_ref(), encoding)?;
    let mut cell = Vec::new();
    sink.take(rows.map(|row| {
        cell.clear();
        encoder.encode(row, &mut cell);
        keys.encoded(&cell)
    }));
    Ok(())
}

#[inline(always)]
fn each<A: Array>(array: &A, rows: Range<usize>, sink: &mut impl Sink, hash: impl Fn(&A, usize) -> u128) -> bool {
    if array.null_count() == 0 {
        sink.take(rows.map(|row| hash(array, row)));
    } else {
        sink.take(rows.map(|row| if array.is_null(row) { 0 } else { hash(array, row) }));
    }
    true
}

/// Hashes one value. A trait and no closure, so that it is sure to be part of the loop.
trait HashValue<V>: Copy {
    fn hash(self, value: V) -> u128;
}

#[inline(always)]
fn primitive<T: ArrowPrimitiveType>(
    array: &ArrayRef,
    rows: Range<usize>,
    sink: &mut impl Sink,
    value: impl HashValue<T::Native>,
) -> bool {
    let array: &PrimitiveArray<T> = array.as_primitive();
    let values = array.values()[rows.clone()].iter();
    match array.nulls().filter(|nulls| nulls.null_count() > 0) {
        None => sink.take(values.map(|found| value.hash(*found))),
        Some(nulls) => {
            sink.take(values.zip(rows).map(|(found, row)| if nulls.is_null(row) { 0 } else { value.hash(*found) }));
        }
    }
    true
}

/// Hashes payloads of 8 bytes. It holds what it needs of the keys, which a loop then has in registers.
#[derive(Clone, Copy)]
struct Pairs {
    head: u128,
    low: u128,
    high: u128,
}

impl Pairs {
    fn new(keys: &ColumnKeys, tag: u8, length: usize) -> Self {
        Self { head: keys.head(tag, length), low: keys.key(1), high: keys.key(2) }
    }

    #[inline(always)]
    fn bits(self, bits: u64) -> u128 {
        let hash = self.head.wrapping_add(part(self.low, bits as u32));
        if bits >> 32 == 0 { hash } else { hash.wrapping_add(part(self.high, (bits >> 32) as u32)) }
    }
}

#[derive(Clone, Copy)]
struct Integers(Pairs);

impl<V: Into<i64>> HashValue<V> for Integers {
    #[inline(always)]
    fn hash(self, value: V) -> u128 {
        self.0.bits(value.into().cast_unsigned())
    }
}

#[derive(Clone, Copy)]
struct Floats {
    pairs: Pairs,
    zeros_equal: bool,
}

impl<V: Into<f64>> HashValue<V> for Floats {
    #[inline(always)]
    fn hash(self, value: V) -> u128 {
        self.pairs.bits(float_bits(value.into(), self.zeros_equal))
    }
}

#[derive(Clone, Copy)]
struct Dates {
    head: u128,
    key: u128,
}

impl HashValue<i32> for Dates {
    #[inline(always)]
    fn hash(self, days: i32) -> u128 {
        self.head.wrapping_add(part(self.key, days.cast_unsigned()))
    }
}

/// `PER_SECOND` is a constant so that the division is a multiplication.
#[derive(Clone, Copy)]
struct Seconds<const PER_SECOND: i64> {
    seconds: Pairs,
    nanos: u128,
}

impl<V: Into<i64>, const PER_SECOND: i64> HashValue<V> for Seconds<PER_SECOND> {
    #[inline(always)]
    fn hash(self, value: V) -> u128 {
        let (seconds, nanos) = seconds_parts(value.into(), PER_SECOND);
        self.seconds.bits(seconds.cast_unsigned()).wrapping_add(part(self.nanos, nanos))
    }
}

/// Decimals whose digits fit in 64 bits take a short way; the others are encoded. `SCALE` is a constant for the same
/// reason.
#[derive(Clone, Copy)]
struct Decimals<'k, const SCALE: u32> {
    keys: &'k ColumnKeys,
    integers: Pairs,
    head: u128,
    words: (u128, u128, u128),
    negative: u128,
}

impl<'k, const SCALE: u32> Decimals<'k, SCALE> {
    fn new(keys: &'k ColumnKeys) -> Self {
        Self {
            keys,
            integers: Pairs::new(keys, tag::INTEGER, 8),
            head: keys.head(tag::DECIMAL_128, 18),
            words: (keys.key(1), keys.key(2), keys.key(3)),
            negative: keys.word(4, u32::MAX).wrapping_add(keys.word(5, 0xffff)),
        }
    }

    /// The payload is two bytes of exponent, then the mantissa of 128 bits: words that lie across the two.
    #[inline(always)]
    fn fraction(self, mantissa: i64, exponent: i32) -> u128 {
        let first = (exponent as u32 & 0xffff) | (mantissa as u32) << 16;
        let hash = self.head.wrapping_add(part(self.words.0, first));
        let hash = hash.wrapping_add(part(self.words.1, (mantissa >> 16) as u32));
        if mantissa >> 48 == 0 {
            return hash;
        }
        let hash = hash.wrapping_add(part(self.words.2, (mantissa >> 48) as u32));
        if mantissa < 0 { hash.wrapping_add(self.negative) } else { hash }
    }
}

impl<V: Into<i128>, const SCALE: u32> HashValue<V> for Decimals<'_, SCALE> {
    #[inline(always)]
    fn hash(self, value: V) -> u128 {
        let unscaled = value.into();
        match i64::try_from(unscaled) {
            Ok(small) => match decimal_parts::<SCALE>(small) {
                (integer, 0) => self.integers.bits(integer.cast_unsigned()),
                (mantissa, exponent) => self.fraction(mantissa, exponent),
            },
            Err(_) => encoded_decimal(self.keys, unscaled, SCALE as i32),
        }
    }
}

/// Decimals of a scale without a loop of its own.
#[derive(Clone, Copy)]
struct OtherDecimals<'k> {
    keys: &'k ColumnKeys,
    scale: i8,
}

impl<V: Into<i128>> HashValue<V> for OtherDecimals<'_> {
    fn hash(self, value: V) -> u128 {
        encoded_decimal(self.keys, value.into(), self.scale.into())
    }
}

#[cold]
fn encoded_decimal(keys: &ColumnKeys, unscaled: i128, scale: i32) -> u128 {
    let mut cell = Vec::new();
    crate::encode::write_decimal_cell(unscaled, scale, &mut cell);
    keys.encoded(&cell)
}

fn number(keys: &ColumnKeys, array: &ArrayRef, rows: Range<usize>, encoding: Encoding, sink: &mut impl Sink) -> bool {
    let integers = Integers(Pairs::new(keys, tag::INTEGER, 8));
    let zeros_equal = encoding.float_zeros == FloatZeros::Equal;
    let floats = Floats { pairs: Pairs::new(keys, tag::FLOAT, 8), zeros_equal };
    match array.data_type() {
        DataType::Boolean => {
            let hashes = [false, true].map(|value| keys.payload(tag::BOOLEAN, &[u8::from(value)]));
            each(array.as_boolean(), rows, sink, |array, row| hashes[usize::from(array.value(row))])
        }
        DataType::Int8 => primitive::<types::Int8Type>(array, rows, sink, integers),
        DataType::Int16 => primitive::<types::Int16Type>(array, rows, sink, integers),
        DataType::Int32 => primitive::<types::Int32Type>(array, rows, sink, integers),
        DataType::Int64 => primitive::<types::Int64Type>(array, rows, sink, integers),
        DataType::UInt8 => primitive::<types::UInt8Type>(array, rows, sink, integers),
        DataType::UInt16 => primitive::<types::UInt16Type>(array, rows, sink, integers),
        DataType::UInt32 => primitive::<types::UInt32Type>(array, rows, sink, integers),
        DataType::Float32 => primitive::<types::Float32Type>(array, rows, sink, floats),
        DataType::Float64 => primitive::<types::Float64Type>(array, rows, sink, floats),
        DataType::Decimal32(_, scale) => decimal::<types::Decimal32Type>(keys, array, *scale, rows, sink),
        DataType::Decimal64(_, scale) => decimal::<types::Decimal64Type>(keys, array, *scale, rows, sink),
        DataType::Decimal128(_, scale) => decimal::<types::Decimal128Type>(keys, array, *scale, rows, sink),
        _ => false,
    }
}

fn decimal<T: ArrowPrimitiveType<Native: Into<i128>>>(
    keys: &ColumnKeys,
    array: &ArrayRef,
    scale: i8,
    rows: Range<usize>,
    sink: &mut impl Sink,
) -> bool {
    match scale {
        0 => primitive::<T>(array, rows, sink, Decimals::<0>::new(keys)),
        1 => primitive::<T>(array, rows, sink, Decimals::<1>::new(keys)),
        2 => primitive::<T>(array, rows, sink, Decimals::<2>::new(keys)),
        3 => primitive::<T>(array, rows, sink, Decimals::<3>::new(keys)),
        4 => primitive::<T>(array, rows, sink, Decimals::<4>::new(keys)),
        6 => primitive::<T>(array, rows, sink, Decimals::<6>::new(keys)),
        _ => primitive::<T>(array, rows, sink, OtherDecimals { keys, scale }),
    }
}

fn time(keys: &ColumnKeys, array: &ArrayRef, rows: Range<usize>, sink: &mut impl Sink) -> bool {
    let zone_tag = |zone: bool| if zone { tag::TIMESTAMP_UTC } else { tag::TIMESTAMP };
    match array.data_type() {
        DataType::Date32 => {
            let dates = Dates { head: keys.head(tag::DATE, 4), key: keys.key(1) };
            primitive::<types::Date32Type>(array, rows, sink, dates)
        }
        DataType::Time32(TimeUnit::Second) => seconds::<types::Time32SecondType, 1>(keys, tag::TIME, array, rows, sink),
        DataType::Time32(_) => seconds::<types::Time32MillisecondType, 1_000>(keys, tag::TIME, array, rows, sink),
        DataType::Time64(TimeUnit::Microsecond) => {
            seconds::<types::Time64MicrosecondType, 1_000_000>(keys, tag::TIME, array, rows, sink)
        }
        DataType::Time64(_) => seconds::<types::Time64NanosecondType, 1_000_000_000>(keys, tag::TIME, array, rows, sink),
        DataType::Timestamp(unit, zone) => {
            let tag = zone_tag(zone.is_some());
            match unit {
                TimeUnit::Second => seconds::<types::TimestampSecondType, 1>(keys, tag, array, rows, sink),
                TimeUnit::Millisecond => seconds::<types::TimestampMillisecondType, 1_000>(keys, tag, array, rows, sink),
                TimeUnit::Microsecond => seconds::<types::TimestampMicrosecondType, 1_000_000>(keys, tag, array, rows, sink),
                TimeUnit::Nanosecond => {
                    seconds::<types::TimestampNanosecondType, 1_000_000_000>(keys, tag, array, rows, sink)
                }
            }
        }
        _ => false,
    }
}

fn seconds<T: ArrowPrimitiveType<Native: Into<i64>>, const PER_SECOND: i64>(
    keys: &ColumnKeys,
    tag: u8,
    array: &ArrayRef,
    rows: Range<usize>,
    sink: &mut impl Sink,
) -> bool {
    let seconds = Seconds::<PER_SECOND> { seconds: Pairs::new(keys, tag, 12), nanos: keys.key(3) };
    primitive::<T>(array, rows, sink, seconds)
}

fn bytes(keys: &ColumnKeys, array: &ArrayRef, rows: Range<usize>, sink: &mut impl Sink) -> bool {
    let text = |text: &str| keys.payload(tag::TEXT, text.as_bytes());
    let data = |data: &[u8]| keys.payload(tag::BYTES, data);
    match array.data_type() {
        DataType::Utf8 => each(array.as_string::<i32>(), rows, sink, |array, row| text(array.value(row))),
        DataType::LargeUtf8 => each(array.as_string::<i64>(), rows, sink, |array, row| text(array.value(row))),
        DataType::Utf8View => each(array.as_string_view(), rows, sink, |array, row| text(array.value(row))),
        DataType::Binary => each(array.as_binary::<i32>(), rows, sink, |array, row| data(array.value(row))),
        DataType::LargeBinary => each(array.as_binary::<i64>(), rows, sink, |array, row| data(array.value(row))),
        DataType::BinaryView => each(array.as_binary_view(), rows, sink, |array, row| data(array.value(row))),
        DataType::FixedSizeBinary(_) => each(array.as_fixed_size_binary(), rows, sink, |array, row| data(array.value(row))),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
