//! Persistence: makes writes durable in groups, and answers each once its fate is certain.
//!
//! What has queued while one group was being committed forms the next, so the busier the engine the larger the groups.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::actors::supervisor::{Child, ChildExited, Supervisor};
use crate::domain::id::{ClientKey, OrderId};
use crate::domain::user::Owner;
use crate::runtime::crash_points::crash_point;
use crate::store::{
    CommitError, DispatchRecord, ListFilter, OrderStore, Page, ReadError, StoredOrder, Unfinished, UnfinishedFrom,
    UnreadableOrder, Write, Written,
};
use crate::telemetry::metrics::Metrics;

/// Makes a write durable; answered once that is certain, however long the database is away.
///
/// `expires`: when it is no longer wanted unless it may have happened already: for new orders, whose clients wait.
///
/// Dropped: the write happens or not, all the same.
pub fn record(
    persistence: &Addr<Persistence>,
    write: Write,
    expires: Option<Instant>,
) -> impl Future<Output = Result<Written, RecordError>> + use<> {
    let (reply, answer) = oneshot::channel();
    // Full: do_send ignores bounds; each open order has one write under way at most. Closed: then nobody answers.
    persistence.do_send(Record { write, expires, reply });
    async move { answer.await.unwrap_or(Err(RecordError::Stopped)) }
}

/// A write and the way back. Not a message that is answered as such: actix would keep a task for each answer.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Record {
    write: Write,
    expires: Option<Instant>,
    reply: oneshot::Sender<Result<Written, RecordError>>,
}

/// Why a write is not stored; but for [`RecordError::Stopped`] it never will be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Another write of that order's sequence number came first.
    #[error("event {seq} of order {order} was written by somebody else")]
    LostRace {
        /// The order.
        order: OrderId,
        /// The sequence number.
        seq: u32,
    },
    /// The database refuses the row.
    #[error("the database refuses the row: {0}")]
    Refused(String),
    /// Its time was over before the database could be reached.
    #[error("the database could not be reached in time")]
    Expired,
    /// Persistence has stopped; whether the write is stored, the next start will see.
    #[error("persistence has stopped")]
    Stopped,
}

/// Loads one order, after every write of it that is under way has settled.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Option<StoredOrder>, ReadError>")]
pub struct LoadOrder(pub OrderId);

/// Finds the order that a key belongs to.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Option<OrderId>, ReadError>")]
pub struct FindKey {
    /// Whose key.
    pub owner: Owner,
    /// Which.
    pub key: ClientKey,
}

/// Lists orders.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Page, ReadError>")]
pub struct ListOrders(pub ListFilter);

/// Loads the next orders that have not ended, oldest first.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Unfinished, ReadError>")]
pub struct LoadUnfinished {
    /// Where they begin.
    pub from: UnfinishedFrom,
    /// How many at most.
    pub limit: u64,
}

/// Asks for the latest dispatches. The number is how many are wanted at most.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Vec<DispatchRecord>, ReadError>")]
pub struct LoadDispatches(pub u64);

/// Asks how the database is.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "DatabaseState")]
pub struct GetDatabaseState;

/// How the database is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, MessageResponse)]
pub struct DatabaseState {
    /// It took the last group.
    pub takes_writes: bool,
    /// How many orders were found that cannot be read. Orders that nobody has asked for since the start and that have
    /// ended are not looked at.
    pub unreadable_orders: usize,
}

/// Stops the actor once everything queued is settled.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Flush;

/// Durable truth's keeper.
pub struct Persistence {
    store: Arc<dyn OrderStore>,
    batch: usize,
    queue: VecDeque<QueuedWrite>,
    in_flight: usize,
    // Writes of each order that are queued or in flight: a load of that order waits for them.
    unsettled: HashMap<OrderId, usize>,
    parked_loads: Vec<(OrderId, oneshot::Sender<()>)>,
    outage: Option<Outage>,
    // A group is due that does not wait for the one that is under way.
    held_up: bool,
    // A look at the queue is due when the first of its writes expires.
    expiry: bool,
    flushed: Vec<oneshot::Sender<()>>,
    // Tries the database where nothing else does; until the last flush.
    probe: Option<SpawnHandle>,
    // The orders that were found to be unreadable; the log names each of them once.
    unreadable: HashSet<OrderId>,
    // How many more have an id that cannot be read.
    nameless: usize,
    supervisor: Addr<Supervisor>,
    metrics: Metrics,
}

#[derive(Debug)]
struct QueuedWrite {
    write: Write,
    expires: Option<Instant>,
    maybe_stored: bool,
    reply: oneshot::Sender<Result<Written, RecordError>>,
}

/// The database is away: how long to wait before it is tried again.
#[derive(Clone, Copy, Debug)]
struct Outage {
    wait: Duration,
}

