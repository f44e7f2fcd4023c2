//! Deleted accounts: what is left of them, and that no order is open or accepted for one.

use std::cell::Cell;

use sea_orm::{ConnectionTrait, Database, Statement};
use serde_json::json;

use super::{assert_problem, guarded, hold_changes, login};
use crate::support::client::{Answer, Client, JSON, PASSWORD};
use crate::support::postgres::Postgres;
use crate::support::wait::until;

async fn delete(client: &Client) -> Answer {
    client.request("DELETE", "/api/auth/account", &[JSON], json!({ "password": PASSWORD }).to_string()).await
}

#[actix::test]
async fn an_account_is_deleted_only_without_open_orders_and_nothing_of_it_stays_usable() {
    let postgres = Postgres::start();
    let url = postgres.url();
    for mut server in [None, Some(("database.url", url.as_str()))]
        .map(|database| guarded([("orders.rate_limit_per_minute", "1")].into_iter().chain(database)))
    {
        let alice = server.client.registered("alice").await;
        let bob = server.client.registered("bob").await;
        let ended = alice.submit(json!({})).await.order_id();
        alice.until_ended(&ended).await;
        // It waits for the next minute.
        let waiting = alice.submit(json!({ "clientOrderId": "mine" })).await.order_id();
        let refused = delete(&alice).await;
        assert_problem(&refused, 409, "open_orders");
        assert!(refused.text("detail").contains("(1)"), "{refused:?}");
        assert_eq!(alice.get("/api/auth/me").await.status, 200, "nothing has changed");
        let another = alice.submit(json!({})).await;
        assert_eq!(another.status, 201, "orders are still accepted: {another:?}");
        for id in [&waiting, &another.order_id()] {
            assert_eq!(alice.cancel(id).await.status, 200);
        }

        let elsewhere = server.client.logged_in("alice").await;
        let key = alice.post("/api/auth/keys", &json!({ "name": "bot" })).await.text("key").to_owned();
        let key = server.client.with(&key);
        let mut sockets = [alice.socket("/ws").await, elsewhere.socket("/ws").await, key.socket("/ws").await];
        let mut staying = bob.socket("/ws").await;
        until("the account was deleted", async || {
            // The cancelled orders end a moment after their answer.
            let answer = delete(&alice).await;
            assert!(answer.status == 200 || answer.code() == "open_orders", "{answer:?}");
            answer.status == 200
        })
        .await;
        for socket in &mut sockets {
            assert_eq!(socket.next().await, Err(Some(4401)));
        }
        assert_eq!(staying.ask(json!({ "type": "ping" })).await["type"], "pong");
        for round in 0..2 {
            for gone in [&alice, &elsewhere, &key] {
                let gone = server.client.with(gone.token());
                assert_problem(&gone.get("/api/orders").await, 401, "invalid_token");
                assert_problem(&gone.submit(json!({})).await, 401, "invalid_token");
            }
            if round == 0 {
                let known = server.client.post("/api/auth/login", &login("alice", PASSWORD)).await;
                assert_problem(&known, 401, "invalid_credentials");
            }
            server.kill();
            server.restart();
        }
        // The name is free, and its next user is another one.
        let next = server.client.registered("alice").await;
        assert!(next.all_orders().await.is_empty());
        assert_problem(&next.get(&format!("/api/orders/{ended}")).await, 404, "order_not_found");
        let named = next.submit(json!({ "clientOrderId": "mine" })).await;
        assert_eq!(named.status, 201, "{named:?}");
        assert_eq!(server.client.with(bob.token()).get("/api/orders").await.status, 200);
    }
}

#[actix::test]
async fn orders_of_a_deleted_account_are_not_shared_with_anonymous_clients() {
    let server = guarded([("auth.required", "false")]);
    let alice = server.client.registered("alice").await;
    let id = alice.submit(json!({})).await.order_id();
    alice.until_ended(&id).await;
    until("the account was deleted", async || delete(&alice).await.status == 200).await;
    assert_problem(&server.client.get(&format!("/api/orders/{id}")).await, 404, "order_not_found");
    assert!(server.client.all_orders().await.is_empty());
}

