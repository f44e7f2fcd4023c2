//! Requests of monitors, load balancers and proxies: probes, HEAD, host names and the operator's address.

use std::net::{TcpListener, TcpStream};

use serde_json::json;

use crate::support::client::{Answer, Client};
use crate::support::os::free_address;
use crate::support::process::{SWIFT, Server};
use crate::support::raw;

const PROBES: [&str; 6] = ["/live", "/ready", "/health", "/api/live", "/api/ready", "/api/health"];

async fn ask(client: &Client, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    client.request(method, path, headers, "").await
}

#[actix::test]
async fn head_is_answered_like_get_without_the_body() {
    let server = Server::start(SWIFT);
    let id = server.client.submit(json!({})).await.order_id();
    server.client.until_ended(&id).await;
    let order = format!("/api/orders/{id}");
    let paths = [
        "/",
        "/api/orders",
        &order,
        "/api/tokens",
        "/api/stats",
        "/metrics",
        "/docs",
        "/api/openapi.json",
        "/api/auth/me",
    ];
    for path in PROBES.into_iter().chain(paths) {
        let (get, head) = (ask(&server.client, "GET", path, &[]).await, ask(&server.client, "HEAD", path, &[]).await);
        assert_eq!((head.status, &head.body), (get.status, &json!("")), "{path}");
        for name in ["content-type", "cache-control", "content-security-policy"] {
            assert_eq!(head.header(name), get.header(name), "{path}: {name}");
        }
        // Nor is there a body on the wire.
        let request = format!("HEAD {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        let wire = raw::answer_to_close(&server.client, request.as_bytes());
        assert!(wire.ends_with("\r\n\r\n") && wire.to_lowercase().contains("content-length: "), "{path}: {wire:?}");
    }
    for path in ["/ws", &format!("/ws/orders/{id}"), &format!("{order}/stream"), "/api/orders/execute"] {
        let answer = ask(&server.client, "HEAD", path, &[]).await;
        assert!(answer.status == 405 && !answer.header("allow").unwrap().contains("HEAD"), "{path}: {answer:?}");
    }
    assert_eq!(server.client.get("/api/orders").await.body["orders"].as_array().unwrap().len(), 1);
}

#[actix::test]
async fn probes_are_answered_for_any_host_name_and_without_one() {
    let server = Server::start(SWIFT);
    for path in PROBES {
        for method in ["GET", "HEAD"] {
            for host in ["10.1.2.3:3000", "engine.prod.svc", "evil.example", ""] {
                assert_eq!(
                    ask(&server.client, method, path, &[("host", host)]).await.status,
                    200,
                    "{method} {path} {host:?}"
                );
            }
            // HTTP/1.1 requires a Host, so only HTTP/1.0 can leave it out.
            let request = format!("{method} {path} HTTP/1.0\r\n\r\n");
            let answer = raw::answer_to_close(&server.client, request.as_bytes());
            assert!(answer.contains(" 200 OK"), "{method} {path}: {answer}");
        }
        // Pages of other origins and requests that are no probes are still refused.
        let page = [("host", "evil.example"), ("origin", "http://evil.example")];
        assert_eq!(ask(&server.client, "GET", path, &page).await.status, 421, "{path}");
        assert_eq!(ask(&server.client, "POST", path, &[("host", "evil.example")]).await.status, 421, "{path}");
        assert_eq!(ask(&server.client, "GET", path, &[("origin", "http://evil.example")]).await.status, 403, "{path}");
    }
    for path in ["/api/orders", "/live/", "/livex", "/metrics"] {
        assert_eq!(ask(&server.client, "GET", path, &[("host", "10.1.2.3")]).await.status, 421, "{path}");
    }
}

#[actix::test]
async fn the_operators_address_may_be_a_host_name() {
    let port = free_address().port();
    let server = Server::start([("metrics.bind", format!("localhost:{port}").as_str())]);
    let operator = Client::of(&format!("http://127.0.0.1:{port}"));
    for host in ["localhost", "127.0.0.1", "[::1]"] {
        assert_eq!(ask(&operator, "GET", "/metrics", &[("host", host)]).await.status, 200, "{host}");
    }
    let refused = ask(&operator, "GET", "/metrics", &[("host", "evil.example")]).await;
    assert_eq!((refused.status, &refused.body["code"]), (421, &json!("host_not_allowed")));
    assert!(refused.body["detail"].as_str().unwrap().contains("metrics.bind"), "{refused:?}");
    assert_eq!(server.client.get("/metrics").await.status, 404);
}

#[actix::test]
async fn a_monitor_with_the_operators_token_may_use_any_host_name() {
    let port = free_address().port();
    let bind = format!("127.0.0.1:{port}");
    let _server = Server::start([("metrics.bind", bind.as_str()), ("metrics.token", "a-token-of-the-operator")]);
    let operator = Client::of(&format!("http://{bind}"));
    let host = [("host", "order-engine.monitoring:9100")];
    assert_eq!(ask(&operator.with("a-token-of-the-operator"), "GET", "/metrics", &host).await.status, 200);
    assert_eq!(ask(&operator, "GET", "/metrics", &host).await.status, 401);
}

#[actix::test]
async fn localhost_is_served_on_ipv4_and_on_ipv6() {
    let server = Server::start(SWIFT);
    let port = server.client.port();
    let mut addresses = vec![format!("127.0.0.1:{port}")];
    // A machine may have no IPv6.
    if TcpListener::bind("[::1]:0").is_ok() {
        addresses.push(format!("[::1]:{port}"));
    }
    for address in addresses {
        let client = Client::of(&format!("http://{address}"));
        assert_eq!(client.submit(json!({})).await.status, 201, "{address}");
        let host = format!("localhost:{port}");
        assert_eq!(ask(&client, "GET", "/api/orders", &[("host", &host)]).await.status, 200, "{address}");
    }
    let only = Server::start([("server.host", "127.0.0.1")]);
    let port = only.client.port();
    assert!(TcpStream::connect(format!("[::1]:{port}")).is_err(), "127.0.0.1 does not include ::1");
}

#[actix::test]
async fn basic_credentials_of_a_proxy_are_refused_with_an_explanation() {
    let server = Server::start([]);
    for basic in ["Basic bWU6aHVudGVyMg==", "basic x"] {
        let answer = ask(&server.client, "GET", "/api/orders", &[("authorization", basic)]).await;
        assert_eq!((answer.status, &answer.body["code"]), (401, &json!("invalid_token")));
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains("Basic") && detail.contains("Bearer") && detail.contains("proxy"), "{detail}");
    }
    let other = ask(&server.client, "GET", "/api/orders", &[("authorization", "Digest x")]).await;
    assert!(other.status == 401 && !other.body["detail"].as_str().unwrap().contains("proxy"), "{other:?}");
}
