//! The schema: its constraints and its migrations.

use std::sync::Arc;

use migration::Migrator;
use order_engine::domain::lifecycle::OrderEvent;
use order_engine::domain::order::RecordedEvent;
use order_engine::domain::retry::FailureCode;
use order_engine::store::{CommitError, ListFilter, OrderStore, SwapWrite, Write};
use sea_orm::ConnectionTrait;

use crate::support::store::{assert_same, base_time, commit_each, failure, next, on_both, order, signed, to_submitted};

#[actix_web::test]
async fn the_schema_allows_one_live_swap_for_each_order() {
    on_both(async |backend| {
        let mut order = order();
        backend.accept(&order).await;
        let (first, second) = (signed(1), signed(2));
        commit_each(backend, to_submitted(&mut order, &first)).await;
        // A second signed swap while the first is live, which the engine never writes.
        let recorded = Arc::new(order.propose(OrderEvent::CancelRequested, base_time()).unwrap());
        let mut write = Write::step(
            uuid::Uuid::new_v4(),
            &order,
            Arc::new(RecordedEvent { attempt: 2, ..RecordedEvent::clone(&recorded) }),
            None,
        );
        let Write::Step(step) = &mut write else { unreachable!() };
        step.swap = SwapWrite::Signed(second.clone());
        let refused = backend.store.commit(std::slice::from_ref(&write)).await;
        assert!(matches!(refused, Err(CommitError::Refused(_))), "{}: {refused:?}", backend.name);
        assert_eq!(backend.order(order.id).await.live, Some(first.clone()));
        // In one batch with the end of the first swap it is legal; fast attempts are written like that.
        let failed = OrderEvent::AttemptFailed { failure: failure(FailureCode::SwapExpired), retry_at: base_time() };
        let mut writes = vec![next(&mut order, failed, None)];
        writes.extend(to_submitted(&mut order, &second));
        backend.commit(&writes).await;
        assert_eq!(backend.order(order.id).await.live, Some(second));
    })
    .await;
}

#[actix_web::test]
async fn the_schema_refuses_invalid_rows() {
    on_both(async |backend| {
        let mut order = order();
        backend.accept(&order).await;
        commit_each(backend, to_submitted(&mut order, &signed(1))).await;
        let connection = backend.connect().await;
        for invalid in [
            "UPDATE order_events SET seq = 0",
            "UPDATE orders SET token_out = token_in",
            "UPDATE orders SET request = NULL",
            "UPDATE order_events SET seq = -1",
            "UPDATE order_events SET write_id = NULL",
            "UPDATE transactions SET status = 'maybe'",
            "UPDATE transactions SET bytes = NULL",
        ] {
            let error = connection.execute_unprepared(invalid).await.expect_err(invalid).to_string().to_lowercase();
            assert!(error.contains("constraint"), "{}: {invalid}: {error}", backend.name);
        }
        connection.close().await.unwrap();
        assert_same(&backend.order(order.id).await.order, &order);
    })
    .await;
}

#[actix_web::test]
async fn the_migrations_run_down_and_up_again() {
    on_both(async |backend| {
        let connection = backend.connect().await;
        let steps = Migrator::names().len();
        for _ in 0..steps {
            Migrator::down(&connection, Some(1)).await.unwrap();
        }
        assert!(backend.store.list(&ListFilter { limit: 1, ..ListFilter::default() }).await.is_err());
        for _ in 0..steps {
            Migrator::up(&connection, Some(1)).await.unwrap();
        }
        connection.close().await.unwrap();
        let order = order();
        backend.accept(&order).await;
        assert_same(&backend.order(order.id).await.order, &order);
    })
    .await;
}
