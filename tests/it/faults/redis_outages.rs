//! Redis fails or refuses commands under load: no order is lost, and `/ready` reports it.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::announcements::{Subscriber, ask, connect};
use crate::support::campaign;
use crate::support::client::{Answer, Client};
use crate::support::os::run;
use crate::support::process::{SWIFT, Server};
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;
use crate::support::wait::{assert_deadline_kept, block_until, until, until_some};

const ALL_STATUSES: [&str; 5] = ["pending", "routing", "building", "submitted", "confirmed"];

const PREVIEW: &str = "/api/quotes?tokenIn=SOL&tokenOut=USDC&amountIn=1.5";

/// The reason that `/ready` reports during an outage.
const UNREACHABLE: &str = "redis cannot be reached";
const SILENT: &str = "redis does not answer";

/// An engine that uses a Redis.
fn engine(redis: &Redis, more: &[(&str, &str)]) -> Server {
    engine_with(&redis.settings(), more)
}

/// An engine with these settings of Redis.
fn engine_with(redis: &[(&str, String)], more: &[(&str, &str)]) -> Server {
    let redis = redis.iter().map(|(key, value)| (*key, value.as_str()));
    Server::start(SWIFT.into_iter().chain(redis).chain(more.iter().copied()))
}

#[actix::test]
async fn a_wrong_redis_password_degrades_the_engine_and_is_not_shown() {
    let redis = Redis::start();
    let server = engine_with(&redis.settings_at(redis.engine_port(), ":hunter2@"), &[]);
    let ready = server.client.until_ready_status("degraded").await;
    assert!(ready["reasons"][0].as_str().unwrap().starts_with("redis refuses the engine"), "{ready}");
    assert!(!ready.to_string().contains("hunter2"));
    let id = server.client.submit(json!({})).await.order_id();
    server.client.until_confirmed(&id).await;
    let printed = run(&mut server.command(&["config"])).stdout;
    assert!(
        printed.contains(&format!("127.0.0.1:{}", redis.engine_port())) && !printed.contains("hunter2"),
        "{printed}"
    );
    assert!(!server.client.get("/health").await.body.to_string().contains("hunter2"));
}

/// Clients that submit one order after the other, each after the end of the last, until they are stopped.
struct Load {
    runs: Rc<Cell<bool>>,
    confirmed: Rc<Cell<usize>>,
    slowest: Rc<Cell<Duration>>,
    clients: Vec<actix_web::rt::task::JoinHandle<()>>,
}

impl Load {
    fn start(client: &Client) -> Self {
        let (runs, confirmed, slowest) =
            (Rc::new(Cell::new(true)), Rc::<Cell<usize>>::default(), Rc::<Cell<Duration>>::default());
        let clients = (0..4).map(|_| {
            let (client, runs) = (client.clone(), runs.clone());
            let (confirmed, slowest) = (confirmed.clone(), slowest.clone());
            actix::spawn(async move {
                while runs.get() {
                    let start = Instant::now();
                    let submitted = client.submit(json!({})).await;
                    if submitted.status == 408 {
                        // The test itself was busy with Redis for so long that the engine gave up its connection.
                        continue;
                    }
                    assert_eq!(submitted.status, 201, "{submitted:?}");
                    slowest.set(slowest.get().max(start.elapsed()));
                    client.until_confirmed(&submitted.order_id()).await;
                    confirmed.set(confirmed.get() + 1);
                }
            })
        });
        let clients = clients.collect();
        Self { runs, confirmed, slowest, clients }
    }

    /// Waits until that many more orders are confirmed.
    async fn until_more(&self, more: usize) {
        let enough = self.confirmed.get() + more;
        until(&format!("{more} more orders were confirmed"), async || {
            assert!(self.clients.iter().all(|client| !client.is_finished()), "a client has failed");
            self.confirmed.get() >= enough
        })
        .await;
    }

    async fn stop(self, during: &str) {
        self.runs.set(false);
        for client in self.clients {
            client.await.expect("no client fails");
        }
        println!("{during}: {} orders confirmed, the slowest POST took {:?}", self.confirmed.get(), self.slowest.get());
    }
}

/// The length of an outage.
fn outage() -> Duration {
    Duration::from_secs(campaign::size(30, 3))
}

/// The documented time until `/ready` reports `ok` once Redis is back.
const RECOVERY_DEADLINE: Duration = Duration::from_secs(5);

