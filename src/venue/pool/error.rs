//! Why a pool gives no quote.

use solana_address::Address;
use thiserror::Error;

/// Why a pool gives no quote. Only [`PoolError::NotLoaded`] is worth the same question again.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PoolError {
    /// These accounts were not fetched.
    #[error("accounts are missing: fetch {0:?} together with all others in one call, then quote again")]
    NotLoaded(Vec<Address>),
    /// An account does not exist, or its owner, length or discriminator is of something else.
    #[error("{address} is not {expected}: check the address and the program ids of the configuration")]
    WrongAccount {
        /// The account.
        address: Address,
        /// What was expected there.
        expected: &'static str,
    },
    /// The engine cannot compute the exact result of this pool.
    #[error("the pool is not supported, use another pool: {0}")]
    Unsupported(#[from] Unsupported),
    /// The pool allows no swaps.
    #[error("the pool does not allow swaps at present: use another pool")]
    Disabled,
    /// The pool does not allow swaps yet.
    #[error("the pool opens at {0}: use another pool, or wait")]
    NotOpen(Opening),
    /// The pool has no liquidity.
    #[error("the pool has no liquidity: use another pool")]
    Empty,
    /// The liquidity does not suffice for this amount.
    #[error("the pool has not enough liquidity for this amount: swap less")]
    OutOfRange,
    /// The output would be 0.
    #[error("the pool pays nothing for this amount: swap more")]
    TooSmall,
}

/// When a pool opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Opening {
    /// At a slot.
    #[error("slot {0}")]
    Slot(u64),
    /// At a time, in seconds since 1970.
    #[error("unix time {0}")]
    UnixTime(u64),
}

/// What makes a pool one that is not priced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unsupported {
    /// The owner of the account is no known program.
    #[error("its program {0} is unknown")]
    Program(Address),
    /// A token is not of the classic token program. Extensions of Token-2022 change the amounts.
    #[error("a token is not of the classic token program")]
    TokenProgram,
    /// The fee depends on the amount and on the other instructions of the transaction.
    #[error("its fee is a rate limiter")]
    RateLimiter,
    /// The fee depends on the market capitalisation.
    #[error("its fee depends on the market capitalisation")]
    MarketCapScheduler,
    /// A vault is frozen or not a token account of the pool.
    #[error("the vault {0} cannot be used")]
    Vault(Address),
    /// A field has a value without a known meaning.
    #[error("{field} is {value}")]
    Unknown {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
}
