//! Events that are JSON objects. Every value is checked to be exactly one of its column's type before arrow-json builds the
//! rows: by itself arrow-json cuts fractions of integers, digits of decimals and of timestamps.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{RecordBatch, make_array};
use arrow_json::ReaderBuilder;
use arrow_schema::{DataType, Field, FieldRef, Schema, TimeUnit};
use chrono::{DateTime, NaiveDate, NaiveDateTime, Timelike};
use serde::de::IgnoredAny;

use super::{Decoder, Event, Parts, Reason, type_name};
use crate::error::StreamError;

/// Reads all events that can be read.
pub(super) fn decode(decoder: &Decoder, events: &[Event]) -> Result<Parts, StreamError> {
    let columns: HashMap<&str, usize> =
        (0..).zip(decoder.schema.fields()).map(|(at, field)| (field.name().as_str(), at)).collect();
    let (mut sound, mut refused) = (Vec::with_capacity(events.len()), Vec::new());
    for (at, event) in events.iter().enumerate() {
        match check(decoder, &columns, event.payload.as_deref()) {
            Ok(text) => sound.push((at, text)),
            Err(reason) => refused.push((at, reason)),
        }
    }
    let rows = match build(decoder, &sound) {
        Ok(rows) => rows,
        // What was checked is read, and if once it is not, then only that event is set aside.
        Err(_) => {
            let (readable, unreadable): (Vec<_>, Vec<_>) =
                sound.into_iter().partition(|one| build(decoder, std::slice::from_ref(one)).is_ok());
            refused.extend(unreadable.into_iter().map(|(at, _)| (at, "the JSON is not read as a row".to_owned())));
            sound = readable;
            build(decoder, &sound).map_err(|_| decoder.odd("events that are read one by one are not read together"))?
        }
    };
    if rows.num_rows() != sound.len() {
        return Err(decoder.odd("there are not as many rows as events"));
    }
    Ok((rows, sound.into_iter().map(|(at, _)| at).collect(), refused))
}

/// The rows of events that were checked. Errors may tell values, and are not told on.
fn build(decoder: &Decoder, events: &[(usize, &str)]) -> Result<RecordBatch, ()> {
    // Zones by name are read only where they are compiled in, and what is read is UTC in any case.
    let schema = Arc::new(Schema::new(decoder.schema.fields().iter().map(in_utc).collect::<Vec<_>>()));
    let builder = ReaderBuilder::new(schema).with_batch_size(events.len().max(1));
    let mut rows = builder.build_decoder().map_err(drop)?;
    for (_, text) in events {
        let read = rows.decode(text.as_bytes()).map_err(drop)?;
        if !text[read..].trim_end().is_empty() || rows.has_partial_record() {
            return Err(());
        }
    }
    let Some(rows) = rows.flush().map_err(drop)? else {
        return Ok(RecordBatch::new_empty(decoder.schema.clone()));
    };
    let typed = rows.columns().iter().zip(decoder.schema.fields()).map(|(column, field)| {
        let data = column.to_data().into_builder().data_type(field.data_type().clone());
        data.build().map(make_array).map_err(drop)
    });
    RecordBatch::try_new(decoder.schema.clone(), typed.collect::<Result<_, _>>()?).map_err(drop)
}

/// The field, with its zone as an offset.
fn in_utc(field: &FieldRef) -> Field {
    match field.data_type() {
        DataType::Timestamp(unit, Some(_)) => {
            field.as_ref().clone().with_data_type(DataType::Timestamp(*unit, Some("+00:00".into())))
        }
        _ => field.as_ref().clone(),
    }
}

/// The event's text, if every value in it is exactly one of its column's type.
fn check<'e>(decoder: &Decoder, columns: &HashMap<&str, usize>, payload: Option<&'e [u8]>) -> Result<&'e str, Reason> {
    let payload = payload.ok_or("the event has no value")?;
    let text = std::str::from_utf8(payload).map_err(|_| "the event is no UTF-8 text")?;
    serde_json::from_str::<IgnoredAny>(text)
        .map_err(|error| format!("the event is no JSON: line {}, column {}", error.line(), error.column()))?;
    let mut seen = vec![false; columns.len()];
    for (key, value) in members(text)? {
        let key = unquoted(key).ok_or("a name in the event is no text")?;
        let Some(&at) = columns.get(key.as_ref()) else {
            match decoder.refuses_unknown() {
                // Its name may be content, and is not told.
                true => return Err("the event has a field that is no column".to_owned()),
                false => continue,
            }
        };
        if std::mem::replace(&mut seen[at], true) {
            return Err(format!("the event has the field {} twice", decoder.schema.field(at).name()));
        }
        let field = decoder.schema.field(at);
        if value != "null" {
            check_value(value, field.data_type()).map_err(|problem| {
                format!("the value of {} is no {}: {problem}", field.name(), type_name(field.data_type()))
            })?;
        } else if is_required(decoder, field) {
            return Err(format!("the event has null in {}", field.name()));
        }
    }
    let missing = decoder.schema.fields().iter().zip(seen).find(|(field, seen)| !seen && is_required(decoder, field));
    match missing {
        Some((field, _)) => Err(format!("the event has no {}", field.name())),
        None => Ok(text),
    }
}

fn is_required(decoder: &Decoder, field: &Field) -> bool {
    !field.is_nullable() || decoder.is_place(field.name())
}

/// The names and values of an object, each as it stands in the text, which is valid JSON.
fn members(text: &str) -> Result<Vec<(&str, &str)>, Reason> {
    let inner = text.trim().strip_prefix('{').ok_or("the event is no JSON object")?;
    let (mut rest, mut members) = (inner.trim_start(), Vec::new());
    while rest.starts_with('"') {
        let (key, after) = rest.split_at(value_end(rest));
        let value = after.trim_start().trim_start_matches(':').trim_start();
        let (value, after) = value.split_at(value_end(value));
        members.push((key, value));
        rest = after.trim_start().trim_start_matches(',').trim_start();
    }
    Ok(members)
}

