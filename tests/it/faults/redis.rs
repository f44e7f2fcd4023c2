//! Redis as the loudspeaker: what it says, and that nothing is lost where it does not.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt};
use serde_json::{Value, json};

use crate::support::client::{Client, at_once};
use crate::support::databases::{Line, Redis};
use crate::support::process::{PATIENCE, SWIFT, Server};

const WHOLE_LIFE: [&str; 5] = ["pending", "routing", "building", "submitted", "confirmed"];
const PREVIEW: &str = "/api/quotes?tokenIn=SOL&tokenOut=USDC&amountIn=1.5";
const MISSED: &str = "redis cannot be reached";

fn swift<'a>(redis: &'a str, more: &[(&'a str, &'a str)]) -> Server {
    Server::start(SWIFT.into_iter().chain([("REDIS_URL", redis)]).chain(more.iter().copied()))
}

/// Another process that listens to everything.
struct Listener(Pin<Box<dyn Stream<Item = ::redis::Msg>>>);

impl Listener {
    async fn to(url: &str) -> Self {
        let mut pubsub = ::redis::Client::open(url).unwrap().get_async_pubsub().await.unwrap();
        pubsub.psubscribe("order-engine:v1:*").await.unwrap();
        Self(Box::pin(pubsub.into_on_message()))
    }

    /// The next message, and the channel it came on.
    async fn next(&mut self) -> (String, Value) {
        let message = tokio::time::timeout(PATIENCE, self.0.next()).await.expect("a message").expect("a connection");
        let channel = message.get_channel_name().strip_prefix("order-engine:v1:").unwrap().to_owned();
        (channel, serde_json::from_slice(message.get_payload_bytes()).unwrap())
    }

    /// Everything up to the end of that order, by channel.
    async fn until_ended(&mut self, id: &str) -> BTreeMap<String, Vec<Value>> {
        let mut heard = BTreeMap::<_, Vec<_>>::new();
        loop {
            let (channel, message) = self.next().await;
            let last = channel == "orders" && message["orderId"] == id && message["status"] == "confirmed";
            heard.entry(channel).or_default().push(message);
            if last {
                return heard;
            }
        }
    }
}

async fn connection(url: &str) -> ::redis::aio::MultiplexedConnection {
    ::redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap()
}

async fn ask<T: ::redis::FromRedisValue>(connection: &mut ::redis::aio::MultiplexedConnection, words: &str) -> T {
    let mut words = words.split(' ');
    let mut command = ::redis::cmd(words.next().unwrap());
    command.arg(words.collect::<Vec<_>>()).query_async(connection).await.unwrap()
}

/// Looks until something is so.
async fn until<T, F: Future<Output = Option<T>>>(mut look: impl FnMut() -> F) -> T {
    let looks = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looks).await.expect("it never came to that")
}

/// Waits until the engine says `ok` or `degraded` of itself; it is ready all the while.
async fn until_status(client: &Client, status: &str) -> Value {
    until(|| async {
        let ready = client.get("/ready").await;
        assert_eq!(ready.status, 200, "{ready:?}");
        (ready.body["status"] == status).then_some(ready.body)
    })
    .await
}

