use std::collections::{HashMap, VecDeque};

use super::*;
use crate::domain::user::UserId;
use proptest::prelude::*;
use uuid::Uuid;

fn order(number: u32) -> WaitingOrder {
    WaitingOrder { accepted: Uptime(number.into()), id: OrderId(Uuid::from_u128(number.into())) }
}

fn user(number: u32) -> Owner {
    match number {
        0 => Owner::Shared,
        _ => Owner::User(UserId(Uuid::from_u128(number.into()))),
    }
}

/// Gives the next order a slot and takes the slot back.
fn serve(slots: &mut Slots, owner_of: impl Fn(u32) -> Owner) -> Option<u32> {
    let served = u32::try_from(slots.serve_next()?.1.0.as_u128()).unwrap();
    slots.give_back(owner_of(served));
    Some(served)
}

#[test]
fn waiting_priorities_of_one_user_share_the_dispatches_four_two_one() {
    let mut slots = Slots::new(1);
    for number in 0..70 {
        slots.push(user(1), order(number), Priority::High);
        slots.push(user(1), order(100 + number), Priority::Normal);
        slots.push(user(1), order(200 + number), Priority::Low);
    }
    let served: Vec<_> = (0..70).map(|_| serve(&mut slots, |_| user(1)).unwrap() / 100).collect();
    let share = |lane| served.iter().filter(|served| **served == lane).count();
    assert_eq!((share(0), share(1), share(2)), (40, 20, 10));
    for seven in served.chunks(7) {
        assert!(seven.contains(&2), "low waited longer than seven dispatches: {served:?}");
    }
}

#[test]
fn a_single_priority_gets_every_dispatch_and_has_no_debt_later() {
    let mut slots = Slots::new(1);
    for number in 0..100 {
        slots.push(user(0), order(number), Priority::Low);
    }
    assert!((0..50).all(|_| serve(&mut slots, |_| user(0)).is_some()));
    slots.push(user(0), order(1_000), Priority::High);
    assert_eq!(serve(&mut slots, |_| user(0)), Some(1_000));
}

#[test]
fn within_a_priority_the_oldest_goes_first_and_a_retry_keeps_its_place() {
    let mut slots = Slots::new(1);
    for number in [3, 1, 2] {
        slots.push(user(1), order(number), Priority::Normal);
    }
    assert_eq!(serve(&mut slots, |_| user(1)), Some(1));
    slots.push(user(1), order(1), Priority::Normal);
    assert_eq!(serve(&mut slots, |_| user(1)), Some(1));
    slots.remove(user(1), order(2), Priority::Normal);
    assert_eq!(serve(&mut slots, |_| user(1)), Some(3));
    assert_eq!(serve(&mut slots, |_| user(1)), None);
    assert!(slots.users.is_empty());
}

#[test]
fn one_user_with_ten_thousand_orders_delays_ninety_nine_with_ten_by_one_dispatch_a_round() {
    let mut slots = Slots::new(10);
    for number in 0..10_000 {
        slots.push(user(1_000), order(number), Priority::High);
    }
    for number in 10_000..10_990 {
        slots.push(user(number % 99), order(number), Priority::Low);
    }
    let owner_of = |number| if number < 10_000 { user(1_000) } else { user(number % 99) };
    // Alone they would be done after 990.
    let served: Vec<_> = (0..1_001).map(|_| serve(&mut slots, owner_of).unwrap()).collect();
    assert_eq!(served.iter().filter(|served| **served >= 10_000).count(), 990);
    assert_eq!(slots.users.len(), 1);
}

#[test]
fn a_user_with_slow_swaps_does_not_collect_all_slots() {
    let mut slots = Slots::new(10);
    for number in 0..100 {
        slots.push(user(1), order(number), Priority::Normal);
        slots.push(user(2), order(1_000 + number), Priority::Normal);
    }
    let mut slow = 0;
    for _ in 0..50 {
        let served = slots.serve_next().unwrap().1.0.as_u128();
        if served < 1_000 { slow += 1 } else { slots.give_back(user(2)) }
    }
    assert_eq!(slow, 1, "it holds what the other, who gives back at once, holds");
}

#[test]
fn an_idle_user_gains_no_credit_and_a_new_user_waits_one_round() {
    let mut slots = Slots::new(1);
    for number in 0..100 {
        slots.push(user(1), order(number), Priority::Normal);
        slots.push(user(2), order(1_000 + number), Priority::Normal);
    }
    for _ in 0..20 {
        serve(&mut slots, |number| user(1 + number / 1_000));
    }
    for number in 2_000..2_010 {
        slots.push(user(3), order(number), Priority::Normal);
    }
    let served: Vec<_> =
        (0..6).map(|_| serve(&mut slots, |number| user(1 + number / 1_000)).unwrap() / 1_000).collect();
    assert_eq!(served, [0, 1, 2, 0, 1, 2]);
}

