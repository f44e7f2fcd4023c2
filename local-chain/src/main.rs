//! Runs a local chain with a small market until it is interrupted.

use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};

use clap::Parser;
use local_chain::{Chain, LocalChain, Options, SOL, USDC};
use serde_json::json;
use solana_address::Address;

/// A local Solana chain with a pool of SOL and USDC at each venue.
///
/// Real programs are loaded if ORDER_ENGINE_RAYDIUM_CPMM_SO and ORDER_ENGINE_METEORA_DAMM_V2_SO name their files.
#[derive(Parser)]
struct Arguments {
    /// The port of the first endpoint; further endpoints have the ports after it
    #[arg(long, default_value_t = 8899)]
    port: u16,
    /// How many endpoints there are
    #[arg(long, default_value_t = 1)]
    endpoints: u16,
    /// How long a slot takes, in milliseconds
    #[arg(long, default_value_t = 214, value_parser = clap::value_parser!(u64).range(1..))]
    slot_ms: u64,
    /// Wallets that get 1,000 SOL, 1,000 wrapped SOL and 100,000 USDC
    #[arg(long = "fund", value_name = "ADDRESS")]
    funded: Vec<Address>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let mut options = Options::default().with_programs_of_environment()?;
    options.slot_time = std::time::Duration::from_millis(arguments.slot_ms);
    let mut chain = Chain::new(options)?;
    let market = chain.add_market();
    for wallet in &arguments.funded {
        chain.set_lamports(*wallet, 1_000_000_000_000);
        chain.set_tokens(wallet, &SOL, 1_000_000_000_000);
        chain.set_tokens(wallet, &USDC, 100_000_000_000);
    }
    let ports = (0..arguments.endpoints).map(|index| arguments.port.checked_add(index).ok_or("there is no such port"));
    let ports = ports.collect::<Result<Vec<_>, _>>()?;
    let listeners = ports.into_iter().map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)));
    let local = LocalChain::start_on(chain, listeners.collect::<io::Result<_>>()?)?;
    let summary = json!({
        "endpoints": local.endpoints().map(local_chain::Endpoint::url).collect::<Vec<_>>(),
        "raydiumCpmmPool": market.raydium.address.to_string(),
        "meteoraDammV2Pool": market.meteora.address.to_string(),
    });
    writeln!(io::stdout(), "{summary:#}")?;
    loop {
        std::thread::park();
    }
}
