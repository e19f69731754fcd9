//! When two numbers that are not the same count as equal.

use super::number::Exact;
use crate::encode::DecodedCell;

/// How far two numbers of a column may lie apart and count as equal: any limit that is given suffices.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Tolerance {
    /// Greatest absolute difference.
    pub absolute: Option<f64>,
    /// Greatest difference relative to the larger of both.
    pub relative: Option<f64>,
    /// Greatest number of representable doubles between two, the second one counted. Applies to floats only.
    pub ulps: Option<u64>,
}

impl Tolerance {
    /// Whether two doubles count as equal. NaN and infinities are equal to themselves only.
    pub fn equal(&self, a: f64, b: f64) -> bool {
        if !a.is_finite() || !b.is_finite() {
            return a == b || a.is_nan() && b.is_nan();
        }
        self.is_within((a - b).abs(), a.abs().max(b.abs())) || self.ulps.is_some_and(|ulps| ulps_apart(a, b) <= ulps)
    }

    fn is_within(&self, difference: f64, larger: f64) -> bool {
        self.absolute.is_some_and(|absolute| difference <= absolute)
            || self.relative.is_some_and(|relative| difference <= relative * larger)
    }
}

/// Steps from one double to the other; −0.0 and 0.0 are the same.
fn ulps_apart(a: f64, b: f64) -> u64 {
    let ordered = |value: f64| {
        let magnitude = i128::from(value.to_bits() & !(1 << 63));
        if value.is_sign_negative() { -magnitude } else { magnitude }
    };
    u64::try_from((ordered(a) - ordered(b)).abs()).unwrap_or(u64::MAX)
}

/// Whether two cells count as equal. Integers and decimals are subtracted exactly, never rounded to doubles first: 2^53
/// and 2^53 + 1 are one apart. What is no number, NULL too, is equal to itself only.
pub(super) fn is_within(tolerance: &Tolerance, old: &DecodedCell, new: &DecodedCell) -> bool {
    if let (DecodedCell::Float(old), DecodedCell::Float(new)) = (old, new) {
        return tolerance.equal(f64::from_bits(*old), f64::from_bits(*new));
    }
    let Some((old, new)) = Exact::of(old).zip(Exact::of(new)) else { return false };
    let Some(difference) = old.minus(new) else { return false };
    tolerance.is_within(difference.to_f64().abs(), old.to_f64().abs().max(new.to_f64().abs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn absolute(limit: f64) -> Tolerance {
        Tolerance { absolute: Some(limit), ..Tolerance::default() }
    }

    fn relative(limit: f64) -> Tolerance {
        Tolerance { relative: Some(limit), ..Tolerance::default() }
    }

    fn ulps(limit: u64) -> Tolerance {
        Tolerance { ulps: Some(limit), ..Tolerance::default() }
    }

    #[rstest]
    #[case::at_the_limit(absolute(0.5), 1.0, 1.5, true)]
    #[case::just_above(absolute(0.5), 1.0, 1.5_f64.next_up(), false)]
    #[case::relative_to_the_larger(relative(0.5), 1.0, 2.0, true)]
    #[case::relative_just_above(relative(0.5), 1.0, 2.0_f64.next_up(), false)]
    #[case::ulps_at_the_limit(ulps(2), 1.0, 1.0_f64.next_up().next_up(), true)]
    #[case::ulps_above(ulps(1), 1.0, 1.0_f64.next_up().next_up(), false)]
    #[case::ulps_across_zero(ulps(2), f64::from_bits(1), -f64::from_bits(1), true)]
    #[case::ulps_of_opposite_signs(ulps(u64::MAX >> 2), -1.0, 1.0, false)]
    #[case::zeros(absolute(0.0), 0.0, -0.0, true)]
    #[case::nan(absolute(f64::MAX), f64::NAN, 1.0, false)]
    #[case::infinity(relative(1.0), f64::INFINITY, 1.0, false)]
    #[case::opposite_infinities(relative(2.0), f64::INFINITY, f64::NEG_INFINITY, false)]
    #[case::none(Tolerance::default(), 1.0, 1.0_f64.next_up(), false)]
    fn doubles(#[case] tolerance: Tolerance, #[case] a: f64, #[case] b: f64, #[case] equal: bool) {
        assert_eq!(tolerance.equal(a, b), equal);
        assert_eq!(tolerance.equal(b, a), equal);
        let cell = |value: f64| DecodedCell::Float(value.to_bits());
        assert_eq!(is_within(&tolerance, &cell(a), &cell(b)), equal);
    }

    #[test]
    fn exact_numbers_are_not_rounded_to_doubles_first() {
        let (a, b) = (DecodedCell::Integer(1 << 53), DecodedCell::Integer((1 << 53) + 1));
        assert!(!is_within(&absolute(0.5), &a, &b));
        assert!(is_within(&absolute(1.0), &a, &b));
        assert!(!is_within(&ulps(10), &a, &b), "ULPs are of doubles");
    }

    #[test]
    fn what_is_no_number_is_never_within() {
        let wide = absolute(f64::MAX);
        assert!(!is_within(&wide, &DecodedCell::Null, &DecodedCell::Integer(0)));
        assert!(!is_within(&wide, &DecodedCell::Date(0), &DecodedCell::Date(1)));
        assert!(!is_within(&wide, &DecodedCell::Float(0), &DecodedCell::Integer(0)), "of different classes");
    }
}
