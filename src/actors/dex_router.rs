//! The router: asks every venue at once, waits no longer than it may, and lets the domain choose.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::actors::restartable_addr::RestartableAddr;
use crate::actors::supervisor::{Child, ChildExited, Supervisor};
use crate::actors::venue::{GetQuote, VenueActor};
use crate::domain::amount::ImpactLimit;
use crate::domain::id::VenueId;
use crate::domain::retry::{Failure, FailureCode};
use crate::domain::routing::{RoutingDecision, Strategy, TrackRecord, Unavailable, check, decide};
use crate::venue::QuoteRequest;

/// Asks for a decision; answered within the routing deadline.
#[derive(Debug, Message)]
#[rtype(result = "Result<RoutingDecision, Failure>")]
pub struct RouteOrder(pub QuoteRequest);

/// Tells how a venue's swap turned out.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct SwapEnded {
    /// Whose swap.
    pub venue: VenueId,
    /// Whether it landed.
    pub landed: bool,
}

/// The lines to all venues.
pub type Venues = BTreeMap<VenueId, RestartableAddr<VenueActor>>;

/// Chooses between venues.
pub struct DexRouter {
    venues: Venues,
    timeout: Duration,
    // For orders that do not say their own.
    max_price_impact: ImpactLimit,
    // Shared with the answers under way, which run beside each other on this thread.
    records: Rc<RefCell<BTreeMap<VenueId, TrackRecord>>>,
    supervisor: Addr<Supervisor>,
}

impl DexRouter {
    /// A router between those venues, with the limit of the price impact for orders that do not say their own.
    pub fn new(venues: Venues, timeout: Duration, max_price_impact: ImpactLimit, supervisor: Addr<Supervisor>) -> Self {
        Self { venues, timeout, max_price_impact, records: Rc::default(), supervisor }
    }
}

impl Actor for DexRouter {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Self::Context) {
        // Full: do_send ignores bounds, and a child exits once. Closed: then the engine is going down anyway.
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
        // Full: a venue's mailbox holds one message an order that is routing. Closed: that venue is unavailable.
        // Dropped: with `speed`, the slower venue is not waited for.
        let mut asked: FuturesUnordered<_> = self
            .venues
            .iter()
            .map(|(&venue, restartable_addr)| {
                let answer = restartable_addr.get().send(GetQuote(request.clone()));
                async move { (venue, tokio::time::timeout_at(deadline, answer).await) }
            })
            .collect();
        let records = self.records.clone();
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
                let serves = |quote| check(&request.order, max_price_impact, quote).is_ok();
                if strategy == Strategy::Speed && quotes.iter().any(serves) {
                    break;
                }
            }
            let records = records.borrow();
            decide(&request.order, max_price_impact, quotes, unavailable, |venue| {
                records.get(&venue).map(TrackRecord::share).unwrap_or_default()
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
