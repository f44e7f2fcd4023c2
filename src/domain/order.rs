//! An order: the request, and everything that has been recorded about it since.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::domain::amount::{BaseUnits, ImpactLimit, Slippage};
use crate::domain::id::{ClientKey, OrderId};
use crate::domain::lifecycle::{IllegalTransition, OrderEvent, OrderState, Status};
use crate::domain::moment::{Moment, Now, Stamp};
use crate::domain::routing::Strategy;
use crate::domain::token::Token;
use crate::domain::user::Owner;

/// A parsed and consistent request; it never changes after acceptance.
///
/// Every order is a market order. The API refuses the other types by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRequest {
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
    /// The engine's limit is not copied here: a repeated request must equal the first one even if that limit has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_price_impact: Option<ImpactLimit>,
    /// The priority among waiting orders.
    pub priority: Priority,
    /// How the venue is chosen.
    pub strategy: Strategy,
    /// The name that the client gave the order.
    pub client_order_id: Option<ClientKey>,
}

impl OrderRequest {
    /// The minimum output of a swap on a quote: the slippage floor or `minAmountOut`, the larger of both; never 0.
    pub fn floor(&self, quoted_out: BaseUnits) -> BaseUnits {
        self.slippage.floor_of(quoted_out).max(self.min_amount_out.unwrap_or_default())
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

/// One recorded step in the history of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedEvent {
    /// The sequence number in the history, from 1 without gaps.
    pub seq: u32,
    /// The wall-clock time, read before the commit.
    pub at: DateTime<Utc>,
    /// The uptime of the machine at the same moment; `None` in rows of versions that did not store it.
    pub moment: Option<Moment>,
    /// The status after the event.
    pub status: Status,
    /// The attempt after the event, from 1.
    pub attempt: u32,
    /// The number of failed attempts after the event.
    pub retry_count: u32,
    /// The event.
    pub event: OrderEvent,
}

/// An order and its history.
///
/// The state is private: it changes only by [`Order::apply`], with an event that is already recorded.
#[derive(Clone, Debug)]
pub struct Order {
    /// The id.
    pub id: OrderId,
    /// The owner.
    pub owner: Owner,
    /// The request.
    pub request: Arc<OrderRequest>,
    state: OrderState,
    history: Vec<Arc<RecordedEvent>>,
}

/// Why a stored history could not be replayed.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The first event is not the acceptance.
    #[error("the history of an order must begin with event 1, accepted")]
    NoBeginning,
    /// An event is missing or out of order.
    #[error("expected event {expected}, found {found}")]
    Gap {
        /// The expected sequence number.
        expected: u32,
        /// The stored sequence number.
        found: u32,
    },
    /// An event is not legal after the events before it.
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
}

impl Order {
    /// A new order with its first event: accepted, status `pending`, sequence number 1.
    pub fn accept(id: OrderId, owner: Owner, request: Arc<OrderRequest>, now: impl Into<Stamp>) -> Self {
        let state = OrderState::accepted();
        let first = recorded(1, now.into(), &state, OrderEvent::Accepted);
        Self { id, owner, request, state, history: vec![Arc::new(first)] }
    }

    /// Rebuilds an order from its stored events, by the same rules that produced them.
    pub fn replay<S: Into<Stamp>>(
        id: OrderId,
        owner: Owner,
        request: Arc<OrderRequest>,
        events: impl IntoIterator<Item = (u32, S, OrderEvent)>,
    ) -> Result<Self, ReplayError> {
        let mut events = events.into_iter();
        let mut order = match events.next() {
            Some((1, at, OrderEvent::Accepted)) => Self::accept(id, owner, request, at),
            _ => return Err(ReplayError::NoBeginning),
        };
        for (seq, at, event) in events {
            let next = order.propose(event, at)?;
            if next.seq != seq {
                return Err(ReplayError::Gap { expected: next.seq, found: seq });
            }
            order.apply(Arc::new(next))?;
        }
        Ok(order)
    }

    /// The row to record for this event. The order does not change until [`Order::apply`].
    ///
    /// The times of a history never decrease, even if the wall clock is set back.
    pub fn propose(&self, event: OrderEvent, now: impl Into<Stamp>) -> Result<RecordedEvent, IllegalTransition> {
        let after = self.state.after(&event)?;
        let Stamp { at, moment } = now.into();
        let stamp = Stamp { at: at.max(self.last().at), moment };
        Ok(recorded(self.last().seq + 1, stamp, &after, event))
    }

    /// Applies an event that has been recorded.
    pub fn apply(&mut self, recorded: Arc<RecordedEvent>) -> Result<(), IllegalTransition> {
        self.state = self.state.after(&recorded.event)?;
        self.history.push(recorded);
        Ok(())
    }

    /// The current state.
    pub fn state(&self) -> &OrderState {
        &self.state
    }

    /// The history; never empty.
    pub fn history(&self) -> &[Arc<RecordedEvent>] {
        &self.history
    }

