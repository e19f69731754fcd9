//! When two cells that are not the same count as equal.

use lakeshift_core::equivalence::Tolerance;

use super::number::Exact;
use crate::encode::DecodedCell;

/// Whether two cells count as equal. Integers and decimals are subtracted exactly, never rounded to doubles first: 2^53
/// and 2^53 + 1 are one apart. What is no number, NULL too, is equal to itself only.
pub(super) fn is_within(tolerance: &Tolerance, old: &DecodedCell, new: &DecodedCell) -> bool {
    if let (DecodedCell::Float(old), DecodedCell::Float(new)) = (old, new) {
        return tolerance.equal(f64::from_bits(*old), f64::from_bits(*new));
    }
    let Some((old, new)) = Exact::of(old).zip(Exact::of(new)) else { return false };
    let Some(difference) = old.minus(new) else { return false };
    tolerance.equal_exact(difference.to_f64().abs(), old.to_f64().abs().max(new.to_f64().abs()))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::i256;
    use lakeshift_core::spec::ColumnRule;

    use super::*;

    fn tolerance(rule: ColumnRule) -> Tolerance {
        Tolerance::of(&rule).unwrap()
    }

    fn absolute(limit: f64) -> Tolerance {
        tolerance(ColumnRule { absolute: Some(limit), ..ColumnRule::default() })
    }

    fn decimal(mantissa: i128, exponent: i16) -> DecodedCell {
        DecodedCell::Decimal { mantissa: i256::from_i128(mantissa), exponent }
    }

    #[test]
    fn exact_numbers_are_not_rounded_to_doubles_first() {
        let (a, b) = (DecodedCell::Integer(1 << 53), DecodedCell::Integer((1 << 53) + 1));
        assert!(!is_within(&absolute(0.5), &a, &b));
        assert!(is_within(&absolute(1.0), &a, &b));
        assert!(is_within(&absolute(0.01), &decimal(29, -2), &decimal(28, -2)), "as doubles they are further apart");
        assert!(!is_within(&absolute(0.01), &decimal(29, -2), &decimal(2799, -4)));
        assert!(is_within(
            &tolerance(ColumnRule { relative: Some(0.5), ..ColumnRule::default() }),
            &decimal(1, -1),
            &decimal(2, -1)
        ));
        assert!(
            !is_within(&tolerance(ColumnRule { ulps: Some(10), ..ColumnRule::default() }), &a, &b),
            "ULPs are of doubles"
        );
    }

    #[test]
    fn what_is_no_number_is_never_within() {
        let wide = absolute(f64::MAX);
        let float = |value: f64| DecodedCell::Float(value.to_bits());
        assert!(is_within(&wide, &float(1.0), &float(-7.0)));
        assert!(!is_within(&wide, &float(1.0), &float(f64::NAN)));
        assert!(!is_within(&wide, &DecodedCell::Null, &DecodedCell::Integer(0)));
        assert!(!is_within(&wide, &DecodedCell::Date(0), &DecodedCell::Date(1)));
        assert!(!is_within(&wide, &DecodedCell::Float(0), &DecodedCell::Integer(0)), "of different classes");
    }
}
