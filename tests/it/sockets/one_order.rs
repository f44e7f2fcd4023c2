//! The socket for one order: every client receives each step, whether it connects early, late or after the end.

use std::io::Read;

use serde_json::json;

use crate::support::client::concurrently;
use crate::support::process::Server;
use crate::support::raw;
use crate::support::socket::SocketLog;
use crate::support::wait::until;

const ALL_STATUSES: [&str; 5] = ["pending", "routing", "building", "submitted", "confirmed"];

#[track_caller]
fn assert_complete(history: &SocketLog) {
    assert_eq!(history.statuses(), ALL_STATUSES, "{history:?}");
    history.assert_gapless();
    assert_eq!(history.close, Some(1000), "{history:?}");
}

/// An engine with the default latencies of venues and chain, and without a rate limit.
fn engine() -> Server {
    Server::start([("orders.rate_limit_per_minute", "0"), ("orders.max_concurrent", "100")])
}

#[actix::test]
async fn two_hundred_clients_each_receive_all_five_statuses_and_the_close() {
    let server = engine();
    let submit_and_follow = async || server.client.follow(&server.client.submit(json!({})).await.order_id()).await;
    let histories = concurrently(32, (0..200).map(|_| submit_and_follow())).await;
    assert_eq!(histories.len(), 200);
    histories.iter().for_each(assert_complete);
    server.assert_no_second_swap();
}

#[actix::test]
async fn clients_that_connect_in_the_middle_or_after_the_end_receive_the_same() {
    let server = engine();
    let follow_late = async || {
        let id = server.client.submit(json!({})).await.order_id();
        server.client.until(&id, |order| order["status"] == "submitted").await;
        server.client.follow(&id).await
    };
    let late = concurrently(32, (0..32).map(|_| follow_late())).await;
    late.iter().for_each(assert_complete);
    for history in &late {
        let id = history.steps[0]["orderId"].as_str().unwrap();
        assert_complete(&server.client.follow(id).await);
    }
}

#[actix::test]
async fn a_client_that_resumes_receives_only_later_steps() {
    let server = engine();
    let id = server.client.submit(json!({})).await.order_id();
    assert_complete(&server.client.follow(&id).await);
    let resumed = server.client.socket(&format!("/api/orders/{id}/stream?afterSeq=3")).await.until_closed().await;
    assert_eq!(resumed.seqs(), [4, 5]);
    assert_eq!(resumed.close, Some(1000));
    let nothing_new = server.client.socket(&format!("/ws/orders/{id}?afterSeq=5")).await.until_closed().await;
    assert_eq!((nothing_new.steps.len(), nothing_new.close), (0, Some(1000)));
}

#[actix::test]
async fn a_socket_for_an_unknown_order_is_closed_with_4404() {
    let server = Server::start([]);
    let history = server.client.follow("01890000-0000-7000-8000-000000000000").await;
    assert_eq!((history.steps.len(), history.close), (0, Some(4404)));
}

#[actix::test]
async fn each_update_has_the_fields_that_became_known() {
    let server = engine();
    let id = server.client.submit(json!({ "slippage": "0.02" })).await.order_id();
    let history = server.client.follow(&id).await;
    let [_, _, building, submitted, confirmed] = &history.steps[..] else { panic!("{history:?}") };
    assert_eq!(building["quotes"].as_array().unwrap().len(), 2);
    assert_eq!(building["dexUsed"], building["quotes"][0]["dex"]);
    assert!(building["reason"].as_str().unwrap().contains("more than"), "{building}");
    assert_eq!(submitted["txHash"], confirmed["txHash"]);
    let order = server.client.order(&id).await;
    assert_eq!(order["amountOut"], confirmed["amountOut"]);
    assert_eq!(order["executedPrice"], confirmed["executedPrice"]);
    assert_eq!(order["expectedPrice"], building["quotes"][0]["price"]);
}

#[actix::test]
async fn a_stopping_engine_closes_its_sockets_with_1001_and_exits_with_0() {
    let mut server = engine();
    server.set("orders.max_concurrent", "1");
    let ids = server.client.submit_many(4).await;
    let mut socket = server.client.socket(&format!("/ws/orders/{}", ids[3])).await;
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
    server.client.until_all_confirmed(&ids).await;
    server.assert_no_second_swap();
}

#[actix::test]
async fn a_client_that_answers_no_ping_is_disconnected_and_others_are_not() {
    let server = Server::start([("ws.heartbeat_ms", "100"), ("ws.stall_timeout_ms", "400")]);
    let id = server.client.submit(json!({})).await.order_id();
    let mut silent = raw::upgrade(&server.client, &format!("/ws/orders/{id}"));
    assert_complete(&server.client.follow(&id).await);
    // The server closes the connection, because no ping is answered.
    let mut received = Vec::new();
    silent.read_to_end(&mut received).unwrap();
    assert!(String::from_utf8_lossy(&received).starts_with("HTTP/1.1 101"));
    until("no socket was open", async || server.client.get("/health").await.body["sockets"] == 0).await;
}
