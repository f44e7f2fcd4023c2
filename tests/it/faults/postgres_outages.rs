//! PostgreSQL taken away under load, in every way it can go: each submit is answered in time and truthfully, nothing
//! that was accepted is lost, nothing that was refused is done, and work goes on by itself when it is back.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::client::{Answer, Client, at_once, order};
use crate::support::databases::Postgres;
use crate::support::process::{PATIENCE, SWIFT, Server};

/// How long the database stays away: seconds here, as long as is promised with `ORDER_ENGINE_CAMPAIGN=full`.
fn outage() -> Duration {
    match std::env::var("ORDER_ENGINE_CAMPAIGN").as_deref() {
        Ok("full") => Duration::from_secs(30),
        _ => Duration::from_secs(4),
    }
}

/// A submit is answered within a second. The rest is what a busy machine may add.
const ANSWERED_WITHIN: Duration = Duration::from_millis(1_000 + 500);
/// Work goes on so soon after the database is back. The same.
const RESUMED_WITHIN: Duration = Duration::from_millis(5_000 + 500);

/// An engine on a PostgreSQL of its own.
fn engine_on(postgres: &Postgres) -> Server {
    let mut server = Server::idle(SWIFT);
    server.set("DATABASE_URL", &postgres.url());
    server.restart();
    server
}

/// What one submit was told.
struct Told {
    client_order_id: String,
    asked: Instant,
    answered: Instant,
    answer: Answer,
}

/// Submits orders without a pause, some at a time, each under a name of its own, until it is told to stop.
struct Load {
    stop: Rc<Cell<bool>>,
    told: Rc<RefCell<Vec<Told>>>,
    clients: Vec<actix_web::rt::task::JoinHandle<()>>,
}

impl Load {
    const CLIENTS: usize = 8;
    /// Between two submits of one client: a steady load, not a flood.
    const PAUSE: Duration = Duration::from_millis(10);

    fn start(client: &Client) -> Self {
        let (stop, told) = (Rc::new(Cell::new(false)), Rc::new(RefCell::new(Vec::new())));
        let clients = (0..Self::CLIENTS).map(|number| {
            let (client, stop, told) = (client.clone(), stop.clone(), told.clone());
            actix_web::rt::spawn(async move {
                for count in 0.. {
                    if stop.get() {
                        break;
                    }
                    let client_order_id = format!("load-{number}-{count}");
                    let asked = Instant::now();
                    let answer = client.submit(json!({ "clientOrderId": client_order_id })).await;
                    told.borrow_mut().push(Told { client_order_id, asked, answered: Instant::now(), answer });
                    tokio::time::sleep(Self::PAUSE).await;
                }
            })
        });
        let clients = clients.collect();
        Self { stop, told, clients }
    }

    fn count(&self, status: u16) -> usize {
        self.told.borrow().iter().filter(|told| told.answer.status == status).count()
    }

