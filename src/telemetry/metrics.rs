//! What an operator measures: counted where it happens, told as Prometheus text.
//!
//! One handle is given to whoever has something to count, so two engines in one program count apart. What can be asked
//! for at any moment (how many orders are open, whether the database is up) is not counted but asked when it is told.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::domain::lifecycle::OrderEvent;
use crate::domain::order::{Order, RecordedEvent};

/// The handle; its clones count together.
#[derive(Clone)]
pub struct Metrics {
    counted: Arc<Counters>,
    registry: Arc<Registry>,
}

struct Counters {
    accepted: Counter,
    ended: Family<EndLabels, Counter>,
    attempts_failed: Family<Code, Counter>,
    stages: Family<StageLabels, Histogram>,
    groups: Histogram,
    commits: Histogram,
    requests: Family<Request, Counter>,
    answers: Family<Route, Histogram>,
    refused: Family<Code, Counter>,
    listeners_dropped: Counter,
    standing: Gauges,
}

/// How things stand at a moment; `None` where nobody could say, or there is no such thing.
#[derive(Clone, Copy, Debug, Default)]
pub struct QueueStats {
    /// Unfinished orders.
    pub open_orders: Option<usize>,
    /// Orders that hold a slot.
    pub running_orders: Option<usize>,
    /// Orders in line for a slot.
    pub queued_orders: Option<usize>,
    /// Orders whose swap is undecided for too long, or that cannot be written.
    pub stuck_orders: Option<usize>,
    /// The age of the oldest order in line for a slot; zero where none waits.
    pub oldest_waiting: Duration,
    /// Steps of the wall clock since the start.
    pub clock_steps: u64,
    /// Whether the database takes writes.
    pub database_up: bool,
    /// Orders that were found to be stored in a way that this version cannot read.
    pub unreadable_orders: usize,
    /// Whether Redis answers.
    pub redis_up: Option<bool>,
    /// Announcements that did not reach Redis since the start.
    pub dropped_announcements: Option<u64>,
    /// Open WebSockets.
    pub sockets: usize,
    /// WebSockets that were shut because their client had stopped reading.
    pub sockets_shut: u64,
    /// Open connections, WebSockets among them.
    pub connections: usize,
    /// Connections that were shut because no request on them came to its end.
    pub connections_shut: u64,
    /// Log lines that were dropped since the process began.
    pub dropped_log_lines: u64,
    /// How long the engine has been running.
    pub uptime: Duration,
}

