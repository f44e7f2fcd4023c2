//! When an order is dispatched: slots, retries that wait, and the rate limit.
//!
//! The [`Scheduler`] is a plain value. It is given the changes of each order and the time, and answers which orders to
//! dispatch now and when to ask again.

mod lanes;
mod slots;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};

use self::lanes::WaitingOrder;
use self::slots::Slots;
use crate::domain::id::OrderId;
use crate::domain::limits::RateWindow;
use crate::domain::moment::Uptime;
use crate::domain::request::Priority;
use crate::domain::user::Owner;

/// Decides which order is dispatched next, and when.
#[derive(Debug)]
pub struct Scheduler {
    slots: Slots,
    window: RateWindow,
    orders: HashMap<OrderId, ScheduledOrder>,
    // The orders that join the queue later.
    delayed: BTreeSet<(Uptime, OrderId)>,
    last_number: i64,
    stopped: bool,
}

/// What the scheduler keeps of an open order.
#[derive(Debug)]
struct ScheduledOrder {
    owner: Owner,
    priority: Priority,
    accepted: Uptime,
    phase: Phase,
}

/// What an open order does, as far as slots are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It neither waits nor runs.
    Idle,
    /// It joins the queue at that time.
    Delayed(Uptime),
    /// It is in the queue.
    Waiting,
    /// It holds a slot.
    Running,
    /// Its swap is undecided for too long; it holds no slot.
    Undecided,
}

/// An order that may start an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dispatch {
    /// The order.
    pub id: OrderId,
    /// The number of the dispatch, larger than that of every earlier one.
    pub number: i64,
}

impl Scheduler {
    /// A scheduler without orders. `last_number` is the number of the latest dispatch before the start.
    pub fn new(slots: usize, window: RateWindow, last_number: i64) -> Self {
        Self {
            slots: Slots::new(slots),
            window,
            orders: HashMap::new(),
            delayed: BTreeSet::new(),
            last_number,
            stopped: false,
        }
    }

    /// Adds an order that neither waits nor runs. An order that is known already stays as it is.
    pub fn add(&mut self, id: OrderId, owner: Owner, priority: Priority, accepted: Uptime) {
        self.orders.entry(id).or_insert(ScheduledOrder { owner, priority, accepted, phase: Phase::Idle });
    }

    /// Removes an order, its slot and its place in the queue.
    pub fn remove(&mut self, id: OrderId) {
        self.release(id);
        self.orders.remove(&id);
    }

    /// The order waits for a slot, from `since` on. A slot that it holds is given back.
    pub fn wait(&mut self, id: OrderId, since: Uptime, now: Uptime) {
        self.enter(id, if since > now { Phase::Delayed(since) } else { Phase::Waiting });
    }

    /// The order gives its slot back and leaves the queue.
    pub fn release(&mut self, id: OrderId) {
        self.enter(id, Phase::Idle);
    }

    /// The order has a live swap at its start: it gets a slot immediately, above the limit if necessary.
    pub fn occupy(&mut self, id: OrderId) {
        self.enter(id, Phase::Running);
    }

    /// The order's swap is undecided for too long. Its slot is given back, so that other orders can run.
    pub fn set_undecided(&mut self, id: OrderId) {
        self.enter(id, Phase::Undecided);
    }

    /// Counts the undecided swap of an order that cannot be read.
    pub fn add_unreadable_undecided(&mut self, owner: Owner) {
        self.slots.add_undecided(owner);
    }

    /// Whether the order holds a slot.
    pub fn is_running(&self, id: OrderId) -> bool {
        self.orders.get(&id).is_some_and(|order| order.phase == Phase::Running)
    }

    /// Stops all further dispatches.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// The next order to dispatch now, if there is one. It holds a slot from here on.
    pub fn next_dispatch(&mut self, now: Uptime) -> Option<Dispatch> {
        if self.stopped {
            return None;
        }
        self.queue_delayed(now);
        if !self.slots.has_next() || self.window.take(now).is_err() {
            return None;
        }
        let (_, id) = self.slots.serve_next()?;
        if let Some(order) = self.orders.get_mut(&id) {
            order.phase = Phase::Running;
        }
        self.last_number += 1;
        Some(Dispatch { id, number: self.last_number })
    }

    /// When to call [`Self::next_dispatch`] again, if no other change comes first. Only valid after it returned `None`.
    pub fn next_wake(&self) -> Option<Uptime> {
        if self.stopped {
            return None;
        }
        let delayed = self.delayed.first().map(|(until, _)| *until);
        let rate_limited = if self.slots.has_next() { self.window.free_at() } else { None };
        delayed.into_iter().chain(rate_limited).min()
    }

    /// How many orders hold a slot.
    pub fn running(&self) -> usize {
        self.slots.running()
    }

    /// How many orders wait for a slot, including those that join the queue later.
    pub fn queued(&self) -> usize {
        self.slots.waiting() + self.delayed.len()
    }

    /// When the oldest order in the queue was accepted.
    pub fn oldest(&self) -> Option<Uptime> {
        self.slots.oldest()
    }

    /// How many swaps are undecided for too long.
    pub fn undecided(&self) -> usize {
        self.slots.undecided()
    }

    /// Whether nothing is dispatched because too many swaps are undecided.
    pub fn is_held_up(&self) -> bool {
        self.slots.is_held_up()
    }

    /// Moves the orders to the queue that have waited long enough.
    fn queue_delayed(&mut self, now: Uptime) {
        while let Some((until, id)) = self.delayed.first().copied().filter(|(until, _)| *until <= now) {
            self.delayed.remove(&(until, id));
            self.enter(id, Phase::Waiting);
        }
    }

    /// Moves an order to another phase.
    fn enter(&mut self, id: OrderId, phase: Phase) {
        let Some(order) = self.orders.get_mut(&id) else { return };
        let (owner, priority) = (order.owner, order.priority);
        let waiting = WaitingOrder { accepted: order.accepted, id };
        match std::mem::replace(&mut order.phase, phase) {
            Phase::Idle => {}
            Phase::Delayed(until) => {
                self.delayed.remove(&(until, id));
            }
            Phase::Waiting => self.slots.remove(owner, waiting, priority),
            Phase::Running => self.slots.give_back(owner),
            Phase::Undecided => self.slots.remove_undecided(owner),
        }
        match phase {
            Phase::Idle => {}
            Phase::Delayed(until) => {
                self.delayed.insert((until, id));
            }
            Phase::Waiting => self.slots.push(owner, waiting, priority),
            Phase::Running => self.slots.occupy(owner),
            Phase::Undecided => self.slots.add_undecided(owner),
        }
    }
}
