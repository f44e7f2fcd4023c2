//! Reads pages of lists. A list has the orders of one owner in the order of their acceptance, newest first, and a page
//! reads a bounded number of them.

use chrono::{DateTime, Utc};
use entity::{idempotency_keys, order_events, orders};
use sea_orm::sea_query::{Alias, Condition, Expr, ExprTrait, Order as Sorted, Query, SelectStatement};
use sea_orm::{ColumnTrait, Iterable, QueryResult};
use uuid::Uuid;

use crate::domain::id::OrderId;
use crate::domain::lifecycle::Status;
use crate::domain::user::Owner;
use crate::store::error::ReadError;
use crate::store::port::{ListFilter, Page};
use crate::store::sea::rows::{Loaded, id_of};
use crate::store::sea::store::SeaStore;
use crate::store::sea::write::scope;

/// The maximum number of orders that a page reads to find those that match its filters. At the maximum the page ends
/// with the orders found so far, and the next page continues after the last order that was read. The alternatives cost
/// more: an index per combination of filters would be written at every accept, and a page without a maximum reads a
/// million orders to find none. Measured on SQLite, reading 4,000 orders took about 10 ms, and in one of a hundred
/// cases up to 28 ms.
const MAX_READ: u64 = 2_000;

/// The maximum for filters that need the latest event of each order. Open orders among a million others are stored far
/// apart, and so are their events: measured on PostgreSQL, reading 1,000 took 9 ms, and 26 ms from the disk.
const MAX_READ_WITH_EVENTS: u64 = 500;

/// The number of rows at the end of a full page that are searched for a readable id, at which the next page begins.
const LAST_ROWS: u64 = 8;

/// The position of an order in a list: the time of its acceptance, then its id. The id alone is not enough for a list
/// that begins or ends at a time: if the clock is set back, times go back but ids do not.
#[derive(Clone, Copy, Debug)]
struct Position {
    // `None` if the time in the row is damaged. Then the stored value is compared as it is.
    accepted: Option<DateTime<Utc>>,
    id: Uuid,
}

impl SeaStore {
    /// A page of the list.
    pub(super) async fn page(&self, filter: &ListFilter) -> Result<Page, ReadError> {
        if filter.from.zip(filter.to).is_some_and(|(from, to)| from >= to) {
            return Ok(Page::default());
        }
        let max_read = filter.status.map_or(MAX_READ, |status| match status.is_final() {
            true => MAX_READ,
            false => MAX_READ_WITH_EVENTS,
        });
        let before = match filter.before {
            Some(id) => Some(self.position_of(filter.owner, id).await?),
            None => None,
        };
        let candidates = candidates(filter, before, max_read);
        let mut rows = self.rows(&matches(filter, candidates.clone())).await?;
        let limit = usize::try_from(filter.limit).unwrap_or(usize::MAX);
        let next = if rows.len() > limit {
            rows.truncate(limit);
            last_id(&rows)
        } else if is_selective(filter) {
            // Whether the maximum was read, and the last order that was read.
            let mut last = candidates.clone();
            last.clear_selects().column(orders::Column::Id).limit(LAST_ROWS).offset(max_read - LAST_ROWS);
            let last = self.rows(&last).await?;
            if last.len() as u64 == LAST_ROWS { last_id(&last) } else { None }
        } else {
            None
        };
        let Loaded { orders, unreadable, .. } = self.load(&rows).await?;
        Ok(Page { orders: orders.into_iter().map(|stored| stored.order).collect(), next, unreadable })
    }

    /// The position of an order in the lists of its owner. An id of no order of the owner has the position of the time
    /// in the id.
    async fn position_of(&self, owner: Owner, id: OrderId) -> Result<Position, ReadError> {
        let mut query = Query::select();
        query.column(orders::Column::CreatedAt).from(orders::Entity);
        query.and_where(orders::Column::Id.eq(id.0)).and_where(belongs_to(owner));
        let accepted = match self.rows(&query).await?.first() {
            Some(row) => row.try_get("", "created_at").ok(),
            None => Some(time_in(id)),
        };
        Ok(Position { accepted, id: id.0 })
    }
}

impl Position {
    /// The condition for the orders after this position, which are older.
    fn is_before(self) -> Expr {
        let accepted = match self.accepted {
            Some(accepted) => Expr::value(accepted),
            None => {
                let mut stored = Query::select();
                stored.column(orders::Column::CreatedAt).from(orders::Entity).and_where(orders::Column::Id.eq(self.id));
                Expr::SubQuery(None, Box::new(stored.into()))
            }
        };
        let position = Expr::tuple([Expr::col(orders::Column::CreatedAt), Expr::col(orders::Column::Id)]);
        position.lt(Expr::tuple([accepted, Expr::value(self.id)]))
    }
}