#[actix::test]
async fn no_order_appears_for_an_account_that_is_deleted_beside_submits() {
    const USERS: usize = 4;
    let postgres = Postgres::start();
    let url = postgres.url();
    let limits = [("auth.attempts_per_name", "100000"), ("auth.attempts_per_address", "100000")];
    for server in
        [None, Some(("database.url", url.as_str()))].map(|database| guarded(limits.into_iter().chain(database)))
    {
        let (mut refusals, mut late, mut accepted_in_all) = (0, 0, 0);
        for number in 0..USERS {
            let user = server.client.registered(&format!("user{number}")).await;
            let (is_deleted, accepted) = (Cell::new(false), Cell::new(0_i64));
            let submits = async {
                let mut after = 0;
                // Some submits begin before the deletion is answered and some after it.
                while after < 5 {
                    after += usize::from(is_deleted.get());
                    let was_deleted = is_deleted.get();
                    let answer = user.submit(json!({})).await;
                    match answer.status {
                        201 => {
                            assert!(!was_deleted, "{answer:?}");
                            accepted.set(accepted.get() + 1);
                            // So that no order is open now and then, and a deletion succeeds. The order may be asked for with
                            // a token that has ended.
                            let path = format!("/api/orders/{}", answer.order_id());
                            until("the order had ended", async || {
                                let order = user.get(&path).await;
                                order.status == 401 || !order.body["completedAt"].is_null()
                            })
                            .await;
                        }
                        401 | 503 => late += 1,
                        _ => panic!("{answer:?}"),
                    }
                }
            };
            let deletes = async {
                while !is_deleted.get() {
                    let answer = delete(&user).await;
                    assert!(answer.status == 200 || answer.code() == "open_orders", "{answer:?}");
                    refusals += usize::from(answer.status == 409);
                    is_deleted.set(answer.status == 200);
                }
            };
            futures_util::future::join(submits, deletes).await;
            accepted_in_all += accepted.get();
        }
        let database = Database::connect(server.database_url()).await.unwrap();
        let of_deleted =
            "SELECT count(*) FROM orders o JOIN users u ON u.id = o.user_id WHERE u.deleted_at IS NOT NULL";
        let count = async |condition: &str| {
            let query = Statement::from_string(database.get_database_backend(), format!("{of_deleted}{condition}"));
            let row = database.query_one_raw(query).await.unwrap().unwrap();
            row.try_get_by_index::<i64>(0).unwrap()
        };
        println!("{accepted_in_all} orders, {refusals} refused deletions, {late} submits that came too late");
        assert_eq!(count(" AND o.status IS NULL").await, 0, "an order is open, and its account is deleted");
        assert_eq!(count("").await, accepted_in_all, "an order was stored and not accepted");
        assert!(late >= 5 * USERS);
        database.close().await.unwrap();
    }
}

#[actix::test]
async fn orders_are_accepted_again_after_a_deletion_without_an_answer() {
    let postgres = Postgres::start();
    let url = postgres.url();
    let server = guarded([("database.url", url.as_str()), ("server.request_timeout_ms", "2000")]);
    let alice = server.client.registered("alice").await;
    // The deletion waits for this lock, and the answer does not wait for the deletion.
    let lock = hold_changes(&url).await;
    assert_problem(&delete(&alice).await, 503, "unavailable");
    // Whether the account is deleted is not known yet, so an order of it could be one of nobody.
    assert_problem(&alice.submit(json!({})).await, 503, "not_accepted");
    lock.rollback().await.unwrap();
    until("an order was accepted", async || alice.submit(json!({})).await.status == 201).await;
    until("the account was deleted", async || delete(&alice).await.status == 200).await;
    assert_problem(&alice.submit(json!({})).await, 401, "invalid_token");
}
