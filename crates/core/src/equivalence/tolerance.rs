//! [`Tolerance`]: how far two numbers may lie apart and still count as equal.

use crate::spec::ColumnRule;

/// Two numbers are equal when they lie within any of the bounds that are given. At least one is.
///
/// Integers and decimals are subtracted exactly by whoever holds them ([`equal_exact`](Self::equal_exact)): as doubles,
/// 2^53 and 2^53 + 1 would be the same and 0.29 would lie more than 0.01 from 0.28.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    absolute: Option<f64>,
    relative: Option<f64>,
    ulps: Option<u64>,
}

impl Tolerance {
    /// The rule's tolerance; `None` when it compares exactly.
    pub fn of(rule: &ColumnRule) -> Option<Self> {
        rule.is_tolerant().then_some(Self { absolute: rule.absolute, relative: rule.relative, ulps: rule.ulps })
    }

    /// Whether `a` and `b` count as equal. NaN equals NaN and an infinity itself, and neither anything else; −0.0 equals
    /// 0.0.
    pub fn equal(&self, a: f64, b: f64) -> bool {
        if a == b || (a.is_nan() && b.is_nan()) {
            return true;
        }
        if !a.is_finite() || !b.is_finite() {
            return false;
        }
        let within = |test: fn(f64, f64, f64) -> bool, bound: Option<f64>| bound.is_some_and(|bound| test(a, b, bound));
        within(is_near, self.absolute) || within(is_relatively_near, self.relative) || self.is_few_ulps_away(a, b)
    }

    /// Whether two exact numbers count as equal: `difference` is what lies between them, `larger` the larger of their
    /// magnitudes, both rounded to doubles after the subtraction. ULPs are of doubles and do not apply.
    pub fn equal_exact(&self, difference: f64, larger: f64) -> bool {
        let within = |bound: Option<f64>, unit: f64| bound.is_some_and(|bound| difference <= bound * unit);
        difference.is_finite() && (within(self.absolute, 1.0) || within(self.relative, larger))
    }

    fn is_few_ulps_away(&self, a: f64, b: f64) -> bool {
        self.ulps.is_some_and(|ulps| ordinal(a).abs_diff(ordinal(b)) <= ulps)
    }
}

fn is_near(a: f64, b: f64, bound: f64) -> bool {
    (a - b).abs() <= bound
}

/// A difference that overflows is compared by halves: an overflowing bound would otherwise equal it.
fn is_relatively_near(a: f64, b: f64, bound: f64) -> bool {
    let larger = a.abs().max(b.abs());
    let difference = (a - b).abs();
    if difference.is_finite() { difference <= bound * larger } else { (a / 2.0 - b / 2.0).abs() <= bound * (larger / 2.0) }
}

/// The double's number in the order of all doubles; both zeros are 0.
fn ordinal(value: f64) -> i64 {
    let bits = value.to_bits().cast_signed();
    if bits < 0 { i64::MIN.wrapping_sub(bits) } else { bits }
}
