//! Events that are Avro records, all written by one schema ([`AvroEvents`]).
//!
//! Values are read by core's own reader, which is strict where libraries are kind: input that ends early is no null, bytes that are left
//! over are an error, and nothing is allocated for a length that the input cannot hold. Which field becomes which column is settled
//! once, from the schema; what depends on the value (a smaller integer, another scale, another unit of time) is checked for each.

use apache_avro::rabin::Rabin;
use arrow_schema::{DataType, Schema as ArrowSchema, TimeUnit};
use lakeshift_core::avro::{Logical, Schema, Value, decode as read};
use lakeshift_core::stream::{AvroFraming, UnknownFields};

use super::columns::{Cell, Columns, per_second};
use super::{Decoder, Event, Parts, Reason, type_name};
use crate::error::StreamError;

/// Avro's mark of a single object.
const SINGLE_OBJECT: [u8; 2] = [0xC3, 0x01];

/// How Avro events are read into columns.
#[derive(Debug, Clone)]
pub struct AvroEvents {
    schema: Schema,
    /// For each column the record's field.
    columns: Vec<(usize, Form)>,
    /// What every event begins with.
    prefix: Vec<u8>,
}

/// How a field's values become a column's.
#[derive(Debug, Clone, PartialEq)]
enum Form {
    Bool,
    Whole,
    /// A time of so many parts of a second, and of how many in the column.
    Time(i64, i64),
    Single,
    Double,
    /// A decimal of this scale, and the column's.
    Decimal(u8, u8),
    Text,
    Symbol(Vec<String>),
    Bytes,
}

impl AvroEvents {
    /// Reads the JSON of a schema, and holds it against the columns.
    ///
    /// # Errors
    /// [`StreamError::Source`]: it is no schema of a record, it has not every column or one of another type, or, where events with unknown
    /// fields are refused, it has more than the columns.
    pub fn new(
        json: &str,
        framing: AvroFraming,
        schema_id: Option<u32>,
        columns: &ArrowSchema,
        unknown_fields: UnknownFields,
    ) -> Result<Self, StreamError> {
        let odd = |reason: String| StreamError::Source { object: "the events' Avro schema".to_owned(), reason };
        let schema = Schema::parse(json).map_err(|error| odd(error.to_string()))?;
        let Schema::Record(fields) = &schema else { return Err(odd("it is no record".to_owned())) };
        // It checks names and defaults as well.
        let parsed = apache_avro::Schema::parse_str(json).map_err(|error| odd(error.to_string()))?;
        let prefix = match framing {
            AvroFraming::Bare => Vec::new(),
            AvroFraming::SingleObject => [&SINGLE_OBJECT[..], &parsed.fingerprint::<Rabin>().bytes].concat(),
            AvroFraming::Confluent => {
                let id = schema_id.ok_or_else(|| odd("it has no id of a registry".to_owned()))?;
                [&[0][..], &id.to_be_bytes()].concat()
            }
        };
        let unknown = fields.iter().find(|(name, _)| columns.field_with_name(name).is_err());
        if let Some((name, _)) = unknown.filter(|_| unknown_fields == UnknownFields::Refuse) {
            return Err(odd(format!(
                "it has the field {name}, which is no column; add the column, or let decode.unknown_fields: ignore"
            )));
        }
        let columns = columns.fields().iter().map(|column| {
            let found = fields.iter().enumerate().find(|(_, (name, _))| name == column.name());
            let (at, (_, field)) = found.ok_or_else(|| odd(format!("it has no field {}", column.name())))?;
            let form = form(field.nullable().unwrap_or(field), column.data_type());
            let form = form.ok_or_else(|| {
                odd(format!(
                    "its field {} is no {} in every case; let `columns` say its type",
                    column.name(),
                    type_name(column.data_type())
                ))
            });
            Ok((at, form?))
        });
        let columns = columns.collect::<Result<_, StreamError>>()?;
        Ok(Self { schema, columns, prefix })
    }

    fn read<'e>(&self, payload: Option<&'e [u8]>) -> Result<Vec<Value<'e>>, Reason> {
        let payload = payload.ok_or("the event has no value")?;
        let bytes =
            payload.strip_prefix(&self.prefix[..]).ok_or("the event does not begin with the mark of its Avro schema")?;
        match read(&self.schema, bytes) {
            Ok(Value::Record(values)) => Ok(values),
            Ok(_) => Err("the event is no record".to_owned()),
            Err(error) => Err(format!("the event is not of the Avro schema: {error}")),
        }
    }
}

/// Reads all events that can be read.
pub(super) fn decode(decoder: &Decoder, avro: &AvroEvents, events: &[Event]) -> Result<Parts, StreamError> {
    let mut columns = Columns::new(decoder, events.len())?;
    let (mut of_row, mut refused) = (Vec::with_capacity(events.len()), Vec::new());
    for (at, event) in events.iter().enumerate() {
        let added = avro.read(event.payload.as_deref()).and_then(|values| {
            columns.add(|column| {
                let (field, form) = &avro.columns[column];
                let name = || decoder.schema.field(column).name();
                cell(&values[*field], form).map_err(|problem| format!("the value of {} {problem}", name()))
            })
        });
        match added {
            Ok(()) => of_row.push(at),
            Err(reason) => refused.push((at, reason)),
        }
    }
    let rows = columns.finish().map_err(|reason| decoder.odd(&reason))?;
    Ok((rows, of_row, refused))
}

