//! PostgreSQL fails under load, in every way: each submit is answered in time and correctly, no accepted order is lost,
//! no refused order is executed, and work resumes without a restart once it is back.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::faults::postgres_load::{Load, RESUME_DEADLINE, assert_resumed, check};
use crate::support::campaign;
use crate::support::client::Client;
use crate::support::postgres::{self, Postgres};
use crate::support::process::{SWIFT, Server};
use crate::support::wait::{assert_deadline_kept, until};

/// The length of an outage.
fn outage() -> Duration {
    Duration::from_secs(campaign::size(30, 4))
}

/// Breaks the database under load and repairs it, and checks everything that is documented.
async fn survives(
    postgres: Postgres,
    fail: impl FnOnce(&mut Postgres) + Send + 'static,
    repair: impl FnOnce(&mut Postgres) + Send + 'static,
) {
    let server = Server::start_on(&postgres.url(), SWIFT);
    let load = Load::start(&server.client);
    load.until_more(201, 50).await;
    let postgres = postgres::aside(postgres, fail).await;
    // The length of the outage is what is tested.
    tokio::time::sleep(outage()).await;
    let postgres = postgres::aside(postgres, repair).await;
    let returned = Instant::now();
    load.until_more(201, 50).await;
    let submits = load.stop().await;

    assert_resumed(&submits, returned);
    check(&server, &submits).await;
    drop(postgres);
}

#[actix_web::test]
async fn an_outage_by_an_orderly_stop_of_postgres_loses_no_order() {
    survives(Postgres::start(), Postgres::stop, Postgres::restart).await;
}

#[actix_web::test]
async fn an_outage_by_a_kill_of_postgres_loses_no_order() {
    survives(Postgres::start(), Postgres::kill, Postgres::restart).await;
}

#[actix_web::test]
async fn an_outage_by_a_frozen_postgres_loses_no_order() {
    survives(Postgres::start(), |postgres| postgres.freeze(), |postgres| postgres.thaw()).await;
}

#[actix_web::test]
async fn an_outage_of_a_postgres_over_tls_loses_no_order() {
    survives(Postgres::start_with_tls(), Postgres::kill, Postgres::restart).await;
}

#[actix_web::test]
async fn an_outage_by_a_read_only_postgres_loses_no_order() {
    survives(
        Postgres::start(),
        |postgres| {
            postgres.sql("ALTER DATABASE postgres SET default_transaction_read_only = on");
            // The engine reconnects, and each new session is read-only until it ends.
            postgres.cut_connections();
        },
        |postgres| {
            let reset = "ALTER DATABASE postgres RESET default_transaction_read_only";
            postgres.sql(&format!("BEGIN READ WRITE; {reset}; COMMIT"));
        },
    )
    .await;
}

#[actix_web::test]
async fn an_outage_by_silent_connections_loses_no_order() {
    let postgres = Postgres::start();
    let proxy = postgres.proxy();
    let server = Server::start_on(&postgres.url_through(&proxy), SWIFT);
    let load = Load::start(&server.client);
    load.until_more(201, 50).await;
    proxy.go_silent();
    // The length of the outage is what is tested.
    tokio::time::sleep(outage()).await;
    proxy.pass_again();
    let returned = Instant::now();
    load.until_more(201, 50).await;
    let submits = load.stop().await;
    assert_resumed(&submits, returned);
    check(&server, &submits).await;
}

#[actix_web::test]
async fn repeatedly_cut_connections_lose_and_duplicate_no_order() {
    let postgres = Postgres::start();
    let server = Server::start_on(&postgres.url(), SWIFT);
    let load = Load::start(&server.client);
    load.until_more(201, 20).await;
    let mut postgres = postgres;
    for _ in 0..10 {
        postgres = postgres::aside(postgres, |postgres| postgres.cut_connections()).await;
        load.until_more(201, 20).await;
    }
    check(&server, &load.stop().await).await;
    drop(postgres);
}

#[actix_web::test]
async fn an_engine_without_its_database_refuses_immediately_and_detects_its_return_without_orders() {
    let postgres = Postgres::start();
    let server = Server::start_on(&postgres.url(), SWIFT);
    let postgres = postgres::aside(postgres, Postgres::stop).await;
    until_refused_immediately(&server.client).await;
    assert_eq!(server.client.get("/live").await.status, 200);
    assert_eq!(server.client.get("/ready").await.status, 503);
    // No order waits and no request arrives, so the engine has to check the database by itself.
    let postgres = postgres::aside(postgres, Postgres::restart).await;
    let returned = Instant::now();
    server.client.until_ready("200", |ready| ready.status == 200).await;
    assert_deadline_kept(RESUME_DEADLINE, returned.elapsed(), "becoming ready again");
    assert_eq!(server.client.submit(json!({})).await.status, 201);
    drop(postgres);
}

#[actix_web::test]
async fn ready_reports_the_loss_and_the_return_of_the_database_without_orders() {
    let postgres = Postgres::start();
    let server = Server::start_on(&postgres.url(), SWIFT);
    let until_ready = async |status: u16| {
        server.client.until_ready(&status.to_string(), |ready| ready.status == status).await;
    };
    until_ready(200).await;
    let postgres = postgres::aside(postgres, Postgres::stop).await;
    until_ready(503).await;
    assert_eq!(server.client.metric("order_engine_database_up").await, 0);
    let postgres = postgres::aside(postgres, Postgres::restart).await;
    until_ready(200).await;
    drop(postgres);
}

/// How soon `/ready` reports an outage.
const REPORT_DEADLINE: Duration = Duration::from_secs(2);

#[actix_web::test]
async fn ready_reports_a_stopped_a_frozen_and_a_silent_database_within_two_seconds() {
    type Fail = fn(&mut Postgres);
    for (name, fail) in [("stopped", Postgres::stop as Fail), ("frozen", |postgres| postgres.freeze())] {
        let postgres = Postgres::start();
        let server = Server::start_on(&postgres.url(), SWIFT);
        server.client.until_ready("200", |ready| ready.status == 200).await;
        let postgres = postgres::aside(postgres, fail).await;
        let failed = Instant::now();
        server.client.until_ready("503", |ready| ready.status == 503).await;
        println!("/ready reported a {name} PostgreSQL after {:?}", failed.elapsed());
        assert_deadline_kept(REPORT_DEADLINE, failed.elapsed(), &format!("reporting a {name} database"));
        drop(postgres);
    }
    let postgres = Postgres::start();
    let proxy = postgres.proxy();
    let server = Server::start_on(&postgres.url_through(&proxy), SWIFT);
    server.client.until_ready("200", |ready| ready.status == 200).await;
    proxy.go_silent();
    let failed = Instant::now();
    server.client.until_ready("503", |ready| ready.status == 503).await;
    println!("/ready reported a silent PostgreSQL after {:?}", failed.elapsed());
    assert_deadline_kept(REPORT_DEADLINE, failed.elapsed(), "reporting a silent database");
}

/// Waits until a submit is refused without waiting for the database.
async fn until_refused_immediately(client: &Client) {
    until("a submit was refused immediately", async || {
        let sent = Instant::now();
        let answer = client.submit(json!({})).await;
        assert_eq!(answer.status, 503, "{answer:?}");
        let is_immediate = sent.elapsed() < Duration::from_millis(100);
        assert!(!is_immediate || answer.code() == "not_accepted", "{answer:?}");
        is_immediate
    })
    .await;
}
