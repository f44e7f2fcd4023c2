//! Everybody who listens sees each step: at once, late, and after the end.

use std::time::Duration;

use serde_json::json;

use crate::support::client::{Client, SocketLog, at_once};
use crate::support::process::Server;

const WHOLE_LIFE: [&str; 5] = ["pending", "routing", "building", "submitted", "confirmed"];

#[track_caller]
fn assert_whole(history: &SocketLog) {
    assert_eq!(history.statuses(), WHOLE_LIFE, "{history:?}");
    history.assert_gapless();
    assert_eq!(history.close, Some(1000), "{history:?}");
}

async fn submit_and_follow(client: &Client, delay: Duration) -> SocketLog {
    let submitted = client.submit(json!({})).await;
    assert_eq!(submitted.status, 201, "{submitted:?}");
    tokio::time::sleep(delay).await;
    client.follow(&submitted.order_id()).await
}

fn default_waits_without_limits() -> Server {
    Server::start([("orders.rate_limit_per_minute", "0"), ("orders.max_concurrent", "100")])
}

#[actix::test]
async fn two_hundred_clients_each_see_all_five_statuses_and_the_close() {
    let server = default_waits_without_limits();
    let stories = at_once(32, (0..200).map(|_| submit_and_follow(&server.client, Duration::ZERO))).await;
    assert_eq!(stories.len(), 200);
    stories.iter().for_each(assert_whole);
    server.assert_no_second_swap();
}

#[actix::test]
async fn clients_that_join_a_second_late_or_after_the_end_see_the_same() {
    let server = default_waits_without_limits();
    // Joining late is what is tested, so here a wait is the point.
    let late = at_once(32, (0..32).map(|_| submit_and_follow(&server.client, Duration::from_secs(1)))).await;
    late.iter().for_each(assert_whole);
    for history in &late {
        let id = history.steps[0]["orderId"].as_str().unwrap();
        assert_whole(&server.client.follow(id).await);
    }
}

#[actix::test]
async fn a_client_that_resumes_is_told_only_what_came_after() {
    let server = default_waits_without_limits();
    let id = server.client.submit(json!({})).await.order_id();
    assert_whole(&server.client.follow(&id).await);
    let resumed = server.client.socket(&format!("/api/orders/{id}/stream?afterSeq=3")).await.until_closed().await;
    assert_eq!(resumed.seqs(), [4, 5]);
    assert_eq!(resumed.close, Some(1000));
    let nothing_new = server.client.socket(&format!("/ws/orders/{id}?afterSeq=5")).await.until_closed().await;
    assert_eq!((nothing_new.steps.len(), nothing_new.close), (0, Some(1000)));
}

#[actix::test]
async fn an_unknown_order_is_told_by_the_close_code() {
    let server = Server::start([]);
    let history = server.client.follow("01890000-0000-7000-8000-000000000000").await;
    assert_eq!((history.steps.len(), history.close), (0, Some(4404)));
}

#[actix::test]
async fn each_update_carries_what_became_known() {
    let server = default_waits_without_limits();
    let id = server.client.submit(json!({ "slippage": "0.02" })).await.order_id();
    let history = server.client.follow(&id).await;
    let [_, _, building, submitted, confirmed] = &history.steps[..] else { panic!("{history:?}") };
    assert_eq!(building["quotes"].as_array().unwrap().len(), 2);
    assert_eq!(building["dexUsed"], building["quotes"][0]["dex"]);
    assert!(building["reason"].as_str().unwrap().contains("more than"), "{building}");
    assert_eq!(submitted["txHash"], confirmed["txHash"]);
    let order = server.client.get(&format!("/api/orders/{id}")).await.body;
    assert_eq!(order["amountOut"], confirmed["amountOut"]);
    assert_eq!(order["executedPrice"], confirmed["executedPrice"]);
    assert_eq!(order["expectedPrice"], building["quotes"][0]["price"]);
}

#[actix::test]
async fn a_stopping_engine_says_goodbye_to_its_sockets_and_exits_with_0() {
    let mut server = default_waits_without_limits();
    server.set("orders.max_concurrent", "1");
    let waiting: Vec<_> = at_once(4, (0..4).map(|_| server.client.submit(json!({})))).await;
    let id = waiting[3].order_id();
    let mut socket = server.client.socket(&format!("/ws/orders/{id}")).await;
    let _snapshot = socket.next().await.unwrap();
    let following = actix::spawn(socket.until_closed());
    let (server, status) = actix_web::web::block(move || {
        let status = server.terminate();
        (server, status)
    })
    .await
    .unwrap();
    assert!(status.success(), "{status:?}");
    let history = following.await.unwrap();
    assert!(matches!(history.close, Some(1000 | 1001)), "{history:?}");
    let mut server = server;
    server.restart();
    for answer in waiting {
        assert_eq!(server.client.until_ended(&answer.order_id()).await["status"], "confirmed");
    }
    server.assert_no_second_swap();
}

#[actix::test]
async fn a_client_that_answers_no_ping_is_dropped_and_disturbs_nobody() {
    use std::io::{Read, Write};
    let server = Server::start([("ws.heartbeat_ms", "100"), ("ws.stall_timeout_ms", "400")]);
    let id = server.client.submit(json!({})).await.order_id();
    let address = server.client.url().trim_start_matches("http://").to_owned();
    let mut silent = std::net::TcpStream::connect(&address).unwrap();
    let handshake = format!(
        "GET /ws/orders/{id} HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    silent.write_all(handshake.as_bytes()).unwrap();
    assert_whole(&server.client.follow(&id).await);
    // To its end: it answers nothing, so the server closes.
    silent.set_read_timeout(Some(crate::support::process::PATIENCE)).unwrap();
    let mut told = Vec::new();
    silent.read_to_end(&mut told).unwrap();
    assert!(String::from_utf8_lossy(&told).starts_with("HTTP/1.1 101"));
    while server.client.get("/health").await.body["sockets"] != 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
