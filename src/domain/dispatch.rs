//! Whose turn it is: how slots are dealt out between users, and within a user between priorities.
//!
//! The next slot goes to the waiting user who holds the fewest; among those who hold as many, to the one whose last turn
//! is the longest ago. Whoever begins to wait does so at the end, so an idle user gains nothing. Within a user, high,
//! normal and low share 4 : 2 : 1, and the oldest goes first. Orders without a user count as one user's.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::domain::id::OrderId;
use crate::domain::moment::Uptime;
use crate::domain::order::Priority;
use crate::domain::user::Owner;

/// An order that waits for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaitingOrder {
    /// When it was accepted: a retry takes the place it had. An id's own time would be the wall clock's.
    pub accepted: Uptime,
    /// Which.
    pub id: OrderId,
}

/// The slots, and who waits for them. Every step costs the logarithm of how many wait.
#[derive(Debug)]
pub struct Dispatcher {
    slots: usize,
    users: HashMap<Owner, UserQueue>,
    // Users who wait and may be served: by slots held, then by the last turn.
    turns: BTreeMap<(usize, u64), Owner>,
    next_turn: u64,
    waiting: BTreeSet<WaitingOrder>,
    running: usize,
    undecided: usize,
}

/// A user who waits, holds a slot or has an undecided swap; forgotten when none of it is so any more.
#[derive(Debug, Default)]
struct UserQueue {
    lanes: PriorityQueues,
    running: usize,
    undecided: usize,
    turn: u64,
    // Its place in `turns`.
    place: Option<(usize, u64)>,
}

impl Dispatcher {
    /// How many swaps may be undecided for too long, as a multiple of the slots, before nothing more is dispatched.
    ///
    /// Such swaps hold no slot. Were there no bound, a chain that answers nothing would be handed ever more swaps. One
    /// user is stopped at once the slots, long before all are, so that a single user's swaps never stop the others.
    pub const UNDECIDED_PER_SLOT: usize = 10;

    /// `slots` free slots, and an empty line.
    pub fn new(slots: usize) -> Self {
        Self {
            slots,
            users: HashMap::new(),
            turns: BTreeMap::new(),
            next_turn: 0,
            waiting: BTreeSet::new(),
            running: 0,
            undecided: 0,
        }
    }

    /// Puts an order in line.
    pub fn push(&mut self, owner: Owner, order: WaitingOrder, priority: Priority) {
        let next_turn = self.next_turn;
        let mut began = false;
        self.change(owner, |user| {
            began = user.lanes.is_empty();
            if began {
                user.turn = next_turn;
            }
            user.lanes.push(order, priority);
        });
        self.next_turn += u64::from(began);
        self.waiting.insert(order);
    }

    /// Takes an order out of the line, wherever it stands.
    pub fn remove(&mut self, owner: Owner, order: WaitingOrder, priority: Priority) {
        if self.waiting.remove(&order) {
            self.change(owner, |user| user.lanes.remove(order, priority));
        }
    }

    /// Whether an order waits that would get a slot now.
    pub fn has_next(&self) -> bool {
        self.running < self.slots && !self.is_held_up() && !self.turns.is_empty()
    }

    /// Gives a slot to the order whose turn it is.
    pub fn serve_next(&mut self) -> Option<(Owner, OrderId)> {
        if !self.has_next() {
            return None;
        }
        let owner = *self.turns.first_key_value()?.1;
        let turn = self.next_turn;
        self.next_turn += 1;
        let mut served = None;
        self.change(owner, |user| {
            served = user.lanes.pop();
            user.turn = turn;
            user.running += 1;
        });
        let served = served?;
        self.waiting.remove(&served);
        self.running += 1;
        Some((owner, served.id))
    }

    /// An order holds a slot from its start, beyond the limit where need be: its swap may land.
    pub fn occupy(&mut self, owner: Owner) {
        self.change(owner, |user| user.running += 1);
        self.running += 1;
    }

    /// An order gives its slot back.
    pub fn give_back(&mut self, owner: Owner) {
        self.change(owner, |user| user.running -= 1);
        self.running -= 1;
    }

