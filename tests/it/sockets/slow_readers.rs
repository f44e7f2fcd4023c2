//! Clients that never read: they are disconnected, use little memory, and do not delay the clients that read.

use std::cell::RefCell;
use std::io::Write;
use std::net::TcpStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::support::campaign;
use crate::support::client::Client;
use crate::support::process::{SWIFT, Server};
use crate::support::raw;
use crate::support::wait::{assert_deadline_kept, until};

/// The number of steps of each order.
const STEPS: usize = 5;

/// The time of each update from its event to a client that reads, in milliseconds.
type Delays = Rc<RefCell<Vec<i64>>>;

/// Follows every order, and adds a permit for each update.
async fn listen(client: Client, arrived: Rc<Semaphore>, delays: Delays) {
    let mut socket = client.follow_all().await;
    arrived.add_permits(1);
    loop {
        let update = socket.until(|message| message["type"] == "order:update").await;
        let at: DateTime<Utc> = update["timestamp"].as_str().unwrap().parse().unwrap();
        delays.borrow_mut().push((Utc::now() - at).num_milliseconds());
        arrived.add_permits(1);
    }
}

/// Opens sockets that follow every order and are never read; some also fill every buffer of their connection.
fn open_unread_sockets(client: &Client, many: usize) -> Vec<TcpStream> {
    let subscribe = raw::client_frame(0x1, br#"{"type":"subscribe","channel":"orders"}"#);
    let streams: Vec<_> = (0..many)
        .map(|_| {
            let mut stream = raw::upgrade(client, "/ws");
            stream.write_all(&subscribe).unwrap();
            stream
        })
        .collect();
    let pings = raw::client_frame(0x9, &[b'x'; 125]).repeat(64);
    for mut stream in streams.iter().step_by(20) {
        // The engine stops reading once its answers to these pings are not read.
        stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        while stream.write_all(&pings).is_ok() {}
    }
    streams
}

/// Waits until only that many sockets are open; how long it took.
async fn until_sockets(client: Client, many: usize) -> Duration {
    let start = Instant::now();
    until("only the healthy sockets were open", async || client.get("/health").await.body["sockets"] == many).await;
    start.elapsed()
}

#[actix::test]
async fn clients_that_never_read_are_disconnected_and_do_not_delay_the_others() {
    let (many, orders) = campaign::size((1_000, 20), (50, 20));
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
            // Every healthy client receives every step.
            arrived.acquire_many((many * STEPS).try_into().unwrap()).await.unwrap().forget();
        }
        let mut delays = std::mem::take(&mut *delays.borrow_mut());
        delays.sort_unstable();
        (delays[delays.len() / 2], delays[delays.len() * 99 / 100], server.memory_kib())
    };
    let alone = round().await;

    let (unread_client, start) = (client.clone(), Instant::now());
    let streams = actix_web::web::block(move || open_unread_sockets(&unread_client, many)).await.unwrap();
    let opened = start.elapsed();
    let disconnected = actix::spawn(until_sockets(client.clone(), many));
    let beside = round().await;
    let most = server.memory_kib();
    let disconnected = disconnected.await.unwrap();
    let after = round().await;
    drop(streams);
    eprintln!(
        "{many} + {many} sockets, {orders} orders a round; p50 ms, p99 ms, KiB: alone {alone:?}, beside {beside:?} (then \
         {most} KiB), after {after:?}; opened in {opened:?}, the unread ones disconnected {disconnected:?} later"
    );
    assert_deadline_kept(Duration::from_secs(15), disconnected, "disconnecting the unread sockets");
    // Each unread socket may fill its own buffers once, and no more.
    let bound = 20 * 1024 + 256 * u64::try_from(many).unwrap();
    assert!(most < alone.2 + bound && after.2 < alone.2 + bound, "{alone:?} {most} {after:?}");
}
