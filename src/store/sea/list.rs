//! Pages of orders. Each is read in the order of its owner's ids, and looks at a bounded number of orders.

use chrono::{DateTime, TimeDelta, Utc};
use entity::{idempotency_keys, order_events, orders};
use sea_orm::sea_query::{Alias, Condition, Expr, ExprTrait, Order as Sorted, Query, SelectStatement};
use sea_orm::{ColumnTrait, Iterable, QueryResult};
use uuid::Uuid;

use super::rows::{Loaded, id_of};
use super::{SeaStore, scope};
use crate::domain::id::OrderId;
use crate::domain::lifecycle::Status;
use crate::store::{ListFilter, Page, ReadError};

/// How many orders a page looks at for those that its filters let through. A page that has looked at so many ends with
/// what it has found, and the next one goes on after the last order that was looked at: an index for each combination
/// of filters would be written at every accept, and a page without a limit reads a million orders to find none.
const LOOKED_AT: u64 = 4_000;

/// The same for filters that look at an order's latest event, which costs several times as much.
const LOOKED_AT_BY_EVENT: u64 = 1_000;

/// How far an order's id and its acceptance may lie apart: they are drawn one after the other, but ids never go back
/// where the clock does.
const ID_SLACK: TimeDelta = TimeDelta::days(1);

/// How many of the last rows are looked at for the one where the next page begins: an id among them may be damaged.
const LAST: u64 = 8;

impl SeaStore {
    pub(super) async fn page(&self, filter: &ListFilter) -> Result<Page, ReadError> {
        if filter.from.zip(filter.to).is_some_and(|(from, to)| from >= to) {
            return Ok(Page::default());
        }
        let most = filter.status.map_or(LOOKED_AT, |status| match status.is_final() {
            true => LOOKED_AT,
            false => LOOKED_AT_BY_EVENT,
        });
        let looked_at = looked_at(filter, most);
        let found = found(filter, looked_at.clone());
        let mut rows = self.rows(&found).await?;
        let limit = usize::try_from(filter.limit).unwrap_or(usize::MAX);
        let next = if rows.len() > limit {
            rows.truncate(limit);
            last_id(&rows)
        } else if is_selective(filter) {
            // Whether there is more to look at than was, and where that ended.
            let mut last = looked_at.clone();
            last.clear_selects().column(orders::Column::Id).limit(LAST).offset(most - LAST);
            let last = self.rows(&last).await?;
            if last.len() as u64 == LAST { last_id(&last) } else { None }
        } else {
            None
        };
        let Loaded { orders, unreadable, .. } = self.load(&rows).await?;
        Ok(Page { orders: orders.into_iter().map(|stored| stored.order).collect(), next, unreadable })
    }
}

/// Where a page that ends with those rows is read on.
fn last_id(rows: &[QueryResult]) -> Option<OrderId> {
    rows.iter().rev().find_map(|row| id_of(row).ok())
}

/// Whether a page can end because it has looked at too many orders.
fn is_selective(filter: &ListFilter) -> bool {
    filter.status.is_some()
        || filter.token_in.is_some()
        || filter.token_out.is_some()
        || filter.from.is_some()
        || filter.to.is_some()
}

