//! The process killed at random moments, stopped under load, its chain's answers lost, its blocks gone: whatever happens,
//! the history stays one that [`crate::support::history`] accepts.

use std::io::Write as _;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chrono::Utc;
use order_engine::Engine;
use order_engine::actors::order::CancelError;
use order_engine::actors::order_manager::SubmitError;
use order_engine::chain::{Chain, ChainError};
use order_engine::domain::id::{ClientKey, OrderId};
use order_engine::domain::lifecycle::Status;
use order_engine::domain::swap::{Observation, Signature};
use order_engine::domain::user::Owner;
use order_engine::service::orders::CancelRefused;
use order_engine::store::{
    CommitError, DispatchRecord, ListFilter, OrderStore, Page, ReadError, StoredOrder, Unfinished, UnfinishedFrom,
    Write, Written,
};
use serde_json::json;
use uuid::Uuid;

use crate::support::client::at_once;
use crate::support::crowd::{Crowd, full, seed};
use crate::support::databases::Postgres;
use crate::support::embedded::{request, settings};
use crate::support::history::{Findings, History};
use crate::support::memory_store::MemoryStore;
use crate::support::process::{SWIFT, Server};

/// Settings under which much goes wrong, and swaps expire within a second.
pub const ROUGH: [(&str, &str); 10] = [
    ("orders.max_attempts", "6"),
    ("chain.resend_ms", "40"),
    ("simulation.block_ms", "5"),
    ("simulation.valid_blocks", "60"),
    ("simulation.failure_rate", "0.15"),
    ("simulation.venue_failure_rate", "0.1"),
    ("simulation.drop_rate", "0.1"),
    ("simulation.delay_rate", "0.2"),
    ("simulation.delay_ms", "250"),
    ("simulation.lost_answer_rate", "0.3"),
];

/// An engine in rough weather.
pub fn rough<'a>(more: impl IntoIterator<Item = (&'a str, &'a str)>) -> Server {
    Server::start(SWIFT.into_iter().chain(ROUGH).chain(more))
}

/// Draws other latencies for the next start, so that kills meet orders at all stages.
fn change_the_weather(server: &mut Server, crowd: &Crowd) {
    let quote = crowd.draw(20);
    let least = crowd.draw(30);
    server.set("simulation.quote_latency_ms", &quote.to_string());
    server.set("simulation.swap_latency_min_ms", &least.to_string());
    server.set("simulation.swap_latency_max_ms", &(least + crowd.draw(50)).to_string());
    server.set("orders.max_concurrent", ["5", "50", "1000"][crowd.draw(3) as usize]);
    server.set("orders.threads", ["0", "1", "2"][crowd.draw(3) as usize]);
}

async fn killed_again_and_again(mut server: Server, crowd: Rc<Crowd>, kills: usize, orders: usize) -> Findings {
    crowd.meet(&server);
    for kill in 0..kills {
        crowd.trade(orders / kills);
        crowd.some_moment(80).await;
        server.kill();
        change_the_weather(&mut server, &crowd);
        if crowd.draw(8) == 0 {
            // Killed again before it stands.
            server.spawn();
            crowd.some_moment(40).await;
            server.kill();
        }
        server.restart();
        crowd.meet(&server);
        if (kill + 1) % 10 == 0 {
            eprintln!("{} kills", kill + 1);
        }
    }
    let findings = crowd.check(&server).await;
    eprintln!("{kills} kills: 0 violations in {findings:?}");
    findings
}

#[actix::test]
async fn an_engine_that_is_killed_again_and_again_loses_nothing_and_swaps_nothing_twice() {
    let crowd = Crowd::new(seed());
    let (kills, orders) = if full() { (100, 2_500) } else { (8, 200) };
    let findings = killed_again_and_again(rough([]), crowd, kills, orders).await;
    assert!(findings.orders >= orders * 4 / 5 && findings.confirmed > findings.orders / 2, "{findings:?}");
}

#[actix::test]
async fn an_engine_on_postgres_that_is_killed_again_and_again_loses_nothing_either() {
    let postgres = Postgres::start();
    let url = postgres.create_database("faults");
    let crowd = Crowd::new(seed());
    let (kills, orders) = if full() { (40, 1_000) } else { (8, 200) };
    let findings = killed_again_and_again(rough([("database.url", url.as_str())]), crowd, kills, orders).await;
    assert!(findings.orders >= orders * 4 / 5 && findings.confirmed > findings.orders / 2, "{findings:?}");
}

