//! Commits: idempotency keys, repeated writes, and batches with an invalid row.

use std::sync::Arc;

use order_engine::actors::persistence::RecordError;
use order_engine::domain::lifecycle::OrderEvent;
use order_engine::domain::order::{Order, RecordedEvent};
use order_engine::domain::user::Owner;
use order_engine::store::{CommitError, OrderStore, Write, Written};
use sea_orm::{ConnectionTrait, TransactionTrait};

use crate::support::store::{assert_same, key, next, on_both, order, order_for, persistence, persistence_with, user};

#[actix_web::test]
async fn the_same_key_of_two_owners_is_two_keys_also_within_one_batch() {
    on_both(async |backend| {
        let orders = [Owner::Shared, user(), user()].map(order_for);
        let keyed = |order: &Order| Write::accept(uuid::Uuid::new_v4(), order.clone(), Some(key("same")));
        backend.commit(&orders.iter().map(keyed).collect::<Vec<_>>()).await;
        for known in &orders {
            assert_eq!(backend.store.order_by_key(known.owner, &key("same")).await.unwrap(), Some(known.id));
            let again = backend.store.commit(&[keyed(&order_for(known.owner))]).await.unwrap();
            assert_eq!(again, [Written::Duplicate(known.id)], "{}", backend.name);
        }
        assert_eq!(backend.store.order_by_key(user(), &key("same")).await.unwrap(), None);
    })
    .await;
}

#[actix_web::test]
async fn a_key_belongs_to_its_first_order_also_within_one_batch() {
    on_both(async |backend| {
        let keyed = |order: &Order, text: &str| Write::accept(uuid::Uuid::new_v4(), order.clone(), Some(key(text)));
        let (first, second, third, fourth) = (order(), order(), order(), order());
        let batch = [keyed(&first, "a"), keyed(&second, "a"), keyed(&third, "b")];
        let written = backend.store.commit(&batch).await.unwrap();
        assert_eq!(written, [Written::Stored, Written::Duplicate(first.id), Written::Stored]);
        let written = backend.store.commit(&[keyed(&fourth, "b")]).await.unwrap();
        assert_eq!(written, [Written::Duplicate(third.id)]);
        // A repeat of a write that was committed is no duplicate.
        assert_eq!(backend.store.commit(&batch[..1]).await.unwrap(), [Written::Stored]);
        for refused in [&second, &fourth] {
            assert!(backend.store.order(refused.id).await.unwrap().is_none(), "{}", backend.name);
        }
        assert_eq!(backend.store.order_by_key(Owner::Shared, &key("a")).await.unwrap(), Some(first.id));
        assert_eq!(backend.store.order_by_key(Owner::Shared, &key("A")).await.unwrap(), None);
        assert_eq!(backend.order(first.id).await.order.history().len(), 1);
    })
    .await;
}

#[actix_web::test]
async fn concurrent_commits_with_the_same_keys_store_one_order_for_each_key() {
    on_both(async |backend| {
        for round in 0..20 {
            let batch = |keys: [usize; 3]| -> Vec<Write> {
                let accept =
                    |number| Write::accept(uuid::Uuid::new_v4(), order(), Some(key(&format!("{round}-{number}"))));
                keys.into_iter().map(accept).collect()
            };
            let persistence = persistence(backend);
            // In opposite order, so that the commits may also wait for each other.
            let writes = batch([1, 2, 3]).into_iter().chain(batch([3, 2, 1]));
            let answers: Vec<_> = writes.map(|write| persistence.record(write, None)).collect();
            let answers = futures_util::future::join_all(answers).await;
            let stored = answers.iter().filter(|answer| matches!(answer, Ok(Written::Stored))).count();
            let duplicates = answers.iter().filter(|answer| matches!(answer, Ok(Written::Duplicate(_)))).count();
            assert_eq!((stored, duplicates), (3, 3), "{}: {answers:?}", backend.name);
        }
    })
    .await;
}

#[actix_web::test]
async fn a_repeated_event_is_accepted_from_its_writer_and_refused_from_another() {
    on_both(async |backend| {
        let order = order();
        backend.accept(&order).await;
        let (mut mine, mut theirs) = (order.clone(), order.clone());
        let write = next(&mut mine, OrderEvent::Dispatched, None);
        let other = next(&mut theirs, OrderEvent::Cancelled(None), None);
        backend.commit(std::slice::from_ref(&write)).await;
        for again in [&write, &other] {
            let refused = backend.store.commit(std::slice::from_ref(again)).await;
            assert!(matches!(refused, Err(CommitError::Refused(_))), "{}: {refused:?}", backend.name);
        }
        assert_eq!(backend.store.writer_of(order.id, 2).await.unwrap(), Some(write.write_id()));
        assert_eq!(backend.store.writer_of(order.id, 3).await.unwrap(), None);
        // The refused write changed nothing.
        assert_same(&backend.order(order.id).await.order, &mine);

        let persistence = persistence(backend);
        let answer = persistence.record(write, None).await;
        assert_eq!(answer, Ok(Written::Stored), "{}", backend.name);
        let answer = persistence.record(other, None).await;
        assert_eq!(answer, Err(RecordError::LostRace { order: order.id, seq: 2 }), "{}", backend.name);
    })
    .await;
}

#[actix_web::test]
async fn only_the_invalid_row_of_a_batch_is_refused() {
    on_both(async |backend| {
        let orders: Vec<_> = (0..20).map(|_| order()).collect();
        for order in &orders {
            backend.accept(order).await;
        }
        let connection = backend.connect().await;
        let persistence = persistence_with(backend, 64);
        // While another connection holds the lock, all writes below gather into one batch.
        let holder = connection.begin().await.unwrap();
        let everything = match backend.name {
            "SQLite" => "UPDATE orders SET request = request",
            _ => "LOCK TABLE order_events IN EXCLUSIVE MODE",
        };
        holder.execute_unprepared(everything).await.unwrap();
        let mut moved = orders.clone();
        let answers: Vec<_> = moved
            .iter_mut()
            .enumerate()
            .map(|(number, order)| {
                let mut write = next(order, OrderEvent::Dispatched, None);
                if number == 13 {
                    let Write::Step(step) = &mut write else { unreachable!() };
                    // A sequence number that a CHECK of the schema refuses.
                    step.recorded = Arc::new(RecordedEvent { seq: 0, ..RecordedEvent::clone(&step.recorded) });
                }
                persistence.record(write, None)
            })
            .collect();
        let answers = actix_web::rt::spawn(futures_util::future::join_all(answers));
        tokio::task::yield_now().await;
        holder.rollback().await.unwrap();
        for (number, answer) in answers.await.unwrap().into_iter().enumerate() {
            let name = backend.name;
            match number {
                13 => assert!(matches!(answer, Err(RecordError::Refused(_))), "{name}: {answer:?}"),
                _ => assert_eq!(answer, Ok(Written::Stored), "{name}: {number}"),
            }
        }
        for (number, order) in orders.iter().enumerate() {
            let expected = if number == 13 { order } else { &moved[number] };
            assert_same(&backend.order(order.id).await.order, expected);
        }
        connection.close().await.unwrap();
    })
    .await;
}