    /// The events after a sequence number; 0 returns all of them.
    pub fn history_after(&self, seq: u32) -> &[Arc<RecordedEvent>] {
        let skipped = usize::try_from(seq).unwrap_or(usize::MAX).min(self.history.len());
        &self.history[skipped..]
    }

    /// The latest event.
    pub fn last(&self) -> &RecordedEvent {
        self.history.last().expect("a history contains at least the acceptance")
    }

    /// The time of acceptance.
    pub fn created_at(&self) -> DateTime<Utc> {
        self.accepted().at
    }

    /// The rest of the back-off after a failed attempt; never more than was recorded, even if the wall clock changes.
    pub fn retry_wait(&self, now: Now) -> Duration {
        let OrderState::Pending { not_before: Some(retry_at), .. } = self.state else { return Duration::ZERO };
        let failed = self.last();
        (retry_at - failed.at).to_std().unwrap_or_default().saturating_sub(failed.stamp().age(now))
    }

    /// How long the swap has been live, measured as exactly as the clocks allow; `None` without a live swap.
    pub fn undecided_for(&self, now: Now) -> Option<Duration> {
        self.state.live_swap()?;
        let submitted = self.history.iter().rev().find(|step| matches!(step.event, OrderEvent::Submitted(_)))?;
        Some(submitted.stamp().age(now))
    }

    /// The time of acceptance on both clocks.
    pub fn accepted(&self) -> Stamp {
        self.history.first().expect("a history contains at least the acceptance").stamp()
    }
}

impl RecordedEvent {
    /// The time of the event on both clocks.
    pub fn stamp(&self) -> Stamp {
        Stamp { at: self.at, moment: self.moment }
    }

    /// The time since an earlier event: by the uptime if both happened in one boot, otherwise by the wall clock.
    pub fn since(&self, earlier: &Self) -> Duration {
        match (self.moment, earlier.moment) {
            (Some(now), Some(then)) if now.boot == then.boot => now.uptime.since(then.uptime),
            _ => (self.at - earlier.at).to_std().unwrap_or_default(),
        }
    }
}

fn recorded(seq: u32, Stamp { at, moment }: Stamp, after: &OrderState, event: OrderEvent) -> RecordedEvent {
    let (status, attempt, retry_count) = (after.status(), after.attempt(), after.retry_count());
    RecordedEvent { seq, at, moment, status, attempt, retry_count, event }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::domain::lifecycle::tests::every_event;
    use crate::domain::routing::Strategy;
    use proptest::prelude::*;

    pub(crate) fn request() -> OrderRequest {
        let token = |mint: &str, symbol: &str, decimals| Token {
            mint: mint.parse().unwrap(),
            symbol: Some(symbol.into()),
            decimals,
        };
        OrderRequest {
            token_in: token("So11111111111111111111111111111111111111112", "SOL", 9),
            token_out: token("EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v", "USDC", 6),
            amount_in: BaseUnits(1_000_000_000),
            slippage: Slippage::DEFAULT,
            min_amount_out: None,
            max_price_impact: None,
            priority: Priority::Normal,
            strategy: Strategy::BestPrice,
            client_order_id: None,
        }
    }

    #[test]
    fn the_floor_is_the_larger_of_slippage_floor_and_minimum() {
        let plain = request();
        assert_eq!(plain.floor(BaseUnits(1_000)), BaseUnits(990));
        let guarded = OrderRequest { min_amount_out: Some(BaseUnits(995)), ..request() };
        assert_eq!(guarded.floor(BaseUnits(1_000)), BaseUnits(995));
    }

    #[test]
    fn a_request_stored_without_a_price_impact_limit_is_read_as_the_same_request() {
        let stored = serde_json::to_string(&request()).unwrap();
        assert!(!stored.contains("impact"), "{stored}");
        assert_eq!(serde_json::from_str::<OrderRequest>(&stored).unwrap(), request());
    }

    proptest! {
        #[test]
        fn any_sequence_of_events_replays_to_the_same_order(choices in proptest::collection::vec(0usize..64, 0..60)) {
            let events = every_event();
            let mut order = Order::accept(OrderId(uuid::Uuid::nil()), Owner::Shared, Arc::new(request()), DateTime::UNIX_EPOCH);
            for choice in choices {
                let ended = order.state().is_final();
                let event = events[choice % events.len()].clone();
                match order.propose(event, DateTime::UNIX_EPOCH) {
                    Ok(next) => {
                        prop_assert!(!ended, "a final state changed");
                        prop_assert_eq!(next.seq, order.last().seq + 1);
                        order.apply(Arc::new(next)).unwrap();
                    }
                    Err(_) => continue,
                }
            }
            let history = order.history().iter().map(|step| (step.seq, step.at, step.event.clone()));
            let replayed = Order::replay(order.id, order.owner, order.request.clone(), history).unwrap();
            prop_assert_eq!(replayed.state(), order.state());
            prop_assert_eq!(replayed.history(), order.history());
        }
    }
}