/// How a field's values are a column's, if they are of one kind. A meaning (a date, a time, a decimal) is never read as its bare number.
fn form(field: &Schema, column: &DataType) -> Option<Form> {
    let (plain, logical) = match field {
        Schema::Logical(plain, logical) => (plain.as_ref(), Some(logical)),
        plain => (plain, None),
    };
    if let Some(form) = logical.and_then(|logical| meaning(plain, logical, column)) {
        return Some(form);
    }
    match logical {
        // A UUID is the text that it is.
        None | Some(Logical::Uuid) => {}
        // Meanings that are not known are none, as Avro has it; these are known, and the column is another.
        Some(Logical::Other(name)) if !name.ends_with("timestamp-nanos") => {}
        Some(_) => return None,
    }
    Some(match (plain, column) {
        (Schema::Boolean, DataType::Boolean) => Form::Bool,
        (Schema::Int | Schema::Long, DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64) => Form::Whole,
        (Schema::Float, DataType::Float32) => Form::Single,
        (Schema::Float | Schema::Double, DataType::Float64) => Form::Double,
        (Schema::String, DataType::Utf8) => Form::Text,
        (Schema::Enum(symbols), DataType::Utf8) => Form::Symbol(symbols.clone()),
        (Schema::Bytes | Schema::Fixed(_), DataType::Binary) => Form::Bytes,
        _ => return None,
    })
}

fn meaning(plain: &Schema, logical: &Logical, column: &DataType) -> Option<Form> {
    let time = |unit: TimeUnit, utc: bool| match column {
        DataType::Timestamp(other, zone) if zone.is_some() == utc => Some(Form::Time(per_second(unit), per_second(*other))),
        _ => None,
    };
    match (plain, logical, column) {
        (Schema::Int, Logical::Date, DataType::Date32) => Some(Form::Whole),
        (Schema::Bytes | Schema::Fixed(_), Logical::Decimal { scale, .. }, DataType::Decimal128(_, other)) => {
            Some(Form::Decimal(*scale, u8::try_from(*other).ok()?))
        }
        (Schema::Long, Logical::TimestampMillis, _) => time(TimeUnit::Millisecond, true),
        (Schema::Long, Logical::TimestampMicros, _) => time(TimeUnit::Microsecond, true),
        (Schema::Long, Logical::LocalTimestampMillis, _) => time(TimeUnit::Millisecond, false),
        (Schema::Long, Logical::LocalTimestampMicros, _) => time(TimeUnit::Microsecond, false),
        (Schema::Long, Logical::Other(name), _) if name == "timestamp-nanos" => time(TimeUnit::Nanosecond, true),
        (Schema::Long, Logical::Other(name), _) if name == "local-timestamp-nanos" => time(TimeUnit::Nanosecond, false),
        _ => None,
    }
}

fn cell<'a>(value: &Value<'a>, form: &'a Form) -> Result<Cell<'a>, &'static str> {
    Ok(match (value, form) {
        (Value::Null, _) => Cell::Null,
        (Value::Boolean(value), Form::Bool) => Cell::Bool(*value),
        (Value::Int(value), Form::Whole) => Cell::Whole(i64::from(*value)),
        (Value::Long(value), Form::Whole) => Cell::Whole(*value),
        (Value::Long(value), Form::Time(from, to)) => {
            Cell::Whole(rescaled(i128::from(*value), (*from).into(), (*to).into())?)
        }
        (Value::Float(value), Form::Single) => Cell::Single(*value),
        (Value::Float(value), Form::Double) => Cell::Double(f64::from(*value)),
        (Value::Double(value), Form::Double) => Cell::Double(*value),
        (Value::Bytes(bytes), Form::Decimal(from, to)) => {
            let power = |scale: u8| 10_i128.checked_pow(u32::from(scale)).ok_or("has a scale that no decimal has");
            Cell::Decimal(rescaled(signed(bytes)?, power(*from)?, power(*to)?)?)
        }
        (Value::String(text), Form::Text) => Cell::Text(text),
        (Value::Symbol(at), Form::Symbol(symbols)) => Cell::Text(symbols.get(*at).ok_or("is no symbol of its enum")?),
        (Value::Bytes(bytes), Form::Bytes) => Cell::Bytes(bytes),
        _ => return Err("is of another type than its schema says"),
    })
}

/// A number of parts of this size in parts of another, exactly.
fn rescaled<T: TryFrom<i128>>(value: i128, from: i128, to: i128) -> Result<T, &'static str> {
    let scaled = if to >= from {
        value.checked_mul(to / from)
    } else if value % (from / to) == 0 {
        Some(value / (from / to))
    } else {
        return Err("has more digits than the column");
    };
    scaled.and_then(|scaled| T::try_from(scaled).ok()).ok_or("is too large for the column")
}

/// Two's complement, the most significant byte first.
fn signed(bytes: &[u8]) -> Result<i128, &'static str> {
    let first = *bytes.first().ok_or("is a decimal without a byte")?;
    let sign = if first & 0x80 == 0 { 0x00 } else { 0xFF };
    let digits = &bytes[bytes.iter().take_while(|byte| **byte == sign).count()..];
    let mut wide = [sign; 16];
    let at = wide.len().checked_sub(digits.len()).ok_or("is too large for a decimal")?;
    wide[at..].copy_from_slice(digits);
    let number = i128::from_be_bytes(wide);
    // The bytes that were left out said which sign it has.
    if (number < 0) == (sign == 0xFF) { Ok(number) } else { Err("is too large for a decimal") }
}

#[cfg(test)]
mod tests;