    /// An order's swap is undecided for too long; it holds no slot.
    pub fn add_undecided(&mut self, owner: Owner) {
        self.change(owner, |user| user.undecided += 1);
        self.undecided += 1;
    }

    /// A swap that was undecided for too long is decided.
    pub fn remove_undecided(&mut self, owner: Owner) {
        self.change(owner, |user| user.undecided -= 1);
        self.undecided -= 1;
    }

    /// How many orders hold a slot.
    pub fn running(&self) -> usize {
        self.running
    }

    /// How many orders wait for a slot.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// When the oldest of those that wait was accepted.
    pub fn oldest(&self) -> Option<Uptime> {
        self.waiting.first().map(|order| order.accepted)
    }

    /// How many swaps are undecided for too long.
    pub fn undecided(&self) -> usize {
        self.undecided
    }

    /// Whether nothing is dispatched because too many swaps are undecided.
    pub fn is_held_up(&self) -> bool {
        self.undecided >= self.slots.saturating_mul(Self::UNDECIDED_PER_SLOT)
    }

    /// Changes a user and finds its new place.
    fn change(&mut self, owner: Owner, change: impl FnOnce(&mut UserQueue)) {
        let user = self.users.entry(owner).or_default();
        if let Some(place) = user.place.take() {
            self.turns.remove(&place);
        }
        change(user);
        if !user.lanes.is_empty() && user.undecided < self.slots {
            let place = (user.running, user.turn);
            user.place = Some(place);
            self.turns.insert(place, owner);
        }
        if user.lanes.is_empty() && user.running == 0 && user.undecided == 0 {
            self.users.remove(&owner);
        }
    }
}

/// One user's waiting orders: one lane a priority, the oldest first in each.
#[derive(Debug, Default)]
struct PriorityQueues([OrderQueue; 3]);

#[derive(Debug, Default)]
struct OrderQueue {
    waiting: BTreeSet<WaitingOrder>,
    credit: i32,
}

impl PriorityQueues {
    const WEIGHTS: [i32; 3] = [4, 2, 1];

    fn push(&mut self, order: WaitingOrder, priority: Priority) {
        self.0[lane(priority)].waiting.insert(order);
    }

    fn remove(&mut self, order: WaitingOrder, priority: Priority) {
        self.0[lane(priority)].waiting.remove(&order);
    }

    /// Takes the order whose turn it is.
    ///
    /// Smooth weighted round robin over the lanes that are not empty: each gains its weight, the richest is served and
    /// pays what all have gained. A lane that runs empty keeps no credit.
    fn pop(&mut self) -> Option<WaitingOrder> {
        let mut round = 0;
        for (lane, weight) in self.0.iter_mut().zip(Self::WEIGHTS) {
            if lane.waiting.is_empty() {
                lane.credit = 0;
            } else {
                lane.credit += weight;
                round += weight;
            }
        }
        let served = self.0.iter_mut().rev().filter(|lane| !lane.waiting.is_empty()).max_by_key(|lane| lane.credit)?;
        served.credit -= round;
        served.waiting.pop_first()
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|lane| lane.waiting.is_empty())
    }
}

