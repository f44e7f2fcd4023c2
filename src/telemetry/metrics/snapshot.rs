//! Values that are read when the metrics are published, and not counted before.

use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// The state of the engine at one moment. `None` is a value that is not known, or that this engine does not have.
#[derive(Clone, Copy, Debug, Default)]
pub struct Snapshot {
    /// Unfinished orders.
    pub open_orders: Option<usize>,
    /// Orders that hold a slot.
    pub running_orders: Option<usize>,
    /// Orders that wait for a slot.
    pub queued_orders: Option<usize>,
    /// Orders whose swap has been undecided for too long, or that cannot be written or read.
    pub stuck_orders: Option<usize>,
    /// The age of the oldest order that waits for a slot; zero if none waits.
    pub oldest_waiting: Duration,
    /// Steps of the wall clock since the start.
    pub clock_steps: u64,
    /// Whether the database takes writes.
    pub database_up: bool,
    /// Stored orders that this version cannot read.
    pub unreadable_orders: usize,
    /// Whether Redis works.
    pub redis_up: Option<bool>,
    /// Announcements that did not reach Redis since the start.
    pub dropped_announcements: Option<u64>,
    /// Open WebSockets.
    pub sockets: usize,
    /// WebSockets shut because the client stopped reading.
    pub sockets_shut: u64,
    /// Open connections, WebSockets included.
    pub connections: usize,
    /// Connections shut because no request on them was completed.
    pub connections_shut: u64,
    /// Log lines dropped since the process started.
    pub dropped_log_lines: u64,
    /// Time since the engine started.
    pub uptime: Duration,
}

impl Collector for Snapshot {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut to;
        self.encode_orders(to)?;
        let oldest = self.oldest_waiting.as_secs();
        gauge(to, "oldest_waiting_seconds", "Age of the oldest order that waits for a slot; 0 if none waits", oldest)?;
        counter(to, "clock_steps", "Steps of the wall clock, forward or back", self.clock_steps)?;
        gauge(to, "database_up", "Whether the database takes writes", self.database_up.into())?;
        let unreadable = whole(self.unreadable_orders);
        gauge(to, "orders_unreadable", "Stored orders that cannot be read; the log names them", unreadable)?;
        let redis_up = ConstGauge::new(self.redis_up.map_or(-1_i64, i64::from));
        write(to, "redis_up", "Whether Redis works; -1 if no Redis is configured", &redis_up)?;
        let dropped = self.dropped_announcements.unwrap_or_default();
        counter(to, "announcements_dropped", "Announcements that did not reach Redis", dropped)?;
        gauge(to, "sockets", "Open WebSockets", whole(self.sockets))?;
        counter(to, "sockets_shut", "WebSockets shut because the client stopped reading", self.sockets_shut)?;
        gauge(to, "connections", "Open connections, WebSockets included", whole(self.connections))?;
        let shut = self.connections_shut;
        counter(to, "connections_shut", "Connections shut because no request on them was completed", shut)?;
        counter(to, "log_lines_dropped", "Log lines that could not be queued or written", self.dropped_log_lines)?;
        gauge(to, "uptime_seconds", "Time since the engine started", self.uptime.as_secs())
    }
}

impl Snapshot {
    fn encode_orders(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = to.encode_descriptor("orders", "Orders now, by state", None, MetricType::Gauge)?;
        for (state, orders) in [
            ("open", self.open_orders),
            ("running", self.running_orders),
            ("queued", self.queued_orders),
            ("stuck", self.stuck_orders),
        ] {
            if let Some(orders) = orders {
                family.encode_family(&[("state", state)])?.encode_gauge(&whole(orders))?;
            }
        }
        Ok(())
    }
}

fn gauge(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    write(to, name, help, &ConstGauge::new(value))
}

fn counter(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    write(to, name, help, &ConstCounter::new(value))
}

fn write(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, metric: &impl EncodeMetric) -> fmt::Result {
    metric.encode(to.encode_descriptor(name, help, None, metric.metric_type())?)
}

fn whole(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
