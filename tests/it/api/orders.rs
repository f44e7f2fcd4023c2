//! Orders over HTTP: cancelling all, lookups, timelines, dry runs, price impact, quotes, tokens and statistics.

use serde_json::{Value, json};

use crate::support::client::order;
use crate::support::process::{SWIFT, Server};

#[actix::test]
async fn a_cancel_of_all_reports_the_outcome_of_each_open_order() {
    let server = Server::start([("orders.max_concurrent", "1")]);
    let ended = server.client.submit(json!({})).await.order_id();
    server.client.until_ended(&ended).await;
    let live = server.client.submit(json!({})).await.order_id();
    server.client.until(&live, |order| order["status"] == "submitted").await;
    let waiting = server.client.submit_many(250).await;
    let answer = server.client.delete("/api/orders").await;
    assert_eq!((answer.status, &answer.body["success"]), (200, &json!(true)));
    let results = answer.body["results"].as_array().unwrap();
    let outcome =
        |id: &str| results.iter().find(|result| result["orderId"] == id).map(|result| result["outcome"].clone());
    assert_eq!(outcome(&ended), None, "an ended order is not listed");
    assert_eq!(outcome(&live), Some(json!("too_late")));
    for id in &waiting {
        assert_eq!(outcome(id), Some(json!("cancelled")));
    }
    assert_eq!((&answer.body["cancelled"], &answer.body["more"]), (&json!(250), &json!(false)));
    let open = server.client.get("/api/orders?status=pending").await.body;
    assert_eq!(open["orders"], json!([]));
}

#[actix::test]
async fn a_cancel_of_all_accepts_the_filters_of_the_list_and_no_others() {
    let server = Server::start([("orders.max_concurrent", "1"), ("orders.rate_limit_per_minute", "1")]);
    server.client.submit(json!({})).await;
    let sol = server.client.submit(json!({})).await.order_id();
    let usdt = server.client.submit(json!({ "tokenOut": "USDT" })).await.order_id();
    let answer = server.client.post("/api/orders/cancel", &json!({ "tokenOut": "USDT" })).await;
    assert_eq!(
        answer.body["results"],
        json!([{ "orderId": usdt, "outcome": "cancelled", "status": "cancelled" }]),
        "{answer:?}"
    );
    let answer = server.client.try_request("POST", "/api/orders/cancel?status=pending&tokenIn=SOL", &[], "").await;
    assert_eq!(answer.unwrap().body["results"][0]["orderId"], sol);
    for body in [json!({ "status": "confirmed" }), json!({ "status": "odd" }), json!({ "everything": true })] {
        assert_eq!(server.client.post("/api/orders/cancel", &body).await.status, 400, "{body}");
    }
    let plain = server.client.try_request("POST", "/api/orders/cancel", &[("content-type", "text/plain")], "{}").await;
    assert_eq!(plain.unwrap().status, 415);
}

#[actix::test]
async fn a_cancel_of_all_does_not_touch_the_orders_of_other_users() {
    let server = Server::start([("orders.max_concurrent", "1")]);
    let (alice, bob) = (server.client.registered("alice").await, server.client.registered("bobby").await);
    alice.submit(json!({})).await;
    let (hers, his) = (alice.submit(json!({})).await.order_id(), bob.submit(json!({})).await.order_id());
    let answer = bob.delete("/api/orders").await;
    assert_eq!(
        answer.body["results"],
        json!([{ "orderId": his, "outcome": "cancelled", "status": "cancelled" }]),
        "{answer:?}"
    );
    assert_ne!(alice.order(&hers).await["status"], "cancelled");
}

#[actix::test]
async fn an_order_is_found_by_its_client_order_id() {
    let server = Server::start(SWIFT);
    let id = server.client.submit(json!({ "clientOrderId": "bot/7:a" })).await.order_id();
    let found = server.client.get("/api/orders/by-client-id/bot%2F7:a").await;
    assert_eq!((found.status, &found.body["orderId"]), (200, &json!(id)));
    let unknown = server.client.get("/api/orders/by-client-id/other").await;
    assert_eq!((unknown.status, &unknown.body["code"]), (404, &json!("order_not_found")));
    assert_eq!(server.client.get("/api/orders/by-client-id/a%20b").await.status, 400);
}

