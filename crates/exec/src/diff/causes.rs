//! The pattern that all differing values of a column follow, where there is a plain one. [`Causes`] holds the patterns
//! that no pair has ruled out yet, in a few words of memory.

use lakeshift_core::equivalence::Cause;

use super::number::{self, Exact};
use crate::encode::DecodedCell;

const QUARTER_HOUR_NANOS: i128 = 900 * 1_000_000_000;
/// The units that times are cut to: microseconds to days, in nanoseconds.
const UNITS_NANOS: [i128; 6] = [1_000, 1_000_000, 1_000_000_000, 60_000_000_000, 3_600_000_000_000, 86_400_000_000_000];
/// How far a float may lie from the old one times a power of ten, relative to it.
const SCALE_SLACK: f64 = 1e-12;

/// A pattern with its parameter: not seen yet, the same in all pairs so far, or ruled out.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum Constant<T> {
    #[default]
    Unseen,
    All(T),
    Broken,
}

impl<T: PartialEq> Constant<T> {
    fn see(&mut self, value: Option<T>) {
        let so_far = std::mem::replace(self, Self::Broken);
        *self = match (so_far, value) {
            (Self::Unseen, Some(value)) => Self::All(value),
            (Self::All(known), Some(value)) if known == value => Self::All(known),
            _ => Self::Broken,
        };
    }

    fn get(self) -> Option<T> {
        match self {
            Self::All(value) => Some(value),
            Self::Unseen | Self::Broken => None,
        }
    }
}

/// What all pairs so far have in common.
#[derive(Debug, Default)]
pub(super) struct Causes {
    null_against_empty: Constant<()>,
    values_lost: Constant<()>,
    time_shift_seconds: Constant<i64>,
    end_space: Constant<()>,
    letter_case: Constant<()>,
    scale: Constant<i32>,
    cut_number: CutNumber,
    cut_time: CutTime,
}

impl Causes {
    /// Takes note of two values that differ.
    pub(super) fn see(&mut self, old: &DecodedCell, new: &DecodedCell) {
        let when = |holds: bool| holds.then_some(());
        self.null_against_empty.see(when(is_null_against_empty(old, new)));
        self.values_lost.see(when(*new == DecodedCell::Null));
        self.time_shift_seconds.see(time_shift_seconds(old, new));
        self.end_space.see(when(texts(old, new).is_some_and(|(old, new)| old.trim() == new.trim())));
        self.letter_case.see(when(texts(old, new).is_some_and(|(old, new)| old.to_lowercase() == new.to_lowercase())));
        self.scale.see(scale(old, new));
        self.cut_number.see(old, new);
        self.cut_time.see(old, new);
    }

    /// The plainest pattern that is left.
    pub(super) fn plain_one(&self) -> Option<Cause> {
        let cut = self.cut_number.holds() || self.cut_time.holds();
        let patterns = [
            self.null_against_empty.get().map(|()| Cause::NullAgainstEmpty),
            self.values_lost.get().map(|()| Cause::ValuesLost),
            self.time_shift_seconds.get().map(|seconds| Cause::TimeShift { seconds }),
            self.end_space.get().map(|()| Cause::TrailingSpace),
            self.letter_case.get().map(|()| Cause::LetterCase),
            self.scale.get().map(|exponent| Cause::Scale { exponent }),
            cut.then_some(Cause::TruncatedPrecision),
        ];
        patterns.into_iter().flatten().next()
    }
}

fn texts<'c>(old: &'c DecodedCell, new: &'c DecodedCell) -> Option<(&'c str, &'c str)> {
    match (old, new) {
        (DecodedCell::Text(old), DecodedCell::Text(new)) => Some((old, new)),
        _ => None,
    }
}

fn is_null_against_empty(old: &DecodedCell, new: &DecodedCell) -> bool {
    let is_empty = |cell: &DecodedCell| matches!(cell, DecodedCell::Text(text) if text.is_empty());
    let is_null = |cell: &DecodedCell| *cell == DecodedCell::Null;
    is_null(old) && is_empty(new) || is_empty(old) && is_null(new)
}

fn time_shift_seconds(old: &DecodedCell, new: &DecodedCell) -> Option<i64> {
    let (DecodedCell::Timestamp { .. }, DecodedCell::Timestamp { .. }) = (old, new) else { return None };
    let shift = number::nanos(new)? - number::nanos(old)?;
    let whole = shift % QUARTER_HOUR_NANOS == 0;
    i64::try_from(shift / 1_000_000_000).ok().filter(|_| whole)
}

