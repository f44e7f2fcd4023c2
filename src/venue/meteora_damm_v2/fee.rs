//! The fee rate of a pool: a base that falls with time, and a surcharge that follows the volatility.

use crate::venue::pool::{Fields, PoolError, Unsupported};

/// Rates are in billionths.
pub(super) const ONE: u64 = 1_000_000_000;
/// One as a fixed-point number with 64 binary places.
const ONE_Q64: u128 = 1 << 64;

#[derive(Debug)]
pub(super) struct Fee {
    /// The base rate when the pool opens.
    first_rate: u64,
    schedule: Schedule,
    /// The largest rate.
    cap: u64,
    /// `None` where the pool has no surcharge.
    volatility: Option<Volatility>,
}

/// How the base rate falls. A period is in slots or in seconds.
#[derive(Debug)]
struct Schedule {
    curve: Curve,
    /// 0 if the rate does not change.
    period: u64,
    periods: u16,
    /// What a period takes away: billionths, or a fraction in ten-thousandths.
    reduction: u64,
}

#[derive(Clone, Copy, Debug)]
enum Curve {
    Linear,
    Exponential,
}

/// The program updates these only at the end of a swap, so that the stored values hold for the next one.
#[derive(Debug)]
struct Volatility {
    accumulator: u128,
    bin_step: u16,
    control: u32,
}

impl Fee {
    pub(super) fn decode(fields: Fields<'_>) -> Result<Self, PoolError> {
        let curve = match fields.u8(16) {
            0 => Curve::Linear,
            1 => Curve::Exponential,
            2 => return Err(Unsupported::RateLimiter.into()),
            3 | 4 => return Err(Unsupported::MarketCapScheduler.into()),
            value => return Err(unknown("the mode of the base fee", value.into())),
        };
        let cap = match fields.u8(486) {
            0 => 500_000_000,
            1 => 990_000_000,
            value => return Err(unknown("the version of the fee", value.into())),
        };
        let volatility =
            Volatility { accumulator: fields.u128(120), bin_step: fields.u16(72), control: fields.u32(68) };
        Ok(Self {
            first_rate: fields.u64(8),
            schedule: Schedule { curve, period: fields.u64(24), periods: fields.u16(22), reduction: fields.u64(32) },
            cap,
            volatility: (fields.u8(56) != 0).then_some(volatility),
        })
    }

    /// The rate when the pool has been open for that time.
    pub(super) fn rate(&self, open_for: u64) -> Result<u64, PoolError> {
        let periods = open_for.checked_div(self.schedule.period).unwrap_or(0).min(self.schedule.periods.into());
        let base = self.schedule.after(self.first_rate, periods)?;
        let surcharge = self.volatility.as_ref().map_or(Ok(0), Volatility::surcharge)?;
        let rate = surcharge.saturating_add(base.into()).min(self.cap.into());
        Ok(u64::try_from(rate).expect("the cap is a u64"))
    }
}

impl Schedule {
    /// The base rate after that many periods.
    fn after(&self, first_rate: u64, periods: u64) -> Result<u64, PoolError> {
        let reduction = self.reduction;
        let no_rate = || unknown("the reduction of the fee in a period", reduction);
        match self.curve {
            Curve::Linear => {
                let reduced = reduction.checked_mul(periods).and_then(|reduction| first_rate.checked_sub(reduction));
                reduced.ok_or_else(no_rate)
            }
            Curve::Exponential => {
                let kept = ONE_Q64.checked_sub((u128::from(reduction) << 64) / 10_000).ok_or_else(no_rate)?;
                let rate = (u128::from(first_rate) * power(kept, periods)) >> 64;
                Ok(u64::try_from(rate).expect("a power of at most one makes a rate no larger"))
            }
        }
    }
}

/// A power of a fixed-point number of at most one: by squaring, with each product rounded down, as the program does.
fn power(base: u128, exponent: u64) -> u128 {
    if base == ONE_Q64 {
        return base;
    }
    let (mut power, mut square, mut exponent) = (ONE_Q64, base, exponent);
    while exponent > 0 {
        if exponent & 1 == 1 {
            power = (power * square) >> 64;
        }
        square = (square * square) >> 64;
        exponent >>= 1;
    }
    power
}

impl Volatility {
    /// The surcharge. Where a product exceeds 128 bits, the program fails too.
    fn surcharge(&self) -> Result<u128, PoolError> {
        let moved = self.accumulator.checked_mul(self.bin_step.into());
        let squared = moved.and_then(|moved| moved.checked_mul(moved));
        let scaled = squared.and_then(|squared| squared.checked_mul(self.control.into()));
        let value = u64::try_from(self.accumulator).unwrap_or(u64::MAX);
        Ok(scaled.ok_or_else(|| unknown("the volatility", value))?.div_ceil(100_000_000_000))
    }
}

fn unknown(field: &'static str, value: u64) -> PoolError {
    Unsupported::Unknown { field, value }.into()
}
