//! A venue's actor: it holds the adapter, no truth, and may be restarted at any time.

use std::sync::Arc;

use actix::prelude::*;

use crate::actors::supervisor::{Child, ChildExited, Supervisor};
use crate::domain::id::VenueId;
use crate::domain::quote::Quote;
use crate::domain::retry::Failure;
use crate::domain::swap::SignedSwap;
use crate::venue::{QuoteRequest, SwapRequest, Venue};

/// Asks for an offer.
#[derive(Debug, Message)]
#[rtype(result = "Result<Quote, Failure>")]
pub struct GetQuote(pub QuoteRequest);

/// Asks for a signed swap.
#[derive(Debug, Message)]
#[rtype(result = "Result<SignedSwap, Failure>")]
pub struct BuildSwap(pub SwapRequest);

/// One venue.
pub struct VenueActor {
    id: VenueId,
    venue: Arc<dyn Venue>,
    supervisor: Addr<Supervisor>,
}

impl VenueActor {
    /// An actor around that adapter.
    pub fn new(venue: Arc<dyn Venue>, supervisor: Addr<Supervisor>) -> Self {
        Self { id: venue.id(), venue, supervisor }
    }
}

impl Actor for VenueActor {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Self::Context) {
        // Full: do_send ignores bounds, and a child exits once. Closed: then the engine is going down anyway.
        self.supervisor.do_send(ChildExited { child: Child::Venue(self.id), panicked: std::thread::panicking() });
    }
}

// The answers run beside each other, outside the actor: a slow quote holds up none of the others, and an adapter that
// panics in one of them loses just that answer.
impl Handler<GetQuote> for VenueActor {
    type Result = ResponseFuture<Result<Quote, Failure>>;

    fn handle(&mut self, GetQuote(request): GetQuote, _: &mut Self::Context) -> Self::Result {
        fail::fail_point!("venue", self.id == VenueId::Raydium, |_| unreachable!("this fail point only panics"));
        let venue = self.venue.clone();
        Box::pin(async move { venue.quote(request).await })
    }
}

impl Handler<BuildSwap> for VenueActor {
    type Result = ResponseFuture<Result<SignedSwap, Failure>>;

    fn handle(&mut self, BuildSwap(request): BuildSwap, _: &mut Self::Context) -> Self::Result {
        let venue = self.venue.clone();
        Box::pin(async move { venue.build(request).await })
    }
}
