//! Money: whole base units inside, decimal text outside, and nothing rounded in between.

use std::fmt;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// An amount of one token in its smallest units (lamports for SOL).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BaseUnits(pub u64);

impl BaseUnits {
    /// Reads `"1.5"`, `"1.5e3"` or `"15"` as an amount of a token with that many decimals, exactly or not at all.
    pub fn parse(text: &str, decimals: u8) -> Result<Self, AmountError> {
        let value = parse_exact(text)?;
        if value.is_sign_negative() && !value.is_zero() {
            return Err(AmountError::NotPositive);
        }
        if value.is_zero() {
            return Err(AmountError::NotPositive);
        }
        let value = value.normalize();
        if value.scale() > u32::from(decimals) {
            return Err(AmountError::TooManyDecimals { decimals });
        }
        let factor = 10u128.pow(u32::from(decimals) - value.scale());
        value
            .mantissa()
            .unsigned_abs()
            .checked_mul(factor)
            .and_then(|units| u64::try_from(units).ok())
            .map(Self)
            .ok_or(AmountError::TooLarge)
    }

    /// The amount in whole tokens.
    pub fn to_decimal(self, decimals: u8) -> Decimal {
        Decimal::from_i128_with_scale(i128::from(self.0), u32::from(decimals)).normalize()
    }
}

/// Why a text is not an amount.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AmountError {
    /// The text is not a decimal number.
    #[error("must be a decimal number, such as \"1.5\"")]
    NotANumber,
    /// Zero or less.
    #[error("must be greater than 0")]
    NotPositive,
    /// The token cannot be divided so finely.
    #[error("has more decimals than the token's {decimals}")]
    TooManyDecimals {
        /// The token's decimals.
        decimals: u8,
    },
    /// More than 2^64 − 1 base units, the most that a token account holds.
    #[error("is larger than the chain can hold (2^64 - 1 base units)")]
    TooLarge,
}

/// The share of the quoted output an order may lose between quote and landing, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Slippage(u32);

impl Slippage {
    /// 1 %, for orders that do not say.
    pub const DEFAULT: Self = Self(10_000);

    const ONE: u32 = 1_000_000;
    const MIN: u32 = 100;
    const MAX: u32 = 500_000;

    /// Reads a fraction such as `"0.01"`, from 0.0001 to 0.5 with at most six decimals.
    pub fn parse(text: &str) -> Result<Self, SlippageError> {
        let value = parse_exact(text).map_err(|error| match error {
            AmountError::TooLarge => SlippageError::OutOfRange,
            _ => SlippageError::NotANumber,
        })?;
        let value = value.normalize();
        if value < Decimal::new(1, 4) || value > Decimal::new(5, 1) {
            return Err(SlippageError::OutOfRange);
        }
        let millionths = value.checked_mul(Decimal::from(Self::ONE)).ok_or(SlippageError::OutOfRange)?.normalize();
        if millionths.scale() > 0 {
            return Err(SlippageError::TooFine);
        }
        u32::try_from(millionths.mantissa()).map(Self).map_err(|_| SlippageError::OutOfRange)
    }

    /// From hundredths of a percent: 1 to 5000.
    pub fn from_basis_points(points: u32) -> Result<Self, SlippageError> {
        let millionths = points.checked_mul(100).ok_or(SlippageError::OutOfRange)?;
        if (Self::MIN..=Self::MAX).contains(&millionths) {
            Ok(Self(millionths))
        } else {
            Err(SlippageError::OutOfRange)
        }
    }

    /// The least output this slippage allows: `floor(quoted × (1 − slippage))`.
    pub fn floor_of(self, quoted: BaseUnits) -> BaseUnits {
        let kept = u128::from(quoted.0) * u128::from(Self::ONE - self.0) / u128::from(Self::ONE);
        BaseUnits(u64::try_from(kept).expect("a share of a u64 is a u64"))
    }
}

impl fmt::Display for Slippage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Decimal::new(i64::from(self.0), 6).normalize().fmt(f)
    }
}

/// Why a text is not a slippage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SlippageError {
    /// The text is not a decimal number.
    #[error("must be a decimal fraction, such as 0.01 for 1 %")]
    NotANumber,
    /// Outside 0.0001 to 0.5.
    #[error("must be from 0.0001 (0.01 %) to 0.5 (50 %)")]
    OutOfRange,
    /// More than six decimals.
    #[error("must have at most 6 decimals")]
    TooFine,
}