/// The power of ten, not 0, that makes the old number the new one.
fn scale(old: &DecodedCell, new: &DecodedCell) -> Option<i32> {
    if let (DecodedCell::Float(old), DecodedCell::Float(new)) = (old, new) {
        let (old, new) = (f64::from_bits(*old), f64::from_bits(*new));
        let exponent = (new / old).log10().round();
        let close = (new - old * 10_f64.powf(exponent)).abs() <= new.abs() * SCALE_SLACK;
        return (exponent.is_finite() && exponent != 0.0 && close).then_some(exponent as i32);
    }
    let (old, new) = Exact::of(old).zip(Exact::of(new))?;
    (old.mantissa == new.mantissa && old.exponent != new.exponent).then(|| new.exponent - old.exponent)
}

/// Whether every new number is the old one cut or rounded at one and the same digit, or made a 32-bit float.
#[derive(Debug)]
struct CutNumber {
    seen: bool,
    possible: bool,
    /// The last digit that any new number has, as a power of ten: all of them are multiples of it.
    digit: i32,
    largest_difference: f64,
    all_towards_zero: bool,
    all_down: bool,
    all_single: bool,
}

impl Default for CutNumber {
    fn default() -> Self {
        Self {
            seen: false,
            possible: true,
            digit: i32::MAX,
            largest_difference: 0.0,
            all_towards_zero: true,
            all_down: true,
            all_single: true,
        }
    }
}

impl CutNumber {
    fn see(&mut self, old: &DecodedCell, new: &DecodedCell) {
        self.seen = true;
        if !self.possible && !self.all_single {
            return;
        }
        self.all_single &= is_single(old, new);
        let exact = |cell: &DecodedCell| match cell {
            DecodedCell::Float(bits) => Exact::shortest(f64::from_bits(*bits)),
            other => Exact::of(other),
        };
        let numbers = exact(old).zip(exact(new)).and_then(|(old, new)| Some((old, new, new.minus(old)?)));
        let Some((old, new, difference)) = numbers else {
            self.possible = false;
            return;
        };
        if !new.is_zero() {
            self.digit = self.digit.min(new.exponent);
        }
        self.largest_difference = self.largest_difference.max(difference.to_f64().abs());
        self.all_down &= difference.is_negative();
        self.all_towards_zero &= difference.is_negative() != old.is_negative();
    }

    fn holds(&self) -> bool {
        if !self.seen || self.all_single {
            return self.seen;
        }
        // Where all became zero, any digit will do: that is lost, not cut.
        let unit = format!("1e{}", self.digit).parse().unwrap_or(f64::INFINITY);
        let cut = (self.all_down || self.all_towards_zero) && self.largest_difference < unit;
        self.possible && self.digit < i32::MAX && (cut || self.largest_difference <= unit / 2.0)
    }
}

/// Whether the new double is what a 32-bit float keeps of the old one.
fn is_single(old: &DecodedCell, new: &DecodedCell) -> bool {
    match (old, new) {
        (DecodedCell::Float(old), DecodedCell::Float(new)) => f64::from(f64::from_bits(*old) as f32).to_bits() == *new,
        _ => false,
    }
}

/// Whether every new time is the old one cut or rounded to one and the same unit.
#[derive(Debug, Default)]
struct CutTime {
    seen: bool,
    /// The units that are ruled out, one bit each of [`UNITS_NANOS`].
    broken: u8,
}

impl CutTime {
    fn see(&mut self, old: &DecodedCell, new: &DecodedCell) {
        self.seen = true;
        let times = number::nanos(old).zip(number::nanos(new));
        for (bit, unit) in UNITS_NANOS.iter().enumerate() {
            let fits = times.is_some_and(|(old, new)| new % unit == 0 && (new - old).abs() < *unit);
            self.broken |= u8::from(!fits) << bit;
        }
    }