/// What came of a group.
struct GroupResult {
    done: Vec<(QueuedWrite, Result<Written, RecordError>)>,
    again: Vec<QueuedWrite>,
    away: bool,
}

impl Outage {
    /// Whether the database has failed more than once in a row: a first failure may be a collision of two commits.
    fn is_certain(self) -> bool {
        self.wait > Persistence::SHORTEST_WAIT
    }
}

impl Persistence {
    const SHORTEST_WAIT: Duration = Duration::from_millis(50);
    const LONGEST_WAIT: Duration = Duration::from_secs(1);
    /// How often the database is tried where nothing is written, so that its absence is noticed by then.
    const PROBED_EVERY: Duration = Duration::from_secs(5);
    /// A group sets out beside another with so many writes, for a group costs the database and the engine something
    /// whatever its size: 128 clients' orders went in groups of 28 instead of 20, and each cost both a tenth less.
    const WORTH_A_GROUP: usize = 32;
    /// Or once its writes may have waited this long, so that a group which takes long holds up nobody else.
    const HELD_UP: Duration = Duration::from_millis(5);
    /// The most unreadable orders that are remembered and logged.
    const MOST_UNREADABLE: usize = 10_000;

    /// An actor on that store that commits at most `batch` writes at once.
    pub fn new(store: Arc<dyn OrderStore>, batch: usize, supervisor: Addr<Supervisor>, metrics: Metrics) -> Self {
        Self {
            store,
            batch,
            queue: VecDeque::new(),
            in_flight: 0,
            unsettled: HashMap::new(),
            parked_loads: Vec::new(),
            outage: None,
            held_up: false,
            expiry: false,
            flushed: Vec::new(),
            probe: None,
            unreadable: HashSet::new(),
            nameless: 0,
            supervisor,
            metrics,
        }
    }

    /// Sends out the groups that are due: the first at once, one beside it where it is worth its way.
    fn commit_next(&mut self, ctx: &mut Context<Self>) {
        while self.may_commit() && (self.in_flight == 0 || self.queue.len() >= Self::WORTH_A_GROUP.min(self.batch)) {
            self.commit_queued(ctx);
        }
        if self.may_commit() && !self.held_up {
            self.held_up = true;
            ctx.run_later(Self::HELD_UP, |actor, ctx| {
                actor.held_up = false;
                if actor.in_flight > 0 && actor.may_commit() {
                    actor.commit_queued(ctx);
                }
            });
        }
    }

    /// Whether there is something to commit, and a commit to spare.
    fn may_commit(&self) -> bool {
        // During an outage one group at a time tries its luck, when its wait is over.
        let parallel = if self.outage.is_some() { 1 } else { self.store.parallel_commits() };
        self.in_flight < parallel && !self.queue.is_empty()
    }

    fn commit_queued(&mut self, ctx: &mut Context<Self>) {
        let group = self.queue.drain(..self.queue.len().min(self.batch)).collect();
        self.commit(group, ctx);
    }

    fn commit(&mut self, group: Vec<QueuedWrite>, ctx: &mut Context<Self>) {
        self.in_flight += 1;
        let settled = settle(self.store.clone(), self.metrics.clone(), group).into_actor(self);
        ctx.spawn(settled.map(|settled, actor, ctx| actor.settled(settled, ctx)));
    }

    fn settled(&mut self, GroupResult { done, again, away }: GroupResult, ctx: &mut Context<Self>) {
        self.in_flight -= 1;
        crash_point("persistence.answering");
        for (job, result) in done {
            self.answer(job, result);
        }
        for job in again.into_iter().rev() {
            self.queue.push_front(job);
        }
        if away {
            self.expire();
            self.wait_out(ctx);
        } else {
            if self.outage.take().is_some() {
                tracing::info!("the database is back");
            }
            self.commit_next(ctx);
        }
        if self.queue.is_empty() && self.in_flight == 0 {
            for flushed in self.flushed.drain(..) {
                let _ = flushed.send(());
            }
        }
    }

    fn wait_out(&mut self, ctx: &mut Context<Self>) {
        let wait = self.outage.map_or(Self::SHORTEST_WAIT, |outage| (outage.wait * 2).min(Self::LONGEST_WAIT));
        if self.outage.is_none() {
            tracing::warn!("the database cannot be reached, writes wait");
        }
        self.outage = Some(Outage { wait });
        // Another group may still be in flight; it brings its own news.
        if self.in_flight == 0 {
            ctx.run_later(wait, |actor, ctx| actor.try_again(ctx));
        }
    }

    /// Tries the database with what waits; with nothing where nothing waits, so that its return is noticed.
    fn try_again(&mut self, ctx: &mut Context<Self>) {
        self.expire();
        if self.queue.is_empty() && self.in_flight == 0 {
            self.commit(Vec::new(), ctx);
        } else {
            self.commit_next(ctx);
        }
    }