#[derive(Clone, Debug, Default)]
struct Gauges {
    orders: Family<State, Gauge>,
    oldest_waiting: Gauge,
    clock_steps: Counter,
    database_up: Gauge,
    unreadable_orders: Gauge,
    redis_up: Gauge,
    dropped_announcements: Counter,
    sockets: Gauge,
    sockets_shut: Counter,
    connections: Gauge,
    connections_shut: Counter,
    dropped_log_lines: Counter,
    uptime: Gauge,
    memory: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndLabels {
    status: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabels {
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    route: &'static str,
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

// Bounds of the histograms' buckets: seconds, and writes.
const STAGES: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0, 120.0];
const ANSWERS: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];
const GROUPS: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let counted = Counters {
            accepted: Counter::default(),
            ended: Family::default(),
            attempts_failed: Family::default(),
            stages: Family::new_with_constructor(|| Histogram::new(STAGES)),
            groups: Histogram::new(GROUPS),
            commits: Histogram::new(ANSWERS),
            requests: Family::default(),
            answers: Family::new_with_constructor(|| Histogram::new(ANSWERS)),
            refused: Family::default(),
            listeners_dropped: Counter::default(),
            standing: Gauges::default(),
        };
        let ours = registry.sub_registry_with_prefix("order_engine");
        ours.register("orders_accepted", "Orders that were made durable", counted.accepted.clone());
        ours.register("orders_ended", "Orders that have ended, by status and failure code", counted.ended.clone());
        ours.register("attempts_failed", "Attempts that failed, by code", counted.attempts_failed.clone());
        ours.register("stage_seconds", "How long orders stood at a status before they left it", counted.stages.clone());
        ours.register("commit_writes", "Writes in one commit", counted.groups.clone());
        ours.register("commit_seconds", "How long commits took, failed ones too", counted.commits.clone());
        ours.register("http_requests", "Requests that were answered by a route", counted.requests.clone());
        ours.register("http_answer_seconds", "How long routes took to answer", counted.answers.clone());
        ours.register("http_refused", "Requests refused before any route, by code", counted.refused.clone());
        let dropped = counted.listeners_dropped.clone();
        ours.register("listeners_dropped", "Listeners that were dropped because they did not keep up", dropped);
        let standing = &counted.standing;
        ours.register("orders", "Orders now, by state", standing.orders.clone());
        let oldest = standing.oldest_waiting.clone();
        ours.register("oldest_waiting_seconds", "Age of the oldest order that waits for a slot; 0 without one", oldest);
        let steps = standing.clock_steps.clone();
        ours.register("clock_steps", "Steps of the wall clock, forward or back, that were noticed", steps);
        ours.register("database_up", "Whether the database takes writes", standing.database_up.clone());
        let unreadable = standing.unreadable_orders.clone();
        ours.register(
            "orders_unreadable",
            "Stored orders that were found to be unreadable; the log names them",
            unreadable,
        );
        ours.register("redis_up", "Whether Redis answers; -1 without Redis", standing.redis_up.clone());
        let announcements = standing.dropped_announcements.clone();
        ours.register("announcements_dropped", "Announcements that did not reach Redis", announcements);
        ours.register("sockets", "Open WebSockets", standing.sockets.clone());
        let shut = standing.sockets_shut.clone();
        ours.register("sockets_shut", "WebSockets shut because their client had stopped reading", shut);
        ours.register("connections", "Open connections, WebSockets among them", standing.connections.clone());
        let shut = standing.connections_shut.clone();
        ours.register("connections_shut", "Connections shut because no request on them came to its end", shut);
        let lines = standing.dropped_log_lines.clone();
        ours.register("log_lines_dropped", "Log lines that nobody took or that could not be written", lines);
        ours.register("uptime_seconds", "How long the engine has been running", standing.uptime.clone());
        registry.register("process_resident_memory_bytes", "Resident memory", standing.memory.clone());
        Self { counted: Arc::new(counted), registry: Arc::new(registry) }
    }
}

impl Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// Takes in what an order has gone through since it was counted last: `counted` is how far it was, `None` for an
    /// order that is new here. What one that an earlier process left behind had gone through was counted there.
    pub fn count(&self, order: &Order, counted: Option<u32>) {
        let history = order.history();
        let first = match counted {
            Some(seq) => usize::try_from(seq).unwrap_or(usize::MAX),
            None if history.len() == 1 => 0,
            None => return,
        };
        for index in first..history.len() {
            self.step(&history[..index], &history[index]);
        }
    }

    fn step(&self, before: &[Arc<RecordedEvent>], step: &RecordedEvent) {
        match before.last() {
            None => _ = self.counted.accepted.inc(),
            Some(left) if left.status != step.status => {
                let same = before.iter().rev().take_while(|earlier| earlier.status == left.status);
                let entered = same.last().unwrap_or(left);
                let stage = self.counted.stages.get_or_create(&StageLabels { status: left.status.name() });
                stage.observe(step.since(entered).as_secs_f64());
            }
            Some(_) => {}
        }
        if let OrderEvent::AttemptFailed { failure, .. } = &step.event {
            self.counted.attempts_failed.get_or_create(&Code { code: failure.code.name() }).inc();
        }
        if step.status.is_final() {
            let code = match &step.event {
                OrderEvent::Failed(failure) | OrderEvent::Cancelled(Some(failure)) => failure.code.name(),
                _ => "",
            };
            self.counted.ended.get_or_create(&EndLabels { status: step.status.name(), code }).inc();
        }
    }

    /// A listener did not keep up and was dropped.
    pub fn listener_dropped(&self) {
        self.counted.listeners_dropped.inc();
    }

    /// A group of so many writes was committed, or could not be, in that time.
    pub fn committed(&self, writes: usize, took: Duration) {
        self.counted.groups.observe(f64::from(u32::try_from(writes).unwrap_or(u32::MAX)));
        self.counted.commits.observe(took.as_secs_f64());
    }

    /// A route answered.
    pub fn answered(&self, route: &'static str, method: &'static str, status: u16, took: Duration) {
        self.counted.requests.get_or_create(&Request { route, method, status }).inc();
        self.counted.answers.get_or_create(&Route { route }).observe(took.as_secs_f64());
    }

    /// A request was refused before any route.
    pub fn refused(&self, code: &'static str) {
        self.counted.refused.get_or_create(&Code { code }).inc();
    }

    /// Everything, as OpenMetrics text, which is Prometheus's own.
    pub fn text(&self, standing: &QueueStats) -> String {
        let gauges = &self.counted.standing;
        for (state, orders) in [
            ("open", standing.open_orders),
            ("running", standing.running_orders),
            ("queued", standing.queued_orders),
            ("stuck", standing.stuck_orders),
        ] {
            match orders {
                Some(orders) => _ = gauges.orders.get_or_create(&State { state }).set(whole(orders)),
                None => _ = gauges.orders.remove(&State { state }),
            }
        }
        gauges.oldest_waiting.set(whole(standing.oldest_waiting.as_secs()));
        gauges.clock_steps.inner().store(standing.clock_steps, Ordering::Relaxed);
        gauges.database_up.set(standing.database_up.into());
        gauges.unreadable_orders.set(i64::try_from(standing.unreadable_orders).unwrap_or(i64::MAX));
        gauges.redis_up.set(standing.redis_up.map_or(-1, i64::from));
        let dropped = standing.dropped_announcements.unwrap_or_default();
        gauges.dropped_announcements.inner().store(dropped, Ordering::Relaxed);
        gauges.sockets.set(whole(standing.sockets));
        gauges.sockets_shut.inner().store(standing.sockets_shut, Ordering::Relaxed);
        gauges.connections.set(whole(standing.connections));
        gauges.connections_shut.inner().store(standing.connections_shut, Ordering::Relaxed);
        gauges.dropped_log_lines.inner().store(standing.dropped_log_lines, Ordering::Relaxed);
        gauges.uptime.set(whole(standing.uptime.as_secs()));
        gauges.memory.set(whole(resident_bytes().unwrap_or_default()));
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a String takes everything");
        text
    }
}

