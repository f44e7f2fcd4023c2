//! What a test or a newcomer places on a chain: wallets, tokens and pools.

mod market;
mod meteora_damm_v2;
mod pool;
mod raydium_cpmm;
mod tokens;

pub use market::{Market, SOL, USDC};
pub use meteora_damm_v2::MeteoraDammV2Terms;
pub use pool::{Pool, PoolKind, UserAccounts};
pub use raydium_cpmm::RaydiumCpmmTerms;
pub use tokens::{TransferFee, associated_account};
