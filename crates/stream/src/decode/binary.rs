//! Events that are one row each in Lakeshift's own layout, which `docs/streams.md` has byte by byte: which columns are null, then
//! all columns in a fixed place and width, then texts and bytes.
//!
//! It is what a producer writes with a `memcpy` and what is read without looking for anything. One row has one form: bits beyond
//! the columns and the bytes of a null are zero, and nothing lies behind the last text.

use arrow_schema::DataType;

use super::columns::{Cell, Columns};
use super::{Decoder, Event, Parts, Reason};
use crate::error::StreamError;

const TOO_SHORT: &str = "the event is too short";

/// How a column lies in the fixed part.
#[derive(Debug, Clone, Copy)]
enum Form {
    Bool,
    Int8,
    Int16,
    Int32,
    Int64,
    Float32,
    Float64,
    Decimal,
    /// The length is here and the text behind the fixed part.
    Text,
    Bytes,
}

/// Where columns lie: the same in every event.
struct Layout {
    /// Each column's offset and form.
    columns: Vec<(usize, Form)>,
    /// Bytes of the bits that say which columns are null.
    nulls: usize,
    /// Where the fixed part ends.
    end: usize,
}

/// Reads all events that can be read.
pub(super) fn decode(decoder: &Decoder, events: &[Event]) -> Result<Parts, StreamError> {
    let layout = Layout::of(decoder)?;
    let mut columns = Columns::new(decoder, events.len())?;
    let (mut of_row, mut refused) = (Vec::with_capacity(events.len()), Vec::new());
    for (at, event) in events.iter().enumerate() {
        match layout.read(event.payload.as_deref(), &mut columns) {
            Ok(()) => of_row.push(at),
            Err(reason) => refused.push((at, reason)),
        }
    }
    let rows = columns.finish().map_err(|reason| decoder.odd(&reason))?;
    Ok((rows, of_row, refused))
}

impl Layout {
    fn of(decoder: &Decoder) -> Result<Self, StreamError> {
        let fields = decoder.schema.fields();
        let nulls = fields.len().div_ceil(8);
        let (mut columns, mut end) = (Vec::with_capacity(fields.len()), nulls);
        for field in fields {
            let (form, width) = match field.data_type() {
                DataType::Boolean => (Form::Bool, 1),
                DataType::Int8 => (Form::Int8, 1),
                DataType::Int16 => (Form::Int16, 2),
                DataType::Int32 | DataType::Date32 => (Form::Int32, 4),
                DataType::Int64 | DataType::Timestamp(..) => (Form::Int64, 8),
                DataType::Float32 => (Form::Float32, 4),
                DataType::Float64 => (Form::Float64, 8),
                DataType::Decimal128(..) => (Form::Decimal, 16),
                DataType::Utf8 => (Form::Text, 4),
                DataType::Binary => (Form::Bytes, 4),
                other => {
                    return Err(decoder.odd(&format!("{} is {other}, which binary events have no form for", field.name())));
                }
            };
            columns.push((end, form));
            end += width;
        }
        Ok(Self { columns, nulls, end })
    }

    fn read(&self, payload: Option<&[u8]>, into: &mut Columns) -> Result<(), Reason> {
        let payload = payload.ok_or("the event has no value")?;
        let (fixed, mut texts) = payload.split_at_checked(self.end).ok_or(TOO_SHORT)?;
        let nulls = &fixed[..self.nulls];
        self.check(fixed, nulls, texts.len())?;
        into.add(|at| {
            let (from, form) = self.columns[at];
            let is_null = is_null(nulls, at);
            if is_null {
                let to = self.columns.get(at + 1).map_or(self.end, |(next, _)| *next);
                let zeros = fixed[from..to].iter().all(|byte| *byte == 0);
                return if zeros { Ok(Cell::Null) } else { Err("the event has a null with a value".to_owned()) };
            }
            cell(form, &fixed[from..], &mut texts)
        })
    }

    /// What a row of this length must be before its columns are looked at.
    fn check(&self, fixed: &[u8], nulls: &[u8], behind: usize) -> Result<(), Reason> {
        let count = self.columns.len();
        if !count.is_multiple_of(8) && nulls.last().is_some_and(|last| last >> (count % 8) != 0) {
            return Err("the event calls a column null that is not there: it is of other columns".to_owned());
        }
        let lengths = self.columns.iter().filter(|(_, form)| matches!(form, Form::Text | Form::Bytes));
        let all = lengths.map(|(from, _)| u64::from(u32::from_le_bytes(fixed_at(&fixed[*from..])))).sum::<u64>();
        match all.cmp(&(behind as u64)) {
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => Err(TOO_SHORT.to_owned()),
            std::cmp::Ordering::Less => Err("the event is too long: it is of other columns".to_owned()),
        }
    }
}

fn is_null(nulls: &[u8], column: usize) -> bool {
    (nulls[column / 8] >> (column % 8)) & 1 == 1
}

/// The first bytes. There are enough of them: the layout has counted.
fn fixed_at<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.first_chunk().copied().unwrap_or([0; N])
}

fn cell<'a>(form: Form, bytes: &[u8], texts: &mut &'a [u8]) -> Result<Cell<'a>, Reason> {
    let mut text = || -> Result<&'a [u8], Reason> {
        let length = usize::try_from(u32::from_le_bytes(fixed_at(bytes))).map_err(|_| TOO_SHORT)?;
        let (text, rest) = texts.split_at_checked(length).ok_or(TOO_SHORT)?;
        *texts = rest;
        Ok(text)
    };
    Ok(match form {
        Form::Bool => match bytes[0] {
            0 => Cell::Bool(false),
            1 => Cell::Bool(true),
            _ => return Err("the event has a boolean that is neither 0 nor 1".to_owned()),
        },
        Form::Int8 => Cell::Whole(i64::from(i8::from_le_bytes(fixed_at(bytes)))),
        Form::Int16 => Cell::Whole(i64::from(i16::from_le_bytes(fixed_at(bytes)))),
        Form::Int32 => Cell::Whole(i64::from(i32::from_le_bytes(fixed_at(bytes)))),
        Form::Int64 => Cell::Whole(i64::from_le_bytes(fixed_at(bytes))),
        Form::Float32 => Cell::Single(f32::from_le_bytes(fixed_at(bytes))),
        Form::Float64 => Cell::Double(f64::from_le_bytes(fixed_at(bytes))),
        Form::Decimal => Cell::Decimal(i128::from_le_bytes(fixed_at(bytes))),
        Form::Text => Cell::Text(std::str::from_utf8(text()?).map_err(|_| "the event has a text that is not UTF-8")?),
        Form::Bytes => Cell::Bytes(text()?),
    })
}

#[cfg(test)]
mod tests;
