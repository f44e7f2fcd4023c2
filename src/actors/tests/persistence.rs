use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::stubs::{Stubs, after, order, waits};
use crate::actors::persistence::{Flush, GetDatabaseState, LoadOrder, Persistence, PersistenceRecipients, RecordError};
use crate::domain::id::{ClientKey, OrderId};
use crate::domain::lifecycle::OrderEvent;
use crate::domain::order::Order;
use crate::domain::user::Owner;
use crate::store::{
    CommitError, DispatchRecord, ListFilter, OrderStore, Page, ReadError, StoredOrder, Unfinished, UnfinishedFrom,
    Write, Written,
};
use crate::telemetry::metrics::Metrics;

/// A question to the store, with the way to answer it.
#[derive(Debug)]
enum Asked {
    Commit(Vec<Write>, oneshot::Sender<Result<Vec<Written>, CommitError>>),
    WriterOf(u32, oneshot::Sender<Result<Option<Uuid>, ReadError>>),
    Order(OrderId, oneshot::Sender<Result<Option<StoredOrder>, ReadError>>),
}

/// A store that the test answers for.
struct StubStore {
    asked: mpsc::UnboundedSender<Asked>,
    parallel_commits: usize,
}

impl StubStore {
    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Asked) -> T {
        let (reply, answer) = oneshot::channel();
        let _ = self.asked.send(question(reply));
        match answer.await {
            Ok(answer) => answer,
            Err(_) => std::future::pending().await,
        }
    }
}

#[async_trait]
impl OrderStore for StubStore {
    fn parallel_commits(&self) -> usize {
        self.parallel_commits
    }

    async fn commit(&self, batch: &[Write]) -> Result<Vec<Written>, CommitError> {
        self.ask(|reply| Asked::Commit(batch.to_vec(), reply)).await
    }

    async fn writer_of(&self, _: OrderId, seq: u32) -> Result<Option<Uuid>, ReadError> {
        self.ask(|reply| Asked::WriterOf(seq, reply)).await
    }

    async fn order(&self, id: OrderId) -> Result<Option<StoredOrder>, ReadError> {
        self.ask(|reply| Asked::Order(id, reply)).await
    }

    async fn order_by_key(&self, _: Owner, _: &ClientKey) -> Result<Option<OrderId>, ReadError> {
        unreachable!("no test asks for it")
    }

    async fn unfinished(&self, _: UnfinishedFrom, _: u64) -> Result<Unfinished, ReadError> {
        unreachable!("no test asks for it")
    }

    async fn list(&self, _: &ListFilter) -> Result<Page, ReadError> {
        unreachable!("no test asks for it")
    }

    async fn latest_dispatches(&self, _: u64) -> Result<Vec<DispatchRecord>, ReadError> {
        unreachable!("no test asks for it")
    }

    async fn close(&self) {}
}

/// The answer to a write, once there is one.
type Answer = JoinHandle<Result<Written, RecordError>>;

/// The reply to a commit.
type CommitReply = oneshot::Sender<Result<Vec<Written>, CommitError>>;

struct Subject {
    asked: mpsc::UnboundedReceiver<Asked>,
    stubs: Stubs,
    actor: Addr<Persistence>,
    persistence: PersistenceRecipients,
}

impl Subject {
    fn start(batch: usize, parallel_commits: usize) -> Self {
        let stubs = Stubs::start();
        let (sender, asked) = mpsc::unbounded_channel();
        let store = Arc::new(StubStore { asked: sender, parallel_commits });
        let supervisor = stubs.addr.clone().recipient();
        let actor = Persistence::new(store, batch, supervisor, Metrics::default()).start();
        Self { asked, stubs, persistence: actor.clone().into(), actor }
    }

    fn record(&self, write: Write, expires: Option<Instant>) -> Answer {
        actix::spawn(self.persistence.record(write, expires))
    }

    /// A cancel of a new order.
    fn write(&self) -> Write {
        step(&order(&self.stubs.clock), &self.stubs)
    }

    async fn next(&mut self) -> Asked {
        timeout(Duration::from_secs(3_600), self.asked.recv()).await.expect("the store is asked").unwrap()
    }

    /// Expects a commit of that number of writes.
    async fn commits(&mut self, writes: usize) -> (Vec<Write>, CommitReply) {
        match self.next().await {
            Asked::Commit(batch, reply) if batch.len() == writes => (batch, reply),
            other => panic!("expected a commit of {writes} writes, got {other:?}"),
        }
    }

    /// Expects a commit of that number of writes, and answers that they are stored.
    async fn stores(&mut self, writes: usize) {
        let (_, reply) = self.commits(writes).await;
        reply.send(Ok(vec![Written::Stored; writes])).unwrap();
    }

    async fn nothing_for(&mut self, duration: Duration) {
        if let Ok(asked) = timeout(duration, self.asked.recv()).await {
            panic!("expected nothing for {duration:?}, got {asked:?}");
        }
    }

