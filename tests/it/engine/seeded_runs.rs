//! Everything that an engine records follows from its seed: one thread, paused time, a store in memory.

use std::time::Duration;

use order_engine::Engine;
use order_engine::domain::amount::BaseUnits;
use order_engine::domain::id::OrderId;

use order_engine::domain::request::{OrderRequest, Priority};
use order_engine::domain::user::{Owner, UserId};
use order_engine::runtime::environment::Environment;
use order_engine::service::new_order::NewOrder;
use uuid::Uuid;

use crate::support::embedded::{request, settings};
use crate::support::memory_store::MemoryStore;

const ORDERS: u64 = 1_000;

/// What is stored after 1,000 orders with all simulated faults, some cancels, and a restart in the middle.
async fn recorded(seed: u64) -> String {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger");
    let settings = settings([
        ("simulation.ledger", ledger.to_str().unwrap()),
        ("simulation.failure_rate", "0.1"),
        ("simulation.venue_failure_rate", "0.2"),
        ("simulation.drop_rate", "0.05"),
        ("simulation.delay_rate", "0.05"),
        ("simulation.lost_answer_rate", "0.1"),
        ("orders.max_concurrent", "50"),
        ("orders.rate_limit_per_minute", "6000"),
        ("orders.timeout_ms", "300000"),
    ]);
    let (environment, store) = (Environment::seeded(seed), MemoryStore::new());
    let start = async || {
        let builder = Engine::builder(settings.clone()).store(store.clone()).environment(environment.clone());
        builder.without_http().on_this_thread().start().await.unwrap()
    };
    let mut engine = start().await;
    let mut submitted: Vec<(Owner, OrderId)> = Vec::new();
    for number in 0..ORDERS {
        if number == ORDERS / 2 {
            engine.shutdown().await;
            engine = start().await;
        }
        // Three users and the shared book.
        let owner = match u128::from(number % 4) {
            0 => Owner::Shared,
            user => Owner::User(UserId(Uuid::from_u128(user))),
        };
        let priority = [Priority::High, Priority::Normal, Priority::Low][usize::try_from(number % 3).unwrap()];
        let order = OrderRequest { amount_in: BaseUnits(1_000_000 + number), priority, ..request(&settings) };
        let submission = engine.service().submit(owner, NewOrder::new(order, None).unwrap()).await.unwrap();
        submitted.push((owner, submission.order.id));
        if number % 10 == 9 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let (owner, id) = submitted[submitted.len() - 5];
            // Too late for some of them.
            let _ = engine.service().cancel(owner, id).await;
        }
    }
    while !store.all_ended() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    engine.shutdown().await;
    store.contents()
}

/// Runs the script in a runtime of its own. It must be paused from its start: timers are rounded to milliseconds since
/// then, and real time that passes before a later pause would change how they are rounded.
fn run(seed: u64) -> String {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    actix::System::with_tokio_rt(runtime).block_on(recorded(seed))
}

#[test]
fn two_runs_with_one_seed_record_the_same_bytes_and_another_seed_records_others() {
    let first = run(7);
    for ending in ["confirmed", "failed", "cancelled"] {
        assert!(first.to_lowercase().contains(ending), "no order is {ending}");
    }
    let second = run(7);
    let differs = first.lines().zip(second.lines()).find(|(first, second)| first != second);
    assert_eq!(differs, None);
    assert_eq!(first.len(), second.len());
    assert_ne!(first, run(8));
    if let Ok(file) = std::env::var("ORDER_ENGINE_TEST_SEEDED_RUN") {
        std::fs::write(file, first).unwrap();
    }
}
