//! Reads stored orders row by row, so that a damaged row costs the order it belongs to and no other.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use entity::{order_events, orders, transactions};
use sea_orm::sea_query::SelectStatement;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, QueryResult,
    QuerySelect, QueryTrait,
};
use uuid::Uuid;

use crate::domain::id::OrderId;
use crate::domain::lifecycle::OrderEvent;
use crate::domain::moment::Stamp;
use crate::domain::order::Order;
use crate::domain::swap::{SignedSwap, Swap};
use crate::domain::user::{Owner, UserId};
use crate::store::sea::SeaStore;
use crate::store::{ReadError, StoredOrder, UnreadableOrder, moment_of};

/// What rows of `orders` come to.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// The orders, in the order of their rows.
    pub(super) orders: Vec<StoredOrder>,
    /// The orders that cannot be read.
    pub(super) unreadable: Vec<UnreadableOrder>,
    /// How many rows have an id that cannot be read.
    pub(super) nameless: usize,
}

/// How a swap's row says that it cannot land any more.
const ENDED: [&str; 3] = ["landed", "rejected", "expired"];

/// The id of an order in a row of `orders`.
pub(super) fn id_of(row: &QueryResult) -> Result<OrderId, DbErr> {
    row.try_get("", "id").map(OrderId)
}

impl SeaStore {
    /// The rows that a statement finds; none of them is read yet.
    pub(super) async fn rows(&self, query: &SelectStatement) -> Result<Vec<QueryResult>, ReadError> {
        let statement = self.reader.get_database_backend().build(query);
        self.reader.query_all_raw(statement).await.map_err(|error| self.unread(error))
    }

    /// The orders of some rows, with their histories and the bytes of their live swaps.
    pub(super) async fn load(&self, rows: &[QueryResult]) -> Result<Loaded, ReadError> {
        let mut loaded = Loaded::default();
        let mut readable = Vec::with_capacity(rows.len());
        for row in rows {
            match (orders::Model::from_query_result(row, ""), id_of(row)) {
                (Ok(model), _) => readable.push(model),
                (Err(error), Ok(id)) => loaded.unreadable.push(unreadable(id, owner_of(row), error)),
                (Err(_), Err(error)) => {
                    tracing::error!(%error, "a stored order has an id that this version cannot read; it is left out");
                    loaded.nameless += 1;
                }
            }
        }
        let swaps = self.live_signatures(&readable).await?;
        let mut histories = self.histories(&readable).await?;
        let mut orders = Vec::with_capacity(readable.len());
        for row in readable {
            let (id, owner) = (OrderId(row.id), row.user_id.map(UserId).into());
            let history = histories.remove(&row.id).unwrap_or_else(|| Ok(Vec::new()));
            match history.and_then(|history| replay(row, history)) {
                Ok(order) if swaps.get(&order.id.0).is_some_and(|swap| !is_told(&order, swap.as_deref())) => {
                    let reason = "a swap of it may land, and its events do not tell of that swap";
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
                        // Its events say so, whatever became of the swap's own row.
                        loaded.unreadable.push(UnreadableOrder { may_be_live: true, ..order });
                        continue;
                    }
                },
            };
            loaded.orders.push(StoredOrder { order, live });
        }
        self.find_live_swaps(&mut loaded.unreadable).await?;
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
                // It was found by its order's id, so that can be read.
                Err(error) => {
                    let id = row.try_get("", "order_id").map_err(|error| self.unread(error))?;
                    histories.insert(id, Err(error.to_string()));
                }
            }
        }
        Ok(histories)
    }

    /// The bytes of the live swaps of those orders, as far as they can be read, by signature.
    ///
    /// Read after the histories: orders move on between two reads, but what an event names is there.
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

    /// The signatures of the swaps that may land, of the orders among these that have not ended.
    ///
    /// Read before the histories: a swap is recorded together with the event that names it, so that is there by then.
    async fn live_signatures(&self, orders: &[orders::Model]) -> Result<HashMap<Uuid, Option<String>>, ReadError> {
        let open: Vec<_> = orders.iter().filter(|row| row.status.is_none()).map(|row| row.id).collect();
        if open.is_empty() {
            return Ok(HashMap::new());
        }
        let query = transactions::Entity::find()
            .select_only()
            .columns([transactions::Column::OrderId, transactions::Column::Signature])
            .filter(transactions::Column::OrderId.is_in(open))
            .filter(transactions::Column::Status.is_not_in(ENDED))
            .into_query();
        let read = |row: &QueryResult| Some((row.try_get("", "order_id").ok()?, row.try_get("", "signature").ok()));
        Ok(self.rows(&query).await?.iter().filter_map(read).collect())
    }

    /// Notes which orders may have a swap that can still land: the swap's own row says so, whatever the others say.
    async fn find_live_swaps(&self, orders: &mut [UnreadableOrder]) -> Result<(), ReadError> {
        if orders.is_empty() {
            return Ok(());
        }
        let query = transactions::Entity::find()
            .select_only()
            .column(transactions::Column::OrderId)
            .filter(transactions::Column::OrderId.is_in(orders.iter().map(|order| order.id.0)))
            .filter(transactions::Column::Status.is_not_in(ENDED))
            .into_query();
        let rows = self.rows(&query).await?;
        let live: HashSet<Uuid> = rows.iter().filter_map(|row| row.try_get("", "order_id").ok()).collect();
        orders.iter_mut().for_each(|order| order.may_be_live |= live.contains(&order.id.0));
        Ok(())
    }
}

