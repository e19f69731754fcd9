//! Events that are Arrow IPC streams, each of one or more rows of one place.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_array::cast::AsArray;
use arrow_array::types::Date32Type;
use arrow_array::{Array, RecordBatch};
use arrow_ipc::reader::StreamReader;
use arrow_ipc::root_as_message;
use arrow_select::concat::concat_batches;

use super::{Decoder, Event, Parts, Reason, type_name};
use crate::error::StreamError;

/// What stands before the length of a message, but for those of the oldest writers.
const CONTINUATION: i32 = -1;

/// Reads all events that can be read.
pub(super) fn decode(decoder: &Decoder, events: &[Event]) -> Result<Parts, StreamError> {
    let (mut batches, mut of_row, mut refused) = (Vec::new(), Vec::with_capacity(events.len()), Vec::new());
    for (at, event) in events.iter().enumerate() {
        // A damaged message must not end the process, whatever the library makes of it.
        let read = catch_unwind(AssertUnwindSafe(|| rows(decoder, event.payload.as_deref())));
        match read.unwrap_or_else(|_| Err("the event is no Arrow IPC stream".to_owned())) {
            Ok(rows) => {
                of_row.extend(std::iter::repeat_n(at, rows.num_rows()));
                batches.push(rows);
            }
            Err(reason) => refused.push((at, reason)),
        }
    }
    let rows = concat_batches(&decoder.schema, &batches).map_err(|_| decoder.odd("rows of events do not fit together"))?;
    Ok((rows, of_row, refused))
}

/// One event's rows, in the decoder's columns.
fn rows(decoder: &Decoder, payload: Option<&[u8]>) -> Result<RecordBatch, Reason> {
    let payload = payload.ok_or("the event has no value")?;
    let no_stream = |_| "the event is no Arrow IPC stream".to_owned();
    check_claims(payload)?;
    let reader = StreamReader::try_new(Cursor::new(payload), None).map_err(no_stream)?;
    let mut batches = Vec::new();
    for batch in reader {
        batches.push(fitted(decoder, &batch.map_err(no_stream)?)?);
    }
    let rows = concat_batches(&decoder.schema, &batches).map_err(no_stream)?;
    if rows.num_rows() == 0 {
        return Err("the event has no row".to_owned());
    }
    if !has_one_place(decoder, &rows) {
        return Err("the event has rows of more than one partition of the table".to_owned());
    }
    Ok(rows)
}

/// Refuses messages that claim more bytes than there are: the library would ask for as much memory, and a process that does not
/// get it is ended. What is compressed claims a size of its own.
fn check_claims(mut rest: &[u8]) -> Result<(), Reason> {
    let no_stream = || "the event is no Arrow IPC stream".to_owned();
    let number = |rest: &mut &[u8]| rest.split_off(..4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_le_bytes);
    while !rest.is_empty() {
        let mut length = number(&mut rest).ok_or_else(no_stream)?;
        if length == CONTINUATION {
            length = number(&mut rest).ok_or_else(no_stream)?;
        }
        if length == 0 {
            break;
        }
        let length = usize::try_from(length).map_err(|_| no_stream())?;
        let message = root_as_message(rest.split_off(..length).ok_or_else(no_stream)?).map_err(|_| no_stream())?;
        let batch = message.header_as_record_batch();
        let batch = batch.or_else(|| message.header_as_dictionary_batch().and_then(|dictionary| dictionary.data()));
        if batch.is_some_and(|batch| batch.compression().is_some()) {
            return Err("the event is a compressed Arrow IPC stream".to_owned());
        }
        let body = usize::try_from(message.bodyLength()).map_err(|_| no_stream())?;
        rest.split_off(..body).ok_or_else(no_stream)?;
    }
    Ok(())
}

/// The columns by name, of exactly their types.
fn fitted(decoder: &Decoder, batch: &RecordBatch) -> Result<RecordBatch, Reason> {
    let mut columns = Vec::with_capacity(decoder.schema.fields().len());
    for field in decoder.schema.fields() {
        let found = batch.schema_ref().fields().iter().filter(|other| other.name() == field.name()).count();
        let column = match (batch.column_by_name(field.name()), found) {
            (Some(column), 1) => column,
            (Some(_), _) => return Err(format!("the event has the column {} twice", field.name())),
            (None, _) => return Err(format!("the event has no column {}", field.name())),
        };
        if column.data_type() != field.data_type() {
            return Err(format!("the column {} is no {}", field.name(), type_name(field.data_type())));
        }
        if column.null_count() > 0 && (!field.is_nullable() || decoder.is_place(field.name())) {
            return Err(format!("the event has null in {}", field.name()));
        }
        columns.push(column.clone());
    }
    if decoder.refuses_unknown() && batch.num_columns() != columns.len() {
        return Err("the event has a column that the table has not".to_owned());
    }
    RecordBatch::try_new(decoder.schema.clone(), columns).map_err(|_| "the event's columns do not fit".to_owned())
}

fn has_one_place(decoder: &Decoder, rows: &RecordBatch) -> bool {
    let times = rows.column_by_name(&decoder.time).and_then(|column| column.as_primitive_opt::<Date32Type>());
    let one_time = times.is_some_and(|times| times.values().iter().all(|time| *time == times.value(0)));
    let entities = decoder.entity.as_ref().and_then(|name| rows.column_by_name(name)?.as_string_opt::<i32>());
    one_time && entities.is_none_or(|entities| (0..entities.len()).all(|row| entities.value(row) == entities.value(0)))
}
