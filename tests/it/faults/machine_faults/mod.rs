//! Repeated faults of the machine while a crowd trades: a full disk, failing reads, writes and syncs, a limit on file
//! sizes, a log that is not read, a stepped clock. The engine is also killed and restarted in between. The history
//! checker accepts every history, and work resumes after each fault without a restart.

mod clock;
mod files;
mod postgres;

use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::faults::kills::FAILURES;
use crate::support::campaign;
use crate::support::client::Answer;
use crate::support::crowd::Crowd;
use crate::support::history::Findings;
use crate::support::process::{SWIFT, Server};
use crate::support::wait::{TIMEOUT, assert_deadline_kept};

/// The time until a new order has ended after the end of a fault.
const RESUME_DEADLINE: Duration = Duration::from_secs(13);

/// A fault that starts and ends repeatedly.
trait Fault {
    /// Starts the fault in a random way, and describes it.
    async fn begin(&mut self, server: &Server, crowd: &Crowd) -> String;

    /// Ends the fault. The server is `None` where it was killed.
    async fn end(&mut self, server: Option<&Server>);

    /// A text that `/ready` must contain during the present fault, where the engine always detects it.
    fn reported(&self) -> Option<&'static str> {
        None
    }

    /// Prepares the next start of the engine.
    fn before_start(&mut self, _: &mut Server) {}
}

/// Starts and ends the fault while a crowd trades, and checks the history at the end.
async fn run_campaign(server: &mut Server, mut fault: impl Fault, rounds: usize) -> Findings {
    let crowd = Crowd::new(campaign::seed());
    let orders = campaign::size(25, 12);
    fault.before_start(server);
    server.restart();
    crowd.connect_to(server);
    let mut slowest = Duration::ZERO;
    for round in 1..=rounds {
        crowd.start_trades(orders);
        crowd.random_pause(60).await;
        let what = fault.begin(server, &crowd).await;
        crowd.start_trades(orders);
        crowd.random_pause(500).await;
        if let Some(text) = fault.reported() {
            until_reported(server, &crowd, text, &what).await;
        }
        if let Some(status) = server.ended() {
            panic!("the engine exited with {status} under {what}");
        }
        let end = crowd.draw(6);
        if end < 2 {
            if end == 0 {
                server.kill();
            } else {
                stop(server, &crowd, &what).await;
            }
            // It may fail to start during the fault; where it starts, it is killed once more.
            fault.before_start(server);
            server.spawn();
            crowd.random_pause(300).await;
            if server.ended().is_none() {
                server.kill();
            }
            fault.end(None).await;
            fault.before_start(server);
            server.restart();
            crowd.connect_to(server);
        } else {
            fault.end(Some(server)).await;
        }
        let over = Instant::now();
        crowd.one_order_ends(&format!("round {round}, {what}")).await;
        slowest = slowest.max(over.elapsed());
        assert_deadline_kept(RESUME_DEADLINE, over.elapsed(), &format!("resuming after {what}"));
        if round % 10 == 0 {
            eprintln!("{round} rounds");
        }
    }
    server.kill();
    fault.before_start(server);
    server.restart();
    crowd.connect_to(server);
    let findings = crowd.check(server).await;
    let refused = crowd.refused();
    eprintln!(
        "{rounds} faults: 0 violations in {findings:?}; {refused} submits were refused; work resumed within {slowest:?}"
    );
    findings
}

/// Stops the engine during a fault, which must not make it panic.
async fn stop(server: &mut Server, crowd: &Crowd, what: &str) {
    server.send_sigterm();
    let asked = Instant::now();
    let status = loop {
        if let Some(status) = server.ended() {
            break status;
        }
        assert!(asked.elapsed() < TIMEOUT, "the engine does not stop under {what}");
        crowd.random_pause(5).await;
    };
    assert!(status.code().is_some_and(|code| code != 101), "the engine stopped with {status} under {what}");
}

/// Waits until `/ready` contains a text. New orders meet the fault, without which some faults are not detected.
async fn until_reported(server: &Server, crowd: &Rc<Crowd>, text: &str, what: &str) {
    let is_reported = |ready: &Answer| {
        crowd.start_trades(1);
        ready.body.to_string().contains(text)
    };
    server.client.until_ready(&format!("{text:?} under {what}"), is_reported).await;
}

fn rounds(full: usize) -> usize {
    campaign::size(full, 5)
}

fn settings() -> impl Iterator<Item = (&'static str, &'static str)> {
    SWIFT.into_iter().chain(FAILURES).chain([("server.shutdown_timeout_ms", "500")])
}
