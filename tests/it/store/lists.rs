//! Lists: filters, owners, pages, and no scans of whole tables.

use chrono::TimeDelta;
use order_engine::domain::lifecycle::{OrderEvent, Status};
use order_engine::domain::request::OrderRequest;
use order_engine::domain::token::Token;
use order_engine::domain::user::Owner;
use order_engine::store::{ListFilter, OrderStore, UnfinishedFrom, Write};
use sea_orm::{ConnectionTrait, DbBackend};

use crate::support::embedded;
use crate::support::postgres::Postgres;
use crate::support::store::{
    Backend, assert_same, base_time, commit_each, key, landed, next, on_both, order, order_for, order_of, request,
    signed, to_submitted, user,
};
use crate::support::wait::block_until;

#[actix_web::test]
async fn each_filter_of_the_list_finds_its_orders_and_no_others() {
    on_both(async |backend| {
        let tokens = embedded::settings([]).tokens;
        let token = |symbol: &str| -> Token { tokens.resolve(symbol).unwrap() };
        let (sol, usdc) = (token("SOL"), token("USDC"));
        let at = |seconds| base_time() + TimeDelta::seconds(seconds);
        let mut sells = order_of(request(), at(0));
        let buys = order_of(OrderRequest { token_in: usdc.clone(), token_out: sol.clone(), ..request() }, at(1));
        let named = order_of(OrderRequest { client_order_id: Some(key("mine")), ..request() }, at(2));
        let mut moved = order_of(request(), at(3));
        for order in [&sells, &buys, &named, &moved] {
            backend.accept(order).await;
        }
        let moved_id = moved.id;
        backend.commit(&[next(&mut moved, OrderEvent::Dispatched, None)]).await;

        let all = ListFilter { limit: 10, ..ListFilter::default() };
        let found = async |filter: ListFilter| backend.list(filter).await;
        assert_eq!(found(all.clone()).await, [moved_id, named.id, buys.id, sells.id]);
        assert_eq!(found(ListFilter { status: Some(Status::Routing), ..all.clone() }).await, [moved_id]);
        let pending = ListFilter { status: Some(Status::Pending), ..all.clone() };
        assert_eq!(found(pending.clone()).await, [named.id, buys.id, sells.id]);
        assert_eq!(found(ListFilter { token_in: Some(usdc.mint), ..all.clone() }).await, [buys.id]);
        assert_eq!(found(ListFilter { token_out: Some(sol.mint.clone()), ..all.clone() }).await, [buys.id]);
        assert_eq!(
            found(ListFilter { token_in: Some(sol.mint.clone()), ..pending.clone() }).await,
            [named.id, sells.id]
        );
        assert_eq!(found(ListFilter { client_order_id: Some(key("mine")), ..all.clone() }).await, [named.id]);
        assert_eq!(found(ListFilter { client_order_id: Some(key("MINE")), ..all.clone() }).await, []);
        // `from` is inclusive, `to` is exclusive.
        assert_eq!(found(ListFilter { from: Some(at(2)), ..all.clone() }).await, [moved_id, named.id]);
        let after = at(2) + TimeDelta::microseconds(1);
        assert_eq!(found(ListFilter { from: Some(after), ..all.clone() }).await, [moved_id]);
        assert_eq!(found(ListFilter { to: Some(at(2)), ..all.clone() }).await, [buys.id, sells.id]);
        assert_eq!(found(ListFilter { to: Some(after), ..all.clone() }).await, [named.id, buys.id, sells.id]);
        backend.commit(&[next(&mut sells, OrderEvent::Cancelled(None), None)]).await;
        assert_eq!(found(ListFilter { unfinished: true, ..all.clone() }).await, [moved_id, named.id, buys.id]);
    })
    .await;
}

#[actix_web::test]
async fn an_order_is_listed_for_its_owner_only() {
    on_both(async |backend| {
        let owners = [Owner::Shared, user(), user()];
        let mut orders = Vec::new();
        for owner in owners.into_iter().cycle().take(9) {
            orders.push(order_for(owner));
        }
        // All in one batch, because rows with an owner are written by a separate statement.
        backend
            .commit(
                &orders
                    .iter()
                    .map(|order| Write::accept(uuid::Uuid::new_v4(), order.clone(), None))
                    .collect::<Vec<_>>(),
            )
            .await;
        for owner in owners {
            let own: Vec<_> = orders.iter().rev().filter(|order| order.owner == owner).map(|order| order.id).collect();
            let all = ListFilter { owner, limit: 10, ..ListFilter::default() };
            assert_eq!(backend.list(all.clone()).await, own, "{}", backend.name);
            let pending = ListFilter { status: Some(Status::Pending), before: Some(own[0]), ..all };
            assert_eq!(backend.list(pending).await, own[1..], "{}", backend.name);
            assert_eq!(backend.order(own[0]).await.order.owner, owner, "{}", backend.name);
        }
    })
    .await;
}

#[actix_web::test]
async fn pages_have_no_gap_or_repeat_also_while_orders_are_added() {
    on_both(async |backend| {
        let mut orders: Vec<_> = (0..25).map(|_| order()).collect();
        for order in &orders {
            backend.accept(order).await;
        }
        let (mut seen, mut before) = (Vec::new(), None);
        loop {
            let page = backend.list(ListFilter { before, limit: 10, ..ListFilter::default() }).await;
            let Some(last) = page.last() else { break };
            before = Some(*last);
            seen.extend(page);
            // A newer order belongs before the first page, not into the next one.
            backend.accept(&order()).await;
        }
        orders.reverse();
        assert_eq!(seen, orders.iter().map(|order| order.id).collect::<Vec<_>>(), "{}", backend.name);
    })
    .await;
}