#[actix::test]
async fn orders_at_every_stage_survive_a_stop_under_load() {
    let crowd = Crowd::new(seed());
    let mut server = rough([]);
    crowd.meet(&server);
    let stops = if full() { 40 } else { 4 };
    for stop in 0..stops {
        crowd.trade(25);
        crowd.some_moment(60).await;
        server.ask_to_stop();
        let status = loop {
            if let Some(status) = server.ended() {
                break status;
            }
            crowd.some_moment(5).await;
        };
        assert!(status.success(), "stop {stop}: {status}");
        change_the_weather(&mut server, &crowd);
        server.set("server.shutdown_timeout_ms", ["1", "50", "400"][crowd.draw(3) as usize]);
        server.restart();
        crowd.meet(&server);
    }
    let findings = crowd.check(&server).await;
    eprintln!("{stops} stops: 0 violations in {findings:?}");
}

#[actix::test]
async fn no_answer_that_the_chain_loses_leads_to_a_second_swap() {
    let answers = if full() { 1_000 } else { 100 };
    let mut server = Server::start(SWIFT.into_iter().chain([
        ("simulation.lost_answer_rate", "1"),
        ("simulation.swap_latency_max_ms", "200"),
        ("chain.resend_ms", "20"),
    ]));
    let mut history = History::default();
    for answer in at_once(50, (0..answers).map(|_| server.client.submit(json!({})))).await {
        history.answered(None, &answer);
    }
    // Half of what is lost is lost together with the process that waited for it.
    server.kill();
    server.restart();
    let findings = history.check(&server).await;
    assert_eq!((findings.orders, findings.confirmed, findings.swaps), (answers, answers, answers), "{findings:?}");
}

#[actix::test]
async fn a_swap_is_signed_anew_when_its_blocks_have_gone_by_and_not_before() {
    let mut server = Server::start(SWIFT.into_iter().chain([
        ("simulation.swap_latency_min_ms", "600000"),
        ("simulation.swap_latency_max_ms", "600000"),
        ("chain.resend_ms", "20"),
    ]));
    let mut history = History::default();
    let answers = at_once(20, (0..20).map(|_| server.client.submit(json!({})))).await;
    for answer in &answers {
        history.answered(None, answer);
        server.client.until(&answer.order_id(), |order| order["status"] == "submitted").await;
    }
    // Restarted on the same height: they are asked for again, and nothing is signed.
    server.kill();
    server.set("simulation.swap_latency_min_ms", "0");
    server.set("simulation.swap_latency_max_ms", "0");
    server.restart();
    let other = server.client.submit(json!({})).await;
    server.client.until_ended(&other.order_id()).await;
    history.answered(None, &other);
    assert_eq!(server.ledger().len(), 21);
    server.kill();
    let jump = json!({ "line": "jump", "at": Utc::now(), "blocks": 1_000 });
    writeln!(std::fs::OpenOptions::new().append(true).open(server.ledger_file()).unwrap(), "{jump}").unwrap();
    server.restart();
    let findings = history.check(&server).await;
    assert_eq!((findings.confirmed, findings.swaps), (21, 41), "{findings:?}");
    for answer in &answers {
        assert_eq!(server.client.until_ended(&answer.order_id()).await["attempt"], 2);
    }
}

#[actix::test]
async fn a_client_that_never_got_its_answer_repeats_with_its_key_and_has_one_order() {
    let mut server = Server::start(SWIFT);
    let mut history = History::default();
    for round in 0..if full() { 40 } else { 5 } {
        let keys: Vec<_> = (0..10).map(|number| format!("key-{round}-{number}")).collect();
        let posts = keys.iter().map(|key| {
            history.asked(key);
            let (client, key) = (server.client.clone(), key.clone());
            actix::spawn(async move { post(&client, &key).await })
        });
        let posts: Vec<_> = posts.collect();
        tokio::time::sleep(Duration::from_micros(700 * round % 8_000)).await;
        server.kill();
        server.restart();
        for (key, first) in keys.iter().zip(posts) {
            let first = first.await.unwrap();
            let again = post(&server.client, key).await.unwrap();
            assert!(first.is_err() || again.status == 200, "{key}: {first:?}, {again:?}");
            for answer in [first, Ok(again)].iter().flatten() {
                history.answered(Some(key), answer);
            }
        }
    }
    history.check(&server).await;
}

async fn post(client: &crate::support::client::Client, key: &str) -> Result<crate::support::client::Answer, String> {
    let headers = [("content-type", "application/json"), ("idempotency-key", key)];
    client.send("POST", "/api/orders", &headers, crate::support::client::order(json!({})).to_string()).await
}