#[actix::test]
async fn another_process_hears_every_step_as_the_socket_tells_it_and_every_price() {
    let redis = Redis::start();
    let server = swift(&redis.url(), &[]);
    let mut listener = Listener::to(&redis.url()).await;
    let id = server.client.submit(json!({})).await.order_id();
    let heard = listener.until_ended(&id).await;
    let mut told = server.client.follow(&id).await.steps;
    told.iter_mut().for_each(|step| step["type"] = json!("order:update"));
    assert_eq!(heard["orders"], told);
    assert_eq!(heard[&format!("orders:{id}")], told);
    let statuses: Vec<_> = told.iter().map(|step| step["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, WHOLE_LIFE);
    let sol_usdc = "prices:So11111111111111111111111111111111111111112:EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v";
    let prices = &heard[sol_usdc];
    assert_eq!(prices.len(), 2);
    for (price, quote) in prices.iter().zip(told[2]["quotes"].as_array().unwrap()) {
        assert_eq!(
            (&price["type"], &price["tokenIn"], &price["amountIn"]),
            (&json!("price:update"), &json!("SOL"), &json!("1.5"))
        );
        assert_eq!((&price["dex"], &price["price"]), (&quote["dex"], &quote["price"]));
    }
}

#[actix::test]
async fn two_hundred_orders_are_announced_without_a_gap_or_a_repeat() {
    let redis = Redis::start();
    let server = swift(&redis.url(), &[]);
    let mut listener = Listener::to(&redis.url()).await;
    let ids = at_once(32, (0..200).map(|_| async { server.client.submit(json!({})).await.order_id() })).await;
    let mut heard = BTreeMap::<String, Vec<Value>>::new();
    while heard.values().flatten().filter(|step| step["status"] == "confirmed").count() < ids.len() {
        let (channel, step) = listener.next().await;
        if channel == "orders" {
            heard.entry(step["orderId"].as_str().unwrap().to_owned()).or_default().push(step);
        }
    }
    for id in &ids {
        let seqs: Vec<_> = heard[id].iter().map(|step| step["seq"].as_u64().unwrap()).collect();
        assert_eq!(seqs, [1, 2, 3, 4, 5]);
    }
    assert_eq!(server.client.get("/health").await.body["droppedAnnouncements"], 0);
}

#[actix::test]
async fn a_fallen_order_is_announced_without_a_gap_or_a_repeat() {
    let redis = Redis::start();
    let server = swift(&redis.url(), &[("FAILPOINTS", "order=1*panic->2*off->1*panic->off")]);
    let mut listener = Listener::to(&redis.url()).await;
    let id = server.client.submit(json!({ "clientOrderId": "poison" })).await.order_id();
    let heard = listener.until_ended(&id).await;
    let history = server.client.follow(&id).await;
    assert!(history.steps.len() > WHOLE_LIFE.len(), "the order never fell: {history:?}");
    let seqs: Vec<_> = heard["orders"].iter().map(|step| step["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, history.seqs());
}

#[actix::test]
async fn an_orders_keys_tell_where_it_stands_and_vanish_after_its_end() {
    let redis = Redis::start();
    let server =
        swift(&redis.url(), &[("simulation.swap_latency_min_ms", "1500"), ("simulation.swap_latency_max_ms", "1500")]);
    let id = server.client.submit(json!({})).await.order_id();
    let connection = connection(&redis.url()).await;
    let standing = |status: &'static str| {
        let (connection, id) = (connection.clone(), id.clone());
        until(move || {
            let (mut connection, id) = (connection.clone(), id.clone());
            async move {
                let text: Option<String> = ask(&mut connection, &format!("GET order:{id}:status")).await;
                text.map(|text| serde_json::from_str::<Value>(&text).unwrap()).filter(|told| told["status"] == status)
            }
        })
    };
    let (status, active) = (format!("order:{id}:status"), format!("order:{id}:active"));
    let mut asking = connection.clone();
    let submitted = standing("submitted").await;
    let step = server.client.events(&id).await[3].clone();
    for field in ["status", "seq", "attempt", "timestamp", "txHash"] {
        assert_eq!(submitted[field], step[field], "{submitted}");
    }
    assert_eq!(ask::<String>(&mut asking, &format!("GET {active}")).await, "1");
    for key in [&status, &active] {
        // An engine that dies now takes its word with it within a minute.
        let left: i64 = ask(&mut asking, &format!("PTTL {key}")).await;
        assert!((10_001..=60_000).contains(&left), "{key} lives for {left} ms");
    }
    let confirmed = standing("confirmed").await;
    assert_eq!((&confirmed["seq"], &confirmed["txHash"]), (&json!(5), &submitted["txHash"]));
    assert!(!ask::<bool>(&mut asking, &format!("EXISTS {active}")).await);
    let left: i64 = ask(&mut asking, &format!("PTTL {status}")).await;
    assert!((1..=10_000).contains(&left), "{status} lives for {left} ms");
    let seen = Instant::now();
    until(|| {
        let (mut asking, status) = (asking.clone(), status.clone());
        async move { (!ask::<bool>(&mut asking, &format!("EXISTS {status}")).await).then_some(()) }
    })
    .await;
    assert!(
        seen.elapsed() > Duration::from_secs(8) && seen.elapsed() < Duration::from_secs(12),
        "{:?}",
        seen.elapsed()
    );
}

/// What the venues said, without how long ago.
fn said(answer: &Value) -> (&Value, &Value) {
    (&answer["quotes"], &answer["reason"])
}

#[actix::test]
async fn fifty_identical_previews_at_once_ask_the_venues_once() {
    let redis = Redis::start();
    let slow_venues = [("simulation.quote_latency_ms", "300"), ("redis.quote_ttl_ms", "2000")];
    let server = swift(&redis.url(), &slow_venues);
    let mut listener = Listener::to(&redis.url()).await;
    let answers = at_once(50, (0..50).map(|_| server.client.get(PREVIEW))).await;
    for answer in &answers {
        assert_eq!((answer.status, said(&answer.body)), (200, said(&answers[0].body)));
    }
    // Each venue was asked with a question of its own number, so a second asking would have got other prices.
    assert!(answers.iter().any(|answer| answer.body["cached"] == false));
    let again = server.client.get(PREVIEW).await.body;
    assert_eq!((&again["cached"], said(&again)), (&json!(true), said(&answers[0].body)));
    assert!(again["ageMs"].as_u64().unwrap() < 2_000, "{again}");
    let other = server.client.get(&format!("{PREVIEW}1")).await.body;
    assert_eq!(other["cached"], false);

    let neighbour = swift(&redis.url(), &slow_venues);
    let shared = neighbour.client.get(PREVIEW).await.body;
    let fresh = if shared["cached"] == true {
        assert_eq!(said(&shared), said(&answers[0].body));
        until(|| async {
            let answer = server.client.get(PREVIEW).await.body;
            assert!(answer["cached"] == false || answer["ageMs"].as_u64().unwrap() < 2_100, "{answer}");
            (answer["cached"] == false).then_some(answer)
        })
        .await
    } else {
        // The machine was so slow that the answer had grown old before the neighbour stood.
        shared
    };
    assert_ne!(said(&fresh), said(&answers[0].body));
    // Two venues, asked three times: for the fifty, for the other amount, and once the answer had grown old.
    let mut prices = Vec::new();
    while prices.last().is_none_or(|price: &Value| price["price"] != fresh["quotes"][1]["price"]) {
        let (channel, price) = listener.next().await;
        assert!(channel.starts_with("prices:"), "{channel}");
        prices.push(price);
    }
    assert_eq!(prices.len(), 6, "{prices:?}");
}

#[actix::test]
async fn without_redis_previews_are_shared_too_and_no_order_is_traded_on_one() {
    let server = Server::start(SWIFT.into_iter().chain([("simulation.quote_latency_ms", "300")]));
    let answers = at_once(50, (0..50).map(|_| server.client.get(PREVIEW))).await;
    for answer in &answers {
        assert_eq!((answer.status, said(&answer.body)), (200, said(&answers[0].body)));
    }
    let id = server.client.submit(json!({})).await.order_id();
    let history = server.client.follow(&id).await;
    assert_ne!(history.steps[2]["quotes"], answers[0].body["quotes"]);
    assert_eq!(server.client.get("/ready").await.body["status"], "ok");
}

#[actix::test]
async fn a_wrong_password_degrades_the_engine_and_is_shown_nowhere() {
    let redis = Redis::start();
    let url = redis.url().replace("redis://", "redis://:hunter2@");
    let server = swift(&url, &[]);
    let ready = until_status(&server.client, "degraded").await;
    assert!(ready["reasons"][0].as_str().unwrap().starts_with("redis refuses the engine"), "{ready}");
    assert!(!ready.to_string().contains("hunter2"));
    let id = server.client.submit(json!({})).await.order_id();
    assert_eq!(server.client.until_ended(&id).await["status"], "confirmed");
    let printed = String::from_utf8(server.command(&["config"]).output().unwrap().stdout).unwrap();
    assert!(printed.contains(&redis.url()) && !printed.contains("hunter2"), "{printed}");
    assert!(!server.client.get("/health").await.body.to_string().contains("hunter2"));
}

/// Clients that submit one order after the other and follow each to its end, until they are told to stop.
struct Load {
    going: Rc<Cell<bool>>,
    confirmed: Rc<Cell<usize>>,
    slowest: Rc<Cell<Duration>>,
    clients: Vec<actix_web::rt::task::JoinHandle<()>>,
}

impl Load {
    fn start(client: &Client) -> Self {
        let (going, confirmed, slowest) =
            (Rc::new(Cell::new(true)), Rc::<Cell<usize>>::default(), Rc::<Cell<Duration>>::default());
        let clients = (0..4).map(|_| {
            let (client, going) = (client.clone(), going.clone());
            let (confirmed, slowest) = (confirmed.clone(), slowest.clone());
            actix::spawn(async move {
                while going.get() {
                    let began = Instant::now();
                    let submitted = client.submit(json!({})).await;
                    assert_eq!(submitted.status, 201, "{submitted:?}");
                    slowest.set(slowest.get().max(began.elapsed()));
                    assert_eq!(client.until_ended(&submitted.order_id()).await["status"], "confirmed");
                    confirmed.set(confirmed.get() + 1);
                }
            })
        });
        let clients = clients.collect();
        Self { going, confirmed, slowest, clients }
    }

    /// Waits until so many more orders are confirmed.
    async fn goes_on(&self, more: usize) {
        let aim = self.confirmed.get() + more;
        until(|| async {
            assert!(self.clients.iter().all(|client| !client.is_finished()), "a client met an error");
            (self.confirmed.get() >= aim).then_some(())
        })
        .await;
    }

    async fn stop(self, during: &str) {
        self.going.set(false);
        for client in self.clients {
            client.await.expect("no client met an error");
        }
        println!("{during}: {} orders confirmed, the slowest POST took {:?}", self.confirmed.get(), self.slowest.get());
    }
}

/// How long Redis stays away.
fn outage() -> Duration {
    let full = std::env::var("ORDER_ENGINE_CAMPAIGN").is_ok_and(|campaign| campaign == "full");
    Duration::from_secs(if full { 30 } else { 3 })
}

/// Redis is away under load, and comes back.
async fn lives_through(mut redis: Redis, server: &Server, name: &str, away: fn(&mut Redis), back: fn(&mut Redis)) {
    let load = Load::start(&server.client);
    load.goes_on(20).await;
    away(&mut redis);
    let broken = Instant::now();
    let ready = until_status(&server.client, "degraded").await;
    assert_eq!(ready["reasons"], json!([MISSED]));
    println!("{name}: degraded after {:?}", broken.elapsed());
    // The length of the outage is what is tested; the load has to get through it all.
    while broken.elapsed() < outage() {
        load.goes_on(20).await;
        assert_eq!(server.client.get("/ready").await.body["status"], "degraded");
    }
    back(&mut redis);
    let mended = Instant::now();
    until_status(&server.client, "ok").await;
    let took = mended.elapsed();
    assert!(took < Duration::from_secs(5), "back to normal only after {took:?}");
    println!("{name}: ok again after {took:?}");
    // What comes after is announced as before.
    let mut listener = Listener::to(&redis.url()).await;
    let id = server.client.submit(json!({})).await.order_id();
    let heard = listener.until_ended(&id).await;
    let seqs: Vec<_> = heard[&format!("orders:{id}")].iter().map(|step| step["seq"].as_u64().unwrap()).collect();
    assert!(seqs.ends_with(&[4, 5]), "{seqs:?}");
    load.goes_on(20).await;
    load.stop(name).await;
    until_status(&server.client, "ok").await;
    server.assert_no_second_swap();
}

#[actix::test]
async fn a_redis_that_is_killed_and_restarted_under_load_costs_no_order() {
    let redis = Redis::start();
    let server = swift(&redis.url(), &[]);
    until_status(&server.client, "ok").await;
    lives_through(redis, &server, "killed", Redis::kill, Redis::restart).await;
}

#[actix::test]
async fn a_redis_that_is_frozen_under_load_costs_no_order() {
    let redis = Redis::start();
    let server = swift(&redis.url(), &[]);
    until_status(&server.client, "ok").await;
    lives_through(redis, &server, "frozen", |redis| redis.freeze(), |redis| redis.thaw()).await;
}

#[actix::test]
async fn a_redis_that_is_absent_at_start_costs_no_order() {
    let mut redis = Redis::start();
    redis.kill();
    let server = swift(&redis.url(), &[]);
    lives_through(redis, &server, "absent", |_| {}, Redis::restart).await;
}

#[actix::test]
async fn previews_do_not_wait_for_a_redis_that_is_away() {
    let redis = Redis::start();
    let server = swift(&redis.url(), &[]);
    redis.freeze();
    // Before anybody has noticed: one command's patience at most, and then the venues are asked.
    let began = Instant::now();
    let answer = server.client.get(PREVIEW).await;
    assert_eq!((answer.status, &answer.body["cached"]), (200, &json!(false)));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    until_status(&server.client, "degraded").await;
    let answer = server.client.get(&format!("{PREVIEW}1")).await;
    assert_eq!((answer.status, &answer.body["cached"]), (200, &json!(false)));
}

#[actix::test]
async fn a_flush_and_cut_connections_are_no_outage() {
    let redis = Redis::start();
    let slow_swaps = [("simulation.swap_latency_min_ms", "2000"), ("simulation.swap_latency_max_ms", "2000")];
    let server = swift(&redis.url(), &slow_swaps);
    let mut asking = connection(&redis.url()).await;
    let id = server.client.submit(json!({})).await.order_id();
    server.client.until(&id, |order| order["status"] == "submitted").await;
    redis.flush();
    let key = format!("order:{id}:status");
    // Written again at the order's next update.
    let told = until(|| {
        let (mut asking, key) = (asking.clone(), key.clone());
        async move { ask::<Option<String>>(&mut asking, &format!("GET {key}")).await }
    });
    let ready = async {
        loop {
            assert_eq!(server.client.get("/ready").await.body["status"], "ok");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let told = tokio::select! {
        told = told => told,
        () = ready => unreachable!("it only ends by failing"),
    };
    let told: Value = serde_json::from_str(&told).unwrap();
    assert!(["submitted", "confirmed"].contains(&told["status"].as_str().unwrap()), "{told}");
    server.client.until_ended(&id).await;

    redis.cut_connections();
    let mut listener = Listener::to(&redis.url()).await;
    let id = server.client.submit(json!({})).await.order_id();
    let heard = listener.until_ended(&id).await;
    let statuses: Vec<_> = heard["orders"].iter().map(|step| step["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, WHOLE_LIFE);
    until_status(&server.client, "ok").await;
    asking = connection(&redis.url()).await;
    assert!(ask::<bool>(&mut asking, "EXISTS order-engine:v1:alive").await);
}

#[actix::test]
async fn an_engine_that_stops_says_everything_before_it_goes() {
    let redis = Redis::start();
    let slow_swaps = [("simulation.swap_latency_min_ms", "1000"), ("simulation.swap_latency_max_ms", "1000")];
    let mut server = swift(&redis.url(), &slow_swaps);
    let mut listener = Listener::to(&redis.url()).await;
    let id = server.client.submit(json!({})).await.order_id();
    server.client.until(&id, |order| order["status"] == "submitted").await;
    let stopped = actix_web::web::block(move || server.terminate());
    assert!(stopped.await.unwrap().success());
    assert_eq!(listener.until_ended(&id).await["orders"].len(), WHOLE_LIFE.len());
}

/// Redis refuses the engine with that word until it is cured: `/ready` says so, no order is disturbed, and all is well
/// again within seconds of the cure.
async fn lives_through_refusals(redis: &Redis, word: &str, ail: impl Fn(&Redis), cure: impl Fn(&Redis)) {
    let server = swift(&redis.url(), &[]);
    until_status(&server.client, "ok").await;
    let load = Load::start(&server.client);
    load.goes_on(10).await;
    ail(redis);
    let reason = format!("redis refuses the engine: {word}");
    let refused =
        until(|| async { (until_status(&server.client, "degraded").await["reasons"][0] == reason).then_some(()) });
    refused.await;
    load.goes_on(20).await;
    assert_eq!(server.client.get("/ready").await.body["status"], "degraded");
    cure(redis);
    let cured = Instant::now();
    until_status(&server.client, "ok").await;
    let took = cured.elapsed();
    assert!(took < Duration::from_secs(5), "back to normal only {took:?} after {word}");
    let mut listener = Listener::to(&redis.url()).await;
    let id = server.client.submit(json!({})).await.order_id();
    listener.until_ended(&id).await;
    load.stop(word).await;
    server.assert_no_second_swap();
}

fn told(redis: &Redis, words: &str) {
    let answer = redis.ask(words);
    assert!(answer.starts_with('+') || answer.starts_with(':'), "{words}: {answer}");
}

#[actix::test]
async fn a_redis_that_becomes_a_replica_for_a_while_costs_no_order() {
    let (redis, primary) = (Redis::start(), Redis::start());
    let follow = |redis: &Redis| told(redis, &format!("REPLICAOF 127.0.0.1 {}", primary.port()));
    lives_through_refusals(&redis, "READONLY", follow, |redis| told(redis, "REPLICAOF NO ONE")).await;
}

#[actix::test]
async fn an_old_primary_is_left_for_the_one_that_its_name_leads_to() {
    let (old, new) = (Redis::start(), Redis::start());
    let line = Line::to(old.port());
    let server = swift(&format!("redis://127.0.0.1:{}", line.port()), &[]);
    until_status(&server.client, "ok").await;
    line.lead_to(new.port());
    told(&old, &format!("REPLICAOF 127.0.0.1 {}", new.port()));
    // Nobody cuts the old connection.
    let mut asking = connection(&new.url()).await;
    until(|| {
        let mut asking = asking.clone();
        async move { ask::<bool>(&mut asking, "EXISTS order-engine:v1:alive").await.then_some(()) }
    })
    .await;
    until_status(&server.client, "ok").await;
    let mut listener = Listener::to(&new.url()).await;
    let id = server.client.submit(json!({})).await.order_id();
    assert_eq!(listener.until_ended(&id).await["orders"].len(), WHOLE_LIFE.len());
    assert!(ask::<bool>(&mut asking, &format!("EXISTS order:{id}:status")).await);
}

#[actix::test]
async fn a_redis_that_asks_for_a_password_for_a_while_costs_no_order() {
    let ail = |redis: &Redis| {
        told(redis, "CONFIG SET requirepass hunter2");
        // The connections that are open were let in without one.
        assert_eq!(redis.ask("AUTH hunter2\r\nCLIENT KILL TYPE normal"), "+OK");
    };
    let cure = |redis: &Redis| assert_eq!(redis.ask("AUTH hunter2\r\nCONFIG SET requirepass \"\""), "+OK");
    lives_through_refusals(&Redis::start(), "NOAUTH", ail, cure).await;
}

#[actix::test]
async fn a_redis_that_is_full_for_a_while_costs_no_order() {
    let ail = |redis: &Redis| told(redis, "CONFIG SET maxmemory 1");
    lives_through_refusals(&Redis::start(), "OOM", ail, |redis| told(redis, "CONFIG SET maxmemory 0")).await;
}

#[actix::test]
async fn a_redis_that_cannot_save_for_a_while_costs_no_order() {
    let redis = Redis::start_with(&["--dbfilename", "dump.rdb"]);
    let ail = |redis: &Redis| {
        // A folder stands where the file should be.
        std::fs::create_dir(redis.file("dump.rdb")).unwrap();
        told(redis, "CONFIG SET save \"3600 1\"");
        told(redis, "BGSAVE");
    };
    let cure = |redis: &Redis| {
        std::fs::remove_dir(redis.file("dump.rdb")).unwrap();
        told(redis, "CONFIG SET stop-writes-on-bgsave-error no");
    };
    lives_through_refusals(&redis, "MISCONF", ail, cure).await;
}

#[actix::test]
async fn a_replica_that_has_lost_its_primary_costs_no_order() {
    let ail = |redis: &Redis| {
        told(redis, "CONFIG SET replica-serve-stale-data no");
        // Otherwise it refuses writes as any replica does.
        told(redis, "CONFIG SET replica-read-only no");
        // Nobody is there.
        told(redis, "REPLICAOF 127.0.0.1 1");
    };
    lives_through_refusals(&Redis::start(), "MASTERDOWN", ail, |redis| told(redis, "REPLICAOF NO ONE")).await;
}

#[actix::test]
async fn a_redis_cluster_that_is_down_for_a_while_costs_no_order() {
    let redis = Redis::start_with(&["--cluster-enabled", "yes"]);
    told(&redis, "CLUSTER ADDSLOTSRANGE 0 16383");
    until(|| async { (redis.ask("SET x 1") == "+OK").then_some(()) }).await;
    let ail = |redis: &Redis| told(redis, "CLUSTER DELSLOTSRANGE 0 16383");
    let cure = |redis: &Redis| {
        told(redis, "CLUSTER ADDSLOTSRANGE 0 16383");
        // Redis itself takes some seconds to believe it.
        let began = Instant::now();
        while redis.ask("SET x 1") != "+OK" {
            assert!(began.elapsed() < PATIENCE, "the cluster stays down");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    lives_through_refusals(&redis, "CLUSTERDOWN", ail, cure).await;
}

#[actix::test]
async fn a_redis_that_runs_a_script_for_a_while_costs_no_order() {
    let ail = |redis: &Redis| {
        told(redis, "CONFIG SET busy-reply-threshold 50");
        let port = redis.port();
        std::thread::spawn(move || {
            let mut script = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
            std::io::Write::write_all(&mut script, b"EVAL \"while true do end\" 0\r\n").unwrap();
            // It stays connected until the script is ended.
            let _ = std::io::Read::read(&mut script, &mut [0; 64]);
        });
    };
    lives_through_refusals(&Redis::start(), "BUSY", ail, |redis| told(redis, "SCRIPT KILL")).await;
}

#[actix::test]
async fn a_redis_that_is_loading_for_a_while_costs_no_order() {
    let redis = Redis::start_with(&["--enable-debug-command", "yes"]);
    told(&redis, "DEBUG POPULATE 10000");
    let ail = |redis: &Redis| {
        told(redis, "CONFIG SET loading-process-events-interval-bytes 1024");
        told(redis, "CONFIG SET key-load-delay 1000");
        let port = redis.port();
        std::thread::spawn(move || {
            let mut reload = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
            std::io::Write::write_all(&mut reload, b"DEBUG RELOAD\r\n").unwrap();
            let _ = std::io::Read::read(&mut reload, &mut [0; 64]);
        });
    };
    // It comes to its end by itself.
    let cure = |redis: &Redis| {
        let began = Instant::now();
        while redis.ask("PING") != "+PONG" {
            assert!(began.elapsed() < PATIENCE, "Redis loads for ever");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    lives_through_refusals(&redis, "LOADING", ail, cure).await;
}

#[actix::test]
async fn a_redis_that_refuses_only_to_publish_is_told_of_by_ready() {
    let (ail, cure) = ("ACL SETUSER default -publish", "ACL SETUSER default +publish");
    lives_through_refusals(&Redis::start(), "NOPERM", |redis| told(redis, ail), |redis| told(redis, cure)).await;
}
