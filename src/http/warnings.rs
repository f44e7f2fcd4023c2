//! What an order's owner should know before it is too late: said beside the answer, and nothing is refused for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::domain::order::OrderRequest;
use crate::domain::quote::Quote;
use crate::domain::routing::Strategy;
use crate::http::AppState;

/// The answer to a submit waits so long at most for a quote to warn by; the order goes on meanwhile.
const QUOTED_WITHIN: Duration = Duration::from_secs(1);

/// The warnings about an order that was just submitted. Its own quote is still to come, so one is asked for to show.
pub(super) async fn at_submit(order: &OrderRequest, app: &AppState) -> Vec<String> {
    // Only where it is needed: submits are many, and few are warned of anything.
    if !order.slippage.is_wide() {
        return Vec::new();
    }
    let asked = OrderRequest { min_amount_out: None, strategy: Strategy::default(), ..order.clone() };
    let (service, request) = (app.service.clone(), Arc::new(asked));
    let asked = request.clone();
    let quote = app.quote_cache.get(&request, async move { service.quote(asked).await });
    let quote = timeout(QUOTED_WITHIN, quote).await.ok().and_then(Result::ok);
    warnings(order, quote.as_ref().map(|quote| quote.decision.winner()))
}

/// The warnings about an order, each a sentence; `quote` is the latest one that is known for it.
pub(super) fn warnings(order: &OrderRequest, quote: Option<&Quote>) -> Vec<String> {
    if !order.slippage.is_wide() {
        return Vec::new();
    }
    let token = &order.token_out;
    let floor = match quote {
        Some(quote) => {
            let floor = order.floor(quote.amount_out).to_decimal(token.decimals);
            let quoted = quote.amount_out.to_decimal(token.decimals);
            format!("of {quoted} {token} quoted by {}, no less than {floor} {token} has to arrive", quote.venue)
        }
        None => match order.min_amount_out {
            Some(minimum) => format!("but never below {} {token} (minAmountOut)", minimum.to_decimal(token.decimals)),
            None => format!("no venue has quoted yet, so it is not known how many {token} have to arrive"),
        },
    };
    let (slippage, percent) = (order.slippage, order.slippage.percent());
    vec![format!("a slippage of {slippage} lets the order lose up to {percent} % of its quote: {floor}")]
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use rust_decimal::Decimal;

    use super::*;
    use crate::domain::amount::{BaseUnits, Slippage};
    use crate::domain::id::VenueId;
    use crate::domain::order::tests::request;

    #[test]
    fn a_slippage_of_half_is_not_taken_without_a_word() {
        let wide = |text: &str| OrderRequest { slippage: Slippage::parse(text).unwrap(), ..request() };
        assert!(warnings(&wide("0.05"), None).is_empty());
        let quote = Quote {
            venue: VenueId::Meteora,
            amount_out: BaseUnits(150_000_001),
            fee: BaseUnits(450_000),
            price: Decimal::from(150),
            price_impact: Decimal::ZERO,
            latency_ms: 1,
            quoted_at: DateTime::UNIX_EPOCH,
        };
        assert_eq!(
            warnings(&wide("0.5"), Some(&quote)),
            [
                "a slippage of 0.5 lets the order lose up to 50 % of its quote: of 150.000001 USDC quoted by meteora, no \
              less than 75.000001 USDC has to arrive"
            ]
        );
        let unknown = warnings(&wide("0.050001"), None);
        assert!(unknown[0].contains("5.0001 %") && unknown[0].contains("no venue has quoted yet"), "{unknown:?}");
        let guarded = OrderRequest { min_amount_out: Some(BaseUnits(140_000_000)), ..wide("0.5") };
        assert!(warnings(&guarded, None)[0].contains("never below 140 USDC"));
        assert!(warnings(&guarded, Some(&quote))[0].contains("no less than 140 USDC"));
    }
}
