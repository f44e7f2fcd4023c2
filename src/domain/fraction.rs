//! Fractions in millionths: the slippage of an order and the limit of its price impact.

use std::fmt;
use std::ops::RangeInclusive;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::domain::amount::BaseUnits;
use crate::domain::decimal::{self, DecimalError};

/// One, in millionths.
const ONE: u32 = 1_000_000;

/// The slippage tolerance: the share of the quoted output that may be lost between quote and landing, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Slippage(u32);

impl Slippage {
    /// 1 %, for requests without a slippage.
    pub const DEFAULT: Self = Self(10_000);
    /// 50 %, the largest slippage that a request may have.
    pub const MAX: Self = Self(500_000);

    const MIN: Self = Self(100);
    /// 5 %: a larger slippage is often a mistake, so clients get a warning.
    const WIDE: Self = Self(50_000);

    /// Parses a fraction such as `"0.01"`, from 0.0001 to 0.5 with at most six decimals.
    pub fn parse(text: &str) -> Result<Self, SlippageError> {
        parse_millionths(text, Self::MIN.0..=Self::MAX.0)?.try_into()
    }

    /// From basis points: 1 to 5000.
    pub fn from_basis_points(points: u32) -> Result<Self, SlippageError> {
        points.checked_mul(100).ok_or(SlippageError::OutOfRange)?.try_into()
    }

    /// The minimum output that the slippage allows: `quoted × (1 − slippage)`, rounded up in favour of the owner; never 0.
    pub fn floor_of(self, quoted: BaseUnits) -> BaseUnits {
        let kept = (u128::from(quoted.0) * u128::from(ONE - self.0)).div_ceil(u128::from(ONE));
        BaseUnits(u64::try_from(kept).expect("a share of a u64 is a u64").max(1))
    }

    /// Whether the slippage is so large that clients get a warning.
    pub fn is_wide(self) -> bool {
        self > Self::WIDE
    }

    /// In basis points, rounded down.
    pub fn points(self) -> u32 {
        self.0 / 100
    }

    /// In percent, for messages: `50` for 0.5.
    pub fn percent(self) -> Decimal {
        percent(self.to_decimal())
    }

    fn to_decimal(self) -> Decimal {
        to_decimal(self.0)
    }
}

impl TryFrom<u32> for Slippage {
    type Error = SlippageError;

    fn try_from(millionths: u32) -> Result<Self, SlippageError> {
        let slippage = Self(millionths);
        if (Self::MIN..=Self::MAX).contains(&slippage) { Ok(slippage) } else { Err(SlippageError::OutOfRange) }
    }
}

impl From<Slippage> for u32 {
    fn from(slippage: Slippage) -> Self {
        slippage.0
    }
}

impl std::str::FromStr for Slippage {
    type Err = SlippageError;

    fn from_str(text: &str) -> Result<Self, SlippageError> {
        Self::parse(text)
    }
}

impl fmt::Display for Slippage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_decimal().fmt(f)
    }
}

/// Why a text is not a valid slippage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SlippageError {
    /// The text is not a decimal number.
    #[error("must be a decimal fraction, such as 0.01 for 1 %")]
    NotANumber,
    /// Outside 0.0001 to 0.5.
    #[error("must be from 0.0001 (0.01 %) to 0.5 (50 %); it is a fraction, so 1 % is 0.01")]
    OutOfRange,
    /// More than six decimals.
    #[error("must have at most 6 decimals")]
    TooFine,
}

impl From<FractionError> for SlippageError {
    fn from(error: FractionError) -> Self {
        match error {
            FractionError::NotANumber => Self::NotANumber,
            FractionError::OutOfRange => Self::OutOfRange,
            FractionError::TooFine => Self::TooFine,
        }
    }
}

/// The largest price impact that a trade may have, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct ImpactLimit(u32);

impl ImpactLimit {
    /// 100 %: every price impact is allowed.
    pub const NONE: Self = Self(ONE);
    #[cfg(test)]
    pub(crate) const TENTH: Self = Self(ONE / 10);