    async fn takes_writes(&self) -> bool {
        self.actor.send(GetDatabaseState).await.unwrap().takes_writes
    }
}

fn step(order: &Order, stubs: &Stubs) -> Write {
    let next = after(order.clone(), [OrderEvent::Cancelled(None)], &stubs.clock);
    Write::step(Uuid::new_v4(), order, next.history()[1].clone(), None)
}

fn unavailable(maybe_committed: bool) -> Result<Vec<Written>, CommitError> {
    Err(CommitError::Unavailable { reason: "away".into(), maybe_committed })
}

fn refused() -> Result<Vec<Written>, CommitError> {
    Err(CommitError::Refused("a row is refused".into()))
}

#[actix::test]
async fn the_writes_of_one_commit_form_the_next_group() {
    let mut subject = Subject::start(100, 1);
    let first = subject.record(subject.write(), None);
    let (_, reply) = subject.commits(1).await;
    let others: Vec<_> = (0..5).map(|_| subject.record(subject.write(), None)).collect();
    subject.nothing_for(Duration::from_secs(1)).await;
    reply.send(Ok(vec![Written::Stored])).unwrap();
    assert_eq!(first.await.unwrap(), Ok(Written::Stored));
    subject.stores(5).await;
    for other in others {
        assert_eq!(other.await.unwrap(), Ok(Written::Stored));
    }
}

#[actix::test]
async fn a_group_holds_no_more_writes_than_the_batch_size() {
    let mut subject = Subject::start(2, 1);
    let answers: Vec<_> = (0..5).map(|_| subject.record(subject.write(), None)).collect();
    // The first group sets out as soon as there is a write.
    subject.stores(1).await;
    subject.stores(2).await;
    subject.stores(2).await;
    for answer in answers {
        assert_eq!(answer.await.unwrap(), Ok(Written::Stored));
    }
}

#[actix::test]
async fn a_refused_write_is_split_off_and_all_others_of_its_group_are_stored() {
    let mut subject = Subject::start(100, 1);
    let first = subject.record(subject.write(), None);
    let (_, reply) = subject.commits(1).await;
    let writes: Vec<_> = (0..4).map(|_| subject.write()).collect();
    let bad = writes[2].write_id();
    let answers: Vec<_> = writes.into_iter().map(|write| subject.record(write, None)).collect();
    subject.nothing_for(Duration::from_millis(1)).await;
    reply.send(Ok(vec![Written::Stored])).unwrap();
    assert!(first.await.unwrap().is_ok());
    // All four, the two halves, and the half with the refused row split once more.
    for size in [4, 2, 2, 1, 1] {
        let (batch, reply) = subject.commits(size).await;
        if batch.iter().any(|write| write.write_id() == bad) {
            reply.send(refused()).unwrap();
        } else {
            reply.send(Ok(vec![Written::Stored; size])).unwrap();
        }
        if size == 1 && batch[0].write_id() == bad {
            let Asked::WriterOf(2, reply) = subject.next().await else { panic!("the refused event has the number 2") };
            reply.send(Ok(None)).unwrap();
        }
    }
    let mut results = Vec::new();
    for answer in answers {
        results.push(answer.await.unwrap());
    }
    let stored = Ok(Written::Stored);
    let refusal = Err(RecordError::Refused("a row is refused".into()));
    assert_eq!(results, [stored.clone(), stored.clone(), refusal, stored]);
}

#[actix::test]
async fn a_write_whose_answer_was_lost_is_a_success_if_it_is_stored() {
    let mut subject = Subject::start(100, 1);
    let write = subject.write();
    let id = write.write_id();
    let answer = subject.record(write, None);
    let (_, reply) = subject.commits(1).await;
    reply.send(unavailable(true)).unwrap();
    let (_, reply) = subject.commits(1).await;
    reply.send(refused()).unwrap();
    let Asked::WriterOf(_, reply) = subject.next().await else { panic!("whose row is it?") };
    reply.send(Ok(Some(id))).unwrap();
    assert_eq!(answer.await.unwrap(), Ok(Written::Stored));
}

#[actix::test]
async fn a_write_that_meets_the_row_of_another_has_lost_the_race() {
    let mut subject = Subject::start(100, 1);
    let write = subject.write();
    let lost = RecordError::LostRace { order: write.order_id(), seq: write.seq() };
    let answer = subject.record(write, None);
    let (_, reply) = subject.commits(1).await;
    reply.send(refused()).unwrap();
    let Asked::WriterOf(_, reply) = subject.next().await else { panic!("whose row is it?") };
    reply.send(Ok(Some(Uuid::new_v4()))).unwrap();
    assert_eq!(answer.await.unwrap(), Err(lost));
}

