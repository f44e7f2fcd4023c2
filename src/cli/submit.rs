//! `order-engine submit`: an order to a running engine, followed to its end if wished.

use std::process::ExitCode;

use serde_json::{Map, Value};

use super::Failure;
use super::client::Server;
use super::output::{self, OutputError};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// What to sell: a symbol or a mint address.
    token_in: String,
    /// What to buy: a symbol or a mint address.
    token_out: String,
    /// How much to sell, such as 1.5.
    amount: String,
    /// The share of the quote that may be lost on the way, such as 0.01 for 1 %.
    #[arg(long)]
    slippage: Option<String>,
    /// The least output that is acceptable.
    #[arg(long)]
    min_amount_out: Option<String>,
    /// low, normal or high.
    #[arg(long)]
    priority: Option<String>,
    /// best_price, speed or reliability.
    #[arg(long)]
    routing: Option<String>,
    /// A name of one's own; a repeat with the same name is the same order.
    #[arg(long)]
    client_order_id: Option<String>,
    /// Follow it to its end: exit code 0 confirmed, 3 failed, 4 cancelled.
    #[arg(long)]
    watch: bool,
    /// Print JSON instead of lines for people.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

pub(super) async fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let Arguments {
        token_in,
        token_out,
        amount,
        slippage,
        min_amount_out,
        priority,
        routing,
        client_order_id,
        watch,
        json,
        server,
    } = arguments;
    let fields = [
        ("tokenIn", Some(token_in)),
        ("tokenOut", Some(token_out)),
        ("amountIn", Some(amount)),
        ("slippage", slippage),
        ("minAmountOut", min_amount_out),
        ("priority", priority),
        ("routing", routing),
        ("clientOrderId", client_order_id),
    ];
    let order: Map<_, _> =
        fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), Value::String(value?)))).collect();
    let answer = server.post("/api/orders/execute", &Value::Object(order)).await?;
    let id = answer["orderId"].as_str().ok_or("the answer has no orderId")?.to_owned();
    let printed = match (json, watch) {
        (true, _) => output::line(&answer),
        (false, true) => output::line(&id),
        (false, false) => output::line(format_args!("{id}  {}", answer["status"].as_str().unwrap_or_default())),
    };
    if let Err(error @ OutputError::Lost(_)) = printed {
        // The order stands, whether its id can be printed or not.
        output::note(format_args!("order {id} is accepted"));
        return Err(error.into());
    }
    if watch { server.follow(&id, 0, json).await } else { Ok(ExitCode::SUCCESS) }
}
