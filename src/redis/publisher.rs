//! The publisher: takes queued announcements, sends them to Redis in batches, and drops a batch that fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::{Pipeline, pipe};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::config::RedisSettings;
use crate::domain::id::OrderId;
use crate::domain::lifecycle::OrderEvent;
use crate::domain::order::RecordedEvent;
use crate::domain::request::OrderRequest;
use crate::domain::retry::base_delay;
use crate::domain::routing::RoutingDecision;
use crate::domain::swap::Signature;
use crate::redis::connection::RedisConnection;
use crate::redis::{OPEN_TTL, Renderers};
use crate::runtime::environment::Random;
use crate::runtime::jitter::jittered;

/// An item of the queue. The publisher's thread renders it to JSON, not the order's thread.
pub(crate) enum Announcement {
    /// The status of an order, and its new events.
    Order {
        id: OrderId,
        request: Arc<OrderRequest>,
        fresh: Vec<Arc<RecordedEvent>>,
        last: Arc<RecordedEvent>,
        signature: Option<Signature>,
    },
    /// The venues' answer to a quote preview, and the text to cache.
    CachedQuote { name: String, preview: String, request: Arc<OrderRequest>, decision: Arc<RoutingDecision> },
    /// Answered when every earlier item is published or dropped.
    Flush(oneshot::Sender<()>),
}

pub(crate) struct Publisher {
    pub(crate) connection: Arc<RedisConnection>,
    pub(crate) waiting: mpsc::Receiver<Announcement>,
    pub(crate) dropped: Arc<AtomicU64>,
    pub(crate) settings: RedisSettings,
    pub(crate) renderers: Renderers,
    pub(crate) random: Random,
}

impl Publisher {
    /// The most announcements in one pipeline.
    const BATCH: usize = 256;
    const MAX_RETRIES: u32 = 3;
    const FIRST_RETRY_DELAY: Duration = Duration::from_millis(50);

    pub(crate) async fn run(mut self) {
        let mut probe = interval(RedisConnection::PROBE_INTERVAL);
        probe.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(Self::BATCH);
        loop {
            tokio::select! {
                // The health check comes first, so a full queue does not delay it.
                biased;
                _ = probe.tick() => self.probe().await,
                taken = self.waiting.recv_many(&mut batch, Self::BATCH) => match taken {
                    0 => return,
                    _ => self.announce(&mut batch).await,
                },
            }
        }
    }

    /// Runs the health check. One success marks Redis as usable; one failure is retried before Redis is marked
    /// unusable.
    async fn probe(&self) {
        match self.connection.trouble() {
            Some(_) => self.connection.probe().await,
            None => drop(self.deliver(&self.connection.health_check()).await),
        }
    }

    async fn announce(&self, batch: &mut Vec<Announcement>) {
        let (mut commands, mut flushed, mut announced) = (pipe(), Vec::new(), 0);
        for item in batch.drain(..) {
            match item {
                Announcement::Flush(done) => flushed.push(done),
                _ if self.connection.trouble().is_some() => announced += 1,
                item => {
                    self.add_commands(&item, &mut commands);
                    announced += 1;
                }
            }
        }
        if announced > 0 && !self.deliver(&commands).await {
            self.dropped.fetch_add(announced, Ordering::Relaxed);
        }
        for done in flushed {
            // The send fails if the flush has timed out.
            let _ = done.send(());
        }
    }

    /// Sends a pipeline, with retries; returns whether it succeeded. While Redis is not usable nothing is sent: the
    /// health check finds out when it works again.
    async fn deliver(&self, commands: &Pipeline) -> bool {
        let mut retries = 0;
        while self.connection.trouble().is_none() {
            match self.connection.run::<()>(commands).await {
                Ok(()) => return true,
                Err(_) if retries < Self::MAX_RETRIES => {
                    retries += 1;
                    sleep(jittered(base_delay(Self::FIRST_RETRY_DELAY, retries), &self.random)).await;
                }
                Err(error) => self.connection.note(Some(error)),
            }
        }
        false
    }

    fn add_commands(&self, announcement: &Announcement, to: &mut Pipeline) {
        match announcement {
            Announcement::Order { id, request, fresh, last, signature } => {
                let (status, active) = (format!("order:{id}:status"), format!("order:{id}:active"));
                let current = (self.renderers.status)(last, *signature);
                // The keys come before the updates: a subscriber that reads a key after an update must find the new
                // value.
                if last.status.is_final() {
                    to.pset_ex(status, current, millis(self.settings.status_ttl)).ignore();
                    to.del(active).ignore();
                } else {
                    to.pset_ex(status, current, millis(OPEN_TTL)).ignore();
                    to.pset_ex(active, 1, millis(OPEN_TTL)).ignore();
                }
                for step in fresh {
                    let update = (self.renderers.update)(*id, request, step);
                    to.publish(self.connection.name(&format!("orders:{id}")), &update).ignore();
                    to.publish(self.connection.name("orders"), update).ignore();
                    if let OrderEvent::Routed(decision) = &step.event {
                        self.add_prices(request, decision, to);
                    }
                }
            }
            Announcement::CachedQuote { name, preview, request, decision } => {
                to.pset_ex(self.connection.name(name), preview, millis(self.settings.quote_ttl)).ignore();
                self.add_prices(request, decision, to);
            }
            Announcement::Flush(_) => {}
        }
    }

    fn add_prices(&self, request: &OrderRequest, decision: &RoutingDecision, to: &mut Pipeline) {
        let channel = self.connection.name(&format!("prices:{}:{}", request.token_in.mint, request.token_out.mint));
        for quote in &decision.quotes {
            to.publish(&channel, (self.renderers.price)(request, quote)).ignore();
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