#[actix::test]
async fn a_swap_that_expired_is_stored_as_expired_also_when_its_order_ran_out_of_time() {
    let server = Server::start(SWIFT.into_iter().chain([
        ("simulation.drop_rate", "1"),
        ("simulation.block_ms", "10"),
        ("simulation.valid_blocks", "40"),
        ("orders.timeout_ms", "200"),
    ]));
    let mut history = History::default();
    let answer = server.client.submit(json!({})).await;
    history.answered(None, &answer);
    let order = server.client.until_ended(&answer.order_id()).await;
    assert_eq!(order["error"]["code"], "timeout");
    history.check(&server).await;
}

/// A store whose first commit of a new order happens, and panics before it can say so.
struct DiesBeforeItAnswers(Arc<MemoryStore>);

#[async_trait]
impl OrderStore for DiesBeforeItAnswers {
    fn parallel_commits(&self) -> usize {
        1
    }

    async fn commit(&self, batch: &[Write]) -> Result<Vec<Written>, CommitError> {
        self.0.commit(batch).await?;
        panic!("committed, and gone");
    }

    async fn writer_of(&self, order: OrderId, seq: u32) -> Result<Option<Uuid>, ReadError> {
        self.0.writer_of(order, seq).await
    }

    async fn order(&self, id: OrderId) -> Result<Option<StoredOrder>, ReadError> {
        self.0.order(id).await
    }

    async fn order_by_key(&self, owner: Owner, key: &ClientKey) -> Result<Option<OrderId>, ReadError> {
        self.0.order_by_key(owner, key).await
    }

    async fn unfinished(&self, from: UnfinishedFrom, limit: u64) -> Result<Unfinished, ReadError> {
        self.0.unfinished(from, limit).await
    }

    async fn list(&self, filter: &ListFilter) -> Result<Page, ReadError> {
        self.0.list(filter).await
    }

    async fn latest_dispatches(&self, limit: u64) -> Result<Vec<DispatchRecord>, ReadError> {
        self.0.latest_dispatches(limit).await
    }

    async fn close(&self) {}
}

#[actix::test]
async fn a_client_is_never_told_that_nothing_is_stored_of_an_order_that_is() {
    let store = MemoryStore::new();
    let dying = Arc::new(DiesBeforeItAnswers(store.clone()));
    let settings = settings([]);
    let engine = Engine::builder(settings.clone()).store(dying).without_http().start().await.unwrap();
    let answer = engine.submit(request(&settings), None).await;
    let Err(SubmitError::OutcomeUnknown(id)) = answer else { panic!("{answer:?}") };
    assert!(store.order(id).await.unwrap().is_some());
    assert!(engine.finished().await.contains("Persistence"));
}

/// A chain that never decides, and counts how often one swap is waited for at once.
#[derive(Default)]
struct NeverDecides {
    watching: AtomicUsize,
    most: AtomicUsize,
}

struct Watching<'a>(&'a AtomicUsize);

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Chain for NeverDecides {
    async fn block_height(&self) -> Result<u64, ChainError> {
        Ok(1)
    }

    async fn send(&self, _: &[u8]) -> Result<(), ChainError> {
        Ok(())
    }

    async fn watch(&self, _: Signature, patience: Duration) -> Result<Observation, ChainError> {
        let watching = Watching(&self.watching);
        self.most.fetch_max(self.watching.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        tokio::time::sleep(patience.max(Duration::from_millis(20))).await;
        drop(watching);
        Ok(Observation { height: 1, outcome: None })
    }
}

#[actix::test]
async fn a_swap_whose_order_is_cancelled_again_and_again_is_waited_for_once() {
    let chain = Arc::new(NeverDecides::default());
    let settings = settings([("simulation.quote_latency_ms", "0")]);
    let builder = Engine::builder(settings.clone()).store(MemoryStore::new()).chain(chain.clone()).without_http();
    let engine = builder.start().await.unwrap();
    let order = engine.submit(request(&settings), None).await.unwrap().order;
    let mut steps = engine.subscribe(order.id).await.unwrap();
    while steps.next().await.unwrap().status != Status::Submitted {}
    for _ in 0..20 {
        let refused = engine.service().cancel(Owner::Shared, order.id).await.unwrap_err();
        assert!(matches!(refused, CancelRefused::ByOrder(CancelError::TooLate(_))), "{refused}");
    }
    // The last cancel's turn is over once the order answers again.
    engine.service().order(Owner::Shared, order.id).await.unwrap();
    assert_eq!(chain.most.load(Ordering::SeqCst), 1);
    engine.shutdown().await;
}
