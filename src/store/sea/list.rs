//! Pages of orders. Each is read in the order in which its owner's orders were accepted, and looks at a bounded number of
//! orders.

use chrono::{DateTime, Utc};
use entity::{idempotency_keys, order_events, orders};
use sea_orm::sea_query::{Alias, Condition, Expr, ExprTrait, Order as Sorted, Query, SelectStatement};
use sea_orm::{ColumnTrait, Iterable, QueryResult};
use uuid::Uuid;

use crate::domain::id::OrderId;
use crate::domain::lifecycle::Status;
use crate::domain::user::Owner;
use crate::store::sea::rows::{Loaded, id_of};
use crate::store::sea::{SeaStore, scope};
use crate::store::{ListFilter, Page, ReadError};

/// How many orders a page looks at for those that its filters let through. A page that has looked at so many ends with
/// what it has found, and the next one goes on after the last order that was looked at: an index for each combination
/// of filters would be written at every accept, and a page without a limit reads a million orders to find none. To look at
/// 4,000 took SQLite about 10 ms, and so up to 28 ms in one case of a hundred.
const LOOKED_AT: u64 = 2_000;

/// The same for filters that look at an order's latest event. Orders that are open among a million others lie far apart,
/// and so do their events: 1,000 of them took PostgreSQL 9 ms, and 26 ms where they had to be read from the disk.
const LOOKED_AT_BY_EVENT: u64 = 500;

/// An order's place in the lists: when it was accepted, and its id among those of the same moment. The id alone would
/// not do where the list begins or ends at a time: ids do not go back where the clock does.
#[derive(Clone, Copy, Debug)]
struct Place {
    // `None` where the row is damaged there: then it stands where the database puts what is in it.
    accepted: Option<DateTime<Utc>>,
    id: Uuid,
}

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
        let before = match filter.before {
            Some(id) => Some(self.place_of(filter.owner, id).await?),
            None => None,
        };
        let looked_at = looked_at(filter, before, most);
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

    /// Where an order stands in its owner's lists. An id that is none of theirs stands where it was drawn.
    async fn place_of(&self, owner: Owner, id: OrderId) -> Result<Place, ReadError> {
        let mut query = Query::select();
        query.column(orders::Column::CreatedAt).from(orders::Entity);
        query.and_where(orders::Column::Id.eq(id.0)).and_where(is_of(owner));
        let accepted = match self.rows(&query).await?.first() {
            Some(row) => row.try_get("", "created_at").ok(),
            None => Some(drawn_at(id)),
        };
        Ok(Place { accepted, id: id.0 })
    }
}

impl Place {
    /// Whether an order stands after it, which is older.
    fn is_followed(self) -> Expr {
        let accepted = match self.accepted {
            Some(accepted) => Expr::value(accepted),
            None => {
                let mut stored = Query::select();
                stored.column(orders::Column::CreatedAt).from(orders::Entity).and_where(orders::Column::Id.eq(self.id));
                Expr::SubQuery(None, Box::new(stored.into()))
            }
        };
        let place = Expr::tuple([Expr::col(orders::Column::CreatedAt), Expr::col(orders::Column::Id)]);
        place.lt(Expr::tuple([accepted, Expr::value(self.id)]))
    }
}

fn is_of(owner: Owner) -> Expr {
    match owner.user() {
        Some(user) => orders::Column::UserId.eq(user.0),
        None => orders::Column::UserId.is_null(),
    }
}

/// When an id was drawn, as far as it says so itself.
fn drawn_at(id: OrderId) -> DateTime<Utc> {
    const LATEST: i64 = 253_402_300_799_999;
    let millis = Ord::min(LATEST, i64::try_from(id.0.as_u128() >> 80).unwrap_or(LATEST));
    DateTime::from_timestamp_millis(millis).expect("it is in range")
}

/// Where a page that ends with those rows is read on.
fn last_id(rows: &[QueryResult]) -> Option<OrderId> {
    rows.iter().rev().find_map(|row| id_of(row).ok())
}

/// Whether a page can end because it has looked at too many orders.
fn is_selective(filter: &ListFilter) -> bool {
    filter.status.is_some() || filter.token_in.is_some() || filter.token_out.is_some()
}

/// The newest orders of the owner within the times that are asked for, by an index that has no others in between.
fn looked_at(filter: &ListFilter, before: Option<Place>, most: u64) -> SelectStatement {
    let mut query = Query::select();
    query.columns(orders::Column::iter()).from(orders::Entity).and_where(is_of(filter.owner));
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
    if let Some(from) = filter.from {
        query.and_where(orders::Column::CreatedAt.gte(from));
    }
    // One upper bound alone: of two, a database may take the looser one to find the first row, and skip the rest.
    let cursor = before.filter(|before| filter.to.is_none_or(|to| before.accepted.is_none_or(|at| at < to)));
    let to = filter.to.filter(|to| before.is_none_or(|before| before.accepted.is_none_or(|at| at >= *to)));
    if let Some(cursor) = cursor {
        query.and_where(cursor.is_followed());
    }
    if let Some(to) = to {
        query.and_where(orders::Column::CreatedAt.lt(to));
    }
    in_order(&mut query).limit(most);
    query
}

