//! One Arrow array's cells: the writer is chosen once a batch, by the array's type.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, OffsetSizeTrait};
use arrow::datatypes as types;
use arrow::datatypes::{ArrowNativeType, ArrowPrimitiveType, DataType, TimeUnit};
use lakeshift_core::equivalence::{Encoding, FloatZeros, MapOrder};

use super::number::{write_decimal, write_float, write_integer, write_seconds, write_wide_decimal};
use super::{tag, write_length};

/// Writes the cells of one array.
pub(super) trait EncodeCell {
    /// Appends the cell at `row`.
    fn encode(&self, row: usize, out: &mut Vec<u8>);
}

/// The Arrow type that has no canonical form.
pub(super) struct Unsupported(pub(super) String);

type Boxed<'a> = Box<dyn EncodeCell + 'a>;

/// The writer of `array`'s cells.
pub(super) fn cell_encoder(array: &dyn Array, encoding: Encoding) -> Result<Boxed<'_>, Unsupported> {
    if let Some(simple) = number(array, encoding).or_else(|| time(array)).or_else(|| bytes(array)) {
        return Ok(simple);
    }
    match array.data_type() {
        DataType::Null => Ok(Box::new(AllNull)),
        DataType::Dictionary(..) => dictionary(array, encoding),
        DataType::Struct(_) => structure(array, encoding),
        DataType::List(_) => list::<i32>(array, encoding),
        DataType::LargeList(_) => list::<i64>(array, encoding),
        DataType::FixedSizeList(..) => fixed_size_list(array, encoding),
        DataType::Map(..) => map(array, encoding),
        other => Err(Unsupported(other.to_string())),
    }
}

/// Cells without parts.
struct Leaf<'a, A, F> {
    array: &'a A,
    write: F,
}

impl<A: Array, F: Fn(&A, usize, &mut Vec<u8>)> EncodeCell for Leaf<'_, A, F> {
    fn encode(&self, row: usize, out: &mut Vec<u8>) {
        if self.array.is_null(row) {
            out.push(tag::NULL);
        } else {
            (self.write)(self.array, row, out);
        }
    }
}

fn leaf<'a, A: Array>(array: &'a A, write: impl Fn(&A, usize, &mut Vec<u8>) + 'a) -> Option<Boxed<'a>> {
    Some(Box::new(Leaf { array, write }))
}

fn primitive<'a, T: ArrowPrimitiveType>(
    array: &'a dyn Array,
    write: impl Fn(T::Native, &mut Vec<u8>) + 'a,
) -> Option<Boxed<'a>> {
    leaf(array.as_primitive::<T>(), move |array, row, out| write(array.value(row), out))
}

fn integer<T: ArrowPrimitiveType<Native: Into<i64>>>(array: &dyn Array) -> Option<Boxed<'_>> {
    primitive::<T>(array, |value, out| write_integer(value.into(), out))
}

fn number(array: &dyn Array, encoding: Encoding) -> Option<Boxed<'_>> {
    let zeros_equal = encoding.float_zeros == FloatZeros::Equal;
    match array.data_type() {
        DataType::Boolean => leaf(array.as_boolean(), |array, row, out| {
            out.extend_from_slice(&[tag::BOOLEAN, u8::from(array.value(row))]);
        }),
        DataType::Int8 => integer::<types::Int8Type>(array),
        DataType::Int16 => integer::<types::Int16Type>(array),
        DataType::Int32 => integer::<types::Int32Type>(array),
        DataType::Int64 => integer::<types::Int64Type>(array),
        DataType::UInt8 => integer::<types::UInt8Type>(array),
        DataType::UInt16 => integer::<types::UInt16Type>(array),
        DataType::UInt32 => integer::<types::UInt32Type>(array),
        DataType::UInt64 => primitive::<types::UInt64Type>(array, |value, out| write_decimal(value.into(), 0, out)),
        DataType::Float16 => primitive::<types::Float16Type>(array, move |v, out| write_float(v.to_f64(), zeros_equal, out)),
        DataType::Float32 => primitive::<types::Float32Type>(array, move |v, out| write_float(v.into(), zeros_equal, out)),
        DataType::Float64 => primitive::<types::Float64Type>(array, move |v, out| write_float(v, zeros_equal, out)),
        DataType::Decimal32(_, scale) => decimal::<types::Decimal32Type>(array, *scale),
        DataType::Decimal64(_, scale) => decimal::<types::Decimal64Type>(array, *scale),
        DataType::Decimal128(_, scale) => decimal::<types::Decimal128Type>(array, *scale),
        DataType::Decimal256(_, scale) => {
            let scale = i32::from(*scale);
            primitive::<types::Decimal256Type>(array, move |value, out| write_wide_decimal(value, scale, out))
        }
        _ => None,
    }
}

