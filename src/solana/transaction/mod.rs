//! The transaction of a swap, as pure functions.
//!
//! 1. [`SwapIntent`] says what the transaction has to do, and which accounts it uses for that.
//! 2. [`budget`] sets how much the chain may compute for it, and what the wallet offers for that.
//! 3. [`check_funds`] compares the wallet with what the transaction needs.
//! 4. [`plan`] lists the instructions, and [`compile`] makes the message that is signed.

mod budget;
mod funds;
mod intent;
mod message;
mod plan;
mod template;
#[cfg(test)]
pub(crate) mod testing;

pub use self::budget::{Budget, FeeLimits, SIGNATURE_FEE, budget};
pub use self::funds::{Funds, InsufficientFunds, Rents, check_funds};
pub use self::intent::{NATIVE_MINT, Seed, SwapIntent, TokenMint, TokenProgram, associated_account};
pub use self::message::{MAX_TRANSACTION_BYTES, TooLarge, compile, wire};
pub use self::plan::plan;
pub use self::template::{DESTINATION, SOURCE, USER, decode_template, encode_template, filled};
