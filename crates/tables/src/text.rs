//! Typed values from the text that stands in paths and in Delta's `partitionValues`.

use chrono::{Datelike, NaiveDate, NaiveDateTime};
use lakeshift_core::schema::DataType;
use lakeshift_core::value::Value;

/// Days from 0001-01-01 (day 1 of the common era) to 1970-01-01.
const EPOCH_FROM_CE: i32 = 719_163;

/// The value of `data_type` that `text` writes; `None` where it writes none.
pub(crate) fn parse(text: &str, data_type: &DataType) -> Option<Value> {
    use DataType as T;
    let integer = |min: i64, max: i64| text.parse().ok().filter(|value| (min..=max).contains(value)).map(Value::Int);
    match data_type {
        T::String => Some(Value::String(text.to_owned())),
        T::Boolean => text.parse().ok().map(Value::Boolean),
        T::Int8 => integer(i8::MIN.into(), i8::MAX.into()),
        T::Int16 => integer(i16::MIN.into(), i16::MAX.into()),
        T::Int32 => integer(i32::MIN.into(), i32::MAX.into()),
        T::Int64 => integer(i64::MIN, i64::MAX),
        T::UInt8 => integer(0, u8::MAX.into()),
        T::UInt16 => integer(0, u16::MAX.into()),
        T::UInt32 => integer(0, u32::MAX.into()),
        T::UInt64 => integer(0, i64::MAX),
        T::Float32 | T::Float64 => text.parse().ok().map(Value::Float),
        T::Date => {
            let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
            Some(Value::Date(date.num_days_from_ce() - EPOCH_FROM_CE))
        }
        T::Timestamp { .. } => timestamp(text),
        T::Decimal { precision, scale } => decimal(text, *precision, *scale),
        _ => None,
    }
}

/// `2001-02-03 04:05:06.789` and the ISO form `2001-02-03T04:05:06.789Z`; nothing finer than microseconds.
fn timestamp(text: &str) -> Option<Value> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    let formats = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f"];
    let time = formats.iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())?.and_utc();
    (time.timestamp_subsec_nanos() % 1000 == 0).then(|| Value::Timestamp(time.timestamp_micros()))
}

fn decimal(text: &str, precision: u8, scale: u8) -> Option<Value> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let scale_width = usize::from(scale);
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if fraction.len() > scale_width || !digits(fraction) || !digits(whole.strip_prefix('-').unwrap_or(whole)) {
        return None;
    }
    let unscaled: i128 = format!("{whole}{fraction:0<scale_width$}").parse().ok()?;
    let limit = 10_u128.checked_pow(precision.into())?;
    (unscaled.unsigned_abs() < limit).then_some(Value::Decimal { unscaled, scale })
}

#[cfg(test)]
mod tests {
    use lakeshift_core::schema::TimeUnit;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("00", DataType::Int32, Some(Value::Int(0)))]
    #[case("128", DataType::Int8, None)]
    #[case("1969-12-31", DataType::Date, Some(Value::Date(-1)))]
    #[case("2001-02-30", DataType::Date, None)]
    #[case("-0.5", DataType::Decimal { precision: 3, scale: 2 }, Some(Value::Decimal { unscaled: -50, scale: 2 }))]
    #[case("0.005", DataType::Decimal { precision: 3, scale: 2 }, None)]
    #[case("12.34", DataType::Decimal { precision: 3, scale: 2 }, None)]
    #[case("1970-01-01 00:00:00.000001", DataType::Timestamp { unit: TimeUnit::Micros, utc: true }, Some(Value::Timestamp(1)))]
    #[case("1970-01-01T00:00:01Z", DataType::Timestamp { unit: TimeUnit::Micros, utc: true }, Some(Value::Timestamp(1_000_000)))]
    #[case("1970-01-01 00:00:00.0000001", DataType::Timestamp { unit: TimeUnit::Micros, utc: true }, None)]
    fn a_text_is_a_value_of_its_type_or_none(#[case] text: &str, #[case] data_type: DataType, #[case] value: Option<Value>) {
        assert_eq!(parse(text, &data_type), value);
    }
}
