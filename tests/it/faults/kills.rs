//! Kills at random times, stops under load, lost answers of the chain, expired swaps: the history checker accepts every
//! resulting history.

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
use order_engine::chain::{Chain, ChainError, Deviation, Intent, Message, PrepareError};
use order_engine::domain::lifecycle::Status;
use order_engine::domain::swap::{Outcome, Signature, SignedSwap, UnsignedSwap};
use order_engine::domain::token::Mint;
use order_engine::domain::user::Owner;
use order_engine::service::orders::CancelRefused;
use order_engine::store::OrderStore;
use serde_json::json;

use crate::support::campaign;
use crate::support::client::concurrently;
use crate::support::crowd::Crowd;
use crate::support::embedded::{request, settings};
use crate::support::history::{Findings, History};
use crate::support::memory_store::MemoryStore;
use crate::support::postgres::Postgres;
use crate::support::process::{SWIFT, Server};

/// Settings with many failures of venues and chain, under which swaps expire within a second.
pub const FAILURES: [(&str, &str); 10] = [
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

/// An engine with many failures of venues and chain.
pub fn failing<'a>(more: impl IntoIterator<Item = (&'a str, &'a str)>) -> Server {
    Server::start(SWIFT.into_iter().chain(FAILURES).chain(more))
}

/// Draws other latencies for the next start, so that kills find orders in every status.
fn redraw_latencies(server: &mut Server, crowd: &Crowd) {
    let quote = crowd.draw(20);
    let least = crowd.draw(30);
    server.set("simulation.quote_latency_ms", &quote.to_string());
    server.set("simulation.swap_latency_min_ms", &least.to_string());
    server.set("simulation.swap_latency_max_ms", &(least + crowd.draw(50)).to_string());
    server.set("orders.max_concurrent", ["5", "50", "1000"][crowd.draw(3) as usize]);
    server.set("orders.threads", ["0", "1", "2"][crowd.draw(3) as usize]);
}

async fn kill_repeatedly(mut server: Server, crowd: Rc<Crowd>, kills: usize, orders: usize) -> Findings {
    crowd.connect_to(&server);
    for kill in 0..kills {
        crowd.start_trades(orders / kills);
        crowd.random_pause(80).await;
        server.kill();
        redraw_latencies(&mut server, &crowd);
        if crowd.draw(8) == 0 {
            // Killed again during the start.
            server.spawn();
            crowd.random_pause(40).await;
            server.kill();
        }
        server.restart();
        crowd.connect_to(&server);
        if (kill + 1) % 10 == 0 {
            eprintln!("{} kills", kill + 1);
        }
    }
    let findings = crowd.check(&server).await;
    eprintln!("{kills} kills: 0 violations in {findings:?}");
    findings
}

#[actix::test]
async fn repeated_kills_lose_no_order_and_cause_no_second_swap() {
    let crowd = Crowd::new(campaign::seed());
    let (kills, orders) = campaign::size((100, 2_500), (8, 200));
    let findings = kill_repeatedly(failing([]), crowd, kills, orders).await;
    assert!(findings.orders >= orders * 4 / 5 && findings.confirmed > findings.orders / 2, "{findings:?}");
}

#[actix::test]
async fn repeated_kills_on_postgres_lose_no_order_and_cause_no_second_swap() {
    let postgres = Postgres::start();
    let url = postgres.create_database("faults");
    let crowd = Crowd::new(campaign::seed());
    let (kills, orders) = campaign::size((40, 1_000), (8, 200));
    let findings = kill_repeatedly(failing([("database.url", url.as_str())]), crowd, kills, orders).await;
    assert!(findings.orders >= orders * 4 / 5 && findings.confirmed > findings.orders / 2, "{findings:?}");
}

#[actix::test]
async fn orders_in_every_status_survive_a_stop_under_load() {
    let crowd = Crowd::new(campaign::seed());
    let mut server = failing([]);
    crowd.connect_to(&server);
    let stops = campaign::size(40, 4);
    for stop in 0..stops {
        crowd.start_trades(25);
        crowd.random_pause(60).await;
        server.send_sigterm();
        let status = loop {
            if let Some(status) = server.ended() {
                break status;
            }
            crowd.random_pause(5).await;
        };
        assert!(status.success(), "stop {stop}: {status}");
        redraw_latencies(&mut server, &crowd);
        server.set("server.shutdown_timeout_ms", ["1", "50", "400"][crowd.draw(3) as usize]);
        server.restart();
        crowd.connect_to(&server);
    }
    let findings = crowd.check(&server).await;
    eprintln!("{stops} stops: 0 violations in {findings:?}");
}

#[actix::test]
async fn lost_answers_of_the_chain_cause_no_second_swap() {
    let answers = campaign::size(1_000, 100);
    let mut server = Server::start(SWIFT.into_iter().chain([
        ("simulation.lost_answer_rate", "1"),
        ("simulation.swap_latency_max_ms", "200"),
        ("chain.resend_ms", "20"),
    ]));
    let mut history = History::default();
    for answer in concurrently(50, (0..answers).map(|_| server.client.submit(json!({})))).await {
        history.submit_answered(None, &answer);
    }
    // Some of the answers are lost together with the process that waited for them.
    server.kill();
    server.restart();
    let findings = history.check(&server).await;
    assert_eq!((findings.orders, findings.confirmed, findings.swaps), (answers, answers, answers), "{findings:?}");
}

