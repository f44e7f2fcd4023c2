//! Rebuilds orders from their rows. Each row is decoded separately, so a damaged row affects its own order only.

use std::collections::HashMap;
use std::sync::Arc;

use entity::{order_events, orders, transactions};
use sea_orm::{
    ColumnTrait, DbErr, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, QueryResult, QuerySelect, QueryTrait,
};
use uuid::Uuid;

use crate::domain::id::OrderId;
use crate::domain::lifecycle::OrderEvent;
use crate::domain::moment::Stamp;
use crate::domain::order::Order;
use crate::domain::swap::{SignedSwap, Swap};
use crate::domain::user::{Owner, UserId};
use crate::store::encoding::{event_of, request_of};
use crate::store::error::{ReadError, UnreadableOrder};
use crate::store::port::StoredOrder;
use crate::store::sea::store::SeaStore;

/// The orders of some rows of `orders`.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// The orders that can be read, in the order of their rows.
    pub(super) orders: Vec<StoredOrder>,
    /// The orders that cannot be read.
    pub(super) unreadable: Vec<UnreadableOrder>,
    /// The number of rows whose id cannot be read.
    pub(super) nameless: usize,
}

/// The statuses of a swap that cannot land any more.
const ENDED: [&str; 3] = ["landed", "rejected", "expired"];

/// The id of an order in a row of `orders`.
pub(super) fn id_of(row: &QueryResult) -> Result<OrderId, DbErr> {
    row.try_get("", "id").map(OrderId)
}

impl SeaStore {
    /// Loads the orders of some rows, with their histories and the bytes of their live swaps.
    pub(super) async fn load(&self, rows: &[QueryResult]) -> Result<Loaded, ReadError> {
        let mut loaded = Loaded::default();
        let mut readable = Vec::with_capacity(rows.len());
        for row in rows {
            match (orders::Model::from_query_result(row, ""), id_of(row)) {
                (Ok(model), _) => readable.push(model),
                (Err(error), Ok(id)) => loaded.unreadable.push(unreadable(id, owner_of(row), error)),
                (Err(_), Err(error)) => {
                    tracing::error!(%error, "the id of a stored order cannot be read; the order is left out");
                    loaded.nameless += 1;
                }
            }
        }
        let unfinished = readable.iter().filter(|row| row.status.is_none()).map(|row| row.id).collect();
        // Read before the histories: a swap is stored together with the event that names it, so the history has that
        // event.
        let swaps = self.live_signatures(unfinished).await?;
        let mut histories = self.histories(&readable).await?;
        let mut orders = Vec::with_capacity(readable.len());
        for row in readable {
            let (id, owner) = (OrderId(row.id), row.user_id.map(UserId).into());
            let history = histories.remove(&row.id).unwrap_or_else(|| Ok(Vec::new()));
            match history.and_then(|history| replay(row, history)) {
                Ok(order) if swaps.get(&order.id.0).is_some_and(|swap| !has_submission(&order, swap.as_deref())) => {
                    let reason = "a swap of the order may land, but no event names that swap";
                    loaded.unreadable.push(unreadable(id, Some(owner), reason));
                }
                Ok(order) => orders.push(order),
                Err(reason) => loaded.unreadable.push(unreadable(id, Some(owner), reason)),
            }
        }
        let mut bytes = self.live_bytes(&orders).await?;
        for order in orders {
            let live = match order.state().live_swap() {
                None => None,
                Some(swap) => match bytes.remove(&swap.signature.to_string()) {
                    Some(bytes) => Some(SignedSwap { swap: Swap::clone(swap), bytes: bytes.into() }),
                    None => {
                        let reason = format!("the bytes of swap {} are missing or damaged", swap.signature);
                        let order = unreadable(order.id, Some(order.owner), reason);
                        // The events name a live swap; that its row is missing does not end it.
                        loaded.unreadable.push(UnreadableOrder { may_be_live: true, ..order });
                        continue;
                    }
                },
            };
            loaded.orders.push(StoredOrder { order, live });
        }
        // The row of a swap decides whether it may still land, whatever the other rows of its order are.
        let live = self.live_signatures(loaded.unreadable.iter().map(|order| order.id.0).collect()).await?;
        loaded.unreadable.iter_mut().for_each(|order| order.may_be_live |= live.contains_key(&order.id.0));
        Ok(loaded)
    }

