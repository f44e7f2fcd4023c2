//! Protection of the HTTP API: hosts, origins, rate limits, sizes, security headers, and access to metrics.

use serde_json::json;

use crate::support::client::{Client, JSON, order};
use crate::support::os::free_address;
use crate::support::process::Server;
use crate::support::raw;
use crate::support::wait::until;

#[actix::test]
async fn a_request_for_another_host_is_refused_on_every_route() {
    let server = Server::start([("server.allowed_hosts", "engine.example.org")]);
    let port = server.client.port();
    for path in ["/", "/api/tokens", "/metrics", "/api/orders", "/ws/orders/x", "/no/such/route"] {
        for host in ["evil.example", "evil.example:80", "", "10.1.2.3", "localhost.evil.example"] {
            let answer = server.client.get_with(path, &[("host", host)]).await;
            assert_eq!((answer.status, &answer.body["code"]), (421, &json!("host_not_allowed")), "{host:?} {path}");
        }
    }
    for host in ["localhost", "engine.example.org:443", "[::1]:3000", &format!("127.0.0.1:{port}")] {
        assert_eq!(server.client.get_with("/live", &[("host", host)]).await.status, 200, "{host}");
    }
    for head in [
        "GET /api/tokens HTTP/1.0\r\n\r\n",
        "GET /api/tokens HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n\r\n",
        "GET http://evil.example/api/tokens HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "GET http://localhost/api/tokens HTTP/1.1\r\nhost: evil.example\r\n\r\n",
        "GET http://127.0.0.1/api/tokens HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "GET https://localhost/api/tokens HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "GET http://evil.example@localhost/api/tokens HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "GET /api/tokens HTTP/1.1\r\nhost: localhost:80@evil.example\r\n\r\n",
        "GET /api/tokens HTTP/1.1\r\nhost: evil.example@localhost\r\n\r\n",
        "GET /api/tokens HTTP/1.1\r\nhost: 2130706433\r\n\r\n",
        "GET /api/tokens HTTP/1.1\r\nhost: 0x7f.1\r\n\r\n",
        "GET /api/tokens HTTP/1.1\r\nhost: [::1%lo]\r\n\r\n",
        "GET /api/tokens HTTP/1.1\r\nhost: localhost:99999\r\n\r\n",
    ] {
        let answer = raw::answer_head(&server.client, head.as_bytes());
        assert!(answer.contains(" 421 ") || answer.contains(" 400 "), "{head:?}: {answer:?}");
    }
}

#[actix::test]
async fn a_page_of_another_origin_can_neither_send_requests_nor_open_sockets_unless_it_is_allowed() {
    let server = Server::start([("server.allowed_origins", "https://desk.example.org")]);
    let own = server.client.url().to_owned();
    let id = server.client.submit(json!({})).await.order_id();
    let socket = format!("/ws/orders/{id}");
    for foreign in [
        "https://evil.example",
        "null",
        &own.replace("http:", "https:"),
        &own.replace("http:", "ws:"),
        "http://127.0.0.1:1",
        "http://desk.example.org",
    ] {
        let origin = ("origin", foreign);
        let posted = server.client.request("POST", "/api/orders", &[JSON, origin], order(json!({})).to_string()).await;
        let upgraded = server.client.get_with(&socket, &[&raw::UPGRADE[..], &[origin]].concat()).await;
        for answer in [posted, server.client.get_with("/api/orders", &[origin]).await, upgraded] {
            assert_eq!((answer.status, &answer.body["code"]), (403, &json!("origin_not_allowed")), "{foreign}");
            assert_eq!(answer.header("access-control-allow-origin"), None);
        }
    }
    assert_eq!(server.client.get("/api/orders").await.body["orders"].as_array().unwrap().len(), 1);

    let answer = server.client.get_with("/api/orders", &[("origin", &own)]).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, None));
    let allowed = ("origin", "https://desk.example.org");
    let answer = server.client.get_with("/api/orders", &[allowed]).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), Some(allowed.1));
    assert_eq!(answer.header("vary"), Some("origin"));
    let asks = [allowed, ("access-control-request-method", "POST"), ("access-control-request-headers", "content-type")];
    let answer = server.client.request("OPTIONS", "/api/orders", &asks, "").await;
    assert_eq!((answer.status, answer.header("access-control-allow-methods")), (204, Some("GET, POST, DELETE")));
    assert!(answer.header("access-control-allow-headers").unwrap().contains("idempotency-key"));
    assert_eq!(answer.header("access-control-allow-origin"), Some(allowed.1));
}