    /// Parses a fraction such as `"0.1"`, from 0.000001 to 1 with at most six decimals.
    pub fn parse(text: &str) -> Result<Self, ImpactLimitError> {
        // From 0, so that a fraction below one millionth is too fine and not out of range.
        parse_millionths(text, 0..=ONE)?.try_into()
    }

    /// Whether a price impact, as a fraction, is within the limit.
    pub fn allows(self, impact: Decimal) -> bool {
        impact <= self.to_decimal()
    }

    /// In percent, for messages: `10` for 0.1.
    pub fn percent(self) -> Decimal {
        percent(self.to_decimal())
    }

    fn to_decimal(self) -> Decimal {
        to_decimal(self.0)
    }
}

impl TryFrom<u32> for ImpactLimit {
    type Error = ImpactLimitError;

    fn try_from(millionths: u32) -> Result<Self, ImpactLimitError> {
        if (1..=ONE).contains(&millionths) { Ok(Self(millionths)) } else { Err(ImpactLimitError::OutOfRange) }
    }
}

impl From<ImpactLimit> for u32 {
    fn from(limit: ImpactLimit) -> Self {
        limit.0
    }
}

impl std::str::FromStr for ImpactLimit {
    type Err = ImpactLimitError;

    fn from_str(text: &str) -> Result<Self, ImpactLimitError> {
        Self::parse(text)
    }
}

impl fmt::Display for ImpactLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_decimal().fmt(f)
    }
}

/// Why a text is not a valid price impact limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ImpactLimitError {
    /// The text is not a decimal number.
    #[error("must be a decimal fraction, such as 0.1 for 10 %")]
    NotANumber,
    /// Outside 0.000001 to 1.
    #[error("must be from 0.000001 to 1 (100 %); it is a fraction, so 10 % is 0.1")]
    OutOfRange,
    /// More than six decimals.
    #[error("must have at most 6 decimals")]
    TooFine,
}

impl From<FractionError> for ImpactLimitError {
    fn from(error: FractionError) -> Self {
        match error {
            FractionError::NotANumber => Self::NotANumber,
            FractionError::OutOfRange => Self::OutOfRange,
            FractionError::TooFine => Self::TooFine,
        }
    }
}

/// A fraction in percent.
pub fn percent(fraction: Decimal) -> Decimal {
    fraction.checked_mul(Decimal::ONE_HUNDRED).unwrap_or(Decimal::MAX).normalize()
}

enum FractionError {
    NotANumber,
    OutOfRange,
    /// More than six decimals.
    TooFine,
}

/// Parses a fraction within a range of millionths, exactly.
fn parse_millionths(text: &str, range: RangeInclusive<u32>) -> Result<u32, FractionError> {
    let value = decimal::parse(text).map_err(|error| match error {
        DecimalError::NotANumber | DecimalError::TooLong => FractionError::NotANumber,
        DecimalError::TooPrecise => FractionError::TooFine,
        DecimalError::TooLarge => FractionError::OutOfRange,
    })?;
    if value < to_decimal(*range.start()) || value > to_decimal(*range.end()) {
        return Err(FractionError::OutOfRange);
    }
    let missing = 6u32.checked_sub(value.scale()).ok_or(FractionError::TooFine)?;
    u32::try_from(value.mantissa() * 10i128.pow(missing)).map_err(|_| FractionError::OutOfRange)
}