/// Newest first. By the owner too, though it is one: PostgreSQL does not see that where it is NULL, and would sort.
fn in_order(query: &mut SelectStatement) -> &mut SelectStatement {
    query
        .order_by(orders::Column::UserId, Sorted::Desc)
        .order_by(orders::Column::CreatedAt, Sorted::Desc)
        .order_by(orders::Column::Id, Sorted::Desc)
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chrono::TimeDelta;
    use sea_orm::ConnectionTrait;

    use super::*;
    use crate::Settings;
    use crate::domain::order::Order;
    use crate::domain::order::tests::request;
    use crate::domain::user::UserId;
    use crate::store::{OrderStore, Write};

    async fn in_memory() -> SeaStore {
        let settings = Settings::with([("database.url", "sqlite::memory:")]).unwrap().database;
        SeaStore::open(&settings).await.unwrap()
    }

    /// An order that was accepted so many seconds after a certain day's beginning.
    fn order_at(seconds: i64) -> Order {
        Order::accept(OrderId(Uuid::now_v7()), Owner::Shared, Arc::new(request()), at(seconds))
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::days(20_000) + TimeDelta::seconds(seconds)
    }

    async fn store_all(store: &SeaStore, orders: &[Order]) {
        for some in orders.chunks(500) {
            store
                .commit(&some.iter().map(|order| Write::accept(order.clone(), None)).collect::<Vec<_>>())
                .await
                .unwrap();
        }
    }

    /// The ids on each page, from the first to the last.
    async fn pages(store: &SeaStore, mut filter: ListFilter) -> Vec<Vec<OrderId>> {
        let mut pages = Vec::new();
        loop {
            let page = store.page(&filter).await.unwrap();
            pages.push(page.orders.iter().map(|order| order.id).collect());
            filter.before = page.next;
            if filter.before.is_none() {
                return pages;
            }
        }
    }

    /// Every combination of filters that a client can ask for.
    fn combinations() -> Vec<ListFilter> {
        let statuses = [None, Some(Status::Failed), Some(Status::Pending)];
        let owners = [Owner::Shared, Owner::User(UserId(Uuid::from_u128(1)))];
        let mut filters = Vec::new();
        for (owner, status) in owners.into_iter().flat_map(|owner| statuses.map(|status| (owner, status))) {
            for bits in 0..64 {
                let given = |bit: u32| bits >> bit & 1 == 1;
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
        let store = in_memory().await;
        for filter in combinations() {
            let before = filter.before.map(|id| Place { accepted: Some(at(0)), id: id.0 });
            let query = found(&filter, looked_at(&filter, before, LOOKED_AT));
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

    #[actix_web::test]
    async fn the_orders_of_a_minute_are_one_page_however_many_others_the_day_has() {
        let store = in_memory().await;
        let orders: Vec<_> = (0..20_000).map(order_at).collect();
        store_all(&store, &orders).await;
        let minute = ListFilter { from: Some(at(9_000)), to: Some(at(9_060)), limit: 100, ..ListFilter::default() };
        let newest_first: Vec<_> = orders[9_000..9_060].iter().rev().map(|order| order.id).collect();
        assert_eq!(pages(&store, minute.clone()).await, vec![newest_first.clone()]);
        let in_parts = pages(&store, ListFilter { limit: 7, ..minute }).await;
        assert!(in_parts.iter().all(|page| !page.is_empty()));
        assert_eq!(in_parts.concat(), newest_first);
    }

    #[actix_web::test]
    async fn orders_from_before_and_after_a_step_of_the_clock_are_listed_by_the_times_that_are_shown() {
        let store = in_memory().await;
        // The clock was set back by ten days: the ids go on, the times do not. Some share a moment.
        const BACK: i64 = 10 * 86_400;
        let mut orders: Vec<_> = [BACK, BACK + 1, BACK + 1, BACK + 2, 0, 1, 1, 2].map(order_at).to_vec();
        store_all(&store, &orders).await;
        orders.sort_by_key(|order| std::cmp::Reverse((order.created_at(), order.id)));
        let ids = |orders: &[Order]| orders.iter().map(|order| order.id).collect::<Vec<_>>();
        for limit in 1..=8 {
            let all = ListFilter { limit, ..ListFilter::default() };
            assert_eq!(pages(&store, all.clone()).await.concat(), ids(&orders));
            let later = ListFilter { to: Some(at(2)), ..all.clone() };
            assert_eq!(pages(&store, later).await.concat(), ids(&orders[5..]));
            let earlier = ListFilter { from: Some(at(BACK)), to: Some(at(BACK + 2)), ..all };
            assert_eq!(pages(&store, earlier).await.concat(), ids(&orders[1..4]));
        }
    }

    #[actix_web::test]
    async fn a_cursor_that_is_no_order_stands_where_its_id_was_drawn() {
        let store = in_memory().await;
        let orders = [order_at(0), order_at(10)];
        store_all(&store, &orders).await;
        let drawn = |seconds| {
            let millis = u64::try_from(at(seconds).timestamp_millis()).unwrap();
            OrderId(uuid::Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid())
        };
        for (before, ids) in [
            (drawn(5), vec![orders[0].id]),
            (drawn(11), vec![orders[1].id, orders[0].id]),
            (OrderId(Uuid::nil()), vec![]),
            (OrderId(Uuid::max()), vec![orders[1].id, orders[0].id]),
        ] {
            let filter = ListFilter { before: Some(before), limit: 5, ..ListFilter::default() };
            assert_eq!(pages(&store, filter).await.concat(), ids);
        }
    }

    #[actix_web::test]
    async fn an_order_whose_time_is_damaged_hides_no_other_however_small_the_pages_are() {
        let store = in_memory().await;
        let orders: Vec<_> = (0..5).map(order_at).collect();
        store_all(&store, &orders).await;
        let id = orders[2].id.0.simple();
        let damage = format!("UPDATE orders SET created_at = 'yesterday' WHERE id = x'{id}'");
        store.reader.execute_unprepared(&damage).await.unwrap();
        let readable: Vec<_> = [4, 3, 1, 0].map(|number: usize| orders[number].id).to_vec();
        for limit in 1..=5 {
            let all = ListFilter { limit, ..ListFilter::default() };
            assert_eq!(pages(&store, all).await.concat(), readable, "{limit}");
        }
    }
}