/// The newest orders of the owner, by an index that has no others in between.
fn looked_at(filter: &ListFilter, most: u64) -> SelectStatement {
    let mut query = Query::select();
    query.columns(orders::Column::iter()).from(orders::Entity).and_where(match filter.owner.user() {
        Some(user) => orders::Column::UserId.eq(user.0),
        None => orders::Column::UserId.is_null(),
    });
    if let Some(key) = &filter.client_order_id {
        // Each client order id is a key too, and keys have the index.
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
    // The id bounds let the index find the times; the times themselves are exact.
    if let Some(from) = filter.from {
        query.and_where(orders::Column::Id.gte(first_id_of(from - ID_SLACK)));
    }
    if let Some(to) = filter.to {
        query.and_where(orders::Column::Id.lt(first_id_of(to + ID_SLACK)));
    }
    if let Some(before) = filter.before {
        query.and_where(orders::Column::Id.lt(before.0));
    }
    in_order(&mut query).limit(most);
    query
}

/// Newest first. By the owner too, though it is one: PostgreSQL does not see that where it is NULL, and would sort.
fn in_order(query: &mut SelectStatement) -> &mut SelectStatement {
    query.order_by(orders::Column::UserId, Sorted::Desc).order_by(orders::Column::Id, Sorted::Desc)
}

/// Those of them that the filters let through, one more than the page may hold.
fn found(filter: &ListFilter, looked_at: SelectStatement) -> SelectStatement {
    let mut query = Query::select();
    query.columns(orders::Column::iter()).from_subquery(looked_at, Alias::new("orders"));
    if let Some(status) = filter.status {
        query.cond_where(stands(status));
    }
    if let Some(mint) = &filter.token_in {
        query.and_where(orders::Column::TokenIn.eq(mint.as_str()));
    }
    if let Some(mint) = &filter.token_out {
        query.and_where(orders::Column::TokenOut.eq(mint.as_str()));
    }
    if let Some(from) = filter.from {
        query.and_where(orders::Column::CreatedAt.gte(from));
    }
    if let Some(to) = filter.to {
        query.and_where(orders::Column::CreatedAt.lt(to));
    }
    // The rows come in this order anyway, and nothing is sorted for it; but only this promises it.
    in_order(&mut query).limit(filter.limit.saturating_add(1));
    query
}

/// Whether an order stands there: a final status is in its row, another in its latest event.
fn stands(status: Status) -> Condition {
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

/// The first id that could be drawn at a moment.
fn first_id_of(at: DateTime<Utc>) -> Uuid {
    let millis = u64::try_from(at.timestamp_millis()).unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid()
}

#[cfg(test)]
mod tests {
    use sea_orm::ConnectionTrait;

    use super::*;
    use crate::Settings;
    use crate::domain::order::tests::request;
    use crate::domain::user::{Owner, UserId};

    /// Every combination of filters that a client can ask for.
    fn combinations() -> Vec<ListFilter> {
        let statuses = [None, Some(Status::Failed), Some(Status::Pending)];
        let owners = [Owner::Shared, Owner::User(UserId(Uuid::from_u128(1)))];
        let mut filters = Vec::new();
        for (owner, status) in owners.into_iter().flat_map(|owner| statuses.map(|status| (owner, status))) {
            for bits in 0..64 {
                let given = |bit: u32| bits >> bit & 1 == 1;
                let at = |seconds| DateTime::UNIX_EPOCH + TimeDelta::days(20_000) + TimeDelta::seconds(seconds);
                filters.push(ListFilter {
                    owner,
                    status,
                    token_in: given(0).then(|| request().token_in.mint),
                    token_out: given(1).then(|| request().token_out.mint),
                    client_order_id: given(2).then(|| "mine".parse().unwrap()),
                    from: given(3).then(|| at(0)),
                    to: given(4).then(|| at(1)),
                    before: given(5).then(|| OrderId(Uuid::from_u128(1 << 100))),
                    ..ListFilter::default()
                });
            }
        }
        filters.push(ListFilter { unfinished: true, ..ListFilter::default() });
        filters
    }

    #[actix_web::test]
    async fn no_combination_of_filters_reads_the_whole_table_or_sorts() {
        let settings = Settings::with([("database.url", "sqlite::memory:")]).unwrap().database;
        let store = SeaStore::open(&settings).await.unwrap();
        for filter in combinations() {
            let query = found(&filter, looked_at(&filter, LOOKED_AT));
            let backend = store.reader.get_database_backend();
            let mut statement = backend.build(&query);
            statement.sql = format!("EXPLAIN QUERY PLAN {}", statement.sql);
            let plan = store.reader.query_all_raw(statement).await.unwrap();
            let plan: Vec<String> = plan.iter().map(|step| step.try_get("", "detail").unwrap()).collect();
            let bad = |step: &&String| {
                step.starts_with("SCAN orders USING") || step.as_str() == "SCAN orders" || step.contains("TEMP")
            };
            // The bounded rows of the inner query are scanned; they are not the table.
            let scans = plan.iter().filter(bad).count();
            let inner = plan.iter().filter(|step| step.contains("CO-ROUTINE") || step.contains("MATERIALIZE")).count();
            assert!(scans <= inner, "{filter:?}: {plan:#?}");
            assert!(plan.iter().any(|step| step.starts_with("SEARCH orders USING")), "{filter:?}: {plan:#?}");
            assert!(!plan.iter().any(|step| step.contains("TEMP B-TREE")), "{filter:?}: {plan:#?}");
        }
    }
}
