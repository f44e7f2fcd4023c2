//! Orders are read as they were written.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use order_engine::domain::amount::BaseUnits;
use order_engine::domain::fraction::Slippage;
use order_engine::domain::lifecycle::OrderEvent;
use order_engine::domain::moment::{Moment, Now, Uptime};
use order_engine::domain::order::Order;
use order_engine::domain::request::{OrderRequest, Priority, Strategy};
use order_engine::domain::retry::FailureCode;
use order_engine::domain::swap::SignedSwap;
use order_engine::store::{DispatchRecord, OrderStore, UnfinishedFrom, Write};
use sea_orm::{ConnectionTrait, DatabaseConnection};
use uuid::Uuid;

use crate::support::store::{
    assert_same, base_time, commit_each, failure, landed, next, on_both, order, order_of, request, routed, signed,
    to_submitted,
};

#[actix_web::test]
async fn amounts_prices_and_times_are_read_exactly_as_they_were_written() {
    on_both(async |backend| {
        let slippages = ["0.0001", "0.000101", "0.01", "0.333333", "0.5"].map(|text| Slippage::parse(text).unwrap());
        for (amount, slippage) in [0, 1, (1 << 53) + 1, i64::MAX as u64 + 1, u64::MAX].into_iter().zip(slippages) {
            let request = OrderRequest {
                amount_in: BaseUnits(amount),
                min_amount_out: Some(BaseUnits(amount)),
                slippage,
                priority: Priority::High,
                strategy: Strategy::Reliability,
                ..request()
            };
            let mut order = order_of(request, base_time());
            backend.accept(&order).await;
            let swap = signed(amount);
            let mut writes = vec![
                next(&mut order, OrderEvent::Dispatched, None),
                next(&mut order, routed(amount), None),
                next(&mut order, OrderEvent::Submitted(Arc::new(swap.swap.clone())), Some(&swap)),
            ];
            writes.push(next(&mut order, landed(&swap, amount), None));
            commit_each(backend, writes).await;
            assert_same(&backend.order(order.id).await.order, &order);
        }
    })
    .await;
}

#[actix_web::test]
async fn after_each_step_the_stored_order_equals_the_order_in_memory() {
    on_both(async |backend| {
        let mut order = order();
        backend.accept(&order).await;
        let retry = |code| OrderEvent::AttemptFailed { failure: failure(code), retry_at: base_time() };
        let (first, second, third) = (signed(10), signed(20), signed(30));
        let mut writes =
            vec![next(&mut order, OrderEvent::Dispatched, None), next(&mut order, OrderEvent::Interrupted, None)];
        writes.extend(to_submitted(&mut order, &first));
        writes.push(next(&mut order, retry(FailureCode::SwapExpired), None));
        writes.extend(to_submitted(&mut order, &second));
        writes.push(next(&mut order, retry(FailureCode::SlippageExceeded), None));
        writes.extend(to_submitted(&mut order, &third));
        writes.push(next(&mut order, OrderEvent::CancelRequested, None));
        writes.push(next(&mut order, landed(&third, 31), None));
        let mut expected =
            Order::replay(order.id, order.owner, order.request.clone(), [history(&order)[0].clone()]).unwrap();
        for write in writes {
            let Write::Step(step) = &write else { unreachable!() };
            expected.apply(step.recorded.clone()).unwrap();
            backend.commit(&[write]).await;
            let stored = backend.order(order.id).await;
            assert_same(&stored.order, &expected);
            let live = expected.state().live_swap().map(|swap| swap.signature);
            assert_eq!(stored.live.map(|signed| signed.swap.signature), live);
        }
        let connection = backend.connect().await;
        for (swap, status) in [(first, "expired"), (second, "rejected"), (third, "landed")] {
            let row = row(&connection, &swap).await;
            assert_eq!(row.try_get::<String>("", "status").unwrap(), status, "{}", backend.name);
        }
        connection.close().await.unwrap();
    })
    .await;
}

#[actix_web::test]
async fn unfinished_orders_are_read_in_pages_with_the_bytes_of_their_live_swaps() {
    on_both(async |backend| {
        let mut unfinished = Vec::new();
        for number in 0..7 {
            let mut order = order();
            backend.accept(&order).await;
            let swap = signed(number);
            match number % 4 {
                0 => {}
                1 => commit_each(backend, to_submitted(&mut order, &swap)).await,
                2 => {
                    commit_each(backend, to_submitted(&mut order, &swap)).await;
                    commit_each(backend, vec![next(&mut order, landed(&swap, 5), None)]).await;
                    continue;
                }
                _ => {
                    commit_each(backend, vec![next(&mut order, OrderEvent::Cancelled(None), None)]).await;
                    continue;
                }
            }
            let live = order.state().live_swap().map(|_| swap);
            unfinished.push((order, live));
        }
        let (mut found, mut next) = (Vec::new(), Some(UnfinishedFrom::default()));
        while let Some(from) = next {
            let page = backend.store.unfinished(from, 2).await.unwrap();
            found.extend(page.orders);
            next = page.next;
        }
        assert_eq!(found.len(), unfinished.len(), "{}", backend.name);
        for (stored, (order, live)) in found.iter().zip(&unfinished) {
            assert_same(&stored.order, order);
            assert_eq!(stored.live.as_ref(), live.as_ref());
        }
        assert!(found.iter().any(|stored| stored.live.is_some()));
    })
    .await;
}

#[actix_web::test]
async fn the_latest_dispatches_are_found_by_number_not_by_time() {
    on_both(async |backend| {
        let mut dispatched = Vec::new();
        // Each is an hour before the last one, because the clock is set back.
        for number in 0..5 {
            let at = base_time() - TimeDelta::hours(number);
            let mut order = order_of(request(), at);
            backend.accept(&order).await;
            let boot = Moment { boot: Uuid::from_u128(7), uptime: Uptime(number) };
            let recorded = Arc::new(order.propose(OrderEvent::Dispatched, Now { at, moment: boot }).unwrap());
            backend.commit(&[Write::dispatch(Uuid::new_v4(), &order, recorded.clone(), number)]).await;
            order.apply(recorded).unwrap();
            assert_same(&backend.order(order.id).await.order, &order);
            dispatched.push(DispatchRecord { number: Some(number), stamp: Some(order.last().stamp()) });
        }
        dispatched.reverse();
        assert_eq!(backend.store.latest_dispatches(3).await.unwrap(), dispatched[..3], "{}", backend.name);
        assert_eq!(backend.store.latest_dispatches(9).await.unwrap(), dispatched, "{}", backend.name);
    })
    .await;
}

fn history(order: &Order) -> Vec<(u32, DateTime<Utc>, OrderEvent)> {
    order.history().iter().map(|step| (step.seq, step.at, step.event.clone())).collect()
}

async fn row(connection: &DatabaseConnection, signed: &SignedSwap) -> sea_orm::QueryResult {
    let sql =
        format!("SELECT status, slot, fee, error FROM transactions WHERE signature = '{}'", signed.swap.signature);
    let statement = sea_orm::Statement::from_string(connection.get_database_backend(), sql);
    connection.query_one_raw(statement).await.unwrap().unwrap()
}