const fn lane(priority: Priority) -> usize {
    match priority {
        Priority::High => 0,
        Priority::Normal => 1,
        Priority::Low => 2,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

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

    /// Serves the next order and gives its slot back at once.
    fn serve(dispatcher: &mut Dispatcher, owner_of: impl Fn(u32) -> Owner) -> Option<u32> {
        let served = u32::try_from(dispatcher.serve_next()?.1.0.as_u128()).unwrap();
        dispatcher.give_back(owner_of(served));
        Some(served)
    }

    #[test]
    fn waiting_priorities_of_one_user_share_the_dispatches_four_two_one() {
        let mut dispatcher = Dispatcher::new(1);
        for number in 0..70 {
            dispatcher.push(user(1), order(number), Priority::High);
            dispatcher.push(user(1), order(100 + number), Priority::Normal);
            dispatcher.push(user(1), order(200 + number), Priority::Low);
        }
        let served: Vec<_> = (0..70).map(|_| serve(&mut dispatcher, |_| user(1)).unwrap() / 100).collect();
        let share = |lane| served.iter().filter(|served| **served == lane).count();
        assert_eq!((share(0), share(1), share(2)), (40, 20, 10));
        for seven in served.chunks(7) {
            assert!(seven.contains(&2), "low waited longer than seven dispatches: {served:?}");
        }
    }

    #[test]
    fn a_lone_priority_gets_every_dispatch_and_owes_nothing_later() {
        let mut dispatcher = Dispatcher::new(1);
        for number in 0..100 {
            dispatcher.push(user(0), order(number), Priority::Low);
        }
        assert!((0..50).all(|_| serve(&mut dispatcher, |_| user(0)).is_some()));
        dispatcher.push(user(0), order(1_000), Priority::High);
        assert_eq!(serve(&mut dispatcher, |_| user(0)), Some(1_000));
    }

    #[test]
    fn within_a_priority_the_oldest_goes_first_and_a_retry_keeps_its_place() {
        let mut dispatcher = Dispatcher::new(1);
        for number in [3, 1, 2] {
            dispatcher.push(user(1), order(number), Priority::Normal);
        }
        assert_eq!(serve(&mut dispatcher, |_| user(1)), Some(1));
        dispatcher.push(user(1), order(1), Priority::Normal);
        assert_eq!(serve(&mut dispatcher, |_| user(1)), Some(1));
        dispatcher.remove(user(1), order(2), Priority::Normal);
        assert_eq!(serve(&mut dispatcher, |_| user(1)), Some(3));
        assert_eq!(serve(&mut dispatcher, |_| user(1)), None);
        assert!(dispatcher.users.is_empty());
    }

    #[test]
    fn one_user_with_ten_thousand_orders_delays_ninety_nine_with_ten_by_one_dispatch_a_round() {
        let mut dispatcher = Dispatcher::new(10);
        for number in 0..10_000 {
            dispatcher.push(user(1_000), order(number), Priority::High);
        }
        for number in 10_000..10_990 {
            dispatcher.push(user(number % 99), order(number), Priority::Low);
        }
        let owner_of = |number| if number < 10_000 { user(1_000) } else { user(number % 99) };
        // Alone they would be done after 990.
        let served: Vec<_> = (0..1_001).map(|_| serve(&mut dispatcher, owner_of).unwrap()).collect();
        assert_eq!(served.iter().filter(|served| **served >= 10_000).count(), 990);
        assert_eq!(dispatcher.users.len(), 1);
    }

    #[test]
    fn a_user_whose_swaps_take_long_does_not_gather_all_slots() {
        let mut dispatcher = Dispatcher::new(10);
        for number in 0..100 {
            dispatcher.push(user(1), order(number), Priority::Normal);
            dispatcher.push(user(2), order(1_000 + number), Priority::Normal);
        }
        let mut slow = 0;
        for _ in 0..50 {
            let served = dispatcher.serve_next().unwrap().1.0.as_u128();
            if served < 1_000 { slow += 1 } else { dispatcher.give_back(user(2)) }
        }
        assert_eq!(slow, 1, "it holds what the other, who gives back at once, holds");
    }

    #[test]
    fn an_idle_user_gains_no_credit_and_a_newcomer_waits_one_round() {
        let mut dispatcher = Dispatcher::new(1);
        for number in 0..100 {
            dispatcher.push(user(1), order(number), Priority::Normal);
            dispatcher.push(user(2), order(1_000 + number), Priority::Normal);
        }
        for _ in 0..20 {
            serve(&mut dispatcher, |number| user(1 + number / 1_000));
        }
        for number in 2_000..2_010 {
            dispatcher.push(user(3), order(number), Priority::Normal);
        }
        let served: Vec<_> =
            (0..6).map(|_| serve(&mut dispatcher, |number| user(1 + number / 1_000)).unwrap() / 1_000).collect();
        assert_eq!(served, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn a_user_with_as_many_undecided_swaps_as_slots_waits_and_the_others_go_on() {
        let mut dispatcher = Dispatcher::new(2);
        for number in 0..3 {
            dispatcher.push(user(1), order(number), Priority::Normal);
        }
        for _ in 0..2 {
            dispatcher.serve_next().unwrap();
        }
        assert!(!dispatcher.has_next(), "there are two slots");
        for _ in 0..2 {
            dispatcher.give_back(user(1));
            dispatcher.add_undecided(user(1));
        }
        assert_eq!((dispatcher.serve_next(), dispatcher.running()), (None, 0));
        dispatcher.push(user(2), order(10), Priority::Low);
        assert_eq!(dispatcher.serve_next(), Some((user(2), order(10).id)));
        dispatcher.remove_undecided(user(1));
        assert_eq!(dispatcher.serve_next(), Some((user(1), order(2).id)));
    }

    #[test]
    fn a_chain_that_decides_nothing_is_not_handed_ever_more_swaps() {
        let mut dispatcher = Dispatcher::new(2);
        for number in 0..1_000 {
            dispatcher.push(user(number), order(number), Priority::Normal);
        }
        let mut signed = 0;
        while let Some((owner, _)) = dispatcher.serve_next() {
            dispatcher.give_back(owner);
            dispatcher.add_undecided(owner);
            signed += 1;
        }
        assert_eq!(signed, 2 * Dispatcher::UNDECIDED_PER_SLOT);
        assert!(dispatcher.is_held_up());
    }

    #[test]
    fn the_oldest_of_those_that_wait_is_known_whoever_it_belongs_to() {
        let mut dispatcher = Dispatcher::new(1);
        assert_eq!(dispatcher.oldest(), None);
        dispatcher.push(user(1), order(7), Priority::Low);
        dispatcher.push(user(2), order(5), Priority::Low);
        assert_eq!(dispatcher.oldest(), Some(Uptime(5)));
        dispatcher.remove(user(2), order(5), Priority::Low);
        assert_eq!((dispatcher.oldest(), dispatcher.waiting()), (Some(Uptime(7)), 1));
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
        fn nobody_is_passed_over_and_nothing_is_lost_or_kept(acts in proptest::collection::vec(act(), 1..400)) {
            let mut dispatcher = Dispatcher::new(3);
            let mut waits: HashMap<u32, (u32, Priority)> = HashMap::new();
            let mut running: VecDeque<(u32, u32)> = VecDeque::new();
            let mut number = 0;
            for act in acts {
                match act {
                    Action::Push(owner, priority) => {
                        number += 1;
                        dispatcher.push(user(owner), order(number), priority);
                        waits.insert(number, (owner, priority));
                    }
                    Action::Serve => {
                        let held = |owner: u32| running.iter().filter(|(_, of)| *of == owner).count();
                        match dispatcher.serve_next() {
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
                        dispatcher.give_back(user(owner));
                    },
                    Action::Retry(priority) => if let Some((served, owner)) = running.pop_back() {
                        dispatcher.give_back(user(owner));
                        dispatcher.push(user(owner), order(served), priority);
                        waits.insert(served, (owner, priority));
                    },
                }
                prop_assert_eq!((dispatcher.waiting(), dispatcher.running()), (waits.len(), running.len()));
            }
            for (number, (owner, priority)) in waits.drain() {
                dispatcher.remove(user(owner), order(number), priority);
            }
            running.into_iter().for_each(|(_, owner)| dispatcher.give_back(user(owner)));
            prop_assert!(dispatcher.users.is_empty() && dispatcher.turns.is_empty());
        }

        #[test]
        fn while_users_wait_none_is_served_twice_before_another_once(orders in proptest::collection::vec(0u32..8, 1..200)) {
            let mut dispatcher = Dispatcher::new(1);
            for (number, owner) in (0..).zip(&orders) {
                dispatcher.push(user(*owner), order(number), Priority::Normal);
            }
            let mut left: HashMap<u32, u32> = HashMap::new();
            orders.iter().for_each(|owner| *left.entry(*owner).or_default() += 1);
            let mut since: HashMap<u32, HashMap<u32, u32>> = HashMap::new();
            let owner_of = |number: u32| orders[number as usize];
            while let Some(served) = serve(&mut dispatcher, |number| user(owner_of(number))) {
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
}