fn belongs_to(owner: Owner) -> Expr {
    match owner.user() {
        Some(user) => orders::Column::UserId.eq(user.0),
        None => orders::Column::UserId.is_null(),
    }
}

/// The time in the first 48 bits of an id (UUID version 7).
fn time_in(id: OrderId) -> DateTime<Utc> {
    const LATEST: i64 = 253_402_300_799_999;
    let millis = Ord::min(LATEST, i64::try_from(id.0.as_u128() >> 80).unwrap_or(LATEST));
    DateTime::from_timestamp_millis(millis).expect("it is not after the latest time")
}

/// The last id that can be read, at which the next page begins.
fn last_id(rows: &[QueryResult]) -> Option<OrderId> {
    rows.iter().rev().find_map(|row| id_of(row).ok())
}

/// Whether a page can end because it has read the maximum.
fn is_selective(filter: &ListFilter) -> bool {
    filter.status.is_some() || filter.token_in.is_some() || filter.token_out.is_some()
}

/// The newest orders of the owner between the given times. The index for it has these orders without gaps.
fn candidates(filter: &ListFilter, before: Option<Position>, max_read: u64) -> SelectStatement {
    let mut query = Query::select();
    query.columns(orders::Column::iter()).from(orders::Entity).and_where(belongs_to(filter.owner));
    if let Some(key) = &filter.client_order_id {
        // Each client order id is also an idempotency key, and the keys have an index.
        let id = Query::select()
            .column(idempotency_keys::Column::OrderId)
            .from(idempotency_keys::Entity)
            .and_where(idempotency_keys::Column::Scope.eq(scope(filter.owner)))
            .and_where(idempotency_keys::Column::Key.eq(key.as_str()))
            .to_owned();
        query.and_where(Expr::col(orders::Column::Id).eq(Expr::SubQuery(None, Box::new(id.into()))));
        query.and_where(orders::Column::ClientOrderId.eq(key.as_str()));
    }
    if filter.unfinished || filter.status.is_some_and(|status| !status.is_final()) {
        query.and_where(orders::Column::Status.is_null());
    }
    if let Some(from) = filter.from {
        query.and_where(orders::Column::CreatedAt.gte(from));
    }
    // Only the lower one of the two upper bounds: with both, a database may use the other one to find the first row,
    // and then read and skip the rows between.
    let cursor = before.filter(|before| filter.to.is_none_or(|to| before.accepted.is_none_or(|at| at < to)));
    let to = filter.to.filter(|to| before.is_none_or(|before| before.accepted.is_none_or(|at| at >= *to)));
    if let Some(cursor) = cursor {
        query.and_where(cursor.is_before());
    }
    if let Some(to) = to {
        query.and_where(orders::Column::CreatedAt.lt(to));
    }
    newest_first(&mut query).limit(max_read);
    query
}

/// Sorts newest first. The owner is part of the sort key although all rows have the same owner: PostgreSQL does not use
/// this fact if the owner is NULL, and would sort instead of reading the index.
fn newest_first(query: &mut SelectStatement) -> &mut SelectStatement {
    query
        .order_by(orders::Column::UserId, Sorted::Desc)
        .order_by(orders::Column::CreatedAt, Sorted::Desc)
        .order_by(orders::Column::Id, Sorted::Desc)
}

/// The candidates that match the filters, at most one more than the page may have.
fn matches(filter: &ListFilter, candidates: SelectStatement) -> SelectStatement {
    let mut query = Query::select();
    query.columns(orders::Column::iter()).from_subquery(candidates, Alias::new("orders"));
    if let Some(status) = filter.status {
        query.cond_where(has_status(status));
    }
    if let Some(mint) = &filter.token_in {
        query.and_where(orders::Column::TokenIn.eq(mint.as_str()));
    }
    if let Some(mint) = &filter.token_out {
        query.and_where(orders::Column::TokenOut.eq(mint.as_str()));
    }
    // The rows already have this order, so the database does not sort; but only this clause guarantees the order.
    newest_first(&mut query).limit(filter.limit.saturating_add(1));
    query
}

/// The condition for a status. A final status is in the row of the order, any other one in its latest event.
fn has_status(status: Status) -> Condition {
    if status.is_final() {
        return Condition::all().add(orders::Column::Status.eq(status.name()));
    }
    let latest = Query::select()
        .column(order_events::Column::Status)
        .from(order_events::Entity)
        .and_where(
            Expr::col((order_events::Entity, order_events::Column::OrderId))
                .equals((orders::Entity, orders::Column::Id)),
        )
        .order_by((order_events::Entity, order_events::Column::Seq), Sorted::Desc)
        .limit(1)
        .to_owned();
    Condition::all().add(Expr::SubQuery(None, Box::new(latest.into())).eq(status.name()))
}

#[cfg(test)]
mod tests;