#[actix::test]
async fn a_timeline_has_every_quote_the_reason_of_the_route_and_the_duration_of_each_step() {
    let server = Server::start(SWIFT.into_iter().chain([("simulation.quote_latency_ms", "20")]));
    let id = server.client.submit(json!({})).await.order_id();
    server.client.until_ended(&id).await;
    let events = server.client.events(&id).await;
    let [_, routing, building, _, confirmed] = &events[..] else { panic!("{events:?}") };
    assert!(routing["durationMs"].as_u64() >= Some(20), "{routing}");
    assert_eq!(building["quotes"].as_array().unwrap().len(), 2);
    let reason = building["reason"].as_str().unwrap();
    assert!(reason.starts_with(building["dexUsed"].as_str().unwrap()) && reason.contains("more than"), "{reason}");
    assert!(confirmed.get("durationMs").is_none(), "the last status has no duration");
}

#[actix::test]
async fn a_dry_run_shows_the_expected_swap_and_stores_nothing() {
    let server = Server::start(SWIFT);
    let dry = order(json!({ "dryRun": true, "clientOrderId": "later", "slippage": "0.02" }));
    let by_body = server.client.post("/api/orders/execute", &dry).await;
    let by_query = server.client.post("/api/orders?dryRun=true", &order(json!({}))).await;
    for answer in [&by_body, &by_query] {
        assert_eq!((answer.status, &answer.body["dryRun"]), (200, &json!(true)));
        assert_eq!(answer.body["quotes"].as_array().unwrap().len(), 2);
        assert_eq!(answer.body["dexUsed"], answer.body["quotes"][0]["dex"]);
        assert_eq!(answer.body["expectedAmountOut"], answer.body["quotes"][0]["amountOut"]);
        assert_eq!(answer.body["fee"], answer.body["quotes"][0]["fee"]);
        assert!(answer.body["summary"].as_str().unwrap().starts_with("1.5 SOL would buy about"), "{answer:?}");
    }
    let number = |name: &str| by_body.body[name].as_str().unwrap().parse::<rust_decimal::Decimal>().unwrap();
    let exact = number("expectedAmountOut") * rust_decimal::Decimal::new(98, 2);
    let floor = exact.round_dp_with_strategy(6, rust_decimal::RoundingStrategy::ToPositiveInfinity).normalize();
    assert_eq!(number("minAmountOut"), floor);
    assert_eq!(server.client.get("/api/orders").await.body["orders"], json!([]));
    // The client order id is still free.
    let other = server.client.submit(json!({ "clientOrderId": "later", "amountIn": "7" })).await;
    assert_eq!(other.status, 201);
    let impossible = server.client.post("/api/orders?dryRun=true", &order(json!({ "minAmountOut": "1000000" }))).await;
    assert_eq!((impossible.status, &impossible.body["error"]["code"]), (200, &json!("below_minimum")));
    let wrong = server.client.post("/api/orders?dryRun=true", &order(json!({ "amountIn": 0 }))).await;
    assert_eq!(wrong.status, 400);
    assert_eq!(server.client.post("/api/orders?dryRun=yes", &order(json!({}))).await.status, 400);
}

#[actix::test]
async fn an_order_with_too_high_a_price_impact_fails_without_a_retry() {
    let server = Server::start(SWIFT);
    let everything = |fields: Value| {
        let mut order = json!({ "amountIn": "1000000000" });
        order.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        order
    };
    let id = server.client.submit(everything(json!({}))).await.order_id();
    let failed = server.client.until_ended(&id).await;
    assert_eq!((&failed["status"], &failed["attempt"]), (&json!("failed"), &json!(1)), "{failed}");
    assert_eq!(failed["error"]["code"], "price_impact_too_high", "{failed}");
    let dry = server.client.submit(everything(json!({ "dryRun": true }))).await;
    assert_eq!((&dry.body["success"], &dry.body["error"]["code"]), (&json!(false), &json!("price_impact_too_high")));
    // The client may allow it.
    let id = server.client.submit(everything(json!({ "maxPriceImpact": "1" }))).await.order_id();
    server.client.until_confirmed(&id).await;
}

