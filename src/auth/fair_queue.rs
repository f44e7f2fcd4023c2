//! A bounded queue in which addresses take turns, whatever the number of entries of each is. It only decides the order;
//! it knows no time and no threads.

use std::net::IpAddr;

use crate::auth::share::holder_to_displace;

/// A queue that takes turns between addresses, and within an address between names.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    capacity: usize,
    // In the order of arrival.
    waiting: Vec<Entry<T>>,
    // The round of the last turn.
    round: u64,
}

#[derive(Debug)]
struct Entry<T> {
    from: IpAddr,
    name: String,
    // The round in which its address gets a turn for it.
    round: u64,
    // The number of entries of its address and name that were waiting when it came.
    ahead: usize,
    item: T,
}

impl<T> FairQueue<T> {
    /// An empty queue for this number of entries.
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, waiting: Vec::new(), round: 0 }
    }

    /// Adds an item. If the queue is full, returns the item that loses its place: the newest one of the name with the
    /// most places, or the added one.
    pub(super) fn push(&mut self, from: IpAddr, name: &str, item: T) -> Option<T> {
        let mut displaced = None;
        if self.waiting.len() >= self.capacity {
            let places = self.waiting.iter().map(|entry| (entry.from, entry.name.as_str()));
            let newest = holder_to_displace(places, (from, name)).and_then(|(from, name)| {
                self.waiting.iter().rposition(|entry| entry.from == from && entry.name == name)
            });
            match newest {
                Some(newest) => displaced = Some(self.take(newest)),
                None => return Some(item),
            }
        }
        let of_address = || self.waiting.iter().filter(|entry| entry.from == from);
        let round = of_address().map(|entry| entry.round).max().unwrap_or_default().max(self.round) + 1;
        let ahead = of_address().filter(|entry| entry.name == name).count();
        self.waiting.push(Entry { from, name: name.to_owned(), round, ahead, item });
        displaced
    }

    /// Removes the next item.
    pub(super) fn pop(&mut self) -> Option<T> {
        let first = self.waiting.iter().min_by_key(|entry| entry.round)?;
        let (from, round) = (first.from, first.round);
        let of_address = self.waiting.iter().enumerate().filter(|(_, entry)| entry.from == from);
        let (index, _) = of_address.min_by_key(|(_, entry)| entry.ahead)?;
        self.round = round;
        // The address has used its turn of this round, so the entry that had this round gets the round of the removed
        // one.
        let own = self.waiting[index].round;
        if let Some(other) = self.waiting.iter_mut().find(|other| other.from == from && other.round == round) {
            other.round = own;
        }
        Some(self.take(index))
    }

    /// Removes the items that do not wait any more.
    pub(super) fn retain(&mut self, is_waiting: impl Fn(&T) -> bool) {
        self.waiting.retain(|entry| is_waiting(&entry.item));
    }

    fn take(&mut self, index: usize) -> T {
        self.waiting.remove(index).item
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn at(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    fn drain<T>(queue: &mut FairQueue<T>) -> Vec<T> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn addresses_take_turns_however_many_of_each_wait() {
        let mut queue = FairQueue::new(64);
        for number in 0..20 {
            assert!(queue.push(at(1), &format!("account {number}"), (1, number)).is_none());
        }
        queue.push(at(2), "bob", (2, 0));
        queue.push(at(2), "bob", (2, 1));
        let order = drain(&mut queue);
        assert_eq!(order[..4], [(1, 0), (2, 0), (1, 1), (2, 1)]);
        assert_eq!(order.len(), 22);
    }

    #[test]
    fn an_address_that_did_not_wait_has_neither_saved_nor_lost_turns() {
        let mut queue = FairQueue::new(64);
        for number in 0..10 {
            queue.push(at(1), "alice", (1, number));
        }
        for _ in 0..5 {
            queue.pop();
        }
        for number in 0..3 {
            queue.push(at(2), "bob", (2, number));
        }
        assert_eq!(drain(&mut queue)[..6], [(1, 5), (2, 0), (1, 6), (2, 1), (1, 7), (2, 2)]);
    }

    #[test]
    fn within_an_address_a_name_with_many_entries_does_not_delay_another() {
        let mut queue = FairQueue::new(64);
        for number in 0..10 {
            queue.push(at(1), "alice", ("alice", number));
        }
        queue.push(at(1), "bob", ("bob", 0));
        assert_eq!(drain(&mut queue)[..3], [("alice", 0), ("bob", 0), ("alice", 1)]);
    }

    #[test]
    fn a_full_queue_has_room_for_a_newcomer_until_all_have_the_same_share() {
        let mut queue = FairQueue::new(4);
        for number in 0..4 {
            assert_eq!(queue.push(at(1), "alice", (1, number)), None);
        }
        assert_eq!(queue.push(at(1), "alice", (1, 4)), Some((1, 4)), "it has all places already");
        assert_eq!(queue.push(at(2), "bob", (2, 0)), Some((1, 3)), "the newest of the largest share leaves");
        assert_eq!(queue.push(at(3), "carol", (3, 0)), Some((1, 2)));
        assert_eq!(queue.push(at(4), "dave", (4, 0)), Some((1, 1)));
        assert_eq!(queue.push(at(5), "erin", (5, 0)), Some((5, 0)), "each has one place");
        queue.retain(|item| *item != (2, 0));
        assert_eq!(drain(&mut queue), [(1, 0), (3, 0), (4, 0)]);
    }
}
