//! From a routing decision to a signed swap.

use std::sync::Arc;

use actix::MailboxError;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use crate::actors::order::OrderContext;
use crate::actors::venue::{BuildSwap, GetQuote};
use crate::domain::id::OrderId;
use crate::domain::moment::Stamp;
use crate::domain::order::OrderRequest;
use crate::domain::quote::Quote;
use crate::domain::retry::{Failure, FailureCode};
use crate::domain::routing::{RoutingDecision, check};
use crate::domain::swap::SignedSwap;
use crate::venue::{QuoteRequest, SwapRequest};

/// Builds on the best offer, and on the next best where that fails. An offer that has grown too old is asked again.
pub(super) async fn build(
    world: Arc<OrderContext>,
    order_id: OrderId,
    attempt: u32,
    request: Arc<OrderRequest>,
    decision: Arc<RoutingDecision>,
    decided: Stamp,
) -> Result<SignedSwap, Failure> {
    let patience = world.settings.routing_timeout;
    let mut failures = Vec::new();
    for offer in &decision.quotes {
        let Some(restartable_addr) = world.venues.get(&offer.venue) else { continue };
        let venue = restartable_addr.get();
        let quote: Result<Quote, Failure> = if offer.is_fresh(decided, world.clock.read(), world.settings.quote_max_age)
        {
            Ok(offer.clone())
        } else {
            let again = QuoteRequest { id: order_id.0, round: attempt, order: request.clone() };
            answered(offer.venue.name(), timeout(patience, venue.send(GetQuote(again))).await)
        };
        let built = match quote {
            // Checked here too: an offer that was asked again may have moved.
            Ok(quote) => match check(&request, world.settings.orders.max_price_impact, &quote) {
                Ok(()) => {
                    let swap = SwapRequest { order_id, attempt, order: request.clone(), quote };
                    answered(offer.venue.name(), timeout(patience, venue.send(BuildSwap(swap))).await)
                }
                Err(failure) => Err(failure),
            },
            Err(failure) => Err(failure),
        };
        match built {
            Ok(signed) => return Ok(signed),
            Err(failure) => failures.push(failure),
        }
    }
    // The best offer's failure decides, unless only another one may end otherwise at the next attempt. The others are
    // told in the message.
    let decisive = failures.iter().find(|failure| failure.code.retryable()).or(failures.first());
    let code = decisive.map_or(FailureCode::BuildFailed, |failure| failure.code);
    let said = failures.iter().map(|failure| failure.message.as_str()).collect::<Vec<_>>().join("; ");
    Err(Failure::new(code, said))
}

type VenueAnswer<T> = Result<Result<Result<T, Failure>, MailboxError>, Elapsed>;

fn answered<T>(venue: &str, answer: VenueAnswer<T>) -> Result<T, Failure> {
    match answer {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(Failure::new(FailureCode::BuildFailed, format!("{venue} is being restarted"))),
        Err(_) => Err(Failure::new(FailureCode::BuildFailed, format!("{venue} did not answer in time"))),
    }
}
