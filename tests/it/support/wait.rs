//! Tests wait for a fact, never for a duration.

use std::time::{Duration, Instant};

use crate::support::campaign::is_full;

/// How long a test waits for anything before it fails. Nothing takes nearly as long, so only a hang reaches it.
pub const TIMEOUT: Duration = Duration::from_secs(120);

/// The pause between two checks of a condition.
const POLL: Duration = Duration::from_millis(20);

/// Polls a condition until it returns a value; `what` names the fact that the failure message reports as missing.
pub async fn until_some<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let polls = async {
        loop {
            if let Some(found) = check().await {
                return found;
            }
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(TIMEOUT, polls).await.unwrap_or_else(|_| panic!("timed out before {what}"))
}

/// Polls a condition until it is true.
pub async fn until(what: &str, mut check: impl AsyncFnMut() -> bool) {
    until_some(what, async || check().await.then_some(())).await;
}

/// Polls a condition until it is true, and blocks the thread meanwhile.
pub fn block_until(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !check() {
        assert!(Instant::now() < deadline, "timed out before {what}");
        std::thread::sleep(POLL);
    }
}

/// Fails unless the engine kept a deadline that it documents.
///
/// A loaded machine is slow without any fault of the engine. A short run therefore allows ten times as long, which
/// still finds a missing deadline; only the full campaign, which runs one test at a time, holds the engine to half as
/// much again.
#[track_caller]
pub fn assert_deadline_kept(deadline: Duration, took: Duration, what: &str) {
    let allowed = if is_full() { deadline * 3 / 2 } else { deadline * 10 };
    assert!(took <= allowed, "{what} took {took:?}; the deadline is {deadline:?}");
}
