//! `order-engine submit`: submits an order to a running engine, and follows it if asked.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use order_engine::domain::fraction::Slippage;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::client::Server;
use super::exit::{self, CommandError};
use super::output::{self, OutputError};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The token to sell: a symbol or a mint address.
    token_in: String,
    /// The token to buy: a symbol or a mint address.
    token_out: String,
    /// The amount to sell, such as 1.5.
    amount: String,
    /// The share of the quote that may be lost until the swap lands, such as 0.01 for 1 %.
    #[arg(long)]
    slippage: Option<String>,
    /// Submit a slippage above 0.05 without a confirmation.
    #[arg(long)]
    yes: bool,
    /// The largest price impact that the order may have, such as 0.02 for 2 %.
    #[arg(long)]
    max_price_impact: Option<String>,
    /// The smallest acceptable output.
    #[arg(long)]
    min_amount_out: Option<String>,
    /// The priority: low, normal or high.
    #[arg(long)]
    priority: Option<String>,
    /// The routing strategy: best_price, speed or reliability.
    #[arg(long)]
    routing: Option<String>,
    /// Your own id for the order. A repeat with the same id is the same order.
    #[arg(long)]
    client_order_id: Option<String>,
    /// The idempotency key. A repeat with the same key is the same order. If absent, a key is generated and printed.
    #[arg(long)]
    key: Option<String>,
    /// Follow the order until it ends. Exit code: 0 confirmed, 3 failed, 4 cancelled.
    #[arg(long)]
    watch: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

pub(super) async fn run(arguments: Arguments) -> Result<ExitCode, CommandError> {
    let Arguments {
        token_in,
        token_out,
        amount,
        slippage,
        yes,
        max_price_impact,
        min_amount_out,
        priority,
        routing,
        client_order_id,
        key,
        watch,
        json,
        server,
    } = arguments;
    // The engine rejects a slippage that cannot be parsed.
    let is_wide = slippage.as_deref().is_some_and(|text| Slippage::parse(text).is_ok_and(Slippage::is_wide));
    let fields = [
        ("tokenIn", Some(token_in)),
        ("tokenOut", Some(token_out)),
        ("amountIn", Some(amount)),
        ("slippage", slippage),
        ("maxPriceImpact", max_price_impact),
        ("minAmountOut", min_amount_out),
        ("priority", priority),
        ("routing", routing),
        ("clientOrderId", client_order_id.clone()),
    ];
    let order: Map<_, _> =
        fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), Value::String(value?)))).collect();
    if is_wide
        && !yes
        && let Some(refused) = ask(&server, &order).await?
    {
        return Ok(refused);
    }
    // A client order id is an idempotency key too, and the engine refuses two different keys.
    let key = key.or(client_order_id).unwrap_or_else(|| {
        let key = Uuid::new_v4().to_string();
        output::note(format_args!("key {key}"));
        key
    });
    let answer = server.post_order(&Value::Object(order), &key).await?;
    let id = answer["orderId"].as_str().ok_or("the answer has no orderId")?.to_owned();
    let printed = match (json, watch) {
        (true, _) => output::line(&answer),
        (false, true) => output::line(&id),
        (false, false) => output::line(format_args!("{id}  {}", answer["status"].as_str().unwrap_or_default())),
    };
    if let Err(error @ OutputError::Lost(_)) = printed {
        // The order is accepted, even though its id could not be printed.
        output::note(format_args!("order {id} is accepted"));
        return Err(error.into());
    }
    if watch { server.follow(&id, 0, json).await } else { Ok(ExitCode::SUCCESS) }
}

/// Asks the user to confirm a wide slippage. Returns the exit code if the order must not be submitted.
async fn ask(server: &Server, order: &Map<String, Value>) -> Result<Option<ExitCode>, CommandError> {
    let mut dry_run = order.clone();
    dry_run.insert("dryRun".to_owned(), Value::Bool(true));
    let answer = server.post("/api/orders/execute", &Value::Object(dry_run)).await?;
    for warning in answer["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        output::note(warning);
    }
    if !io::stdin().is_terminal() {
        output::note("order-engine: the order was not submitted; add --yes to confirm the slippage");
        return Ok(Some(ExitCode::from(exit::USAGE)));
    }
    output::note("Submit the order with this slippage? [y/N]");
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    match line.trim() {
        "y" | "Y" | "yes" => Ok(None),
        _ => {
            output::note("the order was not submitted");
            Ok(Some(ExitCode::FAILURE))
        }
    }
}
