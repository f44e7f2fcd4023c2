//! Money: integers of base units inside the engine, decimal text outside, and no rounding in between.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::domain::decimal::{self, DecimalError, MAX_DIGITS};

/// An amount of one token in its smallest units (lamports for SOL).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BaseUnits(pub u64);

impl BaseUnits {
    /// Parses `"1.5"`, `"1.5e3"` or `"15"` as an amount of a token with that many decimals. Fails rather than rounds.
    pub fn parse(text: &str, decimals: u8) -> Result<Self, AmountError> {
        let value = decimal::parse(text).map_err(|error| match error {
            DecimalError::NotANumber => AmountError::NotANumber,
            DecimalError::TooLong => AmountError::TooLong,
            DecimalError::TooPrecise => AmountError::TooManyDecimals { decimals },
            DecimalError::TooLarge => AmountError::TooLarge,
        })?;
        if value <= Decimal::ZERO {
            return Err(AmountError::NotPositive);
        }
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

/// Why a text is not a valid amount.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AmountError {
    /// The text is not a decimal number.
    #[error("must be a decimal number, such as \"1.5\"")]
    NotANumber,
    /// The text is too long.
    #[error("must have at most {MAX_DIGITS} digits")]
    TooLong,
    /// Zero or less.
    #[error("must be greater than 0")]
    NotPositive,
    /// The text has more decimals than the token.
    #[error("has more decimals than the token's {decimals}")]
    TooManyDecimals {
        /// The token's decimals.
        decimals: u8,
    },
    /// More than 2^64 − 1 base units, the maximum of a token account.
    #[error("is larger than the chain can hold (2^64 - 1 base units)")]
    TooLarge,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_amount_is_parsed_exactly() {
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
    fn an_invalid_amount_is_refused_with_its_reason() {
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
            ("1e-400", 9, TooManyDecimals { decimals: 9 }),
            ("1.00000000000000000000000000000000001", 9, TooManyDecimals { decimals: 9 }),
            (&"1".repeat(500), 9, TooLong),
        ] {
            assert_eq!(BaseUnits::parse(text, decimals), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_amount_is_formatted_and_parsed_exactly(units in 1u64.., decimals in 0u8..=18) {
            let shown = BaseUnits(units).to_decimal(decimals).to_string();
            prop_assert_eq!(BaseUnits::parse(&shown, decimals), Ok(BaseUnits(units)));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,80}", decimals in 0u8..=18) {
            let _ = BaseUnits::parse(&text, decimals);
        }
    }
}
