//! Failures of venues and swaps are retried, and panicking actors are restarted; fail points make them panic.

use serde_json::json;

use crate::support::client::concurrently;
use crate::support::process::{SWIFT, Server};

fn engine_with(fail_points: &'static str, more: &[(&'static str, &'static str)]) -> Server {
    Server::start(SWIFT.into_iter().chain([("FAILPOINTS", fail_points)]).chain(more.iter().copied()))
}

#[actix::test]
async fn a_rejected_swap_is_retried_with_growing_backoff_and_fails_after_three_attempts() {
    let server = Server::start(
        SWIFT.into_iter().chain([("simulation.failure_rate", "1"), ("orders.backoff_initial_ms", "400")]),
    );
    let id = server.client.submit(json!({})).await.order_id();
    let history = server.client.follow(&id).await;
    let attempt = ["routing", "building", "submitted"];
    let expected: Vec<_> =
        [&["pending"][..], &attempt, &["pending"], &attempt, &["pending"], &attempt, &["failed"]].concat();
    assert_eq!(history.statuses(), expected);
    history.assert_gapless();
    assert_eq!(history.close, Some(1000));
    let waits: Vec<_> = history
        .steps
        .iter()
        .filter(|step| step["nextRetryAt"].is_string())
        .map(|step| {
            let time = |name: &str| step[name].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
            (time("nextRetryAt") - time("timestamp")).num_milliseconds()
        })
        .collect();
    assert_eq!(waits.len(), 2);
    // 400 ms and 800 ms, each with 20 % of jitter.
    assert!((320..=480).contains(&waits[0]) && (640..=960).contains(&waits[1]), "{waits:?}");
    let last = history.steps.last().unwrap();
    assert_eq!((&last["error"]["code"], &last["retryCount"]), (&json!("swap_rejected"), &json!(3)));
    let order = server.client.order(&id).await;
    assert_eq!(order["error"]["code"], "swap_rejected");
    assert_eq!(server.landed_swaps(), 0);
}

#[actix::test]
async fn with_one_venue_silent_or_down_the_other_is_used() {
    for (setting, code) in
        [("simulation.venues_silent", "did not answer within 300 ms"), ("simulation.venues_down", "refused to quote")]
    {
        let server = Server::start(SWIFT.into_iter().chain([(setting, "raydium"), ("routing.timeout_ms", "300")]));
        let id = server.client.submit(json!({})).await.order_id();
        let history = server.client.follow(&id).await;
        assert_eq!(*history.statuses().last().unwrap(), "confirmed");
        let building = &history.steps[2];
        assert_eq!(building["dexUsed"], "meteora");
        assert_eq!(building["unavailable"][0]["dex"], "raydium");
        assert!(building["unavailable"][0]["error"]["message"].as_str().unwrap().contains(code), "{building}");
    }
}

#[actix::test]
async fn with_all_venues_down_the_order_is_retried() {
    let server = Server::start(SWIFT.into_iter().chain([("simulation.venues_down", "raydium,meteora")]));
    let id = server.client.submit(json!({})).await.order_id();
    let history = server.client.follow(&id).await;
    assert_eq!(history.statuses(), ["pending", "routing", "pending", "routing", "pending", "routing", "failed"]);
    assert_eq!(history.steps.last().unwrap()["error"]["code"], "venue_unavailable");
}

#[actix::test]
async fn no_swap_lands_below_its_minimum_amount() {
    // The price moves by up to 40 % between quote and landing; the order allows 0.01 %.
    let server =
        Server::start(SWIFT.into_iter().chain([("simulation.drift_ppm", "400000"), ("orders.max_attempts", "1")]));
    let answers = concurrently(20, (0..40).map(|_| server.client.submit(json!({ "slippage": "0.0001" })))).await;
    let mut failed = 0;
    for answer in &answers {
        let id = answer.order_id();
        let order = server.client.until_ended(&id).await;
        let floor: rust_decimal::Decimal =
            server.client.events(&id).await[3]["minAmountOut"].as_str().unwrap().parse().unwrap();
        match order["status"].as_str().unwrap() {
            "confirmed" => {
                assert!(order["amountOut"].as_str().unwrap().parse::<rust_decimal::Decimal>().unwrap() >= floor)
            }
            _ => {
                assert_eq!(order["error"]["code"], "slippage_exceeded");
                failed += 1;
            }
        }
    }
    assert!(failed > 0, "the price never fell below a minimum");
}

#[actix::test]
async fn a_panicking_order_is_restarted_with_its_subscribers_and_affects_no_other() {
    let server = engine_with(
        "order=1*panic",
        &[("simulation.swap_latency_min_ms", "300"), ("simulation.swap_latency_max_ms", "300")],
    );
    let poisoned = server.client.submit(json!({ "clientOrderId": "poison-1" })).await.order_id();
    let others = server.client.submit_many(20).await;
    let history = server.client.follow(&poisoned).await;
    assert_eq!(*history.statuses().last().unwrap(), "confirmed", "{history:?}");
    history.assert_gapless();
    for id in &others {
        let history = server.client.follow(id).await;
        assert_eq!(history.statuses(), ["pending", "routing", "building", "submitted", "confirmed"]);
    }
    server.assert_no_second_swap();
}