/// Reads a decimal number with an optional exponent, refusing whatever a [`Decimal`] cannot hold exactly.
fn parse_exact(text: &str) -> Result<Decimal, AmountError> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().map_err(|_| AmountError::NotANumber)?),
        None => (text, 0),
    };
    let digits = mantissa.strip_prefix(['-', '+']).unwrap_or(mantissa);
    let written = digits.len() <= MAX_TEXT
        && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        && digits.bytes().any(|byte| byte.is_ascii_digit());
    if !written {
        return Err(AmountError::NotANumber);
    }
    let value = match Decimal::from_str_exact(mantissa) {
        Ok(value) => value.normalize(),
        Err(rust_decimal::Error::Underflow) => return Err(AmountError::TooManyDecimals { decimals: 28 }),
        Err(rust_decimal::Error::ExceedsMaximumPossibleValue) => return Err(AmountError::TooLarge),
        Err(_) => return Err(AmountError::NotANumber),
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
            .ok_or(AmountError::TooLarge),
        0..=28 => Ok(Decimal::from_i128_with_scale(value.mantissa(), scale.unsigned_abs() as u32)),
        _ => Err(AmountError::TooManyDecimals { decimals: 28 }),
    }
}

/// Longer texts are no number that anyone means.
const MAX_TEXT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_amount_is_read_exactly_as_written() {
        for (text, decimals, units) in [
            ("1.5", 9, 1_500_000_000),
            ("0.000000001", 9, 1),
            ("1.50000000000000", 6, 1_500_000),
            ("15e-1", 9, 1_500_000_000),
            ("1.5E3", 0, 1_500),
            ("18446744073709551615", 0, u64::MAX),
            ("18446744073.709551615", 9, u64::MAX),
        ] {
            assert_eq!(BaseUnits::parse(text, decimals), Ok(BaseUnits(units)), "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_is_refused_with_its_reason() {
        use AmountError::*;
        for (text, decimals, error) in [
            ("", 9, NotANumber),
            ("abc", 9, NotANumber),
            ("NaN", 9, NotANumber),
            ("Infinity", 9, NotANumber),
            ("1_000", 9, NotANumber),
            ("1.2.3", 9, NotANumber),
            ("1e", 9, NotANumber),
            (".", 9, NotANumber),
            ("--1", 9, NotANumber),
            ("0", 9, NotPositive),
            ("-0", 9, NotPositive),
            ("0e99", 9, NotPositive),
            ("-1", 9, NotPositive),
            ("1e400", 9, TooLarge),
            ("1e9223372036854775807", 9, TooLarge),
            ("18446744073709551616", 0, TooLarge),
            ("18446744073.709551616", 9, TooLarge),
            ("0.0000000001", 9, TooManyDecimals { decimals: 9 }),
            ("1e-400", 9, TooManyDecimals { decimals: 28 }),
            ("1.00000000000000000000000000000000001", 9, TooManyDecimals { decimals: 28 }),
        ] {
            assert_eq!(BaseUnits::parse(text, decimals), Err(error), "{text}");
        }
    }

    #[test]
    fn slippage_is_a_fraction_between_its_bounds() {
        assert_eq!(Slippage::parse("0.01"), Ok(Slippage::DEFAULT));
        assert_eq!(Slippage::from_basis_points(100), Ok(Slippage::DEFAULT));
        assert_eq!(Slippage::parse("0.0001").unwrap().to_string(), "0.0001");
        assert_eq!(Slippage::parse("0.5").unwrap().to_string(), "0.5");
        assert_eq!(Slippage::parse("0.00009"), Err(SlippageError::OutOfRange));
        assert_eq!(Slippage::parse("0.500001"), Err(SlippageError::OutOfRange));
        assert_eq!(Slippage::parse("1e400"), Err(SlippageError::OutOfRange));
        assert_eq!(Slippage::parse("-0.01"), Err(SlippageError::OutOfRange));
        assert_eq!(Slippage::parse("0.0100001"), Err(SlippageError::TooFine));
        assert_eq!(Slippage::parse("NaN"), Err(SlippageError::NotANumber));
        assert_eq!(Slippage::from_basis_points(0), Err(SlippageError::OutOfRange));
        assert_eq!(Slippage::from_basis_points(5_001), Err(SlippageError::OutOfRange));
    }

    #[test]
    fn the_floor_rounds_down_and_never_up() {
        assert_eq!(Slippage::DEFAULT.floor_of(BaseUnits(101)), BaseUnits(99));
        assert_eq!(Slippage::DEFAULT.floor_of(BaseUnits(u64::MAX)), BaseUnits(18_262_276_632_972_456_098));
    }

    proptest! {
        #[test]
        fn an_amount_survives_the_way_out_and_back(units in 1u64.., decimals in 0u8..=18) {
            let shown = BaseUnits(units).to_decimal(decimals).to_string();
            prop_assert_eq!(BaseUnits::parse(&shown, decimals), Ok(BaseUnits(units)));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,80}", decimals in 0u8..=18) {
            let _ = BaseUnits::parse(&text, decimals);
            let _ = Slippage::parse(&text);
        }
    }
}
