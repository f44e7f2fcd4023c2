//! Databases that an earlier release wrote: they open, show what that release showed, and their orders go on.
//!
//! Each dump has an order in every status and with every event, a user, an API key and idempotency keys. The release was
//! killed while five orders were open. Beside each dump are the answers that it gave just before. The dumps are as they
//! were written, except for the id of the machine's boot. They must not change.

use chrono::{DateTime, Utc};
use order_engine::api::order::{OrderView, TimelineView};
use order_engine::domain::user::{Owner, UserId};
use order_engine::store::{ListFilter, OrderStore};
use sea_orm::{ConnectionTrait, Database, Statement};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::machine::FakeClock;
use crate::support::postgres::Postgres;
use crate::support::process::{SWIFT, Server};
use crate::support::store::Backend;

/// The orders that were open, and how they end.
const OPEN: [(&str, &str); 5] = [
    ("golden-queued", "confirmed"),
    ("golden-routing", "confirmed"),
    ("golden-building", "confirmed"),
    ("golden-waiting", "failed"),
    ("golden-live", "confirmed"),
];

/// The order of alice, as it was submitted with its key.
fn order_of_alice() -> Value {
    json!({ "slippage": "0.02", "priority": "high", "routing": "speed", "maxPriceImpact": "0.25", "minAmountOut": "1" })
}

/// The events of a timeline without the parts that change: the duration of the last event changes when the order goes
/// on, and the reason of a requested cancel is a text of the release that shows it, not of the one that stored it.
fn lasting(timeline: &Value) -> Vec<Value> {
    let lasting = |event: &Value| {
        let mut event = event.clone();
        let fields = event.as_object_mut().unwrap();
        fields.remove("durationMs");
        if fields["status"] == "submitted" {
            fields.remove("reason");
        }
        event
    };
    timeline.as_array().unwrap().iter().map(lasting).collect()
}

/// Checks that the lists of the store show what the earlier release showed.
async fn check_lists(name: &'static str, url: &str, answers: &Value) {
    let backend = Backend::open(name, url).await;
    let connection = backend.connect().await;
    let query = Statement::from_string(connection.get_database_backend(), "SELECT id FROM users");
    let alice: Uuid = connection.query_one_raw(query).await.unwrap().unwrap().try_get("", "id").unwrap();
    connection.close().await.unwrap();
    for (owner, expected) in [(Owner::Shared, "shared"), (Owner::User(UserId(alice)), "alice")] {
        let filter = ListFilter { owner, limit: 200, ..ListFilter::default() };
        let page = backend.store.list(&filter).await.unwrap();
        assert!(page.unreadable.is_empty(), "{name}: {:?}", page.unreadable);
        let expected = answers[expected].as_array().unwrap();
        assert_eq!(page.orders.len(), expected.len(), "{name}");
        for (order, expected) in page.orders.iter().zip(expected) {
            assert_eq!(json!(OrderView::of(order)), expected["order"], "{name}");
            let events = json!(TimelineView::of(order).events);
            assert_eq!(lasting(&events), lasting(&expected["events"]), "{name}");
        }
    }
    backend.store.close().await;
}

async fn check_golden(name: &'static str, url: &str, dump: &str, answers: &str) {
    let database = Database::connect(url).await.unwrap();
    database.execute_unprepared(dump).await.unwrap();
    database.close().await.unwrap();
    let answers: Value = serde_json::from_str(answers).unwrap();
    check_lists(name, url, &answers).await;

    // An hour after the kill, for this engine.
    let clock = FakeClock::new();
    let killed: DateTime<Utc> = answers["shared"][0]["order"]["createdAt"].as_str().unwrap().parse().unwrap();
    clock.set((killed - Utc::now()).num_seconds() + 3_600);
    let mut server =
        Server::stopped(SWIFT.into_iter().chain([("database.url", url), ("orders.timeout_ms", "86400000")]));
    server.use_clock(&clock);
    server.restart();
    let alice = server.client.logged_in("alice").await;
    let with_key = server.client.with(answers["aliceKey"].as_str().unwrap());
    assert_eq!(with_key.get("/api/orders").await.orders(), [answers["alice"][0]["order"].clone()]);

    // A key used before is the same order, and another body is refused.
    let known = |answer: &Value| answer["order"]["orderId"].as_str().unwrap().to_owned();
    let repeated = alice.submit_with_key("golden-key", order_of_alice()).await;
    assert_eq!((repeated.status, repeated.order_id()), (200, known(&answers["alice"][0])));
    alice.submit_with_key("golden-key", json!({})).await.assert_problem(422, "idempotency_key_reused");
    for answer in answers["shared"].as_array().unwrap() {
        let id = &answer["order"]["clientOrderId"];
        let mut fields = json!({ "clientOrderId": id });
        if ["golden-waiting", "golden-cancelled"].contains(&id.as_str().unwrap()) {
            fields["minAmountOut"] = json!("1000000");
        }
        let repeated = server.client.submit(fields.clone()).await;
        assert_eq!((repeated.status, repeated.order_id()), (200, known(answer)), "{id}");
        // The defaults are part of the order, whether they are named or not.
        fields
            .as_object_mut()
            .unwrap()
            .extend([("slippage".to_owned(), json!("0.01")), ("type".to_owned(), json!("market"))]);
        assert_eq!(server.client.submit(fields.clone()).await.order_id(), known(answer), "{id}");
        fields["slippage"] = json!("0.02");
        server.client.submit(fields).await.assert_problem(422, "idempotency_key_reused");
    }

    for answer in answers["shared"].as_array().unwrap() {
        let before = &answer["order"];
        let id = known(answer);
        let after = server.client.until_ended(&id).await;
        let name = before["clientOrderId"].as_str().unwrap();
        match OPEN.iter().find(|(open, _)| *open == name) {
            None => assert_eq!(&after, before),
            Some((_, end)) => assert_eq!(after["status"], *end, "{after}"),
        }
        if before["status"] == "submitted" {
            assert_eq!(after["txHash"], before["txHash"], "a second swap was signed while the first might land");
        }
        let (was, is) = (lasting(&answer["events"]), lasting(&json!(server.client.events(&id).await)));
        assert_eq!(is[..was.len()], was[..], "{name}");
    }
    let ready = server.client.get("/ready").await.body;
    assert_eq!(ready["status"], "ok", "{ready}");
    assert!(server.terminate().success());
}

#[actix_web::test]
async fn a_database_of_an_earlier_release_goes_on_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}?mode=rwc", folder.path().join("orders.db").display());
    check_golden("SQLite", &url, include_str!("sqlite.sql"), include_str!("sqlite.json")).await;
}

#[actix_web::test]
async fn a_database_of_an_earlier_release_goes_on_on_postgresql() {
    let postgres = Postgres::start();
    check_golden("PostgreSQL", &postgres.url(), include_str!("postgresql.sql"), include_str!("postgresql.json")).await;
}
