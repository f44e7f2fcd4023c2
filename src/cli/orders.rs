//! `order-engine orders` and `order-engine cancel`.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::client::Server;
use super::exit::CommandError;
use super::output;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// List only orders with this status: pending, routing, building, submitted, confirmed, failed or cancelled.
    #[arg(long)]
    status: Option<String>,
    /// The maximum number of orders.
    #[arg(long, default_value_t = 20)]
    limit: u32,
    /// Continue after the previous page, with the cursor that it printed.
    #[arg(long)]
    cursor: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(clap::Args)]
pub(super) struct CancelArguments {
    /// The order id.
    id: String,
    #[command(flatten)]
    server: Server,
}

pub(super) async fn run(arguments: Arguments) -> Result<ExitCode, CommandError> {
    let Arguments { status, limit, cursor, json, server } = arguments;
    let limit = limit.to_string();
    let given = [("status", status.as_deref()), ("cursor", cursor.as_deref()), ("limit", Some(&limit))];
    let query: Vec<_> = given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let page = server.get("/api/orders", &query).await?;
    if json {
        output::line(&page)?;
        return Ok(ExitCode::SUCCESS);
    }
    for order in page["orders"].as_array().into_iter().flatten() {
        let text = |name: &str| order[name].as_str().unwrap_or("-").to_owned();
        output::line(format_args!(
            "{}  {}  {:<10} {:>14} {} -> {:>14} {}  {}",
            text("orderId"),
            text("createdAt").get(..19).unwrap_or_default(),
            text("status"),
            text("amountIn"),
            text("tokenIn"),
            text("amountOut"),
            text("tokenOut"),
            text("dexUsed"),
        ))?;
    }
    for id in page["unreadable"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        output::note(format_args!("order {id} cannot be read; the operator of the engine must repair it"));
    }
    if let Value::String(cursor) = &page["nextCursor"] {
        output::note(format_args!("next page: --cursor {cursor}"));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn cancel(arguments: CancelArguments) -> Result<ExitCode, CommandError> {
    let answer = arguments.server.post(&format!("/api/orders/{}/cancel", arguments.id), &json!({})).await?;
    output::line(answer["status"].as_str().unwrap_or_default())?;
    Ok(ExitCode::SUCCESS)
}