/// Whether the events of an order name that swap. Where its signature cannot be read, they do not.
fn is_told(order: &Order, signature: Option<&str>) -> bool {
    order.history().iter().any(|step| match &step.event {
        OrderEvent::Submitted(swap) => Some(swap.signature.to_string().as_str()) == signature,
        _ => false,
    })
}

/// Whose an order is; `None` where that cannot be read.
fn owner_of(row: &QueryResult) -> Option<Owner> {
    row.try_get::<Option<Uuid>>("", "user_id").ok().map(|user| user.map(UserId).into())
}

fn unreadable(id: OrderId, owner: Option<Owner>, reason: impl ToString) -> UnreadableOrder {
    UnreadableOrder { id, owner, may_be_live: false, reason: reason.to_string() }
}

/// The order that its row and its events tell, or why they do not tell one.
fn replay(row: orders::Model, history: Vec<order_events::Model>) -> Result<Order, String> {
    let request = serde_json::from_str(&row.request).map_err(|error| format!("its request: {error}"))?;
    let mut events = Vec::with_capacity(history.len());
    let mut statuses = Vec::with_capacity(history.len());
    for event in history {
        let wrong = |error: &dyn std::fmt::Display| format!("event {}: {error}", event.seq);
        let data = serde_json::from_str(&event.data).map_err(|error| wrong(&error))?;
        let moment = moment_of(&event.data).map_err(|error| wrong(&error))?;
        let seq = u32::try_from(event.seq).map_err(|error| wrong(&error))?;
        events.push((seq, Stamp { at: event.at, moment }, data));
        statuses.push(event.status);
    }
    let owner = row.user_id.map(UserId).into();
    let order = Order::replay(OrderId(row.id), owner, Arc::new(request), events).map_err(|error| error.to_string())?;
    for (event, stored) in order.history().iter().zip(&statuses) {
        if event.status.name() != stored {
            return Err(format!("event {} leads to {}, and its row says {stored:?}", event.seq, event.status));
        }
    }
    // The row is read before the events, so an order may have ended in between; one that has ended stays that.
    match row.status {
        Some(status) if status != order.last().status.name() => {
            Err(format!("its row says {status:?}, and its events end with {}", order.last().status))
        }
        _ => Ok(order),
    }
}
