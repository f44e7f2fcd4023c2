//! A local Solana chain for tests and for newcomers.
//!
//! [LiteSVM](https://docs.rs/litesvm) executes the transactions: signatures, fees, rent, the token programs and both
//! swap programs are those of Solana. This crate adds what LiteSVM leaves out: a JSON-RPC port, slots and heights, the
//! life of blockhashes, commitments, and faults on request.
//!
//! | module | what it contains |
//! |---|---|
//! | [`Chain`] | slots, blocks, the wait for a block, the accounts as they were, and what landed |
//! | [`setup`] | what a test places on a chain: wallets, tokens, pools, and swaps of somebody else |
//! | [`faults`] | what an endpoint does wrong on request |
//! | [`raydium_cpmm`], [`meteora_damm_v2`] | native stand-ins for the swap instructions of both programs |
//! | [`LocalChain`] | the JSON-RPC ports and the knobs below `/admin` |
//!
//! ```no_run
//! use local_chain::{Chain, LocalChain, Options};
//!
//! let mut chain = Chain::new(Options::default()).expect("the programs load");
//! let market = chain.add_market();
//! let local = LocalChain::start(chain, 1).expect("a port is free");
//! println!("{} has the pool {}", local.endpoint(0).url(), market.raydium.address);
//! ```

mod admin;
mod chain;
pub mod faults;
mod programs;
mod rpc;
mod server;
pub mod setup;
pub mod tokens;

pub use chain::{
    Block, Chain, Change, Commitment, EPOCH_SLOTS, Landed, Options, Pace, Program, Simulation, VALID_BLOCKS, is_signed,
};
pub use programs::{meteora_damm_v2, raydium_cpmm};
pub use server::{Endpoint, LocalChain};
pub use setup::{Market, Pool, PoolKind, SOL, USDC};
