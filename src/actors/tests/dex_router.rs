use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use uuid::Uuid;

use super::stubs::{Asked, Reply, Stubs, next, quote};
use crate::actors::dex_router::{DexRouter, RouteOrder, SwapEnded};
use crate::actors::venue::GetQuote;
use crate::domain::amount::BaseUnits;
use crate::domain::id::VenueId;
use crate::domain::quote::Quote;
use crate::domain::request::tests::request;
use crate::domain::request::{OrderRequest, Strategy};
use crate::domain::retry::FailureCode;
use crate::domain::routing::RoutingDecision;
use crate::venue::QuoteRequest;

const TIMEOUT: Duration = Duration::from_millis(300);

/// A router between two venues, and a request that it is about to answer.
struct Subject {
    stubs: Stubs,
    router: Addr<DexRouter>,
}

impl Subject {
    fn start() -> Self {
        let stubs = Stubs::start();
        let settings = crate::config::Settings::with::<String, String>([]).unwrap();
        let limit = settings.orders.max_price_impact;
        let router = DexRouter::new(stubs.venues(), TIMEOUT, limit, stubs.addr.clone().recipient()).start();
        Self { stubs, router }
    }

    /// Requests a decision, and returns the questions to Raydium and Meteora.
    async fn route(
        &mut self,
        strategy: Strategy,
    ) -> (actix::dev::Request<DexRouter, RouteOrder>, [Reply<GetQuote>; 2]) {
        let order = Arc::new(OrderRequest { strategy, ..request() });
        let decision = self.router.send(RouteOrder(QuoteRequest { id: Uuid::nil(), round: 1, order }));
        let raydium = next!(self.stubs, Asked::GetQuote(_, reply) => reply);
        let meteora = next!(self.stubs, Asked::GetQuote(_, reply) => reply);
        (decision, [raydium, meteora])
    }

    fn quote(&self, venue: VenueId, amount: u64) -> Quote {
        Quote { amount_out: BaseUnits(amount), ..quote(venue, &self.stubs.clock) }
    }
}

fn venues(decision: &RoutingDecision) -> Vec<VenueId> {
    decision.quotes.iter().map(|quote| quote.venue).collect()
}

#[actix::test]
async fn the_best_price_wins_although_its_quote_comes_last() {
    let mut subject = Subject::start();
    let (decision, [raydium, meteora]) = subject.route(Strategy::BestPrice).await;
    raydium.send(Ok(subject.quote(VenueId::RAYDIUM, 100))).unwrap();
    subject.stubs.nothing_for(TIMEOUT / 2).await;
    meteora.send(Ok(subject.quote(VenueId::METEORA, 101))).unwrap();
    let decision = decision.await.unwrap().unwrap();
    assert_eq!(venues(&decision), [VenueId::METEORA, VenueId::RAYDIUM]);
}

#[actix::test]
async fn a_venue_that_does_not_answer_is_left_out_at_the_deadline() {
    let mut subject = Subject::start();
    let started = tokio::time::Instant::now();
    let (decision, [_silent, meteora]) = subject.route(Strategy::BestPrice).await;
    meteora.send(Ok(subject.quote(VenueId::METEORA, 100))).unwrap();
    let decision = decision.await.unwrap().unwrap();
    assert!(started.elapsed() >= TIMEOUT && started.elapsed() < TIMEOUT * 2);
    assert_eq!(venues(&decision), [VenueId::METEORA]);
    assert_eq!(decision.unavailable[0].failure.message, "raydium did not answer within 300 ms");
}

#[actix::test]
async fn speed_takes_the_first_usable_quote_and_does_not_wait_for_the_other() {
    let mut subject = Subject::start();
    let (decision, [_slow, meteora]) = subject.route(Strategy::Speed).await;
    meteora.send(Ok(subject.quote(VenueId::METEORA, 1))).unwrap();
    let started = tokio::time::Instant::now();
    assert_eq!(venues(&decision.await.unwrap().unwrap()), [VenueId::METEORA]);
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[actix::test]
async fn reliability_prefers_the_venue_whose_swaps_landed() {
    let mut subject = Subject::start();
    for landed in [false; 5] {
        subject.router.do_send(SwapEnded { venue: VenueId::RAYDIUM, landed });
    }
    let (decision, [raydium, meteora]) = subject.route(Strategy::Reliability).await;
    raydium.send(Ok(subject.quote(VenueId::RAYDIUM, 200))).unwrap();
    meteora.send(Ok(subject.quote(VenueId::METEORA, 100))).unwrap();
    assert_eq!(decision.await.unwrap().unwrap().winner().venue, VenueId::METEORA);
}

#[actix::test]
async fn without_any_quote_the_failure_is_retryable() {
    let mut subject = Subject::start();
    let (decision, replies) = subject.route(Strategy::BestPrice).await;
    drop(replies);
    assert_eq!(decision.await.unwrap().unwrap_err().code, FailureCode::VenueUnavailable);
}