    /// Names the orders that cannot be read in the log, each once.
    fn note_unreadable<'a>(&mut self, orders: impl IntoIterator<Item = &'a UnreadableOrder>) {
        for UnreadableOrder { id, may_be_live, reason, .. } in orders {
            if self.unreadable.len() < Self::MOST_UNREADABLE && self.unreadable.insert(*id) {
                tracing::error!(order_id = %id, may_be_live, reason, "an order cannot be read and is set aside");
            }
        }
    }

    /// Gives up the writes that nobody waits for any more and that cannot have happened.
    fn expire(&mut self) {
        let now = Instant::now();
        let (expired, kept) = self
            .queue
            .drain(..)
            .partition::<Vec<_>, _>(|job| !job.maybe_stored && job.expires.is_some_and(|expires| expires <= now));
        self.queue = kept.into();
        for job in expired {
            self.answer(job, Err(RecordError::Expired));
        }
    }

    /// Looks at the queue again when the first of its writes expires; at most one such look is due at a time.
    fn expire_later(&mut self, ctx: &mut Context<Self>) {
        if self.expiry {
            return;
        }
        let first = self.queue.iter().filter(|job| !job.maybe_stored).filter_map(|job| job.expires).min();
        if let Some(first) = first {
            self.expiry = true;
            ctx.run_later(first.duration_since(Instant::now()) + Duration::from_millis(1), |actor, ctx| {
                actor.expiry = false;
                actor.expire();
                actor.expire_later(ctx);
            });
        }
    }

    fn answer(&mut self, job: QueuedWrite, result: Result<Written, RecordError>) {
        let order = job.write.order_id();
        // Nobody listens where the order's actor has panicked meanwhile; its next incarnation reads what was stored.
        let _ = job.reply.send(result);
        if let Some(writes) = self.unsettled.get_mut(&order) {
            *writes -= 1;
            if *writes == 0 {
                self.unsettled.remove(&order);
                for (_, load) in self.parked_loads.extract_if(.., |(parked, _)| *parked == order) {
                    let _ = load.send(());
                }
            }
        }
    }
}

/// Commits a group; where one row is refused the group is split until that row stands alone.
async fn settle(store: Arc<dyn OrderStore>, metrics: Metrics, group: Vec<QueuedWrite>) -> GroupResult {
    let mut settled = GroupResult { done: Vec::with_capacity(group.len()), again: Vec::new(), away: false };
    let mut groups = vec![group];
    let mut once_more = None;
    while let Some(mut group) = groups.pop() {
        let writes: Vec<_> = group.iter().map(|job| job.write.clone()).collect();
        let begun = Instant::now();
        let committed = store.commit(&writes).await;
        if !writes.is_empty() {
            metrics.committed(writes.len(), begun.elapsed());
        }
        match committed {
            Ok(written) => settled.done.extend(group.into_iter().zip(written.into_iter().map(Ok))),
            Err(CommitError::Refused(_)) if group.len() > 1 => {
                let second = group.split_off(group.len() / 2);
                groups.extend([second, group]);
            }
            Err(CommitError::Refused(reason)) => {
                let job = group.pop().expect("a group that is refused is not empty");
                match store.writer_of(job.write.order_id(), job.write.seq()).await {
                    Ok(Some(writer)) if writer == job.write.write_id() => settled.done.push((job, Ok(Written::Stored))),
                    Ok(Some(_)) => {
                        let lost = RecordError::LostRace { order: job.write.order_id(), seq: job.write.seq() };
                        settled.done.push((job, Err(lost)));
                    }
                    // Another commit may just have taken its key; the next look finds whose it is.
                    Ok(None) if job.write.key().is_some() && once_more != Some(job.write.write_id()) => {
                        once_more = Some(job.write.write_id());
                        groups.push(vec![job]);
                    }
                    Ok(None) => settled.done.push((job, Err(RecordError::Refused(reason)))),
                    Err(_) => {
                        settled.away = true;
                        settled.again.push(job);
                    }
                }
            }
            Err(CommitError::Unavailable { reason, maybe_committed }) => {
                tracing::debug!(reason, "a group was not committed");
                settled.away = true;
                group.iter_mut().for_each(|job| job.maybe_stored |= maybe_committed);
                settled.again.extend(group);
                settled.again.extend(groups.drain(..).rev().flatten());
            }
        }
    }
    settled
}

impl Actor for Persistence {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.probe = Some(ctx.run_interval(Self::PROBED_EVERY, |actor, ctx| {
            if actor.outage.is_none() && actor.queue.is_empty() && actor.in_flight == 0 {
                actor.commit(Vec::new(), ctx);
            }
        }));
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        // Full: do_send ignores bounds, and a child exits once. Closed: then the engine is going down anyway.
        self.supervisor.do_send(ChildExited { child: Child::Persistence, panicked: std::thread::panicking() });
    }
}

