//! Invalid input is answered with a problem that names the field and the reason, and nothing is stored.

use serde_json::json;

use crate::support::client::{Client, JSON, order};
use crate::support::process::{SWIFT, Server};

#[actix::test]
async fn invalid_input_is_answered_with_its_field_and_nothing_is_stored() {
    let server = Server::start([]);
    let post = |headers: Vec<(&'static str, &'static str)>, body: String| {
        let client = server.client.clone();
        async move { client.request("POST", "/api/orders/execute", &headers, body).await }
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
async fn an_unknown_order_is_answered_404_and_an_id_that_is_not_a_uuid_400() {
    let server = Server::start([]);
    let unknown = "01890000-0000-7000-8000-000000000000";
    for (id, status) in [(unknown, 404), ("xyz", 400)] {
        for path in [format!("/api/orders/{id}"), format!("/api/orders/{id}/events")] {
            assert_eq!(server.client.get(&path).await.status, status, "{path}");
        }
        assert_eq!(server.client.cancel(id).await.status, status);
        assert_eq!(server.client.request("DELETE", &format!("/api/orders/{id}"), &[], "").await.status, status);
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

#[actix::test]
async fn a_misspelled_dry_run_makes_no_order() {
    let server = Server::start([]);
    for query in [
        "dryrun=true",
        "dry_run=1",
        "DryRun=true",
        "preview=true",
        "dryRun",
        "dryRun=",
        "dryRun=1",
        "dryRun=true&dryRun=true",
        "dryRun=true&simulate=true",
        "test",
        "=true",
    ] {
        for path in ["/api/orders", "/api/orders/execute"] {
            let answer = server.client.post(&format!("{path}?{query}"), &order(json!({}))).await;
            assert_eq!((answer.status, &answer.body["code"]), (400, &json!("invalid_request")), "{query}: {answer:?}");
            let name = query.rsplit('&').next().unwrap().split('=').next().unwrap();
            assert_eq!(answer.body["errors"][0]["field"], name, "{query}");
        }
    }
    for fields in [
        json!({ "dryRun": null }),
        json!({ "dryRun": "true" }),
        json!({ "dryRun": 1 }),
        json!({ "dryRun": [] }),
        json!({ "dryrun": true }),
        json!({ "dry_run": true }),
        json!({ "preview": true }),
    ] {
        assert_eq!(server.client.submit(fields.clone()).await.status, 400, "{fields}");
        let mut socket = server.client.socket("/ws").await;
        let answer = socket.ask(json!({ "type": "submit", "order": order(fields.clone()) })).await;
        assert_eq!((&answer["type"], &answer["code"]), (&json!("error"), &json!("invalid_request")), "{fields}");
    }
    assert_eq!(server.client.get("/api/orders").await.body["orders"], json!([]));
    let dry = server.client.post("/api/orders?dryRun=true", &order(json!({}))).await;
    assert_eq!((dry.status, &dry.body["dryRun"]), (200, &json!(true)));
}

#[actix::test]
async fn a_filter_without_a_value_cancels_nothing() {
    let server = Server::start([("orders.rate_limit_per_minute", "1")]);
    server.client.submit(json!({})).await;
    let id = server.client.submit(json!({})).await.order_id();
    for query in [
        "status=",
        "status",
        "tokenIn=",
        "tokenOut=",
        "tokenOut=%20",
        "Status=pending",
        "all",
        "x=1",
        "status=pending&status=pending",
    ] {
        for (method, path) in [("DELETE", "/api/orders"), ("POST", "/api/orders/cancel")] {
            let answer = server.client.request(method, &format!("{path}?{query}"), &[], "").await;
            assert_eq!((answer.status, &answer.body["code"]), (400, &json!("invalid_request")), "{query}: {answer:?}");
        }
    }
    for body in [
        json!({ "status": null }),
        json!({ "status": "" }),
        json!({ "status": [] }),
        json!({ "status": ["pending"] }),
        json!({ "tokenIn": "" }),
        json!({ "tokenIn": null }),
        json!({ "tokenOut": {} }),
        json!({ "tokenOut": false }),
        json!({ "filter": { "status": "pending" } }),
        json!([]),
        json!(null),
        json!(""),
    ] {
        assert_eq!(server.client.post("/api/orders/cancel", &body).await.status, 400, "{body}");
        let answer = server.client.request("DELETE", "/api/orders", &[JSON], body.to_string()).await;
        assert_eq!(answer.status, 400, "{body}");
    }
    assert_eq!(server.client.order(&id).await["status"], "pending");
    assert_eq!(server.client.post("/api/orders/cancel", &json!({})).await.status, 200);
    assert_eq!(server.client.order(&id).await["status"], "cancelled");
}

#[actix::test]
async fn unknown_parameters_and_unexpected_bodies_are_refused_on_every_route_and_do_nothing() {
    let server = Server::start([("orders.rate_limit_per_minute", "1")]);
    server.client.submit(json!({})).await;
    let id = server.client.submit(json!({})).await.order_id();
    let alice = server.client.registered("alice").await;
    let key = alice.post("/api/auth/keys", &json!({ "name": "bot" })).await.body["id"].as_str().unwrap().to_owned();
    let (one, of_key) = (format!("/api/orders/{id}"), format!("/api/auth/keys/{key}"));
    let (cancel, events, stream, ws) =
        (format!("{one}/cancel"), format!("{one}/events"), format!("{one}/stream"), format!("/ws/orders/{id}"));
    let bodiless = [("POST", &*cancel), ("DELETE", &*one)];
    let of_users = [("POST", "/api/auth/ticket"), ("POST", "/api/auth/logout"), ("DELETE", &*of_key)];
    let others = [
        ("GET", &*one),
        ("GET", &*events),
        ("GET", &*stream),
        ("GET", &*ws),
        ("GET", "/ws"),
        ("GET", "/api/orders"),
        ("GET", "/api/orders/history"),
        ("GET", "/api/orders/execute"),
        ("GET", "/api/orders/by-client-id/x"),
        ("GET", "/api/quotes"),
        ("GET", "/api/tokens"),
        ("GET", "/api/stats"),
        ("GET", "/api/openapi.json"),
        ("GET", "/api/asyncapi.json"),
        ("GET", "/api/postman.json"),
        ("POST", "/api/auth"),
        ("POST", "/api/auth/login"),
        ("POST", "/api/auth/register"),
    ];
    let of_users_too = [("GET", "/api/auth/me"), ("GET", "/api/auth/keys"), ("POST", "/api/auth/keys")];
    let asked = |client: &Client, method: &'static str, target: String, body: &'static str| {
        let client = client.clone();
        async move { client.request(method, &target, &[JSON], body.to_owned()).await }
    };
    for (client, routes) in
        [(&server.client, [&bodiless[..], &others].concat()), (&alice, [&of_users[..], &of_users_too].concat())]
    {
        for (method, path) in routes {
            for query in ["surprise=1", "surprise", "surprise=1&surprise=2", "s%75rprise=1"] {
                let answer = asked(client, method, format!("{path}?{query}"), "").await;
                assert_eq!(
                    (answer.status, &answer.body["code"]),
                    (400, &json!("invalid_request")),
                    "{method} {path}?{query}"
                );
                let named = answer.body["errors"].as_array().unwrap().iter().any(|error| error["field"] == "surprise");
                assert!(named, "{method} {path}?{query}: {answer:?}");
            }
        }
    }
    for (client, routes) in [(&server.client, &bodiless[..]), (&alice, &of_users)] {
        for (method, path) in routes {
            for (body, code) in [
                (r#"{"dryRun":true}"#, "invalid_request"),
                ("[]", "invalid_json"),
                ("null", "invalid_json"),
                ("x", "invalid_json"),
            ] {
                let answer = asked(client, method, (*path).to_owned(), body).await;
                assert_eq!((answer.status, &answer.body["code"]), (400, &json!(code)), "{method} {path} {body}");
            }
        }
    }
    assert_eq!(server.client.get(&one).await.body["status"], "pending");
    assert_eq!(asked(&server.client, "POST", cancel, " {} ").await.status, 200);
    assert_eq!(asked(&alice, "DELETE", of_key, "").await.status, 200);
    assert_eq!(server.client.get("/live?from=a-monitor").await.status, 200);
}

#[actix::test]
async fn a_byte_order_mark_and_an_unencoded_plus_sign_are_accepted() {
    let server = Server::start([]);
    let body = format!("\u{feff}{}", order(json!({})));
    let answer = server.client.request("POST", "/api/orders", &[JSON], body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let listed = |query: &'static str| {
        let client = server.client.clone();
        async move {
            let answer = client.get(&format!("/api/orders?{query}")).await;
            assert_eq!(answer.status, 200, "{query}: {answer:?}");
            answer.body["orders"].as_array().unwrap().len()
        }
    };
    for (query, found) in [
        ("from=2020-01-01T00:00:00+00:00", 1),
        ("from=2020-01-01T00:00:00%2B00:00", 1),
        ("to=2020-01-01T00:00:00+05:30", 0),
        ("to=9999-12-31T23:59:59-23:59", 1),
        ("from=9999-12-31T23:59:59-23:59", 0),
        ("from=0001-01-01T00:00:00Z&to=9999-12-31T23:59:59.9999999Z", 1),
        ("to=0000-01-01T00:00:00+23:59", 0),
    ] {
        assert_eq!(listed(query).await, found, "{query}");
    }
    let twice = server.client.get("/api/orders?status=pending&status=routing").await;
    assert_eq!((twice.status, &twice.body["errors"][0]["field"]), (400, &json!("status")));
}

#[actix::test]
async fn a_json_body_that_is_announced_and_missing_cancels_nothing() {
    let server = Server::start(SWIFT.into_iter().chain([("orders.backoff_initial_ms", "600000")]));
    let id = server.client.submit(json!({ "minAmountOut": "1000000" })).await.order_id();
    server.client.until(&id, |order| order["retryCount"] == 1).await;
    let announced = [("content-type", "application/json")];
    for (method, path) in [("POST", "/api/orders/cancel"), ("DELETE", "/api/orders")] {
        let answer = server.client.request(method, path, &announced, "").await;
        assert_eq!((answer.status, &answer.body["code"]), (400, &json!("invalid_json")), "{}", answer.body);
    }
    assert_eq!(server.client.order(&id).await["status"], "pending");
    // Without a content type there is no filter, which means every order.
    let answer = server.client.delete("/api/orders").await;
    assert_eq!(answer.body["cancelled"], 1, "{}", answer.body);
}

#[actix::test]
async fn a_compressed_body_or_another_charset_is_refused_by_name() {
    let server = Server::start(SWIFT);
    for (headers, named) in [
        ([("content-type", "application/json"), ("content-encoding", "gzip")], "gzip"),
        ([("content-type", "application/json; charset=utf-16"), ("accept", "*/*")], "utf-16"),
    ] {
        let answer = server.client.request("POST", "/api/orders", &headers, order(json!({})).to_string()).await;
        assert_eq!((answer.status, &answer.body["code"]), (415, &json!("unsupported_media_type")), "{}", answer.body);
        assert!(answer.body["detail"].as_str().unwrap().contains(named), "{}", answer.body);
    }
    let plain = [("content-type", "application/json; charset=UTF-8"), ("content-encoding", "identity")];
    let answer = server.client.request("POST", "/api/orders", &plain, order(json!({})).to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
}