    fn holds(&self) -> bool {
        self.seen && self.broken.count_ones() < UNITS_NANOS.len() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn text(text: &str) -> DecodedCell {
        DecodedCell::Text(text.to_owned())
    }

    fn int(value: i64) -> DecodedCell {
        DecodedCell::Integer(value)
    }

    fn dec(mantissa: i128, exponent: i16) -> DecodedCell {
        DecodedCell::Decimal { mantissa: arrow::datatypes::i256::from_i128(mantissa), exponent }
    }

    fn float(value: f64) -> DecodedCell {
        DecodedCell::Float(value.to_bits())
    }

    fn at(seconds: i64, nanos: u32) -> DecodedCell {
        DecodedCell::Timestamp { seconds, nanos, utc: false }
    }

    const NULL: DecodedCell = DecodedCell::Null;

    #[rstest]
    #[case::an_hour([(at(0, 0), at(3600, 0)), (at(7, 5), at(3607, 5))], Some(Cause::TimeShift { seconds: 3600 }))]
    #[case::back([(at(0, 0), at(-2700, 0)), (at(2700, 0), at(0, 0))], Some(Cause::TimeShift { seconds: -2700 }))]
    #[case::two_shifts([(at(0, 1), at(3600, 1)), (at(0, 1), at(7200, 1))], None)]
    #[case::no_quarter([(at(0, 1), at(60, 1)), (at(1, 1), at(61, 1))], None)]
    #[case::space([(text("a"), text("a  ")), (text(" b"), text("b"))], Some(Cause::TrailingSpace))]
    #[case::space_inside([(text("a"), text("a ")), (text("a b"), text("ab"))], None)]
    #[case::case([(text("ab"), text("AB")), (text("É"), text("é"))], Some(Cause::LetterCase))]
    #[case::case_and_more([(text("ab"), text("AB")), (text("a"), text("b"))], None)]
    #[case::hundredfold([(int(5), int(500)), (dec(-15, -1), int(-150))], Some(Cause::Scale { exponent: 2 }))]
    #[case::float_scale([(float(0.3), float(0.0003)), (float(7.0), float(0.007))], Some(Cause::Scale { exponent: -3 }))]
    #[case::two_scales([(int(5), int(50)), (int(5), int(500))], None)]
    #[case::cut([(dec(12_345, -4), dec(123, -2)), (dec(99_999, -4), dec(999, -2))], Some(Cause::TruncatedPrecision))]
    #[case::rounded([(dec(12_345, -4), dec(123, -2)), (dec(-99_961, -4), int(-10))], Some(Cause::TruncatedPrecision))]
    #[case::neither([(dec(12_345, -4), dec(124, -2)), (dec(12_311, -4), dec(122, -2))], None)]
    #[case::other_numbers([(int(3), int(8)), (int(21), int(17))], None)]
    #[case::floats_cut([(float(0.123_456), float(0.12)), (float(5.678), float(5.67))], Some(Cause::TruncatedPrecision))]
    #[case::single([(float(0.1), float(f64::from(0.1_f32))), (float(0.7), float(f64::from(0.7_f32)))], Some(Cause::TruncatedPrecision))]
    #[case::one_ulp([(float(0.1), float(0.1_f64.next_up())), (float(0.7), float(0.7_f64.next_down()))], None)]
    #[case::to_zero([(dec(1, -1), int(0)), (dec(2, -1), int(0))], None)]
    #[case::to_millis([(at(5, 123_456_000), at(5, 123_000_000)), (at(-1, 999_999_999), at(-1, 999_000_000))], Some(Cause::TruncatedPrecision))]
    #[case::to_days([(at(86_401, 0), at(86_400, 0)), (at(172_799, 1), at(86_400, 0))], Some(Cause::TruncatedPrecision))]
    #[case::other_times([(at(86_401, 1), at(5, 1)), (at(3, 0), at(9, 7))], None)]
    #[case::null_and_empty([(NULL, text("")), (text(""), NULL)], Some(Cause::NullAgainstEmpty))]
    #[case::null_and_text([(NULL, text("")), (NULL, text("a"))], None)]
    #[case::lost([(text(""), NULL), (text("a"), NULL)], Some(Cause::ValuesLost))]
    #[case::found([(text("a"), NULL), (NULL, text("a"))], None)]
    fn patterns(#[case] pairs: [(DecodedCell, DecodedCell); 2], #[case] expected: Option<Cause>) {
        for order in [[0, 1], [1, 0]] {
            let mut causes = Causes::default();
            order.iter().for_each(|pair| causes.see(&pairs[*pair].0, &pairs[*pair].1));
            assert_eq!(causes.plain_one(), expected);
        }
    }

    #[test]
    fn without_a_difference_there_is_no_cause() {
        assert_eq!(Causes::default().plain_one(), None);
    }
}
