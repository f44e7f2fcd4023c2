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

/// Plays the rows against a scheduler with those numbers of slots and of dispatches per minute.
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
        changes in proptest::collection::vec((0u64..50, change()), 1..100),
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
