//! What the answers of endpoints prove about a swap, as pure functions.

mod balances;
mod expiry;
mod failure;

pub use self::balances::received;
pub use self::expiry::{Doubt, Finding, Second, Testimony, is_executed, judge};
pub use self::failure::{ChainFailure, KnownError, chain_failure, known_errors, slippage_errors};
