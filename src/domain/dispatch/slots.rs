//! The slots, and the fair order in which waiting orders get them.
//!
//! The next slot goes to the waiting user with the fewest slots; among equals, to the one whose last turn is the oldest. A
//! user that starts to wait is the last in turn, so an idle user gains nothing. Orders without a user count as one user's.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::domain::dispatch::lanes::{Lanes, WaitingOrder};
use crate::domain::id::OrderId;
use crate::domain::moment::Uptime;
use crate::domain::request::Priority;
use crate::domain::user::Owner;

/// The slots and the queue for them. Every operation costs the logarithm of the number of waiting orders.
#[derive(Debug)]
pub(super) struct Slots {
    total: usize,
    users: HashMap<Owner, UserQueue>,
    // The users who wait and may get a slot: by slots held, then by the last turn.
    turns: BTreeMap<(usize, u64), Owner>,
    next_turn: u64,
    waiting: BTreeSet<WaitingOrder>,
    running: usize,
    undecided: usize,
}

/// A user who waits, holds a slot or has an undecided swap; removed when none of it is true.
#[derive(Debug, Default)]
struct UserQueue {
    lanes: Lanes,
    running: usize,
    undecided: usize,
    turn: u64,
    // The key in `turns`.
    place: Option<(usize, u64)>,
}

impl Slots {
    /// How many swaps may be undecided for too long before nothing is dispatched, as a multiple of the slots.
    ///
    /// Such swaps hold no slot. Without a bound, a chain that answers nothing would be sent more and more swaps. A single
    /// user is stopped at as many as there are slots, so that one user's swaps never stop all others.
    pub(super) const UNDECIDED_PER_SLOT: usize = 10;

    /// `total` free slots and an empty queue.
    pub(super) fn new(total: usize) -> Self {
        Self {
            total,
            users: HashMap::new(),
            turns: BTreeMap::new(),
            next_turn: 0,
            waiting: BTreeSet::new(),
            running: 0,
            undecided: 0,
        }
    }

    /// Adds an order to the queue.
    pub(super) fn push(&mut self, owner: Owner, order: WaitingOrder, priority: Priority) {
        let next_turn = self.next_turn;
        let mut is_first = false;
        self.change(owner, |user| {
            is_first = user.lanes.is_empty();
            if is_first {
                user.turn = next_turn;
            }
            user.lanes.push(order, priority);
        });
        self.next_turn += u64::from(is_first);
        self.waiting.insert(order);
    }

    /// Removes an order from the queue.
    pub(super) fn remove(&mut self, owner: Owner, order: WaitingOrder, priority: Priority) {
        if self.waiting.remove(&order) {
            self.change(owner, |user| user.lanes.remove(order, priority));
        }
    }

    /// Whether an order waits that would get a slot now.
    pub(super) fn has_next(&self) -> bool {
        self.running < self.total && !self.is_held_up() && !self.turns.is_empty()
    }

    /// Gives the next order a slot.
    pub(super) fn serve_next(&mut self) -> Option<(Owner, OrderId)> {
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

    /// Gives an order a slot immediately, above the limit if necessary: its swap may land.
    pub(super) fn occupy(&mut self, owner: Owner) {
        self.change(owner, |user| user.running += 1);
        self.running += 1;
    }

    /// Takes a slot back.
    pub(super) fn give_back(&mut self, owner: Owner) {
        self.change(owner, |user| user.running -= 1);
        self.running -= 1;
    }

    /// Counts a swap that is undecided for too long; it holds no slot.
    pub(super) fn add_undecided(&mut self, owner: Owner) {
        self.change(owner, |user| user.undecided += 1);
        self.undecided += 1;
    }

    /// Takes back the count of [`Self::add_undecided`].
    pub(super) fn remove_undecided(&mut self, owner: Owner) {
        self.change(owner, |user| user.undecided -= 1);
        self.undecided -= 1;
    }

    /// How many orders hold a slot.
    pub(super) fn running(&self) -> usize {
        self.running
    }

    /// How many orders wait for a slot.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// When the oldest waiting order was accepted.
    pub(super) fn oldest(&self) -> Option<Uptime> {
        self.waiting.first().map(|order| order.accepted)
    }

    /// How many swaps are undecided for too long.
    pub(super) fn undecided(&self) -> usize {
        self.undecided
    }

    /// Whether nothing is dispatched because too many swaps are undecided.
    pub(super) fn is_held_up(&self) -> bool {
        self.undecided >= self.total.saturating_mul(Self::UNDECIDED_PER_SLOT)
    }

    /// Changes a user and updates its place in `turns`.
    fn change(&mut self, owner: Owner, change: impl FnOnce(&mut UserQueue)) {
        let user = self.users.entry(owner).or_default();
        if let Some(place) = user.place.take() {
            self.turns.remove(&place);
        }
        change(user);
        if !user.lanes.is_empty() && user.undecided < self.total {
            let place = (user.running, user.turn);
            user.place = Some(place);
            self.turns.insert(place, owner);
        }
        if user.lanes.is_empty() && user.running == 0 && user.undecided == 0 {
            self.users.remove(&owner);
        }
    }
}

#[cfg(test)]
mod tests;