fn to_decimal(millionths: u32) -> Decimal {
    Decimal::new(i64::from(millionths), 6).normalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn slippage_is_a_fraction_within_its_range() {
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
    fn the_floor_rounds_up_and_is_never_zero() {
        assert_eq!(Slippage::DEFAULT.floor_of(BaseUnits(101)), BaseUnits(100));
        assert_eq!(Slippage::DEFAULT.floor_of(BaseUnits(100)), BaseUnits(99));
        assert_eq!(Slippage::DEFAULT.floor_of(BaseUnits(u64::MAX)), BaseUnits(18_262_276_632_972_456_099));
        for slippage in [Slippage::MIN, Slippage::DEFAULT, Slippage::MAX] {
            assert_eq!(slippage.floor_of(BaseUnits(1)), BaseUnits(1), "{slippage}");
            assert_eq!(slippage.floor_of(BaseUnits(0)), BaseUnits(1), "{slippage}");
        }
    }

    #[test]
    fn a_percentage_instead_of_a_fraction_is_explained_in_the_error() {
        for text in ["1", "0.51", "5", "100", "1e3", "0", "-1"] {
            let error = Slippage::parse(text).unwrap_err().to_string();
            assert!(error.contains("1 % is 0.01"), "{text}: {error}");
        }
        for text in ["1%", "1 %", "one"] {
            let error = Slippage::parse(text).unwrap_err().to_string();
            assert!(error.contains("0.01 for 1 %"), "{text}: {error}");
        }
        let error = ImpactLimit::parse("10").unwrap_err().to_string();
        assert!(error.contains("10 % is 0.1"), "{error}");
    }

    #[test]
    fn a_price_impact_limit_is_a_fraction_up_to_one() {
        assert_eq!(ImpactLimit::parse("0.1").map(u32::from), Ok(100_000));
        assert_eq!(ImpactLimit::parse("1"), Ok(ImpactLimit::NONE));
        assert_eq!(ImpactLimit::parse("1e-6").map(u32::from), Ok(1));
        for text in ["0", "1.000001", "-0.1", "1e40", "2.0000001"] {
            assert_eq!(ImpactLimit::parse(text), Err(ImpactLimitError::OutOfRange), "{text}");
        }
        assert_eq!(ImpactLimit::parse("0.0000001"), Err(ImpactLimitError::TooFine));
        assert_eq!(ImpactLimit::parse("10%"), Err(ImpactLimitError::NotANumber));
        let limit = ImpactLimit::parse("0.1").unwrap();
        assert!(limit.allows(Decimal::new(1, 1)) && !limit.allows(Decimal::new(100_001, 6)));
    }

    #[test]
    fn a_stored_slippage_out_of_range_is_a_read_error_and_not_a_wrong_floor() {
        assert_eq!(serde_json::from_str::<Slippage>("10000").unwrap(), Slippage::DEFAULT);
        for stored in ["0", "99", "500001", "1000001", "4294967295", "-1"] {
            assert!(serde_json::from_str::<Slippage>(stored).is_err(), "{stored}");
        }
        assert!(serde_json::from_str::<ImpactLimit>("1000001").is_err());
    }

    /// Any amount, and often one of the extremes.
    pub(crate) fn amounts() -> impl Strategy<Value = u64> {
        prop_oneof![1u64..=3, 1u64.., (u64::MAX - 3)..=u64::MAX, Just(1_000_000), Just(1 << 53)]
    }

    proptest! {
        #[test]
        fn a_floor_is_the_allowed_share_rounded_up_to_one_base_unit(
            quoted in amounts(),
            slippage in prop_oneof![100u32..=500_000, Just(100), Just(500_000)],
        ) {
            let floor = u128::from(Slippage(slippage).floor_of(BaseUnits(quoted)).0);
            let (quoted, kept) = (u128::from(quoted), u128::from(ONE - slippage));
            prop_assert!(floor >= 1 && floor <= quoted);
            prop_assert!(floor * u128::from(ONE) >= quoted * kept, "below the share");
            prop_assert!((floor - 1) * u128::from(ONE) < quoted * kept, "more than rounded up");
        }

        #[test]
        fn a_fraction_is_formatted_and_parsed_exactly(millionths in 100u32..=500_000) {
            let slippage = Slippage(millionths);
            prop_assert_eq!(Slippage::parse(&slippage.to_string()), Ok(slippage));
            let limit = ImpactLimit(millionths);
            prop_assert_eq!(ImpactLimit::parse(&limit.to_string()), Ok(limit));
            if millionths % 100 == 0 {
                prop_assert_eq!(Slippage::from_basis_points(millionths / 100), Ok(slippage));
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,80}") {
            let _ = Slippage::parse(&text);
            let _ = ImpactLimit::parse(&text);
        }
    }
}
