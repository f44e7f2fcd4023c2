//! Ten thousand hostile frames a second, while healthy clients follow their own orders.
//!
//! The flood has every kind of frame that costs its sender little, at a constant total rate, on sockets for many orders
//! and for one order. A connection that the engine ends is opened again immediately. Meanwhile users submit orders at a
//! constant rate and follow them on many sockets each. The test measures, on the client's side, the time from the
//! submit to the arrival of each step at each socket.

mod healthy;
mod hostile;

use std::time::Instant;

use serde_json::json;

use self::healthy::{Healthy, Latencies, Size, round};
use self::hostile::{Flood, Hostile, kinds};
use crate::support::campaign;
use crate::support::process::{SWIFT, Server};

/// The memory that the flood may add, in KiB.
const MAY_ADD_KIB: u64 = 64 * 1024;

/// The load average of the machine.
fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().to_owned()
}

#[actix::test]
async fn ten_thousand_hostile_frames_a_second_use_little_memory_and_do_not_delay_healthy_sockets() {
    let size = Size::of_campaign();
    // The order waits for its next attempt for longer than this test takes, which keeps its sockets open.
    let settings =
        [("orders.backoff_initial_ms", "86400000"), ("orders.timeout_ms", "86400000"), ("orders.max_attempts", "100")];
    let server = Server::start(SWIFT.into_iter().chain(settings));
    let hostile = server.client.registered("hostile").await;
    let waits = hostile.submit(json!({ "minAmountOut": "1000000" })).await.order_id();
    hostile.until(&waits, |order| order["retryCount"] == 1).await;
    let mut users = Vec::new();
    for number in 0..size.users {
        let client = server.client.registered(&format!("healthy{number}")).await;
        users.push(Healthy::new(client, size.sockets_per_user).await);
    }
    let report = |what: &str, latencies: &Latencies| {
        let (Latencies { step_p50, step_p99, accepted_p99 }, memory) = (latencies, server.memory_kib());
        eprintln!(
            "{what}: steps p50 {step_p50} us, p99 {step_p99} us; accepted p99 {accepted_p99} us; {memory} KiB; load {}",
            load()
        );
    };
    let one_order = format!("/ws/orders/{waits}");
    let begin = || {
        let all = ["/ws", &one_order].into_iter().flat_map(|path| kinds().into_iter().map(move |kind| (path, kind)));
        Flood::begin(all.map(|(path, kind)| Hostile::new(&hostile, path, kind)).collect())
    };
    let beside = async |flood: &Flood, what: &str| {
        let (begun, start) = (Instant::now(), flood.so_far());
        let latencies = round(&users, &size).await;
        let (now, took) = (flood.so_far(), begun.elapsed().as_millis());
        let [frames, opened, ended, _] = [0, 1, 2, 3].map(|at| u128::from(now[at] - start[at]) * 1_000 / took);
        report(&format!("{what}: {frames} frames/s, {opened} opened and {ended} ended a second"), &latencies);
        // A slower flood, or one that is refused, would prove nothing.
        assert!(frames >= 7_500, "the flood is only {frames} frames a second");
        assert!(ended > 0 && now[3] == 0, "no connection is ended, or {} upgrades were refused", now[3]);
        latencies
    };

    // Costs that occur once (memory pages, the database's cache) belong to neither measurement.
    report("warming up", &round(&users, &Size { orders: 3, ..size }).await);
    // The rounds alternate, because the machine may have other work meanwhile.
    let mut pairs = Vec::new();
    let before = server.memory_kib();
    for number in 1..=size.pairs {
        let alone = round(&users, &size).await;
        report(&format!("alone {number}"), &alone);
        let flood = begin();
        let beside = beside(&flood, &format!("beside {number}")).await;
        pairs.push((beside.step_p99 * 1_000 / alone.step_p99, alone.step_p99, beside.step_p99));
    }

    let flood = begin();
    let memory_after = async |part: &str| {
        for number in 1..=size.rounds {
            beside(&flood, &format!("{part} {number}")).await;
        }
        server.memory_kib()
    };
    let first = memory_after("flood").await;
    let last = memory_after("flood goes on").await;
    drop(flood);
    let order = hostile.order(&waits).await;
    assert!(order["completedAt"].is_null(), "sockets for an order that has ended are closed immediately: {order}");
    report("after", &round(&users, &size).await);

    assert!(first <= before + MAY_ADD_KIB, "{before} KiB before, {first} KiB beside the flood");
    // A short run has not reached its steady state.
    let may_add = campaign::size(first / 20, MAY_ADD_KIB);
    assert!(last <= first + may_add, "{first} KiB, and {last} KiB after twice the time");
    pairs.sort_unstable();
    let (ratio, alone, beside) = pairs[pairs.len() / 2];
    eprintln!(
        "p99 from submit to each step at each socket, the median pair: {alone} us alone, {beside} us beside the flood; \
         memory {before} KiB before, {first} KiB after half of the flood, {last} KiB at its end"
    );
    // A short run has few measurements, and other tests run meanwhile.
    assert!(!campaign::is_full() || ratio <= 2_000, "{pairs:?}: thousandths, us alone, us beside the flood");
}
