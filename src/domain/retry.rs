//! Failures: which of them are retried, and the wait before the next attempt.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The stable code of a failure; clients and operators match on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureCode {
    /// No venue answered with a quote.
    VenueUnavailable,
    /// The best quote is below the order's `minAmountOut`.
    BelowMinimum,
    /// No venue could build the swap.
    BuildFailed,
    /// The swap failed on the chain, because it would have paid less than the floor.
    SlippageExceeded,
    /// The chain rejected the swap for another reason.
    SwapRejected,
    /// The last valid block of the swap has passed, and the swap provably did not land.
    SwapExpired,
    /// An internal error.
    Internal,
    /// No venue trades this pair in this size.
    NoLiquidity,
    /// The venues' pools for this pair are of a kind the engine does not trade.
    UnsupportedPool,
    /// The trade would move the price by more than the order allows.
    PriceImpactTooHigh,
    /// The wallet does not hold the input.
    InsufficientFunds,
    /// The message to sign was not the ordered swap. It was not signed.
    RefusedByFirewall,
    /// No swap was signed within `orders.timeout_ms`.
    Timeout,
    /// The operator cancelled the order after a backup was restored. It may have been swapped after the backup.
    Restored,
}

impl FailureCode {
    /// Every code.
    pub const ALL: [Self; 14] = [
        Self::VenueUnavailable,
        Self::BelowMinimum,
        Self::BuildFailed,
        Self::SlippageExceeded,
        Self::SwapRejected,
        Self::SwapExpired,
        Self::Internal,
        Self::NoLiquidity,
        Self::UnsupportedPool,
        Self::PriceImpactTooHigh,
        Self::InsufficientFunds,
        Self::RefusedByFirewall,
        Self::Timeout,
        Self::Restored,
    ];

    /// Whether another attempt can succeed.
    pub const fn retryable(self) -> bool {
        match self {
            Self::VenueUnavailable
            | Self::BelowMinimum
            | Self::BuildFailed
            | Self::SlippageExceeded
            | Self::SwapRejected
            | Self::SwapExpired
            | Self::Internal => true,
            Self::NoLiquidity
            | Self::UnsupportedPool
            | Self::PriceImpactTooHigh
            | Self::InsufficientFunds
            | Self::RefusedByFirewall
            | Self::Timeout
            | Self::Restored => false,
        }
    }

    /// The code in answers, updates and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::VenueUnavailable => "venue_unavailable",
            Self::BelowMinimum => "below_minimum",
            Self::BuildFailed => "build_failed",
            Self::SlippageExceeded => "slippage_exceeded",
            Self::SwapRejected => "swap_rejected",
            Self::SwapExpired => "swap_expired",
            Self::Internal => "internal",
            Self::NoLiquidity => "no_liquidity",
            Self::UnsupportedPool => "unsupported_pool",
            Self::PriceImpactTooHigh => "price_impact_too_high",
            Self::InsufficientFunds => "insufficient_funds",
            Self::RefusedByFirewall => "refused_by_firewall",
            Self::Timeout => "timeout",
            Self::Restored => "restored",
        }
    }
}

impl fmt::Display for FailureCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why an attempt or an order failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The stable code.
    pub code: FailureCode,
    /// What happened, as text for a person; safe to show to the client.
    pub message: String,
}

impl Failure {
    /// A failure with that code and message.
    pub fn new(code: FailureCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

/// The wait after a failed attempt, without jitter: `initial`, doubled for each attempt that failed before.
///
/// `failed` is the number of the attempt that has failed, from 1.
pub fn base_delay(initial: Duration, failed: u32) -> Duration {
    let doubled = 2u32.saturating_pow(failed.saturating_sub(1));
    initial.saturating_mul(doubled).min(LONGEST_DELAY)
}

/// The longest wait between two attempts.
const LONGEST_DELAY: Duration = Duration::from_secs(300);

/// Whether a failed attempt is followed by another.
pub fn may_retry(code: FailureCode, failed: u32, max_attempts: u32) -> bool {
    code.retryable() && failed < max_attempts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_with_each_failed_attempt() {
        let delays: Vec<_> = (1..=4).map(|failed| base_delay(Duration::from_secs(1), failed).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8]);
        assert_eq!(base_delay(Duration::from_secs(1), 0).as_secs(), 1);
        assert_eq!(base_delay(Duration::from_secs(1), u32::MAX), LONGEST_DELAY);
    }

    #[test]
    fn only_a_retryable_failure_with_attempts_left_is_retried() {
        assert!(may_retry(FailureCode::SlippageExceeded, 1, 3));
        assert!(may_retry(FailureCode::SlippageExceeded, 2, 3));
        assert!(!may_retry(FailureCode::SlippageExceeded, 3, 3));
        assert!(!may_retry(FailureCode::NoLiquidity, 1, 3));
        assert!(!may_retry(FailureCode::RefusedByFirewall, 1, 3));
    }
}
