//! Numbers and times in canonical form. Integers and decimals are one class: 10, 10.0 and 10.00 are the same number.

use arrow::datatypes::i256;

use super::tag;

const I128_BYTES: usize = 16;

/// The quiet NaN without payload.
const CANONICAL_NAN: u64 = 0x7ff8_0000_0000_0000;

pub(super) fn write_integer(value: i64, out: &mut Vec<u8>) {
    out.push(tag::INTEGER);
    out.extend_from_slice(&value.to_le_bytes());
}

/// `unscaled × 10^-scale`: as an integer where it is one of 64 bits, else as mantissa and exponent without trailing zeros.
pub(crate) fn write_decimal(unscaled: i128, scale: i32, out: &mut Vec<u8>) {
    let (mantissa, exponent) = match i64::try_from(unscaled) {
        Ok(small) => {
            let (mantissa, exponent) = strip_small(small, -scale);
            (i128::from(mantissa), exponent)
        }
        Err(_) => strip(unscaled, -scale),
    };
    match integer(mantissa, exponent) {
        Some(value) => write_integer(value, out),
        None => {
            out.push(tag::DECIMAL_128);
            write_exponent(exponent, out);
            out.extend_from_slice(&mantissa.to_le_bytes());
        }
    }
}

/// As [`write_decimal`], for 256 bits. A mantissa that fits in 128 bits is written there.
pub(super) fn write_wide_decimal(unscaled: i256, scale: i32, out: &mut Vec<u8>) {
    let (mut mantissa, mut exponent, ten) = (unscaled, -scale, i256::from_i128(10));
    while mantissa != i256::ZERO && mantissa.wrapping_rem(ten) == i256::ZERO {
        mantissa = mantissa.wrapping_div(ten);
        exponent += 1;
    }
    match mantissa.to_i128() {
        Some(narrow) => write_decimal(narrow, -exponent, out),
        None => {
            out.push(tag::DECIMAL_256);
            write_exponent(exponent, out);
            out.extend_from_slice(&mantissa.to_le_bytes());
        }
    }
}

/// Arrow's scales have 8 bits and 256-bit mantissas 77 digits, so every exponent has 16 bits.
fn write_exponent(exponent: i32, out: &mut Vec<u8>) {
    out.extend_from_slice(&exponent.to_le_bytes()[..2]);
}

/// `unscaled × 10^-SCALE` as the canonical form has it: the integer and 0, or the mantissa without trailing zeros and its
/// negative exponent. The scale is a constant, at most 18, so that divisions are multiplications.
#[inline(always)]
pub(crate) fn decimal_parts<const SCALE: u32>(unscaled: i64) -> (i64, i32) {
    let power = const { 10_i64.pow(SCALE) };
    if unscaled % power == 0 {
        return (unscaled / power, 0);
    }
    let (mut mantissa, mut exponent) = (unscaled, -SCALE.cast_signed());
    // One digit at least is no zero.
    for _ in 1..SCALE {
        if mantissa % 10 != 0 {
            break;
        }
        mantissa /= 10;
        exponent += 1;
    }
    (mantissa, exponent)
}

fn strip_small(mut mantissa: i64, mut exponent: i32) -> (i64, i32) {
    if mantissa == 0 {
        return (0, 0);
    }
    while mantissa % 10 == 0 {
        mantissa /= 10;
        exponent += 1;
    }
    (mantissa, exponent)
}

fn strip(mut mantissa: i128, mut exponent: i32) -> (i128, i32) {
    while mantissa % 10 == 0 {
        mantissa /= 10;
        exponent += 1;
    }
    (mantissa, exponent)
}

/// The integer of 64 bits that `mantissa × 10^exponent` is, if it is one.
fn integer(mantissa: i128, exponent: i32) -> Option<i64> {
    let power = 10_i128.checked_pow(u32::try_from(exponent).ok()?)?;
    i64::try_from(mantissa.checked_mul(power)?).ok()
}

/// A double's bits; every NaN is the same NaN, and −0.0 is 0.0 only if the policy says so.
#[inline(always)]
pub(crate) fn float_bits(value: f64, zeros_equal: bool) -> u64 {
    match value {
        value if value.is_nan() => CANONICAL_NAN,
        value if zeros_equal && value == 0.0 => 0,
        value => value.to_bits(),
    }
}

pub(super) fn write_float(value: f64, zeros_equal: bool, out: &mut Vec<u8>) {
    out.push(tag::FLOAT);
    out.extend_from_slice(&float_bits(value, zeros_equal).to_le_bytes());
}

/// A time as whole seconds and nanoseconds: exact for every unit and never out of range.
#[inline(always)]
pub(crate) fn seconds_parts(value: i64, per_second: i64) -> (i64, u32) {
    let nanos = value.rem_euclid(per_second) * (1_000_000_000 / per_second);
    (value.div_euclid(per_second), nanos as u32)
}

pub(super) fn write_seconds(tag: u8, value: i64, per_second: i64, out: &mut Vec<u8>) {
    let (seconds, nanos) = seconds_parts(value, per_second);
    out.push(tag);
    out.extend_from_slice(&seconds.to_le_bytes());
    out.extend_from_slice(&nanos.to_le_bytes());
}

/// Reads what [`write_decimal`] wrote after the tag.
pub(super) fn read_decimal(bytes: &[u8]) -> Option<(i256, i16)> {
    let (exponent, mantissa) = bytes.split_at_checked(2)?;
    let exponent = i16::from_le_bytes(exponent.try_into().ok()?);
    let mantissa = if mantissa.len() == I128_BYTES {
        i256::from_i128(i128::from_le_bytes(mantissa.try_into().ok()?))
    } else {
        i256::from_le_bytes(mantissa.try_into().ok()?)
    };
    Some((mantissa, exponent))
}
