//! A small market to start with.

use solana_address::{Address, address};

use super::{MeteoraDammV2Terms, Pool, RaydiumCpmmTerms};
use crate::Chain;

/// The mint of wrapped SOL.
pub const SOL: Address = address!("So11111111111111111111111111111111111111112");
/// The mint of USDC on mainnet.
pub const USDC: Address = address!("EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v");

/// One pool of SOL and USDC at each venue. A SOL costs 150 USDC.
#[derive(Clone, Debug)]
pub struct Market {
    /// The pool of Raydium: 1,000 SOL and 150,000 USDC.
    pub raydium: Pool,
    /// The pool of Meteora: the same reserves over the whole range of prices.
    pub meteora: Pool,
}

impl Chain {
    /// Places the market.
    pub fn add_market(&mut self) -> Market {
        self.add_mint(SOL, 9);
        self.add_mint(USDC, 6);
        let reserves = [(SOL, 1_000_000_000_000), (USDC, 150_000_000_000)];
        Market {
            raydium: self.add_raydium_cpmm_pool(reserves, RaydiumCpmmTerms::default()),
            meteora: self.add_meteora_damm_v2_pool(reserves, MeteoraDammV2Terms::default()),
        }
    }

    /// The decimals of a mint that is on the chain; 0 for other addresses.
    pub fn decimals(&self, mint: &Address) -> u8 {
        let mint = self.account(mint, self.block(crate::Commitment::Processed, u64::MAX));
        mint.and_then(|mint| crate::tokens::decimals(&mint)).unwrap_or(0)
    }
}
