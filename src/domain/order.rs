//! An order: what was asked for, and everything that has been recorded of it since.

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

/// A request that has been parsed and holds together; it never changes after acceptance.
///
/// Every order is a market order so far; the other types are refused by name at the edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRequest {
    /// What is sold.
    pub token_in: Token,
    /// What is bought; never the same mint as `token_in`.
    pub token_out: Token,
    /// How much is sold.
    pub amount_in: BaseUnits,
    /// How much less than the quote is still accepted.
    pub slippage: Slippage,
    /// The least output over all attempts, whatever the quotes say.
    pub min_amount_out: Option<BaseUnits>,
    /// The most by which it may move the price; the engine's own limit where it does not say.
    ///
    /// Absent, not filled in, so that a repeat under the same key is the same order whatever the engine's limit is then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_price_impact: Option<ImpactLimit>,
    /// How it is preferred when orders wait.
    pub priority: Priority,
    /// How the venue is chosen.
    pub strategy: Strategy,
    /// The client's own name for it.
    pub client_order_id: Option<ClientKey>,
}

impl OrderRequest {
    /// The floor of a swap built on that quote: the slippage's, or `minAmountOut` where that is more; never 0.
    pub fn floor(&self, quoted_out: BaseUnits) -> BaseUnits {
        self.slippage.floor_of(quoted_out).max(self.min_amount_out.unwrap_or_default())
    }
}

/// How an order is preferred when orders wait: high, normal and low share the dispatches 4 : 2 : 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Four of seven.
    High,
    /// Two of seven.
    #[default]
    Normal,
    /// One of seven.
    Low,
}

/// One step of an order's story, as it is stored and told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedEvent {
    /// Its place in the story, from 1 without a gap.
    pub seq: u32,
    /// When it happened, taken before it was committed.
    pub at: DateTime<Utc>,
    /// The same by the machine's uptime, where that was measured and kept.
    pub moment: Option<Moment>,
    /// Where the order stands after it.
    pub status: Status,
    /// The attempt it belongs to, from 1.
    pub attempt: u32,
    /// How many attempts have failed so far.
    pub retry_count: u32,
    /// What happened.
    pub event: OrderEvent,
}

/// An order and its story.
#[derive(Clone, Debug)]
pub struct Order {
    /// Its identity.
    pub id: OrderId,
    /// Whose it is.
    pub owner: Owner,
    /// What was asked for.
    pub request: Arc<OrderRequest>,
    state: OrderState,
    history: Vec<Arc<RecordedEvent>>,
}

/// Why a stored story could not be told again.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// It does not begin with an acceptance.
    #[error("the story of an order must begin with its acceptance")]
    NoBeginning,
    /// An event is missing or out of order.
    #[error("expected event {expected}, found {found}")]
    Gap {
        /// The number that should come next.
        expected: u32,
        /// The number that came.
        found: u32,
    },
    /// An event does not follow from the state before it.
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
}

impl Order {
    /// A new order, with its first event: accepted, `pending`, sequence 1.
    pub fn accept(id: OrderId, owner: Owner, request: Arc<OrderRequest>, now: impl Into<Stamp>) -> Self {
        let state = OrderState::accepted();
        let first = recorded(1, now.into(), &state, OrderEvent::Accepted);
        Self { id, owner, request, state, history: vec![Arc::new(first)] }
    }

    /// An order as its stored events tell it, through the same rules that made them.
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

    /// What would be recorded if this event happened now; the order itself stays as it is until [`Order::apply`].
    ///
    /// A story's times never run backwards, even where the clock does.
    pub fn propose(&self, event: OrderEvent, now: impl Into<Stamp>) -> Result<RecordedEvent, IllegalTransition> {
        let after = self.state.after(&event)?;
        let Stamp { at, moment } = now.into();
        let stamp = Stamp { at: at.max(self.last().at), moment };
        Ok(recorded(self.last().seq + 1, stamp, &after, event))
    }

