//! A cache of quotes for previews: equal requests ask the venues once, and share the answer while it is fresh.
//!
//! For display only. An order always gets its quotes from the venues, so no trade depends on this cache.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::domain::request::{OrderRequest, Strategy};
use crate::domain::retry::{Failure, FailureCode};
use crate::domain::routing::RoutingDecision;
use crate::redis::Cluster;
use crate::runtime::clock::Clock;

/// The answer of the venues to one request.
#[derive(Clone, Debug)]
pub struct CachedQuote {
    /// The quotes, and the one that would win.
    pub decision: Arc<RoutingDecision>,
    /// Whether the answer existed before this request.
    pub cached: bool,
    asked: Instant,
}

impl CachedQuote {
    /// The time since the venues were asked.
    pub fn age(&self) -> Duration {
        self.asked.elapsed()
    }
}

/// A quote as it is stored in Redis.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredQuote<D> {
    asked_at: DateTime<Utc>,
    decision: D,
}

/// The answer to a request; `None` while the venues are being asked.
type Lookup = Option<Result<CachedQuote, Failure>>;

/// Caches quotes in this process, and in Redis for all engines if Redis is configured.
#[derive(Clone)]
pub struct QuoteCache {
    ttl: Duration,
    cluster: Option<Cluster>,
    clock: Clock,
    lookups: Arc<Mutex<HashMap<String, watch::Receiver<Lookup>>>>,
}

impl QuoteCache {
    /// How many answers this process keeps. When the cache is full, further requests ask the venues each time.
    const CAPACITY: usize = 1024;

    /// A cache whose answers are reused for `ttl`.
    pub fn new(ttl: Duration, cluster: Option<Cluster>, clock: Clock) -> Self {
        Self { ttl, cluster, clock, lookups: Arc::default() }
    }

    /// The answer to a request. `ask` asks the venues; it runs only if no fresh answer exists and no lookup is running.
    pub async fn get(
        &self,
        request: &Arc<OrderRequest>,
        ask: impl Future<Output = Result<RoutingDecision, Failure>> + Send + 'static,
    ) -> Result<CachedQuote, Failure> {
        let key = cache_key(request);
        let (mut lookup, new) = self.lookup(&key);
        let cached = lookup.borrow().is_some();
        if let Some(answer) = new {
            let (quote_cache, request) = (self.clone(), request.clone());
            // A task of its own: other callers wait for it too, and this client may disconnect.
            tokio::spawn(async move { answer.send(Some(quote_cache.fetch(&key, request, ask).await)) });
        }
        let lost = || Err(Failure::new(FailureCode::VenueUnavailable, "the answer of the venues was lost"));
        let answer = lookup.wait_for(Option::is_some).await.map_or(None, |answer| answer.clone());
        answer.unwrap_or_else(lost).map(|quote| CachedQuote { cached: cached || quote.cached, ..quote })
    }

    /// Joins the lookup of that key, or begins one. A new lookup comes with the sender that must answer it.
    fn lookup(&self, key: &str) -> (watch::Receiver<Lookup>, Option<watch::Sender<Lookup>>) {
        let usable = |lookup: &watch::Receiver<Lookup>| match &*lookup.borrow() {
            // An error means that the task panicked and will not answer.
            None => lookup.has_changed().is_ok(),
            Some(Ok(quote)) => quote.age() < self.ttl,
            Some(Err(_)) => false,
        };
        let mut lookups = self.lookups.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lookup) = lookups.get(key)
            && usable(lookup)
        {
            return (lookup.clone(), None);
        }
        let (answer, lookup) = watch::channel(None);
        if lookups.len() >= Self::CAPACITY {
            lookups.retain(|_, lookup| usable(lookup));
        }
        if lookups.len() < Self::CAPACITY {
            lookups.insert(key.to_owned(), lookup.clone());
        }
        (lookup, Some(answer))
    }

    async fn fetch(
        &self,
        key: &str,
        request: Arc<OrderRequest>,
        ask: impl Future<Output = Result<RoutingDecision, Failure>>,
    ) -> Result<CachedQuote, Failure> {
        if let Some(quote) = self.recall(key).await {
            return Ok(quote);
        }
        let decision = Arc::new(ask.await?);
        if let Some(cluster) = &self.cluster {
            let stored = StoredQuote { asked_at: self.clock.now(), decision: &*decision };
            let text = serde_json::to_string(&stored).expect("a routing decision serializes");
            cluster.share(key, text, request, decision.clone());
        }
        Ok(CachedQuote { decision, cached: false, asked: Instant::now() })
    }

    /// A fresh answer from Redis.
    async fn recall(&self, key: &str) -> Option<CachedQuote> {
        let text = self.cluster.as_ref()?.recall(key).await?;
        // Another version may have written a format that this one cannot read.
        let StoredQuote::<RoutingDecision> { asked_at, decision } = serde_json::from_str(&text).ok()?;
        let age = (self.clock.now() - asked_at).to_std().unwrap_or_default();
        let fresh = age < self.ttl && !decision.quotes.is_empty();
        let asked = Instant::now().checked_sub(age).filter(|_| fresh)?;
        Some(CachedQuote { decision: Arc::new(decision), cached: true, asked })
    }
}