fn decimal<T: ArrowPrimitiveType<Native: Into<i128>>>(array: &dyn Array, scale: i8) -> Option<Boxed<'_>> {
    primitive::<T>(array, move |value, out| write_decimal(value.into(), i32::from(scale), out))
}

fn time(array: &dyn Array) -> Option<Boxed<'_>> {
    let zone_tag = |zone: bool| if zone { tag::TIMESTAMP_UTC } else { tag::TIMESTAMP };
    match array.data_type() {
        DataType::Date32 => primitive::<types::Date32Type>(array, |days, out| {
            out.push(tag::DATE);
            out.extend_from_slice(&days.to_le_bytes());
        }),
        DataType::Time32(TimeUnit::Second) => seconds::<types::Time32SecondType>(array, tag::TIME, 1),
        DataType::Time32(_) => seconds::<types::Time32MillisecondType>(array, tag::TIME, 1_000),
        DataType::Time64(TimeUnit::Microsecond) => seconds::<types::Time64MicrosecondType>(array, tag::TIME, 1_000_000),
        DataType::Time64(_) => seconds::<types::Time64NanosecondType>(array, tag::TIME, 1_000_000_000),
        DataType::Timestamp(unit, zone) => timestamp(array, *unit, zone_tag(zone.is_some())),
        _ => None,
    }
}

fn timestamp(array: &dyn Array, unit: TimeUnit, tag: u8) -> Option<Boxed<'_>> {
    match unit {
        TimeUnit::Second => seconds::<types::TimestampSecondType>(array, tag, 1),
        TimeUnit::Millisecond => seconds::<types::TimestampMillisecondType>(array, tag, 1_000),
        TimeUnit::Microsecond => seconds::<types::TimestampMicrosecondType>(array, tag, 1_000_000),
        TimeUnit::Nanosecond => seconds::<types::TimestampNanosecondType>(array, tag, 1_000_000_000),
    }
}

fn seconds<T: ArrowPrimitiveType<Native: Into<i64>>>(array: &dyn Array, tag: u8, per_second: i64) -> Option<Boxed<'_>> {
    primitive::<T>(array, move |value, out| write_seconds(tag, value.into(), per_second, out))
}

fn bytes(array: &dyn Array) -> Option<Boxed<'_>> {
    let text = |text: &str, out: &mut Vec<u8>| write_bytes(tag::TEXT, text.as_bytes(), out);
    let data = |data: &[u8], out: &mut Vec<u8>| write_bytes(tag::BYTES, data, out);
    match array.data_type() {
        DataType::Utf8 => leaf(array.as_string::<i32>(), move |array, row, out| text(array.value(row), out)),
        DataType::LargeUtf8 => leaf(array.as_string::<i64>(), move |array, row, out| text(array.value(row), out)),
        DataType::Utf8View => leaf(array.as_string_view(), move |array, row, out| text(array.value(row), out)),
        DataType::Binary => leaf(array.as_binary::<i32>(), move |array, row, out| data(array.value(row), out)),
        DataType::LargeBinary => leaf(array.as_binary::<i64>(), move |array, row, out| data(array.value(row), out)),
        DataType::BinaryView => leaf(array.as_binary_view(), move |array, row, out| data(array.value(row), out)),
        DataType::FixedSizeBinary(_) => {
            leaf(array.as_fixed_size_binary(), move |array, row, out| data(array.value(row), out))
        }
        _ => None,
    }
}

fn write_bytes(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    write_length(bytes.len(), out);
    out.extend_from_slice(bytes);
}

struct AllNull;

impl EncodeCell for AllNull {
    fn encode(&self, _row: usize, out: &mut Vec<u8>) {
        out.push(tag::NULL);
    }
}

/// A dictionary is encoding, not value: the cell is that of the value.
struct Dictionary<'a> {
    array: &'a dyn Array,
    keys: Vec<usize>,
    values: Boxed<'a>,
}

impl EncodeCell for Dictionary<'_> {
    fn encode(&self, row: usize, out: &mut Vec<u8>) {
        if self.array.is_null(row) {
            out.push(tag::NULL);
        } else {
            self.values.encode(self.keys[row], out);
        }
    }
}

