//! Settings of PostgreSQL that endanger durability.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::postgres::Postgres;
use crate::support::process::{SWIFT, Server};
use crate::support::wait::{until, until_some};

#[actix::test]
async fn no_201_is_answered_where_a_trigger_of_the_database_discards_rows() {
    let postgres = Postgres::start();
    for table in ["orders", "order_events", "transactions"] {
        let server = Server::start_on(&postgres.create_database(table), SWIFT);
        let id = server.client.submit(json!({})).await.order_id();
        server.client.until_confirmed(&id).await;
        let swaps = server.ledger().len();
        postgres.sql_in(
            table,
            &format!(
                "CREATE FUNCTION discard() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
                 CREATE TRIGGER discards BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION discard()"
            ),
        );
        let answer = server.client.submit(json!({})).await;
        if table == "transactions" {
            // The order is stored. Its swap is not, so it is never sent.
            let ended = server.client.until_ended(&answer.order_id()).await;
            assert_eq!(ended["status"], "failed", "{ended}");
        } else {
            assert_eq!(
                (answer.status, &answer.body["code"]),
                (503, &json!("not_accepted")),
                "{table}: {}",
                answer.body
            );
        }
        assert_eq!(server.ledger().len(), swaps, "{table}: a swap was sent and not recorded");
        postgres.sql_in(table, &format!("DROP TRIGGER discards ON {table}"));
        let id = server.client.submit(json!({})).await.order_id();
        server.client.until_confirmed(&id).await;
    }
}

#[actix::test]
async fn defaults_of_the_database_change_neither_durability_nor_the_schema_of_the_engine() {
    let postgres = Postgres::start();
    let mut server = Server::stopped(SWIFT);
    server.set("database.url", &postgres.create_database("settings"));
    let sql = |statements: &str| postgres.sql_in("settings", statements);
    sql("CREATE SCHEMA mine");
    sql("ALTER DATABASE settings SET search_path = mine");
    sql("ALTER DATABASE settings SET synchronous_commit = off");
    server.restart();
    let id = server.client.submit(json!({})).await.order_id();
    server.client.until_ended(&id).await;
    sql("CREATE TABLE mine.seen (commit text, path text)");
    sql("CREATE FUNCTION mine.see() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO mine.seen VALUES \
         (current_setting(''synchronous_commit''), current_setting(''search_path'')); RETURN NEW; END'");
    sql("CREATE TRIGGER see BEFORE INSERT ON mine.orders FOR EACH ROW EXECUTE FUNCTION mine.see()");
    // A new connection would now use other tables with the same names by default.
    sql("CREATE SCHEMA other");
    sql("CREATE TABLE other.orders (LIKE mine.orders)");
    sql("CREATE TABLE other.order_events (LIKE mine.order_events)");
    sql("ALTER DATABASE settings SET search_path = other");
    postgres.cut_connections();
    let mut accepted = Vec::new();
    until("20 orders were accepted", async || {
        let answer = server.client.submit(json!({})).await;
        accepted.extend((answer.status == 201).then(|| answer.order_id()));
        accepted.len() == 20
    })
    .await;
    server.client.until_all_confirmed(&accepted).await;
    assert_eq!(sql("SELECT DISTINCT commit, path FROM mine.seen"), "on|\"mine\"");
    assert_eq!(sql("SELECT count(*) FROM other.orders"), "0");
    // A start does not create new tables beside the existing ones.
    server.kill();
    sql("CREATE SCHEMA empty");
    sql("ALTER DATABASE settings SET search_path = empty");
    assert!(!server.try_restart(), "it starts on new tables, without the stored orders");
    server.wait();
    sql("ALTER DATABASE settings SET search_path = mine");
    server.restart();
    assert_eq!(server.client.get(&format!("/api/orders/{}", accepted[0])).await.status, 200);
}

#[actix_web::test]
async fn a_repeat_of_a_submit_with_unknown_outcome_is_never_answered_with_not_accepted() {
    let postgres = Postgres::start();
    let server = Server::start_on(&postgres.url(), SWIFT);
    // A synchronous standby that does not exist: commits hang after they are durable.
    let standby = |name: &str| {
        postgres.sql(&format!("ALTER SYSTEM SET synchronous_standby_names = '{name}'"));
        postgres.sql("SELECT pg_reload_conf()");
    };
    standby("missing");
    let submit = async || server.client.submit(json!({ "clientOrderId": "once" })).await;
    // The setting takes a moment to reach the server's processes.
    until("a commit hangs", async || server.client.submit(json!({})).await.status == 503).await;
    // Behind a commit that hangs a write may expire before it is tried, also after its answer: then it is not accepted,
    // and the key is free. The order that three answers name is one whose commit was tried.
    let unknown = async || Some(submit().await).filter(|answer| answer.body["code"] == "outcome_unknown");
    let same = async || {
        let (first, second, third) =
            (unknown().await?.order_id(), unknown().await?.order_id(), unknown().await?.order_id());
        Some(first).filter(|first| *first == second && *first == third)
    };
    let first = until_some("the outcome of a submit is unknown", same).await;
    // While the first commit hangs, after it is given up, and when it is retried, the answer names its order.
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(5) {
        let again = submit().await;
        assert_eq!((again.status, again.order_id()), (503, first.clone()), "{again:?}");
        let other = server.client.submit(json!({})).await;
        assert_eq!(other.status, 503, "{other:?}");
    }
    standby("");
    let stored =
        until_some("the repeat was answered", async || Some(submit().await).filter(|answer| answer.status < 300));
    let stored = stored.await;
    assert_eq!((stored.status, stored.order_id()), (200, first.clone()));
    server.client.until_confirmed(&first).await;
    server.client.follow(&first).await.assert_gapless();
}
