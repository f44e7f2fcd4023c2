//! Follows one order over its WebSocket and prints the events.

use std::process::ExitCode;
use std::time::Duration;

use awc::ws::{CloseCode, Frame, Message};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;

use super::target::Target;
use crate::cli::exit::{self, CommandError};
use crate::cli::output::{self, OutputError};

/// Prints the events after `after_seq` until the order ends. Reconnects if the connection is lost.
pub(super) async fn follow(
    target: &Target,
    id: &str,
    mut after_seq: u64,
    json: bool,
) -> Result<ExitCode, CommandError> {
    const TRIES: u32 = 5;
    let mut tries = 0;
    loop {
        match follow_once(target, id, &mut after_seq, json).await {
            Ok(Some(code)) => return Ok(code),
            Ok(None) => tries = 0,
            Err(failure) => match failure.downcast_ref() {
                // Exit code 0 would mean that the order is confirmed.
                Some(OutputError::Closed) => return Ok(ExitCode::from(exit::OUTPUT_CLOSED)),
                Some(OutputError::Lost(_)) => return Err(failure),
                None if tries == TRIES => return Err(failure),
                None => tries += 1,
            },
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Prints events until the connection closes. Returns the exit code if the order has ended.
async fn follow_once(
    target: &Target,
    id: &str,
    after_seq: &mut u64,
    json: bool,
) -> Result<Option<ExitCode>, CommandError> {
    let url = target.at(&format!("/ws/orders/{id}?afterSeq={after_seq}")).replacen("http", "ws", 1);
    let connected = target.client().ws(url).connect().await;
    let (_, mut socket) = connected.map_err(|error| format!("{}: {error}", target.url()))?;
    let mut ended = None;
    while let Some(frame) = socket.next().await {
        match frame? {
            Frame::Text(text) => {
                let message: Value = serde_json::from_slice(&text)?;
                // A snapshot contains several events, an update is one.
                let events = match message["events"].as_array() {
                    Some(events) => events.clone(),
                    None => vec![message],
                };
                for event in events {
                    *after_seq = event["seq"].as_u64().unwrap_or(*after_seq);
                    match json {
                        true => output::line(&event)?,
                        false => output::line(describe(&event))?,
                    }
                    ended = exit_code(&event).or(ended);
                }
            }
            Frame::Ping(payload) => socket.send(Message::Pong(payload)).await?,
            Frame::Close(reason) => {
                return match reason.map(|reason| reason.code) {
                    Some(CloseCode::Other(4401)) => Err("the login has expired or was revoked".into()),
                    Some(CloseCode::Other(4404)) => Err(format!("there is no order {id}").into()),
                    Some(CloseCode::Other(4503)) => {
                        Err(format!("order {id} cannot be read; the operator of the engine must repair it").into())
                    }
                    Some(CloseCode::Normal) if ended.is_none() => {
                        Err("the order has ended, and has no events after --after-seq".into())
                    }
                    _ => Ok(ended),
                };
            }
            _ => {}
        }
    }
    Ok(ended)
}

/// The exit code of an event that ends the order.
fn exit_code(event: &Value) -> Option<ExitCode> {
    match event["status"].as_str()? {
        "confirmed" => Some(ExitCode::SUCCESS),
        "failed" => Some(ExitCode::from(exit::ORDER_FAILED)),
        "cancelled" => Some(ExitCode::from(exit::ORDER_CANCELLED)),
        _ => None,
    }
}

/// One line for an event: the time, the status, and the details of that status.
fn describe(event: &Value) -> String {
    let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
    let error = || event["error"]["message"].as_str().unwrap_or_default().to_owned();
    let details = match event["status"].as_str().unwrap_or_default() {
        "pending" if event["error"].is_object() => format!("{}, retry at {}", error(), text("nextRetryAt")),
        "submitted" => format!("{} at {}, at least {}", text("txHash"), text("dexUsed"), text("minAmountOut")),
        "confirmed" => format!("{} for a price of {}", text("amountOut"), text("executedPrice")),
        "failed" => error(),
        _ => text("reason"),
    };
    let time = text("timestamp").get(11..23).unwrap_or_default().to_owned();
    format!("{time}  {:<10} attempt {}  {details}", text("status"), event["attempt"]).trim_end().to_owned()
}
