//! When an order is dispatched: slots, retries that wait, and the rate limit.
//!
//! The [`Scheduler`] is a plain value. It is given the changes of each order and the time, and answers which orders to
//! dispatch now and when to ask again.

mod lanes;
mod slots;

use std::collections::{BTreeSet, HashMap};

use self::lanes::WaitingOrder;
use self::slots::Slots;
use crate::domain::id::OrderId;
use crate::domain::limits::RateWindow;
use crate::domain::moment::Uptime;
use crate::domain::order::Priority;
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn id(number: u32) -> OrderId {
        OrderId(Uuid::from_u128(number.into()))
    }

    fn at(milliseconds: u64) -> Uptime {
        Uptime(0).plus(Duration::from_millis(milliseconds))
    }

    /// What happens to an order, by its number.
    #[derive(Clone, Copy, Debug)]
    enum Change {
        Wait(u32),
        /// Waits until that millisecond.
        WaitUntil(u32, u64),
        Release(u32),
        Occupy(u32),
        Undecided(u32),
        Remove(u32),
        Stop,
        /// Only time passes.
        Nothing,
    }

    use Change::{Nothing, Occupy, Release, Remove, Stop, Undecided, Wait, WaitUntil};

    /// A change at a millisecond, the orders that are dispatched then, and when to ask again.
    type Row = (u64, Change, &'static [u32], Option<u64>);

    fn apply(scheduler: &mut Scheduler, change: Change, now: Uptime) {
        let mut add = |number| {
            scheduler.add(id(number), Owner::Shared, Priority::Normal, at(number.into()));
            id(number)
        };
        match change {
            Wait(number) => {
                let id = add(number);
                scheduler.wait(id, now, now);
            }
            WaitUntil(number, until) => {
                let id = add(number);
                scheduler.wait(id, at(until), now);
            }
            Occupy(number) => {
                let id = add(number);
                scheduler.occupy(id);
            }
            Release(number) => scheduler.release(id(number)),
            Undecided(number) => scheduler.set_undecided(id(number)),
            Remove(number) => scheduler.remove(id(number)),
            Stop => scheduler.stop(),
            Nothing => {}
        }
    }

    fn dispatched(scheduler: &mut Scheduler, now: Uptime) -> Vec<u32> {
        let next = |scheduler: &mut Scheduler| scheduler.next_dispatch(now).map(|dispatch| dispatch.id.0.as_u128());
        std::iter::from_fn(|| next(scheduler)).map(|number| u32::try_from(number).unwrap()).collect()
    }

    /// Plays the rows against a scheduler with so many slots and dispatches a minute.
    fn check(slots: usize, per_minute: u32, rows: &[Row]) {
        let mut scheduler = Scheduler::new(slots, RateWindow::new(per_minute), 0);
        for (index, &(millisecond, change, orders, wake)) in rows.iter().enumerate() {
            apply(&mut scheduler, change, at(millisecond));
            assert_eq!(dispatched(&mut scheduler, at(millisecond)), orders, "row {index}: {change:?}");
            assert_eq!(scheduler.next_wake(), wake.map(at), "row {index}: {change:?}");
        }
    }

    #[test]
    fn an_order_is_dispatched_when_a_slot_is_free() {
        check(
            2,
            0,
            &[
                (0, Wait(1), &[1], None),
                (0, Wait(2), &[2], None),
                (1, Wait(3), &[], None),
                (2, Wait(4), &[], None),
                (3, Release(2), &[3], None),
                (4, Remove(1), &[4], None),
                (5, Nothing, &[], None),
            ],
        );
    }

    #[test]
    fn a_retry_gives_its_slot_back_and_joins_the_queue_when_its_wait_is_over() {
        check(
            1,
            0,
            &[
                (0, Wait(1), &[1], None),
                (0, Wait(2), &[], None),
                (10, WaitUntil(1, 500), &[2], Some(500)),
                (499, Release(2), &[], Some(500)),
                (500, Nothing, &[1], None),
            ],
        );
    }

    #[test]
    fn a_retry_keeps_its_place_in_the_queue() {
        check(
            1,
            0,
            &[
                (0, Wait(5), &[5], None),
                (0, Wait(2), &[], None),
                (0, WaitUntil(1, 100), &[], Some(100)),
                (100, Nothing, &[], None),
                (101, Release(5), &[1], None),
                (102, Release(1), &[2], None),
            ],
        );
    }

    #[test]
    fn the_earliest_retry_is_the_next_wake_and_one_that_is_removed_is_not() {
        check(
            1,
            0,
            &[
                (0, WaitUntil(1, 300), &[], Some(300)),
                (0, WaitUntil(2, 200), &[], Some(200)),
                (0, WaitUntil(3, 400), &[], Some(200)),
                (1, Remove(2), &[], Some(300)),
                (2, WaitUntil(1, 350), &[], Some(350)),
                (3, Release(1), &[], Some(400)),
            ],
        );
    }

    #[test]
    fn the_rate_limit_delays_an_order_although_a_slot_is_free() {
        check(
            10,
            2,
            &[
                (0, Wait(1), &[1], None),
                (1_000, Wait(2), &[2], None),
                (2_000, Wait(3), &[], Some(60_001)),
                (2_000, WaitUntil(4, 3_000), &[], Some(3_000)),
                (3_000, Nothing, &[], Some(60_001)),
                (60_001, Nothing, &[3], Some(61_001)),
                (61_001, Nothing, &[4], None),
            ],
        );
    }

    #[test]
    fn without_a_free_slot_the_rate_limit_asks_for_no_wake() {
        check(1, 1, &[(0, Wait(1), &[1], None), (0, Wait(2), &[], None), (10, Release(1), &[], Some(60_001))]);
    }

    #[test]
    fn a_live_swap_holds_a_slot_from_the_start_and_above_the_limit() {
        check(
            1,
            0,
            &[
                (0, Occupy(1), &[], None),
                (0, Occupy(2), &[], None),
                (0, Wait(3), &[], None),
                (1, Release(1), &[], None),
                (2, Release(2), &[3], None),
            ],
        );
    }

    #[test]
    fn a_swap_that_is_undecided_for_too_long_gives_its_slot_back() {
        check(
            1,
            0,
            &[
                (0, Wait(1), &[1], None),
                (0, Wait(2), &[], None),
                // The user has as many undecided swaps as there are slots and waits for the chain.
                (1, Undecided(1), &[], None),
                (1, Undecided(1), &[], None),
                (2, Release(1), &[2], None),
            ],
        );
    }

    #[test]
    fn a_change_of_an_order_that_is_not_open_is_ignored() {
        check(1, 0, &[(0, Release(1), &[], None), (0, Undecided(1), &[], None), (0, Remove(1), &[], None)]);
    }

    #[test]
    fn a_stopped_scheduler_dispatches_nothing_and_asks_for_no_wake() {
        check(
            1,
            0,
            &[
                (0, Wait(1), &[1], None),
                (0, WaitUntil(2, 100), &[], Some(100)),
                (1, Stop, &[], None),
                (2, Release(1), &[], None),
                (200, Nothing, &[], None),
            ],
        );
    }

    #[test]
    fn dispatches_are_numbered_from_the_last_one_before_the_start() {
        let mut scheduler = Scheduler::new(2, RateWindow::new(0), 41);
        for change in [Wait(1), Wait(2)] {
            apply(&mut scheduler, change, at(0));
        }
        let numbers: Vec<_> =
            std::iter::from_fn(|| scheduler.next_dispatch(at(0))).map(|dispatch| dispatch.number).collect();
        assert_eq!(numbers, [42, 43]);
    }

    #[test]
    fn the_queue_counts_the_orders_that_join_it_later() {
        let mut scheduler = Scheduler::new(1, RateWindow::new(0), 0);
        for change in [Wait(3), Wait(2), WaitUntil(1, 100)] {
            apply(&mut scheduler, change, at(0));
        }
        dispatched(&mut scheduler, at(0));
        assert_eq!((scheduler.running(), scheduler.queued(), scheduler.oldest()), (1, 2, Some(at(3))));
        assert!(scheduler.is_running(id(2)) && !scheduler.is_running(id(3)));
        apply(&mut scheduler, Release(1), at(1));
        assert_eq!(scheduler.queued(), 1);
    }

    fn change() -> impl Strategy<Value = Change> {
        let order = 0u32..12;
        prop_oneof![
            4 => order.clone().prop_map(Wait),
            3 => (order.clone(), 0u64..5_000).prop_map(|(order, until)| WaitUntil(order, until)),
            3 => order.clone().prop_map(Release),
            1 => order.clone().prop_map(Undecided),
            2 => order.prop_map(Remove),
            2 => Just(Nothing),
        ]
    }

    proptest! {
        #[test]
        fn slots_are_never_exceeded_and_all_are_free_at_the_end(
            changes in proptest::collection::vec((0u64..50, change()), 1..300),
        ) {
            let mut scheduler = Scheduler::new(3, RateWindow::new(0), 0);
            let mut now = 0;
            for (passed, change) in changes {
                now += passed;
                apply(&mut scheduler, change, at(now));
                dispatched(&mut scheduler, at(now));
                prop_assert!(scheduler.running() <= 3);
                let running = (0..12).filter(|number| scheduler.is_running(id(*number))).count();
                prop_assert_eq!(scheduler.running(), running);
                prop_assert!(scheduler.next_wake().is_none_or(|wake| wake > at(now)));
            }
            (0..12).for_each(|number| scheduler.remove(id(number)));
            prop_assert_eq!((scheduler.running(), scheduler.queued(), scheduler.undecided()), (0, 0, 0));
            prop_assert_eq!(scheduler.next_wake(), None);
        }
    }
}
