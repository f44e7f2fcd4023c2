//! Steps of the wall clock.

use super::{Fault, rounds, run_campaign, settings};
use crate::support::crowd::Crowd;
use crate::support::machine::{DAY, FakeClock};
use crate::support::postgres::Postgres;
use crate::support::process::Server;

/// A stepped wall clock.
struct SteppedClock {
    clock: FakeClock,
}

impl Fault for SteppedClock {
    async fn begin(&mut self, _: &Server, crowd: &Crowd) -> String {
        crowd.clock_stepped();
        let step = crowd.one_of(&[-3_600, DAY, -5]);
        self.clock.set(step);
        format!("a clock that is {step} s off")
    }

    async fn end(&mut self, _: Option<&Server>) {
        self.clock.set(0);
    }
}

async fn survives_clock_steps(mut server: Server) {
    let clock = FakeClock::new();
    server.use_clock(&clock);
    let findings = run_campaign(&mut server, SteppedClock { clock }, rounds(40)).await;
    assert!(findings.confirmed > findings.orders / 2, "{findings:?}");
    // No order times out, because ten minutes have not passed.
    let failed = server.client.get("/api/orders?status=failed&limit=200").await.body;
    let timed_out = failed["orders"].as_array().unwrap().iter().find(|order| order["error"]["code"] == "timeout");
    assert!(timed_out.is_none(), "{timed_out:?}");
}

#[actix::test]
async fn repeated_clock_steps_lose_no_order() {
    survives_clock_steps(Server::stopped(settings())).await;
}

#[actix::test]
async fn repeated_clock_steps_on_postgres_lose_no_order() {
    let postgres = Postgres::start();
    let mut server = Server::stopped(settings());
    server.set("database.url", &postgres.url());
    survives_clock_steps(server).await;
}