#[actix_web::test]
async fn a_page_without_matches_is_bounded_and_the_pages_reach_the_end() {
    on_both(async |backend| {
        let (many, few) = (user(), user());
        fill(backend, many, 10_000).await;
        let rare = order_of(request(), base_time());
        let mut own = order_for(few);
        own.request = rare.request.clone();
        backend.accept(&own).await;
        for filter in [
            ListFilter { owner: many, status: Some(Status::Failed), limit: 5, ..ListFilter::default() },
            ListFilter { owner: many, token_in: Some(request().token_out.mint), limit: 5, ..ListFilter::default() },
        ] {
            let (mut pages, mut next) = (0, None);
            loop {
                let page = backend.store.list(&ListFilter { before: next, ..filter.clone() }).await.unwrap();
                assert!(page.orders.is_empty(), "{}", backend.name);
                pages += 1;
                assert!(
                    pages < 10 && next.is_none_or(|last| page.next.is_none_or(|next| next < last)),
                    "{}",
                    backend.name
                );
                next = page.next;
                if next.is_none() {
                    break;
                }
            }
            assert!(pages > 1, "{}: one page read everything", backend.name);
        }
        // Many orders of one user do not slow down another user's list.
        let pending = ListFilter { owner: few, status: Some(Status::Pending), limit: 5, ..ListFilter::default() };
        let page = backend.store.list(&pending).await.unwrap();
        assert_eq!((page.orders.len(), page.next), (1, None), "{}", backend.name);
        let never = ListFilter {
            owner: many,
            from: Some(base_time()),
            to: Some(base_time()),
            limit: 5,
            ..ListFilter::default()
        };
        let page = backend.store.list(&never).await.unwrap();
        assert!(page.orders.is_empty() && page.next.is_none(), "{}", backend.name);
    })
    .await;
}

#[actix_web::test]
async fn no_statement_scans_a_whole_table_also_without_statistics_of_the_planner() {
    let postgres = Postgres::start();
    Backend::open("PostgreSQL", &postgres.url()).await.store.close().await;
    let table_scans = || {
        // A connection reports its counts when it ends.
        let others =
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
        block_until("the other connections had ended", || postgres.sql(others) == "0");
        postgres.sql(
            "SELECT relname, seq_scan FROM pg_stat_user_tables WHERE relname <> 'seaql_migrations' ORDER BY relname",
        )
    };
    let before = table_scans();
    let backend = Backend::open("PostgreSQL", &postgres.url()).await;
    let (mut order, swap) =
        (order_of(OrderRequest { client_order_id: Some(key("mine")), ..request() }, base_time()), signed(1));
    backend.accept(&order).await;
    commit_each(&backend, to_submitted(&mut order, &swap)).await;
    assert_eq!(backend.store.unfinished(UnfinishedFrom::default(), 10).await.unwrap().orders.len(), 1);
    assert_eq!(backend.store.latest_dispatches(10).await.unwrap().len(), 1);
    commit_each(&backend, vec![next(&mut order, landed(&swap, 5), None)]).await;
    assert_same(&backend.order(order.id).await.order, &order);
    assert_eq!(backend.store.order_by_key(Owner::Shared, &key("mine")).await.unwrap(), Some(order.id));
    let (all, mints) = (ListFilter { limit: 10, ..ListFilter::default() }, &order.request);
    for filter in [
        all.clone(),
        ListFilter { status: Some(Status::Confirmed), ..all.clone() },
        ListFilter { token_in: Some(mints.token_in.mint.clone()), ..all.clone() },
        ListFilter { token_out: Some(mints.token_out.mint.clone()), ..all.clone() },
        ListFilter { client_order_id: Some(key("mine")), ..all.clone() },
        ListFilter { from: Some(base_time()), ..all.clone() },
        ListFilter {
            token_in: Some(mints.token_in.mint.clone()),
            token_out: Some(mints.token_out.mint.clone()),
            from: Some(base_time()),
            to: Some(base_time() + TimeDelta::days(1)),
            ..all
        },
    ] {
        assert_eq!(backend.list(filter.clone()).await, [order.id], "{filter:?}");
    }
    backend.store.close().await;
    assert_eq!(table_scans(), before);
}

/// Inserts confirmed orders of an owner by SQL, all of them SOL for USDC, one for each millisecond.
async fn fill(backend: &Backend, owner: Owner, orders: u32) {
    let template = order_for(owner);
    backend.accept(&template).await;
    let connection = backend.connect().await;
    let (numbers, id) = match connection.get_database_backend() {
        DbBackend::Postgres => (
            format!("generate_series(1, {orders}) AS numbers(n)"),
            "CAST(lpad(to_hex(1760000000000 + n), 12, '0') || '7000800000000000000' || substr(o.id::text, 36) AS uuid)",
        ),
        _ => (
            format!(
                "(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {orders}) SELECT n FROM s)"
            ),
            "unhex(printf('%012x', 1760000000000 + n) || '7000800000000000000' || substr(hex(o.id), 32))",
        ),
    };
    let columns = "type, token_in, token_out, client_order_id, request, created_at, user_id";
    let chosen = format!(
        "INSERT INTO orders (id, status, ended_at, {columns}) SELECT {id}, 'confirmed', created_at, {columns} \
         FROM orders o, {numbers} WHERE o.id = {}",
        match connection.get_database_backend() {
            DbBackend::Postgres => format!("'{}'", template.id),
            _ => format!("unhex('{}')", template.id.0.simple()),
        }
    );
    connection.execute_unprepared(&chosen).await.unwrap();
    connection.close().await.unwrap();
}
