//! PostgreSQL alone: its errors and its locks.

use std::time::{Duration, Instant};

use order_engine::domain::lifecycle::OrderEvent;
use order_engine::domain::order::Order;
use order_engine::domain::retry::FailureCode;
use order_engine::store::{CommitError, OrderStore, Write, Written};
use sea_orm::{ConnectionTrait, TransactionTrait};

use crate::support::postgres::Postgres;
use crate::support::store::{
    Backend, base_time, commit_each, failure, next, order, persistence_with, signed, to_submitted,
};

#[actix_web::test]
async fn errors_of_postgres_are_classified_by_whether_the_commit_may_have_happened() {
    let postgres = Postgres::start();
    let backend = Backend::open("PostgreSQL", &postgres.url()).await;
    let fail_with = |code: &str, when: &str| {
        postgres.sql(&format!(
            "CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE EXCEPTION 'a planted error' USING ERRCODE = '{code}'; END $$; \
             DROP TRIGGER IF EXISTS fails ON order_events; \
             CREATE CONSTRAINT TRIGGER fails AFTER INSERT ON order_events {when} FOR EACH ROW EXECUTE FUNCTION fail()"
        ));
    };
    let write = Write::accept(uuid::Uuid::new_v4(), order(), None);
    let commit = async || backend.store.commit(std::slice::from_ref(&write)).await.unwrap_err();
    // A single write is one statement, so an error at its commit is an error of that statement.
    for when in ["", "DEFERRABLE INITIALLY DEFERRED"] {
        for code in ["57P01", "57P02", "57P03", "08006", "58030", "XX000"] {
            fail_with(code, when);
            let error = commit().await;
            assert!(matches!(error, CommitError::Unavailable { maybe_committed: true, .. }), "{code}: {error:?}");
        }
        for code in ["40001", "40P01", "55P03", "57014", "53100", "25006", "42P01"] {
            fail_with(code, when);
            let error = commit().await;
            assert!(matches!(error, CommitError::Unavailable { maybe_committed: false, .. }), "{code}: {error:?}");
        }
        for code in ["22003", "22P02", "23505", "23503", "23514", "23502"] {
            fail_with(code, when);
            let error = commit().await;
            assert!(matches!(error, CommitError::Refused(_)), "{code}: {error:?}");
        }
    }
    // A batch of several statements has a transaction, whose commit is a separate statement.
    postgres.sql("DROP TRIGGER fails ON order_events");
    let mut order = order();
    backend.accept(&order).await;
    commit_each(&backend, to_submitted(&mut order, &signed(1))).await;
    let expired = OrderEvent::AttemptFailed { failure: failure(FailureCode::SwapExpired), retry_at: base_time() };
    let mut again = vec![next(&mut order, expired, None)];
    again.extend(to_submitted(&mut order, &signed(2)));
    let commit = async || backend.store.commit(&again).await.unwrap_err();
    for code in ["57P01", "57014", "40001"] {
        fail_with(code, "");
        let error = commit().await;
        assert!(matches!(error, CommitError::Unavailable { maybe_committed: false, .. }), "{code}: {error:?}");
    }
    for (code, certain) in [("40001", true), ("23505", true), ("57P01", false), ("57014", false)] {
        fail_with(code, "DEFERRABLE INITIALLY DEFERRED");
        let error = commit().await;
        let maybe = matches!(error, CommitError::Unavailable { maybe_committed: true, .. });
        assert_eq!(maybe, !certain, "{code}: {error:?}");
    }
    postgres.sql("DROP TRIGGER fails ON order_events");
    backend.commit(std::slice::from_ref(&write)).await;
    backend.store.close().await;
}

#[actix_web::test]
async fn a_lock_that_is_held_too_long_makes_the_store_unavailable_and_refuses_nothing() {
    let postgres = Postgres::start();
    let backend = Backend::open("PostgreSQL", &postgres.url()).await;
    let connection = backend.connect().await;
    let order = order();
    backend.accept(&order).await;
    // Another connection holds the row for longer than the store waits for a lock.
    let holder = connection.begin().await.unwrap();
    holder.execute_unprepared("UPDATE orders SET request = request").await.unwrap();
    let started = Instant::now();
    let write = next(&mut order.clone(), OrderEvent::Cancelled(None), None);
    let error = backend.store.commit(std::slice::from_ref(&write)).await.unwrap_err();
    assert!(matches!(error, CommitError::Unavailable { maybe_committed: false, .. }), "{error:?}");
    assert!(started.elapsed() >= backend.settings.lock_timeout, "{:?}", started.elapsed());
    holder.rollback().await.unwrap();
    backend.commit(&[write]).await;
    assert_eq!(backend.settings.lock_timeout, Duration::from_secs(2));
    assert_eq!(backend.settings.statement_timeout, Duration::from_secs(5));
    connection.close().await.unwrap();
    backend.store.close().await;
}

#[actix_web::test]
async fn a_write_that_waits_for_a_locked_row_does_not_block_other_writes() {
    let postgres = Postgres::start();
    let backend = Backend::open("PostgreSQL", &postgres.url()).await;
    let connection = backend.connect().await;
    let locked = order();
    backend.accept(&locked).await;
    let holder = connection.begin().await.unwrap();
    let lock = format!("SELECT 1 FROM orders WHERE id = '{}' FOR UPDATE", locked.id);
    holder.execute_unprepared(&lock).await.unwrap();
    let persistence = persistence_with(&backend, 256);
    let cancelled = |order: &Order| next(&mut order.clone(), OrderEvent::Cancelled(None), None);
    let mut waits = std::pin::pin!(persistence.record(cancelled(&locked), None));
    let blocked = tokio::time::timeout(Duration::from_millis(100), &mut waits).await;
    assert!(blocked.is_err(), "the row is locked: {blocked:?}");
    // Twice, because the free connection is used again; within the time after which the blocked write is retried.
    for event in [OrderEvent::Dispatched, OrderEvent::Cancelled(None)] {
        let order = self::order();
        backend.accept(&order).await;
        let other = persistence.record(next(&mut order.clone(), event, None), None);
        let written = tokio::time::timeout(backend.settings.lock_timeout, other).await;
        assert_eq!(written.expect("the other write is not blocked"), Ok(Written::Stored));
    }
    holder.rollback().await.unwrap();
    let freed = tokio::time::timeout(Duration::from_secs(30), waits).await;
    assert_eq!(freed.expect("the row is not locked any more"), Ok(Written::Stored));
    connection.close().await.unwrap();
    backend.store.close().await;
}
