//! Numbers of decoded cells: exact as long as possible, as doubles at the end.

use arrow::datatypes::i256;

use crate::encode::DecodedCell;

const NANOS_PER_SECOND: i128 = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// `mantissa × 10^exponent`; the mantissa is not divisible by ten unless it is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exact {
    pub(super) mantissa: i256,
    pub(super) exponent: i32,
}

impl Exact {
    fn new(mut mantissa: i256, mut exponent: i32) -> Self {
        let ten = i256::from_i128(10);
        if mantissa == i256::ZERO {
            return Self { mantissa, exponent: 0 };
        }
        while mantissa.wrapping_rem(ten) == i256::ZERO {
            mantissa = mantissa.wrapping_div(ten);
            exponent += 1;
        }
        Self { mantissa, exponent }
    }

    /// An integer or a decimal.
    pub(super) fn of(cell: &DecodedCell) -> Option<Self> {
        match cell {
            DecodedCell::Integer(value) => Some(Self::new(i256::from_i128((*value).into()), 0)),
            DecodedCell::Decimal { mantissa, exponent } => Some(Self::new(*mantissa, (*exponent).into())),
            _ => None,
        }
    }

    /// The shortest decimal number that is read as this double; `None` for NaN and infinities.
    pub(super) fn shortest(value: f64) -> Option<Self> {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e')?;
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let mantissa: i128 = format!("{whole}{fraction}").parse().ok()?;
        let exponent = exponent.parse::<i32>().ok()? - i32::try_from(fraction.len()).ok()?;
        Some(Self::new(i256::from_i128(mantissa), exponent))
    }

    /// `self − other`; `None` where 256 bits do not hold it.
    pub(super) fn minus(self, other: Self) -> Option<Self> {
        let exponent = self.exponent.min(other.exponent);
        let aligned = |number: Self| {
            let power = i256::from_i128(10).checked_pow(u32::try_from(number.exponent - exponent).ok()?)?;
            number.mantissa.checked_mul(power)
        };
        Some(Self::new(aligned(self)?.checked_sub(aligned(other)?)?, exponent))
    }

    pub(super) fn is_zero(self) -> bool {
        self.mantissa == i256::ZERO
    }

    pub(super) fn is_negative(self) -> bool {
        self.mantissa.is_negative()
    }

    /// The nearest double.
    pub(super) fn to_f64(self) -> f64 {
        format!("{}e{}", self.mantissa, self.exponent).parse().unwrap_or(f64::NAN)
    }
}

/// A number as a double; `None` for what is none.
pub(super) fn approximate(cell: &DecodedCell) -> Option<f64> {
    match cell {
        DecodedCell::Float(bits) => Some(f64::from_bits(*bits)),
        other => Exact::of(other).map(Exact::to_f64),
    }
}

/// A time in nanoseconds: since midnight, or since 1970-01-01.
pub(super) fn nanos(cell: &DecodedCell) -> Option<i128> {
    let whole = |seconds: i64, nanos: u32| i128::from(seconds) * NANOS_PER_SECOND + i128::from(nanos);
    match cell {
        DecodedCell::Date(days) => Some(whole(i64::from(*days) * SECONDS_PER_DAY, 0)),
        DecodedCell::Time { seconds, nanos } | DecodedCell::Timestamp { seconds, nanos, .. } => {
            Some(whole(*seconds, *nanos))
        }
        _ => None,
    }
}

/// How far apart two values are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Distance {
    /// Of two numbers, or of two times in seconds.
    pub(super) absolute: f64,
    /// Relative to the old number; absent for times and where the old number is zero.
    pub(super) relative: Option<f64>,
}

/// `None` where the values are no numbers or times, or their distance is not finite.
pub(super) fn distance(old: &DecodedCell, new: &DecodedCell) -> Option<Distance> {
    let distance = match (nanos(old), nanos(new)) {
        (Some(old), Some(new)) => {
            let nanos = Exact::new(i256::from_i128(new - old), -9);
            Distance { absolute: nanos.to_f64().abs(), relative: None }
        }
        _ => {
            let (a, b) = (approximate(old)?, approximate(new)?);
            let exact = Exact::of(old).zip(Exact::of(new)).and_then(|(old, new)| new.minus(old));
            let absolute = exact.map_or(b - a, Exact::to_f64).abs();
            Distance { absolute, relative: (a != 0.0).then(|| absolute / a.abs()).filter(|relative| relative.is_finite()) }
        }
    };
    Some(distance).filter(|distance| distance.absolute.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(mantissa: i128, exponent: i32) -> Exact {
        Exact::new(i256::from_i128(mantissa), exponent)
    }

    #[test]
    fn shortest_decimals_of_doubles_have_no_trailing_zeros() {
        assert_eq!(Exact::shortest(1200.0), Some(exact(12, 2)));
        assert_eq!(Exact::shortest(-0.1), Some(exact(-1, -1)));
        assert_eq!(Exact::shortest(1.5e-300), Some(exact(15, -301)));
        assert_eq!(Exact::shortest(0.0), Some(exact(0, 0)));
        assert_eq!(Exact::shortest(f64::NAN).or(Exact::shortest(f64::INFINITY)), None);
    }

    #[test]
    fn integers_beyond_53_bits_are_subtracted_exactly() {
        let distance = distance(&DecodedCell::Integer(1 << 53), &DecodedCell::Integer((1 << 53) + 1)).unwrap();
        assert_eq!(distance.absolute, 1.0);
        assert_eq!(exact(1, 300).minus(exact(1, -300)), None, "too far apart for 256 bits");
    }

    #[test]
    fn times_are_apart_in_seconds_and_have_no_relative_distance() {
        let at = |nanos| DecodedCell::Timestamp { seconds: 10, nanos, utc: true };
        assert_eq!(distance(&at(0), &at(1_500_000)), Some(Distance { absolute: 0.0015, relative: None }));
        let days = distance(&DecodedCell::Date(1), &DecodedCell::Date(-1));
        assert_eq!(days, Some(Distance { absolute: 172_800.0, relative: None }));
    }

    #[test]
    fn what_is_not_finite_is_left_out() {
        let float = |value: f64| DecodedCell::Float(value.to_bits());
        assert_eq!(distance(&float(f64::NAN), &float(1.0)), None);
        assert_eq!(distance(&float(1.0), &float(f64::INFINITY)), None);
        assert_eq!(distance(&float(0.0), &float(1.0)).unwrap().relative, None);
    }
}
