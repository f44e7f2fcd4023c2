//! Clients that never read, beside clients that do: the first are gone soon and cost little, the others notice nothing.

use std::cell::RefCell;
use std::io::Write;
use std::net::TcpStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::support::client::{Client, client_frame};
use crate::support::crowd::full;
use crate::support::process::{PATIENCE, SWIFT, Server};

/// Each order is told in so many steps.
const STEPS: usize = 5;

/// How long each update took from its order to a client that reads, in milliseconds.
type Delays = Rc<RefCell<Vec<i64>>>;

/// Follows every order, and says of each update that it has come.
async fn listen(client: Client, arrived: Rc<Semaphore>, delays: Delays) {
    let mut socket = client.socket("/ws").await;
    assert_eq!(socket.ask(json!({ "type": "subscribe", "channel": "orders" })).await["type"], "subscribed");
    arrived.add_permits(1);
    loop {
        let update = socket.until(|told| told["type"] == "order:update").await;
        let at: DateTime<Utc> = update["timestamp"].as_str().unwrap().parse().unwrap();
        delays.borrow_mut().push((Utc::now() - at).num_milliseconds());
        arrived.add_permits(1);
    }
}

/// Clients that follow every order and never read; a few have filled every buffer on the way as well.
fn deaf(client: &Client, many: usize) -> Vec<TcpStream> {
    let say = json!({ "type": "subscribe", "channel": "orders" });
    let streams: Vec<_> = (0..many).map(|_| client.deaf_socket(&say)).collect();
    let pings = client_frame(0x9, &[b'x'; 125]).repeat(64);
    for mut stream in streams.iter().step_by(20) {
        // Until the engine takes no more, because its answers to these pings are not read.
        stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        while stream.write_all(&pings).is_ok() {}
    }
    streams
}

/// How long it takes until only so many sockets are open.
async fn until_sockets(client: Client, many: usize) -> Duration {
    let begun = Instant::now();
    let looks = async {
        while client.get("/health").await.body["sockets"] != many {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looks).await.expect("no more than these are open in the end");
    begun.elapsed()
}

#[actix::test]
async fn clients_that_never_read_are_gone_soon_and_disturb_nobody() {
    let (many, orders) = if full() { (1_000, 20) } else { (50, 20) };
    let limits = [
        ("orders.max_subscribers", "5000"),
        ("simulation.quote_latency_ms", "20"),
        ("simulation.swap_latency_max_ms", "200"),
    ];
    let server = Server::start(SWIFT.into_iter().chain(limits));
    let client = server.client.clone();
    let (arrived, delays) = (Rc::new(Semaphore::new(0)), Delays::default());
    for _ in 0..many {
        actix::spawn(listen(client.clone(), arrived.clone(), delays.clone()));
    }
    arrived.acquire_many(many.try_into().unwrap()).await.unwrap().forget();
    let round = async || {
        for _ in 0..orders {
            client.submit(json!({})).await;
            // Every healthy client is told every step.
            arrived.acquire_many((many * STEPS).try_into().unwrap()).await.unwrap().forget();
        }
        let mut delays = std::mem::take(&mut *delays.borrow_mut());
        delays.sort_unstable();
        (delays[delays.len() / 2], delays[delays.len() * 99 / 100], server.memory_kib())
    };
    let alone = round().await;

    let (deaf_client, begun) = (client.clone(), Instant::now());
    let streams = actix_web::web::block(move || deaf(&deaf_client, many)).await.unwrap();
    let opened = begun.elapsed();
    let gone = actix::spawn(until_sockets(client.clone(), many));
    let beside = round().await;
    let most = server.memory_kib();
    let gone = gone.await.unwrap();
    let after = round().await;
    drop(streams);
    eprintln!(
        "{many} + {many} sockets, {orders} orders a round; p50 ms, p99 ms, KiB: alone {alone:?}, beside {beside:?} (then \
         {most} KiB), after {after:?}; opened in {opened:?}, the deaf were gone {gone:?} later"
    );
    // 15 s, and what a busy machine may add.
    assert!(gone < Duration::from_secs(20), "{gone:?}");
    // Each deaf one may fill its own buffers once, and no more.
    let bound = 20 * 1024 + 256 * u64::try_from(many).unwrap();
    assert!(most < alone.2 + bound && after.2 < alone.2 + bound, "{alone:?} {most} {after:?}");
}