#[actix::test]
async fn without_allowed_origins_there_is_no_cors() {
    let server = Server::start([]);
    let asks = [("origin", "https://desk.example.org"), ("access-control-request-method", "POST")];
    let answer = server.client.request("OPTIONS", "/api/orders", &asks, "").await;
    assert_eq!((answer.status, &answer.body["code"]), (403, &json!("origin_not_allowed")));
    assert!(answer.headers.iter().all(|(name, _)| !name.starts_with("access-control-")), "{answer:?}");
}

#[actix::test]
async fn every_answer_has_the_headers_that_forbid_caching_sniffing_and_framing() {
    let server = Server::start([]);
    let submitted = server.client.submit(json!({})).await;
    let refused = server.client.submit(json!({ "amountIn": 0 })).await;
    let nowhere = server.client.get("/no/such/route").await;
    let misdirected = server.client.get_with("/api/tokens", &[("host", "evil.example")]).await;
    for answer in [submitted, refused, nowhere, misdirected, server.client.get("/health").await] {
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{answer:?}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(answer.header("content-security-policy"), Some("default-src 'none'; frame-ancestors 'none'"));
        assert!(answer.header("x-request-id").is_some());
    }
}

#[actix::test]
async fn a_client_over_its_rate_limit_is_answered_with_the_time_to_wait() {
    let settings = [("limits.loopback", "true"), ("limits.requests_per_second", "1"), ("limits.burst", "5")];
    let server = Server::start(settings);
    let mut answers = Vec::new();
    for _ in 0..20 {
        answers.push(server.client.get("/live").await);
    }
    let first = &answers[0];
    assert_eq!((first.status, first.header("ratelimit-policy")), (200, Some("\"requests\";q=5;w=5")));
    assert_eq!(first.header("ratelimit"), Some("\"requests\";r=4;t=1"));
    let refused = answers.iter().find(|answer| answer.status != 200).expect("20 are more than 5 and some seconds");
    assert_eq!((refused.status, &refused.body["code"]), (429, &json!("too_many_requests")));
    assert_eq!((refused.header("retry-after"), &refused.body["retryable"]), (Some("1"), &json!(true)));
    assert_eq!(refused.header("ratelimit"), Some("\"requests\";r=0;t=1"));
    until("the client was served again", async || server.client.get("/live").await.status == 200).await;
}

#[actix::test]
async fn each_user_has_a_separate_rate_limit_also_behind_one_address() {
    let settings = [("limits.loopback", "true"), ("limits.requests_per_second", "1"), ("limits.burst", "6")];
    let server = Server::start(settings);
    let (ann, bob) = (server.client.registered("ann").await, server.client.registered("bob").await);
    while ann.get("/live").await.status == 200 {}
    let answer = bob.get("/live").await;
    assert_eq!((answer.status, answer.header("ratelimit")), (200, Some("\"requests\";r=5;t=1")));
}

#[actix::test]
async fn by_default_clients_on_the_same_machine_have_no_rate_limit() {
    let server = Server::start([]);
    for _ in 0..1_500 {
        let answer = server.client.get("/live").await;
        assert_eq!((answer.status, answer.header("ratelimit")), (200, None));
    }
}

