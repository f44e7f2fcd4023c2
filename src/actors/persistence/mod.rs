//! Persistence: commits writes in groups, and answers each write once its result is certain.
//!
//! The writes that arrive during one commit form the next group, so groups grow with the load.

mod group;
mod messages;
mod reads;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::oneshot;
use tokio::time::Instant;

use self::group::{GroupResult, QueuedWrite, commit_group};
pub use self::messages::{
    DatabaseState, FindKey, Flush, GetDatabaseState, ListOrders, LoadDispatches, LoadOrder, LoadUnfinished,
    PersistenceRecipients, Record, RecordError,
};
use crate::actors::supervisor::{Child, ChildExited};
use crate::domain::id::OrderId;
use crate::runtime::crash_points::crash_point;
use crate::store::{OrderStore, UnreadableOrder, Written};
use crate::telemetry::metrics::Metrics;

/// Batches writes to the store, and reads from it.
pub struct Persistence {
    store: Arc<dyn OrderStore>,
    batch: usize,
    queue: VecDeque<QueuedWrite>,
    in_flight: usize,
    // When the store answered last, or was asked if it had nothing to answer; `None` while nothing is in flight.
    unanswered_since: Option<Instant>,
    // Per order, the writes that are queued or in flight: a load of that order waits for them.
    unsettled: HashMap<OrderId, usize>,
    parked_loads: Vec<(OrderId, oneshot::Sender<()>)>,
    outage: Option<Outage>,
    // A timer runs for a group that is to be committed beside the one in flight.
    parallel_timer: bool,
    // A timer runs for the first write that expires.
    expiry_timer: bool,
    flushed: Vec<oneshot::Sender<()>>,
    // Probes the database while nothing is written; until the first flush.
    probe: Option<SpawnHandle>,
    // The unreadable orders that were found; each is logged once.
    unreadable: HashSet<OrderId>,
    // How many unreadable orders have an unreadable id.
    nameless: usize,
    supervisor: Recipient<ChildExited>,
    metrics: Metrics,
}

/// The database is unavailable.
#[derive(Clone, Copy, Debug)]
struct Outage {
    // The time until the next try.
    wait: Duration,
}

impl Outage {
    /// Whether the database has failed twice in a row; a single failure may be a conflict of two commits.
    fn is_certain(self) -> bool {
        self.wait > Persistence::SHORTEST_WAIT
    }
}

impl Persistence {
    const SHORTEST_WAIT: Duration = Duration::from_millis(50);
    const LONGEST_WAIT: Duration = Duration::from_secs(1);
    /// How often the database is probed while nothing is written, so that an outage is noticed.
    const PROBED_EVERY: Duration = Duration::from_secs(5);
    /// The same for a database in another process, which goes away more often. With [`Self::HANGS_AFTER`], an outage is
    /// reported within two seconds.
    const REMOTE_PROBED_EVERY: Duration = Duration::from_millis(500);
    /// A database in another process that does not answer for this time counts as unavailable. What it was asked may
    /// still be answered.
    const HANGS_AFTER: Duration = Duration::from_millis(1_200);
    /// The number of queued writes from which a second group is committed beside the one in flight. Each group has a fixed
    /// cost: with this bound, the orders of 128 clients were committed in groups of 28 instead of 20, and each order cost
    /// the database and the engine a tenth less.
    const WORTH_A_GROUP: usize = 32;
    /// A smaller group is committed after this time, so that a slow group does not delay the writes behind it.
    const PARALLEL_AFTER: Duration = Duration::from_millis(5);
    /// How many unreadable orders are remembered and logged.
    const MOST_UNREADABLE: usize = 10_000;

    /// An actor for that store with groups of at most `batch` writes. `supervisor` hears when the actor stops.
    pub fn new(store: Arc<dyn OrderStore>, batch: usize, supervisor: Recipient<ChildExited>, metrics: Metrics) -> Self {
        Self {
            store,
            batch,
            queue: VecDeque::new(),
            in_flight: 0,
            unanswered_since: None,
            unsettled: HashMap::new(),
            parked_loads: Vec::new(),
            outage: None,
            parallel_timer: false,
            expiry_timer: false,
            flushed: Vec::new(),
            probe: None,
            unreadable: HashSet::new(),
            nameless: 0,
            supervisor,
            metrics,
        }
    }

    /// Commits the groups that are due: the first immediately, a further one in parallel if it is large enough.
    fn commit_next(&mut self, ctx: &mut Context<Self>) {
        while self.may_commit() && (self.in_flight == 0 || self.queue.len() >= Self::WORTH_A_GROUP.min(self.batch)) {
            self.commit_queued(ctx);
        }
        if self.may_commit() && !self.parallel_timer {
            self.parallel_timer = true;
            ctx.run_later(Self::PARALLEL_AFTER, |actor, ctx| {
                actor.parallel_timer = false;
                if actor.in_flight > 0 && actor.may_commit() {
                    actor.commit_queued(ctx);
                }
            });
        }
    }

    /// Whether there is something to commit, and a commit is free.
    fn may_commit(&self) -> bool {
        // During an outage one group at a time is tried, after the wait.
        let parallel = if self.outage.is_some() { 1 } else { self.store.parallel_commits() };
        self.in_flight < parallel && !self.queue.is_empty()
    }

    fn commit_queued(&mut self, ctx: &mut Context<Self>) {
        let group = self.queue.drain(..self.queue.len().min(self.batch)).collect();
        self.commit(group, ctx);
    }

