//! Warnings about a submitted order. They are part of the answer; the order is accepted regardless.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::domain::quote::Quote;
use crate::domain::request::{OrderRequest, Strategy};
use crate::http::AppState;

/// The longest that the answer to a submit waits for a quote for its warnings. The order is executed meanwhile.
const QUOTE_TIMEOUT: Duration = Duration::from_secs(1);

/// The warnings about an order that was just submitted. It has no quote yet, so a preview quote is used.
pub(super) async fn at_submit(order: &OrderRequest, app: &AppState) -> Vec<String> {
    // Few orders need a warning, so most submits ask for no quote.
    if !order.slippage.is_wide() {
        return Vec::new();
    }
    let asked = OrderRequest { min_amount_out: None, strategy: Strategy::default(), ..order.clone() };
    let (service, request) = (app.service.clone(), Arc::new(asked));
    let asked = request.clone();
    let quote = app.quote_cache.get(&request, async move { service.quote(asked).await });
    let quote = timeout(QUOTE_TIMEOUT, quote).await.ok().and_then(Result::ok);
    warnings(order, quote.as_ref().map(|quote| quote.decision.winner()))
}

/// The warnings about an order, one sentence each. `quote` is its latest known quote.
pub(super) fn warnings(order: &OrderRequest, quote: Option<&Quote>) -> Vec<String> {
    if !order.slippage.is_wide() {
        return Vec::new();
    }
    let token = &order.token_out;
    let floor = match quote {
        Some(quote) => {
            let floor = order.floor(quote.amount_out).to_decimal(token.decimals);
            let quoted = quote.amount_out.to_decimal(token.decimals);
            format!("{} quotes {quoted} {token}, and the minimum output is {floor} {token}", quote.venue)
        }
        None => match order.min_amount_out {
            Some(minimum) => {
                format!("the minimum output is {} {token} (minAmountOut)", minimum.to_decimal(token.decimals))
            }
            None => format!("there is no quote yet, so the minimum output in {token} is not known"),
        },
    };
    let (slippage, percent) = (order.slippage, order.slippage.percent());
    vec![format!("with a slippage of {slippage} the order may lose up to {percent} % of its quote: {floor}")]
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use rust_decimal::Decimal;

    use super::*;
    use crate::domain::amount::BaseUnits;
    use crate::domain::fraction::Slippage;
    use crate::domain::id::VenueId;
    use crate::domain::request::tests::request;

    #[test]
    fn a_wide_slippage_is_accepted_with_a_warning() {
        let wide = |text: &str| OrderRequest { slippage: Slippage::parse(text).unwrap(), ..request() };
        assert!(warnings(&wide("0.05"), None).is_empty());
        let quote = Quote {
            venue: VenueId::METEORA,
            amount_out: BaseUnits(150_000_001),
            fee: BaseUnits(450_000),
            price: Decimal::from(150),
            price_impact: Decimal::ZERO,
            latency_ms: 1,
            quoted_at: DateTime::UNIX_EPOCH,
        };
        assert_eq!(
            warnings(&wide("0.5"), Some(&quote)),
            ["with a slippage of 0.5 the order may lose up to 50 % of its quote: meteora quotes 150.000001 USDC, \
                 and the minimum output is 75.000001 USDC"]
        );
        let unknown = warnings(&wide("0.050001"), None);
        assert!(unknown[0].contains("5.0001 %") && unknown[0].contains("there is no quote yet"), "{unknown:?}");
        let guarded = OrderRequest { min_amount_out: Some(BaseUnits(140_000_000)), ..wide("0.5") };
        assert!(warnings(&guarded, None)[0].contains("the minimum output is 140 USDC (minAmountOut)"));
        assert!(warnings(&guarded, Some(&quote))[0].contains("the minimum output is 140 USDC"));
    }
}
