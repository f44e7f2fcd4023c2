//! Redis: a hint, a cache and a loudspeaker. Losing it slows things down and loses nothing: the database is the truth.
//!
//! Nothing here may delay or fail an order. What is announced goes into a bounded queue and is dropped where that is
//! full or Redis is away; whoever listens sees a gap in `seq` and asks the engine. What was announced may be announced
//! again where an answer of Redis was lost; `seq` tells that too.
//!
//! | channel | carries |
//! |---|---|
//! | `{prefix}:v1:orders:{id}` and `{prefix}:v1:orders` | each recorded step of that order, of all orders: the `order:update` of the WebSocket |
//! | `{prefix}:v1:prices:{mint in}:{mint out}` | each fresh quote of each venue: a `price:update` |
//! | `{prefix}:v1-alive` | the engine's version every few seconds, to find out whether Redis lets it publish |
//!
//! | key | holds | lives |
//! |---|---|---|
//! | `order:{id}:status` | status, seq, attempt, timestamp, txHash | [`OPEN_TTL`] after the last sign of the order, `redis.status_ttl_ms` after its end |
//! | `order:{id}:active` | `1` while an engine works on the order | as above, and gone with its end |
//! | `{prefix}:v1:quote:…` | the answer to a preview | `redis.quote_ttl_ms` |
//! | `{prefix}:v1:alive` | the version of the engine that wrote last | a few seconds |
//!
//! The keys of orders have no prefix: no two orders have the same id. The `v1` changes where a reader of the old names
//! would misread the new content; more fields do not change it.

mod connection;
mod publisher;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::config::{RedisSettings, RedisUrl};
use crate::domain::id::OrderId;
use crate::domain::lifecycle::{OrderEvent, Status};
use crate::domain::order::{Order, OrderRequest, RecordedEvent};
use crate::domain::quote::Quote;
use crate::domain::routing::RoutingDecision;
use crate::domain::swap::Signature;
use connection::RedisConnection;
use publisher::{Announcement, Publisher};

/// What is known of an unfinished order is forgotten so long after its last sign of life, for an engine may die.
pub const OPEN_TTL: Duration = Duration::from_secs(60);

/// How things are said: given by the engine, so that the public JSON is written in one place, which is not this one.
#[derive(Clone, Copy)]
pub struct Renderers {
    /// A recorded step.
    pub update: fn(OrderId, &OrderRequest, &RecordedEvent) -> String,
    /// Where an order stands, with its swap's signature where there is one.
    pub status: fn(&RecordedEvent, Option<Signature>) -> String,
    /// A fresh quote.
    pub price: fn(&OrderRequest, &Quote) -> String,
}

/// The way to Redis: announces and remembers without ever waiting, and says how Redis is.
#[derive(Clone)]
pub struct Cluster {
    link: Arc<RedisConnection>,
    queue: mpsc::Sender<Announcement>,
    dropped: Arc<AtomicU64>,
}

impl Cluster {
    /// So much may wait to be announced; what comes on top is dropped.
    const CAPACITY: usize = 4096;

    /// Starts announcing on the runtime this runs on. Waits for one answer of Redis, or that there is none in time.
    pub async fn start(url: &RedisUrl, settings: RedisSettings, voice: Renderers) -> Self {
        let link = Arc::new(RedisConnection::new(url, &settings));
        link.probe().await;
        let (queue, waiting) = mpsc::channel(Self::CAPACITY);
        let dropped = Arc::new(AtomicU64::new(0));
        let publisher = Publisher { link: link.clone(), waiting, dropped: dropped.clone(), settings, voice };
        tokio::spawn(publisher.run());
        Self { link, queue, dropped }
    }

    /// Announces where an order stands, and the steps that are new; none where it is only still there.
    pub fn announce(&self, order: &Order, fresh: &[Arc<RecordedEvent>]) {
        let history = order.history();
        let Some(last) = history.last().cloned() else { return };
        // The swap of the latest attempt, as the order itself is told.
        let mut attempt = history.iter().rev().take_while(|step| step.status != Status::Routing);
        let signature = attempt.find_map(|step| match &step.event {
            OrderEvent::Submitted(swap) | OrderEvent::Confirmed { swap, .. } => Some(swap.signature),
            _ => None,
        });
        let (id, request, fresh) = (order.id, order.request.clone(), fresh.to_vec());
        self.enqueue(Announcement::Order { id, request, fresh, last, signature });
    }

    /// What there is to worry about with Redis, if anything.
    pub fn trouble(&self) -> Option<String> {
        if self.queue.is_closed() { Some("redis is not spoken to any more".to_owned()) } else { self.link.trouble() }
    }

    /// How much was not announced since the start: the queue was full, or Redis away.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything that waits has been announced or dropped.
    pub async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.queue.send(Announcement::Flush(done)).await.is_ok() {
            let _ = flushed.await;
        }
    }

    pub(crate) fn share(
        &self,
        name: &str,
        preview: String,
        request: Arc<OrderRequest>,
        decision: Arc<RoutingDecision>,
    ) {
        self.enqueue(Announcement::CachedQuote { name: name.to_owned(), preview, request, decision });
    }

    pub(crate) async fn recall(&self, name: &str) -> Option<String> {
        self.link.recall(name).await
    }

    fn enqueue(&self, news: Announcement) {
        if self.queue.try_send(news).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}