    /// Waits until so many more submits were answered with that status.
    async fn until_more(&self, status: u16, more: usize) {
        let enough = self.count(status) + more;
        let look = async {
            while self.count(status) < enough {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, look).await.unwrap_or_else(|_| panic!("{more} answers {status} never came"));
    }

    async fn stop(self) -> Vec<Told> {
        self.stop.set(true);
        for client in self.clients {
            client.await.unwrap();
        }
        self.told.take()
    }
}

/// What is done to a database, on a thread of its own so that the load goes on.
async fn meanwhile(postgres: Postgres, what: impl FnOnce(&mut Postgres) + Send + 'static) -> Postgres {
    let done = tokio::task::spawn_blocking(move || {
        let mut postgres = postgres;
        what(&mut postgres);
        postgres
    });
    done.await.unwrap()
}

/// Takes the database away under load and gives it back, and checks all that is promised.
async fn survives(
    away: impl FnOnce(&mut Postgres) + Send + 'static,
    back: impl FnOnce(&mut Postgres) + Send + 'static,
) {
    let postgres = Postgres::start();
    let server = engine_on(&postgres);
    let load = Load::start(&server.client);
    load.until_more(201, 50).await;
    let postgres = meanwhile(postgres, away).await;
    tokio::time::sleep(outage()).await;
    let postgres = meanwhile(postgres, back).await;
    let returned = Instant::now();
    load.until_more(201, 50).await;
    let told = load.stop().await;

    assert_resumed(&told, returned);
    check(&server, &told).await;
    drop(postgres);
}

/// Fails unless orders were accepted again soon after the database was back.
fn assert_resumed(told: &[Told], returned: Instant) {
    let resumed = told.iter().filter(|told| told.answer.status == 201 && told.answered > returned);
    let resumed = resumed.map(|told| told.answered - returned).min().unwrap();
    println!("work went on {resumed:?} after the database was back");
    assert!(resumed < RESUMED_WITHIN, "work went on {resumed:?} after the database was back");
}

/// Fails unless every submit was answered in time, and every answer has turned out to be true.
async fn check(server: &Server, told: &[Told]) {
    let client = &server.client;
    let mut counts = std::collections::BTreeMap::<String, usize>::new();
    for Told { asked, answered, answer, .. } in told {
        let code = answer.body["code"].as_str().unwrap_or("accepted");
        *counts.entry(format!("{} {code}", answer.status)).or_default() += 1;
        assert!(*answered - *asked < ANSWERED_WITHIN, "answered after {:?}: {answer:?}", *answered - *asked);
        match (answer.status, code) {
            (201, _) => {}
            (503, "not_accepted") => assert!(answer.header("retry-after").is_some(), "{answer:?}"),
            (503, "outcome_unknown") => {
                assert!(answer.header("retry-after").is_some(), "{answer:?}");
                assert_eq!(answer.header("location"), Some(&*format!("/api/orders/{}", answer.order_id())));
            }
            _ => panic!("{answer:?}"),
        }
    }
    let slowest = told.iter().map(|told| told.answered - told.asked).max();
    println!("{counts:?}, the slowest after {slowest:?}");

    // Whatever is stored ends; then nothing changes any more and the lists can be trusted.
    let stored = every_order(client).await;
    let ended = at_once(50, stored.iter().map(|order| client.until_ended(order["orderId"].as_str().unwrap()))).await;
    for order in &ended {
        assert_eq!(order["status"], "confirmed", "{order}");
    }
    for Told { client_order_id, answer, .. } in told {
        let orders: Vec<_> = ended.iter().filter(|order| order["clientOrderId"] == **client_order_id).collect();
        match answer.body["code"].as_str() {
            None => {
                let id = answer.order_id();
                assert!(orders.iter().any(|order| order["orderId"] == *id), "accepted and lost: {answer:?}");
            }
            Some("not_accepted") => assert!(orders.is_empty(), "refused and stored all the same: {orders:?}"),
            // Either is true; what matters is that asking tells, and that it is the order of that id.
            Some(_) => {
                let id = answer.order_id();
                assert!(orders.iter().all(|order| order["orderId"] == *id), "{answer:?}: {orders:?}");
                let asked = client.get(&format!("/api/orders/{id}")).await;
                assert_eq!(asked.status, if orders.is_empty() { 404 } else { 200 });
            }
        }
    }
    let landed = server.ledger().iter().filter(|entry| entry["outcome"] == "landed").count();
    assert_eq!(landed, ended.len(), "as many swaps as orders");
    server.assert_no_second_swap();
}

/// Every order there is, page by page.
async fn every_order(client: &Client) -> Vec<Value> {
    let (mut orders, mut path) = (Vec::new(), "/api/orders?limit=200".to_owned());
    loop {
        let page = client.get(&path).await;
        assert_eq!(page.status, 200, "{page:?}");
        orders.extend(page.body["orders"].as_array().unwrap().clone());
        match page.body["nextCursor"].as_str() {
            Some(cursor) => path = format!("/api/orders?limit=200&cursor={cursor}"),
            None => return orders,
        }
    }
}

#[actix_web::test]
async fn a_postgres_that_is_stopped_and_started_again_costs_nothing_but_time() {
    survives(Postgres::stop, Postgres::restart).await;
}

#[actix_web::test]
async fn a_postgres_that_is_killed_and_started_again_costs_nothing_but_time() {
    survives(Postgres::kill, Postgres::restart).await;
}

#[actix_web::test]
async fn a_postgres_that_stands_still_costs_nothing_but_time() {
    survives(|postgres| postgres.freeze(), |postgres| postgres.thaw()).await;
}

#[actix_web::test]
async fn a_postgres_that_turns_read_only_for_a_while_is_written_to_again_when_it_is_cured() {
    survives(
        |postgres| {
            postgres.sql("ALTER DATABASE postgres SET default_transaction_read_only = on");
            // The engine connects anew, and each new session is read-only for as long as it lives.
            postgres.cut_connections();
        },
        |postgres| {
            let cure = "ALTER DATABASE postgres RESET default_transaction_read_only";
            postgres.sql(&format!("BEGIN READ WRITE; {cure}; COMMIT"));
        },
    )
    .await;
}

#[actix_web::test]
async fn a_line_that_goes_dead_without_a_word_costs_nothing_but_time() {
    let postgres = Postgres::start();
    let line = postgres.line();
    let mut server = Server::idle(SWIFT);
    server.set("DATABASE_URL", &postgres.url_over(&line));
    server.restart();
    let load = Load::start(&server.client);
    load.until_more(201, 50).await;
    line.die();
    tokio::time::sleep(outage()).await;
    line.revive();
    let returned = Instant::now();
    load.until_more(201, 50).await;
    let told = load.stop().await;
    assert_resumed(&told, returned);
    check(&server, &told).await;
}

#[actix_web::test]
async fn connections_cut_again_and_again_under_load_lose_and_double_nothing() {
    let postgres = Postgres::start();
    let server = engine_on(&postgres);
    let load = Load::start(&server.client);
    load.until_more(201, 20).await;
    let mut postgres = postgres;
    for _ in 0..10 {
        postgres = meanwhile(postgres, |postgres| postgres.cut_connections()).await;
        load.until_more(201, 20).await;
    }
    check(&server, &load.stop().await).await;
    drop(postgres);
}

#[actix_web::test]
async fn an_engine_without_its_database_says_so_at_once_and_notices_its_return_by_itself() {
    let postgres = Postgres::start();
    let server = engine_on(&postgres);
    let postgres = meanwhile(postgres, Postgres::stop).await;
    until_refused_at_once(&server.client).await;
    assert_eq!(server.client.get("/live").await.status, 200);
    assert_eq!(server.client.get("/ready").await.status, 503);
    // No order waits, and nobody asks for anything: it is up to the engine to look.
    let postgres = meanwhile(postgres, Postgres::restart).await;
    let returned = Instant::now();
    while server.client.get("/ready").await.status != 200 {
        assert!(returned.elapsed() < RESUMED_WITHIN, "not ready {:?} after the database was back", returned.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(server.client.submit(json!({})).await.status, 201);
    drop(postgres);
}

#[actix_web::test]
async fn an_engine_that_nobody_asks_for_anything_notices_that_its_database_is_gone_and_back() {
    let postgres = Postgres::start();
    let server = engine_on(&postgres);
    let until_ready_says = async |status| {
        let looks = async {
            while server.client.get("/ready").await.status != status {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, looks).await.unwrap_or_else(|_| panic!("/ready never says {status}"));
    };
    until_ready_says(200).await;
    let postgres = meanwhile(postgres, Postgres::stop).await;
    until_ready_says(503).await;
    assert!(server.client.get("/metrics").await.body.as_str().unwrap().contains("order_engine_database_up 0\n"));
    let postgres = meanwhile(postgres, Postgres::restart).await;
    until_ready_says(200).await;
    drop(postgres);
}

/// Waits until a submit is refused without waiting for the database.
async fn until_refused_at_once(client: &Client) {
    let started = Instant::now();
    loop {
        let asked = Instant::now();
        let answer = client.submit(json!({})).await;
        assert_eq!(answer.status, 503, "{answer:?}");
        if asked.elapsed() < Duration::from_millis(100) {
            assert_eq!(answer.body["code"], "not_accepted");
            return;
        }
        assert!(started.elapsed() < PATIENCE, "submits keep waiting for a database that is away");
    }
}

#[actix_web::test]
async fn a_repeat_of_an_unsettled_order_is_never_told_that_nothing_is_stored() {
    let postgres = Postgres::start();
    let server = engine_on(&postgres);
    // A standby that must confirm every commit and does not exist: commits hang after they have happened.
    let standby = |name: &str| {
        postgres.sql(&format!("ALTER SYSTEM SET synchronous_standby_names = '{name}'"));
        postgres.sql("SELECT pg_reload_conf()");
    };
    standby("nobody");
    let once = order(json!({ "clientOrderId": "once" }));
    // The setting takes a moment to reach the server's processes.
    let first = loop {
        if server.client.submit(json!({})).await.status == 503 {
            break server.client.post("/api/orders", &once).await;
        }
    };
    assert_eq!(first.body["code"], "outcome_unknown", "{first:?}");
    let first = first.order_id();
    // While the first hangs, when it is given up, and when it is tried again: the answer names it.
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(5) {
        let again = server.client.post("/api/orders", &once).await;
        assert_eq!((again.status, again.order_id()), (503, first.clone()), "{again:?}");
        let stranger = server.client.submit(json!({})).await;
        assert_eq!(stranger.status, 503, "{stranger:?}");
    }
    standby("");
    let stored = async {
        loop {
            let answer = server.client.post("/api/orders", &once).await;
            if answer.status < 300 {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let stored = tokio::time::timeout(PATIENCE, stored).await.unwrap();
    assert_eq!((stored.status, stored.order_id()), (200, first.clone()));
    assert_eq!(server.client.until_ended(&first).await["status"], "confirmed");
    server.client.follow(&first).await.assert_gapless();
}

#[actix_web::test]
async fn ten_orders_in_flight_on_postgres_survive_a_kill_of_the_engine() {
    let postgres = Postgres::start();
    let mut server = Server::idle([]);
    server.set("DATABASE_URL", &postgres.url());
    server.restart();
    let answers = at_once(10, (0..10).map(|_| server.client.submit(json!({})))).await;
    let ids: Vec<_> = answers.iter().map(Answer::order_id).collect();
    for id in &ids {
        server.client.until(id, |order| order["status"] != "pending").await;
    }
    server.kill();
    let started = Instant::now();
    server.restart();
    for id in &ids {
        assert_eq!(server.client.until_ended(id).await["status"], "confirmed");
    }
    // Quotes and swap at their slowest, and five seconds.
    assert!(started.elapsed() < Duration::from_millis(200 + 3_000 + 5_000), "{:?}", started.elapsed());
    for id in &ids {
        server.client.follow(id).await.assert_gapless();
    }
    assert_eq!(server.ledger().iter().filter(|entry| entry["outcome"] == "landed").count(), 10);
    server.assert_no_second_swap();
}

#[actix_web::test]
async fn a_second_engine_on_the_same_postgres_is_refused_and_names_the_holder() {
    let postgres = Postgres::start();
    let server = engine_on(&postgres);
    let pid = postgres.sql("SELECT pid FROM pg_locks WHERE locktype = 'advisory'");
    let output = server.command(&["serve"]).stderr(std::process::Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(75), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    for part in ["another engine uses this database", &format!("backend {pid}"), "process", "from 127.0.0.1"] {
        assert!(said.contains(part), "{part:?} is missing in {said:?}");
    }
    assert_eq!(server.client.submit(json!({})).await.status, 201);
}

#[actix_web::test]
async fn an_engine_that_slept_while_another_took_over_gives_up_when_it_wakes() {
    let postgres = Postgres::start();
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("shared.ledger");
    let engine = || {
        let mut server = Server::idle(SWIFT);
        server.set("DATABASE_URL", &postgres.url());
        server.set("simulation.ledger", ledger.to_str().unwrap());
        server.set("simulation.quote_latency_ms", "100");
        server.restart();
        server
    };
    let mut first = engine();
    let load = Load::start(&first.client);
    load.until_more(201, 50).await;
    // It sleeps in the middle of its work, and the server believes its lock's connection dead.
    first.freeze();
    load.clients.iter().for_each(|client| client.abort());
    postgres.sql("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'");
    let second = engine();
    first.thaw();
    assert_eq!(first.wait().code(), Some(70));
    let orders = every_order(&second.client).await;
    assert!(orders.len() >= 50, "only {} orders", orders.len());
    for order in &orders {
        let id = order["orderId"].as_str().unwrap();
        assert_eq!(second.client.until_ended(id).await["status"], "confirmed");
        second.client.follow(id).await.assert_gapless();
    }
    let landed = second.ledger().iter().filter(|entry| entry["outcome"] == "landed").count();
    assert_eq!(landed, orders.len(), "as many swaps as orders");
    second.assert_no_second_swap();
}

#[actix_web::test]
async fn a_lock_whose_connection_breaks_is_taken_again_and_nobody_notices() {
    let postgres = Postgres::start();
    let server = engine_on(&postgres);
    let held = || postgres.sql("SELECT pid FROM pg_locks WHERE locktype = 'advisory'");
    let before = held();
    postgres.sql(&format!("SELECT pg_terminate_backend({before})"));
    let started = Instant::now();
    while held().is_empty() || held() == before {
        assert!(started.elapsed() < RESUMED_WITHIN, "the lock was not taken again");
        assert_eq!(server.client.submit(json!({})).await.status, 201);
    }
    check(&server, &[]).await;
}

/// An engine that is not started yet, on a database of that name.
fn idle_engine_on(postgres: &Postgres, name: &str) -> Server {
    let mut server = Server::idle(SWIFT);
    server.set("DATABASE_URL", &postgres.create_database(name));
    server
}

#[actix::test]
async fn a_database_that_stores_fewer_rows_than_it_was_told_to_makes_201_no_lie() {
    let postgres = Postgres::start();
    for table in ["orders", "order_events", "transactions"] {
        let mut server = idle_engine_on(&postgres, table);
        server.restart();
        let id = server.client.submit(json!({})).await.order_id();
        assert_eq!(server.client.until_ended(&id).await["status"], "confirmed");
        let swaps = server.ledger().len();
        postgres.sql_in(
            table,
            &format!(
                "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
                 CREATE TRIGGER nothing BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION nothing()"
            ),
        );
        let answer = server.client.submit(json!({})).await;
        if table == "transactions" {
            // The order is stored; its swap cannot be, so it is never sent.
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
        assert_eq!(server.ledger().len(), swaps, "{table}: a swap was sent that is not recorded");
        postgres.sql_in(table, &format!("DROP TRIGGER nothing ON {table}"));
        let id = server.client.submit(json!({})).await.order_id();
        assert_eq!(server.client.until_ended(&id).await["status"], "confirmed");
    }
}

#[actix::test]
async fn what_is_set_for_the_database_makes_no_commit_less_durable_and_leads_to_no_other_tables() {
    let postgres = Postgres::start();
    let mut server = idle_engine_on(&postgres, "settings");
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
    // From here on a new connection would be led to other tables, of the same names.
    sql("CREATE SCHEMA other");
    sql("CREATE TABLE other.orders (LIKE mine.orders)");
    sql("CREATE TABLE other.order_events (LIKE mine.order_events)");
    sql("ALTER DATABASE settings SET search_path = other");
    postgres.cut_connections();
    let mut accepted = Vec::new();
    while accepted.len() < 20 {
        let answer = server.client.submit(json!({})).await;
        match answer.status {
            201 => accepted.push(answer.order_id()),
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    for id in &accepted {
        assert_eq!(server.client.until_ended(id).await["status"], "confirmed");
    }
    assert_eq!(sql("SELECT DISTINCT commit, path FROM mine.seen"), "on|\"mine\"");
    assert_eq!(sql("SELECT count(*) FROM other.orders"), "0");
    // And a start does not begin anew beside the tables that there are.
    server.kill();
    sql("CREATE SCHEMA empty");
    sql("ALTER DATABASE settings SET search_path = empty");
    assert!(!server.try_restart(), "it starts on new tables, and every order is gone");
    server.wait();
    sql("ALTER DATABASE settings SET search_path = mine");
    server.restart();
    assert_eq!(server.client.get(&format!("/api/orders/{}", accepted[0])).await.status, 200);
}