    /// Takes in an event that has been recorded.
    pub fn apply(&mut self, recorded: Arc<RecordedEvent>) -> Result<(), IllegalTransition> {
        self.state = self.state.after(&recorded.event)?;
        self.history.push(recorded);
        Ok(())
    }

    /// Where it stands, with all that belongs to standing there.
    pub fn state(&self) -> &OrderState {
        &self.state
    }

    /// Its story so far; never empty.
    pub fn history(&self) -> &[Arc<RecordedEvent>] {
        &self.history
    }

    /// The events after a sequence number, all of them after 0.
    pub fn history_after(&self, seq: u32) -> &[Arc<RecordedEvent>] {
        let told = usize::try_from(seq).unwrap_or(usize::MAX).min(self.history.len());
        &self.history[told..]
    }

    /// Its latest event.
    pub fn last(&self) -> &RecordedEvent {
        self.history.last().expect("an order's story has at least its acceptance")
    }

    /// When it was accepted.
    pub fn created_at(&self) -> DateTime<Utc> {
        self.accepted().at
    }

    /// How long it still waits after a failed attempt; at most the wait that was recorded, whatever the clock says.
    pub fn retry_wait(&self, now: Now) -> Duration {
        let OrderState::Pending { not_before: Some(retry_at), .. } = self.state else { return Duration::ZERO };
        let failed = self.last();
        (retry_at - failed.at).to_std().unwrap_or_default().saturating_sub(failed.stamp().age(now))
    }

    /// How long its swap has been live, as far as one can tell; `None` without one.
    pub fn undecided_for(&self, now: Now) -> Option<Duration> {
        self.state.live_swap()?;
        let submitted = self.history.iter().rev().find(|step| matches!(step.event, OrderEvent::Submitted(_)))?;
        Some(submitted.stamp().age(now))
    }

    /// When it was accepted, by every clock.
    pub fn accepted(&self) -> Stamp {
        self.history.first().expect("an order's story has at least its acceptance").stamp()
    }
}

impl RecordedEvent {
    /// When it happened, by every clock.
    pub fn stamp(&self) -> Stamp {
        Stamp { at: self.at, moment: self.moment }
    }

    /// How long it happened after an earlier event: measured where both were within one boot, otherwise the difference
    /// of their stamps.
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
    fn the_floor_is_the_slippages_or_the_minimum_whichever_is_more() {
        let plain = request();
        assert_eq!(plain.floor(BaseUnits(1_000)), BaseUnits(990));
        let guarded = OrderRequest { min_amount_out: Some(BaseUnits(995)), ..request() };
        assert_eq!(guarded.floor(BaseUnits(1_000)), BaseUnits(995));
    }

    #[test]
    fn a_request_that_was_stored_without_a_limit_of_the_price_impact_is_read_and_is_the_same_order() {
        let stored = serde_json::to_string(&request()).unwrap();
        assert!(!stored.contains("impact"), "{stored}");
        assert_eq!(serde_json::from_str::<OrderRequest>(&stored).unwrap(), request());
    }

    proptest! {
        #[test]
        fn any_run_of_events_keeps_the_story_whole(choices in proptest::collection::vec(0usize..64, 0..60)) {
            let events = every_event();
            let mut order = Order::accept(OrderId(uuid::Uuid::nil()), Owner::Shared, Arc::new(request()), DateTime::UNIX_EPOCH);
            for choice in choices {
                let ended = order.state().is_final();
                let event = events[choice % events.len()].clone();
                match order.propose(event, DateTime::UNIX_EPOCH) {
                    Ok(next) => {
                        prop_assert!(!ended, "an ended order moved on");
                        prop_assert_eq!(next.seq, order.last().seq + 1);
                        order.apply(Arc::new(next)).unwrap();
                    }
                    Err(_) => continue,
                }
            }
            let history = order.history().iter().map(|step| (step.seq, step.at, step.event.clone()));
            let again = Order::replay(order.id, order.owner, order.request.clone(), history).unwrap();
            prop_assert_eq!(again.state(), order.state());
            prop_assert_eq!(again.history(), order.history());
        }
    }
}
