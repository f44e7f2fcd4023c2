//! What bad input gets: a problem with the field and the reason, and nothing stored.

use serde_json::json;

use crate::client::order;
use crate::process::Server;

const JSON: (&str, &str) = ("content-type", "application/json");

#[actix::test]
async fn bad_input_is_answered_with_its_reason_and_nothing_is_stored() {
    let server = Server::start([]);
    let post = |headers: Vec<(&'static str, &'static str)>, body: String| {
        let client = server.client.clone();
        async move { client.send("POST", "/api/orders/execute", &headers, body).await.unwrap() }
    };
    for (body, field) in [
        (order(json!({ "amountIn": 0 })), "amountIn"),
        (order(json!({ "amountIn": -1 })), "amountIn"),
        (order(json!({ "amountIn": "NaN" })), "amountIn"),
        (order(json!({ "amountIn": true })), "amountIn"),
        (order(json!({ "amountIn": "0.0000000001" })), "amountIn"),
        (order(json!({ "amountIn": "18446744073.709551616" })), "amountIn"),
        (order(json!({ "slippage": "0.00001" })), "slippage"),
        (order(json!({ "slippage": 0.6 })), "slippage"),
        (order(json!({ "tokenOut": "SOL" })), "tokenOut"),
        (order(json!({ "tokenIn": "0OIl".repeat(11) })), "tokenIn"),
        (order(json!({ "type": "limit" })), "type"),
        (order(json!({ "surprise": 1 })), "surprise"),
    ] {
        let answer = post(vec![JSON], body.to_string()).await;
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert_eq!(answer.body["errors"][0]["field"], field, "{answer:?}");
        assert_eq!(answer.body["requestId"].as_str(), answer.header("x-request-id"));
    }
    let huge_number = r#"{"tokenIn":"SOL","tokenOut":"USDC","amountIn":1e400}"#;
    assert_eq!(post(vec![JSON], huge_number.to_owned()).await.body["errors"][0]["field"], "amountIn");
    for broken in ["", "{", "[]", "\"order\"", "{\"tokenIn\":}"] {
        let answer = post(vec![JSON], broken.to_owned()).await;
        assert_eq!((answer.status, &answer.body["code"]), (400, &json!("invalid_json")), "{broken:?}");
    }
    assert_eq!(post(vec![JSON], format!("{}{}", order(json!({})), " ".repeat(70_000))).await.status, 413);
    assert_eq!(post(vec![("content-type", "text/plain")], order(json!({})).to_string()).await.status, 415);
    assert_eq!(post(vec![], order(json!({})).to_string()).await.status, 415);
    assert_eq!(server.client.get("/api/orders").await.body, json!({ "orders": [], "nextCursor": null }));
}

#[actix::test]
async fn an_unknown_order_is_404_and_an_id_that_is_no_uuid_400() {
    let server = Server::start([]);
    let unknown = "01890000-0000-7000-8000-000000000000";
    for (id, status) in [(unknown, 404), ("xyz", 400)] {
        for path in [format!("/api/orders/{id}"), format!("/api/orders/{id}/events")] {
            assert_eq!(server.client.get(&path).await.status, status, "{path}");
        }
        assert_eq!(server.client.post(&format!("/api/orders/{id}/cancel"), &json!({})).await.status, status);
        assert_eq!(
            server.client.send("DELETE", &format!("/api/orders/{id}"), &[], String::new()).await.unwrap().status,
            status
        );
    }
    assert_eq!(server.client.get("/ws/orders/xyz").await.status, 400);
}

#[actix::test]
async fn a_list_is_paged_newest_first_without_gaps_or_repeats() {
    let server = Server::start([]);
    let mut ids = Vec::new();
    for number in 0..7 {
        ids.push(server.client.submit(json!({ "clientOrderId": format!("n{number}") })).await.order_id());
    }
    ids.reverse();
    let (mut seen, mut path) = (Vec::new(), "/api/orders?limit=3".to_owned());
    loop {
        let page = server.client.get(&path).await.body;
        seen.extend(
            page["orders"].as_array().unwrap().iter().map(|order| order["orderId"].as_str().unwrap().to_owned()),
        );
        let Some(cursor) = page["nextCursor"].as_str() else { break };
        path = format!("/api/orders?limit=3&cursor={cursor}");
    }
    assert_eq!(seen, ids);
    let one = server.client.get("/api/orders?clientOrderId=n3&tokenIn=SOL&tokenOut=USDC").await.body;
    assert_eq!(one["orders"][0]["orderId"], json!(ids[3]));
    assert_eq!(server.client.get("/api/orders?tokenIn=USDC").await.body["orders"], json!([]));
    for wrong in ["limit=0", "limit=201", "limit=x", "cursor=x", "status=odd", "from=yesterday", "what=1"] {
        assert_eq!(server.client.get(&format!("/api/orders?{wrong}")).await.status, 400, "{wrong}");
    }
}
