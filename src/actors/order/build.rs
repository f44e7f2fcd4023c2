//! From a routing decision to a signed swap.

use std::sync::Arc;

use actix::MailboxError;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use crate::actors::order::context::OrderContext;
use crate::actors::venue::{BuildSwap, GetQuote};
use crate::domain::id::{OrderId, VenueId};
use crate::domain::moment::Stamp;
use crate::domain::quote::Quote;
use crate::domain::request::OrderRequest;
use crate::domain::retry::{Failure, FailureCode};
use crate::domain::routing::{RoutingDecision, check};
use crate::domain::swap::SignedSwap;
use crate::venue::{QuoteRequest, SwapRequest};

/// Builds the swap on the best quote, or on the next best one if that fails. A quote that is too old is requested again.
pub(super) async fn build(
    context: Arc<OrderContext>,
    order_id: OrderId,
    attempt: u32,
    request: Arc<OrderRequest>,
    decision: Arc<RoutingDecision>,
    decided: Stamp,
) -> Result<SignedSwap, Failure> {
    let max_wait = context.settings.routing_timeout;
    let mut failures = Vec::new();
    for offer in &decision.quotes {
        let Some(addr) = context.venues.get(offer.venue) else { continue };
        let is_fresh = offer.is_fresh(decided, context.environment.clock.read(), context.settings.quote_max_age);
        let quote: Result<Quote, Failure> = if is_fresh {
            Ok(offer.clone())
        } else {
            let again = QuoteRequest { id: order_id.0, round: attempt, order: request.clone() };
            let answer = addr.with(|venue| venue.quote.send(GetQuote(again)));
            answered(offer.venue, timeout(max_wait, answer).await)
        };
        let built = match quote {
            // Checked again, because a new quote may be worse than the one that was chosen.
            Ok(quote) => match check(&request, context.settings.orders.max_price_impact, &quote) {
                Ok(()) => {
                    let swap = SwapRequest { order_id, attempt, order: request.clone(), quote };
                    let answer = addr.with(|venue| venue.build.send(BuildSwap(swap)));
                    answered(offer.venue, timeout(max_wait, answer).await)
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
    // The code is that of the first retryable failure, otherwise that of the best quote. The message lists all of them.
    let decisive = failures.iter().find(|failure| failure.code.retryable()).or(failures.first());
    let code = decisive.map_or(FailureCode::BuildFailed, |failure| failure.code);
    let messages: Vec<_> = failures.iter().map(|failure| failure.message.as_str()).collect();
    Err(Failure::new(code, messages.join("; ")))
}

type VenueAnswer<T> = Result<Result<Result<T, Failure>, MailboxError>, Elapsed>;

fn answered<T>(venue: VenueId, answer: VenueAnswer<T>) -> Result<T, Failure> {
    match answer {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(Failure::new(FailureCode::BuildFailed, format!("{venue} is being restarted"))),
        Err(_) => Err(Failure::new(FailureCode::BuildFailed, format!("{venue} did not answer in time"))),
    }
}
