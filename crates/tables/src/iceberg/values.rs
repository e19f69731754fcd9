//! Scalars: core's [`Value`] to Iceberg's [`Datum`] of a given type and back. A value that the type cannot hold exactly
//! has no image.

use iceberg::spec::{Datum, PrimitiveLiteral, PrimitiveType};
use lakeshift_core::value::Value;

/// Bounds of text and bytes are cut to this many characters or bytes, as Iceberg writers do.
const BOUND_LENGTH_MAX: usize = 16;

/// `value` as a datum of `data_type`; `None` where it has no exact image.
pub(super) fn to_datum(value: &Value, data_type: &PrimitiveType) -> Option<Datum> {
    use PrimitiveType as P;
    Some(match (data_type, value) {
        (P::Boolean, Value::Boolean(value)) => Datum::bool(*value),
        (P::Int, Value::Int(value)) => Datum::int(i32::try_from(*value).ok()?),
        (P::Long, Value::Int(value)) => Datum::long(*value),
        (P::Float, Value::Float(value)) => Datum::float(exact_f32(*value)?),
        (P::Double, Value::Float(value)) => Datum::double(*value),
        (P::Decimal { precision, scale }, Value::Decimal { unscaled, scale: found }) => {
            let fits = u32::from(*found) == *scale && unscaled.unsigned_abs() < 10_u128.checked_pow(*precision)?;
            fits.then(|| Datum::try_from_bytes(&unscaled.to_be_bytes(), data_type.clone()).ok())??
        }
        (P::Date, Value::Date(days)) => Datum::date(*days),
        (P::Time, Value::Time(micros)) => Datum::time_micros(*micros).ok()?,
        (P::Timestamp, Value::Timestamp(micros)) => Datum::timestamp_micros(*micros),
        (P::Timestamptz, Value::Timestamp(micros)) => Datum::timestamptz_micros(*micros),
        (P::String, Value::String(text)) => Datum::string(text),
        (P::Uuid, Value::Binary(bytes)) => Datum::uuid(uuid::Uuid::from_slice(bytes).ok()?),
        (P::Fixed(length), Value::Binary(bytes)) if *length == bytes.len() as u64 => Datum::fixed(bytes.iter().copied()),
        (P::Binary, Value::Binary(bytes)) => Datum::binary(bytes.iter().copied()),
        _ => return None,
    })
}

/// The value of a literal of `data_type`; `None` for kinds that core's values do not have (nanoseconds).
pub(super) fn from_literal(literal: &PrimitiveLiteral, data_type: &PrimitiveType) -> Option<Value> {
    use PrimitiveLiteral as L;
    use PrimitiveType as P;
    Some(match (data_type, literal) {
        (P::Boolean, L::Boolean(value)) => Value::Boolean(*value),
        (P::Int, L::Int(value)) => Value::Int(i64::from(*value)),
        (P::Long, L::Long(value)) => Value::Int(*value),
        (P::Float, L::Float(value)) => Value::Float(f64::from(value.0)),
        (P::Double, L::Double(value)) => Value::Float(value.0),
        (P::Decimal { scale, .. }, L::Int128(unscaled)) => {
            Value::Decimal { unscaled: *unscaled, scale: u8::try_from(*scale).ok()? }
        }
        (P::Date, L::Int(days)) => Value::Date(*days),
        (P::Time, L::Long(micros)) => Value::Time(*micros),
        (P::Timestamp | P::Timestamptz, L::Long(micros)) => Value::Timestamp(*micros),
        (P::String, L::String(text)) => Value::String(text.clone()),
        (P::Uuid, L::UInt128(bits)) => Value::Binary(bits.to_be_bytes().to_vec()),
        (P::Fixed(_) | P::Binary, L::Binary(bytes)) => Value::Binary(bytes.clone()),
        _ => return None,
    })
}

/// A value not above `least`, short enough for metadata.
pub(super) fn lower_bound(least: &Value) -> Value {
    match least {
        Value::String(text) => Value::String(text.chars().take(BOUND_LENGTH_MAX).collect()),
        Value::Binary(bytes) => Value::Binary(bytes.iter().copied().take(BOUND_LENGTH_MAX).collect()),
        other => other.clone(),
    }
}

