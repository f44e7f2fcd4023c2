//! A database whose disk is full: no answer says more than what is stored, and work goes on once there is space again.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::client::{Answer, Client, at_once};
use crate::support::machine::SmallDisk;
use crate::support::process::{PATIENCE, SWIFT, Server};

/// Work goes on so soon after there is space again. The rest is what a busy machine may add.
const RESUMED_WITHIN: Duration = Duration::from_millis(5_000 + 2_500);

/// An engine whose database lies on that disk. Its ledger does not, so that only the database is short of space.
fn engine_on(disk: &SmallDisk) -> Server {
    let mut server = Server::idle(SWIFT);
    server.set("database.url", &format!("sqlite://{}?mode=rwc", disk.path("orders.db").display()));
    server.restart();
    server
}

async fn submit_many(client: &Client, name: &str, count: usize) -> Vec<Answer> {
    let submits =
        (0..count).map(|number| client.submit(json!({ "clientOrderId": format!("{name}-{number}"), "amountIn": 1 })));
    at_once(16, submits).await
}

fn accepted(answers: &[Answer]) -> Vec<String> {
    answers.iter().filter(|answer| answer.status == 201).map(Answer::order_id).collect()
}

/// Submits until one order is taken in; fails if that takes too long.
async fn accepted_again(client: &Client) -> String {
    let since = Instant::now();
    loop {
        let answer = client.submit(json!({ "amountIn": 1 })).await;
        if answer.status == 201 {
            assert!(since.elapsed() < RESUMED_WITHIN, "it took {:?}", since.elapsed());
            return answer.order_id();
        }
        assert!(since.elapsed() < PATIENCE, "no order is taken in though there is space");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Each of these orders is there and comes to its end.
async fn assert_stored(client: &Client, ids: &[String]) {
    for id in ids {
        let order = client.until_ended(id).await;
        assert_eq!(order["status"], "confirmed", "{id}");
    }
}

#[actix_web::test]
async fn a_full_disk_does_not_make_201_a_lie() {
    let disk = SmallDisk::of_mib(24);
    let mut server = engine_on(&disk);
    let mut ids = accepted(&submit_many(&server.client, "before", 20).await);
    assert_eq!(ids.len(), 20);

    for round in 0..3 {
        disk.fill_but(0);
        let full = submit_many(&server.client, &format!("full-{round}"), 400).await;
        for answer in &full {
            let code = answer.body["code"].as_str().unwrap_or_default();
            let honest =
                answer.status == 201 || answer.status == 503 && ["not_accepted", "outcome_unknown"].contains(&code);
            assert!(honest, "{} {}", answer.status, answer.body);
        }
        // What space was left in files that exist already may be used; then nothing is taken in.
        assert!(full.last().unwrap().status == 503, "the disk is not full");
        ids.extend(accepted(&full));
        let ready = server.client.get("/ready").await;
        assert_eq!(ready.status, 503, "{}", ready.body);

        disk.free();
        ids.push(accepted_again(&server.client).await);
        let after = submit_many(&server.client, &format!("after-{round}"), 20).await;
        assert!(after.iter().all(|answer| answer.status == 201));
        ids.extend(accepted(&after));
        assert_stored(&server.client, &ids).await;
        assert_eq!(server.client.get("/ready").await.status, 200);
    }

    server.kill();
    server.restart();
    assert_stored(&server.client, &ids).await;
    server.assert_no_second_swap();
}

#[actix_web::test]
async fn a_refused_order_is_not_stored_once_there_is_space() {
    let disk = SmallDisk::of_mib(24);
    let mut server = engine_on(&disk);
    disk.fill_but(0);
    let full = submit_many(&server.client, "full", 200).await;
    disk.free();
    accepted_again(&server.client).await;
    server.kill();
    server.restart();
    for (number, answer) in full.iter().enumerate() {
        let found = server.client.get(&format!("/api/orders/by-client-id/full-{number}")).await;
        match answer.body["code"].as_str() {
            Some("not_accepted") => assert_eq!(found.status, 404, "{}", found.body),
            Some("outcome_unknown") => assert!([200, 404].contains(&found.status), "{}", found.body),
            _ => assert_eq!((answer.status, found.status), (201, 200), "{}", found.body),
        }
    }
    server.assert_no_second_swap();
}

#[actix_web::test]
async fn an_account_or_a_key_that_a_full_disk_did_not_take_is_not_confirmed() {
    let disk = SmallDisk::of_mib(24);
    let mut server = engine_on(&disk);
    let user = server.client.registered("before").await;
    disk.fill_but(0);
    // Uses up what space is left in the files that exist.
    submit_many(&server.client, "full", 200).await;
    let mut made = Vec::new();
    for number in 0..20 {
        let name = format!("user-{number}");
        let answer = server
            .client
            .post("/api/auth/register", &json!({ "username": name, "password": "correct horse battery" }))
            .await;
        if answer.status == 201 {
            made.push(name);
        }
    }
    let key = user.post("/api/auth/keys", &json!({ "name": "bot" })).await;
    assert!(key.status == 503 || key.status == 201, "{} {}", key.status, key.body);
    disk.free();
    accepted_again(&server.client).await;
    server.kill();
    server.restart();
    for name in made {
        let login = json!({ "username": name, "password": "correct horse battery" });
        assert_eq!(server.client.post("/api/auth/login", &login).await.status, 200, "{name}");
    }
    if key.status == 201 {
        let secret = key.body["key"].as_str().unwrap();
        assert_eq!(server.client.with(secret).get("/api/orders").await.status, 200);
    }
}

#[actix_web::test]
async fn an_idle_engine_says_that_its_disk_is_full() {
    let disk = SmallDisk::of_mib(24);
    let server = engine_on(&disk);
    disk.fill_but(0);
    let since = Instant::now();
    while server.client.get("/ready").await.status == 200 {
        assert!(since.elapsed() < PATIENCE, "the engine is ready though its disk is full");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    disk.free();
    let since = Instant::now();
    while server.client.get("/ready").await.status != 200 {
        assert!(since.elapsed() < PATIENCE, "the engine is not ready though there is space");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
