//! SQLite on a full disk: no answer promises more than what is stored, and work resumes once there is space.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::client::{Answer, Client, PASSWORD, concurrently};
use crate::support::machine::SmallDisk;
use crate::support::process::{SWIFT, Server};
use crate::support::wait::{assert_deadline_kept, until, until_some};

/// The documented time until work resumes once there is space.
const RESUME_DEADLINE: Duration = Duration::from_secs(5);

/// An engine whose database is on that disk, and whose ledger is not.
fn engine_on(disk: &SmallDisk) -> Server {
    Server::start_on(&format!("sqlite://{}?mode=rwc", disk.path("orders.db").display()), SWIFT)
}

async fn submit_many(client: &Client, name: &str, count: usize) -> Vec<Answer> {
    let submits =
        (0..count).map(|number| client.submit(json!({ "clientOrderId": format!("{name}-{number}"), "amountIn": 1 })));
    concurrently(16, submits).await
}

fn accepted(answers: &[Answer]) -> Vec<String> {
    answers.iter().filter(|answer| answer.status == 201).map(Answer::order_id).collect()
}

/// Submits until an order is accepted.
async fn accepted_again(client: &Client) -> String {
    let start = Instant::now();
    let id = until_some("an order was accepted again", async || {
        let answer = client.submit(json!({ "amountIn": 1 })).await;
        (answer.status == 201).then(|| answer.order_id())
    })
    .await;
    assert_deadline_kept(RESUME_DEADLINE, start.elapsed(), "resuming after a full disk");
    id
}

#[actix_web::test]
async fn every_201_answered_on_a_full_disk_is_stored() {
    let disk = SmallDisk::of_mib(24);
    let mut server = engine_on(&disk);
    let mut ids = accepted(&submit_many(&server.client, "before", 20).await);
    assert_eq!(ids.len(), 20);

    for round in 0..3 {
        disk.fill_except(0);
        let full = submit_many(&server.client, &format!("full-{round}"), 400).await;
        for answer in &full {
            let code = answer.body["code"].as_str().unwrap_or_default();
            let expected =
                answer.status == 201 || answer.status == 503 && ["not_accepted", "outcome_unknown"].contains(&code);
            assert!(expected, "{} {}", answer.status, answer.body);
        }
        // The free space inside existing files may be used; after that no order is accepted.
        assert!(full.last().unwrap().status == 503, "the disk is not full");
        ids.extend(accepted(&full));
        let ready = server.client.get("/ready").await;
        assert_eq!(ready.status, 503, "{}", ready.body);

        disk.free();
        ids.push(accepted_again(&server.client).await);
        let after = submit_many(&server.client, &format!("after-{round}"), 20).await;
        assert!(after.iter().all(|answer| answer.status == 201));
        ids.extend(accepted(&after));
        server.client.until_all_confirmed(&ids).await;
        assert_eq!(server.client.get("/ready").await.status, 200);
    }

    server.kill();
    server.restart();
    server.client.until_all_confirmed(&ids).await;
    server.assert_no_second_swap();
}

#[actix_web::test]
async fn a_refused_order_is_not_stored_once_there_is_space() {
    let disk = SmallDisk::of_mib(24);
    let mut server = engine_on(&disk);
    disk.fill_except(0);
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
async fn accounts_and_keys_answered_201_on_a_full_disk_are_stored() {
    let disk = SmallDisk::of_mib(24);
    let mut server = engine_on(&disk);
    let user = server.client.registered("before").await;
    disk.fill_except(0);
    // Uses the free space inside existing files.
    submit_many(&server.client, "full", 200).await;
    let mut made = Vec::new();
    for number in 0..20 {
        let name = format!("user-{number}");
        let answer = server.client.post("/api/auth/register", &json!({ "username": name, "password": PASSWORD })).await;
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
        server.client.logged_in(&name).await;
    }
    if key.status == 201 {
        assert_eq!(server.client.with(key.text("key")).get("/api/orders").await.status, 200);
    }
}

#[actix_web::test]
async fn ready_reports_a_full_disk_also_without_orders() {
    let disk = SmallDisk::of_mib(24);
    let server = engine_on(&disk);
    disk.fill_except(0);
    server.client.until_ready("a full disk", |ready| ready.status != 200).await;
    disk.free();
    server.client.until_ready("free space", |ready| ready.status == 200).await;
}

#[actix_web::test]
async fn a_repeat_on_a_full_disk_is_answered_with_its_order() {
    let disk = SmallDisk::of_mib(24);
    let server = engine_on(&disk);
    let first = server.client.submit_with_key("known", json!({})).await.order_id();
    server.client.until_confirmed(&first).await;
    disk.fill_except(0);
    // Until nothing fits into the existing files any more.
    until("a submit is refused", async || server.client.submit(json!({})).await.status == 503).await;
    for _ in 0..3 {
        let again = server.client.submit_with_key("known", json!({})).await;
        assert_eq!((again.status, again.order_id()), (200, first.clone()), "{again:?}");
        let other = server.client.submit_with_key("known", json!({ "amountIn": "2" })).await;
        other.assert_problem(422, "idempotency_key_reused");
    }
}