/// The key of a request: requests with the same key get the same answer.
///
/// The limit of the price impact is not part of the key, because a preview shows any price impact. The minimum output
/// is, because it decides whether the answer is a failure.
fn cache_key(request: &OrderRequest) -> String {
    let strategy = match request.strategy {
        Strategy::BestPrice => "best_price",
        Strategy::Speed => "speed",
        Strategy::Reliability => "reliability",
    };
    let minimum = request.min_amount_out.map(|minimum| format!(":{}", minimum.0)).unwrap_or_default();
    let (token_in, token_out) = (&request.token_in.mint, &request.token_out.mint);
    format!("quote:{token_in}:{token_out}:{}:{strategy}{minimum}", request.amount_in.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::amount::BaseUnits;
    use crate::domain::request::tests::request;
    use std::sync::atomic::{AtomicU64, Ordering};

    const TTL: Duration = Duration::from_secs(5);

    /// Venues that take a second to answer and count how often they are asked.
    #[derive(Clone, Default)]
    struct Venues(Arc<AtomicU64>);

    impl Venues {
        async fn ask(self, fails: bool) -> Result<RoutingDecision, Failure> {
            self.0.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(1)).await;
            match fails {
                true => Err(Failure::new(FailureCode::NoLiquidity, "no pool")),
                false => {
                    Ok(RoutingDecision { quotes: Vec::new(), unavailable: Vec::new(), reason: "a test".to_owned() })
                }
            }
        }

        fn asked(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_reused_while_it_is_fresh() {
        let (quote_cache, venues, request) =
            (QuoteCache::new(TTL, None, Clock::System), Venues::default(), Arc::new(request()));
        let asking = || quote_cache.get(&request, venues.clone().ask(false));
        let (first, joined) = tokio::join!(asking(), asking());
        assert!(!first.unwrap().cached && !joined.unwrap().cached);
        tokio::time::sleep(Duration::from_secs(3)).await;
        let again = asking().await.unwrap();
        assert!(again.cached && again.age() == Duration::from_secs(3));
        assert_eq!(venues.asked(), 1);
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(!asking().await.unwrap().cached);
        assert_eq!(venues.asked(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_reaches_all_callers_that_wait_for_it_and_is_not_cached() {
        let (quote_cache, venues, request) =
            (QuoteCache::new(TTL, None, Clock::System), Venues::default(), Arc::new(request()));
        let failing = || quote_cache.get(&request, venues.clone().ask(true));
        let (first, joined) = tokio::join!(failing(), failing());
        assert_eq!(first.unwrap_err(), joined.unwrap_err());
        assert_eq!(venues.asked(), 1);
        assert!(!quote_cache.get(&request, venues.clone().ask(false)).await.unwrap().cached);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_disconnects_does_not_cancel_the_lookup_of_the_others() {
        let (quote_cache, venues, request) =
            (QuoteCache::new(TTL, None, Clock::System), Venues::default(), Arc::new(request()));
        let asking = || quote_cache.get(&request, venues.clone().ask(false));
        let left = tokio::time::timeout(Duration::from_millis(500), asking()).await;
        assert!(left.is_err());
        assert!(!asking().await.unwrap().cached);
        assert_eq!(venues.asked(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_cache_keeps_at_most_its_capacity() {
        let (quote_cache, venues) = (QuoteCache::new(TTL, None, Clock::System), Venues::default());
        let questions = (1..=2 * QuoteCache::CAPACITY as u64).map(|amount| {
            let request = Arc::new(OrderRequest { amount_in: BaseUnits(amount), ..request() });
            let (quote_cache, venues) = (quote_cache.clone(), venues.clone());
            async move { quote_cache.get(&request, venues.ask(false)).await.is_ok() }
        });
        assert!(futures_util::future::join_all(questions).await.into_iter().all(|answered| answered));
        assert_eq!(quote_cache.lookups.lock().unwrap().len(), QuoteCache::CAPACITY);
        assert_eq!(venues.asked(), 2 * QuoteCache::CAPACITY as u64);
    }
}