    /// The events of each order, oldest first, or why they cannot be read.
    async fn histories(
        &self,
        orders: &[orders::Model],
    ) -> Result<HashMap<Uuid, Result<Vec<order_events::Model>, String>>, ReadError> {
        let mut histories: HashMap<Uuid, Result<Vec<order_events::Model>, String>> =
            HashMap::with_capacity(orders.len());
        if orders.is_empty() {
            return Ok(histories);
        }
        let query = order_events::Entity::find()
            .filter(order_events::Column::OrderId.is_in(orders.iter().map(|row| row.id)))
            .order_by_asc(order_events::Column::OrderId)
            .order_by_asc(order_events::Column::Seq)
            .into_query();
        for row in self.rows(&query).await? {
            match order_events::Model::from_query_result(&row, "") {
                Ok(event) => {
                    if let Ok(history) = histories.entry(event.order_id).or_insert_with(|| Ok(Vec::new())) {
                        history.push(event);
                    }
                }
                // The id of the order matched the query, so it is readable.
                Err(error) => {
                    let id = row.try_get("", "order_id").map_err(|error| self.read_failed(error))?;
                    histories.insert(id, Err(error.to_string()));
                }
            }
        }
        Ok(histories)
    }

    /// The bytes of the live swaps of these orders that can be read, by signature.
    ///
    /// Read after the histories: an order may change between two reads, but a swap that an event names is stored.
    async fn live_bytes(&self, orders: &[Order]) -> Result<HashMap<String, Vec<u8>>, ReadError> {
        let live: Vec<_> = orders.iter().filter_map(|order| order.state().live_swap()).collect();
        if live.is_empty() {
            return Ok(HashMap::new());
        }
        let query = transactions::Entity::find()
            .select_only()
            .columns([transactions::Column::Signature, transactions::Column::Bytes])
            .filter(transactions::Column::Signature.is_in(live.iter().map(|swap| swap.signature.to_string())))
            .into_query();
        let read = |row: &QueryResult| Some((row.try_get("", "signature").ok()?, row.try_get("", "bytes").ok()?));
        Ok(self.rows(&query).await?.iter().filter_map(read).collect())
    }

    /// The signatures of the swaps that may land, by order; `None` is a signature that cannot be read.
    async fn live_signatures(&self, orders: Vec<Uuid>) -> Result<HashMap<Uuid, Option<String>>, ReadError> {
        if orders.is_empty() {
            return Ok(HashMap::new());
        }
        let query = transactions::Entity::find()
            .select_only()
            .columns([transactions::Column::OrderId, transactions::Column::Signature])
            .filter(transactions::Column::OrderId.is_in(orders))
            .filter(transactions::Column::Status.is_not_in(ENDED))
            .into_query();
        let read = |row: &QueryResult| Some((row.try_get("", "order_id").ok()?, row.try_get("", "signature").ok()));
        Ok(self.rows(&query).await?.iter().filter_map(read).collect())
    }
}

/// Whether an event of the order names the swap; false if the signature cannot be read.
fn has_submission(order: &Order, signature: Option<&str>) -> bool {
    order.history().iter().any(|step| match &step.event {
        OrderEvent::Submitted(swap) => Some(swap.signature.to_string().as_str()) == signature,
        _ => false,
    })
}

/// The owner of an order; `None` if it cannot be read.
fn owner_of(row: &QueryResult) -> Option<Owner> {
    row.try_get::<Option<Uuid>>("", "user_id").ok().map(|user| user.map(UserId).into())
}

fn unreadable(id: OrderId, owner: Option<Owner>, reason: impl ToString) -> UnreadableOrder {
    UnreadableOrder { id, owner, may_be_live: false, reason: reason.to_string() }
}

/// Rebuilds the order from its row and its events; the error is the reason why that is not possible.
fn replay(row: orders::Model, history: Vec<order_events::Model>) -> Result<Order, String> {
    let request = request_of(&row.request).map_err(|error| format!("request: {error}"))?;
    if row.r#type != request.kind.name() {
        return Err(format!("the row has type {:?}, but the request is a {} order", row.r#type, request.kind.name()));
    }
    let mut events = Vec::with_capacity(history.len());
    let mut statuses = Vec::with_capacity(history.len());
    for event in history {
        let wrong = |error: &dyn std::fmt::Display| format!("event {}: {error}", event.seq);
        let (data, moment) = event_of(&event.data).map_err(|error| wrong(&error))?;
        let seq = u32::try_from(event.seq).map_err(|error| wrong(&error))?;
        events.push((seq, Stamp { at: event.at, moment }, data));
        statuses.push(event.status);
    }
    let owner = row.user_id.map(UserId).into();
    let order = Order::replay(OrderId(row.id), owner, Arc::new(request), events).map_err(|error| error.to_string())?;
    for (event, stored) in order.history().iter().zip(&statuses) {
        if event.status.name() != stored {
            return Err(format!("event {} leads to {}, but its row has {stored:?}", event.seq, event.status));
        }
    }
    // The row is read before the events, so an order may have ended in between. The other way round is an error.
    match row.status {
        Some(status) if status != order.last().status.name() => {
            Err(format!("the row has {status:?}, but the events end with {}", order.last().status))
        }
        _ => Ok(order),
    }
}
