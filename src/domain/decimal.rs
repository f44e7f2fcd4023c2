//! Exact parsing of decimal text: a number is taken as written or refused, never rounded.

use rust_decimal::Decimal;

/// The most digits of a number. No meaningful amount needs more.
pub(super) const MAX_DIGITS: usize = 64;

/// Why a text is not an exact decimal number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DecimalError {
    /// The text is not a decimal number.
    NotANumber,
    /// The text has more than [`MAX_DIGITS`] digits.
    TooLong,
    /// The number has more decimals than a [`Decimal`] holds.
    TooPrecise,
    /// The number is larger than a [`Decimal`] holds.
    TooLarge,
}

/// Parses a decimal number with an optional exponent. The result is normalized.
pub(super) fn parse(text: &str) -> Result<Decimal, DecimalError> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().map_err(|_| DecimalError::NotANumber)?),
        None => (text, 0),
    };
    let digits = mantissa.strip_prefix(['-', '+']).unwrap_or(mantissa);
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        && digits.bytes().any(|byte| byte.is_ascii_digit());
    if !is_number {
        return Err(DecimalError::NotANumber);
    }
    if digits.len() > MAX_DIGITS {
        return Err(DecimalError::TooLong);
    }
    let value = match Decimal::from_str_exact(mantissa) {
        Ok(value) => value.normalize(),
        Err(rust_decimal::Error::Underflow) => return Err(DecimalError::TooPrecise),
        Err(rust_decimal::Error::ExceedsMaximumPossibleValue) => return Err(DecimalError::TooLarge),
        Err(_) => return Err(DecimalError::NotANumber),
    };
    if value.is_zero() {
        return Ok(Decimal::ZERO);
    }
    let scale = i64::from(value.scale()).saturating_sub(exponent);
    match scale {
        ..0 => u32::try_from(-scale)
            .ok()
            .and_then(|zeros| 10i128.checked_pow(zeros))
            .and_then(|factor| value.mantissa().checked_mul(factor))
            .and_then(|mantissa| Decimal::try_from_i128_with_scale(mantissa, 0).ok())
            .ok_or(DecimalError::TooLarge),
        0..=28 => Ok(Decimal::from_i128_with_scale(value.mantissa(), scale.unsigned_abs() as u32).normalize()),
        _ => Err(DecimalError::TooPrecise),
    }
}