#[test]
fn a_user_with_as_many_undecided_swaps_as_slots_waits_and_the_others_go_on() {
    let mut slots = Slots::new(2);
    for number in 0..3 {
        slots.push(user(1), order(number), Priority::Normal);
    }
    for _ in 0..2 {
        slots.serve_next().unwrap();
    }
    assert!(!slots.has_next(), "there are two slots");
    for _ in 0..2 {
        slots.give_back(user(1));
        slots.add_undecided(user(1));
    }
    assert_eq!((slots.serve_next(), slots.running()), (None, 0));
    slots.push(user(2), order(10), Priority::Low);
    assert_eq!(slots.serve_next(), Some((user(2), order(10).id)));
    slots.remove_undecided(user(1));
    assert_eq!(slots.serve_next(), Some((user(1), order(2).id)));
}

#[test]
fn a_chain_that_decides_nothing_gets_a_bounded_number_of_swaps() {
    let mut slots = Slots::new(2);
    for number in 0..1_000 {
        slots.push(user(number), order(number), Priority::Normal);
    }
    let mut signed = 0;
    while let Some((owner, _)) = slots.serve_next() {
        slots.give_back(owner);
        slots.add_undecided(owner);
        signed += 1;
    }
    assert_eq!(signed, 2 * Slots::UNDECIDED_PER_SLOT);
    assert!(slots.is_held_up());
}

#[test]
fn the_oldest_waiting_order_is_known_for_any_owner() {
    let mut slots = Slots::new(1);
    assert_eq!(slots.oldest(), None);
    slots.push(user(1), order(7), Priority::Low);
    slots.push(user(2), order(5), Priority::Low);
    assert_eq!(slots.oldest(), Some(Uptime(5)));
    slots.remove(user(2), order(5), Priority::Low);
    assert_eq!((slots.oldest(), slots.waiting()), (Some(Uptime(7)), 1));
}

#[derive(Clone, Debug)]
enum Action {
    Push(u32, Priority),
    Serve,
    GiveBack,
    Retry(Priority),
}

fn act() -> impl Strategy<Value = Action> {
    let priority = || prop_oneof![Just(Priority::High), Just(Priority::Normal), Just(Priority::Low)];
    prop_oneof![
        3 => (0u32..6, priority()).prop_map(|(owner, priority)| Action::Push(owner, priority)),
        3 => Just(Action::Serve),
        2 => Just(Action::GiveBack),
        1 => priority().prop_map(Action::Retry),
    ]
}

proptest! {
    #[test]
    fn no_user_is_passed_over_and_no_order_is_lost_or_kept(acts in proptest::collection::vec(act(), 1..400)) {
        let mut slots = Slots::new(3);
        let mut waits: HashMap<u32, (u32, Priority)> = HashMap::new();
        let mut running: VecDeque<(u32, u32)> = VecDeque::new();
        let mut number = 0;
        for act in acts {
            match act {
                Action::Push(owner, priority) => {
                    number += 1;
                    slots.push(user(owner), order(number), priority);
                    waits.insert(number, (owner, priority));
                }
                Action::Serve => {
                    let held = |owner: u32| running.iter().filter(|(_, of)| *of == owner).count();
                    match slots.serve_next() {
                        None => prop_assert!(running.len() == 3 || waits.is_empty()),
                        Some((_, id)) => {
                            let served = u32::try_from(id.0.as_u128()).unwrap();
                            let (owner, _) = waits.remove(&served).expect("it waits");
                            let fewest = waits.values().map(|(other, _)| held(*other)).min();
                            prop_assert!(fewest.is_none_or(|fewest| held(owner) <= fewest), "a user who holds fewer waits");
                            running.push_back((served, owner));
                        }
                    }
                }
                Action::GiveBack => if let Some((_, owner)) = running.pop_front() {
                    slots.give_back(user(owner));
                },
                Action::Retry(priority) => if let Some((served, owner)) = running.pop_back() {
                    slots.give_back(user(owner));
                    slots.push(user(owner), order(served), priority);
                    waits.insert(served, (owner, priority));
                },
            }
            prop_assert_eq!((slots.waiting(), slots.running()), (waits.len(), running.len()));
        }
        for (number, (owner, priority)) in waits.drain() {
            slots.remove(user(owner), order(number), priority);
        }
        running.into_iter().for_each(|(_, owner)| slots.give_back(user(owner)));
        prop_assert!(slots.users.is_empty() && slots.turns.is_empty());
    }

    #[test]
    fn while_users_wait_none_is_served_twice_before_another_once(orders in proptest::collection::vec(0u32..8, 1..200)) {
        let mut slots = Slots::new(1);
        for (number, owner) in (0..).zip(&orders) {
            slots.push(user(*owner), order(number), Priority::Normal);
        }
        let mut left: HashMap<u32, u32> = HashMap::new();
        orders.iter().for_each(|owner| *left.entry(*owner).or_default() += 1);
        let mut since: HashMap<u32, HashMap<u32, u32>> = HashMap::new();
        let owner_of = |number: u32| orders[number as usize];
        while let Some(served) = serve(&mut slots, |number| user(owner_of(number))) {
            let owner = owner_of(served);
            *left.get_mut(&owner).unwrap() -= 1;
            since.remove(&owner);
            for (other, _) in left.iter().filter(|(other, left)| **left > 0 && **other != owner) {
                let times = since.entry(*other).or_default().entry(owner).or_default();
                *times += 1;
                prop_assert!(*times <= 1, "{owner} was served twice while {other} waited");
            }
        }
        prop_assert!(left.values().all(|left| *left == 0));
    }
}