/// Breaks Redis under load and repairs it: no order is lost, and `/ready` reports the outage and its end.
async fn survives(mut redis: Redis, server: &Server, name: &str, fail: fn(&mut Redis), repair: fn(&mut Redis)) {
    let load = Load::start(&server.client);
    load.until_more(20).await;
    fail(&mut redis);
    let broken = Instant::now();
    let ready = server.client.until_ready_status("degraded").await;
    // A frozen Redis is still connected for a while.
    assert!([json!([UNREACHABLE]), json!([SILENT])].contains(&ready["reasons"]), "{ready}");
    println!("{name}: degraded after {:?}", broken.elapsed());
    // The length of the outage is what is tested; orders are confirmed all the time.
    while broken.elapsed() < outage() {
        load.until_more(20).await;
        assert_eq!(server.client.get("/ready").await.body["status"], "degraded");
    }
    repair(&mut redis);
    let repaired = Instant::now();
    server.client.until_ready_status("ok").await;
    let took = repaired.elapsed();
    assert_deadline_kept(RECOVERY_DEADLINE, took, "the recovery");
    println!("{name}: ok again after {took:?}");
    // Later orders are announced again.
    let mut subscriber = Subscriber::to(&redis.url()).await;
    let id = server.client.submit(json!({})).await.order_id();
    let received = subscriber.until_ended(&id).await;
    let seqs: Vec<_> = received[&format!("orders:{id}")].iter().map(|step| step["seq"].as_u64().unwrap()).collect();
    assert!(seqs.ends_with(&[4, 5]), "{seqs:?}");
    load.until_more(20).await;
    load.stop(name).await;
    server.client.until_ready_status("ok").await;
    server.assert_no_second_swap();
}

#[actix::test]
async fn a_killed_redis_loses_no_order() {
    let redis = Redis::start();
    let server = engine(&redis, &[]);
    server.client.until_ready_status("ok").await;
    survives(redis, &server, "killed", Redis::kill, Redis::restart).await;
}

#[actix::test]
async fn a_killed_redis_over_tls_loses_no_order() {
    let redis = Redis::start_with_tls();
    let server = engine(&redis, &[]);
    server.client.until_ready_status("ok").await;
    survives(redis, &server, "killed, over TLS", Redis::kill, Redis::restart).await;
}

#[actix::test]
async fn a_frozen_redis_loses_no_order() {
    let redis = Redis::start();
    let server = engine(&redis, &[]);
    server.client.until_ready_status("ok").await;
    survives(redis, &server, "frozen", |redis| redis.freeze(), |redis| redis.thaw()).await;
}

#[actix::test]
async fn a_redis_that_is_missing_at_the_start_loses_no_order() {
    let mut redis = Redis::start();
    redis.kill();
    let server = engine(&redis, &[]);
    survives(redis, &server, "absent", |_| {}, Redis::restart).await;
}

#[actix::test]
async fn previews_do_not_wait_for_a_frozen_redis() {
    let redis = Redis::start();
    let server = engine(&redis, &[]);
    redis.freeze();
    // Before the outage is detected the preview waits for the timeout of one command at most.
    let start = Instant::now();
    let answer = server.client.get(PREVIEW).await;
    assert_eq!((answer.status, &answer.body["cached"]), (200, &json!(false)));
    assert_deadline_kept(Duration::from_secs(2), start.elapsed(), "a preview");
    server.client.until_ready_status("degraded").await;
    let answer = server.client.get(&format!("{PREVIEW}1")).await;
    assert_eq!((answer.status, &answer.body["cached"]), (200, &json!(false)));
}

