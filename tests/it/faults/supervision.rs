//! Failures and falls: retried, contained, mended, or ended with a clear word. The falls are made by fail points.

use serde_json::json;

use crate::support::client::at_once;
use crate::support::process::{SWIFT, Server};

fn armed(fail_points: &'static str, more: &[(&'static str, &'static str)]) -> Server {
    Server::start(SWIFT.into_iter().chain([("FAILPOINTS", fail_points)]).chain(more.iter().copied()))
}

#[actix::test]
async fn a_rejected_swap_is_tried_three_times_with_growing_waits_and_fails_once() {
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
    // 400 ms and 800 ms, each with a fifth of jitter.
    assert!((320..=480).contains(&waits[0]) && (640..=960).contains(&waits[1]), "{waits:?}");
    let last = history.steps.last().unwrap();
    assert_eq!((&last["error"]["code"], &last["retryCount"]), (&json!("swap_rejected"), &json!(3)));
    let order = server.client.get(&format!("/api/orders/{id}")).await.body;
    assert_eq!(order["error"]["code"], "swap_rejected");
    assert_eq!(server.ledger().iter().filter(|entry| entry["outcome"] == "landed").count(), 0);
}

#[actix::test]
async fn a_silent_venue_and_one_that_is_down_leave_the_work_to_the_other() {
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
async fn no_venue_at_all_is_a_retryable_failure() {
    let server = Server::start(SWIFT.into_iter().chain([("simulation.venues_down", "raydium,meteora")]));
    let id = server.client.submit(json!({})).await.order_id();
    let history = server.client.follow(&id).await;
    assert_eq!(history.statuses(), ["pending", "routing", "pending", "routing", "pending", "routing", "failed"]);
    assert_eq!(history.steps.last().unwrap()["error"]["code"], "venue_unavailable");
}

#[actix::test]
async fn the_slippage_floor_is_kept_by_the_chain() {
    // The price moves by up to 40 % between quote and landing, the order allows 0.01 %.
    let server =
        Server::start(SWIFT.into_iter().chain([("simulation.drift_ppm", "400000"), ("orders.max_attempts", "1")]));
    let ids: Vec<_> = at_once(20, (0..40).map(|_| server.client.submit(json!({ "slippage": "0.0001" })))).await;
    let mut failed = 0;
    for answer in &ids {
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
    assert!(failed > 0, "the price never fell through the floor");
}

#[actix::test]
async fn a_panicking_order_hurts_no_other_and_keeps_its_subscribers() {
    let server =
        armed("order=1*panic", &[("simulation.swap_latency_min_ms", "300"), ("simulation.swap_latency_max_ms", "300")]);
    let poisoned = server.client.submit(json!({ "clientOrderId": "poison-1" })).await.order_id();
    let others = at_once(20, (0..20).map(|_| server.client.submit(json!({})))).await;
    let history = server.client.follow(&poisoned).await;
    assert_eq!(*history.statuses().last().unwrap(), "confirmed", "{history:?}");
    history.assert_gapless();
    for answer in others {
        let history = server.client.follow(&answer.order_id()).await;
        assert_eq!(history.statuses(), ["pending", "routing", "building", "submitted", "confirmed"]);
    }
    server.assert_no_second_swap();
}

#[actix::test]
async fn orders_that_fall_are_told_to_whoever_follows_all_and_counted_once() {
    // A few of the looks at a poisoned order are its last.
    let server = armed("order=15%panic", &[("orders.max_attempts", "20")]);
    let mut socket = server.client.socket("/ws").await;
    socket.ask(json!({ "type": "subscribe", "channel": "orders" })).await;
    let submit = |number: usize| server.client.submit(json!({ "clientOrderId": format!("poison-{number}") }));
    let ids: Vec<_> = at_once(10, (0..20).map(submit)).await.iter().map(|answer| answer.order_id()).collect();
    socket.assert_all_told(&ids).await;
    let stats = server.client.get("/api/stats").await.body;
    assert!(stats["errors"]["internal"].as_u64() > Some(0), "none has fallen: {stats}");
    let orders = stats["orders"].as_object().unwrap();
    let counted: u64 = orders.values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!((counted, &orders["confirmed"]), (20, &json!(20)), "{stats}");
}

#[actix::test]
async fn an_order_that_breaks_with_its_swap_on_the_way_is_not_swapped_again() {
    // The fourth look at where the order stands is the one that finds it submitted.
    let server = armed(
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
async fn an_order_that_panics_every_time_ends_failed_with_code_internal_while_a_hundred_others_go_on() {
    let server = armed("order=panic", &[]);
    let poisoned = server.client.submit(json!({ "clientOrderId": "poison-1" })).await.order_id();
    let others = at_once(20, (0..100).map(|_| server.client.submit(json!({})))).await;
    let history = server.client.follow(&poisoned).await;
    assert_eq!(history.statuses(), ["pending", "pending", "pending", "failed"]);
    history.assert_gapless();
    assert_eq!(history.steps[3]["error"]["code"], "internal");
    assert_eq!(history.steps[3]["retryCount"], 3);
    for answer in others {
        let history = server.client.follow(&answer.order_id()).await;
        assert_eq!(history.statuses(), ["pending", "routing", "building", "submitted", "confirmed"]);
    }
    server.assert_no_second_swap();
}

#[actix::test]
async fn a_panicking_venue_or_router_is_started_again_and_nothing_is_lost() {
    for fail_points in ["venue=2*panic", "router=2*panic"] {
        let server = armed(fail_points, &[]);
        let ids: Vec<_> = at_once(20, (0..20).map(|_| server.client.submit(json!({})))).await;
        for answer in ids {
            assert_eq!(server.client.until_ended(&answer.order_id()).await["status"], "confirmed", "{fail_points}");
        }
        server.assert_no_second_swap();
    }
}

#[actix::test]
async fn a_panicking_manager_or_persistence_ends_the_process_with_70_and_the_next_start_recovers() {
    for fail_points in ["manager=10*off->panic", "persistence=25*off->panic"] {
        let mut server =
            armed(fail_points, &[("simulation.swap_latency_min_ms", "200"), ("simulation.swap_latency_max_ms", "400")]);
        let mut accepted = Vec::new();
        for _ in 0..20 {
            match server
                .client
                .send(
                    "POST",
                    "/api/orders",
                    &[("content-type", "application/json")],
                    crate::support::client::order(json!({})).to_string(),
                )
                .await
            {
                Ok(answer) if answer.status == 201 => accepted.push(answer.order_id()),
                _ => break,
            }
        }
        assert!(!accepted.is_empty() && accepted.len() < 20, "{fail_points}: {} accepted", accepted.len());
        assert_eq!(server.wait().code(), Some(70), "{fail_points}");
        server.set("FAILPOINTS", "");
        server.restart();
        for id in accepted {
            assert_eq!(server.client.until_ended(&id).await["status"], "confirmed", "{fail_points}");
        }
        server.assert_no_second_swap();
    }
}

#[actix::test]
async fn a_cancel_is_granted_before_the_swap_is_signed_and_honest_after() {
    let server = Server::start([("orders.max_concurrent", "1"), ("orders.rate_limit_per_minute", "0")]);
    let running = server.client.submit(json!({})).await.order_id();
    let waiting = server.client.submit(json!({})).await.order_id();
    let cancel = |id: &str| {
        let path = format!("/api/orders/{id}/cancel");
        let client = server.client.clone();
        async move { client.post(&path, &json!({})).await }
    };
    let granted = cancel(&waiting).await;
    assert_eq!((granted.status, &granted.body["status"]), (200, &json!("cancelled")));
    assert_eq!(cancel(&waiting).await.status, 200, "a cancelled order may be cancelled again");
    server.client.until(&running, |order| order["status"] == "submitted").await;
    let too_late = cancel(&running).await;
    assert_eq!((too_late.status, &too_late.body["code"]), (409, &json!("too_late")));
    assert_eq!(server.client.until_ended(&running).await["status"], "confirmed");
    let ended = cancel(&running).await;
    assert_eq!((ended.status, &ended.body["code"]), (409, &json!("already_ended")));
    assert_eq!(server.ledger().len(), 1);
}

#[actix::test]
async fn a_cancel_that_came_too_late_is_granted_if_the_swap_dies() {
    let server = Server::start(SWIFT.into_iter().chain([
        ("simulation.failure_rate", "1"),
        ("simulation.swap_latency_min_ms", "500"),
        ("simulation.swap_latency_max_ms", "500"),
    ]));
    let id = server.client.submit(json!({})).await.order_id();
    server.client.until(&id, |order| order["status"] == "submitted").await;
    assert_eq!(server.client.post(&format!("/api/orders/{id}/cancel"), &json!({})).await.status, 409);
    let history = server.client.follow(&id).await;
    assert_eq!(history.statuses(), ["pending", "routing", "building", "submitted", "submitted", "cancelled"]);
    assert_eq!(server.ledger().len(), 1);
}

#[actix::test]
async fn cancels_that_race_the_execution_have_one_outcome_each() {
    let server = Server::start(SWIFT.into_iter().chain([("simulation.quote_latency_ms", "5")]));
    let races = (0..300u64).map(|number| {
        let client = server.client.clone();
        async move {
            let id = client.submit(json!({})).await.order_id();
            tokio::time::sleep(std::time::Duration::from_millis(number % 12)).await;
            let answer = client.post(&format!("/api/orders/{id}/cancel"), &json!({})).await;
            (answer.status, client.until_ended(&id).await)
        }
    });
    let (mut cancelled, mut confirmed) = (0, 0);
    for (status, order) in at_once(30, races).await {
        match order["status"].as_str().unwrap() {
            "cancelled" => {
                assert_eq!(status, 200);
                let landed = server
                    .ledger()
                    .iter()
                    .any(|entry| entry["orderId"] == order["orderId"] && entry["outcome"] == "landed");
                assert!(!landed, "a cancelled order was swapped");
                cancelled += 1;
            }
            _ => {
                assert_eq!(status, 409);
                confirmed += 1;
            }
        }
    }
    assert!(cancelled > 0 && confirmed > 0, "{cancelled} cancelled, {confirmed} confirmed: no race");
}

#[actix::test]
async fn an_order_without_a_signed_swap_fails_when_its_time_is_over() {
    let server = Server::start([("orders.timeout_ms", "300"), ("simulation.quote_latency_ms", "1500")]);
    let id = server.client.submit(json!({})).await.order_id();
    let history = server.client.follow(&id).await;
    assert_eq!(history.statuses(), ["pending", "routing", "failed"]);
    assert_eq!(history.steps[2]["error"]["code"], "timeout");
    assert_eq!(server.ledger().len(), 0);
}
