//! Publishes recorded events to Redis and caches quotes there. The database is the source of truth: without Redis the
//! engine is slower and loses nothing.
//!
//! Nothing here delays or fails an order. Announcements go into a bounded queue; they are dropped if the queue is full
//! or Redis is not usable. A subscriber then sees a gap in `seq` and reads the order from the engine. An announcement
//! is published twice if the reply of Redis was lost; the repeated `seq` shows that.
//!
//! | channel | carries |
//! |---|---|
//! | `{prefix}:v1:orders:{id}` and `{prefix}:v1:orders` | each recorded event of one order, and of all orders: the `order:update` of the WebSocket |
//! | `{prefix}:v1:prices:{mint in}:{mint out}` | each fresh quote of each venue: a `price:update` |
//! | `{prefix}:v1-alive` | the engine's version every second: the health check of publishing |
//!
//! | key | value | expires |
//! |---|---|---|
//! | `order:{id}:status` | status, seq, attempt, timestamp, txHash | [`OPEN_TTL`] after the last announcement, `redis.status_ttl_ms` after the order's end |
//! | `order:{id}:active` | `1` while an engine works on the order | as above, and deleted at the order's end |
//! | `{prefix}:v1:quote:…` | the decision of a quote preview | `redis.quote_ttl_ms` |
//! | `{prefix}:v1:alive` | the version of the engine that wrote last | after five seconds |
//!
//! Order keys have no prefix because order ids are unique. `v1` changes only if an old reader would misread the new
//! content; a new field does not change it.

mod connection;
mod publisher;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::config::{RedisSettings, RedisUrl};
use crate::domain::id::OrderId;
use crate::domain::lifecycle::{OrderEvent, Status};
use crate::domain::order::{Order, RecordedEvent};
use crate::domain::quote::Quote;
use crate::domain::request::OrderRequest;
use crate::domain::routing::RoutingDecision;
use crate::domain::swap::Signature;
use crate::runtime::environment::Random;
use connection::RedisConnection;
use publisher::{Announcement, Publisher};

/// How long the keys of an unfinished order outlive its last announcement. They expire because an engine may crash.
pub const OPEN_TTL: Duration = Duration::from_secs(60);

/// Functions that write the public JSON. The engine passes them in, so the format is defined once, in `api`.
#[derive(Clone, Copy)]
pub struct Renderers {
    /// A recorded event.
    pub update: fn(OrderId, &OrderRequest, &RecordedEvent) -> String,
    /// The current status of an order, with the signature of its swap if it has one.
    pub status: fn(&RecordedEvent, Option<Signature>) -> String,
    /// A fresh quote.
    pub price: fn(&OrderRequest, &Quote) -> String,
}

/// A handle to Redis: publishes and caches without waiting, and reports whether Redis works. Clones share one queue.
#[derive(Clone)]
pub struct Cluster {
    connection: Arc<RedisConnection>,
    queue: mpsc::Sender<Announcement>,
    dropped: Arc<AtomicU64>,
}

impl Cluster {
    /// The bound of the queue. A further announcement is dropped.
    const CAPACITY: usize = 4096;

    /// Starts the publisher on the current runtime. Waits for one health check, or for its deadline.
    pub async fn start(url: &RedisUrl, settings: RedisSettings, renderers: Renderers, random: Random) -> Self {
        let connection = Arc::new(RedisConnection::new(url, &settings));
        connection.probe().await;
        let (queue, waiting) = mpsc::channel(Self::CAPACITY);
        let dropped = Arc::new(AtomicU64::new(0));
        let publisher = Publisher {
            connection: connection.clone(),
            waiting,
            dropped: dropped.clone(),
            settings,
            renderers,
            random,
        };
        tokio::spawn(publisher.run());
        Self { connection, queue, dropped }
    }

    /// Announces the status of an order and its new events. `fresh` is empty if the call only renews the keys.
    pub fn announce(&self, order: &Order, fresh: &[Arc<RecordedEvent>]) {
        let history = order.history();
        let Some(last) = history.last().cloned() else { return };
        // The swap of the latest attempt, as in the order's own JSON.
        let mut attempt = history.iter().rev().take_while(|step| step.status != Status::Routing);
        let signature = attempt.find_map(|step| match &step.event {
            OrderEvent::Submitted(swap) | OrderEvent::Confirmed { swap, .. } => Some(swap.signature),
            _ => None,
        });
        let (id, request, fresh) = (order.id, order.request.clone(), fresh.to_vec());
        self.enqueue(Announcement::Order { id, request, fresh, last, signature });
    }

    /// Why announcements are not published, if they are not.
    pub fn trouble(&self) -> Option<String> {
        if self.queue.is_closed() {
            Some("the redis publisher has stopped".to_owned())
        } else {
            self.connection.reported_trouble()
        }
    }

    /// Announcements dropped since the start, because the queue was full or Redis was not usable.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until every queued announcement is published or dropped.
    pub async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.queue.send(Announcement::Flush(done)).await.is_ok() {
            let _ = flushed.await;
        }
    }

    /// Caches a quote preview, and announces its prices.
    pub(crate) fn share(
        &self,
        name: &str,
        preview: String,
        request: Arc<OrderRequest>,
        decision: Arc<RoutingDecision>,
    ) {
        self.enqueue(Announcement::CachedQuote { name: name.to_owned(), preview, request, decision });
    }

    /// Reads a cached value.
    pub(crate) async fn recall(&self, name: &str) -> Option<String> {
        self.connection.recall(name).await
    }

    fn enqueue(&self, announcement: Announcement) {
        if self.queue.try_send(announcement).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}