fn whole(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

/// This process's resident memory, where the system tells it.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix("kB")?;
    kib.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::OrderId;
    use crate::domain::order::tests::request;
    use crate::domain::retry::{Failure, FailureCode};
    use crate::domain::user::Owner;
    use chrono::{TimeDelta, Utc};

    #[test]
    fn an_orders_life_is_counted_and_its_stages_are_timed() {
        let (metrics, start) = (Metrics::default(), Utc::now());
        let mut order = Order::accept(OrderId(uuid::Uuid::now_v7()), Owner::Shared, Arc::new(request()), start);
        metrics.count(&order, None);
        for (event, after_ms) in
            [(OrderEvent::Dispatched, 20), (OrderEvent::Failed(Failure::new(FailureCode::NoLiquidity, "no pool")), 320)]
        {
            let step = Arc::new(order.propose(event, start + TimeDelta::milliseconds(after_ms)).unwrap());
            order.apply(step.clone()).unwrap();
            metrics.count(&order, Some(step.seq - 1));
        }
        let text = metrics.text(&QueueStats::default());
        for line in [
            "order_engine_orders_accepted_total 1",
            "order_engine_orders_ended_total{status=\"failed\",code=\"no_liquidity\"} 1",
            "order_engine_stage_seconds_sum{status=\"pending\"} 0.02",
            "order_engine_stage_seconds_sum{status=\"routing\"} 0.3",
            "order_engine_stage_seconds_bucket{le=\"0.25\",status=\"routing\"} 0",
            "order_engine_stage_seconds_bucket{le=\"0.5\",status=\"routing\"} 1",
            "order_engine_redis_up -1",
        ] {
            assert!(text.lines().any(|told| told == line), "{line} is not in:\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn what_nobody_can_say_is_left_out() {
        let metrics = Metrics::default();
        let known = QueueStats { open_orders: Some(3), redis_up: Some(false), ..QueueStats::default() };
        assert!(metrics.text(&known).contains("order_engine_orders{state=\"open\"} 3\n"));
        assert!(metrics.text(&known).contains("order_engine_redis_up 0\n"));
        assert!(!metrics.text(&QueueStats::default()).contains("state=\"open\""));
    }
}
