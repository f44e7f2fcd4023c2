//! The waiting orders of one user: one lane per priority, oldest order first.
//!
//! High, normal and low share the dispatches 4 : 2 : 1.

use std::collections::BTreeSet;

use crate::domain::id::OrderId;
use crate::domain::moment::Uptime;
use crate::domain::request::Priority;

/// An order that waits for a slot; sorts by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct WaitingOrder {
    /// When the order was accepted, by the uptime: the id holds the wall clock's time. A retry keeps its place.
    pub(super) accepted: Uptime,
    /// The order.
    pub(super) id: OrderId,
}

/// The lanes of one user.
#[derive(Debug, Default)]
pub(super) struct Lanes([Lane; 3]);

#[derive(Debug, Default)]
struct Lane {
    waiting: BTreeSet<WaitingOrder>,
    credit: i32,
}

impl Lanes {
    const WEIGHTS: [i32; 3] = [4, 2, 1];

    pub(super) fn push(&mut self, order: WaitingOrder, priority: Priority) {
        self.0[lane(priority)].waiting.insert(order);
    }

    pub(super) fn remove(&mut self, order: WaitingOrder, priority: Priority) {
        self.0[lane(priority)].waiting.remove(&order);
    }

    /// Takes the next order.
    ///
    /// Smooth weighted round robin over the lanes that are not empty: each gains its weight, the lane with the highest
    /// credit is served and pays the sum of the weights. An empty lane keeps no credit.
    pub(super) fn pop(&mut self) -> Option<WaitingOrder> {
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

    pub(super) fn is_empty(&self) -> bool {
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
