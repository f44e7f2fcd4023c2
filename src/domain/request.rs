//! What a client asks for: the parsed request of an order.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::amount::BaseUnits;
use crate::domain::fraction::{ImpactLimit, Slippage};
use crate::domain::id::ClientKey;
use crate::domain::token::Token;

/// A parsed and consistent request; it never changes after acceptance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRequest {
    /// The type of the order. Requests that were stored before there were types are market orders.
    #[serde(default)]
    pub kind: OrderKind,
    /// The token to sell.
    pub token_in: Token,
    /// The token to buy; never the same mint as `token_in`.
    pub token_out: Token,
    /// The amount to sell.
    pub amount_in: BaseUnits,
    /// How far the output may fall below the quote.
    pub slippage: Slippage,
    /// The minimum output in every attempt, independent of the quote.
    pub min_amount_out: Option<BaseUnits>,
    /// The largest price impact that the client accepts; without one the limit of the engine applies.
    ///
    /// The engine's limit is not copied here, but into the [`Terms`] of the order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_price_impact: Option<ImpactLimit>,
    /// The priority among waiting orders.
    pub priority: Priority,
    /// How the venue is chosen.
    pub strategy: Strategy,
    /// The name that the client gave the order.
    pub client_order_id: Option<ClientKey>,
}

/// The terms of an order where its request leaves them to the settings. They are recorded with the acceptance and hold
/// for the whole life of the order.
///
/// They are not part of the request: a repeated request equals the first one even if the settings have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The limit of the price impact.
    pub max_price_impact: ImpactLimit,
}

impl OrderRequest {
    /// A market order with the default slippage, priority and strategy, and without a minimum output.
    ///
    /// The tokens must differ.
    pub fn market(token_in: Token, token_out: Token, amount_in: BaseUnits) -> Self {
        Self {
            kind: OrderKind::Market,
            token_in,
            token_out,
            amount_in,
            slippage: Slippage::DEFAULT,
            min_amount_out: None,
            max_price_impact: None,
            priority: Priority::default(),
            strategy: Strategy::default(),
            client_order_id: None,
        }
    }

    /// The request with its terms filled in.
    pub fn under(&self, terms: Terms) -> Self {
        Self { max_price_impact: Some(terms.max_price_impact), ..self.clone() }
    }

    /// Whether a client that sends `other` asks for the same order.
    ///
    /// The symbols of tokens do not count: they come from the token list, which may name a token later.
    pub fn is_repeated_by(&self, other: &Self) -> bool {
        let without_symbols = |request: &Self| {
            let mut request = request.clone();
            (request.token_in.symbol, request.token_out.symbol) = (None, None);
            request
        };
        without_symbols(self) == without_symbols(other)
    }

    /// The minimum output of a swap on a quote: the slippage floor or `minAmountOut`, the larger of both; never 0.
    pub fn floor(&self, quoted_out: BaseUnits) -> BaseUnits {
        self.slippage.floor_of(quoted_out).max(self.min_amount_out.unwrap_or_default())
    }
}

/// The type of an order, with the data that only orders of this type have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum OrderKind {
    /// Swaps on the best route as soon as a slot is free.
    #[default]
    Market,
}

impl OrderKind {
    /// The names of all types.
    pub const NAMES: [&str; 1] = [Self::Market.name()];

    /// The name in requests, responses and the database.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Market => "market",
        }
    }

    /// The type with that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Market].into_iter().find(|kind| kind.name() == name)
    }
}

/// The priority among waiting orders: high, normal and low share the dispatches 4 : 2 : 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Four of seven dispatches.
    High,
    /// Two of seven dispatches.
    #[default]
    Normal,
    /// One of seven dispatches.
    Low,
}

/// How the venue of an order is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// The largest output after fees; on a tie the venue that is first in the venue order.
    #[default]
    BestPrice,
    /// The first valid quote.
    Speed,
    /// The venue with the highest recent success rate; on a tie the best price.
    Reliability,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn request() -> OrderRequest {
        let token = |mint: &str, symbol: &str, decimals| Token {
            mint: mint.parse().unwrap(),
            symbol: Some(symbol.into()),
            decimals,
        };
        OrderRequest::market(
            token("So11111111111111111111111111111111111111112", "SOL", 9),
            token("EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v", "USDC", 6),
            BaseUnits(1_000_000_000),
        )
    }

    #[test]
    fn the_floor_is_the_larger_of_slippage_floor_and_minimum() {
        let plain = request();
        assert_eq!(plain.floor(BaseUnits(1_000)), BaseUnits(990));
        let guarded = OrderRequest { min_amount_out: Some(BaseUnits(995)), ..request() };
        assert_eq!(guarded.floor(BaseUnits(1_000)), BaseUnits(995));
    }

    #[test]
    fn a_token_that_got_a_symbol_meanwhile_is_the_same_token() {
        let mut nameless = request();
        nameless.token_in.symbol = None;
        assert!(nameless.is_repeated_by(&request()) && request().is_repeated_by(&nameless));
        assert!(!request().is_repeated_by(&OrderRequest { amount_in: BaseUnits(1), ..request() }));
        let limited = request().under(Terms { max_price_impact: ImpactLimit::NONE });
        assert!(!request().is_repeated_by(&limited), "a limit that the client names is part of the request");
    }

    #[test]
    fn each_type_is_stored_and_found_under_its_name() {
        for name in OrderKind::NAMES {
            let kind = OrderKind::from_name(name).unwrap();
            assert_eq!(kind.name(), name);
            assert_eq!(serde_json::to_value(&kind).unwrap()["type"], name);
        }
        assert_eq!(OrderKind::from_name("limit"), None);
        let stored = serde_json::to_string(&request()).unwrap();
        let later = stored.replacen(OrderKind::Market.name(), "limit", 1);
        assert!(serde_json::from_str::<OrderRequest>(&later).is_err(), "{later}");
    }

    #[test]
    fn a_request_stored_without_a_type_is_a_market_order() {
        let mut stored = serde_json::to_value(request()).unwrap();
        stored.as_object_mut().unwrap().remove("kind").unwrap();
        assert_eq!(serde_json::from_value::<OrderRequest>(stored).unwrap(), request());
    }

    #[test]
    fn a_request_stored_without_a_price_impact_limit_is_read_as_the_same_request() {
        let stored = serde_json::to_string(&request()).unwrap();
        assert!(!stored.contains("impact"), "{stored}");
        assert_eq!(serde_json::from_str::<OrderRequest>(&stored).unwrap(), request());
    }
}