/// Where the value ends that valid JSON begins with.
fn value_end(text: &str) -> usize {
    let (mut depth, mut in_text, mut escaped) = (0_u32, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => {
                in_text = !in_text;
                if !in_text && depth == 0 {
                    return at + 1;
                }
            }
            _ if in_text => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth > 0 => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            b'}' | b']' | b',' | b' ' | b'\t' | b'\n' | b'\r' if depth == 0 => return at,
            _ => {}
        }
    }
    text.len()
}

/// The text that a JSON string stands for.
fn unquoted(json: &str) -> Option<std::borrow::Cow<'_, str>> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    match inner.contains('\\') {
        false => Some(inner.into()),
        // Halves of surrogate pairs are no text.
        true => serde_json::from_str::<String>(json).ok().map(Into::into),
    }
}

/// Whether a JSON value that is not null is exactly one of a type.
fn check_value(json: &str, data_type: &DataType) -> Result<(), &'static str> {
    match data_type {
        DataType::Boolean => ok(matches!(json, "true" | "false"), "write true or false"),
        DataType::Int8 => whole::<i8>(json),
        DataType::Int16 => whole::<i16>(json),
        DataType::Int32 => whole::<i32>(json),
        DataType::Int64 => whole::<i64>(json),
        DataType::Float32 => float(json, |value| f64::from(value as f32)),
        DataType::Float64 => float(json, |value| value),
        DataType::Utf8 => ok(unquoted(json).is_some(), "write a text in quotes"),
        DataType::Date32 => {
            let text = unquoted(json).ok_or("write a text, YYYY-MM-DD")?;
            ok(is_date(&text), "write YYYY-MM-DD, a day that there is")
        }
        DataType::Timestamp(unit, zone) => {
            let text = unquoted(json).ok_or("write a text such as 2001-01-31T07:30:00")?;
            timestamp(&text, *unit, zone.is_some())
        }
        DataType::Decimal128(precision, scale) => {
            let text = unquoted(json).unwrap_or(json.into());
            decimal(&text, *precision, *scale)
        }
        _ => Err("JSON has no form for this type"),
    }
}

fn ok(sound: bool, problem: &'static str) -> Result<(), &'static str> {
    if sound { Ok(()) } else { Err(problem) }
}

fn is_number(json: &str) -> bool {
    json.starts_with(|c: char| c == '-' || c.is_ascii_digit())
}

fn whole<T: std::str::FromStr>(json: &str) -> Result<(), &'static str> {
    ok(is_number(json), "write a number")?;
    ok(!json.contains(['.', 'e', 'E']), "write a whole number")?;
    ok(json.parse::<T>().is_ok(), "it is too large or too small")
}

/// A fraction is rounded to the nearest float, as everywhere; a whole number must be one exactly.
fn float(json: &str, nearest: impl Fn(f64) -> f64) -> Result<(), &'static str> {
    ok(is_number(json), "write a number")?;
    let value = nearest(json.parse().map_err(|_| "write a number")?);
    ok(value.is_finite(), "it is too large")?;
    let is_exact = || json.parse::<i128>().is_ok_and(|whole| value as i128 == whole);
    ok(json.contains(['.', 'e', 'E']) || is_exact(), "a whole number that large is no float exactly")
}

fn is_date(text: &str) -> bool {
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok();
    text.len() == 10 && day.is_some_and(|day| day.format("%Y-%m-%d").to_string() == text)
}

fn timestamp(text: &str, unit: TimeUnit, with_zone: bool) -> Result<(), &'static str> {
    let time = if with_zone {
        let time = DateTime::parse_from_rfc3339(text)
            .map_err(|_| "write it as RFC 3339 with a zone, such as 2001-01-31T07:30:00Z")?;
        time.naive_utc()
    } else {
        let read = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f");
        let read = read.or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f"));
        read.map_err(|_| "write it without a zone, such as 2001-01-31T07:30:00")?
    };
    // Digits beyond nanoseconds are no part of what chrono has read.
    let digits = text.split_once('.').map_or("", |(_, fraction)| fraction);
    let digits = digits.bytes().take_while(u8::is_ascii_digit).count();
    let (digits_max, step) = match unit {
        TimeUnit::Second => (0, 1_000_000_000),
        TimeUnit::Millisecond => (3, 1_000_000),
        TimeUnit::Microsecond => (6, 1000),
        TimeUnit::Nanosecond => (9, 1),
    };
    ok(time.nanosecond() < 1_000_000_000, "a leap second has no place in a timestamp")?;
    ok(digits <= 9 && (digits <= digits_max || time.nanosecond() % step == 0), "it has more digits than the column")?;
    ok((1..=9999).contains(&chrono::Datelike::year(&time)), "its year is not in 1 to 9999")
}

/// Digits, a point and digits; what is cut at the end may be zeros only.
fn decimal(text: &str, precision: u8, scale: i8) -> Result<(), &'static str> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let point_alone = text.contains('.') && fraction.is_empty();
    ok(!whole.is_empty() && !point_alone && digits(whole) && digits(fraction), "write digits, and no exponent")?;
    let scale = usize::try_from(scale).unwrap_or(0);
    ok(fraction.trim_end_matches('0').len() <= scale, "it has more digits after the point than the column")?;
    let room = usize::from(precision).saturating_sub(scale);
    ok(whole.trim_start_matches('0').len() <= room, "it is too large")
}
