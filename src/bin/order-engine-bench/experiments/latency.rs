//! How long a client waits for a single order, and for an event while many orders run.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use awc::ws::Frame;
use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use serde_json::Value;

use crate::BenchError;
use crate::engine::Engine;
use crate::load::{self, Connection, ORDER};
use crate::plan::{Figures, Plan, UNLIMITED, with};
use crate::statistics::percentile;

/// One order after the other: how long its accept takes, and how long until its socket closes.
pub(super) async fn alone(plan: &Plan) -> Result<Figures, BenchError> {
    let engine = Engine::start(plan, &UNLIMITED).await?;
    let mut connection = Connection::open(engine.address).await?;
    let client = awc::Client::new();
    let (mut accepted, mut confirmed) = (Vec::new(), Vec::new());
    for _ in 0..(500 / plan.share).max(5) {
        let start = Instant::now();
        let (_, body) = connection.ask(&load::post(engine.address)).await?;
        accepted.push(start.elapsed());
        let answer: Value = serde_json::from_slice(&body)?;
        let (_, mut socket) =
            client.ws(socket_url(engine.address, &answer)?).connect().await.map_err(|error| error.to_string())?;
        while let Some(frame) = socket.next().await {
            if matches!(frame?, Frame::Close(_)) {
                break;
            }
        }
        confirmed.push(start.elapsed());
    }
    engine.finish(None).await?;
    Ok(vec![
        ("alone: accept p50", "us", percentile(&mut accepted, 50)),
        ("alone: submit to confirmed and closed socket p50", "us", percentile(&mut confirmed, 50)),
        ("alone: submit to confirmed and closed socket p99", "us", percentile(&mut confirmed, 99)),
    ])
}

/// From the timestamp of a confirmation to the client that receives it.
///
/// 1,000 orders per second arrive and each swap takes one second, so about 1,000 sockets are open at any moment. The
/// confirmation reaches a socket that has been open for that second.
pub(super) async fn fanout(plan: &Plan) -> Result<Figures, BenchError> {
    let settings = with(
        &UNLIMITED,
        &[
            ("simulation.swap_latency_min_ms", "1000"),
            ("simulation.swap_latency_max_ms", "1000"),
            ("orders.max_concurrent", "100000"),
        ],
    );
    let engine = Engine::start(plan, &settings).await?;
    let address = engine.address;
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    let mut followers = Vec::new();
    for _ in 0..(10_000 / plan.share) {
        tick.tick().await;
        followers
            .push(actix_web::rt::spawn(async move { follow_new(address).await.map_err(|error| error.to_string()) }));
    }
    let mut delays = Vec::new();
    for follower in followers {
        delays.push(follower.await??);
    }
    engine.finish(None).await?;
    Ok(vec![
        ("fanout: event to client p50, 1,000 orders/s, 1,000 sockets", "us", percentile(&mut delays, 50)),
        ("fanout: event to client p99, 1,000 orders/s, 1,000 sockets", "us", percentile(&mut delays, 99)),
    ])
}

/// Submits an order and returns how long after its timestamp the confirmation was received.
async fn follow_new(address: SocketAddr) -> Result<Duration, BenchError> {
    let client = awc::Client::builder().timeout(Duration::from_secs(30)).finish();
    let mut response = client
        .post(format!("http://{address}/api/orders"))
        .content_type("application/json")
        .send_body(ORDER)
        .await
        .map_err(|error| error.to_string())?;
    let answer: Value = response.json().await?;
    let (_, mut socket) =
        client.ws(socket_url(address, &answer)?).connect().await.map_err(|error| error.to_string())?;
    while let Some(frame) = socket.next().await {
        let Frame::Text(text) = frame? else { continue };
        let received = Utc::now();
        let update: Value = serde_json::from_slice(&text)?;
        if update["type"] == "order:update" && update["status"] == "confirmed" {
            let at: DateTime<Utc> = update["timestamp"].as_str().ok_or("an update without a timestamp")?.parse()?;
            return Ok((received - at).to_std().unwrap_or_default());
        }
    }
    Err("the socket closed without a confirmation".into())
}

fn socket_url(address: SocketAddr, answer: &Value) -> Result<String, BenchError> {
    Ok(format!("ws://{address}{}", answer["wsPath"].as_str().ok_or("an answer without a wsPath")?))
}
