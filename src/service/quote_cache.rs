//! Previews: the same question is asked of the venues once, and its answer given again while it is young.
//!
//! Only for showing. An order's quotes always come from the venues themselves, so nothing is ever traded on these.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::domain::order::OrderRequest;
use crate::domain::retry::{Failure, FailureCode};
use crate::domain::routing::{RoutingDecision, Strategy};
use crate::redis::Cluster;

/// What the venues answered to a question, and when.
#[derive(Clone, Debug)]
pub struct CachedQuote {
    /// Their answer.
    pub decision: Arc<RoutingDecision>,
    /// Whether it was there before this question was put.
    pub cached: bool,
    asked: Instant,
}

impl CachedQuote {
    /// How old the answer is.
    pub fn age(&self) -> Duration {
        self.asked.elapsed()
    }
}

/// A preview as Redis remembers it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredQuote<D> {
    asked_at: DateTime<Utc>,
    decision: D,
}

/// The answer to a question, empty until there is one.
type Lookup = Option<Result<CachedQuote, Failure>>;

/// Asks the venues, or remembers what they said: in this process, and where there is Redis in others too.
#[derive(Clone)]
pub struct QuoteCache {
    ttl: Duration,
    cluster: Option<Cluster>,
    flights: Arc<Mutex<HashMap<String, watch::Receiver<Lookup>>>>,
}

impl QuoteCache {
    /// So many answers are kept in this process; further questions are asked each time.
    const MOST: usize = 1024;

    /// Previews that are given again for so long.
    pub fn new(ttl: Duration, cluster: Option<Cluster>) -> Self {
        Self { ttl, cluster, flights: Arc::default() }
    }

    /// What the venues answer to a request: `ask` asks them, and is only run where no answer is known or under way.
    pub async fn get(
        &self,
        request: &Arc<OrderRequest>,
        ask: impl Future<Output = Result<RoutingDecision, Failure>> + Send + 'static,
    ) -> Result<CachedQuote, Failure> {
        let name = name(request);
        let (mut flight, unasked) = self.flight(&name);
        let cached = flight.borrow().is_some();
        if let Some(answer) = unasked {
            let (quote_cache, request) = (self.clone(), request.clone());
            // On its own, so that others who wait for it do not depend on this client.
            tokio::spawn(async move { answer.send(Some(quote_cache.fetch(&name, request, ask).await)) });
        }
        let lost = || Err(Failure::new(FailureCode::VenueUnavailable, "the venues' answer was lost"));
        let answer = flight.wait_for(Option::is_some).await.map_or(None, |answer| answer.clone());
        answer.unwrap_or_else(lost).map(|preview| CachedQuote { cached: cached || preview.cached, ..preview })
    }

    /// Where the answer to a question will be or is; and where nobody has asked it yet, what to answer it with.
    fn flight(&self, name: &str) -> (watch::Receiver<Lookup>, Option<watch::Sender<Lookup>>) {
        let usable = |flight: &watch::Receiver<Lookup>| match &*flight.borrow() {
            // Unless nobody is left to answer, because the asking broke.
            None => flight.has_changed().is_ok(),
            Some(Ok(preview)) => preview.age() < self.ttl,
            Some(Err(_)) => false,
        };
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(name)
            && usable(flight)
        {
            return (flight.clone(), None);
        }
        let (answer, flight) = watch::channel(None);
        if flights.len() >= Self::MOST {
            flights.retain(|_, flight| usable(flight));
        }
        if flights.len() < Self::MOST {
            flights.insert(name.to_owned(), flight.clone());
        }
        (flight, Some(answer))
    }

    async fn fetch(
        &self,
        name: &str,
        request: Arc<OrderRequest>,
        ask: impl Future<Output = Result<RoutingDecision, Failure>>,
    ) -> Result<CachedQuote, Failure> {
        if let Some(preview) = self.recall(name).await {
            return Ok(preview);
        }
        let decision = Arc::new(ask.await?);
        if let Some(cluster) = &self.cluster {
            let remembered = StoredQuote { asked_at: Utc::now(), decision: &*decision };
            let text = serde_json::to_string(&remembered).expect("a decision is plain data");
            cluster.share(name, text, request, decision.clone());
        }
        Ok(CachedQuote { decision, cached: false, asked: Instant::now() })
    }

    async fn recall(&self, name: &str) -> Option<CachedQuote> {
        let text = self.cluster.as_ref()?.recall(name).await?;
        // What another version has written and this one cannot read is as good as nothing.
        let StoredQuote::<RoutingDecision> { asked_at, decision } = serde_json::from_str(&text).ok()?;
        let age = (Utc::now() - asked_at).to_std().unwrap_or_default();
        let young = age < self.ttl && !decision.quotes.is_empty();
        let asked = Instant::now().checked_sub(age).filter(|_| young)?;
        Some(CachedQuote { decision: Arc::new(decision), cached: true, asked })
    }
}

/// What makes two questions the same. A preview shows any price impact, so its limit is no part of it. The minimum only
/// decides whether the answer is a failure, but it does decide that.
fn name(request: &OrderRequest) -> String {
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
    use crate::domain::order::tests::request;
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
    async fn an_answer_is_given_again_while_it_is_young() {
        let (quote_cache, venues, request) = (QuoteCache::new(TTL, None), Venues::default(), Arc::new(request()));
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
    async fn a_failure_is_told_to_all_who_wait_for_it_and_then_forgotten() {
        let (quote_cache, venues, request) = (QuoteCache::new(TTL, None), Venues::default(), Arc::new(request()));
        let failing = || quote_cache.get(&request, venues.clone().ask(true));
        let (first, joined) = tokio::join!(failing(), failing());
        assert_eq!(first.unwrap_err(), joined.unwrap_err());
        assert_eq!(venues.asked(), 1);
        assert!(!quote_cache.get(&request, venues.clone().ask(false)).await.unwrap().cached);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_leaves_takes_no_answer_from_the_others() {
        let (quote_cache, venues, request) = (QuoteCache::new(TTL, None), Venues::default(), Arc::new(request()));
        let asking = || quote_cache.get(&request, venues.clone().ask(false));
        let left = tokio::time::timeout(Duration::from_millis(500), asking()).await;
        assert!(left.is_err());
        assert!(!asking().await.unwrap().cached);
        assert_eq!(venues.asked(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_answers_are_kept_than_may_be() {
        let (quote_cache, venues) = (QuoteCache::new(TTL, None), Venues::default());
        let questions = (1..=2 * QuoteCache::MOST as u64).map(|amount| {
            let request = Arc::new(OrderRequest { amount_in: BaseUnits(amount), ..request() });
            let (quote_cache, venues) = (quote_cache.clone(), venues.clone());
            async move { quote_cache.get(&request, venues.ask(false)).await.is_ok() }
        });
        assert!(futures_util::future::join_all(questions).await.into_iter().all(|answered| answered));
        assert_eq!(quote_cache.flights.lock().unwrap().len(), QuoteCache::MOST);
        assert_eq!(venues.asked(), 2 * QuoteCache::MOST as u64);
    }
}