#[actix::test]
async fn a_flush_and_cut_connections_cause_no_outage() {
    let redis = Redis::start();
    let slow_swaps = [("simulation.swap_latency_min_ms", "2000"), ("simulation.swap_latency_max_ms", "2000")];
    let server = engine(&redis, &slow_swaps);
    let mut asking = connect(&redis.url()).await;
    let id = server.client.submit(json!({})).await.order_id();
    server.client.until(&id, |order| order["status"] == "submitted").await;
    redis.flush();
    let key = format!("order:{id}:status");
    // The key is written again with the next update of the order.
    let value = until_some("the key was written again", async || {
        assert_eq!(server.client.get("/ready").await.body["status"], "ok");
        ask::<Option<String>>(&mut asking, &format!("GET {key}")).await
    })
    .await;
    let value: Value = serde_json::from_str(&value).unwrap();
    assert!(["submitted", "confirmed"].contains(&value["status"].as_str().unwrap()), "{value}");
    server.client.until_ended(&id).await;

    redis.cut_connections();
    let mut subscriber = Subscriber::to(&redis.url()).await;
    let id = server.client.submit(json!({})).await.order_id();
    let received = subscriber.until_ended(&id).await;
    let statuses: Vec<_> = received["orders"].iter().map(|step| step["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ALL_STATUSES);
    server.client.until_ready_status("ok").await;
    asking = connect(&redis.url()).await;
    assert!(ask::<bool>(&mut asking, "EXISTS order-engine:v1:alive").await);
}

/// Makes Redis refuse commands with an error code until it is repaired: no order is lost, and `/ready` reports the code
/// and, after the repair, `ok`.
async fn survives_refusals(redis: &Redis, code: &str, fail: impl Fn(&Redis), repair: impl Fn(&Redis)) {
    let server = engine(redis, &[]);
    server.client.until_ready_status("ok").await;
    let load = Load::start(&server.client);
    load.until_more(10).await;
    fail(redis);
    let reason = format!("redis refuses the engine: {code}");
    let is_reported = |ready: &Answer| ready.status == 200 && ready.body["reasons"][0] == reason;
    server.client.until_ready(&reason, is_reported).await;
    load.until_more(20).await;
    assert_eq!(server.client.get("/ready").await.body["status"], "degraded");
    repair(redis);
    let repaired = Instant::now();
    server.client.until_ready_status("ok").await;
    assert_deadline_kept(RECOVERY_DEADLINE, repaired.elapsed(), &format!("the recovery from {code}"));
    let mut subscriber = Subscriber::to(&redis.url()).await;
    let id = server.client.submit(json!({})).await.order_id();
    subscriber.until_ended(&id).await;
    load.stop(code).await;
    server.assert_no_second_swap();
}

#[actix::test]
async fn a_redis_that_is_a_replica_for_some_time_loses_no_order() {
    let (redis, primary) = (Redis::start(), Redis::start());
    let follow = |redis: &Redis| redis.run(&format!("REPLICAOF 127.0.0.1 {}", primary.port()));
    survives_refusals(&redis, "READONLY", follow, |redis| redis.run("REPLICAOF NO ONE")).await;
}

#[actix::test]
async fn the_engine_reconnects_to_the_new_primary_behind_the_same_address() {
    let (old, new) = (Redis::start(), Redis::start());
    let proxy = Proxy::to(old.engine_port());
    let server = engine_with(&old.settings_at(proxy.port(), ""), &[]);
    server.client.until_ready_status("ok").await;
    proxy.forward_to(new.engine_port());
    old.run(&format!("REPLICAOF 127.0.0.1 {}", new.port()));
    // The old connection stays open.
    let mut asking = connect(&new.url()).await;
    until("the engine wrote to the new primary", async || {
        ask::<bool>(&mut asking, "EXISTS order-engine:v1:alive").await
    })
    .await;
    server.client.until_ready_status("ok").await;
    let mut subscriber = Subscriber::to(&new.url()).await;
    let id = server.client.submit(json!({})).await.order_id();
    assert_eq!(subscriber.until_ended(&id).await["orders"].len(), ALL_STATUSES.len());
    assert!(ask::<bool>(&mut asking, &format!("EXISTS order:{id}:status")).await);
}

#[actix::test]
async fn a_redis_that_requires_a_password_for_some_time_loses_no_order() {
    let fail = |redis: &Redis| {
        redis.run("CONFIG SET requirepass hunter2");
        // The open connections are authenticated already.
        assert_eq!(redis.ask("AUTH hunter2\r\nCLIENT KILL TYPE normal"), "+OK");
    };
    let repair = |redis: &Redis| assert_eq!(redis.ask("AUTH hunter2\r\nCONFIG SET requirepass \"\""), "+OK");
    survives_refusals(&Redis::start(), "NOAUTH", fail, repair).await;
}

#[actix::test]
async fn a_redis_without_memory_for_some_time_loses_no_order() {
    let fail = |redis: &Redis| redis.run("CONFIG SET maxmemory 1");
    survives_refusals(&Redis::start(), "OOM", fail, |redis| redis.run("CONFIG SET maxmemory 0")).await;
}

#[actix::test]
async fn a_redis_that_cannot_save_for_some_time_loses_no_order() {
    let redis = Redis::start_with(&["--dbfilename", "dump.rdb"]);
    let fail = |redis: &Redis| {
        // A folder has the name of the file.
        std::fs::create_dir(redis.file("dump.rdb")).unwrap();
        redis.run("CONFIG SET save \"3600 1\"");
        redis.run("BGSAVE");
    };
    let repair = |redis: &Redis| {
        std::fs::remove_dir(redis.file("dump.rdb")).unwrap();
        redis.run("CONFIG SET stop-writes-on-bgsave-error no");
    };
    survives_refusals(&redis, "MISCONF", fail, repair).await;
}

#[actix::test]
async fn a_replica_without_its_primary_loses_no_order() {
    let fail = |redis: &Redis| {
        redis.run("CONFIG SET replica-serve-stale-data no");
        // Otherwise it refuses writes like every replica.
        redis.run("CONFIG SET replica-read-only no");
        // Nothing listens on that port.
        redis.run("REPLICAOF 127.0.0.1 1");
    };
    survives_refusals(&Redis::start(), "MASTERDOWN", fail, |redis| redis.run("REPLICAOF NO ONE")).await;
}

#[actix::test]
async fn a_redis_cluster_that_is_down_for_some_time_loses_no_order() {
    let redis = Redis::start_with(&["--cluster-enabled", "yes"]);
    redis.run("CLUSTER ADDSLOTSRANGE 0 16383");
    block_until("the cluster was up", || redis.ask("SET x 1") == "+OK");
    let fail = |redis: &Redis| redis.run("CLUSTER DELSLOTSRANGE 0 16383");
    let repair = |redis: &Redis| {
        redis.run("CLUSTER ADDSLOTSRANGE 0 16383");
        // Redis takes some seconds to report the cluster as up.
        block_until("the cluster was up again", || redis.ask("SET x 1") == "+OK");
    };
    survives_refusals(&redis, "CLUSTERDOWN", fail, repair).await;
}

#[actix::test]
async fn a_redis_that_runs_a_script_for_some_time_loses_no_order() {
    let fail = |redis: &Redis| {
        redis.run("CONFIG SET busy-reply-threshold 50");
        redis.run_aside("EVAL \"while true do end\" 0");
    };
    survives_refusals(&Redis::start(), "BUSY", fail, |redis| redis.run("SCRIPT KILL")).await;
}

#[actix::test]
async fn a_redis_that_loads_its_data_for_some_time_loses_no_order() {
    let redis = Redis::start_with(&["--enable-debug-command", "yes"]);
    redis.run("DEBUG POPULATE 10000");
    let fail = |redis: &Redis| {
        redis.run("CONFIG SET loading-process-events-interval-bytes 1024");
        redis.run("CONFIG SET key-load-delay 1000");
        redis.run_aside("DEBUG RELOAD");
    };
    // Loading ends without intervention.
    let repair = |redis: &Redis| block_until("Redis had loaded its data", || redis.ask("PING") == "+PONG");
    survives_refusals(&redis, "LOADING", fail, repair).await;
}

#[actix::test]
async fn ready_reports_a_redis_that_refuses_only_to_publish() {
    let (fail, repair) = ("ACL SETUSER default -publish", "ACL SETUSER default +publish");
    survives_refusals(&Redis::start(), "NOPERM", |redis| redis.run(fail), |redis| redis.run(repair)).await;
}

#[actix_web::test]
async fn ready_reports_a_stopped_a_frozen_and_a_silent_redis_within_two_seconds() {
    const REPORT_DEADLINE: Duration = Duration::from_secs(2);
    let report = async |name: &str, server: &Server, failed: Instant| {
        server.client.until_ready_status("degraded").await;
        println!("/ready reported a {name} Redis after {:?}", failed.elapsed());
        assert_deadline_kept(REPORT_DEADLINE, failed.elapsed(), &format!("reporting a {name} Redis"));
    };
    type Fail = fn(&mut Redis);
    for (name, fail) in [("stopped", Redis::stop as Fail), ("frozen", |redis| redis.freeze())] {
        let mut redis = Redis::start();
        let server = engine(&redis, &[]);
        server.client.until_ready_status("ok").await;
        fail(&mut redis);
        report(name, &server, Instant::now()).await;
    }
    let redis = Redis::start();
    let proxy = Proxy::to(redis.engine_port());
    let server = engine_with(&redis.settings_at(proxy.port(), ""), &[]);
    server.client.until_ready_status("ok").await;
    proxy.go_silent();
    report("silent", &server, Instant::now()).await;
}
