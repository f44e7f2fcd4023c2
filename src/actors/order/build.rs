//! From a routing decision to a signed swap.

use std::sync::Arc;

use actix::MailboxError;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use crate::actors::order::context::OrderContext;
use crate::actors::order::sign::{NotSigned, sign};
use crate::actors::restartable_addr::RestartableAddr;
use crate::actors::venue::{BuildSwap, GetQuote, VenueRecipients};
use crate::domain::id::{OrderId, VenueId};
use crate::domain::moment::Stamp;
use crate::domain::quote::Quote;
use crate::domain::request::OrderRequest;
use crate::domain::retry::{Failure, FailureCode};
use crate::domain::routing::{RoutingDecision, check};
use crate::domain::swap::SignedSwap;
use crate::venue::{QuoteRequest, SwapRequest};

/// Builds and signs the swap on the best quote. If that venue fails, the next best one builds it; if the chain or the
/// signer fails, the attempt fails. A quote that is too old is requested again.
pub(super) async fn build(
    context: Arc<OrderContext>,
    order_id: OrderId,
    attempt: u32,
    request: Arc<OrderRequest>,
    decision: Arc<RoutingDecision>,
    decided: Stamp,
) -> Result<SignedSwap, Failure> {
    let mut failures = Vec::new();
    for offer in &decision.quotes {
        let Some(addr) = context.venues.get(offer.venue) else { continue };
        let built = async {
            let quote = fresh(&context, addr, order_id, attempt, &request, offer, decided).await?;
            // Checked again, because a new quote may be worse than the one that was chosen.
            check(&request, context.settings.orders.max_price_impact, &quote)?;
            let swap = SwapRequest { order_id, attempt, order: request.clone(), quote };
            let answer = addr.with(|venue| venue.build.send(BuildSwap(swap.clone())));
            let unsigned = answered(offer.venue, timeout(context.settings.routing_timeout, answer).await)?;
            Ok::<_, Failure>((swap, unsigned))
        };
        let (swap, unsigned) = match built.await {
            Ok(built) => built,
            Err(failure) => {
                failures.push(failure);
                continue;
            }
        };
        match sign(&*context.chain, &*context.signer, &swap, unsigned, context.settings.routing_timeout).await {
            Ok(signed) => return Ok(signed),
            Err(NotSigned::Venue(failure)) => failures.push(failure),
            Err(NotSigned::Shared(failure)) => return Err(failure),
        }
    }
    // The code is that of the first retryable failure, otherwise that of the best quote. The message lists all of them.
    let decisive = failures.iter().find(|failure| failure.code.retryable()).or(failures.first());
    let code = decisive.map_or(FailureCode::BuildFailed, |failure| failure.code);
    let messages: Vec<_> = failures.iter().map(|failure| failure.message.as_str()).collect();
    Err(Failure::new(code, messages.join("; ")))
}

/// The quote itself, or a new one if it is too old.
async fn fresh(
    context: &OrderContext,
    addr: &RestartableAddr<VenueRecipients>,
    order_id: OrderId,
    attempt: u32,
    request: &Arc<OrderRequest>,
    offer: &Quote,
    decided: Stamp,
) -> Result<Quote, Failure> {
    if offer.is_fresh(decided, context.environment.clock.read(), context.settings.quote_max_age) {
        return Ok(offer.clone());
    }
    let again = QuoteRequest { id: order_id.0, round: attempt, order: request.clone() };
    let answer = addr.with(|venue| venue.quote.send(GetQuote(again)));
    answered(offer.venue, timeout(context.settings.routing_timeout, answer).await)
}

type VenueAnswer<T> = Result<Result<Result<T, Failure>, MailboxError>, Elapsed>;

fn answered<T>(venue: VenueId, answer: VenueAnswer<T>) -> Result<T, Failure> {
    match answer {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(Failure::new(FailureCode::BuildFailed, format!("{venue} is being restarted"))),
        Err(_) => Err(Failure::new(FailureCode::BuildFailed, format!("{venue} did not answer in time"))),
    }
}
