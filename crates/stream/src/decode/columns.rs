//! [`Columns`]: rows of an Arrow batch built value by value. Every value is exactly one of its column's type, and a row that has
//! one that is not is taken back whole.

use arrow_array::{RecordBatch, make_array};
use arrow_buffer::{BooleanBufferBuilder, Buffer, NullBufferBuilder};
use arrow_data::ArrayData;
use arrow_schema::{DataType, FieldRef, SchemaRef, TimeUnit};

use super::{Decoder, Reason, type_name};
use crate::error::StreamError;

/// 0001-01-01 and 9999-12-31 in days since 1970-01-01.
const DAYS: std::ops::RangeInclusive<i64> = -719_162..=2_932_896;
const DAY_SECONDS: i64 = 86_400;

/// A value on its way into a column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Cell<'a> {
    Null,
    Bool(bool),
    /// An integer, also the number inside a date or a timestamp.
    Whole(i64),
    Single(f32),
    Double(f64),
    /// A decimal's digits, of the column's scale.
    Decimal(i128),
    Text(&'a str),
    Bytes(&'a [u8]),
}

/// Columns that grow row by row.
#[derive(Debug)]
pub(super) struct Columns {
    schema: SchemaRef,
    columns: Vec<Column>,
    rows: usize,
}

#[derive(Debug)]
struct Column {
    field: FieldRef,
    takes_null: bool,
    nulls: NullBufferBuilder,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Bool(BooleanBufferBuilder),
    Int8(Vec<i8>),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Decimal(Vec<i128>),
    /// The bytes of all rows, and where each row's end.
    Bytes(Vec<u8>, Vec<i32>),
}

impl Columns {
    /// Columns without a row.
    pub fn new(decoder: &Decoder, capacity: usize) -> Result<Self, StreamError> {
        let column = |field: &FieldRef| {
            let values = Values::new(field.data_type(), capacity);
            let takes_null = field.is_nullable() && !decoder.is_place(field.name());
            let nulls = NullBufferBuilder::new(capacity);
            let odd =
                || decoder.odd(&format!("{} is {}, which such events have no form for", field.name(), field.data_type()));
            Ok(Column { field: field.clone(), takes_null, nulls, values: values.ok_or_else(odd)? })
        };
        let columns = decoder.schema.fields().iter().map(column).collect::<Result<_, StreamError>>()?;
        Ok(Self { schema: decoder.schema.clone(), columns, rows: 0 })
    }

    /// Adds a row of the cells that `cell` gives by the number of their column.
    ///
    /// # Errors
    /// Why a cell cannot be had or does not fit; the row is not added then.
    pub fn add<'a>(&mut self, mut cell: impl FnMut(usize) -> Result<Cell<'a>, Reason>) -> Result<(), Reason> {
        for at in 0..self.columns.len() {
            if let Err(reason) = cell(at).and_then(|cell| self.columns[at].add(cell)) {
                self.columns.iter_mut().for_each(|column| column.truncate(self.rows));
                return Err(reason);
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// The rows.
    pub fn finish(self) -> Result<RecordBatch, Reason> {
        let rows = self.rows;
        let arrays = self.columns.into_iter().map(|column| {
            let Column { field, mut nulls, values, .. } = column;
            let data =
                ArrayData::builder(field.data_type().clone()).len(rows).nulls(nulls.finish()).buffers(values.finish());
            data.build().map(make_array).map_err(|_| format!("the values of {} make no column", field.name()))
        });
        let arrays = arrays.collect::<Result<_, _>>()?;
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema, arrays, &options).map_err(|_| "the columns make no rows".to_owned())
    }
}

impl Column {
    fn add(&mut self, cell: Cell<'_>) -> Result<(), Reason> {
        if cell == Cell::Null {
            if !self.takes_null {
                return Err(format!("the event has null in {}", self.field.name()));
            }
            self.nulls.append_null();
            self.values.add_default();
            return Ok(());
        }
        self.values.add(cell, self.field.data_type()).map_err(|problem| {
            format!("the value of {} is no {}: {problem}", self.field.name(), type_name(self.field.data_type()))
        })?;
        self.nulls.append_non_null();
        Ok(())
    }

    fn truncate(&mut self, rows: usize) {
        self.nulls.truncate(rows);
        self.values.truncate(rows);
    }
}

const TOO_LARGE: &str = "it is too large or too small";

impl Values {
    fn new(data_type: &DataType, capacity: usize) -> Option<Self> {
        Some(match data_type {
            DataType::Boolean => Self::Bool(BooleanBufferBuilder::new(capacity)),
            DataType::Int8 => Self::Int8(Vec::with_capacity(capacity)),
            DataType::Int16 => Self::Int16(Vec::with_capacity(capacity)),
            DataType::Int32 | DataType::Date32 => Self::Int32(Vec::with_capacity(capacity)),
            DataType::Int64 | DataType::Timestamp(..) => Self::Int64(Vec::with_capacity(capacity)),
            DataType::Float32 => Self::Float32(Vec::with_capacity(capacity)),
            DataType::Float64 => Self::Float64(Vec::with_capacity(capacity)),
            DataType::Decimal128(..) => Self::Decimal(Vec::with_capacity(capacity)),
            DataType::Utf8 | DataType::Binary => Self::Bytes(Vec::new(), Vec::with_capacity(capacity)),
            _ => return None,
        })
    }

    fn add(&mut self, cell: Cell<'_>, data_type: &DataType) -> Result<(), &'static str> {
        match (self, cell) {
            (Self::Bool(values), Cell::Bool(value)) => values.append(value),
            (Self::Int8(values), Cell::Whole(value)) => values.push(value.try_into().map_err(|_| TOO_LARGE)?),
            (Self::Int16(values), Cell::Whole(value)) => values.push(value.try_into().map_err(|_| TOO_LARGE)?),
            (Self::Int32(values), Cell::Whole(value)) => {
                check_time(value, data_type)?;
                values.push(value.try_into().map_err(|_| TOO_LARGE)?);
            }
            (Self::Int64(values), Cell::Whole(value)) => {
                check_time(value, data_type)?;
                values.push(value);
            }
            (Self::Float32(values), Cell::Single(value)) => values.push(value),
            (Self::Float64(values), Cell::Double(value)) => values.push(value),
            (Self::Decimal(values), Cell::Decimal(value)) => {
                let DataType::Decimal128(precision, _) = data_type else { return Err("the column is none") };
                if 10_u128.checked_pow(u32::from(*precision)).is_none_or(|limit| value.unsigned_abs() >= limit) {
                    return Err(TOO_LARGE);
                }
                values.push(value);
            }
            (Self::Bytes(all, ends), Cell::Text(text)) if *data_type == DataType::Utf8 => {
                add_bytes(all, ends, text.as_bytes())?
            }
            (Self::Bytes(all, ends), Cell::Bytes(bytes)) if *data_type == DataType::Binary => add_bytes(all, ends, bytes)?,
            _ => return Err("it is of another type"),
        }
        Ok(())
    }

    fn add_default(&mut self) {
        match self {
            Self::Bool(values) => values.append(false),
            Self::Int8(values) => values.push(0),
            Self::Int16(values) => values.push(0),
            Self::Int32(values) => values.push(0),
            Self::Int64(values) => values.push(0),
            Self::Float32(values) => values.push(0.0),
            Self::Float64(values) => values.push(0.0),
            Self::Decimal(values) => values.push(0),
            Self::Bytes(_, ends) => ends.push(ends.last().copied().unwrap_or(0)),
        }
    }

    fn truncate(&mut self, rows: usize) {
        match self {
            Self::Bool(values) => values.truncate(rows),
            Self::Int8(values) => values.truncate(rows),
            Self::Int16(values) => values.truncate(rows),
            Self::Int32(values) => values.truncate(rows),
            Self::Int64(values) => values.truncate(rows),
            Self::Float32(values) => values.truncate(rows),
            Self::Float64(values) => values.truncate(rows),
            Self::Decimal(values) => values.truncate(rows),
            Self::Bytes(all, ends) => {
                ends.truncate(rows);
                all.truncate(ends.last().map_or(0, |end| usize::try_from(*end).unwrap_or(0)));
            }
        }
    }

    fn finish(self) -> Vec<Buffer> {
        vec![match self {
            Self::Bool(mut values) => values.finish().into_inner(),
            Self::Int8(values) => Buffer::from_vec(values),
            Self::Int16(values) => Buffer::from_vec(values),
            Self::Int32(values) => Buffer::from_vec(values),
            Self::Int64(values) => Buffer::from_vec(values),
            Self::Float32(values) => Buffer::from_vec(values),
            Self::Float64(values) => Buffer::from_vec(values),
            Self::Decimal(values) => Buffer::from_vec(values),
            Self::Bytes(all, mut ends) => {
                ends.insert(0, 0);
                return vec![Buffer::from_vec(ends), Buffer::from_vec(all)];
            }
        }]
    }
}

fn add_bytes(all: &mut Vec<u8>, ends: &mut Vec<i32>, bytes: &[u8]) -> Result<(), &'static str> {
    let end = i32::try_from(all.len() + bytes.len()).map_err(|_| "the texts of one commit are longer than 2 GiB")?;
    all.extend_from_slice(bytes);
    ends.push(end);
    Ok(())
}

/// Dates and timestamps lie in the years 1 to 9999, as in every format of events.
fn check_time(value: i64, data_type: &DataType) -> Result<(), &'static str> {
    let days = match data_type {
        DataType::Date32 => value,
        DataType::Timestamp(unit, _) => value.div_euclid(DAY_SECONDS * per_second(*unit)),
        _ => return Ok(()),
    };
    if DAYS.contains(&days) { Ok(()) } else { Err("its year is not in 1 to 9999") }
}

/// How many of a unit make a second.
pub(super) fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}