#[actix::test]
async fn a_request_that_is_too_long_or_too_deep_is_refused_without_reading_the_rest() {
    let server = Server::start([]);
    let client = server.client.clone();
    let answer = client.get_with(&format!("/api/orders?cursor={}", "x".repeat(9_000)), &[]).await;
    assert_eq!((answer.status, &answer.body["code"]), (414, &json!("url_too_long")));
    let host = "host: localhost\r\n";
    for (head, status) in [
        (format!("GET /{} HTTP/1.1\r\n{host}\r\n", "x".repeat(70_000)), " 400 "),
        (format!("GET /live HTTP/1.1\r\n{host}x: {}\r\n\r\n", "x".repeat(140_000)), " 431 "),
        (format!("GET /live HTTP/1.1\r\n{host}{}\r\n", "x: y\r\n".repeat(200)), " 431 "),
        ("nonsense\r\n\r\n".to_owned(), " 400 "),
        (
            format!("POST /api/orders HTTP/1.1\r\n{host}content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n"),
            " 400 ",
        ),
    ] {
        let answer = raw::answer_head(&client, head.as_bytes());
        assert!(answer.starts_with("HTTP/1.1") && answer[8..13] == *status, "{:.60}…: {answer:?}", head);
    }
    for body in ["[".repeat(60_000), format!("{{\"tokenIn\":{}", "[".repeat(60_000)), "{\"a\":".repeat(10_000)] {
        let answer = client.request("POST", "/api/orders", &[JSON], body).await;
        assert_eq!((answer.status, &answer.body["code"]), (400, &json!("invalid_json")));
    }
    let deep = format!("{{\"tokenIn\":{}{}}}", "[".repeat(20_000), "]".repeat(20_000));
    let answer = client.request("POST", "/api/orders", &[JSON], deep).await;
    assert_eq!(answer.status, 400);
    assert_eq!(client.get("/live").await.status, 200);
}

#[actix::test]
async fn a_chunked_body_is_read_to_its_end() {
    let server = Server::start([]);
    let body = order(json!({ "clientOrderId": "in-pieces" })).to_string();
    let pieces = body
        .as_bytes()
        .chunks(7)
        .map(|piece| format!("{:x}\r\n{}\r\n", piece.len(), std::str::from_utf8(piece).expect("the body is ASCII")));
    let pieces: String = pieces.collect();
    let head = "POST /api/orders HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    let answer = raw::answer_head(
        &server.client,
        format!("{head}transfer-encoding: chunked\r\n\r\n{pieces}0\r\n\r\n").as_bytes(),
    );
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer:?}");
    assert_eq!(server.client.get("/api/orders/by-client-id/in-pieces").await.status, 200);
}

#[actix::test]
async fn metrics_count_what_happened() {
    let server = Server::start([("simulation.swap_latency_min_ms", "0"), ("simulation.swap_latency_max_ms", "0")]);
    let id = server.client.submit(json!({})).await.order_id();
    server.client.until_confirmed(&id).await;
    server.client.get_with("/api/tokens", &[("host", "evil.example")]).await;
    let answer = server.client.get("/metrics").await;
    let kind = answer.header("content-type").unwrap();
    assert!(answer.status == 200 && kind.starts_with("application/openmetrics-text"), "{answer:?}");
    let text = answer.body.as_str().unwrap();
    for line in [
        "order_engine_orders_accepted_total 1",
        "order_engine_orders_ended_total{status=\"confirmed\",code=\"\"} 1",
        "order_engine_stage_seconds_count{status=\"routing\"} 1",
        "order_engine_orders{state=\"open\"} 0",
        "order_engine_database_up 1",
        "order_engine_redis_up -1",
        "order_engine_http_requests_total{route=\"/api/orders/execute\",method=\"POST\",status=\"201\"} 1",
        "order_engine_http_refused_total{code=\"host_not_allowed\"} 1",
    ] {
        assert!(text.lines().any(|present| present == line), "{line} is not in:\n{text}");
    }
    assert!(server.client.metric("order_engine_commit_seconds_count").await >= 5);
    assert!(server.client.metric("process_resident_memory_bytes").await > 1024 * 1024);
    assert!(server.client.metric("order_engine_connections").await >= 1);
}

#[actix::test]
async fn metrics_can_require_a_token() {
    let token = "a-token-for-the-scraper";
    let server = Server::start([("metrics.token", token)]);
    for given in [None, Some("Bearer wrong"), Some("Bearer "), Some(token), Some("Basic a-token-for-the-scraper")] {
        let headers: Vec<_> = given.map(|given| ("authorization", given)).into_iter().collect();
        let answer = server.client.get_with("/metrics", &headers).await;
        let challenges: Vec<_> = answer.headers.iter().filter(|(name, _)| name == "www-authenticate").collect();
        assert_eq!((answer.status, challenges.len()), (401, 2), "{given:?} {challenges:?}");
        assert!(!answer.body.to_string().contains(token));
    }
    let answer = server.client.get_with("/metrics", &[("authorization", &format!("Bearer {token}"))]).await;
    assert_eq!(answer.status, 200);
}