impl Handler<Record> for Persistence {
    type Result = ();

    fn handle(&mut self, Record { write, expires, reply }: Record, ctx: &mut Self::Context) {
        fail::fail_point!("persistence", |_| unreachable!("this fail point only panics"));
        if expires.is_some() && self.outage.is_some_and(Outage::is_certain) {
            // Whoever would wait for it is told now: the wait could only end the same way.
            let _ = reply.send(Err(RecordError::Expired));
            return;
        }
        *self.unsettled.entry(write.order_id()).or_default() += 1;
        self.queue.push_back(QueuedWrite { write, expires, maybe_stored: false, reply });
        if self.outage.is_none() {
            self.commit_next(ctx);
        }
        if !self.expiry && !self.queue.is_empty() {
            self.expire_later(ctx);
        }
    }
}

impl Handler<LoadOrder> for Persistence {
    type Result = ResponseActFuture<Self, Result<Option<StoredOrder>, ReadError>>;

    fn handle(&mut self, LoadOrder(id): LoadOrder, _: &mut Self::Context) -> Self::Result {
        let store = self.store.clone();
        let parked = self.unsettled.contains_key(&id).then(|| {
            let (settled, parked) = oneshot::channel();
            self.parked_loads.push((id, settled));
            parked
        });
        let load = async move {
            if let Some(parked) = parked {
                let _ = parked.await;
            }
            store.order(id).await
        };
        Box::pin(load.into_actor(self).map(move |loaded, actor, _| {
            match &loaded {
                Err(ReadError::UnreadableOrder(order)) => actor.note_unreadable([&**order]),
                // It was repaired.
                Ok(Some(_)) => drop(actor.unreadable.remove(&id)),
                Ok(None) | Err(_) => {}
            }
            loaded
        }))
    }
}

impl Handler<FindKey> for Persistence {
    type Result = ResponseFuture<Result<Option<OrderId>, ReadError>>;

    fn handle(&mut self, FindKey { owner, key }: FindKey, _: &mut Self::Context) -> Self::Result {
        let store = self.store.clone();
        Box::pin(async move { store.order_by_key(owner, &key).await })
    }
}

impl Handler<ListOrders> for Persistence {
    type Result = ResponseActFuture<Self, Result<Page, ReadError>>;

    fn handle(&mut self, ListOrders(filter): ListOrders, _: &mut Self::Context) -> Self::Result {
        let store = self.store.clone();
        let list = async move { store.list(&filter).await };
        Box::pin(list.into_actor(self).map(|page, actor, _| {
            actor.note_unreadable(page.iter().flat_map(|page| &page.unreadable));
            page
        }))
    }
}

impl Handler<LoadUnfinished> for Persistence {
    type Result = ResponseActFuture<Self, Result<Unfinished, ReadError>>;

    fn handle(&mut self, LoadUnfinished { from, limit }: LoadUnfinished, _: &mut Self::Context) -> Self::Result {
        let store = self.store.clone();
        let load = async move { store.unfinished(from, limit).await };
        Box::pin(load.into_actor(self).map(|loaded, actor, _| {
            if let Ok(Unfinished { unreadable, nameless, .. }) = &loaded {
                actor.note_unreadable(unreadable);
                actor.nameless += nameless;
            }
            loaded
        }))
    }
}

impl Handler<LoadDispatches> for Persistence {
    type Result = ResponseFuture<Result<Vec<DispatchRecord>, ReadError>>;

    fn handle(&mut self, LoadDispatches(limit): LoadDispatches, _: &mut Self::Context) -> Self::Result {
        let store = self.store.clone();
        Box::pin(async move { store.latest_dispatches(limit).await })
    }
}

impl Handler<GetDatabaseState> for Persistence {
    type Result = DatabaseState;

    fn handle(&mut self, _: GetDatabaseState, _: &mut Self::Context) -> Self::Result {
        let unreadable_orders = self.unreadable.len() + self.nameless;
        DatabaseState { takes_writes: self.outage.is_none(), unreadable_orders }
    }
}

impl Handler<Flush> for Persistence {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Flush, ctx: &mut Self::Context) -> Self::Result {
        crash_point("persistence.flushing");
        if let Some(probe) = self.probe.take() {
            ctx.cancel_future(probe);
        }
        let (flushed, all) = oneshot::channel();
        if self.queue.is_empty() && self.in_flight == 0 {
            let _ = flushed.send(());
        } else {
            self.flushed.push(flushed);
        }
        Box::pin(async move {
            let _ = all.await;
        })
    }
}
