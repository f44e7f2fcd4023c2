//! `order-engine quote`: prints the quote of every venue, and which one would win.

use std::process::ExitCode;

use super::client::Server;
use super::exit::CommandError;
use super::output;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The token to sell: a symbol or a mint address.
    token_in: String,
    /// The token to buy: a symbol or a mint address.
    token_out: String,
    /// The amount to sell, such as 1.5.
    amount: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

pub(super) async fn run(arguments: Arguments) -> Result<ExitCode, CommandError> {
    let Arguments { token_in, token_out, amount, json, server } = arguments;
    let query = [("tokenIn", token_in.as_str()), ("tokenOut", &token_out), ("amountIn", &amount)];
    let answer = server.get("/api/quotes", &query).await?;
    if json {
        output::line(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    for quote in answer["quotes"].as_array().into_iter().flatten() {
        let text = |name: &str| quote[name].as_str().unwrap_or("-").to_owned();
        output::line(format_args!(
            "{:<8} {:>16} {}  price {}  fee {}  impact {}",
            text("dex"),
            text("amountOut"),
            token_out,
            text("price"),
            text("fee"),
            text("priceImpact")
        ))?;
    }
    output::line(answer["reason"].as_str().unwrap_or_default())?;
    Ok(ExitCode::SUCCESS)
}