#[actix::test]
async fn where_authentication_is_required_it_is_required_for_metrics_too() {
    let server = Server::start([("auth.required", "true")]);
    assert_eq!(server.client.get("/metrics").await.status, 401);
    assert_eq!(server.client.with("not-a-token").get("/metrics").await.status, 401);
    assert_eq!(server.client.registered("ann").await.get("/metrics").await.status, 200);
}

#[actix::test]
async fn metrics_can_have_a_separate_address_that_serves_nothing_else() {
    let free = free_address();
    let server = Server::start([("metrics.bind", free.to_string().as_str())]);
    let operator = Client::of(&format!("http://{free}"));
    assert_eq!(operator.get("/metrics").await.status, 200);
    for path in ["/live", "/api/orders", "/"] {
        assert_eq!(operator.get(path).await.status, 404, "{path}");
    }
    assert_eq!(server.client.get("/metrics").await.body["code"], "no_such_route");
    assert_eq!(server.client.get("/live").await.status, 200);
}

#[actix::test]
async fn another_spelling_of_an_operators_path_is_not_served_to_the_public() {
    let free = free_address();
    let server = Server::start([("metrics.bind", free.to_string().as_str())]);
    let operator = Client::of(&format!("http://{free}"));
    for path in [
        "/metrics",
        "/%6Detrics",
        "/%6detrics",
        "/metric%73",
        "/%6D%65%74%72%69%63%73",
        "//metrics",
        "/./metrics",
        "/metrics/",
        "/metrics/.",
        "/api/../metrics",
        "/api/%2e%2e/metrics",
        "/%2Fmetrics",
        "/metrics%2F",
        "/metrics;a=b",
        "/METRICS",
        "/Metrics",
        "\\metrics",
        "/%5Cmetrics",
        "/%256Detrics",
        "/metrics%00",
        "/metrics%20",
        "/metrics?x=1",
        "/docs",
        "/%64ocs",
        "/doc%73",
        "/docs/",
        "/docs/openapi.json",
        "/%64ocs/openapi.json",
        "/docs/%6Fpenapi.json",
        "/docs%2Fopenapi.json",
        "//docs/openapi.json",
        "/docs//openapi.json",
        "/docs/./openapi.json",
        "/docs?x=1",
    ] {
        let target = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        let answer = raw::answer_head(&server.client, target(path).as_bytes());
        let status = answer.split(' ').nth(1).unwrap_or_default();
        assert!(["400", "404"].contains(&status), "{path}: {answer}");
        let absolute = raw::answer_head(&server.client, target(&format!("http://localhost{path}")).as_bytes());
        let status = absolute.split(' ').nth(1).unwrap_or_default();
        assert!(["400", "404", "421"].contains(&status), "http://localhost{path}: {absolute}");
    }
    for path in ["/metrics", "/%6Detrics", "/docs", "/%64ocs/openapi.json"] {
        assert_eq!(operator.get(path).await.status, 200, "{path}");
    }
    // Nor is another spelling of a public path served at the operator's address.
    for path in ["/live", "/%6Cive", "/api/orders", "/%61pi/orders", "/ws"] {
        assert_eq!(operator.get(path).await.status, 404, "{path}");
    }
}

#[actix::test]
async fn a_socket_url_is_never_built_from_forwarded_headers() {
    let server = Server::start([("server.allowed_hosts", "engine.example.org")]);
    let port = server.client.port();
    let forwarded = [
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-port", "1"),
        ("x-forwarded-for", "10.1.2.3"),
        ("x-forwarded-server", "evil.example"),
        ("x-original-host", "evil.example"),
        ("x-host", "evil.example"),
        ("forwarded", "for=10.1.2.3;host=evil.example;proto=https"),
    ];
    for host in [format!("127.0.0.1:{port}"), "engine.example.org".to_owned(), "[::1]:3000".to_owned()] {
        let headers = [&forwarded[..], &[JSON, ("host", &host)]].concat();
        let answer = server.client.request("POST", "/api/orders", &headers, order(json!({})).to_string()).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let url = format!("ws://{host}/ws/orders/{}", answer.order_id());
        assert_eq!((&answer.body["websocketUrl"], &answer.body["socketUrl"]), (&json!(url), &json!(url)));
        assert!(!format!("{answer:?}").contains("evil"), "{answer:?}");
    }
}