#[actix::test]
async fn in_an_outage_steps_wait_and_a_new_order_is_given_up_unless_it_may_be_stored() {
    let mut subject = Subject::start(100, 1);
    let accept = |subject: &Subject| Write::accept(Uuid::new_v4(), order(&subject.stubs.clock), None);
    let soon = Instant::now() + Duration::from_millis(900);
    let maybe_stored = subject.record(accept(&subject), Some(soon));
    let (_, reply) = subject.commits(1).await;
    reply.send(unavailable(true)).unwrap();
    // Queued before the outage is certain.
    subject.nothing_for(Duration::from_millis(1)).await;
    let expiring = subject.record(accept(&subject), Some(soon));
    let step = subject.record(subject.write(), None);
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(2) {
        let Asked::Commit(_, reply) = subject.next().await else { panic!("the group is tried again") };
        reply.send(unavailable(false)).unwrap();
    }
    assert_eq!(expiring.await.unwrap(), Err(RecordError::Expired));
    assert!(!subject.takes_writes().await);
    // Now the outage is certain, and a new order does not wait for its time to be over.
    let refused = subject.record(accept(&subject), Some(Instant::now() + Duration::from_millis(900)));
    assert_eq!(refused.await.unwrap(), Err(RecordError::Expired));
    subject.stores(2).await;
    assert_eq!(maybe_stored.await.unwrap(), Ok(Written::Stored));
    assert_eq!(step.await.unwrap(), Ok(Written::Stored));
    assert!(subject.takes_writes().await);
}

#[actix::test]
async fn an_idle_database_is_probed_so_that_an_outage_and_its_end_are_noticed() {
    let mut subject = Subject::start(100, 1);
    let started = Instant::now();
    let (_, reply) = subject.commits(0).await;
    assert_eq!(started.elapsed().as_secs(), 5);
    reply.send(unavailable(false)).unwrap();
    let (_, reply) = subject.commits(0).await;
    assert!(!subject.takes_writes().await);
    reply.send(Ok(vec![])).unwrap();
    subject.nothing_for(Duration::from_millis(1)).await;
    assert!(subject.takes_writes().await);
}

#[actix::test]
async fn an_order_is_loaded_after_its_writes_have_settled() {
    let mut subject = Subject::start(100, 1);
    let order = order(&subject.stubs.clock);
    let written = subject.record(step(&order, &subject.stubs), None);
    let (_, reply) = subject.commits(1).await;
    let load = actix::spawn(subject.actor.send(LoadOrder(order.id)));
    let other = actix::spawn(subject.actor.send(LoadOrder(OrderId(Uuid::nil()))));
    // Another order does not wait.
    let Asked::Order(id, found) = subject.next().await else { panic!("it is loaded") };
    assert_eq!(id, OrderId(Uuid::nil()));
    found.send(Ok(None)).unwrap();
    assert!(other.await.unwrap().unwrap().unwrap().is_none());
    subject.nothing_for(Duration::from_secs(1)).await;
    reply.send(Ok(vec![Written::Stored])).unwrap();
    assert!(written.await.unwrap().is_ok());
    let Asked::Order(id, found) = subject.next().await else { panic!("it is loaded") };
    assert_eq!(id, order.id);
    found.send(Ok(Some(StoredOrder { order, live: None }))).unwrap();
    assert!(load.await.unwrap().unwrap().unwrap().is_some());
}

#[actix::test]
async fn a_second_group_is_committed_in_parallel_if_it_is_large_or_has_waited() {
    let mut subject = Subject::start(100, 2);
    let _first = subject.record(subject.write(), None);
    let (_, slow) = subject.commits(1).await;
    let started = Instant::now();
    let _few: Vec<_> = (0..3).map(|_| subject.record(subject.write(), None)).collect();
    let (_, second) = subject.commits(3).await;
    assert!((5..10).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    second.send(Ok(vec![Written::Stored; 3])).unwrap();
    subject.nothing_for(Duration::from_millis(1)).await;
    let started = Instant::now();
    let _many: Vec<_> = (0..32).map(|_| subject.record(subject.write(), None)).collect();
    subject.commits(32).await;
    assert_eq!(started.elapsed(), Duration::ZERO);
    drop(slow);
}

#[actix::test]
async fn a_flush_is_answered_when_everything_queued_is_settled_and_ends_the_probes() {
    let mut subject = Subject::start(1, 1);
    let answers = [0, 1].map(|_| subject.record(subject.write(), None));
    let (_, reply) = subject.commits(1).await;
    let mut flush = Box::pin(subject.actor.send(Flush));
    assert!(waits(&mut flush).await);
    reply.send(Ok(vec![Written::Stored])).unwrap();
    let (_, reply) = subject.commits(1).await;
    assert!(waits(&mut flush).await);
    reply.send(Ok(vec![Written::Stored])).unwrap();
    flush.await.unwrap();
    for answer in answers {
        assert_eq!(answer.await.unwrap(), Ok(Written::Stored));
    }
    subject.nothing_for(Duration::from_secs(60)).await;
}
