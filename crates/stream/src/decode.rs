//! [`Decoder`]: the bytes of events as rows of an Arrow batch, each with its place in the table.
//!
//! An event that cannot be read exactly is set aside with a reason that holds nothing of its content, and the others of the
//! batch are read all the same.

mod arrow;
mod avro;
mod binary;
mod columns;
mod json;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Date32Type;
use arrow_schema::{DataType, SchemaRef};
use bytes::Bytes;
use lakeshift_core::graph::Grain;
use lakeshift_core::stream::UnknownFields;

use crate::error::StreamError;
use crate::range::Place;
use crate::source::{BadRecord, Record};

pub use avro::AvroEvents;

/// Hours of a day.
const DAY_HOURS: i64 = 24;

/// An event as it was read.
#[derive(Debug, Clone)]
pub struct Event {
    /// Index of its span.
    pub span: u32,
    /// Its offset.
    pub offset: i64,
    /// Its bytes; `None` for one without a value.
    pub payload: Option<Bytes>,
}

/// Events as rows.
#[derive(Debug)]
pub struct Decoded {
    /// The rows.
    pub rows: RecordBatch,
    /// For each row its event; one event may have several rows.
    pub records: Vec<Record>,
    /// The places that records point to.
    pub places: Vec<Place>,
    /// Events without a row.
    pub bad: Vec<BadRecord>,
}

/// What events are.
#[derive(Debug, Clone)]
pub enum Format {
    /// JSON objects.
    Json,
    /// Arrow IPC streams.
    Arrow,
    /// Avro records.
    Avro(Arc<AvroEvents>),
    /// Rows in Lakeshift's own layout.
    Binary,
}

/// How events are read.
#[derive(Debug, Clone)]
pub struct Decoder {
    /// What they are.
    pub format: Format,
    /// What becomes of events that have more than the columns.
    pub unknown_fields: UnknownFields,
    /// The rows' columns, in order.
    pub schema: SchemaRef,
    /// The column of time, a date that is never null.
    pub time: String,
    /// How much time a place covers.
    pub grain: Grain,
    /// The column of entities, a text that is never null.
    pub entity: Option<String>,
}

/// Why an event has no row: never with its content.
type Reason = String;

impl Decoder {
    /// Reads events.
    ///
    /// # Errors
    /// [`StreamError::Source`] where the schema cannot be decoded into at all, whatever the events are.
    pub fn decode(&self, events: &[Event]) -> Result<Decoded, StreamError> {
        let (rows, of_event, refused) = match &self.format {
            Format::Json => json::decode(self, events)?,
            Format::Arrow => arrow::decode(self, events)?,
            Format::Avro(avro) => avro::decode(self, avro, events)?,
            Format::Binary => binary::decode(self, events)?,
        };
        let (places, place_of) = self.places(&rows)?;
        let rows_and_events = place_of.into_iter().zip(of_event);
        let records = rows_and_events.map(|(place, event)| {
            let Event { span, offset, .. } = events[event];
            Record { span, place, offset }
        });
        let bad = refused.into_iter().map(|(event, reason)| {
            let Event { span, offset, payload } = events[event].clone();
            BadRecord { span, offset, reason, payload: payload.unwrap_or_default() }
        });
        Ok(Decoded { records: records.collect(), places, bad: bad.collect(), rows })
    }

    /// The distinct places of rows, and each row's.
    fn places(&self, rows: &RecordBatch) -> Result<(Vec<Place>, Vec<u32>), StreamError> {
        let times = rows.column_by_name(&self.time).and_then(|column| column.as_primitive_opt::<Date32Type>());
        let times = times.ok_or_else(|| self.odd(&format!("the column {} is no date", self.time)))?;
        let entities = match &self.entity {
            None => None,
            Some(name) => {
                let column = rows.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
                Some(column.ok_or_else(|| self.odd(&format!("the column {name} is no text")))?)
            }
        };
        let (mut places, mut of_row) = (Vec::new(), Vec::with_capacity(rows.num_rows()));
        let mut known: HashMap<(i32, Option<&str>), u32> = HashMap::new();
        let mut last: Option<(i32, Option<&str>, u32)> = None;
        for row in 0..rows.num_rows() {
            let (day, entity) = (times.value(row), entities.map(|entities| entities.value(row)));
            // Almost always the place of the row before.
            if let Some((_, _, place)) = last.filter(|(other, of, _)| (*other, *of) == (day, entity)) {
                of_row.push(place);
                continue;
            }
            let period = self.grain.at_hours(i64::from(day) * DAY_HOURS);
            let place = match known.get(&(period, entity)) {
                Some(place) => *place,
                None => {
                    let place = u32::try_from(places.len()).map_err(|_| self.odd("there are too many places"))?;
                    places.push(Place { period, entity: entity.map(Arc::from) });
                    known.insert((period, entity), place);
                    place
                }
            };
            of_row.push(place);
            last = Some((day, entity, place));
        }
        Ok((places, of_row))
    }

    /// Whether a column tells the place of a row, and so must have a value.
    fn is_place(&self, column: &str) -> bool {
        column == self.time || Some(column) == self.entity.as_deref()
    }

    fn odd(&self, reason: &str) -> StreamError {
        StreamError::Source { object: "the events' columns".to_owned(), reason: reason.to_owned() }
    }

    fn refuses_unknown(&self) -> bool {
        self.unknown_fields == UnknownFields::Refuse
    }
}

/// Rows, the index of the event that each row is of, and the events without rows.
type Parts = (RecordBatch, Vec<usize>, Vec<(usize, Reason)>);

/// A type as people know it.
fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8 => "text".to_owned(),
        DataType::Date32 => "date".to_owned(),
        DataType::Timestamp(_, Some(_)) => "timestamp with a zone".to_owned(),
        DataType::Timestamp(_, None) => "timestamp without a zone".to_owned(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})"),
        other => other.to_string().to_lowercase(),
    }
}