/// A value not below `greatest`, short enough for metadata; `None` where there is no such value.
pub(super) fn upper_bound(greatest: &Value) -> Option<Value> {
    Some(match greatest {
        Value::String(text) if text.chars().count() > BOUND_LENGTH_MAX => {
            Value::String(next_text(text.chars().take(BOUND_LENGTH_MAX).collect())?)
        }
        Value::Binary(bytes) if bytes.len() > BOUND_LENGTH_MAX => {
            Value::Binary(next_bytes(bytes.iter().copied().take(BOUND_LENGTH_MAX).collect())?)
        }
        other => other.clone(),
    })
}

/// The least text of at most this length above all texts that begin with `prefix`.
fn next_text(mut prefix: Vec<char>) -> Option<String> {
    while let Some(last) = prefix.pop() {
        // The range skips the surrogates, which are no characters.
        if let Some(next) = (last..=char::MAX).nth(1) {
            prefix.push(next);
            return Some(prefix.into_iter().collect());
        }
    }
    None
}

fn next_bytes(mut prefix: Vec<u8>) -> Option<Vec<u8>> {
    while let Some(last) = prefix.pop() {
        if let Some(next) = last.checked_add(1) {
            prefix.push(next);
            return Some(prefix);
        }
    }
    None
}

#[expect(clippy::cast_possible_truncation, reason = "what is lost is what the comparison looks for")]
fn exact_f32(value: f64) -> Option<f32> {
    let narrow = value as f32;
    (f64::from(narrow).to_bits() == value.to_bits() || value.is_nan()).then_some(narrow)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(Value::Boolean(true), PrimitiveType::Boolean)]
    #[case(Value::Int(-7), PrimitiveType::Int)]
    #[case(Value::Int(i64::MAX), PrimitiveType::Long)]
    #[case(Value::Float(-0.0), PrimitiveType::Float)]
    #[case(Value::Float(0.1), PrimitiveType::Double)]
    #[case(Value::Decimal { unscaled: -7801, scale: 2 }, PrimitiveType::Decimal { precision: 4, scale: 2 })]
    #[case(Value::Date(11_323), PrimitiveType::Date)]
    #[case(Value::Time(1), PrimitiveType::Time)]
    #[case(Value::Timestamp(-1), PrimitiveType::Timestamp)]
    #[case(Value::Timestamp(1), PrimitiveType::Timestamptz)]
    #[case(Value::String("ä".into()), PrimitiveType::String)]
    #[case(Value::Binary(vec![7; 16]), PrimitiveType::Uuid)]
    #[case(Value::Binary(vec![1, 2]), PrimitiveType::Fixed(2))]
    #[case(Value::Binary(vec![]), PrimitiveType::Binary)]
    fn a_value_comes_back_from_its_type(#[case] value: Value, #[case] data_type: PrimitiveType) {
        let datum = to_datum(&value, &data_type).unwrap();
        assert_eq!(datum.data_type(), &data_type);
        assert_eq!(from_literal(datum.literal(), &data_type), Some(value));
    }

    #[rstest]
    #[case(Value::Int(1 << 31), PrimitiveType::Int)]
    #[case(Value::Float(0.1), PrimitiveType::Float)]
    #[case(Value::Decimal { unscaled: 10_000, scale: 2 }, PrimitiveType::Decimal { precision: 4, scale: 2 })]
    #[case(Value::Decimal { unscaled: 1, scale: 3 }, PrimitiveType::Decimal { precision: 4, scale: 2 })]
    #[case(Value::String("1".into()), PrimitiveType::Int)]
    #[case(Value::Binary(vec![1]), PrimitiveType::Fixed(2))]
    fn a_value_that_the_type_cannot_hold_has_no_image(#[case] value: Value, #[case] data_type: PrimitiveType) {
        assert_eq!(to_datum(&value, &data_type), None);
    }

    #[test]
    fn an_upper_bound_that_cannot_grow_is_absent() {
        assert_eq!(upper_bound(&Value::Binary(vec![0xff; 17])), None);
        assert_eq!(upper_bound(&Value::String(char::MAX.to_string().repeat(17))), None);
        assert_eq!(
            upper_bound(&Value::String("\u{d7ff}".repeat(17))),
            Some(Value::String("\u{d7ff}".repeat(15) + "\u{e000}"))
        );
    }

    proptest! {
        #[test]
        fn bounds_of_text_enclose_it(text in ".{0,40}") {
            let value = Value::String(text);
            let ordered = |a: &Value, b: &Value| a.compare(b).is_some_and(|order| order.is_le());
            prop_assert!(ordered(&lower_bound(&value), &value));
            prop_assert!(upper_bound(&value).is_none_or(|high| ordered(&value, &high)));
        }
    }
}