    fn commit(&mut self, group: Vec<QueuedWrite>, ctx: &mut Context<Self>) {
        self.in_flight += 1;
        self.unanswered_since.get_or_insert_with(Instant::now);
        let result = commit_group(self.store.clone(), self.metrics.clone(), group).into_actor(self);
        ctx.spawn(result.map(|result, actor, ctx| actor.settled(result, ctx)));
    }

    fn settled(&mut self, GroupResult { done, again, unavailable }: GroupResult, ctx: &mut Context<Self>) {
        self.in_flight -= 1;
        self.unanswered_since = (self.in_flight > 0).then(Instant::now);
        crash_point("persistence.answering");
        for (queued, result) in done {
            self.answer(queued, result);
        }
        for queued in again.into_iter().rev() {
            self.queue.push_front(queued);
        }
        if unavailable {
            self.expire();
            self.retry_later(ctx);
        } else {
            if self.outage.take().is_some() {
                tracing::info!("the database is available again");
            }
            self.commit_next(ctx);
        }
        if self.queue.is_empty() && self.in_flight == 0 {
            for flushed in self.flushed.drain(..) {
                let _ = flushed.send(());
            }
        }
    }

    /// Whether the database takes writes, as far as is known.
    fn takes_writes(&self) -> bool {
        let hangs =
            self.store.is_remote() && self.unanswered_since.is_some_and(|since| since.elapsed() >= Self::HANGS_AFTER);
        self.outage.is_none() && !hangs
    }

    fn retry_later(&mut self, ctx: &mut Context<Self>) {
        let wait = self.outage.map_or(Self::SHORTEST_WAIT, |outage| (outage.wait * 2).min(Self::LONGEST_WAIT));
        if self.outage.is_none() {
            tracing::warn!("the database is unavailable, writes wait");
        }
        self.outage = Some(Outage { wait });
        // If another group is in flight, its result decides.
        if self.in_flight == 0 {
            ctx.run_later(wait, |actor, ctx| actor.try_again(ctx));
        }
    }

    /// Tries the database with the queued writes, or with an empty group if none is queued.
    fn try_again(&mut self, ctx: &mut Context<Self>) {
        self.expire();
        if self.queue.is_empty() && self.in_flight == 0 {
            self.commit(Vec::new(), ctx);
        } else {
            self.commit_next(ctx);
        }
    }

    /// Logs the unreadable orders, each once.
    fn note_unreadable<'a>(&mut self, orders: impl IntoIterator<Item = &'a UnreadableOrder>) {
        for UnreadableOrder { id, may_be_live, reason, .. } in orders {
            if self.unreadable.len() < Self::MOST_UNREADABLE && self.unreadable.insert(*id) {
                tracing::error!(order_id = %id, may_be_live, reason, "an order cannot be read and is set aside");
            }
        }
    }

    /// Gives up the writes that have expired and cannot be stored.
    fn expire(&mut self) {
        let now = Instant::now();
        let (expired, kept) = self.queue.drain(..).partition::<Vec<_>, _>(|queued| {
            !queued.maybe_stored && queued.expires.is_some_and(|expires| expires <= now)
        });
        self.queue = kept.into();
        for queued in expired {
            self.answer(queued, Err(RecordError::Expired));
        }
    }

    /// Starts the timer for the first write that expires, if it does not run yet.
    fn expire_later(&mut self, ctx: &mut Context<Self>) {
        if self.expiry_timer {
            return;
        }
        let first = self.queue.iter().filter(|queued| !queued.maybe_stored).filter_map(|queued| queued.expires).min();
        if let Some(first) = first {
            self.expiry_timer = true;
            ctx.run_later(first.duration_since(Instant::now()) + Duration::from_millis(1), |actor, ctx| {
                actor.expiry_timer = false;
                actor.expire();
                actor.expire_later(ctx);
            });
        }
    }

    fn answer(&mut self, queued: QueuedWrite, result: Result<Written, RecordError>) {
        let order = queued.write.order_id();
        // The order's actor may have panicked since; its next actor loads what is stored.
        let _ = queued.reply.send(result);
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

impl Actor for Persistence {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let interval = if self.store.is_remote() { Self::REMOTE_PROBED_EVERY } else { Self::PROBED_EVERY };
        self.probe = Some(ctx.run_interval(interval, |actor, ctx| {
            if actor.outage.is_none() && actor.queue.is_empty() && actor.in_flight == 0 {
                actor.commit(Vec::new(), ctx);
            }
        }));
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        // Full: do_send ignores bounds, and a child exits once. Closed: the engine is shutting down.
        self.supervisor.do_send(ChildExited { child: Child::Persistence, panicked: std::thread::panicking() });
    }
}

impl Handler<Record> for Persistence {
    type Result = ();

    fn handle(&mut self, Record { write, expires, reply }: Record, ctx: &mut Self::Context) {
        fail::fail_point!("persistence", |_| unreachable!("this fail point only panics"));
        if expires.is_some() && self.outage.is_some_and(Outage::is_certain) {
            // Refused now, because the client's wait would most likely end the same way.
            let _ = reply.send(Err(RecordError::Expired));
            return;
        }
        *self.unsettled.entry(write.order_id()).or_default() += 1;
        self.queue.push_back(QueuedWrite { write, expires, maybe_stored: false, reply });
        if self.outage.is_none() {
            self.commit_next(ctx);
        }
        if !self.expiry_timer && !self.queue.is_empty() {
            self.expire_later(ctx);
        }
    }
}