#[actix::test]
async fn an_order_of_one_base_unit_is_never_confirmed_with_an_amount_of_zero() {
    let server = Server::start(SWIFT);
    for (sold, bought) in [("SOL", "USDC"), ("USDC", "SOL")] {
        let smallest = if sold == "SOL" { "0.000000001" } else { "0.000001" };
        let order = json!({ "tokenIn": sold, "tokenOut": bought, "amountIn": smallest });
        let id = server.client.submit(order).await.order_id();
        let ended = server.client.until_ended(&id).await;
        match ended["status"].as_str().unwrap() {
            "confirmed" => assert_ne!(ended["amountOut"], "0", "{ended}"),
            // The smallest price movement misses a minimum of so few units.
            _ => assert!(
                ["no_liquidity", "slippage_exceeded"].contains(&ended["error"]["code"].as_str().unwrap()),
                "{ended}"
            ),
        }
    }
}

#[actix::test]
async fn a_slippage_of_half_is_answered_with_a_warning() {
    let server = Server::start(SWIFT);
    let wide = server.client.submit(json!({ "slippage": "0.5" })).await;
    assert!(wide.body["warnings"][0].as_str().unwrap().contains("50 %"), "{wide:?}");
    let dry = server.client.submit(json!({ "slippage": "0.5", "dryRun": true })).await;
    let floor = dry.body["minAmountOut"].as_str().unwrap();
    let warning = dry.body["warnings"][0].as_str().unwrap();
    assert!(warning.contains("50 %") && warning.contains(floor), "{dry:?}");
    assert_eq!(server.client.submit(json!({ "slippage": "0.05" })).await.body["warnings"], json!([]));
}

#[actix::test]
async fn every_venues_quote_is_listed_with_its_price_fee_impact_and_latency() {
    let server = Server::start(SWIFT);
    let answer = server.client.get("/api/quotes?tokenIn=SOL&tokenOut=USDC&amountIn=1.5").await.body;
    let quotes = answer["quotes"].as_array().unwrap();
    assert_eq!((quotes.len(), &answer["best"]), (2, &quotes[0]["dex"]));
    for quote in quotes {
        for figure in ["amountOut", "price", "fee", "priceImpact"] {
            assert!(quote[figure].is_string(), "{figure} in {quote}");
        }
        assert!(quote["latencyMs"].is_u64(), "{quote}");
    }
    assert!(answer["reason"].as_str().unwrap().contains("more than"));
}

#[actix::test]
async fn the_known_tokens_are_listed() {
    let server = Server::start([]);
    let tokens = server.client.get("/api/tokens").await.body;
    let sol = json!({ "symbol": "SOL", "mint": "So11111111111111111111111111111111111111112", "decimals": 9 });
    assert_eq!(tokens["tokens"][0], sol);
}

#[actix::test]
async fn the_statistics_count_ended_and_waiting_orders_since_the_start() {
    let mut server = Server::start(SWIFT.into_iter().chain([("orders.max_attempts", "1")]));
    for _ in 0..5 {
        let id = server.client.submit(json!({})).await.order_id();
        server.client.until_ended(&id).await;
    }
    let id = server.client.submit(json!({ "minAmountOut": "1000000" })).await.order_id();
    server.client.until_ended(&id).await;
    // An order is counted before its end is published.
    let stats = server.client.get("/api/stats").await.body;
    assert_eq!((&stats["orders"]["confirmed"], &stats["orders"]["failed"]), (&json!(5), &json!(1)));
    assert_eq!((&stats["successRate"], &stats["errors"]), (&json!("0.8333"), &json!({ "below_minimum": 1 })));
    assert_eq!((&stats["stages"]["routing"]["count"], &stats["stages"]["whole"]["count"]), (&json!(5), &json!(5)));
    assert!(stats["stages"]["whole"]["p99Ms"].is_u64());

    server.kill();
    server.set("orders.max_concurrent", "1");
    server.set("simulation.quote_latency_ms", "2000");
    server.restart();
    let first = server.client.submit(json!({})).await.order_id();
    server.client.submit_many(3).await;
    server.client.until(&first, |order| order["status"] == "routing").await;
    let stats = server.client.get("/api/stats").await.body;
    assert_eq!((&stats["open"], &stats["running"], &stats["queueDepth"]), (&json!(4), &json!(1), &json!(3)));
    assert_eq!((&stats["orders"]["pending"], &stats["orders"]["confirmed"]), (&json!(3), &json!(0)));
    assert_eq!(stats["successRate"], json!(null));
    // Unfinished orders are counted again after a restart.
    server.kill();
    server.restart();
    let stats = server.client.get("/api/stats").await.body;
    assert_eq!(stats["open"], json!(4));
    assert_eq!(server.client.delete("/api/orders").await.body["cancelled"], json!(4));
}