#[actix::test]
async fn restarted_orders_send_each_step_once_to_the_channel_and_are_counted_once() {
    // A poisoned order panics at 15 % of the fail point's evaluations.
    let server = engine_with("order=15%panic", &[("orders.max_attempts", "20")]);
    let mut socket = server.client.follow_all().await;
    let submit = |number: usize| server.client.submit(json!({ "clientOrderId": format!("poison-{number}") }));
    let ids: Vec<_> = concurrently(10, (0..20).map(submit)).await.iter().map(|answer| answer.order_id()).collect();
    socket.assert_every_step_once(&ids).await;
    let stats = server.client.get("/api/stats").await.body;
    assert!(stats["errors"]["internal"].as_u64() > Some(0), "no order panicked: {stats}");
    let orders = stats["orders"].as_object().unwrap();
    let counted: u64 = orders.values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!((counted, &orders["confirmed"]), (20, &json!(20)), "{stats}");
}

#[actix::test]
async fn an_order_that_panics_with_a_live_swap_is_not_swapped_again() {
    // At the fourth evaluation of the fail point the order is submitted.
    let server = engine_with(
        "order=3*off->1*panic->off",
        &[("simulation.swap_latency_min_ms", "300"), ("simulation.swap_latency_max_ms", "300")],
    );
    let id = server.client.submit(json!({ "clientOrderId": "poison-1" })).await.order_id();
    let history = server.client.follow(&id).await;
    assert_eq!(history.statuses(), ["pending", "routing", "building", "submitted", "confirmed"]);
    history.assert_gapless();
    assert_eq!(server.ledger().len(), 1);
}

#[actix::test]
async fn an_order_that_always_panics_fails_with_code_internal_while_100_others_go_on() {
    let server = engine_with("order=panic", &[]);
    let poisoned = server.client.submit(json!({ "clientOrderId": "poison-1" })).await.order_id();
    let others = server.client.submit_many(100).await;
    let history = server.client.follow(&poisoned).await;
    assert_eq!(history.statuses(), ["pending", "pending", "pending", "failed"]);
    history.assert_gapless();
    assert_eq!(history.steps[3]["error"]["code"], "internal");
    assert_eq!(history.steps[3]["retryCount"], 3);
    for id in &others {
        let history = server.client.follow(id).await;
        assert_eq!(history.statuses(), ["pending", "routing", "building", "submitted", "confirmed"]);
    }
    server.assert_no_second_swap();
}

#[actix::test]
async fn a_panicking_venue_or_router_is_restarted_and_no_order_is_lost() {
    for fail_points in ["venue.raydium=2*panic", "router=2*panic"] {
        let server = engine_with(fail_points, &[]);
        let ids = server.client.submit_many(20).await;
        server.client.until_all_confirmed(&ids).await;
        server.assert_no_second_swap();
    }
}

#[actix::test]
async fn a_panicking_manager_or_persistence_exits_with_70_and_the_next_start_recovers() {
    for fail_points in ["manager=10*off->panic", "persistence=25*off->panic"] {
        let mut server = engine_with(
            fail_points,
            &[("simulation.swap_latency_min_ms", "200"), ("simulation.swap_latency_max_ms", "400")],
        );
        let mut accepted = Vec::new();
        for _ in 0..20 {
            match server.client.try_submit(json!({})).await {
                Ok(answer) if answer.status == 201 => accepted.push(answer.order_id()),
                _ => break,
            }
        }
        assert!(!accepted.is_empty() && accepted.len() < 20, "{fail_points}: {} accepted", accepted.len());
        assert_eq!(server.wait().code(), Some(70), "{fail_points}");
        server.set("FAILPOINTS", "");
        server.restart();
        server.client.until_all_confirmed(&accepted).await;
        server.assert_no_second_swap();
    }
}

#[actix::test]
async fn a_cancel_succeeds_before_the_swap_is_signed_and_is_too_late_after() {
    let server = Server::start([("orders.max_concurrent", "1"), ("orders.rate_limit_per_minute", "0")]);
    let running = server.client.submit(json!({})).await.order_id();
    let waiting = server.client.submit(json!({})).await.order_id();
    let cancel = async |id: &str| server.client.cancel(id).await;
    let granted = cancel(&waiting).await;
    assert_eq!((granted.status, &granted.body["status"]), (200, &json!("cancelled")));
    assert_eq!(cancel(&waiting).await.status, 200, "a cancelled order may be cancelled again");
    server.client.until(&running, |order| order["status"] == "submitted").await;
    let too_late = cancel(&running).await;
    assert_eq!((too_late.status, &too_late.body["code"]), (409, &json!("too_late")));
    server.client.until_confirmed(&running).await;
    let ended = cancel(&running).await;
    assert_eq!((ended.status, &ended.body["code"]), (409, &json!("already_ended")));
    assert_eq!(server.ledger().len(), 1);
}

#[actix::test]
async fn a_late_cancel_takes_effect_if_the_swap_is_rejected() {
    let server = Server::start(SWIFT.into_iter().chain([
        ("simulation.failure_rate", "1"),
        ("simulation.swap_latency_min_ms", "500"),
        ("simulation.swap_latency_max_ms", "500"),
    ]));
    let id = server.client.submit(json!({})).await.order_id();
    server.client.until(&id, |order| order["status"] == "submitted").await;
    assert_eq!(server.client.cancel(&id).await.status, 409);
    let history = server.client.follow(&id).await;
    assert_eq!(history.statuses(), ["pending", "routing", "building", "submitted", "submitted", "cancelled"]);
    assert_eq!(server.ledger().len(), 1);
}

#[actix::test]
async fn an_order_without_a_signed_swap_fails_at_its_timeout() {
    let server = Server::start([("orders.timeout_ms", "300"), ("simulation.quote_latency_ms", "1500")]);
    let id = server.client.submit(json!({})).await.order_id();
    let history = server.client.follow(&id).await;
    assert_eq!(history.statuses(), ["pending", "routing", "failed"]);
    assert_eq!(history.steps[2]["error"]["code"], "timeout");
    assert_eq!(server.ledger().len(), 0);
}
