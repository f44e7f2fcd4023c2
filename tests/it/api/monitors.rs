//! What monitors, load balancers and proxies ask, and by which names.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use serde_json::json;

use crate::support::client::{Answer, Client};
use crate::support::process::{PATIENCE, SWIFT, Server};

const PROBES: [&str; 6] = ["/live", "/ready", "/health", "/api/live", "/api/ready", "/api/health"];

async fn ask(client: &Client, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    client.send(method, path, headers, String::new()).await.unwrap()
}

/// Sends a head and reads all that is answered until the server closes.
fn raw(address: &str, head: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn address(server: &Server) -> &str {
    server.client.url().trim_start_matches("http://")
}

#[actix::test]
async fn head_is_answered_as_get_is_without_the_body() {
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
        // On the wire, too, nothing follows the head.
        let said =
            raw(address(&server), &format!("HEAD {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"));
        assert!(said.ends_with("\r\n\r\n") && said.to_lowercase().contains("content-length: "), "{path}: {said:?}");
    }
    for path in ["/ws", &format!("/ws/orders/{id}"), &format!("{order}/stream"), "/api/orders/execute"] {
        let answer = ask(&server.client, "HEAD", path, &[]).await;
        assert!(answer.status == 405 && !answer.header("allow").unwrap().contains("HEAD"), "{path}: {answer:?}");
    }
    assert_eq!(server.client.get("/api/orders").await.body["orders"].as_array().unwrap().len(), 1);
}

#[actix::test]
async fn probes_are_answered_by_whatever_name_they_ask_or_by_none() {
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
            // HTTP/1.1 without a Host is no HTTP, which the server answers with 400 before anything else.
            let said = raw(address(&server), &format!("{method} {path} HTTP/1.0\r\n\r\n"));
            assert!(said.contains(" 200 OK"), "{method} {path}: {said}");
        }
        // Pages of other servers, and whatever is no probe, get no further than before.
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
async fn the_operators_address_may_be_a_name_and_is_asked_by_it() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
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
async fn a_monitor_with_the_operators_token_asks_by_any_name() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let bind = format!("127.0.0.1:{port}");
    let _server = Server::start([("metrics.bind", bind.as_str()), ("metrics.token", "a-token-of-the-operator")]);
    let operator = Client::of(&format!("http://{bind}"));
    let host = [("host", "order-engine.monitoring:9100")];
    assert_eq!(ask(&operator.with("a-token-of-the-operator"), "GET", "/metrics", &host).await.status, 200);
    assert_eq!(ask(&operator, "GET", "/metrics", &host).await.status, 401);
}

#[actix::test]
async fn localhost_is_answered_by_whichever_address_a_client_takes_it_for() {
    let server = Server::start(SWIFT);
    let port = address(&server).parse::<SocketAddr>().unwrap().port();
    let mut addresses = vec![format!("127.0.0.1:{port}")];
    // A machine without IPv6 goes on with the other one.
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
    let port = address(&only).parse::<SocketAddr>().unwrap().port();
    assert!(TcpStream::connect(format!("[::1]:{port}")).is_err(), "an address is that address alone");
}

#[actix::test]
async fn basic_credentials_of_a_proxy_are_refused_with_words_that_name_them() {
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
