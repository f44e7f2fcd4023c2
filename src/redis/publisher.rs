//! The publisher: takes what has queued, says it to Redis in one batch, and drops what cannot be said in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::{Pipeline, pipe};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::config::RedisSettings;
use crate::domain::id::OrderId;
use crate::domain::lifecycle::OrderEvent;
use crate::domain::order::{OrderRequest, RecordedEvent};
use crate::domain::retry::base_delay;
use crate::domain::routing::RoutingDecision;
use crate::domain::swap::Signature;
use crate::redis::connection::RedisConnection;
use crate::redis::{OPEN_TTL, Renderers};
use crate::runtime::jitter::jittered;

/// Something to announce. It is put into words on the publisher's own thread, not on an order's.
pub(crate) enum Announcement {
    /// Where an order stands, and which steps are new.
    Order {
        id: OrderId,
        request: Arc<OrderRequest>,
        fresh: Vec<Arc<RecordedEvent>>,
        last: Arc<RecordedEvent>,
        signature: Option<Signature>,
    },
    /// What the venues just answered to a preview, and the text to remember it by.
    CachedQuote { name: String, preview: String, request: Arc<OrderRequest>, decision: Arc<RoutingDecision> },
    /// Answered once everything before it has been announced or dropped.
    Flush(oneshot::Sender<()>),
}

pub(crate) struct Publisher {
    pub(crate) link: Arc<RedisConnection>,
    pub(crate) waiting: mpsc::Receiver<Announcement>,
    pub(crate) dropped: Arc<AtomicU64>,
    pub(crate) settings: RedisSettings,
    pub(crate) voice: Renderers,
}

impl Publisher {
    /// So much is announced in one batch at most.
    const BATCH: usize = 256;
    const MOST_RETRIES: u32 = 3;
    const FIRST_WAIT: Duration = Duration::from_millis(50);

    pub(crate) async fn run(mut self) {
        let mut probe = interval(RedisConnection::PROBED_EVERY);
        probe.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(Self::BATCH);
        loop {
            tokio::select! {
                // However much there is to say, Redis is asked how it is.
                biased;
                _ = probe.tick() => self.probe().await,
                taken = self.waiting.recv_many(&mut batch, Self::BATCH) => match taken {
                    0 => return,
                    _ => self.announce(&mut batch).await,
                },
            }
        }
    }

    /// One answer is enough to be back; to be away it takes more than one that is missing.
    async fn probe(&self) {
        match self.link.trouble() {
            Some(_) => self.link.probe().await,
            None => drop(self.deliver(&self.link.sign_of_life()).await),
        }
    }

    async fn announce(&self, batch: &mut Vec<Announcement>) {
        let (mut commands, mut flushed, mut news) = (pipe(), Vec::new(), 0);
        for item in batch.drain(..) {
            match item {
                Announcement::Flush(done) => flushed.push(done),
                _ if self.link.trouble().is_some() => news += 1,
                item => {
                    self.say(&item, &mut commands);
                    news += 1;
                }
            }
        }
        if news > 0 && !self.deliver(&commands).await {
            self.dropped.fetch_add(news, Ordering::Relaxed);
        }
        for done in flushed {
            // Nobody waits any more: then the flush was given up.
            let _ = done.send(());
        }
    }

    /// Sends a batch, again where that fails; while Redis is away nothing is tried, the probe looks for its return.
    async fn deliver(&self, commands: &Pipeline) -> bool {
        let mut retries = 0;
        while self.link.trouble().is_none() {
            match self.link.run::<()>(commands).await {
                Ok(()) => return true,
                Err(_) if retries < Self::MOST_RETRIES => {
                    retries += 1;
                    sleep(jittered(base_delay(Self::FIRST_WAIT, retries))).await;
                }
                Err(error) => self.link.note(Some(error)),
            }
        }
        false
    }

    fn say(&self, news: &Announcement, to: &mut Pipeline) {
        match news {
            Announcement::Order { id, request, fresh, last, signature } => {
                let (status, active) = (format!("order:{id}:status"), format!("order:{id}:active"));
                let standing = (self.voice.status)(last, *signature);
                // The keys first: who hears the update and looks there must not find what was before.
                if last.status.is_final() {
                    to.pset_ex(status, standing, millis(self.settings.status_ttl)).ignore();
                    to.del(active).ignore();
                } else {
                    to.pset_ex(status, standing, millis(OPEN_TTL)).ignore();
                    to.pset_ex(active, 1, millis(OPEN_TTL)).ignore();
                }
                for step in fresh {
                    let update = (self.voice.update)(*id, request, step);
                    to.publish(self.link.name(&format!("orders:{id}")), &update).ignore();
                    to.publish(self.link.name("orders"), update).ignore();
                    if let OrderEvent::Routed(decision) = &step.event {
                        self.say_prices(request, decision, to);
                    }
                }
            }
            Announcement::CachedQuote { name, preview, request, decision } => {
                to.pset_ex(self.link.name(name), preview, millis(self.settings.quote_ttl)).ignore();
                self.say_prices(request, decision, to);
            }
            Announcement::Flush(_) => {}
        }
    }

    fn say_prices(&self, request: &OrderRequest, decision: &RoutingDecision, to: &mut Pipeline) {
        let channel = self.link.name(&format!("prices:{}:{}", request.token_in.mint, request.token_out.mint));
        for quote in &decision.quotes {
            to.publish(&channel, (self.voice.price)(request, quote)).ignore();
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