#[actix::test]
async fn a_new_swap_is_signed_only_after_the_last_one_has_expired() {
    let mut server = Server::start(SWIFT.into_iter().chain([
        ("simulation.swap_latency_min_ms", "600000"),
        ("simulation.swap_latency_max_ms", "600000"),
        ("chain.resend_ms", "20"),
    ]));
    let mut history = History::default();
    let answers = concurrently(20, (0..20).map(|_| server.client.submit(json!({})))).await;
    for answer in &answers {
        history.submit_answered(None, answer);
        server.client.until(&answer.order_id(), |order| order["status"] == "submitted").await;
    }
    // After a restart at the same block height the swaps are watched again, and none is signed.
    server.kill();
    server.set("simulation.swap_latency_min_ms", "0");
    server.set("simulation.swap_latency_max_ms", "0");
    server.restart();
    let other = server.client.submit(json!({})).await;
    server.client.until_ended(&other.order_id()).await;
    history.submit_answered(None, &other);
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
async fn a_submit_repeated_after_a_kill_makes_one_order() {
    let mut server = Server::start(SWIFT);
    let mut history = History::default();
    for round in 0..campaign::size(40, 5) {
        let keys: Vec<_> = (0..10).map(|number| format!("key-{round}-{number}")).collect();
        let posts = keys.iter().map(|key| {
            history.submit_sent(key);
            let (client, key) = (server.client.clone(), key.clone());
            actix::spawn(async move { client.try_submit_with_key(&key, json!({})).await })
        });
        let posts: Vec<_> = posts.collect();
        // The moment of the kill is what is tested; each round has another one.
        tokio::time::sleep(Duration::from_micros(700 * round % 8_000)).await;
        server.kill();
        server.restart();
        for (key, first) in keys.iter().zip(posts) {
            let first = first.await.unwrap();
            let again = server.client.submit_with_key(key, json!({})).await;
            assert!(first.is_err() || again.status == 200, "{key}: {first:?}, {again:?}");
            for answer in [first, Ok(again)].iter().flatten() {
                history.submit_answered(Some(key), answer);
            }
        }
    }
    history.check(&server).await;
}

#[actix::test]
async fn an_expired_swap_is_stored_as_expired_also_where_its_order_times_out() {
    let server = Server::start(SWIFT.into_iter().chain([
        ("simulation.drop_rate", "1"),
        ("simulation.block_ms", "10"),
        ("simulation.valid_blocks", "40"),
        ("orders.timeout_ms", "200"),
    ]));
    let mut history = History::default();
    let answer = server.client.submit(json!({})).await;
    history.submit_answered(None, &answer);
    let order = server.client.until_ended(&answer.order_id()).await;
    assert_eq!(order["error"]["code"], "timeout");
    history.check(&server).await;
}

#[actix::test]
async fn a_panic_after_the_commit_is_answered_with_outcome_unknown() {
    let store = MemoryStore::panicking_after_commit();
    let settings = settings([]);
    let engine = Engine::builder(settings.clone()).store(store.clone()).without_http().start().await.unwrap();
    let answer = engine.submit(request(&settings), None).await;
    let Err(SubmitError::OutcomeUnknown(id)) = answer else { panic!("{answer:?}") };
    assert!(store.order(id).await.unwrap().is_some());
    assert!(engine.finished().await.contains("Persistence"));
}

/// A chain that never settles a swap, and counts the concurrent watches.
#[derive(Default)]
struct NeverSettles {
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
impl Chain for NeverSettles {
    async fn prepare(&self, unsigned: &UnsignedSwap, _: &Intent) -> Result<Message, PrepareError> {
        Ok(Message { bytes: unsigned.instructions.clone(), last_valid_block_height: 100 })
    }

    fn inspect(&self, _: &Message, _: &Intent) -> Result<(), Deviation> {
        Ok(())
    }

    fn wire(&self, message: &Message, _: Signature) -> Arc<[u8]> {
        message.bytes.clone()
    }

    async fn send(&self, _: &[u8]) -> Result<(), ChainError> {
        Ok(())
    }

    async fn watch(&self, _: &SignedSwap, _: &Mint, timeout: Duration) -> Result<Option<Outcome>, ChainError> {
        let watching = Watching(&self.watching);
        self.most.fetch_max(self.watching.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        tokio::time::sleep(timeout.max(Duration::from_millis(20))).await;
        drop(watching);
        Ok(None)
    }
}

#[actix::test]
async fn repeated_cancels_do_not_start_a_second_watch_of_a_swap() {
    let chain = Arc::new(NeverSettles::default());
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
    // The order answers again after it has handled the last cancel.
    engine.service().order(Owner::Shared, order.id).await.unwrap();
    assert_eq!(chain.most.load(Ordering::SeqCst), 1);
    engine.shutdown().await;
}