fn dictionary(array: &dyn Array, encoding: Encoding) -> Result<Boxed<'_>, Unsupported> {
    let dictionary = array.as_any_dictionary();
    if dictionary.values().is_empty() {
        return Ok(Box::new(AllNull));
    }
    let values = cell_encoder(dictionary.values().as_ref(), encoding)?;
    Ok(Box::new(Dictionary { array, keys: dictionary.normalized_keys(), values }))
}

struct Structure<'a> {
    array: &'a dyn Array,
    members: Vec<Boxed<'a>>,
}

impl EncodeCell for Structure<'_> {
    fn encode(&self, row: usize, out: &mut Vec<u8>) {
        if self.array.is_null(row) {
            return out.push(tag::NULL);
        }
        out.push(tag::STRUCT);
        write_length(self.members.len(), out);
        for member in &self.members {
            member.encode(row, out);
        }
    }
}

fn structure(array: &dyn Array, encoding: Encoding) -> Result<Boxed<'_>, Unsupported> {
    let columns: &[ArrayRef] = array.as_struct().columns();
    let members = columns.iter().map(|column| cell_encoder(column.as_ref(), encoding)).collect::<Result<_, _>>()?;
    Ok(Box::new(Structure { array, members }))
}

struct List<'a, F> {
    array: &'a dyn Array,
    range: F,
    elements: Boxed<'a>,
}

impl<F: Fn(usize) -> Range<usize>> EncodeCell for List<'_, F> {
    fn encode(&self, row: usize, out: &mut Vec<u8>) {
        if self.array.is_null(row) {
            return out.push(tag::NULL);
        }
        let range = (self.range)(row);
        out.push(tag::LIST);
        write_length(range.len(), out);
        for element in range {
            self.elements.encode(element, out);
        }
    }
}

fn list<O: OffsetSizeTrait>(array: &dyn Array, encoding: Encoding) -> Result<Boxed<'_>, Unsupported> {
    let list = array.as_list::<O>();
    let offsets = list.value_offsets();
    let range = |row: usize| offsets[row].as_usize()..offsets[row + 1].as_usize();
    Ok(Box::new(List { array, range, elements: cell_encoder(list.values().as_ref(), encoding)? }))
}

fn fixed_size_list(array: &dyn Array, encoding: Encoding) -> Result<Boxed<'_>, Unsupported> {
    let list = array.as_fixed_size_list();
    let length = usize::try_from(list.value_length()).unwrap_or(0);
    let range = move |row: usize| row * length..(row + 1) * length;
    Ok(Box::new(List { array, range, elements: cell_encoder(list.values().as_ref(), encoding)? }))
}

struct Map<'a> {
    array: &'a dyn Array,
    offsets: &'a [i32],
    keys: Boxed<'a>,
    values: Boxed<'a>,
    order: MapOrder,
}

impl EncodeCell for Map<'_> {
    fn encode(&self, row: usize, out: &mut Vec<u8>) {
        if self.array.is_null(row) {
            return out.push(tag::NULL);
        }
        let range = self.offsets[row].as_usize()..self.offsets[row + 1].as_usize();
        out.push(tag::MAP);
        write_length(range.len(), out);
        match self.order {
            MapOrder::Counts => range.for_each(|entry| self.entry(entry, out)),
            MapOrder::Ignored => self.sorted(range, out),
        }
    }
}

impl Map<'_> {
    fn entry(&self, entry: usize, out: &mut Vec<u8>) {
        self.keys.encode(entry, out);
        self.values.encode(entry, out);
    }

    /// Entries in the order of their bytes: maps that are equal as bags of entries are equal.
    fn sorted(&self, range: Range<usize>, out: &mut Vec<u8>) {
        let encoded = |entry| {
            let mut bytes = Vec::new();
            self.entry(entry, &mut bytes);
            bytes
        };
        let mut entries: Vec<Vec<u8>> = range.map(encoded).collect();
        entries.sort_unstable();
        entries.iter().for_each(|entry| out.extend_from_slice(entry));
    }
}

fn map(array: &dyn Array, encoding: Encoding) -> Result<Boxed<'_>, Unsupported> {
    let map = array.as_map();
    Ok(Box::new(Map {
        array,
        offsets: map.value_offsets(),
        keys: cell_encoder(map.keys().as_ref(), encoding)?,
        values: cell_encoder(map.values().as_ref(), encoding)?,
        order: encoding.map_order,
    }))
}
