//! The figures of `/metrics`, as Prometheus text.
//!
//! Each engine has one handle, so two engines in one process count apart. Orders are counted by a [`Tally`], which is
//! also the source of `/api/stats`. Values that can be read at any moment, such as the number of open orders, are not
//! counted: [`Metrics::text`] takes them as a [`Snapshot`].

mod orders;
mod snapshot;

use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::domain::order::Order;
use crate::domain::tally::Tally;
use orders::OrderMetrics;
pub use snapshot::Snapshot;

/// The prefix of every name except those that all processes share.
const PREFIX: &str = "order_engine";

/// The counters of one engine; clones share them.
#[derive(Clone)]
pub struct Metrics {
    tally: Arc<Mutex<Tally>>,
    counters: Arc<Counters>,
    registry: Arc<Registry>,
}

struct Counters {
    commit_writes: Histogram,
    commit_seconds: Histogram,
    http_requests: Family<RequestLabels, Counter>,
    http_answer_seconds: Family<RouteLabels, Histogram>,
    http_refused: Family<CodeLabels, Counter>,
    listeners_dropped: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: &'static str,
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    code: &'static str,
}

// Upper bounds of the histogram buckets: seconds, and writes.
const SECONDS: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];
const WRITES: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

impl Default for Metrics {
    fn default() -> Self {
        let tally = Arc::new(Mutex::new(Tally::default()));
        let counters = Counters {
            commit_writes: Histogram::new(WRITES),
            commit_seconds: Histogram::new(SECONDS),
            http_requests: Family::default(),
            http_answer_seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            http_refused: Family::default(),
            listeners_dropped: Counter::default(),
        };
        let mut registry = Registry::default();
        let ours = registry.sub_registry_with_prefix(PREFIX);
        ours.register_collector(Box::new(OrderMetrics(tally.clone())));
        ours.register("commit_writes", "Writes in one commit", counters.commit_writes.clone());
        ours.register("commit_seconds", "Duration of commits, failed ones included", counters.commit_seconds.clone());
        ours.register("http_requests", "Requests answered by a route", counters.http_requests.clone());
        ours.register("http_answer_seconds", "Time a route took to answer", counters.http_answer_seconds.clone());
        ours.register("http_refused", "Requests refused before any route, by code", counters.http_refused.clone());
        ours.register(
            "listeners_dropped",
            "Subscribers dropped because they did not keep up",
            counters.listeners_dropped.clone(),
        );
        Self { tally, counters: Arc::new(counters), registry: Arc::new(registry) }
    }
}

impl Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// Counts the events of an order after `counted`, the `seq` of the last event that is counted already; see
    /// [`Tally::count`].
    pub fn count(&self, order: &Order, counted: Option<u32>) {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).count(order, counted);
    }

    /// A copy of the counts of orders.
    pub fn tally(&self) -> Tally {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts a subscriber that was dropped because it did not keep up.
    pub fn listener_dropped(&self) {
        self.counters.listeners_dropped.inc();
    }

    /// Counts a commit of `writes` writes, successful or not, that took `took`.
    pub fn committed(&self, writes: usize, took: Duration) {
        self.counters.commit_writes.observe(f64::from(u32::try_from(writes).unwrap_or(u32::MAX)));
        self.counters.commit_seconds.observe(took.as_secs_f64());
    }

    /// Counts a request that a route answered.
    pub fn answered(&self, route: &'static str, method: &'static str, status: u16, took: Duration) {
        self.counters.http_requests.get_or_create(&RequestLabels { route, method, status }).inc();
        self.counters.http_answer_seconds.get_or_create(&RouteLabels { route }).observe(took.as_secs_f64());
    }

    /// Counts a request that was refused before it reached a route.
    pub fn refused(&self, code: &'static str) {
        self.counters.http_refused.get_or_create(&CodeLabels { code }).inc();
    }

    /// All figures, as OpenMetrics text, which Prometheus reads.
    pub fn text(&self, snapshot: &Snapshot) -> String {
        let mut now = Registry::default();
        now.register(
            "process_resident_memory_bytes",
            "Resident memory",
            ConstGauge::new(resident_bytes().unwrap_or_default()),
        );
        now.sub_registry_with_prefix(PREFIX).register_collector(Box::new(*snapshot));
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)
            .and_then(|()| encode_registry(&mut text, &now))
            .and_then(|()| encode_eof(&mut text))
            .expect("writing to a String does not fail");
        text
    }
}

/// The resident memory of this process, if the system reports it.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix("kB")?;
    kib.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::OrderId;
    use crate::domain::lifecycle::OrderEvent;
    use crate::domain::request::tests::request;
    use crate::domain::retry::{Failure, FailureCode};
    use crate::domain::user::Owner;
    use chrono::{TimeDelta, Utc};

    #[test]
    fn an_order_is_counted_and_its_completed_stages_are_timed() {
        let (metrics, start) = (Metrics::default(), Utc::now());
        let mut order = Order::accept(None, OrderId(uuid::Uuid::now_v7()), Owner::Shared, Arc::new(request()), start);
        metrics.count(&order, None);
        for (event, after_ms) in [
            (OrderEvent::Dispatched, 300),
            (OrderEvent::Failed(Failure::new(FailureCode::NoLiquidity, "no pool")), 320),
        ] {
            let step = Arc::new(order.propose(event, start + TimeDelta::milliseconds(after_ms)).unwrap());
            order.apply(step.clone()).unwrap();
            metrics.count(&order, Some(step.seq - 1));
        }
        let text = metrics.text(&Snapshot::default());
        for line in [
            "order_engine_orders_accepted_total 1",
            "order_engine_orders_ended_total{status=\"failed\",code=\"no_liquidity\"} 1",
            "order_engine_attempts_failed_total{code=\"no_liquidity\"} 1",
            "order_engine_stage_seconds_sum{status=\"pending\"} 0.3",
            "order_engine_stage_seconds_count{status=\"pending\"} 1",
            "order_engine_stage_seconds_count{status=\"routing\"} 0",
            "order_engine_stage_seconds_bucket{le=\"0.25\",status=\"pending\"} 0",
            "order_engine_stage_seconds_bucket{le=\"0.5\",status=\"pending\"} 1",
            "order_engine_stage_seconds_bucket{le=\"+Inf\",status=\"pending\"} 1",
            "order_engine_redis_up -1",
        ] {
            assert!(text.lines().any(|published| published == line), "{line} is not in:\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn a_value_that_is_not_known_is_left_out() {
        let metrics = Metrics::default();
        let known = Snapshot { open_orders: Some(3), redis_up: Some(false), ..Snapshot::default() };
        assert!(metrics.text(&known).contains("order_engine_orders{state=\"open\"} 3\n"));
        assert!(metrics.text(&known).contains("order_engine_redis_up 0\n"));
        assert!(!metrics.text(&Snapshot::default()).contains("state=\"open\""));
    }
}
