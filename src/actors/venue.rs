//! The actor of one venue: it holds the adapter and no state, so it can be restarted at any time.

use std::sync::Arc;

use actix::prelude::*;

use crate::actors::restartable_addr::RestartableAddr;
use crate::actors::supervisor::{Child, ChildExited};
use crate::domain::id::VenueId;
use crate::domain::quote::Quote;
use crate::domain::retry::Failure;
use crate::domain::swap::UnsignedSwap;
use crate::venue::{QuoteRequest, SwapRequest, Venue};

/// Asks for a quote.
#[derive(Debug, Message)]
#[rtype(result = "Result<Quote, Failure>")]
pub struct GetQuote(pub QuoteRequest);

/// Asks for the swap of a quote.
#[derive(Debug, Message)]
#[rtype(result = "Result<UnsignedSwap, Failure>")]
pub struct BuildSwap(pub SwapRequest);

/// The recipients of a venue's messages.
#[derive(Clone, Debug)]
pub struct VenueRecipients {
    /// For quotes.
    pub quote: Recipient<GetQuote>,
    /// For swaps.
    pub build: Recipient<BuildSwap>,
}

impl<A> From<Addr<A>> for VenueRecipients
where
    A: Actor<Context = Context<A>> + Handler<GetQuote> + Handler<BuildSwap>,
{
    fn from(addr: Addr<A>) -> Self {
        Self { quote: addr.clone().recipient(), build: addr.recipient() }
    }
}

/// The addresses of all venues, in the venue order. The clones share one list.
#[derive(Clone, Debug)]
pub struct Venues(Arc<[(VenueId, RestartableAddr<VenueRecipients>)]>);

impl Venues {
    /// The address of a venue; `None` if the engine no longer has that venue.
    pub fn get(&self, id: VenueId) -> Option<&RestartableAddr<VenueRecipients>> {
        self.iter().find(|(venue, _)| *venue == id).map(|(_, addr)| addr)
    }

    /// All venues, in the venue order.
    pub fn iter(&self) -> impl Iterator<Item = (VenueId, &RestartableAddr<VenueRecipients>)> {
        self.0.iter().map(|(venue, addr)| (*venue, addr))
    }
}

impl FromIterator<(VenueId, RestartableAddr<VenueRecipients>)> for Venues {
    fn from_iter<I: IntoIterator<Item = (VenueId, RestartableAddr<VenueRecipients>)>>(venues: I) -> Self {
        Self(venues.into_iter().collect())
    }
}

/// One venue.
pub struct VenueActor {
    id: VenueId,
    venue: Arc<dyn Venue>,
    supervisor: Recipient<ChildExited>,
}

impl VenueActor {
    /// An actor for that adapter. `supervisor` hears when the actor stops.
    pub fn new(venue: Arc<dyn Venue>, supervisor: Recipient<ChildExited>) -> Self {
        Self { id: venue.id(), venue, supervisor }
    }
}

impl Actor for VenueActor {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Self::Context) {
        // Full: do_send ignores bounds, and a child exits once. Closed: the engine is shutting down.
        self.supervisor.do_send(ChildExited { child: Child::Venue(self.id), panicked: std::thread::panicking() });
    }
}

// The answers run concurrently, outside the actor: a slow quote delays no other, and a panic of the adapter loses only
// the answer it happens in.
impl Handler<GetQuote> for VenueActor {
    type Result = ResponseFuture<Result<Quote, Failure>>;

    fn handle(&mut self, GetQuote(request): GetQuote, _: &mut Self::Context) -> Self::Result {
        fail::fail_point!(&format!("venue.{}", self.id), |_| unreachable!("this fail point only panics"));
        let venue = self.venue.clone();
        Box::pin(async move { venue.quote(request).await })
    }
}

impl Handler<BuildSwap> for VenueActor {
    type Result = ResponseFuture<Result<UnsignedSwap, Failure>>;

    fn handle(&mut self, BuildSwap(request): BuildSwap, _: &mut Self::Context) -> Self::Result {
        let venue = self.venue.clone();
        Box::pin(async move { venue.build(request).await })
    }
}
