use std::sync::Arc;

use chrono::TimeDelta;
use sea_orm::ConnectionTrait;

use super::*;
use crate::Settings;
use crate::domain::order::Order;
use crate::domain::request::tests::request;
use crate::domain::user::UserId;
use crate::store::port::OrderStore;
use crate::store::write::Write;

async fn in_memory() -> SeaStore {
    let settings = Settings::with([("database.url", "sqlite::memory:")]).unwrap().database;
    SeaStore::open(&settings).await.unwrap()
}

/// An order that was accepted this number of seconds after the start of a fixed day.
fn order_at(seconds: i64) -> Order {
    Order::accept(None, OrderId(Uuid::now_v7()), Owner::Shared, Arc::new(request()), at(seconds))
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(20_000) + TimeDelta::seconds(seconds)
}

async fn store_all(store: &SeaStore, orders: &[Order]) {
    for some in orders.chunks(500) {
        store
            .commit(&some.iter().map(|order| Write::accept(Uuid::new_v4(), order.clone(), None)).collect::<Vec<_>>())
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

/// Every combination of filters that a client can send.
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
        let before = filter.before.map(|id| Position { accepted: Some(at(0)), id: id.0 });
        let query = matches(&filter, candidates(&filter, before, MAX_READ));
        let backend = store.reader.get_database_backend();
        let mut statement = backend.build(&query);
        statement.sql = format!("EXPLAIN QUERY PLAN {}", statement.sql);
        let plan = store.reader.query_all_raw(statement).await.unwrap();
        let plan: Vec<String> = plan.iter().map(|step| step.try_get("", "detail").unwrap()).collect();
        let bad = |step: &&String| {
            step.starts_with("SCAN orders USING") || step.as_str() == "SCAN orders" || step.contains("TEMP")
        };
        // The bounded rows of the inner query are scanned, not the table.
        let scans = plan.iter().filter(bad).count();
        let inner = plan.iter().filter(|step| step.contains("CO-ROUTINE") || step.contains("MATERIALIZE")).count();
        assert!(scans <= inner, "{filter:?}: {plan:#?}");
        assert!(plan.iter().any(|step| step.starts_with("SEARCH orders USING")), "{filter:?}: {plan:#?}");
        assert!(!plan.iter().any(|step| step.contains("TEMP B-TREE")), "{filter:?}: {plan:#?}");
    }
}

#[actix_web::test]
async fn the_orders_of_one_minute_are_one_page_among_20_000_orders() {
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
async fn orders_are_listed_by_their_shown_times_when_the_clock_was_set_back() {
    let store = in_memory().await;
    // The clock was set back by ten days: the times go back, the ids do not. Some orders have the same time.
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
async fn a_cursor_without_an_order_has_the_position_of_the_time_in_its_id() {
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
async fn an_order_with_a_damaged_time_hides_no_other_order_at_any_page_size() {
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
