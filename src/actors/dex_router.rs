//! The router: asks every venue concurrently, waits until its deadline at most, and lets the domain choose.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::actors::supervisor::{Child, ChildExited};
use crate::actors::venue::{GetQuote, Venues};
use crate::domain::fraction::ImpactLimit;
use crate::domain::id::VenueId;
use crate::domain::request::Strategy;
use crate::domain::retry::{Failure, FailureCode};
use crate::domain::routing::{RoutingDecision, Unavailable, check, decide};
use crate::domain::track_record::TrackRecord;
use crate::venue::QuoteRequest;

/// Asks for a routing decision; answered within the routing deadline.
#[derive(Debug, Message)]
#[rtype(result = "Result<RoutingDecision, Failure>")]
pub struct RouteOrder(pub QuoteRequest);

/// Reports how a swap of a venue ended.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct SwapEnded {
    /// The venue.
    pub venue: VenueId,
    /// Whether the swap landed.
    pub landed: bool,
}

/// The recipients of the router's messages.
#[derive(Clone, Debug)]
pub struct RouterRecipients {
    /// For routing decisions.
    pub route: Recipient<RouteOrder>,
    /// For the ends of swaps.
    pub swap_ended: Recipient<SwapEnded>,
}

impl<A> From<Addr<A>> for RouterRecipients
where
    A: Actor<Context = Context<A>> + Handler<RouteOrder> + Handler<SwapEnded>,
{
    fn from(addr: Addr<A>) -> Self {
        Self { route: addr.clone().recipient(), swap_ended: addr.recipient() }
    }
}

/// Chooses between the venues.
pub struct DexRouter {
    venues: Venues,
    // The ids of `venues`.
    venue_order: Arc<[VenueId]>,
    timeout: Duration,
    // For orders without a limit of their own.
    max_price_impact: ImpactLimit,
    // Shared with the answers in progress, which run concurrently on this thread.
    records: Rc<RefCell<BTreeMap<VenueId, TrackRecord>>>,
    supervisor: Recipient<ChildExited>,
}

impl DexRouter {
    /// A router for those venues that answers within `timeout`. `max_price_impact` applies to orders without a limit of
    /// their own. `supervisor` hears when the actor stops.
    pub fn new(
        venues: Venues,
        timeout: Duration,
        max_price_impact: ImpactLimit,
        supervisor: Recipient<ChildExited>,
    ) -> Self {
        let venue_order = venues.iter().map(|(venue, _)| venue).collect();
        Self { venues, venue_order, timeout, max_price_impact, records: Rc::default(), supervisor }
    }
}

impl Actor for DexRouter {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Self::Context) {
        // Full: do_send ignores bounds, and a child exits once. Closed: the engine is shutting down.
        self.supervisor.do_send(ChildExited { child: Child::Router, panicked: std::thread::panicking() });
    }
}

impl Handler<RouteOrder> for DexRouter {
    type Result = ResponseFuture<Result<RoutingDecision, Failure>>;

    fn handle(&mut self, RouteOrder(request): RouteOrder, _: &mut Self::Context) -> Self::Result {
        fail::fail_point!("router", |_| unreachable!("this fail point only panics"));
        let strategy = request.order.strategy;
        let deadline = tokio::time::Instant::now() + self.timeout;
        let (timeout, max_price_impact) = (self.timeout, self.max_price_impact);
        // Full: a venue's mailbox holds one message per order that is routing. Closed: that venue is unavailable.
        // Dropped: with `speed`, the slower venue is not waited for.
        let mut asked: FuturesUnordered<_> = self
            .venues
            .iter()
            .map(|(venue, addr)| {
                let answer = addr.with(|venue| venue.quote.send(GetQuote(request.clone())));
                async move { (venue, tokio::time::timeout_at(deadline, answer).await) }
            })
            .collect();
        let (records, venue_order) = (self.records.clone(), self.venue_order.clone());
        Box::pin(async move {
            let (mut quotes, mut unavailable) = (Vec::new(), Vec::new());
            while let Some((venue, answer)) = asked.next().await {
                let answer = match answer {
                    Ok(Ok(answer)) => answer,
                    Ok(Err(_)) => {
                        Err(Failure::new(FailureCode::VenueUnavailable, format!("{venue} is being restarted")))
                    }
                    Err(_) => Err(Failure::new(
                        FailureCode::VenueUnavailable,
                        format!("{venue} did not answer within {} ms", timeout.as_millis()),
                    )),
                };
                records.borrow_mut().entry(venue).or_default().push(answer.is_ok());
                match answer {
                    Ok(quote) => quotes.push(quote),
                    Err(failure) => unavailable.push(Unavailable { venue, failure }),
                }
                let is_usable = |quote| check(&request.order, max_price_impact, quote).is_ok();
                if strategy == Strategy::Speed && quotes.iter().any(is_usable) {
                    break;
                }
            }
            let records = records.borrow();
            decide(&request.order, max_price_impact, &venue_order, quotes, unavailable, |venue| {
                records.get(&venue).map(TrackRecord::success_rate).unwrap_or_default()
            })
        })
    }
}

impl Handler<SwapEnded> for DexRouter {
    type Result = ();

    fn handle(&mut self, ended: SwapEnded, _: &mut Self::Context) {
        self.records.borrow_mut().entry(ended.venue).or_default().push(ended.landed);
    }
}
