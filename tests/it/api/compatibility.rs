//! Compatibility with clients of other engines: their requests, field names and socket paths.

use serde_json::{Value, json};

use crate::support::process::{SWIFT, Server};

const SOL: &str = "So11111111111111111111111111111111111111112";
const USDC: &str = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v";

#[actix::test]
async fn requests_of_other_engines_clients_are_accepted() {
    let server = Server::start(SWIFT);
    for (path, body, amount, slippage) in [
        (
            "/api/orders/execute",
            json!({ "tokenIn": SOL, "tokenOut": USDC, "amountIn": 10, "slippage": 0.01 }),
            "10",
            "0.01",
        ),
        (
            "/api/orders/execute",
            json!({ "type": "market", "tokenIn": SOL, "tokenOut": USDC, "amount": "1.5", "slippage": "0.01" }),
            "1.5",
            "0.01",
        ),
        ("/api/orders/execute", json!({ "tokenIn": "SOL", "tokenOut": "USDC", "amount": 1.5 }), "1.5", "0.01"),
        (
            "/api/orders",
            json!({ "orderType": "market", "tokenIn": "SOL", "tokenOut": "USDC", "amountIn": "1.5", "slippageBps": 50 }),
            "1.5",
            "0.005",
        ),
    ] {
        let answer = server.client.post(path, &body).await;
        assert_eq!(answer.status, 201, "{body}: {answer:?}");
        assert_eq!(answer.body["order"]["amountIn"], amount);
        assert_eq!(answer.body["order"]["slippage"], slippage);
        server.client.until_confirmed(&answer.order_id()).await;
    }
}

#[actix::test]
async fn an_answer_to_a_submit_has_every_field_name_that_clients_use() {
    let server = Server::start(SWIFT);
    let answer = server.client.submit(json!({})).await.body;
    let id = answer["orderId"].as_str().unwrap();
    assert_eq!((&answer["success"], &answer["status"]), (&json!(true), &json!("pending")));
    let path = format!("/ws/orders/{id}");
    assert_eq!(answer["wsPath"], path);
    let url = format!("{}{path}", server.client.url().replacen("http", "ws", 1));
    assert_eq!((&answer["websocketUrl"], &answer["socketUrl"]), (&json!(url), &json!(url)));
}

#[actix::test]
async fn the_history_holds_open_and_ended_orders_and_is_paged() {
    let server = Server::start([("orders.max_concurrent", "1"), ("orders.rate_limit_per_minute", "1")]);
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.insert(0, server.client.submit(json!({})).await.order_id());
    }
    server.client.until_ended(&ids[2]).await;
    let ids_of = |page: &Value| -> Vec<String> {
        page["orders"].as_array().unwrap().iter().map(|order| order["orderId"].as_str().unwrap().to_owned()).collect()
    };
    let whole = server.client.get("/api/orders/history").await.body;
    assert_eq!((&whole["success"], ids_of(&whole)), (&json!(true), ids.clone()));
    let first = server.client.get("/api/orders/history?limit=2").await.body;
    let cursor = first["nextCursor"].as_str().unwrap();
    // A new order does not change the later pages.
    server.client.submit(json!({})).await;
    let second = server.client.get(&format!("/api/orders/history?limit=2&cursor={cursor}")).await.body;
    assert_eq!([ids_of(&first), ids_of(&second)].concat(), ids);
    assert_eq!(server.client.get("/api/orders/history?status=confirmed").await.body["orders"][0]["orderId"], ids[2]);
}

#[actix::test]
async fn every_socket_path_that_clients_use_follows_the_order() {
    let server = Server::start(SWIFT);
    let id = server.client.submit(json!({})).await.order_id();
    let closing =
        [format!("/ws/orders/{id}"), format!("/api/orders/{id}/stream"), format!("/api/orders/execute?orderId={id}")];
    for path in closing {
        let history = server.client.socket(&path).await.until_closed().await;
        history.assert_gapless();
        assert_eq!((history.statuses().last(), history.close), (Some(&"confirmed"), Some(1000)), "{path}");
    }
    let mut by_query = server.client.socket(&format!("/ws?orderId={id}")).await;
    let mut by_message = server.client.socket("/ws").await;
    by_message.send(&json!({ "type": "subscribe", "orderId": id })).await;
    for socket in [&mut by_query, &mut by_message] {
        assert_eq!(socket.next().await.unwrap(), json!({ "type": "subscribed", "orderId": id }));
        assert_eq!(socket.next().await.unwrap()["status"], "confirmed");
    }
    assert_eq!(server.client.get("/api/orders/execute").await.status, 400);
}
